//! Recovery of dead workers' runs: who is dead, what they left, and the proof that it is gone.
//!
//! A worker whose lock can be taken is dead; whoever holds that lock until all its runs are settled is its only
//! recoverer. Finding the dead needs the state and is done on the main thread; ending and waiting is done in `settle`,
//! on a thread of its own. Unaware of what follows for the jobs.

mod once;
mod settle;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Pid;

pub use self::once::{Recovered, settle_dead};
use self::settle::{Case, Mode, Orders};
use super::WorkerError;
use super::inbox::Message;
use super::output::Place;
use super::process::leftovers::{Group, Traces};
use super::process::system;
use super::warden::Limits;
use crate::domain::config::{Config, OnWorkerDeath};
use crate::domain::event::{Claimed, WorkerStarted};
use crate::domain::job::{Claim, Job};
use crate::store::Store;
use crate::store::presence::notes::RunStart;
use crate::store::presence::{self, DeadWorker, Liveness};
use crate::store::small_file::FileError;

/// A dead worker's run, of which nothing is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// What the worker had claimed.
    pub claimed: Claimed,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a dead worker's run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was certainly never started.
    NeverStarted,
    /// Whatever it was, it is gone.
    Gone,
    /// The machine went down.
    Rebooted,
}

/// The dead workers this one is at.
#[derive(Default)]
pub struct Recoveries {
    active: BTreeMap<String, Recovery>,
    looked: Option<Instant>,
    /// Workers that had a lock file when the directory of locks was last listed, which is done when there is news: who
    /// has a run is in the log too.
    listed: Vec<String>,
    is_stale: bool,
}

struct Recovery {
    /// None for a worker whose id is no name of a file.
    dead: Option<DeadWorker>,
    /// Runs that are not settled in the log, with what they may be told.
    open: HashMap<Claim, Arc<Orders>>,
    abandoned: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Between two looks for the dead, unless the poll interval is shorter: news can come by the thousand a second.
const LEAST: Duration = Duration::from_millis(100);

impl Recoveries {
    /// Has the directory of locks listed anew at the next look.
    pub fn take_news(&mut self) {
        self.is_stale = true;
    }

    /// Looks for dead workers, unless it just has. What can be said at once is returned, the rest is sent once it can.
    ///
    /// Errors: where the state or a lock file cannot be read.
    pub fn look(
        &mut self,
        store: &mut Store,
        me: &str,
        config: &Config,
        sender: &Sender<Message>,
    ) -> Result<Vec<Settled>, WorkerError> {
        let pause = LEAST.min(config.poll_interval());
        if self.looked.is_some_and(|looked| looked.elapsed() < pause) {
            return Ok(Vec::new());
        }
        self.looked = Some(Instant::now());
        if std::mem::take(&mut self.is_stale) {
            self.listed = with_lock(store)?;
        }
        let mut settled = Vec::new();
        for worker in candidates(store, &self.listed) {
            if worker == me || self.active.contains_key(&worker) {
                continue;
            }
            let Some(dead) = take(store, &worker)? else { continue };
            // Only now is it certain that the worker claims nothing more.
            store.read()?;
            settled.extend(self.begin(store, worker, dead, config, sender));
        }
        Ok(settled)
    }

    fn begin(
        &mut self,
        store: &Store,
        worker: String,
        dead: Taken,
        config: &Config,
        sender: &Sender<Message>,
    ) -> Vec<Settled> {
        let scene = Scene::new(store, &worker, dead.as_lock(), config);
        let (mut settled, mut cases, mut open) = (Vec::new(), Vec::new(), HashMap::new());
        let runs = store.own().into_iter().flat_map(|node| node.processing());
        for (job, claim) in runs.filter_map(|job| Some((job, job.claim.as_ref()?))) {
            if claim.worker() != worker {
                continue;
            }
            let orders = Arc::new(Orders::default());
            open.insert(claim.clone(), Arc::clone(&orders));
            match scene.examine(job, claim, orders) {
                Ok(settled_run) => settled.push(settled_run),
                Err(case) => cases.push(*case),
            }
        }
        let abandoned = Arc::new(AtomicBool::new(false));
        let mut thread = None;
        if !cases.is_empty() {
            let (sender, abandoned) = (sender.clone(), Arc::clone(&abandoned));
            let body = move || settle::settle(cases, &sender, &abandoned);
            // Without a thread the worker stays dead and is found again.
            thread = thread::Builder::new().name("recovery".into()).spawn(body).ok();
            if thread.is_none() {
                return Vec::new();
            }
        }
        self.active.insert(worker, Recovery { dead: dead.into_lock(), open, abandoned, thread });
        settled
    }

