//! Reading: from the files of the log to the state, the first time and ever after.
//!
//! A view remembers how far it has read each node and takes in only what is new. Readers take no lock. In the own
//! node's directory everything that rotation does not explain is damage; in another's it is in flight.

mod batches;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::{Disk, Handle, Open, Stat, is_no_directory};
use super::files::{Files, open_files, still_holds};
use super::line::Crc;
use super::mark::Mark;
use super::progress::Progress;
use super::segment::{self, Placed};
use super::{base, rollback};
use crate::domain::event::{Event, SegmentEnd};
use crate::domain::state::{NodeState, State};
use crate::domain::timestamp::Timestamp;

/// How far a node's log has been read: a place just behind a line.
#[derive(Debug, Clone, PartialEq, Eq, bitcode::Encode, bitcode::Decode)]
pub struct Cursor {
    /// The segment.
    pub segment: u64,
    /// The bytes of it that were read.
    pub offset: u64,
    /// The checksum of the line before the place.
    pub crc: Crc,
}

/// Something in the own node's log that nothing explains.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {what}", file.display())]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// What is wrong, and where.
    pub what: String,
}

/// The state as far as it has been read.
#[derive(Debug, Default)]
pub struct View {
    /// What has been folded.
    pub state: State,
    /// How far each node has been read.
    pub cursors: BTreeMap<String, Cursor>,
    /// What is wrong with the own node's log.
    pub damage: Vec<Damage>,
    /// What is wrong with other nodes' logs; it keeps nobody from working here.
    pub foreign: Vec<Damage>,
    /// How the own node's log is shorter than what was synced; over as soon as it is whole again.
    pub rolled_back: Option<Damage>,
    /// Bytes taken in since the last checkpoint.
    pub news: u64,
    /// The size of the last checkpoint, in bytes.
    pub checkpoint: u64,
    /// Who is told how far reading is.
    pub progress: Progress,
}

/// Whose log is read, and what is known of it beforehand.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    /// The directory of the node's log.
    pub path: &'a Path,
    /// The node.
    pub node: &'a str,
    /// The mark, where the node is this one.
    pub mark: Option<&'a Mark>,
    /// Whether the node is this one.
    pub own: bool,
    /// Whether every line that holds is wanted, whatever stands before it.
    pub salvage: bool,
}

