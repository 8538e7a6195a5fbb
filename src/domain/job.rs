//! The nouns: a job, its runs and how they end.
//!
//! ```text
//!  enqueued
//!     │
//!     ▼             claimed                       completed
//!  pending ───────────────────────► processing ───────────────► completed ──┐
//!   ▲ ▲ ▲       lost, released       │  │ ▲ │ │      died                   │
//!   │ │ └────────────────────────────┘  │ │ │ └───────────────► dead ───────┤
//!   │ │                                 │ │ │    cancelled                  │
//!   │ │                          failed │ │ └─────────────────► cancelled ──┤
//!   │ │           requeued              ▼ │ claimed                         │
//!   │ └─────────────────────────────── failed                               │
//!   │                                                                       │
//!   │                             requeued                                  │
//!   └───────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Not drawn: a waiting job, pending or failed, that is cancelled is so at once; a running one is first marked by
//! `cancel_requested`, which moves nothing. A finished job, completed, dead or cancelled, can be purged, and is gone.
//! A waiting job that was taken from a log that was rolled back is held: it is not claimed until it is requeued.
//!
//! State says where the job is; result says how one run of it ended. Knows nothing of events.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bitcode::{Decode, Encode};
use serde::{Deserialize, Serialize};

pub use super::id::{BadId, Claim, JobId, SELECTOR_WORDS};
use super::seconds;
pub use super::spec::{Command, Spec, Stdin};
use super::timestamp::Timestamp;

/// A job and all that has happened to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Encode, Decode)]
pub struct Job {
    /// What was enqueued, as edited since.
    pub spec: Spec,
    /// Where it is.
    pub state: JobState,
    /// The `seq` of its `enqueued` line: the order of jobs.
    pub order: u64,
    /// When it was enqueued.
    pub created_at: Timestamp,
    /// When anything last happened to it.
    pub updated_at: Timestamp,
    /// Runs that were charged since it was last enqueued afresh.
    pub attempts: u32,
    /// Runs that were lost with their worker since then, but for those of a reboot; held against `max_lost`.
    pub lost: u32,
    /// The number of the last run that counts as started or may have been.
    pub last_run: u32,
    /// Not before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// How long the wait for `due` is, where it is for a retry.
    #[serde(default, with = "seconds::option", skip_serializing_if = "Option::is_none")]
    pub delay: Option<Duration>,
    /// The claim under which it runs, while it is processing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// Whether a person asked for its end while it ran.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancel_requested: bool,
    /// Why it is dead or cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why it is not run until a person says so, though it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// Where it was enqueued, where that was not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Box<Origin>>,
    /// Its runs, oldest first; at most [`Job::RUNS_KEPT`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<Run>,
}

impl Job {
    /// How many runs a job's record keeps; older ones are in the log only.
    pub const RUNS_KEPT: usize = 50;

    /// The id.
    pub fn id(&self) -> &JobId {
        &self.spec.id
    }

    /// The last run, if there was one.
    pub fn latest_run(&self) -> Option<&Run> {
        self.runs.last()
    }
}

/// Where a job comes from that was taken from another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Origin {
    /// The node that enqueued it.
    pub node: String,
    /// How many owners it has had; the node that enqueued it was the first.
    pub epoch: u64,
}

/// Where a job is in its life.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits to be run, perhaps for its time.
    Pending,
    /// Claimed by a worker.
    Processing,
    /// Ended well.
    Completed,
    /// A run ended badly; waits for its retry.
    Failed,
    /// In the dead letter queue.
    Dead,
    /// Taken back by a person.
    Cancelled,
}

impl JobState {
    /// All six, in the order people are shown them.
    pub const ALL: [JobState; 6] = [
        JobState::Pending,
        JobState::Processing,
        JobState::Completed,
        JobState::Failed,
        JobState::Dead,
        JobState::Cancelled,
    ];