    /// Passes on which runs a person wants ended.
    pub fn cancel(&self, mut is_cancelled: impl FnMut(&Claim) -> bool) {
        for (claim, orders) in self.active.values().flat_map(|recovery| &recovery.open) {
            if is_cancelled(claim) {
                orders.cancel.store(true, Ordering::SeqCst);
            }
        }
    }

    /// Notes that runs are settled in the log. Gives the workers all of whose runs are.
    pub fn recorded(&mut self, settled: &[Settled]) -> Vec<String> {
        for run in settled {
            if let Some(recovery) = self.active.get_mut(run.claimed.claim.worker()) {
                recovery.open.remove(&run.claimed.claim);
            }
        }
        self.over()
    }

    /// The workers all of whose runs are settled in the log; their own end may be written.
    pub fn over(&self) -> Vec<String> {
        let is_over = |(_, recovery): &(&String, &Recovery)| recovery.open.is_empty();
        self.active.iter().filter(is_over).map(|(worker, _)| worker.clone()).collect()
    }

    /// Lets go of a worker whose end is written.
    ///
    /// Errors: where its lock file cannot be removed; the next who looks does it.
    pub fn close(&mut self, store: &Store, worker: &str) -> Result<(), FileError> {
        let Some(recovery) = self.active.remove(worker) else { return Ok(()) };
        if let Some(thread) = recovery.thread {
            let _ = thread.join();
        }
        recovery.dead.map_or(Ok(()), |dead| dead.settle(store.disk().as_ref()))
    }

    /// Leaves everything to the next worker: the locks are let go.
    pub fn abandon(&mut self) {
        for recovery in self.active.values() {
            recovery.abandoned.store(true, Ordering::SeqCst);
        }
        for recovery in std::mem::take(&mut self.active).into_values() {
            if let Some(thread) = recovery.thread {
                let _ = thread.join();
            }
        }
    }
}

/// Whose lock was taken.
enum Taken {
    Lock(Box<DeadWorker>),
    /// Its id is no name of a file, so there is none; the log keeps a run from being settled twice.
    Nameless,
}

impl Taken {
    fn as_lock(&self) -> Option<&DeadWorker> {
        match self {
            Taken::Lock(dead) => Some(dead),
            Taken::Nameless => None,
        }
    }

