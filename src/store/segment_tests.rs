//! How a segment is read: every length, and short answers of the disk.

use std::path::Path;

use super::*;
use crate::domain::event::BatchCommitted;
use crate::domain::timestamp::Timestamp;
use crate::store::disk::Disk as _;
use crate::store::disk::Open;
use crate::store::odd_disk::Odd;
use crate::store::real_disk::RealDisk;

/// A line with a field of so many bytes.
fn line(seq: u64, len: usize) -> Vec<u8> {
    let event = Event::BatchCommitted(BatchCommitted { batch: "b".repeat(len), count: seq });
    line::encode(seq, Timestamp::MIN, Timestamp::MIN, &event)
}

/// A line of so many bytes with its newline.
fn line_of(len: usize) -> Vec<u8> {
    let line = line(7, len - line(7, 0).len());
    assert_eq!(line.len(), len);
    line
}

/// A header of so many bytes with its newline.
fn header_of(len: usize) -> Vec<u8> {
    let header = |app: usize| {
        let text = r#"{"v":1,"node":"desk","segment":1,"boot":"b","why":"first","app":"#;
        let text = format!("{text}\"{}\"}}", "x".repeat(app));
        let header: Segment = serde_json::from_str(&text).unwrap();
        line::encode(0, Timestamp::MIN, Timestamp::MIN, &Event::Segment(Box::new(header)))
    };
    let header = header(len - header(0).len());
    assert_eq!(header.len(), len);
    header
}

fn file_of(place: &Path, content: &[u8]) -> Box<dyn Handle> {
    std::fs::write(place.join("file"), content).unwrap();
    RealDisk.open(&place.join("file"), Open::Read).unwrap()
}

#[test]
fn names_are_matched_strictly() {
    assert_eq!(SegmentName::parse("00000041.jsonl"), Some(SegmentName::Segment(41)));
    assert_eq!(SegmentName::parse("123456789.jsonl"), Some(SegmentName::Segment(123_456_789)));
    assert_eq!(SegmentName::parse("00000001-00000038.base.jsonl"), Some(SegmentName::Base(1, 38)));
    for other in [
        "41.jsonl",
        "000000041.jsonl",
        "00000000.jsonl",
        "18446744073709551615.jsonl",
        "00000041.sync-conflict-20260101.jsonl",
        ".00000041.jsonl.tmp",
        "00000041.jsonl~",
        "00000041 (1).jsonl",
        "00000038-00000001.base.jsonl",
        "+0000041.jsonl",
    ] {
        assert_eq!(SegmentName::parse(other), None, "{other}");
    }
}

#[test]
fn a_large_segment_is_cut_the_same_way_in_parallel() {
    let line = |seq| {
        let mut bytes = line(seq, 20_000);
        if seq % 10 == 9 {
            bytes[3] ^= 1;
        }
        bytes
    };
    let bytes: Vec<u8> = (0..110).flat_map(line).chain(*b"torn").collect();
    let (whole, plain) = (cut(&bytes, 7), cut_chunk(&bytes, 7));
    assert_eq!(whole.good, plain.good);
    assert_eq!(whole.bad, plain.bad);
    assert_eq!((whole.good_prefix, whole.end), (plain.good_prefix, plain.end));
    assert_eq!(whole.bad.len(), 11);
}

#[test]
fn a_file_is_read_whole_whatever_the_disk_gives_at_once() {
    let place = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let file = file_of(place.path(), &content);
    assert!(read_range(file.as_ref(), 0, u64::MAX).unwrap() == content);
    for (start, end) in [(0, 0), (5, 5), (9, 5), (7, 20_000), (16_384, 16_385), (100, 2_000_000)] {
        let expected = content.get(start as usize..end as usize).unwrap_or_default();
        assert!(read_range(file.as_ref(), start, end).unwrap() == expected, "{start}..{end}");
    }
    let short = Odd::in_steps(1000).open(&place.path().join("file"), Open::Read).unwrap();
    assert!(read_range(short.as_ref(), 7, 20_000).unwrap() == content[7..20_000]);
}

#[test]
fn what_is_stored_is_compared_to_its_end() {
    let place = tempfile::tempdir().unwrap();
    let lines = line(1, 50).repeat(20);
    file_of(place.path(), &lines);
    let (start, end) = (line(1, 50).len() as u64, lines.len() as u64);
    for step in [7, 1000, usize::MAX] {
        let file = Odd::in_steps(step).open(&place.path().join("file"), Open::Read).unwrap();
        assert!(is_stored(file.as_ref(), 0, end).unwrap(), "{step}");
        assert!(is_stored(file.as_ref(), start, end).unwrap(), "{step}");
        assert!(!is_stored(file.as_ref(), start, end + 1).unwrap(), "{step}");
    }
    let lost = Odd::always("stored file", io::ErrorKind::Other);
    let file = lost.open(&place.path().join("file"), Open::Read).unwrap();
    assert!(!is_stored(file.as_ref(), start, end).unwrap());
}

#[test]
fn a_header_is_read_up_to_the_length_of_the_longest_line() {
    let place = tempfile::tempdir().unwrap();
    let read = |content: &[u8]| read_header(file_of(place.path(), content).as_ref()).unwrap();
    for len in [200, 1023, 1024, 1025, 2048, 5000, line::LONGEST] {
        let bytes = [header_of(len), line(1, 3)].concat();
        let (placed, header) = read(&bytes).unwrap_or_else(|| panic!("none of {len} bytes"));
        assert_eq!((placed.start, placed.end, header.segment), (0, len as u64, 1));
        assert!(read(&bytes[..len - 1]).is_none(), "not ended at {len}");
    }
    assert!(read(&header_of(line::LONGEST + 1)).is_none());
    assert!(read(b"").is_none() && read(&line(1, 3)).is_none());
}

#[test]
fn the_last_line_is_read_up_to_the_length_of_the_longest() {
    let place = tempfile::tempdir().unwrap();
    let read = |content: &[u8]| {
        read_last(file_of(place.path(), content).as_ref(), content.len() as u64).unwrap()
    };
    for len in [200, 1023, 1024, 1025, 4096, 5000, line::LONGEST] {
        for before in [Vec::new(), line(6, 3000)] {
            let (start, bytes) = (before.len() as u64, [before, line_of(len)].concat());
            let placed = read(&bytes).unwrap_or_else(|| panic!("none of {len} bytes at {start}"));
            assert_eq!((placed.start, placed.end), (start, start + len as u64));
            assert_eq!(placed.record.seq, 7);
            assert!(read(&bytes[..bytes.len() - 1]).is_none(), "not ended at {len}");
        }
    }
    assert!(read(&[line(6, 3), line_of(line::LONGEST + 1)].concat()).is_none());
    assert!(read(b"").is_none() && read(b"\n").is_none());
}
