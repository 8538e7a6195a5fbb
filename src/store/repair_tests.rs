//! Damaged logs and bases, mended by a process that may die at any step.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::domain::decide::OnConflict;
use crate::domain::event::{ConfigSet, Event, QueuePaused};
use crate::domain::job::{JobId, Spec};
use crate::store::clock::Clock;
use crate::store::ids::Ids;
use crate::store::machine::Environment;
use crate::store::odd_disk::Odd;
use crate::store::real_disk::RealDisk;
use crate::store::{Enqueue, Setting};

pub(super) fn open_on(disk: Arc<dyn Disk>, root: &Path) -> Store {
    open_at(Clock::System, disk, root)
}

pub(super) fn open_at(clock: Clock, disk: Arc<dyn Disk>, root: &Path) -> Store {
    let environment = Environment {
        node: Some("desk".to_owned()),
        uid: rustix::process::geteuid().as_raw(),
        ..Environment::default()
    };
    let (ids, boot) = (Ids::new(Some("desk")), Some("boot".to_owned()));
    let root = root.to_owned();
    Store::open(Setting { disk, root, environment, clock, ids, boot }).unwrap()
}

pub(super) fn open(root: &Path) -> Store {
    open_on(Arc::new(RealDisk), root)
}

pub(super) fn pause(store: &mut Store, queue: &str) {
    let event = Event::QueuePaused(QueuePaused { queue: Some(queue.to_owned()), until: None });
    store.transact(|_, _| Ok((vec![event.clone()], ()))).unwrap();
}

/// Begins a new segment.
fn configure(store: &mut Store, value: &str) {
    let set = ConfigSet { key: "max_lost".into(), value: value.into() };
    let change = |config: &crate::domain::config::Config| {
        (config.with("max_lost", value), vec![Event::ConfigSet(set)])
    };
    store.configure(change).unwrap();
}

/// Two queues paused in each of three segments, which have numbers from 1.
pub(super) fn write_three(store: &mut Store) {
    for segment in 1..=3 {
        pause(store, &format!("{segment}a"));
        pause(store, &format!("{segment}b"));
        if segment < 3 {
            configure(store, &segment.to_string());
        }
    }
}

fn paused(root: &Path) -> BTreeSet<String> {
    let mut store = open(root);
    store.read().unwrap();
    let paused = store.own().map(|own| own.facts.paused.clone()).unwrap_or_default();
    paused.into_keys().flatten().collect()
}

/// Does all that would mend the queue.
fn mend(store: &mut Store) -> Result<(), StoreError> {
    let report = store.examine(&mut |_| {})?;
    for step in store.repairs(&report) {
        store.repair(step)?;
    }
    Ok(())
}

/// A directory in memory where there is one: what a process did is there when it is dead, synced or not.
pub(super) fn place() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(super) fn log(root: &Path) -> PathBuf {
    root.join("log/desk")
}

pub(super) fn files(root: &Path) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(log(root)).unwrap().flatten();
    let name = |file: &fs::DirEntry| file.file_name().to_string_lossy().into_owned();
    files.map(|file| (name(&file), fs::read(file.path()).unwrap())).collect()
}

pub(super) fn is_in_quarantine(store: &Store, name: &str, bytes: &[u8]) -> bool {
    let times = fs::read_dir(store.place().local().join("quarantine")).into_iter().flatten();
    times.flatten().any(|time| fs::read(time.path().join(name)).is_ok_and(|kept| kept == bytes))
}

pub(super) fn replace(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} is not in {}", path.display());
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

fn rearrange(path: &Path, change: fn(&mut Vec<&str>)) {
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.split_inclusive('\n').collect();
    change(&mut lines);
    fs::write(path, lines.concat()).unwrap();
}

