//! The small scope, wholly: two writers, a compaction and a reader on one queue, in every order of their first steps, and in
//! every order with few interruptions; to the end, or to a power cut behind the first steps.
//!
//! A step is a call that others could notice: a read, a write, either end of a sync, a lock, a name. `QUEUECTL_LONG=1`
//! goes further.

use queuectl::domain::decide::OnConflict;
use queuectl::domain::event::{ConfigSet, Event};
use queuectl::domain::job::{JobId, Spec};
use queuectl::store::{Enqueue, Store};

use crate::ledger::Ledger;
use crate::machine::Machine;
use crate::medium::Medium;
use crate::pilot::{Pilot, Scope};
use crate::process::{self, Member, Trouble};
use crate::verdict;
use crate::weather::Weather;

/// Two writers, a compaction, a reader.
const SLOTS: usize = 4;
/// The slot of the compaction.
const COMPACTION: usize = 2;
/// So long is a command that a segment has room for three jobs.
const COMMAND: usize = 900;

/// A queue with a base to be made of two sealed segments, and an active one with room for one more job.
fn queue() -> (Medium, Vec<JobId>) {
    let machine = Machine::new(1, 1, Weather::default(), Ledger::default());
    let ids: Vec<JobId> = (0..5).map(|n| JobId::new(&format!("old-{n}")).unwrap()).collect();
    machine
        .run(|process| {
            let mut store = process::open(process).unwrap();
            let set = ConfigSet { key: "segment_size".to_owned(), value: "4KiB".to_owned() };
            store
                .configure(|config| {
                    let config = config.with("segment_size", "4KiB");
                    (config, vec![Event::ConfigSet(set.clone())])
                })
                .unwrap();
            for id in &ids[..3] {
                enqueue(&mut store, std::slice::from_ref(id)).unwrap();
            }
            store.seal().unwrap();
            for id in &ids[3..] {
                enqueue(&mut store, std::slice::from_ref(id)).unwrap();
            }
            process.stop();
        })
        .unwrap();
    let medium = machine.lock().medium.clone();
    (medium, ids)
}

fn enqueue(store: &mut Store, ids: &[JobId]) -> Result<(), Trouble> {
    let command = format!("true {}", "x".repeat(COMMAND));
    let specs = ids.iter().map(|id| Spec::shell(id.clone(), &command, 1)).collect();
    store.enqueue(Enqueue { specs, has_chosen_ids: false, on_conflict: OnConflict::Fail })?;
    Ok(())
}

/// Lives as whoever has this slot. Nothing befalls anybody, so there is no trouble.
fn live(process: &Member) {
    let outcome = match process.slot() {
        0 => write(process, &["one"]),
        1 => write(process, &["two", "three"]),
        COMPACTION => compact(process),
        _ => read(process),
    };
    if let Err(trouble) = outcome {
        process.wrong(format!("nobody has trouble: {trouble}"));
    }
}

fn write(process: &Member, ids: &[&str]) -> Result<(), Trouble> {
    let ids: Vec<JobId> = ids.iter().map(|id| JobId::new(id).unwrap()).collect();
    let mut store = process::open(process)?;
    process.machine.lock().ledger.want(&ids);
    enqueue(&mut store, &ids)?;
    process::acknowledge(process, &ids);
    Ok(())
}

fn compact(process: &Member) -> Result<(), Trouble> {
    let store = process::open(process)?;
    let outcome = store.compactor().unwrap().run(None)?;
    if let Err(idle) = outcome {
        process.wrong(format!("there is something to compact: {idle:?}"));
    }
    Ok(())
}

/// Reads, and reads on: never damage, and never less than before.
fn read(process: &Member) -> Result<(), Trouble> {
    let mut store = process::open(process)?;
    let mut last = 0;
    for _ in 0..2 {
        let since = process.machine.lock().turns;
        store.read()?;
        if let Some(damage) = store.view().damage.first() {
            process.wrong(format!("readers never see damage: {damage}"));
        }
        process::check(process, &store, since);
        let seq = store.own().map_or(0, |own| own.facts.last_seq);
        if seq < last {
            process.wrong(format!("views only move forward: {seq} behind {last}"));
        }
        last = seq;
    }
    Ok(())
}

