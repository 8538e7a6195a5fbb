//! The simulated machine: virtual processes of which one runs at a time, what they have open, and what befalls them.
//!
//! Each slot is an operating system thread that lives one virtual process after another. Every call a process makes is a
//! turn: the seed says who has the next one, and whether the process is killed, or the power cut, before it. Killing is
//! unwinding from inside the call; what the dead still do while they unwind has no effect. So a seed is a whole history.
//! Knows no log and no job.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::files::{Files, Holder};
use crate::medium::{Inode, Medium};
use crate::random::Random;
use crate::weather::Weather;

/// When the machine begins, in microseconds since 1970.
const EPOCH: i64 = 1_767_225_600_000_000;

/// After so many turns a machine will never stop.
const ENDLESS: u64 = 100_000;

/// What a killed process unwinds with.
struct Killed;

/// How far a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// Has no turn before this moment of the machine's clock.
    Since(Duration),
    /// Has seen that the power is gone.
    Down,
}

/// Something that runs beside the processes: a child that holds files open, and ends by itself.
#[derive(Debug, Clone)]
pub struct Child {
    pub claim: String,
    /// The moment of the machine's clock at which it ends, if nobody ends it before.
    pub ends: Duration,
    /// How it ends then; below 0 where it is killed.
    pub code: i32,
}

/// What the machine consists of, besides its threads.
#[derive(Debug)]
pub struct Inner<L> {
    pub random: Random,
    pub weather: Weather,
    pub medium: Medium,
    pub files: Files,
    pub children: Vec<Child>,
    /// How children ended, by claim.
    pub ended: BTreeMap<String, i32>,
    /// The wall clock, in microseconds since 1970.
    pub hand: Arc<AtomicI64>,
    /// Time since the machine began, over power cuts too.
    pub clock: Duration,
    /// The process to which something has just happened that nobody else knows of: it wrote less than it wanted, or was told
    /// that a sync failed. Most of what a kill can do, it does now.
    pub critical: Option<u64>,
    /// The moment at which the last sync of appended lines that has begun is done.
    pub synced: Duration,
    /// Turns so far.
    pub turns: u64,
    /// How often the power was cut.
    pub cuts: u64,
    /// The number of boots.
    pub boot: u64,
    /// What whoever uses the machine notes down.
    pub ledger: L,
    /// What was done, one line a call, where somebody wants to read it.
    pub trace: Option<Vec<String>>,
    /// A digest of what was done.
    pub digest: u64,
    /// How far the wall clock is off, in microseconds.
    skew: i64,
    slots: Vec<Slot>,
    running: Option<usize>,
    /// The processes that live, by number, each with its slot.
    alive: Vec<(u64, usize)>,
    begun: u64,
    power: bool,
    stopped: bool,
    wrong: Option<String>,
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
    slot: usize,
}

impl<L> Clone for Process<L> {
    fn clone(&self) -> Self {
        Self { machine: Arc::clone(&self.machine), number: self.number, slot: self.slot }
    }
}