    fn into_lock(self) -> Option<DeadWorker> {
        match self {
            Taken::Lock(dead) => Some(*dead),
            Taken::Nameless => None,
        }
    }
}

/// Workers that may be dead: that have a lock file, no end in the log, or a run.
fn candidates(store: &Store, listed: &[String]) -> BTreeSet<String> {
    let Some(own) = store.own() else { return BTreeSet::new() };
    let mut workers: BTreeSet<String> = own.facts.workers.keys().cloned().collect();
    workers.extend(own.processing().filter_map(|job| Some(job.claim.as_ref()?.worker().into())));
    workers.extend(listed.iter().cloned());
    workers
}

fn with_lock(store: &Store) -> Result<Vec<String>, FileError> {
    let Some(node) = store.place().node() else { return Ok(Vec::new()) };
    presence::workers(store.disk().as_ref(), &store.place().run_dir(), node)
}

fn take(store: &Store, worker: &str) -> Result<Option<Taken>, FileError> {
    let (disk, run_dir) = (store.disk().as_ref(), store.place().run_dir());
    let boxed = |dead: Option<DeadWorker>| dead.map(|dead| Taken::Lock(Box::new(dead)));
    match presence::probe(disk, &run_dir, worker)? {
        Liveness::Alive => Ok(None),
        Liveness::Dead => presence::take_dead(disk, &run_dir, worker).map(boxed),
        Liveness::Missing if !is_process_dead(store, worker) => Ok(None),
        Liveness::Missing if !presence::is_worker(worker) => Ok(Some(Taken::Nameless)),
        Liveness::Missing => {
            presence::stand_in(disk, &run_dir, worker, store.place().owner()).map(boxed)
        }
    }
}

/// Without its lock file, only its process says whether a worker lives; of one that cannot be seen it is not known.
fn is_process_dead(store: &Store, worker: &str) -> bool {
    let record = store.own().and_then(|own| own.facts.workers.get(worker));
    let Some(info) = record.map(|record| &record.started) else { return true };
    if info.boot != store.boot() {
        return true;
    }
    let pid = i32::try_from(info.pid).ok().and_then(Pid::from_raw);
    let is_there = || pid.and_then(system::find).is_some_and(|p| p.start == info.start);
    info.pid_namespace == system::pid_namespace() && !is_there()
}

/// What all runs of a dead worker have in common.
struct Scene<'a> {
    store: &'a Store,
    dead: Option<&'a DeadWorker>,
    info: Option<WorkerStarted>,
    config: &'a Config,
}

impl<'a> Scene<'a> {
    fn new(
        store: &'a Store,
        worker: &str,
        dead: Option<&'a DeadWorker>,
        config: &'a Config,
    ) -> Self {
        let noted = dead.and_then(|dead| dead.notes().info());
        let recorded = store.own().and_then(|own| own.facts.workers.get(worker));
        let info = noted.or(recorded.map(|record| &record.started)).cloned();
        Scene { store, dead, info, config }
    }

    /// Says what became of a run, or what has to be looked at to know.
    fn examine(&self, job: &Job, claim: &Claim, orders: Arc<Orders>) -> Result<Settled, Box<Case>> {
        let (store, config) = (self.store, self.config);
        let claimed = Claimed { job: job.id().clone(), run: job.last_run, claim: claim.clone() };
        if self.info.as_ref().is_some_and(|info| info.boot != store.boot()) {
            return Ok(Settled { claimed, fate: Fate::Rebooted });
        }
        let start = self.dead.map(|dead| dead.notes().start_of(claim, store.boot()));
        let (group, start) = match start {
            Some(RunStart::Never) => return Ok(Settled { claimed, fate: Fate::NeverStarted }),
            Some(RunStart::Started(process)) if process.start > 0 => {
                let group = i32::try_from(process.group).ok().and_then(Pid::from_raw);
                (group.map_or(Group::Unknown, Group::Noted), process.start)
            }
            Some(RunStart::Started(_) | RunStart::Unknown) | None => (Group::Unknown, 0),
        };
        let session = self.info.as_ref().and_then(|info| i32::try_from(info.session).ok());
        let namespace = self.info.as_ref().map(|info| info.pid_namespace.as_str());
        let ran = job.latest_run().map_or(Duration::ZERO, |run| store.now().since(run.started_at));
        let timeout = job.spec.timeout.or(config.timeout());
        Err(Box::new(Case::new(
            claimed.clone(),
            job.spec.clone(),
            Place::new(&store.place().output_dir(), job.id(), claimed.run),
            Traces { claim: claim.clone(), session, group, start },
            Mode {
                ends: config.on_worker_death() == OnWorkerDeath::Kill,
                sees: namespace.is_none_or(|namespace| namespace == system::pid_namespace()),
                grace: job.spec.kill_grace.unwrap_or(config.kill_grace()),
                limits: Limits {
                    timeout: timeout.map(|timeout| timeout.saturating_sub(ran)),
                    output: config.output_limit(),
                },
                poll: config.poll_interval(),
            },
            orders,
        )))
    }
}
