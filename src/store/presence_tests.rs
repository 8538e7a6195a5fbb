//! Locks of workers and runs in temporary directories, on the real disk.

use std::fs;

use super::notes::RunStart;
use super::*;
use crate::store::odd_disk::Odd;
use crate::store::real_disk::RealDisk;

const WORKER: &str = "desk-7f3a.4k2mq7ab";
const PROCESS: Process = Process { pid: 3, group: 3, start: 5 };

fn info(worker: &str) -> WorkerStarted {
    WorkerStarted {
        worker: worker.into(),
        pid: 1,
        start: 2,
        boot: "b1".into(),
        pid_namespace: String::new(),
        session: 1,
        host: "desk".into(),
        slots: 1,
        queues: Vec::new(),
    }
}

fn take(run_dir: &Path) -> WorkerLock {
    WorkerLock::take(&RealDisk, run_dir, &info(WORKER), None).unwrap()
}

fn liveness(run_dir: &Path) -> Liveness {
    probe(&RealDisk, run_dir, WORKER).unwrap()
}

fn claim(n: u64) -> Claim {
    Claim::new(WORKER, n)
}

#[test]
fn a_worker_lives_as_long_as_its_lock_is_held() {
    let place = tempfile::tempdir().unwrap();
    let run = place.path().join("run");
    assert_eq!(liveness(&run), Liveness::Missing);
    let lock = take(&run);
    assert_eq!(liveness(&run), Liveness::Alive);
    assert!(take_dead(&RealDisk, &run, WORKER).unwrap().is_none());
    assert!(WorkerLock::take(&RealDisk, &run, &info(WORKER), None).is_err());
    assert_eq!(fs::read_dir(&run).unwrap().count(), 1);
    assert_eq!(liveness(&run), Liveness::Alive);
    assert!(lock.is_in_place(&RealDisk).unwrap());
    drop(lock);
    assert_eq!(liveness(&run), Liveness::Dead);
}

