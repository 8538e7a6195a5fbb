//! Who is run next, who waits and why: priority, order, pauses and due times.

use std::time::Duration;

use super::decide;
use super::event::{Edited, Event, QueuePaused, QueueResumed};
use super::job::{JobState, RunResult};
use super::state::State;
use super::testing::{Queue, id, spec};
use super::timestamp::Timestamp;

fn enqueue(queue: &mut Queue, text: &str, priority: i32, of: &str, run_at: Option<Timestamp>) {
    let mut spec = spec(text);
    (spec.priority, spec.queue, spec.run_at) = (priority, of.into(), run_at);
    queue.happen(Event::Enqueued(Box::new(spec)));
}

fn pause(queue: &mut Queue, of: Option<&str>, until: Option<Timestamp>) {
    queue.happen(Event::QueuePaused(QueuePaused { queue: of.map(str::to_owned), until }));
}

fn resume(queue: &mut Queue, of: Option<&str>) {
    queue.happen(Event::QueueResumed(QueueResumed { queue: of.map(str::to_owned) }));
}

#[test]
fn higher_priority_first_then_first_in_first_out_over_all_queues() {
    let mut queue = Queue::new();
    for (text, priority, of) in [
        ("a", 0, "default"),
        ("b", 5, "slow"),
        ("c", 0, "slow"),
        ("d", -1, "default"),
        ("e", 5, "default"),
        ("f", 0, "default"),
        ("g", i32::MAX, "other"),
        ("h", i32::MIN, "other"),
    ] {
        enqueue(&mut queue, text, priority, of, None);
    }
    assert_eq!(queue.ready(), ["g", "b", "e", "a", "c", "f", "d", "h"]);
    let wanted = ["slow".to_owned(), "other".to_owned(), "nowhere".to_owned()];
    let some: Vec<&str> =
        queue.node.ready(&wanted, queue.now).map(|job| job.id().as_str()).collect();
    assert_eq!(some, ["g", "b", "c", "h"]);
    let mut claimed = Vec::new();
    while let Some(claim) = queue.try_claim() {
        claimed.push(claim.job.to_string());
    }
    assert_eq!(claimed, ["g", "b", "e", "a", "c", "f", "d", "h"]);
    let processing: Vec<&str> = queue.node.processing().map(|job| job.id().as_str()).collect();
    assert_eq!(processing, ["a", "b", "c", "d", "e", "f", "g", "h"]);
}

#[test]
fn a_job_that_runs_again_stands_where_it_was_enqueued() {
    let mut queue = Queue::with_jobs(&["a", "b"]);
    queue.run(RunResult::Exit(1));
    assert_eq!(queue.ready(), ["b"]);
    queue.pass(2);
    assert_eq!(queue.ready(), ["a", "b"]);
    let edit = Edited { priority: Some(1), ..edit_of("b") };
    queue.happen(Event::Edited(Box::new(edit)));
    assert_eq!(queue.ready(), ["b", "a"]);
}

fn edit_of(text: &str) -> Edited {
    let (priority, run_at, max_retries, timeout, queue, tags) =
        (None, None, None, None, None, None);
    Edited { job: id(text), priority, run_at, max_retries, timeout, queue, tags }
}

#[test]
fn an_edited_job_moves_to_its_new_queue_and_time() {
    let mut queue = Queue::with_jobs(&["a", "b"]);
    let edit = Edited { queue: Some("slow".into()), ..edit_of("a") };
    queue.happen(decide::edit(&queue.node, edit).unwrap());
    let default = ["default".to_owned()];
    assert_eq!(queue.node.ready(&default, queue.now).count(), 1);
    let due = queue.now.after(Duration::from_secs(10));
    let edit = Edited { run_at: Some(due), ..edit_of("a") };
    queue.happen(decide::edit(&queue.node, edit).unwrap());
    assert_eq!(queue.ready(), ["b"]);
    queue.pass(10);
    assert_eq!(queue.ready(), ["a", "b"]);
}

