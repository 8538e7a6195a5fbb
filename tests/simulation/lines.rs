//! The lines of a log, found in its bytes without the fold: which of them hold, and which count.
//!
//! Knows what headers and bases say of other files, and no state.

use std::collections::BTreeMap;

use queuectl::domain::event::{Event, Record, Segment};
use queuectl::store::segment::{self, Lines, SegmentName};

use crate::medium::{Inode, Medium};

/// A line that counts.
#[derive(Debug)]
pub struct Line {
    pub file: SegmentName,
    /// Where it ends.
    pub end: u64,
    pub record: Record,
    pub text: Vec<u8>,
}

/// The files of a log, as they are at one moment.
pub struct Log {
    files: BTreeMap<SegmentName, (Vec<u8>, Lines)>,
}

impl Log {
    /// Reads them where they lie.
    pub fn of(medium: &Medium, directory: Inode) -> Self {
        let read = |(name, inode): (&String, &Inode)| {
            let bytes = medium.bytes(*inode).to_vec();
            let lines = segment::cut(&bytes, 0);
            SegmentName::parse(name).map(|name| (name, (bytes, lines)))
        };
        Log { files: medium.names(directory).into_iter().flatten().filter_map(read).collect() }
    }

    /// The bytes of a file.
    pub fn bytes(&self, name: SegmentName) -> Option<&[u8]> {
        self.files.get(&name).map(|(bytes, _)| bytes.as_slice())
    }

    /// The number of the segment that is written to, if there is one.
    pub fn active(&self) -> Option<u64> {
        self.files.keys().filter_map(|name| segment_number(*name)).max()
    }

    /// The header of a segment.
    pub fn header(&self, number: u64) -> Option<&Segment> {
        let (_, lines) = self.files.get(&SegmentName::Segment(number))?;
        match &lines.good.first().filter(|line| line.start == 0)?.record.event {
            Event::Segment(header) => Some(header),
            _ => None,
        }
    }

    /// What is never written to again: bases, and segments behind which another stands, as far as they count. By name.
    pub fn sealed(&self) -> BTreeMap<String, Vec<u8>> {
        let sealed = self.files.iter().filter_map(|(name, (bytes, _))| match *name {
            SegmentName::Base(first, last) => {
                Some((segment::base_name(first, last), bytes.clone()))
            }
            SegmentName::Segment(number) => {
                let end = usize::try_from(self.end(number)).unwrap();
                Some((segment::file_name(number), bytes.get(..end)?.to_vec()))
            }
        });
        sealed.collect()
    }

    /// The lines that count: of the newest base, and of the segments above it, each up to where the next says that it
    /// ends.
    pub fn counted(&self) -> Vec<Line> {
        let base = self.base();
        let last = base.map_or(0, |(_, last)| last);
        let mut counted = Vec::new();
        for (name, (bytes, lines)) in &self.files {
            let end = match *name {
                SegmentName::Base(first, last) if base == Some((first, last)) => u64::MAX,
                SegmentName::Segment(number) if number > last => self.end(number),
                _ => continue,
            };
            for line in lines.good.iter().filter(|line| line.end <= end) {
                let (file, record, end) = (*name, line.record.clone(), line.end);
                let text = text(bytes, line.start, line.end).to_vec();
                counted.push(Line { file, end, record, text });
            }
        }
        counted
    }

    /// Where a segment ends. Where nobody says, whatever holds may count.
    fn end(&self, number: u64) -> u64 {
        let prev = self.header(number + 1).and_then(|next| next.prev.as_ref());
        prev.filter(|prev| prev.segment == number).map_or(u64::MAX, |prev| prev.len)
    }

    /// The newest base that is whole, or one that is not whole where it alone has what it stands for.
    fn base(&self) -> Option<(u64, u64)> {
        let has = |number| self.files.contains_key(&SegmentName::Segment(number));
        let counts = |name: &SegmentName, (_, lines): &(Vec<u8>, Lines)| match *name {
            SegmentName::Base(first, last) => {
                let ends = lines.good.last();
                let ends = ends.is_some_and(|end| matches!(end.record.event, Event::BaseEnd(_)));
                let is_whole = ends && lines.good_prefix == lines.end;
                (is_whole || !(first..=last).all(has)).then_some((last, first))
            }
            SegmentName::Segment(_) => None,
        };
        let bases = self.files.iter().filter_map(|(name, file)| counts(name, file));
        bases.max().map(|(last, first)| (first, last))
    }
}

fn segment_number(name: SegmentName) -> Option<u64> {
    match name {
        SegmentName::Segment(number) => Some(number),
        SegmentName::Base(..) => None,
    }
}

fn text(bytes: &[u8], start: u64, end: u64) -> &[u8] {
    let at = |place: u64| usize::try_from(place).unwrap();
    &bytes[at(start)..at(end)]
}
