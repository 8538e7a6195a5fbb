//! SIGKILL at one system call after another.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::harness::Home;
use crate::rig::{self, Fault, Times, What};
use crate::scenario::{self, Scenario};
use crate::tally::{Tally, sample};
use crate::{has_tools, is_long, verdict};

/// The calls around which something could be lost.
pub const CALLS: [&str; 14] = [
    "openat",
    "flock",
    "write",
    "pwrite64",
    "fdatasync",
    "fsync",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "exit_group",
];

/// The scenarios, each with how many calls of each kind it makes, where its own begin.
pub fn counted(
    calls: &'static [&'static str],
) -> Vec<(&'static Scenario, BTreeMap<&'static str, (usize, usize)>)> {
    let count = |scenario: &'static Scenario| {
        let home = Home::new();
        let _ = (scenario.before)(&home);
        let (done, trace) = rig::watch(&home, scenario, calls);
        done.ok();
        let counts = calls.iter().map(|call| (*call, trace.count(call)));
        (scenario, counts.map(|(call, (most, loads))| (call, (loads + 1, most))).collect())
    };
    scenario::ALL.iter().map(count).collect()
}

/// Sorts points by their scenario, and then by their call as these stand in the list.
pub fn in_order(points: &mut [(&'static Scenario, Fault)], calls: &[&str]) {
    let place = |fault: &Fault| calls.iter().position(|call| *call == fault.call);
    let row = |at: &Scenario| scenario::ALL.iter().position(|scenario| scenario.name == at.name);
    points.sort_by_key(|(scenario, fault)| (row(scenario), place(fault)));
}

#[test]
fn killed_at_any_call_nothing_acknowledged_is_lost() {
    if !has_tools("killed_at_any_call_nothing_acknowledged_is_lost", &["strace", "flock"]) {
        return;
    }
    let begun = Instant::now();
    let most = if is_long() { usize::MAX } else { 10 };
    let mut points = Vec::new();
    for (scenario, counts) in counted(&CALLS) {
        for (call, (first, last)) in counts {
            for nth in sample(first, last, most, 0) {
                points.push((scenario, Fault { call, what: What::Kill, nth, times: Times::Once }));
            }
        }
    }
    in_order(&mut points, &CALLS);
    let tally = Tally::of(
        &points,
        |(scenario, fault)| (scenario.name, fault.call),
        |(scenario, fault)| format!("{}, {fault}", scenario.name),
        |(scenario, fault)| is_killed(scenario, fault),
    );
    tally.conclude("SIGKILL at", begun);
    // A worker makes a few calls more or less each time.
    assert!(tally.struck() * 10 >= points.len() * 9, "too many runs ended unharmed");
}

/// Kills it there, and sees that all is well. Says whether it came to that call.
fn is_killed(scenario: &Scenario, fault: &Fault) -> bool {
    let home = Home::new();
    let before = (scenario.before)(&home);
    let done = rig::run(&home, scenario, fault).done;
    assert!([0, 137].contains(&done.code), "{done:?}");
    verdict::assert_all_holds(&home, scenario, &before, &done);
    done.code == 137
}