/// One run: what was wrong, and the pilot back.
fn run(medium: &Medium, old: &[JobId], pilot: Pilot, seed: u64) -> (Result<(), String>, Pilot) {
    let mut ledger = Ledger { seed: 1, ..Ledger::default() };
    ledger.want_each(old);
    let machine = Machine::new(seed, SLOTS, Weather::default(), ledger);
    {
        let mut inner = machine.lock();
        inner.medium = medium.clone();
        inner.pilot = Some(pilot);
    }
    let outcome = machine.run(live);
    let pilot = machine.lock().pilot.take().unwrap();
    if outcome.is_err() || pilot.is_known {
        return (outcome, pilot);
    }
    // What is left by the power cut, or is there in the end, is looked at as after any history.
    {
        let mut inner = machine.lock();
        inner.restart();
        inner.ledger.tears = true;
    }
    let outcome = machine.run(|process| {
        process::end(process, verdict::pass(process));
        process.stop();
    });
    (outcome, pilot)
}

/// What was gone through.
#[derive(Debug, Default)]
struct Explored {
    /// Orders that differ.
    orders: u64,
    /// Runs that turned out to be the same as an earlier one.
    known: u64,
    /// How many steps the compaction was ahead.
    led: usize,
}

/// Goes through all orders of a scope, the compaction so many steps ahead of the others.
fn explore(scope: Scope, lead: usize, stops: bool) -> Explored {
    let (medium, old) = queue();
    let mut explored = Explored::default();
    let mut pilot = Pilot::new(scope, (COMPACTION, lead), stops);
    loop {
        let order = explored.orders + explored.known;
        let (outcome, after) = run(&medium, &old, pilot, order);
        pilot = after;
        if let Err(broken) = outcome {
            panic!("order {order} of {scope:?}, the compaction {lead} ahead: {broken}");
        }
        explored.led = pilot.led;
        explored.orders += u64::from(!pilot.is_known);
        explored.known += u64::from(pilot.is_known);
        if !pilot.advance() {
            println!("{scope:?}, the compaction {lead} ahead: {explored:?}");
            return explored;
        }
    }
}

/// One of the two: what each run costs adds up.
fn now_or_long(now: usize, long: usize) -> usize {
    if std::env::var_os("QUEUECTL_LONG").is_some() { long } else { now }
}

#[test]
fn every_order_of_the_first_steps() {
    let explored = explore(Scope::FirstSteps(now_or_long(12, 20)), 0, false);
    assert!(explored.orders > 1000, "{explored:?}");
}

#[test]
fn a_power_cut_behind_every_order_of_the_first_steps() {
    let explored = explore(Scope::FirstSteps(now_or_long(12, 20)), 0, true);
    assert!(explored.orders > 1000, "{explored:?}");
}

/// Others come to it after each step of the compaction.
fn every_lead(steps: usize, stops: bool) {
    let (mut orders, mut lead) = (0, 0);
    loop {
        let explored = explore(Scope::FirstSteps(steps), lead, stops);
        if explored.led < lead {
            break;
        }
        (orders, lead) = (orders + explored.orders, lead + 1);
    }
    println!("{steps} steps behind each of {lead} of the compaction: {orders} orders");
    assert!(lead > 20 && orders > 1000, "{lead} steps, {orders} orders");
}

#[test]
fn every_order_of_a_few_steps_behind_each_of_the_compaction() {
    every_lead(now_or_long(6, 10), false);
}

#[test]
fn a_power_cut_behind_a_few_steps_behind_each_of_the_compaction() {
    every_lead(now_or_long(6, 10), true);
}

#[test]
fn every_order_with_few_interruptions() {
    let most = u32::try_from(now_or_long(1, 2)).unwrap();
    let explored = explore(Scope::Interruptions(most), 0, false);
    assert!(explored.orders > 1000, "{explored:?}");
}
