//! Every event against every state, legal or not, and what the legal ones change.

use super::event::*;
use super::job::{Claim, Job, JobState, RunResult, Tail};
use super::testing::{Queue, id};
use super::timestamp::Timestamp;
use std::time::Duration;

/// What becomes of a job in the state above when the event on the left happens; `-` where it cannot.
const TABLE: &str = "
                       pending    processing completed failed     dead    cancelled
claimed                processing -          -         processing -       -
claimed_wrong_run      -          -          -         -          -       -
completed              -          completed  -         -          -       -
failed                 -          failed     -         -          -       -
died                   -          dead       -         -          -       -
died_lost              -          dead       -         -          -       -
lost                   -          pending    -         -          -       -
lost_by_reboot         -          pending    -         -          -       -
released_started       -          pending    -         -          -       -
released_unstarted     -          pending    -         -          -       -
cancel_requested       -          processing -         -          -       -
cancelled_running      -          cancelled  -         -          -       -
cancelled_waiting      cancelled  -          -         cancelled  -       -
requeued_afresh        -          -          pending   -          pending pending
requeued_now           pending    -          -         pending    -       -
edited                 pending    -          -         failed     -       -
purged                 -          -          gone      -          gone    gone
enqueued               -          -          -         -          -       -
late_completed         -          -          -         -          -       -
late_failed            -          -          -         -          -       -
late_died              -          -          -         -          -       -
late_lost              -          -          -         -          -       -
late_released          -          -          -         -          -       -
late_cancel_requested  -          -          -         -          -       -
late_cancelled         -          -          -         -          -       -
";

/// A queue with the job `a` in this state, and another job beside it. `a` has had two claims where it ran at all.
fn queue_with(state: JobState) -> Queue {
    let mut queue = Queue::with_jobs(&["a", "b"]);
    if state != JobState::Pending {
        let claimed = queue.claim();
        queue.lose(&claimed, true);
        queue.claim();
    }
    let event = match state {
        JobState::Pending | JobState::Processing => return queue,
        JobState::Completed => "completed",
        JobState::Failed => "failed",
        JobState::Dead => "died",
        JobState::Cancelled => "cancelled_running",
    };
    let event = event_named(event, queue.job("a"), queue.now);
    queue.happen(event);
    queue
}

/// The event of a row, as it would be written for the job as it stands.
pub(super) fn event_named(name: &str, job: &Job, now: Timestamp) -> Event {
    let (run, claim) = match name.strip_prefix("late_") {
        Some(_) => (1, Claim::new("desk.w", 0)),
        None => (job.last_run, job.claim.clone().unwrap_or(Claim::new("desk.w", 9))),
    };
    let job = job.id().clone();
    let (ms, tail, error, reason) = (Some(7), None, None, None);
    let (retry_at, delay) = (now.after(Duration::from_secs(2)), Duration::from_secs(2));
    let result = if name == "died_lost" { RunResult::Lost } else { RunResult::Exit(1) };
    match name.strip_prefix("late_").unwrap_or(name) {
        "claimed" => Event::Claimed(Claimed { job, run: run + 1, claim }),
        "claimed_wrong_run" => Event::Claimed(Claimed { job, run: run + 2, claim }),
        "completed" => Event::Completed(Completed { job, run, claim, ms: 7, tail, note: None }),
        "failed" => {
            Event::Failed(Failed { job, run, claim, result, retry_at, delay, ms: 7, error, tail })
        }
        "died" | "died_lost" => {
            let reason = "exhausted".to_owned();
            Event::Died(Died { job, run, claim, result, reason, ms, error, tail })
        }
        "lost" | "lost_by_reboot" => {
            let reboot = name == "lost_by_reboot";
            Event::Lost(Lost { job, run, claim, retry_at, delay, reboot })
        }
        "released" | "released_started" | "released_unstarted" => {
            let (started, retry_at) = (name != "released_unstarted", None);
            Event::Released(Released { job, run, claim, started, retry_at, error, ms })
        }
        "cancel_requested" => Event::CancelRequested(CancelRequested { job, claim, reason }),
        "cancelled" | "cancelled_running" => {
            Event::Cancelled(Cancelled { job, claim: Some(claim), ms, reason, tail })
        }
        "cancelled_waiting" => {
            Event::Cancelled(Cancelled { job, claim: None, ms: None, reason, tail })
        }
        "requeued_afresh" => Event::Requeued(Requeued { job, keep_attempts: false }),
        "requeued_now" => Event::Requeued(Requeued { job, keep_attempts: true }),
        "edited" => Event::Edited(Box::new(edited(job.as_str()))),
        "purged" => Event::Purged(Purged { job, why: "request".to_owned() }),
        "enqueued" => Event::Enqueued(Box::new(super::testing::spec(job.as_str()))),
        other => panic!("no event for the row {other}"),
    }
}

