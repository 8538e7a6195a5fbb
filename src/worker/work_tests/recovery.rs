//! What dead workers leave, and what the next one makes of it.

use std::fs;
use std::ops::ControlFlow;
use std::thread;
use std::time::Duration;

use super::{Queue, drain, wait_until};
use crate::domain::decide;
use crate::domain::event::{Claimed, Event, WorkerStarted};
use crate::domain::job::{Claim, JobId, JobState, RunResult};
use crate::store::presence::WorkerLock;
use crate::store::presence::notes::Process;
use crate::store::real_disk::RealDisk;
use crate::worker::output::Place;
use crate::worker::process::control::Control;
use crate::worker::process::launch::{Launch, start};
use crate::worker::process::{session, system};
use crate::worker::reporter::{Next, Notice, Silent};
use crate::worker::work;

/// A worker that claimed one job and is no more.
struct DeadWorker {
    worker: String,
    claim: Claim,
    lock: WorkerLock,
}

fn dead_worker(queue: &Queue, id: &str) -> DeadWorker {
    let mut store = queue.open();
    store.read().unwrap();
    let worker = store.ids().worker("desk");
    let pid = rustix::process::getpid();
    let info = WorkerStarted {
        worker: worker.clone(),
        pid: pid.as_raw_nonzero().get().unsigned_abs(),
        start: system::find(pid).unwrap().start + 1,
        boot: store.boot().to_owned(),
        pid_namespace: system::pid_namespace(),
        session: session().unsigned_abs(),
        host: String::new(),
        slots: 1,
        queues: Vec::new(),
    };
    let run_dir = store.place().run_dir();
    let lock = WorkerLock::take(&RealDisk, &run_dir, &info, None).unwrap();
    let claim = Claim::new(&worker, 1);
    let job = JobId::new(id).unwrap();
    store
        .transact(|node, _| {
            let run = node.job(&job).unwrap().last_run + 1;
            let claimed = Claimed { job: job.clone(), run, claim: claim.clone() };
            Ok((vec![Event::WorkerStarted(info.clone()), Event::Claimed(claimed)], ()))
        })
        .unwrap();
    DeadWorker { worker, claim, lock }
}

#[test]
fn a_run_that_was_never_started_is_given_back_with_its_number() {
    let queue = Queue::new();
    queue.enqueue(vec![queue.spec("a", "echo $QUEUECTL_RUN > run")]);
    let dead = dead_worker(&queue, "a");
    drop(dead.lock);
    let (summary, told) = queue.work(drain(1));
    assert_eq!(summary.runs, 1);
    assert_eq!(fs::read_to_string(queue.path("run")).unwrap(), "1\n");
    let recovered = Notice::Recovered {
        job: JobId::new("a").unwrap(),
        worker: dead.worker,
        next: Next::Released,
    };
    assert!(told.notices.contains(&recovered), "{:?}", told.notices);
    assert_eq!(queue.job("a").lost, 0);
    assert_eq!(queue.workers(), 0);
}

/// What a run does that ends by KILL alone, and goes with the test's directory; and the next one, which tells whether it
/// met it. Of a zombie there is no program.
fn stubborn(guise: &str) -> String {
    format!(
        "test $QUEUECTL_RUN = 2 && {{ test ! -e /proc/$(cat pid)/exe || touch together; exit 0; }}; \
         echo $$ > pid; exec {guise} sh -c 'trap \"\" TERM; touch ready; while test -e ready; do sleep 0.01; done'"
    )
}

/// Starts the first run of job `a` of a dead worker, which begins with `script`, and leaves it alone. Gives what waits for
/// its end, by a signal.
fn leave_behind(queue: &Queue, script: String, is_noted: bool) -> thread::JoinHandle<Option<i32>> {
    let mut spec = queue.spec("a", &script);
    spec.kill_grace = Some(Duration::from_millis(50));
    queue.enqueue(vec![spec.clone()]);
    let dead = dead_worker(queue, "a");
    let files = Place::new(&queue.open().place().output_dir(), &spec.id, 1).create(&spec).unwrap();
    let directory = queue.path("queue");
    let launch =
        Launch { spec: &spec, claim: &dead.claim, run: 1, attempt: 1, directory: &directory };
    dead.lock.note_starting(&dead.claim).unwrap();
    let control = Control::new(Duration::ZERO);
    let leader = start(&launch, &files, &control).unwrap().unwrap();
    drop(files);
    if is_noted {
        let pid = leader.pid.as_raw_nonzero().get().unsigned_abs();
        let process = Process { pid, group: pid, start: leader.start };
        dead.lock.note_started(&dead.claim, process).unwrap();
    }
    queue.wait_for("ready");
    let claim = dead.claim.clone();
    thread::spawn(move || leader.wait(&claim, &control, &mut |_| ControlFlow::Continue(())).signal)
}

