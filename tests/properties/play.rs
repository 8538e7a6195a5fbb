//! Plays actions on a queue and on the model of it, and holds one against the other after each.
//!
//! Knows not where the queue is kept.

use std::time::Duration;

use queuectl::domain::decide::{self, Outcome, Refusal};
use queuectl::domain::event::*;
use queuectl::domain::job::{Claim, JobId, JobState, RunResult, Spec};
use queuectl::domain::policy::RetryPolicy;
use queuectl::domain::state::NodeState;
use queuectl::domain::timestamp::Timestamp;

use super::action::{Action, JOBS, New, QUEUES, WORKERS};
use super::model::{Job, MAX_DELAY, MAX_LOST, Model, Run};

/// A queue that decides and writes down; in memory or on a disk.
pub trait Queue {
    fn now(&self) -> Timestamp;
    fn pass(&mut self, seconds: u64);
    fn enqueue(&mut self, specs: Vec<Spec>) -> Result<(), Refusal>;
    fn write(&mut self, decide: Decide) -> Result<(), Refusal>;
    /// Makes ready what is due, and gives the state.
    fn look(&mut self) -> &NodeState;
}

pub type Decide<'a> = &'a mut dyn FnMut(&NodeState, Timestamp) -> Result<Vec<Event>, Refusal>;

pub const START: i64 = 1_770_000_000_000_000;

/// A queue and the model of it.
pub struct Play<Q> {
    pub queue: Q,
    pub model: Model,
    batches: u64,
}

pub fn policy() -> RetryPolicy {
    let max_delay = Duration::from_secs(MAX_DELAY);
    RetryPolicy { max_delay, max_lost: MAX_LOST, ..RetryPolicy::default() }
}

pub fn id(text: &str) -> JobId {
    JobId::new(text).unwrap()
}

impl<Q: Queue> Play<Q> {
    pub fn new(queue: Q) -> Self {
        let model = Model { now: queue.now().micros(), ..Model::default() };
        Play { queue, model, batches: 0 }
    }

    /// Does it, and sees that queue and model agree on the answer and on everything there is.
    pub fn step(&mut self, action: &Action) {
        match action {
            Action::Enqueue(news) => self.enqueue(news),
            Action::OpenBatch(news) => self.open_batch(news),
            Action::CommitBatch { pick, excess } => self.commit_batch(*pick, *excess),
            Action::AbandonBatch { pick } => self.abandon_batch(*pick),
            Action::Claim { worker, count, only } => self.claim(*worker, *count, *only),
            Action::Finish { pick, result } => {
                if let Some(run) = nth(&self.model.running(), *pick) {
                    self.finish(&run, *result);
                    self.model.finish(&run, &result.to_string());
                }
            }
            Action::FinishLate { pick, result } => {
                if let Some(run) = nth(&self.model.settled, *pick) {
                    self.finish(&run, *result);
                    self.model.oddities += 1;
                }
            }
            Action::Lose { pick, reboot } => self.lose(*pick, *reboot),
            Action::Release { pick } => self.release(*pick),
            Action::Pause(queue) => {
                self.model.paused.insert(QUEUES[*queue].into());
                let queue = Some(QUEUES[*queue].to_owned());
                self.happen(vec![Event::QueuePaused(QueuePaused { queue, until: None })]);
            }
            Action::Resume(queue) => {
                self.model.paused.remove(QUEUES[*queue]);
                let queue = Some(QUEUES[*queue].to_owned());
                self.happen(vec![Event::QueueResumed(QueueResumed { queue })]);
            }
            Action::Pass(seconds) => {
                self.queue.pass(*seconds);
                self.model.now = self.model.due(*seconds);
            }
            verb => self.verb(verb),
        }
        self.compare();
    }

