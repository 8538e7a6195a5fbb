//! The lines of all logs as they stand, merged into one order, and later those that came since.
//!
//! A line counts as it does for the fold: up to where its segment was sealed, once, and in another node's log only
//! while the lines before it are there. Reads one segment of each node at a time. Knows no job and no terminal.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use super::base;
use super::disk::{Disk, Handle, Open};
use super::files::{open_files, still_holds};
use super::mark::Mark;
use super::replay::{Cursor, Damage};
use super::segment::{self, Placed};
use super::{Store, StoreError};
use crate::domain::event::{Event, Record, SegmentEnd};
use crate::domain::timestamp::Timestamp;

/// A line of a log.
#[derive(Debug, Clone)]
pub struct Line {
    /// The node whose log it is in.
    pub node: String,
    /// What it says.
    pub record: Record,
    /// The line as it stands, without its newline.
    pub text: String,
}

/// How far the logs have been read.
#[derive(Debug, Default)]
pub struct Tail {
    nodes: BTreeMap<String, Reached>,
    /// What is wrong with the own node's log, as far as it was read.
    pub damage: Vec<Damage>,
    /// How many events were summed up by a compaction before they were handed on one by one.
    pub summed_up: u64,
}

/// How far one log has been read.
#[derive(Debug, Clone, Default)]
struct Reached {
    cursor: Option<Cursor>,
    ts: Option<Timestamp>,
    seq: Option<u64>,
}

impl Tail {
    /// Hands on every line that has not been handed on yet, in order. `take` says whether to go on.
    ///
    /// Errors: where a file that is there can't be read, and what `take` fails with.
    pub fn read<E: From<StoreError>>(
        &mut self,
        store: &Store,
        mut take: impl FnMut(Line) -> Result<bool, E>,
    ) -> Result<(), E> {
        let logs = store.place().logs();
        let failed = || StoreError::io("read", &logs);
        let mut sources = self.sources(store.disk().as_ref(), &logs, store).map_err(failed())?;
        loop {
            for source in &mut sources {
                source.fill().map_err(failed())?;
            }
            for source in &mut sources {
                self.damage.append(&mut source.damage);
                self.summed_up += std::mem::take(&mut source.summed_up);
            }
            let next = sources
                .iter_mut()
                .filter_map(|source| {
                    let placed = source.lines.front()?;
                    Some(((placed.0.record.ts, source.node.clone()), source))
                })
                .min_by(|a, b| a.0.cmp(&b.0));
            let Some((_, source)) = next else { return Ok(()) };
            let line = source.next();
            self.nodes.insert(source.node.clone(), source.reached.clone());
            let Some(line) = line else { continue };
            if !take(line)? {
                return Ok(());
            }
        }
    }

