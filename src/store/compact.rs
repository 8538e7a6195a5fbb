//! Compaction: a base takes the place of the sealed segments of the own node.
//!
//! Appenders are never waited for nor made to wait: what is replaced never changes, and the active segment is left
//! alone. The base is written under a temporary name, synced, read back and folded; only when it comes to the same state
//! is it named, and only when its name is on stable storage are the segments removed. A crash anywhere leaves the
//! segments, or the base, or both, of which the base counts.
//!
//! Decides nothing: what may be dropped, an event has dropped before.

mod archive;
mod salvage;
mod strange;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::strange::Strange;
use super::append;
use super::base::{self, Content, Kept};
use super::clock::Clock;
use super::disk::{Disk, Handle, Lock, Open, append_all};
use super::error::StoreError;
use super::files::{Files, open_files};
use super::node::Place;
use super::progress::{Progress, Rest};
use super::replay::{Fold, Reading};
use super::segment::{self, Placed, SegmentName};
use super::small_file::give;
use crate::domain::event::{Event, Record, SegmentEnd};
use crate::domain::state::NodeState;

/// So much is written of a base before it is synced, in bytes: one large sync would hold up the small ones of others.
const STEP: usize = 1 << 20;

/// Compacts the log of the own node; a thing of its own, so that it can be done beside other work.
pub struct Compactor {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) place: Place,
    pub(super) node: String,
    pub(super) boot: String,
    pub(super) clock: Clock,
    pub(super) progress: Progress,
    pub(super) rest: Rest,
}

/// What a compaction did, or would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compacted {
    /// The last segment that the base stands for.
    pub last: u64,
    /// How many files it took the place of.
    pub files: u64,
    /// How many bytes they had.
    pub before: u64,
    /// How many bytes the base has.
    pub after: u64,
    /// How many jobs are in it.
    pub jobs: u64,
}

/// Why nothing was compacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// Another process is at it.
    Busy,
    /// There is no sealed segment that is not in a base yet.
    Nothing,
}

/// The sealed part of the log, and what it comes to.
struct Sealed {
    state: NodeState,
    end: SegmentEnd,
    cut: BTreeMap<u64, u64>,
    kept: Kept,
    files: Vec<String>,
    before: u64,
}

impl Compactor {
    /// The same, but it lets others go first now and then.
    pub fn resting(self, rest: Rest) -> Self {
        Compactor { rest, ..self }
    }

    /// Replaces the sealed segments by a base, once they are copied to `archive` where that is given.
    ///
    /// Errors: damage; a log that a newer version has written in; where the disk fails, and then the log is as it was.
    pub fn run(&self, archive: Option<&Path>) -> Result<Result<Compacted, Idle>, StoreError> {
        let Some(lock) = self.lock()? else { return Ok(Err(Idle::Busy)) };
        // Looked for under the lock: what a repair left that died is not to be removed.
        let outcome = match append::degraded_note(self.disk.as_ref(), &self.place.local()) {
            Some(note) => Err(StoreError::Degraded(note)),
            None => self.run_locked(archive),
        };
        // Unlocked before the close: a child between fork and exec may hold a copy.
        let _ = lock.unlock();
        outcome
    }

    /// What [`Compactor::run`] would do if the active segment were sealed now and these jobs removed.
    pub fn rehearse(&self, expired: &[Event]) -> Result<Result<Compacted, Idle>, StoreError> {
        let directory = self.directory()?;
        let Some(mut sealed) = self.fold(directory.as_ref(), None)? else {
            return Ok(Err(Idle::Nothing));
        };
        for event in expired {
            let (at, event) = (sealed.state.facts.last_ts, event.clone());
            // A job that is gone by now stays gone.
            let _ = sealed.state.apply(&Record { seq: 0, ts: at, wall: None, event });
        }
        let mut after = 0;
        base::write(&self.content(&sealed), |line| {
            after += line.len() as u64;
            Ok(())
        })
        .map_err(self.failed("measure"))?;
        Ok(Ok(sealed.compacted(after)))
    }

