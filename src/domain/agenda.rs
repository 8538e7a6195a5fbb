//! Which jobs could be run, in the order they should be. Derived from the jobs alone; never stored.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bitcode::{Decode, Encode};

use super::job::{Job, JobState};
use super::timestamp::Timestamp;

/// Higher priority first, then first in first out.
type Rank = (Reverse<i32>, u64);

/// What an agenda has to know of a job that waits or runs.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(super) struct Entry {
    order: u64,
    state: JobState,
    due: Option<Timestamp>,
    priority: i32,
    queue: Arc<str>,
}

impl Entry {
    /// The entry of a job; none where nothing more happens to the job by itself, as it is finished or held.
    pub(super) fn of(job: &Job) -> Option<Self> {
        let (order, state, due, priority) = (job.order, job.state, job.due, job.spec.priority);
        let queue = Arc::clone(&job.spec.queue);
        (!state.is_finished() && job.held.is_none()).then_some(Entry {
            order,
            state,
            due,
            priority,
            queue,
        })
    }

    fn rank(&self) -> Rank {
        (Reverse(self.priority), self.order)
    }
}

/// The waiting and running jobs of a node, by `order`.
#[derive(Debug, Clone, Default)]
pub(super) struct Agenda {
    ready: BTreeMap<Arc<str>, BTreeSet<Rank>>,
    waiting: BTreeSet<(Timestamp, u64)>,
    processing: BTreeSet<u64>,
}

impl Agenda {
    /// Takes in a job as it stands.
    pub(super) fn insert(&mut self, job: &Job) {
        if let Some(entry) = Entry::of(job) {
            self.take(entry);
        }
    }

    /// Takes in a job by what there is to know of it.
    pub(super) fn take(&mut self, entry: Entry) {
        match (entry.state, entry.due) {
            (JobState::Processing, _) => {
                self.processing.insert(entry.order);
            }
            (_, Some(due)) => {
                self.waiting.insert((due, entry.order));
            }
            (_, None) => self.ready(entry),
        }
    }

    /// Takes out a job, as it stood when it was taken in. Says whether it was ready.
    pub(super) fn remove(&mut self, job: &Job) -> bool {
        match job.state {
            JobState::Processing => {
                self.processing.remove(&job.order);
            }
            JobState::Pending | JobState::Failed => {
                if let Some(due) = job.due {
                    self.waiting.remove(&(due, job.order));
                }
                let Some(ranks) = self.ready.get_mut(&job.spec.queue) else { return false };
                let was_ready = ranks.remove(&rank(job));
                if ranks.is_empty() {
                    self.ready.remove(&job.spec.queue);
                }
                return was_ready;
            }
            _ => {}
        }
        false
    }

    /// Puts a waiting job among the ready ones: its time has come.
    pub(super) fn ripen(&mut self, job: &Job) {
        if job.state.is_waiting() && job.held.is_none() {
            if let Some(due) = job.due {
                self.waiting.remove(&(due, job.order));
            }
            self.ready.entry(job.spec.queue.clone()).or_default().insert(rank(job));
        }
    }

    fn ready(&mut self, entry: Entry) {
        let rank = entry.rank();
        match self.ready.get_mut(&entry.queue) {
            Some(ranks) => ranks.insert(rank),
            None => self.ready.entry(entry.queue).or_default().insert(rank),
        };
    }

    /// The queues that have ready jobs, with how many.
    pub(super) fn queues(&self) -> impl Iterator<Item = (&str, usize)> {
        self.ready.iter().map(|(queue, ranks)| (&**queue, ranks.len()))
    }

    /// The jobs that wait for their time, the next due first.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (Timestamp, u64)> + '_ {
        self.waiting.iter().copied()
    }

    /// The jobs that are claimed, in order.
    pub(super) fn processing(&self) -> impl Iterator<Item = u64> + '_ {
        self.processing.iter().copied()
    }

    /// The ready jobs of the queues that `open` lets through, best first.
    pub(super) fn best(&self, open: impl Fn(&str) -> bool) -> impl Iterator<Item = u64> + '_ {
        let mut queues: Vec<_> = self
            .ready
            .iter()
            .filter(|(queue, _)| open(queue))
            .filter_map(|(_, ranks)| {
                let mut ranks = ranks.iter();
                Some((*ranks.next()?, ranks))
            })
            .collect();
        std::iter::from_fn(move || {
            let (at, _) = queues.iter().enumerate().min_by_key(|(_, (rank, _))| *rank)?;
            let (best, ranks) = &mut queues[at];
            let (_, order) = *best;
            match ranks.next() {
                Some(next) => *best = *next,
                None => drop(queues.swap_remove(at)),
            }
            Some(order)
        })
    }
}

fn rank(job: &Job) -> Rank {
    (Reverse(job.spec.priority), job.order)
}
