//! SIGKILL at one system call after another.

use std::time::Instant;

use crate::harness::Home;
use crate::points::CHANGES;
use crate::rig::{self, Fault, Times, What};
use crate::scenario::Scenario;
use crate::{has_tools, points, verdict};

#[test]
fn killed_at_any_call_nothing_acknowledged_is_lost() {
    if !has_tools(&["strace", "flock"]) {
        return;
    }
    let begun = Instant::now();
    let calls = [&["openat", "flock"], &CHANGES[..], &["exit_group"]].concat();
    let points = points::plan(&calls, &[(What::Kill, Times::Once)], 10);
    let tally = points::try_all(&points, is_killed);
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
