//! A base of every line that holds, where others don't: what a damaged log still has.
//!
//! Reads as a compaction does, but goes on past damage. Knows nothing of what becomes of the damaged files.

mod found;
mod originals;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;

use self::found::Found;
use super::strange::Strange;
use super::{Compactor, Sealed, names};
use crate::domain::event::{Event, JobRecorded, Record, SegmentEnd};
use crate::domain::job::Claim;
use crate::domain::state::NodeState;
use crate::domain::timestamp::Timestamp;
use crate::store::StoreError;
use crate::store::base;
use crate::store::disk::Handle;
use crate::store::files::{Files, OpenSegment, open_files, still_holds};
use crate::store::mark::Mark;
use crate::store::replay::{Cursor, Fold, Reading};
use crate::store::segment::{self, Placed, SegmentName};

impl Compactor {
    /// Writes a base of every line that holds and names it. It ends with a segment that never was, above all that are
    /// there, so that no place in the damaged log is taken for one in it. Gives that end, with a configuration for what
    /// follows, and a moment that no line there exceeds.
    ///
    /// `begin` is a state that was read while the log up to there was whole: what is damaged before that place is not lost.
    ///
    /// Expects: the append lock and the lock of compactions are held.
    /// Errors: where the disk fails; then the log is as it was.
    pub(in crate::store) fn salvage(
        &self,
        directory: &dyn Handle,
        mark: Option<&Mark>,
        begin: Option<(NodeState, Cursor)>,
        live: &[Claim],
    ) -> Result<Salvaged, StoreError> {
        let all = names(directory).map_err(self.failed("list"))?;
        let files = originals::open(directory, &self.node, &all).map_err(self.failed("read"))?;
        let path = self.path();
        let reading = Reading { path: &path, node: &self.node, mark, own: true, salvage: true };
        let (mut strange, latest) = (Strange::default(), Cell::new(Timestamp::MIN));
        let mut found = Found::default();
        let mut watch = |placed: &Placed, bytes: &[u8]| {
            latest.set(latest.get().max(placed.record.ts));
            found.add(placed.record.seq);
            strange.look_at(placed, bytes);
        };
        let mut fold = Fold::watched(reading, None, &mut watch);
        (fold.progress, fold.doing) = (self.progress.clone(), "repairing the log");
        take(&mut fold, &files).map_err(self.failed("read"))?;
        let Fold { mut state, cursor, .. } = fold;
        strange.add_long(&state);
        let kept = strange.keep(&files, reading, None).map_err(self.failed("read"))?;
        let read = files.segments.last_key_value();
        let newest = highest(&all).max(mark.map_or(0, |mark| mark.segment));
        let newest = newest.max(read.map_or(0, |(number, _)| *number));
        let knows = |(number, open): (&u64, &OpenSegment)| {
            open.header.is_some() && mark.is_none_or(|mark| mark.segment <= *number)
        };
        let (mut remembered, mut knows_config) = (0, read.is_some_and(knows));
        if let Some((begun, cursor)) = begin.filter(|_| originals::is_in_place(&files)) {
            let (known, segment) = (begun.facts.last_seq, cursor.segment);
            let goes_on = go_on(directory, reading, begun, cursor).map_err(self.failed("read"))?;
            if let Some(whole) = goes_on {
                (state, remembered) = (whole, known);
                knows_config |= segment == newest;
            }
        }
        self.add_left_over(directory, &all, &files, &mut state)?;
        see_that_no_start_is_lost(&state, live)?;
        let last = newest + 1;
        let ends = ends(&files);
        // A base that has lost its header says only by its jobs how many lines it stands for.
        let staged = state.facts.open_batches.values().flatten().map(|job| job.seq);
        let places = state.jobs().map(|job| job.order).chain(staged);
        let known = ends.iter().map(|end| end.seq).chain(mark.map(|mark| mark.seq));
        let seq = known.chain(places).chain([found.last()]).max();
        let ts = ends.iter().filter_map(|end| end.ts).max();
        state.facts.last_seq = state.facts.last_seq.max(seq.unwrap_or(0));
        state.facts.last_ts = state.facts.last_ts.max(ts.unwrap_or(Timestamp::MIN));
        let (seq, ts) = (state.facts.last_seq, Some(state.facts.last_ts));
        let crc = cursor.map_or(*b"00000000", |cursor| cursor.crc);
        let crc = Some(String::from_utf8_lossy(&crc).into_owned());
        let end = SegmentEnd { segment: last, len: 0, seq, ts, crc };
        let based = files.base.as_ref().and_then(|base| base.header.end.as_ref());
        let lost = found.missing(based.map_or(0, |end| end.seq), state.facts.last_seq);
        let config = state.facts.config.clone();
        let latest = latest.get().max(state.facts.last_ts);
        let (cut, files, before) = (BTreeMap::new(), Vec::new(), 0);
        let sealed = Sealed { state, end: end.clone(), cut, kept, files, before };
        let placed = self.place_base(directory, &sealed);
        placed.map(|()| Salvaged { end, config, knows_config, latest, lost, remembered })
    }
}

impl Compactor {
    /// Writes the base and names it, or leaves nothing.
    fn place_base(&self, directory: &dyn Handle, sealed: &Sealed) -> Result<(), StoreError> {
        let last = sealed.end.segment;
        let temporary = format!(".{}.tmp", segment::base_name(1, last));
        // Whoever left it is gone: it would hold the lock.
        let _ = directory.unlink(&temporary);
        self.write(directory, &temporary, sealed)
            .and_then(|_| self.put_in_place(directory, &temporary, last))
            .inspect_err(|_| drop(directory.unlink(&temporary)))
    }

