//! The simulation: virtual processes over a simulated disk that crashes at every step, checked against what must hold.
//!
//! `QUEUECTL_SEEDS=n` runs so many histories, `QUEUECTL_SEED=s` runs one and prints every call of it.

mod disk;
mod files;
#[cfg(test)]
mod full_disk;
mod ledger;
mod machine;
mod medium;
mod pages;
mod process;
mod random;
mod recovery;
#[cfg(test)]
mod stories;
mod submitter;
mod verdict;
mod weather;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;

use ledger::Ledger;
use machine::Machine;
use process::Member;
use random::Random;
use weather::Weather;

/// How many virtual processes live at once.
const SLOTS: usize = 4;
/// How many histories the tests run.
const SEEDS: u64 = 2000;

/// Lives as whatever this process is.
fn live(process: &Member) {
    let (calm, kind) = {
        let mut inner = process.machine.lock();
        (inner.is_calm(), inner.random.below(3))
    };
    match kind {
        0 | 1 if !calm => submitter::live(process),
        _ => worker::live(process),
    }
}

/// Runs the history of a seed.
fn simulate(seed: u64, trace: bool) -> (Result<(), String>, Arc<Machine<Ledger>>) {
    let weather = Weather::of(&mut Random::new(seed ^ 0x5eed));
    let tears = weather.cut + weather.sync_error > 0;
    let machine = Machine::new(seed, SLOTS, weather, Ledger { seed, tears, ..Ledger::default() });
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

#[test]
fn every_history_keeps_what_was_promised() {
    if let Some(seed) = number("QUEUECTL_SEED") {
        let (outcome, machine) = simulate(seed, true);
        let inner = machine.lock();
        for line in inner.trace.iter().flatten() {
            println!("{line}");
        }
        println!("{:?}", inner.ledger.counts);
        return outcome.unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    }
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in 0..number("QUEUECTL_SEEDS").unwrap_or(SEEDS) {
        let (outcome, machine) = simulate(seed, false);
        if let Err(broken) = outcome {
            panic!("seed {seed}: {broken}\nQUEUECTL_SEED={seed} prints how it came to it");
        }
        let inner = machine.lock();
        for (what, count) in &inner.ledger.counts {
            *counts.entry(what).or_default() += count;
        }
        *counts.entry("turns").or_default() += inner.turns;
        *counts.entry("power cuts").or_default() += inner.cuts;
    }
    println!("{counts:#?}");
}