fn edited(text: &str) -> Edited {
    let (priority, run_at, max_retries, timeout, queue, tags) =
        (Some(5), None, None, None, None, None);
    Edited { job: id(text), priority, run_at, max_retries, timeout, queue, tags }
}

fn rows() -> impl Iterator<Item = (&'static str, JobState, &'static str)> {
    let mut lines = TABLE.lines().filter(|line| !line.is_empty());
    let states: Vec<JobState> =
        lines.next().unwrap().split_whitespace().map(|name| name.parse().unwrap()).collect();
    assert_eq!(states, JobState::ALL);
    lines.flat_map(move |line| {
        let mut cells = line.split_whitespace();
        let name = cells.next().unwrap();
        let cells: Vec<&str> = cells.collect();
        assert_eq!(cells.len(), states.len(), "{name}");
        states.clone().into_iter().zip(cells).map(move |(state, cell)| (name, state, cell))
    })
}

#[test]
fn every_event_in_every_state() {
    for (name, state, expected) in rows() {
        let mut queue = queue_with(state);
        queue.pass(3);
        let event = event_named(name, queue.job("a"), queue.now);
        let (ready, before) = (queue.ready(), queue.node.clone());
        let outcome = queue.apply(event);
        let after = queue.node.job(&id("a"));
        match expected {
            "-" => {
                let illegal = outcome.expect_err(&format!("{name} of a {state} job"));
                assert!(illegal.what.contains("job a"), "{illegal}");
                let is_late = name.starts_with("late_");
                assert!(!is_late || illegal.what.contains("superseded"), "{illegal}");
                assert_eq!(queue.node.jobs, before.jobs, "{name} of a {state} job");
                assert_eq!(queue.node.counts(), before.counts());
                assert_eq!(queue.node.ready(&[], queue.now).count(), ready.len(), "{name} {state}");
                assert_eq!(queue.node.facts.totals.oddities, [illegal]);
            }
            "gone" => {
                assert_eq!((outcome, after), (Ok(()), None), "{name} of a {state} job");
                assert_eq!(queue.node.facts.totals.purged, 1);
            }
            _ => {
                assert_eq!(outcome, Ok(()), "{name} of a {state} job");
                let after = after.unwrap();
                assert_eq!(after.state.name(), expected, "{name} of a {state} job");
                assert_eq!(after.updated_at, queue.now);
                assert_eq!(after.claim.is_some(), after.state == JobState::Processing);
            }
        }
        assert_eq!(queue.job("b").state, JobState::Pending);
        assert_books_balance(&queue);
    }
}

/// What is derived from the jobs agrees with the jobs.
fn assert_books_balance(queue: &Queue) {
    let node = &queue.node;
    let again = super::state::NodeState::of_parts(node.facts.clone(), node.jobs.clone());
    assert_eq!(node.counts(), again.counts());
    let processing = |node: &super::state::NodeState| node.processing().count();
    assert_eq!(processing(node), processing(&again));
    assert!(node.jobs().all(|job| node.job(job.id()) == Some(job)));
    let counted: u64 = node.counts().iter().sum();
    assert_eq!(counted, node.jobs().count() as u64);
}

