//! What each verb decides: retries and their delays, lost runs, cancelling, the dead letter queue.

use std::time::Duration;

use super::decide::{self, OnConflict, Refusal};
use super::event::{Edited, Event, Lost, WorkerStarted};
use super::job::{Claim, JobState, RunResult};
use super::policy::RetryPolicy;
use super::testing::{Queue, id, spec};

/// Waits until `a` is due, and says for how many seconds.
fn wait_for_retry(queue: &mut Queue) -> u64 {
    let wait = queue.job("a").due.unwrap().since(queue.now);
    assert_eq!(queue.job("a").delay, Some(wait));
    if !wait.is_zero() {
        queue.now = queue.now.after(wait - Duration::from_micros(1));
        assert_eq!(queue.ready(), Vec::<String>::new(), "ready before its time");
        queue.now = queue.now.after(Duration::from_micros(1));
    }
    wait.as_secs()
}

/// Lets `a` fail until it is dead. Gives the delays and the attempts it took.
fn fail_to_death(queue: &mut Queue) -> (Vec<u64>, u32) {
    let mut delays = Vec::new();
    for _ in 0..20 {
        queue.run(RunResult::Exit(1));
        if queue.job("a").state == JobState::Dead {
            return (delays, queue.job("a").attempts);
        }
        assert_eq!(queue.job("a").state, JobState::Failed);
        delays.push(wait_for_retry(queue));
    }
    panic!("never dead");
}

fn with_max_retries(max_retries: u32) -> Queue {
    let mut queue = Queue::new();
    let mut spec = spec("a");
    spec.max_retries = max_retries;
    queue.happen(Event::Enqueued(Box::new(spec)));
    queue
}

#[test]
fn max_retries_is_the_failed_attempt_that_kills() {
    for (max_retries, delays) in [(0, &[][..]), (1, &[]), (2, &[2]), (3, &[2, 4]), (4, &[2, 4, 8])]
    {
        let mut queue = with_max_retries(max_retries);
        let expected = (delays.to_vec(), max_retries.max(1));
        assert_eq!(fail_to_death(&mut queue), expected, "max_retries {max_retries}");
        let job = queue.job("a");
        assert_eq!(job.reason.as_deref(), Some("exhausted"));
        assert_eq!(job.due, None);
        assert_eq!(queue.ready(), Vec::<String>::new());
    }
}

#[test]
fn every_bad_end_is_a_failed_attempt() {
    use RunResult::*;
    for result in
        [Exit(1), Exit(126), Exit(127), Exit(-1), Signal(9), Timeout, OutputLimit, SpawnError]
    {
        let mut queue = with_max_retries(2);
        queue.run(result);
        assert_eq!(queue.job("a").state, JobState::Failed, "{result}");
        assert_eq!(queue.job("a").attempts, 1, "{result}");
        assert_eq!(queue.job("a").latest_run().unwrap().result, Some(result));
    }
}

#[test]
fn no_delay_is_longer_than_max_delay() {
    let mut queue = with_max_retries(6);
    queue.policy.max_delay = Duration::from_secs(10);
    assert_eq!(fail_to_death(&mut queue).0, [2, 4, 8, 10, 10]);
}

#[test]
fn a_job_may_bring_its_own_backoff() {
    let mut queue = Queue::new();
    let mut own = spec("a");
    (own.backoff_base, own.max_delay) = (Some(3.0), Some(Duration::from_secs(20)));
    own.max_retries = 5;
    queue.happen(Event::Enqueued(Box::new(own)));
    assert_eq!(fail_to_death(&mut queue).0, [3, 9, 20, 20]);
}

