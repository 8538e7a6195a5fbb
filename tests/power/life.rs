//! Who uses the queue until the power goes: people who enqueue, cancel, configure, read and wait, and workers.
//!
//! Whatever is told to one of them is noted at once. Once the crowd is closed they go home.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::plan::{Life, Plan};
use crate::rig::crowd::{Crowd, End, Part};
use crate::rig::ledger::Ledger;
use crate::rig::random::Random;
use crate::rig::{Broken, Place, marks, wait_for, wait_out};

/// One life of a queue.
pub struct Scene<'a> {
    pub place: &'a Place,
    pub ledger: &'a Ledger,
    pub script: &'a Path,
    pub plan: &'a Plan,
    pub number: usize,
    pub crowd: Crowd,
    /// What went wrong before the cut.
    pub broken: Mutex<Vec<Broken>>,
    /// Jobs to wait for.
    recent: Mutex<Vec<String>>,
    /// The value that was tried to be set last, over all lives.
    value: &'a AtomicU64,
}

/// Sends everybody home where the rig itself gives up, which would wait for them for ever.
struct Sweeper<'a>(&'a Scene<'a>);

impl Drop for Sweeper<'_> {
    fn drop(&mut self) {
        self.0.crowd.close();
        while self.0.place.end_processes() {}
    }
}

/// The most bytes that a job carries along.
const LARGEST: u64 = 300 << 10;

/// How long anybody is idle who has nothing to do.
const PAUSE: Duration = Duration::from_millis(1);

impl<'a> Scene<'a> {
    pub fn new(
        place: &'a Place,
        ledger: &'a Ledger,
        script: &'a Path,
        plan: &'a Plan,
        number: usize,
        value: &'a AtomicU64,
    ) -> Self {
        let (crowd, broken, recent) = (Crowd::default(), Mutex::default(), Mutex::default());
        Scene { place, ledger, script, plan, number, crowd, broken, recent, value }
    }

    /// Lets everybody work until `cut` has cut the power, and ends them.
    pub fn play(&self, cut: impl FnOnce()) {
        let life: &Life = &self.plan.lives[self.number];
        let seed = |part: usize| (self.plan.seed << 16) | (self.number << 8 | part) as u64;
        std::thread::scope(|scope| {
            let _sweeper = Sweeper(self);
            let mut all = Vec::new();
            for index in 0..life.enqueuers {
                let mut random = Random::new(seed(index));
                all.push(scope.spawn(move || self.enqueue(index, &mut random)));
            }
            for slots in &life.workers {
                all.push(scope.spawn(move || self.work(*slots)));
            }
            all.push(scope.spawn(|| self.configure()));
            all.push(scope.spawn(|| self.wait()));
            all.push(scope.spawn(|| self.read()));
            all.push(scope.spawn(|| self.compact()));
            let before = self.ledger.lines();
            wait_for("something to be told", || self.ledger.lines() >= before + life.told);
            wait_out(life.then);
            self.crowd.close();
            cut();
            wait_for("everybody to be gone", || {
                !self.place.end_processes() && all.iter().all(|actor| actor.is_finished())
            });
        });
    }

    /// Asks for something, and complains where that fails before the cut.
    fn ask(&self, words: &[&str], stdin: Option<String>, hear: impl FnMut(&str)) -> Option<End> {
        let mut command = self.place.queuectl(words);
        let end = self.crowd.run(Part::Asks, &mut command, stdin.map(String::into_bytes), hear)?;
        self.look_at(words, &end);
        Some(end)
    }

    fn look_at(&self, words: &[&str], end: &End) {
        let panicked = end.code == 101 || end.code == 134;
        if panicked || (end.code != 0 && !self.crowd.is_closed()) {
            let what = format!("{words:?} exits {} before the cut: {}", end.code, end.err);
            self.broken.lock().unwrap().push(what);
        }
    }

