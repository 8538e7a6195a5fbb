//! What a node takes over from one whose log was rolled back, and what may happen to it then.

use std::time::Duration;

use super::decide;
use super::event::{Event, QueuePaused, Taken};
use super::job::{Claim, JobState, Origin, RunResult};
use super::state::State;
use super::takeover::take_over;
use super::testing::{Queue, id, spec};

/// What becomes of a held job in the state above when the event on the left happens; `-` where it cannot. In brackets
/// where it is held no more.
const TABLE: &str = "
                   pending      failed
claimed            -            -
requeued_now       (pending)    (failed)
requeued_afresh    -            -
edited             pending      failed
cancelled_waiting  (cancelled)  (cancelled)
completed          -            -
released           -            -
lost               -            -
purged             -            -
";

/// A queue with a job in every state: `a` runs, and in two flavours: `c` is to be cancelled.
fn busy() -> Queue {
    let mut queue = Queue::with_jobs(&["done", "failed", "dead", "a", "c", "cancelled", "waits"]);
    queue.run(RunResult::Exit(0));
    queue.run(RunResult::Exit(1));
    queue.policy.max_lost = 0;
    let claimed = queue.claim();
    queue.lose(&claimed, false);
    queue.claim();
    queue.claim();
    for text in ["c", "cancelled"] {
        let event = decide::cancel(&queue.node, &id(text), Some("typo".into())).unwrap();
        queue.happen(event.unwrap());
    }
    queue
}

/// The node that takes over, a minute later.
fn successor(old: &Queue) -> Queue {
    let mut new = Queue::new();
    new.now = old.now;
    new.pass(60);
    for event in take_over(&old.node, "desk", Some(99), new.now) {
        new.happen(event);
    }
    new
}

#[test]
fn finished_jobs_are_taken_as_they_are_and_all_others_held() {
    let old = busy();
    let new = successor(&old);
    let looks: Vec<(&str, &str, bool)> = new
        .node
        .jobs()
        .map(|job| (job.id().as_str(), job.state.name(), job.held.is_some()))
        .collect();
    let expected = [
        ("done", "completed", false),
        ("failed", "failed", true),
        ("dead", "dead", false),
        ("a", "pending", true),
        ("c", "cancelled", false),
        ("cancelled", "cancelled", false),
        ("waits", "pending", true),
    ];
    assert_eq!(looks, expected);
    for text in ["done", "dead", "cancelled"] {
        let mut was = old.job(text).clone();
        was.order = new.job(text).order;
        was.origin = Some(Box::new(Origin { node: "desk".into(), epoch: 2 }));
        assert_eq!(*new.job(text), was, "{text}");
    }
    for (text, result) in [("a", RunResult::Lost), ("c", RunResult::Cancelled)] {
        let job = new.job(text);
        let run = job.latest_run().unwrap();
        assert_eq!((run.result, run.finished_at, &job.claim), (Some(result), Some(new.now), &None));
        assert_eq!((job.attempts, job.lost, job.last_run), (0, 0, 1), "{text} is charged");
    }
    assert_eq!(new.job("c").reason.as_deref(), Some("typo"));
    assert_eq!(new.job("failed").attempts, 1);
    assert_eq!(new.node.held(), 3);
}

#[test]
fn what_is_held_waits_for_a_person_and_for_nothing_else() {
    let mut new = successor(&busy());
    new.pass(3600);
    assert_eq!(new.ready(), [""; 0]);
    assert_eq!(new.node.next_due(new.now), None);
    assert_eq!(new.node.oldest_waiting(new.now), None);
    assert_eq!(new.node.held_back(&[], new.now), (0, 0));
    let reason = |new: &Queue, text| new.node.reason(new.job(text), new.now);
    assert_eq!(reason(&new, "waits").as_deref(), Some("held: rolled back"));
    for text in ["waits", "failed"] {
        let event = decide::retry(&new.node, &id(text)).unwrap();
        new.happen(event);
        assert_eq!(reason(&new, text), None);
    }
    assert_eq!(new.ready(), ["failed", "waits"]);
    assert_eq!(new.job("failed").attempts, 1, "it goes on where it was");
    assert!(decide::retry(&new.node, &id("waits")).is_err(), "it is held no more");
}

