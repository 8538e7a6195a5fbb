//! What a worker tells whoever started it. The worker room itself prints nothing.

use std::time::Duration;

use crate::domain::event::Claimed;
use crate::domain::job::{JobId, RunResult};

/// Takes what a worker has to tell, on the worker's main thread: it must not block for long, and cannot fail.
pub trait Reporter {
    /// A run was started.
    fn run_started(&mut self, run: &Claimed);

    /// A run has ended and its end is in the log.
    fn run_ended(&mut self, ended: &RunEnded);

    /// A run printed something; only where output was asked for.
    fn output(&mut self, run: &Claimed, stream: Stream, bytes: &[u8]);

    /// Something that a person should know.
    fn notice(&mut self, notice: &Notice);
}

/// Which of its outputs a run printed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output, and standard error too where the two are merged.
    Out,
    /// Standard error.
    Err,
}

/// How a run ended and what follows.
#[derive(Debug, Clone, PartialEq)]
pub struct RunEnded {
    /// The job.
    pub job: JobId,
    /// The number of the run.
    pub run: u32,
    /// How it ended.
    pub result: RunResult,
    /// How long it ran.
    pub time: Duration,
    /// What follows for the job.
    pub next: Next,
    /// What went wrong, or what a person should know.
    pub error: Option<String>,
}

/// What follows on the end of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    /// The job ended well.
    Completed,
    /// It is run again after this long.
    Retry(Duration),
    /// It is in the dead letter queue.
    Dead,
    /// It was taken back.
    Cancelled,
    /// It waits for a worker again.
    Released,
}

/// Something that happens to a worker.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// It works under this name.
    Working {
        /// The worker.
        worker: String,
        /// How many jobs it runs at once.
        slots: usize,
    },
    /// A base has taken the place of a part of the log.
    Compacted {
        /// How many files that were.
        files: u64,
        /// How many bytes they had.
        before: u64,
        /// How many bytes the base has.
        after: u64,
    },
    /// Jobs are ready that only other machines may run.
    ReadyElsewhere {
        /// Their nodes.
        nodes: Vec<String>,
    },
    /// It claims nothing more, and waits for so many runs.
    Stopping {
        /// The runs.
        runs: usize,
    },
    /// It ends so many runs.
    EndingRuns {
        /// The runs.
        runs: usize,
    },
    /// A run of a worker that died was settled.
    Recovered {
        /// The job.
        job: JobId,
        /// The worker.
        worker: String,
        /// What follows for the job.
        next: Next,
    },
    /// A job could not be started for want of something every start needs.
    Starved {
        /// The job.
        job: JobId,
        /// What the system said.
        error: String,
    },
    /// Processes that a run left and that outlive KILL; the job is not run again before they end.
    CannotEnd {
        /// The job.
        job: JobId,
        /// Their numbers.
        processes: Vec<i32>,
    },
    /// Processes of an ended run that went to a session of their own and are left alone.
    Daemons {
        /// The job.
        job: JobId,
        /// Their numbers.
        processes: Vec<i32>,
    },
    /// The queue cannot be read or written; nothing more is claimed.
    Failing(String),
    /// Something else, in words.
    Other(String),
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn run_started(&mut self, _: &Claimed) {}
    fn run_ended(&mut self, _: &RunEnded) {}
    fn output(&mut self, _: &Claimed, _: Stream, _: &[u8]) {}
    fn notice(&mut self, _: &Notice) {}
}
