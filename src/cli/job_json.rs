//! A job as JSON: the record that every reading command prints.
//!
//! Knows how a job's events show in it, and nothing of terminals.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::domain::bytes::Bytes;
use crate::domain::job::{Command, Job, JobState, Run, RunResult, Stdin, Tail};
use crate::domain::seconds;
use crate::domain::timestamp::Timestamp;

/// A job with what its own record does not say.
#[derive(Debug, Clone)]
pub struct View<'a> {
    /// The node that owns it.
    pub node: &'a str,
    /// The job.
    pub job: &'a Job,
    /// Why it waits, is dead or was cancelled.
    pub reason: Option<String>,
}

#[derive(Serialize)]
struct JobJson<'a> {
    id: &'a str,
    command: String,
    argv: Option<&'a [Bytes]>,
    state: JobState,
    attempts: u32,
    max_retries: u32,
    created_at: Timestamp,
    updated_at: Timestamp,
    priority: i32,
    queue: &'a str,
    name: Option<&'a str>,
    tags: &'a [String],
    meta: Option<&'a RawValue>,
    cwd: Option<&'a Bytes>,
    env: &'a BTreeMap<String, Bytes>,
    run_at: Option<Timestamp>,
    next_retry_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    duration_ms: Option<u64>,
    #[serde(with = "seconds::option")]
    timeout: Option<Duration>,
    result: Option<RunResult>,
    exit_code: Option<i32>,
    last_error: Option<String>,
    runs: Vec<RunJson<'a>>,
    lost: u32,
    worker: Option<&'a str>,
    node: &'a str,
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backoff_base: Option<f64>,
    #[serde(with = "seconds::option", skip_serializing_if = "Option::is_none")]
    max_delay: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter: Option<f64>,
    #[serde(with = "seconds::option", skip_serializing_if = "Option::is_none")]
    kill_grace: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stdin: Option<&'a Stdin>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    merge_output: bool,
}

#[derive(Serialize)]
struct RunJson<'a> {
    run: u32,
    started_at: Timestamp,
    finished_at: Option<Timestamp>,
    duration_ms: Option<u64>,
    result: Option<RunResult>,
    exit_code: Option<i32>,
    error: Option<&'a str>,
    worker: &'a str,
    claim: &'a str,
    tail: Option<&'a Tail>,
}

impl<'a> View<'a> {
    /// The record as JSON, on one line.
    pub fn to_json(&self) -> Box<RawValue> {
        serde_json::value::to_raw_value(&self.record()).expect("BUG: a job that is no JSON")
    }

    fn record(&self) -> JobJson<'_> {
        let (job, spec) = (self.job, &self.job.spec);
        let ended = self.ended();
        JobJson {
            id: spec.id.as_str(),
            command: self.command(),
            argv: (!spec.argv.is_empty()).then_some(&*spec.argv),
            state: job.state,
            attempts: job.attempts,
            max_retries: spec.max_retries,
            created_at: job.created_at,
            updated_at: job.updated_at,
            priority: spec.priority,
            queue: &spec.queue,
            name: spec.name.as_deref(),
            tags: &spec.tags,
            meta: spec.meta.as_deref().and_then(|text| serde_json::from_str(text).ok()),
            cwd: (!spec.cwd.0.is_empty()).then_some(&spec.cwd),
            env: &spec.env,
            run_at: spec.run_at,
            next_retry_at: self.next_retry_at(),
            started_at: job.latest_run().map(|run| run.started_at),
            finished_at: self.finished_at(),
            duration_ms: ended.and_then(|run| run.ms),
            timeout: spec.timeout,
            result: ended.and_then(|run| run.result),
            exit_code: ended.and_then(exit_code),
            last_error: self.last_error(),
            runs: job.runs.iter().map(run_json).collect(),
            lost: job.lost,
            worker: self.worker(),
            node: self.node,
            reason: self.reason.as_deref(),
            backoff_base: spec.backoff_base,
            max_delay: spec.max_delay,
            jitter: spec.jitter,
            kill_grace: spec.kill_grace,
            stdin: spec.stdin.as_ref(),
            merge_output: spec.merge_output,
        }
    }

    /// The last run, where it has ended.
    pub fn ended(&self) -> Option<&'a Run> {
        self.job.latest_run().filter(|run| run.result.is_some())
    }

    /// What the job runs, as a shell would take it.
    pub fn command(&self) -> String {
        match self.job.spec.command() {
            Command::Shell(command) => command.lossy().into_owned(),
            Command::Argv(argv) => quoted(argv),
        }
    }

    /// When its next retry is due.
    pub fn next_retry_at(&self) -> Option<Timestamp> {
        let waits_for_retry = self.job.state == JobState::Failed || self.job.delay.is_some();
        self.job.due.filter(|_| waits_for_retry && self.job.state.is_waiting())
    }

    /// When it was finished, or its last run failed.
    pub fn finished_at(&self) -> Option<Timestamp> {
        match self.job.state {
            JobState::Pending | JobState::Processing => None,
            _ => self.ended().and_then(|run| run.finished_at).or(Some(self.job.updated_at)),
        }
    }

    /// What went wrong last.
    pub fn last_error(&self) -> Option<String> {
        let ended = self.job.runs.iter().rev().find(|run| run.result.is_some())?;
        let result = ended.result.filter(|result| *result != RunResult::Exit(0))?;
        Some(match (&ended.error, last_line(ended)) {
            (Some(error), _) => format!("{result}: {error}"),
            (None, Some(line)) => format!("{result}: {line}"),
            (None, None) => result.to_string(),
        })
    }

    /// The worker that runs it, or ran it last.
    pub fn worker(&self) -> Option<&'a str> {
        self.job.latest_run().map(|run| run.claim.worker())
    }
}

