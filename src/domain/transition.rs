//! What an event makes of a job: one match over where the job is and what happened.
//!
//! The one place where a job changes. Knows no other job, and nothing of the order in which jobs are run.

use super::event::{Claimed, Edited, Event, Released};
use super::job::{Claim, Job, JobState, Run, RunResult, Tail};
use super::timestamp::Timestamp;

/// Whether a job goes on existing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It does.
    Goes,
    /// It was purged.
    Over,
}

/// What an event makes of a job. On an error the job is as it was.
pub(super) fn transition(job: &mut Job, at: Timestamp, event: &Event) -> Result<Life, String> {
    use JobState::{Cancelled, Completed, Dead, Failed, Pending, Processing};
    match (job.state, event) {
        (Pending | Failed, Event::Claimed(e)) if may_claim(job, e) => {
            job.state = Processing;
            open_run(job, at, e);
        }
        (Processing, Event::Completed(e)) if holds(job, &e.claim) => {
            let error = e.note.clone();
            close_run(job, at, RunResult::Exit(0), Some(e.ms), error, e.tail.clone());
            job.state = Completed;
            charge(job, RunResult::Exit(0));
        }
        (Processing, Event::Failed(e)) if holds(job, &e.claim) => {
            close_run(job, at, e.result, Some(e.ms), e.error.clone(), e.tail.clone());
            job.state = Failed;
            charge(job, e.result);
            (job.due, job.delay) = (Some(e.retry_at), Some(e.delay));
        }
        (Processing, Event::Died(e)) if holds(job, &e.claim) => {
            close_run(job, at, e.result, e.ms, e.error.clone(), e.tail.clone());
            job.state = Dead;
            charge(job, e.result);
            job.reason = Some(e.reason.clone());
        }
        (Processing, Event::Lost(e)) if holds(job, &e.claim) => {
            close_run(job, at, RunResult::Lost, None, None, None);
            job.state = Pending;
            if !e.reboot {
                charge(job, RunResult::Lost);
            }
            (job.due, job.delay) = (Some(e.retry_at), Some(e.delay));
        }
        (Processing, Event::Released(e)) if holds(job, &e.claim) => {
            job.state = Pending;
            hand_back(job, at, e);
        }
        (Processing, Event::CancelRequested(e)) if holds(job, &e.claim) => {
            job.cancel_requested = true;
            job.reason = e.reason.clone();
        }
        (Processing, Event::Cancelled(e)) if e.claim.as_ref().is_some_and(|c| holds(job, c)) => {
            close_run(job, at, RunResult::Cancelled, e.ms, None, e.tail.clone());
            job.state = Cancelled;
            job.reason = e.reason.clone().or(job.reason.take());
        }
        (Pending | Failed, Event::Cancelled(e)) if e.claim.is_none() => {
            job.state = Cancelled;
            (job.due, job.delay) = (None, None);
            job.reason = e.reason.clone();
        }
        (Completed | Dead | Cancelled, Event::Requeued(e)) if !e.keep_attempts => {
            job.state = Pending;
            (job.attempts, job.lost) = (0, 0);
            (job.due, job.delay) = (None, None);
        }
        (Pending | Failed, Event::Requeued(e)) if e.keep_attempts => go_on(job),
        (Pending | Failed, Event::Edited(e)) => edit(job, e),
        (Completed | Dead | Cancelled, Event::Purged(_)) => return Ok(Life::Over),
        (state, event) => return Err(illegal(job, state, event)),
    }
    leave_behind(job);
    job.updated_at = at;
    Ok(Life::Goes)
}

/// Drops what means nothing in the state that the job has come to.
pub(super) fn leave_behind(job: &mut Job) {
    if job.state != JobState::Processing {
        job.claim = None;
        job.cancel_requested = false;
    }
    if !job.state.is_waiting() {
        job.held = None;
    }
    if !matches!(job.state, JobState::Processing | JobState::Dead | JobState::Cancelled) {
        job.reason = None;
    }
}

/// Ends the wait for a retry. A job that was held goes on where it was, in its wait too.
fn go_on(job: &mut Job) {
    if job.held.take().is_none() {
        job.state = JobState::Pending;
        (job.due, job.delay) = (None, None);
    }
}

fn may_claim(job: &Job, claimed: &Claimed) -> bool {
    job.held.is_none() && job.last_run.checked_add(1) == Some(claimed.run)
}

fn holds(job: &Job, claim: &Claim) -> bool {
    job.claim.as_ref() == Some(claim)
}

fn illegal(job: &Job, state: JobState, event: &Event) -> String {
    let claim = match event {
        Event::Completed(e) => Some(&e.claim),
        Event::Failed(e) => Some(&e.claim),
        Event::Died(e) => Some(&e.claim),
        Event::Lost(e) => Some(&e.claim),
        Event::Released(e) => Some(&e.claim),
        Event::CancelRequested(e) => Some(&e.claim),
        Event::Cancelled(e) => e.claim.as_ref(),
        _ => None,
    };
    match claim {
        // Under the claim that the job has, each of these can be.
        Some(claim) => {
            format!(
                "{} of job {} under claim {claim}, which was superseded",
                event.name(),
                job.id()
            )
        }
        None => format!("job {} is {state} and cannot be {}", job.id(), event.name()),
    }
}

/// Counts a run that ended: as an attempt, unless it was lost.
fn charge(job: &mut Job, result: RunResult) {
    let count = match result {
        RunResult::Lost => &mut job.lost,
        _ => &mut job.attempts,
    };
    *count = count.saturating_add(1);
}

fn open_run(job: &mut Job, at: Timestamp, claimed: &Claimed) {
    let Claimed { run, claim, .. } = claimed.clone();
    (job.last_run, job.claim) = (run, Some(claim.clone()));
    (job.due, job.delay) = (None, None);
    if job.runs.len() >= Job::RUNS_KEPT {
        job.runs.remove(0);
    }
    let (finished_at, result, ms, error, tail) = (None, None, None, None, None);
    job.runs.push(Run { run, claim, started_at: at, finished_at, result, ms, error, tail });
}

fn hand_back(job: &mut Job, at: Timestamp, released: &Released) {
    if released.started {
        close_run(job, at, RunResult::Interrupted, released.ms, released.error.clone(), None);
    } else {
        job.last_run = job.last_run.saturating_sub(1);
        job.runs.pop();
    }
    job.due = released.retry_at;
}

/// Writes down how the last run ended.
pub(super) fn close_run(
    job: &mut Job,
    at: Timestamp,
    result: RunResult,
    ms: Option<u64>,
    error: Option<String>,
    tail: Option<Tail>,
) {
    if let Some(run) = job.runs.last_mut() {
        run.finished_at = Some(at);
        run.result = Some(result);
        (run.ms, run.error, run.tail) = (ms, error, tail);
    }
}

fn edit(job: &mut Job, edited: &Edited) {
    let spec = &mut job.spec;
    if let Some(priority) = edited.priority {
        spec.priority = priority;
    }
    if let Some(max_retries) = edited.max_retries {
        spec.max_retries = max_retries;
    }
    if let Some(timeout) = edited.timeout {
        spec.timeout = Some(timeout);
    }
    if let Some(queue) = &edited.queue {
        spec.queue = queue.as_str().into();
    }
    if let Some(tags) = &edited.tags {
        spec.tags = tags.clone();
    }
    if let Some(run_at) = edited.run_at {
        spec.run_at = Some(run_at);
        (job.due, job.delay) = (Some(run_at), None);
    }
}
