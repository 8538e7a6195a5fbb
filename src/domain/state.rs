//! The fold: what the events of a node's log add up to.
//!
//! Live code and replay both go through [`NodeState::apply`]; it decides nothing, reads no clock, and an event that
//! cannot be is an error that replay lists and survives. What becomes of one job is in `transition.rs`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::OnceLock;

use super::agenda::Agenda;
use super::event::{Event, Illegal, NodeRetired, Purged, Record, Taken, Totals, WorkerStarted};
use super::job::{Job, JobId, JobState, Origin, Spec};
use super::shelf::Shelf;
use super::timestamp::Timestamp;
use super::transition::{Life, transition};

/// All nodes whose logs are in the directory. Each is a fold of its own log alone, so the order in which files
/// arrive makes no difference.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// The nodes by their id.
    pub nodes: BTreeMap<String, NodeState>,
}

/// A worker of which no end has been recorded.
#[derive(Debug, Clone, PartialEq, bitcode::Encode, bitcode::Decode)]
pub struct WorkerRecord {
    /// Who it is.
    pub started: WorkerStarted,
    /// Since when.
    pub started_at: Timestamp,
    /// Whether it was asked to stop, and if so whether at once.
    pub stop_requested: Option<bool>,
}

/// What one node's events add up to.
#[derive(Debug, Clone, Default)]
pub struct NodeState {
    /// Everything but the jobs.
    pub facts: Facts,
    pub(super) jobs: Shelf,
    /// Derived from the jobs once somebody asks what to run.
    pub(super) agenda: OnceLock<Agenda>,
}

/// What one node's events add up to beside its jobs.
#[derive(Debug, Clone, Default, PartialEq, bitcode::Encode, bitcode::Decode)]
pub struct Facts {
    /// What its configuration differs in from the built-in one.
    pub config: BTreeMap<String, String>,
    /// The last line that counted.
    pub last_seq: u64,
    /// Its `ts`.
    pub last_ts: Timestamp,
    /// Workers that have not ended.
    pub workers: BTreeMap<String, WorkerRecord>,
    /// Paused queues (none: all of them), and when they go on by themselves.
    pub paused: BTreeMap<Option<String>, Option<Timestamp>>,
    /// Jobs of batches that are not whole yet.
    pub open_batches: BTreeMap<String, Vec<Enqueued>>,
    /// Batches that were given up.
    pub abandoned: BTreeSet<String>,
    /// Nodes whose logs are left, and whose jobs were taken here.
    pub retired: BTreeMap<String, NodeRetired>,
    /// What is counted and not kept; of the lines that could not take effect, the first
    /// [`NodeState::ODDITIES_KEPT`].
    pub totals: Totals,
}

/// A job of a batch that is not whole yet.
#[derive(Debug, Clone, PartialEq, bitcode::Encode, bitcode::Decode)]
pub struct Enqueued {
    /// The `seq` of its line.
    pub seq: u64,
    /// When it was enqueued.
    pub at: Timestamp,
    /// The job.
    pub spec: Spec,
}

impl PartialEq for NodeState {
    /// Compares what the events say; what is derived from it follows.
    fn eq(&self, other: &Self) -> bool {
        self.facts == other.facts && self.jobs == other.jobs
    }
}

impl NodeState {
    /// How many lines that could not take effect are kept for people to see.
    pub const ODDITIES_KEPT: usize = 100;

    /// Makes a node of what was kept of it.
    pub fn of_parts(facts: Facts, jobs: Shelf) -> Self {
        NodeState { facts, jobs, agenda: OnceLock::new() }
    }

    /// The jobs, to be kept.
    pub fn shelf(&self) -> &Shelf {
        &self.jobs
    }

    /// Takes in one event. On an error nothing has changed but the place in the log and the list of oddities.
    pub fn apply(&mut self, record: &Record) -> Result<(), Illegal> {
        if record.seq != 0 {
            self.facts.last_seq = record.seq;
            self.facts.last_ts = record.ts;
        }
        let outcome = self.take(record);
        outcome.map_err(|what| {
            let illegal = Illegal { seq: record.seq, what };
            let totals = &mut self.facts.totals;
            count(&mut totals.oddity_count);
            if totals.oddities.len() < Self::ODDITIES_KEPT {
                totals.oddities.push(illegal.clone());
            }
            illegal
        })
    }

    fn take(&mut self, record: &Record) -> Result<(), String> {
        let at = record.wall();
        match &record.event {
            Event::Segment(header) => self.facts.config = header.config.clone(),
            Event::Enqueued(spec) => return self.enqueue(record.seq, at, spec),
            Event::BatchCommitted(e) => return self.commit_batch(&e.batch, e.count),
            Event::BatchAbandoned(e) => {
                self.facts.open_batches.remove(&e.batch);
                self.facts.abandoned.insert(e.batch.clone());
            }
            Event::QueuePaused(e) => {
                self.facts.paused.insert(e.queue.clone(), e.until);
            }
            Event::QueueResumed(e) if e.queue.is_none() => self.facts.paused.clear(),
            Event::QueueResumed(e) => {
                self.facts.paused.remove(&e.queue);
            }
            Event::WorkerStarted(e) => {
                let worker =
                    WorkerRecord { started: e.clone(), started_at: at, stop_requested: None };
                self.facts.workers.insert(e.worker.clone(), worker);
            }
            Event::WorkerStopRequested(e) => match self.facts.workers.get_mut(&e.worker) {
                Some(worker) => {
                    worker.stop_requested = Some(e.now || worker.stop_requested == Some(true));
                }
                None => {
                    return Err(format!("a stop is asked of worker {}, which is gone", e.worker));
                }
            },
            Event::WorkerStopped(e) => {
                self.facts.workers.remove(&e.worker);
            }
            Event::NodeRetired(e) => {
                self.facts.retired.insert(e.node.clone(), NodeRetired::clone(e));
            }
            Event::Taken(e) => return self.take_over(record.seq, e),
            Event::JobRecorded(e) => return self.put(e.job(record.seq, at)),
            Event::Totals(e) => self.facts.totals = e.clone(),
            // The header behind which these stand already has what they say.
            Event::ConfigSet(_) | Event::ConfigUnset(_) | Event::BaseEnd(_) => {}
            Event::Unknown(_) => count(&mut self.facts.totals.unknown),
            event => return self.change(at, event),
        }
        Ok(())
    }

