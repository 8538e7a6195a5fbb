//! What becomes of written lines when others begin segments, compact, replace files, and when the disk fails.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::domain::event::{Event, QueuePaused};
use crate::domain::timestamp::Timestamp;
use crate::store::append::{Fate, Written};
use crate::store::clock::Clock;
use crate::store::disk::{Disk, Open};
use crate::store::error::StoreError;
use crate::store::log::Log;
use crate::store::mark::{self, Mark};
use crate::store::odd_disk::Odd;
use crate::store::real_disk::RealDisk;
use crate::store::rotate::Reason;
use crate::store::store_tests::{Queue, append_to, enqueue};
use crate::store::{line, segment};

fn now() -> Timestamp {
    Timestamp::from_micros(1_770_004_800_000_000)
}

/// A writer of a log that has one line in it.
fn log_on(queue: &Queue, disk: impl Disk + 'static) -> Log {
    enqueue(&mut queue.open(), &["first"]).unwrap();
    let place = queue.open().place().clone();
    Log::new(Arc::new(disk), Clock::Fixed(now()), place, "boot-1".into())
}

fn pause(queue: &str) -> Event {
    Event::QueuePaused(QueuePaused { queue: Some(queue.into()), until: None })
}

fn write(log: &mut Log, event: Event) -> Written {
    write_up_to(log, event, u64::MAX).unwrap()
}

fn write_up_to(log: &mut Log, event: Event, segment_size: u64) -> Result<Written, StoreError> {
    let mut locked = log.lock()?;
    locked.settle()?;
    locked.write(vec![event], Timestamp::MIN, segment_size)
}

fn mark_of(queue: &Queue) -> Mark {
    let local = RealDisk.open(&queue.open().place().local(), Open::Directory).unwrap();
    mark::read(mark::open(local.as_ref()).unwrap().as_ref()).unwrap().unwrap()
}

/// The end of the segment, as the mark says it.
fn end_of(queue: &Queue, number: u64) -> (u64, u64, u64, String) {
    let bytes = std::fs::read(queue.log(number)).unwrap();
    let last = segment::cut(&bytes, 0).good.pop().unwrap();
    (number, last.end, last.record.seq, String::from_utf8_lossy(&last.crc).into_owned())
}

fn marked(queue: &Queue) -> (u64, u64, u64, String) {
    let mark = mark_of(queue);
    (mark.segment, mark.len, mark.seq, mark.line)
}

fn replace_by_a_copy(path: &Path) {
    let copy = path.with_extension("copy");
    std::fs::copy(path, &copy).unwrap();
    std::fs::rename(copy, path).unwrap();
}

/// Another process begins a segment, since it takes the sync of the one before for failed.
fn doubt(queue: &Queue) {
    let place = queue.open().place().clone();
    let mut log = Log::new(Arc::new(RealDisk), Clock::Fixed(now()), place, "boot-1".into());
    let mut locked = log.lock().unwrap();
    locked.settle().unwrap();
    let mark = locked.mark().unwrap();
    locked.rotate_on_doubt(Reason::SyncError, mark.as_ref()).unwrap();
}

/// Another process begins a segment in an orderly way, and writes a base of those before it. `removes` says whether these
/// go, or whether it is ended before.
fn compact(queue: &Queue, removes: bool) {
    let mut store = queue.open();
    store.read().unwrap();
    store.seal().unwrap();
    let mut compactor = store.compactor().unwrap();
    if !removes {
        compactor.disk = Arc::new(Odd::failing(|call| call.starts_with("unlink 0")));
    }
    assert_eq!(compactor.run(None).is_ok(), removes);
}

#[test]
fn a_segment_is_full_when_the_next_line_would_exceed_its_size() {
    let queue = Queue::new();
    let mut log = log_on(&queue, RealDisk);
    let written = write(&mut log, pause("a"));
    let (step, end) = (written.end - written.start, written.end);
    assert_eq!(write_up_to(&mut log, pause("b"), end + step).unwrap().segment, 1);
    assert_eq!(write_up_to(&mut log, pause("c"), end + 2 * step - 1).unwrap().segment, 2);
    // One that has no lines yet takes what is longer than itself.
    let mut locked = log.lock().unwrap();
    locked.settle().unwrap();
    locked.rotate_orderly(Reason::Size, None, Vec::new()).unwrap();
    drop(locked);
    assert_eq!(write_up_to(&mut log, pause("d"), 10).unwrap().segment, 3);
    assert_eq!(write_up_to(&mut log, pause("e"), 10).unwrap().segment, 4);
}

