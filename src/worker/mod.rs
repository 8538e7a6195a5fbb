//! The processes: children, their output, and signals. Prints nothing itself.
//!
//! A claim travels: the supervisor's main thread claims in the log, a slot's thread starts the job and waits for its end,
//! and the end travels back over one channel, to be written together with the next claims. Only the main thread has the
//! store; no other thread folds, or takes the append lock.

pub mod committer;
pub mod follow;
pub mod foreground;
pub mod inbox;
pub mod output;
pub mod pace;
pub mod process;
pub mod recover;
pub mod reporter;
pub mod retries;
pub mod signal;
pub mod slots;
mod supervisor;
pub mod warden;
#[cfg(test)]
mod work_tests;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use self::reporter::Reporter;
use self::supervisor::{Scope, Setting, Supervisor};
use crate::store::reserve;
use crate::store::small_file::FileError;
use crate::store::{Store, StoreError};

/// How a worker works.
#[derive(Debug, Clone, Default)]
pub struct WorkerOptions {
    /// How many jobs it runs at once; at least 1.
    pub slots: usize,
    /// The queues it works on; all of them where empty.
    pub queues: Vec<String>,
    /// Whether it ends when nothing runs, is ready or waits for a retry.
    pub drain: bool,
    /// After how many runs it ends.
    pub max_jobs: Option<u64>,
    /// How long it lets runs go on once it was asked to stop, instead of the configured time.
    pub stop_timeout: Option<Duration>,
    /// Whether what the runs print is handed to the reporter.
    pub output: bool,
    /// Keys of the configuration that count for this process whatever the queue says, as text.
    pub overrides: BTreeMap<String, String>,
}

/// What a worker did, and what it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Runs that ended.
    pub runs: u64,
    /// Jobs of its queues that wait for a time of day, as it left.
    pub scheduled: u64,
    /// Jobs of its queues that wait in a paused queue.
    pub paused: u64,
}

/// Why a worker cannot work on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The log cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A lock file cannot be made, read or removed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its lock file was taken away, and others can't see it any more.
    #[error("the lock file of worker {0} is not where it was made; its jobs have ended")]
    Displaced(String),
    /// The system refuses what a worker needs.
    #[error("cannot start a worker: {0}")]
    System(#[from] io::Error),
    /// The system refuses threads.
    #[error("cannot start the slots of a worker: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

impl WorkerError {
    /// Whether it was for want of room on the disk, of which there may be more later.
    fn is_full(&self) -> bool {
        match self {
            WorkerError::Store(error) => error.is_full(),
            WorkerError::File(error) => reserve::is_full(&error.source),
            _ => false,
        }
    }

    /// Whether it was for want of room on the disk, or of descriptors or memory, which come free again as runs end.
    fn is_of_want(&self) -> bool {
        use rustix::io::Errno;
        if self.is_full() {
            return true;
        }
        let source = match self {
            WorkerError::Store(
                StoreError::Io { source, .. } | StoreError::NotRecorded { source, .. },
            ) => source,
            WorkerError::File(error) => &error.source,
            _ => return false,
        };
        [Errno::MFILE, Errno::NFILE, Errno::NOMEM]
            .iter()
            .any(|errno| source.raw_os_error() == Some(errno.raw_os_error()))
    }
}

/// Works until there is a reason to end. [`signal::prepare`] must have been called before there was any other thread.
///
/// Ensures: all its runs have ended when it returns, and their ends are in the log unless it returns an error.
/// Errors: where the queue cannot be read or written, or the system refuses what a worker needs.
pub fn work(
    store: &mut Store,
    options: WorkerOptions,
    reporter: &mut dyn Reporter,
) -> Result<Summary, WorkerError> {
    let queues = options.queues.clone();
    let setting = Setting {
        scope: Scope::Queues(options.queues),
        slots: options.slots.max(1),
        drains: options.drain,
        max_jobs: options.max_jobs,
        stop_timeout: options.stop_timeout,
        streams: options.output,
        overrides: options.overrides,
    };
    let worked = Supervisor::new(store, setting, None, reporter)?.work()?;
    let now = store.now();
    let held_back = store.own().map(|own| own.held_back(&queues, now));
    let (scheduled, paused) = held_back.unwrap_or_default();
    Ok(Summary { runs: worked.runs, scheduled, paused })
}