#[test]
fn jitter_only_lengthens_the_delay() {
    for (chance, micros) in [(0.0, 2_000_000), (0.5, 2_500_000), (1.0, 3_000_000)] {
        let mut queue = Queue::with_jobs(&["a"]);
        queue.policy.jitter = 0.5;
        let claimed = queue.claim();
        let (job, claim, run) = (id("a"), claimed.claim, claimed.run);
        let (result, ms, tail, error) = (RunResult::Exit(1), 7, None, None);
        let outcome = decide::Outcome { job, run, claim, result, ms, tail, error };
        let event = decide::finish(&queue.node, outcome, &queue.policy, queue.now, chance);
        let Event::Failed(failed) = event else { panic!("{event:?}") };
        assert_eq!(failed.delay, Duration::from_micros(micros));
        assert_eq!(failed.retry_at, queue.now.after(failed.delay));
    }
}

#[test]
fn a_good_run_is_an_attempt_too() {
    let mut queue = Queue::with_jobs(&["a"]);
    queue.run(RunResult::Exit(1));
    wait_for_retry(&mut queue);
    queue.run(RunResult::Exit(0));
    let job = queue.job("a");
    assert_eq!((job.state, job.attempts, job.runs.len()), (JobState::Completed, 2, 2));
}

#[test]
fn lost_runs_wait_longer_each_time_and_too_many_are_poison() {
    let mut queue = Queue::with_jobs(&["a"]);
    let mut delays = Vec::new();
    for lost in 1..=5 {
        let claimed = queue.claim();
        assert!(queue.lose(&claimed, false));
        let job = queue.job("a");
        assert_eq!((job.state, job.lost, job.attempts), (JobState::Pending, lost, 0));
        delays.push(wait_for_retry(&mut queue));
    }
    assert_eq!(delays, [0, 2, 4, 8, 16]);
    let claimed = queue.claim();
    assert!(queue.lose(&claimed, false));
    let job = queue.job("a");
    assert_eq!((job.state, job.lost, job.attempts), (JobState::Dead, 6, 0));
    assert_eq!(job.reason.as_deref(), Some("poison"));
    assert_eq!(job.latest_run().unwrap().result, Some(RunResult::Lost));
    assert_eq!(job.runs.len(), 6);
}

#[test]
fn a_reboot_is_nobodys_fault() {
    let mut queue = Queue::with_jobs(&["a"]);
    for round in 1..=20 {
        let claimed = queue.claim();
        assert!(queue.lose(&claimed, true));
        let job = queue.job("a");
        assert_eq!((job.lost, job.attempts, job.last_run), (0, 0, round));
        assert_eq!(wait_for_retry(&mut queue), 0);
    }
}

#[test]
fn a_reboot_does_not_kill_a_job_that_lost_many_runs_under_a_higher_limit() {
    let mut queue = Queue::with_jobs(&["a"]);
    for _ in 0..3 {
        let claimed = queue.claim();
        queue.lose(&claimed, false);
        wait_for_retry(&mut queue);
    }
    queue.policy.max_lost = 1;
    let claimed = queue.claim();
    queue.lose(&claimed, true);
    assert_eq!((queue.job("a").state, queue.job("a").lost), (JobState::Pending, 3));
}

#[test]
fn lost_runs_leave_the_attempts_and_failed_ones_the_losses() {
    let mut queue = Queue::with_jobs(&["a"]);
    let claimed = queue.claim();
    queue.lose(&claimed, false);
    queue.run(RunResult::Exit(1));
    wait_for_retry(&mut queue);
    let claimed = queue.claim();
    queue.lose(&claimed, false);
    assert_eq!((queue.job("a").attempts, queue.job("a").lost), (1, 2));
    assert_eq!(wait_for_retry(&mut queue), 2);
    queue.run(RunResult::Exit(1));
    assert_eq!(wait_for_retry(&mut queue), 4);
}

#[test]
fn what_is_settled_is_not_lost() {
    let mut queue = Queue::with_jobs(&["a"]);
    let claimed = queue.claim();
    queue.finish(&claimed, RunResult::Exit(0));
    assert!(!queue.lose(&claimed, false));
    let mut queue = Queue::with_jobs(&["a"]);
    let claimed = queue.claim();
    assert!(queue.lose(&claimed, false));
    assert!(!queue.lose(&claimed, false));
    queue.claim();
    assert!(!queue.lose(&claimed, false), "the claim after it was taken for it");
}

