//! `queuectl events`.

use std::io::{BufRead, BufReader};

use rustix::process::{Signal, WaitOptions, waitpid};
use serde_json::Value;

use super::harness::{Home, Running, wait_until};
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

/// A follower, and what reads on to an event of a job and gives it.
fn follow(home: &Home) -> (Running, impl FnMut(&str, &str) -> Value) {
    let mut follower = home.queuectl(["events", "--follow", "--jsonl"]).start();
    let mut printed = BufReader::new(follower.stdout()).lines();
    let until = move |ev: &str, job: &str| {
        loop {
            let line = printed.next().expect("a line").expect("text");
            let event: Value = serde_json::from_str(&line).expect("an event");
            if event["ev"] == ev && event["job"] == job {
                return event;
            }
        }
    };
    (follower, until)
}

#[test]
fn following_prints_what_comes() {
    let home = Home::new();
    home.ok("enqueue --id a true");
    let (mut follower, mut until) = follow(&home);
    until("enqueued", "a");
    home.ok("enqueue --id b true");
    until("enqueued", "b");
    home.ok("cancel a");
    until("cancelled", "a");
    assert!(!follower.is_over());
    follower.signal(Signal::INT);
    let done = follower.end();
    assert!(matches!(done.code, 0 | 130), "{done:?}");
    assert_eq!(done.stderr, "");
    home.fails("events --follow --json", 2);
}

#[test]
fn a_follower_says_what_was_compacted_before_it_read_it() {
    let home = Home::new();
    home.ok("enqueue --id a true");
    let (follower, mut until) = follow(&home);
    let seen = until("enqueued", "a")["seq"].as_u64().expect("a number");
    follower.signal(Signal::STOP);
    waitpid(Some(follower.pid()), WaitOptions::UNTRACED).expect("it stops");
    home.drain("").ok();
    home.ok("enqueue --id b true");
    let last = home.log().iter().filter_map(|event| event["seq"].as_u64()).max().expect("a line");
    home.ok("compact");
    follower.signal(Signal::CONT);
    let runs = |event: Value| event["runs"].as_array().map_or(0, Vec::len);
    assert_eq!((runs(until("job_state", "a")), runs(until("job_state", "b"))), (1, 0));
    wait_until("a note", || follower.stderr().ends_with('\n'));
    // Once.
    for id in ["c", "d"] {
        home.ok(&format!("enqueue --id {id} true"));
        until("enqueued", id);
    }
    follower.signal(Signal::INT);
    let missed = last - seen;
    assert_eq!(
        follower.end().stderr,
        format!(
            "note: {missed} events were compacted before they were read; \
             what their jobs came to is shown instead\n"
        )
    );
}
