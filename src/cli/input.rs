//! What `enqueue` is given, as drafts of jobs: words, JSON, lines and flags.
//!
//! Pure: the moment, the directory, the environment and the bytes of files are handed in. Knows nothing of the queue.

mod draft;
mod fields;
mod json;
pub mod moment;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

pub use draft::{Draft, Fixed};
pub(super) use fields::within;
pub use json::from_json;

use super::args::enqueue::JobOptions;
use super::error::Failure;
use crate::domain::bytes::Bytes;
use crate::domain::timestamp::Timestamp;

/// Where and when something is said, which decides what it means.
pub struct Surroundings<'a> {
    /// The moment.
    pub now: Timestamp,
    /// The offset of local time from UTC at a moment, in seconds.
    pub local_offset: &'a dyn Fn(Timestamp) -> i32,
    /// The caller's directory, absolute.
    pub cwd: PathBuf,
    /// The caller's environment.
    pub variable: &'a dyn Fn(&OsStr) -> Option<OsString>,
    /// The bytes of stdin, for a job that is to read them; the same each time.
    pub stdin: &'a dyn Fn() -> Result<Vec<u8>, Failure>,
}

/// Makes a draft of a string for the shell.
///
/// Errors: where it is blank, too long, or has a NUL.
pub fn from_shell(command: &[u8]) -> Result<Draft, Failure> {
    draft::check_shell(command)?;
    Ok(Draft { command: Some(Bytes(command.to_vec())), ..Draft::default() })
}

/// Makes a draft of the words of a command; one word alone is a string for the shell.
///
/// Errors: where a word is too long or has a NUL, or the program is blank.
pub fn from_words(words: &[OsString]) -> Result<Draft, Failure> {
    if let [word] = words {
        return from_shell(word.as_bytes());
    }
    let argv: Vec<Bytes> = words.iter().map(|word| Bytes(word.as_bytes().to_vec())).collect();
    draft::check_argv(&argv)?;
    Ok(Draft { argv: Some(argv), ..Draft::default() })
}

/// Makes a draft of each line that is not blank.
///
/// Errors: those of [`from_shell`], with the number of the line.
pub fn from_lines(text: &[u8]) -> Result<Vec<Draft>, Failure> {
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    let commands = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    commands
        .map(|(at, line)| {
            from_shell(line).map_err(|failure| Failure {
                message: format!("line {}: {}", at + 1, failure.message),
                ..failure
            })
        })
        .collect()
}

/// Makes a draft of what flags say.
///
/// Errors: usage errors, naming the flag.
pub fn from_flags(options: &JobOptions, around: &Surroundings<'_>) -> Result<Draft, Failure> {
    let as_usage = |failure: Failure| Failure { exit: super::exit::Exit::Usage, ..failure };
    fields::of_flags(options, around).map_err(as_usage)
}

/// Refuses a queue or tags that no job may have.
pub fn check_words(queue: Option<&str>, tags: &[String]) -> Result<(), Failure> {
    let (queue, tags) = (queue.map(str::to_owned), Some(tags.to_vec()));
    fields::check(&Draft { queue, tags, ..Draft::default() })
}

#[cfg(test)]
mod tests;