#[test]
fn every_job_event_has_a_row() {
    let no_job = ["segment", "batch_committed", "batch_abandoned", "config_set", "config_unset"];
    let others = ["queue_", "worker_", "node_retired", "taken", "job_state", "totals", "base_end"];
    for name in Event::NAMES {
        let is_other = no_job.contains(name) || others.iter().any(|start| name.starts_with(start));
        let has_row = rows().any(|(row, _, _)| row.starts_with(name));
        assert_ne!(is_other, has_row, "{name}");
    }
}

#[test]
fn no_event_makes_a_job_that_was_never_enqueued() {
    for (name, state, _) in rows().filter(|(name, _, _)| *name != "enqueued") {
        let queue = queue_with(state);
        let event = event_named(name, queue.job("a"), queue.now);
        let mut empty = Queue::new();
        let illegal = empty.apply(event).expect_err(name);
        assert!(illegal.what.contains("no job a"), "{illegal}");
        assert_eq!(empty.node.jobs().count(), 0);
    }
}

/// Applies the event of a row to a job in the state, and gives the queue.
fn after(state: JobState, name: &str) -> Queue {
    let mut queue = queue_with(state);
    queue.pass(1);
    let event = event_named(name, queue.job("a"), queue.now);
    queue.happen(event);
    queue
}

#[test]
fn what_each_end_of_a_run_charges_and_leaves() {
    use RunResult::*;
    for (name, attempts, lost, result, waits) in [
        ("completed", 1, 0, Some(Exit(0)), None),
        ("failed", 1, 0, Some(Exit(1)), Some(2)),
        ("died", 1, 0, Some(Exit(1)), None),
        ("died_lost", 0, 1, Some(Lost), None),
        ("lost", 0, 1, Some(Lost), Some(2)),
        ("lost_by_reboot", 0, 0, Some(Lost), Some(2)),
        ("released_started", 0, 0, Some(Interrupted), None),
        ("cancelled_running", 0, 0, Some(Cancelled), None),
    ] {
        let queue = after(JobState::Processing, name);
        let job = queue.job("a");
        assert_eq!((job.attempts, job.lost), (attempts, lost), "{name}");
        let run = job.latest_run().unwrap();
        assert_eq!((run.run, run.result, run.finished_at), (2, result, Some(queue.now)), "{name}");
        assert_eq!(job.due, waits.map(|s| queue.now.after(Duration::from_secs(s))), "{name}");
        assert_eq!(job.delay, waits.map(Duration::from_secs), "{name}");
        assert_eq!((job.last_run, job.runs.len()), (2, 2), "{name}");
    }
}

