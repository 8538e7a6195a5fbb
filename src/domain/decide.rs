//! One function a verb: what has to be written down for it to happen, or why it may not.
//!
//! Decides and changes nothing; what it returns is appended and then applied like any other event.

use super::event::{
    CancelRequested, Cancelled, Claimed, Completed, Died, Edited, Event, Failed, Lost, Purged,
    Released, Requeued, WorkerStopRequested,
};
use super::job::{Claim, Job, JobId, JobState, RunResult, Spec, Tail};
use super::policy::RetryPolicy;
use super::state::NodeState;
use super::timestamp::Timestamp;

/// Why something may not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The id is taken.
    #[error("job {id} exists already; it is {state}")]
    Duplicate {
        /// The id.
        id: JobId,
        /// The state of the job that has it.
        state: JobState,
    },
    /// The id stands twice in what is to be enqueued.
    #[error("job {0} is in the batch twice")]
    TwiceInBatch(JobId),
    /// No such job.
    #[error("no job {0}")]
    NoSuchJob(JobId),
    /// The job is not in a state for this.
    #[error("job {id} is {state}, so it cannot be {verb}")]
    WrongState {
        /// The job.
        id: JobId,
        /// Its state.
        state: JobState,
        /// The past participle of the verb: `cancelled`, `retried`.
        verb: &'static str,
    },
    /// No such worker.
    #[error("no worker {0}")]
    NoSuchWorker(String),
    /// The batch took so long that another may have given it up.
    #[error("batch {0} was abandoned")]
    BatchAbandoned(String),
}

/// What came of an enqueue.
#[derive(Debug, Clone, PartialEq)]
pub struct Enqueueing {
    /// The jobs to write.
    pub specs: Vec<Spec>,
    /// The ids to answer with, in the order that was asked, also of jobs that were there before.
    pub ids: Vec<JobId>,
}

/// What happens to an id that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnConflict {
    /// Nothing is enqueued.
    #[default]
    Fail,
    /// The job that exists is the answer.
    Keep,
}

/// Enqueues jobs whose ids may be taken.
///
/// Errors: [`Refusal::Duplicate`] unless `on_conflict` keeps, [`Refusal::TwiceInBatch`].
pub fn enqueue(
    node: &NodeState,
    specs: Vec<Spec>,
    on_conflict: OnConflict,
) -> Result<Enqueueing, Refusal> {
    let mut seen = std::collections::HashSet::new();
    let mut chosen = Enqueueing { specs: Vec::new(), ids: Vec::new() };
    for spec in specs {
        if !seen.insert(spec.id.clone()) {
            return Err(Refusal::TwiceInBatch(spec.id));
        }
        chosen.ids.push(spec.id.clone());
        match node.job(&spec.id) {
            None => chosen.specs.push(spec),
            Some(_) if on_conflict == OnConflict::Keep => {}
            Some(job) => return Err(Refusal::Duplicate { id: spec.id, state: job.state }),
        }
    }
    Ok(chosen)
}

/// Claims the best ready jobs, at most `count`, for `worker`, whose claims so far end before `next_claim`.
pub fn claim(
    node: &NodeState,
    worker: &str,
    next_claim: u64,
    count: usize,
    queues: &[String],
    now: Timestamp,
) -> Vec<Claimed> {
    node.ready(queues, now)
        .filter_map(|job| Some((job.id().clone(), job.last_run.checked_add(1)?)))
        .take(count)
        .zip(next_claim..)
        .map(|((job, run), n)| Claimed { job, run, claim: Claim::new(worker, n) })
        .collect()
}

/// How a run ended, as its worker saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The job.
    pub job: JobId,
    /// The run.
    pub run: u32,
    /// The claim.
    pub claim: Claim,
    /// How it ended. [`RunResult::Interrupted`] hands the job back.
    pub result: RunResult,
    /// How long it ran, in milliseconds.
    pub ms: u64,
    /// The end of what it printed.
    pub tail: Option<Tail>,
    /// What went wrong, or what a person should know.
    pub error: Option<String>,
}