/// What is written, and what is then done to the files; and what is still paused afterwards.
type Scene = (&'static str, fn(&mut Store), fn(&Path), &'static [&'static str]);

const SCENES: &[Scene] = &[
    (
        "a line in the middle",
        write_three,
        |log| replace(&log.join("00000002.jsonl"), "\"2a\"", "\"2x\""),
        &["1a", "1b", "2b", "3a", "3b"],
    ),
    (
        "a segment",
        write_three,
        |log| fs::remove_file(log.join("00000002.jsonl")).unwrap(),
        &["1a", "1b", "3a", "3b"],
    ),
    (
        "a line, and the header that says where its segment ends",
        write_three,
        |log| {
            replace(&log.join("00000001.jsonl"), "\"1a\"", "\"1x\"");
            replace(&log.join("00000002.jsonl"), "\"why\"", "\"wyh\"");
        },
        &["1b", "2a", "2b", "3a", "3b"],
    ),
    (
        "a line of a base",
        |store| {
            write_three(store);
            store.compactor().unwrap().run(None).unwrap().unwrap();
        },
        |log| replace(&log.join("00000001-00000002.base.jsonl"), "\"1b\"", "\"1x\""),
        &["1a", "2a", "2b", "3a", "3b"],
    ),
    (
        "a line of a base in which the mark is",
        |store| {
            write_three(store);
            store.seal().unwrap();
            store.compactor().unwrap().run(None).unwrap().unwrap();
        },
        |log| replace(&log.join("00000001-00000003.base.jsonl"), "\"3b\"", "\"3x\""),
        &["1a", "1b", "2a", "2b", "3a"],
    ),
    (
        "the header of a base",
        |store| {
            write_three(store);
            store.compactor().unwrap().run(None).unwrap().unwrap();
        },
        |log| replace(&log.join("00000001-00000002.base.jsonl"), "\"why\"", "\"wyh\""),
        &["1a", "1b", "2a", "2b", "3a", "3b"],
    ),
    (
        "the end of a base",
        |store| {
            write_three(store);
            store.compactor().unwrap().run(None).unwrap().unwrap();
        },
        |log| {
            let path = log.join("00000001-00000002.base.jsonl");
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() - 20]).unwrap();
        },
        &["1a", "1b", "2a", "2b", "3a", "3b"],
    ),
];

/// A crash at any step leaves what it was, or better; a second repair finishes, and throws nothing away.
#[test]
fn a_repair_that_dies_at_any_step_is_finished_by_the_next() {
    for (index, (wound, write, damage, expected)) in SCENES.iter().enumerate() {
        let expected: BTreeSet<String> = expected.iter().map(|one| (*one).to_owned()).collect();
        let mut steps = 0;
        loop {
            let place = place();
            let root = place.path();
            let mut store = open(root);
            write(&mut store);
            drop(store);
            damage(&log(root));
            let originals = files(root);
            // Of these, readers see less than a repair gets out.
            let sees_less = wound.contains("base") || wound.contains("header");
            if !sees_less {
                assert_eq!(paused(root), expected, "{wound}: before");
            }
            let disk = Arc::new(Odd::after(steps));
            let is_through = mend(&mut open_on(disk, root)).is_ok();
            if !sees_less {
                assert_eq!(paused(root), expected, "{wound}: dead at step {steps}");
            }
            mend(&mut open(root)).unwrap_or_else(|error| panic!("{wound}: {steps}: {error}"));
            assert_eq!(paused(root), expected, "{wound}: mended after step {steps}");
            let mut store = open(root);
            let report = store.examine(&mut |_| {}).unwrap();
            let found = report.checks.iter().filter(|check| check.level() > Level::Ok);
            let found: Vec<_> = found.collect();
            assert!(found.is_empty(), "{wound}: after step {steps}: {found:?}");
            for (name, bytes) in &originals {
                assert!(is_in_quarantine(&store, name, bytes), "{wound}: {steps}: {name} is gone");
            }
            pause(&mut store, "after");
            assert_eq!(store.config().unwrap().max_lost(), 2, "{wound}: {steps}");
            // The steps are the same ones each time.
            steps += if index == 0 { 1 } else { 3 };
            if is_through {
                break;
            }
        }
        assert!(steps > 15, "{wound}: a repair has few steps: {steps}");
    }
}

