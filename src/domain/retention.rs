//! What is no longer kept: finished jobs after a while, and batches that nobody will make whole.
//!
//! Decides and changes nothing; the DLQ is not touched, only a person empties it.

use std::time::Duration;

use super::config::Config;
use super::event::{BatchAbandoned, Event, Purged};
use super::job::{Job, JobState};
use super::state::NodeState;
use super::timestamp::Timestamp;

/// How long whoever writes a batch may take over it.
pub const BATCH_PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// How long finished jobs are kept; none where for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Those that ended well.
    pub completed: Option<Duration>,
    /// Those that were taken back.
    pub cancelled: Option<Duration>,
}

impl Retention {
    /// What the configuration says.
    pub fn of(config: &Config) -> Self {
        Retention {
            completed: config.retention(JobState::Completed),
            cancelled: config.retention(JobState::Cancelled),
        }
    }

    /// The shortest time for which a finished job is kept that is not kept for ever; none where all are.
    pub fn shortest(self) -> Option<Duration> {
        self.completed.into_iter().chain(self.cancelled).min()
    }

    /// How long a job in this state is kept; none where for ever.
    fn of_state(self, state: JobState) -> Option<Duration> {
        match state {
            JobState::Completed => self.completed,
            JobState::Cancelled => self.cancelled,
            _ => None,
        }
    }

    fn is_over(self, job: &Job, now: Timestamp) -> bool {
        self.of_state(job.state).is_some_and(|kept| job.updated_at <= now.before(kept))
    }
}

/// The finished jobs that are not kept any longer, oldest first, at most `most`.
pub fn expired(node: &NodeState, retention: Retention, now: Timestamp, most: usize) -> Vec<&Job> {
    let Some(shortest) = retention.shortest() else { return Vec::new() };
    let finished = node.jobs.finished_until(now.before(shortest));
    finished.filter(|job| retention.is_over(job, now)).take(most).collect()
}

/// The event by which such a job goes.
pub fn expire(job: &Job) -> Event {
    Event::Purged(Purged { job: job.id().clone(), why: Purged::RETENTION.to_owned() })
}

/// Gives up the batches that have been open for longer than anybody takes over one.
pub fn abandon(node: &NodeState, now: Timestamp) -> Vec<Event> {
    let open = node.facts.open_batches.iter();
    let late = open
        .filter(|(_, jobs)| jobs.last().is_some_and(|job| job.at <= now.before(BATCH_PATIENCE)));
    late.map(|(batch, _)| Event::BatchAbandoned(BatchAbandoned { batch: batch.clone() })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::decide;
    use crate::domain::job::RunResult;
    use crate::domain::testing::{Queue, id, spec};

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn each_state_is_kept_for_its_own_time_and_the_dead_for_ever() {
        let mut once = spec("dead");
        once.max_retries = 1;
        let mut queue = Queue::with_jobs(&["done"]);
        queue.happen(Event::Enqueued(Box::new(once)));
        queue.run(RunResult::Exit(0));
        queue.run(RunResult::Exit(1));
        assert_eq!(queue.job("dead").state, JobState::Dead);
        for name in ["back", "waits"] {
            queue.happen(Event::Enqueued(Box::new(spec(name))));
        }
        let cancelled = decide::cancel(&queue.node, &id("back"), None).unwrap().unwrap();
        queue.happen(cancelled);
        let end = queue.now;
        let names = |retention, later| -> Vec<String> {
            let jobs = expired(&queue.node, retention, end.after(later), 10);
            jobs.iter().map(|job| job.id().to_string()).collect()
        };
        let retention = |completed, cancelled| Retention { completed, cancelled };
        assert_eq!(names(retention(Some(HOUR), Some(HOUR)), HOUR / 2), [""; 0]);
        assert_eq!(names(retention(Some(HOUR), Some(HOUR)), HOUR), ["done", "back"]);
        assert_eq!(names(retention(Some(HOUR), None), HOUR * 1000), ["done"]);
        assert_eq!(names(retention(None, Some(Duration::ZERO)), Duration::ZERO), ["back"]);
        assert_eq!(names(retention(None, None), HOUR * 1000), [""; 0]);
        let over = expired(&queue.node, retention(Some(HOUR), Some(HOUR)), end.after(HOUR), 1);
        let event = expire(over[0]);
        queue.happen(event);
        let totals = &queue.node.facts.totals;
        assert_eq!((totals.purged, totals.expired[&JobState::Completed]), (1, 1));
    }

    #[test]
    fn a_batch_is_given_up_a_day_after_its_last_line() {
        let mut queue = Queue::new();
        let mut job = spec("a");
        job.batch = Some("b1".into());
        queue.happen(Event::Enqueued(Box::new(job)));
        let at = queue.now;
        assert_eq!(abandon(&queue.node, at.after(HOUR * 23)), []);
        let given_up = abandon(&queue.node, at.after(HOUR * 24));
        assert_eq!(given_up.len(), 1);
        queue.happen(given_up[0].clone());
        assert!(queue.node.facts.open_batches.is_empty());
    }
}