#[test]
fn a_worker_that_ends_well_leaves_no_file() {
    let place = tempfile::tempdir().unwrap();
    take(place.path()).remove(&RealDisk).unwrap();
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn a_dead_worker_has_one_recoverer() {
    let place = tempfile::tempdir().unwrap();
    let run = place.path();
    let lock = take(run);
    lock.note_starting(&claim(1)).unwrap();
    lock.note_starting(&claim(2)).unwrap();
    lock.note_started(&claim(2), PROCESS).unwrap();
    drop(lock);

    let dead = take_dead(&RealDisk, run, WORKER).unwrap().unwrap();
    assert!(take_dead(&RealDisk, run, WORKER).unwrap().is_none());
    assert!(stand_in(&RealDisk, run, WORKER, None).unwrap().is_none());
    assert_eq!(liveness(run), Liveness::Alive);
    assert_eq!(dead.notes().start_of(&claim(1), "b1"), RunStart::Unknown);
    assert_eq!(dead.notes().start_of(&claim(2), "b1"), RunStart::Started(PROCESS));
    assert_eq!(dead.notes().start_of(&claim(3), "b1"), RunStart::Never);

    // A recoverer that gives up leaves everything as it was.
    drop(dead);
    assert_eq!(liveness(run), Liveness::Dead);
    take_dead(&RealDisk, run, WORKER).unwrap().unwrap().settle(&RealDisk).unwrap();
    assert_eq!(fs::read_dir(run).unwrap().count(), 0);
}

#[test]
fn a_worker_without_a_file_has_one_recoverer_too_and_nothing_is_proven() {
    let place = tempfile::tempdir().unwrap();
    let run = place.path().join("run");
    let dead = stand_in(&RealDisk, &run, WORKER, None).unwrap().unwrap();
    assert!(stand_in(&RealDisk, &run, WORKER, None).unwrap().is_none());
    assert!(take_dead(&RealDisk, &run, WORKER).unwrap().is_none());
    assert_eq!(dead.notes().start_of(&claim(1), "b1"), RunStart::Unknown);
    drop(dead);
    let dead = take_dead(&RealDisk, &run, WORKER).unwrap().unwrap();
    assert_eq!(dead.notes().start_of(&claim(1), "b1"), RunStart::Unknown);
    dead.settle(&RealDisk).unwrap();
    assert_eq!(fs::read_dir(&run).unwrap().count(), 0);
}

#[test]
fn a_worker_notices_that_its_file_was_replaced() {
    let place = tempfile::tempdir().unwrap();
    let lock = take(place.path());
    lock.note_starting(&claim(1)).unwrap();
    let path = lock_path(place.path(), WORKER);
    let copy = place.path().join("copy");
    fs::copy(&path, &copy).unwrap();
    fs::rename(&copy, &path).unwrap();
    assert!(!lock.is_in_place(&RealDisk).unwrap());
    // The copy is not locked, so it seems a dead worker's; it proves nothing, and is not the worker's to remove.
    let dead = take_dead(&RealDisk, place.path(), WORKER).unwrap().unwrap();
    assert_eq!(dead.notes().start_of(&claim(2), "b1"), RunStart::Unknown);
    lock.remove(&RealDisk).unwrap();
    assert!(path.exists());
    fs::remove_file(&path).unwrap();
    dead.settle(&RealDisk).unwrap();
}

#[test]
fn a_worker_that_ran_many_jobs_has_a_short_file() {
    let place = tempfile::tempdir().unwrap();
    let lock = take(place.path());
    for n in 1..=1000 {
        lock.note_starting(&claim(n)).unwrap();
        lock.note_started(&claim(n), PROCESS).unwrap();
        if n > 2 {
            lock.forget(&claim(n - 2));
        }
    }
    let notes = read_notes(&RealDisk, place.path(), WORKER).unwrap().unwrap();
    assert_eq!(notes.start_of(&claim(999), "b1"), RunStart::Started(PROCESS));
    assert_eq!(notes.start_of(&claim(1000), "b1"), RunStart::Started(PROCESS));
    let length = fs::metadata(lock_path(place.path(), WORKER)).unwrap().len();
    let head = notes::head(&info(WORKER), 1).unwrap().len() as u64;
    assert_eq!(length, head + 3 * RECORD as u64, "three at once");
}

#[test]
fn slots_note_at_once() {
    let place = tempfile::tempdir().unwrap();
    let lock = take(place.path());
    std::thread::scope(|scope| {
        for slot in 0..4 {
            let lock = &lock;
            scope.spawn(move || {
                for n in 0..100 {
                    let claim = claim(slot * 1000 + n);
                    lock.note_starting(&claim).unwrap();
                    if n < 99 {
                        lock.forget(&claim);
                    }
                }
            });
        }
    });
    let notes = read_notes(&RealDisk, place.path(), WORKER).unwrap().unwrap();
    for slot in 0..4 {
        assert_eq!(notes.start_of(&claim(slot * 1000 + 99), "b1"), RunStart::Unknown);
    }
    assert_eq!(notes.start_of(&claim(9999), "b1"), RunStart::Never);
}

#[test]
fn only_workers_of_the_node_are_listed() {
    let place = tempfile::tempdir().unwrap();
    assert!(workers(&RealDisk, &place.path().join("none"), "desk-7f3a").unwrap().is_empty());
    for name in [
        "desk-7f3a.4k2mq7ab.lock",
        "desk-7f3a.00000000.lock",
        "desk-7f3a.00000001.lock.tmp",
        "desk-7f3a.0000.lock",
        "desk-7f3b.00000000.lock",
        "desk-7f3a.lock",
        "x",
    ] {
        fs::write(place.path().join(name), "").unwrap();
    }
    let found = workers(&RealDisk, place.path(), "desk-7f3a").unwrap();
    assert_eq!(found, ["desk-7f3a.00000000", "desk-7f3a.4k2mq7ab"]);
}

#[test]
fn a_hostile_name_leads_nowhere() {
    let place = tempfile::tempdir().unwrap();
    let run = place.path().join("run");
    fs::create_dir(&run).unwrap();
    fs::write(place.path().join("x.lock"), "").unwrap();
    for worker in ["../x", "x", "", "a/b.00000000", "desk-7f3a.4k2mq7aL"] {
        assert_eq!(probe(&RealDisk, &run, worker).unwrap(), Liveness::Missing, "{worker}");
        assert!(take_dead(&RealDisk, &run, worker).unwrap().is_none());
        assert!(stand_in(&RealDisk, &run, worker, None).unwrap().is_none());
        assert!(read_notes(&RealDisk, &run, worker).unwrap().is_none());
    }
    assert_eq!(fs::read_dir(&run).unwrap().count(), 0);
}

#[test]
fn a_run_is_locked_while_any_of_its_files_is() {
    let place = tempfile::tempdir().unwrap();
    let files = layout::run_files("job1", 1);
    let locked = || is_run_locked(&RealDisk, place.path(), &files).unwrap();
    assert!(!locked());
    fs::create_dir(place.path().join(files.out.parent().unwrap())).unwrap();
    for file in [&files.out, &files.err, &files.stdin] {
        let held = RealDisk.open(&place.path().join(file), Open::CreateNew).unwrap();
        assert!(!locked());
        assert!(held.try_lock(Lock::Exclusive).unwrap());
        assert!(locked());
        drop(held);
        assert!(!locked());
    }
}

/// What can't be looked at may be there.
#[test]
fn only_what_is_not_there_is_missing() {
    let place = tempfile::tempdir().unwrap();
    let none = place.path().join("none");
    assert!(take_dead(&RealDisk, &none, WORKER).unwrap().is_none());
    assert!(read_notes(&RealDisk, &none, WORKER).unwrap().is_none());
    assert_eq!(run_files(&RealDisk, &none).unwrap(), Vec::<PathBuf>::new());
    fs::write(place.path().join("file"), "").unwrap();
    assert_eq!(run_files(&RealDisk, place.path()).unwrap(), Vec::<PathBuf>::new());

    let run = place.path().join("run");
    let lock = take(&run);
    let refused = |refuse: &'static str| {
        Odd::refusing(move |call| (call == refuse).then_some(io::ErrorKind::PermissionDenied))
    };
    let file = refused("open desk-7f3a.4k2mq7ab.lock");
    assert!(take_dead(&file, &run, WORKER).is_err());
    assert!(read_notes(&file, &run, WORKER).is_err());
    assert!(probe(&file, &run, WORKER).is_err());
    assert!(workers(&refused("open run"), &run, "desk-7f3a").is_err());
    assert!(run_files(&refused("open run"), &run).is_err());
    assert!(lock.is_in_place(&refused("stat desk-7f3a.4k2mq7ab.lock")).is_err());
    assert!(lock.remove(&refused("unlink desk-7f3a.4k2mq7ab.lock")).is_err());
    take_dead(&RealDisk, &run, WORKER).unwrap().unwrap().settle(&RealDisk).unwrap();
}

