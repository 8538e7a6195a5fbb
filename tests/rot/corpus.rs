//! Small queues with some of everything, each a directory that is spoiled and put back again and again.
//!
//! Knows how they are made, and nothing of what is seen when they are read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use queuectl::domain::decide::{self, OnConflict, Outcome};
use queuectl::domain::event::Event;
use queuectl::domain::job::{Claim, JobId, RunResult, Spec};
use queuectl::domain::policy::RetryPolicy;
use queuectl::domain::state::{NodeState, State};
use queuectl::store::clock::Clock;
use queuectl::store::disk::{Disk, Open};
use queuectl::store::ids::Ids;
use queuectl::store::line;
use queuectl::store::machine::Environment;
use queuectl::store::mark;
use queuectl::store::real_disk::RealDisk;
use queuectl::store::{Enqueue, Setting, Store};
use tempfile::TempDir;

use super::change::{Change, Thoroughness};

/// 2026-02-02T03:00:00Z, in microseconds.
const START: i64 = 1_770_001_200_000_000;

/// What a queue is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Two sealed segments and the active one.
    Segments,
    /// A base, a sealed segment and the active one.
    Base,
    /// As [`Kind::Segments`]; the mark stands before the last lines of the active one.
    BehindMark,
    /// As [`Kind::Segments`], with a checkpoint that covers all but a line.
    Checkpoint,
}

/// A queue, what its files hold, and what it says.
pub struct Corpus {
    _home: TempDir,
    root: PathBuf,
    clock: Arc<AtomicI64>,
    files: Vec<(PathBuf, Vec<u8>)>,
    /// Which of them are tried.
    spoilt: Vec<usize>,
    pub node: String,
    pub whole: State,
    /// The active segment, and how much of it was acknowledged.
    pub active: (usize, usize),
}

impl Corpus {
    pub fn new(kind: Kind) -> Self {
        // In memory where there is such a place: each is written thousands of times, with its syncs.
        let home = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let root = home.path().join("queue");
        let clock = Arc::new(AtomicI64::new(START));
        let mut store = open(&root, &clock);
        fill(&mut store, &clock, kind);
        let node = store.place().node().unwrap().to_owned();
        let mark = store.place().mark();
        let whole = open(&root, &clock).read().unwrap().state.clone();
        let files: Vec<_> = contents(&root).into_iter().collect();
        let file = RealDisk.open(&mark, Open::Read).unwrap();
        let mark = mark::read(file.as_ref()).unwrap().unwrap();
        let name = root.join(format!("log/{node}/{:08}.jsonl", mark.segment));
        let active = files.iter().position(|(path, _)| *path == name).unwrap();
        let active = (active, usize::try_from(mark.len).unwrap());
        let is_spoilt = |path: &Path| match kind {
            Kind::Segments => !path.ends_with("lock") && !is_in(path, "cache"),
            Kind::Base => is_in(path, "log"),
            Kind::BehindMark => path == name,
            Kind::Checkpoint => is_in(path, "cache"),
        };
        let spoilt = (0..files.len())
            .filter(|file| is_spoilt(&files[*file].0) && !files[*file].1.is_empty())
            .collect();
        Corpus { _home: home, root, clock, files, spoilt, node, whole, active }
    }

    /// What the next process opens.
    pub fn open(&self) -> Result<Store, queuectl::store::StoreError> {
        Store::open(setting(&self.root, &self.clock))
    }

    pub fn name(&self, file: usize) -> String {
        self.files[file].0.strip_prefix(&self.root).unwrap().display().to_string()
    }

    pub fn is_log(&self, file: usize) -> bool {
        self.name(file).starts_with("log/")
    }

    pub fn bytes(&self, file: usize) -> &[u8] {
        &self.files[file].1
    }

    pub fn changes(&self, how: Thoroughness) -> Vec<(usize, Change)> {
        let of = |file: &usize| {
            let all = Change::all(self.bytes(*file), *file, self.files.len(), how);
            all.into_iter().map(|change| (*file, change)).collect::<Vec<_>>()
        };
        let is_other = |(file, change): &(usize, Change)| match change {
            Change::Replace { by } => self.is_log(*file) == self.is_log(*by),
            _ => self.apply(*file, change).as_deref() != Some(self.bytes(*file)),
        };
        self.spoilt.iter().flat_map(of).filter(is_other).collect()
    }

    fn apply(&self, file: usize, change: &Change) -> Option<Vec<u8>> {
        change.apply(self.bytes(file), |by| self.bytes(by).to_vec())
    }

    pub fn spoil(&self, file: usize, change: &Change) {
        match self.apply(file, change) {
            Some(bytes) => fs::write(&self.files[file].0, bytes).unwrap(),
            None => fs::remove_file(&self.files[file].0).unwrap(),
        }
    }

