//! A node takes over from one whose log was rolled back, on the real disk, also where it is ended in the midst of it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::disk::Lock;
use super::odd_disk::{Odd, last};
use super::presence::WorkerLock;
use super::real_disk::RealDisk;
use super::repair::Step;
use super::store_tests::{Queue, enqueue, job};
use super::*;
use crate::domain::decide;
use crate::domain::event::{ConfigSet, QueuePaused, WorkerStarted};
use crate::domain::job::{JobId, JobState};

fn id(text: &str) -> JobId {
    JobId::new(text).unwrap()
}

fn write(store: &mut Store, events: &[Event]) {
    store.transact(|_, _| Ok((events.to_vec(), ()))).unwrap();
}

fn claim(store: &mut Store, worker: &str) {
    let claim = |node: &NodeState, now| decide::claim(node, worker, 0, 1, &[], now);
    store
        .transact(|node, now| Ok((claim(node, now).into_iter().map(Event::Claimed).collect(), ())))
        .unwrap();
}

/// A queue whose log was rolled back: `a` ran when the copy was made, and two lines came after it.
fn rolled_back(queue: &Queue) -> Vec<u8> {
    let mut store = queue.open();
    enqueue(&mut store, &["a", "b", "c"]).unwrap();
    let set = ConfigSet { key: "max_retries".into(), value: "7".into() };
    store
        .configure(|config| (config.with("max_retries", "7"), vec![Event::ConfigSet(set)]))
        .unwrap();
    let cancelled =
        |node: &NodeState, _| Ok((vec![decide::cancel(node, &id("c"), None)?.unwrap()], ()));
    store.transact(cancelled).unwrap();
    write(
        &mut store,
        &[Event::QueuePaused(QueuePaused { queue: Some("slow".into()), until: None })],
    );
    claim(&mut store, "desk.2abcdefg");
    let old = fs::read(queue.log(2)).unwrap();
    enqueue(&mut store, &["lost1"]).unwrap();
    enqueue(&mut store, &["lost2"]).unwrap();
    fs::write(queue.log(2), &old).unwrap();
    old
}

fn looks(store: &mut Store) -> Vec<(String, JobState, bool)> {
    let view = store.read().unwrap();
    assert_eq!((&view.damage, &view.rolled_back), (&Vec::new(), &None));
    let look = |(_, job): &(&str, &Job)| (job.id().to_string(), job.state, job.held.is_some());
    view.state.jobs().iter().map(look).collect()
}

fn expected() -> Vec<(String, JobState, bool)> {
    let all = [
        ("a", JobState::Pending, true),
        ("b", JobState::Pending, true),
        ("c", JobState::Cancelled, false),
    ];
    all.map(|(id, state, held)| (id.to_owned(), state, held)).into()
}

/// What must hold once the new node stands, whoever looks.
fn assert_taken_over(queue: &Queue, old: &[u8]) {
    let mut store = queue.open();
    assert_eq!(looks(&mut store), expected());
    let node = store.place().node().unwrap().to_owned();
    assert!(node.starts_with("desk-"), "{node}");
    assert_eq!(fs::read(queue.log(2)).unwrap(), old, "the old log is left as it is");
    assert!(store.view().state.jobs().iter().all(|(owner, _)| *owner == node));
    assert_eq!(store.config().unwrap().map().get("max_retries").map(String::as_str), Some("7"));
    assert!(store.own().unwrap().is_paused("slow", store.now()));
    let taken = store.own().unwrap().job(&id("a")).unwrap().clone();
    assert_eq!(taken.runs[0].result, Some(crate::domain::job::RunResult::Lost));
    let mut fresh = queue.open();
    for ids in [&["a"][..], &["x", "b"]] {
        let error = enqueue(&mut fresh, ids).unwrap_err();
        assert!(matches!(error, StoreError::Refused(Refusal::Duplicate { .. })), "{error}");
    }
    let mut store = queue.open();
    claim(&mut store, "x");
    assert_eq!(store.own().unwrap().processing().count(), 0, "what is held is not run");
    store.transact(|node, _| Ok((vec![decide::retry(node, &id("b"))?], ()))).unwrap();
    claim(&mut store, "x");
    assert_eq!(store.own().unwrap().processing().count(), 1);
    let retried = |node: &NodeState, _| Ok((vec![decide::retry(node, &id("a"))?], ()));
    store.transact(retried).unwrap();
    let error = store.transact(retried).unwrap_err();
    assert!(matches!(error, StoreError::Refused(Refusal::WrongState { .. })), "{error}");
    assert_eq!(store.take_over().unwrap(), None, "once is enough");
    enqueue(&mut queue.open(), &["d"]).unwrap();
}

