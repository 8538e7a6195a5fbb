//! What is folded beside single jobs: batches, workers, pauses, configuration, and what cannot be.

use std::collections::BTreeMap;

use super::decide_tests::worker;
use super::event::*;
use super::job::{Job, JobState, RunResult};
use super::state::NodeState;
use super::testing::{Queue, id, spec};
use super::timestamp::Timestamp;

fn of_batch(text: &str, batch: &str) -> Event {
    let mut spec = spec(text);
    spec.batch = Some(batch.into());
    Event::Enqueued(Box::new(spec))
}

fn committed(batch: &str, count: u64) -> Event {
    Event::BatchCommitted(BatchCommitted { batch: batch.into(), count })
}

fn abandoned(batch: &str) -> Event {
    Event::BatchAbandoned(BatchAbandoned { batch: batch.into() })
}

fn ids(queue: &Queue) -> Vec<&str> {
    queue.node.jobs().map(|job| job.id().as_str()).collect()
}

#[test]
fn a_batch_exists_from_its_last_line_on() {
    let mut queue = Queue::with_jobs(&["a"]);
    let enqueued_at = queue.now;
    queue.happen(of_batch("x", "B"));
    queue.happen(Event::Enqueued(Box::new(spec("b"))));
    queue.happen(of_batch("y", "B"));
    assert_eq!(ids(&queue), ["a", "b"]);
    assert_eq!(queue.node.facts.totals.enqueued, 2);
    queue.pass(9);
    queue.happen(committed("B", 2));
    assert_eq!(ids(&queue), ["a", "x", "b", "y"], "in the order of their own lines");
    assert_eq!(queue.ready(), ["a", "x", "b", "y"]);
    assert_eq!(queue.job("x").created_at, enqueued_at);
    assert_eq!(queue.job("x").spec.batch, None);
    assert_eq!(queue.node.facts.totals.enqueued, 4);
    assert!(queue.node.facts.open_batches.is_empty());
}

#[test]
fn a_batch_that_is_not_whole_has_no_effect() {
    for (count, what) in [(1, "2 jobs, not 1"), (3, "2 jobs, not 3"), (0, "2 jobs, not 0")] {
        let mut queue = Queue::new();
        queue.happen(of_batch("x", "B"));
        queue.happen(of_batch("y", "B"));
        queue.happen(of_batch("z", "C"));
        let before = queue.node.facts.open_batches.clone();
        let illegal = queue.apply(committed("B", count)).unwrap_err();
        assert!(illegal.what.contains(what), "{illegal}");
        assert_eq!(ids(&queue), Vec::<&str>::new());
        assert_eq!(queue.node.facts.open_batches, before);
        queue.happen(committed("B", 2));
        assert_eq!(ids(&queue), ["x", "y"]);
    }
    assert!(Queue::new().apply(committed("B", 2)).is_err());
}

#[test]
fn a_batch_that_was_given_up_never_exists() {
    let mut queue = Queue::new();
    queue.happen(of_batch("x", "B"));
    queue.happen(of_batch("y", "B"));
    queue.happen(abandoned("B"));
    assert!(queue.apply(committed("B", 2)).unwrap_err().what.contains("abandoned"));
    assert!(queue.apply(of_batch("z", "B")).unwrap_err().what.contains("abandoned"));
    assert!(queue.apply(committed("B", 1)).is_err());
    assert_eq!(ids(&queue), Vec::<&str>::new());
    queue.happen(Event::Enqueued(Box::new(spec("x"))));
    assert_eq!(ids(&queue), ["x"]);
}

#[test]
fn a_batch_whose_id_was_taken_meanwhile_has_no_effect_at_all() {
    let mut queue = Queue::new();
    queue.happen(of_batch("x", "B"));
    queue.happen(of_batch("y", "B"));
    queue.happen(Event::Enqueued(Box::new(spec("y"))));
    let before = queue.node.clone();
    assert!(queue.apply(committed("B", 2)).unwrap_err().what.contains("job y exists"));
    assert_eq!(ids(&queue), ["y"]);
    assert_eq!(queue.node.jobs, before.jobs);
    assert_eq!(queue.node.facts.open_batches, before.facts.open_batches);

    let mut queue = Queue::new();
    queue.happen(of_batch("x", "B"));
    queue.happen(of_batch("x", "B"));
    assert!(queue.apply(committed("B", 2)).is_err());
    assert_eq!(ids(&queue), Vec::<&str>::new(), "half a batch");
}

#[test]
fn two_batches_of_one_id_and_the_first_committed_has_it() {
    let mut queue = Queue::new();
    for batch in ["B", "C"] {
        queue.happen(of_batch("x", batch));
        queue.happen(of_batch(&format!("y{batch}"), batch));
    }
    queue.happen(committed("C", 2));
    assert!(queue.apply(committed("B", 2)).is_err());
    assert_eq!(ids(&queue), ["x", "yC"]);
}