fn quoted(argv: &[Bytes]) -> String {
    let quote = |word: &Bytes| match shlex::bytes::try_quote(&word.0) {
        Ok(quoted) => String::from_utf8_lossy(&quoted).into_owned(),
        Err(_) => word.lossy().into_owned(),
    };
    argv.iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// The last line a run printed on stderr.
fn last_line(run: &Run) -> Option<&str> {
    let lines = run.tail.as_ref()?.err.lines();
    lines.map(str::trim).rfind(|line| !line.is_empty())
}

fn exit_code(run: &Run) -> Option<i32> {
    match run.result {
        Some(RunResult::Exit(code)) => Some(code),
        _ => None,
    }
}

fn run_json(run: &Run) -> RunJson<'_> {
    RunJson {
        run: run.run,
        started_at: run.started_at,
        finished_at: run.finished_at,
        duration_ms: run.ms,
        result: run.result,
        exit_code: exit_code(run),
        error: run.error.as_deref(),
        worker: run.claim.worker(),
        claim: &run.claim.0,
        tail: run.tail.as_ref(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{Claimed, Died, Event, Failed, Record};
    use crate::domain::job::{Claim, JobId, Spec};
    use crate::domain::state::NodeState;

    fn at(seq: u64, event: Event) -> Record {
        let ts = Timestamp::from_micros(1_770_000_000_000_000 + seq as i64 * 1_000_000);
        Record { seq, ts, wall: None, event }
    }

    fn record(node: &NodeState, id: &str) -> serde_json::Value {
        let job = node.job(&JobId::new(id).unwrap()).unwrap();
        let view = View { node: "desk-7f3a", job, reason: job.reason.clone() };
        serde_json::from_str(view.to_json().get()).unwrap()
    }

    #[test]
    fn every_field_is_there_from_the_start() {
        let mut node = NodeState::default();
        let mut spec = Spec::shell(JobId::new("a").unwrap(), "", 3);
        spec.command = None;
        spec.argv = vec!["echo".into(), "it's".into()];
        spec.meta = Some("{\"n\":1.50}".into());
        node.apply(&at(1, Event::Enqueued(Box::new(spec)))).unwrap();
        let json = record(&node, "a");
        let fields = "id command argv state attempts max_retries created_at updated_at priority queue name tags \
                      meta cwd env run_at next_retry_at started_at finished_at duration_ms timeout result exit_code \
                      last_error runs lost worker node reason";
        let given: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        let mut wanted: Vec<&str> = fields.split_whitespace().collect();
        wanted.sort_unstable();
        assert_eq!(given, wanted);
        assert_eq!(json["command"], "echo \"it's\"");
        assert_eq!(json["argv"][1], "it's");
        assert_eq!(json["started_at"], serde_json::Value::Null);
    }

    #[test]
    fn runs_show_in_the_record() {
        let mut node = NodeState::default();
        let id = JobId::new("a").unwrap();
        let spec = Spec::shell(id.clone(), "false", 2);
        let claim = |n| Claim::new("desk-7f3a.4k2m", n);
        node.apply(&at(1, Event::Enqueued(Box::new(spec)))).unwrap();
        let claimed = |run, n| Event::Claimed(Claimed { job: id.clone(), run, claim: claim(n) });
        node.apply(&at(2, claimed(1, 1))).unwrap();
        let tail = Some(Tail { out: String::new(), err: "oh\nno \n\n".into() });
        let failed = Failed {
            job: id.clone(),
            run: 1,
            claim: claim(1),
            result: RunResult::Exit(7),
            retry_at: at(5, Event::Unknown(String::new())).ts,
            delay: Duration::from_secs(2),
            ms: 12,
            error: None,
            tail,
        };
        node.apply(&at(3, Event::Failed(failed))).unwrap();
        let json = record(&node, "a");
        assert_eq!((&json["result"], &json["exit_code"]), (&"exit 7".into(), &7.into()));
        assert_eq!(json["last_error"], "exit 7: no");
        assert_eq!(json["next_retry_at"], "2026-02-02T02:40:05.000000Z");
        assert_eq!(json["runs"][0]["worker"], "desk-7f3a.4k2m");

        node.apply(&at(6, claimed(2, 2))).unwrap();
        let json = record(&node, "a");
        assert_eq!(json["result"], serde_json::Value::Null);
        assert_eq!(
            (&json["last_error"], &json["state"]),
            (&"exit 7: no".into(), &"processing".into())
        );

        let died = Died {
            job: id.clone(),
            run: 2,
            claim: claim(2),
            result: RunResult::Signal(9),
            reason: "exhausted".into(),
            ms: Some(5),
            error: None,
            tail: None,
        };
        node.apply(&at(7, Event::Died(died))).unwrap();
        let json = record(&node, "a");
        assert_eq!((&json["reason"], &json["duration_ms"]), (&"exhausted".into(), &5.into()));
        assert_eq!(
            (&json["exit_code"], &json["last_error"]),
            (&serde_json::Value::Null, &"signal 9".into())
        );
    }
}
