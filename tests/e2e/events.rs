//! `queuectl events`.

use std::io::{BufRead, BufReader};

use serde_json::Value;

use super::harness::Home;
use super::story;
use super::verbs::{Case, Verb};

pub const VERBS: &[Verb] = &[Verb {
    path: "events",
    success: Case::ok(story::six_states, "events"),
    refusal: Case::fails(story::six_states, "events --since yesterday", 2),
    json: Case::ok(story::six_states, "events --job failed"),
}];

fn told() -> Home {
    let home = Home::pinned();
    story::six_states(&home);
    home
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("an event a line")).collect()
}

#[test]
fn all_events_in_order() {
    let home = told();
    let events = lines(&home.ok("events --jsonl"));
    let times: Vec<&str> = events.iter().filter_map(|event| event["ts"].as_str()).collect();
    assert_eq!(times.len(), events.len());
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(home.run("events --json").json(), Value::Array(events.clone()));
    let jobs = |events: &[Value]| events.iter().filter(|event| !event["job"].is_null()).count();
    let logged = home.log();
    assert_eq!(jobs(&events), jobs(&logged));
    for (event, line) in events
        .iter()
        .filter(|event| event["ev"] != "segment")
        .zip(logged.iter().filter(|line| line["ev"] != "segment"))
    {
        for field in ["seq", "ts", "ev", "job"] {
            assert_eq!(event[field], line[field], "{event}");
        }
    }
}

#[test]
fn of_one_job_and_since_a_moment() {
    let home = told();
    let events = lines(&home.ok("events --job dead --jsonl"));
    assert!(events.iter().all(|event| event["job"] == "dead"), "{events:?}");
    assert_eq!(events.len(), 3);
    let count = |line: &str| home.ok(line).lines().count();
    let all = count("events --jsonl");
    assert_eq!(count("events --jsonl --since 7d"), all);
    assert_eq!(count("events --jsonl --since 2026-01-01T00:00:00Z"), all);
    let recent = count("events --jsonl --since 1h30m");
    assert!(recent > 0 && recent < all, "{recent} of {all}");
    assert_eq!(count("events --jsonl --since 2026-02-02T00:34:05-01:00"), recent);
    assert_eq!(count("events --jsonl --since 2027-01-01T00:00:00Z"), 0);
    home.fails("events --job nope", 1);
    for since in ["yesterday", "2026-02-02", ""] {
        let said = home.queuectl(["events", "--since", since]).done();
        assert!(matches!(said.code, 1 | 2), "{since:?}");
    }
}

#[test]
fn for_people_and_scripts() {
    let home = told();
    let text = home.ok("events");
    assert!(text.lines().count() >= 14, "{text}");
    assert!(text.contains("enqueued") && text.contains("died"), "{text}");
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn a_queue_that_is_not_there_has_none() {
    let home = Home::new();
    assert_eq!(home.ok("events"), "");
    assert_eq!(home.ok("events --json").trim(), "[]");
    assert_eq!(home.ok("events --jsonl"), "");
    assert!(!home.queue().exists());
}

#[test]
fn following_prints_what_comes() {
    let home = Home::new();
    home.ok("enqueue --id a true");
    let mut follower = home.queuectl(["events", "--follow", "--jsonl"]).start();
    let mut printed = BufReader::new(follower.stdout()).lines();
    let mut next = || -> Value {
        let line = printed.next().expect("a line").expect("text");
        serde_json::from_str(&line).expect("an event")
    };
    let mut until = |ev: &str, job: &str| {
        while {
            let event = next();
            event["ev"] != ev || event["job"] != job
        } {}
    };
    until("enqueued", "a");
    home.ok("enqueue --id b true");
    until("enqueued", "b");
    home.ok("cancel a");
    until("cancelled", "a");
    assert!(!follower.is_over());
    follower.signal(rustix::process::Signal::INT);
    let code = follower.end().code;
    assert!(matches!(code, 0 | 130), "{code}");
    home.fails("events --follow --json", 2);
}
