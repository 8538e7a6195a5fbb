//! The simulation: virtual processes over a simulated disk that crashes at every step, checked against what must hold.
//!
//! `QUEUECTL_SEEDS=n` runs so many histories, `QUEUECTL_SEED=s` runs one and prints every call of it.

mod disk;
mod doctor;
#[cfg(test)]
mod exhaustive;
mod files;
#[cfg(test)]
mod full_disk;
mod harm;
mod keeper;
mod ledger;
mod lines;
mod machine;
mod meddler;
mod medium;
mod neighbour;
mod pages;
mod pilot;
mod process;
mod random;
mod recovery;
mod restorer;
mod rot;
#[cfg(test)]
mod stories;
mod submitter;
mod verdict;
mod weather;
mod worker;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ledger::{Backup, Ledger};
use machine::Machine;
use process::Member;
use random::Random;
use weather::Weather;

/// How many virtual processes live at once.
const SLOTS: usize = 4;
/// How many work off what is left, once nothing befalls anybody.
const LAST_SLOTS: usize = 2;
/// How many histories the tests run.
const SEEDS: u64 = 10_000;

/// What must be seen of some history, or the histories have become too tame to say anything.
const SEEN: [&str; 50] = [
    "acknowledged",
    "acknowledged batches",
    "cancelled",
    "removed",
    "lost",
    "recovered unrun",
    "compacted",
    "compacted, and archived",
    "compactions that met another",
    "outputs swept",
    "power cuts",
    "a base at the end",
    "a cache deleted",
    "a lock file deleted",
    "the mark deleted",
    "a file of the log lost",
    "a line cut out",
    "a bit turned around",
    "a stretch of zeros",
    "a stretch misplaced",
    "a log rebuilt",
    "a log of a neighbour",
    "a torn file of a neighbour",
    "a log put back",
    "a log taken over",
    "a held job let go",
    "a repair that met trouble",
    "a repair that waits for a run",
    "a segment begun by size",
    "a segment begun by configuration",
    "a segment begun to compact",
    "a segment begun by boot",
    "a segment begun behind a torn one",
    "a segment begun behind a failed sync",
    "a failed sync told",
    "a file opened after its failed sync was told",
    "room made by the reserve",
    "a page kept",
    "a page lost",
    "a page torn",
    "a stale page",
    "a later page without an earlier one",
    "a size without its data",
    "data without its size",
    "a name without its data",
    "data without its name",
    "a later name without an earlier one",
    "an unlink without a rename before it",
    "a rename without an unlink before it",
    "a later unlink without an earlier one",
];

/// Lives as whatever this process is.
fn live(process: &Member) {
    let (calm, kind, is_hurt, may_rot, has_backup, is_synced) = {
        let mut inner = process.machine.lock();
        let harm = &inner.ledger.harm;
        let (is_hurt, may_rot) = (harm.is_unmended(), harm.left > 0);
        let has_backup = !matches!(inner.ledger.backup, Backup::Never);
        let is_synced = inner.ledger.neighbour.is_some() && inner.random.chance(500_000);
        (inner.is_calm(), inner.random.below(12), is_hurt, may_rot, has_backup, is_synced)
    };
    match kind {
        _ if calm && is_hurt && process.slot() == LAST_SLOTS => doctor::live(process),
        // Whoever is refused comes again later.
        _ if calm && (is_hurt || process.slot() >= LAST_SLOTS) => {
            drop(process.turn_after(Duration::from_secs(1)));
        }
        0..=5 if !calm => submitter::live(process),
        6 | 7 if !calm => keeper::live(process),
        8 if !calm && is_synced => neighbour::live(process),
        8 if !calm => meddler::live(process),
        9 if !calm && may_rot => rot::live(process),
        9 if !calm && has_backup => restorer::live(process),
        10 | 11 if !calm && is_hurt => doctor::live(process),
        _ => worker::live(process),
    }
}

/// What befalls whom in the history of a seed.
fn draw(seed: u64) -> (Weather, Ledger) {
    let mut random = Random::new(seed ^ 0x5eed);
    let weather = Weather::of(&mut random);
    let mut ledger = Ledger {
        seed,
        tears: weather.cut + weather.sync_error > 0,
        is_small: random.chance(500_000),
        ..Ledger::default()
    };
    ledger.harm.left = *random.pick(&[0, 0, 0, 1, 3]);
    ledger.neighbour = random.chance(200_000).then_some(0);
    match random.below(6) {
        _ if ledger.harm.left > 0 => {}
        0 => ledger.has_archive = true,
        1 => ledger.backup = Backup::Wanted,
        _ => {}
    }
    (weather, ledger)
}

/// Runs the history of a seed.
fn simulate(seed: u64, trace: bool) -> (Result<(), String>, Arc<Machine<Ledger>>) {
    let (weather, ledger) = draw(seed);
    let machine = Machine::new(seed, SLOTS, weather, ledger);
    if trace {
        machine.lock().trace = Some(Vec::new());
    }
    let outcome = machine.run(live).and_then(|()| {
        machine.lock().restart();
        machine.lock().ledger.tears = true;
        machine.run(|process| {
            process::end(process, verdict::pass(process));
            process.stop();
        })
    });
    (outcome, machine)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect(variable))
}

/// What was seen in all histories, and what went wrong in the first of them in which something did.
#[derive(Default)]
struct Findings {
    counts: BTreeMap<&'static str, u64>,
    broken: Option<(u64, String)>,
}

/// Runs the histories of the seeds from 0 on, one to a core at a time: a history is its seed's alone.
fn simulate_all(seeds: u64) -> Findings {
    let (next, findings) = (AtomicU64::new(0), Mutex::new(Findings::default()));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        break;
                    }
                    let (outcome, machine) = simulate(seed, false);
                    if let Err(broken) = outcome {
                        // Seeds below are under way, and may find something too.
                        next.store(seeds, Ordering::Relaxed);
                        let first = &mut findings.lock().unwrap().broken;
                        if first.as_ref().is_none_or(|(other, _)| seed < *other) {
                            *first = Some((seed, broken));
                        }
                    }
                    let inner = machine.lock();
                    for (what, count) in inner.ledger.counts.iter().chain(&inner.medium.sampled) {
                        *counts.entry(what).or_default() += count;
                    }
                    *counts.entry("turns").or_default() += inner.turns;
                    *counts.entry("power cuts").or_default() += inner.cuts;
                }
                let all = &mut findings.lock().unwrap().counts;
                for (what, count) in counts {
                    *all.entry(what).or_default() += count;
                }
            });
        }
    });
    findings.into_inner().unwrap()
}

#[test]
fn every_history_keeps_what_was_promised() {
    if let Some(seed) = number("QUEUECTL_SEED") {
        let (outcome, machine) = simulate(seed, true);
        let inner = machine.lock();
        for line in inner.trace.iter().flatten() {
            println!("{line}");
        }
        println!("{:?} {:?}", inner.ledger.counts, inner.medium.sampled);
        return outcome.unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    }
    let seeds = number("QUEUECTL_SEEDS").unwrap_or(SEEDS);
    let Findings { counts, broken } = simulate_all(seeds);
    if let Some((seed, broken)) = broken {
        panic!("seed {seed}: {broken}\nQUEUECTL_SEED={seed} prints how it came to it");
    }
    println!("{counts:#?}");
    let unseen: Vec<_> = SEEN.iter().filter(|what| !counts.contains_key(*what)).collect();
    assert!(seeds < SEEDS || unseen.is_empty(), "in {seeds} histories there was never {unseen:?}");
}
