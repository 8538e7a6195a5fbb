//! A job on one line and back, and what stays off the line.

use std::time::Duration;

use serde_json::json;

use super::JobRecorded;
use crate::domain::decide;
use crate::domain::event::Event;
use crate::domain::job::{Job, JobState, Origin, RunResult, Tail};
use crate::domain::testing::{Queue, id, spec};
use crate::domain::timestamp::Timestamp;

fn line(job: &Job) -> serde_json::Value {
    serde_json::to_value(JobRecorded::of(job)).unwrap()
}

fn assert_comes_back(job: &Job) {
    let line = serde_json::to_vec(&JobRecorded::of(job)).unwrap();
    let again = JobRecorded::of_line(&line).unwrap().job(job.order, job.created_at);
    assert_eq!(&again, job, "{}", String::from_utf8_lossy(&line));
}

#[test]
fn of_a_job_that_was_run_once_and_well_little_is_said() {
    let mut queue = Queue::with_jobs(&["a"]);
    queue.pass(1);
    let claimed = queue.claim();
    queue.pass(2);
    queue.finish(&claimed, RunResult::Exit(0));
    let job = queue.job("a");
    let run = json!({ "claim": "desk.w.0", "start_us": 1_000_000, "end_us": 3_000_000, "ms": 7 });
    let expected = json!({ "job": "a", "command": "true", "max_retries": 3, "runs": [run] });
    assert_eq!(line(job), expected);
    assert_comes_back(job);
}

#[test]
fn each_way_a_run_can_end_is_said_and_that_it_has_not() {
    let mut queue = Queue::with_jobs(&["a"]);
    let claimed = queue.claim();
    assert_eq!(line(queue.job("a"))["runs"][0], json!({ "claim": "desk.w.0", "start_us": 0 }));
    assert_comes_back(queue.job("a"));
    queue.finish(&claimed, RunResult::Exit(1));
    let failed = line(queue.job("a"));
    assert_eq!(
        (&failed["state"], &failed["runs"][0]["result"]),
        (&json!("failed"), &json!("exit 1"))
    );
    queue.pass(2);
    queue.run(RunResult::Exit(1));
    let twice = line(queue.job("a"));
    assert_eq!(twice["runs"].as_array().unwrap().len(), 2);
    assert!(twice.get("attempts").is_none() && twice.get("last_run").is_none(), "{twice}");
    let mut job = queue.job("a").clone();
    for result in RunResult::SAMPLES {
        job.runs[0].result = Some(result);
        assert_comes_back(&job);
        job.runs[0].finished_at = None;
        // Half of what a damaged log tells is kept as it is, too.
        assert_comes_back(&job);
        job.runs[0].finished_at = Some(job.created_at);
    }
}

#[test]
fn whatever_is_not_as_it_mostly_is_comes_back() {
    let mut queue = Queue::with_jobs(&["plain"]);
    let plain = queue.job("plain").clone();
    assert_eq!(line(&plain)["state"], "pending");
    assert_comes_back(&plain);
    let mut job = {
        queue.run(RunResult::Exit(1));
        queue.job("plain").clone()
    };
    let at = |seconds| Timestamp::from_micros(job.created_at.micros() + seconds * 1_000_000_i64);
    (job.updated_at, job.due, job.delay) = (at(9), Some(at(11)), Some(Duration::from_millis(1500)));
    (job.attempts, job.lost, job.last_run) = (7, 2, 9);
    (job.cancel_requested, job.reason, job.held) = (true, Some("why".into()), Some("held".into()));
    job.claim = Some(job.runs[0].claim.clone());
    job.origin = Some(Box::new(Origin { node: "old".into(), epoch: 2 }));
    (job.runs[0].run, job.runs[0].error) = (4, Some("no such file".into()));
    job.runs[0].tail = Some(Tail { out: "out".into(), err: String::new() });
    assert_comes_back(&job);
    for state in JobState::ALL {
        job.state = state;
        assert_comes_back(&job);
    }
    // What happened at the moment of its beginning, with runs and without.
    job.updated_at = job.created_at;
    assert_comes_back(&job);
    (job.runs, job.attempts, job.last_run) = (Vec::new(), 1, 1);
    assert_comes_back(&job);
}

#[test]
fn it_takes_the_place_of_what_it_stands_for() {
    let mut queue = Queue::with_jobs(&["a", "b"]);
    queue.run(RunResult::Exit(1));
    let cancelled = decide::cancel(&queue.node, &id("b"), Some("no".into())).unwrap().unwrap();
    queue.happen(cancelled);
    queue.happen(Event::Enqueued(Box::new(spec("c"))));
    for text in ["a", "b", "c"] {
        assert_comes_back(queue.job(text));
    }
}
