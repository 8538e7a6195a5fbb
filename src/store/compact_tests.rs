//! Compaction on a real directory: nothing is lost, whatever stands in the log and wherever it is interrupted.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::domain::decide::{self, Outcome};
use crate::domain::event::{
    BatchAbandoned, Event, QueuePaused, QueueResumed, WorkerStarted, WorkerStopRequested,
};
use crate::domain::job::{JobId, JobState, RunResult, Spec};
use crate::domain::policy::RetryPolicy;
use crate::domain::retention::Retention;
use crate::domain::state::State;
use crate::store::store_tests::{Queue, append_to, enqueue, job};
use crate::store::{Store, line};

fn write(store: &mut Store, event: Event) {
    store.transact(|_, _| Ok((vec![event.clone()], ()))).unwrap();
}

/// Claims the next job, and ends its run.
fn run(store: &mut Store, result: RunResult) -> JobId {
    store.read().unwrap();
    let claimed = store
        .transact(|node, now| {
            let claims = decide::claim(node, "desk.aaaaaaaa", node.facts.last_seq, 1, &[], now);
            Ok((claims.iter().cloned().map(Event::Claimed).collect(), claims[0].clone()))
        })
        .unwrap();
    let policy = RetryPolicy::default();
    store
        .transact(|node, now| {
            let (job, run, claim) = (claimed.job.clone(), claimed.run, claimed.claim.clone());
            let outcome = Outcome { job, run, claim, result, ms: 3, tail: None, error: None };
            Ok((vec![decide::finish(node, outcome, &policy, now, 0.0)], ()))
        })
        .unwrap();
    claimed.job
}

/// Two paused queues, one of them resumed; a worker that was asked to stop; jobs in every state; a batch that is whole,
/// one that is not, and one that was given up.
fn fill(queue: &Queue) -> Store {
    let mut store = queue.open();
    for name in ["mail", "slow"] {
        write(
            &mut store,
            Event::QueuePaused(QueuePaused { queue: Some(name.into()), until: None }),
        );
    }
    write(&mut store, Event::QueueResumed(QueueResumed { queue: Some("mail".into()) }));
    let worker = WorkerStarted {
        worker: "desk.aaaaaaaa".into(),
        pid: 7,
        start: 8,
        boot: "boot-1".into(),
        pid_namespace: String::new(),
        session: 0,
        host: String::new(),
        slots: 2,
        queues: Vec::new(),
    };
    write(&mut store, Event::WorkerStarted(worker));
    let stop = WorkerStopRequested { worker: "desk.aaaaaaaa".into(), now: false };
    write(&mut store, Event::WorkerStopRequested(stop));
    enqueue(&mut store, &["done", "retries", "dead"]).unwrap();
    run(&mut store, RunResult::Exit(0));
    run(&mut store, RunResult::Exit(1));
    let dead = JobId::new("dead").unwrap();
    let edited = crate::domain::event::Edited {
        job: dead.clone(),
        priority: None,
        run_at: None,
        max_retries: Some(1),
        timeout: None,
        queue: None,
        tags: Some(vec!["x".into()]),
    };
    store.transact(|node, _| Ok((vec![decide::edit(node, edited.clone())?], ()))).unwrap();
    assert_eq!(run(&mut store, RunResult::Signal(9)), dead);
    enqueue(&mut store, &["cancelled"]).unwrap();
    let id = JobId::new("cancelled").unwrap();
    store
        .transact(|node, _| Ok((vec![decide::cancel(node, &id, Some("why".into()))?.unwrap()], ())))
        .unwrap();
    for (id, batch) in [("open", "b1"), ("given-up", "b2")] {
        let spec = Spec { batch: Some(batch.into()), ..job(id) };
        write(&mut store, Event::Enqueued(Box::new(spec)));
    }
    write(&mut store, Event::BatchAbandoned(BatchAbandoned { batch: "b2".into() }));
    enqueue(&mut store, &["waits", "runs"]).unwrap();
    // What cannot be is counted, and stays counted.
    write(
        &mut store,
        Event::Purged(crate::domain::event::Purged {
            job: JobId::new("nobody").unwrap(),
            why: "request".into(),
        }),
    );
    store.read().unwrap();
    store
}

