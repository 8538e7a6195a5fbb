//! Holds runs to their limits: one thread ends those that outstay their timeout, sends KILL to those that outstay the
//! grace, and keeps what they print within the output limit.
//!
//! Unaware of the log: who cancels a run, or stops a worker, asks the run's control to end it.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::output::Place;
use super::output::limit::Watch;
use super::process::control::{Control, Ending};
use crate::domain::job::Claim;

/// A run under watch.
#[derive(Debug)]
pub struct Ward {
    claim: Claim,
    control: Arc<Control>,
    /// When it will have run too long.
    deadline: Option<Instant>,
    place: Place,
    watches: [Watch; 2],
    /// Why its output cannot be cut.
    trouble: Option<String>,
    /// Whether the run has ended, and only what it left still prints.
    lingers: bool,
}

/// The limits of a run.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long it may run.
    pub timeout: Option<Duration>,
    /// How much of each of its outputs is kept, in bytes.
    pub output: u64,
}

impl Ward {
    /// Begins to hold a run to its limits, from now on.
    pub fn new(claim: Claim, control: Arc<Control>, place: Place, limits: Limits) -> Self {
        let now = Instant::now();
        let watch = |path: &std::path::Path| Watch::new(path.to_owned(), limits.output, now);
        Ward {
            claim,
            control,
            deadline: limits.timeout.and_then(|timeout| now.checked_add(timeout)),
            watches: [watch(&place.out), watch(&place.err)],
            place,
            trouble: None,
            lingers: false,
        }
    }

    /// Imposes the limits and says when to look again.
    fn tend(&mut self, now: Instant, poll: Duration) -> Instant {
        let mut next = now + poll;
        if !self.lingers {
            match self.deadline {
                Some(deadline) if deadline <= now => {
                    self.deadline = None;
                    self.control.end(Ending::Timeout);
                }
                Some(deadline) => next = next.min(deadline),
                None => {}
            }
            next = self.control.kill_when_due(now).map_or(next, |due| next.min(due));
        }
        for watch in &mut self.watches {
            if watch.due() <= now
                && let Err(error) = watch.look(now, poll)
            {
                self.trouble = Some(error.to_string());
                self.control.end(Ending::OutputLimit);
            }
            next = next.min(watch.due());
        }
        next
    }

    fn note(&self) -> Option<String> {
        let notes = self.watches.iter().filter_map(Watch::note).chain(self.trouble.clone());
        let notes: Vec<String> = notes.collect();
        (!notes.is_empty()).then(|| notes.join("; "))
    }
}

/// The thread that tends all runs of a worker. Dropping it ends the thread.
#[derive(Debug)]
pub struct Warden {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug)]
struct Inner {
    wards: Vec<Ward>,
    poll: Duration,
    closed: bool,
}

impl Warden {
    /// Starts the thread; `poll` is how often a quiet run is looked at.
    ///
    /// Errors: where a thread is refused.
    pub fn new(poll: Duration) -> io::Result<Self> {
        let inner = Inner { wards: Vec::new(), poll, closed: false };
        let shared = Arc::new(Shared { inner: Mutex::new(inner), changed: Condvar::new() });
        let tended = Arc::clone(&shared);
        let thread = thread::Builder::new().name("warden".into()).spawn(move || tended.tend())?;
        Ok(Warden { shared, thread: Some(thread) })
    }

    /// Tends a run from here on.
    pub fn add(&self, ward: Ward) {
        self.shared.lock().wards.push(ward);
        self.shared.changed.notify_one();
    }

    /// Looks at everything afresh: a run was asked to end.
    pub fn wake(&self) {
        self.shared.changed.notify_one();
    }

    /// Changes how often a quiet run is looked at.
    pub fn set_poll(&self, poll: Duration) {
        self.shared.lock().poll = poll;
    }

    /// Lets go of a run that has ended; only its output stays under watch while anything may still print. Says what a
    /// person should know of it.
    pub fn remove(&self, claim: &Claim) -> Option<String> {
        let mut inner = self.shared.lock();
        let at = inner.wards.iter().position(|ward| ward.claim == *claim)?;
        let mut ward = inner.wards.swap_remove(at);
        let (now, poll) = (Instant::now(), inner.poll);
        for watch in &mut ward.watches {
            if let Err(error) = watch.look(now, poll) {
                ward.trouble = Some(error.to_string());
            }
        }
        let note = ward.note();
        if ward.place.is_held() {
            ward.lingers = true;
            inner.wards.push(ward);
        }
        note
    }
}

impl Drop for Warden {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tend(&self) {
        let mut inner = self.lock();
        while !inner.closed {
            let (now, poll) = (Instant::now(), inner.poll);
            inner.wards.retain(|ward| !ward.lingers || ward.place.is_held());
            let next = inner.wards.iter_mut().map(|ward| ward.tend(now, poll)).min();
            let pause = next.map(|next| next.saturating_duration_since(Instant::now()));
            inner = match pause {
                Some(pause) => {
                    let waited = self.changed.wait_timeout(inner, pause);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}