    fn sources(&self, disk: &dyn Disk, logs: &Path, store: &Store) -> io::Result<Vec<Source>> {
        let own = store.place().node();
        let names = match disk.open(logs, Open::Directory) {
            Ok(directory) => directory.names()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut sources = Vec::new();
        for node in names.into_iter().filter(|name| !name.starts_with('.')) {
            let reached = self.nodes.get(&node).cloned().unwrap_or_default();
            match disk.open(&logs.join(&node), Open::Directory) {
                Ok(directory) => {
                    let is_own = own == Some(node.as_str());
                    let source = Source::new(node, directory.as_ref(), reached, is_own);
                    match source {
                        Ok(mut source) => {
                            source.mark = if is_own { store.read_mark() } else { None };
                            source.path = logs.join(&source.node);
                            sources.push(source);
                        }
                        // What is wrong in another node's directory keeps nobody from reading this one.
                        Err(_) if !is_own => {}
                        Err(error) => return Err(error),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sources)
    }
}

impl Store {
    /// How many bytes the logs of all nodes have.
    ///
    /// Errors: where a directory that is there can't be listed.
    pub fn log_bytes(&self) -> Result<u64, StoreError> {
        let logs = self.place().logs();
        let sum = || -> io::Result<u64> {
            let directory = self.disk().open(&logs, Open::Directory)?;
            let mut sum = 0;
            for node in directory.names()?.iter().filter(|name| !name.starts_with('.')) {
                let Ok(log) = directory.open_in(node, Open::Directory) else { continue };
                // A file that is gone by now has no bytes.
                sum += log
                    .names()?
                    .iter()
                    .filter_map(|name| Some(log.stat_in(name).ok()?.len))
                    .sum::<u64>();
            }
            Ok(sum)
        };
        match sum() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            other => other.map_err(StoreError::io("list", &logs)),
        }
    }
}

/// One log, read a segment at a time.
struct Source {
    node: String,
    reached: Reached,
    segments: VecDeque<Part>,
    lines: VecDeque<(Placed, String)>,
    number: u64,
    /// Where the segments end that the base stands for whose lines are at hand.
    base: Option<SegmentEnd>,
    is_own: bool,
    mark: Option<Mark>,
    path: PathBuf,
    damage: Vec<Damage>,
    summed_up: u64,
}

/// A segment that is still to be read, from `start` to `limit`; or a base, which stands for segments up to `base`.
struct Part {
    number: u64,
    file: Box<dyn Handle>,
    start: u64,
    limit: Option<u64>,
    base: Option<SegmentEnd>,
}

impl Source {
    fn new(
        node: String,
        directory: &dyn Handle,
        mut reached: Reached,
        is_own: bool,
    ) -> io::Result<Source> {
        let mut files = open_files(directory, reached.cursor.as_ref())?;
        let lost = match &reached.cursor {
            Some(cursor) => !still_holds(&files, cursor)?,
            None => false,
        };
        if lost {
            // The names of the lines say which of them were handed on.
            reached.cursor = None;
            files = open_files(directory, None)?;
        }
        // Whoever has followed the log to the end of the base has seen all that it stands for.
        let base = files.base.filter(|_| reached.cursor.is_none()).and_then(|base| {
            let (number, start, limit) = (base.last, 0, Some(base.len));
            let end = base.header.end.filter(|end| reached.ts < end.ts)?;
            Some(Part { number, file: base.file, start, limit, base: Some(end) })
        });
        let sealed: BTreeMap<u64, u64> = files
            .segments
            .values()
            .filter_map(|open| open.header.as_ref()?.prev.as_ref())
            .map(|end| (end.segment, end.len))
            .collect();
        let start_of = |number| match &reached.cursor {
            Some(cursor) if cursor.segment == number => cursor.offset,
            _ => 0,
        };
        let segments = files.segments.into_iter().map(|(number, open)| Part {
            number,
            file: open.file,
            start: start_of(number),
            limit: sealed.get(&number).copied(),
            base: None,
        });
        let segments = base.into_iter().chain(segments).collect();
        let (mark, path, damage, lines) = (None, PathBuf::new(), Vec::new(), VecDeque::new());
        let (number, base) = (0, None);
        let summed_up = 0;
        Ok(Source {
            node,
            reached,
            segments,
            lines,
            number,
            base,
            is_own,
            mark,
            path,
            damage,
            summed_up,
        })
    }

    /// Reads the next segment once the lines of the last are used up.
    fn fill(&mut self) -> io::Result<()> {
        while self.lines.is_empty() {
            let Some(mut part) = self.segments.pop_front() else { return Ok(()) };
            self.number = part.number;
            self.base.clone_from(&part.base);
            let limit = part.limit.unwrap_or(u64::MAX);
            if part.base.is_some() {
                let (bytes, next) = base::read_some(part.file.as_ref(), part.start, limit)?;
                self.take(&bytes, part.start, segment::cut(&bytes, part.start).good);
                part.start = next;
                if part.start < limit && !self.lines.is_empty() {
                    self.segments.push_front(part);
                }
                continue;
            }
            let bytes = segment::read_range(part.file.as_ref(), part.start, limit)?;
            let mut cut = segment::cut(&bytes, part.start);
            let is_whole =
                cut.good_prefix == cut.end && part.limit.is_none_or(|limit| limit == cut.end);
            let mark = self.mark.as_ref().filter(|mark| mark.segment == part.number);
            let was_synced = mark.is_some_and(|mark| mark.len > cut.good_prefix);
            if self.is_own && !is_whole && (part.limit.is_some() || was_synced) {
                let what = format!("it does not hold from byte {} on", cut.good_prefix);
                let file = self.path.join(segment::file_name(part.number));
                self.damage.push(Damage { file, what });
            }
            if part.limit.is_none() && !was_synced {
                cut.good.retain(|placed| placed.end <= cut.good_prefix);
            }
            self.take(&bytes, part.start, cut.good);
        }
        Ok(())
    }

    /// Takes the lines of `bytes`, which begin at `start`.
    fn take(&mut self, bytes: &[u8], start: u64, lines: Vec<Placed>) {
        for placed in lines {
            let at = |place: u64| usize::try_from(place - start).unwrap_or(usize::MAX);
            let line = bytes.get(at(placed.start)..at(placed.end)).unwrap_or_default();
            let text = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
            self.lines.push_back((placed, text));
        }
    }

    /// The next line that was not handed on yet.
    fn next(&mut self) -> Option<Line> {
        let (placed, text) = self.lines.pop_front()?;
        let record = placed.record;
        if let Some(end) = self.base.clone() {
            return self.next_of_base(record, text, &end);
        }
        let is_header = matches!(record.event, Event::Segment(_));
        let follows = self.reached.seq.is_none_or(|seq| record.seq <= seq + 1);
        if !(is_header || follows || self.is_own) {
            // What lies between is still on its way here.
            self.lines.clear();
            self.segments.clear();
            return None;
        }
        let (segment, offset, crc) = (self.number, placed.end, placed.crc);
        self.reached.cursor = Some(Cursor { segment, offset, crc });
        if !is_header {
            self.reached.seq = Some(record.seq);
            if self.reached.ts.is_some_and(|ts| record.ts <= ts) {
                return None;
            }
            self.reached.ts = Some(record.ts);
        }
        Some(Line { node: self.node.clone(), record, text })
    }

    /// A line of a base, where it says more than was handed on before the base was written.
    fn next_of_base(&mut self, record: Record, text: String, end: &SegmentEnd) -> Option<Line> {
        if matches!(record.event, Event::BaseEnd(_)) {
            // Who begins with a base has missed nothing of what it is shown.
            self.summed_up += self.reached.seq.map_or(0, |seq| end.seq.saturating_sub(seq));
            (self.reached.ts, self.reached.seq) = (end.ts, Some(end.seq));
        }
        let since = match &record.event {
            Event::JobRecorded(job) => job.job(record.seq, record.wall()).updated_at,
            _ => record.ts,
        };
        let is_news = self.reached.ts.is_none_or(|ts| since > ts);
        is_news.then(|| Line { node: self.node.clone(), record, text })
    }
}

#[cfg(test)]
#[path = "tail_tests.rs"]
mod tests;
