//! What is not known is found in whatever it stands, and nothing else is kept for it.

use std::fs;
use std::time::Duration;

use super::*;
use crate::domain::bytes::Bytes;
use crate::domain::event::QueuePaused;
use crate::domain::job::{Claim, Spec, Tail};
use crate::domain::timestamp::Timestamp;
use crate::store::segment::base_name;
use crate::store::store_tests::{Queue, append_to, enqueue, job};

/// A job that ran once.
fn some_job() -> Job {
    let mut state = NodeState::default();
    let event = Event::Enqueued(Box::new(job("a")));
    let at = Timestamp::MIN.after(Duration::from_secs(1));
    state.apply(&crate::domain::event::Record { seq: 1, ts: at, wall: None, event }).unwrap();
    let mut job = state.jobs().next().unwrap().clone();
    let claim = Claim::new("desk.2abcdefg", 1);
    let (finished_at, result, ms, error, tail) = (None, None, None, None, None);
    job.runs.push(Run { run: 1, claim, started_at: at, finished_at, result, ms, error, tail });
    job
}

fn is_kept(job: &Job) -> bool {
    let mut state = NodeState::default();
    let event = Event::JobRecorded(Box::new(JobRecorded::of(job)));
    let ts = job.created_at;
    state.apply(&crate::domain::event::Record { seq: 1, ts, wall: None, event }).unwrap();
    let mut strange = Strange::default();
    strange.add_long(&state);
    strange.jobs.contains(job.id())
}

#[test]
fn a_job_is_kept_once_its_record_is_longer_than_a_line() {
    let mut job = some_job();
    let beside = recorded(&job).len() - b"true".len();
    for (len, expected) in
        [(line::LONGEST - 1, false), (line::LONGEST, false), (line::LONGEST + 1, true)]
    {
        job.spec.command = Some(Bytes(vec![b'x'; len - beside]));
        assert_eq!((recorded(&job).len(), is_kept(&job)), (len, expected));
    }
}

/// As JSON a byte may take six.
#[test]
fn wherever_its_length_is_it_is_looked_at() {
    const LEN: usize = line::LONGEST / 6 + 1;
    let bytes = || Bytes(vec![1; LEN]);
    let text = || "\u{1}".repeat(LEN);
    let tail = |out, err| Some(Tail { out, err });
    type Fill<'a> = (&'static str, &'a dyn Fn(&mut Job));
    let fills: [Fill; 12] = [
        ("command", &|job| job.spec.command = Some(bytes())),
        ("file", &|job| job.spec.stdin = Some(Stdin::File(bytes()))),
        ("data", &|job| job.spec.stdin = Some(Stdin::Data(bytes()))),
        ("key", &|job| drop(job.spec.env.insert(text(), Bytes(Vec::new())))),
        ("value", &|job| drop(job.spec.env.insert(String::new(), bytes()))),
        ("argument", &|job| job.spec.argv.push(bytes())),
        ("meta", &|job| job.spec.meta = Some(text())),
        ("tag", &|job| job.spec.tags.push(text())),
        ("out", &|job| job.runs[0].tail = tail(text(), String::new())),
        ("err", &|job| job.runs[0].tail = tail(String::new(), text())),
        ("error", &|job| job.runs[0].error = Some(text())),
        ("reason", &|job| job.reason = Some(text())),
    ];
    assert!(!is_large(&some_job()));
    for (field, fill) in fills {
        let mut job = some_job();
        job.spec.command = None;
        fill(&mut job);
        assert!(is_large(&job), "{field}");
    }
    let mut job = some_job();
    job.spec.command = Some(bytes());
    assert!(is_kept(&job));
}

/// Its own lines stay, and it is the same job, however often it is compacted.
#[test]
fn a_job_of_which_the_record_is_too_long_is_compacted_all_the_same() {
    let queue = Queue::new();
    let mut store = queue.open();
    enqueue(&mut store, &["plain"]).unwrap();
    // Its line fits, and its record has more: how it ended.
    let (at, mut long) = (Timestamp::MIN, job("long"));
    let len = |spec: &Spec| {
        line::encode(u64::MAX, at, at, &Event::Enqueued(Box::new(spec.clone()))).len()
    };
    long.command = Some(Bytes(vec![b'x'; line::LONGEST - len(&long) - 20]));
    let event = Event::Enqueued(Box::new(long.clone()));
    store.transact(|_, _| Ok((vec![event.clone()], ()))).unwrap();
    let cancel = |node: &NodeState, _| {
        Ok((
            vec![crate::domain::decide::cancel(node, &long.id, Some("r".repeat(99)))?.unwrap()],
            (),
        ))
    };
    store.transact(cancel).unwrap();
    for round in 1..=2 {
        enqueue(&mut store, &[&format!("more{round}")]).unwrap();
        store.read().unwrap();
        let before = store.own().unwrap().jobs().cloned().collect::<Vec<_>>();
        store.seal().unwrap();
        store.compactor().unwrap().run(None).unwrap().unwrap();
        let mut fresh = queue.open();
        fs::remove_dir_all(fresh.place().cache_dir()).unwrap_or_default();
        fresh.read().unwrap();
        assert!(fresh.own().unwrap().jobs().eq(&before), "round {round}");
    }
}

