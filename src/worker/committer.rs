//! What a worker has to say goes into the log in one append and one sync: outcomes, what is handed back, what was
//! recovered, and the next claims.
//!
//! Decides nothing itself; unaware of processes.

use std::time::Duration;

use super::recover::{Fate, Settled};
use crate::domain::decide::{self, OnConflict, Outcome, Refusal};
use crate::domain::event::{Claimed, Event};
use crate::domain::job::{Claim, JobId, Spec};
use crate::domain::policy::RetryPolicy;
use crate::domain::state::NodeState;
use crate::domain::timestamp::Timestamp;
use crate::store::{Store, StoreError};

/// What there is to say.
#[derive(Debug, Default)]
pub struct Batch {
    /// Ends of runs, each with its chance in 0..1 for jitter.
    pub outcomes: Vec<(Outcome, f64)>,
    /// Claims that came to no run.
    pub releases: Vec<Release>,
    /// Runs of dead workers.
    pub settled: Vec<Settled>,
    /// A job to be enqueued, and claimed at once where it is due.
    pub enqueue: Option<Spec>,
    /// A job to be taken back while it waits.
    pub cancel: Option<JobId>,
    /// What is said of workers.
    pub others: Vec<Event>,
}

/// A claim that is handed back.
#[derive(Debug, Clone)]
pub struct Release {
    /// What was claimed.
    pub claimed: Claimed,
    /// Not again before this long, where something was wanting.
    pub pause: Option<Duration>,
    /// What was wanting.
    pub error: Option<String>,
}

/// What is to be claimed.
#[derive(Debug, Clone)]
pub enum Wanted<'a> {
    /// Nothing.
    Nothing,
    /// The best ready jobs of these queues, all where empty.
    Best {
        /// The queues.
        queues: &'a [String],
        /// How many at most.
        count: usize,
    },
    /// This job, if it still waits for the same moment, which has come.
    One {
        /// The job.
        job: &'a JobId,
        /// The moment.
        due: Option<Timestamp>,
    },
}

/// A claim, with what is needed to run it.
#[derive(Debug)]
pub struct Grant {
    /// What was claimed.
    pub claimed: Claimed,
    /// The job.
    pub spec: Spec,
    /// The number of the attempt that its run will be charged as.
    pub attempt: u32,
}

/// What was written.
#[derive(Debug, Default)]
pub struct Committed {
    /// Everything but claims, in order.
    pub events: Vec<Event>,
    /// The claims.
    pub grants: Vec<Grant>,
}

impl Batch {
    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.outcomes.is_empty()
            && self.releases.is_empty()
            && self.settled.is_empty()
            && self.enqueue.is_none()
            && self.cancel.is_none()
            && self.others.is_empty()
    }
}

/// Writes everything down. Claims count on from `next_claim`, and no number is given twice, also where the store has to
/// decide again.
///
/// Ensures: what is returned is on stable storage.
/// Errors: where the store fails; then nothing counts as said, and no claim as made.
pub fn commit(
    store: &mut Store,
    worker: &str,
    next_claim: &mut u64,
    policy: &RetryPolicy,
    batch: &Batch,
    wanted: &Wanted<'_>,
) -> Result<Committed, StoreError> {
    store.transact(|node, now| {
        let mut events = batch.others.clone();
        for (outcome, chance) in &batch.outcomes {
            events.push(decide::finish(node, outcome.clone(), policy, now, *chance));
        }
        events.extend(batch.releases.iter().filter_map(|release| hand_back(node, release, now)));
        events.extend(batch.settled.iter().filter_map(|run| settle(node, run, policy, now)));
        if let Some(id) = &batch.cancel {
            // It may have ended meanwhile.
            events.extend(decide::cancel(node, id, None).ok().flatten());
        }
        let grants = claim(node, worker, *next_claim, batch, wanted, now)?;
        *next_claim += grants.len() as u64;
        if let Some(spec) = &batch.enqueue {
            events.push(Event::Enqueued(Box::new(spec.clone())));
        }
        let claims = grants.iter().map(|grant| Event::Claimed(grant.claimed.clone()));
        let lines = events.iter().cloned().chain(claims).collect();
        Ok((lines, Committed { events, grants }))
    })
}

fn claim(
    node: &NodeState,
    worker: &str,
    next_claim: u64,
    batch: &Batch,
    wanted: &Wanted<'_>,
    now: Timestamp,
) -> Result<Vec<Grant>, Refusal> {
    if let Some(spec) = &batch.enqueue {
        decide::enqueue(node, vec![spec.clone()], OnConflict::Fail)?;
        let is_due = spec.run_at.is_none_or(|due| due <= now);
        let grant = || {
            let claim = Claim::new(worker, next_claim);
            let claimed = Claimed { job: spec.id.clone(), run: 1, claim };
            Grant { claimed, spec: spec.clone(), attempt: 1 }
        };
        let starts = is_due && !node.is_paused(&spec.queue, now);
        return Ok(starts.then(grant).into_iter().collect());
    }
    let claims = match wanted {
        Wanted::Nothing => Vec::new(),
        Wanted::Best { queues, count } => {
            decide::claim(node, worker, next_claim, *count, queues, now)
        }
        Wanted::One { job, due } => {
            let job = node.job(job).filter(|job| job.state.is_waiting() && job.due == *due);
            let job = job.filter(|job| !node.is_paused(&job.spec.queue, now));
            let claim = Claim::new(worker, next_claim);
            let claimed =
                job.map(|job| Claimed { job: job.id().clone(), run: job.last_run + 1, claim });
            claimed.into_iter().collect()
        }
    };
    let grant = |claimed: Claimed| {
        let job = node.job(&claimed.job)?;
        Some(Grant { claimed, spec: job.spec.clone(), attempt: job.attempts.saturating_add(1) })
    };
    Ok(claims.into_iter().filter_map(grant).collect())
}

fn hand_back(node: &NodeState, release: &Release, now: Timestamp) -> Option<Event> {
    let Claimed { job: id, run, claim } = release.claimed.clone();
    node.job(&id).filter(|job| job.claim.as_ref() == Some(&claim))?;
    let retry_at = release.pause.map(|pause| now.after(pause));
    Some(decide::release(node, id, run, claim, retry_at, release.error.clone()))
}

fn settle(node: &NodeState, run: &Settled, policy: &RetryPolicy, now: Timestamp) -> Option<Event> {
    match run.fate {
        Fate::NeverStarted => {
            let claimed = run.claimed.clone();
            hand_back(node, &Release { claimed, pause: None, error: None }, now)
        }
        Fate::Gone | Fate::Rebooted => {
            let is_reboot = run.fate == Fate::Rebooted;
            decide::lose(node, &run.claimed.job, &run.claimed.claim, policy, now, is_reboot)
        }
    }
}
