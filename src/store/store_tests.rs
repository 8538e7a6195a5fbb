//! The store on a real directory: what survives what.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::clock::Clock;
use super::doctor::Condition;
use super::ids::Ids;
use super::machine::Environment;
use super::real_disk::RealDisk;
use super::*;
use crate::domain::decide::{self, OnConflict};
use crate::domain::event::{BatchCommitted, ConfigSet, QueuePaused};
use crate::domain::job::{JobId, JobState, Spec};

pub(super) struct Queue {
    _home: TempDir,
    pub(super) root: PathBuf,
}

impl Queue {
    pub(super) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("queue");
        Queue { _home: home, root }
    }

    pub(super) fn open(&self) -> Store {
        self.open_in_boot("boot-1")
    }

    pub(super) fn open_in_boot(&self, boot: &str) -> Store {
        let environment = Environment {
            node: Some("desk".into()),
            uid: rustix::process::geteuid().as_raw(),
            ..Environment::default()
        };
        Store::open(Setting {
            disk: Arc::new(RealDisk),
            root: self.root.clone(),
            environment,
            clock: Clock::System,
            ids: Ids::new(None),
            boot: Some(boot.into()),
        })
        .unwrap()
    }

    pub(super) fn log(&self, segment: u64) -> PathBuf {
        self.root.join("log/desk").join(segment::file_name(segment))
    }

    pub(super) fn segments(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.root.join("log/desk"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    pub(super) fn ids(&self) -> Vec<String> {
        let mut store = self.open();
        let view = store.read().unwrap();
        assert_eq!(view.damage, []);
        view.state.jobs().iter().map(|(_, job)| job.id().to_string()).collect()
    }
}

pub(super) fn job(id: &str) -> Spec {
    Spec::shell(JobId::new(id).unwrap(), "true", 3)
}

pub(super) fn enqueue(store: &mut Store, ids: &[&str]) -> Result<Vec<JobId>, StoreError> {
    store.enqueue(Enqueue {
        specs: ids.iter().map(|id| job(id)).collect(),
        has_chosen_ids: true,
        on_conflict: OnConflict::Fail,
    })
}

pub(super) fn append_to(path: &Path, bytes: &[u8]) {
    use std::io::Write;
    std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

#[test]
fn what_was_enqueued_is_there_for_the_next_process() {
    let queue = Queue::new();
    let mut store = queue.open();
    enqueue(&mut store, &["a"]).unwrap();
    enqueue(&mut store, &["b", "c"]).unwrap();
    assert_eq!(queue.ids(), ["a", "b", "c"]);
    assert_eq!(queue.segments(), ["00000001.jsonl"]);
}

#[test]
fn an_id_is_given_once() {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a"]).unwrap();
    for with_checkpoint in [false, true] {
        let mut store = queue.open();
        if with_checkpoint {
            store.read().unwrap();
            store.write_checkpoint();
        }
        for ids in [&["a"][..], &["x", "a"]] {
            let error = enqueue(&mut queue.open(), ids).unwrap_err();
            assert!(matches!(error, StoreError::Refused(Refusal::Duplicate { .. })), "{error}");
        }
    }
    let kept = queue.open().enqueue(Enqueue {
        specs: vec![job("a"), job("b")],
        has_chosen_ids: true,
        on_conflict: OnConflict::Keep,
    });
    assert_eq!(kept.unwrap().len(), 2);
    assert_eq!(queue.ids(), ["a", "b"]);
}

#[test]
fn a_torn_tail_is_left_where_it_is_and_does_not_count() {
    for torn in [&b"{\"seq\":9,\"ts\""[..], b"\0\0\0\0\0\0", b"{}\n", b"\n"] {
        let queue = Queue::new();
        enqueue(&mut queue.open(), &["a"]).unwrap();
        append_to(&queue.log(1), torn);
        assert_eq!(queue.ids(), ["a"]);
        let mut store = queue.open();
        enqueue(&mut store, &["b"]).unwrap();
        assert_eq!(store.take_notices().len(), 1);
        assert_eq!(queue.ids(), ["a", "b"]);
        assert!(std::fs::read(queue.log(1)).unwrap().ends_with(torn));
        let next = std::fs::read_to_string(queue.log(2)).unwrap();
        assert!(next.contains("\"why\":\"torn\""), "{next}");
        assert_eq!(queue.segments().len(), 2);
    }
}

#[test]
fn valid_lines_behind_a_torn_one_are_carried_over() {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a"]).unwrap();
    let one = std::fs::read(queue.log(1)).unwrap();
    enqueue(&mut queue.open(), &["b"]).unwrap();
    enqueue(&mut queue.open(), &["c"]).unwrap();
    let all = std::fs::read(queue.log(1)).unwrap();
    // The disk kept the last page and lost the one before it, as after a power cut.
    let middle = one.len() + all[one.len()..].iter().position(|b| *b == b'\n').unwrap();
    let mut bytes = all.clone();
    bytes[one.len()..middle].fill(0);
    std::fs::write(queue.log(1), bytes).unwrap();
    std::fs::remove_file(queue.open().place().local().join("mark")).unwrap();
    enqueue(&mut queue.open_in_boot("boot-2"), &["d"]).unwrap();
    assert_eq!(queue.ids(), ["a", "c", "d"]);
}

/// A line torn in the middle, of which the mark knew nothing, once hid those behind it from whoever decided: the same
/// id was given twice.
#[test]
fn what_stands_behind_a_torn_line_is_taken_in_before_anything_is_decided() {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a"]).unwrap();
    let one = std::fs::read(queue.log(1)).unwrap().len();
    enqueue(&mut queue.open(), &["b"]).unwrap();
    enqueue(&mut queue.open(), &["c"]).unwrap();
    let mut bytes = std::fs::read(queue.log(1)).unwrap();
    bytes[one + 40] ^= 4;
    std::fs::write(queue.log(1), bytes).unwrap();
    std::fs::remove_file(queue.open().place().local().join("mark")).unwrap();
    let mut store = queue.open();
    let error = enqueue(&mut store, &["d", "c"]).unwrap_err();
    assert!(matches!(error, StoreError::Refused(Refusal::Duplicate { .. })), "{error}");
    assert_eq!(store.take_notices().len(), 1);
    enqueue(&mut store, &["d"]).unwrap();
    assert_eq!(queue.ids(), ["a", "c", "d"]);
}

#[test]
fn damage_before_the_mark_stops_every_writer_and_no_reader() {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a"]).unwrap();
    let one = std::fs::read(queue.log(1)).unwrap().len();
    enqueue(&mut queue.open(), &["b"]).unwrap();
    enqueue(&mut queue.open(), &["c"]).unwrap();
    let mut bytes = std::fs::read(queue.log(1)).unwrap();
    bytes[one + 40] ^= 4;
    std::fs::write(queue.log(1), bytes).unwrap();
    let mut store = queue.open();
    let view = store.read().unwrap();
    assert_eq!(view.state.jobs().len(), 2);
    assert!(!view.damage.is_empty());
    let cancel = |store: &mut Store| {
        store.transact(|node, _| {
            Ok((decide::cancel(node, &JobId::new("a").unwrap(), None)?.into_iter().collect(), ()))
        })
    };
    assert!(matches!(cancel(&mut store), Err(StoreError::Damaged(_))));
    assert!(matches!(enqueue(&mut queue.open(), &["d"]), Err(StoreError::Degraded(_))));
    assert_eq!(queue.open().read().unwrap().state.jobs().len(), 2);
}

/// What was written there was acknowledged, and read by nobody.
#[test]
fn nobody_writes_on_a_segment_that_is_in_the_place_of_another() {
    type Deed = (&'static str, fn(&Queue));
    let scenes: [Deed; 3] = [
        ("a copy", |queue| {
            std::fs::copy(queue.log(1), queue.log(4)).unwrap();
        }),
        ("a gap", |queue| std::fs::rename(queue.log(3), queue.log(4)).unwrap()),
        ("another before it", |queue| {
            let text = std::fs::read_to_string(queue.log(3)).unwrap();
            let (header, rest) = text.split_once(",\"crc\"").unwrap();
            let header = header.replace("\"prev\":{\"segment\":2", "\"prev\":{\"segment\":1");
            let crc = crc32c::crc32c(header.as_bytes());
            let rest = rest.split_once('\n').unwrap().1;
            let text = format!("{header},\"crc\":\"{crc:08x}\"}}\n{rest}");
            std::fs::write(queue.log(3), text).unwrap();
        }),
    ];
    for (case, hurt) in scenes {
        let queue = Queue::new();
        for (id, value) in [("a", "7"), ("b", "8")] {
            let mut store = queue.open();
            enqueue(&mut store, &[id]).unwrap();
            let set = ConfigSet { key: "max_lost".into(), value: value.into() };
            let set = vec![Event::ConfigSet(set)];
            store.configure(|config| (config.with("max_lost", value), set.clone())).unwrap();
        }
        enqueue(&mut queue.open(), &["c"]).unwrap();
        hurt(&queue);
        let unread = queue.open().enqueue(Enqueue {
            specs: vec![job("d")],
            has_chosen_ids: false,
            on_conflict: OnConflict::Fail,
        });
        assert!(matches!(unread, Err(StoreError::Damaged(_))), "{case}: {unread:?}");
        let refused = enqueue(&mut queue.open(), &["e"]);
        assert!(matches!(refused, Err(StoreError::Degraded(_))), "{case}: {refused:?}");
        assert!(!queue.open().read().unwrap().damage.is_empty(), "{case}");
        let report = queue.open().examine(&mut |_| ()).unwrap();
        assert!(!report.is_ok() && report.condition != Condition::Whole, "{case}");
    }
}

/// Once a checkpoint was written while a batch was half read, its first ids were given again.
#[test]
fn the_ids_of_a_batch_that_a_checkpoint_cuts_in_two_are_taken() {
    let queue = Queue::new();
    let mut store = queue.open();
    let specs = (0..100).map(|number| {
        Spec::shell(JobId::new(&format!("job{number}")).unwrap(), &"x".repeat(100_000), 3)
    });
    let (specs, on_conflict) = (specs.collect(), OnConflict::Fail);
    store.enqueue(Enqueue { specs, has_chosen_ids: true, on_conflict }).unwrap();
    for id in ["job0", "job99"] {
        let error = enqueue(&mut queue.open(), &[id]).unwrap_err();
        assert!(matches!(error, StoreError::Refused(Refusal::Duplicate { .. })), "{error}");
    }
    // Whoever reads the end of the batch writes the checkpoint anew, though that end is short.
    let mut reader = queue.open();
    reader.read().unwrap();
    let cache = reader.cache().unwrap();
    let checkpoint = checkpoint::open(cache.as_ref(), Some("desk"), "boot-1").unwrap();
    assert_eq!(checkpoint.own_cursor(), reader.view.cursors.get("desk"));
}

#[test]
fn a_new_boot_begins_a_new_segment() {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a"]).unwrap();
    enqueue(&mut queue.open_in_boot("boot-2"), &["b"]).unwrap();
    enqueue(&mut queue.open_in_boot("boot-2"), &["c"]).unwrap();
    assert_eq!(queue.segments(), ["00000001.jsonl", "00000002.jsonl"]);
    assert_eq!(queue.ids(), ["a", "b", "c"]);
}

#[test]
fn the_configuration_stands_in_every_header_and_rotation_keeps_it() {
    let queue = Queue::new();
    let mut store = queue.open();
    store
        .configure(|config| {
            let set = ConfigSet { key: "segment_size".into(), value: "4096".into() };
            (config.with("segment_size", "4096"), vec![Event::ConfigSet(set)])
        })
        .unwrap();
    for n in 0..80 {
        enqueue(&mut store, &[&format!("job{n}")]).unwrap();
    }
    assert!(queue.segments().len() > 2, "{:?}", queue.segments());
    assert_eq!(queue.open().config().unwrap().segment_size(), 4096);
    assert_eq!(queue.ids().len(), 80);
    let mut fresh = queue.open();
    let whole = fresh.read().unwrap().state.clone();
    assert_eq!(store.read().unwrap().state, whole);
}

#[test]
fn checkpoint_and_tail_are_the_whole_log() {
    let queue = Queue::new();
    let mut store = queue.open();
    enqueue(&mut store, &["a", "b", "c"]).unwrap();
    store.read().unwrap();
    store.write_checkpoint();
    enqueue(&mut queue.open(), &["d"]).unwrap();
    let mut with = queue.open();
    let with = with.read().unwrap();
    assert!(with.news < 1000, "the checkpoint was not used");
    std::fs::remove_dir_all(queue.open().place().cache_dir()).unwrap();
    let mut without = queue.open();
    assert_eq!(with.state, without.read().unwrap().state);
    assert_eq!(with.state.counts()[JobState::Pending as usize], 4);
}

#[test]
fn a_batch_without_its_last_line_does_not_exist() {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a"]).unwrap();
    enqueue(&mut queue.open(), &["b", "c"]).unwrap();
    let bytes = std::fs::read(queue.log(1)).unwrap();
    let lines: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').collect();
    std::fs::write(queue.log(1), lines[..lines.len() - 1].concat()).unwrap();
    assert_eq!(queue.ids(), ["a"]);
}

#[test]
fn news_is_told_by_looking() {
    let queue = Queue::new();
    let mut store = queue.open();
    assert!(store.has_news());
    enqueue(&mut queue.open(), &["a"]).unwrap();
    let mut reader = queue.open();
    reader.read().unwrap();
    assert!(!reader.has_news());
    enqueue(&mut store, &["b"]).unwrap();
    assert!(reader.has_news());
    reader.read().unwrap();
    assert!(!reader.has_news());
    enqueue(&mut queue.open_in_boot("boot-2"), &["c"]).unwrap();
    assert!(reader.has_news());
}

#[test]
fn what_was_written_here_counts_as_news_like_what_was_read() {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a"]).unwrap();
    let (mut writer, mut reader) = (queue.open(), queue.open());
    let (wrote, read) = (writer.read().unwrap().news, reader.read().unwrap().news);
    let (end, pause) =
        (std::fs::metadata(queue.log(1)).unwrap().len(), QueuePaused { queue: None, until: None });
    writer.transact(|_, _| Ok((vec![Event::QueuePaused(pause.clone())], ()))).unwrap();
    let step = std::fs::metadata(queue.log(1)).unwrap().len() - end;
    assert_eq!(reader.read().unwrap().news, read + step);
    assert_eq!(writer.read().unwrap().news, wrote + step);
}

/// A checkpoint that was written while a batch was not whole yet once knew nothing of its ids, and what was enqueued
/// under one of them later was acknowledged and had no effect.
#[test]
fn an_id_of_a_batch_that_became_whole_behind_the_checkpoint_is_taken() {
    let queue = Queue::new();
    let mut store = queue.open();
    let mut spec = job("a");
    spec.batch = Some("b1".into());
    store.transact(|_, _| Ok((vec![Event::Enqueued(Box::new(spec.clone()))], ()))).unwrap();
    store.read().unwrap();
    store.write_checkpoint();
    let (batch, count) = ("b1".to_owned(), 1);
    let committed = BatchCommitted { batch, count };
    store.transact(|_, _| Ok((vec![Event::BatchCommitted(committed.clone())], ()))).unwrap();
    let error = enqueue(&mut queue.open(), &["a"]).unwrap_err();
    assert!(matches!(error, StoreError::Refused(Refusal::Duplicate { .. })), "{error}");
}

#[test]
fn where_the_clock_of_the_log_is_at_its_end_nothing_is_acknowledged() {
    let queue = Queue::new();
    let mut store = queue.open();
    enqueue(&mut store, &["a"]).unwrap();
    store.clock = Clock::Fixed(Timestamp::MAX);
    store.log.as_mut().unwrap().clock = Clock::Fixed(Timestamp::MAX);
    enqueue(&mut store, &["b"]).unwrap();
    let error = enqueue(&mut queue.open(), &["c"]).unwrap_err();
    assert!(matches!(error, StoreError::NotRecorded { .. }), "{error}");
    assert_eq!(queue.ids(), ["a", "b"]);
}

#[test]
fn a_log_that_is_gone_is_missed_by_readers_and_writers() {
    let queue = Queue::new();
    let mut store = queue.open();
    enqueue(&mut store, &["a"]).unwrap();
    store.read().unwrap();
    store.write_checkpoint();
    std::fs::remove_dir_all(queue.root.join("log")).unwrap();
    let mut reader = queue.open();
    let view = reader.read().unwrap();
    assert_eq!(view.state.jobs().len(), 0);
    assert!(view.rolled_back.is_some());
    std::fs::remove_file(queue.open().place().local().join("mark")).unwrap();
    let error = enqueue(&mut queue.open(), &["b"]).unwrap_err();
    assert!(matches!(error, StoreError::Place(node::NodeError::LogMissing(_))), "{error}");
}

#[test]
fn a_base_that_is_not_whole_is_none() {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a"]).unwrap();
    std::fs::write(queue.root.join("log/desk/00000001-00000001.base.jsonl"), "").unwrap();
    enqueue(&mut queue.open(), &["b"]).unwrap();
    assert_eq!(queue.ids(), ["a", "b"]);
    assert!(queue.open().config().is_ok());
}

/// Where it is all that is left, the queue is not an empty one.
#[test]
fn a_base_that_is_not_whole_and_stands_alone_is_damage() {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a"]).unwrap();
    let local = queue.open().place().local();
    for gone in [queue.log(1), local.join("mark")] {
        std::fs::remove_file(gone).unwrap();
    }
    std::fs::write(queue.root.join("log/desk/00000001-00000001.base.jsonl"), "").unwrap();
    let mut reader = queue.open();
    assert_eq!(reader.read().unwrap().damage.len(), 1);
    assert_eq!(reader.read().unwrap().damage.len(), 1, "told once");
    for error in [enqueue(&mut queue.open(), &["b"]), enqueue(&mut queue.open(), &["b", "c"])] {
        let error = error.unwrap_err();
        assert!(matches!(error, StoreError::Damaged(_) | StoreError::Degraded(_)), "{error}");
    }
    assert_eq!(queue.segments(), ["00000001-00000001.base.jsonl"]);
}

#[test]
fn rubbish_in_another_nodes_directory_keeps_nobody_from_working() {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a"]).unwrap();
    std::fs::create_dir_all(queue.root.join("log/nas/00000001.jsonl")).unwrap();
    assert_eq!(queue.ids(), ["a"]);
    let mut store = queue.open();
    enqueue(&mut store, &["b", "c"]).unwrap();
    assert!(!store.view().foreign.is_empty());
}
