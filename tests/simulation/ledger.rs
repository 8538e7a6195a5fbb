//! What was promised and what was done, noted where no crash reaches it, and what must therefore hold of a state.
//!
//! Knows no disk.

use std::collections::{BTreeMap, BTreeSet};

use queuectl::domain::job::{Claim, Job, JobId, JobState};
use queuectl::domain::state::NodeState;

use crate::harm::Harm;

/// Something that must hold and does not: the invariant, and how it was seen.
pub type Broken = String;

/// A job that somebody asked for.
#[derive(Debug, Default)]
pub struct Wanted {
    /// The turn in which it was acknowledged.
    pub acknowledged: Option<u64>,
    /// The turn in which its end was acknowledged to whoever wrote it.
    pub ended: Option<u64>,
    /// The turn in which it was acknowledged that it was removed.
    pub gone: Option<u64>,
    /// The jobs it came with, all or nothing.
    pub batch: Option<usize>,
}

/// A run that was begun.
#[derive(Debug)]
pub struct Run {
    pub claim: Claim,
    /// How it ended, where it came to an end.
    pub code: Option<i32>,
}

/// A copy of the log that is put back one day.
#[derive(Debug, Default)]
pub enum Backup {
    #[default]
    Never,
    Wanted,
    /// The files, by name.
    Made(BTreeMap<String, Vec<u8>>),
}

/// The notes.
#[derive(Debug, Default)]
pub struct Ledger {
    pub seed: u64,
    /// Whether bytes that were not synced may be lost.
    pub tears: bool,
    /// Whether segments are small from the start.
    pub is_small: bool,
    pub wanted: BTreeMap<JobId, Wanted>,
    /// The jobs whose removal was decided, whether it was written down or not.
    pub removed: BTreeSet<JobId>,
    pub batches: Vec<Vec<JobId>>,
    /// The claims that workers decided, whether they were written down or not.
    pub claims: BTreeMap<Claim, JobId>,
    pub runs: Vec<Run>,
    pub harm: Harm,
    pub backup: Backup,
    /// How far the log of another machine was brought here, where one is.
    pub neighbour: Option<usize>,
    /// Whether compactions copy what they remove.
    pub has_archive: bool,
    /// The files that were sealed while they do, by name.
    pub sealed: BTreeMap<String, Vec<u8>>,
    /// How often each thing happened, to see that it does.
    pub counts: BTreeMap<&'static str, u64>,
}

impl Ledger {
    /// Notes that somebody asks for jobs, as a batch where there are several.
    pub fn want(&mut self, ids: &[JobId]) {
        let batch = (ids.len() > 1).then_some(self.batches.len());
        for id in ids {
            let wanted = self.wanted.entry(id.clone()).or_default();
            // Who chooses an id may choose that of a job that was removed.
            (wanted.batch, wanted.gone) = (batch, None);
        }
        self.batches.extend(batch.map(|_| ids.to_vec()));
    }

    /// Notes that jobs were asked for one by one, and all acknowledged before anything else.
    pub fn want_each(&mut self, ids: &[JobId]) {
        for id in ids {
            self.want(std::slice::from_ref(id));
            self.wanted.get_mut(id).unwrap().acknowledged = Some(0);
        }
    }

    /// Counts something that happened.
    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Checks the state of the own node against everything that was noted before the turn in which the reading began.
    pub fn check(&self, node: &NodeState, since: u64) -> Result<(), Broken> {
        for (id, wanted) in &self.wanted {
            if self.harm.jobs.contains(id) {
                continue;
            }
            let before = |turn: Option<u64>| turn.is_some_and(|turn| turn < since);
            let job = node.job(id);
            if before(wanted.gone) && job.is_some() {
                return Err(format!("what was removed stays away: {id} is back"));
            }
            if self.removed.contains(id) {
                continue;
            }
            if before(wanted.acknowledged) && job.is_none() {
                return Err(format!("acknowledged is present: {id} is missing"));
            }
            if before(wanted.ended) && job.is_none_or(|job| !job.state.is_finished()) {
                return Err(format!("acknowledged is present: the end of {id} is missing"));
            }
        }
        // Of a batch that nobody was told of, a repair keeps what the torn end of a damaged log has.
        let is_told = |id: &JobId| self.wanted[id].acknowledged.is_some();
        let is_hurt = |ids: &Vec<JobId>| {
            ids.iter().any(|id| self.harm.jobs.contains(id))
                || (self.harm.done > 0 && !ids.iter().any(is_told))
        };
        for ids in self.batches.iter().filter(|ids| !is_hurt(ids)) {
            let is_present = |id: &JobId| node.job(id).is_some() || self.removed.contains(id);
            let present = ids.iter().filter(|id| is_present(id)).count();
            if present != 0 && present != ids.len() {
                return Err(format!("all or nothing: {present} of {ids:?} are present"));
            }
        }
        for job in node.jobs() {
            self.check_job(job)?;
        }
        // What was written and not synced may be lost before what was written after it.
        if self.tears || self.harm.done > 0 {
            return Ok(());
        }
        let known = ["which was superseded", "is enqueued again", "which exists"];
        let odd = |what: &str| known.iter().all(|known| !what.contains(known));
        match node.facts.totals.oddities.iter().find(|oddity| odd(&oddity.what)) {
            Some(oddity) => Err(format!("nothing nobody issued: {oddity}")),
            None => Ok(()),
        }
    }

    fn check_job(&self, job: &Job) -> Result<(), Broken> {
        let id = job.id();
        if !self.wanted.contains_key(id) {
            return Err(format!("nothing nobody issued: job {id}"));
        }
        for run in &job.runs {
            if self.claims.get(&run.claim) != Some(id) {
                return Err(format!("nothing nobody issued: claim {} of {id}", run.claim));
            }
        }
        let ended_well =
            |claim: &Claim| self.runs.iter().any(|run| run.claim == *claim && run.code == Some(0));
        match (job.state, job.runs.last()) {
            (JobState::Completed, Some(last)) if ended_well(&last.claim) => Ok(()),
            (JobState::Completed, _) => Err(format!("nothing nobody issued: {id} is completed")),
            _ => Ok(()),
        }
    }

    /// Checks that every run that was begun has its claim among those that count in the log.
    pub fn check_claims(&self, counted: &BTreeSet<Claim>) -> Result<(), Broken> {
        let is_gone = |id: &JobId| self.removed.contains(id) || self.harm.jobs.contains(id);
        let is_known = |run: &&Run| {
            counted.contains(&run.claim) || self.claims.get(&run.claim).is_some_and(is_gone)
        };
        match self.runs.iter().find(|run| !is_known(run)) {
            Some(run) => Err(format!("a run follows its claim: {} is not in the log", run.claim)),
            None => Ok(()),
        }
    }
}
