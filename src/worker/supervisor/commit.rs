//! What a turn has to say and to claim, and what follows from what was written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Running, STARVED, Scope, Supervisor, hand_on, is_of_a_stop};
use crate::domain::event::{Claimed, Event, Released, WorkerStopped};
use crate::domain::job::{Claim, Job, JobId, RunResult};
use crate::domain::policy::RetryPolicy;
use crate::store::StoreError;
use crate::worker::committer::{self, Batch, Committed, Grant, Release, Wanted};
use crate::worker::follow::Follow;
use crate::worker::output::Place;
use crate::worker::process::control::Control;
use crate::worker::reporter::{Next, Notice, RunEnded, Stream};
use crate::worker::slots::{Over, Task};
use crate::worker::warden::Limits;

impl Supervisor<'_> {
    /// Writes down all there is to say, and claims for the free slots; nothing where there is neither. Says whether
    /// anything was written, since more may follow from that.
    pub(super) fn commit(&mut self, others: Vec<Event>) -> Result<bool, StoreError> {
        let (batch, said) = self.batch(others);
        let scope = self.setting.scope.clone();
        // What is handed back stands before what would be claimed in its place, but only once it is written.
        let wanted = match batch.releases.is_empty() {
            true => self.wanted(&scope, &batch),
            false => Wanted::Nothing,
        };
        let dead = self.recoveries.over();
        if batch.is_empty() && matches!(wanted, Wanted::Nothing) {
            self.close_dead(&dead);
            return Ok(false);
        }
        let policy = RetryPolicy {
            backoff_base: self.config.backoff_base(),
            max_delay: self.config.max_delay(),
            jitter: self.config.jitter(),
            max_lost: self.config.max_lost(),
        };
        let begun = Instant::now();
        let (worker, next) = (&self.identity.worker, &mut self.next_claim);
        let committed = committer::commit(self.store, worker, next, &policy, &batch, &wanted)?;
        self.pace.committed(begun.elapsed());
        self.enqueue = None;
        self.releases.clear();
        self.settled.clear();
        self.pending.retain(|pending| !said.contains(pending.over.claim()));
        let read = self.store.read().map(|_| ());
        let Committed { events, grants } = committed;
        self.follow_up(&batch, events);
        for grant in grants {
            self.start(grant);
        }
        self.close_dead(&dead);
        read.map(|()| true)
    }

    /// What there is to say, and the claims whose ends are said by it.
    fn batch(&mut self, others: Vec<Event>) -> (Batch, Vec<Claim>) {
        let now = Instant::now();
        let is_ending = self.stop.asked.is_some() || self.failed.is_some();
        let mut batch = Batch { others, releases: self.releases.clone(), ..Batch::default() };
        batch.settled.clone_from(&self.settled);
        batch.enqueue.clone_from(&self.enqueue);
        let mut said = Vec::new();
        for pending in &self.pending {
            if !is_ending && pending.hold.is_some_and(|hold| hold > now) {
                continue;
            }
            said.push(pending.over.claim().clone());
            match &pending.over {
                Over::NotStarted { claimed, error } => batch.releases.push(Release {
                    claimed: claimed.clone(),
                    pause: error.as_ref().map(|_| STARVED),
                    error: error.clone(),
                }),
                Over::Ended { outcome, .. } => {
                    let mut outcome = outcome.clone();
                    if self.stop.asked.is_some() && is_of_a_stop(&pending.over) {
                        outcome.result = RunResult::Interrupted;
                    }
                    batch.outcomes.push((outcome, self.store.ids().fraction()));
                }
            }
        }
        if let (Scope::Job(id), true) = (&self.setting.scope, self.stop.cancel) {
            let job = self.store.own().and_then(|own| own.job(id));
            let is_open = |job: &&Job| !job.state.is_finished() && !job.cancel_requested;
            let is_elsewhere = self.running.is_empty() && job.filter(is_open).is_some();
            batch.cancel = is_elsewhere.then(|| id.clone());
        }
        for worker in self.recoveries.over() {
            let has_end =
                self.store.own().is_none_or(|own| !own.facts.workers.contains_key(&worker));
            if !has_end {
                batch.others.push(Event::WorkerStopped(WorkerStopped { worker, died: true }));
            }
        }
        (batch, said)
    }

    /// What to claim: for the free slots, and ahead of them where jobs are short.
    fn wanted<'s>(&mut self, scope: &'s Scope, batch: &Batch) -> Wanted<'s> {
        let now = self.store.now();
        let starves = self.starved_until.is_some_and(|until| until > Instant::now());
        if self.stop.asked.is_some() || self.stop.cancel || self.failed.is_some() || starves {
            return Wanted::Nothing;
        }
        self.starved_until = None;
        let Some(own) = self.store.own() else { return Wanted::Nothing };
        let occupied = self.running.len().saturating_sub(self.pending.len());
        let wanted = match scope {
            Scope::Job(id) => {
                let job = own.job(id).filter(|job| job.state.is_waiting());
                let is_due = |job: &&Job| job.due.is_none() || job.due == self.ripe;
                let is_open = |job: &&Job| !own.is_paused(&job.spec.queue, now);
                let job = job.filter(is_due).filter(is_open).filter(|_| self.running.is_empty());
                job.map_or(Wanted::Nothing, |job| Wanted::One { job: id, due: job.due })
            }
            Scope::Queues(queues) => {
                let ahead = self.pace.ahead(self.setting.slots);
                let free = (self.setting.slots + ahead).saturating_sub(occupied);
                let count = free.min(self.runs_left());
                // For a few claims ahead alone no commit is worth it.
                let is_worth_it = !batch.is_empty() || free > ahead / 2;
                let is_any = count > 0 && is_worth_it && own.ready(queues, now).next().is_some();
                if is_any { Wanted::Best { queues, count } } else { Wanted::Nothing }
            }
        };
        if !matches!(wanted, Wanted::Nothing) && !self.is_in_place() {
            let worker = &self.identity.worker;
            let text = format!("the lock file of worker {worker} is not where it was made");
            self.reporter.notice(&Notice::Other(text));
            self.is_displaced = true;
            self.stop_claiming();
            return Wanted::Nothing;
        }
        match matches!(wanted, Wanted::Nothing) || self.has_room() {
            true => wanted,
            false => Wanted::Nothing,
        }
    }

    /// Whether there is room for what a claim begets: one whose outcome cannot be recorded is worse than none.
    fn has_room(&mut self) -> bool {
        if let Err(error) = self.store.keep_reserve() {
            self.want(&error.into());
            return false;
        }
        if std::mem::take(&mut self.is_full) {
            let text = "there is room on the disk again".to_owned();
            self.reporter.notice(&Notice::Other(text));
        }
        true
    }

    /// A worker that others cannot see claims nothing more.
    fn is_in_place(&self) -> bool {
        self.lock.is_in_place(self.store.disk().as_ref()).unwrap_or(false)
    }

    fn runs_left(&self) -> usize {
        let Some(most) = self.setting.max_jobs else { return usize::MAX };
        let left = usize::try_from(most.saturating_sub(self.runs_ended)).unwrap_or(usize::MAX);
        left.saturating_sub(self.running.len())
    }

    fn start(&mut self, grant: Grant) {
        let Grant { claimed, spec, attempt } = grant;
        let grace = spec.kill_grace.unwrap_or(self.config.kill_grace());
        let control = Arc::new(Control::new(grace));
        let limits = Limits {
            // A timeout of zero is none, whatever the configuration says.
            timeout: spec.timeout.or(self.config.timeout()).filter(|timeout| !timeout.is_zero()),
            output: self.config.output_limit(),
        };
        let place = Place::new(&self.store.place().output_dir(), &claimed.job, claimed.run);
        let follows = self.setting.streams.then(|| {
            [
                (Stream::Out, Follow::new(place.out.clone())),
                (Stream::Err, Follow::new(place.err.clone())),
            ]
        });
        let running =
            Running { claimed: claimed.clone(), control: Arc::clone(&control), place, follows };
        self.running.insert(claimed.claim.clone(), running);
        let since = Instant::now();
        self.slots.give(Task { claimed, spec, attempt, control, limits, since });
    }

    /// Lets go of what is said, and tells of it.
    fn follow_up(&mut self, batch: &Batch, events: Vec<Event>) {
        let now = Instant::now();
        for event in events {
            if let (Event::Failed(_) | Event::Lost(_), Some(id)) = (&event, event.job())
                && let Some(job) = self.store.own().and_then(|own| own.job(id))
            {
                self.retries.began(job, now);
            }
            let Some(end) = RunEndedOf::new(event) else { continue };
            self.lock.forget(&end.claim);
            if let Some(mut running) = self.running.remove(&end.claim) {
                hand_on(&mut running, self.reporter);
                running.place.tidy();
                if let Some(mut ended) = end.ended {
                    // Not every event says it.
                    ended.run = running.claimed.run;
                    self.runs_ended += 1;
                    self.reporter.run_ended(&ended);
                }
            } else if batch.settled.iter().any(|run| run.claimed.claim == end.claim) {
                let worker = end.claim.worker().to_owned();
                let (job, next) = (end.job, end.next);
                self.reporter.notice(&Notice::Recovered { job, worker, next });
            }
        }
        for run in &batch.settled {
            let Claimed { job, run, .. } = &run.claimed;
            Place::new(&self.store.place().output_dir(), job, *run).tidy();
        }
        self.recoveries.recorded(&batch.settled);
    }

    /// Lets go of dead workers whose ends are in the log. A lock file that stays is found again.
    fn close_dead(&mut self, workers: &[String]) {
        for worker in workers {
            if let Err(error) = self.recoveries.close(self.store, worker) {
                self.reporter.notice(&Notice::Other(error.to_string()));
            }
        }
    }
}