impl View {
    /// Takes in what is new in the log of every node, in the directory `log`.
    ///
    /// Errors: where a file that is there can't be read. Damage is no error; it stands in the view.
    pub fn refresh(
        &mut self,
        disk: &dyn Disk,
        log: &Path,
        own: Option<&str>,
        mark: Option<&Mark>,
    ) -> io::Result<()> {
        let names = match disk.open(log, Open::Directory) {
            Ok(directory) => directory.names()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut there = Vec::with_capacity(names.len());
        for node in names.iter().filter(|name| !name.starts_with('.')) {
            let path = log.join(node);
            let own = own == Some(node);
            let reading =
                Reading { path: &path, node, mark: mark.filter(|_| own), own, salvage: false };
            let opened = disk.open(&path, Open::Directory);
            if opened.as_ref().is_err_and(is_no_directory) {
                continue;
            }
            there.push(node);
            match opened.and_then(|opened| self.refresh_node(opened.as_ref(), reading)) {
                // What is wrong in another node's directory keeps nobody from working here.
                Err(error) if !own => {
                    let damage = Damage { file: path, what: format!("cannot be read: {error}") };
                    if !self.foreign.contains(&damage) {
                        self.foreign.push(damage);
                    }
                }
                outcome => outcome?,
            }
        }
        self.forget_missing(log, &there, own, mark);
        Ok(())
    }

    /// Lets go of nodes whose logs are gone. That the own one is gone is told.
    fn forget_missing(
        &mut self,
        log: &Path,
        there: &[&String],
        own: Option<&str>,
        mark: Option<&Mark>,
    ) {
        let is_there = |node: &String| there.contains(&node);
        let read = self.cursors.keys().cloned().collect::<Vec<_>>();
        self.cursors.retain(|node, _| is_there(node));
        self.state.nodes.retain(|node, _| is_there(node));
        let Some(own) = own.map(str::to_owned).filter(|own| !is_there(own)) else { return };
        if mark.is_some() || read.contains(&own) {
            let what = "rolled back: the log is missing".to_owned();
            self.rolled_back = Some(Damage { file: log.join(own), what });
        }
    }

    /// Takes in what is new in the log of one node.
    pub fn refresh_node(&mut self, directory: &dyn Handle, reading: Reading) -> io::Result<()> {
        // What was damaged may be mended by now, or have been half of a change.
        let is_doubtful = reading.own && !self.damage.is_empty();
        let cursor = self.cursors.get(reading.node).filter(|_| !is_doubtful).cloned();
        let files = open_files(directory, cursor.as_ref())?;
        let cursor = match cursor {
            Some(cursor) if still_holds(&files, &cursor)? => Some(cursor),
            _ => None,
        };
        let files = match cursor {
            Some(_) => files,
            None => open_files(directory, None)?,
        };
        if cursor.is_none() || !reading.own {
            // Another's log is read no further than its first damage, so what is still damaged is found again.
            let known = if reading.own { &mut self.damage } else { &mut self.foreign };
            known.retain(|damage| !damage.file.starts_with(reading.path));
        }
        let state = match cursor {
            Some(_) => self.state.nodes.remove(reading.node).unwrap_or_default(),
            None => NodeState::default(),
        };
        let progress = self.progress.clone();
        let mut fold = Fold { state, cursor, progress, ..Fold::new(reading) };
        let outcome = fold.take(&files);
        let Fold { state, cursor, damage, news, .. } = fold;
        self.news = self.news.saturating_add(news);
        let known = if reading.own { &mut self.damage } else { &mut self.foreign };
        let fresh: Vec<_> = damage.into_iter().filter(|one| !known.contains(one)).collect();
        known.extend(fresh);
        if reading.own {
            if cursor.is_none() {
                self.damage.extend(base::alone(directory, reading.path)?);
            }
            self.rolled_back = rollback::seen(reading, cursor.as_ref(), &files)?;
        }
        if let Some(cursor) = cursor {
            self.cursors.insert(reading.node.to_owned(), cursor);
            self.state.nodes.insert(reading.node.to_owned(), state);
        } else {
            self.cursors.remove(reading.node);
            self.state.nodes.remove(reading.node);
        }
        outcome
    }
}

/// What is shown each line that counts, with its bytes.
pub(super) type Watch<'a> = dyn FnMut(&Placed, &[u8]) + 'a;

/// One pass over the files of a node.
pub(super) struct Fold<'a> {
    pub(super) reading: Reading<'a>,
    pub(super) state: NodeState,
    pub(super) cursor: Option<Cursor>,
    pub(super) damage: Vec<Damage>,
    news: u64,
    /// The last segment to be read, where not all are.
    last: Option<u64>,
    /// Is shown each line that counts, with its bytes.
    watch: Option<&'a mut Watch<'a>>,
    pub(super) progress: Progress,
    /// What whoever is told is told that is done.
    pub(super) doing: &'static str,
    /// The bytes of all that is to be read.
    total: u64,
}

impl<'a> Fold<'a> {
    /// A pass from the beginning.
    pub(super) fn new(reading: Reading<'a>) -> Self {
        Fold {
            reading,
            state: NodeState::default(),
            cursor: None,
            damage: Vec::new(),
            news: 0,
            last: None,
            watch: None,
            progress: Progress::default(),
            doing: "reading the log",
            total: 0,
        }
    }

    /// A pass that goes on from a place.
    pub(super) fn behind(reading: Reading<'a>, state: NodeState, cursor: Cursor) -> Self {
        Fold { state, cursor: Some(cursor), ..Fold::new(reading) }
    }

