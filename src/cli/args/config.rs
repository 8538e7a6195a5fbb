//! Arguments of `config`.

use clap::{Args, Subcommand};

use super::SET;
use super::jobs::{Consent, Lines};

/// Arguments of `config`.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:
  queuectl config list
  queuectl config set max_retries 5"
)]
pub struct Config {
    /// What to do.
    #[command(subcommand)]
    pub verb: ConfigVerb,
}

/// The verbs of `config`.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Print the value of a key that is in force
    Get(Get),
    /// Set a key
    Set(Set),
    /// Put a key back to its built-in value
    Unset(Unset),
    /// Put a key, or all of them, back to the built-in value
    Reset(Reset),
    /// List every key: value, default and where the value is from
    #[command(visible_alias = "show")]
    List(List),
}

/// Arguments of `config get`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  queuectl config get max_retries
  queuectl config get poll-interval --raw")]
pub struct Get {
    /// The key, with dashes or underscores
    #[arg(value_name = "KEY")]
    pub key: String,
    /// Print the value alone, not KEY = VALUE
    #[arg(long, conflicts_with = "json", action = SET)]
    pub raw: bool,
}

/// Arguments of `config set`.
#[derive(Debug, Args)]
#[command(after_help = "Running workers obey at once.

Examples:
  queuectl config set max_retries 5
  queuectl config set poll-interval 500ms
  queuectl config set timeout none")]
pub struct Set {
    /// The key, with dashes or underscores
    #[arg(value_name = "KEY")]
    pub key: String,
    /// The value; durations as 90 (seconds) or 1h30m, sizes as 16MiB
    #[arg(value_name = "VALUE", allow_negative_numbers = true)]
    pub value: String,
}

/// Arguments of `config unset`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  queuectl config unset max_retries")]
pub struct Unset {
    /// The key, with dashes or underscores
    #[arg(value_name = "KEY")]
    pub key: String,
}

/// Arguments of `config reset`.
#[derive(Debug, Args)]
#[command(after_help = "All of them asks first, or needs --yes.

Examples:
  queuectl config reset max_retries
  queuectl config reset --yes")]
pub struct Reset {
    /// The key, with dashes or underscores [default: all]
    #[arg(value_name = "KEY")]
    pub key: Option<String>,
    #[command(flatten)]
    pub consent: Consent,
}

/// Arguments of `config list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  queuectl config list
  queuectl config list --json")]
pub struct List {
    #[command(flatten)]
    pub lines: Lines,
}
