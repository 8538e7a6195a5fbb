//! Arguments of the verbs that take jobs, and of `events`.

use std::time::Duration;

use clap::Args;

use super::SET;
use super::values::{OptionalDuration, duration, optional_duration, state, whole};
use crate::cli::columns::{self, Column};
use crate::domain::job::JobState;

/// Which jobs.
#[derive(Debug, Clone, Default, Args)]
pub struct Selection {
    /// Jobs: an id or the first 6 or more characters of one, id:ID, @last, name:N, tag:T, queue:Q, state:S,S, all
    #[arg(value_name = "SEL")]
    pub selectors: Vec<String>,
    /// Only jobs in these states, separated by commas [default: all]
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = state)]
    pub state: Vec<JobState>,
    /// Only jobs of this queue; may be repeated [default: all]
    #[arg(long, value_name = "QUEUE")]
    pub queue: Vec<String>,
    /// Only jobs with this tag; may be repeated, any of them counts [default: all]
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
}

/// Whether every job is meant, said outright.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct All {
    /// All jobs the verb applies to, as the selector all
    #[arg(long, action = SET)]
    pub all: bool,
}

/// How a destructive verb is let happen.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Consent {
    /// Do it without asking; needed where there is no terminal
    #[arg(short, long, action = SET)]
    pub yes: bool,
    /// Say what would be done, and do nothing
    #[arg(long, action = SET)]
    pub dry_run: bool,
}

/// How a listing is printed.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Lines {
    /// Print JSON on stdout, a line each
    #[arg(long, conflicts_with = "json", action = SET)]
    pub jsonl: bool,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
#[command(
    after_help = "In a pipe, without header, separated by tabs: id, state, attempts, queue, created_at, command.

Examples:
  queuectl list
  queuectl list --state pending,failed --limit 20
  queuectl list queue:slow tag:nightly --sort priority --reverse
  queuectl list --json | jq -r '.[].id'"
)]
pub struct List {
    #[command(flatten)]
    pub selection: Selection,
    /// At most this many, the newest [default: all]
    #[arg(short = 'n', long, value_name = "NUMBER", value_parser = whole(0..=usize::MAX), allow_negative_numbers = true)]
    pub limit: Option<usize>,
    /// Order by this field of a job [default: order of creation]
    #[arg(long, value_name = "FIELD", value_parser = columns::parse)]
    pub sort: Option<Column>,
    /// The other way round
    #[arg(long, action = SET)]
    pub reverse: bool,
    /// Which fields to print, separated by commas [default: id,state,attempts,queue,created_at,command]
    #[arg(long, value_name = "FIELDS", value_delimiter = ',', value_parser = columns::parse)]
    pub columns: Vec<Column>,
    /// Print ids only
    #[arg(long, conflicts_with_all = ["columns", "json", "jsonl"], action = SET)]
    pub ids: bool,
    #[command(flatten)]
    pub lines: Lines,
}

/// Arguments of `show`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  queuectl show job1
  queuectl show @last --json")]
pub struct Show {
    /// One job: an id, the first 6 or more characters of one, or a selector that selects one
    #[arg(value_name = "JOB")]
    pub job: String,
}

/// Arguments of `history`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  queuectl history job1
  queuectl history @last --jsonl")]
pub struct History {
    /// One job: an id, the first 6 or more characters of one, or a selector that selects one
    #[arg(value_name = "JOB")]
    pub job: String,
    #[command(flatten)]
    pub lines: Lines,
}

/// Arguments of `logs`.
#[derive(Debug, Args)]
#[command(
    after_help = "What the job printed on stdout goes to stdout, what it printed on stderr to stderr.

Examples:
  queuectl logs job1
  queuectl logs --follow
  queuectl logs job1 --run 2 --stderr --tail 20"
)]
pub struct Logs {
    /// One job [default: the one that runs, else the one that ran last]
    #[arg(value_name = "JOB")]
    pub job: Option<String>,
    /// The number of the run, from 1 [default: the last]
    #[arg(long, value_name = "NUMBER", value_parser = whole(0..=u32::MAX), conflicts_with = "all_runs", allow_negative_numbers = true)]
    pub run: Option<u32>,
    /// All runs, oldest first
    #[arg(long, action = SET)]
    pub all_runs: bool,
    /// Only what went to stdout
    #[arg(long, conflicts_with = "stderr", action = SET)]
    pub stdout: bool,
    /// Only what went to stderr
    #[arg(long, action = SET)]
    pub stderr: bool,
    /// Only this many lines at the end of each [default: all]
    #[arg(short = 'n', long, value_name = "LINES", value_parser = whole(0..=usize::MAX), allow_negative_numbers = true)]
    pub tail: Option<usize>,
    /// Go on printing until the run has ended
    #[arg(short, long, action = SET)]
    pub follow: bool,
}

