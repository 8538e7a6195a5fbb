//! Queues with a past: what enqueuers and workers would have written, told to the library with a clock turned by hand.
//!
//! Starts no process. Only for pinned homes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use queuectl::domain::decide::{self, Outcome};
use queuectl::domain::event::{Event, Failed};
use queuectl::domain::job::{JobId, RunResult, Spec, Tail};
use queuectl::domain::policy::RetryPolicy;
use queuectl::domain::timestamp::Timestamp;
use queuectl::store::clock::Clock;
use queuectl::store::ids::Ids;
use queuectl::store::machine::Environment;
use queuectl::store::real_disk::RealDisk;
use queuectl::store::{Enqueue, Setting, Store};

use super::harness::{BOOT, Home, NODE, NOW};

/// The worker that ran what has run in a story. It is not alive.
pub const WORKER: &str = "desk.0worker0";

/// A queue, and the hand on its clock.
pub struct Story {
    store: Store,
    clock: Arc<AtomicI64>,
    claims: u64,
}

impl Story {
    /// Begins a story in this home so long before the present.
    pub fn begin(home: &Home, before: Duration) -> Self {
        let now: Timestamp = NOW.parse().expect("a moment");
        let clock = Arc::new(AtomicI64::new(now.before(before).micros()));
        let environment = Environment {
            node: Some(NODE.into()),
            uid: rustix::process::geteuid().as_raw(),
            ..Environment::default()
        };
        let setting = Setting {
            disk: Arc::new(RealDisk),
            root: home.queue(),
            environment,
            clock: Clock::Shared(Arc::clone(&clock)),
            ids: Ids::new(Some("story")),
            boot: Some(BOOT.into()),
        };
        Story { store: Store::open(setting).expect("a queue"), clock, claims: 0 }
    }

    /// Lets time pass.
    pub fn pass(&mut self, span: Duration) {
        self.clock.fetch_add(span.as_micros() as i64, Ordering::SeqCst);
    }

    pub fn enqueue(&mut self, id: &str, command: &str, change: impl FnOnce(&mut Spec)) {
        let mut spec = Spec::shell(JobId::new(id).expect("an id"), command, 3);
        spec.cwd = "/srv".into();
        change(&mut spec);
        let wanted =
            Enqueue { specs: vec![spec], has_chosen_ids: true, on_conflict: Default::default() };
        self.store.enqueue(wanted).expect("a job");
    }

    /// A worker takes the next ready job.
    pub fn claim(&mut self) -> JobId {
        self.claims += 1;
        let next = self.claims;
        self.store.read().expect("a log");
        self.store.ripen(|job| job.due.is_none());
        let claimed = self.store.transact(|node, now| {
            let claimed = decide::claim(node, WORKER, next, 1, &[], now);
            let id = claimed[0].job.clone();
            Ok((claimed.into_iter().map(Event::Claimed).collect(), id))
        });
        claimed.expect("a claim")
    }

    /// Its run ends after a second.
    pub fn finish(&mut self, id: &JobId, result: RunResult, out: &str, err: &str) {
        self.pass(Duration::from_secs(1));
        let finished = self.store.transact(|node, now| {
            let job = node.job(id).expect("the job");
            let outcome = Outcome {
                job: id.clone(),
                run: job.last_run,
                claim: job.claim.clone().expect("a claim"),
                result,
                ms: 1000,
                tail: Some(Tail { out: out.into(), err: err.into() }),
                error: None,
            };
            let mut event = decide::finish(node, outcome, &RetryPolicy::default(), now, 0.0);
            if let Event::Failed(Failed { retry_at, delay, .. }) = &mut event {
                // So that it waits in the present, too.
                *delay = Duration::from_secs(2 * 3600);
                *retry_at = now.after(*delay);
            }
            Ok((vec![event], ()))
        });
        finished.expect("an outcome");
    }

    /// Takes a waiting job back.
    pub fn cancel(&mut self, id: &str) {
        let id = JobId::new(id).expect("an id");
        let done = self
            .store
            .transact(|node, _| Ok((Vec::from_iter(decide::cancel(node, &id, None)?), ())));
        done.expect("a cancelled job");
    }
}

/// Six jobs, each in the state that its id names; `pending` has a name, a tag, a queue and a priority of its own.
pub fn six_states(home: &Home) {
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let mut story = Story::begin(home, hours(4));
    story.enqueue("completed", "echo hello", |_| {});
    let id = story.claim();
    story.finish(&id, RunResult::Exit(0), "hello\n", "");
    story.pass(hours(1));
    story.enqueue("dead", "make it", |spec| spec.max_retries = 1);
    let id = story.claim();
    story.finish(&id, RunResult::Exit(2), "", "make: *** No rule to make target 'it'.  Stop.\n");
    story.enqueue("cancelled", "sleep 9", |_| {});
    story.cancel("cancelled");
    story.pass(hours(1));
    story.pass(Duration::from_secs(1800));
    story.enqueue("failed", "curl -fsS https://example.org/", |_| {});
    let id = story.claim();
    story.finish(&id, RunResult::Exit(22), "", "curl: (22) 503\n");
    story.enqueue("processing", "sleep 600", |_| {});
    story.claim();
    story.pass(Duration::from_secs(60));
    story.enqueue("pending", "rsync -a src/ dst/", |spec| {
        spec.queue = "slow".into();
        spec.priority = 5;
        spec.name = Some("mirror".into());
        spec.tags = vec!["nightly".into()];
    });
}

/// Three dead jobs: `d1`, which died two days ago, `d2` and `d3` in the queue `mail`.
pub fn three_dead(home: &Home) {
    let day = Duration::from_secs(24 * 3600);
    let mut story = Story::begin(home, day * 2);
    for id in ["d1", "d2", "d3"] {
        let queue = if id == "d1" { "default" } else { "mail" };
        story.enqueue(id, "exit 3", |spec| {
            spec.max_retries = 1;
            spec.queue = queue.into();
        });
        let id = story.claim();
        story.finish(&id, RunResult::Exit(3), "", "no\n");
        story.pass(Duration::from_secs(20 * 3600));
    }
}

/// One job, `job1`, that waits.
pub fn one_waiting(home: &Home) {
    let mut story = Story::begin(home, Duration::from_secs(120));
    story.enqueue("job1", "echo one", |_| {});
}

/// Nothing: not even a directory.
pub fn nothing(_: &Home) {}
