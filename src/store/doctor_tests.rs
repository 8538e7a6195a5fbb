//! What the checks find that takes more than a changed file to bring about.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::{Check, Condition, Level, PATIENCE, Report, names};
use crate::domain::decide::OnConflict;
use crate::domain::event::{Event, QueuePaused};
use crate::domain::job::{JobId, Spec};
use crate::store::clock::Clock;
use crate::store::disk::{Disk, Lock, Open};
use crate::store::ids::Ids;
use crate::store::machine::Environment;
use crate::store::odd_disk::Odd;
use crate::store::progress::Progress;
use crate::store::real_disk::RealDisk;
use crate::store::{Enqueue, Setting, Store};

fn open(root: &Path) -> Store {
    open_on(Arc::new(RealDisk), root)
}

fn open_on(disk: Arc<dyn Disk>, root: &Path) -> Store {
    let environment = Environment {
        node: Some("desk".to_owned()),
        uid: rustix::process::geteuid().as_raw(),
        ..Environment::default()
    };
    let (clock, ids, boot) = (Clock::System, Ids::new(Some("desk")), Some("boot".to_owned()));
    let root = root.to_owned();
    Store::open(Setting { disk, root, environment, clock, ids, boot }).unwrap()
}

fn pause(store: &mut Store, queue: &str) {
    let event = Event::QueuePaused(QueuePaused { queue: Some(queue.to_owned()), until: None });
    store.transact(|_, _| Ok((vec![event.clone()], ()))).unwrap();
}

fn examine(store: &Store) -> Report {
    store.examine(&mut |_| {}).unwrap()
}

fn found(report: &Report, name: &str) -> (Level, String) {
    let check = report.checks.iter().find(|check| check.name == name).unwrap();
    let what: Vec<&str> = check.found.iter().map(|finding| &*finding.what).collect();
    (check.level(), what.join("; "))
}

/// A checkpoint whose checksums hold and that is still not what the log says.
#[test]
fn a_checkpoint_that_adds_up_to_something_else_is_a_fault() {
    let place = tempfile::tempdir().unwrap();
    let mut store = open(place.path());
    pause(&mut store, "slow");
    store.write_checkpoint();
    pause(&mut store, "quick");
    let report = examine(&open(place.path()));
    assert_eq!(found(&report, "checkpoint"), (Level::Ok, String::new()));
    assert!(report.is_ok());
    let own = store.view.state.nodes.get_mut("desk").unwrap();
    own.facts.paused.clear();
    store.write_checkpoint();
    let report = examine(&open(place.path()));
    let (level, what) = found(&report, "checkpoint");
    assert_eq!(level, Level::Fault);
    assert!(what.contains("other facts of node desk"), "{what}");
    assert!(!report.is_ok());
    assert_eq!(report.condition, Condition::Whole);
}

/// It would let an id be given twice.
#[test]
fn a_checkpoint_in_which_a_job_is_not_found_by_its_id_is_a_fault() {
    let place = tempfile::tempdir().unwrap();
    let mut store = open(place.path());
    let specs = vec![Spec::shell(JobId::new("a").unwrap(), "true", 3)];
    let on_conflict = OnConflict::Fail;
    store.enqueue(Enqueue { specs, has_chosen_ids: true, on_conflict }).unwrap();
    store.read().unwrap();
    store.write_checkpoint();
    assert!(examine(&open(place.path())).is_ok());
    let path = store.place().cache_dir().join("state.ckpt");
    let mut bytes = std::fs::read(&path).unwrap();
    // The block of ids says that it has none.
    bytes[4100] = 0;
    let crc = crc32c::crc32c(&bytes[4100..8192]);
    bytes[4096..4100].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let (level, what) = found(&examine(&open(place.path())), "checkpoint");
    assert_eq!(level, Level::Fault);
    assert!(what.contains("1 job of node desk"), "{what}");
}

/// Of a check that finds very much, the gravest is known also where it is not kept.
#[test]
fn of_what_a_check_finds_the_first_is_kept_and_the_rest_counted() {
    let mut check = Check::new("lines");
    for _ in 0..Check::KEPT {
        check.note(Path::new("a"), "something");
    }
    assert_eq!((check.found.len(), check.more, check.level()), (Check::KEPT, 0, Level::Note));
    (0..2).for_each(|_| check.fault(Path::new("a"), "worse"));
    assert_eq!((check.found.len(), check.more, check.level()), (Check::KEPT, 2, Level::Fault));
    let skipped = Check::skipped("lines", "there is no log");
    assert_eq!(skipped.skipped.as_deref(), Some("there is no log"));
}

#[test]
fn a_directory_that_is_not_there_is_empty_and_what_is_none_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    assert_eq!(names(&RealDisk, &place.path().join("none")).unwrap(), [""; 0]);
    std::fs::write(place.path().join("b"), "").unwrap();
    std::fs::write(place.path().join("a"), "").unwrap();
    assert_eq!(names(&RealDisk, place.path()).unwrap(), ["a", "b"]);
    assert!(names(&RealDisk, &place.path().join("a")).is_err());
}

