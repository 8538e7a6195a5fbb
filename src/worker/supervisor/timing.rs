//! When jobs become ready, and when a worker is done.

use std::time::{Duration, Instant};

use super::{Scope, Supervisor};
use crate::domain::job::Job;
use crate::domain::state::NodeState;

impl Supervisor<'_> {
    /// Moves the jobs whose time has come to the ready ones. Gives how long the next has to wait.
    pub(super) fn ripen(&mut self) -> Option<Duration> {
        let monotonic = Instant::now();
        let now = self.store.now();
        let own = self.store.own()?;
        let poll = self.config.poll_interval();
        if self.surveyed.is_none_or(|surveyed| monotonic.duration_since(surveyed) >= poll) {
            self.retries.survey(own.waiting(), monotonic);
            self.surveyed = Some(monotonic);
        }
        let (ripe, next) = self.retries.ripe(own.waiting(), now, monotonic);
        let mut orders = Vec::new();
        for (order, due) in ripe {
            let Some(job) = own.job_at(order).filter(|job| job.due == Some(due)) else { continue };
            if matches!(&self.setting.scope, Scope::Job(id) if id == job.id()) {
                self.ripe = Some(due);
            }
            orders.push(order);
        }
        for order in orders {
            self.store.ripen_job(order);
        }
        next
    }

    /// Whether the work is over: everything of its own is in the log, and there is a reason to end.
    pub(super) fn is_done(&self) -> bool {
        let unsaid =
            !self.pending.is_empty() || !self.releases.is_empty() || !self.settled.is_empty();
        if unsaid || !self.running.is_empty() {
            return false;
        }
        if self.stop.asked.is_some() || self.setting.max_jobs.is_some_and(|n| self.runs_ended >= n)
        {
            return true;
        }
        let own = self.store.own();
        match &self.setting.scope {
            Scope::Job(id) => {
                let job = own.and_then(|own| own.job(id));
                job.is_none_or(|job| job.state.is_finished())
            }
            Scope::Queues(queues) => {
                self.setting.drains && own.is_none_or(|own| self.is_drained(own, queues))
            }
        }
    }

    /// Whether nothing runs, is ready, or waits for a retry. Times of day and paused queues are not waited for.
    fn is_drained(&self, own: &NodeState, queues: &[String]) -> bool {
        let now = self.store.now();
        let is_ours = |job: &Job| {
            let queue = &*job.spec.queue;
            (queues.is_empty() || queues.iter().any(|wanted| wanted == queue))
                && !own.is_paused(queue, now)
        };
        own.processing().next().is_none()
            && own.ready(queues, now).next().is_none()
            && !own.waiting().any(|job| is_ours(job) && job.due != job.spec.run_at)
    }
}