#[test]
fn workers_come_are_asked_to_stop_and_go() {
    let mut queue = Queue::new();
    let stop = |now| WorkerStopRequested { worker: "desk.w".into(), now };
    assert!(queue.apply(Event::WorkerStopRequested(stop(false))).is_err());
    queue.happen(Event::WorkerStarted(worker()));
    let since = queue.now;
    queue.pass(5);
    let asked = |queue: &Queue| queue.node.facts.workers["desk.w"].stop_requested;
    assert_eq!(asked(&queue), None);
    for (now, expected) in [(false, false), (true, true), (false, true)] {
        queue.happen(Event::WorkerStopRequested(stop(now)));
        assert_eq!(asked(&queue), Some(expected));
    }
    assert_eq!(queue.node.facts.workers["desk.w"].started_at, since);
    let gone = WorkerStopped { worker: "desk.w".into(), died: true };
    queue.happen(Event::WorkerStopped(gone.clone()));
    queue.happen(Event::WorkerStopped(gone));
    assert!(queue.node.facts.workers.is_empty());
}

#[test]
fn the_configuration_is_what_the_last_header_says() {
    let header = |value: &str| Segment {
        v: 1,
        node: "desk".into(),
        segment: 1,
        boot: "b".into(),
        why: "config".into(),
        prev: None,
        carried: 0,
        config: BTreeMap::from([("max_retries".to_owned(), value.to_owned())]),
        requires: Vec::new(),
        end: None,
        cut: BTreeMap::new(),
        app: "test".into(),
    };
    let mut queue = Queue::with_jobs(&["a"]);
    let before = (queue.node.facts.last_seq, queue.node.facts.last_ts);
    queue.pass(1);
    for value in ["5", "7"] {
        let (ts, event) = (queue.now, Event::Segment(Box::new(header(value))));
        queue.node.apply(&Record { seq: 0, ts, wall: None, event }).unwrap();
    }
    assert_eq!(queue.node.facts.config["max_retries"], "7");
    assert_eq!((queue.node.facts.last_seq, queue.node.facts.last_ts), before);
    let set = ConfigSet { key: "max_retries".into(), value: "9".into() };
    queue.happen(Event::ConfigSet(set));
    queue.happen(Event::ConfigUnset(ConfigUnset { key: "max_retries".into() }));
    assert_eq!(queue.node.facts.config["max_retries"], "7");
}

#[test]
fn what_cannot_be_is_listed_and_counted() {
    let mut queue = Queue::with_jobs(&["a"]);
    let purged = || Event::Purged(Purged { job: id("a"), why: "request".into() });
    for _ in 0..NodeState::ODDITIES_KEPT + 5 {
        assert!(queue.apply(purged()).is_err());
    }
    let facts = &queue.node.facts;
    assert_eq!(facts.totals.oddities.len(), NodeState::ODDITIES_KEPT);
    assert_eq!(facts.totals.oddity_count, NodeState::ODDITIES_KEPT as u64 + 5);
    assert_eq!((facts.totals.oddities[0].seq, facts.last_seq), (2, 106));
    assert_eq!(queue.job("a").state, JobState::Pending);
}

#[test]
fn events_of_the_future_are_counted_and_change_nothing() {
    let mut queue = Queue::with_jobs(&["a"]);
    let before = queue.node.clone();
    queue.happen(Event::Unknown("danced".into()));
    assert_eq!(queue.node.facts.totals.unknown, 1);
    assert_eq!(queue.node.jobs, before.jobs);
    assert_eq!(queue.node.facts.last_seq, 2);
}

#[test]
fn people_are_told_the_wall_clock_and_not_the_order_of_events() {
    let mut queue = Queue::new();
    let wall: Timestamp = "2025-01-01T00:00:00Z".parse().unwrap();
    let event = Event::Enqueued(Box::new(spec("a")));
    queue.node.apply(&Record { seq: 1, ts: queue.now, wall: Some(wall), event }).unwrap();
    assert_eq!(queue.job("a").created_at, wall);
    assert_eq!(queue.node.facts.last_ts, queue.now);
}

#[test]
fn a_job_that_is_purged_frees_its_id_and_is_counted() {
    let mut queue = Queue::with_jobs(&["a"]);
    queue.run(RunResult::Exit(0));
    queue.happen(Event::Purged(Purged { job: id("a"), why: "request".into() }));
    assert_eq!(queue.node.counts(), [0; 6]);
    queue.happen(Event::Enqueued(Box::new(spec("a"))));
    let job = queue.job("a");
    assert_eq!((job.state, job.attempts, job.runs.len()), (JobState::Pending, 0, 0));
    let totals = &queue.node.facts.totals;
    assert_eq!((totals.enqueued, totals.purged), (2, 1));
}

