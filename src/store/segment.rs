//! The files of a node's log: what they are called, and how one is read line by line.
//!
//! Names are matched strictly: conflict copies and temporary files of sync tools are never read as logs.

use std::io;

use super::disk::Handle;
use super::line::{self, Crc};
use crate::domain::event::{Event, Record, Segment, SegmentEnd};

/// The version of the format this program writes.
pub const VERSION: u32 = 1;

/// A file of a log, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SegmentName {
    /// `00000041.jsonl`.
    Segment(u64),
    /// `00000001-00000038.base.jsonl`: stands for the segments from the first number to the second.
    Base(u64, u64),
}

impl SegmentName {
    /// Reads a name; none where it is not exactly of the shape.
    pub fn parse(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(".jsonl")?;
        if let Some(range) = stem.strip_suffix(".base") {
            let (first, last) = range.split_once('-')?;
            let (first, last) = (number(first)?, number(last)?);
            return (first <= last).then_some(SegmentName::Base(first, last));
        }
        Some(SegmentName::Segment(number(stem)?))
    }
}

/// The name of a segment.
pub fn file_name(segment: u64) -> String {
    format!("{segment:08}.jsonl")
}

/// The name of a base.
pub fn base_name(first: u64, last: u64) -> String {
    format!("{first:08}-{last:08}.base.jsonl")
}

fn number(digits: &str) -> Option<u64> {
    let strict = (8..=18).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
        && (digits.len() == 8 || !digits.starts_with('0'));
    // No higher number is read from a header.
    strict.then(|| digits.parse().ok()).flatten().filter(|n| (1..line::LARGEST).contains(n))
}

/// A line that holds what it says, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    /// What it says.
    pub record: Record,
    /// Its checksum.
    pub crc: Crc,
    /// Where it begins.
    pub start: u64,
    /// Where the next line begins.
    pub end: u64,
}

/// A stretch of a segment, cut into lines.
#[derive(Debug, Default)]
pub struct Lines {
    /// The lines that hold what they say, in order.
    pub good: Vec<Placed>,
    /// The stretches that are no lines: where each begins and ends, without a last line that is not ended yet.
    pub bad: Vec<(u64, u64)>,
    /// Where the first stretch begins that is no line, or is not ended yet; else the end of it all.
    pub good_prefix: u64,
    /// The end of it all.
    pub end: u64,
}

/// Cuts `bytes`, which begin at `offset` of their segment, into lines; in parallel where they are many.
pub fn cut(bytes: &[u8], offset: u64) -> Lines {
    const CHUNK: usize = 1 << 20;
    if bytes.len() <= 2 * CHUNK {
        return cut_chunk(bytes, offset);
    }
    let mut chunks = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let goal = (start + CHUNK).min(bytes.len());
        let end = memchr::memchr(b'\n', &bytes[goal..]).map_or(bytes.len(), |at| goal + at + 1);
        chunks.push((start, end));
        start = end;
    }
    use rayon::prelude::*;
    let parts: Vec<Lines> = chunks
        .into_par_iter()
        .map(|(start, end)| cut_chunk(&bytes[start..end], offset + start as u64))
        .collect();
    let mut whole = Lines { good_prefix: offset, end: offset, ..Lines::default() };
    for part in parts {
        if whole.good_prefix == whole.end {
            whole.good_prefix = part.good_prefix;
        }
        whole.good.extend(part.good);
        whole.bad.extend(part.bad);
        whole.end = part.end;
    }
    whole
}

fn cut_chunk(bytes: &[u8], offset: u64) -> Lines {
    let mut lines = Lines { end: offset + bytes.len() as u64, ..Lines::default() };
    let mut first_bad = None;
    let mut start = 0;
    for newline in memchr::memchr_iter(b'\n', bytes) {
        let (from, to) = (offset + start as u64, offset + newline as u64 + 1);
        match line::decode(&bytes[start..newline]) {
            Ok((record, crc)) => lines.good.push(Placed { record, crc, start: from, end: to }),
            Err(_) => {
                first_bad.get_or_insert(from);
                lines.bad.push((from, to));
            }
        }
        start = newline + 1;
    }
    lines.good_prefix = first_bad.unwrap_or(offset + start as u64);
    lines
}

