//! What a machine consists of besides its threads, whose turn it is, and what befalls it.
//!
//! Knows no thread, no log and no job.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::files::{Files, Holder};
use crate::medium::{Inode, Medium};
use crate::pilot::{How, Pilot, Thing};
use crate::random::Random;
use crate::weather::Weather;

/// When the machine begins, in microseconds since 1970.
const EPOCH: i64 = 1_767_225_600_000_000;

/// After so many turns a machine will never stop.
const ENDLESS: u64 = 100_000;

/// How far a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
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
    /// The moment up to which something is under way that a power cut may undo: a sync of appended lines, a change of names.
    pub delicate: Duration,
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
    /// Who says whose turn it is, in the place of the seed.
    pub pilot: Option<Pilot>,
    /// A digest of what was done.
    pub digest: u64,
    /// How far the wall clock is off, in microseconds.
    pub(super) skew: i64,
    pub(super) slots: Vec<Slot>,
    pub(super) running: Option<usize>,
    /// The processes that live, by number, each with its slot.
    pub(super) alive: Vec<(u64, usize)>,
    pub(super) begun: u64,
    pub(super) power: bool,
    pub(super) stopped: bool,
    pub(super) wrong: Option<String>,
}

impl<L> Inner<L> {
    /// One that has just been started, with an empty disk.
    pub(super) fn new(seed: u64, slots: usize, weather: Weather, ledger: L) -> Self {
        let mut random = Random::new(seed);
        let page = *random.pick(&[256, 4096]);
        Self {
            random,
            weather,
            medium: Medium::new(page),
            files: Files::default(),
            children: Vec::new(),
            ended: BTreeMap::new(),
            hand: Arc::new(AtomicI64::new(EPOCH)),
            clock: Duration::ZERO,
            critical: None,
            delicate: Duration::ZERO,
            turns: 0,
            cuts: 0,
            boot: 1,
            ledger,
            trace: None,
            pilot: None,
            digest: 0,
            skew: 0,
            slots: vec![Slot::Since(Duration::ZERO); slots],
            running: None,
            alive: Vec::new(),
            begun: 0,
            power: true,
            stopped: false,
            wrong: None,
        }
    }

    /// Says that a step looked at something or changed it, which others may then depend on.
    pub fn touch(&mut self, thing: Thing, how: How) {
        if let Some(pilot) = &mut self.pilot {
            pilot.touch(thing, how);
        }
    }

    /// Has everybody who waits for a lock try again, where a pilot says whose turn it is.
    pub fn released(&mut self) {
        let clock = self.clock;
        for slot in self.slots.iter_mut().filter(|_| self.pilot.is_some()) {
            if let Slot::Since(moment) = slot
                && *moment > clock
                && *moment != Duration::MAX
            {
                *moment = clock;
            }
        }
    }

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

    /// Gives the next turn to whom the seed says, or the pilot.
    pub(super) fn pass_on(&mut self) {
        if self.pilot.is_some() && self.begun < self.slots.len() as u64 {
            // Each begins, and comes as far as its first step.
            self.running = usize::try_from(self.begun).ok();
            return;
        }
        let moment = |slot: &Slot| match slot {
            Slot::Since(moment) => *moment,
            Slot::Down => Duration::MAX,
        };
        let mut ready: Vec<usize> = Vec::with_capacity(self.slots.len());
        ready.extend((0..self.slots.len()).filter(|i| moment(&self.slots[*i]) <= self.clock));
        if ready.is_empty() {
            // Everybody waits: the time is what the first of them waits for.
            let Some(first) = self.slots.iter().map(moment).min() else { return };
            if first == Duration::MAX {
                return self.stop();
            }
            self.clock = first;
            ready.extend((0..self.slots.len()).filter(|i| moment(&self.slots[*i]) <= first));
        }
        if let Some(pilot) = &mut self.pilot {
            match pilot.choose(&ready, self.running) {
                Some(slot) => self.running = Some(slot),
                None => self.stop(),
            }
            return;
        }
        let stays = self.running.filter(|slot| ready.contains(slot));
        if stays.is_none() || !self.random.chance(self.weather.stay) {
            self.running = Some(*self.random.pick(&ready));
        }
        self.end_children();
    }

    /// What happens to a process, and to the machine, before the process's turn.
    pub(super) fn befall(&mut self, number: u64) {
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
        // Most of what a power cut can do, it does then.
        let cut = if self.clock <= self.delicate { 8 * self.weather.cut } else { self.weather.cut };
        if self.random.chance(cut) {
            self.cut_power();
        }
    }

    pub(super) fn bury(&mut self, number: u64) {
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
    pub(super) fn down(&mut self, slot: usize) -> bool {
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

    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.alive.clear();
        self.running = None;
        self.files = Files::default();
        self.children.clear();
    }
}
