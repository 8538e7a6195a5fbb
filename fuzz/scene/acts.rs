//! What processes, people and disks do to a queue between two files of hostile bytes: so that caches, locks, bases,
//! copies and marks are there that are real, and fit to what the log was once.
//!
//! That an act fails is as good as that it is done.

use std::fs;
use std::path::{Path, PathBuf};

use queuectl::domain::config::Config;
use queuectl::domain::decide::{self, OnConflict, Outcome};
use queuectl::domain::event::{ConfigSet, Event, QueuePaused, WorkerStarted};
use queuectl::domain::job::{JobId, RunResult, Spec};
use queuectl::domain::policy::RetryPolicy;
use queuectl::domain::retention::Retention;
use queuectl::store::layout::run_files;
use queuectl::store::presence::WorkerLock;
use queuectl::store::presence::notes::Process;
use queuectl::store::real_disk::RealDisk;
use queuectl::store::{Enqueue, StoreError};

use super::{NODE, Queue};

/// How a job that failed waits for its next run.
pub(super) const POLICY: RetryPolicy = RetryPolicy {
    backoff_base: 0.0,
    max_delay: std::time::Duration::from_secs(3600),
    jitter: 0.0,
    max_lost: 5,
};

impl Queue {
    /// Does the act of this number; `how` says how, where it can be done in several ways.
    pub fn act(&mut self, number: u8, how: &[u8]) {
        let first = how.first().copied().unwrap_or(0);
        let _ = match number % 12 {
            0 => self.enqueue(first),
            1 => self.work(first),
            2 => self.write_checkpoint(),
            3 => self.compact(first),
            4 => self.configure(first),
            5 => self.append(how).map_err(|_| ()),
            6 => self.spoil(how).map_err(|_| ()),
            7 => self.cancel(first),
            8 => {
                self.boots += 1;
                Ok(())
            }
            9 => {
                self.copy = files(&self.log());
                Ok(())
            }
            10 => {
                for (name, bytes) in &self.copy {
                    self.put(&format!("log/{NODE}/{name}"), bytes);
                }
                Ok(())
            }
            _ => self.mend().map(drop).map_err(|_| ()),
        };
    }

    /// One job or a batch, of one of eight ids.
    fn enqueue(&self, how: u8) -> Result<(), ()> {
        let count = if how & 8 == 0 { 1 } else { 2 };
        let id = |n: u8| JobId::new(&format!("job-{}", how.wrapping_add(n) % 8)).ok();
        let specs = (0..count).filter_map(id).map(|id| Spec::shell(id, "true", 3)).collect();
        let on_conflict = if how & 16 == 0 { OnConflict::Fail } else { OnConflict::Keep };
        let wanted = Enqueue { specs, has_chosen_ids: true, on_conflict };
        self.open().and_then(|mut store| store.enqueue(wanted)).map(drop).map_err(|_| ())
    }

    /// A worker claims two jobs, begins to start some of them, sees some of them end, and is killed.
    fn work(&self, how: u8) -> Result<(), ()> {
        let mut store = self.open().map_err(|_| ())?;
        store.read().map_err(|_| ())?;
        let name = format!("{NODE}.4k2mq7a{}", char::from(b'a' + (self.opened.get() % 8) as u8));
        let info = WorkerStarted {
            worker: name.clone(),
            pid: u32::MAX,
            start: 7,
            boot: store.boot().to_owned(),
            pid_namespace: String::new(),
            session: 1,
            host: String::new(),
            slots: 2,
            queues: Vec::new(),
        };
        let lock = WorkerLock::take(&RealDisk, &self.local.join("run"), &info, None);
        let lock = lock.map_err(|_| ())?;
        let claim = |node: &_, now| {
            let claimed = decide::claim(node, &name, 0, 2, &[], now);
            let events = claimed.iter().cloned().map(Event::Claimed);
            let started = Event::WorkerStarted(info.clone());
            Ok((std::iter::once(started).chain(events).collect(), claimed))
        };
        let claimed = store.transact(claim).map_err(|_| ())?;
        for (index, claimed) in claimed.into_iter().enumerate() {
            let is = |bit: usize| how >> (bit + index) & 1 == 1;
            if is(0) {
                let _ = lock.note_starting(&claimed.claim);
                let out = run_files(claimed.job.as_str(), claimed.run).out;
                self.put(&format!("@/output/{}", out.display()), b"printed\n");
            }
            if is(2) {
                let process = Process { pid: u32::MAX, group: u32::MAX, start: 9 };
                let _ = lock.note_started(&claimed.claim, process);
            }
            if is(4) {
                let result = RunResult::Exit(i32::from(is(6)));
                let (job, run, claim) = (claimed.job, claimed.run, claimed.claim);
                let (ms, tail, error) = (1, None, None);
                let outcome = Outcome { job, run, claim, result, ms, tail, error };
                let finish = |node: &_, now| {
                    Ok((vec![decide::finish(node, outcome.clone(), &POLICY, now, 0.0)], ()))
                };
                store.transact(finish).map_err(|_| ())?;
            }
        }
        Ok(())
    }

