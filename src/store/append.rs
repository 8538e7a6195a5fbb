//! Appending: one write under the lock, one sync outside it, and proof that what was synced still counts.
//!
//! Concurrent processes share the sync, since none holds the lock meanwhile. Nothing is acknowledged before
//! [`Log::commit`] has returned.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::base;
use super::disk::{Disk, Handle, Open, append_all};
use super::error::StoreError;
use super::line::{self, Crc};
use super::log::{Locked, Log};
use super::mark::{self, Mark};
use super::reserve;
use super::rotate::Reason;
use super::segment::{self, SegmentName};
use crate::domain::event::{Event, Record};
use crate::domain::timestamp::Timestamp;

/// The mark is synced each time the log has grown by this much, in bytes.
const MARK_SYNC_STEP: u64 = 1 << 20;

/// Lines that were written, or found, and are to be made durable.
#[derive(Clone)]
pub struct Written {
    /// What was written; empty where the lines of others are to be made durable.
    pub records: Vec<Record>,
    /// The segment.
    pub segment: u64,
    /// Where the lines begin.
    pub start: u64,
    /// Where they end.
    pub end: u64,
    /// The `seq` of the last line before `end`.
    pub seq: u64,
    /// The checksum of that line.
    pub crc: Crc,
    file: Arc<dyn Handle>,
    inode: u64,
    found_len: u64,
}

/// What became of the place where lines were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// They count there.
    InPlace,
    /// They were written again in the next segment, which was synced before it appeared: where the last of them ends there,
    /// with its `seq` and checksum.
    Carried(u64, u64, Crc),
    /// They count nowhere.
    Gone,
}

/// What became of written lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// They are on stable storage and count.
    Durable,
    /// They may be lost: what they say must be decided and written again.
    Again,
}

