//! The queue as a person would explain it: a list of plain jobs. Shares no code with what it is held against.

use std::collections::BTreeSet;

pub const MAX_LOST: u32 = 2;
/// The longest delay, in seconds.
pub const MAX_DELAY: u64 = 5;

#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub id: String,
    pub place: usize,
    pub queue: String,
    pub priority: i32,
    pub max_retries: u32,
    pub state: &'static str,
    pub attempts: u32,
    pub lost: u32,
    pub run: u32,
    pub claim: Option<String>,
    /// In microseconds since 1970.
    pub due: Option<i64>,
    pub cancel: bool,
    pub reason: Option<String>,
    /// How its runs ended; `running` while one does.
    pub ends: Vec<String>,
}

/// A run: its job, its number and its claim.
pub type Run = (String, u32, String);

#[derive(Debug, Default)]
pub struct Model {
    pub now: i64,
    pub jobs: Vec<Job>,
    pub open_batches: Vec<(String, Vec<Job>)>,
    pub paused: BTreeSet<String>,
    pub places: usize,
    pub claims: [u64; 2],
    pub settled: Vec<Run>,
    /// Lines that were written and could not take effect.
    pub oddities: u64,
}

fn is_waiting(job: &Job) -> bool {
    job.state == "pending" || job.state == "failed"
}

fn is_finished(job: &Job) -> bool {
    ["completed", "dead", "cancelled"].contains(&job.state)
}

impl Model {
    pub fn find(&mut self, id: &str) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.id == id)
    }

    pub fn due(&self, wait: u64) -> i64 {
        self.now + wait as i64 * 1_000_000
    }

    pub fn running(&self) -> Vec<Run> {
        let run = |job: &Job| Some((job.id.clone(), job.run, job.claim.clone()?));
        self.jobs.iter().filter_map(run).collect()
    }

    /// Whether the jobs can be enqueued together; if so they are.
    pub fn enqueue(&mut self, jobs: Vec<Job>) -> bool {
        let ids: BTreeSet<&String> = jobs.iter().map(|job| &job.id).collect();
        if ids.len() < jobs.len() || jobs.iter().any(|job| self.find(&job.id).is_some()) {
            return false;
        }
        self.jobs.extend(jobs);
        self.jobs.sort_by_key(|job| job.place);
        true
    }

    pub fn ready(&self, only: Option<&str>) -> Vec<String> {
        let mut ready: Vec<&Job> = self.jobs.iter().filter(|job| is_waiting(job)).collect();
        ready.retain(|job| job.due.is_none_or(|due| due <= self.now));
        ready.retain(|job| !self.paused.contains(&job.queue));
        ready.retain(|job| only.is_none_or(|only| job.queue == only));
        ready.sort_by_key(|job| (-job.priority, job.place));
        ready.iter().map(|job| job.id.clone()).collect()
    }

    pub fn claim(&mut self, worker: usize, name: &str, count: usize, only: Option<&str>) {
        for id in self.ready(only).into_iter().take(count) {
            let claim = format!("{name}.{}", self.claims[worker]);
            self.claims[worker] += 1;
            let job = self.find(&id).unwrap();
            job.state = "processing";
            job.run += 1;
            job.claim = Some(claim);
            job.due = None;
            job.ends.push("running".into());
        }
    }

    /// Ends the run; `wait` in seconds where the job is to be run again later.
    fn settle(&mut self, run: &Run, state: &'static str, end: &str, wait: Option<u64>) {
        self.settled.push(run.clone());
        let due = wait.map(|wait| self.due(wait));
        let job = self.find(&run.0).unwrap();
        *job.ends.last_mut().unwrap() = end.into();
        (job.state, job.due, job.claim, job.cancel) = (state, due, None, false);
        if state != "cancelled" && state != "dead" {
            job.reason = None;
        }
    }

    pub fn finish(&mut self, run: &Run, result: &str) {
        let job = self.find(&run.0).unwrap();
        if result == "exit 0" {
            job.attempts += 1;
            return self.settle(run, "completed", result, None);
        }
        if job.cancel || result == "cancelled" {
            return self.settle(run, "cancelled", "cancelled", None);
        }
        if result == "interrupted" {
            return self.settle(run, "pending", result, None);
        }
        job.attempts += 1;
        let attempts = job.attempts;
        if attempts >= 1.max(job.max_retries) {
            job.reason = Some("exhausted".into());
            return self.settle(run, "dead", result, None);
        }
        self.settle(run, "failed", result, Some(MAX_DELAY.min(1 << attempts)));
    }

    pub fn lose(&mut self, run: &Run, reboot: bool) {
        let job = self.find(&run.0).unwrap();
        if job.cancel {
            return self.settle(run, "cancelled", "cancelled", None);
        }
        if reboot {
            return self.settle(run, "pending", "lost", Some(0));
        }
        job.lost += 1;
        let lost = job.lost;
        if lost > MAX_LOST {
            job.reason = Some("poison".into());
            return self.settle(run, "dead", "lost", None);
        }
        let wait = if lost == 1 { 0 } else { MAX_DELAY.min(1 << (lost - 1)) };
        self.settle(run, "pending", "lost", Some(wait));
    }

    pub fn release(&mut self, run: &Run) {
        let job = self.find(&run.0).unwrap();
        if job.cancel {
            return self.settle(run, "cancelled", "cancelled", None);
        }
        self.settle(run, "pending", "", None);
        let job = self.find(&run.0).unwrap();
        job.run -= 1;
        job.ends.pop();
    }

    pub fn cancel(&mut self, id: &str) -> bool {
        let Some(job) = self.find(id) else { return false };
        match job.state {
            "pending" | "failed" => {
                (job.state, job.due, job.reason) = ("cancelled", None, Some("asked".into()));
            }
            "processing" => (job.cancel, job.reason) = (true, Some("asked".into())),
            state => return state == "cancelled",
        }
        true
    }

    pub fn retry(&mut self, id: &str, from: &[&str]) -> bool {
        let Some(job) = self.find(id).filter(|job| from.contains(&job.state)) else {
            return false;
        };
        if is_finished(job) {
            (job.attempts, job.lost) = (0, 0);
        }
        (job.state, job.due, job.reason) = ("pending", None, None);
        true
    }

    pub fn purge(&mut self, id: &str) -> bool {
        let before = self.jobs.len();
        self.jobs.retain(|job| job.id != id || !is_finished(job));
        self.jobs.len() < before
    }

    /// The job, if it can be edited.
    pub fn editable(&mut self, id: &str) -> Option<&mut Job> {
        self.find(id).filter(|job| is_waiting(job))
    }

    pub fn commit_batch(&mut self, at: usize, excess: u64) {
        let (name, jobs) = self.open_batches[at].clone();
        if excess == 0 && self.enqueue(jobs) {
            self.open_batches.retain(|(open, _)| *open != name);
        } else {
            self.oddities += 1;
        }
    }
}