#[test]
fn a_node_of_its_parts_is_the_node() {
    let mut queue = Queue::with_jobs(&["a", "b", "c", "d"]);
    queue.run(RunResult::Exit(0));
    queue.run(RunResult::Exit(1));
    queue.claim();
    let parts = (queue.node.facts.clone(), queue.node.shelf().clone());
    let mut again = queue.clone();
    again.node = NodeState::of_parts(parts.0, parts.1);
    assert_eq!(again.node, queue.node);
    assert_eq!(again.node.counts(), queue.node.counts());
    assert_eq!((again.ready(), queue.ready()), (vec!["d".to_owned()], vec!["d".to_owned()]));
    assert_eq!(again.node.processing().count(), 1);
    assert_eq!(again.node.waiting().count(), 1);
}

/// A log may have been written by anybody: two lines of one seq once made one job answer to two ids, and purging one
/// left the other's id behind.
#[test]
fn two_jobs_never_have_one_place() {
    let mut queue = Queue::with_jobs(&["a"]);
    let place = queue.job("a").order;
    let record = |event| Record { seq: place, ts: queue.now, wall: None, event };
    let second = record(Event::Enqueued(Box::new(spec("b"))));
    let mut intruder = queue.job("a").clone();
    intruder.spec.id = id("c");
    let third = record(Event::JobRecorded(JobRecorded::of(&intruder).into()));
    assert!(queue.node.apply(&second).is_err());
    assert!(queue.node.apply(&third).is_err());
    assert_eq!(ids(&queue), ["a"]);
    assert_eq!(queue.node.counts(), [1, 0, 0, 0, 0, 0]);
}

/// A base file may say anything; numbers at their ends must not make the fold panic.
#[test]
fn numbers_at_their_ends_are_survived() {
    for (state, last) in [(JobState::Pending, u32::MAX), (JobState::Processing, 0)] {
        let mut queue = Queue::with_jobs(&["a"]);
        let claimed = queue.claim();
        let mut job: Job = queue.job("a").clone();
        (job.state, job.last_run, job.attempts, job.lost) = (state, last, u32::MAX, u32::MAX);
        job.runs.clear();
        let mut again = Queue::new();
        again.happen(Event::Totals(Totals { enqueued: u64::MAX, ..Totals::default() }));
        again.happen(Event::JobRecorded(JobRecorded::of(&job).into()));
        again.happen(Event::Enqueued(Box::new(spec("b"))));
        assert_eq!(again.node.facts.totals.enqueued, u64::MAX);
        match state {
            JobState::Pending => {
                assert_eq!(again.claim().job, id("b"), "a run that cannot be numbered");
                let run = Claimed { run: 0, ..claimed };
                assert!(again.apply(Event::Claimed(run)).is_err());
            }
            _ => {
                for event in ["released", "failed"] {
                    let mut again = again.clone();
                    match event {
                        "failed" => again.finish(&claimed, RunResult::Exit(1)),
                        _ => again.happen(super::decide::release(
                            &again.node,
                            id("a"),
                            1,
                            claimed.claim.clone(),
                            None,
                            None,
                        )),
                    }
                    assert_eq!(again.job("a").last_run, 0);
                    assert_eq!(again.job("a").attempts, u32::MAX);
                }
                assert!(again.lose(&claimed, false));
                assert_eq!(again.job("a").state, JobState::Dead);
            }
        }
    }
}

#[test]
fn states_are_equal_where_their_jobs_and_all_else_are() {
    let queue = Queue::with_jobs(&["a"]);
    let (mut other, mut later) = (queue.clone(), queue.clone());
    other.node.jobs.change(1, |job| job.attempts = 1);
    later.node.facts.last_seq += 1;
    assert_eq!(queue.node, queue.node.clone());
    assert_ne!(queue.node, other.node);
    assert_ne!(queue.node, later.node);
}

#[test]
fn an_event_names_the_job_that_it_is_about() {
    let queue = Queue::with_jobs(&["a"]);
    let job = queue.job("a");
    let taken = super::takeover::take_over(&queue.node, "desk", None, queue.now).pop().unwrap();
    let recorded = Event::JobRecorded(JobRecorded::of(job).into());
    for event in [Event::Enqueued(Box::new(spec("a"))), taken, recorded] {
        assert_eq!(event.job(), Some(&id("a")), "{}", event.name());
    }
    assert_eq!(committed("B", 1).job(), None);
}

#[test]
fn totals_say_of_oddities_only_where_there_are_any() {
    let mut totals = Totals { enqueued: 2, ..Totals::default() };
    let json = serde_json::to_string(&totals).unwrap();
    assert_eq!(json, r#"{"enqueued":2,"purged":0,"unknown":0}"#);
    totals.oddity_count = 3;
    totals.oddities = vec![Illegal { seq: 7, what: "no".into() }];
    totals.expired = [(JobState::Completed, 1)].into();
    let json = serde_json::to_string(&totals).unwrap();
    assert_eq!(serde_json::from_str::<Totals>(&json).unwrap(), totals, "{json}");
}
