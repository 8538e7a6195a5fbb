//! The own node's log as its writers see it: the append lock, the active segment, and doubt.
//!
//! The lock is on the directory of the log itself. Whoever holds it looks at the end of the active segment first:
//! a torn tail, another boot or a failed sync is doubt, and on doubt a new segment is begun. Nothing is truncated,
//! nothing is appended after damage. Knows nothing of state; `append.rs` writes and syncs.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::base;
use super::clock::Clock;
use super::disk::{Disk, Handle, Lock, NoFile, Open, is_no_directory};
use super::error::StoreError;
use super::line::Crc;
use super::mark::{self, Mark};
use super::node::{NodeError, Place};
use super::replay::Damage;
use super::rollback;
use super::rotate::{Reason, Rotation};
use super::segment::{self, SegmentName};
use super::small_file::give;
use crate::domain::event::{Segment, SegmentEnd};
use crate::domain::timestamp::Timestamp;

/// How long the append lock is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A writer of the own node's log.
pub struct Log {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) clock: Clock,
    /// The directory of the log.
    pub(super) path: PathBuf,
    /// The directory of the mark.
    pub(super) local: PathBuf,
    pub(super) place: Place,
    pub(super) node: String,
    pub(super) boot: String,
    pub(super) active: Option<Active>,
    pub(super) mark_file: Option<Box<dyn Handle>>,
    /// What people should be told, once.
    pub(super) notices: Vec<String>,
}

/// The segment that is appended to, and how it ends.
#[derive(Clone)]
pub struct Active {
    /// Its number.
    pub number: u64,
    /// Its first line.
    pub header: Segment,
    /// The `ts` of the header; later lines exceed it.
    pub header_ts: Timestamp,
    /// Its length in bytes.
    pub len: u64,
    /// The `seq` of its last line, or of the last line before it.
    pub seq: u64,
    /// The `ts` of its last line.
    pub ts: Timestamp,
    /// The checksum of its last line.
    pub crc: Crc,
    pub(super) file: Arc<dyn Handle>,
    pub(super) inode: u64,
    /// How long it was when it was opened here; 0 where it was made here.
    pub(super) found_len: u64,
}

impl Active {
    /// Its end, as the next header tells it.
    pub(super) fn end(&self) -> SegmentEnd {
        let (segment, len, seq) = (self.number, self.len, self.seq);
        SegmentEnd { segment, len, seq, ts: Some(self.ts), crc: None }
    }
}

/// The log while its append lock is held. The lock is given back when this is dropped.
pub struct Locked<'a> {
    pub(super) log: &'a mut Log,
    pub(super) directory: Box<dyn Handle>,
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // Unlocked before the close: a child between fork and exec holds copies of the descriptor.
        let _ = self.directory.unlock();
    }
}

impl Log {
    /// A writer of the log of a place that has a node.
    pub fn new(disk: Arc<dyn Disk>, clock: Clock, place: Place, boot: String) -> Self {
        let node = place.node().expect("BUG: a log without a node").to_owned();
        Log {
            disk,
            clock,
            path: place.log_dir(&node),
            local: place.local(),
            place,
            node,
            boot,
            active: None,
            mark_file: None,
            notices: Vec::new(),
        }
    }

    /// The path of a segment, for messages.
    pub(super) fn file(&self, segment: u64) -> PathBuf {
        self.path.join(segment::file_name(segment))
    }

    /// What it means that the directory is gone: where what lies beside it still stands, the log was taken away.
    fn missing(&self, error: io::Error) -> StoreError {
        match self.disk.stat(&self.local) {
            Ok(_) => StoreError::Place(NodeError::LogMissing(self.path.clone())),
            Err(_) => StoreError::io("find the log any more in", &self.path)(error),
        }
    }

    /// Whether a link stands in the place of the log, and leads to the queue's own directory.
    fn leads_back(&self, directory: &dyn Handle) -> bool {
        let (log, root) = (directory.stat(), self.disk.stat(self.place.root()));
        log.is_ok_and(|log| {
            root.is_ok_and(|root| (log.inode, log.device) == (root.inode, root.device))
        })
    }

