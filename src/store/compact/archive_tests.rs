//! Archives on a disk that fails: nothing is removed of which no copy is on stable storage.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::store::compact::Compacted;
use crate::store::disk::Disk;
use crate::store::odd_disk::{Odd, last};
use crate::store::store_tests::{Queue, enqueue};

/// Compacts a queue of one sealed segment into an archive, by way of this disk.
fn compact(queue: &Queue, disk: Arc<dyn Disk>, archive: &Path) -> Result<Compacted, StoreError> {
    let mut compactor = queue.open().compactor().unwrap();
    compactor.disk = disk;
    compactor.run(Some(archive)).map(Result::unwrap)
}

fn sealed() -> Queue {
    let queue = Queue::new();
    let mut store = queue.open();
    enqueue(&mut store, &["a"]).unwrap();
    store.seal().unwrap();
    queue
}

fn assert_nothing_is_compacted(queue: &Queue) {
    assert_eq!(queue.segments(), ["00000001.jsonl", "00000002.jsonl"]);
}

/// Whoever made the directories may have failed before their names were synced.
#[test]
fn the_names_that_lead_to_the_copies_are_synced_before_anything_goes() {
    let queue = sealed();
    let place = tempfile::tempdir().unwrap();
    let archive = place.path().join("outer/inner");
    fs::create_dir_all(archive.join("desk")).unwrap();
    let disk = Odd::after(usize::MAX);
    compact(&queue, Arc::new(disk.clone()), &archive).unwrap();
    let calls = disk.calls.lock().unwrap().clone();
    let copy = ".00000001.jsonl.tmp";
    let order = [
        format!("sync {copy}"),
        format!("rename {copy} 00000001.jsonl"),
        "sync desk".into(),
        "sync inner".into(),
        "sync outer".into(),
        format!("sync {}", last(place.path())),
        "rename .00000001-00000001.base.jsonl.tmp 00000001-00000001.base.jsonl".into(),
        "unlink 00000001.jsonl".into(),
    ];
    let mut rest = calls.iter();
    for call in &order {
        assert!(rest.any(|other| other == call), "{call} is not in its place: {calls:#?}");
    }
    for call in &order[..6] {
        let (queue, call) = (sealed(), call.clone());
        let _ = fs::remove_file(archive.join("desk/00000001.jsonl"));
        let disk = Odd::failing(move |other| other == call);
        let told = compact(&queue, Arc::new(disk), &archive).unwrap_err().to_string();
        assert!(told.contains("the disk fails"), "{told}");
        assert_nothing_is_compacted(&queue);
    }
}

#[test]
fn what_may_not_be_listed_is_somebody_elses_and_any_other_failure_is_one() {
    for (kind, is_let_be) in
        [(io::ErrorKind::PermissionDenied, true), (io::ErrorKind::OutOfMemory, false)]
    {
        let queue = sealed();
        let place = tempfile::tempdir().unwrap();
        let archive = place.path().join("archive");
        fs::create_dir_all(archive.join("desk")).unwrap();
        let shut = format!("open {}", last(place.path()));
        let disk = Odd::refusing(move |call| (call == shut).then_some(kind));
        assert_eq!(compact(&queue, Arc::new(disk), &archive).is_ok(), is_let_be, "{kind}");
        if !is_let_be {
            assert_nothing_is_compacted(&queue);
        }
    }
}
