//! Questions about the state. They change nothing, but that a job whose time has come is moved to the ready ones.

use super::agenda::Agenda;
use super::event::NodeRetired;
use super::job::{Job, JobId, JobState};
use super::state::{NodeState, State};
use super::timestamp::Timestamp;

impl State {
    /// The node, if its log is in the directory.
    pub fn node(&self, node: &str) -> Option<&NodeState> {
        self.nodes.get(node)
    }

    /// How many jobs are in each state, over all nodes, in the order of [`JobState::ALL`].
    pub fn counts(&self) -> [u64; 6] {
        let mut sum = [0; 6];
        for node in self.nodes.keys() {
            for (sum, count) in sum.iter_mut().zip(self.counts_of(node)) {
                *sum += count;
            }
        }
        sum
    }

    /// How many jobs of one node are in each state, but for those that another has taken from it.
    pub fn counts_of(&self, node: &str) -> [u64; 6] {
        let Some(state) = self.node(node) else { return [0; 6] };
        if !self.is_left(node) {
            return state.counts();
        }
        let mut sum = [0; 6];
        for job in self.jobs_of(node) {
            sum[job.state as usize] += 1;
        }
        sum
    }

    /// The jobs of one node in order of creation, but for those that another has taken from it: each is shown once,
    /// by its owner.
    pub fn jobs_of<'a>(&'a self, node: &str) -> impl Iterator<Item = &'a Job> {
        let takers = self.takers(node);
        let jobs = self.node(node).into_iter().flat_map(NodeState::jobs);
        jobs.filter(move |job| !takers.iter().any(|taker| taker.covers(job)))
    }

    /// The job of this id that a node has; none where another has taken it.
    pub fn job_of(&self, node: &str, id: &JobId) -> Option<&Job> {
        let job = self.node(node)?.job(id)?;
        (!self.takers(node).iter().any(|taker| taker.covers(job))).then_some(job)
    }

    /// Whether another node has taken over from this one.
    pub fn is_left(&self, node: &str) -> bool {
        !self.takers(node).is_empty()
    }

    /// What other nodes have taken from this one.
    fn takers(&self, node: &str) -> Vec<&NodeRetired> {
        let others = self.nodes.iter().filter(|(other, _)| other.as_str() != node);
        others.filter_map(|(_, state)| state.facts.retired.get(node)).collect()
    }

    /// All jobs with their nodes, in order of creation.
    pub fn jobs(&self) -> Vec<(&str, &Job)> {
        let mut all: Vec<(&str, &Job)> = self
            .nodes
            .keys()
            .flat_map(|node| self.jobs_of(node).map(move |job| (node.as_str(), job)))
            .collect();
        if self.nodes.len() > 1 {
            all.sort_by_key(|(node, job)| (job.created_at, *node, job.order));
        }
        all
    }
}

impl NodeState {
    /// How many jobs are in each state, in the order of [`JobState::ALL`].
    pub fn counts(&self) -> [u64; 6] {
        self.jobs.counts()
    }

    /// The jobs in order of creation.
    pub fn jobs(&self) -> impl DoubleEndedIterator<Item = &Job> {
        self.jobs.iter()
    }

    /// The job with this id.
    pub fn job(&self, id: &JobId) -> Option<&Job> {
        self.jobs.get(self.jobs.find(id)?)
    }

    /// The job whose `enqueued` line has this `seq`.
    pub fn job_at(&self, order: u64) -> Option<&Job> {
        self.jobs.get(order)
    }

    /// The jobs that are claimed, in order.
    pub fn processing(&self) -> impl Iterator<Item = &Job> {
        match self.agenda.get() {
            Some(agenda) => {
                agenda.processing().filter_map(|order| self.jobs.get(order)).collect::<Vec<_>>()
            }
            None => self.jobs.in_states(&[JobState::Processing]).collect(),
        }
        .into_iter()
    }

    /// The jobs that wait for their time, the next due first.
    pub fn waiting(&self) -> impl Iterator<Item = &Job> {
        self.agenda().waiting().filter_map(|(_, order)| self.jobs.get(order))
    }

