//! Workers on a real queue directory, with real jobs.

mod failing;
mod recovery;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::foreground::{ForegroundEnd, run};
use super::reporter::{Next, Notice, Reporter, RunEnded, Silent, Stream};
use super::{Summary, WorkerError, WorkerOptions, work};
use crate::domain::decide::{self, OnConflict, Refusal};
use crate::domain::event::Claimed;
use crate::domain::job::{Job, JobId, JobState, RunResult, Spec};
use crate::store::clock::Clock;
use crate::store::disk::Disk;
use crate::store::ids::Ids;
use crate::store::machine::Environment;
use crate::store::real_disk::RealDisk;
use crate::store::{Enqueue, Setting, Store, StoreError};

struct Queue {
    home: TempDir,
}

impl Queue {
    fn new() -> Self {
        Queue { home: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn open(&self) -> Store {
        self.open_in_boot("boot-1")
    }

    fn open_in_boot(&self, boot: &str) -> Store {
        self.open_on(Arc::new(RealDisk), boot)
    }

    fn open_on(&self, disk: Arc<dyn Disk>, boot: &str) -> Store {
        let environment = Environment {
            node: Some("desk".into()),
            uid: rustix::process::geteuid().as_raw(),
            ..Environment::default()
        };
        let root = self.path("queue");
        let (clock, ids) = (Clock::System, Ids::new(None));
        let boot = Some(boot.into());
        Store::open(Setting { disk, root, environment, clock, ids, boot }).unwrap()
    }

    fn spec(&self, id: &str, command: &str) -> Spec {
        let mut spec = Spec::shell(JobId::new(id).unwrap(), command, 3);
        spec.cwd = self.home.path().as_os_str().to_owned().into();
        spec.backoff_base = Some(0.0);
        spec
    }

    fn enqueue(&self, specs: Vec<Spec>) {
        let on_conflict = OnConflict::Fail;
        self.open().enqueue(Enqueue { specs, has_chosen_ids: true, on_conflict }).unwrap();
    }

    fn job(&self, id: &str) -> Job {
        let mut store = self.open();
        store.read().unwrap();
        store.own().unwrap().job(&JobId::new(id).unwrap()).unwrap().clone()
    }

    fn states(&self) -> Vec<(String, JobState)> {
        let mut store = self.open();
        store.read().unwrap();
        store.own().unwrap().jobs().map(|job| (job.id().to_string(), job.state)).collect()
    }

    /// The workers that are neither ended nor forgotten.
    fn workers(&self) -> usize {
        let mut store = self.open();
        store.read().unwrap();
        let files = fs::read_dir(store.place().run_dir()).map_or(0, Iterator::count);
        store.own().unwrap().facts.workers.len() + files
    }

    fn work(&self, options: WorkerOptions) -> (Summary, Told) {
        let mut told = Told::default();
        let summary = work(&mut self.open(), options, &mut told).unwrap();
        (summary, told)
    }

    fn wait_for(&self, name: &str) {
        wait_until(name, || self.path(name).exists());
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < limit, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn drain(slots: usize) -> WorkerOptions {
    WorkerOptions { slots, drain: true, ..WorkerOptions::default() }
}

/// Keeps what it is told.
#[derive(Default)]
struct Told {
    ended: Vec<RunEnded>,
    notices: Vec<Notice>,
    output: Vec<(Stream, String)>,
    started: usize,
    /// A file to make once the worker says that the queue fails.
    failing: Option<PathBuf>,
}

impl Reporter for Told {
    fn run_started(&mut self, _: &Claimed) {
        self.started += 1;
    }

    fn run_ended(&mut self, ended: &RunEnded) {
        self.ended.push(ended.clone());
    }

    fn output(&mut self, _: &Claimed, stream: Stream, bytes: &[u8]) {
        self.output.push((stream, String::from_utf8_lossy(bytes).into_owned()));
    }

    fn notice(&mut self, notice: &Notice) {
        if let (Notice::Failing(_), Some(path)) = (notice, &self.failing) {
            fs::write(path, "").unwrap();
        }
        self.notices.push(notice.clone());
    }
}

#[test]
fn jobs_run_in_order_and_end_as_they_should() {
    let queue = Queue::new();
    let mut bad =
        queue.spec("bad", "echo oops >&2; echo $QUEUECTL_RUN,$QUEUECTL_ATTEMPT >> tries; exit 4");
    bad.max_retries = 2;
    let mut urgent = queue.spec("urgent", "echo urgent >> order");
    urgent.priority = 9;
    let first = queue.spec("first", "echo first >> order; test $QUEUECTL_DIR -ef queue");
    queue.enqueue(vec![first, bad, urgent]);
    let (summary, told) = queue.work(drain(1));
    assert_eq!(summary, Summary { runs: 4, scheduled: 0, paused: 0 });
    assert_eq!(fs::read_to_string(queue.path("order")).unwrap(), "urgent\nfirst\n");
    assert_eq!(fs::read_to_string(queue.path("tries")).unwrap(), "1,1\n2,2\n");
    let (bad, first) = (queue.job("bad"), queue.job("first"));
    assert_eq!((bad.state, bad.attempts, first.state), (JobState::Dead, 2, JobState::Completed));
    let run = bad.latest_run().unwrap();
    assert_eq!((run.result, run.run), (Some(RunResult::Exit(4)), 2));
    assert_eq!(run.tail.as_ref().unwrap().err, "oops\n");
    assert_eq!(queue.workers(), 0);
    assert_eq!((told.started, told.ended.len()), (4, 4));
    assert_eq!(told.ended.iter().filter(|ended| ended.next == Next::Dead).count(), 1);
}

#[test]
fn many_short_jobs_each_run_once_on_many_slots() {
    let queue = Queue::new();
    let specs = (0..300).map(|n| queue.spec(&format!("j{n}"), "echo x >> ran"));
    queue.enqueue(specs.collect());
    let others: Vec<_> = (0..2)
        .map(|_| {
            let mut store = queue.open();
            thread::spawn(move || work(&mut store, drain(4), &mut Silent).unwrap().runs)
        })
        .collect();
    let runs: u64 = others.into_iter().map(|worker| worker.join().unwrap()).sum();
    assert_eq!(runs, 300);
    assert_eq!(fs::read_to_string(queue.path("ran")).unwrap().lines().count(), 300);
    assert!(queue.states().iter().all(|(_, state)| *state == JobState::Completed));
    assert_eq!(queue.workers(), 0);
}

#[test]
fn a_worker_ends_after_so_many_jobs_and_keeps_to_its_queues() {
    let queue = Queue::new();
    let mut specs: Vec<Spec> = (0..5).map(|n| queue.spec(&format!("j{n}"), "true")).collect();
    specs[1].queue = "slow".into();
    queue.enqueue(specs);
    let queues = vec!["default".to_owned()];
    let max_jobs = Some(3);
    let options = WorkerOptions { slots: 2, queues, max_jobs, ..WorkerOptions::default() };
    let (summary, _) = queue.work(options);
    assert_eq!(summary.runs, 3);
    let done = queue.states().into_iter().filter(|(_, state)| *state == JobState::Completed);
    let done: Vec<String> = done.map(|(id, _)| id).collect();
    assert_eq!(done, ["j0", "j2", "j3"]);
}

#[test]
fn limits_end_a_run() {
    let queue = Queue::new();
    let mut slow = queue.spec("slow", "trap '' TERM; while :; do sleep 0.05; done");
    slow.timeout = Some(Duration::from_millis(60));
    slow.kill_grace = Some(Duration::from_millis(60));
    slow.max_retries = 1;
    let loud = queue.spec("loud", "head -c 300000 /dev/zero | tr '\\0' x; echo end");
    let lost = queue.spec("lost", "exec ./nothing");
    let mut gone = queue.spec("gone", "true");
    gone.cwd = "/no/such/place".into();
    queue.enqueue(vec![slow, loud, lost, gone]);
    let mut options = drain(4);
    options.overrides.insert("output_limit".into(), "64KiB".into());
    queue.work(options);
    let result = |id: &str| queue.job(id).latest_run().unwrap().result.unwrap();
    assert_eq!(result("slow"), RunResult::Timeout);
    assert_eq!(result("lost"), RunResult::Exit(127));
    assert_eq!(result("gone"), RunResult::SpawnError);
    let loud = queue.job("loud");
    let run = loud.latest_run().unwrap();
    assert!(run.error.as_ref().unwrap().contains("stdout was cut"), "{run:?}");
    assert!(run.tail.as_ref().unwrap().out.ends_with("end\n"));
}

#[test]
fn a_cancelled_run_ends_and_so_does_a_stopped_worker() {
    let queue = Queue::new();
    queue.enqueue(vec![
        queue.spec("cancelled", "touch one; sleep 100"),
        queue.spec("stopped", "touch two; sleep 100"),
    ]);
    let mut store = queue.open();
    let worker = thread::spawn(move || {
        let options = WorkerOptions { slots: 2, ..WorkerOptions::default() };
        work(&mut store, options, &mut Silent).unwrap()
    });
    queue.wait_for("one");
    queue.wait_for("two");
    let mut other = queue.open();
    let cancelled = JobId::new("cancelled").unwrap();
    let cancel = |other: &mut Store| {
        other.transact(|node, _| {
            Ok((decide::cancel(node, &cancelled, Some("why".into()))?.into_iter().collect(), ()))
        })
    };
    cancel(&mut other).unwrap();
    wait_until("the cancel", || queue.job("cancelled").state == JobState::Cancelled);
    assert_eq!(queue.job("cancelled").reason.unwrap(), "why");
    other
        .transact(|node, _| {
            let worker = node.facts.workers.keys().next().unwrap();
            Ok((decide::stop_worker(node, worker, true)?.into_iter().collect(), ()))
        })
        .unwrap();
    assert_eq!(worker.join().unwrap().runs, 2);
    let stopped = queue.job("stopped");
    assert_eq!((stopped.state, stopped.attempts, stopped.last_run), (JobState::Pending, 0, 1));
    assert_eq!(stopped.latest_run().unwrap().result, Some(RunResult::Interrupted));
    assert_eq!(queue.workers(), 0);
}

#[test]
fn in_the_foreground_a_job_runs_here_with_its_retries() {
    let queue = Queue::new();
    let spec = queue.spec("a", "echo out; echo err >&2; test -e tried || { touch tried; exit 3; }");
    let mut told = Told::default();
    let ended = run(&mut queue.open(), spec.clone(), Default::default(), &mut told).unwrap();
    let (state, result) = (Some(JobState::Completed), Some(RunResult::Exit(0)));
    assert_eq!(ended, ForegroundEnd { state, result, signal: None });
    let printed = |stream| {
        let parts = told.output.iter().filter(|(of, _)| *of == stream);
        parts.map(|(_, text)| text.as_str()).collect::<String>()
    };
    assert_eq!(
        (printed(Stream::Out), printed(Stream::Err)),
        ("out\nout\n".into(), "err\nerr\n".into())
    );
    assert_eq!((queue.job("a").attempts, queue.workers()), (2, 0));
    let refused = run(&mut queue.open(), spec, Default::default(), &mut told);
    assert!(
        matches!(refused, Err(WorkerError::Store(StoreError::Refused(Refusal::Duplicate { .. })))),
        "{refused:?}"
    );
    assert_eq!(queue.workers(), 0);
}

#[test]
fn another_job_is_not_run_in_the_foreground() {
    let queue = Queue::new();
    queue.enqueue(vec![queue.spec("other", "true")]);
    let mut spec = queue.spec("a", "exit 5");
    spec.max_retries = 1;
    let ended = run(&mut queue.open(), spec, Default::default(), &mut Silent).unwrap();
    assert_eq!((ended.state, ended.result), (Some(JobState::Dead), Some(RunResult::Exit(5))));
    assert_eq!(queue.job("other").state, JobState::Pending);
}
