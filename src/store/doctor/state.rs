//! What the log adds up to, held against the checkpoint, the locks of workers and the clock.
//!
//! Knows no process: whether a worker lives is what its lock says.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Check, Condition, counted};
use crate::domain::job::Job;
use crate::domain::state::{NodeState, State};
use crate::store::checkpoint;
use crate::store::presence::{self, Liveness};
use crate::store::replay::View;
use crate::store::{Store, small_file::FileError};

/// How far the clock of the log may be ahead of the wall clock.
const AHEAD: Duration = Duration::from_secs(5);

/// How often two readings are taken anew because the log grew between them.
const TRIES: usize = 5;

const CHECKPOINT: &str = "state.ckpt";

/// How many events that took no effect are told one by one.
const SHOWN: usize = 10;

impl Store {
    /// Lists events that could not take effect.
    pub(super) fn check_events(&self, view: &View) -> Check {
        let mut check = Check::new("events");
        let Some((node, state)) = self.own_of(view) else {
            return Check::skipped("events", "this machine has written nothing here yet");
        };
        let log = self.place.log_dir(node);
        let totals = &state.facts.totals;
        for oddity in totals.oddities.iter().take(SHOWN) {
            check.note(&log, format!("without effect: {oddity}"));
        }
        check.more += totals.oddity_count.saturating_sub(SHOWN as u64);
        let unknown = totals.unknown;
        if unknown > 0 {
            check.note(
                &log,
                format!("{unknown} events of a newer version are kept, and have no effect here"),
            );
        }
        let jobs = state.jobs().count() as u64;
        check.summary = counted(jobs, "job", "jobs");
        check
    }

    /// Whether the checkpoint and what came since add up to the same as the whole log.
    pub(super) fn check_checkpoint(&self, whole: &mut View, condition: Condition) -> Check {
        let mut check = Check::new("checkpoint");
        let path = self.place.cache_dir().join(CHECKPOINT);
        let Some(cache) = self.cache().filter(|cache| cache.stat_in(CHECKPOINT).is_ok()) else {
            check.summary = "there is none".to_owned();
            return check;
        };
        if condition != Condition::Whole && condition != Condition::Torn {
            return Check::skipped("checkpoint", "the log is not whole");
        }
        let Some(kept) = checkpoint::open(cache.as_ref(), self.place.node(), &self.boot) else {
            check.summary = "of another version, boot or node, and not used".to_owned();
            return check;
        };
        check.hint = Some("it is a cache, and queuectl doctor --repair removes it");
        let Some(mut kept) = kept.load() else {
            check.note(&path, "it does not hold what its checksums say, and is not used");
            return check;
        };
        let (logs, mark, own) = (self.place.logs(), self.read_mark(), self.place.node());
        for _ in 0..TRIES {
            for view in [&mut kept, &mut *whole] {
                if let Err(error) = view.refresh(self.disk.as_ref(), &logs, own, mark.as_ref()) {
                    return Check::skipped(
                        "checkpoint",
                        format!("the log cannot be read: {error}"),
                    );
                }
            }
            if kept.cursors == whole.cursors {
                for what in differences(&kept.state, &whole.state) {
                    check.fault(&path, what);
                }
                check.hint = check.hint.filter(|_| !check.found.is_empty());
                return check;
            }
        }
        Check::skipped("checkpoint", "the log grew all the time")
    }

