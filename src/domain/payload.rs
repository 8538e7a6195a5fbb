//! What each event carries: its fields, as they stand in the log.
//!
//! Part of the file format, as `event.rs` says. Knows nothing of what they mean to a job.

use std::collections::BTreeMap;
use std::time::Duration;

use bitcode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::bytes::Bytes;
use super::job::{Claim, JobId, JobState, RunResult, Tail};
use super::seconds;
use super::timestamp::Timestamp;

/// The header of a segment. Carries all that an `enqueue` needs to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Encode, Decode)]
pub struct Segment {
    /// The version of the format.
    pub v: u32,
    /// The node whose log this is.
    pub node: String,
    /// The number of this segment.
    pub segment: u64,
    /// The boot in which it was begun.
    pub boot: String,
    /// Why it was begun: `first`, `size`, `config`, `boot`, `torn`, `fsync_error`, `grant`, `compact`, `repair`.
    pub why: String,
    /// Where the segment before it ends; none in the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev: Option<SegmentEnd>,
    /// How many of the next lines were carried over from the segment before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub carried: u64,
    /// What the configuration differs in from the built-in one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// What a reader must know to read on; names this version does not know make the log read-only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
    /// In a base file: where the events it stands for end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<SegmentEnd>,
    /// In a base file: of those segments that were cut on doubt in this boot, how many bytes counted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cut: BTreeMap<u64, u64>,
    /// Who wrote it.
    pub app: String,
}

/// A place in a node's log, just behind a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct SegmentEnd {
    /// The number of the segment.
    pub segment: u64,
    /// The bytes of it that count.
    pub len: u64,
    /// The `seq` of the last line that counts, in this segment or before.
    pub seq: u64,
    /// The `ts` of that line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<Timestamp>,
    /// In a base file, the checksum of that line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc: Option<String>,
}

/// See [`Event::BatchCommitted`](super::event::Event::BatchCommitted).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchCommitted {
    /// The batch.
    pub batch: String,
    /// How many jobs it has.
    pub count: u64,
}

/// See [`Event::BatchAbandoned`](super::event::Event::BatchAbandoned).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchAbandoned {
    /// The batch.
    pub batch: String,
}

/// See [`Event::Claimed`](super::event::Event::Claimed).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    /// The job.
    pub job: JobId,
    /// The number of the run.
    pub run: u32,
    /// The claim.
    pub claim: Claim,
}

/// See [`Event::Completed`](super::event::Event::Completed).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completed {
    /// The job.
    pub job: JobId,
    /// The number of the run.
    pub run: u32,
    /// The claim it ran under.
    pub claim: Claim,
    /// How long it ran, in milliseconds.
    pub ms: u64,
    /// The end of its output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<Tail>,
    /// What a person should know of this run, such as that output was cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// See [`Event::Failed`](super::event::Event::Failed).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The job.
    pub job: JobId,
    /// The number of the run.
    pub run: u32,
    /// The claim it ran under.
    pub claim: Claim,
    /// How it ended.
    pub result: RunResult,
    /// When it is run again, by the wall clock.
    pub retry_at: Timestamp,
    /// How long that was from its end, in seconds.
    #[serde(with = "seconds")]
    pub delay: Duration,
    /// How long it ran, in milliseconds.
    #[serde(default)]
    pub ms: u64,
    /// What went wrong, where the result alone does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The end of its output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<Tail>,
}

/// See [`Event::Died`](super::event::Event::Died).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Died {
    /// The job.
    pub job: JobId,
    /// The number of the run.
    pub run: u32,
    /// The claim it ran under.
    pub claim: Claim,
    /// How it ended.
    pub result: RunResult,
    /// Why it is not retried: `exhausted`, `permanent`, `poison`.
    pub reason: String,
    /// How long it ran, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
    /// What went wrong, where the result alone does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The end of its output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<Tail>,
}

/// See [`Event::Lost`](super::event::Event::Lost).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// The job.
    pub job: JobId,
    /// The number of the run.
    pub run: u32,
    /// The claim it ran under.
    pub claim: Claim,
    /// When it is run again, by the wall clock.
    pub retry_at: Timestamp,
    /// How long that was from now, in seconds.
    #[serde(default, with = "seconds")]
    pub delay: Duration,
    /// Whether the machine went down, which does not count against `max_lost`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reboot: bool,
}