    /// Takes the append lock.
    ///
    /// Errors: [`StoreError::LockHeld`] after 60 s; where the directory can't be opened.
    pub fn lock(&mut self) -> Result<Locked<'_>, StoreError> {
        let mut waited = Duration::ZERO;
        let mut pause = Duration::from_micros(20);
        loop {
            let open = self.disk.open(&self.path, Open::Directory);
            let directory = open.map_err(|error| match is_no_directory(&error) {
                true => self.missing(error),
                false => StoreError::io("open", &self.path)(error),
            })?;
            loop {
                let locked = directory.try_lock(Lock::Exclusive);
                if locked.map_err(StoreError::io("lock", &self.path))? {
                    break;
                }
                if waited.is_zero() && self.leads_back(directory.as_ref()) {
                    // Who holds it may be this process, which would wait for itself.
                    return Err(StoreError::Place(NodeError::LogMissing(self.path.clone())));
                }
                if waited >= PATIENCE {
                    let holder = self.disk.lock_holder(directory.as_ref());
                    let (path, seconds) = (self.path.clone(), waited.as_secs());
                    return Err(StoreError::LockHeld { path, seconds, holder });
                }
                self.disk.pause(pause);
                waited += pause;
                pause = (pause * 2).min(Duration::from_millis(1));
            }
            let held = directory.stat().map_err(StoreError::io("look at", &self.path))?;
            let named =
                self.disk.stat(&self.path).map_err(StoreError::io("look at", &self.path))?;
            if (held.inode, held.device) == (named.inode, named.device) {
                return Ok(Locked { log: self, directory });
            }
            // A copy has taken the directory's place; its lock is the one that counts.
            let _ = directory.unlock();
        }
    }
}