    fn verb(&mut self, verb: &Action) {
        let finished = ["completed", "dead", "cancelled"];
        let (expected, is_done) = match verb {
            Action::Cancel(job) => {
                let job = JOBS[*job];
                let reason = Some("asked".to_owned());
                let decide = |node: &NodeState| decide::cancel(node, &id(job), reason.clone());
                (self.model.cancel(job), self.ask(|node| Ok(decide(node)?.into_iter().collect())))
            }
            Action::Retry(job) => {
                let from = ["failed", finished[0], finished[1], finished[2]];
                let job = JOBS[*job];
                let done = self.ask(|node| Ok(vec![decide::retry(node, &id(job))?]));
                (self.model.retry(job, &from), done)
            }
            Action::RetryDead(job) => {
                let job = JOBS[*job];
                let done = self.ask(|node| Ok(vec![decide::retry_dead(node, &id(job))?]));
                (self.model.retry(job, &["dead"]), done)
            }
            Action::Purge(job) => {
                let job = JOBS[*job];
                let done = self.ask(|node| Ok(vec![decide::purge(node, &id(job))?]));
                (self.model.purge(job), done)
            }
            edit => self.edit(edit),
        };
        assert_eq!(is_done, expected, "{verb:?}");
    }

    /// Whether the verb was allowed.
    fn ask(&mut self, decide: impl Fn(&NodeState) -> Result<Vec<Event>, Refusal>) -> bool {
        self.queue.write(&mut |node, _| decide(node)).is_ok()
    }

    fn edit(&mut self, edit: &Action) -> (bool, bool) {
        let Action::Edit { job, priority, max_retries, wait, queue } = edit else {
            panic!("no verb: {edit:?}")
        };
        let (job, queue) = (JOBS[*job], queue.map(|queue| QUEUES[queue].to_owned()));
        let due = wait.map(|wait| self.model.due(wait));
        let edited = Edited {
            job: id(job),
            priority: *priority,
            run_at: due.map(Timestamp::from_micros),
            max_retries: *max_retries,
            timeout: None,
            queue: queue.clone(),
            tags: None,
        };
        let is_done = self.ask(|node| Ok(vec![decide::edit(node, edited.clone())?]));
        let Some(job) = self.model.editable(job) else { return (false, is_done) };
        job.priority = priority.unwrap_or(job.priority);
        job.max_retries = max_retries.unwrap_or(job.max_retries);
        job.queue = queue.unwrap_or(job.queue.clone());
        job.due = due.or(job.due);
        (true, is_done)
    }

    fn happen(&mut self, events: Vec<Event>) {
        self.queue.write(&mut |_, _| Ok(events.clone())).unwrap();
    }

    fn enqueue(&mut self, news: &[New]) {
        let (jobs, specs) = self.prepare(news);
        let expected = self.model.enqueue(jobs);
        assert_eq!(self.queue.enqueue(specs).is_ok(), expected);
    }

    fn prepare(&mut self, news: &[New]) -> (Vec<Job>, Vec<Spec>) {
        news.iter()
            .map(|new| {
                self.model.places += 1;
                let due = new.wait.map(|wait| self.model.due(wait));
                let mut spec = Spec::shell(id(JOBS[new.job]), "true", new.max_retries);
                (spec.queue, spec.priority) = (QUEUES[new.queue].into(), new.priority);
                spec.run_at = due.map(Timestamp::from_micros);
                let job = Job {
                    id: JOBS[new.job].into(),
                    place: self.model.places,
                    queue: QUEUES[new.queue].into(),
                    priority: new.priority,
                    max_retries: new.max_retries,
                    state: "pending",
                    attempts: 0,
                    lost: 0,
                    run: 0,
                    claim: None,
                    due,
                    cancel: false,
                    reason: None,
                    ends: Vec::new(),
                };
                (job, spec)
            })
            .unzip()
    }

    fn open_batch(&mut self, news: &[New]) {
        self.batches += 1;
        let batch = format!("batch{}", self.batches);
        let (jobs, mut specs) = self.prepare(news);
        specs.iter_mut().for_each(|spec| spec.batch = Some(batch.clone()));
        self.happen(specs.into_iter().map(|spec| Event::Enqueued(Box::new(spec))).collect());
        self.model.open_batches.push((batch, jobs));
    }

    fn commit_batch(&mut self, pick: usize, excess: u64) {
        let Some((batch, jobs)) = nth(&self.model.open_batches, pick) else { return };
        let at = pick % self.model.open_batches.len();
        let count = jobs.len() as u64 + excess;
        self.happen(vec![Event::BatchCommitted(BatchCommitted { batch, count })]);
        self.model.commit_batch(at, excess);
    }

    fn abandon_batch(&mut self, pick: usize) {
        let Some((batch, jobs)) = nth(&self.model.open_batches, pick) else { return };
        let at = pick % self.model.open_batches.len();
        self.model.open_batches.remove(at);
        let count = jobs.len() as u64;
        self.happen(vec![
            Event::BatchAbandoned(BatchAbandoned { batch: batch.clone() }),
            Event::BatchCommitted(BatchCommitted { batch, count }),
        ]);
        self.model.oddities += 1;
    }

