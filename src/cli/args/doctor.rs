//! Arguments of `doctor`.

use clap::Args;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exits 0 where nothing is wrong and 3 where something is. Notes are no fault.

Examples:
  queuectl doctor
  queuectl doctor --json | jq '.checks[] | select(.level == \"fault\")'"
)]
pub struct Doctor {}