/// What an event says of the end of a claim.
struct RunEndedOf {
    claim: Claim,
    job: JobId,
    next: Next,
    /// None where no run was started.
    ended: Option<RunEnded>,
}

impl RunEndedOf {
    fn new(event: Event) -> Option<Self> {
        let (job, run, claim, result, ms, next, error) = match event {
            Event::Completed(e) => {
                (e.job, e.run, e.claim, RunResult::Exit(0), Some(e.ms), Next::Completed, e.note)
            }
            Event::Failed(e) => {
                (e.job, e.run, e.claim, e.result, Some(e.ms), Next::Retry(e.delay), e.error)
            }
            Event::Died(e) => (e.job, e.run, e.claim, e.result, e.ms, Next::Dead, e.error),
            Event::Cancelled(e) => {
                (e.job, 0, e.claim?, RunResult::Cancelled, e.ms, Next::Cancelled, e.reason)
            }
            Event::Lost(e) => {
                (e.job, e.run, e.claim, RunResult::Lost, None, Next::Retry(e.delay), None)
            }
            Event::Released(Released { started: false, job, claim, .. }) => {
                return Some(RunEndedOf { claim, job, next: Next::Released, ended: None });
            }
            Event::Released(e) => {
                (e.job, e.run, e.claim, RunResult::Interrupted, e.ms, Next::Released, e.error)
            }
            _ => return None,
        };
        let time = Duration::from_millis(ms.unwrap_or(0));
        let ended = Some(RunEnded { job: job.clone(), run, result, time, next, error });
        Some(RunEndedOf { claim, job, next, ended })
    }
}
