//! A queue in memory for the tests of the rules: events are decided, numbered and applied as a store would.
//!
//! Knows no file. Its clock is turned by hand.

use std::time::Duration;

use super::decide::{self, Outcome};
use super::event::Illegal;
use super::event::{Claimed, Event, Record};
use super::job::{Job, JobId, RunResult, Spec};
use super::policy::RetryPolicy;
use super::state::NodeState;
use super::timestamp::Timestamp;

/// One node's state, its clock, and how many claims its only worker has had.
#[derive(Clone)]
pub(super) struct Queue {
    pub(super) node: NodeState,
    pub(super) now: Timestamp,
    pub(super) policy: RetryPolicy,
    claims: u64,
}

pub(super) fn id(text: &str) -> JobId {
    JobId::new(text).unwrap()
}

pub(super) fn spec(text: &str) -> Spec {
    Spec::shell(id(text), "true", 3)
}

impl Queue {
    pub(super) fn new() -> Self {
        Queue {
            node: NodeState::default(),
            now: "2026-02-02T03:04:05Z".parse().unwrap(),
            policy: RetryPolicy::default(),
            claims: 0,
        }
    }

    pub(super) fn with_jobs(ids: &[&str]) -> Self {
        let mut queue = Queue::new();
        for id in ids {
            queue.happen(Event::Enqueued(Box::new(spec(id))));
        }
        queue
    }

    /// Appends an event that may be out of place.
    pub(super) fn apply(&mut self, event: Event) -> Result<(), Illegal> {
        let (seq, ts) = (self.node.facts.last_seq + 1, self.now);
        self.node.apply(&Record { seq, ts, wall: None, event })
    }

    /// Appends an event that is in its place.
    pub(super) fn happen(&mut self, event: Event) {
        self.apply(event).unwrap();
    }

    pub(super) fn pass(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
    }

    pub(super) fn job(&self, text: &str) -> &Job {
        self.node.job(&id(text)).unwrap()
    }

    /// What is ready now, best first.
    pub(super) fn ready(&mut self) -> Vec<String> {
        let now = self.now;
        self.node.ripen(|job| job.due.is_none_or(|due| due <= now));
        self.node.ready(&[], now).map(|job| job.id().to_string()).collect()
    }

    /// Claims the best ready job, if there is one.
    pub(super) fn try_claim(&mut self) -> Option<Claimed> {
        self.ready();
        let claimed = decide::claim(&self.node, "desk.w", self.claims, 1, &[], self.now).pop()?;
        self.claims += 1;
        self.happen(Event::Claimed(claimed.clone()));
        Some(claimed)
    }

    pub(super) fn claim(&mut self) -> Claimed {
        self.try_claim().unwrap()
    }

    /// What is written when the run ends so.
    pub(super) fn outcome(&self, claimed: &Claimed, result: RunResult) -> Event {
        let Claimed { job, run, claim } = claimed.clone();
        let outcome = Outcome { job, run, claim, result, ms: 7, tail: None, error: None };
        decide::finish(&self.node, outcome, &self.policy, self.now, 0.0)
    }

    pub(super) fn finish(&mut self, claimed: &Claimed, result: RunResult) {
        let event = self.outcome(claimed, result);
        self.happen(event);
    }

    /// Claims the best ready job and ends the run.
    pub(super) fn run(&mut self, result: RunResult) {
        let claimed = self.claim();
        self.finish(&claimed, result);
    }

    /// Records that the worker of a run is dead, where that is news.
    pub(super) fn lose(&mut self, claimed: &Claimed, reboot: bool) -> bool {
        let (job, claim) = (&claimed.job, &claimed.claim);
        let event = decide::lose(&self.node, job, claim, &self.policy, self.now, reboot);
        event.map(|event| self.happen(event)).is_some()
    }
}