#[test]
fn the_longest_line_is_written_and_a_longer_one_refused() {
    let queue = Queue::new();
    let mut log = log_on(&queue, RealDisk);
    let of = |len: usize| pause(&"x".repeat(len));
    let written = write(&mut log, of(1));
    let frame = (written.end - written.start) as usize - 1;
    let longest = write_up_to(&mut log, of(line::LONGEST - frame), u64::MAX).unwrap();
    assert_eq!(longest.end - longest.start, line::LONGEST as u64);
    match write_up_to(&mut log, of(line::LONGEST - frame + 1), u64::MAX) {
        Err(StoreError::TooLong { len, limit }) => assert_eq!(len, limit + 1),
        other => panic!("{:?}", other.map(|written| written.end)),
    }
}

#[test]
fn the_last_number_and_the_last_moment_are_given_once_and_named_in_the_error() {
    type Case = (&'static str, fn(&mut crate::store::log::Active));
    let cases: [Case; 2] = [
        ("the last line has the last seq", |active| active.seq = line::LARGEST - 1),
        ("the last line has the last moment", |active| {
            active.ts = Timestamp::from_micros(Timestamp::MAX.micros() - 1);
        }),
    ];
    for (words, nearly) in cases {
        let queue = Queue::new();
        let mut log = log_on(&queue, RealDisk);
        let mut locked = log.lock().unwrap();
        locked.settle().unwrap();
        nearly(locked.log.active.as_mut().unwrap());
        locked.write(vec![pause("a")], Timestamp::MIN, u64::MAX).unwrap();
        let refused = locked.write(vec![pause("b")], Timestamp::MIN, u64::MAX);
        let Err(StoreError::NotRecorded { source, .. }) = refused else { panic!("{words}") };
        assert!(source.to_string().starts_with(words), "{source}");
    }
}

#[test]
fn a_line_says_the_clock_where_it_is_more_than_a_second_behind() {
    let queue = Queue::new();
    let mut log = log_on(&queue, RealDisk);
    let mut locked = log.lock().unwrap();
    locked.settle().unwrap();
    for (apart, wall) in [(1_000_000, None), (1_000_001, Some(now()))] {
        let active = locked.log.active.as_mut().unwrap();
        (active.ts, active.header_ts) = (now(), now());
        let after = now().after(Duration::from_micros(apart - 1));
        let written = locked.write(vec![pause("a")], after, u64::MAX).unwrap();
        assert_eq!(written.records[0].wall, wall);
        // It is read as it was written.
        let bytes = std::fs::read(queue.log(1)).unwrap();
        assert_eq!(segment::cut(&bytes, 0).good.last().unwrap().record, written.records[0]);
    }
}

#[test]
fn what_was_written_to_a_file_that_a_copy_has_replaced_is_written_again() {
    let queue = Queue::new();
    let mut log = log_on(&queue, RealDisk);
    let written = write(&mut log, pause("a"));
    replace_by_a_copy(&queue.log(1));
    assert_eq!(log.commit(&written).unwrap(), Fate::Again);
}

#[test]
fn what_a_base_has_taken_the_place_of_counts() {
    let queue = Queue::new();
    let mut log = log_on(&queue, RealDisk);
    let written = write(&mut log, pause("a"));
    compact(&queue, true);
    assert!(!queue.log(1).exists());
    assert_eq!(log.commit(&written).unwrap(), Fate::Durable);
}

/// A compaction removes segments without the lock, the lowest first: the one behind may go between two looks.
#[test]
fn what_a_base_takes_the_place_of_meanwhile_counts() {
    let queue = Queue::new();
    let (first, next) = (queue.log(1), queue.log(2));
    let removes = move |call: &str| {
        if call == "open 00000002.jsonl" {
            let _ = (std::fs::remove_file(&first), std::fs::remove_file(&next));
        }
        false
    };
    let mut log = log_on(&queue, Odd::failing(removes));
    let written = write(&mut log, pause("a"));
    queue.open().read().unwrap();
    enqueue(&mut queue.open(), &["b"]).unwrap();
    {
        let mut store = queue.open();
        store.read().unwrap();
        store.seal().unwrap();
    }
    compact(&queue, false);
    assert_eq!(log.commit(&written).unwrap(), Fate::Durable);
    assert!(!queue.log(1).exists());
}

/// Only what is not there is gone: of whatever can't be looked at, nobody knows whether it counts.
#[test]
fn what_cannot_be_looked_at_is_not_taken_for_gone() {
    for (case, nth) in
        [("stat 00000001.jsonl", 0), ("open 00000002.jsonl", 0), ("stat 00000001.jsonl", 1)]
    {
        let queue = Queue::new();
        let (is_on, seen) =
            (Arc::new(AtomicBool::new(false)), std::sync::atomic::AtomicUsize::new(0));
        let on = Arc::clone(&is_on);
        let fails = move |call: &str| {
            on.load(Ordering::SeqCst) && call == case && seen.fetch_add(1, Ordering::SeqCst) == nth
        };
        let mut log = log_on(&queue, Odd::failing(fails));
        let written = write(&mut log, pause("a"));
        is_on.store(true, Ordering::SeqCst);
        let fate = log.commit(&written);
        assert!(matches!(fate, Err(StoreError::Io { .. })), "{case} {nth}: {fate:?}");
    }
}

#[test]
fn in_a_base_counts_what_stood_before_the_place_where_its_segment_was_cut() {
    let queue = Queue::new();
    let mut log = log_on(&queue, RealDisk);
    let written = write(&mut log, pause("a"));
    assert_eq!(log.commit(&written).unwrap(), Fate::Durable);
    append_to(&queue.log(1), b"torn");
    enqueue(&mut queue.open(), &["b"]).unwrap();
    assert!(queue.log(2).exists());
    compact(&queue, true);
    for (end, fate) in [
        (written.end - 1, Fate::Durable),
        (written.end, Fate::Durable),
        (written.end + 1, Fate::Again),
    ] {
        let written = Written { end, ..written.clone() };
        assert_eq!(log.commit(&written).unwrap(), fate, "{end}");
    }
}

#[test]
fn what_others_wrote_is_in_question_behind_the_mark_of_this_segment_and_boot() {
    let queue = Queue::new();
    let mut log = log_on(&queue, RealDisk);
    let path = queue.root.join("rubbish");
    std::fs::write(&path, b"no line at all").unwrap();
    let file = RealDisk.open(&path, Open::Read).unwrap();
    let locked = log.lock().unwrap();
    let mark = Mark { segment: 1, len: 14, boot: "boot-1".into(), ..mark_of(&queue) };
    for (hides, mark) in [
        (false, Some(mark.clone())),
        (true, Some(Mark { len: 13, ..mark.clone() })),
        (true, Some(Mark { segment: 2, ..mark.clone() })),
        (true, Some(Mark { boot: "boot-0".into(), ..mark })),
        (true, None),
    ] {
        let found = locked.hides_an_error(file.as_ref(), 1, 14, mark.as_ref()).unwrap();
        assert_eq!(found, hides, "{mark:?}");
    }
}

#[test]
fn names_are_synced_once_a_segment_and_the_mark_once_a_mebibyte() {
    let queue = Queue::new();
    let disk = Odd::watched();
    let calls = Arc::clone(&disk.calls);
    let mut log = log_on(&queue, disk);
    doubt(&queue);
    let mut syncs = |len: usize| {
        let written = write(&mut log, pause(&"x".repeat(len)));
        calls.lock().unwrap().clear();
        assert_eq!(log.commit(&written).unwrap(), Fate::Durable);
        let calls = calls.lock().unwrap();
        let count = |name: &str| calls.iter().filter(|call| *call == name).count();
        (count("sync desk").min(1), count("sync mark"))
    };
    assert_eq!(syncs(1), (1, 1), "the first of a segment");
    assert_eq!(syncs(1), (0, 0));
    assert_eq!(syncs(600_000), (0, 0));
    assert_eq!(syncs(600_000), (0, 1), "a mebibyte is behind it");
    assert_eq!(syncs(1), (0, 0));
    let mut locked = log.lock().unwrap();
    locked.settle().unwrap();
    calls.lock().unwrap().clear();
    locked.rotate_orderly(Reason::Size, None, Vec::new()).unwrap();
    assert!(calls.lock().unwrap().contains(&"sync mark".to_owned()), "a segment that is sealed");
}

#[test]
fn the_mark_comes_to_the_end_of_what_another_has_carried_over() {
    let queue = Queue::new();
    let mut log = log_on(&queue, RealDisk);
    let written = write(&mut log, pause("a"));
    doubt(&queue);
    assert_eq!(log.commit(&written).unwrap(), Fate::Durable);
    assert_eq!(marked(&queue), end_of(&queue, 2));
}

#[test]
fn what_could_not_be_synced_is_carried_over_and_the_mark_comes_to_its_end() {
    type Case = (&'static str, fn(&Queue, &mut Log));
    let cases: [Case; 3] = [
        ("alone", |_, _| ()),
        ("another was first", |queue, _| doubt(queue)),
        ("its end is not known any more", |_, log| log.active = None),
    ];
    for (case, before) in cases {
        let queue = Queue::new();
        let mut log = log_on(&queue, Odd::failing(|call| call == "sync 00000001.jsonl"));
        let written = write(&mut log, pause("a"));
        before(&queue, &mut log);
        assert_eq!(log.commit(&written).unwrap(), Fate::Durable, "{case}");
        assert_eq!(queue.segments(), ["00000001.jsonl", "00000002.jsonl"], "{case}");
        assert_eq!(marked(&queue), end_of(&queue, 2), "{case}");
    }
}
