//! The slots of a worker: a rayon pool of its own with a thread a slot, and the jobs that wait for one.
//!
//! One task runs one job from its files to its outcome. Unaware of the log: what a run came to is sent to the main
//! thread. Nothing else runs on this pool, since whatever waited there would wait behind a job.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use super::inbox::Message;
use super::output::{FilesError, Place};
use super::process::control::{Control, Ending};
use super::process::launch::{Launch, StartError, start};
use super::process::{Ended, Leader};
use super::warden::{Limits, Ward, Warden};
use crate::domain::decide::Outcome;
use crate::domain::event::Claimed;
use crate::domain::job::{RunResult, Spec};
use crate::store::presence::WorkerLock;
use crate::store::presence::notes::Process;

/// A claimed job, to be run once.
#[derive(Debug)]
pub struct Task {
    /// What was claimed; its line is on stable storage.
    pub claimed: Claimed,
    /// The job.
    pub spec: Spec,
    /// The number of the attempt this run will be charged as.
    pub attempt: u32,
    /// The grip on the run.
    pub control: Arc<Control>,
    /// What it is held to.
    pub limits: Limits,
    /// When it was claimed.
    pub since: Instant,
}

/// What a run came to.
#[derive(Debug)]
pub enum Over {
    /// There was none.
    NotStarted {
        /// What was claimed.
        claimed: Claimed,
        /// What was wanting; none where its end was asked for first.
        error: Option<String>,
    },
    /// It ended.
    Ended {
        /// How.
        outcome: Outcome,
        /// The signal its leader died of, whoever sent it.
        signal: Option<i32>,
        /// Processes it left in sessions of their own.
        daemons: Vec<i32>,
    },
}

impl Over {
    /// The claim it was under.
    pub fn claim(&self) -> &crate::domain::job::Claim {
        match self {
            Over::NotStarted { claimed, .. } => &claimed.claim,
            Over::Ended { outcome, .. } => &outcome.claim,
        }
    }
}

/// What every task needs.
pub struct Context {
    /// The worker's own lock file, in which it notes what it starts.
    pub lock: Arc<WorkerLock>,
    /// Holds runs to their limits.
    pub warden: Arc<Warden>,
    /// Where outcomes go.
    pub sender: Sender<Message>,
    /// The machine's directory of outputs.
    pub output: PathBuf,
    /// The queue's directory.
    pub directory: PathBuf,
    /// Held while a process is started, by slot.
    pub starts: [Mutex<()>; STARTS],
}

/// How many processes are started at a time, at most: each takes some ten descriptors for as long as that lasts, and a
/// thousand slots are to get by with a thousand.
pub const STARTS: usize = 16;

/// The pool, and what waits for it.
pub struct Slots {
    pool: ThreadPool,
    waiting: Arc<Mutex<VecDeque<Task>>>,
    context: Arc<Context>,
}

impl Slots {
    /// Makes `count` slots.
    ///
    /// Errors: where the threads are refused.
    pub fn new(count: usize, context: Context) -> Result<Self, ThreadPoolBuildError> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|slot| format!("slot {slot}"))
            // A task waits for a child; what little it does itself needs little room.
            .stack_size(512 << 10)
            .build()?;
        Ok(Slots { pool, waiting: Arc::default(), context: Arc::new(context) })
    }

    /// Has a job run as soon as a slot is free, in the order they are given.
    pub fn give(&self, task: Task) {
        lock(&self.waiting).push_back(task);
        let waiting = Arc::clone(&self.waiting);
        let context = Arc::downgrade(&self.context);
        self.pool.spawn_fifo(move || {
            // None where it was taken back: there is one spawn a task, and they are all alike.
            let task = lock(&waiting).pop_front();
            if let (Some(task), Some(context)) = (task, context.upgrade()) {
                let over = run(task, &context);
                // Let go first, so that whoever has the last outcome has the locks to itself.
                let sender = context.sender.clone();
                drop(context);
                // Nobody receives any more where the worker gave up; its recoverer will find the run.
                let _ = sender.send(Message::Over(Box::new(over)));
            }
        });
    }

    /// Takes back jobs that wait for a slot.
    pub fn take_back(&self, mut is_wanted: impl FnMut(&Task) -> bool) -> Vec<Claimed> {
        let mut waiting = lock(&self.waiting);
        let (taken, kept) = waiting.drain(..).partition::<VecDeque<Task>, _>(|t| is_wanted(t));
        *waiting = kept;
        taken.into_iter().map(|task| task.claimed).collect()
    }

    /// How many jobs wait for a slot.
    pub fn waiting(&self) -> usize {
        lock(&self.waiting).len()
    }
}

