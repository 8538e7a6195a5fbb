//! A job that is not quite one yet: what was said of it, before flags and configuration are laid over and under it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cli::error::Failure;
use crate::domain::bytes::Bytes;
use crate::domain::decide::OnConflict;
use crate::domain::job::{JobId, Spec, Stdin};
use crate::domain::timestamp::Timestamp;

/// The longest shell string or argument, in bytes: one less than the kernel's limit, which counts its NUL.
pub(super) const LONGEST_ARGUMENT: usize = 131_071;

/// What was said of a job; what was not is absent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Draft {
    /// Its id.
    pub id: Option<JobId>,
    /// A string for the shell.
    pub command: Option<Bytes>,
    /// A program and its arguments.
    pub argv: Option<Vec<Bytes>>,
    /// A name for people.
    pub name: Option<String>,
    /// The queue.
    pub queue: Option<String>,
    /// Words to select by.
    pub tags: Option<Vec<String>>,
    /// Higher runs first.
    pub priority: Option<i32>,
    /// Failed attempts after which it is dead.
    pub max_retries: Option<u32>,
    /// The base of the backoff.
    pub backoff_base: Option<f64>,
    /// The longest wait for a retry.
    pub max_delay: Option<Duration>,
    /// The longest addition to that wait, as a fraction of it.
    pub jitter: Option<f64>,
    /// How long a run may take; zero for as long as it likes, whatever the configuration says.
    pub timeout: Option<Duration>,
    /// How long after TERM comes KILL.
    pub kill_grace: Option<Duration>,
    /// Not before this moment.
    pub run_at: Option<Timestamp>,
    /// The directory it runs in, absolute.
    pub cwd: Option<Bytes>,
    /// Variables of its own.
    pub env: BTreeMap<String, Bytes>,
    /// Its standard input.
    pub stdin: Option<Stdin>,
    /// Whether stderr goes where stdout goes.
    pub merge_output: Option<bool>,
    /// The caller's JSON.
    pub meta: Option<String>,
    /// What happens where its id exists.
    pub on_conflict: Option<OnConflict>,
}

/// What a job gets that nothing was said of.
#[derive(Debug, Clone)]
pub struct Fixed {
    /// Failed attempts after which it is dead.
    pub max_retries: u32,
    /// The caller's directory, absolute.
    pub cwd: Bytes,
}

impl Draft {
    /// The draft with what `over` says instead of what it says itself. Variables are united.
    pub fn overridden_by(self, over: &Draft) -> Draft {
        let over = over.clone();
        let mut env = self.env;
        env.extend(over.env);
        Draft {
            id: over.id.or(self.id),
            command: over.command.or(self.command),
            argv: over.argv.or(self.argv),
            name: over.name.or(self.name),
            queue: over.queue.or(self.queue),
            tags: over.tags.or(self.tags),
            priority: over.priority.or(self.priority),
            max_retries: over.max_retries.or(self.max_retries),
            backoff_base: over.backoff_base.or(self.backoff_base),
            max_delay: over.max_delay.or(self.max_delay),
            jitter: over.jitter.or(self.jitter),
            timeout: over.timeout.or(self.timeout),
            kill_grace: over.kill_grace.or(self.kill_grace),
            run_at: over.run_at.or(self.run_at),
            cwd: over.cwd.or(self.cwd),
            env,
            stdin: over.stdin.or(self.stdin),
            merge_output: over.merge_output.or(self.merge_output),
            meta: over.meta.or(self.meta),
            on_conflict: over.on_conflict.or(self.on_conflict),
        }
    }

    /// Makes the job, with `id` where none was said.
    pub fn into_spec(self, id: impl FnOnce() -> JobId, fixed: &Fixed) -> Spec {
        let mut spec = Spec::shell(self.id.unwrap_or_else(id), "", fixed.max_retries);
        spec.command = self.command;
        spec.argv = self.argv.unwrap_or_default();
        if let Some(max_retries) = self.max_retries {
            spec.max_retries = max_retries;
        }
        if let Some(queue) = self.queue {
            spec.queue = queue.into();
        }
        spec.name = self.name;
        spec.tags = self.tags.unwrap_or_default();
        spec.priority = self.priority.unwrap_or(0);
        spec.backoff_base = self.backoff_base;
        spec.max_delay = self.max_delay;
        spec.jitter = self.jitter;
        spec.timeout = self.timeout;
        spec.kill_grace = self.kill_grace;
        spec.run_at = self.run_at;
        spec.cwd = self.cwd.unwrap_or_else(|| fixed.cwd.clone());
        spec.env = self.env;
        spec.stdin = self.stdin;
        spec.merge_output = self.merge_output.unwrap_or(false);
        spec.meta = self.meta;
        spec
    }
}

/// Refuses a shell string that cannot be run.
pub(super) fn check_shell(command: &[u8]) -> Result<(), Failure> {
    if command.trim_ascii().is_empty() {
        return Err(Failure::refused("the command is empty"));
    }
    check_argument("the command", command)
}

/// Refuses a program and arguments that cannot be run.
pub(super) fn check_argv(argv: &[Bytes]) -> Result<(), Failure> {
    match argv.first() {
        None => return Err(Failure::refused("argv is empty")),
        Some(program) if program.0.trim_ascii().is_empty() => {
            return Err(Failure::refused("the program, the first word, is empty"));
        }
        Some(_) => {}
    }
    for (at, argument) in argv.iter().enumerate() {
        check_argument(&format!("word {} of the command", at + 1), &argument.0)?;
    }
    Ok(())
}

fn check_argument(what: &str, bytes: &[u8]) -> Result<(), Failure> {
    if bytes.contains(&0) {
        return Err(Failure::refused(format!("{what} has a NUL character")));
    }
    if bytes.len() > LONGEST_ARGUMENT {
        let len = bytes.len();
        return Err(Failure::refused(format!(
            "{what} is {len} bytes long; the kernel takes at most {LONGEST_ARGUMENT}"
        ))
        .hint("put it into a script and enqueue that"));
    }
    Ok(())
}