    fn run_locked(&self, archive: Option<&Path>) -> Result<Result<Compacted, Idle>, StoreError> {
        let directory = self.directory()?;
        let directory = directory.as_ref();
        self.finish_earlier(directory)?;
        let names = names(directory).map_err(self.failed("list"))?;
        let active = names.iter().filter_map(|(_, name)| match name {
            SegmentName::Segment(number) => Some(*number),
            SegmentName::Base(..) => None,
        });
        let Some(last) = active.max().and_then(|active| active.checked_sub(1)) else {
            return Ok(Err(Idle::Nothing));
        };
        if !names.iter().any(|(_, name)| *name == SegmentName::Segment(last)) {
            return Ok(Err(Idle::Nothing));
        }
        let Some(sealed) = self.fold(directory, Some(last))? else {
            return Ok(Err(Idle::Nothing));
        };
        let temporary = format!(".{}.tmp", segment::base_name(1, last));
        let placed = self.write(directory, &temporary, &sealed).and_then(|after| {
            if let Some(archive) = archive {
                self.archive(directory, &sealed, archive)?;
            }
            self.put_in_place(directory, &temporary, last)?;
            Ok(after)
        });
        if placed.is_err() {
            // What was not named is no base, and the room may be wanted.
            let _ = directory.unlink(&temporary);
        }
        let after = placed?;
        self.remove(directory, &sealed.files)?;
        Ok(Ok(sealed.compacted(after)))
    }

    /// Removes what an earlier compaction left when it was ended: its temporary file, and segments that a base has.
    fn finish_earlier(&self, directory: &dyn Handle) -> Result<(), StoreError> {
        let all = directory.names().map_err(self.failed("list"))?;
        for name in all.iter().filter(|name| name.ends_with(".base.jsonl.tmp")) {
            directory.unlink(name).map_err(self.failed("remove a temporary file in"))?;
        }
        let names = names(directory).map_err(self.failed("list"))?;
        let parsed: Vec<SegmentName> = names.iter().map(|(_, name)| *name).collect();
        let newest = base::newest(directory, &parsed).map_err(self.failed("read"))?;
        let Some(base) = newest else { return Ok(()) };
        let is_covered = |name: &SegmentName| match name {
            SegmentName::Segment(number) => *number <= base.last,
            SegmentName::Base(_, last) => *last < base.last,
        };
        let mut left: Vec<_> = names.into_iter().filter(|(_, name)| is_covered(name)).collect();
        // The lowest first, as whoever reads without the lock expects.
        left.sort_by_key(|(_, name)| *name);
        let left: Vec<String> = left.into_iter().map(|(name, _)| name).collect();
        if left.is_empty() {
            return Ok(());
        }
        // Whoever named the base may have died before its name was on stable storage.
        base.file.sync_all().map_err(self.failed("sync the base in"))?;
        directory.sync_all().map_err(self.failed("sync"))?;
        self.remove(directory, &left)
    }

    /// Folds everything up to the end of segment `last`, or all there is. None where there is nothing.
    fn fold(
        &self,
        directory: &dyn Handle,
        last: Option<u64>,
    ) -> Result<Option<Sealed>, StoreError> {
        let path = self.path();
        let reading =
            Reading { path: &path, node: &self.node, mark: None, own: true, salvage: false };
        let files = open_files(directory, None).map_err(self.failed("read"))?;
        let mut strange = Strange::default();
        let mut watch = |placed: &Placed, bytes: &[u8]| {
            self.rest.take();
            strange.look_at(placed, bytes);
        };
        let mut fold = Fold::watched(reading, last, &mut watch);
        (fold.progress, fold.doing) = (self.progress.clone(), "compacting the log");
        fold.take(&files).map_err(self.failed("read"))?;
        let Fold { state, cursor, damage, .. } = fold;
        if let Some(damage) = damage.into_iter().next() {
            return Err(StoreError::Damaged(damage));
        }
        let Some(cursor) = cursor else { return Ok(None) };
        self.refuse_what_is_too_new(&files)?;
        let facts = &state.facts;
        let end = SegmentEnd {
            segment: cursor.segment,
            len: cursor.offset,
            seq: facts.last_seq,
            ts: Some(facts.last_ts),
            crc: Some(String::from_utf8_lossy(&cursor.crc).into_owned()),
        };
        let (covered, before) =
            covered(directory, &files, last).map_err(self.failed("look into"))?;
        let cut = cut_on_doubt(&files, &self.boot, last);
        strange.add_long(&state);
        let kept = strange.keep(&files, reading, last).map_err(self.failed("read"))?;
        Ok(Some(Sealed { state, end, cut, kept, files: covered, before }))
    }

