//! New segments on a real directory: why they are begun, and what is carried over.

use std::io;
use std::path::PathBuf;

use super::*;
use crate::domain::event::ConfigSet;
use crate::store::Store;
use crate::store::clock::Clock;
use crate::store::disk::Disk as _;
use crate::store::odd_disk::Odd;
use crate::store::real_disk::RealDisk;
use crate::store::store_tests::{Queue, append_to, enqueue, job};

/// The headers of all segments, in order.
fn headers(queue: &Queue) -> Vec<Segment> {
    let names = queue.segments().into_iter().filter(|name| !name.contains("base"));
    names
        .map(|name| {
            let file = RealDisk.open(&queue.root.join("log/desk").join(name), Open::Read).unwrap();
            segment::read_header(file.as_ref()).unwrap().unwrap().1
        })
        .collect()
}

fn whys(queue: &Queue) -> Vec<String> {
    headers(queue).into_iter().map(|header| header.why).collect()
}

fn lines(queue: &Queue, segment: u64) -> Vec<Placed> {
    segment::cut(&std::fs::read(queue.log(segment)).unwrap(), 0).good
}

fn set(store: &mut Store, key: &str, value: &str) {
    let set = ConfigSet { key: key.into(), value: value.into() };
    store.configure(|config| (config.with(key, value), vec![Event::ConfigSet(set)])).unwrap();
}

fn mark_of(queue: &Queue) -> PathBuf {
    queue.open().place().local().join("mark")
}

/// A queue with two jobs, of which only the first is known to be on stable storage; and where that ends.
fn half_synced() -> (Queue, u64) {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a"]).unwrap();
    let (mark, len) = (std::fs::read(mark_of(&queue)).unwrap(), lines(&queue, 1)[1].end);
    enqueue(&mut queue.open(), &["b"]).unwrap();
    std::fs::write(mark_of(&queue), mark).unwrap();
    (queue, len)
}

