//! Arguments of `worker`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::SET;
use super::jobs::Lines;
use super::values::{duration, whole};

/// Arguments of `worker`.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:
  queuectl worker start --count 4
  queuectl worker list
  queuectl worker stop"
)]
pub struct Worker {
    /// What to do.
    #[command(subcommand)]
    pub verb: WorkerVerb,
}

/// The verbs of `worker`.
#[derive(Debug, Subcommand)]
pub enum WorkerVerb {
    /// Work on jobs, in the foreground
    Start(Start),
    /// Ask workers of this machine to stop, and wait until they are gone
    Stop(Stop),
    /// List workers
    #[command(visible_alias = "status")]
    List(List),
}

/// Arguments of `worker start`.
#[derive(Debug, Args)]
#[command(
    after_help = "SIGTERM and Ctrl-C let what runs finish, then it exits 0; a second one ends what runs.

Examples:
  queuectl worker start
  queuectl worker start --count 4 --queue default --queue mail
  queuectl worker start --drain           work until nothing is left
  queuectl worker start --detach"
)]
pub struct Start {
    /// How many jobs to run at once, 1 to 1024 [default: 1]
    #[arg(short = 'j', long, alias = "concurrency", value_name = "NUMBER", hide_default_value = true,
          default_value_t = 1, value_parser = whole(1..=1024_u32), allow_negative_numbers = true)]
    pub count: u32,
    /// Only jobs of this queue; may be repeated [default: all]
    #[arg(long, value_name = "QUEUE")]
    pub queue: Vec<String>,
    /// Exit when nothing is running, ready or waiting for a retry
    #[arg(long, action = SET)]
    pub drain: bool,
    /// Exit after this many jobs [default: none]
    #[arg(long, value_name = "NUMBER", value_parser = whole(1..=u64::MAX), allow_negative_numbers = true)]
    pub max_jobs: Option<u64>,
    /// When stopping, how long jobs may go on, as 90 (seconds) or 1h30m [default: config stop_timeout]
    #[arg(long, value_name = "DURATION", value_parser = duration, allow_negative_numbers = true)]
    pub stop_timeout: Option<Duration>,
    /// Print what the jobs print, each line behind the job's id
    #[arg(long, action = SET)]
    pub output: bool,
    /// Work in the background, in a session of its own
    #[arg(long, conflicts_with = "output", action = SET)]
    pub detach: bool,
    /// Set by --detach for the process in the background
    #[arg(long, hide = true, action = SET)]
    pub detached: bool,
}

/// Arguments of `worker stop`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  queuectl worker stop
  queuectl worker stop --timeout 5m      end what still runs then
  queuectl worker stop --now")]
pub struct Stop {
    /// Workers, as worker list names them [default: all of this machine]
    #[arg(value_name = "WORKER")]
    pub workers: Vec<String>,
    /// End what runs, after its grace, and hand it back to the queue
    #[arg(long, alias = "force", action = SET)]
    pub now: bool,
    /// After this long as with --now, as 90 (seconds) or 1h30m [default: never]
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "now", allow_negative_numbers = true)]
    pub timeout: Option<Duration>,
    /// Only ask, and do not wait until they are gone
    #[arg(long, conflicts_with = "timeout", action = SET)]
    pub no_wait: bool,
}

/// Arguments of `worker list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  queuectl worker list
  queuectl worker list --json")]
pub struct List {
    #[command(flatten)]
    pub lines: Lines,
}
