//! A log that is written by hand, and everything that is found in it.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::domain::bytes::Bytes;
use crate::domain::event::{BaseEnd, Event, QueuePaused};
use crate::store::line;
use crate::store::real_disk::RealDisk;

/// A log of three segments with two lines each, of which `seq` says when they were written.
pub(super) struct Draft {
    pub(super) home: tempfile::TempDir,
    pub(super) own: bool,
    pub(super) mark: Option<Mark>,
}

pub(super) fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + i64::try_from(micros).unwrap())
}

/// The line of this `seq`, all of which are of one length.
pub(super) fn pause(seq: u64) -> Vec<u8> {
    pause_at(seq, at(10 * seq))
}

pub(super) fn pause_at(seq: u64, ts: Timestamp) -> Vec<u8> {
    let event = Event::QueuePaused(QueuePaused { queue: Some("q".into()), until: None });
    line::encode(seq, ts, ts, &event)
}

pub(super) fn lines(seqs: impl IntoIterator<Item = u64>) -> Vec<u8> {
    seqs.into_iter().flat_map(pause).collect()
}

/// How long a line is.
pub(super) fn one() -> u64 {
    pause(1).len() as u64
}

/// A header that follows two lines for each of the segments before.
pub(super) fn head(number: u64) -> Segment {
    let prev = (number > 1).then(|| end_of(number - 1));
    Segment {
        v: segment::VERSION,
        node: "desk".into(),
        segment: number,
        boot: "boot".into(),
        why: "size".into(),
        prev,
        carried: 0,
        config: BTreeMap::new(),
        requires: Vec::new(),
        end: None,
        cut: BTreeMap::new(),
        app: "test".into(),
    }
}

/// Where a segment of the draft ends.
pub(super) fn end_of(number: u64) -> SegmentEnd {
    let len = (encode(head(number)).len() as u64) + 2 * one();
    let (seq, ts) = (2 * number, Some(at(20 * number)));
    SegmentEnd { segment: number, len, seq, ts, crc: None }
}

pub(super) fn encode(header: Segment) -> Vec<u8> {
    let ts = at(20 * (header.segment - 1) + 1);
    line::encode(0, ts, ts, &Event::Segment(Box::new(header)))
}

/// A base that is whole and stands for the segments up to `last`.
pub(super) fn base_to(last: u64) -> Vec<u8> {
    let mut bytes = encode(Segment { end: Some(end_of(last)), prev: None, ..head(last) });
    let crc = line::verify(&bytes[..bytes.len() - 1]).unwrap();
    let sum = format!("{:08x}", crc32c::crc32c(&crc)).into_bytes();
    let footer = Event::BaseEnd(BaseEnd { lines: 1, sum: Bytes(sum) });
    bytes.extend(line::encode(0, at(0), at(0), &footer));
    bytes
}

impl Draft {
    pub(super) fn new(segments: u64) -> Draft {
        let draft = Draft { home: tempfile::tempdir().unwrap(), own: true, mark: None };
        (1..=segments).for_each(|number| draft.write(number, head(number)));
        draft
    }

    /// Writes a segment with another header.
    pub(super) fn write(&self, number: u64, header: Segment) {
        self.put(number, &[encode(header), lines([2 * number - 1, 2 * number])].concat());
    }

    pub(super) fn put(&self, number: u64, bytes: &[u8]) {
        fs::write(self.path(number), bytes).unwrap();
    }

    pub(super) fn put_base(&self, first: u64, last: u64, bytes: &[u8]) {
        fs::write(self.home.path().join(segment::base_name(first, last)), bytes).unwrap();
    }

    pub(super) fn path(&self, number: u64) -> PathBuf {
        self.home.path().join(segment::file_name(number))
    }

    pub(super) fn bytes(&self, number: u64) -> Vec<u8> {
        fs::read(self.path(number)).unwrap()
    }

    pub(super) fn remove(&self, number: u64) {
        fs::remove_file(self.path(number)).unwrap();
    }

    /// Has a segment synced up to its line of this number, the header being 0.
    pub(super) fn mark(mut self, number: u64, line: usize) -> Self {
        let bytes = self.bytes(number);
        let lines: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').take(line + 1).collect();
        let last = lines.last().unwrap().strip_suffix(b"\n").unwrap();
        let crc = line::verify(last).unwrap();
        self.mark = Some(Mark {
            node: "desk".into(),
            segment: number,
            len: lines.concat().len() as u64,
            seq: 2 * (number - 1) + line as u64,
            line: String::from_utf8(crc.to_vec()).unwrap(),
            boot: "boot".into(),
        });
        self
    }

    pub(super) fn survey(&self) -> Survey {
        Survey::take(&RealDisk, self.home.path(), "desk", self.own, self.mark.clone()).unwrap()
    }

    /// Everything that is found, one a line.
    #[track_caller]
    pub(super) fn assert(&self, condition: Condition, missing: &[(u64, u64)], expected: &[&str]) {
        let survey = self.survey();
        let mut found = Vec::new();
        for check in &survey.checks {
            for finding in &check.found {
                let file = finding.file.strip_prefix(self.home.path()).unwrap();
                let file = file.to_str().unwrap().trim_end_matches(".jsonl");
                let file = file.trim_start_matches('0');
                found.push(format!("{} of {file}: {}", check.name, finding.what));
            }
            // A way out is shown where there is something to get out of.
            let is_fault = check.level() == Level::Fault;
            let has_one = is_fault && (check.name != "mark" || survey.is_rolled_back);
            assert_eq!(check.hint.is_some(), has_one, "{}", check.name);
        }
        assert_eq!(found, expected);
        assert_eq!((survey.condition(), &*survey.missing), (condition, missing));
        assert_eq!(survey.is_clean(), expected.is_empty());
    }

    pub(super) fn summary(&self, name: &str) -> String {
        let survey = self.survey();
        survey.checks.into_iter().find(|check| check.name == name).unwrap().summary
    }
}
