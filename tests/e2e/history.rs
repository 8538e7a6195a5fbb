//! `queuectl history`.

use serde_json::Value;

use super::harness::Home;
use super::story;
use super::verbs::{Case, Verb};

pub const VERBS: &[Verb] = &[Verb {
    path: "history",
    success: Case::ok(story::six_states, "history failed"),
    refusal: Case::fails(story::six_states, "history nope", 1),
    json: Case::ok(story::six_states, "history dead"),
}];

#[test]
fn the_events_of_one_job_in_order() {
    let home = Home::pinned();
    story::six_states(&home);
    let events = |line: &str| -> Vec<String> {
        let lines = home.ok(line);
        let events =
            lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("an event"));
        events.map(|event| event["ev"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(events("history dead --jsonl"), ["enqueued", "claimed", "died"]);
    home.ok("dlq retry dead");
    assert_eq!(events("history dead --jsonl"), ["enqueued", "claimed", "died", "requeued"]);
    assert_eq!(events("history pending --jsonl"), ["enqueued"]);
    let text = home.ok("history dead");
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(!text.contains("example.org"), "events of another job");
}

#[test]
fn a_purged_job_is_gone() {
    let home = Home::pinned();
    story::six_states(&home);
    home.ok("purge completed --yes");
    home.fails("history completed", 1);
}

#[test]
fn the_events_of_a_batch_are_among_them() {
    let home = Home::new();
    home.run_with(
        "enqueue -f -",
        "{\"id\":\"a\",\"command\":\"x\"}{\"id\":\"b\",\"command\":\"y\"}",
    )
    .ok();
    let history = home.run("history a --json").json();
    assert_eq!(history[0]["ev"], "enqueued", "{history}");
    assert_eq!(history[0]["job"], "a");
}
