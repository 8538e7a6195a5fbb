//! One node takes over from another whose log was rolled back: what is decided then, and what its events carry.
//!
//! Nobody knows what the lost lines said, so a job that was not finished may have run since, and is held until a person
//! says that it may run. The fields are part of the file format, as `event.rs` says. Knows nothing of how it was noticed.

use bitcode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::event::{Event, QueuePaused};
use super::job::{Job, JobId, JobState, RunResult};
use super::state::NodeState;
use super::timestamp::Timestamp;
use super::transition::{close_run, leave_behind};

/// Why a node is left, as the log says it.
const ROLLED_BACK: &str = "rolled_back";

/// See [`Event::NodeRetired`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct NodeRetired {
    /// The node whose log is left.
    pub node: String,
    /// The `seq` of the last line of that log that counted: the jobs it had by then are in the log of this line.
    pub upto: u64,
    /// The `seq` of the last line of that log that was once known to be on stable storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synced: Option<u64>,
    /// Why: `rolled_back`.
    pub why: String,
    /// From which to which `seq` lines stand of batches of which only the beginning was there. Their jobs were none yet,
    /// and were not taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<(u64, u64)>,
}

impl NodeRetired {
    /// Whether a job of the node that is left was taken from it.
    pub fn covers(&self, job: &Job) -> bool {
        let is_open = |(first, last): &(u64, u64)| (*first..=*last).contains(&job.order);
        job.order <= self.upto && !self.open.iter().any(is_open)
    }
}

/// See [`Event::Taken`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Taken {
    /// The job.
    pub job: JobId,
    /// The node whose it was until now.
    pub from: String,
    /// How many owners it has had, with this one.
    pub epoch: u64,
    /// Why: `rolled_back`.
    pub why: String,
    /// The job as it goes on; its `order` is its place in the log it comes from.
    pub state: Box<Job>,
}

/// What a new node begins with that takes over from one whose log was rolled back: the pauses of its queues, and all of
/// its jobs, of which those that are not finished are held. Nothing of them may be running any more.
///
/// `synced`: the last `seq` that the log is known to have had.
pub fn take_over(node: &NodeState, from: &str, synced: Option<u64>, now: Timestamp) -> Vec<Event> {
    let facts = &node.facts;
    let lasts = |until: &Option<Timestamp>| until.is_none_or(|until| until > now);
    let paused = facts.paused.iter().filter(|(_, until)| lasts(until));
    let paused = paused.map(|(queue, until)| {
        Event::QueuePaused(QueuePaused { queue: queue.clone(), until: *until })
    });
    let why = ROLLED_BACK.to_owned();
    let mut open: Vec<u64> = facts.open_batches.values().flatten().map(|job| job.seq).collect();
    open.sort_unstable();
    let open = ranges(&open);
    let retired = NodeRetired { node: from.to_owned(), upto: facts.last_seq, synced, why, open };
    // What the old node took from others before is this one's too, whatever becomes of the old log.
    let retired = facts.retired.values().cloned().chain([retired]);
    let taken = node.jobs().map(|job| {
        let mut state = Box::new(job.clone());
        hold(&mut state, now);
        let epoch = job.origin.as_ref().map_or(1, |origin| origin.epoch).saturating_add(1);
        let (job, from, why) = (state.id().clone(), from.to_owned(), ROLLED_BACK.to_owned());
        Event::Taken(Box::new(Taken { job, from, epoch, why, state }))
    });
    paused
        .chain(retired.map(|retired| Event::NodeRetired(Box::new(retired))))
        .chain(taken)
        .collect()
}

/// What becomes of a job whose log was rolled back and that another node takes over, of which nothing runs any more.
///
/// A finished job stays as it is. Nobody knows how far any other has come since, so it is held; what ran is lost, and
/// what was to be cancelled is.
fn hold(job: &mut Job, at: Timestamp) {
    if job.state.is_finished() {
        return;
    }
    if job.state == JobState::Processing {
        let is_over = job.cancel_requested;
        let result = if is_over { RunResult::Cancelled } else { RunResult::Lost };
        close_run(job, at, result, None, None, None);
        job.state = if is_over { JobState::Cancelled } else { JobState::Pending };
    }
    job.held = Some("rolled back".to_owned());
    leave_behind(job);
    job.updated_at = at;
}

/// Numbers in order, as the ranges that they make.
fn ranges(numbers: &[u64]) -> Vec<(u64, u64)> {
    let follows = |one: &u64, next: &u64| one.checked_add(1) == Some(*next);
    numbers.chunk_by(follows).map(|range| (range[0], range[range.len() - 1])).collect()
}