    fn write_checkpoint(&self) -> Result<(), ()> {
        let mut store = self.open().map_err(|_| ())?;
        store.read().map_err(|_| ())?;
        store.write_checkpoint();
        store.keep_reserve().map_err(|_| ())
    }

    /// The finished jobs go, and the sealed segments become a base, with or without copies of them.
    fn compact(&self, how: u8) -> Result<(), ()> {
        let mut store = self.open().map_err(|_| ())?;
        store.read().map_err(|_| ())?;
        if how & 1 == 1 {
            let now = Some(std::time::Duration::ZERO);
            let retention = Retention { completed: now, cancelled: now };
            store.expire(retention, Default::default()).map_err(|_| ())?;
        }
        store.seal().map_err(|_| ())?;
        let archive = self.root().join("archive");
        let archive = (how & 2 == 2).then_some(archive.as_path());
        store.compactor().ok_or(())?.run(archive).map(drop).map_err(|_| ())
    }

    /// A key of the configuration is set, or a queue paused.
    fn configure(&self, how: u8) -> Result<(), ()> {
        let mut store = self.open().map_err(|_| ())?;
        if how & 1 == 1 {
            let paused = QueuePaused { queue: Some("default".into()), until: None };
            let pause = |_: &_, _| Ok((vec![Event::QueuePaused(paused.clone())], ()));
            return store.transact(pause).map_err(|_| ());
        }
        let value = (4096 + u32::from(how)).to_string();
        let set = ConfigSet { key: "segment_size".into(), value: value.clone() };
        let decide =
            |config: &Config| (config.with("segment_size", &value), vec![Event::ConfigSet(set)]);
        store.configure(decide).map_err(|_| ())
    }

    fn cancel(&self, how: u8) -> Result<(), ()> {
        let mut store = self.open().map_err(|_| ())?;
        let id = JobId::new(&format!("job-{}", how % 8)).map_err(|_| ())?;
        let cancel = |node: &_, _| Ok((decide::cancel(node, &id, None)?.into_iter().collect(), ()));
        store.transact(cancel).map_err(|_| ())
    }

    /// Somebody writes behind the end of the newest segment.
    fn append(&self, bytes: &[u8]) -> std::io::Result<()> {
        let mut all = files(&self.log());
        let Some((name, content)) = all.pop() else { return Ok(()) };
        fs::write(self.log().join(name), [&content, bytes].concat())
    }

    /// A file goes, is cut, or has a bit that changes: which, how, and where.
    fn spoil(&self, how: &[u8]) -> std::io::Result<()> {
        let [which, what, place @ ..] = how else { return Ok(()) };
        let mut all: Vec<PathBuf> = Vec::new();
        for directory in [self.log(), self.local.clone(), self.local.join("run")] {
            all.extend(files(&directory).into_iter().map(|(name, _)| directory.join(name)));
        }
        all.push(self.local.join("cache/state.ckpt"));
        let path = &all[usize::from(*which) % all.len()];
        let mut bytes = fs::read(path)?;
        let place = place.iter().take(3).fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let place = place % bytes.len().max(1);
        match what % 10 {
            0 => return fs::remove_file(path),
            1 => bytes.truncate(place),
            bit if !bytes.is_empty() => bytes[place] ^= 1 << (bit - 2),
            _ => {}
        }
        fs::write(path, bytes)
    }

    /// What is of dead workers is settled, and what the doctor would mend is mended. Says whether all of it was.
    pub(super) fn mend(&self) -> Result<bool, StoreError> {
        let mut store = self.open()?;
        let report = store.examine(&mut |_| {})?;
        let steps = store.repairs(&report);
        for step in &steps {
            match step {
                queuectl::store::repair::Step::SettleDead => self.settle(&mut store)?,
                step => drop(store.repair(*step)?),
            }
        }
        Ok(steps.is_empty())
    }
}

/// The plain files in a directory, by their names, in order.
pub(super) fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let file = |entry: fs::DirEntry| {
        let bytes = fs::read(entry.path()).ok()?;
        Some((entry.file_name().to_string_lossy().into_owned(), bytes))
    };
    let mut files: Vec<_> = entries.filter_map(file).collect();
    files.sort();
    files
}
