//! What is looked at before a job is written, and what is not, on the real disk.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::domain::bytes::Bytes;
use crate::store::disk::{Disk, Open};
use crate::store::odd_disk::{Odd, on};
use crate::store::real_disk::RealDisk;
use crate::store::store_tests::{Queue, append_to, enqueue, job};

/// Jobs whose ids nobody chose.
pub(in crate::store) fn fresh(ids: &[&str]) -> Enqueue {
    let specs = ids.iter().map(|id| job(id)).collect();
    Enqueue { specs, has_chosen_ids: false, on_conflict: OnConflict::Fail }
}

fn has_read(store: &Store) -> bool {
    !store.view().cursors.is_empty()
}

#[test]
fn a_job_is_written_without_reading_what_is_there() {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a"]).unwrap();
    let mut store = queue.open();
    store.enqueue(fresh(&["b"])).unwrap();
    enqueue(&mut store, &["c"]).unwrap();
    store.enqueue(fresh(&["b1", "b2"])).unwrap();
    assert!(!has_read(&store));

    // Of a later segment alone, nobody can say that an id is free.
    let mut later = queue.open_in_boot("boot-2");
    later.enqueue(fresh(&["d"])).unwrap();
    assert!(!has_read(&later));
    enqueue(&mut later, &["e"]).unwrap();
    assert!(has_read(&later));

    let mut store = queue.open_in_boot("boot-2");
    store.read().unwrap();
    store.write_checkpoint();
    enqueue(&mut queue.open_in_boot("boot-2"), &["f"]).unwrap();
    let mut store = queue.open_in_boot("boot-2");
    enqueue(&mut store, &["g"]).unwrap();
    assert!(!has_read(&store), "with a checkpoint");
    assert_eq!(queue.ids(), ["a", "b", "c", "b1", "b2", "d", "e", "f", "g"]);
}

#[test]
fn where_much_was_to_be_read_the_next_has_a_checkpoint() {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a"]).unwrap();
    let mut store = queue.open_in_boot("boot-2");
    store.read().unwrap();
    let is_written = || fs::read_dir(queue.open().place().cache_dir()).unwrap().count() > 0;
    // A large one before, so that reading alone writes none.
    (store.view.checkpoint, store.view.news) = (1 << 40, SEARCHED / 2);
    enqueue(&mut store, &["b"]).unwrap();
    assert!(!is_written());
    store.view.news = SEARCHED;
    enqueue(&mut store, &["c"]).unwrap();
    assert!(is_written());
}

fn batch_of(lengths: &[usize]) -> Vec<Spec> {
    let spec = |(n, len): (usize, &usize)| {
        let mut spec = job(&format!("j{n}"));
        spec.command = Some(Bytes(vec![b'x'; *len]));
        spec
    };
    lengths.iter().enumerate().map(spec).collect()
}

#[test]
fn a_large_batch_is_written_in_pieces() {
    let lens = |specs| pieces(specs, 2048).iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(lens(batch_of(&[512, 512])), [2]);
    assert_eq!(lens(batch_of(&[512, 512, 0])), [3], "just full");
    assert_eq!(lens(batch_of(&[512, 513, 0])), [2, 1]);
    assert_eq!(lens(batch_of(&[9000, 9000, 0, 0])), [1, 1, 2]);
    assert_eq!(lens(batch_of(&[9000])), [1]);
    let mut specs = batch_of(&[0, 0]);
    (specs[0].command, specs[0].argv) =
        (None, vec![Bytes(vec![b'x'; 768]), Bytes(vec![b'x'; 769])]);
    assert_eq!(lens(specs), [1, 1]);
}

/// Does `deed` before the `n`-th time that the lock of the log is asked for.
fn before_lock(queue: &Queue, n: usize, deed: impl Fn() + Send + Sync + 'static) -> Store {
    let locks = AtomicUsize::new(0);
    let disk = Odd::new(move |call| {
        if call == "open desk" && locks.fetch_add(1, Ordering::SeqCst) + 1 == n {
            deed();
        }
        Ok(())
    });
    on(disk, queue.open())
}