    /// The state as it is written everywhere.
    pub fn name(self) -> &'static str {
        match self {
            JobState::Pending => "pending",
            JobState::Processing => "processing",
            JobState::Completed => "completed",
            JobState::Failed => "failed",
            JobState::Dead => "dead",
            JobState::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more happens to the job by itself.
    pub fn is_finished(self) -> bool {
        matches!(self, JobState::Completed | JobState::Dead | JobState::Cancelled)
    }

    /// Whether the job waits for a worker, at once or later.
    pub fn is_waiting(self) -> bool {
        matches!(self, JobState::Pending | JobState::Failed)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text names none of the six states.
#[derive(Debug, thiserror::Error)]
#[error(
    "unknown state {0:?}; the states are pending, processing, completed, failed, dead, cancelled"
)]
pub struct UnknownState(pub String);

impl FromStr for JobState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        let known = JobState::ALL.into_iter().find(|state| state.name().eq_ignore_ascii_case(text));
        known.ok_or_else(|| UnknownState(text.into()))
    }
}

/// How a run ended. Written as `exit 1`, `signal 9`, `timeout` and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum RunResult {
    /// The command ended by itself with this exit code.
    Exit(i32),
    /// The command was ended by this signal, which was not ours.
    Signal(i32),
    /// It ran longer than its timeout and was ended.
    Timeout,
    /// It printed more than `output_limit` where the middle could not be cut out.
    OutputLimit,
    /// It could not be started.
    SpawnError,
    /// Its worker died.
    Lost,
    /// It was ended because its worker was told to stop at once.
    Interrupted,
    /// It was ended because a person cancelled the job.
    Cancelled,
}

impl fmt::Display for RunResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunResult::Exit(code) => write!(f, "exit {code}"),
            RunResult::Signal(number) => write!(f, "signal {number}"),
            RunResult::Timeout => f.write_str("timeout"),
            RunResult::OutputLimit => f.write_str("output_limit"),
            RunResult::SpawnError => f.write_str("spawn_error"),
            RunResult::Lost => f.write_str("lost"),
            RunResult::Interrupted => f.write_str("interrupted"),
            RunResult::Cancelled => f.write_str("cancelled"),
        }
    }
}

impl FromStr for RunResult {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| digits.parse().map_err(|_| format!("bad result {text:?}"));
        match text {
            "timeout" => Ok(RunResult::Timeout),
            "output_limit" => Ok(RunResult::OutputLimit),
            "spawn_error" => Ok(RunResult::SpawnError),
            "lost" => Ok(RunResult::Lost),
            "interrupted" => Ok(RunResult::Interrupted),
            "cancelled" => Ok(RunResult::Cancelled),
            _ => match text.split_once(' ') {
                Some(("exit", code)) => Ok(RunResult::Exit(number(code)?)),
                Some(("signal", signal)) => Ok(RunResult::Signal(number(signal)?)),
                _ => Err(format!("unknown result {text:?}")),
            },
        }
    }
}

impl Serialize for RunResult {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RunResult {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The end of what a run printed, carried in its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, Encode, Decode)]
pub struct Tail {
    /// The end of its stdout.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub out: String,
    /// The end of its stderr.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub err: String,
}

/// One start of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Encode, Decode)]
pub struct Run {
    /// Numbered from 1.
    pub run: u32,
    /// Who ran it.
    pub claim: Claim,
    /// When it was claimed.
    pub started_at: Timestamp,
    /// When its end was recorded; none while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// How it ended; none while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<RunResult>,
    /// How long it ran, in milliseconds, where its worker saw the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
    /// What went wrong, where the result alone does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The end of its output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<Tail>,
}

#[cfg(test)]
mod tests {
    use super::*;

    impl RunResult {
        /// One of each kind.
        pub(in crate::domain) const SAMPLES: [RunResult; 9] = [
            RunResult::Exit(0),
            RunResult::Exit(127),
            RunResult::Signal(9),
            RunResult::Timeout,
            RunResult::OutputLimit,
            RunResult::SpawnError,
            RunResult::Lost,
            RunResult::Interrupted,
            RunResult::Cancelled,
        ];
    }

    #[test]
    fn results_as_text_and_back() {
        let texts = RunResult::SAMPLES.map(|result| result.to_string());
        assert_eq!(
            texts.join(", "),
            "exit 0, exit 127, signal 9, timeout, output_limit, \
            spawn_error, lost, interrupted, cancelled"
        );
        for (text, result) in texts.iter().zip(RunResult::SAMPLES) {
            assert_eq!(text.parse(), Ok(result));
        }
        assert!("exit".parse::<RunResult>().is_err());
        assert!("exit x".parse::<RunResult>().is_err());
    }
}
