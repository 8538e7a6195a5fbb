//! What people ask of a running worker: signals, stops and cancels, whether by signal or in the log.

use std::time::Instant;

use super::{STARVED, Scope, Stop, Supervisor};
use crate::domain::event::Claimed;
use crate::domain::job::Claim;
use crate::domain::state::NodeState;
use crate::worker::WorkerError;
use crate::worker::process::control::Ending;
use crate::worker::reporter::Notice;
use crate::worker::signal::{self, Signal};
use crate::worker::slots::Task;

impl Supervisor<'_> {
    pub(super) fn take_signal(&mut self, signal: Signal) {
        let in_foreground = matches!(self.setting.scope, Scope::Job(_));
        match signal {
            Signal::Suspend => self.suspend(),
            Signal::Interrupt if in_foreground => {
                self.stop.signal = Some(signal);
                self.stop.cancel = true;
                self.end_runs(Ending::Cancelled);
            }
            Signal::Terminate | Signal::HangUp if in_foreground => {
                self.stop.signal.get_or_insert(signal);
                self.stop_at_once();
            }
            // A worker whose terminal goes away works on.
            Signal::HangUp => {}
            Signal::Terminate | Signal::Interrupt => {
                self.stop.signal.get_or_insert(signal);
                if self.stop.asked.is_none() {
                    self.stop_claiming();
                } else {
                    self.stop_at_once();
                }
            }
        }
    }

    /// Stops the process, once others can have what was claimed ahead.
    fn suspend(&mut self) {
        self.release_waiting(|_| true);
        // What is handed back is not to be claimed in the same breath.
        let starved = self.starved_until.replace(Instant::now() + STARVED);
        match self.commit(Vec::new()).map_err(WorkerError::from) {
            Err(error) if error.is_of_want() => self.want(&error),
            Err(error) => self.fail(error),
            Ok(_) => {}
        }
        self.starved_until = starved;
        // Where the system refuses, the worker works on.
        let _ = signal::suspend();
    }

    /// Takes in what the log asks for, and what the clock does.
    pub(super) fn obey(&mut self) {
        if let Some(at_once) = self.requested_stop() {
            self.stop_claiming();
            if at_once {
                self.stop_at_once();
            }
        }
        self.obey_deadline();
        self.obey_cancels();
        self.settle_unknown();
        if self.release_waiting(|task| task.since.elapsed() >= super::STALE) {
            self.pace.went_stale();
        }
        self.release_overtaken();
    }

    pub(super) fn obey_deadline(&mut self) {
        if self.stop_deadline().is_some_and(|deadline| deadline <= Instant::now()) {
            self.stop_at_once();
        }
    }

    fn requested_stop(&self) -> Option<bool> {
        if matches!(self.setting.scope, Scope::Job(_)) {
            return None;
        }
        self.store.own()?.facts.workers.get(&self.identity.worker)?.stop_requested
    }

    /// When a stop becomes one at once; none where it is, or nothing is to stop.
    pub(super) fn stop_deadline(&self) -> Option<Instant> {
        let timeout = self.setting.stop_timeout.or(self.config.stop_timeout())?;
        let asked = self.stop.asked.filter(|_| !self.stop.at_once)?;
        asked.checked_add(timeout)
    }

    pub(super) fn stop_claiming(&mut self) {
        if self.stop.asked.is_some() {
            return;
        }
        self.stop.asked = Some(Instant::now());
        self.release_waiting(|_| true);
        let runs = self.running.len() - self.pending.len().min(self.running.len());
        self.reporter.notice(&Notice::Stopping { runs });
    }

    fn stop_at_once(&mut self) {
        if self.stop.at_once {
            return;
        }
        let Stop { asked, at_once, .. } = &mut self.stop;
        asked.get_or_insert_with(Instant::now);
        *at_once = true;
        self.release_waiting(|_| true);
        let runs = self.running.len() - self.pending.len().min(self.running.len());
        self.reporter.notice(&Notice::EndingRuns { runs });
        self.end_runs(Ending::Interrupted);
    }

    fn end_runs(&self, why: Ending) {
        for running in self.running.values() {
            running.control.end(why);
        }
        self.warden.wake();
    }

    fn obey_cancels(&self) {
        let Some(own) = self.store.own() else { return };
        let mut any = false;
        for running in self.running.values().filter(|r| is_cancelled(own, &r.claimed)) {
            running.control.end(Ending::Cancelled);
            any = true;
        }
        if any {
            self.warden.wake();
        }
        let cancelled: Vec<&Claim> = own
            .processing()
            .filter(|job| job.cancel_requested)
            .filter_map(|job| job.claim.as_ref())
            .collect();
        if !cancelled.is_empty() {
            self.recoveries.cancel(|claim| cancelled.contains(&claim));
        }
    }

    /// Hands back claims of this worker that it knows nothing of: the log failed while they were made.
    fn settle_unknown(&mut self) {
        let Some(own) = self.store.own() else { return };
        let mine = |claim: &Claim| claim.worker() == self.identity.worker;
        for job in own.processing() {
            let Some(claim) = job.claim.as_ref().filter(|claim| mine(claim)) else { continue };
            let is_known = self.running.contains_key(claim)
                || self.releases.iter().any(|release| release.claimed.claim == *claim);
            if !is_known {
                let (job, run, claim) = (job.id().clone(), job.last_run, claim.clone());
                self.releases.push(crate::worker::committer::Release {
                    claimed: Claimed { job, run, claim },
                    pause: None,
                    error: None,
                });
            }
        }
    }

    /// Hands back what waits for a slot while a job of higher priority is ready.
    fn release_overtaken(&mut self) {
        if self.slots.waiting() == 0 {
            return;
        }
        let Scope::Queues(queues) = &self.setting.scope else { return };
        let Some(own) = self.store.own() else { return };
        let best = own.ready(queues, self.store.now()).next().map(|job| job.spec.priority);
        if let Some(best) = best {
            self.release_waiting(|task| task.spec.priority < best);
        }
    }

    /// Hands back jobs that wait for a slot; says whether there were any.
    pub(super) fn release_waiting(&mut self, is_wanted: impl FnMut(&Task) -> bool) -> bool {
        let taken = self.slots.take_back(is_wanted);
        let is_any = !taken.is_empty();
        for claimed in taken {
            self.running.remove(&claimed.claim);
            self.releases.push(crate::worker::committer::Release {
                claimed,
                pause: None,
                error: None,
            });
        }
        is_any
    }

    pub(super) fn look_for_dead(&mut self) -> Result<(), WorkerError> {
        let sender = self.inbox.sender();
        let me = &self.identity.worker;
        let settled = self.recoveries.look(self.store, me, &self.config, &sender)?;
        self.settled.extend(settled);
        Ok(())
    }
}

fn is_cancelled(own: &NodeState, claimed: &Claimed) -> bool {
    let job = own.job(&claimed.job);
    job.is_some_and(|job| job.cancel_requested && job.claim.as_ref() == Some(&claimed.claim))
}
