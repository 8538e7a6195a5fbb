//! Every line of one node's log, held against its checksum, its neighbours, the headers and the mark.
//!
//! Reads a file at a time. Knows what explains bytes that are no lines; knows no job.

mod base;
mod lines;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use self::base::base_end;
use super::{Check, Condition, Level, counted};
use crate::domain::event::{Segment, SegmentEnd};
use crate::domain::timestamp::Timestamp;
use crate::store::disk::{Disk, Handle, Open, is_no_directory};
use crate::store::line::Crc;
use crate::store::mark::Mark;
use crate::store::segment::{self, SegmentName};

/// What was found in one log.
pub(super) struct Survey {
    /// `lines`, `sequence`, `headers`, `bases` and `mark`.
    pub(super) checks: Vec<Check>,
    /// Which lines are missing: from this `seq` to that one.
    pub(super) missing: Vec<(u64, u64)>,
    is_torn: bool,
    is_rolled_back: bool,
}

impl Survey {
    /// What there is to say of a log that isn't there yet.
    pub(super) fn empty() -> Self {
        let names = ["lines", "sequence", "headers", "bases", "mark"];
        let why = "this machine has written nothing here yet";
        let checks = names.map(|name| Check::skipped(name, why)).into();
        Survey { checks, missing: Vec::new(), is_torn: false, is_rolled_back: false }
    }

    /// Reads the log of a node, `own` where it is this machine's.
    ///
    /// Errors: where a file that is there can't be read; `NotFound` where one went away meanwhile.
    pub(super) fn take(
        disk: &dyn Disk,
        path: &Path,
        node: &str,
        own: bool,
        mark: Option<Mark>,
    ) -> io::Result<Survey> {
        let directory = match disk.open(path, Open::Directory) {
            Err(error) if is_no_directory(&error) => {
                return Ok(Survey::of_a_missing_log(path, mark.as_ref()));
            }
            other => other?,
        };
        let mut walk = Walk { own, ..Walk::new(directory.as_ref(), path, node, mark) };
        walk.files()?;
        Ok(walk.end())
    }

    fn of_a_missing_log(path: &Path, mark: Option<&Mark>) -> Survey {
        let mut survey = Survey::empty();
        for check in &mut survey.checks {
            check.skipped = Some("there is no log".to_owned());
        }
        if let (Some(mark), Some(check)) = (mark, survey.checks.last_mut()) {
            let what = format!("the log is missing, and up to seq {} it was synced", mark.seq);
            check.fault(path, what);
            check.skipped = None;
            survey.missing.push((1, mark.seq));
            survey.is_rolled_back = true;
        }
        survey
    }

    /// Whether nothing was found at all.
    pub(super) fn is_clean(&self) -> bool {
        self.checks.iter().all(|check| check.level() == Level::Ok)
    }

    /// What is the case with the log as a whole.
    pub(super) fn condition(&self) -> Condition {
        let is_faulty = self.checks.iter().any(|check| check.level() == Level::Fault);
        match (self.is_rolled_back, is_faulty, self.is_torn) {
            (true, _, _) => Condition::RolledBack,
            (false, true, _) => Condition::Damaged,
            (false, false, true) => Condition::Torn,
            (false, false, false) => Condition::Whole,
        }
    }
}

/// The reading of one log, from its base to its end.
struct Walk<'a> {
    directory: &'a dyn Handle,
    path: &'a Path,
    node: &'a str,
    /// Whether it is written here.
    own: bool,
    mark: Option<Mark>,
    lines: Check,
    sequence: Check,
    headers: Check,
    bases: Check,
    marks: Check,
    missing: Vec<(u64, u64)>,
    /// The last line that counts.
    seq: u64,
    ts: Timestamp,
    /// Where the base ends, while no segment behind it was read.
    base_end: Option<SegmentEnd>,
    /// The line that ends where the mark is.
    at_mark: Option<Crc>,
    /// How many lines hold, in how many files.
    counts: (u64, u64),
    is_torn: bool,
    is_rolled_back: bool,
}