#[test]
fn a_new_node_goes_on_with_what_is_left() {
    let queue = Queue::new();
    let old = rolled_back(&queue);
    let mut store = queue.open();
    let taken = store.take_over().unwrap().unwrap();
    assert_eq!((taken.from.as_str(), taken.taken, taken.held), ("desk", 3, 2));
    assert_eq!(taken.synced, Some(taken.upto + 2));
    let told = taken.to_string();
    assert!(
        told.contains("2 lines, seq") && told.contains("3 jobs, of which 2 are held"),
        "{told}"
    );
    assert_eq!(looks(&mut store), expected());
    assert_taken_over(&queue, &old);
}

/// Nor is it said that the log was put back; the next write records the node anew, and then it can be taken over.
#[test]
fn what_is_recorded_of_another_node_is_not_taken_over() {
    let queue = Queue::new();
    let old = rolled_back(&queue);
    let recorded = queue.open().place().local().join("node.json");
    let node = fs::read_to_string(&recorded).unwrap().replace("\"desk\"", "\"d0sk\"");
    fs::write(&recorded, node).unwrap();
    let steps = |store: &Store| store.repairs(&store.examine(&mut |_| {}).unwrap());
    assert!(!steps(&queue.open()).contains(&Step::TakeOver));
    let error = enqueue(&mut queue.open(), &["x"]).unwrap_err();
    assert!(matches!(error, StoreError::RolledBack { .. }), "{error}");
    assert_eq!(steps(&queue.open()), [Step::TakeOver]);
    queue.open().repair(Step::TakeOver).unwrap();
    assert_taken_over(&queue, &old);
}

#[test]
fn where_nothing_was_rolled_back_nothing_is_taken_over() {
    let queue = Queue::new();
    assert_eq!(queue.open().take_over().unwrap(), None);
    let mut store = queue.open();
    enqueue(&mut store, &["a"]).unwrap();
    for store in [&mut store, &mut queue.open(), &mut queue.open_in_boot("boot-2")] {
        assert_eq!(store.take_over().unwrap(), None);
        assert_eq!(store.place().node(), Some("desk"));
    }
    assert_eq!(queue.ids(), ["a"]);
}

#[test]
fn a_log_that_is_gone_is_begun_anew() {
    let deeds: [fn(&Queue); 3] = [
        |queue| fs::remove_dir_all(queue.root.join("log")).unwrap(),
        |queue| fs::remove_dir_all(queue.root.join("log/desk")).unwrap(),
        |queue| fs::remove_file(queue.log(1)).unwrap(),
    ];
    for deed in deeds {
        let queue = Queue::new();
        enqueue(&mut queue.open(), &["a"]).unwrap();
        deed(&queue);
        let taken = queue.open().take_over().unwrap().unwrap();
        assert_eq!((taken.upto, taken.taken, taken.held, taken.synced), (0, 0, 0, Some(1)));
        enqueue(&mut queue.open(), &["b"]).unwrap();
        assert_eq!(queue.ids(), ["b"]);
    }
}

/// Without a mark nobody knows how far it had come; a mark that cannot be opened is not that.
#[test]
fn of_a_log_that_is_gone_without_its_mark_nothing_is_said() {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a"]).unwrap();
    fs::remove_dir_all(queue.root.join("log/desk")).unwrap();
    let mut store = queue.open();
    let mark = store.place().mark();
    store.disk = Arc::new(Odd::always("open mark", std::io::ErrorKind::PermissionDenied));
    let error = store.take_over().unwrap_err().to_string();
    assert!(error.contains("mark"), "{error}");
    assert_eq!(queue.open().place().node(), Some("desk"));
    fs::remove_file(mark).unwrap();
    assert_eq!(queue.open().take_over().unwrap().unwrap().synced, None);
}

