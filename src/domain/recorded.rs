//! A job as a base file keeps it: what its events came to, on one line, without what follows from the rest.
//!
//! The line stands for the job's `enqueued` line: it carries the `seq` of that one, and its `ts` is the moment at which
//! the job was enqueued. What is absent is what it mostly is. Part of the file format. Knows nothing of files.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::job::{Claim, Job, JobState, Origin, Run, RunResult, Spec, Tail};
use super::seconds;
use super::timestamp::Timestamp;

/// See [`Event::JobRecorded`](super::event::Event::JobRecorded).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobRecorded {
    /// What was enqueued, as edited since: the fields of its `enqueued` event.
    #[serde(flatten)]
    pub spec: Spec,
    /// The rest.
    #[serde(flatten)]
    life: Life,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Life {
    /// Absent where it is `completed`.
    #[serde(default = "completed", skip_serializing_if = "is_completed")]
    state: JobState,
    /// When anything last happened to it; absent where that is the end of its last run, or its beginning where none has
    /// ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    updated_at: Option<Timestamp>,
    /// Absent where it is the number of its runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(default, skip_serializing_if = "is_zero")]
    lost: u32,
    /// Absent where it is the number of its runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_run: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due: Option<Timestamp>,
    #[serde(default, with = "seconds::option", skip_serializing_if = "Option::is_none")]
    delay: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    claim: Option<Claim>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    cancel_requested: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<Box<Origin>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    runs: Vec<RunRecorded>,
}

/// One start of the job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct RunRecorded {
    /// Absent where it is its place among the runs, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<u32>,
    claim: Claim,
    /// When it was claimed, in microseconds since the job was enqueued.
    start_us: i64,
    /// When its end was recorded, in microseconds since the job was enqueued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end_us: Option<i64>,
    /// Absent where it is `exit 0`, and of a run that has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result: Option<RunResult>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tail: Option<Tail>,
}

impl JobRecorded {
    /// What is to be recorded of a job, on a line with `job.order` as its `seq` and `job.created_at` as its `ts`.
    pub fn of(job: &Job) -> Self {
        let runs = count(job.runs.len());
        let ended = job.runs.last().and_then(|run| run.finished_at);
        let updated_at = Some(job.updated_at).filter(|at| *at != ended.unwrap_or(job.created_at));
        let life = Life {
            state: job.state,
            updated_at,
            attempts: (job.attempts != runs).then_some(job.attempts),
            lost: job.lost,
            last_run: (job.last_run != runs).then_some(job.last_run),
            due: job.due,
            delay: job.delay,
            claim: job.claim.clone(),
            cancel_requested: job.cancel_requested,
            reason: job.reason.clone(),
            held: job.held.clone(),
            origin: job.origin.clone(),
            runs: (1..).zip(&job.runs).map(|(n, run)| record(n, run, job.created_at)).collect(),
        };
        JobRecorded { spec: job.spec.clone(), life }
    }

    /// The job, as it stood, by the `seq` and `ts` of its line.
    pub fn job(&self, order: u64, created_at: Timestamp) -> Job {
        let life = self.life.clone();
        let recorded = count(life.runs.len());
        let runs: Vec<Run> =
            (1..).zip(life.runs).map(|(n, run)| recall(n, run, created_at)).collect();
        let ended = runs.last().and_then(|run| run.finished_at);
        Job {
            spec: self.spec.clone(),
            state: life.state,
            order,
            created_at,
            updated_at: life.updated_at.or(ended).unwrap_or(created_at),
            attempts: life.attempts.unwrap_or(recorded),
            lost: life.lost,
            last_run: life.last_run.unwrap_or(recorded),
            due: life.due,
            delay: life.delay,
            claim: life.claim,
            cancel_requested: life.cancel_requested,
            reason: life.reason,
            held: life.held,
            origin: life.origin,
            runs,
        }
    }

    /// Reads it from a whole line, of which it takes its own fields.
    ///
    /// Errors: where a field it needs is missing or of another type.
    pub(super) fn of_line(line: &[u8]) -> Result<Self, serde_json::Error> {
        let (spec, life) = (serde_json::from_slice(line)?, serde_json::from_slice(line)?);
        Ok(JobRecorded { spec, life })
    }
}

fn record(number: u32, run: &Run, created_at: Timestamp) -> RunRecorded {
    let since = |at: Timestamp| at.micros().saturating_sub(created_at.micros());
    let is_plain = run.finished_at.is_some() && run.result == Some(RunResult::Exit(0));
    RunRecorded {
        run: (run.run != number).then_some(run.run),
        claim: run.claim.clone(),
        start_us: since(run.started_at),
        end_us: run.finished_at.map(since),
        result: run.result.filter(|_| !is_plain),
        ms: run.ms,
        error: run.error.clone(),
        tail: run.tail.clone(),
    }
}

fn recall(number: u32, run: RunRecorded, created_at: Timestamp) -> Run {
    let at = |us: i64| Timestamp::from_micros(created_at.micros().saturating_add(us));
    Run {
        run: run.run.unwrap_or(number),
        claim: run.claim,
        started_at: at(run.start_us),
        finished_at: run.end_us.map(at),
        result: run.result.or(run.end_us.map(|_| RunResult::Exit(0))),
        ms: run.ms,
        error: run.error,
        tail: run.tail,
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn completed() -> JobState {
    JobState::Completed
}

fn is_completed(state: &JobState) -> bool {
    *state == JobState::Completed
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
#[path = "recorded_tests.rs"]
mod tests;
