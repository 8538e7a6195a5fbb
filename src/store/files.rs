//! The files of one node's log that matter to a reader, all opened before any is read, so that none goes meanwhile.
//!
//! Knows what a base and a cursor are, and nothing of state.

use std::collections::BTreeMap;
use std::io;

use super::base::{self, Base};
use super::disk::{Handle, Open};
use super::replay::Cursor;
use super::segment::{self, SegmentName};
use crate::domain::event::Segment;

/// How often a listing is taken again because a file of it was gone by the time it was opened, or one was missing that
/// a compaction may have replaced while the names were read.
const RELISTINGS: usize = 10;

/// The files of one node's log that matter, all of them open.
pub(super) struct Files {
    pub(super) base: Option<Base>,
    pub(super) segments: BTreeMap<u64, OpenSegment>,
    /// Whether nothing that counts was left out, as it was read before.
    pub(super) is_all: bool,
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
            Ok(files) if files.has_gap(cursor) => {}
            other => return other,
        }
    }
    try_open_files(directory, cursor)
}

impl Files {
    /// How many bytes they have.
    pub(super) fn len(&self) -> io::Result<u64> {
        let base = self.base.as_ref().map_or(0, |base| base.len);
        self.segments.values().try_fold(base, |sum, open| Ok(sum + open.file.stat()?.len))
    }

    /// Whether a segment is missing that should be between what is there.
    fn has_gap(&self, cursor: Option<&Cursor>) -> bool {
        let first = match (cursor, &self.base) {
            (Some(_), Some(base)) => base.last + 1,
            // Where the cursor's own file is gone, it does not hold, and all is opened anew.
            (Some(_), None) => self.segments.keys().next().copied().unwrap_or(0),
            (None, Some(base)) => base.last + 1,
            (None, None) => 1,
        };
        !self.segments.keys().copied().eq(first..first + self.segments.len() as u64)
    }
}

fn try_open_files(directory: &dyn Handle, cursor: Option<&Cursor>) -> io::Result<Files> {
    let names: Vec<SegmentName> =
        directory.names()?.iter().filter_map(|name| SegmentName::parse(name)).collect();
    let mut first = cursor.map_or(0, |cursor| cursor.segment);
    let has_cursor_file = |cursor: &Cursor| names.contains(&SegmentName::Segment(cursor.segment));
    // A compaction that died may have left some of the segments that its base stands for, and not others.
    let is_covered = |cursor: &Cursor| {
        names.iter().any(|n| matches!(n, SegmentName::Base(_, last) if *last >= cursor.segment))
    };
    let mut base = None;
    if cursor.is_none_or(|cursor| !has_cursor_file(cursor) || is_covered(cursor)) {
        base = base::newest(directory, &names)?;
        first = base.as_ref().map_or(first, |base| first.max(base.last + 1));
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
    Ok(Files { base, segments, is_all: cursor.is_none() })
}

/// Whether the place is still where it was, so that reading can go on from it.
pub(super) fn still_holds(files: &Files, cursor: &Cursor) -> io::Result<bool> {
    let Some(open) = files.segments.get(&cursor.segment) else {
        // What was read to its end and compacted since is as good as before.
        return Ok(files.base.as_ref().is_some_and(|base| base.ends_at(cursor)));
    };
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

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