impl Locked<'_> {
    /// Brings the end of the log into view, and mends it by a new segment where there is doubt.
    ///
    /// Errors: where the log is damaged, rolled back or too new.
    pub fn settle(&mut self) -> Result<Active, StoreError> {
        let (highest, above) = self.newest()?;
        let mark = self.mark().map_err(StoreError::io("read the mark in", &self.log.local))?;
        let mark = mark.filter(|mark| mark.node == self.log.node);
        let Some(number) = highest.filter(|number| *number > above) else {
            if above > 0 || mark.is_some() {
                return Err(self.rolled_back("the active segment is missing".into()));
            }
            let alone = base::alone(self.directory.as_ref(), &self.log.path);
            if let Some(damage) = alone.map_err(StoreError::io("read", &self.log.path))? {
                return Err(StoreError::Damaged(damage));
            }
            let fresh = self.rotate(Rotation::new(Reason::First, 1))?;
            return Ok(self.log.active.insert(fresh).clone());
        };
        let is_fresh = self.open_active(number)?;
        let active = self.log.active.as_ref().expect("BUG: no active segment");
        if active.header.v > segment::VERSION || !active.header.requires.is_empty() {
            let (path, v) = (self.log.file(number), active.header.v);
            let what = match active.header.requires.first() {
                Some(requirement) => format!("it requires {requirement:?}"),
                None => format!("its format is {v}"),
            };
            return Err(StoreError::TooNew { path, what });
        }
        let stat = active.file.stat().map_err(StoreError::io("look at", &self.log.file(number)));
        let checked = stat.and_then(|stat| match &mark {
            Some(mark) => self.check_mark(mark, number, stat.len, is_fresh).map(|()| stat.len),
            None => Ok(stat.len),
        });
        if checked.is_err() {
            // What lies before it is to be looked at the next time too.
            self.log.active = None;
        }
        let len = checked?;
        if self.log.active.as_ref().is_some_and(|active| active.len != len) {
            self.read_end(number, len)?;
        }
        let active = self.log.active.as_ref().expect("BUG: no active segment");
        let reason = match active.len == len {
            false => Reason::Torn,
            true => {
                let is_at_mark = |mark: &&Mark| (mark.segment, mark.len) == (number, len);
                let other = mark.as_ref().filter(is_at_mark);
                if other.is_some_and(|mark| mark.line.as_bytes() != active.crc) {
                    return Err(self.rolled_back("its last line is another".into()));
                }
                if active.header.boot == self.log.boot {
                    return Ok(active.clone());
                }
                Reason::Boot
            }
        };
        self.rotate_on_doubt(reason, mark.as_ref())?;
        Ok(self.log.active.as_ref().expect("BUG: no active segment").clone())
    }

    /// The highest segment, and the end of the last base where that does not lie below it; else 0.
    fn newest(&self) -> Result<(Option<u64>, u64), StoreError> {
        let names = self.directory.names().map_err(StoreError::io("list", &self.log.path))?;
        let mut names: Vec<SegmentName> =
            names.iter().filter_map(|name| SegmentName::parse(name)).collect();
        let segment = |name: &SegmentName| match name {
            SegmentName::Segment(number) => Some(*number),
            SegmentName::Base(..) => None,
        };
        let highest = names.iter().filter_map(segment).max();
        // A base that lies below the active segment is never asked.
        names.retain(|name| match name {
            SegmentName::Base(_, last) => highest.is_none_or(|number| *last >= number),
            SegmentName::Segment(_) => false,
        });
        let base = base::newest(self.directory.as_ref(), &names);
        let base = base.map_err(StoreError::io("read", &self.log.path))?;
        Ok((highest, base.map_or(0, |base| base.last)))
    }

    /// Opens the active segment, afresh where its path names another file than before. Says whether it did.
    fn open_active(&mut self, number: u64) -> Result<bool, StoreError> {
        let path = self.log.file(number);
        let name = segment::file_name(number);
        if let Some(active) = self.log.active.as_ref().filter(|active| active.number == number) {
            let named = self.directory.stat_in(&name).map_err(StoreError::io("look at", &path))?;
            if named.inode == active.inode {
                return Ok(false);
            }
        }
        self.log.active = None;
        let file = self.directory.open_in(&name, Open::Append);
        let file: Arc<dyn Handle> = file
            .map_err(|error| match NoFile::of(&error) {
                Some(what) => Damage { file: path.clone(), what: what.to_string() }.into(),
                None => StoreError::io("open", &path)(error),
            })?
            .into();
        let stat = file.stat().map_err(StoreError::io("look at", &path))?;
        let header = segment::read_header(file.as_ref()).map_err(StoreError::io("read", &path))?;
        let Some((placed, header)) = header else {
            let what = "its first line is not the header of a segment".to_owned();
            return Err(StoreError::Damaged(Damage { file: path, what }));
        };
        if header.node != self.log.node {
            return Err(self.rolled_back(format!("segment {number} is of node {}", header.node)));
        }
        if let Some(what) = segment::misplaced(number, &header) {
            return Err(StoreError::Damaged(Damage { file: path, what }));
        }
        self.log.active = Some(Active {
            number,
            seq: header.prev.as_ref().map_or(0, |prev| prev.seq),
            header_ts: placed.record.ts,
            ts: placed.record.ts,
            header,
            len: placed.end,
            crc: placed.crc,
            file,
            inode: stat.inode,
            found_len: stat.len,
        });
        Ok(true)
    }

    /// Reads the last line, where the file ends with one; else leaves the place before it.
    fn read_end(&mut self, number: u64, len: u64) -> Result<(), StoreError> {
        let path = self.log.file(number);
        let active = self.log.active.as_mut().expect("BUG: no active segment");
        let last = segment::read_last(active.file.as_ref(), len);
        if let Some(last) = last.map_err(StoreError::io("read", &path))?
            && last.record.seq != 0
        {
            active.len = len;
            active.seq = last.record.seq;
            active.ts = last.record.ts;
            active.crc = last.crc;
        }
        Ok(())
    }

    /// Sees that the log goes on from the mark. What lies before it is looked at only where this process has not
    /// read the end of the log before, and where that end is the mark's, its last line is compared anyway.
    fn check_mark(
        &self,
        mark: &Mark,
        number: u64,
        len: u64,
        is_fresh: bool,
    ) -> Result<(), StoreError> {
        let active = self.log.active.as_ref().expect("BUG: no active segment");
        if mark.segment > number {
            return Err(self.rolled_back(format!("segment {} is missing", mark.segment)));
        }
        if mark.segment < number {
            return if is_fresh { self.check_sealed(mark, number, &active.header) } else { Ok(()) };
        }
        if mark.len > len {
            let what =
                format!("{} bytes of segment {number} were synced, {len} are there", mark.len);
            return Err(self.rolled_back(what));
        }
        if mark.len < len && (is_fresh || active.len != len) {
            let other = rollback::other_line(active.file.as_ref(), mark);
            if let Some(what) = other.map_err(StoreError::io("read", &self.log.file(number)))? {
                return Err(self.rolled_back(what));
            }
        }
        Ok(())
    }

    pub(super) fn rolled_back(&self, what: String) -> StoreError {
        StoreError::RolledBack { path: self.log.path.clone(), what }
    }

    /// The mark, where there is one that is whole.
    pub(super) fn mark(&mut self) -> io::Result<Option<Mark>> {
        match self.mark_file() {
            Ok(file) => mark::read(file),
            Err(error) => Err(error),
        }
    }

    pub(super) fn mark_file(&mut self) -> io::Result<&dyn Handle> {
        let log = &mut *self.log;
        let file = match log.mark_file.take() {
            Some(file) if file.stat()?.links > 0 => file,
            _ => {
                let file = mark::open(log.disk.open(&log.local, Open::Directory)?.as_ref())?;
                give(file.as_ref(), log.place.owner())?;
                file
            }
        };
        Ok(&**log.mark_file.insert(file))
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