/// The wall clock of a damaged log may have been ahead; what follows is later all the same. And no number is given twice,
/// also where the line that had the last one is lost.
#[test]
fn what_is_written_behind_a_repair_is_later_and_counts_on() {
    let place = tempfile::tempdir().unwrap();
    let mut store = open(place.path());
    write_three(&mut store);
    replace(&log(place.path()).join("00000003.jsonl"), "\"3b\"", "\"3x\"");
    let past = Clock::Fixed("2001-01-01T00:00:00Z".parse().unwrap());
    let mut store = open_at(past, Arc::new(RealDisk), place.path());
    store.read().unwrap();
    let before = store.own().unwrap().facts.clone();
    assert_eq!(before.last_seq, 7);
    mend(&mut store).unwrap();
    pause(&mut store, "after");
    store.read().unwrap();
    let after = &store.own().unwrap().facts;
    assert_eq!(after.last_seq, 9);
    assert!(after.last_ts > before.last_ts);
}

/// A base that has lost its header does not say how many lines it stands for, but its jobs do: each is of one.
#[test]
fn what_is_written_behind_a_repair_takes_the_place_of_no_job() {
    let place = tempfile::tempdir().unwrap();
    let enqueue = |id: &str| {
        let specs = vec![Spec::shell(JobId::new(id).unwrap(), "true", 3)];
        let on_conflict = OnConflict::Fail;
        open(place.path()).enqueue(Enqueue { specs, has_chosen_ids: true, on_conflict }).unwrap();
    };
    ["a", "b"].into_iter().for_each(enqueue);
    let mut store = open(place.path());
    store.seal().unwrap();
    store.compactor().unwrap().run(None).unwrap().unwrap();
    replace(&log(place.path()).join("00000001-00000001.base.jsonl"), "compact", "c0mpact");
    fs::remove_file(log(place.path()).join("00000002.jsonl")).unwrap();
    fs::remove_file(store.place().mark()).unwrap();
    mend(&mut open(place.path())).unwrap();
    ["c", "d"].into_iter().for_each(enqueue);
    let mut store = open(place.path());
    store.read().unwrap();
    let ids: Vec<&str> = store.own().unwrap().jobs().map(|job| job.id().as_str()).collect();
    assert_eq!(ids, ["a", "b", "c", "d"]);
}

/// A log that stands is no reason to write a new one, and damage keeps writers out until it is repaired.
#[test]
fn writers_are_not_let_in_again_while_the_log_is_damaged() {
    let place = tempfile::tempdir().unwrap();
    let mut store = open(place.path());
    write_three(&mut store);
    replace(&log(place.path()).join("00000002.jsonl"), "\"2a\"", "\"2x\"");
    let mut store = open(place.path());
    assert!(store.sync_what_was_read().is_err());
    assert!(store.degraded().is_some());
    assert!(matches!(store.repair(Step::Reopen), Err(StoreError::Damaged(_))));
    assert!(store.degraded().is_some());
}

/// Refused, or without room for its base, it once left a note that kept everybody from writing.
#[test]
fn a_repair_that_comes_to_no_base_leaves_no_note_of_its_own() {
    type Fails = fn(&str) -> bool;
    let unseen = [Claim::new("desk.2abcdefg", 1)];
    let cases: [(Fails, &[Claim], bool); 4] = [
        (|_| false, &unseen, false),
        (|call| call.starts_with("append ."), &[], false),
        // The base has its name by then.
        (|call| call == "sync desk", &[], true),
        // Also where nothing can be written into the note.
        (|call| call == "write degraded" || call.starts_with("append ."), &[], false),
    ];
    for (index, (fails, live, is_noted)) in cases.into_iter().enumerate() {
        for before in [None, Some("somebody met something"), Some("")] {
            let place = place();
            write_three(&mut open(place.path()));
            let mut store = open_on(Arc::new(Odd::failing(fails)), place.path());
            let note = store.place().local().join("degraded");
            replace(&log(place.path()).join("00000002.jsonl"), "\"2a\"", "\"2x\"");
            if let Some(text) = before {
                fs::write(&note, text).unwrap();
            }
            let files = files(place.path());
            store.rebuild(live).unwrap_err();
            let text = fs::read_to_string(&note).ok();
            if is_noted && before.is_none() {
                assert_eq!(text.as_deref(), Some("a repair was begun and did not end\n"));
            } else {
                assert_eq!(text.as_deref(), before, "{index}");
            }
            if !is_noted {
                assert!(self::files(place.path()) == files, "{index}: the log is another");
            }
            assert!(store.degraded().is_none_or(|what| !what.is_empty()), "{index}: {before:?}");
        }
    }
}