#[test]
fn a_file_that_goes_while_it_is_removed_is_removed() {
    let place = tempfile::tempdir().unwrap();
    let lock = take(place.path());
    let path = lock_path(place.path(), WORKER);
    let disk = Odd::new(move |call| match call {
        "unlink desk-7f3a.4k2mq7ab.lock" => fs::remove_file(&path),
        _ => Ok(()),
    });
    lock.remove(&disk).unwrap();
}

#[test]
fn a_lock_is_given_up_also_where_a_child_has_a_copy_of_it() {
    let place = tempfile::tempdir().unwrap();
    let lock = take(place.path());
    let copy = lock.held.file.descriptor().unwrap().try_clone_to_owned().unwrap();
    drop(lock);
    assert_eq!(liveness(place.path()), Liveness::Dead);
    drop(copy);
}

#[test]
fn workers_that_begin_at_once_are_not_in_each_others_way() {
    let place = tempfile::tempdir().unwrap();
    let run = place.path().to_owned();
    let disk = Odd::new(move |call| {
        if call.starts_with("rename ") {
            let other = WorkerLock::take(&RealDisk, &run, &info("desk-7f3a.00000000"), None);
            other.unwrap().remove(&RealDisk).unwrap();
        }
        Ok(())
    });
    let lock = WorkerLock::take(&disk, place.path(), &info(WORKER), None).unwrap();
    lock.remove(&RealDisk).unwrap();
}

/// Between the lock of a file and its name, another may do what it will.
#[test]
fn who_stands_in_has_the_file_of_the_name_or_nothing() {
    type Deed = fn(&Path, &Path) -> io::Result<()>;
    let deeds: [(Deed, Option<bool>); 4] = [
        (|_, _| Ok(()), Some(true)),
        // Another named the file, and gave it up again.
        (|temporary, _| fs::remove_file(temporary), Some(false)),
        // And a third has begun a file of its own.
        (
            |temporary, _| {
                fs::rename(temporary, temporary.with_extension("away"))?;
                fs::write(temporary, "")
            },
            Some(false),
        ),
        (|_, _| Err(io::ErrorKind::PermissionDenied.into()), None),
    ];
    for (n, (deed, outcome)) in deeds.into_iter().enumerate() {
        let place = tempfile::tempdir().unwrap();
        let path = lock_path(place.path(), WORKER);
        let temporary = place.path().join(temporary(&file_name(WORKER)));
        let disk = Odd::new(move |call| match call.starts_with("rename ") {
            true => deed(&temporary, &path),
            false => Ok(()),
        });
        let dead = stand_in(&disk, place.path(), WORKER, None);
        assert_eq!(dead.ok().map(|dead| dead.is_some()), outcome, "{n}");
    }
    let place = tempfile::tempdir().unwrap();
    drop(take(place.path()));
    assert!(stand_in(&RealDisk, place.path(), WORKER, None).unwrap().is_none());
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
}
