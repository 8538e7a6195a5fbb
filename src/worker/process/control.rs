//! How other threads end a run that a slot's thread waits for.
//!
//! Invariant: no signal is sent to a group whose leader has been reaped, since its number may be another group's by
//! then. The number is kept under a mutex and taken away before the reaping. Unaware of why a run is to end.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// Why we end a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It ran longer than its timeout.
    Timeout,
    /// It printed too much where the middle cannot be cut out.
    OutputLimit,
    /// A person cancelled the job.
    Cancelled,
    /// The worker stops at once.
    Interrupted,
}

/// The grip on one run, shared by its slot and whoever may end it.
#[derive(Debug)]
pub struct Control {
    grace: Duration,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The group, from the start of the leader until it is about to be reaped.
    group: Option<Pid>,
    /// Set once it was asked to end.
    ending: Option<Ending>,
    /// When it was asked.
    asked: Option<Instant>,
    /// Whether KILL was sent.
    killed: bool,
    /// Whether the leader has ended.
    over: bool,
}

impl Control {
    /// Makes the control of a run that is yet to start; `grace` is how long after TERM comes KILL.
    pub fn new(grace: Duration) -> Self {
        Control { grace, inner: Mutex::default() }
    }

    /// How long after TERM comes KILL.
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// Asks the run to end: TERM to its group, and CONT, since a stopped process takes its TERM only once it goes on.
    ///
    /// The first reason stands, but a cancel counts for more than the worker's stop. A run that has ended by itself,
    /// or been asked before, is sent nothing.
    pub fn end(&self, why: Ending) {
        let mut inner = self.lock();
        if inner.over || inner.group.is_some_and(has_ended) {
            return;
        }
        match inner.ending {
            None => {
                inner.ending = Some(why);
                inner.ask();
            }
            Some(Ending::Interrupted) if why == Ending::Cancelled => inner.ending = Some(why),
            Some(_) => {}
        }
    }

    /// Sends KILL where the grace has passed. Says when it will have, where it has not.
    pub fn kill_when_due(&self, now: Instant) -> Option<Instant> {
        let mut inner = self.lock();
        let due = inner.asked? + self.grace;
        if inner.killed || inner.over {
            return None;
        }
        if now < due {
            return Some(due);
        }
        if let Some(group) = inner.group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        inner.killed = true;
        None
    }

    /// Why the run was asked to end, and when; none where it was not.
    pub fn ending(&self) -> Option<Ending> {
        self.lock().ending
    }

    /// When the run was asked to end.
    pub fn asked(&self) -> Option<Instant> {
        self.lock().asked
    }

    /// Starts the run by `start`, which gives its leader, unless it was asked to end before: then none.
    ///
    /// Held against every [`Control::end`], so none of them falls between the start and the note of the group.
    pub(super) fn start<T, E>(
        &self,
        start: impl FnOnce() -> Result<T, E>,
        leader: impl FnOnce(&T) -> Pid,
    ) -> Result<Option<T>, E> {
        let mut inner = self.lock();
        if inner.ending.is_some() {
            return Ok(None);
        }
        let started = start()?;
        inner.group = Some(leader(&started));
        Ok(Some(started))
    }

    /// Takes the group away: the leader has ended and will be reaped.
    pub(super) fn leave(&self) {
        let mut inner = self.lock();
        inner.group = None;
        inner.over = true;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn ask(&mut self) {
        self.asked = Some(Instant::now());
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::TERM);
            let _ = kill_process_group(group, Signal::CONT);
        }
    }
}

fn has_ended(leader: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    matches!(waitid(WaitId::Pid(leader), options), Ok(Some(_)))
}
