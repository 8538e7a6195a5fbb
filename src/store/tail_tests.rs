//! The logs as one order of lines, on a real directory.

use std::os::unix::fs::symlink;
use std::sync::Arc;

use super::*;
use crate::domain::decide;
use crate::domain::event::{ConfigSet, QueuePaused};
use crate::domain::job::JobId;
use crate::store::clock::Clock;
use crate::store::ids::Ids;
use crate::store::line;
use crate::store::machine::Environment;
use crate::store::odd_disk::Odd;
use crate::store::real_disk::RealDisk;
use crate::store::store_tests::{Queue, append_to, enqueue};
use crate::store::{Setting, Store};

fn open(root: &Path, node: &str) -> Store {
    let environment = Environment {
        node: Some(node.to_owned()),
        uid: rustix::process::geteuid().as_raw(),
        ..Environment::default()
    };
    Store::open(Setting {
        disk: Arc::new(RealDisk),
        root: root.to_owned(),
        environment,
        clock: Clock::System,
        ids: Ids::new(Some(node)),
        boot: Some("boot".to_owned()),
    })
    .unwrap()
}

fn pause(store: &mut Store, queue: &str) {
    let event = Event::QueuePaused(QueuePaused { queue: Some(queue.to_owned()), until: None });
    store.transact(|_, _| Ok((vec![event.clone()], ()))).unwrap();
}

fn news(tail: &mut Tail, store: &Store) -> Vec<String> {
    let mut seen = Vec::new();
    let outcome: Result<(), StoreError> = tail.read(store, |line| {
        if let Event::QueuePaused(e) = &line.record.event {
            assert!(line.text.starts_with("{\"seq\":") && line.text.ends_with("\"}"));
            seen.push(format!("{} {}", line.node, e.queue.clone().unwrap()));
        }
        Ok(true)
    });
    outcome.unwrap();
    seen
}

#[test]
fn logs_are_merged_in_order_and_each_line_comes_once() {
    let place = tempfile::tempdir().unwrap();
    let (mut desk, mut nas) = (open(place.path(), "desk"), open(place.path(), "nas"));
    let mut tail = Tail::default();
    assert_eq!(news(&mut tail, &desk), [""; 0]);
    pause(&mut desk, "1");
    pause(&mut nas, "2");
    pause(&mut desk, "3");
    assert_eq!(news(&mut tail, &desk), ["desk 1", "nas 2", "desk 3"]);
    assert_eq!(news(&mut tail, &desk), [""; 0]);
    let set = ConfigSet { key: "max_lost".into(), value: "7".into() };
    desk.configure(|config| (config.with("max_lost", "7"), vec![Event::ConfigSet(set)])).unwrap();
    pause(&mut nas, "4");
    pause(&mut desk, "5");
    assert_eq!(news(&mut tail, &nas), ["nas 4", "desk 5"]);
    assert_eq!(news(&mut Tail::default(), &nas).len(), 5);
}

/// The names of the jobs that are told of, in order.
fn jobs(tail: &mut Tail, store: &Store) -> Vec<String> {
    let mut seen = Vec::new();
    let outcome: Result<(), StoreError> = tail.read(store, |line| {
        match &line.record.event {
            Event::Enqueued(spec) => seen.push(spec.id.to_string()),
            Event::JobRecorded(job) => seen.push(job.spec.id.to_string()),
            _ => {}
        }
        Ok(true)
    });
    outcome.unwrap();
    seen
}

fn compact(store: &mut Store) {
    store.seal().unwrap();
    store.compactor().unwrap().run(None).unwrap().unwrap();
}

#[test]
fn of_what_was_compacted_only_the_news_are_told_and_the_rest_is_counted() {
    let queue = Queue::new();
    let mut store = queue.open();
    let mut tail = Tail::default();
    enqueue(&mut store, &["a"]).unwrap();
    assert_eq!(jobs(&mut tail, &store), ["a"]);
    // Two jobs and the end of their batch.
    enqueue(&mut store, &["b", "c"]).unwrap();
    compact(&mut store);
    assert_eq!(jobs(&mut tail, &store), ["b", "c"]);
    assert_eq!(tail.summed_up, 3);
    enqueue(&mut store, &["d"]).unwrap();
    compact(&mut store);
    enqueue(&mut store, &["e"]).unwrap();
    assert_eq!(jobs(&mut tail, &store), ["d", "e"]);
    assert_eq!(tail.summed_up, 4);
    // One of which something new is to be told is older than what was told.
    let a = JobId::new("a").unwrap();
    let cancel = |node: &_, _| {
        let cancelled = decide::cancel(node, &a, None)?;
        Ok((cancelled.into_iter().collect(), ()))
    };
    store.transact(cancel).unwrap();
    compact(&mut store);
    assert_eq!(jobs(&mut tail, &store), ["a"]);
    let mut fresh = Tail::default();
    assert_eq!(jobs(&mut fresh, &store), ["a", "b", "c", "d", "e"]);
    assert_eq!(fresh.summed_up, 0);
}

