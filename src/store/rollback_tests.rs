//! Logs that an older or another one was put in the place of, on the real disk: who notices, and who is let be.

use std::fs;
use std::path::{Path, PathBuf};

use super::store_tests::{Queue, enqueue};
use super::*;
use crate::domain::event::{ConfigSet, QueuePaused};

impl Queue {
    fn log_dir(&self) -> PathBuf {
        self.root.join("log/desk")
    }

    /// A copy of the log as it stands, to be put back later.
    fn set_aside(&self, name: &str) -> PathBuf {
        let aside = self.root.with_file_name(name);
        copy(&self.log_dir(), &aside);
        aside
    }

    /// Puts a copy in the place of the log, as a sync tool or a person would.
    fn put_back(&self, aside: &Path) {
        fs::remove_dir_all(self.log_dir()).unwrap();
        copy(aside, &self.log_dir());
    }

    fn rotate(&self) {
        configure(&mut self.open(), "segment_size", "4096");
    }

    /// Every way to write, with a store that has not read, one that has, and one that has written before.
    fn assert_nobody_writes(&self, old: [&mut Store; 2], case: &str) {
        let before = everything(&self.log_dir());
        let [reader, writer] = old;
        let view = reader.read().unwrap();
        assert!(view.rolled_back.is_some(), "{case}: a reader sees nothing");
        let mut fresh = self.open();
        for (who, store) in [("new", &mut fresh), ("reading", reader), ("writing", writer)] {
            let pause = Event::QueuePaused(QueuePaused { queue: None, until: None });
            let outcomes = [
                enqueue(store, &["x"]).map(drop),
                enqueue(store, &["x", "y"]).map(drop),
                store.transact(|_, _| Ok((vec![pause.clone()], ()))),
                store.transact(|_, _| Ok((Vec::new(), ()))),
            ];
            for (verb, outcome) in outcomes.into_iter().enumerate() {
                let error = outcome.expect_err(&format!("{case}: {who} {verb}"));
                assert!(
                    matches!(error, StoreError::RolledBack { .. }),
                    "{case}: {who} {verb}: {error}"
                );
            }
        }
        let mut later = self.open_in_boot("boot-2");
        let error = enqueue(&mut later, &["x"]).expect_err(case);
        assert!(matches!(error, StoreError::RolledBack { .. }), "{case}: {error}");
        assert_eq!(everything(&self.log_dir()), before, "{case}: something was written");
        assert_eq!(self.open().degraded(), None, "{case}: it is over once the log is put back");
    }
}

fn configure(store: &mut Store, key: &str, value: &str) {
    let set = ConfigSet { key: key.into(), value: value.into() };
    store.configure(|config| (config.with(key, value), vec![Event::ConfigSet(set)])).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for name in everything(from) {
        fs::write(to.join(name.0), name.1).unwrap();
    }
}

fn everything(path: &Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    let mut all: Vec<_> =
        entries.map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap())).collect();
    all.sort();
    all
}

/// A line as a log has it.
fn line(body: &str) -> String {
    format!("{body},\"crc\":\"{:08x}\"}}\n", crc32c::crc32c(body.as_bytes()))
}

/// The last segment with another job in the place of the one of this id, and every checksum right.
fn edited(queue: &Queue, segment: u64, id: &str, other: &str) -> String {
    let text = fs::read_to_string(queue.log(segment)).unwrap();
    let edit = |old: &str| {
        let body = &old[..old.rfind(",\"crc\"").unwrap()];
        line(&body.replace(&format!("\"job\":\"{id}\""), &format!("\"job\":\"{other}\"")))
    };
    text.lines().map(edit).collect()
}

/// A queue of jobs in two segments, with stores that have read and written all of it.
fn scene() -> (Queue, Store, Store) {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a", "b"]).unwrap();
    queue.rotate();
    let mut writer = queue.open();
    enqueue(&mut writer, &["c"]).unwrap();
    enqueue(&mut writer, &["d"]).unwrap();
    let mut reader = queue.open();
    reader.read().unwrap();
    reader.write_checkpoint();
    assert_eq!(queue.segments().len(), 2);
    (queue, reader, writer)
}

