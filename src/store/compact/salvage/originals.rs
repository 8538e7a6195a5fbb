//! The files of a damaged log, each in the place that it says it has.
//!
//! Knows which of them count; changes none.

use std::collections::BTreeMap;
use std::io;

use crate::domain::event::{Segment, SegmentEnd};
use crate::store::base::{self, Base};
use crate::store::disk::{Handle, Open};
use crate::store::files::{Files, OpenSegment};
use crate::store::segment::{self, SegmentName};

type Segments = BTreeMap<u64, OpenSegment>;

/// Opens what there is to read: the newest whole base, or one that is not whole where it alone has what it stands for,
/// and the segments above it.
pub(super) fn open(
    directory: &dyn Handle,
    node: &str,
    names: &[(String, SegmentName)],
) -> io::Result<Files> {
    let parsed: Vec<SegmentName> = names.iter().map(|(_, name)| *name).collect();
    let mut base = base::newest(directory, &parsed)?;
    let first = base.as_ref().map_or(1, |base| base.last + 1);
    let has = |number| parsed.contains(&SegmentName::Segment(number));
    let broken = parsed.iter().filter_map(|name| match name {
        SegmentName::Base(a, b) if *b >= first && !(first..=*b).all(has) => Some((*b, *a)),
        _ => None,
    });
    let broken = match (broken.max(), &base) {
        // Of a stray file that has nothing, none is the better for it.
        (Some((last, first)), Some(_)) if !has_lines(directory, first, last)? => None,
        (broken, _) => broken,
    };
    let first = broken.map_or(first, |(last, _)| last + 1);
    let mut segments = placed(directory, node, names)?;
    let segments = segments.split_off(&first);
    if let Some((last, first)) = broken {
        let file = directory.open_in(&segment::base_name(first, last), Open::Read)?;
        let len = file.stat()?.len;
        let header = segment::read_header(file.as_ref())?.map(|(_, header)| header);
        let is_sound =
            |header: &Segment| header.end.as_ref().is_some_and(|end| end.segment == last);
        let header = header.filter(is_sound).unwrap_or_else(|| header_of(last, &segments));
        base = Some(Base { last, header, file, len });
    }
    Ok(Files { base, segments, is_all: true })
}

/// Opens what a base that is not whole was to stand for, as far as it is there.
pub(super) fn open_below(
    directory: &dyn Handle,
    node: &str,
    names: &[(String, SegmentName)],
    last: u64,
) -> io::Result<Files> {
    let parsed: Vec<SegmentName> = names.iter().map(|(_, name)| *name).collect();
    let base = base::newest(directory, &parsed)?.filter(|base| base.last < last);
    let mut segments = placed(directory, node, names)?;
    segments.split_off(&(last + 1));
    let segments = segments.split_off(&base.as_ref().map_or(0, |base| base.last + 1));
    Ok(Files { base, segments, is_all: true })
}

/// Whether each segment has the name that its header says.
pub(super) fn is_in_place(files: &Files) -> bool {
    let mut headers =
        files.segments.iter().filter_map(|(at, open)| Some((at, open.header.as_ref()?)));
    headers.all(|(at, header)| header.segment == *at)
}

/// The segments by the numbers that their headers say, since a name is changed more easily; by their names where a
/// header says nothing, or what another has.
fn placed(
    directory: &dyn Handle,
    node: &str,
    names: &[(String, SegmentName)],
) -> io::Result<Segments> {
    let (mut segments, mut others) = (Segments::new(), Vec::new());
    for (name, parsed) in names {
        let SegmentName::Segment(number) = *parsed else { continue };
        let file = directory.open_in(name, Open::Read)?;
        let header = segment::read_header(file.as_ref())?.map(|(_, header)| header);
        let says = header.as_ref().filter(|header| header.node == node).map(|h| h.segment);
        let open = OpenSegment { file, header };
        match says {
            Some(says) if says != number => others.push((says, number, open)),
            _ => drop(segments.insert(number, open)),
        }
    }
    for (says, number, open) in others {
        let free = [says, number].into_iter().find(|at| !segments.contains_key(at));
        if let Some(at) = free {
            segments.insert(at, open);
        }
    }
    Ok(segments)
}

fn has_lines(directory: &dyn Handle, first: u64, last: u64) -> io::Result<bool> {
    let file = directory.open_in(&segment::base_name(first, last), Open::Read)?;
    let bytes = segment::read_range(file.as_ref(), 0, u64::MAX)?;
    Ok(!segment::cut(&bytes, 0).good.is_empty())
}

/// A header for a base that has lost its own: it ends where the next segment says that it begins.
fn header_of(last: u64, segments: &Segments) -> Segment {
    let next = segments.get(&(last + 1)).and_then(|next| next.header.clone());
    let prev = next.as_ref().and_then(|next| next.prev.clone());
    let (segment, len, crc) = (last, 0, None);
    let none = SegmentEnd { segment, len, seq: 0, ts: None, crc };
    Segment {
        v: segment::VERSION,
        node: String::new(),
        segment: last,
        boot: String::new(),
        why: String::new(),
        prev: None,
        carried: 0,
        config: next.map(|next| next.config).unwrap_or_default(),
        requires: Vec::new(),
        end: Some(prev.unwrap_or(none)),
        cut: BTreeMap::new(),
        app: String::new(),
    }
}

#[cfg(test)]
#[path = "originals_tests.rs"]
mod tests;