fn assert_alone(queue: &Queue, first: thread::JoinHandle<Option<i32>>) {
    let (summary, _) = queue.work(drain(1));
    assert!(!queue.path("together").exists(), "it met the one before");
    assert_eq!(first.join().unwrap(), Some(9));
    assert_eq!(summary.runs, 1);
    let job = queue.job("a");
    assert_eq!((job.state, job.lost, job.last_run, job.attempts), (JobState::Completed, 1, 2, 1));
    assert_eq!(job.runs[0].result, Some(RunResult::Lost));
    assert_eq!(queue.workers(), 0);
}

#[test]
fn a_run_that_outlives_its_worker_is_ended_before_the_next() {
    let queue = Queue::new();
    // It hides from everything but its environment.
    let script = format!("exec >/dev/null 2>&1 </dev/null; {}", stubborn(""));
    let first = leave_behind(&queue, script, true);
    // Even with its files gone.
    fs::remove_dir_all(queue.open().place().output_dir()).unwrap();
    assert_alone(&queue, first);
}

/// A run that sheds its environment, of a worker that died before it noted it, is known by nothing but the locks of its
/// files.
#[test]
#[cfg(target_os = "linux")]
fn a_run_that_is_known_by_its_locks_alone_is_ended_before_the_next() {
    let queue = Queue::new();
    let first = leave_behind(&queue, stubborn("env -i PATH=\"$PATH\""), false);
    assert_alone(&queue, first);
}

#[test]
fn a_run_that_is_waited_for_ends_by_itself_or_is_cancelled() {
    let queue = Queue::new();
    queue.enqueue(vec![
        queue.spec("waited", "touch one; while test ! -e go; do sleep 0.01; done; echo x >> ran"),
        queue.spec("cancelled", "touch two; sleep 100"),
    ]);
    let mut dead = Vec::new();
    for (id, mark) in [("waited", "one"), ("cancelled", "two")] {
        let worker = dead_worker(&queue, id);
        let spec = queue.job(id).spec;
        let files = Place::new(&queue.open().place().output_dir(), &spec.id, 1).create(&spec);
        let directory = queue.path("queue");
        let claim = &worker.claim;
        let launch = Launch { spec: &spec, claim, run: 1, attempt: 1, directory: &directory };
        worker.lock.note_starting(claim).unwrap();
        let control = Control::new(Duration::ZERO);
        let leader = start(&launch, &files.unwrap(), &control).unwrap().unwrap();
        queue.wait_for(mark);
        let claim = claim.clone();
        dead.push(thread::spawn(move || {
            leader.wait(&claim, &control, &mut |_| ControlFlow::Continue(())).result
        }));
        drop(worker.lock);
    }
    let (mut other, go) = (queue.open(), queue.path("go"));
    let id = JobId::new("cancelled").unwrap();
    other
        .transact(|node, _| Ok((decide::cancel(node, &id, None)?.into_iter().collect(), ())))
        .unwrap();
    let going = thread::spawn(move || {
        wait_until("the cancel", || {
            other.read().unwrap();
            other.own().unwrap().job(&id).unwrap().state == JobState::Cancelled
        });
        fs::write(go, "").unwrap();
    });
    let mut options = drain(1);
    options.overrides.insert("on_worker_death".into(), "wait".into());
    assert_eq!(queue.work(options).0.runs, 1);
    going.join().unwrap();
    let results: Vec<RunResult> = dead.into_iter().map(|dead| dead.join().unwrap()).collect();
    assert_eq!(results, [RunResult::Exit(0), RunResult::Signal(15)]);
    assert_eq!(fs::read_to_string(queue.path("ran")).unwrap(), "x\nx\n");
    assert_eq!(queue.job("waited").runs[0].result, Some(RunResult::Lost));
    assert_eq!(queue.workers(), 0);
}

#[test]
fn after_a_reboot_nothing_is_looked_for_and_nobody_is_blamed() {
    let queue = Queue::new();
    queue.enqueue(vec![queue.spec("a", "true")]);
    let dead = dead_worker(&queue, "a");
    dead.lock.note_starting(&dead.claim).unwrap();
    drop(dead.lock);
    let summary = work(&mut queue.open_in_boot("boot-2"), drain(1), &mut Silent).unwrap();
    assert_eq!(summary.runs, 1);
    let job = queue.job("a");
    assert_eq!((job.state, job.lost, job.last_run), (JobState::Completed, 0, 2));
}

#[test]
fn a_dead_worker_without_its_lock_file_is_known_by_its_process() {
    let queue = Queue::new();
    queue.enqueue(vec![queue.spec("a", "true")]);
    let dead = dead_worker(&queue, "a");
    let file = queue.open().place().run_dir().join(format!("{}.lock", dead.worker));
    fs::remove_file(file).unwrap();
    drop(dead.lock);
    assert_eq!(queue.work(drain(1)).0.runs, 1);
    let job = queue.job("a");
    assert_eq!((job.lost, job.last_run), (1, 2), "it may have been started");
    assert_eq!(queue.workers(), 0);
}
