//! What may become of the bytes of a file.
//!
//! Knows nothing of what they mean, but that lines end with a line feed.

use std::ops::Range;

/// One change to one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Flip {
        at: usize,
        bit: u8,
    },
    Zero(Range<usize>),
    Duplicate {
        line: usize,
    },
    Delete {
        line: usize,
    },
    Swap {
        line: usize,
    },
    Truncate {
        line: usize,
        kept: usize,
    },
    Cut {
        at: usize,
    },
    Remove,
    /// The content of this file is in its place.
    Replace {
        by: usize,
    },
}

/// How many of all possible changes are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thoroughness {
    /// So that mending after each takes seconds.
    Few,
    /// So that reading after each takes seconds: each byte, and every bit of some.
    Some,
    /// Each bit, range and cut.
    Every,
}

impl Change {
    pub const KINDS: [&'static str; 9] =
        ["cut", "delete", "duplicate", "flip", "remove", "replace", "swap", "truncate", "zero"];

    pub fn kind(&self) -> &'static str {
        match self {
            Change::Flip { .. } => "flip",
            Change::Zero(_) => "zero",
            Change::Duplicate { .. } => "duplicate",
            Change::Delete { .. } => "delete",
            Change::Swap { .. } => "swap",
            Change::Truncate { .. } => "truncate",
            Change::Cut { .. } => "cut",
            Change::Remove => "remove",
            Change::Replace { .. } => "replace",
        }
    }

    /// The first byte that may be another one.
    pub fn begins(&self, bytes: &[u8]) -> usize {
        let start = |line: usize| lines(bytes)[..line].iter().map(|line| line.len()).sum();
        match *self {
            Change::Flip { at, .. } | Change::Cut { at } => at,
            Change::Zero(ref range) => range.start,
            Change::Duplicate { line } => start(line + 1),
            Change::Delete { line } | Change::Swap { line } => start(line),
            Change::Truncate { line, kept } => start(line) + kept,
            Change::Remove | Change::Replace { .. } => 0,
        }
    }

    /// What is in the file afterwards; none where it is gone.
    pub fn apply(&self, bytes: &[u8], content: impl Fn(usize) -> Vec<u8>) -> Option<Vec<u8>> {
        let mut changed = bytes.to_vec();
        let mut lines = lines(bytes);
        match *self {
            Change::Flip { at, bit } => changed[at] ^= 1 << bit,
            Change::Zero(ref range) => changed[range.clone()].fill(0),
            Change::Duplicate { line } => lines.insert(line, lines[line]),
            Change::Delete { line } => drop(lines.remove(line)),
            Change::Swap { line } => lines.swap(line, line + 1),
            Change::Truncate { line, kept } => {
                lines[line] = &lines[line][..kept];
                lines.insert(line + 1, b"\n");
            }
            Change::Cut { at } => changed.truncate(at),
            Change::Remove => return None,
            Change::Replace { by } => changed = content(by),
        }
        let is_of_lines = ["duplicate", "delete", "swap", "truncate"].contains(&self.kind());
        Some(if is_of_lines { lines.concat() } else { changed })
    }

    /// All changes to a file of `files`, or so many as are tried.
    pub fn all(bytes: &[u8], file: usize, files: usize, how: Thoroughness) -> Vec<Change> {
        let (bytes_apart, ranges_apart, cuts_apart) = match how {
            Thoroughness::Few => (37, 173, 61),
            Thoroughness::Some => (2, 17, 5),
            Thoroughness::Every => (1, 1, 1),
        };
        let mut all = Vec::new();
        for at in (0..bytes.len()).step_by(bytes_apart) {
            let is_whole =
                how == Thoroughness::Every || (how == Thoroughness::Some && at % 32 == 0);
            let bits = if is_whole { 0..8 } else { (at % 7) as u8..(at % 7) as u8 + 1 };
            all.extend(bits.map(|bit| Change::Flip { at, bit }));
        }
        for len in [1, 8, 64, 512, 4096] {
            let starts = (0..bytes.len()).step_by(ranges_apart);
            let ranges = starts.map(|start| start..bytes.len().min(start + len));
            all.extend(
                ranges.filter(|range| range.len() == len || range.start == 0).map(Change::Zero),
            );
        }
        let count = lines(bytes).len();
        for line in 0..count {
            all.extend([Change::Duplicate { line }, Change::Delete { line }]);
            all.extend((line + 1 < count).then_some(Change::Swap { line }));
            let len = lines(bytes)[line].len();
            let kept = [0, 1, len / 2, len.saturating_sub(2)];
            all.extend(kept.map(|kept| Change::Truncate { line, kept }));
        }
        all.extend((0..bytes.len()).step_by(cuts_apart).map(|at| Change::Cut { at }));
        all.push(Change::Remove);
        all.extend((0..files).filter(|by| *by != file).map(|by| Change::Replace { by }));
        all
    }
}

/// The lines, each with its end.
fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').collect()
}