    /// Whether the queue is paused at `now`.
    pub fn is_paused(&self, queue: &str, now: Timestamp) -> bool {
        let holds = |until: &Option<Timestamp>| until.is_none_or(|until| until > now);
        self.facts.paused.get(&None).is_some_and(holds)
            || self.facts.paused.get(&Some(queue.to_owned())).is_some_and(holds)
    }

    /// The jobs that could run now, best first; of all queues where `queues` is empty.
    ///
    /// Only jobs that were ready from the start or made so by [`NodeState::ripen`] are among them.
    pub fn ready<'a>(
        &'a self,
        queues: &'a [String],
        now: Timestamp,
    ) -> impl Iterator<Item = &'a Job> {
        let wanted = move |queue: &str| queues.is_empty() || queues.iter().any(|q| q == queue);
        self.agenda()
            .best(move |queue| wanted(queue) && !self.is_paused(queue, now))
            .filter_map(|order| self.jobs.get(order))
    }

    /// How many jobs of the queues wait for their time, and how many in queues that are paused; of all queues where
    /// `queues` is empty.
    pub fn held_back(&self, queues: &[String], now: Timestamp) -> (u64, u64) {
        let wanted = |queue: &str| queues.is_empty() || queues.iter().any(|q| q == queue);
        let ready = self.agenda().queues();
        let ready = ready.filter(|(queue, _)| wanted(queue) && self.is_paused(queue, now));
        let (mut scheduled, mut paused) = (0, ready.map(|(_, count)| count as u64).sum());
        for job in self.waiting().filter(|job| wanted(&job.spec.queue)) {
            if self.is_paused(&job.spec.queue, now) {
                paused += 1;
            } else if job.due.is_some_and(|due| due > now) {
                scheduled += 1;
            }
        }
        (scheduled, paused)
    }

    /// Moves the waiting jobs that `is_ripe` takes to the ready ones, next due first, up to the first that
    /// it leaves. Says how many.
    pub fn ripen(&mut self, mut is_ripe: impl FnMut(&Job) -> bool) -> usize {
        let mut ripe = Vec::new();
        for (_, order) in self.agenda().waiting() {
            let Some(job) = self.jobs.get(order) else { continue };
            if !is_ripe(job) {
                break;
            }
            ripe.push(order);
        }
        for order in &ripe {
            self.ripen_job(*order);
        }
        ripe.len()
    }

    /// Moves one waiting job to the ready ones.
    pub fn ripen_job(&mut self, order: u64) {
        self.agenda();
        if let (Some(job), Some(agenda)) = (self.jobs.get(order), self.agenda.get_mut()) {
            agenda.ripen(job);
        }
    }

    /// Why a waiting job does not run at `now`; none where nothing but a free worker is wanting.
    pub fn reason(&self, job: &Job, now: Timestamp) -> Option<String> {
        if !job.state.is_waiting() {
            return job.reason.clone();
        }
        if let Some(why) = &job.held {
            return Some(format!("held: {why}"));
        }
        if let Some(due) = job.due.filter(|due| *due > now) {
            return Some(format!("at {due}"));
        }
        self.is_paused(&job.spec.queue, now).then(|| "queue paused".to_owned())
    }

    /// The job that has waited longest among those whose time has come.
    pub fn oldest_waiting(&self, now: Timestamp) -> Option<&Job> {
        let is_due = |job: &&Job| job.held.is_none() && job.due.is_none_or(|due| due <= now);
        self.jobs.in_states(&[JobState::Pending, JobState::Failed]).find(is_due)
    }

    /// How many jobs are held until a person says that they may run.
    pub fn held(&self) -> u64 {
        if self.facts.retired.is_empty() {
            // Only what was taken over is held, and looking for it unpacks every job that waits.
            return 0;
        }
        let waiting = self.jobs.in_states(&[JobState::Pending, JobState::Failed]);
        waiting.filter(|job| job.held.is_some()).count() as u64
    }

    /// When the next of the jobs is due that wait for their time, past `now`.
    pub fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        self.jobs.next_due(now)
    }

    fn agenda(&self) -> &Agenda {
        self.agenda.get_or_init(|| {
            let mut agenda = Agenda::default();
            self.jobs.live().for_each(|entry| agenda.take(entry));
            agenda
        })
    }
}
