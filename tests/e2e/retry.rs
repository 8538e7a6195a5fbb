//! `queuectl retry`.

use super::harness::Home;
use super::story;
use super::verbs::{Case, Verb};

pub const VERBS: &[Verb] = &[Verb {
    path: "retry",
    success: Case::ok(story::six_states, "retry dead"),
    refusal: Case::fails(story::six_states, "retry pending", 1),
    json: Case::ok(story::six_states, "retry completed"),
}];

#[test]
fn finished_jobs_begin_again_and_failed_ones_are_due() {
    let home = Home::pinned();
    story::six_states(&home);
    home.ok("retry completed dead cancelled failed");
    for id in ["completed", "dead", "cancelled"] {
        let job = home.job(id);
        assert_eq!((&job["state"], &job["attempts"]), (&"pending".into(), &0.into()), "{job}");
    }
    let failed = home.job("failed");
    assert_eq!(failed["attempts"], 1, "{failed}");
    assert!(matches!(failed["state"].as_str(), Some("failed" | "pending")), "{failed}");
    let dead = home.job("dead");
    assert_eq!(dead["runs"].as_array().map(Vec::len), Some(1), "its history stays: {dead}");
}

#[test]
fn a_failed_job_does_not_wait_any_longer() {
    let home = Home::new();
    let command = "test $QUEUECTL_RUN = 2";
    home.queuectl(["enqueue", "--id", "f", "--backoff-base", "3600", command]).done().ok();
    home.ok("worker start --max-jobs 1");
    assert_eq!(home.state("f"), "failed");
    home.ok("retry f");
    home.ok("worker start --max-jobs 1");
    let job = home.job("f");
    assert_eq!((&job["state"], &job["attempts"]), (&"completed".into(), &2.into()), "{job}");
}

#[test]
fn refusals_leave_all() {
    let home = Home::pinned();
    story::six_states(&home);
    let before = home.log();
    for (line, code) in [
        ("retry dead pending", 1),
        ("retry dead processing", 1),
        ("retry dead nope", 1),
        ("retry", 2),
        ("retry state:nope", 2),
    ] {
        home.fails(line, code);
    }
    assert_eq!(home.log(), before);
}

#[test]
fn filters_take_what_can_be_retried_without_asking() {
    let home = Home::pinned();
    story::six_states(&home);
    home.ok("retry state:dead,pending");
    assert_eq!(home.state("dead"), "pending");
    home.ok("retry --all");
    let states = home.run("status --json").json();
    assert_eq!(states["counts"]["completed"], 0, "{states}");
    assert_eq!(states["counts"]["processing"], 1, "{states}");
    let none = home.run("retry queue:nowhere");
    assert_eq!(none.code, 0);
    assert!(none.stderr.len() > 5);
}
