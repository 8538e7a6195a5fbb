//! The append lock, and whose log a writer goes on with, on the real disk.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::*;
use crate::store::Store;
use crate::store::disk::Disk;
use crate::store::enqueue::tests::fresh;
use crate::store::line;
use crate::store::odd_disk::{Odd, on};
use crate::store::real_disk::RealDisk;
use crate::store::store_tests::{Queue, enqueue};

fn log_dir(queue: &Queue) -> PathBuf {
    queue.root.join("log/desk")
}

fn hold(path: &std::path::Path) -> Box<dyn Handle> {
    let directory = RealDisk.open(path, Open::Directory).unwrap();
    assert!(directory.try_lock(Lock::Exclusive).unwrap());
    directory
}

#[test]
fn the_lock_is_given_back_also_where_a_child_has_a_copy_of_it() {
    let queue = Queue::new();
    let mut store = queue.open();
    enqueue(&mut store, &["a"]).unwrap();
    let locked = store.log.as_mut().unwrap().lock().unwrap();
    let copy = locked.directory.descriptor().unwrap().try_clone_to_owned().unwrap();
    drop(locked);
    hold(&log_dir(&queue));
    drop(copy);
}

#[test]
fn the_lock_is_waited_for_for_a_minute_and_no_longer() {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a"]).unwrap();
    let held = hold(&log_dir(&queue));
    let waited = Arc::new(AtomicU64::new(0));
    let sum = Arc::clone(&waited);
    let mut store = on(
        Odd::new(move |call| {
            let pause = call.strip_prefix("pause ").map_or(0, |pause| pause.parse().unwrap());
            sum.fetch_add(pause, Ordering::SeqCst);
            // What is told to wait doesn't.
            if pause == 0 { Ok(()) } else { Err(io::ErrorKind::Other.into()) }
        }),
        queue.open(),
    );
    let error = store.enqueue(fresh(&["b"])).unwrap_err();
    assert!(matches!(error, StoreError::LockHeld { seconds: 60, .. }), "{error}");
    let waited = waited.load(Ordering::SeqCst);
    assert!((60_000_000..60_010_000).contains(&waited), "{waited}");
    drop(held);
    assert_eq!(queue.ids(), ["a"]);
}

/// Who would wait for the lock that it holds itself.
#[test]
fn a_link_to_the_queue_in_the_place_of_the_log_is_no_log() {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a"]).unwrap();
    fs::rename(log_dir(&queue), queue.root.join("log/aside")).unwrap();
    symlink("..", log_dir(&queue)).unwrap();
    let _held = hold(&queue.root);
    let mut store = on(Odd::watched(), queue.open());
    let error = store.enqueue(fresh(&["b"])).unwrap_err();
    assert!(matches!(error, StoreError::Place(NodeError::LogMissing(_))), "{error}");
}

/// The text with another first line, and its checksum right.
fn with_header(text: &str, old: &str, new: &str) -> String {
    let (header, rest) = text.split_once('\n').unwrap();
    let body = header[..header.rfind(",\"crc\"").unwrap()].replace(old, new);
    format!("{body},\"crc\":\"{:08x}\"}}\n{rest}", crc32c::crc32c(body.as_bytes()))
}

#[test]
fn a_segment_that_a_newer_version_began_is_not_written_to() {
    for (old, new, told) in [
        ("\"v\":1", "\"v\":2", "its format is 2"),
        ("\"v\":1", "\"v\":1,\"requires\":[\"zstd\"]", "it requires \"zstd\""),
    ] {
        let queue = Queue::new();
        enqueue(&mut queue.open(), &["a"]).unwrap();
        let changed = with_header(&fs::read_to_string(queue.log(1)).unwrap(), old, new);
        fs::write(queue.log(1), &changed).unwrap();
        let error = queue.open().enqueue(fresh(&["b"])).unwrap_err();
        assert!(matches!(error, StoreError::TooNew { .. }), "{error}");
        assert!(error.to_string().contains(told), "{error}");
        assert_eq!(fs::read_to_string(queue.log(1)).unwrap(), changed);
        assert_eq!(queue.segments().len(), 1);
    }
}