#[test]
fn no_job_is_ready_before_its_time() {
    let mut queue = Queue::new();
    let at = |queue: &Queue, seconds| Some(queue.now.after(Duration::from_secs(seconds)));
    for (text, seconds) in [("late", 30), ("soon", 10), ("also", 10)] {
        let due = at(&queue, seconds);
        enqueue(&mut queue, text, 0, "default", due);
    }
    enqueue(&mut queue, "now", -9, "default", None);
    let waiting: Vec<&str> = queue.node.waiting().map(|job| job.id().as_str()).collect();
    assert_eq!(waiting, ["soon", "also", "late"]);
    assert_eq!(queue.ready(), ["now"]);
    let due = queue.job("soon").due.unwrap();
    assert_eq!(queue.node.reason(queue.job("soon"), queue.now), Some(format!("at {due}")));
    queue.now = queue.now.after(Duration::from_micros(9_999_999));
    assert_eq!(queue.ready(), ["now"]);
    queue.now = queue.now.after(Duration::from_micros(1));
    assert_eq!(queue.ready(), ["soon", "also", "now"]);
    assert_eq!(queue.node.reason(queue.job("soon"), queue.now), None);
    queue.pass(20);
    assert_eq!(queue.ready(), ["late", "soon", "also", "now"]);
    assert_eq!(queue.node.waiting().count(), 0);
}

#[test]
fn ripening_stops_at_the_first_that_is_left() {
    let mut queue = Queue::new();
    for (text, seconds) in [("a", 1), ("b", 2), ("c", 3)] {
        let due = Some(queue.now.after(Duration::from_secs(seconds)));
        enqueue(&mut queue, text, 0, "default", due);
    }
    let mut asked = Vec::new();
    let moved = queue.node.ripen(|job| {
        asked.push(job.id().to_string());
        job.id() != &id("b")
    });
    assert_eq!((moved, asked), (1, vec!["a".to_owned(), "b".to_owned()]));
    queue.node.ripen_job(queue.job("c").order);
    queue.node.ripen_job(999);
    let ready: Vec<&str> = queue.node.ready(&[], queue.now).map(|job| job.id().as_str()).collect();
    assert_eq!(ready, ["a", "c"]);
    assert_eq!(queue.try_claim().unwrap().job, id("a"));
    let order = queue.job("a").order;
    queue.node.ripen_job(order);
    assert_eq!(queue.ready(), ["c"], "a running job was made ready");
}

#[test]
fn a_paused_queue_gives_out_nothing() {
    let mut queue = Queue::new();
    enqueue(&mut queue, "a", 0, "default", None);
    enqueue(&mut queue, "b", 0, "slow", None);
    pause(&mut queue, Some("slow"), None);
    assert_eq!(queue.ready(), ["a"]);
    assert_eq!(queue.node.reason(queue.job("b"), queue.now).as_deref(), Some("queue paused"));
    assert_eq!(queue.node.reason(queue.job("a"), queue.now), None);
    pause(&mut queue, None, None);
    assert_eq!(queue.ready(), Vec::<String>::new());
    resume(&mut queue, Some("slow"));
    assert_eq!(queue.ready(), Vec::<String>::new());
    resume(&mut queue, None);
    assert_eq!(queue.ready(), ["a", "b"]);
}

#[test]
fn a_pause_may_end_by_itself() {
    let mut queue = Queue::with_jobs(&["a"]);
    let until = queue.now.after(Duration::from_secs(10));
    pause(&mut queue, None, Some(until));
    queue.pass(9);
    assert_eq!(queue.ready(), Vec::<String>::new());
    queue.pass(1);
    assert_eq!(queue.ready(), ["a"]);
}

#[test]
fn a_finished_job_gives_the_reason_it_died_of() {
    let mut queue = Queue::with_jobs(&["a"]);
    queue.policy.max_lost = 0;
    let claimed = queue.claim();
    queue.lose(&claimed, false);
    assert_eq!(queue.node.reason(queue.job("a"), queue.now).as_deref(), Some("poison"));
}

