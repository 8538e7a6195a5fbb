//! Listings that a compaction comes in between, on the real disk.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::store::Store;
use crate::store::disk::Disk;
use crate::store::odd_disk::Odd;
use crate::store::real_disk::RealDisk;
use crate::store::store_tests::{Queue, enqueue};

/// A log of so many segments.
fn log(segments: u64) -> (Queue, Store) {
    let queue = Queue::new();
    for boot in 1..=segments {
        enqueue(&mut queue.open_in_boot(&format!("boot-{boot}")), &[&format!("j{boot}")]).unwrap();
    }
    let store = queue.open_in_boot(&format!("boot-{segments}"));
    (queue, store)
}

/// Opens everything, and says which segments there are, and how often they were listed. `odd` is told the number of
/// the listing that goes on, or of the next.
fn open(
    queue: &Queue,
    cursor: Option<&Cursor>,
    odd: impl Fn(&str, usize) -> io::Result<()> + Send + Sync + 'static,
) -> io::Result<(Vec<u64>, bool, usize)> {
    let lists = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&lists);
    let disk = Odd::new(move |call| {
        let list = count.load(Ordering::SeqCst) + usize::from(call == "list desk");
        count.store(list, Ordering::SeqCst);
        odd(call, list)
    });
    let directory = disk.open(&queue.root.join("log/desk"), Open::Directory).unwrap();
    let files = open_files(directory.as_ref(), cursor)?;
    let segments = files.segments.keys().copied().collect();
    Ok((segments, files.base.is_some(), lists.load(Ordering::SeqCst)))
}

fn cursor(segment: u64) -> Cursor {
    Cursor { segment, offset: 100, crc: *b"00000000" }
}

fn rename(from: &Path, to: &Path) {
    fs::rename(from, to).unwrap();
}

/// Takes a segment away before this call, and puts it back before the second listing.
fn is_away(
    queue: &Queue,
    segment: u64,
    from: &'static str,
) -> impl Fn(&str, usize) -> io::Result<()> + Send + Sync + 'static {
    let (there, away) = (queue.log(segment), queue.root.join("away"));
    move |call, list| {
        match (call, list) {
            (call, 1) if call == from => rename(&there, &away),
            ("list desk", 2) => rename(&away, &there),
            _ => {}
        }
        Ok(())
    }
}

#[test]
fn what_is_all_there_is_listed_once() {
    let (queue, mut store) = log(3);
    assert_eq!(open(&queue, None, |_, _| Ok(())).unwrap(), (vec![1, 2, 3], false, 1));
    assert_eq!(open(&queue, Some(&cursor(2)), |_, _| Ok(())).unwrap(), (vec![2, 3], false, 1));
    store.seal().unwrap();
    store.compactor().unwrap().run(None).unwrap().unwrap();
    enqueue(&mut queue.open_in_boot("boot-4"), &["x"]).unwrap();
    assert_eq!(open(&queue, None, |_, _| Ok(())).unwrap(), (vec![4, 5], true, 1));
    // A base below what was read is none of our business, one that stands for it is.
    assert_eq!(open(&queue, Some(&cursor(4)), |_, _| Ok(())).unwrap(), (vec![4, 5], false, 1));
    assert_eq!(open(&queue, Some(&cursor(3)), |_, _| Ok(())).unwrap(), (vec![4, 5], true, 1));
}

#[test]
fn what_is_gone_before_it_is_opened_is_listed_again() {
    let (queue, _) = log(2);
    let open_it = is_away(&queue, 1, "open 00000001.jsonl");
    assert_eq!(open(&queue, None, open_it).unwrap(), (vec![1, 2], false, 2));

    let away = |call: &str, _| match call {
        "open 00000001.jsonl" => Err(io::ErrorKind::NotFound.into()),
        _ => Ok(()),
    };
    let error = open(&queue, None, away).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound, "not for ever");
    let broken = |call: &str, list| match (call, list) {
        ("open 00000001.jsonl", 1) => Err(io::Error::other("broken")),
        _ => Ok(()),
    };
    assert!(open(&queue, None, broken).is_err(), "only what is gone is looked for again");
}

#[test]
fn where_one_is_missing_in_the_middle_the_listing_is_taken_again() {
    let (queue, _) = log(4);
    for (cursor, missing, all) in [
        (None, 1, vec![1, 2, 3, 4]),
        (None, 3, vec![1, 2, 3, 4]),
        (Some(cursor(2)), 3, vec![2, 3, 4]),
    ] {
        let open_it = is_away(&queue, missing, "list desk");
        assert_eq!(open(&queue, cursor.as_ref(), open_it).unwrap(), (all, false, 2), "{missing}");
    }
    // What stays away is for the reader to tell.
    fs::remove_file(queue.log(2)).unwrap();
    assert_eq!(open(&queue, None, |_, _| Ok(())).unwrap(), (vec![1, 3, 4], false, 11));
}

#[test]
fn the_first_segment_follows_the_base() {
    let (queue, mut store) = log(1);
    store.seal().unwrap();
    store.compactor().unwrap().run(None).unwrap().unwrap();
    enqueue(&mut queue.open_in_boot("boot-2"), &["x"]).unwrap();
    for segment in [1, 2, 3] {
        let place = (segment > 1).then(|| cursor(segment));
        let open_it = is_away(&queue, 2, "list desk");
        let found = open(&queue, place.as_ref(), open_it).unwrap();
        // Who has read up to the last has nothing to do with the one before.
        let (segments, lists) = if segment == 3 { (vec![3], 1) } else { (vec![2, 3], 2) };
        assert_eq!((&found.0, found.2), (&segments, lists), "{segment}");
        if segment == 3 {
            rename(&queue.root.join("away"), &queue.log(2));
        }
    }
}

#[test]
fn the_bytes_of_all_files_are_counted() {
    let (queue, mut store) = log(2);
    store.seal().unwrap();
    store.compactor().unwrap().run(None).unwrap().unwrap();
    enqueue(&mut queue.open_in_boot("boot-3"), &["x"]).unwrap();
    let directory = RealDisk.open(&queue.root.join("log/desk"), Open::Directory).unwrap();
    let bytes: u64 = fs::read_dir(queue.root.join("log/desk"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    let files = open_files(directory.as_ref(), None).unwrap();
    assert_eq!((files.segments.len(), files.len().unwrap()), (2, bytes));
}