/// Arguments of `wait`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exits 0 when all are completed, 10 when some ended dead, cancelled or purged, 124 when it
timed out. A job that waits for a retry is not finished.

Examples:
  queuectl wait job1 job2
  queuectl wait tag:nightly --timeout 1h
  queuectl wait all --any"
)]
pub struct Wait {
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub all: All,
    /// Wait at most this long, as 90 (seconds) or 1h30m [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = duration, allow_negative_numbers = true)]
    pub timeout: Option<Duration>,
    /// Until the first of them is finished [default: all of them]
    #[arg(long, action = SET)]
    pub any: bool,
}

/// Arguments of `cancel`.
#[derive(Debug, Args)]
#[command(after_help = "Anything but plain ids asks first, or needs --yes.

Examples:
  queuectl cancel job1
  queuectl cancel queue:slow state:pending --yes")]
pub struct Cancel {
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub all: All,
    #[command(flatten)]
    pub consent: Consent,
}

/// Arguments of `retry`.
#[derive(Debug, Args)]
#[command(
    after_help = "A finished job begins again with no attempts; a failed one that waits for its retry is due now
and keeps its attempts.

Examples:
  queuectl retry job1
  queuectl retry state:failed tag:nightly"
)]
pub struct Retry {
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub all: All,
}

/// Arguments of `purge`.
#[derive(Debug, Args)]
#[command(
    after_help = "all leaves the dead letter queue alone; name state:dead, or use queuectl dlq purge.

Examples:
  queuectl purge job1 --yes
  queuectl purge state:completed --dry-run"
)]
pub struct Purge {
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub all: All,
    #[command(flatten)]
    pub consent: Consent,
}

/// Arguments of `edit`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  queuectl edit job1 --priority 10
  queuectl edit queue:slow --queue default --max-retries 5
  queuectl edit @last --run-at +10m")]
pub struct Edit {
    /// Waiting jobs: an id or the first 6 or more characters of one, id:ID, @last, name:N, tag:T, queue:Q, state:S,S, all
    #[arg(value_name = "SEL")]
    pub selectors: Vec<String>,
    #[command(flatten)]
    pub all: All,
    #[command(flatten)]
    pub changes: Changes,
}

/// What `edit` changes; what is not given stays.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
#[command(next_help_heading = "Changes")]
pub struct Changes {
    /// Higher runs first [default: as it is]
    #[arg(short, long, value_name = "NUMBER", value_parser = whole(i32::MIN..=i32::MAX), allow_negative_numbers = true)]
    pub priority: Option<i32>,
    /// Not before: a time as 2026-02-02T03:04:05Z, +10m, or 18:30 (the next such local time) [default: as it is]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub run_at: Option<String>,
    /// Failed attempts after which it is dead; 0 and 1 both mean one [default: as it is]
    #[arg(long, value_name = "NUMBER", value_parser = whole(0..=u32::MAX), allow_negative_numbers = true)]
    pub max_retries: Option<u32>,
    /// How long a run may take, as 90 (seconds) or 1h30m, or none for no limit [default: as it is]
    #[arg(long, value_name = "DURATION", value_parser = optional_duration, allow_negative_numbers = true)]
    pub timeout: Option<OptionalDuration>,
    /// The queue it waits in [default: as it is]
    #[arg(long, value_name = "QUEUE")]
    pub queue: Option<String>,
    /// A word to select it by, instead of those it has; may be repeated [default: as they are]
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
}

/// Arguments of `events`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  queuectl events --since 1h
  queuectl events --job job1 --jsonl
  queuectl events --follow")]
pub struct Events {
    /// Go on printing events as they come; as JSON only with --jsonl
    #[arg(short, long, conflicts_with = "json", action = SET)]
    pub follow: bool,
    /// Only events of this job [default: all]
    #[arg(long, value_name = "JOB")]
    pub job: Option<String>,
    /// Only events since a time as 2026-02-02T03:04:05Z, or since this long ago, as 1h30m [default: the first]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub since: Option<String>,
    #[command(flatten)]
    pub lines: Lines,
}