#[test]
fn late_outcomes_of_a_superseded_claim_are_written_and_change_nothing() {
    use RunResult::*;
    for result in [Exit(0), Exit(1), Signal(9), Timeout, Interrupted, Cancelled] {
        let mut queue = Queue::with_jobs(&["a"]);
        let late = queue.claim();
        queue.lose(&late, false);
        let current = queue.claim();
        if result == Signal(9) {
            cancel(&mut queue, "a");
        }
        let before = queue.job("a").clone();
        let event = queue.outcome(&late, result);
        assert_eq!(event.name() == "cancelled", result == Cancelled, "{event:?}");
        let illegal = queue.apply(event).unwrap_err();
        assert!(illegal.what.contains("superseded"), "{illegal}");
        assert_eq!(*queue.job("a"), before, "{result}");
        queue.finish(&current, Exit(0));
        assert_eq!(queue.job("a").state, JobState::Completed);
    }
}

fn cancel(queue: &mut Queue, job: &str) {
    let event = decide::cancel(&queue.node, &id(job), Some("typo".into())).unwrap().unwrap();
    queue.happen(event);
}

#[test]
fn a_waiting_job_is_cancelled_at_once() {
    for is_failed in [false, true] {
        let mut queue = Queue::with_jobs(&["a"]);
        if is_failed {
            queue.run(RunResult::Exit(1));
        }
        cancel(&mut queue, "a");
        let job = queue.job("a");
        assert_eq!((job.state, job.reason.as_deref()), (JobState::Cancelled, Some("typo")));
        assert_eq!((job.due, job.claim.as_ref()), (None, None));
        queue.pass(60);
        assert_eq!(queue.ready(), Vec::<String>::new());
    }
}

#[test]
fn a_running_job_that_ends_well_is_completed_and_else_cancelled() {
    use JobState::{Cancelled, Completed};
    for (result, state, attempts) in [
        (RunResult::Exit(0), Completed, 1),
        (RunResult::Exit(1), Cancelled, 0),
        (RunResult::Signal(15), Cancelled, 0),
        (RunResult::Timeout, Cancelled, 0),
        (RunResult::Interrupted, Cancelled, 0),
        (RunResult::Cancelled, Cancelled, 0),
    ] {
        let mut queue = Queue::with_jobs(&["a"]);
        let claimed = queue.claim();
        cancel(&mut queue, "a");
        assert_eq!(queue.job("a").state, JobState::Processing);
        assert_eq!(decide::cancel(&queue.node, &id("a"), None), Ok(None), "asked twice");
        queue.finish(&claimed, result);
        let job = queue.job("a");
        assert_eq!((job.state, job.attempts), (state, attempts), "{result}");
        assert_eq!(job.reason.as_deref(), (state == Cancelled).then_some("typo"));
        assert!(!job.cancel_requested);
    }
}

#[test]
fn a_cancel_outlives_the_worker_and_the_claim() {
    let mut queue = Queue::with_jobs(&["a"]);
    let claimed = queue.claim();
    cancel(&mut queue, "a");
    assert!(queue.lose(&claimed, false));
    assert_eq!((queue.job("a").state, queue.job("a").lost), (JobState::Cancelled, 0));

    let mut queue = Queue::with_jobs(&["a"]);
    let claimed = queue.claim();
    cancel(&mut queue, "a");
    let (job, run, claim) = (claimed.job, claimed.run, claimed.claim);
    queue.happen(decide::release(&queue.node, job, run, claim, None, None));
    assert_eq!(queue.job("a").state, JobState::Cancelled);
    assert_eq!(queue.job("a").reason.as_deref(), Some("typo"));
}

