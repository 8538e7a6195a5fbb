//! System calls that fail, once and for ever: whatever fails, the exit code says how it went, the message says what and
//! where, and nothing that was acknowledged is missing.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use crate::harness::Home;
use crate::points::CHANGES;
use crate::rig::{self, Rigged, Times, What};
use crate::scenario::Scenario;
use crate::{has_tools, points, verdict};

/// The calls that a signal can interrupt.
const INTERRUPTIBLE: [&str; 7] =
    ["openat", "flock", "write", "pwrite64", "pread64", "fdatasync", "fsync"];

/// What is documented of a command that is not `wait` or `run`: done, refused or failed, damaged, not recorded.
const EXIT_CODES: [i32; 4] = [0, 1, 3, 74];

#[test]
fn whatever_call_fails_nothing_acknowledged_is_lost() {
    if !has_tools(&["strace", "flock"]) {
        return;
    }
    let reads = ["openat", "statx", "pread64", "getdents64", "flock"];
    let calls = [&reads[..], &CHANGES].concat();
    let faults = [
        (What::Error("EIO"), Times::Once),
        (What::Error("EIO"), Times::ForEver),
        (What::Error("ENOSPC"), Times::Once),
        (What::Error("ENOSPC"), Times::ForEver),
    ];
    try_all("EIO, ENOSPC at", &calls, &faults, 2, |scenario, before, rigged, home| {
        assert_told(scenario, home, rigged);
        assert_not_trusted(home, rigged);
        verdict::assert_all_holds(home, scenario, before, &rigged.done);
    });
}

#[test]
fn whatever_call_is_interrupted_is_made_again() {
    if !has_tools(&["strace", "flock"]) {
        return;
    }
    let faults = [(What::Error("EINTR"), Times::Five)];
    try_all("EINTR at", &INTERRUPTIBLE, &faults, 4, |scenario, before, rigged, home| {
        assert_eq!(rigged.done.code, 0, "{:?}", rigged.done);
        verdict::assert_all_holds(home, scenario, before, &rigged.done);
    });
}

/// Tries these faults at these calls, in the short form at so many of each scenario's calls of a kind.
fn try_all(
    title: &str,
    calls: &[&'static str],
    faults: &[(What, Times)],
    most: usize,
    check: impl Fn(&Scenario, &[String], &Rigged, &Home) + Sync,
) {
    let begun = Instant::now();
    let points = points::plan(calls, faults, most);
    let tally = points::try_all(&points, |scenario, fault| {
        let home = Home::new();
        let before = (scenario.before)(&home);
        let rigged = rig::run(&home, scenario, fault);
        // What is no file can't fail so.
        if rigged.hits.iter().any(|hit| hit.contains("<anon_inode:")) {
            return false;
        }
        let checked = AssertUnwindSafe(|| check(scenario, &before, &rigged, &home));
        if let Err(panic) = std::panic::catch_unwind(checked) {
            let name = scenario.name;
            eprintln!("{name}, {fault}: {:#?}\n{:?}", rigged.hits, rigged.done);
            std::panic::resume_unwind(panic);
        }
        !rigged.hits.is_empty()
    });
    tally.conclude(title, begun);
}

/// The exit code is one of those that are documented, and what went wrong is said, with thing and place.
#[track_caller]
pub fn assert_told(scenario: &Scenario, home: &Home, Rigged { done, hits }: &Rigged) {
    assert!(EXIT_CODES.contains(&done.code), "exit code {}", done.code);
    for word in ["panicked", "BUG:"] {
        assert!(!done.stderr.contains(word), "{}: {}", scenario.name, done.stderr);
    }
    // Nothing can be told where stderr is what fails.
    if done.code == 0 || hits.iter().any(|hit| hit.contains("write(2<")) {
        return;
    }
    let last = done.stderr.lines().rfind(|line| line.starts_with("queuectl: cannot "));
    let last = last.unwrap_or_else(|| panic!("it failed and doesn't say so: {done:?}"));
    let places = [
        home.path().to_str().expect("a path that is text"),
        "stdout",
        "batch",
        "/etc/machine-id",
        "lock file of worker",
    ];
    assert!(places.iter().any(|place| last.contains(place)), "no place: {last}");
}

/// A log whose sync failed is not trusted again: where the next sync goes well too, a new segment was begun, and where
/// none does, it is no success.
#[track_caller]
fn assert_not_trusted(home: &Home, Rigged { done, hits }: &Rigged) {
    let is_log = |hit: &&String| hit.contains("/queue/log/") && hit.contains(".jsonl>");
    let failed = hits.iter().filter(|hit| hit.contains("fdatasync(")).filter(is_log).count();
    if failed > 0 && done.code == 0 {
        let log = home.log();
        // A base tells what was cut off then.
        let tells = |event: &&Value| event["why"] == "fsync_error" || event["cut"].is_object();
        assert!(
            log.iter().any(|event| tells(&event)),
            "a sync of the log failed, and it went on: {hits:?}"
        );
    }
}

#[test]
fn a_machine_whose_id_cannot_be_read_is_taken_for_no_other() {
    if !has_tools(&["strace"]) || !Path::new("/etc/machine-id").exists() {
        return;
    }
    let home = Home::new();
    home.ok("enqueue true");
    for calls in ["openat", "read,pread64"] {
        let inject = format!("inject={calls}:error=EIO");
        let strace = ["-qq", "-o", "/dev/null", "-P", "/etc/machine-id", "-e", &inject];
        let words = strace.into_iter().chain([env!("CARGO_BIN_EXE_queuectl"), "enqueue", "true"]);
        let said = home.command("strace", words).done().fails(1);
        assert!(said.contains("/etc/machine-id"), "{said}");
    }
    let nodes = std::fs::read_dir(home.queue().join("log")).expect("a directory").count();
    assert_eq!(nodes, 1, "it wrote as another node");
    assert_eq!(home.log().iter().filter(|event| event["ev"] == "enqueued").count(), 1);
}
