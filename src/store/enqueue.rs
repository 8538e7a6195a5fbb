//! Enqueueing, which is the one write that must not cost more as the queue grows.
//!
//! Jobs with fresh ids are written without looking at the state. A job whose id was chosen is looked up in the
//! checkpoint and in the lines behind it. A batch is all or nothing: its jobs exist once its last line is read.

use std::collections::HashSet;

use super::append::Fate;
use super::checkpoint;
use super::disk::Handle;
use super::files::{open_files, still_holds};
use super::replay::Cursor;
use super::{ATTEMPTS, Store, StoreError, noting, segment};
use crate::domain::config::Config;
use crate::domain::decide::{self, OnConflict, Refusal};
use crate::domain::event::{BatchCommitted, Event};
use crate::domain::job::{JobId, Spec};
use crate::domain::state::NodeState;
use crate::domain::timestamp::Timestamp;

/// So much of a batch is written in one go, in bytes.
const CHUNK: usize = 8 << 20;

/// So much of the log behind the checkpoint is searched for an id; where there is more, everything is read, and the
/// checkpoint written anew.
pub(super) const SEARCHED: u64 = 4 << 20;

/// What is to be enqueued.
#[derive(Debug, Clone)]
pub struct Enqueue {
    /// The jobs.
    pub specs: Vec<Spec>,
    /// Whether any id was chosen by a person, and so may be taken.
    pub has_chosen_ids: bool,
    /// What happens where it is taken.
    pub on_conflict: OnConflict,
}

impl Store {
    /// Enqueues one job, or a batch that is all or nothing. Gives the ids to answer with.
    ///
    /// Ensures: the jobs are on stable storage, also those that were there before.
    /// Errors: [`StoreError::Full`], [`Refusal::Duplicate`], damage, and where the disk fails.
    pub fn enqueue(&mut self, wanted: Enqueue) -> Result<Vec<JobId>, StoreError> {
        self.require_room()?;
        self.establish()?;
        if wanted.specs.len() > 1 {
            return self.enqueue_batch(wanted);
        }
        let ids = wanted.specs.iter().map(|spec| spec.id.clone()).collect();
        for _ in 0..ATTEMPTS {
            match self.enqueue_unseen(&wanted)? {
                Some(Fate::Durable) => return Ok(ids),
                Some(Fate::Again) => {}
                None => return self.enqueue_seen(wanted),
            }
        }
        Err(self.gave_up())
    }

    /// Writes a job without reading the state; none where its id may be taken.
    fn enqueue_unseen(&mut self, wanted: &Enqueue) -> Result<Option<Fate>, StoreError> {
        let cache = wanted.has_chosen_ids.then(|| self.cache()).flatten();
        let checkpoint =
            cache.and_then(|cache| checkpoint::open(cache.as_ref(), self.place.node(), &self.boot));
        let log = self.log.as_mut().expect("BUG: no log after it was established");
        let mut locked = log.lock()?;
        let settled = locked.settle();
        let active = settled.inspect_err(|error| noting(self.disk.as_ref(), &self.place, error))?;
        if wanted.has_chosen_ids {
            let directory = locked.directory.as_ref();
            let first = active.number == 1;
            let is_free = wanted.specs.iter().all(|spec| match &checkpoint {
                Some(checkpoint) => {
                    checkpoint.may_have(&spec.id) == Some(false)
                        && is_free_behind(directory, checkpoint.own_cursor(), &spec.id)
                }
                None => first && is_free_behind(directory, None, &spec.id),
            });
            if !is_free {
                return Ok(None);
            }
        }
        let size = Config::from_map(active.header.config).segment_size();
        let events = wanted.specs.iter().cloned().map(|spec| Event::Enqueued(Box::new(spec)));
        let written = locked.write(events.collect(), Timestamp::MIN, size)?;
        drop(locked);
        log.commit(&written).map(Some)
    }

    /// Enqueues with the state at hand.
    fn enqueue_seen(&mut self, wanted: Enqueue) -> Result<Vec<JobId>, StoreError> {
        let Enqueue { specs, on_conflict, .. } = wanted;
        let ids = self.transact_in_room(&mut |node: &NodeState, _| {
            let chosen = decide::enqueue(node, specs.clone(), on_conflict)?;
            let events = chosen.specs.into_iter().map(|spec| Event::Enqueued(Box::new(spec)));
            Ok((events.collect(), chosen.ids))
        })?;
        if self.view.news > SEARCHED {
            self.write_checkpoint();
        }
        Ok(ids)
    }

