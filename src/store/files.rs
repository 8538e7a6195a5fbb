//! The files of one node's log that matter to a reader, all opened before any is read, so that none goes meanwhile.
//!
//! Knows what a base and a cursor are, and nothing of state.

use std::collections::BTreeMap;
use std::io;

use super::disk::{Handle, Open};
use super::replay::Cursor;
use super::segment::{self, Placed, SegmentName};
use crate::domain::event::{Event, Segment};

/// How often a listing is taken again because a file of it was gone by the time it was opened.
const RELISTINGS: usize = 10;

/// The files of one node's log that matter, all of them open.
pub(super) struct Files {
    pub(super) base: Option<(Segment, Vec<Placed>)>,
    pub(super) segments: BTreeMap<u64, OpenSegment>,
}

pub(super) struct OpenSegment {
    pub(super) file: Box<dyn Handle>,
    pub(super) header: Option<Segment>,
}

/// Opens everything from the cursor on, or from the newest base on, before any of it is read.
pub(super) fn open_files(directory: &dyn Handle, cursor: Option<&Cursor>) -> io::Result<Files> {
    for _ in 0..RELISTINGS {
        match try_open_files(directory, cursor) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
    }
    try_open_files(directory, cursor)
}

fn try_open_files(directory: &dyn Handle, cursor: Option<&Cursor>) -> io::Result<Files> {
    let names: Vec<SegmentName> =
        directory.names()?.iter().filter_map(|name| SegmentName::parse(name)).collect();
    let mut first = cursor.map_or(0, |cursor| cursor.segment);
    let mut base = None;
    if cursor.is_none() {
        let mut bases: Vec<(u64, u64)> = names
            .iter()
            .filter_map(|name| match name {
                SegmentName::Base(a, b) => Some((*b, *a)),
                SegmentName::Segment(_) => None,
            })
            .collect();
        bases.sort_unstable();
        while let (None, Some((b, a))) = (&base, bases.pop()) {
            base = read_base(directory, &segment::base_name(a, b))?;
            if base.is_some() {
                first = b + 1;
            }
        }
    }
    let mut segments = BTreeMap::new();
    for name in &names {
        if let SegmentName::Segment(number) = name
            && *number >= first
        {
            let file = directory.open_in(&segment::file_name(*number), Open::Read)?;
            let header = match cursor {
                Some(cursor) if cursor.segment == *number => None,
                _ => segment::read_header(file.as_ref())?.map(|(_, header)| header),
            };
            segments.insert(*number, OpenSegment { file, header });
        }
    }
    Ok(Files { base, segments })
}

/// Whether a file that is called a base is a whole one.
pub(super) fn is_base(directory: &dyn Handle, name: SegmentName) -> io::Result<bool> {
    let SegmentName::Base(first, last) = name else { return Ok(false) };
    Ok(read_base(directory, &segment::base_name(first, last))?.is_some())
}

/// Reads a base file; none where it is not whole, which makes it no base.
fn read_base(directory: &dyn Handle, name: &str) -> io::Result<Option<(Segment, Vec<Placed>)>> {
    let file = directory.open_in(name, Open::Read)?;
    let len = file.stat()?.len;
    let lines = segment::cut(&segment::read_range(file.as_ref(), 0, len)?, 0);
    if !lines.bad.is_empty() || lines.good_prefix != lines.end {
        return Ok(None);
    }
    let header = match lines.good.first().map(|placed| &placed.record.event) {
        Some(Event::Segment(header)) if header.end.is_some() => Segment::clone(header),
        _ => return Ok(None),
    };
    let whole = match lines.good.last().map(|placed| &placed.record.event) {
        Some(Event::BaseEnd(end)) => end.lines == lines.good.len() as u64 - 1,
        _ => false,
    };
    Ok(whole.then_some((header, lines.good)))
}

/// Whether the place is still where it was, so that reading can go on from it.
pub(super) fn still_holds(files: &Files, cursor: &Cursor) -> io::Result<bool> {
    let Some(open) = files.segments.get(&cursor.segment) else { return Ok(false) };
    let cut_before = files.segments.get(&(cursor.segment + 1)).and_then(|next| {
        let prev = next.header.as_ref()?.prev.as_ref()?;
        (prev.segment == cursor.segment).then_some(prev.len)
    });
    if cut_before.is_some_and(|len| len < cursor.offset) {
        return Ok(false);
    }
    let Some(start) = cursor.offset.checked_sub(11) else { return Ok(false) };
    let end = segment::read_range(open.file.as_ref(), start, cursor.offset)?;
    Ok(end.len() == 11 && end[..8] == cursor.crc && &end[8..] == b"\"}\n")
}