#[test]
fn a_claim_that_is_given_back_is_given_anew() {
    let mut queue = Queue::with_jobs(&["a"]);
    let first = queue.claim();
    let (job, run, claim) = (first.job.clone(), first.run, first.claim.clone());
    queue.happen(decide::release(&queue.node, job, run, claim, None, None));
    assert_eq!(queue.job("a").attempts, 0);
    let second = queue.claim();
    assert_eq!(second.run, first.run);
    assert_ne!(second.claim, first.claim);
}

#[test]
fn verbs_by_state() {
    use JobState::{Cancelled, Completed, Dead, Failed, Pending, Processing};
    let pending = Queue::with_jobs(&["a"]);
    let mut processing = pending.clone();
    let claimed = processing.claim();
    let ended = |result| {
        let mut queue = processing.clone();
        queue.finish(&claimed, result);
        queue
    };
    let mut dead = with_max_retries(1);
    dead.run(RunResult::Exit(1));
    for (state, queue) in [
        (Pending, pending),
        (Processing, processing.clone()),
        (Completed, ended(RunResult::Exit(0))),
        (Failed, ended(RunResult::Exit(1))),
        (Dead, dead),
        (Cancelled, ended(RunResult::Cancelled)),
    ] {
        let node = &queue.node;
        assert_eq!(queue.job("a").state, state);
        let edit = Edited { priority: Some(1), ..no_edit("a") };
        let outcomes = [
            decide::cancel(node, &id("a"), None).is_ok(),
            decide::retry(node, &id("a")).is_ok(),
            decide::retry_dead(node, &id("a")).is_ok(),
            decide::purge(node, &id("a")).is_ok(),
            decide::edit(node, edit).is_ok(),
        ];
        let expected = [
            matches!(state, Pending | Failed | Processing | Cancelled),
            matches!(state, Failed | Completed | Dead | Cancelled),
            state == Dead,
            matches!(state, Completed | Dead | Cancelled),
            matches!(state, Pending | Failed),
        ];
        assert_eq!(outcomes, expected, "{state}");
        let refusal = decide::retry_dead(node, &id("a"));
        if let Err(refusal) = refusal {
            assert!(refusal.to_string().contains(state.name()), "{refusal}");
        }
    }
}

fn no_edit(job: &str) -> Edited {
    let (priority, run_at, max_retries, timeout, queue, tags) =
        (None, None, None, None, None, None);
    Edited { job: id(job), priority, run_at, max_retries, timeout, queue, tags }
}

#[test]
fn a_job_that_is_not_there() {
    let node = &Queue::new().node;
    let missing = Refusal::NoSuchJob(id("a"));
    assert_eq!(decide::cancel(node, &id("a"), None), Err(missing.clone()));
    assert_eq!(decide::retry(node, &id("a")), Err(missing.clone()));
    assert_eq!(decide::retry_dead(node, &id("a")), Err(missing.clone()));
    assert_eq!(decide::purge(node, &id("a")), Err(missing.clone()));
    assert_eq!(decide::edit(node, no_edit("a")), Err(missing));
}

#[test]
fn a_job_comes_back_from_the_dead_letter_queue_as_new() {
    let mut queue = with_max_retries(2);
    let claimed = queue.claim();
    queue.lose(&claimed, false);
    fail_to_death(&mut queue);
    let runs = queue.job("a").runs.clone();
    let event = decide::retry_dead(&queue.node, &id("a")).unwrap();
    queue.happen(event.clone());
    let job = queue.job("a");
    assert_eq!((job.state, job.attempts, job.lost), (JobState::Pending, 0, 0));
    assert_eq!((&job.runs, job.last_run, job.reason.as_ref()), (&runs, 3, None));
    assert!(decide::retry_dead(&queue.node, &id("a")).is_err(), "one requeue only");
    assert!(queue.apply(event).is_err());
    assert_eq!(fail_to_death(&mut queue), (vec![2], 2));
    assert_eq!(queue.job("a").last_run, 5);
}