/// See [`Event::Released`](super::event::Event::Released).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// The job.
    pub job: JobId,
    /// The number of the run.
    pub run: u32,
    /// The claim it was given under.
    pub claim: Claim,
    /// Whether the command had been started; if not, the number of the run is given again.
    pub started: bool,
    /// Not before this moment, where it could not be started for want of descriptors, processes, memory or disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long it had run, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
}

/// See [`Event::CancelRequested`](super::event::Event::CancelRequested).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRequested {
    /// The job.
    pub job: JobId,
    /// The claim under which it runs.
    pub claim: Claim,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// See [`Event::Cancelled`](super::event::Event::Cancelled).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    /// The job.
    pub job: JobId,
    /// The claim it ran under, where it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// How long it had run, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The end of its output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<Tail>,
}

/// See [`Event::Requeued`](super::event::Event::Requeued).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requeued {
    /// The job.
    pub job: JobId,
    /// Whether `attempts` stays: a waiting retry that is made due now. Else it begins again from 0.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_attempts: bool,
}

/// See [`Event::Edited`](super::event::Event::Edited). A field that is absent stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edited {
    /// The job.
    pub job: JobId,
    /// The new priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// The new earliest moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Timestamp>,
    /// The new number of attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// The new timeout in seconds; 0 for no limit, whatever the configuration says.
    #[serde(default, with = "seconds::option", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// The new queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The new tags, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
}

/// See [`Event::Purged`](super::event::Event::Purged).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// The job.
    pub job: JobId,
    /// `request`, or `retention`.
    pub why: String,
}

impl Purged {
    /// A person asked for it.
    pub const REQUEST: &str = "request";
    /// It had been finished for longer than it is kept.
    pub const RETENTION: &str = "retention";
}

/// See [`Event::ConfigSet`](super::event::Event::ConfigSet).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigSet {
    /// The key.
    pub key: String,
    /// Its value, as `config get` shows it.
    pub value: String,
}

/// See [`Event::ConfigUnset`](super::event::Event::ConfigUnset).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigUnset {
    /// The key.
    pub key: String,
}

/// See [`Event::QueuePaused`](super::event::Event::QueuePaused).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuePaused {
    /// The queue; all of them where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// When it goes on by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// See [`Event::QueueResumed`](super::event::Event::QueueResumed).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueResumed {
    /// The queue; all of them where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
}

/// See [`Event::WorkerStarted`](super::event::Event::WorkerStarted). Who the process is, for the day its lock file is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct WorkerStarted {
    /// The worker.
    pub worker: String,
    /// Its process.
    pub pid: u32,
    /// When that process started, in clock ticks since boot.
    pub start: u64,
    /// The boot it runs in.
    pub boot: String,
    /// The process id namespace it runs in.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pid_namespace: String,
    /// Its session.
    #[serde(default)]
    pub session: u32,
    /// The host's name, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// How many jobs it runs at once.
    pub slots: u32,
    /// The queues it works on; all of them where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<String>,
}

/// See [`Event::WorkerStopRequested`](super::event::Event::WorkerStopRequested).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStopRequested {
    /// The worker.
    pub worker: String,
    /// Whether to end what runs, after the usual grace, instead of waiting for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub now: bool,
}

/// See [`Event::WorkerStopped`](super::event::Event::WorkerStopped).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStopped {
    /// The worker.
    pub worker: String,
    /// Whether it was found dead.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub died: bool,
}

/// See [`Event::Totals`](super::event::Event::Totals).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default, Encode, Decode)]
pub struct Totals {
    /// Jobs that were enqueued, purged ones too.
    pub enqueued: u64,
    /// Jobs that were removed.
    pub purged: u64,
    /// Of those, the ones that had been finished for longer than they are kept, by the state they were in.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub expired: BTreeMap<JobState, u64>,
    /// Lines of an unknown kind.
    #[serde(default)]
    pub unknown: u64,
    /// Lines that could not take effect.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub oddity_count: u64,
    /// The first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub oddities: Vec<Illegal>,
}

/// A line that could not take effect; replay goes on behind it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize, Encode, Decode)]
#[error("seq {seq}: {what}")]
pub struct Illegal {
    /// The line.
    pub seq: u64,
    /// What is wrong with it.
    pub what: String,
}

/// See [`Event::BaseEnd`](super::event::Event::BaseEnd).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseEnd {
    /// How many lines stand before this one.
    pub lines: u64,
    /// The CRC32C of those lines' own checksums, in order.
    pub sum: Bytes,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