#[test]
fn a_run_that_never_started_gives_its_number_back() {
    let mut queue = after(JobState::Processing, "released_unstarted");
    let job = queue.job("a");
    assert_eq!((job.attempts, job.lost, job.last_run, job.runs.len()), (0, 0, 1, 1));
    assert_eq!(queue.claim().run, 2);
    assert_eq!(queue.job("a").runs.iter().map(|run| run.run).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_run_that_was_interrupted_keeps_its_number() {
    let mut queue = after(JobState::Processing, "released_started");
    assert_eq!(queue.claim().run, 3);
}

#[test]
fn a_release_may_make_the_job_wait() {
    let mut queue = queue_with(JobState::Processing);
    let due = queue.now.after(Duration::from_secs(5));
    let Event::Released(mut released) =
        event_named("released_unstarted", queue.job("a"), queue.now)
    else {
        unreachable!()
    };
    released.retry_at = Some(due);
    queue.happen(Event::Released(released));
    assert_eq!(queue.job("a").due, Some(due));
    assert_eq!(queue.ready(), ["b"]);
}

#[test]
fn a_claim_ends_the_waiting() {
    let queue = after(JobState::Failed, "claimed");
    let job = queue.job("a");
    assert_eq!((job.due, job.delay, job.last_run, job.attempts), (None, None, 3, 1));
    assert_eq!(job.latest_run().unwrap().started_at, queue.now);
    assert_eq!(job.latest_run().unwrap().result, None);
}

#[test]
fn what_the_output_and_the_note_said_is_kept() {
    let mut queue = queue_with(JobState::Processing);
    let Event::Completed(mut completed) = event_named("completed", queue.job("a"), queue.now)
    else {
        unreachable!()
    };
    let tail = Tail { out: "x".into(), err: "y".into() };
    completed.tail = Some(tail.clone());
    completed.note = Some("its output was cut".into());
    queue.happen(Event::Completed(completed));
    let run = queue.job("a").latest_run().unwrap();
    assert_eq!((&run.tail, run.ms), (&Some(tail), Some(7)));
    assert_eq!(run.error.as_deref(), Some("its output was cut"));
}

#[test]
fn a_job_that_begins_again_keeps_its_history() {
    for state in [JobState::Completed, JobState::Dead, JobState::Cancelled] {
        let queue = after(state, "requeued_afresh");
        let job = queue.job("a");
        assert_eq!((job.attempts, job.lost, job.reason.as_ref(), job.due), (0, 0, None, None));
        assert_eq!((job.last_run, job.runs.len()), (2, 2));
    }
}

#[test]
fn a_retry_made_due_keeps_its_attempts() {
    let mut queue = after(JobState::Failed, "requeued_now");
    assert_eq!((queue.job("a").attempts, queue.job("a").due), (1, None));
    assert_eq!(queue.ready(), ["a", "b"]);
}

#[test]
fn a_reason_stands_only_where_a_job_is_dead_or_cancelled_or_shall_be() {
    let mut queue = queue_with(JobState::Processing);
    let (job, claim) = (id("a"), queue.job("a").claim.clone().unwrap());
    let reason = Some("typo".to_owned());
    queue.happen(Event::CancelRequested(CancelRequested { job, claim, reason: reason.clone() }));
    assert!(queue.job("a").cancel_requested);
    assert_eq!(queue.job("a").reason, reason);
    for (name, kept) in [
        ("completed", None),
        ("failed", None),
        ("lost", None),
        ("released_started", None),
        ("died", Some("exhausted")),
        ("cancelled_running", Some("typo")),
    ] {
        let mut queue = queue.clone();
        let event = event_named(name, queue.job("a"), queue.now);
        queue.happen(event);
        assert_eq!(queue.job("a").reason.as_deref(), kept, "{name}");
        assert!(!queue.job("a").cancel_requested);
    }
}

#[test]
fn an_edit_changes_what_it_names_and_nothing_else() {
    let mut queue = queue_with(JobState::Failed);
    let before = queue.job("a").clone();
    let due = queue.now.after(Duration::from_secs(90));
    let edit = Edited {
        job: id("a"),
        priority: Some(-3),
        run_at: Some(due),
        max_retries: Some(9),
        timeout: Some(Duration::ZERO),
        queue: Some("slow".into()),
        tags: Some(vec!["t".into()]),
    };
    queue.happen(Event::Edited(Box::new(edit)));
    let job = queue.job("a");
    assert_eq!(
        (job.spec.priority, job.spec.max_retries, job.spec.timeout),
        (-3, 9, Some(Duration::ZERO))
    );
    assert_eq!((&*job.spec.queue, job.spec.tags.as_slice()), ("slow", &["t".to_owned()][..]));
    assert_eq!((job.due, job.delay, job.spec.run_at), (Some(due), None, Some(due)));
    assert_eq!((job.attempts, job.state), (before.attempts, JobState::Failed));
    let mut plain = queue_with(JobState::Failed);
    let edit = Edited { priority: None, timeout: Some(Duration::from_secs(3)), ..edited("a") };
    plain.happen(Event::Edited(Box::new(edit)));
    let mut expected = before;
    expected.spec.timeout = Some(Duration::from_secs(3));
    assert_eq!(*plain.job("a"), expected);
}

#[test]
fn the_oldest_of_many_runs_is_forgotten() {
    let mut queue = Queue::with_jobs(&["a"]);
    for _ in 0..Job::RUNS_KEPT + 3 {
        queue.run(RunResult::Interrupted);
    }
    let runs = &queue.job("a").runs;
    assert_eq!((runs.len(), runs[0].run), (Job::RUNS_KEPT, 4));
}
