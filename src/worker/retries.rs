//! When a waiting job's time has come, however the clock was set meanwhile.
//!
//! A `run_at` is held against the wall clock. A retry that this process saw begin is held against a monotonic clock,
//! and any other comes due by either. Unaware of the log; the jobs are handed in.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::domain::job::Job;
use crate::domain::timestamp::Timestamp;

/// The waits for retries that this process knows of.
#[derive(Debug, Default)]
pub struct Retries {
    seen: HashMap<u64, Wait>,
}

#[derive(Debug, Clone, Copy)]
struct Wait {
    /// When it ends by the wall clock: tells this wait of a job from another.
    due: Timestamp,
    /// When it ends by the monotonic clock.
    until: Instant,
    /// Whether this process saw it begin.
    saw_begin: bool,
}

impl Retries {
    /// Notes the wait of a job that has just begun.
    pub fn began(&mut self, job: &Job, now: Instant) {
        self.note(job, now, true);
    }

    /// Takes in all waiting jobs: notes the waits that are new, forgets those that are over.
    pub fn survey<'a>(&mut self, waiting: impl Iterator<Item = &'a Job>, now: Instant) {
        let mut before = std::mem::take(&mut self.seen);
        for job in waiting {
            match before.remove(&job.order).filter(|wait| Some(wait.due) == job.due) {
                Some(wait) => {
                    self.seen.insert(job.order, wait);
                }
                None => self.note(job, now, false),
            }
        }
    }

    fn note(&mut self, job: &Job, now: Instant, saw_begin: bool) {
        if let (Some(due), Some(delay)) = (job.due, job.delay)
            && let Some(until) = now.checked_add(delay)
        {
            self.seen.insert(job.order, Wait { due, until, saw_begin });
        }
    }

    /// The jobs, by `order`, whose time has come, each with the `due` it waited for, and when to look again at the
    /// latest. `waiting` comes next due first. Jobs may be among them that don't wait for that any more.
    pub fn ripe<'a>(
        &self,
        waiting: impl Iterator<Item = &'a Job>,
        now: Timestamp,
        monotonic: Instant,
    ) -> (Vec<(u64, Timestamp)>, Option<Duration>) {
        let mut ripe = Vec::new();
        let mut next: Option<Duration> = None;
        let mut sooner = |pause: Duration| next = Some(next.map_or(pause, |next| next.min(pause)));
        for job in waiting {
            let Some(due) = job.due else { continue };
            if due > now {
                sooner(due.since(now));
                break;
            }
            match self.wait_of(job, due).filter(|wait| wait.saw_begin && wait.until > monotonic) {
                Some(wait) => sooner(wait.until - monotonic),
                None => ripe.push((job.order, due)),
            }
        }
        // What is over by the monotonic clock alone: the wall clock was set back.
        for (&order, wait) in &self.seen {
            if wait.due > now {
                match wait.until.checked_duration_since(monotonic) {
                    Some(pause) if !pause.is_zero() => sooner(pause),
                    _ => ripe.push((order, wait.due)),
                }
            }
        }
        (ripe, next)
    }

    fn wait_of(&self, job: &Job, due: Timestamp) -> Option<Wait> {
        self.seen.get(&job.order).copied().filter(|wait| wait.due == due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job::{JobId, JobState, Spec};

    const DELAY: Duration = Duration::from_secs(8);

    fn job(order: u64, due: Timestamp, delay: Option<Duration>) -> Job {
        Job {
            spec: Spec::shell(JobId::new("a").unwrap(), "true", 3),
            state: JobState::Failed,
            order,
            created_at: due,
            updated_at: due,
            attempts: 1,
            lost: 0,
            last_run: 1,
            due: Some(due),
            delay,
            claim: None,
            cancel_requested: false,
            reason: None,
            held: None,
            origin: None,
            runs: Vec::new(),
        }
    }

    #[test]
    fn times_come_however_the_clock_is_set() {
        let noon: Timestamp = "2026-02-02T12:00:00Z".parse().unwrap();
        let start = Instant::now();
        let hour = Duration::from_secs(3600);
        let second = Duration::from_secs(1);
        let run_at = job(1, noon.after(DELAY), None);
        let saw_begin = job(2, noon.after(DELAY), Some(DELAY));
        let found = job(3, noon.after(DELAY), Some(DELAY));
        let waiting = [run_at, saw_begin, found];
        let mut retries = Retries::default();
        retries.began(&waiting[1], start);
        retries.survey(waiting.iter(), start);
        let ripe = |wall: Timestamp, passed: Duration| {
            let (ripe, next) = retries.ripe(waiting.iter(), wall, start + passed);
            let mut orders: Vec<u64> = ripe.into_iter().map(|(order, _)| order).collect();
            orders.sort_unstable();
            (orders, next)
        };
        // The clock runs as it should.
        assert_eq!(ripe(noon, Duration::ZERO), (vec![], Some(DELAY)));
        assert_eq!(ripe(noon.after(DELAY), DELAY), (vec![1, 2, 3], None));
        // It was set forward: what we saw begin is never early, and holds up nobody.
        assert_eq!(ripe(noon.after(hour), second), (vec![1, 3], Some(DELAY - second)));
        // It was set back: no retry waits longer than its delay, a time of day waits for its time.
        assert_eq!(ripe(noon.before(hour), DELAY), (vec![2, 3], Some(hour + DELAY)));
    }

    #[test]
    fn a_wait_that_is_over_is_forgotten_and_a_new_one_is_new() {
        let noon: Timestamp = "2026-02-02T12:00:00Z".parse().unwrap();
        let start = Instant::now();
        let mut retries = Retries::default();
        retries.began(&job(2, noon, Some(DELAY)), start);
        let again = job(2, noon.after(DELAY), Some(DELAY));
        retries.survey([&again].into_iter(), start + DELAY);
        assert!(!retries.seen[&2].saw_begin && retries.seen[&2].until == start + DELAY * 2);
        retries.survey(std::iter::empty(), start);
        assert!(retries.seen.is_empty());
    }
}
