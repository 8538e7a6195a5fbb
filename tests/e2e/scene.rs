//! What the tests of workers share: the log as events, processes of the system, scripts for jobs.

use std::time::Duration;

use queuectl::domain::timestamp::Timestamp;
use serde_json::Value;

use crate::harness::{Home, Running, wait_until};

/// Whether there is time for the long form of the tests: with `QUEUECTL_LONG` set.
pub fn is_long() -> bool {
    std::env::var_os("QUEUECTL_LONG").is_some()
}

/// Runs that were made, by the events of one job or of all.
impl Home {
    /// Enqueues one shell command under this id, with more options.
    #[track_caller]
    pub fn enqueue(&self, id: &str, options: &str, command: &str) {
        let words = ["enqueue", "--id", id].into_iter().chain(options.split_ascii_whitespace());
        self.queuectl(words.chain(["--command", command])).done().ok();
    }

    /// The events of this kind.
    pub fn events(&self, kind: &str) -> Vec<Value> {
        self.log().into_iter().filter(|event| event["ev"] == kind).collect()
    }

    /// The events of this job.
    pub fn events_of(&self, job: &str) -> Vec<Value> {
        self.log().into_iter().filter(|event| event["job"] == job).collect()
    }

    /// The kinds of this job's events, in order.
    pub fn kinds_of(&self, job: &str) -> Vec<String> {
        let events = self.events_of(job).into_iter();
        events.map(|event| event["ev"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Waits until the log has so many events of this kind.
    #[track_caller]
    pub fn wait_for(&self, kind: &str, count: usize) {
        wait_until(&format!("{count} events {kind}"), || self.events(kind).len() >= count);
    }

    /// Waits until a file has so many lines.
    #[track_caller]
    pub fn wait_for_lines(&self, name: &str, count: usize) {
        let what = format!("{count} lines in {name}");
        wait_until(&what, || self.read(name).matches('\n').count() >= count);
    }

    /// The numbers of the processes that live and have this job in their environment.
    pub fn processes_of(&self, job: &str) -> Vec<i32> {
        let variable = format!("QUEUECTL_JOB_ID={job}\0");
        let queue = format!("QUEUECTL_DIR={}\0", self.queue().display());
        let has = |all: &[u8], part: &str| all.windows(part.len()).any(|at| at == part.as_bytes());
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        processes
            .filter_map(|process| process.file_name().to_str()?.parse().ok())
            .filter(|pid| {
                let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                has(&environment, &variable) && has(&environment, &queue) && is_alive(*pid)
            })
            .collect()
    }

    /// A worker that has said in the log that it is there.
    #[track_caller]
    pub fn worker_up(&self, arguments: &str) -> Running {
        let before = self.events("worker_started").len();
        let mut worker = self.worker(arguments);
        wait_until("the worker", || {
            worker.is_over() || self.events("worker_started").len() > before
        });
        assert!(!worker.is_over(), "the worker ended at once: {}", worker.stderr());
        worker
    }
}

/// Whether a process is there and no zombie.
pub fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// The moment of an event.
#[track_caller]
pub fn moment(event: &Value) -> Timestamp {
    let text = event["ts"].as_str().unwrap_or_else(|| panic!("no ts in {event}"));
    text.parse().expect("a time")
}

/// A moment that a job wrote with `date +%s.%N`.
#[track_caller]
pub fn seconds(text: &str) -> Duration {
    Duration::from_secs_f64(text.trim().parse().expect("seconds since 1970"))
}

/// How much slower than alone things may be here now: 1 on an idle machine, up to 10.
pub fn load() -> f64 {
    let loads = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = loads.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(1.0);
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    (load / cores).clamp(1.0, 10.0)
}
