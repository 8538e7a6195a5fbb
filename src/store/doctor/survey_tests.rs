//! Logs that are not there as a whole, bases, and what was synced.

use super::Condition::{Damaged, RolledBack, Whole};
use super::draft::{Draft, at, base_to, encode, end_of, head, lines, one, pause, pause_at};
use super::*;
use crate::store::real_disk::RealDisk;

#[test]
fn a_whole_log_is_counted_and_nothing_is_found_in_it() {
    let draft = Draft::new(3);
    draft.assert(Whole, &[], &[]);
    assert_eq!(draft.summary("lines"), "9 lines in 3 files");
    assert_eq!(draft.summary("sequence"), "1 to 6");
    for (number, line) in [(1, 0), (1, 2), (3, 0), (3, 1), (3, 2)] {
        Draft::new(3).mark(number, line).assert(Whole, &[], &[]);
    }
    let none = Draft::new(0);
    none.assert(Whole, &[], &[]);
    assert_eq!(none.summary("sequence"), "nothing yet");
    let based = Draft::new(3);
    based.put_base(1, 2, &base_to(2));
    [1, 2].into_iter().for_each(|number| based.remove(number));
    based.assert(Whole, &[], &[]);
    assert_eq!(based.summary("lines"), "5 lines in 2 files");
    based.mark(3, 2).assert(Whole, &[], &[]);
}

#[test]
fn a_log_that_is_not_there_is_missed_where_something_was_synced_and_one_that_cannot_be_read_is_an_error()
 {
    let draft = Draft::new(1).mark(1, 2);
    let path = draft.home.path().join("none");
    let take = |mark| Survey::take(&RealDisk, &path, "desk", true, mark);
    assert_eq!(take(None).unwrap().condition(), Whole);
    let survey = take(draft.mark.clone()).unwrap();
    assert_eq!((survey.condition(), survey.missing), (RolledBack, vec![(1, 2)]));
    std::os::unix::fs::symlink(&path, &path).unwrap();
    assert!(take(None).is_err());
}

#[test]
fn segments_that_are_missing_are_counted() {
    let draft = Draft::new(2);
    draft.remove(1);
    draft.assert(
        Damaged,
        &[(1, 2)],
        &["sequence of 2: seq 1 to 2 are missing", "headers of 1: the segment is missing"],
    );
    let draft = Draft::new(3);
    draft.remove(2);
    draft.assert(
        Damaged,
        &[(3, 4)],
        &["sequence of 3: seq 3 to 4 are missing", "headers of 2: the segment is missing"],
    );
    let draft = Draft::new(4);
    [2, 3].into_iter().for_each(|number| draft.remove(number));
    draft.assert(
        Damaged,
        &[(3, 6)],
        &["sequence of 4: seq 3 to 6 are missing", "headers of 2: the segments 2 to 3 are missing"],
    );
}

#[test]
fn of_bases_the_newest_that_is_whole_is_where_the_log_begins() {
    let broken = |last| base_to(last)[1..].to_vec();
    let first = "bytes 0 to LEN are no line that holds";
    let named = |number: u64, rest: &str| {
        let len =
            encode(Segment { end: Some(end_of(number)), prev: None, ..head(number) }).len() - 1;
        format!("bases of 1-0000000{number}.base: {}{rest}", first.replace("LEN", &len.to_string()))
    };
    let stands = "a base stands for it; the next compaction removes it";
    // Both whole, and what they stand for partly there.
    let draft = Draft::new(4);
    draft.remove(1);
    draft.put_base(1, 2, &base_to(2));
    draft.put_base(1, 3, &base_to(3));
    draft.assert(
        Whole,
        &[],
        &[
            "bases of 1-00000002.base: a newer base stands for it",
            &format!("bases of 2: {stands}"),
            &format!("bases of 3: {stands}"),
        ],
    );
    assert_eq!(draft.summary("bases"), "2 bases");
    // The older one is broken.
    [2, 3].into_iter().for_each(|number| draft.remove(number));
    draft.put_base(1, 2, &broken(2));
    draft.assert(Whole, &[], &[&named(2, "; a newer base stands for it")]);
    // The only one is broken, and what it stands for is there, or gone.
    let draft = Draft::new(3);
    draft.put_base(1, 2, &broken(2));
    draft.assert(Whole, &[], &[&named(2, "; what it stands for is still there")]);
    draft.remove(1);
    draft.remove(2);
    draft.assert(Damaged, &[], &[&named(2, "")]);
    // A segment that goes on from another place than the base.
    let draft = Draft::new(3);
    draft.put_base(1, 2, &base_to(2));
    draft.remove(1);
    draft.remove(2);
    let prev = SegmentEnd { len: end_of(2).len + 1, ..end_of(2) };
    draft.write(3, Segment { prev: Some(prev), ..head(3) });
    let len = end_of(2).len;
    let what = format!(
        "headers of 3: it follows segment 2, byte {}, seq 4, and the base ends at segment 2, byte {len}, seq 4",
        len + 1
    );
    draft.assert(Damaged, &[], &[&what]);
    // Nothing behind the base.
    draft.remove(3);
    draft.assert(Damaged, &[], &["headers of 3: the segment behind the base is missing"]);
}

