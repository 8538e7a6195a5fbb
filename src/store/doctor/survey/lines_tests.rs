//! Segments whose headers, ends and lines are not what they should be.

use std::fs;

use super::super::Condition::{Damaged, Torn, Whole};
use super::super::draft::{Draft, at, encode, end_of, head, lines, one, pause, pause_at};
use super::*;
use crate::domain::event::Segment;
use crate::store::line;

/// A header of the third segment, which lines are missing by it, and what is found.
type Case<'a> = (Segment, &'a [(u64, u64)], &'a [&'a str]);

#[test]
fn what_a_header_says_is_held_against_its_name_its_log_and_what_stands_before() {
    let follows = |change: fn(&mut SegmentEnd)| {
        let mut prev = end_of(2);
        change(&mut prev);
        Segment { prev: Some(prev), ..head(3) }
    };
    let unknown = "headers of 3: its header does not say where the segment before it ends";
    let cases: [Case<'_>; 7] = [
        (
            Segment { segment: 4, ..head(3) },
            &[],
            &["headers of 3: its header is of segment 4 of desk"],
        ),
        (
            Segment { node: "nas".into(), ..head(3) },
            &[],
            &["headers of 3: its header is of segment 3 of nas"],
        ),
        (
            Segment { prev: None, ..head(3) },
            &[],
            &[unknown, "headers of 3: its header says nothing of the segment before it"],
        ),
        (
            follows(|prev| prev.segment = 1),
            &[],
            &[unknown, "headers of 3: its header says that it follows segment 1"],
        ),
        (
            follows(|prev| prev.seq = 3),
            &[],
            &["headers of 3: it says that seq 3 came last before it, and 4 did"],
        ),
        (
            follows(|prev| prev.seq = 5),
            &[(5, 5)],
            &[
                "sequence of 2: seq 5 is missing",
                "sequence of 3: seq 5 stands there a second time, at byte HEAD",
            ],
        ),
        (
            follows(|prev| prev.len -= 1),
            &[(4, 4)],
            &[
                "lines of 2: 1 bytes from byte CUT on do not count, as the next segment says: they were torn",
                "sequence of 2: seq 4 is missing",
                "headers of 3: it says that the segment before ends within a line, at byte CUT",
            ],
        ),
    ];
    for (header, missing, expected) in cases {
        let draft = Draft::new(3);
        let is_of_another = header.node != "desk";
        let (long, cut) = (encode(header.clone()).len(), end_of(2).len - 1);
        draft.write(3, header);
        let fill =
            |what: &&str| what.replace("HEAD", &long.to_string()).replace("CUT", &cut.to_string());
        let expected: Vec<String> = expected.iter().map(fill).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        draft.assert(Damaged, missing, &expected);
        // The lines of another node count for nothing here.
        let last = if is_of_another { "1 to 4" } else { "1 to 6" };
        assert_eq!(draft.summary("sequence"), last);
    }
}

#[test]
fn a_header_of_a_newer_version_or_of_no_later_time_is_noted() {
    let draft = Draft::new(3);
    draft.write(3, Segment { v: segment::VERSION + 1, ..head(3) });
    let newer = "headers of 3: a newer version wrote it, and this one may only read it";
    draft.assert(Whole, &[], &[newer]);
    draft.write(3, Segment { requires: vec!["more".into()], ..head(3) });
    draft.assert(Whole, &[], &[newer]);
    let prev = SegmentEnd { ts: Some(at(41)), ..end_of(2) };
    draft.write(3, Segment { prev: Some(prev), ..head(3) });
    draft.assert(Whole, &[], &["headers of 3: its header is no later than the line before it"]);
}

#[test]
fn a_first_line_that_is_no_header_and_a_header_that_is_no_first_line_are_faults() {
    let draft = Draft::new(1);
    draft.put(1, &lines([1, 2]));
    draft.assert(Damaged, &[], &["headers of 1: its first line is not a header"]);
    draft.put(1, &[encode(head(1)), pause(1), encode(head(1)), pause(2)].concat());
    let second = encode(head(1)).len() as u64 + one();
    draft.assert(Damaged, &[], &[&format!("headers of 1: a header stands at byte {second}")]);
    draft.put(1, &[b"no line\n", &*lines([1, 2])].concat());
    let none = "headers of 1: its first line is no header that holds";
    draft.assert(Damaged, &[], &[&torn(0, 8 + 2 * one()), none]);
}

/// How a torn end is told of in segment 1.
fn torn(start: u64, end: u64) -> String {
    format!(
        "lines of 1: it is torn from byte {start} to {end}; the next writer begins a new segment"
    )
}