/// What is done to a log, and under which name.
type Deed = (&'static str, fn(&Queue));

#[test]
fn nobody_writes_on_a_log_that_is_not_the_one_that_was_synced() {
    let deeds: [Deed; 11] = [
        ("the end is cut off at a line", |queue| {
            let text = fs::read_to_string(queue.log(2)).unwrap();
            let end = text.trim_end().rfind('\n').unwrap() + 1;
            fs::write(queue.log(2), &text[..end]).unwrap();
        }),
        ("the end is cut off within a line", |queue| {
            let text = fs::read(queue.log(2)).unwrap();
            fs::write(queue.log(2), &text[..text.len() - 9]).unwrap();
        }),
        ("the last segment is missing", |queue| fs::remove_file(queue.log(2)).unwrap()),
        ("every segment is missing", |queue| {
            fs::remove_file(queue.log(1)).unwrap();
            fs::remove_file(queue.log(2)).unwrap();
        }),
        ("the last line is another", |queue| {
            fs::write(queue.log(2), edited(queue, 2, "d", "e")).unwrap();
        }),
        ("the last line is a longer one", |queue| {
            fs::write(queue.log(2), edited(queue, 2, "d", "longer")).unwrap();
        }),
        ("an earlier line is a longer one", |queue| {
            fs::write(queue.log(2), edited(queue, 2, "c", "longer")).unwrap();
        }),
        ("the last line is another, and the file another too", |queue| {
            let edited = edited(queue, 2, "d", "e");
            fs::remove_file(queue.log(2)).unwrap();
            fs::write(queue.log(2), edited).unwrap();
        }),
        ("the last line is another and a line is behind it", |queue| {
            let text = edited(queue, 2, "d", "e");
            let last = text.lines().last().unwrap();
            let body = last[..last.rfind(",\"crc\"").unwrap()].replace("\"e\"", "\"f\"");
            let seq = body[7..body.find(',').unwrap()].parse::<u64>().unwrap();
            let body =
                body.replacen(&format!("{{\"seq\":{seq}"), &format!("{{\"seq\":{}", seq + 1), 1);
            fs::write(queue.log(2), text + &line(&body.replace("Z\"", "9Z\""))).unwrap();
        }),
        ("another node's segment", |queue| {
            let text = edited(queue, 2, "d", "e");
            let (header, rest) = text.split_once('\n').unwrap();
            let body = header[..header.rfind(",\"crc\"").unwrap()].replace("\"desk\"", "\"nas-\"");
            fs::write(queue.log(2), line(&body) + rest).unwrap();
        }),
        ("the segment is sealed too early", |queue| {
            let text = fs::read_to_string(queue.log(2)).unwrap();
            let header = text.split_once('\n').unwrap().0;
            let prev = fs::metadata(queue.log(2)).unwrap().len() - 2;
            let body = header[..header.rfind(",\"crc\"").unwrap()]
                .replace("\"segment\":2", "\"segment\":3");
            let at = body.find("\"prev\"").unwrap();
            let end = at + body[at..].find('}').unwrap();
            let next = format!(
                "{}\"prev\":{{\"segment\":2,\"len\":{prev},\"seq\":5{}",
                &body[..at],
                &body[end..]
            );
            fs::write(queue.log(3), line(&next)).unwrap();
        }),
    ];
    for (case, deed) in deeds {
        let (queue, mut reader, mut writer) = scene();
        deed(&queue);
        queue.assert_nobody_writes([&mut reader, &mut writer], case);
    }
}

#[test]
fn an_old_copy_is_noticed_and_the_whole_log_taken_up_again() {
    for rotates in [false, true] {
        let queue = Queue::new();
        let mut writer = queue.open();
        enqueue(&mut writer, &["a"]).unwrap();
        let old = queue.set_aside("old");
        enqueue(&mut writer, &["b"]).unwrap();
        if rotates {
            configure(&mut writer, "segment_size", "4096");
        }
        enqueue(&mut writer, &["c"]).unwrap();
        let mut reader = queue.open();
        reader.read().unwrap();
        let whole = queue.set_aside("whole");
        queue.put_back(&old);
        queue.assert_nobody_writes([&mut reader, &mut writer], "old");
        assert_eq!(queue.ids(), ["a"], "what is there is shown");
        queue.put_back(&whole);
        assert_eq!(reader.read().unwrap().rolled_back, None);
        for store in [&mut reader, &mut writer] {
            let id = format!("d{}", queue.ids().len());
            enqueue(store, &[&id]).unwrap();
        }
        enqueue(&mut queue.open(), &["e"]).unwrap();
        assert_eq!(queue.ids(), ["a", "b", "c", "d3", "d4", "e"]);
    }
}

#[test]
fn a_log_that_is_longer_than_the_mark_and_goes_on_from_it_is_taken_up() {
    for rotates in [false, true] {
        let queue = Queue::new();
        enqueue(&mut queue.open(), &["a"]).unwrap();
        let mark = queue.open().place().mark();
        let lagging = fs::read(&mark).unwrap();
        enqueue(&mut queue.open(), &["b"]).unwrap();
        if rotates {
            queue.rotate();
            enqueue(&mut queue.open(), &["c"]).unwrap();
            queue.rotate();
            enqueue(&mut queue.open_in_boot("boot-2"), &["d"]).unwrap();
        }
        for boot in ["boot-2", "boot-3"] {
            fs::write(&mark, &lagging).unwrap();
            let mut reader = queue.open_in_boot(boot);
            assert_eq!(reader.read().unwrap().rolled_back, None);
            enqueue(&mut queue.open_in_boot(boot), &[boot]).unwrap();
        }
        assert!(queue.ids().ends_with(&["boot-2".to_owned(), "boot-3".to_owned()]));
    }
}

#[test]
fn what_was_synced_of_an_earlier_segment_is_looked_at_too() {
    let deeds: [Deed; 3] = [
        ("it is missing", |queue| fs::remove_file(queue.log(1)).unwrap()),
        ("its line is another", |queue| {
            fs::write(queue.log(1), edited(queue, 1, "b", "x")).unwrap()
        }),
        ("its lines are elsewhere", |queue| {
            fs::write(queue.log(1), edited(queue, 1, "a", "longer")).unwrap();
        }),
    ];
    for (case, deed) in deeds {
        let queue = Queue::new();
        enqueue(&mut queue.open(), &["a"]).unwrap();
        enqueue(&mut queue.open(), &["b"]).unwrap();
        let mark = queue.open().place().mark();
        let lagging = fs::read(&mark).unwrap();
        queue.rotate();
        queue.rotate();
        fs::write(&mark, &lagging).unwrap();
        let mut reader = queue.open();
        deed(&queue);
        assert!(reader.read().unwrap().rolled_back.is_some(), "{case}");
        let error = enqueue(&mut queue.open(), &["c"]).expect_err(case);
        assert!(matches!(error, StoreError::RolledBack { .. }), "{case}: {error}");
    }
}

#[test]
fn a_line_that_does_not_hold_is_damage_and_no_other_log() {
    let (queue, _, _) = scene();
    let text = fs::read_to_string(queue.log(2)).unwrap();
    fs::write(queue.log(2), text.replace("\"job\":\"d\"", "\"job\":\"e\"")).unwrap();
    let error = enqueue(&mut queue.open(), &["x"]).unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)), "{error}");
}
