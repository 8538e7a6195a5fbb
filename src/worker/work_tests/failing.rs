//! A worker whose disk fails under it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Queue, Told, drain, wait_until};
use crate::domain::decide::Outcome;
use crate::domain::job::{JobState, RunResult};
use crate::domain::policy::RetryPolicy;
use crate::store::StoreError;
use crate::store::disk::{Disk, Lock, Open};
use crate::store::odd_disk::Odd;
use crate::store::real_disk::RealDisk;
use crate::worker::committer::{Batch, Wanted, commit};
use crate::worker::reporter::Notice;
use crate::worker::{WorkerError, WorkerOptions, work};

#[test]
fn a_worker_whose_log_cannot_be_written_lets_its_jobs_finish_and_says_so() {
    let queue = Queue::new();
    queue.enqueue(vec![
        queue.spec("short", "touch one; while test ! -e broken; do sleep 0.01; done"),
        queue.spec("long", "touch two; while test ! -e failing; do sleep 0.01; done; touch done"),
        queue.spec("later", "touch three"),
    ]);
    let is_broken = Arc::new(AtomicBool::new(false));
    let broken = Arc::clone(&is_broken);
    let disk =
        Odd::failing(move |call| call.starts_with("append ") && broken.load(Ordering::SeqCst));
    let mut store = queue.open_on(Arc::new(disk), "boot-1");
    let (failing, broken) = (queue.path("failing"), queue.path("broken"));
    let worker = thread::spawn(move || {
        let mut told = Told { failing: Some(failing), ..Told::default() };
        let options = WorkerOptions { slots: 2, ..WorkerOptions::default() };
        (work(&mut store, options, &mut told), told)
    });
    queue.wait_for("one");
    queue.wait_for("two");
    is_broken.store(true, Ordering::SeqCst);
    std::fs::write(broken, "").unwrap();
    let (result, told) = worker.join().unwrap();
    assert!(matches!(result, Err(WorkerError::Store(_))), "{result:?}");
    let failed = |notice: &&Notice| matches!(notice, Notice::Failing(_));
    assert_eq!(told.notices.iter().filter(failed).count(), 1, "{:?}", told.notices);
    assert!(queue.path("done").exists(), "a child was not let finish");
    assert!(!queue.path("three").exists(), "a job was started that nobody recorded");
    assert_eq!(queue.job("short").state, JobState::Processing);
    // Its lock file stays, so the next worker knows what it has to look after.
    let (summary, _) = queue.work(drain(2));
    assert_eq!(summary.runs, 3);
    assert!(queue.states().iter().all(|(_, state)| *state == JobState::Completed));
    assert_eq!(queue.job("short").lost, 1);
    assert_eq!(queue.workers(), 0);
}

/// It once gave up on the note of a repair that ended well a moment later.
#[test]
fn a_worker_waits_for_a_repair_that_goes_on_and_ends_on_damage() {
    // Met with an outcome to be written, and with its own end.
    for (follows, goes_on) in [(true, true), (false, true), (true, false)] {
        let queue = Queue::new();
        let mut jobs =
            vec![queue.spec("first", "touch one; while test ! -e go; do sleep 0.01; done")];
        jobs.extend(follows.then(|| queue.spec("second", "touch two")));
        queue.enqueue(jobs);
        let mut store = queue.open();
        let local = store.place().local();
        let options = WorkerOptions { max_jobs: (!follows).then_some(1), ..drain(1) };
        let worker = thread::spawn(move || {
            let mut told = Told::default();
            (work(&mut store, options, &mut told), told)
        });
        queue.wait_for("one");
        let lock = RealDisk.open(&local, Open::Directory).unwrap();
        let lock = lock.open_in("compact.lock", Open::ReadWrite).unwrap();
        assert!(!goes_on || lock.try_lock(Lock::Exclusive).unwrap());
        std::fs::write(local.join("degraded"), "a repair was begun\n").unwrap();
        std::fs::write(queue.path("go"), "").unwrap();
        if goes_on {
            let then = Instant::now() + Duration::from_millis(300);
            wait_until("a while", || Instant::now() > then);
            assert!(!worker.is_finished() && !queue.path("two").exists());
            std::fs::remove_file(local.join("degraded")).unwrap();
            lock.unlock().unwrap();
        }
        let (result, told) = worker.join().unwrap();
        if goes_on {
            assert_eq!(result.unwrap().runs, 1 + u64::from(follows), "{:?}", told.notices);
            assert_eq!(queue.workers(), 0);
        } else {
            let is_degraded = matches!(result, Err(WorkerError::Store(StoreError::Degraded(_))));
            assert!(is_degraded && !queue.path("two").exists(), "{result:?}");
        }
    }
}

/// Where nobody can say whether an end is stored, it is written again; the second changes nothing but the count of what
/// had no effect.
#[test]
fn an_end_that_is_written_twice_counts_once() {
    for result in [RunResult::Exit(0), RunResult::Exit(1), RunResult::Cancelled] {
        let queue = Queue::new();
        queue.enqueue(vec![queue.spec("job", "true")]);
        let (mut store, mut next, policy) = (queue.open(), 1, RetryPolicy::default());
        let mut write = |batch: &Batch, wanted: &Wanted<'_>| {
            let written = commit(&mut store, "desk.aaaaaaaa", &mut next, &policy, batch, wanted);
            let written = written.unwrap();
            store.read().unwrap();
            let state = store.own().unwrap();
            let job = state.jobs().next().unwrap().clone();
            (written, job, state.facts.totals.clone())
        };
        let wanted = Wanted::Best { queues: &[], count: 1 };
        let (written, ..) = write(&Batch::default(), &wanted);
        let claimed = written.grants[0].claimed.clone();
        let (job, run, claim) = (claimed.job, claimed.run, claimed.claim);
        let outcome = Outcome { job, run, claim, result, ms: 3, tail: None, error: None };
        let batch = Batch { outcomes: vec![(outcome, 0.0)], ..Batch::default() };
        let (_, once, totals) = write(&batch, &Wanted::Nothing);
        let (_, twice, mut totals_of_twice) = write(&batch, &Wanted::Nothing);
        assert_eq!(twice, once, "{result:?}");
        assert_eq!(totals_of_twice.oddity_count, totals.oddity_count + 1, "{result:?}");
        totals_of_twice.oddity_count = totals.oddity_count;
        totals_of_twice.oddities.pop();
        assert_eq!(totals_of_twice, totals, "{result:?}");
    }
}