/// What is written into a log, and what of it may stand in a base as it is.
struct Case {
    strange: &'static str,
    stays: &'static [&'static str],
    is_rewritten: &'static [&'static str],
}

const CASES: [Case; 5] = [
    Case {
        strange: r#""ev":"moon_rose""#,
        stays: &[],
        is_rewritten: &["\"queue_resumed\"", "\"enqueued\",\"job\":\"plain\""],
    },
    Case {
        strange: r#""ev":"queue_paused","queue":"q","mood":"blue""#,
        stays: &["\"queue_resumed\""],
        is_rewritten: &["\"enqueued\",\"job\":\"plain\""],
    },
    Case {
        strange: r#""ev":"admired","job":"plain","by":"ann""#,
        stays: &["\"enqueued\",\"job\":\"plain\""],
        is_rewritten: &["\"queue_resumed\"", "\"enqueued\",\"job\":\"other\""],
    },
    Case {
        strange: r#""ev":"batch_committed","batch":"b1","count":1,"mood":"blue""#,
        stays: &["\"enqueued\",\"job\":\"in-b1\""],
        is_rewritten: &["\"queue_resumed\"", "\"enqueued\",\"job\":\"plain\""],
    },
    Case {
        strange: r#""ev":"batch_abandoned","batch":"b1","mood":"blue""#,
        stays: &["\"enqueued\",\"job\":\"in-b1\""],
        is_rewritten: &["\"queue_resumed\"", "\"enqueued\",\"job\":\"plain\""],
    },
];

/// A compaction that met one kind alone must not take it for nothing.
#[test]
fn one_strange_line_alone_stays_with_all_that_belongs_to_it_and_nothing_else() {
    for Case { strange, stays, is_rewritten } in CASES {
        let queue = Queue::new();
        let mut store = queue.open();
        for name in ["plain", "other"] {
            enqueue(&mut store, &[name]).unwrap();
        }
        let pause = Event::QueuePaused(QueuePaused { queue: Some("mail".into()), until: None });
        let resume = crate::domain::event::QueueResumed { queue: Some("mail".into()) };
        let in_batch = Spec { batch: Some("b1".into()), ..job("in-b1") };
        for event in [pause, Event::QueueResumed(resume), Event::Enqueued(Box::new(in_batch))] {
            store.transact(|_, _| Ok((vec![event.clone()], ()))).unwrap();
        }
        store.read().unwrap();
        let facts = &store.own().unwrap().facts;
        let ts = facts.last_ts.after(Duration::from_micros(1));
        let body = format!("{{\"seq\":{},\"ts\":\"{ts}\",{strange}", facts.last_seq + 1);
        let text = format!("{body},\"crc\":\"{:08x}\"}}\n", crc32c::crc32c(body.as_bytes()));
        append_to(&queue.log(1), text.as_bytes());
        for round in 1..=2 {
            enqueue(&mut store, &[&format!("more{round}")]).unwrap();
            store.read().unwrap();
            let before = store.own().unwrap().clone();
            store.seal().unwrap();
            store.compactor().unwrap().run(None).unwrap().unwrap();
            let base = queue.root.join("log/desk").join(base_name(1, round));
            let base = fs::read_to_string(base).unwrap();
            let count = |part: &str| base.matches(part).count();
            assert_eq!(count(&text), 1, "{strange}: {round}");
            for part in stays {
                assert_eq!(count(part), 1, "{strange}: {round}: {part}");
            }
            for part in is_rewritten {
                assert_eq!(count(part), 0, "{strange}: {round}: {part}");
            }
            let mut fresh = queue.open();
            let _ = fs::remove_dir_all(fresh.place().cache_dir());
            fresh.read().unwrap();
            assert_eq!(*fresh.own().unwrap(), before, "{strange}: {round}");
        }
    }
}