#[test]
fn the_oldest_waiting_job_is_one_whose_time_has_come() {
    let mut queue = Queue::new();
    assert_eq!(queue.node.oldest_waiting(queue.now), None);
    let due = Some(queue.now.after(Duration::from_secs(5)));
    enqueue(&mut queue, "later", 0, "default", due);
    assert_eq!(queue.node.oldest_waiting(queue.now), None);
    enqueue(&mut queue, "now", 0, "default", None);
    enqueue(&mut queue, "next", 9, "default", None);
    assert_eq!(queue.node.oldest_waiting(queue.now).unwrap().id(), &id("now"));
    queue.pass(5);
    assert_eq!(queue.node.oldest_waiting(queue.now).unwrap().id(), &id("later"));
}

#[test]
fn counts_follow_every_job() {
    let mut queue = Queue::with_jobs(&["a", "b", "c", "d", "e", "f", "g"]);
    queue.run(RunResult::Exit(0));
    queue.run(RunResult::Exit(1));
    queue.run(RunResult::Cancelled);
    queue.policy.max_lost = 0;
    let claimed = queue.claim();
    queue.lose(&claimed, false);
    queue.claim();
    assert_eq!(queue.node.counts(), [2, 1, 1, 1, 1, 1]);
    assert_eq!(queue.job("d").state, JobState::Dead);
}

#[test]
fn jobs_of_all_nodes_in_the_order_they_were_made() {
    let mut nas = Queue::with_jobs(&["n1"]);
    let mut desk = Queue::new();
    desk.pass(1);
    desk.happen(Event::Enqueued(Box::new(spec("d1"))));
    nas.pass(2);
    nas.happen(Event::Enqueued(Box::new(spec("n2"))));
    let mut state = State::default();
    state.nodes.insert("desk".into(), desk.node);
    state.nodes.insert("nas".into(), nas.node);
    let jobs: Vec<(&str, &str)> =
        state.jobs().into_iter().map(|(node, job)| (node, job.id().as_str())).collect();
    assert_eq!(jobs, [("nas", "n1"), ("desk", "d1"), ("nas", "n2")]);
    assert_eq!(state.counts(), [3, 0, 0, 0, 0, 0]);
    assert_eq!(state.node("desk").unwrap().counts()[0], 1);
}

#[test]
fn what_is_held_back_is_counted_by_why() {
    let mut queue = Queue::new();
    let later = queue.now.after(Duration::from_secs(60));
    for (text, of, run_at) in [
        ("a", "default", None),
        ("b", "default", Some(later)),
        ("c", "slow", None),
        ("d", "slow", Some(later)),
        ("e", "slow", None),
    ] {
        enqueue(&mut queue, text, 0, of, run_at);
    }
    let slow = ["slow".to_owned()];
    assert_eq!(queue.node.held_back(&[], queue.now), (2, 0));
    pause(&mut queue, Some("slow"), None);
    assert_eq!(queue.node.held_back(&[], queue.now), (1, 3));
    assert_eq!(queue.node.held_back(&slow, queue.now), (0, 3));
    assert_eq!(queue.node.held_back(&["default".to_owned()], queue.now), (1, 0));
    assert_eq!(queue.node.held_back(&[], later), (0, 3));
}

#[test]
fn resuming_all_queues_leaves_none_paused() {
    let mut queue = Queue::new();
    enqueue(&mut queue, "a", 0, "slow", None);
    pause(&mut queue, Some("slow"), None);
    pause(&mut queue, None, None);
    assert!(queue.ready().is_empty());
    resume(&mut queue, None);
    assert_eq!(queue.ready(), ["a"]);
}

#[test]
fn a_job_is_found_by_its_place_and_the_next_that_is_due_by_its_time() {
    let mut queue = Queue::with_jobs(&["a", "b"]);
    let due = queue.now.after(Duration::from_secs(5));
    enqueue(&mut queue, "later", 0, "default", Some(due));
    assert_eq!(queue.node.job_at(2).unwrap().id(), &id("b"));
    assert_eq!(queue.node.job_at(9), None);
    assert_eq!(queue.node.next_due(queue.now), Some(due));
    assert_eq!(queue.node.next_due(due), None);
}