    fn enqueue_batch(&mut self, wanted: Enqueue) -> Result<Vec<JobId>, StoreError> {
        let batch = self.ids.ulid(self.clock.now());
        let mut specs = wanted.specs;
        let mut ids: Vec<JobId> = specs.iter().map(|spec| spec.id.clone()).collect();
        if wanted.has_chosen_ids {
            // Found early, a taken id costs no line; it is looked for again under the last lock.
            let chosen = self.transact_in_room(&mut |node: &NodeState, _| {
                Ok((Vec::new(), decide::enqueue(node, specs.clone(), wanted.on_conflict)?))
            })?;
            (specs, ids) = (chosen.specs, chosen.ids);
        }
        if specs.is_empty() {
            return Ok(ids);
        }
        for spec in &mut specs {
            spec.batch = Some(batch.clone());
        }
        let count = specs.len() as u64;
        let mut pieces = pieces(specs, CHUNK);
        let mut events = pieces.pop().unwrap_or_default();
        let is_split = !pieces.is_empty();
        for piece in pieces {
            self.write_unsynced(piece)?;
        }
        events.push(Event::BatchCommitted(BatchCommitted { batch: batch.clone(), count }));
        if wanted.has_chosen_ids || is_split {
            self.commit_batch_seen(&batch, count, &events)?;
            return Ok(ids);
        }
        for _ in 0..ATTEMPTS {
            let written = self.write_unsynced(events.clone())?;
            let log = self.log.as_mut().expect("BUG: no log after it was established");
            if log.commit(&written)? == Fate::Durable {
                return Ok(ids);
            }
            // Some of its lines may count, and must not be counted with those that are written again.
            rename_batch(&mut events, &self.ids.ulid(self.clock.now()));
        }
        Err(self.gave_up())
    }

    /// Writes the end of a batch, once everything before it is seen to stand in the log and its ids to be free.
    fn commit_batch_seen(
        &mut self,
        batch: &str,
        count: u64,
        events: &[Event],
    ) -> Result<(), StoreError> {
        let here = events.len() as u64 - 1;
        self.transact_in_room(&mut |node: &NodeState, _| {
            let facts = &node.facts;
            if facts.abandoned.contains(batch) {
                return Err(Refusal::BatchAbandoned(batch.to_owned()));
            }
            let before = facts.open_batches.get(batch).map_or(0, Vec::len) as u64;
            if before + here != count {
                return Err(Refusal::BatchAbandoned(batch.to_owned()));
            }
            let earlier = facts.open_batches.get(batch).into_iter().flatten().map(|job| &job.spec);
            let now = events.iter().filter_map(|event| match event {
                Event::Enqueued(spec) => Some(&**spec),
                _ => None,
            });
            for spec in earlier.chain(now) {
                if let Some(job) = node.job(&spec.id) {
                    let (id, state) = (spec.id.clone(), job.state);
                    return Err(Refusal::Duplicate { id, state });
                }
            }
            Ok((events.to_vec(), ()))
        })
    }

    fn write_unsynced(&mut self, events: Vec<Event>) -> Result<super::append::Written, StoreError> {
        let log = self.log.as_mut().expect("BUG: no log after it was established");
        let mut locked = log.lock()?;
        let settled = locked.settle();
        let active = settled.inspect_err(|error| noting(self.disk.as_ref(), &self.place, error))?;
        let size = Config::from_map(active.header.config).segment_size();
        locked.write(events, Timestamp::MIN, size)
    }
}

/// A batch as it is written: a piece in one go, which is full once it has more than `most` bytes.
fn pieces(specs: Vec<Spec>, most: usize) -> Vec<Vec<Event>> {
    let (mut pieces, mut size) = (vec![Vec::new()], 0);
    for spec in specs {
        if size > most {
            pieces.push(Vec::new());
            size = 0;
        }
        size += 512 + spec.command.as_ref().map_or(0, |command| command.0.len());
        size += spec.argv.iter().map(|argument| argument.0.len()).sum::<usize>();
        pieces.last_mut().expect("BUG: no piece").push(Event::Enqueued(Box::new(spec)));
    }
    pieces
}

/// Gives a batch another name.
fn rename_batch(events: &mut [Event], batch: &str) {
    for event in events {
        match event {
            Event::Enqueued(spec) => spec.batch = Some(batch.to_owned()),
            Event::BatchCommitted(committed) => committed.batch = batch.to_owned(),
            _ => {}
        }
    }
}

/// Whether no line behind the cursor enqueues the id, as far as can be said cheaply.
fn is_free_behind(directory: &dyn Handle, cursor: Option<&Cursor>, id: &JobId) -> bool {
    ids_behind(directory, cursor, SEARCHED).is_some_and(|ids| !ids.contains(id))
}

/// The ids that are enqueued behind the cursor, or from the first segment on; none where the cursor does not hold, a
/// line does not, or there are more than `limit` bytes to read.
fn ids_behind(
    directory: &dyn Handle,
    cursor: Option<&Cursor>,
    limit: u64,
) -> Option<HashSet<JobId>> {
    let files = open_files(directory, cursor).ok()?;
    if files.base.is_some() || (cursor.is_none() && !files.segments.contains_key(&1)) {
        return None;
    }
    if cursor.is_some_and(|cursor| !still_holds(&files, cursor).unwrap_or(false)) {
        return None;
    }
    let mut ids = HashSet::new();
    let mut read = 0;
    for (number, open) in &files.segments {
        let at = cursor.filter(|cursor| cursor.segment == *number);
        let start = at.map_or(0, |cursor| cursor.offset);
        let bytes = segment::read_range(open.file.as_ref(), start, start + limit + 1).ok()?;
        read += bytes.len() as u64;
        if read > limit {
            return None;
        }
        let lines = segment::cut(&bytes, start);
        if !lines.bad.is_empty() {
            return None;
        }
        ids.extend(lines.good.into_iter().filter_map(|placed| match placed.record.event {
            Event::Enqueued(spec) => Some(spec.id),
            Event::Taken(taken) => Some(taken.job),
            _ => None,
        }));
    }
    Some(ids)
}

#[cfg(test)]
#[path = "enqueue_tests.rs"]
pub(super) mod tests;