    fn refuse_what_is_too_new(&self, files: &Files) -> Result<(), StoreError> {
        let base = files.base.iter().map(|base| &base.header);
        let headers = files.segments.values().filter_map(|open| open.header.as_ref());
        for header in base.chain(headers) {
            if header.v > segment::VERSION || !header.requires.is_empty() {
                let path = self.path().join(segment::file_name(header.segment));
                let what = format!("format {} with {:?}", header.v, header.requires);
                return Err(StoreError::TooNew { path, what });
            }
        }
        Ok(())
    }

    /// Writes the base under its temporary name, brings it to stable storage, and reads it back. Says how long it is.
    fn write(
        &self,
        directory: &dyn Handle,
        temporary: &str,
        sealed: &Sealed,
    ) -> Result<u64, StoreError> {
        let failed = |action| {
            let path = self.path().join(temporary);
            move |source| StoreError::NotRecorded { action, path, source }
        };
        let file = directory.open_in(temporary, Open::CreateNew).map_err(failed("make"))?;
        give(file.as_ref(), self.place.owner()).map_err(failed("change the owner of"))?;
        let mut buffer = Vec::with_capacity(STEP);
        let too_long = base::write(&self.content(sealed), |line| {
            self.rest.take();
            buffer.extend_from_slice(line);
            if buffer.len() < STEP {
                return Ok(());
            }
            append_all(file.as_ref(), &buffer)?;
            buffer.clear();
            file.sync_data()
        })
        .map_err(failed("write"))?;
        append_all(file.as_ref(), &buffer).map_err(failed("write"))?;
        if let Some(job) = too_long.first() {
            let what = format!("job {job} has come to more than a line may have");
            return Err(failed("write")(io::Error::other(what)));
        }
        file.sync_all().map_err(failed("sync"))?;
        let last = sealed.end.segment;
        let written = directory.open_in(temporary, Open::Read).map_err(failed("open"))?;
        let base = base::whole(written, last).map_err(failed("read back"))?;
        let Some(base) = base.filter(|base| base.header.end.as_ref() == Some(&sealed.end)) else {
            return Err(failed("read back")(io::Error::other("it is not what was written")));
        };
        let after = base.len;
        let files = Files { base: Some(base), segments: BTreeMap::new(), is_all: true };
        let path = self.path();
        // Without the segments behind it, it is read as another node's would be.
        let reading =
            Reading { path: &path, node: &self.node, mark: None, own: false, salvage: false };
        let mut again = Fold::new(reading);
        again.take(&files).map_err(failed("read back"))?;
        if again.state != sealed.state {
            return Err(failed("keep")(io::Error::other("it comes to another state than the log")));
        }
        Ok(after)
    }

    /// Names the base, durably.
    fn put_in_place(
        &self,
        directory: &dyn Handle,
        temporary: &str,
        last: u64,
    ) -> Result<(), StoreError> {
        let held = directory.stat().map_err(self.failed("look at"))?;
        let named = self.disk.stat(&self.path()).map_err(self.failed("look at"))?;
        if (held.inode, held.device) != (named.inode, named.device) {
            let moved = io::Error::other("another directory has taken its place meanwhile");
            return Err(self.failed("name the base in")(moved));
        }
        let name = segment::base_name(1, last);
        directory.rename_new(temporary, &name).map_err(self.failed("name the base in"))?;
        directory.sync_all().map_err(self.failed("sync"))
    }