#[test]
fn what_was_synced_is_there_or_the_log_was_rolled_back() {
    let back = "mark of 3: the log was rolled back:";
    let full = end_of(3).len;
    // Cut before the mark, in the last segment and in an earlier one.
    let draft = Draft::new(3).mark(3, 2);
    draft.put(3, &[encode(head(3)), pause(5)].concat());
    let cut = format!("{full} bytes of it were synced, and {} are there", full - one());
    draft.assert(RolledBack, &[(6, 6)], &[&format!("{back} {cut}")]);
    // The segment is gone, also the one behind a base.
    let draft = Draft::new(3).mark(3, 2);
    draft.remove(3);
    let gone = format!("{back} it was synced up to seq 6, and is missing");
    draft.assert(RolledBack, &[(5, 6)], &[&gone]);
    let draft = Draft::new(3).mark(3, 1);
    draft.put_base(1, 2, &base_to(2));
    draft.remove(1);
    draft.remove(2);
    draft.put(3, &[encode(head(3)), pause_at(5, at(51)), pause(6)].concat());
    let other = format!("{back} another line ends at byte {} than was synced there", full - one());
    draft.assert(RolledBack, &[], &[&other]);
    let draft = Draft::new(3).mark(3, 2);
    draft.put(3, &[encode(head(3)), pause(5), pause_at(6, at(61))].concat());
    let last = format!("{back} another line ends at byte {full} than was synced there");
    draft.assert(RolledBack, &[], &[&last]);
    // No line ends there.
    let mut draft = Draft::new(3).mark(3, 1);
    draft.mark.as_mut().unwrap().len += 1;
    let within =
        format!("{back} no line ends at byte {}, up to which it was synced", full - one() + 1);
    draft.assert(RolledBack, &[], &[&within]);
    // Of another node.
    let draft = Draft::new(3).mark(3, 2);
    draft.write(3, Segment { node: "nas".into(), ..head(3) });
    let nas = [
        "headers of 3: its header is of segment 3 of nas".to_owned(),
        format!("{back} its newest segment is of node nas"),
    ];
    draft.assert(RolledBack, &[(5, 6)], &[&nas[0], &nas[1]]);
}

/// An older log would not go on behind what was synced of it.
#[test]
fn where_the_log_goes_on_behind_the_mark_what_is_missing_before_it_is_damage() {
    let full = end_of(2).len;
    let draft = Draft::new(3).mark(2, 2);
    draft.put(2, &[encode(head(2)), pause(3)].concat());
    draft.assert(
        Damaged,
        &[(4, 4)],
        &[
            &format!("lines of 2: bytes {} to {full} are missing", full - one()),
            "sequence of 2: seq 4 is missing",
            &format!("mark of 2: {full} bytes of it were synced, and {} are there", full - one()),
        ],
    );
    let draft = Draft::new(3).mark(2, 2);
    let prev = SegmentEnd { len: full - one(), seq: 3, ..end_of(2) };
    draft.put(3, &[encode(Segment { prev: Some(prev), ..head(3) }), lines([4, 5])].concat());
    draft.assert(
        Damaged,
        &[],
        &[
            &format!(
                "lines of 2: {} bytes from byte {} on do not count, as the next segment says: they were torn",
                one(),
                full - one()
            ),
            &format!(
                "mark of 2: {full} bytes of it were synced, and the next segment counts {}",
                full - one()
            ),
        ],
    );
}

/// The last line that was acknowledged is lost, and nothing behind it tells of it but the mark.
#[test]
fn what_was_synced_behind_the_last_line_that_holds_is_missing() {
    let draft = Draft::new(3).mark(3, 2);
    let mut bytes = draft.bytes(3);
    let last = bytes.len() - 40;
    bytes[last] ^= 1;
    draft.put(3, &bytes);
    let full = end_of(3).len;
    let bad = format!(
        "lines of 3: bytes {} to {full} are no line that holds, and were synced",
        full - one()
    );
    draft.assert(Damaged, &[(6, 6)], &[&bad]);
}
