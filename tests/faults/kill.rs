//! SIGKILL at one system call after another.

use std::time::Instant;

use crate::harness::Home;
use crate::rig::{self, Fault, Times, What};
use crate::scenario::Scenario;
use crate::{has_tools, points, verdict};

/// The calls around which something could be lost.
const CALLS: [&str; 14] = [
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

#[test]
fn killed_at_any_call_nothing_acknowledged_is_lost() {
    if !has_tools("killed_at_any_call_nothing_acknowledged_is_lost", &["strace", "flock"]) {
        return;
    }
    let begun = Instant::now();
    let points = points::plan(&CALLS, &[(What::Kill, Times::Once)], 10);
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