/// Only that there is nothing to remove is no failure.
#[test]
fn what_cannot_be_removed_is_told_of() {
    for call in ["unlink 00000001.jsonl", "unlink degraded"] {
        let queue = Queue::new();
        rolled_back(&queue);
        let mut store = queue.open();
        store.disk = Arc::new(Odd::failing(move |other| other == call));
        let error = store.take_over().unwrap_err().to_string();
        assert!(error.contains("the disk fails"), "{call}: {error}");
    }
}

#[test]
fn nothing_is_taken_over_while_anything_lives() {
    let queue = Queue::new();
    let old = rolled_back(&queue);
    let mut store = queue.open();
    let info = WorkerStarted {
        worker: "desk.2abcdefg".into(),
        pid: 1,
        start: 1,
        boot: "boot-1".into(),
        pid_namespace: String::new(),
        session: 1,
        host: String::new(),
        slots: 1,
        queues: Vec::new(),
    };
    let run_dir = store.place().run_dir();
    let lock = WorkerLock::take(&RealDisk, &run_dir, &info, None).unwrap();
    let error = store.take_over().unwrap_err();
    assert!(matches!(&error, StoreError::InUse(what) if what.contains("desk.2abcdefg")), "{error}");
    drop(lock);
    // A run of which the log knows nothing any more holds its file.
    let shard = store.place().output_dir().join("7f");
    fs::create_dir_all(&shard).unwrap();
    fs::write(shard.join("lost1.1.err"), "").unwrap();
    let file = RealDisk.open(&shard.join("lost1.1.err"), Open::Append).unwrap();
    assert!(file.try_lock(Lock::Exclusive).unwrap());
    let error = store.take_over().unwrap_err();
    assert!(matches!(&error, StoreError::InUse(what) if what.contains("lost1.1.err")), "{error}");
    assert!(matches!(enqueue(&mut queue.open(), &["x"]), Err(StoreError::RolledBack { .. })));
    file.unlock().unwrap();
    store.take_over().unwrap().unwrap();
    assert_eq!(fs::read_dir(run_dir).unwrap().count(), 0, "the lock of the dead worker is gone");
    assert_taken_over(&queue, &old);
}

/// Ended at any step, it leaves the old node, refused, or the new one; and done again it comes to the same.
#[test]
fn it_may_be_ended_at_any_step() {
    let mut steps = 0;
    for left in 0.. {
        let queue = Queue::new();
        let old = rolled_back(&queue);
        let mut store = queue.open();
        store.disk = Arc::new(Odd::after(left));
        let done = store.take_over();
        drop(store);
        // The old node is refused, unless the new one stands.
        let refused = match enqueue(&mut queue.open(), &["probe"]) {
            Ok(_) => false,
            Err(StoreError::RolledBack { .. }) => true,
            Err(error) => panic!("step {left}: {error}"),
        };
        let again = queue.open().take_over().unwrap();
        assert_eq!(again.is_some(), refused, "step {left}");
        let mut store = queue.open();
        if !refused {
            write(
                &mut store,
                &[decide::cancel(store_own(&mut queue.open()), &id("probe"), None)
                    .unwrap()
                    .unwrap()],
            );
            write(
                &mut store,
                &[Event::Purged(crate::domain::event::Purged {
                    job: id("probe"),
                    why: "request".into(),
                })],
            );
        }
        assert_taken_over(&queue, &old);
        let hidden = fs::read_dir(queue.root.join("log")).unwrap().flatten();
        let hidden = hidden.filter(|entry| entry.file_name().to_string_lossy().starts_with('.'));
        assert_eq!(hidden.count(), 0, "step {left}: something is left behind");
        if done.is_ok() {
            steps = left;
            break;
        }
        assert!(left < 200, "it never ends");
    }
    assert!(steps > 20, "{steps} steps");
}

fn store_own(store: &mut Store) -> &NodeState {
    store.read().unwrap();
    store.own().unwrap()
}

