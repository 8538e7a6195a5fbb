//! Arguments of `doctor`.

use clap::Args;

use super::SET;
use super::jobs::Consent;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exits 0 where nothing is wrong and 3 where something is. Notes are no fault.

Examples:
  queuectl doctor
  queuectl doctor --json | jq '.checks[] | select(.level == \"fault\")'
  queuectl doctor --repair --dry-run
  queuectl doctor --repair --yes"
)]
pub struct Doctor {
    /// Mend what can be mended; asks first, or needs --yes. Nothing is edited or thrown away: damaged files are moved
    /// to local/*/quarantine/
    #[arg(long, action = SET)]
    pub repair: bool,
    #[command(flatten)]
    pub consent: Consent,
}
