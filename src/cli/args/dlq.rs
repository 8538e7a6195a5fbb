//! Arguments of `dlq`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::jobs::{All, Consent, Lines, Selection, Show};
use super::values::{duration, whole};

/// Arguments of `dlq`.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:
  queuectl dlq list
  queuectl dlq show job1
  queuectl dlq retry --all"
)]
pub struct Dlq {
    /// What to do.
    #[command(subcommand)]
    pub verb: DlqVerb,
}

/// The verbs of `dlq`.
#[derive(Debug, Subcommand)]
pub enum DlqVerb {
    /// List the dead letter queue, newest last
    List(List),
    /// Show everything about a dead job
    #[command(after_help = "Examples:
  queuectl dlq show job1
  queuectl dlq show @last --json")]
    Show(Show),
    /// Put dead jobs back into the queue, with no attempts
    Retry(Retry),
    /// Put all dead jobs back into the queue, as retry --all
    RetryAll(RetryAll),
    /// Remove dead jobs for good
    Purge(Purge),
}

/// Arguments of `dlq list`.
#[derive(Debug, Args)]
#[command(
    after_help = "In a pipe: full ids, separated by tabs, no header: id, attempts, result, updated_at, command.

Examples:
  queuectl dlq list
  queuectl dlq list tag:nightly --json"
)]
pub struct List {
    #[command(flatten)]
    pub selection: Selection,
    /// At most this many, the newest [default: all]
    #[arg(short = 'n', long, value_name = "NUMBER", value_parser = whole(0..=usize::MAX), allow_negative_numbers = true)]
    pub limit: Option<usize>,
    #[command(flatten)]
    pub lines: Lines,
}

/// Arguments of `dlq retry`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  queuectl dlq retry job1
  queuectl dlq retry queue:mail
  queuectl dlq retry --all")]
pub struct Retry {
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub all: All,
}

/// Arguments of `dlq retry-all`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  queuectl dlq retry-all")]
pub struct RetryAll {}

/// Arguments of `dlq purge`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  queuectl dlq purge job1 --yes
  queuectl dlq purge --all --older-than 30d --dry-run")]
pub struct Purge {
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub all: All,
    /// Only jobs that died this long ago or longer, as 90 (seconds) or 30d [default: all]
    #[arg(long, value_name = "DURATION", value_parser = duration, allow_negative_numbers = true)]
    pub older_than: Option<Duration>,
    #[command(flatten)]
    pub consent: Consent,
}