    fn enqueue(&self, index: usize, random: &mut Random) {
        let script = self.script.to_str().expect("a path");
        let mut count = 0;
        while !self.crowd.is_closed() {
            count += 1;
            let id = format!("s{}-{}-{index}-{count}", self.plan.seed, self.number);
            let command = format!("sh {script} {}", if random.below(8) == 0 { 3 } else { 0 });
            let options = ["--max-retries", "1", "--command", &command];
            match random.below(9) {
                0..3 => self.submit(&[&["enqueue"], &options[..]].concat(), &[], None),
                3..5 => {
                    let words = [&["enqueue", "--id", &id, "--on-conflict", "keep"], &options[..]];
                    let words = words.concat();
                    self.submit(&words, &[], None);
                    // The second time it is only found.
                    if random.below(4) == 0 {
                        self.submit(&words, &[], None);
                    }
                }
                5 => {
                    let command = ["enqueue", "--id", &id, "--delay", "1d", "true"];
                    self.submit(&command, &[], None);
                    let told = self.ask(&["cancel", &id], None, |_| {});
                    if told.is_some_and(|end| end.code == 0) {
                        self.ledger.cancelled(&id);
                    }
                }
                form => {
                    let jobs = if form == 8 { 1 } else { 2 + random.below(10) };
                    let large = if form == 6 { jobs } else { random.below(jobs) };
                    let (mut ids, mut lines) = (Vec::new(), String::new());
                    for number in 0..jobs {
                        let id = format!("{id}-{number}");
                        let size =
                            if number == large { random.between(8 << 10, LARGEST) } else { 9 };
                        lines += &job(&id, script, size).to_string();
                        lines.push('\n');
                        ids.push(id);
                    }
                    self.submit(&["enqueue", "-f", "-"], &ids, Some(lines));
                }
            }
        }
    }

    /// Notes each id the moment it is printed. `ids`: those of a batch.
    fn submit(&self, words: &[&str], ids: &[String], stdin: Option<String>) {
        if !ids.is_empty() {
            self.ledger.batch(ids);
        }
        let _ = self.ask(words, stdin, |id| {
            self.ledger.there(id);
            self.recent.lock().unwrap().push(id.to_owned());
        });
    }

    /// Waits for one job after another.
    fn wait(&self) {
        while !self.crowd.is_closed() {
            let Some(id) = self.recent.lock().unwrap().pop() else {
                std::thread::park_timeout(PAUSE);
                continue;
            };
            let mut command = self.place.queuectl(&["wait", &id]);
            let end = self.crowd.run(Part::Asks, &mut command, None, |_| {});
            if end.is_some_and(|end| matches!(end.code, 0 | 10)) {
                // No run begins after the end, so the last that has begun is the last.
                let marks = marks::read(&self.place.marks());
                if let Some(run) = marks.last_runs().get(id.as_str()) {
                    self.ledger.ended(&id, *run);
                }
            }
        }
    }

    /// Works, and notes the ends that it tells of.
    fn work(&self, slots: u64) {
        let slots = slots.to_string();
        let words = ["worker", "start", "--count", &slots];
        let mut command = self.place.queuectl(&words);
        let end = self.crowd.run(Part::Works, &mut command, None, |line| {
            if let Some((id, run)) = marks::told_end(line) {
                self.ledger.ended(id, run);
            }
        });
        if let Some(end) = end {
            self.look_at(&words, &end);
        }
    }

    /// Sets one value after another, each in a new segment.
    fn configure(&self) {
        let size = self.plan.segment_size.to_string();
        let _ = self.ask(&["config", "set", "segment_size", &size], None, |_| {});
        let _ = self.ask(&["config", "set", "poll_interval", "50ms"], None, |_| {});
        while !self.crowd.is_closed() {
            let value = self.value.fetch_add(1, Ordering::SeqCst) + 1;
            let told = self.ask(&["config", "set", "max_lost", &value.to_string()], None, |_| {});
            if told.is_some_and(|end| end.code == 0) {
                self.ledger.set(value);
            }
            wait_out(20 * PAUSE);
        }
    }

    /// Makes the log small, all the time.
    fn compact(&self) {
        while !self.crowd.is_closed() {
            let mut command = self.place.queuectl(&["compact"]);
            let end = self.crowd.run(Part::Asks, &mut command, None, |_| {});
            // A worker may be at it.
            if let Some(end) = end.filter(|end| !end.err.contains("another process is compacting"))
            {
                self.look_at(&["compact"], &end);
            }
            wait_out(10 * PAUSE);
        }
    }

    /// Reads, which also writes the cached fold.
    fn read(&self) {
        while !self.crowd.is_closed() {
            let _ = self.ask(&["status"], None, |_| {});
            wait_out(20 * PAUSE);
        }
    }
}

fn job(id: &str, script: &str, size: u64) -> Value {
    let meta = "x".repeat(usize::try_from(size).expect("a size"));
    json!({ "id": id, "argv": ["sh", script, "0"], "meta": meta, "max_retries": 1 })
}
