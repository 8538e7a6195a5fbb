//! Each step of a repair alone: what it takes away, what it leaves, and what it says.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::tests::{
    files, is_in_quarantine, log, open, open_at, open_on, pause, place, replace, write_three,
};
use super::*;
use crate::store::clock::Clock;
use crate::store::disk::Lock;
use crate::store::odd_disk::{Odd, last};
use crate::store::progress::Progress;
use crate::store::real_disk::RealDisk;

/// Three segments, of which the first two are a base by now, and were put back where `is_back`.
fn compacted(root: &Path, is_back: bool) -> Store {
    let mut store = open(root);
    write_three(&mut store);
    let old = files(root);
    store.compactor().unwrap().run(None).unwrap().unwrap();
    for (name, bytes) in old.iter().filter(|(name, _)| is_back && name != "00000003.jsonl") {
        fs::write(log(root).join(name), bytes).unwrap();
    }
    store
}

fn names(files: &[PathBuf]) -> Vec<&str> {
    files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect()
}

const BASE: &str = "00000001-00000002.base.jsonl";

/// A log that nobody may write to for another reason is not mended either.
#[test]
fn where_this_version_may_not_write_nothing_is_to_be_mended() {
    let deeds: [fn(&Path); 2] = [
        |log| replace(&log.join("00000002.jsonl"), "\"2a\"", "\"2x\""),
        |log| fs::remove_file(log.join("00000003.jsonl")).unwrap(),
    ];
    for (deed, step) in deeds.into_iter().zip([Step::Rebuild, Step::TakeOver]) {
        let place = place();
        write_three(&mut open(place.path()));
        deed(&log(place.path()));
        let steps = || {
            let store = open(place.path());
            store.repairs(&store.examine(&mut |_| {}).unwrap())
        };
        assert_eq!(steps()[0], step);
        fs::write(place.path().join("FORMAT"), "{\"format\":2}").unwrap();
        assert_eq!(steps(), []);
    }
}

/// A worker that meets the note waits for whoever mends the log, and only then.
#[test]
fn a_repair_goes_on_while_its_lock_is_held_or_its_note_is_gone() {
    let place = place();
    let mut store = open(place.path());
    pause(&mut store, "1a");
    assert!(store.is_being_repaired());
    fs::write(store.place().local().join("degraded"), "a page\n").unwrap();
    assert!(!store.is_being_repaired());
    let lock = store.place().local().join("compact.lock");
    let held = RealDisk.open(&lock, Open::ReadWrite).unwrap();
    assert!(!store.is_being_repaired());
    assert!(held.try_lock(Lock::Exclusive).unwrap());
    assert!(store.is_being_repaired());
}

/// As another may have mended it since somebody looked.
#[test]
fn a_log_that_is_not_damaged_is_not_rebuilt() {
    let place = place();
    let mut store = open(place.path());
    write_three(&mut store);
    let before = files(place.path());
    assert_eq!(store.rebuild(&[]).unwrap(), Mended::default());
    assert!(files(place.path()) == before);
}

#[test]
fn a_rebuild_says_what_it_had_from_before_the_damage() {
    for is_read in [true, false] {
        let place = place();
        let mut store = open(place.path());
        write_three(&mut store);
        store.read().unwrap();
        if is_read {
            store.write_checkpoint();
        }
        replace(&log(place.path()).join("00000002.jsonl"), "\"2a\"", "\"2x\"");
        let mended = open(place.path()).rebuild(&[]).unwrap();
        let remembered = "up to seq 8 it is as it was read before the damage".to_owned();
        assert_eq!(mended.done.contains(&remembered), is_read, "{:?}", mended.done);
        assert_eq!(mended.done.iter().any(|what| what.starts_with("up to")), is_read);
        assert_eq!(mended.remembered, if is_read { 8 } else { 0 });
        assert_eq!(mended.lost, [(4, 4)]);
    }
}

#[test]
fn what_the_newest_base_stands_for_goes_only_where_a_repair_was_begun() {
    let place = place();
    let store = compacted(place.path(), true);
    let replaced = |is_noted| names(&store.replaced(is_noted).unwrap()).join(" ");
    let noted = "00000001.jsonl 00000002.jsonl";
    assert_eq!((replaced(false), replaced(true)), (String::new(), noted.to_owned()));
    // An older base, and one that is not whole and ends where the newest does.
    let whole = fs::read(log(place.path()).join(BASE)).unwrap();
    for name in ["00000001-00000001.base.jsonl", "00000002-00000002.base.jsonl"] {
        fs::write(log(place.path()).join(name), &whole[..whole.len() - 1]).unwrap();
    }
    let all =
        "00000001-00000001.base.jsonl 00000001.jsonl 00000002-00000002.base.jsonl 00000002.jsonl";
    assert_eq!((replaced(false), replaced(true)), (String::new(), all.to_owned()));
}

