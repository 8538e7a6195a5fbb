//! Every event that can stand in the log, one sentence each. These names and fields are the file format:
//! they are never renamed or removed, and a new field is optional.
//!
//! Every choice is written in its event, so that replay needs no clock, environment or chance.
//! Knows nothing of lines, checksums or files; `store::line` puts an event on a line.

use serde::Serialize;

use super::job::{JobId, Spec};
pub use super::payload::*;
pub use super::recorded::JobRecorded;
pub use super::takeover::{NodeRetired, Taken};
use super::timestamp::Timestamp;

/// An event as it stands in the log: who may come before whom, and when it happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Dense per node over all lines but headers, which carry 0.
    pub seq: u64,
    /// The hybrid logical clock: for order. Strictly increases along a node's lines.
    pub ts: Timestamp,
    /// The wall clock, where `ts` is more than a second from it: for people.
    pub wall: Option<Timestamp>,
    /// What happened.
    pub event: Event,
}

impl Record {
    /// When it happened by the wall clock of its writer.
    pub fn wall(&self) -> Timestamp {
        self.wall.unwrap_or(self.ts)
    }
}

macro_rules! events {
    (@parse $line:ident) => { serde_json::from_slice($line) };
    (@parse $line:ident $parse:path) => { $parse($line).map(Box::new) };
    ($($(#[$doc:meta])* $variant:ident($payload:ty) = $name:literal $(by $parse:path)?,)*) => {
        /// Something that happened.
        #[derive(Debug, Clone, PartialEq, Serialize)]
        #[serde(tag = "ev")]
        pub enum Event {
            $($(#[$doc])* #[serde(rename = $name)] $variant($payload),)*
            /// An event of a newer version: kept, counted, without effect.
            #[serde(skip)]
            Unknown(String),
        }

        impl Event {
            /// Every name this version knows.
            pub const NAMES: &[&str] = &[$($name),*];

            /// The name, as it stands in the log.
            pub fn name(&self) -> &str {
                match self {
                    $(Event::$variant(_) => $name,)*
                    Event::Unknown(name) => name,
                }
            }

            /// Reads the event `name` from a whole line, of which it takes its own fields.
            ///
            /// Errors: where a field the event needs is missing or of another type.
            pub fn parse(name: &str, line: &[u8]) -> Result<Self, serde_json::Error> {
                match name {
                    $($name => events!(@parse line $($parse)?).map(Event::$variant),)*
                    _ => Ok(Event::Unknown(name.to_owned())),
                }
            }
        }
    };
}

events! {
    /// A segment begins; the header of every file of the log.
    Segment(Box<Segment>) = "segment",
    /// A job was enqueued.
    Enqueued(Box<Spec>) = "enqueued",
    /// A batch is whole: its jobs exist from here on.
    BatchCommitted(BatchCommitted) = "batch_committed",
    /// A batch was given up: its jobs never exist.
    BatchAbandoned(BatchAbandoned) = "batch_abandoned",
    /// A worker has the job and may start it.
    Claimed(Claimed) = "claimed",
    /// A run ended well.
    Completed(Completed) = "completed",
    /// A run ended badly and the job waits for its retry.
    Failed(Failed) = "failed",
    /// A run ended badly and the job is in the dead letter queue.
    Died(Died) = "died",
    /// A run's worker died.
    Lost(Lost) = "lost",
    /// A run was handed back: unrun, or interrupted.
    Released(Released) = "released",
    /// A person asked for the end of a running job.
    CancelRequested(CancelRequested) = "cancel_requested",
    /// The job was taken back.
    Cancelled(Cancelled) = "cancelled",
    /// A person put the job back into the queue.
    Requeued(Requeued) = "requeued",
    /// A person changed a waiting job.
    Edited(Box<Edited>) = "edited",
    /// A finished job was removed.
    Purged(Purged) = "purged",
    /// A key of the configuration was set; stands behind a header that has the result.
    ConfigSet(ConfigSet) = "config_set",
    /// A key of the configuration went back to its default.
    ConfigUnset(ConfigUnset) = "config_unset",
    /// A queue was paused.
    QueuePaused(QueuePaused) = "queue_paused",
    /// A queue goes on.
    QueueResumed(QueueResumed) = "queue_resumed",
    /// A worker began to work.
    WorkerStarted(WorkerStarted) = "worker_started",
    /// A person asked a worker, or all of them, to stop.
    WorkerStopRequested(WorkerStopRequested) = "worker_stop_requested",
    /// A worker is gone, by itself or found dead.
    WorkerStopped(WorkerStopped) = "worker_stopped",
    /// A node writes no more, and what its log has is this node's from here on.
    NodeRetired(Box<NodeRetired>) = "node_retired",
    /// A job of another node is this node's from here on, as it stands in the event.
    Taken(Box<Taken>) = "taken",
    /// In a base file: a job as it stood.
    JobRecorded(Box<JobRecorded>) = "job_state" by JobRecorded::of_line,
    /// In a base file: what the events before it add up to beside the jobs.
    Totals(Totals) = "totals",
    /// In a base file: its end.
    BaseEnd(BaseEnd) = "base_end",
}

impl Event {
    /// The job it is about, if it is about one.
    pub fn job(&self) -> Option<&JobId> {
        match self {
            Event::Enqueued(spec) => Some(&spec.id),
            Event::Claimed(e) => Some(&e.job),
            Event::Completed(e) => Some(&e.job),
            Event::Failed(e) => Some(&e.job),
            Event::Died(e) => Some(&e.job),
            Event::Lost(e) => Some(&e.job),
            Event::Released(e) => Some(&e.job),
            Event::CancelRequested(e) => Some(&e.job),
            Event::Cancelled(e) => Some(&e.job),
            Event::Requeued(e) => Some(&e.job),
            Event::Edited(e) => Some(&e.job),
            Event::Purged(e) => Some(&e.job),
            Event::Taken(e) => Some(&e.job),
            Event::JobRecorded(e) => Some(&e.spec.id),
            _ => None,
        }
    }
}