#[test]
fn what_is_no_line_is_a_torn_end_only_behind_what_was_synced_and_where_nothing_follows() {
    let first = encode(head(1));
    let begin = first.len() as u64;
    let bad = b"no line\n";
    let middle = [&*first, &pause(1), bad, bad, &pause(2), b"{\"seq"].concat();
    let (start, joined) = (begin + one(), begin + one() + 16);
    let end = middle.len() as u64;

    // Nothing of what follows a torn line counts.
    let draft = Draft::new(1);
    draft.put(1, &middle);
    draft.assert(Torn, &[], &[&torn(start, end)]);
    assert_eq!(draft.summary("sequence"), "1 to 1");
    // Synced up to the byte at which it begins, and beyond.
    let draft = draft.mark(1, 1);
    draft.assert(Torn, &[], &[&torn(start, end)]);
    let mut draft = draft;
    let whole = [&*first, &pause(1), bad, bad, &pause(2)].concat();
    let mark = draft.mark.as_mut().unwrap();
    (mark.len, mark.seq) = (whole.len() as u64, 2);
    mark.line =
        String::from_utf8(line::verify(pause(2).trim_ascii_end()).unwrap().to_vec()).unwrap();
    let synced =
        format!("lines of 1: bytes {start} to {joined} are no line that holds, and were synced");
    draft.assert(Damaged, &[], &[&synced, &torn(joined + one(), end)]);

    // Where a segment follows, nothing was torn that it counts, whatever its header is.
    draft.mark = None;
    draft.put(
        2,
        &[
            encode(Segment { prev: Some(SegmentEnd { len: end, ..end_of(1) }), ..head(2) }),
            lines([3, 4]),
        ]
        .concat(),
    );
    let faults = [
        format!("lines of 1: bytes {start} to {joined} are no line that holds"),
        format!("lines of 1: bytes {} to {end} are no line that holds", joined + one()),
    ];
    draft.assert(Damaged, &[], &[&faults[0], &faults[1]]);
    draft.put(2, &lines([3, 4]));
    draft.assert(
        Damaged,
        &[],
        &[
            &faults[0],
            &faults[1],
            "headers of 2: its header does not say where the segment before it ends",
            "headers of 2: its first line is not a header",
        ],
    );
}

#[test]
fn what_stands_behind_the_end_that_the_next_header_gives_does_not_count() {
    let draft = Draft::new(2);
    let len = end_of(1).len;
    let behind =
        |bytes: &[u8]| draft.put(1, &[encode(head(1)), lines([1, 2]), bytes.to_vec()].concat());
    let past = |count: u64| {
        format!(
            "lines of 1: {count} bytes from byte {len} on do not count, as the next segment says: they were torn"
        )
    };
    behind(b"no line\n");
    draft.assert(Whole, &[], &[&past(8)]);
    behind(&pause(3));
    draft.assert(Whole, &[], &[&past(one())]);
    draft.put(1, &[encode(head(1)), pause(1)].concat());
    let short = format!("lines of 1: bytes {} to {len} are missing", len - one());
    draft.assert(Damaged, &[(2, 2)], &[&short, "sequence of 1: seq 2 is missing"]);
    // What is no line before it was acknowledged, or may have been.
    draft.put(1, &[encode(head(1)), pause(1), b"x".repeat(one() as usize)].concat());
    let bad = format!("lines of 1: bytes {} to {len} are no line that holds", len - one());
    draft.assert(Damaged, &[(2, 2)], &[&bad, "sequence of 1: seq 2 is missing"]);
}

#[test]
fn each_seq_and_each_time_comes_after_the_last() {
    let draft = Draft::new(1);
    let begin = encode(head(1)).len() as u64;
    draft.put(1, &[encode(head(1)), lines([1, 3, 3])].concat());
    let again =
        format!("sequence of 1: seq 3 stands there a second time, at byte {}", begin + 2 * one());
    let late = "sequence of 1: seq 3 counts for nothing: its ts is no later than the one before";
    draft.assert(Damaged, &[(2, 2)], &["sequence of 1: seq 2 is missing", &again, late]);
    draft.put(1, &[encode(head(1)), pause(1), pause_at(2, at(10)), pause_at(3, at(11))].concat());
    draft.assert(Whole, &[], &[&late.replace("seq 3", "seq 2")]);
}

/// Writers follow no link, and readers do.
#[test]
fn a_link_is_a_fault_where_this_machine_writes() {
    for (number, own, expected) in [
        (1, true, &[][..]),
        (3, false, &[]),
        (
            3,
            true,
            &["headers of 3: it is a link that is not followed here or leads nowhere, and no file"],
        ),
    ] {
        let mut draft = Draft::new(3);
        draft.own = own;
        let aside = draft.home.path().join("aside");
        fs::rename(draft.path(number), &aside).unwrap();
        std::os::unix::fs::symlink(&aside, draft.path(number)).unwrap();
        let condition = if expected.is_empty() { Whole } else { Damaged };
        draft.assert(condition, &[], expected);
    }
}
