//! What keeps the log and the outputs small: finished jobs go after a while, and what they printed goes with them; the
//! active segment is sealed and everything sealed is compacted where that is worth it.
//!
//! Knows nothing of when, or on whose behalf.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::compact::Compactor;
use super::disk::{Disk, Handle, Lock, Open};
use super::layout;
use super::progress::Rest;
use super::replay::{Reading, View};
use super::rotate::Reason;
use super::segment::{self, SegmentName};
use super::{Store, StoreError, noting};
use crate::domain::config::Config;
use crate::domain::event::Event;
use crate::domain::job::{Job, JobId};
use crate::domain::retention::{self, Retention};

/// So many jobs go with one write.
const AT_ONCE: usize = 4096;

/// So many files of a log are read at most before they are made one, whatever that saves: each takes a descriptor.
const MOST_SEGMENTS: usize = 256;

/// So many runs of a job are looked for among the outputs.
const MOST_RUNS: usize = 1000;

/// What went by a part of [`Store::expire`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Went {
    /// How many jobs.
    pub jobs: u64,
    /// How many files that they printed to.
    pub outputs: u64,
    /// Whether there may be more.
    pub more: bool,
}

impl Store {
    /// The compaction of the own node's log, as a thing of its own; none where this machine has no node yet.
    pub fn compactor(&self) -> Option<Compactor> {
        Some(Compactor {
            disk: Arc::clone(&self.disk),
            place: self.place.clone(),
            node: self.place.node()?.to_owned(),
            boot: self.boot.clone(),
            clock: self.clock.clone(),
            progress: self.view.progress.clone(),
            rest: Rest::default(),
        })
    }

    /// Begins a new segment, unless there is nothing in the active one, so that all that was written can be compacted.
    pub fn seal(&mut self) -> Result<(), StoreError> {
        self.establish()?;
        let log = self.log.as_mut().expect("BUG: no log after it was established");
        let mut locked = log.lock()?;
        let active = locked.settle()?;
        if active.header.prev.as_ref().map_or(0, |prev| prev.seq) < active.seq {
            locked.rotate_orderly(Reason::Compact, None, Vec::new())?;
        }
        Ok(())
    }

    /// Removes the finished jobs that are not kept any longer, with what they printed, and gives up batches that nobody
    /// made whole.
    ///
    /// Errors: as [`Store::transact`].
    pub fn expire(&mut self, retention: Retention, rest: Rest) -> Result<Went, StoreError> {
        let mut sum = Went::default();
        loop {
            let went = self.expire_some(retention)?;
            sum.jobs += went.jobs;
            sum.outputs += went.outputs;
            rest.take();
            if !went.more {
                return Ok(sum);
            }
        }
    }

    /// Does a part of [`Store::expire`] that takes little time.
    pub fn expire_some(&mut self, retention: Retention) -> Result<Went, StoreError> {
        let now = self.now();
        let is_any = self.own().is_some_and(|own| {
            !retention::expired(own, retention, now, 1).is_empty()
                || !retention::abandon(own, now).is_empty()
        });
        if !is_any {
            return Ok(Went::default());
        }
        let gone = self.transact(|node, now| {
            let over = retention::expired(node, retention, now, AT_ONCE);
            let mut events = retention::abandon(node, now);
            events.extend(over.iter().map(|job| retention::expire(job)));
            Ok((events, over.into_iter().map(Traces::of).collect::<Vec<_>>()))
        })?;
        let outputs = self.forget_outputs(&gone);
        Ok(Went { jobs: gone.len() as u64, outputs, more: gone.len() == AT_ONCE })
    }

    /// What would go by [`Store::expire`], as events.
    pub fn expired(&self, retention: Retention) -> Vec<Event> {
        let own = self.own();
        let over = own.map(|own| retention::expired(own, retention, self.now(), usize::MAX));
        over.unwrap_or_default().into_iter().map(retention::expire).collect()
    }

    /// Sees, with appenders kept out, whether the log is damaged anywhere, and notes it. What was read before may hide
    /// it from whoever reads on from there.
    ///
    /// Errors: [`StoreError::Damaged`].
    pub fn confirm_damage(&mut self) -> Result<(), StoreError> {
        self.establish()?;
        let log = self.log.as_mut().expect("BUG: no log after it was established");
        let mut locked = log.lock()?;
        locked.settle()?;
        let (path, node) = (locked.log.path.clone(), locked.log.node.clone());
        let mark = locked.mark().map_err(StoreError::io("read the mark in", &path))?;
        let mark = mark.filter(|mark| mark.node == node);
        let (mark, own, salvage) = (mark.as_ref(), true, false);
        let reading = Reading { path: &path, node: &node, mark, own, salvage };
        let mut view = View::default();
        let read = view.refresh_node(locked.directory.as_ref(), reading);
        read.map_err(StoreError::io("read", &path))?;
        match view.damage.into_iter().next() {
            Some(damage) => {
                let error = StoreError::Damaged(damage);
                noting(self.disk.as_ref(), &self.place, &error);
                Err(error)
            }
            None => Ok(()),
        }
    }

    /// Whether more than half of the lines would go by a compaction, and as much was sealed since the last as that left,
    /// a segment's size at least; or there are very many segments. Never where there is little room.
    pub fn is_worth_compacting(&self) -> bool {
        // Where the log can't be looked into, there is nothing to compact.
        self.weigh().unwrap_or(false)
    }