fn lock(waiting: &Mutex<VecDeque<Task>>) -> MutexGuard<'_, VecDeque<Task>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(task: Task, context: &Context) -> Over {
    let place = Place::new(&context.output, &task.claimed.job, task.claimed.run);
    match begin(&task, &place, context) {
        Ok(Some(leader)) => finish(task, leader, place, context),
        Ok(None) if task.control.ending() == Some(Ending::Cancelled) => {
            unstarted(task, RunResult::Cancelled, None)
        }
        Ok(None) => Over::NotStarted { claimed: task.claimed, error: None },
        Err(StartError::Starved(error)) => {
            Over::NotStarted { claimed: task.claimed, error: Some(error) }
        }
        Err(StartError::Failed { result, error }) => unstarted(task, result, Some(error)),
    }
}

/// Makes the files, notes the start, starts. The worker's copies of the files are closed on return.
fn begin(task: &Task, place: &Place, context: &Context) -> Result<Option<Leader>, StartError> {
    let slot = rayon::current_thread_index().unwrap_or(0);
    let _turn = context.starts[slot % STARTS].lock().unwrap_or_else(PoisonError::into_inner);
    let files = place.create(&task.spec).map_err(|error| match error {
        FilesError::Own { .. } => StartError::Starved(error.to_string()),
        FilesError::Given { .. } => {
            StartError::Failed { result: RunResult::SpawnError, error: error.to_string() }
        }
    })?;
    let claim = &task.claimed.claim;
    let starved = |error: &dyn std::fmt::Display| StartError::Starved(error.to_string());
    context.lock.note_starting(claim).map_err(|error| starved(&error))?;
    let launch = Launch {
        spec: &task.spec,
        claim,
        run: task.claimed.run,
        attempt: task.attempt,
        directory: &context.directory,
    };
    let leader = start(&launch, &files, &task.control)?;
    if let Some(leader) = &leader {
        let pid = leader.pid.as_raw_nonzero().get().unsigned_abs();
        let process = Process { pid, group: pid, start: leader.start };
        // Without this note a recoverer still knows that the run may have been started, and looks for its claim.
        let _ = context.lock.note_started(claim, process);
    }
    Ok(leader)
}

fn finish(task: Task, leader: Leader, place: Place, context: &Context) -> Over {
    let Task { claimed, control, limits, .. } = task;
    let claim = claimed.claim.clone();
    let ward = Ward::new(claim.clone(), Arc::clone(&control), place.clone(), limits);
    context.warden.add(ward);
    let _ = context.sender.send(Message::Started(claim.clone()));
    let mut is_told = false;
    let ended = leader.wait(&claim, &control, &mut |stubborn| {
        if !std::mem::replace(&mut is_told, true) {
            let processes = stubborn.iter().map(|p| p.pid.as_raw_nonzero().get()).collect();
            let _ = context.sender.send(Message::CannotEnd(claimed.job.clone(), processes));
        }
        ControlFlow::Continue(())
    });
    let error = context.warden.remove(&claim);
    let Ended { result, signal, time, daemons } = ended;
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let Claimed { job, run, claim } = claimed;
    let outcome = Outcome { job, run, claim, result, ms, tail: place.tail(), error };
    let daemons = daemons.iter().map(|daemon| daemon.pid.as_raw_nonzero().get()).collect();
    Over::Ended { outcome, signal, daemons }
}

fn unstarted(task: Task, result: RunResult, error: Option<String>) -> Over {
    let Claimed { job, run, claim } = task.claimed;
    let outcome = Outcome { job, run, claim, result, ms: 0, tail: None, error };
    Over::Ended { outcome, signal: None, daemons: Vec::new() }
}
