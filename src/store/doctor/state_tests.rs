//! What the log adds up to, and what is told of it.

use super::*;
use crate::domain::decide;
use crate::domain::event::{Event, Purged, WorkerStarted};
use crate::domain::job::{JobId, Spec};
use crate::domain::timestamp::Timestamp;
use crate::store::clock::Clock;
use crate::store::doctor::Level;
use crate::store::presence::WorkerLock;
use crate::store::real_disk::RealDisk;
use crate::store::store_tests::{Queue, enqueue};

fn whats(check: &Check) -> Vec<&str> {
    check.found.iter().map(|finding| &*finding.what).collect()
}

fn read(queue: &Queue) -> Store {
    let mut store = queue.open();
    store.read().unwrap();
    store
}

#[test]
fn of_events_without_effect_the_first_are_told_and_the_rest_counted() {
    let queue = Queue::new();
    let purged = |index| {
        let job = JobId::new(&format!("gone{index}")).unwrap();
        Event::Purged(Purged { job, why: Purged::REQUEST.to_owned() })
    };
    queue.open().transact(|_, _| Ok(((1..=SHOWN + 2).map(purged).collect(), ()))).unwrap();
    let mut store = read(&queue);
    let check = store.check_events(store.view());
    assert_eq!((check.found.len(), check.more), (SHOWN, 2));
    assert!(whats(&check).iter().all(|what| what.starts_with("without effect: seq ")));
    let totals = &mut store.view.state.nodes.get_mut("desk").unwrap().facts.totals;
    (totals.oddities, totals.oddity_count, totals.unknown) = (Vec::new(), 0, 1);
    let check = store.check_events(store.view());
    let newer = ["1 events of a newer version are kept, and have no effect here"];
    assert_eq!((whats(&check), check.more), (newer.to_vec(), 0));
}

#[test]
fn a_checkpoint_has_a_way_out_only_where_something_is_wrong_with_it() {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a"]).unwrap();
    let mut store = read(&queue);
    store.write_checkpoint();
    let mut view = View::default();
    let check = store.check_checkpoint(&mut view, Condition::Whole);
    assert_eq!((check.level(), check.hint), (Level::Ok, None));
    store.view.state.nodes.get_mut("desk").unwrap().facts.last_seq = 7;
    store.write_checkpoint();
    let check = store.check_checkpoint(&mut view, Condition::Whole);
    assert_eq!((check.level(), check.hint.is_some()), (Level::Fault, true));
    let check = store.check_checkpoint(&mut view, Condition::Damaged);
    assert_eq!(check.skipped.as_deref(), Some("the log is not whole"));
}

#[test]
fn a_job_that_is_missing_and_one_that_is_too_many_are_two() {
    let node = |id: &str, seq| {
        let (spec, ts) = (Spec::shell(JobId::new(id).unwrap(), "true", 3), Timestamp::MIN);
        let mut node = NodeState::default();
        let event = Event::Enqueued(Box::new(spec));
        node.apply(&crate::domain::event::Record { seq, ts, wall: None, event }).unwrap();
        node.facts = Default::default();
        State { nodes: [("desk".to_owned(), node)].into() }
    };
    let two = "it has 2 jobs of node desk in another state than its log";
    assert_eq!(differences(&node("a", 1), &node("b", 2)), [two]);
    assert_eq!(differences(&node("a", 1), &node("a", 1)), [""; 0]);
    let none = State::default();
    assert_eq!(differences(&none, &node("a", 1)), ["node desk is not in it"]);
    assert_eq!(differences(&node("a", 1), &none), ["it has node desk, which has no log"]);
}

#[test]
fn what_runs_and_who_works_is_counted_and_dead_workers_are_named() {
    let queue = Queue::new();
    let mut store = queue.open();
    enqueue(&mut store, &["a", "b"]).unwrap();
    let take = |store: &Store, worker: &str| {
        let info = WorkerStarted {
            worker: worker.into(),
            pid: 1,
            start: 1,
            boot: "boot-1".into(),
            pid_namespace: String::new(),
            session: 1,
            host: String::new(),
            slots: 1,
            queues: Vec::new(),
        };
        WorkerLock::take(&RealDisk, &store.place().run_dir(), &info, None).unwrap()
    };
    let looks = |store: &Store| {
        let [claims, locks] = [store.check_claims(store.view()), store.check_locks(store.view())];
        assert_eq!(claims.hint.is_some(), !claims.found.is_empty());
        assert_eq!(locks.hint.is_some(), !locks.found.is_empty());
        let whats = |check: &Check| whats(check).join("; ");
        [claims.summary.clone(), whats(&claims), locks.summary.clone(), whats(&locks)]
    };
    store.read().unwrap();
    assert_eq!(looks(&store), ["0 jobs running", "", "0 workers", ""]);
    let (busy, idle) = (take(&store, "desk.2abcdefg"), take(&store, "desk.3abcdefg"));
    let claim = |node: &NodeState, now| decide::claim(node, "desk.2abcdefg", 0, 2, &[], now);
    store
        .transact(|node, now| Ok((claim(node, now).into_iter().map(Event::Claimed).collect(), ())))
        .unwrap();
    store.read().unwrap();
    assert_eq!(looks(&store), ["2 jobs running", "", "2 workers", ""]);
    drop(idle);
    let dead = "its worker died, and left nothing";
    assert_eq!(looks(&store), ["2 jobs running", "", "1 worker", dead]);
    drop(busy);
    let died = "its worker died, and had run 1 of job a; its worker died, and had run 1 of job b";
    let left = format!("its worker died, and left runs; {dead}");
    assert_eq!(looks(&store), ["2 jobs running", died, "0 workers", &left]);
}

#[test]
fn a_log_that_is_more_than_a_little_ahead_of_the_clock_is_told_of() {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a"]).unwrap();
    let mut store = read(&queue);
    let last = store.own().unwrap().facts.last_ts;
    let mut told = |ahead: Duration| {
        store.clock = Clock::Fixed(last.before(ahead));
        let check = store.check_clock(store.view());
        assert_eq!(check.hint.is_some(), !check.found.is_empty());
        check.found.len()
    };
    assert_eq!(told(AHEAD), 0);
    assert_eq!(told(AHEAD + Duration::from_micros(1)), 1);
}
