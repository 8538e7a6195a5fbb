//! What a log has that this version does not know all of: it stays as it stands, with whatever belongs to it.
//!
//! A line is strange where this version would write what it understands of it in another way: it is of an unknown kind,
//! has an unknown field, or was written by another hand. Knows nothing of files but how they are folded.

use std::collections::BTreeSet;
use std::io;

use super::salvage::take;
use crate::domain::bytes::Bytes;
use crate::domain::event::{Event, JobRecorded};
use crate::domain::job::{Job, JobId, Run, Stdin};
use crate::domain::state::NodeState;
use crate::store::base::Kept;
use crate::store::files::Files;
use crate::store::line;
use crate::store::replay::{Fold, Reading};
use crate::store::segment::Placed;

/// What a log has that this version does not know, or would write in another way.
#[derive(Debug, Default)]
pub(super) struct Strange {
    /// Whether there is any line of that kind that names no job.
    other: bool,
    /// Whether one is about workers or queues.
    facts: bool,
    jobs: BTreeSet<JobId>,
    batches: BTreeSet<String>,
}

impl Strange {
    /// Adds the jobs that have come to more than a line may have.
    pub(super) fn add_long(&mut self, state: &NodeState) {
        let is_long = |job: &&Job| is_large(job) && recorded(job).len() > line::LONGEST;
        self.jobs.extend(state.jobs().filter(is_long).map(|job| job.id().clone()));
    }

    /// Gathers the lines that stay as they stand.
    pub(super) fn keep(
        &self,
        files: &Files,
        reading: Reading,
        last: Option<u64>,
    ) -> io::Result<Kept> {
        let mut kept = Kept { facts: self.facts, jobs: self.jobs.clone(), ..Kept::default() };
        if self.is_empty() {
            return Ok(kept);
        }
        let mut batches = self.batches.clone();
        // The jobs of a batch stay together, or what makes it whole would not.
        let mut watch = |placed: &Placed, _: &[u8]| {
            if let Event::Enqueued(spec) = &placed.record.event
                && let Some(batch) = spec.batch.as_ref().filter(|_| self.jobs.contains(&spec.id))
            {
                batches.insert(batch.clone());
            }
        };
        take(&mut Fold::watched(reading, last, &mut watch), files)?;
        let mut watch = |placed: &Placed, bytes: &[u8]| {
            if let Event::Enqueued(spec) = &placed.record.event
                && spec.batch.as_ref().is_some_and(|batch| batches.contains(batch))
            {
                kept.jobs.insert(spec.id.clone());
            }
            if stays(placed, bytes, &batches, &kept) {
                kept.lines.push(bytes.to_vec());
            }
        };
        take(&mut Fold::watched(reading, last, &mut watch), files)?;
        Ok(kept)
    }

    fn is_empty(&self) -> bool {
        !self.other && !self.facts && self.jobs.is_empty() && self.batches.is_empty()
    }

    /// Takes note of a line that is not what this version would have written.
    pub(super) fn look_at(&mut self, placed: &Placed, bytes: &[u8]) {
        let record = &placed.record;
        let is_known = !matches!(record.event, Event::Unknown(_));
        if is_known && line::encode(record.seq, record.ts, record.wall(), &record.event) == bytes {
            return;
        }
        match &record.event {
            // They are written anew each time.
            Event::Segment(_) | Event::BaseEnd(_) | Event::Totals(_) => {}
            Event::BatchCommitted(e) => drop(self.batches.insert(e.batch.clone())),
            Event::BatchAbandoned(e) => drop(self.batches.insert(e.batch.clone())),
            event => match event.job().cloned().or_else(|| named_job(bytes)) {
                Some(job) => drop(self.jobs.insert(job)),
                None if is_known => self.facts = true,
                None => self.other = true,
            },
        }
    }
}

fn stays(placed: &Placed, bytes: &[u8], batches: &BTreeSet<String>, kept: &Kept) -> bool {
    match &placed.record.event {
        Event::Segment(_) | Event::BaseEnd(_) | Event::Totals(_) => false,
        Event::BatchCommitted(e) => batches.contains(&e.batch),
        Event::BatchAbandoned(e) => batches.contains(&e.batch),
        event => match event.job().cloned().or_else(|| named_job(bytes)) {
            Some(job) => kept.jobs.contains(&job),
            None => kept.facts || matches!(event, Event::Unknown(_)),
        },
    }
}

/// Whether the record of a job may be longer than a line; a byte takes at most six as JSON.
fn is_large(job: &Job) -> bool {
    let size = |bytes: Option<&Bytes>| bytes.map_or(0, |bytes| bytes.0.len());
    let spec = &job.spec;
    let stdin = match &spec.stdin {
        Some(Stdin::File(bytes) | Stdin::Data(bytes)) => bytes.0.len(),
        None => 0,
    };
    let env = spec.env.iter().map(|(key, value)| key.len() + value.0.len()).sum::<usize>();
    let argv = spec.argv.iter().map(|argument| argument.0.len()).sum::<usize>();
    let meta = spec.meta.as_ref().map_or(0, String::len);
    let tags = spec.tags.iter().map(String::len).sum::<usize>();
    let run = |run: &Run| {
        let tail = run.tail.as_ref().map_or(0, |tail| tail.out.len() + tail.err.len());
        tail + run.error.as_ref().map_or(0, String::len)
    };
    let runs = job.runs.iter().map(run).sum::<usize>();
    let reason = job.reason.as_ref().map_or(0, String::len);
    let sum = size(spec.command.as_ref()) + stdin + env + argv + meta + tags + runs + reason;
    sum > line::LONGEST / 8
}

fn recorded(job: &Job) -> Vec<u8> {
    let event = Event::JobRecorded(Box::new(JobRecorded::of(job)));
    line::encode(job.order, job.created_at, job.created_at, &event)
}

/// The job that a line names, of whatever kind it is.
fn named_job(line: &[u8]) -> Option<JobId> {
    #[derive(serde::Deserialize)]
    struct Named {
        job: JobId,
    }
    serde_json::from_slice::<Named>(line).ok().map(|named| named.job)
}

#[cfg(test)]
#[path = "strange_tests.rs"]
mod tests;
