//! Histories that were found by seeds, told again on purpose.

use queuectl::domain::decide::OnConflict;
use queuectl::domain::job::{JobId, Spec};
use queuectl::store::{Enqueue, Store, StoreError};

use crate::ledger::Ledger;
use crate::machine::Machine;
use crate::process::{self, Member};
use crate::weather::Weather;

fn enqueue(store: &mut Store, id: &str) -> Result<Vec<JobId>, StoreError> {
    enqueue_all(store, &[id])
}

fn enqueue_all(store: &mut Store, ids: &[&str]) -> Result<Vec<JobId>, StoreError> {
    // Longer than a page: what one process writes must not bring what another wrote to the disk again.
    let command = format!("true {}", "x".repeat(9000));
    let spec = |id: &&str| Spec::shell(JobId::new(id).unwrap(), &command, 1);
    let specs = ids.iter().map(spec).collect();
    store.enqueue(Enqueue { specs, has_chosen_ids: false, on_conflict: OnConflict::Fail })
}

/// Lives one process a boot, and cuts the power after each but the last.
fn boots(seed: u64, lives: &[&(dyn Fn(&Member) + Sync)]) {
    let weather = Weather { calm_after: 10_000, ..Weather::default() };
    let machine = Machine::new(seed, 1, weather, Ledger::default());
    let outcome = machine.run(|process| {
        let boot = usize::try_from(process.machine.lock().boot).unwrap();
        lives[boot - 1](process);
        if boot == lives.len() {
            process.stop();
        }
        process.machine.lock().cut_power();
        drop(process.turn());
    });
    outcome.unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
}

fn fail_syncs(process: &Member, chance: u32) {
    process.machine.lock().weather.sync_error = chance;
}

/// A sync failed, its process was told and could do nothing about it. Whoever opened the file later was told nothing,
/// synced, and acknowledged lines behind the bytes that the kernel had dropped: after a power cut the log was damaged
/// before the mark.
#[test]
fn an_error_that_only_another_was_told_of() {
    let before = |process: &Member| {
        let mut first = process::open(process).unwrap();
        enqueue(&mut first, "one").unwrap();
        fail_syncs(process, 1_000_000);
        enqueue(&mut first, "two").unwrap_err();
        fail_syncs(process, 0);
        let mut second = process::open(process).unwrap();
        enqueue(&mut second, "three").unwrap();
    };
    let after = |process: &Member| {
        let mut store = process::open(process).unwrap();
        store.sync_what_was_read().unwrap();
        store.read().unwrap();
        assert_eq!(store.view().damage, []);
        for id in ["one", "three"] {
            assert!(store.own().unwrap().job(&JobId::new(id).unwrap()).is_some(), "{id}");
        }
    };
    for seed in 0..50 {
        boots(seed, &[&before, &after]);
    }
}

/// As above, but the one who knew nothing sealed the segment.
#[test]
fn an_error_behind_which_the_segment_was_sealed() {
    let before = |process: &Member| {
        let mut first = process::open(process).unwrap();
        enqueue(&mut first, "one").unwrap();
        fail_syncs(process, 1_000_000);
        enqueue(&mut first, "two").unwrap_err();
        fail_syncs(process, 0);
        let mut second = process::open(process).unwrap();
        second.configure(|config| (config.with("jitter", "0.5"), set("jitter", "0.5"))).unwrap();
        enqueue(&mut second, "three").unwrap();
    };
    let after = |process: &Member| {
        let mut store = process::open(process).unwrap();
        store.sync_what_was_read().unwrap();
        assert_eq!(store.read().unwrap().damage, []);
        assert_eq!(store.config().unwrap().jitter(), 0.5);
    };
    for seed in 0..50 {
        boots(seed, &[&before, &after]);
    }
}

fn set(key: &str, value: &str) -> Vec<queuectl::domain::event::Event> {
    let set = queuectl::domain::event::ConfigSet { key: key.into(), value: value.into() };
    vec![queuectl::domain::event::Event::ConfigSet(set)]
}

/// Two segments were begun and the directory could not be synced after either: the name of the later one survived a power
/// cut, that of the earlier one did not, and the log had a hole.
#[test]
fn a_name_that_survives_the_one_before_it() {
    let before = |process: &Member| {
        let mut store = process::open(process).unwrap();
        enqueue(&mut store, "one").unwrap();
        for jitter in ["0.1", "0.2", "0.3"] {
            process.machine.lock().weather.name_error = 1_000_000;
            store
                .configure(|config| (config.with("jitter", jitter), set("jitter", jitter)))
                .unwrap_err();
            process.machine.lock().weather.name_error = 0;
        }
    };
    let after = |process: &Member| {
        let mut store = process::open(process).unwrap();
        store.sync_what_was_read().unwrap();
        assert_eq!(store.read().unwrap().damage, []);
    };
    for seed in 0..50 {
        boots(seed, &[&before, &after]);
    }
}

/// The sync of a batch failed, and only some of its lines were still to be read and carried over. It was written again under
/// the same name, was counted with what had been carried over, and so was acknowledged and never whole.
#[test]
fn a_batch_of_which_some_lines_were_carried_over() {
    for seed in 0..100 {
        boots(
            seed,
            &[&|process: &Member| {
                let mut store = process::open(process).unwrap();
                enqueue(&mut store, "one").unwrap();
                {
                    let weather = &mut process.machine.lock().weather;
                    (weather.sync_error, weather.once, weather.evict) =
                        (1_000_000, true, 1_000_000);
                }
                let ids = ["two", "three", "four", "five"];
                enqueue_all(&mut store, &ids).unwrap();
                store.read().unwrap();
                for id in ids {
                    assert!(store.own().unwrap().job(&JobId::new(id).unwrap()).is_some(), "{id}");
                }
            }],
        );
    }
}

/// Of what was written and not synced only later pages survived a power cut, so the log ended with a whole line and had a
/// hole before it. What was appended there in the next boot was acknowledged, and nobody read as far.
#[test]
fn a_whole_line_behind_a_hole() {
    let before = |process: &Member| {
        let mut store = process::open(process).unwrap();
        enqueue(&mut store, "one").unwrap();
        fail_syncs(process, 1_000_000);
        enqueue_all(&mut store, &["two", "three", "four"]).unwrap_err();
        fail_syncs(process, 0);
    };
    let after = |process: &Member| {
        let mut store = process::open(process).unwrap();
        enqueue(&mut store, "five").unwrap();
        if let Some(damage) = store.read().unwrap().damage.first() {
            process.wrong(format!("no damage without damage: {damage}"));
        }
        if store.own().unwrap().job(&JobId::new("five").unwrap()).is_none() {
            process.wrong("acknowledged is present: five is missing".to_owned());
        }
    };
    for seed in 0..100 {
        boots(seed, &[&before, &after]);
    }
}
