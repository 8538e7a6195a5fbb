//! What the checks find that takes more than a changed file to bring about.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Condition, Level, Report};
use crate::domain::decide::OnConflict;
use crate::domain::event::{Event, QueuePaused};
use crate::domain::job::{JobId, Spec};
use crate::store::clock::Clock;
use crate::store::disk::{Disk, Handle, Lock, Open, Stat};
use crate::store::ids::Ids;
use crate::store::machine::Environment;
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

/// The real disk, on which a writer ends while somebody waits for its lock.
struct Writing(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Disk for Writing {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn Handle>> {
        RealDisk.open(path, how)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_directory(path)
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        RealDisk.stat(path)
    }

    fn pause(&self, _: Duration) {
        if let Some(end) = self.0.lock().unwrap().take() {
            end();
        }
    }

    fn boot(&self) -> io::Result<String> {
        Ok("boot".to_owned())
    }
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
    let rest = rest.to_owned();
    let end = move || {
        let writing = RealDisk.open(&segment, Open::Append).unwrap();
        writing.append(&rest).unwrap();
        directory.unlock().unwrap();
    };
    let disk = Writing(Mutex::new(Some(Box::new(end))));
    let report = examine(&open_on(Arc::new(disk), place.path()));
    assert_eq!(report.condition, Condition::Whole);
    assert!(report.is_ok());
}