    fn weigh(&self) -> io::Result<bool> {
        let (Some(node), Some(own)) = (self.place.node(), self.own()) else { return Ok(false) };
        let directory = self.disk.open(&self.place.log_dir(node), Open::Directory)?;
        let names = directory.names()?;
        let mut segments: Vec<u64> = Vec::new();
        let mut base = None;
        for name in names.iter().filter_map(|name| SegmentName::parse(name)) {
            match name {
                SegmentName::Segment(number) => segments.push(number),
                SegmentName::Base(first, last) => base = base.max(Some((last, first))),
            }
        }
        segments.sort_unstable();
        segments.pop();
        segments.retain(|number| base.is_none_or(|(last, _)| *number > last));
        let mut sealed = 0;
        for number in &segments {
            sealed += directory.stat_in(&segment::file_name(*number))?.len;
        }
        let (mut size, mut lines, mut seq) = (0, 0, 0);
        if let Some((last, first)) = base {
            let file = directory.open_in(&segment::base_name(first, last), Open::Read)?;
            size = file.stat()?.len;
            let end = segment::read_header(file.as_ref())?.and_then(|(_, header)| header.end);
            seq = end.map_or(0, |end| end.seq);
            if let Some(Event::BaseEnd(end)) =
                segment::read_last(file.as_ref(), size)?.map(|placed| placed.record.event)
            {
                lines = end.lines;
            }
        }
        let lines = lines + own.facts.last_seq.saturating_sub(seq);
        let kept: u64 = own.counts().iter().sum();
        let segment = Config::from_map(own.facts.config.clone()).segment_size();
        let is_much = sealed >= size.max(segment) && kept < lines / 2;
        let has_room = self.spare_room() >= sealed + size;
        Ok(has_room && (is_much || segments.len() >= MOST_SEGMENTS))
    }

    /// Removes what is left of the outputs of jobs that are gone, unless something still has it open. Says how many
    /// files went.
    ///
    /// Errors: where the outputs can't be listed, or the log read.
    pub fn sweep_outputs(&mut self) -> Result<u64, StoreError> {
        let path = self.place.output_dir();
        let files = run_files(self.disk.as_ref(), &path).map_err(StoreError::io("list", &path))?;
        let disk = Arc::clone(&self.disk);
        // Read behind the listing: a file is made only once its job is in the log.
        let view = self.read()?;
        if !view.damage.is_empty() || !view.foreign.is_empty() || view.rolled_back.is_some() {
            return Ok(0);
        }
        let is_gone = |job: &JobId| view.state.nodes.values().all(|node| node.job(job).is_none());
        let mut gone = 0;
        for (shard, name, job) in files {
            if is_gone(&job)
                && let Ok(shard) = disk.open(&path.join(shard), Open::Directory)
            {
                gone += u64::from(remove_unheld(shard.as_ref(), &name));
            }
        }
        Ok(gone)
    }

    /// Removes what jobs printed that were just purged. What can't be removed now is found by
    /// [`Store::sweep_outputs`]. Says how many files went.
    pub fn forget_outputs(&self, jobs: &[Traces]) -> u64 {
        let mut shards: BTreeMap<String, Vec<&Traces>> = BTreeMap::new();
        for traces in jobs {
            shards.entry(layout::shard(traces.id.as_str())).or_default().push(traces);
        }
        let mut gone = 0;
        for (shard, jobs) in shards {
            let path = self.place.output_dir().join(shard);
            let Ok(shard) = self.disk.open(&path, Open::Directory) else { continue };
            // Most jobs leave nothing, and a listing costs less than asking for each file of each run.
            let Ok(names) = shard.names() else { continue };
            let there: HashSet<String> = names.into_iter().collect();
            for name in jobs.into_iter().flat_map(Traces::names) {
                gone += u64::from(there.contains(&name) && remove_unheld(shard.as_ref(), &name));
            }
        }
        gone
    }
}

/// The files of runs among the outputs: their directory, their name, their job.
fn run_files(disk: &dyn Disk, outputs: &Path) -> io::Result<Vec<(String, String, JobId)>> {
    let shards = match disk.open(outputs, Open::Directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut files = Vec::new();
    for shard in shards.names()? {
        let Ok(directory) = shards.open_in(&shard, Open::Directory) else { continue };
        files.extend(directory.names()?.into_iter().filter_map(|name| {
            let job = JobId::from_log(&layout::job_of_run_file(&name)?);
            Some((shard.clone(), name, job))
        }));
    }
    Ok(files)
}

/// What a job may have left among the outputs.
#[derive(Debug, Clone)]
pub struct Traces {
    id: JobId,
    last_run: u32,
}

impl Traces {
    /// Of a job.
    pub fn of(job: &Job) -> Self {
        Traces { id: job.id().clone(), last_run: job.last_run }
    }

    fn names(&self) -> impl Iterator<Item = String> {
        let runs = (1..=self.last_run).rev().take(MOST_RUNS);
        runs.flat_map(|run| layout::run_names(self.id.as_str(), run))
    }
}

/// Removes a file of a run unless something still has it open, which may be the run's own children.
fn remove_unheld(shard: &dyn Handle, name: &str) -> bool {
    let Ok(file) = shard.open_in(name, Open::Read) else { return false };
    if !file.try_lock(Lock::Shared).unwrap_or(false) {
        return false;
    }
    let removed = shard.unlink(name).is_ok();
    let _ = file.unlock();
    removed
}

#[cfg(test)]
#[path = "upkeep_tests.rs"]
mod tests;