fn compact(store: &mut Store) -> Compacted {
    store.seal().unwrap();
    store.compactor().unwrap().run(None).unwrap().unwrap()
}

fn state_of(queue: &Queue) -> State {
    let mut store = queue.open();
    let _ = std::fs::remove_dir_all(store.place().cache_dir());
    let view = store.read().unwrap();
    assert_eq!(view.damage, []);
    view.state.clone()
}

#[test]
fn a_base_comes_to_the_same_state() {
    let queue = Queue::new();
    let mut store = fill(&queue);
    let before = state_of(&queue);
    let rehearsed = store.compactor().unwrap().rehearse(&[]).unwrap();
    let done = compact(&mut store);
    assert_eq!(rehearsed, Ok(done));
    assert_eq!(queue.segments(), ["00000001-00000001.base.jsonl", "00000002.jsonl"]);
    let len = std::fs::metadata(queue.root.join("log/desk/00000001-00000001.base.jsonl")).unwrap();
    assert_eq!(len.len(), done.after);
    assert!(done.after < done.before, "{done:?}");
    assert_eq!(state_of(&queue), before);
    // A second one takes in the first.
    enqueue(&mut store, &["later"]).unwrap();
    run(&mut store, RunResult::Exit(0));
    let before = state_of(&queue);
    compact(&mut store);
    assert_eq!(queue.segments(), ["00000001-00000002.base.jsonl", "00000003.jsonl"]);
    assert_eq!(state_of(&queue), before);
    assert_eq!(store.compactor().unwrap().run(None).unwrap(), Err(Idle::Nothing));
    assert_eq!(*store.read().unwrap().state.node("desk").unwrap(), before.nodes["desk"]);
    // The batch can still be made whole.
    let committed = crate::domain::event::BatchCommitted { batch: "b1".into(), count: 1 };
    write(&mut store, Event::BatchCommitted(committed));
    assert!(queue.ids().contains(&"open".to_owned()));
}

#[test]
fn whoever_has_read_to_the_end_reads_on_from_there() {
    let queue = Queue::new();
    let mut store = fill(&queue);
    let mut reader = queue.open();
    reader.read().unwrap();
    compact(&mut store);
    enqueue(&mut store, &["later"]).unwrap();
    let view = reader.read().unwrap();
    assert_eq!(view.damage, []);
    assert!(view.state.node("desk").unwrap().job(&JobId::new("later").unwrap()).is_some());
    assert_eq!(view.state, state_of(&queue));
    // A checkpoint of before the base's end is thrown away.
    let mut late = queue.open();
    let mut early = queue.open();
    early.read().unwrap();
    early.write_checkpoint();
    enqueue(&mut store, &["still-later"]).unwrap();
    compact(&mut store);
    assert_eq!(late.read().unwrap().state, state_of(&queue));
}

