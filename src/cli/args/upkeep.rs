//! Arguments of what keeps the log small.

use std::path::PathBuf;

use clap::Args;

use super::SET;

/// Arguments of `compact`.
#[derive(Debug, Args)]
#[command(
    after_help = "Workers compact by themselves once more than half of the log is of no more use. Finished jobs go
after `retention` (queuectl config get retention); the dead letter queue is left alone.

Examples:
  queuectl compact --dry-run
  queuectl compact
  queuectl compact --archive ~/queue-archive"
)]
pub struct Compact {
    /// Say what would be done, with sizes, and do nothing
    #[arg(long, conflicts_with = "archive", action = SET)]
    pub dry_run: bool,
    /// Copy the files that are replaced to this directory first, below the name of the node [default: they are
    /// removed]
    #[arg(long, value_name = "DIR")]
    pub archive: Option<PathBuf>,
}