#[test]
fn a_job_whose_time_is_to_come_waits_for_it_once_it_may_run() {
    let mut old = Queue::new();
    let mut later = spec("a");
    later.run_at = Some(old.now.after(Duration::from_secs(600)));
    old.happen(Event::Enqueued(Box::new(later)));
    let mut new = successor(&old);
    let event = decide::retry(&new.node, &id("a")).unwrap();
    new.happen(event);
    assert_eq!(new.ready(), [""; 0]);
    new.pass(540);
    assert_eq!(new.ready(), ["a"]);
}

#[test]
fn every_event_of_a_held_job() {
    let mut lines = TABLE.lines().filter(|line| !line.is_empty());
    let states: Vec<JobState> =
        lines.next().unwrap().split_whitespace().map(|name| name.parse().unwrap()).collect();
    for line in lines {
        let cells: Vec<&str> = line.split_whitespace().collect();
        for (state, expected) in states.iter().zip(&cells[1..]) {
            let text = if *state == JobState::Failed { "failed" } else { "a" };
            let mut new = successor(&busy());
            let event = super::transition_tests::event_named(cells[0], new.job(text), new.now);
            new.ready();
            let before = new.node.jobs.clone();
            let outcome = new.apply(event);
            let job = new.job(text);
            let case = format!("{} of a held {state} job", cells[0]);
            if *expected == "-" {
                assert!(outcome.is_err(), "{case}");
                assert_eq!(new.node.jobs, before, "{case}");
            } else {
                assert_eq!(outcome, Ok(()), "{case}");
                let after = match job.held {
                    Some(_) => job.state.name().to_owned(),
                    None => format!("({})", job.state),
                };
                assert_eq!(after, *expected, "{case}");
            }
            let is_free = outcome_is_free(expected, *state);
            assert_eq!(new.ready().contains(&text.to_owned()), is_free, "{case}");
        }
    }
}

/// Whether a job could be run after what the cell says.
fn outcome_is_free(cell: &str, state: JobState) -> bool {
    cell == format!("({state})")
}

#[test]
fn a_job_is_shown_once_and_by_its_new_owner() {
    let mut old = busy();
    let new = successor(&old);
    let mut state = State::default();
    state.nodes.insert("desk-2".into(), new.node.clone());
    let alone = (state.counts(), state.jobs().len());
    state.nodes.insert("desk".into(), old.node.clone());
    assert_eq!((state.counts(), state.jobs().len()), alone);
    assert!(state.jobs().iter().all(|(node, _)| *node == "desk-2"));
    assert_eq!(state.job_of("desk", &id("a")), None);
    assert!(state.job_of("desk-2", &id("a")).is_some());
    // What comes to light behind the place from where it was taken over is nobody's but the old node's.
    old.happen(Event::Enqueued(Box::new(spec("found"))));
    state.nodes.insert("desk".into(), old.node);
    assert!(state.job_of("desk", &id("found")).is_some());
    assert_eq!(state.counts_of("desk"), [1, 0, 0, 0, 0, 0]);
    assert_eq!(state.jobs().len(), alone.1 + 1);
    // A job that is purged is gone, and does not come back from the log it was taken from.
    let mut new = new;
    let purged = decide::purge(&new.node, &id("done")).unwrap();
    new.happen(purged);
    state.nodes.insert("desk-2".into(), new.node);
    assert_eq!(state.jobs().len(), alone.1);
}

#[test]
fn a_batch_of_which_the_end_was_lost_is_not_hidden_once_it_is_found() {
    let mut old = Queue::new();
    let mut part = spec("a");
    part.batch = Some("b1".into());
    old.happen(Event::Enqueued(Box::new(part)));
    old.happen(Event::Enqueued(Box::new(spec("b"))));
    let new = successor(&old);
    assert_eq!(new.node.jobs().count(), 1);
    let committed = super::event::BatchCommitted { batch: "b1".into(), count: 1 };
    old.happen(Event::BatchCommitted(committed));
    let nodes = [("desk".into(), old.node), ("desk-2".into(), new.node)];
    let state = State { nodes: nodes.into() };
    let jobs: Vec<_> = state.jobs().iter().map(|(node, job)| (*node, job.id().as_str())).collect();
    assert_eq!(jobs, [("desk", "a"), ("desk-2", "b")]);
}