/// Seen between the base of a repair and the segment behind it, or before a file was put back. A running worker went on to
/// believe it, and noted it of a log that was whole again.
#[test]
fn damage_that_was_seen_and_is_mended_by_now_is_none() {
    let place = tempfile::tempdir().unwrap();
    let mut store = open(place.path());
    write_three(&mut store);
    let (file, aside) = (log(place.path()).join("00000003.jsonl"), place.path().join("aside"));
    store.compactor().unwrap().run(None).unwrap().unwrap();
    drop(store);
    let mut store = open(place.path());
    fs::remove_file(store.place().mark()).unwrap();
    fs::rename(&file, &aside).unwrap();
    assert_eq!(store.read().unwrap().damage.len(), 1);
    fs::rename(&aside, &file).unwrap();
    pause(&mut store, "after");
    assert_eq!(store.degraded(), None);
    assert_eq!(store.read().unwrap().damage, []);
}

/// Without a mark it was taken for a torn end, and the queue for an empty one.
#[test]
fn a_segment_without_its_header_is_damage_whatever_the_mark_says() {
    let deeds: [fn(&Path); 2] =
        [|file| replace(file, "\"why\"", "\"wyh\""), |file| fs::write(file, "").unwrap()];
    for deed in deeds {
        let place = tempfile::tempdir().unwrap();
        let mut store = open(place.path());
        pause(&mut store, "1a");
        fs::remove_file(store.place().mark()).unwrap();
        deed(&log(place.path()).join("00000001.jsonl"));
        assert_eq!(open(place.path()).read().unwrap().damage.len(), 1);
    }
}

/// A power cut took the mark back, and with it the only thing that told the damage from a torn end.
#[test]
fn the_mark_by_which_damage_was_noted_is_synced_before_the_note() {
    let place = tempfile::tempdir().unwrap();
    write_three(&mut open(place.path()));
    replace(&log(place.path()).join("00000003.jsonl"), "\"3b\"", "\"3x\"");
    let disk = Odd::after(usize::MAX);
    open_on(Arc::new(disk.clone()), place.path()).sync_what_was_read().unwrap_err();
    let calls = disk.calls.lock().unwrap().clone();
    let at = |call: &str| calls.iter().position(|other| other == call);
    let (mark, note) = (at("sync mark"), at("sync degraded"));
    assert!(mark.is_some() && mark < note, "{calls:#?}");
}

/// No disk does that, but people and tools that edit a log do.
#[test]
fn lines_that_are_out_of_place_are_put_back() {
    let changes: [fn(&mut Vec<&str>); 2] =
        [|lines| lines.insert(1, lines[1]), |lines| lines.swap(1, 2)];
    for change in changes {
        let home = place();
        let root = home.path().join("queue");
        write_three(&mut open(&root));
        let all = paused(&root);
        rearrange(&log(&root).join("00000001.jsonl"), change);
        assert_ne!(paused(&root), all);
        mend(&mut open(&root)).unwrap();
        assert_eq!(paused(&root), all);
        assert!(open(&root).examine(&mut |_| {}).unwrap().is_ok());
    }
}