/// Nothing is named before what it names is on stable storage, and the node is the last to be recorded.
#[test]
fn what_is_named_is_stored_before() {
    let queue = Queue::new();
    rolled_back(&queue);
    let disk = Odd::after(usize::MAX);
    let mut store = queue.open();
    store.disk = Arc::new(disk.clone());
    let node = store.take_over().unwrap().unwrap().to;
    let calls = disk.calls.lock().unwrap().clone();
    let staged = format!(".{node}.tmp");
    let order = [
        format!("mkdir {staged}"),
        "append .00000001.jsonl.tmp".into(),
        "sync .00000001.jsonl.tmp".into(),
        "rename .00000001.jsonl.tmp 00000001.jsonl".into(),
        format!("sync {staged}"),
        "sync log".into(),
        "sync node.json.tmp".into(),
        "rename node.json.tmp node.json".into(),
        format!("sync {}", last(&queue.open().place().local())),
        format!("rename {staged} {node}"),
        "sync log".into(),
        "write mark".into(),
    ];
    let mut rest = calls.iter();
    for call in &order {
        assert!(rest.any(|other| other == call), "{call} is not in its place: {calls:#?}");
    }
}

#[test]
fn without_a_pinned_node_it_is_the_same() {
    let queue = Queue::new();
    let open = || {
        let mut store = queue.open();
        store.environment.node = None;
        store.environment.machine_id = Some("1".into());
        store.environment.host = "nas.local".into();
        store.place = Place::find(&RealDisk, &queue.root, &store.environment).unwrap();
        store
    };
    let mut store = open();
    enqueue(&mut store, &["a"]).unwrap();
    let node = store.place().node().unwrap().to_owned();
    let path: PathBuf = store.place().log_dir(&node).join("00000001.jsonl");
    let old = fs::read(&path).unwrap();
    enqueue(&mut store, &["b"]).unwrap();
    fs::write(path, old).unwrap();
    let taken = open().take_over().unwrap().unwrap();
    assert_eq!((&taken.from, taken.taken), (&node, 1));
    assert!(taken.to.starts_with("nas-") && taken.to != node);
    enqueue(&mut open(), &["c"]).unwrap();
    let mut store = open();
    assert_eq!(store.place().node(), Some(taken.to.as_str()));
    let ids: Vec<_> = looks(&mut store).into_iter().map(|(id, ..)| id).collect();
    assert_eq!(ids, ["a", "c"]);
}

#[test]
fn what_was_taken_over_survives_compaction() {
    let queue = Queue::new();
    rolled_back(&queue);
    let mut store = queue.open();
    store.take_over().unwrap().unwrap();
    let set = ConfigSet { key: "max_lost".into(), value: "9".into() };
    store.configure(|config| (config.with("max_lost", "9"), vec![Event::ConfigSet(set)])).unwrap();
    let before = store.read().unwrap().state.clone();
    store.compactor().unwrap().run(None).unwrap().unwrap();
    let node = store.place().node().unwrap().to_owned();
    let names = fs::read_dir(store.place().log_dir(&node)).unwrap().flatten();
    assert!(names.into_iter().any(|entry| entry.file_name() == "00000001-00000001.base.jsonl"));
    fs::remove_dir_all(store.place().cache_dir()).unwrap();
    let mut fresh = queue.open();
    assert_eq!(fresh.read().unwrap().state, before);
    assert_eq!(looks(&mut fresh), expected());
}

#[test]
fn a_job_that_has_come_to_more_than_a_line_is_cut_to_one() {
    let queue = Queue::new();
    let mut store = queue.open();
    let mut long = job("a");
    long.command = Some(crate::domain::bytes::Bytes(vec![b'x'; 900 << 10]));
    let specs = vec![long];
    let on_conflict = crate::domain::decide::OnConflict::Fail;
    store.enqueue(Enqueue { specs, has_chosen_ids: true, on_conflict }).unwrap();
    for n in 0..40 {
        let claim_text = crate::domain::job::Claim::new("desk.w", n);
        let run = u32::try_from(n).unwrap() + 1;
        let claimed =
            crate::domain::event::Claimed { job: id("a"), run, claim: claim_text.clone() };
        let released = crate::domain::event::Released {
            job: id("a"),
            run,
            claim: claim_text,
            started: true,
            retry_at: None,
            error: Some("e".repeat(5000)),
            ms: None,
        };
        write(&mut store, &[Event::Claimed(claimed), Event::Released(released)]);
    }
    let old = fs::read(queue.log(1)).unwrap();
    enqueue(&mut store, &["b"]).unwrap();
    fs::write(queue.log(1), old).unwrap();
    store.take_over().unwrap().unwrap();
    let mut fresh = queue.open();
    fresh.read().unwrap();
    assert_eq!(fresh.own().unwrap().job(&id("a")).unwrap().last_run, 40);
}