    fn remove(&self, directory: &dyn Handle, files: &[String]) -> Result<(), StoreError> {
        for name in files {
            match directory.unlink(name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other.map_err(self.failed("remove a segment in"))?,
            }
        }
        directory.sync_all().map_err(self.failed("sync"))
    }

    /// Takes the lock that keeps two compactions apart; none where another has it.
    pub(super) fn lock(&self) -> Result<Option<Box<dyn Handle>>, StoreError> {
        let path = self.place.local();
        let failed = |action| StoreError::io(action, &path);
        let local = self.disk.open(&path, Open::Directory).map_err(failed("open"))?;
        let file = local.open_in("compact.lock", Open::ReadWrite).map_err(failed("lock in"))?;
        give(file.as_ref(), self.place.owner()).map_err(failed("change the owner in"))?;
        let taken = file.try_lock(Lock::Exclusive).map_err(failed("lock in"))?;
        Ok(taken.then_some(file))
    }

    fn directory(&self) -> Result<Box<dyn Handle>, StoreError> {
        self.disk.open(&self.path(), Open::Directory).map_err(self.failed("open"))
    }

    fn content<'a>(&'a self, sealed: &'a Sealed) -> Content<'a> {
        Content {
            state: &sealed.state,
            end: sealed.end.clone(),
            cut: sealed.cut.clone(),
            kept: &sealed.kept,
            node: &self.node,
            boot: &self.boot,
            now: self.clock.now(),
        }
    }

    fn path(&self) -> PathBuf {
        self.place.log_dir(&self.node)
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> StoreError + use<> {
        let path = self.path();
        move |source| StoreError::Io { action, path, source }
    }
}

impl Sealed {
    fn compacted(&self, after: u64) -> Compacted {
        let jobs = self.state.counts().iter().sum();
        let files = self.files.len() as u64;
        Compacted { last: self.end.segment, files, before: self.before, after, jobs }
    }
}

/// The files of the log, with what their names say.
fn names(directory: &dyn Handle) -> io::Result<Vec<(String, SegmentName)>> {
    let names = directory.names()?.into_iter();
    Ok(names.filter_map(|name| SegmentName::parse(&name).map(|parsed| (name, parsed))).collect())
}

/// The files that a base up to `last` takes the place of, oldest first, and their size in bytes.
fn covered(
    directory: &dyn Handle,
    files: &Files,
    last: Option<u64>,
) -> io::Result<(Vec<String>, u64)> {
    let last = last.unwrap_or(u64::MAX);
    let mut covered: Vec<String> =
        files.segments.keys().filter(|n| **n <= last).map(|n| segment::file_name(*n)).collect();
    covered.extend(names(directory)?.into_iter().filter_map(|(name, parsed)| match parsed {
        SegmentName::Base(_, to) => (to < last).then_some(name),
        SegmentName::Segment(_) => None,
    }));
    let mut size = 0;
    for name in &covered {
        size += directory.stat_in(name)?.len;
    }
    Ok((covered, size))
}

/// Of the segments that were cut on doubt in this boot, how many bytes counted, also of those in the base so far.
fn cut_on_doubt(files: &Files, boot: &str, last: Option<u64>) -> BTreeMap<u64, u64> {
    let earlier = files.base.as_ref().filter(|base| base.header.boot == boot);
    let mut cut = earlier.map(|base| base.header.cut.clone()).unwrap_or_default();
    let headers = files.segments.values().filter_map(|open| open.header.as_ref());
    for header in headers.filter(|header| header.boot == boot) {
        let is_doubt = ["torn", "fsync_error"].contains(&header.why.as_str());
        if let Some(prev) = header.prev.as_ref().filter(|_| is_doubt)
            && prev.segment <= last.unwrap_or(u64::MAX)
        {
            cut.insert(prev.segment, prev.len);
        }
    }
    cut
}

#[cfg(test)]
#[path = "compact_tests.rs"]
mod tests;
