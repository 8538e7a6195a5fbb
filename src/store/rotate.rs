//! A new segment: for size, for configuration, and on doubt.
//!
//! A segment appears whole or not at all: it is written under a temporary name, with everything that is carried over,
//! synced, renamed, and the name synced. The old segment stays as it is for ever; the new header says how much of it
//! counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::disk::{Handle, Open, append_all};
use super::error::StoreError;
use super::line;
use super::log::{Active, Locked};
use super::mark::Mark;
use super::replay::Damage;
use super::segment::{self, Lines, Placed};
use super::small_file::give;
use crate::domain::event::{Event, Segment, SegmentEnd};
use crate::domain::timestamp::Timestamp;

/// Why a segment is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// There is none yet.
    First,
    /// The old one is full.
    Size,
    /// The configuration changes, and stands in every header.
    Config,
    /// The old one is to be compacted.
    Compact,
    /// The ones before were damaged, and a base has what they had.
    Repair,
    /// The machine was restarted, so nobody knows what of the old one was lost.
    Boot,
    /// The old one does not end with a whole line.
    Torn,
    /// A sync of the old one failed, after which nobody can say what of it is stored.
    SyncError,
}

impl Reason {
    /// As the header says it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Reason::First => "first",
            Reason::Size => "size",
            Reason::Config => "config",
            Reason::Compact => "compact",
            Reason::Repair => "repair",
            Reason::Boot => "boot",
            Reason::Torn => "torn",
            Reason::SyncError => "fsync_error",
        }
    }
}

/// A segment to be begun.
pub struct Rotation {
    reason: Reason,
    number: u64,
    /// What the header says of the segment before.
    pub prev: Option<SegmentEnd>,
    /// The header is later than this.
    pub not_before: Timestamp,
    /// The configuration in force from here on.
    pub config: BTreeMap<String, String>,
    /// Whole lines of the old segment to be written again, without their newlines.
    pub carried: Vec<Vec<u8>>,
    /// What stands in the segment from the start.
    pub events: Vec<Event>,
}

impl Rotation {
    /// A segment of this number, with nothing in it.
    pub fn new(reason: Reason, number: u64) -> Self {
        Rotation {
            reason,
            number,
            prev: None,
            not_before: Timestamp::MIN,
            config: BTreeMap::new(),
            carried: Vec::new(),
            events: Vec::new(),
        }
    }

    /// The segment that follows `active` in an orderly way.
    pub fn after(active: &Active, reason: Reason) -> Self {
        Rotation {
            prev: Some(active.end()),
            not_before: active.ts.max(active.header_ts),
            config: active.header.config.clone(),
            ..Rotation::new(reason, active.number + 1)
        }
    }
}