    /// Adds the jobs that are in no line of a base that is not whole, and in segments that it stood for and that are
    /// still there.
    fn add_left_over(
        &self,
        directory: &dyn Handle,
        names: &[(String, SegmentName)],
        files: &Files,
        state: &mut NodeState,
    ) -> Result<(), StoreError> {
        let Some(base) = &files.base else { return Ok(()) };
        let failed = |error| self.failed("read")(error);
        if base::open_number(directory, names, base.last).map_err(failed)?.is_some() {
            return Ok(());
        }
        let below =
            originals::open_below(directory, &self.node, names, base.last).map_err(failed)?;
        let path = self.path();
        let reading =
            Reading { path: &path, node: &self.node, mark: None, own: true, salvage: true };
        let mut fold = Fold::new(reading);
        fold.take(&below).map_err(failed)?;
        let (seq, ts) = (state.facts.last_seq, state.facts.last_ts);
        for job in fold.state.jobs() {
            if state.job(job.id()).is_some() {
                continue;
            }
            let event = Event::JobRecorded(Box::new(JobRecorded::of(job)));
            // A job whose place another has by now stays away.
            let _ = state.apply(&Record { seq: job.order, ts: job.created_at, wall: None, event });
        }
        (state.facts.last_seq, state.facts.last_ts) = (seq, ts);
        Ok(())
    }
}

/// A job of which something runs must not be begun again beside that.
fn see_that_no_start_is_lost(state: &NodeState, live: &[Claim]) -> Result<(), StoreError> {
    let is_known =
        |claim: &Claim| state.jobs().any(|job| job.runs.iter().any(|run| run.claim == *claim));
    match live.iter().find(|claim| !is_known(claim)) {
        None => Ok(()),
        Some(claim) => Err(StoreError::InUse(format!(
            "the log has lost the start of a run that goes on, {claim}: wait for its end"
        ))),
    }
}

/// What a salvaged log goes on from.
pub(in crate::store) struct Salvaged {
    /// Where its base ends.
    pub(in crate::store) end: SegmentEnd,
    /// The configuration that was in force.
    pub(in crate::store) config: BTreeMap<String, String>,
    /// Whether it is that of the newest segment, and not of one before.
    pub(in crate::store) knows_config: bool,
    /// No line of it is later.
    pub(in crate::store) latest: Timestamp,
    /// Which lines were not found, from this `seq` to that one.
    pub(in crate::store) lost: Vec<(u64, u64)>,
    /// Up to this `seq` nothing is lost, whatever is damaged there.
    pub(in crate::store) remembered: u64,
}

/// Reads on from a place, past whatever doesn't hold; none where nothing shows that the log had come to it.
fn go_on(
    directory: &dyn Handle,
    reading: Reading,
    state: NodeState,
    cursor: Cursor,
) -> io::Result<Option<NodeState>> {
    let files = open_files(directory, Some(&cursor))?;
    // A base has what stood behind the place, too.
    let is_in_a_base = files.base.as_ref().is_some_and(|base| base.last >= cursor.segment);
    if !still_holds(&files, &cursor)?
        && (is_in_a_base || !had_come_to(&files, reading.mark, &state, &cursor))
    {
        return Ok(None);
    }
    let mut fold = Fold::behind(reading, state, cursor);
    take(&mut fold, &files)?;
    Ok(Some(fold.state))
}

/// Whether the segment behind the place, or the mark, says that the log had come to it, though it is there no more.
fn had_come_to(files: &Files, mark: Option<&Mark>, state: &NodeState, cursor: &Cursor) -> bool {
    let next = files.segments.get(&(cursor.segment + 1)).and_then(|next| next.header.as_ref());
    let prev =
        next.and_then(|next| next.prev.as_ref()).map(|prev| (prev.segment, prev.len, prev.seq));
    let mark = mark.map(|mark| (mark.segment, mark.len, mark.seq));
    prev.into_iter().chain(mark).any(|(segment, len, seq)| {
        segment == cursor.segment && len >= cursor.offset && seq >= state.facts.last_seq
    })
}

/// Reads all that is there. What the mark tells of behind that is a gap like any other.
pub(super) fn take(fold: &mut Fold, files: &Files) -> io::Result<()> {
    fold.take(files)?;
    let last = fold.state.facts.last_seq;
    if fold.reading.mark.is_some_and(|mark| mark.seq > last) {
        fold.commit_before_gap(last + 1);
    }
    Ok(())
}

fn highest(names: &[(String, SegmentName)]) -> u64 {
    let number = |(_, name): &(String, SegmentName)| match name {
        SegmentName::Segment(number) => *number,
        SegmentName::Base(_, last) => *last,
    };
    names.iter().map(number).max().unwrap_or(0)
}

/// Every place that a header names.
fn ends(files: &Files) -> Vec<SegmentEnd> {
    let base = files.base.as_ref().and_then(|base| base.header.end.clone());
    let headers = files.segments.values().filter_map(|open| open.header.as_ref());
    headers.filter_map(|header| header.prev.clone()).chain(base).collect()
}

#[cfg(test)]
#[path = "salvage_tests.rs"]
mod tests;