    /// Makes the directory again what it was.
    pub fn restore(&self) {
        for (path, bytes) in contents(&self.root) {
            match self.files.iter().find(|(kept, _)| *kept == path) {
                Some((_, kept)) if *kept == bytes => {}
                Some((_, kept)) => fs::write(path, kept).unwrap(),
                None => fs::remove_file(path).unwrap(),
            }
        }
        for (path, bytes) in self.files.iter().filter(|(path, _)| !path.exists()) {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        for entry in fs::read_dir(self.root.join("log")).unwrap().map(Result::unwrap) {
            if entry.file_name() != self.node.as_str() {
                fs::remove_dir_all(entry.path()).unwrap();
            }
        }
    }

    /// The log as it was, in the order in which it is read.
    pub fn log(&self) -> Vec<u8> {
        let is_log = |(path, _): &&(PathBuf, Vec<u8>)| path.starts_with(self.root.join("log"));
        self.files.iter().filter(is_log).flat_map(|(_, bytes)| bytes.clone()).collect()
    }

    /// The log as it is.
    pub fn log_now(&self) -> Vec<u8> {
        let log = contents(&self.root.join("log").join(&self.node));
        log.into_values().flatten().collect()
    }

    /// Every state that the queue had since what was acknowledged.
    pub fn states_behind_the_mark(&self) -> Vec<NodeState> {
        let (active, acknowledged) = self.active;
        let before: usize =
            (0..active).filter(|file| self.is_log(*file)).map(|file| self.bytes(file).len()).sum();
        let (log, mut node) = (self.log(), NodeState::default());
        let (mut at, mut states) = (0, Vec::new());
        for line in log.split_inclusive(|byte| *byte == b'\n') {
            let _ = node.apply(&line::decode(line.strip_suffix(b"\n").unwrap()).unwrap().0);
            at += line.len();
            if at >= before + acknowledged {
                states.push(node.clone());
            }
        }
        states
    }
}

fn setting(root: &Path, clock: &Arc<AtomicI64>) -> Setting {
    let uid = rustix::process::geteuid().as_raw();
    let (host, machine_id) = ("desk".to_owned(), Some("rot".to_owned()));
    Setting {
        disk: Arc::new(RealDisk),
        root: root.to_owned(),
        environment: Environment { host, machine_id, uid, ..Environment::default() },
        clock: Clock::Shared(Arc::clone(clock)),
        ids: Ids::new(Some("rot")),
        boot: Some("boot".to_owned()),
    }
}

fn open(root: &Path, clock: &Arc<AtomicI64>) -> Store {
    Store::open(setting(root, clock)).unwrap()
}

fn is_in(path: &Path, directory: &str) -> bool {
    path.components().any(|part| part.as_os_str() == directory)
}

/// All files below a directory.
fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut files, mut directories) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => directories.push(entry.path()),
                false => drop(files.insert(entry.path(), fs::read(entry.path()).unwrap())),
            }
        }
    }
    files
}

pub fn id(text: &str) -> JobId {
    JobId::new(text).unwrap()
}

pub fn enqueue(store: &mut Store, ids: &[&str]) -> Result<Vec<JobId>, queuectl::store::StoreError> {
    let specs = ids.iter().map(|text| Spec::shell(id(text), "true", 2)).collect();
    store.enqueue(Enqueue { specs, has_chosen_ids: true, on_conflict: OnConflict::Fail })
}

/// Runs the next job.
fn run(store: &mut Store, n: u64, result: RunResult) {
    let claimed = store.transact(|node, now| {
        let claims = decide::claim(node, "desk.w", n, 1, &[], now);
        Ok((claims.iter().cloned().map(Event::Claimed).collect(), claims))
    });
    let claimed = claimed.unwrap().remove(0);
    let (job, run) = (claimed.job, claimed.run);
    let (claim, ms, tail, error) = (Claim::new("desk.w", n), 5, None, Some("naïve".to_owned()));
    let outcome = Outcome { job, run, claim, result, ms, tail, error };
    store
        .transact(|node, now| {
            let outcome = outcome.clone();
            Ok((vec![decide::finish(node, outcome, &RetryPolicy::default(), now, 0.0)], ()))
        })
        .unwrap();
}

fn fill(store: &mut Store, clock: &AtomicI64, kind: Kind) {
    let pass = || {
        clock.fetch_add(1_000_000, Ordering::SeqCst);
    };
    enqueue(store, &["first"]).unwrap();
    enqueue(store, &["b-one", "b-two"]).unwrap();
    pass();
    run(store, 0, RunResult::Exit(0));
    run(store, 1, RunResult::Exit(1));
    store.seal().unwrap();
    enqueue(store, &["second"]).unwrap();
    store
        .transact(|node, _| {
            Ok((decide::cancel(node, &id("b-two"), None).unwrap().into_iter().collect(), ()))
        })
        .unwrap();
    pass();
    run(store, 2, RunResult::Signal(9));
    store.seal().unwrap();
    if kind == Kind::Base {
        store.compactor().unwrap().run(None).unwrap().unwrap();
        enqueue(store, &["based"]).unwrap();
        store.seal().unwrap();
    }
    enqueue(store, &["third"]).unwrap();
    pass();
    let mark = fs::read(store.place().mark()).unwrap();
    if kind == Kind::Checkpoint {
        store.read().unwrap();
        store.write_checkpoint();
    }
    enqueue(store, &["fourth"]).unwrap();
    enqueue(store, &["l-one", "l-two"]).unwrap();
    if kind == Kind::BehindMark {
        fs::write(store.place().mark(), mark).unwrap();
    }
}