impl Locked<'_> {
    /// Appends the events in one write, behind a new segment where the active one is full.
    ///
    /// The log must be settled. `after`: a moment that the new lines exceed.
    /// Errors: [`StoreError::TooLong`]; [`StoreError::NotRecorded`] where not all of it was written.
    pub fn write(
        &mut self,
        events: Vec<Event>,
        after: Timestamp,
        segment_size: u64,
    ) -> Result<Written, StoreError> {
        let (mut records, mut bytes) = self.encode(&events, after)?;
        let active = self.log.active.as_ref().expect("BUG: a write before the log was settled");
        let has_lines = active.header.prev.as_ref().map_or(0, |prev| prev.seq) < active.seq;
        if has_lines && active.len + bytes.len() as u64 > segment_size {
            self.rotate_orderly(Reason::Size, None, Vec::new())?;
            (records, bytes) = self.encode(&events, after)?;
        }
        let active = self.log.active.as_ref().expect("BUG: no active segment");
        let (file, start, segment) = (Arc::clone(&active.file), active.len, active.number);
        if let Err(source) = append_all(file.as_ref(), &bytes) {
            // What was written of it is a torn tail; whoever comes next begins a new segment.
            let path = self.log.file(segment);
            self.log.active = None;
            return Err(StoreError::NotRecorded { action: "append to", path, source });
        }
        let active = self.log.active.as_mut().expect("BUG: no active segment");
        active.len = start + bytes.len() as u64;
        if let Some(last) = records.last() {
            (active.seq, active.ts) = (last.seq, last.ts);
            active.crc = line::verify(
                bytes.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default(),
            )
            .expect("BUG: a line that was just written without its checksum");
        }
        Ok(Written { records, start, ..self.position() })
    }

    fn encode(
        &self,
        events: &[Event],
        after: Timestamp,
    ) -> Result<(Vec<Record>, Vec<u8>), StoreError> {
        let active = self.log.active.as_ref().expect("BUG: a write before the log was settled");
        let now = self.log.clock.now();
        let (mut seq, mut ts) = (active.seq, active.ts.max(active.header_ts).max(after));
        let (mut records, mut bytes) = (Vec::with_capacity(events.len()), Vec::new());
        for event in events {
            seq += 1;
            if ts == Timestamp::MAX || seq > line::LARGEST {
                let what = if ts == Timestamp::MAX { "moment" } else { "seq" };
                let what = format!("the last line has the last {what} that can be written");
                let source = io::Error::other(what);
                let path = self.log.file(active.number);
                return Err(StoreError::NotRecorded { action: "append to", path, source });
            }
            ts = now.max(ts.after(Duration::from_micros(1)));
            let line = line::encode(seq, ts, now, event);
            if line.len() > line::LONGEST {
                return Err(StoreError::TooLong { len: line.len(), limit: line::LONGEST });
            }
            bytes.extend_from_slice(&line);
            let apart = ts.micros().abs_diff(now.micros()) > 1_000_000;
            let (wall, event) = (apart.then_some(now), event.clone());
            records.push(Record { seq, ts, wall, event });
        }
        Ok((records, bytes))
    }

    /// The end of the log, as lines of others that are to be made durable before they are answered with.
    pub fn position(&self) -> Written {
        let active = self.log.active.as_ref().expect("BUG: a place before the log was settled");
        Written {
            records: Vec::new(),
            segment: active.number,
            start: active.len,
            end: active.len,
            seq: active.seq,
            crc: active.crc,
            file: Arc::clone(&active.file),
            inode: active.inode,
            found_len: active.found_len,
        }
    }

    /// Whether written lines still count where they stand, or in the segment they were carried to.
    fn standing(&self, written: &Written) -> Result<Standing, StoreError> {
        let path = self.log.file(written.segment);
        let look = |error| StoreError::io("look at", &path)(error);
        match self.directory.stat_in(&segment::file_name(written.segment)) {
            Ok(named) if named.inode == written.inode => {}
            Ok(_) => return Ok(Standing::Gone),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.standing_in_base(written).map_err(look);
            }
            Err(error) => return Err(look(error)),
        }
        let next =
            match self.directory.open_in(&segment::file_name(written.segment + 1), Open::Read) {
                Ok(next) => next,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // Compaction removes segments without the lock, the lowest first.
                    let own = self.directory.stat_in(&segment::file_name(written.segment));
                    return match own {
                        Ok(_) => Ok(Standing::InPlace),
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {
                            self.standing_in_base(written).map_err(look)
                        }
                        Err(error) => Err(look(error)),
                    };
                }
                Err(error) => return Err(look(error)),
            };
        let header = segment::read_header(next.as_ref()).map_err(look)?;
        let prev = header.as_ref().and_then(|(_, header)| header.prev.as_ref());
        if prev.is_some_and(|prev| prev.segment == written.segment && prev.len >= written.end) {
            return Ok(Standing::InPlace);
        }
        let lines =
            segment::cut(&segment::read_range(next.as_ref(), 0, u64::MAX).map_err(look)?, 0);
        let again = |ts| lines.good.iter().find(|placed| placed.record.ts == ts);
        let all = written.records.iter().map(|record| again(record.ts)).collect::<Option<Vec<_>>>();
        Ok(match all.as_deref() {
            Some([.., last]) => Standing::Carried(last.end, last.record.seq, last.crc),
            Some([]) | None => Standing::Gone,
        })
    }

    /// Whether lines count of a segment that is gone: where a base has taken its place, unless they stood behind the
    /// place where it was cut.
    fn standing_in_base(&self, written: &Written) -> io::Result<Standing> {
        let names = self.directory.names()?;
        let names: Vec<SegmentName> =
            names.iter().filter_map(|name| SegmentName::parse(name)).collect();
        let base = base::newest(self.directory.as_ref(), &names)?;
        Ok(match base.filter(|base| base.last >= written.segment) {
            Some(base) => match base.header.cut.get(&written.segment) {
                Some(len) if *len < written.end => Standing::Gone,
                _ => Standing::InPlace,
            },
            None => Standing::Gone,
        })
    }

    /// Whether a sync that went well left something unstored: of an error that another process was told of, whoever opens
    /// the file later is told nothing, and what was dropped is dropped.
    ///
    /// Only what others wrote before the file was opened here, and nobody has answered for since, is in question.
    pub(super) fn hides_an_error(
        &self,
        file: &dyn Handle,
        segment: u64,
        found_len: u64,
        mark: Option<&Mark>,
    ) -> Result<bool, StoreError> {
        let here = |mark: &&Mark| mark.segment == segment && mark.boot == self.log.boot;
        let synced = mark.filter(here).map_or(0, |mark| mark.len);
        if synced >= found_len {
            return Ok(false);
        }
        let stored = segment::is_stored(file, synced, found_len);
        stored.map(|stored| !stored).map_err(StoreError::io("read back", &self.log.file(segment)))
    }

    /// Raises the mark to the end of lines that are durable. It never goes back.
    fn raise_mark(&mut self, written: &Written) -> Result<(), StoreError> {
        let local = self.log.local.clone();
        let old = self.mark().map_err(StoreError::io("read the mark in", &local))?;
        let new = Mark {
            node: self.log.node.clone(),
            segment: written.segment,
            len: written.end,
            seq: written.seq,
            line: String::from_utf8_lossy(&written.crc).into_owned(),
            boot: self.log.boot.clone(),
        };
        if old.as_ref().is_some_and(|old| old.covers(&new)) {
            return Ok(());
        }
        let known = old.as_ref().filter(|old| {
            (&old.node, old.segment, &old.boot) == (&new.node, new.segment, &new.boot)
        });
        if known.is_none() {
            // Whoever made the directories, or named the segment, may have died before they were synced.
            let names = self.log.place.sync_names(self.log.disk.as_ref());
            names.map_err(super::node::NodeError::from)?;
        }
        let mut outcome = self.write_mark(&new, known);
        if outcome.as_ref().is_err_and(reserve::is_full) {
            reserve::give_up(self.log.disk.as_ref(), &local);
            outcome = self.write_mark(&new, known);
        }
        // The lines stand in the log, and nobody may be told so.
        let path = self.log.file(written.segment);
        outcome.map_err(|source| StoreError::Unknown { path, source })
    }

    /// `known`: the mark before, of the same segment.
    fn write_mark(&mut self, new: &Mark, known: Option<&Mark>) -> io::Result<()> {
        let file = self.mark_file()?;
        mark::write(file, new)?;
        match known.is_none_or(|old| old.len / MARK_SYNC_STEP != new.len / MARK_SYNC_STEP) {
            true => file.sync_data(),
            false => Ok(()),
        }
    }

    /// Syncs the mark, where there is one; a mark that lags is no harm.
    pub(super) fn sync_mark(&mut self) {
        if let Ok(file) = self.mark_file() {
            let _ = file.sync_data();
        }
    }
}