#[test]
fn a_segment_without_a_header_is_damage_and_named() {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a"]).unwrap();
    let text = fs::read_to_string(queue.log(1)).unwrap();
    fs::write(queue.log(1), text.replacen("\"v\":1", "\"v\":3", 1)).unwrap();
    let error = queue.open().enqueue(fresh(&["b"])).unwrap_err();
    assert!(
        matches!(&error, StoreError::Damaged(damage) if damage.file == queue.log(1)),
        "{error}"
    );
}

/// Makes a base of all that is there.
fn compact(store: &mut Store) {
    store.seal().unwrap();
    store.compactor().unwrap().run(None).unwrap().unwrap();
}

/// Nobody reads what is written there.
#[test]
fn nobody_writes_on_a_segment_that_a_base_stands_for() {
    let queue = Queue::new();
    let mut store = queue.open();
    enqueue(&mut store, &["a"]).unwrap();
    let covered = fs::read(queue.log(1)).unwrap();
    compact(&mut store);
    assert_eq!(queue.segments(), ["00000001-00000001.base.jsonl", "00000002.jsonl"]);
    fs::remove_file(queue.log(2)).unwrap();
    fs::write(queue.log(1), &covered).unwrap();
    fs::remove_file(store.place().mark()).unwrap();
    let error = queue.open().enqueue(fresh(&["b"])).unwrap_err();
    assert!(matches!(error, StoreError::RolledBack { .. }), "{error}");
    assert_eq!(fs::read(queue.log(1)).unwrap(), covered);
    assert_eq!(queue.segments().len(), 2);
}

/// A line of this process's own, and one that another wrote behind it.
#[test]
fn who_wrote_before_sees_that_the_line_at_the_mark_is_another() {
    let queue = Queue::new();
    let mut writer = queue.open();
    writer.enqueue(fresh(&["a"])).unwrap();
    let text = fs::read_to_string(queue.log(1)).unwrap();
    let one = text.lines().last().unwrap();
    let body = one[..one.rfind(",\"crc\"").unwrap()].replace("\"a\"", "\"x\"");
    let first = format!("{body},\"crc\":\"{:08x}\"}}\n", crc32c::crc32c(body.as_bytes()));
    let seq = line::decode(one.as_bytes()).unwrap().0.seq;
    let second = line::renumber(first.trim_end().as_bytes(), seq + 1).unwrap();
    let other = [&text.as_bytes()[..text.len() - one.len() - 1], first.as_bytes(), &second];
    let other = other.concat();
    fs::write(queue.log(1), &other).unwrap();
    let error = writer.enqueue(fresh(&["b"])).unwrap_err();
    assert!(matches!(error, StoreError::RolledBack { .. }), "{error}");
    assert_eq!(fs::read(queue.log(1)).unwrap(), other);
}

#[test]
fn a_mark_that_was_removed_is_made_again() {
    let queue = Queue::new();
    let mut store = queue.open();
    store.enqueue(fresh(&["a"])).unwrap();
    fs::remove_file(store.place().mark()).unwrap();
    store.enqueue(fresh(&["b"])).unwrap();
    let mark = RealDisk.open(&store.place().mark(), Open::Read).unwrap();
    let mark = mark::read(mark.as_ref()).unwrap().unwrap();
    assert_eq!(mark.len, fs::metadata(queue.log(1)).unwrap().len());
}

#[test]
fn who_writes_again_and_again_keeps_its_files_open() {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a"]).unwrap();
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    let mut store = on(
        Odd::new(move |call| {
            let is_it = ["open 00000001.jsonl", "open mark"].contains(&call);
            count.fetch_add(usize::from(is_it), Ordering::SeqCst);
            Ok(())
        }),
        queue.open(),
    );
    for id in ["b", "c", "d"] {
        store.enqueue(fresh(&[id])).unwrap();
    }
    assert_eq!(opened.load(Ordering::SeqCst), 2);
    assert_eq!(queue.ids().len(), 4);
}