#[test]
fn a_base_that_is_not_whole_goes_where_all_that_it_stands_for_is_there() {
    let place = place();
    let store = compacted(place.path(), true);
    let broken = "00000001-00000003.base.jsonl";
    let whole = fs::read(log(place.path()).join(BASE)).unwrap();
    fs::write(log(place.path()).join(broken), &whole[..whole.len() - 1]).unwrap();
    assert_eq!(names(&store.replaced(false).unwrap()), [broken]);
    fs::remove_file(log(place.path()).join("00000001.jsonl")).unwrap();
    assert_eq!(names(&store.replaced(false).unwrap()), [""; 0]);
    assert_eq!(names(&store.replaced(true).unwrap()), ["00000002.jsonl"]);
}

#[test]
fn what_is_moved_away_is_counted_and_lies_in_a_directory_of_its_own() {
    let place = place();
    let now = Clock::Fixed("2026-02-02T03:04:05Z".parse().unwrap());
    let mut store = open_at(now, Arc::new(RealDisk), place.path());
    pause(&mut store, "1a");
    let quarantine = store.place().local().join("quarantine/20260202T030405.000000Z");
    let named = |end: &str| format!("{}{end}", quarantine.display());
    assert_eq!(store.repair(Step::MoveAway).unwrap().done, [""; 0]);
    assert!(!quarantine.exists());
    let said = ["moved 1 file to", "moved 2 files to", "moved 1 file to"];
    for ((number, said), end) in [1, 2, 1].into_iter().zip(said).zip(["", "-2", "-3"]) {
        let copies = ["00000001.jsonl~", "00000002.jsonl~"];
        for name in &copies[..number] {
            fs::write(log(place.path()).join(name), end).unwrap();
        }
        let done = store.repair(Step::MoveAway).unwrap().done;
        assert_eq!(done, [format!("{said} {}", named(end))]);
        for name in &copies[..number] {
            assert_eq!(fs::read_to_string(Path::new(&named(end)).join(name)).unwrap(), end);
        }
    }
    assert!(is_in_quarantine(&store, "00000001.jsonl~", b"-3"));
    assert_eq!(files(place.path()).len(), 1);
}

#[test]
fn writers_are_let_in_where_there_is_a_note_and_it_can_go() {
    let place = place();
    let mut store = open(place.path());
    pause(&mut store, "1a");
    assert_eq!(store.repair(Step::Reopen).unwrap().done, [""; 0]);
    let note = store.place().local().join("degraded");
    fs::write(&note, "a page\n").unwrap();
    let local = last(&store.place().local());
    for call in ["unlink degraded".to_owned(), format!("sync {local}")] {
        let disk = Odd::failing(move |made| made == call);
        let mut store = open_on(Arc::new(disk), place.path());
        // What a power cut may bring back is not said to be gone.
        store.repair(Step::Reopen).unwrap_err();
        fs::write(&note, "a page\n").unwrap();
    }
    assert_eq!(store.repair(Step::Reopen).unwrap().done, ["writers write again"]);
    assert_eq!(store.degraded(), None);
}

#[test]
fn temporary_files_go_but_for_those_that_somebody_writes() {
    let place = place();
    let mut store = open(place.path());
    pause(&mut store, "1a");
    assert_eq!(store.repair(Step::RemoveTemporary).unwrap().done, [""; 0]);
    let begun = log(place.path()).join(".00000002.jsonl.tmp");
    let written = store.place().local().join("compact.lock.tmp");
    fs::write(&begun, "half").unwrap();
    fs::write(&written, "half").unwrap();
    let held = RealDisk.open(&written, Open::Append).unwrap();
    assert!(held.try_lock(Lock::Exclusive).unwrap());
    let done = store.repair(Step::RemoveTemporary).unwrap().done;
    assert_eq!(done, [format!("removed {}", begun.display())]);
    assert!(!begun.exists() && written.exists());
    held.unlock().unwrap();
    let done = store.repair(Step::RemoveTemporary).unwrap().done;
    assert_eq!(done, [format!("removed {}", written.display())]);
    // Writers were kept out only meanwhile.
    pause(&mut store, "1b");
}

#[test]
fn caches_go_and_with_them_what_was_read_from_them() {
    let place = place();
    let mut store = open(place.path());
    assert_eq!(store.repair(Step::DropCaches).unwrap().done, [""; 0]);
    pause(&mut store, "1a");
    let cache = store.place().cache_dir();
    let own = store.view.state.nodes.get_mut("desk").unwrap();
    own.facts.paused.clear();
    store.write_checkpoint();
    fs::write(cache.join("mine"), "").unwrap();
    // Wrong, as the cache is.
    let mut store = open(place.path());
    store.tell(Progress::to(|_| {}));
    store.read().unwrap();
    assert!(store.own().unwrap().facts.paused.is_empty());
    let disk = Odd::failing(|call| call == "unlink state.ckpt");
    open_on(Arc::new(disk), place.path()).repair(Step::DropCaches).unwrap_err();
    let done = store.repair(Step::DropCaches).unwrap().done;
    assert_eq!(done, [format!("removed the caches in {}", cache.display())]);
    assert!(!cache.join("state.ckpt").exists() && cache.join("mine").exists());
    store.read().unwrap();
    assert_eq!(store.own().unwrap().facts.paused.len(), 1);
    assert!(store.view.progress.is_told(), "nobody is told how far it is any more");
    assert_eq!(store.repair(Step::DropCaches).unwrap().done, [""; 0]);
}