impl<'a> Walk<'a> {
    fn new(directory: &'a dyn Handle, path: &'a Path, node: &'a str, mark: Option<Mark>) -> Self {
        Walk {
            directory,
            path,
            node,
            own: false,
            mark,
            lines: Check::new("lines"),
            sequence: Check::new("sequence"),
            headers: Check::new("headers"),
            bases: Check::new("bases"),
            marks: Check::new("mark"),
            missing: Vec::new(),
            seq: 0,
            ts: Timestamp::MIN,
            base_end: None,
            at_mark: None,
            counts: (0, 0),
            is_torn: false,
            is_rolled_back: false,
        }
    }

    fn files(&mut self) -> io::Result<()> {
        let names = self.directory.names()?;
        let names: Vec<_> = names.iter().filter_map(|name| SegmentName::parse(name)).collect();
        let mut segments: BTreeMap<u64, Option<Segment>> = BTreeMap::new();
        let mut bases = Vec::new();
        for name in names {
            match name {
                SegmentName::Segment(number) => {
                    let file = self.open(&segment::file_name(number))?;
                    let header = segment::read_header(file.as_ref())?;
                    segments.insert(number, header.map(|(_, header)| header));
                }
                SegmentName::Base(first, last) => bases.push((last, first)),
            }
        }
        bases.sort_unstable();
        let first = self.take_bases(&bases, &segments)?;
        let mut expected = first;
        for number in segments.keys().copied() {
            if number < first {
                let what = "a base stands for it; the next compaction removes it";
                self.bases.note(&self.file(number), what);
                continue;
            }
            if number != expected {
                let file = self.file(expected);
                let what = match number - expected {
                    1 => "the segment is missing".to_owned(),
                    _ => format!("the segments {expected} to {} are missing", number - 1),
                };
                self.headers.fault(&file, what);
            }
            expected = number + 1;
            let next = segments.get(&expected).map(|next| next.as_ref()?.prev.as_ref());
            self.take_segment(number, next)?;
        }
        self.hold_against_mark(first, &segments)?;
        if segments.range(first..).next().is_none() && first > 1 {
            self.headers.fault(&self.file(first), "the segment behind the base is missing");
        }
        Ok(())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Handle>> {
        self.directory.open_in(name, Open::Read)
    }

    fn file(&self, number: u64) -> PathBuf {
        self.path.join(segment::file_name(number))
    }

    /// Looks at every base, and begins at the newest that is whole. Says which segment comes first behind it.
    fn take_bases(
        &mut self,
        bases: &[(u64, u64)],
        segments: &BTreeMap<u64, Option<Segment>>,
    ) -> io::Result<u64> {
        let mut start = 1;
        for (last, first) in bases.iter().rev().copied() {
            let name = segment::base_name(first, last);
            let file = self.path.join(&name);
            let opened = self.open(&name)?;
            let bytes = segment::read_range(opened.as_ref(), 0, u64::MAX)?;
            let lines = segment::cut(&bytes, 0);
            self.counts = (self.counts.0 + lines.good.len() as u64, self.counts.1 + 1);
            let end = match opened.stat()?.no_file() {
                Some(no_file) => Err(no_file.to_string()),
                None => base_end(&lines, self.node, last),
            };
            match end {
                Ok(end) if start == 1 => {
                    start = last + 1;
                    (self.seq, self.ts) = (end.seq, end.ts.unwrap_or(Timestamp::MIN));
                    self.base_end = Some(end);
                    continue;
                }
                Ok(_) => self.bases.note(&file, "a newer base stands for it"),
                Err(what) if start > 1 => {
                    self.bases.note(&file, format!("{what}; a newer base stands for it"));
                }
                Err(what) if (first..=last).all(|number| segments.contains_key(&number)) => {
                    self.bases.note(&file, format!("{what}; what it stands for is still there"));
                }
                Err(what) => {
                    self.bases.fault(&file, what);
                    // Nothing else has what it stands for, so what still holds of it is where the log begins.
                    start = last + 1;
                    let next = segments.get(&start).and_then(|next| next.as_ref()?.prev.as_ref());
                    self.seq = next.map_or(0, |prev| prev.seq);
                }
            }
        }
        self.bases.summary = counted(bases.len() as u64, "base", "bases");
        Ok(start)
    }

    /// Holds the log against how far it was known to be synced.
    fn hold_against_mark(
        &mut self,
        first: u64,
        segments: &BTreeMap<u64, Option<Segment>>,
    ) -> io::Result<()> {
        let Some(mark) = self.mark.clone() else {
            self.marks.summary = "there is none, so less is known".to_owned();
            return Ok(());
        };
        self.marks.summary = format!("seq {}", mark.seq);
        if mark.segment < first {
            return Ok(());
        }
        let file = self.file(mark.segment);
        let newest = segments.iter().next_back();
        if let Some((number, header)) =
            newest.and_then(|(number, header)| Some((number, header.as_ref()?)))
            && header.node != self.node
        {
            let what = format!("its newest segment is of node {}", header.node);
            self.roll_back(&self.file(*number), what);
            return Ok(());
        }
        if !segments.contains_key(&mark.segment) {
            self.roll_back(&file, format!("it was synced up to seq {}, and is missing", mark.seq));
            return Ok(());
        }
        let there = self.open(&segment::file_name(mark.segment))?.stat()?;
        if there.no_file().is_some() {
            return Ok(());
        }
        let len = there.len;
        let next = segments.get(&(mark.segment + 1));
        let limit =
            next.and_then(|next| next.as_ref()?.prev.as_ref()).map_or(u64::MAX, |prev| prev.len);
        if len < mark.len {
            let what = format!("{} bytes of it were synced, and {len} are there", mark.len);
            match segments.range(mark.segment + 1..).next() {
                None => self.roll_back(&file, what),
                // An older log would not go on behind it.
                Some(_) => self.marks.fault(&file, what),
            }
        } else if limit < mark.len {
            let what = format!(
                "{} bytes of it were synced, and the next segment counts {limit}",
                mark.len
            );
            self.marks.fault(&file, what);
        } else if self.at_mark.is_some_and(|crc| crc.as_slice() != mark.line.as_bytes()) {
            self.roll_back(
                &file,
                format!("another line ends at byte {} than was synced there", mark.len),
            );
        } else if self.at_mark.is_none() && self.lines.level() < Level::Fault {
            self.roll_back(
                &file,
                format!("no line ends at byte {}, up to which it was synced", mark.len),
            );
        }
        Ok(())
    }

    fn roll_back(&mut self, file: &Path, what: String) {
        self.marks.fault(file, format!("the log was rolled back: {what}"));
        self.is_rolled_back = true;
        if let Some(mark) = self.mark.as_ref().filter(|mark| mark.seq > self.seq) {
            self.missing.push((self.seq + 1, mark.seq));
        }
    }

    fn end(mut self) -> Survey {
        let synced = self.mark.as_ref().map_or(0, |mark| mark.seq);
        if !self.is_rolled_back && synced > self.seq {
            // What was synced behind the last line that holds was acknowledged with it.
            self.missing.push((self.seq + 1, synced));
        }
        let (lines, files) = self.counts;
        self.lines.summary =
            format!("{} in {}", counted(lines, "line", "lines"), counted(files, "file", "files"));
        self.sequence.summary = match self.seq {
            0 => "nothing yet".to_owned(),
            seq => format!("1 to {seq}"),
        };
        let damaged =
            "queuectl doctor --repair keeps every line that holds, and says which are lost";
        for check in [&mut self.lines, &mut self.sequence, &mut self.headers, &mut self.bases] {
            check.hint = (check.level() == Level::Fault).then_some(damaged);
        }
        if self.is_rolled_back {
            self.marks.hint = Some(
                "put the newer log back; or queuectl doctor --repair goes on with what is left, as a new node",
            );
        }
        let Walk {
            lines, sequence, headers, bases, marks, missing, is_torn, is_rolled_back, ..
        } = self;
        let checks = vec![lines, sequence, headers, bases, marks];
        Survey { checks, missing, is_torn, is_rolled_back }
    }
}

#[cfg(test)]
#[path = "survey/draft_tests.rs"]
mod draft;

#[cfg(test)]
#[path = "survey_tests.rs"]
mod tests;
