//! The simulated machine: virtual processes of which one runs at a time, what they have open, and what befalls them.
//!
//! Each slot is an operating system thread that lives one virtual process after another. Every call a process makes is a
//! turn: the seed says who has the next one, and whether the process is killed, or the power cut, before it. Killing is
//! unwinding from inside the call; what the dead still do while they unwind has no effect. So a seed is a whole history.
//! Knows no log and no job.

mod inner;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use inner::Inner;
use inner::Slot;

use crate::weather::Weather;

/// What a killed process unwinds with.
struct Killed;

/// Whether a turn is a step of its own where a pilot says whose turn it is, or belongs to the step before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    Step,
    Same,
}

/// The machine, shared by its threads.
#[derive(Debug)]
pub struct Machine<L> {
    inner: Mutex<Inner<L>>,
    wakes: Vec<Condvar>,
}

/// One virtual process.
#[derive(Debug)]
pub struct Process<L> {
    pub machine: Arc<Machine<L>>,
    pub number: u64,
    /// The turn in which it began.
    pub since: u64,
    slot: usize,
}

impl<L> Clone for Process<L> {
    fn clone(&self) -> Self {
        let Process { number, since, slot, .. } = *self;
        Self { machine: Arc::clone(&self.machine), number, since, slot }
    }
}

impl<L: Send> Machine<L> {
    /// A machine that has just been started, with an empty disk.
    pub fn new(seed: u64, slots: usize, weather: Weather, ledger: L) -> Arc<Self> {
        let inner = Inner::new(seed, slots, weather, ledger);
        let wakes = (0..slots).map(|_| Condvar::new()).collect();
        Arc::new(Self { inner: Mutex::new(inner), wakes })
    }

    /// Lives one process after another in every slot, until one of them stops the machine or something is wrong.
    ///
    /// Errors: what was wrong first.
    pub fn run(self: &Arc<Self>, live: impl Fn(&Process<L>) + Sync) -> Result<(), String> {
        {
            let mut inner = self.lock();
            inner.stopped = false;
            inner.pass_on();
        }
        std::thread::scope(|scope| {
            for slot in 0..self.wakes.len() {
                let live = &live;
                scope.spawn(move || {
                    while let Some(process) = self.begin(slot) {
                        let outcome = catch_unwind(AssertUnwindSafe(|| live(&process)));
                        self.end(&process, outcome.err());
                    }
                });
            }
        });
        self.lock().wrong.clone().map_or(Ok(()), Err)
    }

    /// Looks at the machine, or changes it, from outside of any process.
    pub fn lock(&self) -> MutexGuard<'_, Inner<L>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, inner: &Inner<L>) {
        match inner.running {
            Some(slot) if inner.power && !inner.stopped => self.wakes[slot].notify_one(),
            _ => self.wakes.iter().for_each(Condvar::notify_all),
        }
    }

    /// Waits for a slot's first turn; none where the machine stops.
    fn begin(self: &Arc<Self>, slot: usize) -> Option<Process<L>> {
        let mut inner = self.lock();
        loop {
            if inner.stopped {
                return None;
            }
            if !inner.power && inner.down(slot) {
                self.wake(&inner);
            }
            if inner.power && inner.running == Some(slot) {
                break;
            }
            inner = self.wakes[slot].wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        inner.begun += 1;
        let number = inner.begun;
        inner.alive.push((number, slot));
        Some(Process { machine: Arc::clone(self), number, since: inner.turns, slot })
    }

    fn end(&self, process: &Process<L>, panic: Option<Box<dyn Any + Send>>) {
        let mut inner = self.lock();
        inner.bury(process.number);
        if let Some(panic) = panic.filter(|panic| !panic.is::<Killed>()) {
            let what = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            inner.fail(format!("a process panicked: {}", what.unwrap_or_default()));
        }
        if inner.pilot.is_some() && !inner.stopped {
            inner.slots[process.slot] = Slot::Since(Duration::MAX);
            inner.pass_on();
        } else if inner.power && !inner.stopped {
            // Whatever starts processes takes its time over it.
            let rest = *inner.random.pick(&[0, 50, 2_000]);
            let rest = inner.random.between(0, rest);
            inner.slots[process.slot] = Slot::Since(inner.clock + Duration::from_micros(rest));
            inner.pass_on();
        }
        self.wake(&inner);
    }
}

impl<L: Send> Process<L> {
    /// The number of the slot that it lives in.
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// Waits for this process's next turn and lives through what befalls it there; none where it is dead and unwinding.
    pub fn turn(&self) -> Option<MutexGuard<'_, Inner<L>>> {
        self.turn_for(Duration::ZERO, Pace::Same)
    }

    /// As [`Process::turn`], but not before some time has passed.
    pub fn turn_after(&self, time: Duration) -> Option<MutexGuard<'_, Inner<L>>> {
        self.turn_for(time, Pace::Step)
    }

    /// As [`Process::turn_after`]; says whether a pilot may give the turn to another.
    pub fn turn_for(&self, time: Duration, pace: Pace) -> Option<MutexGuard<'_, Inner<L>>> {
        let mut inner = self.machine.lock();
        if std::thread::panicking() {
            return None;
        }
        if inner.lives(self.number) {
            if inner.pilot.is_none() {
                inner.clock += Duration::from_micros(5);
            }
            inner.slots[self.slot] = Slot::Since(inner.clock + time);
            if inner.pilot.is_none() || pace == Pace::Step {
                inner.pass_on();
            }
            if inner.running != Some(self.slot) || inner.stopped {
                self.machine.wake(&inner);
            }
            while inner.lives(self.number) && inner.running != Some(self.slot) {
                let wake = &self.machine.wakes[self.slot];
                inner = wake.wait(inner).unwrap_or_else(PoisonError::into_inner);
            }
        }
        if inner.lives(self.number) {
            inner.befall(self.number);
            if !inner.power || inner.stopped {
                self.machine.wake(&inner);
            }
        }
        if inner.lives(self.number) {
            return Some(inner);
        }
        drop(inner);
        resume_unwind(Box::new(Killed));
    }

    /// Says that something must not be as it is, and stops the machine.
    pub fn wrong(&self, what: String) -> ! {
        let mut inner = self.machine.lock();
        inner.fail(what);
        self.machine.wake(&inner);
        drop(inner);
        resume_unwind(Box::new(Killed));
    }

    /// Stops the machine: everything ends where it is.
    pub fn stop(&self) -> ! {
        let mut inner = self.machine.lock();
        inner.stop();
        self.machine.wake(&inner);
        drop(inner);
        resume_unwind(Box::new(Killed));
    }
}
