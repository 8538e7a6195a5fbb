//! Logs that an older or another one was put in the place of, on the real disk: who notices, and who is let be.

use std::fs;
use std::path::{Path, PathBuf};

use super::doctor::Condition;
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

/// Begins a third segment that says of the second that it has so many bytes less, and ends so many lines before its end.
fn seal_before(queue: &Queue, bytes: u64, lines: u64) {
    let text = fs::read(queue.log(2)).unwrap();
    let last = segment::cut(&text, 0).good.pop().unwrap();
    let (len, seq) = (last.end - bytes, last.record.seq - lines);
    let text = String::from_utf8(text).unwrap();
    let header = text.split_once('\n').unwrap().0;
    let body =
        header[..header.rfind(",\"crc\"").unwrap()].replace("\"segment\":2", "\"segment\":3");
    let at = body.find("\"prev\"").unwrap();
    let end = at + body[at..].find('}').unwrap();
    let prev = format!("\"prev\":{{\"segment\":2,\"len\":{len},\"seq\":{seq}");
    fs::write(queue.log(3), line(&format!("{}{prev}{}", &body[..at], &body[end..]))).unwrap();
}

/// What is done to a log, and under which name.
type Deed = (&'static str, fn(&Queue));

#[test]
fn nobody_writes_on_a_log_that_is_not_the_one_that_was_synced() {
    let deeds: [Deed; 12] = [
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
        ("the segment is sealed too early", |queue| seal_before(queue, 2, 0)),
        ("the segment is sealed before its last line", |queue| seal_before(queue, 0, 1)),
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
        // Once the second attempt of a process was let through.
        let mut writer = queue.open();
        for ids in [&["c"][..], &["d"], &["e", "f"]] {
            let error = enqueue(&mut writer, ids).expect_err(case);
            assert!(matches!(error, StoreError::RolledBack { .. }), "{case}: {error}");
        }
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

/// Where the line of the mark does not hold, what stands around it says nothing.
#[test]
fn another_line_is_one_that_holds_and_reaches_over_the_place_of_the_mark() {
    use super::mark::Mark;
    use super::rollback::other_line;
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("log");
    let ts = "2026-02-02T03:04:05Z".parse().unwrap();
    let event = Event::QueuePaused(QueuePaused { queue: None, until: None });
    let lines: Vec<Vec<u8>> = (1..=3).map(|seq| super::line::encode(seq, ts, ts, &event)).collect();
    let [one, len] = [lines[0].len(), lines[0].len() + lines[1].len()];
    let look = |bytes: &[u8], len: usize| {
        fs::write(&path, bytes).unwrap();
        let file = real_disk::RealDisk.open(&path, Open::Read).unwrap();
        let line = String::from_utf8(lines[1][lines[1].len() - 11..][..8].to_vec()).unwrap();
        let (node, boot) = ("desk".to_owned(), "boot".to_owned());
        let mark = Mark { node, segment: 1, len: len as u64, seq: 2, line, boot };
        other_line(file.as_ref(), &mark).unwrap()
    };
    let whole = lines.concat();
    assert_eq!(look(&whole, len), None);
    let mut broken = whole.clone();
    broken[len - 4] ^= 1;
    assert_eq!(look(&broken, len), None, "it is damage");
    assert_eq!(look(&whole[..one], len), None, "it is not there");
    for (bytes, len, seq) in [(&whole, len - 1, 2), (&whole, len + 1, 3), (&whole, one, 1)] {
        let told = look(bytes, len).unwrap();
        assert!(told.ends_with(&format!("is another, of seq {seq}")), "{told}");
    }
}

/// What was synced there stands in the base; nobody else looks at the file.
#[test]
fn a_file_in_the_place_of_a_segment_that_a_base_stands_for_keeps_nobody_from_writing() {
    let queue = Queue::new();
    let mut store = queue.open();
    enqueue(&mut store, &["a", "b", "c"]).unwrap();
    store.read().unwrap();
    store.seal().unwrap();
    store.compactor().unwrap().run(None).unwrap().unwrap();
    let other = Queue::new();
    enqueue(&mut other.open(), &["another-job-of-another-log", "d", "e", "f"]).unwrap();
    std::fs::copy(other.log(1), queue.log(1)).unwrap();
    enqueue(&mut queue.open(), &["g"]).unwrap();
    assert_eq!(queue.ids(), ["a", "b", "c", "g"]);
    assert_eq!(queue.open().examine(&mut |_| ()).unwrap().condition, Condition::Whole);
}