    /// Whether what is claimed has a worker that lives.
    pub(super) fn check_claims(&self, view: &View) -> Check {
        let mut check = Check::new("claims");
        let Some((_, state)) = self.own_of(view) else {
            return Check::skipped("claims", "this machine has written nothing here yet");
        };
        let (mut count, mut seen) = (0, BTreeMap::new());
        for job in state.processing() {
            count += 1;
            let Some(claim) = &job.claim else { continue };
            let worker = claim.worker();
            let file = self.place.run_dir().join(format!("{worker}.lock"));
            let probe = || presence::probe(self.disk.as_ref(), &self.place.run_dir(), worker);
            let liveness = seen.entry(worker.to_owned()).or_insert_with(probe);
            let (id, run) = (job.id(), job.last_run);
            match liveness {
                Ok(Liveness::Alive) => continue,
                Ok(Liveness::Dead) => {
                    check.note(&file, format!("its worker died, and had run {run} of job {id}"));
                }
                Ok(Liveness::Missing) => {
                    check.note(
                        &file,
                        format!("it is missing, and its worker has run {run} of job {id}"),
                    );
                }
                Err(error) => check.note(&file, error.to_string()),
            }
            check.hint = Some("the next worker settles them, or queuectl doctor --repair does");
        }
        check.summary = counted(count, "job running", "jobs running");
        check
    }

    /// Looks for lock files of dead workers.
    pub(super) fn check_locks(&self, view: &View) -> Check {
        let mut check = Check::new("locks");
        let run_dir = self.place.run_dir();
        let own = self.own_of(view);
        let mut alive = 0;
        let look = |worker: &str| -> Result<Liveness, FileError> {
            presence::probe(self.disk.as_ref(), &run_dir, worker)
        };
        for name in super::names(self.disk.as_ref(), &run_dir).unwrap_or_default() {
            let Some(worker) = name.strip_suffix(".lock") else { continue };
            let file = run_dir.join(&name);
            let has_runs = own.is_some_and(|(_, state)| {
                let claims = state.processing().filter_map(|job| job.claim.as_ref());
                claims.into_iter().any(|claim| claim.worker() == worker)
            });
            match look(worker) {
                Ok(Liveness::Alive) => alive += 1,
                Ok(Liveness::Dead) if has_runs => {
                    check.note(&file, "its worker died, and left runs")
                }
                Ok(Liveness::Dead) => check.note(&file, "its worker died, and left nothing"),
                Ok(Liveness::Missing) => check.note(&file, "it is the lock of no worker"),
                Err(error) => check.note(&file, error.to_string()),
            }
        }
        check.summary = counted(alive, "worker", "workers");
        check.hint = (!check.found.is_empty())
            .then_some("the next worker removes them, or queuectl doctor --repair does");
        check
    }

    /// Holds the clock of the logs against the wall clock.
    pub(super) fn check_clock(&self, view: &View) -> Check {
        let mut check = Check::new("clock");
        let now = self.now();
        check.summary = now.to_string();
        for (node, state) in &view.state.nodes {
            let ahead = state.facts.last_ts.since(now);
            if ahead > AHEAD {
                let what = format!(
                    "its last line is of {}, {} s ahead of the clock",
                    state.facts.last_ts,
                    ahead.as_secs()
                );
                check.note(&self.place.log_dir(node), what);
                check.hint =
                    Some("see that the clock is right; order is kept all the same, times are not");
            }
        }
        check
    }

    fn own_of<'a>(&self, view: &'a View) -> Option<(&str, &'a NodeState)> {
        let node = self.place.node()?;
        Some((node, view.state.node(node)?))
    }
}

/// In what the state of a checkpoint differs from that of the log.
fn differences(kept: &State, whole: &State) -> Vec<String> {
    let mut found = Vec::new();
    for (node, state) in &whole.nodes {
        let Some(other) = kept.nodes.get(node) else {
            found.push(format!("node {node} is not in it"));
            continue;
        };
        if other.facts != state.facts {
            found.push(format!("it has other facts of node {node} than its log"));
        }
        let is_found = |job: &Job| other.job(job.id()).is_some_and(|found| found == job);
        let wrong = state.jobs().filter(|job| !is_found(job)).count();
        let more = other.jobs().filter(|job| state.job_at(job.order).is_none()).count();
        if wrong + more > 0 {
            let jobs = counted((wrong + more) as u64, "job", "jobs");
            found.push(format!("it has {jobs} of node {node} in another state than its log"));
        }
    }
    for node in kept.nodes.keys().filter(|node| !whole.nodes.contains_key(*node)) {
        found.push(format!("it has node {node}, which has no log"));
    }
    found
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
