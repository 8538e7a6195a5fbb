//! `queuectl edit`.

use serde_json::json;

use super::harness::Home;
use super::story;
use super::verbs::{Case, Verb};

pub const VERBS: &[Verb] = &[Verb {
    path: "edit",
    success: Case::ok(story::six_states, "edit pending --priority 10"),
    refusal: Case::fails(story::six_states, "edit processing --priority 10", 1),
    json: Case::ok(story::six_states, "edit pending --queue fast --tag a --tag b --run-at +10m"),
}];

#[test]
fn each_field() {
    let home = Home::pinned();
    story::six_states(&home);
    let line = "edit pending --priority -7 --run-at 2026-03-01T00:00:00Z --max-retries 9 --timeout 1h30m --queue q --tag x";
    home.ok(line);
    let job = home.job("pending");
    for (field, value) in [
        ("priority", json!(-7)),
        ("run_at", json!("2026-03-01T00:00:00.000000Z")),
        ("max_retries", json!(9)),
        ("timeout", json!(5400)),
        ("queue", json!("q")),
        ("tags", json!(["x"])),
        ("name", json!("mirror")),
        ("command", json!("rsync -a src/ dst/")),
    ] {
        assert_eq!(job[field], value, "{field}");
    }
    home.ok("edit failed --max_retries 1");
    assert_eq!(home.job("failed")["max_retries"], 1);
}

#[test]
fn only_waiting_jobs_and_all_or_none() {
    let home = Home::pinned();
    story::six_states(&home);
    let before = home.log();
    for id in ["completed", "dead", "cancelled", "processing", "nope"] {
        let said = home.fails(&format!("edit pending {id} --priority 1"), 1);
        assert!(said.contains(id), "{said}");
    }
    for line in [
        "edit pending",
        "edit --priority 1",
        "edit pending --priority high",
        "edit pending --run-at 90",
        "edit pending --max-retries -1",
        "edit pending --timeout soon",
    ] {
        home.fails(line, 2);
    }
    assert_eq!(home.log(), before);
}

#[test]
fn values_are_checked_as_for_enqueue() {
    let home = Home::pinned();
    story::six_states(&home);
    let before = home.log();
    let long = "x".repeat(300);
    for (flag, value) in
        [("--queue", ""), ("--tag", ""), ("--queue", "a\nb"), ("--tag", long.as_str())]
    {
        let done = home.queuectl(["edit", "pending", flag, value]).done();
        assert!(matches!(done.code, 1 | 2), "{flag} {value:?}: {} {}", done.code, done.stdout);
    }
    assert_eq!(home.log(), before);
}

#[test]
fn filters_take_the_waiting_ones() {
    let home = Home::pinned();
    story::six_states(&home);
    home.ok("edit --all --priority 3");
    let jobs = home.ok("list --columns id,priority");
    assert!(jobs.contains("pending\t3\n") && jobs.contains("failed\t3\n"), "{jobs}");
    assert!(jobs.contains("dead\t0\n") && jobs.contains("processing\t0\n"), "{jobs}");
    let none = home.run("edit state:dead --priority 4");
    assert_eq!(none.code, 0);
    assert!(none.stderr.len() > 5);
}

#[test]
fn order_follows_priority() {
    let home = Home::new();
    for id in ["a", "b", "c"] {
        home.queuectl(["enqueue", "--id", id, &format!("echo {id} >> order")]).done().ok();
    }
    home.ok("edit c --priority 1");
    home.ok("edit a --priority -1");
    home.drain("");
    assert_eq!(home.read("order"), "c\nb\na\n");
}
