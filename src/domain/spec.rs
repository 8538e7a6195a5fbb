//! A job as it is enqueued: what it runs, and how.
//!
//! Knows nothing of what becomes of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bitcode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::bytes::Bytes;
use super::id::JobId;
use super::seconds;
use super::timestamp::Timestamp;

/// What a job reads as its standard input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum Stdin {
    /// The file at this absolute path, opened when the job runs.
    File(Bytes),
    /// These bytes, kept in the log.
    Data(Bytes),
}

/// What a job runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<'a> {
    /// A string for `sh -c`.
    Shell(&'a Bytes),
    /// A program and its arguments, without a shell.
    Argv(&'a [Bytes]),
}

/// A job as it was enqueued: the fields of its `enqueued` event, in the order they are written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Encode, Decode)]
pub struct Spec {
    /// The id.
    #[serde(rename = "job")]
    pub id: JobId,
    /// What `sh -c` runs. Exactly one of this and `argv` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Bytes>,
    /// What runs without a shell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub argv: Vec<Bytes>,
    /// After how many failed attempts the job is dead; 0 and 1 both mean one.
    pub max_retries: u32,
    /// The queue.
    #[serde(default = "default_queue", skip_serializing_if = "is_default_queue")]
    pub queue: Arc<str>,
    /// A name for people; need not be unique.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Words to select by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Higher runs first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i32,
    /// The base of the backoff, instead of the configured one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff_base: Option<f64>,
    /// The longest wait for a retry, in seconds.
    #[serde(default, with = "seconds::option", skip_serializing_if = "Option::is_none")]
    pub max_delay: Option<Duration>,
    /// How much longer than its delay a retry may wait, as a fraction of the delay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<f64>,
    /// How long a run may take, in seconds.
    #[serde(default, with = "seconds::option", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// How long after TERM comes KILL, in seconds.
    #[serde(default, with = "seconds::option", skip_serializing_if = "Option::is_none")]
    pub kill_grace: Option<Duration>,
    /// Not before this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Timestamp>,
    /// The directory it runs in.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub cwd: Bytes,
    /// Variables of its own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Bytes>,
    /// Its standard input; empty unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<Stdin>,
    /// Whether stderr goes where stdout goes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub merge_output: bool,
    /// The caller's own JSON, carried untouched.
    #[serde(default, with = "raw_json", skip_serializing_if = "Option::is_none")]
    pub meta: Option<String>,
    /// The batch it came in; it exists once that is committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
}

fn default_queue() -> Arc<str> {
    "default".into()
}

fn is_default_queue(queue: &Arc<str>) -> bool {
    &**queue == "default"
}

fn is_zero(number: &i32) -> bool {
    *number == 0
}

fn is_empty(bytes: &Bytes) -> bool {
    bytes.0.is_empty()
}

/// JSON that is carried as it came.
mod raw_json {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::value::RawValue;

    pub(super) fn serialize<S: Serializer>(
        json: &Option<String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        // A line ends at a newline; in JSON one stands only between values.
        let flat = json.as_ref().map(|json| json.replace(['\n', '\r'], " "));
        let raw = flat.map(RawValue::from_string).transpose();
        raw.map_err(serde::ser::Error::custom)?.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<String>, D::Error> {
        Ok(Option::<Box<RawValue>>::deserialize(deserializer)?.map(|raw| raw.get().to_owned()))
    }
}

impl Spec {
    /// A job that runs `command` by `sh -c`, with everything else at its default.
    pub fn shell(id: JobId, command: &str, max_retries: u32) -> Self {
        Spec {
            id,
            command: Some(command.into()),
            argv: Vec::new(),
            max_retries,
            queue: default_queue(),
            name: None,
            tags: Vec::new(),
            priority: 0,
            backoff_base: None,
            max_delay: None,
            jitter: None,
            timeout: None,
            kill_grace: None,
            run_at: None,
            cwd: Bytes::default(),
            env: BTreeMap::new(),
            stdin: None,
            merge_output: false,
            meta: None,
            batch: None,
        }
    }

    /// What it runs.
    pub fn command(&self) -> Command<'_> {
        match &self.command {
            Some(command) => Command::Shell(command),
            None => Command::Argv(&self.argv),
        }
    }

    /// The failed attempts after which it is dead: at least one.
    pub fn attempts_allowed(&self) -> u32 {
        self.max_retries.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_is_written_short_and_read_back() {
        let spec = Spec::shell(JobId::new("a").unwrap(), "echo hi", 3);
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(json, r#"{"job":"a","command":"echo hi","max_retries":3}"#);
        assert_eq!(serde_json::from_str::<Spec>(&json).unwrap(), spec);
    }

    #[test]
    fn json_of_several_lines_is_written_on_one() {
        let mut spec = Spec::shell(JobId::new("a").unwrap(), "true", 3);
        spec.meta = Some("{\r\n \"a\": \"x\\ny\"\n}".into());
        let json = serde_json::to_string(&spec).unwrap();
        assert!(!json.contains(['\n', '\r']), "{json}");
        let meta = serde_json::from_str::<Spec>(&json).unwrap().meta.unwrap();
        let meta: serde_json::Value = serde_json::from_str(&meta).unwrap();
        assert_eq!(meta["a"], "x\ny");
    }

    #[test]
    fn whatever_was_asked_for_is_read_back() {
        let mut spec = Spec::shell(JobId::new("a").unwrap(), "true", 3);
        (spec.queue, spec.priority, spec.cwd) = ("slow".into(), -1, Bytes(b"/\xff".to_vec()));
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(
            json,
            r#"{"job":"a","command":"true","max_retries":3,"queue":"slow","priority":-1,"cwd":{"base64":"L/8="}}"#
        );
        (spec.command, spec.argv) = (None, vec!["a b".into(), Bytes(b"\xfe".to_vec())]);
        (spec.name, spec.tags) = (Some("n".into()), vec!["t".into()]);
        (spec.backoff_base, spec.jitter) = (Some(1.5), Some(0.25));
        (spec.max_delay, spec.timeout) =
            (Some(Duration::from_millis(10)), Some(Duration::from_secs(9)));
        (spec.kill_grace, spec.run_at) = (Some(Duration::ZERO), Some(Timestamp::from_micros(7)));
        spec.env = [("K".to_owned(), Bytes(b"\xff".to_vec()))].into();
        (spec.merge_output, spec.batch) = (true, Some("b1".into()));
        (spec.stdin, spec.meta) = (Some(Stdin::Data("in".into())), Some("[1]".into()));
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<Spec>(&json).unwrap(), spec, "{json}");
    }
}
