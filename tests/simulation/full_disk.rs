//! A full disk, told on purpose: what is refused there, and what is recorded all the same.

use queuectl::domain::decide::{self, OnConflict, Outcome};
use queuectl::domain::event::Event;
use queuectl::domain::job::{Claim, JobId, JobState, RunResult, Spec};
use queuectl::domain::timestamp::Timestamp;
use queuectl::store::{Enqueue, Store, StoreError};

use crate::ledger::Ledger;
use crate::machine::Machine;
use crate::process::{self, Member};
use crate::weather::Weather;
use crate::worker::POLICY;

fn enqueue(store: &mut Store, id: &str) -> Result<Vec<JobId>, StoreError> {
    let specs = vec![Spec::shell(JobId::new(id).unwrap(), "true", 1)];
    store.enqueue(Enqueue { specs, has_chosen_ids: true, on_conflict: OnConflict::Fail })
}

fn claim(store: &mut Store, number: u64) -> Claim {
    let claims = store.transact(|node, now| {
        let claims = decide::claim(node, "sim.worker", number, 1, &[], now);
        Ok((claims.iter().cloned().map(Event::Claimed).collect(), claims))
    });
    claims.unwrap()[0].claim.clone()
}

fn finish(store: &mut Store, id: &str, claim: &Claim) -> Result<(), StoreError> {
    store.transact(|node, now: Timestamp| {
        let (job, claim, result) = (JobId::new(id).unwrap(), claim.clone(), RunResult::Exit(0));
        let outcome = Outcome { job, run: 1, claim, result, ms: 1, tail: None, error: None };
        Ok((vec![decide::finish(node, outcome, &POLICY, now, 0.0)], ()))
    })
}

fn fill(process: &Member, is_full: bool) {
    process.machine.lock().weather.full = is_full;
}

fn state(store: &mut Store, id: &str) -> JobState {
    store.read().unwrap();
    store.own().unwrap().job(&JobId::new(id).unwrap()).unwrap().state
}

fn live(life: impl Fn(&Member) + Sync) {
    for seed in 0..20 {
        let weather = Weather { calm_after: 10_000, ..Weather::default() };
        let machine = Machine::new(seed, 1, weather, Ledger::default());
        let outcome = machine.run(|process| {
            life(process);
            process.stop();
        });
        outcome.unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    }
}

#[test]
fn what_runs_is_recorded_and_nothing_new_is_taken_in() {
    live(|process| {
        let mut store = process::open(process).unwrap();
        enqueue(&mut store, "one").unwrap();
        enqueue(&mut store, "two").unwrap();
        store.keep_reserve().unwrap();
        let claims = [claim(&mut store, 1), claim(&mut store, 2)];
        fill(process, true);
        let refused = enqueue(&mut store, "three").unwrap_err();
        assert!(matches!(refused, StoreError::Full { .. }), "{refused}");
        assert!(store.keep_reserve().unwrap_err().is_full(), "more would be claimed");

        finish(&mut store, "one", &claims[0]).unwrap();
        assert_eq!(state(&mut store, "one"), JobState::Completed);

        fill(process, true);
        let lost = finish(&mut store, "two", &claims[1]).unwrap_err();
        assert!(lost.is_full() && matches!(lost, StoreError::NotRecorded { .. }), "{lost}");
        assert!(store.keep_reserve().unwrap_err().is_full());

        fill(process, false);
        store.keep_reserve().unwrap();
        fill(process, true);
        finish(&mut store, "two", &claims[1]).unwrap();
        assert_eq!(state(&mut store, "two"), JobState::Completed);
        fill(process, false);
        enqueue(&mut store, "three").unwrap();
    });
}

/// The sync of outcomes fails, and the new segment that is to carry them over finds no room.
#[test]
fn a_failed_sync_on_a_full_disk_finds_room_in_the_reserve() {
    live(|process| {
        let mut store = process::open(process).unwrap();
        enqueue(&mut store, "one").unwrap();
        store.keep_reserve().unwrap();
        let claim = claim(&mut store, 1);
        {
            let weather = &mut process.machine.lock().weather;
            (weather.sync_error, weather.once, weather.fills_at_error) = (1_000_000, true, true);
        }
        finish(&mut store, "one", &claim).unwrap();
        assert_eq!(state(&mut store, "one"), JobState::Completed);
        assert!(store.sync_error().unwrap().is_some(), "it is told of");
    });
}

/// Half a line was written when the disk was full: the next append has to begin a segment first.
#[test]
fn a_torn_line_is_left_behind_and_the_outcome_recorded() {
    live(|process| {
        let mut store = process::open(process).unwrap();
        enqueue(&mut store, "one").unwrap();
        store.keep_reserve().unwrap();
        let claim = claim(&mut store, 1);
        process.machine.lock().weather.tears_once = true;
        finish(&mut store, "one", &claim).unwrap();
        assert_eq!(state(&mut store, "one"), JobState::Completed);
        assert_eq!(store.take_notices().len(), 1, "what was torn is told of");
    });
}