/// A base of these bytes, and nothing else.
fn source_of(place: &Path, bytes: &[u8]) -> Source {
    let path = place.join("base");
    std::fs::write(&path, bytes).unwrap();
    let end = SegmentEnd { segment: 1, len: 0, seq: 9, ts: None, crc: None };
    let file = RealDisk.open(&path, Open::Read).unwrap();
    let limit = Some(bytes.len() as u64);
    let part = Part { number: 1, file, start: 0, limit, base: Some(end) };
    let directory = RealDisk.open(place, Open::Directory).unwrap();
    let source = Source::new("desk".into(), directory.as_ref(), Reached::default(), true);
    Source { segments: VecDeque::from([part]), ..source.unwrap() }
}

#[test]
fn a_base_is_read_in_parts_to_its_end_or_to_where_it_breaks_off() {
    let place = tempfile::tempdir().unwrap();
    let line = |seq| {
        let event = Event::QueuePaused(QueuePaused { queue: None, until: None });
        line::encode(seq, Timestamp::MIN, Timestamp::MIN, &event)
    };
    let (zeros, part) = (vec![0; 8 << 20], 8 << 20);
    let (one, two) = (line(1), line(2));
    let first = &zeros[..part - one.len() - 1];
    for (bytes, expected) in [
        ([&one[..], first, b"\n", &two].concat(), &[1, 2][..]),
        ([&one[..], &zeros, b"\n", &two].concat(), &[1]),
    ] {
        let mut source = source_of(place.path(), &bytes);
        let mut seen = Vec::new();
        loop {
            source.fill().unwrap();
            let Some(line) = source.next() else { break };
            seen.push(line.record.seq);
        }
        assert_eq!(seen, expected);
    }
}

fn flip(path: &Path, at: u64) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at as usize] ^= 4;
    std::fs::write(path, bytes).unwrap();
}

/// Three jobs in one segment, each ending where it is said.
fn three(queue: &Queue) -> Vec<u64> {
    for id in ["a", "b", "c"] {
        enqueue(&mut queue.open(), &[id]).unwrap();
    }
    let lines = segment::cut(&std::fs::read(queue.log(1)).unwrap(), 0).good;
    lines.iter().map(|placed| placed.end).collect()
}

/// What is told of by a fresh reader, and the damage.
fn told(queue: &Queue) -> (Vec<String>, Vec<Damage>) {
    let mut tail = Tail::default();
    let jobs = jobs(&mut tail, &queue.open());
    (jobs, tail.damage)
}

#[test]
fn damage_is_told_where_it_is_and_what_stands_behind_it_is_shown() {
    let damage = |queue: &Queue, at: u64| {
        vec![Damage { file: queue.log(1), what: format!("it does not hold from byte {at} on") }]
    };
    // In what was synced.
    let queue = Queue::new();
    let ends = three(&queue);
    assert_eq!(told(&queue), (vec!["a".into(), "b".into(), "c".into()], Vec::new()));
    flip(&queue.log(1), ends[1] + 40);
    assert_eq!(told(&queue), (vec!["a".into(), "c".into()], damage(&queue, ends[1])));
    // In what was sealed.
    for is_cut in [false, true] {
        let queue = Queue::new();
        let ends = three(&queue);
        queue.open().seal().unwrap();
        enqueue(&mut queue.open(), &["d"]).unwrap();
        let whole = ["a", "b", "c", "d"].map(str::to_owned);
        assert_eq!(told(&queue), (whole.to_vec(), Vec::new()));
        if is_cut {
            let bytes = std::fs::read(queue.log(1)).unwrap();
            std::fs::write(queue.log(1), &bytes[..ends[2] as usize]).unwrap();
            let left = ["a", "b", "d"].map(str::to_owned);
            assert_eq!(told(&queue), (left.to_vec(), damage(&queue, ends[2])));
        } else {
            flip(&queue.log(1), ends[1] + 40);
            let left = ["a", "c", "d"].map(str::to_owned);
            assert_eq!(told(&queue), (left.to_vec(), damage(&queue, ends[1])));
        }
    }
}