#[test]
fn the_logs_of_others_are_counted_and_what_is_wrong_in_them_is_noted() {
    let place = tempfile::tempdir().unwrap();
    let mut store = open(place.path());
    pause(&mut store, "slow");
    let logs = store.place().logs();
    std::fs::write(logs.join("notes"), "").unwrap();
    std::fs::create_dir(logs.join(".stfolder")).unwrap();
    let check = store.check_other_nodes().unwrap();
    assert_eq!((&*check.summary, check.found.len(), check.hint), ("0 other logs", 0, None));
    std::fs::create_dir(logs.join("nas")).unwrap();
    assert_eq!(store.check_other_nodes().unwrap().summary, "1 other log");
    std::fs::write(logs.join("nas/00000001.jsonl"), "no line\n").unwrap();
    std::os::unix::fs::symlink("round", logs.join("round")).unwrap();
    let check = store.check_other_nodes().unwrap();
    assert_eq!((&*check.summary, check.level()), ("1 other log", Level::Note));
    assert!(check.hint.is_some());
    let whats: Vec<&str> = check.found.iter().map(|finding| &*finding.what).collect();
    assert!(whats.iter().any(|what| what.starts_with("it is torn from byte 0")), "{whats:?}");
    assert!(whats.iter().any(|what| what.starts_with("cannot be read")), "{whats:?}");
}

/// A compaction removes segments while they are read.
#[test]
fn a_log_is_listed_again_only_where_a_file_of_it_is_gone_by_the_time_it_is_opened() {
    let place = tempfile::tempdir().unwrap();
    let mut store = open(place.path());
    pause(&mut store, "slow");
    let log = store.place().log_dir("desk");
    for (error, is_again) in
        [(io::ErrorKind::NotFound, true), (io::ErrorKind::PermissionDenied, false)]
    {
        store.disk = Arc::new(Odd::once("open 00000001.jsonl", error));
        let survey = store.survey(&log, "desk", None);
        assert_eq!(survey.is_ok_and(|survey| survey.is_clean()), is_again, "{error}");
    }
}

/// Writers follow no link, and nobody writes in the log of another.
#[test]
fn what_only_writers_stumble_over_is_looked_for_in_the_own_log() {
    let place = tempfile::tempdir().unwrap();
    let mut store = open(place.path());
    pause(&mut store, "slow");
    let logs = store.place().logs();
    let (own, aside) = (logs.join("desk/00000001.jsonl"), place.path().join("aside"));
    std::fs::rename(&own, &aside).unwrap();
    std::os::unix::fs::symlink(&aside, &own).unwrap();
    assert_eq!(found(&examine(&store), "headers").0, Level::Fault);
    std::fs::rename(logs.join("desk"), logs.join("nas")).unwrap();
    let what = found(&examine(&store), "other_nodes").1;
    assert!(!what.is_empty() && !what.contains("link"), "{what}");
}

#[test]
fn whoever_waits_for_it_is_told_how_far_it_is() {
    let place = tempfile::tempdir().unwrap();
    let mut store = open(place.path());
    pause(&mut store, "slow");
    let told = Arc::new(Mutex::new(0_u64));
    let counting = Arc::clone(&told);
    store.tell(Progress::to(move |reached| *counting.lock().unwrap() = reached.done));
    examine(&store);
    assert!(*told.lock().unwrap() > 0);
}

/// What is written while somebody looks is no fault: it is looked at again while nobody can write.
#[test]
fn a_torn_end_that_is_gone_by_the_second_look_is_nothing() {
    let place = tempfile::tempdir().unwrap();
    let mut store = open(place.path());
    pause(&mut store, "slow");
    let log = store.place().log_dir("desk");
    let segment = log.join("00000001.jsonl");
    let whole = std::fs::read(&segment).unwrap();
    let (half, rest) = whole.split_at(whole.len() - 40);
    std::fs::write(&segment, half).unwrap();
    std::fs::remove_file(store.place().mark()).unwrap();
    assert_eq!(examine(&store).condition, Condition::Torn);

    let directory = RealDisk.open(&log, Open::Directory).unwrap();
    assert!(directory.try_lock(Lock::Exclusive).unwrap());
    let rest = Mutex::new(Some(rest.to_owned()));
    // The writer ends while somebody waits for its lock.
    let disk = Odd::new(move |call| {
        let ended = rest.lock().unwrap().take_if(|_| call.starts_with("pause "));
        ended.map_or(Ok(()), |rest| {
            RealDisk.open(&segment, Open::Append)?.append(&rest)?;
            directory.unlock()
        })
    });
    let report = examine(&open_on(Arc::new(disk), place.path()));
    assert_eq!(report.condition, Condition::Whole);
    assert!(report.is_ok());
}

/// Whoever writes all the time keeps nobody from looking.
#[test]
fn a_lock_that_is_not_had_is_waited_for_and_then_done_without() {
    let place = tempfile::tempdir().unwrap();
    let mut store = open(place.path());
    pause(&mut store, "slow");
    let log = store.place().log_dir("desk");
    let directory = RealDisk.open(&log, Open::Directory).unwrap();
    assert!(directory.try_lock(Lock::Exclusive).unwrap());
    let waited = Arc::new(Mutex::new(0_u64));
    let adding = Arc::clone(&waited);
    store.disk = Arc::new(Odd::refusing(move |call| {
        let micros: u64 = call.strip_prefix("pause ")?.parse().unwrap();
        *adding.lock().unwrap() += micros;
        // So that it takes no time.
        Some(io::ErrorKind::Other)
    }));
    assert!(store.hold_still(&log).is_none());
    assert_eq!(u128::from(*waited.lock().unwrap()), PATIENCE.as_micros());
    directory.unlock().unwrap();
    let held = store.hold_still(&log).unwrap();
    assert!(!directory.try_lock(Lock::Exclusive).unwrap());
    held.unlock().unwrap();
}
