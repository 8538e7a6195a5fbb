//! The one table of exit codes.
//!
//! Knows nothing of how it comes to any of them.

use std::process::ExitCode;

/// How queuectl ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: refused or failed: no such job, wrong state, duplicate id, bad JSON, unknown key.
    Refused,
    /// 2: the command line is wrong.
    Usage,
    /// 3: the queue is damaged.
    Damaged,
    /// 10: `wait`: some jobs ended dead, cancelled or purged.
    EndedBadly,
    /// 74: not recorded, or the outcome is unknown.
    NotRecorded,
    /// 124: `wait`: timed out.
    TimedOut,
    /// 125: `run`: queuectl itself failed.
    RunFailed,
    /// 130: interrupted.
    Interrupted,
    /// `run`: what the job's last run ended with.
    Job(u8),
}

impl Exit {
    /// The number the caller sees.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Refused => 1,
            Exit::Usage => 2,
            Exit::Damaged => 3,
            Exit::EndedBadly => 10,
            Exit::NotRecorded => 74,
            Exit::TimedOut => 124,
            Exit::RunFailed => 125,
            Exit::Interrupted => 130,
            Exit::Job(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}
