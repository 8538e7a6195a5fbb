//! `queuectl wait`.

use std::time::{Duration, Instant};

use super::harness::{Home, wait_until};
use super::story;
use super::verbs::{Case, Verb};

pub const VERBS: &[Verb] = &[Verb {
    path: "wait",
    success: Case::ok(story::six_states, "wait completed"),
    refusal: Case::fails(story::six_states, "wait completed nope", 1),
    json: Case::ok(story::six_states, "wait completed"),
}];

#[test]
fn how_it_ends() {
    let home = Home::pinned();
    story::six_states(&home);
    let table = [
        ("wait completed", 0),
        ("wait state:completed", 0),
        ("wait dead", 10),
        ("wait cancelled", 10),
        ("wait completed dead", 10),
        ("wait completed pending --any", 0),
        ("wait dead pending --any", 10),
        ("wait failed --timeout 100ms", 124),
        ("wait pending --timeout 0", 124),
        ("wait processing --timeout 100ms", 124),
        ("wait --all --timeout 100ms", 124),
        ("wait dead --timeout 0", 10),
        ("wait queue:nowhere", 0),
        ("wait nope", 1),
        ("wait", 2),
        ("wait completed --timeout soon", 2),
    ];
    for (line, code) in table {
        let done = home.run(line);
        assert_eq!(done.code, code, "{line}: {}", done.stderr);
        assert_eq!(done.stdout, "", "{line}");
    }
}

#[test]
fn json_prints_the_jobs() {
    let home = Home::pinned();
    story::six_states(&home);
    let done = home.run("wait completed dead --json");
    assert_eq!(done.code, 10);
    let jobs: serde_json::Value = serde_json::from_str(&done.stdout).expect("a document");
    assert_eq!(jobs.as_array().map(Vec::len), Some(2), "{jobs}");
    assert_eq!((&jobs[0]["id"], &jobs[1]["state"]), (&"completed".into(), &"dead".into()));
}

/// Begins to wait, lets something happen once it waits, and gives how it ended and how soon.
fn wait_while(home: &Home, line: &str, what: impl FnOnce(&Home)) -> (i32, Duration) {
    let mut waiting = home.queuectl(line.split_ascii_whitespace()).start();
    // It waits once it sleeps: until then the log may be read before or after what happens, and both are right.
    // A start sleeps for moments too, so it has to be seen asleep many times in a row.
    let mut asleep = 0;
    wait_until("the waiting process sleeps", || {
        asleep = if waiting.is_asleep() { asleep + 1 } else { 0 };
        waiting.is_over() || asleep >= 20
    });
    assert!(!waiting.is_over(), "{line} does not wait");
    what(home);
    let happened = Instant::now();
    let code = waiting.end().code;
    (code, happened.elapsed())
}

#[test]
fn what_happens_elsewhere_ends_it() {
    let home = Home::new();
    for id in ["a", "b", "c", "d"] {
        home.ok(&format!("enqueue --id {id} true"));
    }
    let table: [(&str, &str, i32); 3] = [
        ("wait a", "cancel a", 10),
        ("wait b c --any", "cancel b", 10),
        ("wait c d", "worker start --drain", 0),
    ];
    for (line, what, code) in table {
        let (ended, soon) = wait_while(&home, line, |home| drop(home.ok(what)));
        assert_eq!(ended, code, "{line}");
        assert!(soon < Duration::from_secs(5), "{line} ended {soon:?} after {what}");
    }
}

#[test]
fn a_purged_job_counts_as_badly_ended() {
    let home = Home::new();
    home.ok("enqueue --id a true");
    home.ok("enqueue --id b true");
    let (code, _) = wait_while(&home, "wait a b", |home| {
        home.ok("cancel a");
        home.ok("purge a --yes");
        home.drain("");
    });
    assert_eq!(code, 10);
}

#[test]
fn the_set_is_fixed_when_it_starts() {
    let home = Home::new();
    home.ok("enqueue --id a --queue q true");
    let (code, _) = wait_while(&home, "wait queue:q", |home| {
        home.ok("enqueue --id b --queue q --delay 1h true");
        home.drain("");
    });
    assert_eq!(code, 0);
    assert_eq!(home.state("b"), "pending");
}

#[test]
fn ctrl_c_ends_it_with_130() {
    let home = Home::new();
    home.ok("enqueue --id a true");
    let mut waiting = home.queuectl(["wait", "a"]).start();
    // A start sleeps for moments too, so it has to be seen asleep many times in a row.
    let mut asleep = 0;
    wait_until("the waiting process sleeps", || {
        asleep = if waiting.is_asleep() { asleep + 1 } else { 0 };
        waiting.is_over() || asleep >= 20
    });
    waiting.signal(rustix::process::Signal::INT);
    assert_eq!(waiting.end().code, 130);
}