/// Records the end of a run. `chance` in 0..1 is for jitter.
///
/// A job that ended well is completed even where its end was asked for; else such a job is cancelled. An outcome
/// under a superseded claim is written as it is, and changes nothing.
pub fn finish(
    node: &NodeState,
    outcome: Outcome,
    policy: &RetryPolicy,
    now: Timestamp,
    chance: f64,
) -> Event {
    let Outcome { job: id, run, claim, result, ms, tail, error } = outcome;
    let job = node.job(&id);
    let cancel = result == RunResult::Cancelled || is_cancel_requested(job, &claim);
    match result {
        RunResult::Exit(0) => {
            return Event::Completed(Completed { job: id, run, claim, ms, tail, note: error });
        }
        _ if cancel => {
            let (claim, ms) = (Some(claim), Some(ms));
            return Event::Cancelled(Cancelled { job: id, claim, ms, reason: None, tail });
        }
        RunResult::Interrupted => {
            let (retry_at, ms) = (None, Some(ms));
            let started = true;
            return Event::Released(Released { job: id, run, claim, started, retry_at, error, ms });
        }
        _ => {}
    }
    let attempts = job.map_or(0, |job| job.attempts).saturating_add(1);
    if job.is_none_or(|job| attempts >= job.spec.attempts_allowed()) {
        let (reason, ms) = ("exhausted".to_owned(), Some(ms));
        return Event::Died(Died { job: id, run, claim, result, reason, ms, error, tail });
    }
    let delay = job_policy(job, policy).retry_delay(attempts, chance);
    let retry_at = now.after(delay);
    Event::Failed(Failed { job: id, run, claim, result, retry_at, delay, ms, error, tail })
}

/// Whether the end of what runs under this claim was asked for.
fn is_cancel_requested(job: Option<&Job>, claim: &Claim) -> bool {
    job.is_some_and(|job| job.cancel_requested && job.claim.as_ref() == Some(claim))
}

/// The policy with what the job brings of its own.
fn job_policy(job: Option<&Job>, policy: &RetryPolicy) -> RetryPolicy {
    let spec = job.map(|job| &job.spec);
    RetryPolicy {
        backoff_base: spec.and_then(|s| s.backoff_base).unwrap_or(policy.backoff_base),
        max_delay: spec.and_then(|s| s.max_delay).unwrap_or(policy.max_delay),
        jitter: spec.and_then(|s| s.jitter).unwrap_or(policy.jitter),
        max_lost: policy.max_lost,
    }
}

/// Hands back a job that was claimed and never started. Where its end was asked for meanwhile, it is cancelled.
///
/// `retry_at` makes it wait, where it could not be started for want of descriptors, processes, memory or disk.
pub fn release(
    node: &NodeState,
    job: JobId,
    run: u32,
    claim: Claim,
    retry_at: Option<Timestamp>,
    error: Option<String>,
) -> Event {
    if is_cancel_requested(node.job(&job), &claim) {
        let (claim, ms, reason, tail) = (Some(claim), None, None, None);
        return Event::Cancelled(Cancelled { job, claim, ms, reason, tail });
    }
    Event::Released(Released { job, run, claim, started: false, retry_at, error, ms: None })
}

/// Records that the worker of a run is dead and that nothing of the run is left; none where the run is settled.
///
/// `reboot`: the machine went down, which is nobody's fault.
pub fn lose(
    node: &NodeState,
    id: &JobId,
    claim: &Claim,
    policy: &RetryPolicy,
    now: Timestamp,
    reboot: bool,
) -> Option<Event> {
    let job = node.job(id).filter(|job| job.claim.as_ref() == Some(claim))?;
    let (job_id, run, claim) = (id.clone(), job.last_run, claim.clone());
    if job.cancel_requested {
        let (claim, ms, reason, tail) = (Some(claim), None, None, None);
        return Some(Event::Cancelled(Cancelled { job: job_id, claim, ms, reason, tail }));
    }
    let lost = job.lost.saturating_add(u32::from(!reboot));
    if lost > policy.max_lost && !reboot {
        return Some(Event::Died(Died {
            job: job_id,
            run,
            claim,
            result: RunResult::Lost,
            reason: "poison".to_owned(),
            ms: None,
            error: Some(format!("its worker died {lost} times")),
            tail: None,
        }));
    }
    let delay =
        if reboot { Default::default() } else { job_policy(Some(job), policy).lost_delay(lost) };
    let retry_at = now.after(delay);
    Some(Event::Lost(Lost { job: job_id, run, claim, retry_at, delay, reboot }))
}