#[test]
fn a_torn_end_is_no_damage_and_what_stands_behind_it_waits() {
    let queue = Queue::new();
    let ends = three(&queue);
    append_to(&queue.log(1), b"torn\n");
    assert_eq!(told(&queue).1, []);
    std::fs::remove_file(queue.open().place().local().join("mark")).unwrap();
    flip(&queue.log(1), ends[1] + 40);
    assert_eq!(told(&queue), (vec!["a".into()], Vec::new()));
}

/// A line that was written again in the next segment, since the sync of the last failed, is one line.
#[test]
fn a_line_that_is_carried_over_comes_once() {
    let queue = Queue::new();
    let mark = queue.root.join("mark");
    let copy = |from: &Path, to: &Path| std::fs::copy(from, to).unwrap();
    enqueue(&mut queue.open(), &["a"]).unwrap();
    let own = queue.open().place().local().join("mark");
    copy(&own, &mark);
    enqueue(&mut queue.open(), &["b"]).unwrap();
    copy(&mark, &own);
    let mut tail = Tail::default();
    assert_eq!(jobs(&mut tail, &queue.open()), ["a", "b"]);
    let mut store = queue.open();
    store.disk = Arc::new(Odd::once("sync 00000001.jsonl", io::ErrorKind::Other));
    enqueue(&mut store, &["c"]).unwrap();
    assert_eq!(queue.segments().len(), 2);
    assert_eq!(jobs(&mut tail, &store), ["c"]);
    assert_eq!(jobs(&mut Tail::default(), &store), ["a", "b", "c"]);
}

/// Of another node's log, what comes behind a gap is still on its way here; and what is wrong in it is told there.
#[test]
fn another_nodes_log_is_read_to_the_first_gap() {
    let place = tempfile::tempdir().unwrap();
    let (desk, mut nas) = (open(place.path(), "desk"), open(place.path(), "nas"));
    for queue in ["1", "2", "3", "4"] {
        pause(&mut nas, queue);
    }
    let path = place.path().join("log/nas/00000001.jsonl");
    let bytes = std::fs::read(&path).unwrap();
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let mut tail = Tail::default();
    std::fs::write(&path, lines[..2].concat()).unwrap();
    assert_eq!(news(&mut tail, &desk), ["nas 1"]);
    std::fs::write(&path, [lines[0], lines[1], lines[3]].concat()).unwrap();
    assert_eq!(news(&mut tail, &desk), [""; 0]);
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(news(&mut tail, &desk), ["nas 2", "nas 3", "nas 4"]);
    nas.seal().unwrap();
    flip(&path, 40);
    assert_eq!(news(&mut Tail::default(), &desk).len(), 4);
    assert_eq!(tail.damage, []);
}

#[test]
fn only_what_is_no_log_is_passed_over() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join("log").join(name);
    let (mut desk, mut nas) = (open(place.path(), "desk"), open(place.path(), "nas"));
    assert_eq!(desk.log_bytes().unwrap(), 0, "no directory yet");
    pause(&mut desk, "1");
    pause(&mut nas, "2");
    let read = |store: &Store| Tail::default().read(store, |_| Ok::<_, StoreError>(true));
    std::fs::write(at("file"), "12345").unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    std::fs::create_dir(at(".hidden")).unwrap();
    std::fs::write(at(".hidden/00000001.jsonl"), "12345").unwrap();
    assert_eq!(news(&mut Tail::default(), &desk), ["desk 1", "nas 2"]);
    let len = |name: &str| std::fs::metadata(at(name)).unwrap().len();
    std::fs::write(at("nas/note"), "12345").unwrap();
    let sum = len("desk/00000001.jsonl") + len("nas/00000001.jsonl") + 5;
    assert_eq!(desk.log_bytes().unwrap(), sum);

    for (call, is_read) in
        [("open log", false), ("open desk", false), ("list desk", false), ("list nas", true)]
    {
        desk.disk = Arc::new(Odd::always(call, io::ErrorKind::PermissionDenied));
        assert_eq!(read(&desk).is_ok(), is_read, "{call}");
    }
    for call in ["open log", "list log", "list nas"] {
        desk.disk = Arc::new(Odd::always(call, io::ErrorKind::PermissionDenied));
        assert!(desk.log_bytes().is_err(), "{call}");
    }
}