#[test]
fn an_id_of_a_batch_that_is_taken_meanwhile_is_refused_at_any_moment() {
    // The directory is opened to be read and to be locked, some times.
    let mut refused = 0;
    for n in 1..20 {
        let queue = Arc::new(Queue::new());
        enqueue(&mut queue.open(), &["a"]).unwrap();
        let there = Arc::clone(&queue);
        let taken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&taken);
        let mut store = before_lock(&queue, n, move || {
            let outcome = enqueue(&mut there.open(), &["b"]);
            count.fetch_add(usize::from(outcome.is_ok()), Ordering::SeqCst);
        });
        let outcome = enqueue(&mut store, &["b", "c"]);
        let duplicates = taken.load(Ordering::SeqCst) + usize::from(outcome.is_ok());
        assert_eq!(duplicates, 1, "at {n}, b was given {duplicates} times: {outcome:?}");
        assert_eq!(queue.ids().len(), if outcome.is_ok() { 3 } else { 2 }, "{n}");
        refused += usize::from(outcome.is_err());
        if taken.load(Ordering::SeqCst) == 0 {
            break;
        }
    }
    assert!(refused > 1, "{refused}");
}

fn ids(queue: &Queue, cursor: Option<&Cursor>, limit: u64) -> Option<Vec<String>> {
    let directory = RealDisk.open(&queue.root.join("log/desk"), Open::Directory).unwrap();
    let mut ids: Vec<String> =
        ids_behind(directory.as_ref(), cursor, limit)?.iter().map(ToString::to_string).collect();
    ids.sort();
    Some(ids)
}

fn len(queue: &Queue, segment: u64) -> u64 {
    fs::metadata(queue.log(segment)).unwrap().len()
}

#[test]
fn the_ids_of_a_log_are_found_in_all_of_it_or_not_told() {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a"]).unwrap();
    let mut store = queue.open();
    store.read().unwrap();
    let cursor = store.view.cursors["desk"].clone();
    enqueue(&mut queue.open(), &["b"]).unwrap();
    // The last line is cut off, as if it were on its way.
    assert_eq!(ids(&queue, None, len(&queue, 1) - 1), None, "more than is searched");
    assert_eq!(ids(&queue, Some(&cursor), len(&queue, 1) - cursor.offset - 1), None);
    enqueue(&mut queue.open_in_boot("boot-2"), &["c"]).unwrap();
    let some = |ids: &[&str]| Some(ids.iter().map(ToString::to_string).collect::<Vec<_>>());

    let all = len(&queue, 1) + len(&queue, 2);
    assert_eq!(ids(&queue, None, all), some(&["a", "b", "c"]));
    assert_eq!(ids(&queue, None, all - 1), None, "more than is searched");
    assert_eq!(ids(&queue, None, len(&queue, 1)), None);
    assert_eq!(ids(&queue, Some(&cursor), all - cursor.offset), some(&["b", "c"]));
    assert_eq!(ids(&queue, Some(&cursor), all - cursor.offset - 1), None);
    let elsewhere = Cursor { crc: *b"00000000", ..cursor.clone() };
    assert_eq!(ids(&queue, Some(&elsewhere), all), None, "the cursor does not hold");

    let first = fs::read(queue.log(1)).unwrap();
    let mut damaged = first.clone();
    damaged[cursor.offset as usize + 40] ^= 4;
    fs::write(queue.log(1), damaged).unwrap();
    for cursor in [None, Some(&cursor)] {
        assert_eq!(ids(&queue, cursor, all), None, "a line does not hold");
    }
    fs::remove_file(queue.log(1)).unwrap();
    assert_eq!(ids(&queue, None, all), None, "the first segment is missing");
    fs::write(queue.log(1), first).unwrap();
    append_to(&queue.log(2), b"{\"seq\"");
    assert_eq!(ids(&queue, None, all + 6), some(&["a", "b", "c"]), "a line is on its way");
}