    fn enqueue(&mut self, seq: u64, at: Timestamp, spec: &Spec) -> Result<(), String> {
        match &spec.batch {
            None => self.begin(seq, at, spec.clone()),
            Some(batch) if self.facts.abandoned.contains(batch) => {
                Err(format!("job {} is of batch {batch}, which was abandoned", spec.id))
            }
            Some(batch) => {
                let jobs = self.facts.open_batches.entry(batch.clone()).or_default();
                jobs.push(Enqueued { seq, at, spec: spec.clone() });
                Ok(())
            }
        }
    }

    fn commit_batch(&mut self, batch: &str, count: u64) -> Result<(), String> {
        if self.facts.abandoned.contains(batch) {
            return Err(format!("batch {batch} was abandoned"));
        }
        let jobs = self.facts.open_batches.get(batch).map_or(&[][..], Vec::as_slice);
        if jobs.len() as u64 != count {
            return Err(format!("batch {batch} has {} jobs, not {count}", jobs.len()));
        }
        let (mut ids, mut orders) = (HashSet::new(), HashSet::new());
        for job in jobs {
            self.is_free(&job.spec.id, job.seq)?;
            if !ids.insert(&job.spec.id) || !orders.insert(job.seq) {
                return Err(format!("batch {batch} has job {} twice", job.spec.id));
            }
        }
        for job in self.facts.open_batches.remove(batch).unwrap_or_default() {
            // Which batch it came in matters to nobody from here on.
            self.begin(job.seq, job.at, Spec { batch: None, ..job.spec })?;
        }
        Ok(())
    }

    fn begin(&mut self, order: u64, at: Timestamp, spec: Spec) -> Result<(), String> {
        self.put(Job {
            state: JobState::Pending,
            order,
            created_at: at,
            updated_at: at,
            attempts: 0,
            lost: 0,
            last_run: 0,
            due: spec.run_at,
            delay: None,
            claim: None,
            cancel_requested: false,
            reason: None,
            held: None,
            origin: None,
            runs: Vec::new(),
            spec,
        })?;
        count(&mut self.facts.totals.enqueued);
        Ok(())
    }

    /// Puts a job of another node in the place of the line that says so: the places it had are that node's.
    fn take_over(&mut self, order: u64, taken: &Taken) -> Result<(), String> {
        let mut job = Job::clone(&taken.state);
        if *job.id() != taken.job {
            return Err(format!("job {} is taken as {}", job.id(), taken.job));
        }
        if job.state == JobState::Processing || job.claim.is_some() {
            return Err(format!("job {} is taken while it runs", taken.job));
        }
        let node = job.origin.map_or_else(|| taken.from.clone(), |origin| origin.node);
        job.origin = Some(Box::new(Origin { node, epoch: taken.epoch }));
        job.order = order;
        self.put(job)
    }

    /// Whether a job of this id can begin at this place.
    fn is_free(&self, id: &JobId, order: u64) -> Result<(), String> {
        if self.jobs.find(id).is_some() {
            return Err(format!("job {id} exists already"));
        }
        match self.jobs.get(order) {
            Some(job) => Err(format!("job {id} has the place of job {}", job.id())),
            None => Ok(()),
        }
    }

    fn put(&mut self, job: Job) -> Result<(), String> {
        self.is_free(job.id(), job.order)?;
        if let Some(agenda) = self.agenda.get_mut() {
            agenda.insert(&job);
        }
        self.jobs.insert(job);
        Ok(())
    }

    fn change(&mut self, at: Timestamp, event: &Event) -> Result<(), String> {
        let id = event.job().ok_or_else(|| format!("{} names no job", event.name()))?;
        let missing = || format!("no job {id} to be {}", event.name());
        let order = self.jobs.find(id).ok_or_else(missing)?;
        let agenda = &mut self.agenda;
        let outcome = self.jobs.change(order, |job| {
            let was_ready = agenda.get_mut().is_some_and(|agenda| agenda.remove(job));
            let outcome = transition(job, at, event);
            if let Some(agenda) = agenda.get_mut().filter(|_| outcome != Ok(Life::Over)) {
                agenda.insert(job);
                if outcome.is_err() && was_ready {
                    agenda.ripen(job);
                }
            }
            outcome
        });
        let outcome = outcome.expect("BUG: an id without its job");
        if outcome == Ok(Life::Over) {
            let job = self.jobs.remove(order).expect("BUG: a place without its job");
            count(&mut self.facts.totals.purged);
            if matches!(event, Event::Purged(e) if e.why == Purged::RETENTION) {
                count(self.facts.totals.expired.entry(job.state).or_default());
            }
        }
        outcome.map(|_| ())
    }
}

fn count(total: &mut u64) {
    *total = total.saturating_add(1);
}
