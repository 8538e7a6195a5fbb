//! `queuectl cancel`.

use super::harness::{Home, wait_until};
use super::story;
use super::verbs::{Case, Verb};

pub const VERBS: &[Verb] = &[Verb {
    path: "cancel",
    success: Case::ok(story::six_states, "cancel pending"),
    refusal: Case::fails(story::six_states, "cancel dead", 1),
    json: Case::ok(story::six_states, "cancel failed"),
}];

#[test]
fn what_waits_is_taken_back_at_once() {
    let home = Home::pinned();
    story::six_states(&home);
    assert_eq!(home.run("cancel pending failed").stdout, "");
    assert_eq!(
        (home.state("pending"), home.state("failed")),
        ("cancelled".into(), "cancelled".into())
    );
    for id in ["dead", "completed"] {
        let said = home.fails(&format!("cancel {id}"), 1);
        assert!(said.contains(id) && !said.contains('\t'), "{said}");
    }
    home.fails("cancel nope", 1);
    home.fails("cancel", 2);
}

#[test]
fn a_second_time_is_as_wanted_already() {
    let home = Home::pinned();
    story::six_states(&home);
    let before = home.log();
    home.ok("cancel cancelled");
    assert_eq!(home.log(), before);
    home.ok("cancel processing");
    let once = home.log();
    assert_ne!(once, before);
    home.ok("cancel processing");
    assert_eq!(home.log(), once);
}

#[test]
fn one_that_cannot_be_taken_back_leaves_all() {
    let home = Home::pinned();
    story::six_states(&home);
    home.fails("cancel pending dead", 1);
    home.fails("cancel pending nope", 1);
    assert_eq!(home.state("pending"), "pending");
}

#[test]
fn filters_take_what_can_be_cancelled() {
    let home = Home::pinned();
    story::six_states(&home);
    let dry = home.run("cancel all --dry-run");
    assert_eq!(dry.clone().ok().lines().collect::<Vec<_>>(), ["failed", "processing", "pending"]);
    home.ok("cancel state:failed,dead --yes");
    assert_eq!((home.state("failed"), home.state("dead")), ("cancelled".into(), "dead".into()));
    let none = home.run("cancel state:completed --yes");
    assert_eq!((none.code, &*none.stdout), (0, ""));
    assert!(none.stderr.len() > 5, "none is a sentence");
}

#[test]
fn a_running_job_is_ended() {
    let home = Home::new();
    let command = "echo up; trap 'echo bye; exit 3' TERM; while :; do sleep 0.02; done";
    home.queuectl(["enqueue", "--id", "r", command]).done().ok();
    let worker = home.worker("--drain");
    wait_until("the job runs", || home.run("logs r").stdout == "up\n");
    home.ok("cancel r");
    wait_until("the job is cancelled", || home.state("r") == "cancelled");
    assert_eq!(worker.end().code, 0);
    assert_eq!(home.ok("logs r"), "up\nbye\n");
    let job = home.job("r");
    assert_eq!((&job["attempts"], &job["state"]), (&0.into(), &"cancelled".into()), "{job}");
}