#[test]
fn retry_of_a_waiting_job_makes_it_due_and_keeps_its_attempts() {
    let mut queue = Queue::with_jobs(&["a"]);
    queue.run(RunResult::Exit(1));
    assert_eq!(queue.ready(), Vec::<String>::new());
    let event = decide::retry(&queue.node, &id("a")).unwrap();
    queue.happen(event);
    assert_eq!(queue.job("a").attempts, 1);
    queue.run(RunResult::Exit(1));
    assert_eq!(wait_for_retry(&mut queue), 4);
}

#[test]
fn enqueue_takes_an_id_once() {
    let mut queue = Queue::with_jobs(&["a"]);
    queue.run(RunResult::Exit(0));
    let (ids, node) = (|texts: &[&str]| texts.iter().map(|t| spec(t)).collect(), &queue.node);
    let duplicate = Refusal::Duplicate { id: id("a"), state: JobState::Completed };
    assert_eq!(decide::enqueue(node, ids(&["x", "a"]), OnConflict::Fail), Err(duplicate));
    let kept = decide::enqueue(node, ids(&["x", "a"]), OnConflict::Keep).unwrap();
    assert_eq!(kept.ids, [id("x"), id("a")]);
    assert_eq!(kept.specs, [spec("x")]);
    for on_conflict in [OnConflict::Fail, OnConflict::Keep] {
        let twice = decide::enqueue(node, ids(&["x", "y", "x"]), on_conflict);
        assert_eq!(twice, Err(Refusal::TwiceInBatch(id("x"))));
    }
}

#[test]
fn claims_are_numbered_and_no_more_than_asked_for() {
    let queue = Queue::with_jobs(&["a", "b", "c"]);
    let claims = decide::claim(&queue.node, "desk.w", 7, 2, &[], queue.now);
    let claims: Vec<_> = claims.iter().map(|c| (c.job.as_str(), c.run, c.claim.clone())).collect();
    assert_eq!(claims, [("a", 1, Claim::new("desk.w", 7)), ("b", 1, Claim::new("desk.w", 8))]);
    assert_eq!(decide::claim(&queue.node, "desk.w", 7, 0, &[], queue.now), []);
    let other = ["other".to_owned()];
    assert_eq!(decide::claim(&queue.node, "desk.w", 7, 9, &other, queue.now), []);
}

#[test]
fn a_worker_is_asked_to_stop_once_or_once_more_at_once() {
    let mut queue = Queue::new();
    let missing = decide::stop_worker(&queue.node, "desk.w", false);
    assert_eq!(missing, Err(Refusal::NoSuchWorker("desk.w".into())));
    queue.happen(Event::WorkerStarted(worker()));
    let ask = |queue: &mut Queue, at_once| {
        let event = decide::stop_worker(&queue.node, "desk.w", at_once).unwrap();
        event.map(|event| queue.happen(event)).is_some()
    };
    let asked = [false, false, true, true, false].map(|at_once| ask(&mut queue, at_once));
    assert_eq!(asked, [true, false, true, false, false]);
    assert_eq!(queue.node.facts.workers["desk.w"].stop_requested, Some(true));
}

pub(super) fn worker() -> WorkerStarted {
    WorkerStarted {
        worker: "desk.w".into(),
        pid: 1,
        start: 2,
        boot: "b".into(),
        pid_namespace: String::new(),
        session: 0,
        host: String::new(),
        slots: 1,
        queues: Vec::new(),
    }
}

#[test]
fn the_first_loss_is_written_with_no_delay() {
    let mut queue = Queue::with_jobs(&["a"]);
    let claimed = queue.claim();
    let policy = RetryPolicy { backoff_base: 10.0, ..RetryPolicy::default() };
    let event = decide::lose(&queue.node, &id("a"), &claimed.claim, &policy, queue.now, false);
    let (job, run, claim) = (claimed.job, claimed.run, claimed.claim);
    let (retry_at, delay, reboot) = (queue.now, Duration::ZERO, false);
    assert_eq!(event, Some(Event::Lost(Lost { job, run, claim, retry_at, delay, reboot })));
}