fn find<'a>(node: &'a NodeState, id: &JobId) -> Result<&'a Job, Refusal> {
    node.job(id).ok_or_else(|| Refusal::NoSuchJob(id.clone()))
}

/// Takes a job back: at once where it waits, by its worker where it runs; nothing where it is cancelled already.
///
/// Errors: [`Refusal::NoSuchJob`], [`Refusal::WrongState`] where it is completed or dead.
pub fn cancel(
    node: &NodeState,
    id: &JobId,
    reason: Option<String>,
) -> Result<Option<Event>, Refusal> {
    let job = find(node, id)?;
    match (job.state, &job.claim) {
        (JobState::Pending | JobState::Failed, _) => {
            let (claim, ms, tail) = (None, None, None);
            Ok(Some(Event::Cancelled(Cancelled { job: id.clone(), claim, ms, reason, tail })))
        }
        (JobState::Processing, Some(claim)) if !job.cancel_requested => {
            let claim = claim.clone();
            Ok(Some(Event::CancelRequested(CancelRequested { job: id.clone(), claim, reason })))
        }
        (JobState::Processing | JobState::Cancelled, _) => Ok(None),
        (state, _) => Err(Refusal::WrongState { id: id.clone(), state, verb: "cancelled" }),
    }
}

/// Puts a finished job back at its beginning, makes a waiting retry due now, or lets a held job go on.
///
/// Errors: [`Refusal::NoSuchJob`], [`Refusal::WrongState`] where it is processing, or pending and not held.
pub fn retry(node: &NodeState, id: &JobId) -> Result<Event, Refusal> {
    let job = find(node, id)?;
    let keep_attempts = match job.state {
        JobState::Failed => true,
        JobState::Pending if job.held.is_some() => true,
        state if state.is_finished() => false,
        state => return Err(Refusal::WrongState { id: id.clone(), state, verb: "retried" }),
    };
    Ok(Event::Requeued(Requeued { job: id.clone(), keep_attempts }))
}

/// Puts a dead job back into the queue.
///
/// Errors: [`Refusal::NoSuchJob`], [`Refusal::WrongState`] where it is not dead.
pub fn retry_dead(node: &NodeState, id: &JobId) -> Result<Event, Refusal> {
    match find(node, id)?.state {
        JobState::Dead => Ok(Event::Requeued(Requeued { job: id.clone(), keep_attempts: false })),
        state => Err(Refusal::WrongState {
            id: id.clone(),
            state,
            verb: "retried from the dead letter queue",
        }),
    }
}

/// Removes a finished job.
///
/// Errors: [`Refusal::NoSuchJob`], [`Refusal::WrongState`] where it is not finished.
pub fn purge(node: &NodeState, id: &JobId) -> Result<Event, Refusal> {
    match find(node, id)?.state {
        state if state.is_finished() => {
            Ok(Event::Purged(Purged { job: id.clone(), why: Purged::REQUEST.to_owned() }))
        }
        state => Err(Refusal::WrongState { id: id.clone(), state, verb: "purged" }),
    }
}

/// Changes a waiting job.
///
/// Errors: [`Refusal::NoSuchJob`], [`Refusal::WrongState`] where it is running or finished.
pub fn edit(node: &NodeState, edited: Edited) -> Result<Event, Refusal> {
    let job = find(node, &edited.job)?;
    if !job.state.is_waiting() {
        let (id, state) = (edited.job, job.state);
        return Err(Refusal::WrongState { id, state, verb: "edited" });
    }
    Ok(Event::Edited(Box::new(edited)))
}

/// Asks a worker to stop; nothing where it was asked already.
///
/// Errors: [`Refusal::NoSuchWorker`].
pub fn stop_worker(
    node: &NodeState,
    worker: &str,
    at_once: bool,
) -> Result<Option<Event>, Refusal> {
    let record =
        node.facts.workers.get(worker).ok_or_else(|| Refusal::NoSuchWorker(worker.to_owned()))?;
    let already = record.stop_requested.is_some_and(|now| now || !at_once);
    let request = WorkerStopRequested { worker: worker.to_owned(), now: at_once };
    Ok((!already).then_some(Event::WorkerStopRequested(request)))
}