/// Reads from `start` to `end`, or to the end of the file where that comes first.
pub fn read_range(file: &dyn Handle, start: u64, end: u64) -> io::Result<Vec<u8>> {
    const LARGEST: u64 = 1 << 20;
    // News are mostly short, and a large buffer costs more than the reading of them.
    let mut goal = 16 << 10;
    let mut bytes = Vec::new();
    let mut at = start;
    while at < end {
        let step = goal.min(end - at);
        goal = (goal * 4).min(LARGEST);
        let mut part = vec![0; usize::try_from(step).expect("BUG: a step over 1 MiB")];
        let count = file.read_at(&mut part, at)?;
        if count == 0 {
            break;
        }
        part.truncate(count);
        at += count as u64;
        match bytes.is_empty() {
            true => bytes = part,
            false => bytes.append(&mut part),
        }
    }
    Ok(bytes)
}

/// Whether stable storage has what memory has, from `start` to `end`, and that is lines: what a failed sync has dropped
/// may be gone from memory too by now.
pub fn is_stored(file: &dyn Handle, start: u64, end: u64) -> io::Result<bool> {
    let seen = read_range(file, start, end)?;
    let mut stored = vec![0; seen.len()];
    let mut at = 0;
    while at < stored.len() {
        match file.read_stable(&mut stored[at..], start + at as u64)? {
            0 => return Ok(false),
            count => at += count,
        }
    }
    let is_line =
        |line: &[u8]| line.strip_suffix(b"\n").is_some_and(|line| line::verify(line).is_some());
    let is_whole = start + stored.len() as u64 == end;
    Ok(is_whole && seen == stored && stored.split_inclusive(|byte| *byte == b'\n').all(is_line))
}

/// Reads the header of a segment; none where its first line is not a whole one of this kind.
pub fn read_header(file: &dyn Handle) -> io::Result<Option<(Placed, Segment)>> {
    let mut bytes = Vec::new();
    let mut goal = 1024;
    loop {
        bytes.extend(read_range(file, bytes.len() as u64, goal)?);
        if let Some(newline) = memchr::memchr(b'\n', &bytes) {
            let Ok((record, crc)) = line::decode(&bytes[..newline]) else { return Ok(None) };
            let Event::Segment(header) = &record.event else { return Ok(None) };
            let header = Segment::clone(header);
            let end = newline as u64 + 1;
            return Ok(Some((Placed { record, crc, start: 0, end }, header)));
        }
        if (bytes.len() as u64) < goal || goal >= line::LONGEST as u64 {
            return Ok(None);
        }
        goal *= 2;
    }
}

/// How the header is not the one of segment `number`, where it is another's. No reader would find what is written there.
pub(super) fn misplaced(number: u64, header: &Segment) -> Option<String> {
    if header.segment != number {
        return Some(format!("its header is of segment {}", header.segment));
    }
    let before = header.prev.as_ref().map_or(0, |prev| prev.segment);
    (before != number - 1).then(|| match before {
        0 => "its header says nothing of the segment before it".to_owned(),
        before => format!("its header says that it follows segment {before}"),
    })
}

/// Reads the last line of a file of `len` bytes; none where the file does not end with a whole line that holds.
pub fn read_last(file: &dyn Handle, len: u64) -> io::Result<Option<Placed>> {
    // Before the longest line stands the newline of another.
    const LARGEST: u64 = line::LONGEST as u64 + 1;
    let mut want = 1024;
    loop {
        let start = len.saturating_sub(want);
        let bytes = read_range(file, start, len)?;
        let Some(body) = bytes.strip_suffix(b"\n") else { return Ok(None) };
        let newline = memchr::memrchr(b'\n', body);
        if newline.is_some() || start == 0 {
            let at = newline.map_or(0, |at| at + 1);
            let placed = line::decode(&body[at..]).ok().map(|(record, crc)| Placed {
                record,
                crc,
                start: start + at as u64,
                end: len,
            });
            return Ok(placed);
        }
        if want == LARGEST {
            return Ok(None);
        }
        want = LARGEST.min(want * 4);
    }
}

/// Puts lines of a damaged segment where their `seq` says that they belong, wherever they stand by now. Those that are
/// above the end of the segment were thrown away when it was sealed.
pub(super) fn put_in_order(lines: &mut Vec<Placed>, end: Option<&SegmentEnd>) {
    let last = end.map_or(u64::MAX, |end| end.seq);
    lines.retain(|placed| placed.record.seq <= last);
    lines.sort_by_key(|placed| placed.record.seq);
}

#[cfg(test)]
#[path = "segment_tests.rs"]
mod tests;
