//! Arguments of `enqueue` and `run`.
//!
//! The positional words are parted from the options before clap sees them; see `words`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::values::{OptionalDuration, duration, number, optional_duration, whole};
use super::words::Split;

/// Arguments of `enqueue`.
#[derive(Debug, Args)]
#[command(
    override_usage = "queuectl enqueue [OPTIONS] 'SHELL COMMAND' [OPTIONS]
       queuectl enqueue [OPTIONS] [--] PROGRAM [ARGUMENT]...
       queuectl enqueue [OPTIONS] '{\"command\":\"…\"}'
       queuectl enqueue [OPTIONS] --command COMMAND | --file FILE | --lines FILE",
    after_help = "Options stand before the first word. A first word that holds a blank, or begins with { or [,
is the whole job; otherwise everything from it on is the command. One word runs by sh -c,
several run as they are, without a shell.

Examples:
  queuectl enqueue 'echo hi | wc'
  queuectl enqueue --priority 5 --tag nightly rsync -a src/ dst/
  queuectl enqueue '{\"id\":\"job1\",\"command\":\"sleep 2\",\"timeout\":60}'
  queuectl enqueue --delay 10m --max-retries 5 -- ./deploy --fast
  queuectl enqueue --file jobs.jsonl        all or nothing
  ls *.png | sed 's/.*/optipng &/' | queuectl enqueue --lines -"
)]
pub struct Enqueue {
    /// The command, one string for sh -c
    #[arg(short, long, value_name = "COMMAND", allow_hyphen_values = true)]
    pub command: Option<OsString>,
    /// A file with one JSON object or array, or several objects; -: stdin
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// A file with a shell command a line; -: stdin
    #[arg(long, value_name = "FILE")]
    pub lines: Option<PathBuf>,
    /// The job's id [default: a new ULID]
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub id: Option<String>,
    /// What to do where a job has the id: fail, or keep it and print the id [default: fail]
    #[arg(long, value_name = "WHAT", hide_possible_values = true)]
    pub on_conflict: Option<OnConflict>,
    #[command(flatten)]
    pub job: JobOptions,
    /// The command, or the job as JSON
    #[arg(value_name = "COMMAND", hide = true)]
    positional: Vec<OsString>,
    /// The positional words.
    #[arg(skip)]
    pub words: Split,
}

/// What happens to an id that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnConflict {
    /// Nothing is enqueued.
    Fail,
    /// The job that exists is the answer.
    Keep,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(
    override_usage = "queuectl run [OPTIONS] 'SHELL COMMAND' [OPTIONS]
       queuectl run [OPTIONS] [--] PROGRAM [ARGUMENT]...",
    after_help = "The job's output is streamed, retries and all. Exits with the last run's exit code: 128+N for
signal N, 124 for a timeout, 125 where queuectl itself fails. Ctrl-C cancels the job; SIGTERM
hands it back to the queue. The job has no terminal and an empty stdin unless given one.

Examples:
  queuectl run --max-retries 5 'curl -fsS https://example.org/'
  queuectl run --timeout 10m -- make -j4"
)]
pub struct Run {
    /// The command, one string for sh -c
    #[arg(short, long, value_name = "COMMAND", allow_hyphen_values = true)]
    pub command: Option<OsString>,
    /// The job's id [default: a new ULID]
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub id: Option<String>,
    #[command(flatten)]
    pub job: JobOptions,
    /// The command, or the job as JSON
    #[arg(value_name = "COMMAND", hide = true)]
    positional: Vec<OsString>,
    /// The positional words.
    #[arg(skip)]
    pub words: Split,
}

/// What a job is like. Each is also a field of a job in JSON, and overrides it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "The job")]
pub struct JobOptions {
    /// A name for people; need not be unique [default: none]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The queue it waits in [default: default]
    #[arg(long, value_name = "QUEUE")]
    pub queue: Option<String>,
    /// A word to select it by; may be repeated [default: none]
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// Higher runs first [default: 0]
    #[arg(short, long, value_name = "NUMBER", value_parser = whole(i32::MIN..=i32::MAX), allow_negative_numbers = true)]
    pub priority: Option<i32>,
    /// Failed attempts after which it is dead; 0 and 1 both mean one [default: config max_retries]
    #[arg(long, value_name = "NUMBER", value_parser = whole(0..=u32::MAX), allow_negative_numbers = true)]
    pub max_retries: Option<u32>,
    /// A retry waits this to the power of the attempts, in seconds [default: config backoff_base]
    #[arg(long, value_name = "NUMBER", value_parser = number, allow_negative_numbers = true)]
    pub backoff_base: Option<f64>,
    /// The longest wait for a retry, as 90 (seconds) or 1h30m [default: config max_delay]
    #[arg(long, value_name = "DURATION", value_parser = duration, allow_negative_numbers = true)]
    pub max_delay: Option<Duration>,
    /// The longest addition to that wait, as a fraction of it [default: config jitter]
    #[arg(long, value_name = "FRACTION", value_parser = number, allow_negative_numbers = true)]
    pub jitter: Option<f64>,
    /// How long a run may take, as 90 (seconds) or 1h30m, or none [default: config timeout]
    #[arg(long, value_name = "DURATION", value_parser = optional_duration, allow_negative_numbers = true)]
    pub timeout: Option<OptionalDuration>,
    /// How long after TERM comes KILL, as 5 (seconds) or 500ms [default: config kill_grace]
    #[arg(long, value_name = "DURATION", value_parser = duration, allow_negative_numbers = true)]
    pub kill_grace: Option<Duration>,
    /// Not before: a time as 2026-02-02T03:04:05Z, +10m, or 18:30 (the next such local time) [default: now]
    #[arg(
        long,
        alias = "next-run-at",
        value_name = "TIME",
        conflicts_with = "delay",
        allow_hyphen_values = true
    )]
    pub run_at: Option<String>,
    /// Not before this long from now, as 90 (seconds) or 1h30m [default: 0]
    #[arg(long, value_name = "DURATION", value_parser = duration, allow_negative_numbers = true)]
    pub delay: Option<Duration>,
    /// The directory it runs in [default: this one]
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// A variable of its own; K alone takes the value from here; may be repeated [default: none]
    #[arg(long, value_name = "K=V|K")]
    pub env: Vec<OsString>,
    /// The file it reads, opened when it runs; -: stdin now, at most 64KiB, kept in the log [default: empty]
    #[arg(long, value_name = "FILE")]
    pub stdin: Option<PathBuf>,
    /// Put its stderr where its stdout goes [default: apart]
    #[arg(long)]
    pub merge_output: bool,
    /// Any JSON of yours, carried untouched [default: none]
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    pub meta: Option<String>,
}