impl Log {
    /// Makes written or found lines durable. Only then may anything be acknowledged.
    ///
    /// Ensures: on [`Fate::Durable`] the lines are on stable storage, count, and the mark says so.
    /// Errors: [`StoreError::Unknown`] where the disk fails so that nobody can say.
    pub fn commit(&mut self, written: &Written) -> Result<Fate, StoreError> {
        let synced = written.file.sync_data();
        let mut locked = self.lock()?;
        if let Err(source) = synced {
            return locked.recover_from_sync_error(written, source);
        }
        match locked.standing(written)? {
            Standing::InPlace => {}
            Standing::Carried(end, seq, crc) => {
                let segment = written.segment + 1;
                locked.raise_mark(&Written { segment, end, seq, crc, ..written.clone() })?;
                return Ok(Fate::Durable);
            }
            Standing::Gone => return Ok(Fate::Again),
        }
        let mark = locked.mark().map_err(StoreError::io("read the mark in", &locked.log.local))?;
        let mark = mark.filter(|mark| mark.node == locked.log.node);
        let (file, found_len) = (written.file.as_ref(), written.found_len);
        if locked.hides_an_error(file, written.segment, found_len, mark.as_ref())? {
            let hidden = io::Error::other("what another wrote is not on stable storage");
            return locked.recover_from_sync_error(written, hidden);
        }
        locked.raise_mark(written)?;
        Ok(Fate::Durable)
    }
}

impl Locked<'_> {
    /// Never trusts a file again whose sync failed: what is readable of it goes to a new segment.
    fn recover_from_sync_error(
        &mut self,
        written: &Written,
        source: io::Error,
    ) -> Result<Fate, StoreError> {
        let unknown = |source| {
            let path: PathBuf = self.log.file(written.segment);
            StoreError::Unknown { path, source }
        };
        let unknown = unknown(source);
        let Ok(mark) = self.mark() else { return Err(unknown) };
        let mark = mark.filter(|mark| mark.node == self.log.node);
        let newer = segment::file_name(written.segment + 1);
        if self.directory.stat_in(&newer).is_err() {
            let active = self.log.active.as_ref().map(|active| active.number);
            if active != Some(written.segment) && self.settle().is_err() {
                return Err(unknown);
            }
            let active = self.log.active.as_ref().map(|active| active.number);
            if active == Some(written.segment) {
                let mut rotated = self.rotate_on_doubt(Reason::SyncError, mark.as_ref());
                if rotated.as_ref().is_err_and(StoreError::is_full) {
                    reserve::give_up(self.log.disk.as_ref(), &self.log.local);
                    rotated = self.rotate_on_doubt(Reason::SyncError, mark.as_ref());
                }
                if rotated.is_err() {
                    return Err(unknown);
                }
            }
        }
        // Lines are never acknowledged from a segment whose sync failed, also where somebody who was told nothing of it
        // has sealed it behind them.
        match self.standing(written) {
            Ok(Standing::Carried(end, seq, crc)) => {
                let segment = written.segment + 1;
                let carried = Written { segment, end, seq, crc, ..written.clone() };
                self.raise_mark(&carried).map(|()| Fate::Durable).map_err(|_| unknown)
            }
            Ok(Standing::InPlace | Standing::Gone) => Ok(Fate::Again),
            Err(_) => Err(unknown),
        }
    }
}

/// Whether anything stands in the way of appending, as noted earlier: the text of the note.
pub fn degraded_note(disk: &dyn Disk, local: &std::path::Path) -> Option<String> {
    let directory = disk.open(local, Open::Directory).ok()?;
    let file = directory.open_in("degraded", Open::Read).ok()?;
    let bytes = segment::read_range(file.as_ref(), 0, 4096).ok()?;
    if let Some(no_file) = file.stat().ok()?.no_file() {
        return Some(format!("{}: {no_file}", local.join("degraded").display()));
    }
    let note = String::from_utf8_lossy(&bytes);
    Some(match note.trim() {
        // A full disk takes the file and not what it was to say.
        "" => "damage, and there was no room to note which".to_owned(),
        note => note.to_owned(),
    })
}

#[cfg(test)]
#[path = "append_tests.rs"]
mod tests;