    fn claim(&mut self, worker: usize, count: usize, only: Option<usize>) {
        self.queue.look();
        let (name, next) = (WORKERS[worker], self.model.claims[worker]);
        let queues: Vec<String> = only.iter().map(|only| QUEUES[*only].to_owned()).collect();
        self.model.claim(worker, name, count, only.map(|only| QUEUES[only]));
        let claim = |node: &NodeState, now| {
            let claims = decide::claim(node, name, next, count, &queues, now);
            Ok(claims.into_iter().map(Event::Claimed).collect())
        };
        self.queue.write(&mut |node, now| claim(node, now)).unwrap();
    }

    fn finish(&mut self, run: &Run, result: RunResult) {
        let (job, run, claim) = (id(&run.0), run.1, Claim(run.2.clone()));
        let outcome = Outcome { job, run, claim, result, ms: 3, tail: None, error: None };
        let finish =
            |node: &NodeState, now| decide::finish(node, outcome.clone(), &policy(), now, 0.0);
        self.queue.write(&mut |node, now| Ok(vec![finish(node, now)])).unwrap();
    }

    fn lose(&mut self, pick: usize, reboot: bool) {
        let Some(run) = nth(&self.model.running(), pick) else { return };
        self.model.lose(&run, reboot);
        let (job, claim) = (id(&run.0), Claim(run.2));
        // Told twice, it is lost once.
        for _ in 0..2 {
            let lose = |node: &NodeState, now| {
                let event = decide::lose(node, &job, &claim, &policy(), now, reboot);
                Ok(event.into_iter().collect())
            };
            self.queue.write(&mut |node, now| lose(node, now)).unwrap();
        }
    }

    fn release(&mut self, pick: usize) {
        let Some(run) = nth(&self.model.running(), pick) else { return };
        self.model.release(&run);
        let (job, number, claim) = (id(&run.0), run.1, Claim(run.2));
        let release = |node: &NodeState| {
            decide::release(node, job.clone(), number, claim.clone(), None, None)
        };
        self.queue.write(&mut |node, _| Ok(vec![release(node)])).unwrap();
    }

    /// Sees that queue and model are the same.
    pub fn compare(&mut self) {
        let node = self.queue.look();
        let mut expected = self.model.jobs.clone();
        expected.iter_mut().enumerate().for_each(|(rank, job)| job.place = rank);
        assert_eq!(seen(node), expected);
        assert_eq!(
            node.facts.totals.oddity_count, self.model.oddities,
            "{:?}",
            node.facts.totals.oddities
        );
        let counts = JobState::ALL
            .map(|state| expected.iter().filter(|job| job.state == state.name()).count() as u64);
        assert_eq!(node.counts(), counts);
        let now = Timestamp::from_micros(self.model.now);
        for only in [None, Some(QUEUES[0]), Some(QUEUES[1])] {
            let queues: Vec<String> = only.iter().map(|only| (*only).to_owned()).collect();
            let ready: Vec<String> =
                node.ready(&queues, now).map(|job| job.id().to_string()).collect();
            assert_eq!(ready, self.model.ready(only));
        }
    }
}

fn nth<T: Clone>(list: &[T], pick: usize) -> Option<T> {
    list.get(pick.checked_rem(list.len())?).cloned()
}

/// The jobs as the model has them, with their rank for a place.
fn seen(node: &NodeState) -> Vec<Job> {
    let job = |(place, job): (usize, &queuectl::domain::job::Job)| Job {
        id: job.id().to_string(),
        place,
        queue: job.spec.queue.to_string(),
        priority: job.spec.priority,
        max_retries: job.spec.max_retries,
        state: job.state.name(),
        attempts: job.attempts,
        lost: job.lost,
        run: job.last_run,
        claim: job.claim.as_ref().map(ToString::to_string),
        due: job.due.map(Timestamp::micros),
        cancel: job.cancel_requested,
        reason: job.reason.clone(),
        ends: job
            .runs
            .iter()
            .map(|run| run.result.map_or("running".into(), |result| result.to_string()))
            .collect(),
    };
    node.jobs().enumerate().map(job).collect()
}