impl Locked<'_> {
    /// Syncs the active segment and begins the next.
    ///
    /// Errors: where the disk fails; nothing has changed then, but perhaps a temporary file that is left.
    pub fn rotate_orderly(
        &mut self,
        reason: Reason,
        config: Option<BTreeMap<String, String>>,
        events: Vec<Event>,
    ) -> Result<Active, StoreError> {
        let active = self.log.active.as_ref().expect("BUG: rotation before the log was settled");
        let (number, found_len, file) = (active.number, active.found_len, Arc::clone(&active.file));
        let mark = self.mark().map_err(StoreError::io("read the mark in", &self.log.local))?;
        let mark = mark.filter(|mark| mark.node == self.log.node);
        if file.sync_data().is_err()
            || self.hides_an_error(file.as_ref(), number, found_len, mark.as_ref())?
        {
            self.rotate_on_doubt(Reason::SyncError, mark.as_ref())?;
        }
        let active = self.log.active.as_ref().expect("BUG: no active segment");
        let mut rotation = Rotation::after(active, reason);
        rotation.config = config.unwrap_or(rotation.config);
        rotation.events = events;
        let fresh = self.rotate(rotation)?;
        self.sync_mark();
        Ok(self.log.active.insert(fresh).clone())
    }

    /// Begins the next segment because the end of the active one can't be trusted.
    ///
    /// Ensures: every line that was acknowledged counts afterwards, in the old segment before `prev.len` or carried.
    /// Errors: [`StoreError::Damaged`] where bytes that were synced are not what they were.
    pub fn rotate_on_doubt(
        &mut self,
        reason: Reason,
        mark: Option<&Mark>,
    ) -> Result<(), StoreError> {
        let active = self.log.active.clone().expect("BUG: doubt before the log was settled");
        let (path, file) = (self.log.file(active.number), active.file.as_ref());
        let mut reason = reason;
        if reason != Reason::SyncError && file.sync_data().is_err() {
            reason = Reason::SyncError;
        }
        let bytes =
            segment::read_range(file, 0, u64::MAX).map_err(StoreError::io("read", &path))?;
        let lines = segment::cut(&bytes, 0);
        // Behind the last line that holds nothing is taken as it stands: half a line is no failed sync.
        let found_len = active.found_len.min(lines.good_prefix);
        if reason != Reason::SyncError
            && self.hides_an_error(file, active.number, found_len, mark)?
        {
            reason = Reason::SyncError;
        }
        let synced = mark.filter(|mark| mark.segment == active.number).map_or(0, |mark| mark.len);
        if synced > lines.good_prefix {
            let what = format!("it was synced and does not hold at byte {}", lines.good_prefix);
            return Err(StoreError::Damaged(Damage { file: path, what }));
        }
        let header_end = lines.good.first().map_or(0, |header| header.end);
        let prefix = match reason {
            Reason::SyncError => synced.max(header_end),
            _ => lines.good_prefix,
        };
        let (prev, carried) = split(&active, &lines, prefix);
        let carried_len: u64 = carried.iter().map(|placed| placed.end - placed.start).sum();
        let torn = lines.end - prefix - carried_len;
        let latest = lines.good.iter().map(|placed| placed.record.ts).max();
        let mut rotation = Rotation::after(&active, reason);
        rotation.prev = Some(prev);
        rotation.not_before = latest.unwrap_or(active.ts).after(Duration::from_secs(1));
        rotation.carried = carried
            .iter()
            .map(|placed| bytes[range(placed.start, placed.end - 1)].to_vec())
            .collect();
        let fresh = self.rotate(rotation)?;
        if torn > 0 {
            let name = segment::file_name(active.number);
            let notice = format!(
                "{torn} bytes at the end of {name} were never acknowledged and do not count"
            );
            self.log.notices.push(notice);
        }
        self.log.active = Some(fresh);
        Ok(())
    }

    /// Writes, syncs and names a segment. The caller makes it the active one.
    pub(super) fn rotate(&mut self, rotation: Rotation) -> Result<Active, StoreError> {
        let Rotation { reason, number, prev, not_before, config, carried, events } = rotation;
        let now = self.log.clock.now();
        let after = not_before.after(Duration::from_micros(1));
        let header_ts = now.max(after);
        let header = Segment {
            v: segment::VERSION,
            node: self.log.node.clone(),
            segment: number,
            boot: self.log.boot.clone(),
            why: reason.name().to_owned(),
            carried: carried.len() as u64,
            prev,
            config,
            requires: Vec::new(),
            end: None,
            cut: BTreeMap::new(),
            app: concat!("queuectl ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let mut seq = header.prev.as_ref().map_or(0, |prev| prev.seq);
        let mut bytes = line::encode(0, header_ts, now, &Event::Segment(Box::new(header.clone())));
        for carried in &carried {
            seq += 1;
            // A carried line was read as a whole line before, so it has the shape.
            let line = line::renumber(carried, seq).expect("BUG: a carried line without its seq");
            bytes.extend_from_slice(&line);
        }
        let mut ts = header_ts;
        for event in &events {
            seq += 1;
            ts = ts.after(Duration::from_micros(1));
            bytes.extend_from_slice(&line::encode(seq, ts, now, event));
        }
        let file = self.write_new(number, &bytes)?;
        let path = self.log.file(number);
        let stat = file.stat().map_err(StoreError::io("look at", &path))?;
        let len = bytes.len() as u64;
        let last = segment::read_last(file.as_ref(), len).map_err(StoreError::io("read", &path))?;
        let last = last.ok_or_else(|| {
            let what = "it does not read back as it was written".to_owned();
            StoreError::Damaged(Damage { file: path, what })
        })?;
        let (ts, crc) = (last.record.ts, last.crc);
        let (inode, found_len) = (stat.inode, 0);
        Ok(Active { number, header, header_ts, len, seq, ts, crc, file, inode, found_len })
    }

    fn write_new(&mut self, number: u64, bytes: &[u8]) -> Result<Arc<dyn Handle>, StoreError> {
        let path = self.log.file(number);
        let name = segment::file_name(number);
        let temporary = format!(".{name}.tmp");
        let not_recorded = |action| {
            let path = path.clone();
            move |source| StoreError::NotRecorded { action, path, source }
        };
        // Whoever left it is gone: it would hold the lock.
        let _ = self.directory.unlink(&temporary);
        let file = self.directory.open_in(&temporary, Open::CreateNew);
        let file = file.map_err(not_recorded("make"))?;
        append_all(file.as_ref(), bytes).map_err(not_recorded("write"))?;
        give(file.as_ref(), self.log.place.owner()).map_err(not_recorded("change the owner of"))?;
        file.sync_data().map_err(not_recorded("sync"))?;
        // Whoever named the segment before may have failed to sync that: no name stands without those before it.
        self.directory.sync_all().map_err(not_recorded("sync the names before"))?;
        self.directory.rename_new(&temporary, &name).map_err(not_recorded("name"))?;
        self.directory.sync_all().map_err(not_recorded("sync the name of"))?;
        Ok(file.into())
    }
}

/// Cuts the lines of a segment into what counts there and what is carried over.
///
/// Stale blocks can hold lines of long ago, so only those are carried that come after the last that counts, each
/// after the one before.
fn split<'a>(active: &Active, lines: &'a Lines, prefix: u64) -> (SegmentEnd, Vec<&'a Placed>) {
    let mut counted =
        lines.good.iter().filter(|placed| placed.end <= prefix && placed.record.seq != 0);
    let prev = active.header.prev.as_ref();
    let (seq, ts) = match counted.next_back() {
        Some(last) => (last.record.seq, Some(last.record.ts)),
        None => (prev.map_or(0, |prev| prev.seq), prev.and_then(|prev| prev.ts)),
    };
    let end = SegmentEnd { segment: active.number, len: prefix, seq, ts, crc: None };
    let (mut seq, mut ts) = (seq, ts.unwrap_or(Timestamp::MIN));
    let mut carried = Vec::new();
    for placed in lines.good.iter().filter(|placed| placed.start >= prefix) {
        if placed.record.seq > seq && placed.record.ts > ts {
            (seq, ts) = (placed.record.seq, placed.record.ts);
            carried.push(placed);
        }
    }
    (end, carried)
}

fn range(start: u64, end: u64) -> std::ops::Range<usize> {
    let index = |at: u64| usize::try_from(at).expect("BUG: a segment larger than memory");
    index(start)..index(end)
}

#[cfg(test)]
#[path = "rotate_tests.rs"]
mod tests;
