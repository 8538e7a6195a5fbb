//! What a few `stat`, the mark and the checkpoint spare, and what they must not, on the real disk.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::store::disk::Disk as _;
use crate::store::mark::Mark;
use crate::store::odd_disk::{Odd, on};
use crate::store::progress::Progress;
use crate::store::real_disk::RealDisk;
use crate::store::store_tests::{Queue, append_to, enqueue};

/// A store whose reading is followed by `deed` before it looks a last time whether it has read all.
fn disturbed(queue: &Queue, deed: impl Fn() + Send + Sync + 'static) -> Store {
    let was_done = AtomicBool::new(false);
    let disk = Odd::new(move |call| {
        if call == "stat 00000001.jsonl" && !was_done.swap(true, Ordering::SeqCst) {
            deed();
        }
        Ok(())
    });
    on(disk, queue.open())
}

#[test]
fn what_comes_right_after_reading_is_news() {
    let queue = Arc::new(Queue::new());
    let deeds: [fn(&Queue); 2] = [
        |queue| drop(enqueue(&mut queue.open(), &["b"]).unwrap()),
        |queue| drop(enqueue(&mut queue.open_in_boot("boot-2"), &["c"]).unwrap()),
    ];
    enqueue(&mut queue.open(), &["a"]).unwrap();
    for (deed, jobs) in deeds.into_iter().zip(2..) {
        let there = Arc::clone(&queue);
        let mut store = disturbed(&queue, move || deed(&there));
        assert_eq!(store.read().unwrap().state.jobs().len(), jobs - 1);
        assert!(store.has_news());
        assert_eq!(store.read().unwrap().state.jobs().len(), jobs);
        assert!(!store.has_news());
    }
    assert_eq!(queue.segments().len(), 2);
}

#[test]
fn what_cannot_be_read_yet_is_no_news_for_ever() {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a"]).unwrap();
    append_to(&queue.log(1), b"{\"seq\":9,\"ts\"");
    let mut store = queue.open();
    store.read().unwrap();
    assert!(store.has_news(), "it may have come while the rest was read");
    store.read().unwrap();
    assert!(!store.has_news());
    append_to(&queue.log(1), b":");
    assert!(store.has_news());
}

#[test]
fn a_queue_without_a_log_has_the_configuration_of_every_queue() {
    let queue = Queue::new();
    assert_eq!(queue.open().config().unwrap().segment_size(), Config::default().segment_size());
    assert_eq!(queue.open().sync_error().unwrap(), None);
    enqueue(&mut queue.open(), &["a"]).unwrap();
    assert_eq!(queue.open().sync_error().unwrap(), None);
    // That something can't be read says nothing of what it says.
    let refuse =
        |call: &str| (call == "open 00000001.jsonl").then_some(io::ErrorKind::PermissionDenied);
    let store = on(Odd::refusing(refuse), queue.open());
    assert!(store.config().is_err());
    assert!(store.sync_error().is_err());
}

fn write_mark(store: &Store, mark: &Mark) {
    let local = RealDisk.open(&store.place.local(), Open::Directory).unwrap();
    mark::write(mark::open(local.as_ref()).unwrap().as_ref(), mark).unwrap();
}

#[test]
fn only_the_mark_of_this_boot_at_the_end_of_what_was_read_vouches_for_it() {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a"]).unwrap();
    let mut store = queue.open();
    assert!(!store.is_marked_durable(), "nothing was read");
    store.read().unwrap();
    assert!(store.is_marked_durable());
    let mark = store.read_mark().unwrap();
    for other in [
        Mark { node: "nas".into(), ..mark.clone() },
        Mark { segment: 2, ..mark.clone() },
        Mark { len: mark.len - 1, ..mark.clone() },
        Mark { line: "00000000".into(), ..mark.clone() },
        Mark { boot: "boot-2".into(), ..mark.clone() },
    ] {
        write_mark(&store, &other);
        assert!(!store.is_marked_durable(), "{other:?}");
    }
    fs::remove_file(store.place.mark()).unwrap();
    assert!(!store.is_marked_durable());
}

#[test]
fn what_the_mark_vouches_for_is_answered_with_where_nothing_can_be_written() {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a"]).unwrap();
    let changes = ["append", "write", "sync", "rename", "unlink", "mkdir", "lock"];
    let disk = Odd::refusing(move |call| {
        let is_change = changes.contains(&call.split(' ').next().unwrap());
        is_change.then_some(io::ErrorKind::ReadOnlyFilesystem)
    });
    let mut store = on(disk, queue.open());
    store.read().unwrap();
    store.sync_what_was_read().unwrap();
    fs::remove_file(store.place.mark()).unwrap();
    assert!(store.sync_what_was_read().is_err());
}

#[test]
fn a_checkpoint_takes_nobody_away_who_wants_to_know_how_far_reading_is() {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a"]).unwrap();
    let mut writer = queue.open();
    writer.read().unwrap();
    writer.write_checkpoint();
    enqueue(&mut queue.open(), &["b"]).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let mut store = queue.open();
    store.tell(Progress::to(move |reached| heard.lock().unwrap().push(reached)));
    assert_eq!(store.read().unwrap().state.jobs().len(), 2);
    assert!(!told.lock().unwrap().is_empty());
}

#[test]
fn a_checkpoint_costs_no_more_than_it_spares() {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a"]).unwrap();
    let mut store = queue.open();
    store.read().unwrap();
    // What the last one took, what was read since, and whether another is worth it.
    for (last, news, is_written) in [
        (0, (1 << 20) - 1, false),
        (0, 1 << 20, true),
        (1 << 30, (1 << 28) - 1, false),
        (1 << 30, 1 << 28, true),
    ] {
        (store.view.checkpoint, store.view.news) = (last, news);
        store.read().unwrap();
        assert_eq!(store.view.news == 0, is_written, "{last} {news}");
    }
}