#[test]
fn what_is_not_known_is_kept_as_it_stands() {
    let queue = Queue::new();
    let mut store = queue.open();
    enqueue(&mut store, &["plain"]).unwrap();
    enqueue(&mut store, &["a", "b"]).unwrap();
    run(&mut store, RunResult::Exit(0));
    run(&mut store, RunResult::Exit(0));
    store.read().unwrap();
    let facts = &store.own().unwrap().facts;
    let (seq, ts) = (facts.last_seq, facts.last_ts);
    let after = |n: u64| ts.after(Duration::from_micros(n));
    let body = [
        format!(r#"{{"seq":{},"ts":"{}","ev":"admired","job":"a","by":"ann""#, seq + 1, after(1)),
        format!(r#"{{"seq":{},"ts":"{}","ev":"moon_rose""#, seq + 2, after(2)),
        format!(
            r#"{{"seq":{},"ts":"{}","ev":"queue_paused","queue":"q","mood":"blue""#,
            seq + 3,
            after(3)
        ),
    ];
    let lines: Vec<String> = body
        .iter()
        .map(|body| format!("{body},\"crc\":\"{:08x}\"}}\n", crc32c::crc32c(body.as_bytes())))
        .collect();
    append_to(&queue.log(1), lines.concat().as_bytes());
    for round in 1..=3_u64 {
        let before = state_of(&queue);
        enqueue(&mut store, &[&format!("more{round}")]).unwrap();
        compact(&mut store);
        let base = queue.root.join("log/desk").join(segment::base_name(1, round));
        let text = std::fs::read_to_string(base).unwrap();
        for line in &lines {
            assert_eq!(text.matches(line.as_str()).count(), 1, "{line}");
        }
        // The whole batch of the admired job stays with it, and nothing else.
        let kinds: Vec<(String, String)> = text
            .lines()
            .map(|text| line::decode(text.as_bytes()).unwrap().0.event)
            .filter_map(|event| Some((event.job()?.to_string(), event.name().to_owned())))
            .collect();
        let of = |job: &str| -> Vec<&str> {
            let lines = kinds.iter().filter(|(id, _)| id == job);
            lines.map(|(_, kind)| kind.as_str()).collect()
        };
        assert_eq!(of("plain"), ["job_state"]);
        assert_eq!(of("b"), ["enqueued"]);
        assert_eq!(of("a"), ["enqueued", "claimed", "completed"]);
        let after = state_of(&queue);
        assert_eq!(after.nodes["desk"].facts.totals.unknown, 2);
        assert_eq!(after.nodes["desk"].facts.paused, before.nodes["desk"].facts.paused);
        assert_eq!(after.jobs().len(), before.jobs().len() + 1);
    }
}

#[test]
fn what_an_earlier_one_left_is_cleared_away_or_ends_it() {
    let queue = Queue::new();
    let mut store = fill(&queue);
    store.seal().unwrap();
    let directory = queue.root.join("log/desk");
    let copy = |name: &str| std::fs::read(directory.join(name)).unwrap();
    let first = copy("00000001.jsonl");
    let before = state_of(&queue);
    compact(&mut store);
    // Ended before the segment was removed, with a temporary file of an even earlier one.
    std::fs::write(directory.join("00000001.jsonl"), &first).unwrap();
    std::fs::write(directory.join(".00000001-00000001.base.jsonl.tmp"), "half").unwrap();
    assert_eq!(state_of(&queue), before);
    assert_eq!(store.compactor().unwrap().run(None).unwrap(), Err(Idle::Nothing));
    assert_eq!(queue.segments(), ["00000001-00000001.base.jsonl", "00000002.jsonl"]);
    // A base that is not whole is none, and the segments count.
    let base = copy("00000001-00000001.base.jsonl");
    for cut in [1, base.len() / 2, base.len() - 1] {
        std::fs::write(directory.join("00000001.jsonl"), &first).unwrap();
        std::fs::write(directory.join("00000001-00000001.base.jsonl"), &base[..cut]).unwrap();
        assert_eq!(state_of(&queue), before);
    }
}

/// Where a base is not whole, it may be all that there is of what it stood for: that is for a repair.
#[test]
fn of_other_bases_the_lower_ones_go_and_the_higher_ones_stay() {
    let queue = Queue::new();
    let mut store = queue.open();
    let directory = queue.root.join("log/desk");
    let (first, high) = ("00000001-00000001.base.jsonl", "00000001-00000009.base.jsonl");
    enqueue(&mut store, &["a"]).unwrap();
    compact(&mut store);
    let base = std::fs::read(directory.join(first)).unwrap();
    enqueue(&mut store, &["b"]).unwrap();
    compact(&mut store);
    std::fs::write(directory.join(first), &base).unwrap();
    std::fs::write(directory.join(high), &base).unwrap();
    assert_eq!(store.compactor().unwrap().run(None).unwrap(), Err(Idle::Nothing));
    let left = ["00000001-00000002.base.jsonl", high, "00000003.jsonl"];
    assert_eq!(queue.segments(), left);
}

#[test]
fn what_a_newer_version_has_written_in_is_not_compacted() {
    let changes = [("\"v\":1,", "\"v\":2,"), ("\"why\":", "\"requires\":[\"moon\"],\"why\":")];
    for (from, to) in changes {
        let queue = Queue::new();
        let mut store = fill(&queue);
        store.seal().unwrap();
        let text = std::fs::read_to_string(queue.log(2)).unwrap();
        let body = text[..text.rfind(",\"crc\"").unwrap()].replacen(from, to, 1);
        assert!(body.contains(to), "{text}");
        let crc = crc32c::crc32c(body.as_bytes());
        std::fs::write(queue.log(2), format!("{body},\"crc\":\"{crc:08x}\"}}\n")).unwrap();
        let error = store.compactor().unwrap().run(None).unwrap_err();
        assert!(matches!(error, StoreError::TooNew { .. }), "{error}");
        assert_eq!(queue.segments(), ["00000001.jsonl", "00000002.jsonl"]);
    }
}

/// A writer that stood behind the place where a segment was cut sees by it that its lines are gone.
#[test]
fn a_base_says_where_segments_were_cut_on_doubt_in_this_boot() {
    let queue = Queue::new();
    let cut = |last| {
        let path = queue.root.join("log/desk").join(segment::base_name(1, last));
        let file = crate::store::real_disk::RealDisk.open(&path, Open::Read).unwrap();
        segment::read_header(file.as_ref()).unwrap().unwrap().1.cut
    };
    enqueue(&mut queue.open(), &["a"]).unwrap();
    let len = std::fs::metadata(queue.log(1)).unwrap().len();
    append_to(&queue.log(1), b"{\"seq\":9,\"ts\"");
    let mut store = queue.open();
    enqueue(&mut store, &["b"]).unwrap();
    // Of what is sealed in good order nothing is said, and what a base said stays said.
    for round in 0..2 {
        enqueue(&mut store, &[&format!("c{round}")]).unwrap();
        assert_eq!(cut(compact(&mut store).last), BTreeMap::from([(1, len)]));
    }
    let mut store = queue.open_in_boot("boot-2");
    enqueue(&mut store, &["d"]).unwrap();
    assert_eq!(cut(compact(&mut store).last), BTreeMap::new());
}

/// A base of which a line was swapped, doubled or left out holds line for line, and only its sum tells; of one that was
/// cut off behind a line, only that its end is missing.
#[test]
fn a_base_is_whole_or_none() {
    let queue = Queue::new();
    let mut store = fill(&queue);
    compact(&mut store);
    let path = queue.root.join("log/desk/00000001-00000001.base.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut others = Vec::new();
    for at in 1..lines.len() - 1 {
        let mut swapped = lines.clone();
        swapped.swap(at, at - 1);
        let mut doubled = lines.clone();
        doubled.insert(at, lines[at]);
        let mut without = lines.clone();
        without.remove(at);
        let mut replaced = lines.clone();
        replaced[at] = lines[at - 1];
        others.extend([swapped.concat(), doubled.concat(), without.concat(), replaced.concat()]);
        others.push(lines[..=at].concat());
    }
    for other in others {
        std::fs::write(&path, other).unwrap();
        let mut reader = queue.open();
        assert!(!reader.read().unwrap().damage.is_empty());
        assert!(matches!(
            enqueue(&mut queue.open(), &["x"]),
            Err(StoreError::Damaged(_) | StoreError::Degraded(_)) | Ok(_)
        ));
        let _ = std::fs::remove_file(reader.place().local().join("degraded"));
    }
}

#[test]
fn jobs_go_after_their_time_and_leave_their_counts() {
    let queue = Queue::new();
    let mut store = fill(&queue);
    let retention = Retention { completed: Some(Duration::ZERO), cancelled: None };
    let rehearsed = store.compactor().unwrap().rehearse(&store.expired(retention)).unwrap();
    assert_eq!(store.expire(retention, Rest::default()).unwrap().jobs, 1);
    assert_eq!(store.expire(retention, Rest::default()).unwrap().jobs, 0);
    let done = compact(&mut store);
    assert_eq!(rehearsed.unwrap().jobs, done.jobs);
    let state = state_of(&queue);
    let node = &state.nodes["desk"];
    assert!(node.job(&JobId::new("done").unwrap()).is_none());
    assert_eq!(node.facts.totals.expired[&JobState::Completed], 1);
    assert_eq!(node.counts()[JobState::Dead as usize], 1);
}

#[test]
fn what_is_replaced_can_be_kept_elsewhere() {
    let queue = Queue::new();
    let mut store = fill(&queue);
    store.seal().unwrap();
    let first = std::fs::read(queue.log(1)).unwrap();
    let archive = tempfile::tempdir().unwrap();
    let compactor = store.compactor().unwrap();
    std::fs::write(archive.path().join("file"), "").unwrap();
    for not_one in [archive.path().join("file"), queue.root.join("log/desk")] {
        assert!(compactor.run(Some(&not_one)).is_err());
        assert_eq!(queue.segments(), ["00000001.jsonl", "00000002.jsonl"]);
    }
    let archive = archive.path().join("a/b");
    // One that was ended over a copy, which is never taken for one.
    std::fs::create_dir_all(archive.join("desk")).unwrap();
    std::fs::write(archive.join("desk/.00000001.jsonl.tmp"), &first[..100]).unwrap();
    std::fs::write(archive.join("desk/00000001.jsonl"), &first[..100]).unwrap();
    assert!(compactor.run(Some(&archive)).is_err());
    assert_eq!(queue.segments(), ["00000001.jsonl", "00000002.jsonl"]);
    std::fs::write(archive.join("desk/00000001.jsonl"), &first).unwrap();
    compactor.run(Some(&archive)).unwrap().unwrap();
    assert_eq!(std::fs::read(archive.join("desk/00000001.jsonl")).unwrap(), first);
}

#[test]
fn only_one_compacts_and_none_a_damaged_log() {
    let queue = Queue::new();
    let mut store = fill(&queue);
    store.seal().unwrap();
    let (one, other) = (store.compactor().unwrap(), queue.open().compactor().unwrap());
    let lock = one.lock().unwrap().unwrap();
    assert_eq!(other.run(None).unwrap(), Err(Idle::Busy));
    drop(lock);
    flip(&queue.log(1), 400);
    assert!(matches!(other.run(None), Err(StoreError::Damaged(_))));
    assert_eq!(queue.segments(), ["00000001.jsonl", "00000002.jsonl"]);
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// A compaction that is ended while it removes may leave some segments and not others. Once a reader that had read into
/// one of them took the gap for damage, and the queue was degraded.
#[test]
fn what_an_ended_one_has_left_is_no_damage_to_whoever_has_read_into_it() {
    let queue = Queue::new();
    let mut store = queue.open();
    let mut readers = Vec::new();
    let mut copies = Vec::new();
    for number in 1..=4_u64 {
        enqueue(&mut store, &[&format!("job{number}")]).unwrap();
        let mut reader = queue.open();
        reader.read().unwrap();
        readers.push(reader);
        store.seal().unwrap();
        copies.push((queue.log(number), std::fs::read(queue.log(number)).unwrap()));
    }
    store.compactor().unwrap().run(None).unwrap().unwrap();
    for (path, bytes) in [&copies[1], &copies[3]] {
        std::fs::write(path, bytes).unwrap();
    }
    for reader in &mut readers {
        let view = reader.read().unwrap();
        assert_eq!(view.damage, []);
        assert_eq!(view.state.jobs().len(), 4);
    }
    enqueue(&mut store, &["more"]).unwrap();
    assert_eq!(store.compactor().unwrap().run(None).unwrap(), Err(Idle::Nothing));
    assert_eq!(queue.segments(), ["00000001-00000004.base.jsonl", "00000005.jsonl"]);
}

#[test]
fn damage_that_a_compaction_meets_stops_everybody() {
    let queue = Queue::new();
    let mut store = fill(&queue);
    store.seal().unwrap();
    store.read().unwrap();
    store.write_checkpoint();
    flip(&queue.log(1), 400);
    // Whoever reads on from the checkpoint doesn't meet it.
    enqueue(&mut queue.open(), &["x", "y"]).unwrap();
    assert!(matches!(store.confirm_damage(), Err(StoreError::Damaged(_))));
    assert!(matches!(enqueue(&mut queue.open(), &["z"]), Err(StoreError::Degraded(_))));
}