    /// A pass from the beginning to the end of segment `last`, on which each line that counts is shown.
    pub(super) fn watched(
        reading: Reading<'a>,
        last: Option<u64>,
        watch: &'a mut Watch<'a>,
    ) -> Self {
        Fold { last, watch: Some(watch), ..Fold::new(reading) }
    }
}

impl Fold<'_> {
    pub(super) fn take(&mut self, files: &Files) -> io::Result<()> {
        self.total = if self.progress.is_told() { files.len()? } else { 0 };
        let mut expected = match &self.cursor {
            Some(cursor) if files.segments.contains_key(&cursor.segment) => cursor.segment,
            // All that was read is in a base by now.
            Some(cursor) => cursor.segment.saturating_add(1),
            None => self.begin(files)?,
        };
        let last = self.last.unwrap_or(u64::MAX);
        for (number, open) in files.segments.range(..=last) {
            if expected != *number {
                if !self.reading.own {
                    // It may be on its way; what stands behind it is read once it is here.
                    return Ok(());
                }
                self.note(expected, "the segment is missing".to_owned());
            }
            let next = files.segments.get(&(number + 1));
            let sealed = next.map(|next| next.header.as_ref().and_then(|h| h.prev.as_ref()));
            if !self.take_segment(*number, open.file.as_ref(), sealed)? && !self.reading.own {
                return Ok(());
            }
            expected = number + 1;
        }
        Ok(())
    }

    /// Begins at the base, or at nothing. Says which segment comes next.
    fn begin(&mut self, files: &Files) -> io::Result<u64> {
        let Some(base) = &files.base else { return Ok(1) };
        base.read(|placed, bytes| {
            self.progress.tell(self.doing, placed.end, self.total);
            if let Some(watch) = &mut self.watch {
                watch(placed, bytes);
            }
            // An oddity of a base is listed in the state like any other.
            let _ = self.state.apply(&placed.record);
        })?;
        self.news += base.len;
        let Some(end) = &base.header.end else { return Ok(1) };
        self.state.facts.last_seq = end.seq;
        self.state.facts.last_ts = end.ts.unwrap_or(self.state.facts.last_ts);
        let crc = end.crc.as_ref().and_then(|crc| crc.as_bytes().try_into().ok());
        self.cursor = crc.map(|crc| Cursor { segment: end.segment, offset: end.len, crc });
        let next = end.segment.saturating_add(1);
        if files.segments.is_empty() && self.reading.own {
            self.note(next, "the segment behind the base is missing".into());
        }
        Ok(next)
    }

    /// Takes in the new lines of a segment. `sealed` is what the header of the next says of its end, where there is
    /// a next one. Says whether everything up to its end is there.
    fn take_segment(
        &mut self,
        number: u64,
        file: &dyn Handle,
        sealed: Option<Option<&SegmentEnd>>,
    ) -> io::Result<bool> {
        let start = match &self.cursor {
            Some(cursor) if cursor.segment == number => cursor.offset,
            _ => 0,
        };
        let limit = match sealed {
            Some(Some(end)) if end.segment == number => Some(end.len),
            Some(_) => {
                if self.reading.own {
                    let what = "the header of the next segment does not say where it ends";
                    self.note(number, what.into());
                }
                None
            }
            None => None,
        };
        let upto = limit.filter(|_| !self.reading.salvage).unwrap_or(u64::MAX);
        let bytes = segment::read_range(file, start, upto)?;
        if bytes.is_empty() && self.is_no_file(number, &file.stat()?) {
            return Ok(false);
        }
        self.news += bytes.len() as u64;
        let mut lines = segment::cut(&bytes, start);
        if self.reading.salvage {
            segment::put_in_order(
                &mut lines.good,
                sealed.flatten().filter(|end| end.segment == number),
            );
        }
        self.progress.tell(self.doing, self.news, self.total);
        let whole = lines.good_prefix == lines.end && limit.is_none_or(|limit| limit == lines.end);
        let mut count_all = self.reading.own;
        if !whole && limit.is_some() {
            // In another's log what is not there yet is on its way; a line that does not hold is not.
            if self.reading.own || !lines.bad.is_empty() {
                self.note(number, format!("it does not hold from byte {} on", lines.good_prefix));
            }
        } else if !whole || lines.good_prefix == 0 {
            // What stands behind the mark was never acknowledged: the next writer rotates, and says so. But no segment is
            // named before its header is synced.
            let marked = self.reading.mark.filter(|mark| mark.segment == number);
            let synced = marked.map_or(0, |mark| mark.len).max(u64::from(self.reading.own));
            let was_synced = synced > lines.good_prefix;
            count_all = was_synced || self.reading.salvage;
            if was_synced {
                let what = format!("it was synced and does not hold at byte {}", lines.good_prefix);
                self.note(number, what);
            }
        }
        for placed in &lines.good {
            if placed.end > lines.good_prefix && !count_all {
                break;
            }
            let at = |place: u64| usize::try_from(place - start).unwrap_or(usize::MAX);
            if !self.take_line(number, placed, &bytes[at(placed.start)..at(placed.end)]) {
                return Ok(false);
            }
        }
        Ok(whole)
    }

    /// Takes in a line; says no where a foreign log has a gap before it.
    fn take_line(&mut self, number: u64, placed: &Placed, bytes: &[u8]) -> bool {
        let record = &placed.record;
        if let Event::Segment(header) = &record.event {
            if header.segment != number || header.node != self.reading.node {
                let what =
                    format!("its header is of segment {} of {}", header.segment, header.node);
                self.note(number, what);
                if !self.reading.own || header.node != self.reading.node {
                    return false;
                }
            }
        } else {
            let expected = self.state.facts.last_seq.saturating_add(1);
            if record.seq != expected {
                self.commit_before_gap(expected);
                let what = format!("seq {} stands where {expected} should", record.seq);
                self.note(number, what);
                if !self.reading.own {
                    return false;
                }
            }
        }
        if let Event::BatchCommitted(batch) = &record.event {
            // Jobs move that were read before, some of them into a checkpoint that is as good as none from now on.
            const OF_A_JOB: u64 = 200;
            self.news = self.news.saturating_add(batch.count.saturating_mul(OF_A_JOB));
        }
        let repeated = record.ts <= self.state.facts.last_ts && record.seq != 0;
        if repeated {
            self.state.facts.last_seq = self.state.facts.last_seq.max(record.seq);
        } else {
            match self.short_batch(placed, bytes) {
                Some((placed, bytes)) => self.apply(&placed, &bytes),
                None => self.apply(placed, bytes),
            }
        }
        self.cursor = Some(Cursor { segment: number, offset: placed.end, crc: placed.crc });
        true
    }

    /// Takes in what counts.
    fn apply(&mut self, placed: &Placed, bytes: &[u8]) {
        if let Some(watch) = &mut self.watch {
            watch(placed, bytes);
        }
        // An event that cannot be is listed in the state, and replay goes on.
        let _ = self.state.apply(&placed.record);
    }

    fn is_no_file(&mut self, number: u64, stat: &Stat) -> bool {
        stat.no_file().inspect(|no_file| self.note(number, no_file.to_string())).is_some()
    }

    fn note(&mut self, number: u64, what: String) {
        const KEPT: usize = 100;
        let file = self.reading.path.join(segment::file_name(number));
        if self.damage.len() < KEPT {
            self.damage.push(Damage { file, what });
        }
    }
}

/// The latest `ts` of any node but `own` that is less than 5 minutes ahead of `now`.
pub fn latest_foreign(state: &State, own: &str, now: Timestamp) -> Option<Timestamp> {
    let ahead = now.after(std::time::Duration::from_secs(300));
    let others = state.nodes.iter().filter(|(node, _)| node.as_str() != own);
    others.map(|(_, state)| state.facts.last_ts).filter(|ts| *ts < ahead).max()
}