/// A disk on which the first segment can't be synced, once; and one that has lost what was written to it.
fn bad_disks() -> [(&'static str, Odd); 2] {
    let lost = Odd::always("stored 00000001.jsonl", io::ErrorKind::Other);
    [
        ("a sync that fails", Odd::once("sync 00000001.jsonl", io::ErrorKind::Other)),
        ("one that failed before", lost),
    ]
}

#[test]
fn a_header_says_why_its_segment_was_begun() {
    let queue = Queue::new();
    let mut store = queue.open();
    set(&mut store, "segment_size", "4096");
    let ids: Vec<String> = (0..40).map(|n| format!("job{n}")).collect();
    enqueue(&mut store, &ids.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    let mut store = queue.open_in_boot("boot-2");
    enqueue(&mut store, &["a"]).unwrap();
    append_to(&queue.log(4), b"half");
    enqueue(&mut store, &["b"]).unwrap();
    store.seal().unwrap();
    assert_eq!(whys(&queue), ["first", "config", "size", "boot", "torn", "compact"]);
}

#[test]
fn a_header_is_later_than_all_before_it_also_where_the_clock_went_back() {
    let queue = Queue::new();
    let mut store = queue.open();
    enqueue(&mut store, &["a"]).unwrap();
    store.clock = Clock::Fixed(Timestamp::from_micros(7));
    store.log.as_mut().unwrap().clock = store.clock.clone();
    set(&mut store, "max_lost", "7");
    let latest = lines(&queue, 1).last().unwrap().record.ts;
    let header = &lines(&queue, 2)[0].record;
    assert!(header.ts > latest && header.wall() == Timestamp::from_micros(7), "{header:?}");
}

/// What was synced stays, and what was not is written again: nothing is trusted to a file whose sync failed.
#[test]
fn what_is_behind_the_mark_of_a_file_whose_sync_failed_is_carried_over() {
    for (case, disk) in bad_disks() {
        let (queue, synced) = half_synced();
        let mut store = queue.open();
        store.disk = Arc::new(disk);
        set(&mut store, "max_lost", "7");
        assert_eq!(whys(&queue), ["first", "fsync_error", "config"], "{case}");
        let header = &headers(&queue)[1];
        assert_eq!((header.carried, header.prev.as_ref().unwrap().len), (1, synced), "{case}");
        assert_eq!(store.take_notices(), [""; 0], "{case}");
        assert_eq!(queue.ids(), ["a", "b"], "{case}");
    }
    for (case, disk) in bad_disks() {
        let (queue, synced) = half_synced();
        append_to(&queue.log(1), b"half a line");
        let mut store = queue.open_in_boot("boot-2");
        store.disk = Arc::new(disk);
        enqueue(&mut store, &["c"]).unwrap();
        assert_eq!(whys(&queue), ["first", "fsync_error"], "{case}");
        let header = &headers(&queue)[1];
        assert_eq!((header.carried, header.prev.as_ref().unwrap().len), (1, synced), "{case}");
        let notice =
            "11 bytes at the end of 00000001.jsonl were never acknowledged and do not count";
        assert_eq!(store.take_notices(), [notice], "{case}");
        assert_eq!(queue.ids(), ["a", "b", "c"], "{case}");
    }
}

/// Once it was not found where it was looked for from the end, and what was carried was taken for damage.
#[test]
fn the_longest_line_is_carried_over_as_any_other() {
    let (queue, _) = half_synced();
    let mark = std::fs::read(mark_of(&queue)).unwrap();
    let placed = lines(&queue, 1).pop().unwrap();
    let room = line::LONGEST - (placed.end - placed.start) as usize;
    let mut spec = job("c");
    spec.name = Some("x".repeat(room - r#","name":"""#.len()));
    let mut store = queue.open();
    store.transact(|_, _| Ok((vec![Event::Enqueued(Box::new(spec.clone()))], ()))).unwrap();
    let placed = lines(&queue, 1).pop().unwrap();
    assert_eq!((placed.end - placed.start) as usize, line::LONGEST);
    std::fs::write(mark_of(&queue), mark).unwrap();
    let [(_, disk), _] = bad_disks();
    let mut store = queue.open();
    store.disk = Arc::new(disk);
    set(&mut store, "max_lost", "7");
    assert_eq!(headers(&queue)[1].carried, 2);
    assert_eq!(queue.ids(), ["a", "b", "c"]);
}

#[test]
fn whole_lines_stay_where_they_are_as_long_as_the_disk_is_sound() {
    let (queue, _) = half_synced();
    let len = lines(&queue, 1)[2].end;
    let mut store = queue.open_in_boot("boot-2");
    enqueue(&mut store, &["c"]).unwrap();
    let header = &headers(&queue)[1];
    assert_eq!((header.why.as_str(), header.carried), ("boot", 0));
    assert_eq!(header.prev.as_ref().unwrap().len, len);
    assert_eq!(store.take_notices(), [""; 0]);
    assert_eq!(queue.ids(), ["a", "b", "c"]);
}

/// Blocks that were never overwritten can hold lines of long ago.
#[test]
fn of_what_stands_behind_a_torn_line_only_that_is_carried_which_follows() {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a"]).unwrap();
    let last = lines(&queue, 1).last().unwrap().record.clone();
    let line = |id: &str, seq: u64, later: u64| {
        let ts = last.ts.after(Duration::from_secs(later));
        line::encode(seq, ts, ts, &Event::Enqueued(Box::new(job(id))))
    };
    let stale = [
        line("same-seq", last.seq, 5),
        line("same-moment", last.seq + 1, 0),
        line("same-seq-as-b", last.seq + 2, 9),
        line("same-moment-as-b", last.seq + 3, 2),
    ];
    let [one, two, three, four] = &stale;
    let b = line("b", last.seq + 2, 2);
    append_to(&queue.log(1), &[b"torn\n", &one[..], two, &b, three, four].concat());
    let mut store = queue.open_in_boot("boot-2");
    enqueue(&mut store, &["c"]).unwrap();
    assert_eq!(queue.ids(), ["a", "b", "c"]);
    assert_eq!(headers(&queue)[1].carried, 1);
    let torn = 5 + stale.iter().map(Vec::len).sum::<usize>();
    let notices = store.take_notices();
    assert!(notices.len() == 1 && notices[0].starts_with(&format!("{torn} bytes")), "{notices:?}");
}