impl<L: Send> Machine<L> {
    /// A machine that has just been started, with an empty disk.
    pub fn new(seed: u64, slots: usize, weather: Weather, ledger: L) -> Arc<Self> {
        let mut random = Random::new(seed);
        let page = *random.pick(&[256, 4096]);
        let inner = Inner {
            random,
            weather,
            medium: Medium::new(page),
            files: Files::default(),
            children: Vec::new(),
            ended: BTreeMap::new(),
            hand: Arc::new(AtomicI64::new(EPOCH)),
            clock: Duration::ZERO,
            critical: None,
            synced: Duration::ZERO,
            turns: 0,
            cuts: 0,
            boot: 1,
            ledger,
            trace: None,
            digest: 0,
            skew: 0,
            slots: vec![Slot::Since(Duration::ZERO); slots],
            running: None,
            alive: Vec::new(),
            begun: 0,
            power: true,
            stopped: false,
            wrong: None,
        };
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
        Some(Process { machine: Arc::clone(self), number, slot })
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
        if inner.power && !inner.stopped {
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
    /// Waits for this process's next turn and lives through what befalls it there; none where it is dead and unwinding.
    pub fn turn(&self) -> Option<MutexGuard<'_, Inner<L>>> {
        self.turn_after(Duration::ZERO)
    }

    /// As [`Process::turn`], but not before some time has passed.
    pub fn turn_after(&self, time: Duration) -> Option<MutexGuard<'_, Inner<L>>> {
        let mut inner = self.machine.lock();
        if std::thread::panicking() {
            return None;
        }
        if inner.lives(self.number) {
            inner.clock += Duration::from_micros(5);
            inner.slots[self.slot] = Slot::Since(inner.clock + time);
            inner.pass_on();
            if inner.running != Some(self.slot) {
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

impl<L> Inner<L> {
    /// Notes something that must not be, and stops the machine.
    pub fn fail(&mut self, what: String) {
        self.wrong.get_or_insert(what);
        self.stop();
    }

    /// Whether a process lives.
    pub fn lives(&self, number: u64) -> bool {
        self.alive.iter().any(|(alive, _)| *alive == number)
    }

    /// Notes what a process did.
    pub fn note(&mut self, number: u64, what: impl FnOnce() -> String, result: u64) {
        for part in [number, result] {
            self.digest = (self.digest ^ part).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        }
        let (turns, clock) = (self.turns, self.clock.as_micros());
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{turns:6} {clock:>10}us  p{number:<3} {}", what()));
        }
    }

    /// Begins a child that inherits what a process has open of one file.
    pub fn begin_child(
        &mut self,
        process: u64,
        claim: &str,
        inode: Inode,
        ends: Duration,
        code: i32,
    ) {
        self.files.inherit(process, inode, claim);
        self.children.push(Child { claim: claim.to_owned(), ends, code });
    }

    /// Kills a child, which takes it some time to die.
    pub fn kill_child(&mut self, claim: &str, grace: Duration) {
        let dies = self.clock + grace;
        for child in self.children.iter_mut().filter(|child| child.claim == claim) {
            if dies < child.ends {
                (child.ends, child.code) = (dies, -9);
            }
        }
        self.end_children();
    }

    /// Whether nothing befalls anybody any more.
    pub fn is_calm(&self) -> bool {
        self.turns > self.weather.calm_after
    }

    /// Cuts the power of a machine that has stopped, and makes it ready to run again.
    pub fn restart(&mut self) {
        self.cut_power();
        for slot in 0..self.slots.len() {
            self.down(slot);
        }
    }

    /// Cuts the power; it comes back when every slot has seen that it is gone.
    pub fn cut_power(&mut self) {
        self.note(0, || "the power is cut".to_owned(), 1);
        self.alive.clear();
        self.files = Files::default();
        self.children.clear();
        self.power = false;
        self.running = None;
    }

    /// Gives the next turn to whom the seed says.
    fn pass_on(&mut self) {
        let moment = |slot: &Slot| match slot {
            Slot::Since(moment) => *moment,
            Slot::Down => Duration::MAX,
        };
        let mut ready: Vec<usize> = Vec::with_capacity(self.slots.len());
        ready.extend((0..self.slots.len()).filter(|i| moment(&self.slots[*i]) <= self.clock));
        if ready.is_empty() {
            // Everybody waits: the time is what the first of them waits for.
            let Some(first) = self.slots.iter().map(moment).min() else { return };
            self.clock = first;
            ready.extend((0..self.slots.len()).filter(|i| moment(&self.slots[*i]) <= first));
        }
        let stays = self.running.filter(|slot| ready.contains(slot));
        if stays.is_none() || !self.random.chance(self.weather.stay) {
            self.running = Some(*self.random.pick(&ready));
        }
        self.end_children();
    }

    /// What happens to a process, and to the machine, before the process's turn.
    fn befall(&mut self, number: u64) {
        self.turns += 1;
        if self.is_calm() {
            self.weather.calm();
        }
        if self.turns > ENDLESS {
            self.fail("every job comes to its end: it takes too long".to_owned());
            return;
        }
        if self.random.chance(self.weather.clock) {
            // Somebody sets the clock.
            self.skew = self.random.between(0, 20_000_000) as i64 - 10_000_000;
        }
        if self.random.chance(self.weather.write_back) {
            let fails = self.random.chance(self.weather.sync_error);
            self.medium.write_back(fails, &mut self.random);
        }
        if self.random.chance(self.weather.evict) {
            self.medium.evict(&mut self.random);
        }
        let critical = self.critical.take_if(|process| *process == number).is_some();
        let kill = if critical { 20 * self.weather.kill } else { self.weather.kill };
        if self.random.chance(kill) {
            self.note(number, || "is killed".to_owned(), 2);
            self.bury(number);
        }
        // Most of what a power cut can do, it does while somebody waits for a sync.
        let cut = if self.clock <= self.synced { 8 * self.weather.cut } else { self.weather.cut };
        if self.random.chance(cut) {
            self.cut_power();
        }
    }

    fn bury(&mut self, number: u64) {
        self.alive.retain(|(alive, _)| *alive != number);
        self.files.close_all(Holder::Process(number), &mut self.medium);
    }

    fn end_children(&mut self) {
        let clock = self.clock;
        let micros = i64::try_from(clock.as_micros()).unwrap();
        self.hand.store(EPOCH + micros + self.skew, Ordering::SeqCst);
        for child in self.children.extract_if(.., |child| child.ends <= clock) {
            self.ended.insert(child.claim.clone(), child.code);
            self.files.close_all(Holder::Child(child.claim), &mut self.medium);
        }
    }

    /// Notes that a slot has seen that the power is gone; the last one brings it back, and is told so.
    fn down(&mut self, slot: usize) -> bool {
        self.slots[slot] = Slot::Down;
        if self.slots.iter().any(|slot| *slot != Slot::Down) {
            return false;
        }
        self.medium.cut_power(&mut self.random);
        self.cuts += 1;
        self.boot += 1;
        self.power = true;
        for slot in &mut self.slots {
            let rest = Duration::from_micros(self.random.between(0, 20_000));
            *slot = Slot::Since(self.clock + rest);
        }
        self.pass_on();
        true
    }

    fn stop(&mut self) {
        self.stopped = true;
        self.alive.clear();
        self.running = None;
        self.files = Files::default();
        self.children.clear();
    }
}