#[test]
fn a_node_that_took_over_is_taken_over_in_turn() {
    let mut old = busy();
    old.happen(Event::QueuePaused(QueuePaused { queue: Some("slow".into()), until: None }));
    let until = Some(old.now.after(Duration::from_secs(5)));
    old.happen(Event::QueuePaused(QueuePaused { queue: Some("over".into()), until }));
    let mut second = successor(&old);
    let paused: Vec<_> = second.node.facts.paused.keys().cloned().collect();
    assert_eq!(paused, [Some("slow".to_owned())]);
    let resumed = decide::retry(&second.node, &id("waits")).unwrap();
    second.happen(resumed);
    let mut third = Queue::new();
    third.now = second.now;
    for event in take_over(&second.node, "desk-2", None, third.now) {
        third.happen(event);
    }
    assert!(third.job("waits").held.is_some(), "it may have run since");
    let origin = third.job("a").origin.as_deref();
    assert_eq!(origin, Some(&Origin { node: "desk".into(), epoch: 3 }));
    let nodes = [("desk", old), ("desk-3", third)].map(|(name, queue)| (name.into(), queue.node));
    let state = State { nodes: nodes.into() };
    assert_eq!(state.counts_of("desk"), [0; 6], "the log between is gone");
    assert_eq!(state.jobs().len(), 7);
}

#[test]
fn what_cannot_have_been_taken_is_not() {
    let old = busy();
    let taken = |change: &dyn Fn(&mut Taken)| {
        let job = id("waits");
        let state = Box::new(old.job("waits").clone());
        let why = "rolled_back".into();
        let mut taken = Taken { job, from: "desk".into(), epoch: 2, why, state };
        change(&mut taken);
        Event::Taken(Box::new(taken))
    };
    let mut new = Queue::new();
    let hostile: [&dyn Fn(&mut Taken); 3] = [
        &|taken| taken.job = id("other"),
        &|taken| taken.state.state = JobState::Processing,
        &|taken| taken.state.claim = Some(Claim::new("desk.w", 1)),
    ];
    for change in hostile {
        new.apply(taken(change)).unwrap_err();
    }
    assert_eq!(new.node.jobs().count(), 0);
    new.happen(taken(&|_| {}));
    new.apply(taken(&|_| {})).unwrap_err();
    assert_eq!(new.node.jobs().count(), 1);
}

#[test]
fn what_is_open_is_named_by_its_ranges_and_a_pause_that_is_over_is_over() {
    let mut old = Queue::with_jobs(&["a"]);
    for (text, batch) in [("b", "b1"), ("c", "b2"), ("d", ""), ("e", "b1")] {
        let mut job = spec(text);
        job.batch = (!batch.is_empty()).then(|| batch.to_owned());
        old.happen(Event::Enqueued(Box::new(job)));
    }
    let until = Some(old.now.after(Duration::from_secs(5)));
    old.happen(Event::QueuePaused(QueuePaused { queue: None, until }));
    let begin = |later| {
        let now = old.now.after(Duration::from_secs(later));
        take_over(&old.node, "desk", Some(99), now)
    };
    let Event::NodeRetired(retired) = &begin(5)[0] else { panic!("{:?}", begin(5)) };
    assert_eq!((retired.upto, retired.open.as_slice()), (6, &[(2, 3), (5, 5)][..]));
    assert!(matches!(&begin(4)[0], Event::QueuePaused(paused) if paused.until == until));
    let mut state = State { nodes: [("desk".into(), old.node.clone())].into() };
    assert!(!state.is_left("desk"));
    state.nodes.insert("desk-2".into(), successor(&old).node);
    assert!(state.is_left("desk") && !state.is_left("desk-2"));
}
