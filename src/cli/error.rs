//! What a person or script is told when something fails: one line, a way out, an exit code.
//!
//! Knows the errors of every room and nothing of how they came about.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

use super::exit::Exit;
use crate::domain::config::ConfigError;
use crate::domain::decide::Refusal;
use crate::domain::selector::SelectorError;
use crate::settings::BadVariable;
use crate::store::StoreError;
use crate::store::node::NodeError;
use crate::worker::WorkerError;

/// Why a verb could not be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How queuectl ends.
    pub exit: Exit,
    /// What is wrong: lower case, without full stop, with thing and place.
    pub message: String,
    /// The way out, where there is one.
    pub hint: Option<String>,
}

#[derive(Serialize)]
struct ErrorJson<'a> {
    error: &'a str,
    hint: Option<&'a str>,
    exit_code: u8,
}

impl Failure {
    /// Something was refused, or failed.
    pub fn refused(message: impl Into<String>) -> Self {
        Failure { exit: Exit::Refused, message: message.into(), hint: None }
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Failure { exit: Exit::Usage, message: message.into(), hint: None }
    }

    /// Nobody listens any more, which is no failure.
    pub fn quiet() -> Self {
        Failure { exit: Exit::Done, message: String::new(), hint: None }
    }

    /// Whether nothing is to be said.
    pub fn is_quiet(&self) -> bool {
        self.message.is_empty()
    }

    /// What the store said, of a verb that only reads.
    pub fn of_reading(error: StoreError) -> Self {
        Failure::from(error)
    }

    /// What the store said, of a verb that writes: where it could not, nothing is recorded.
    pub fn of_writing(error: StoreError) -> Self {
        let exit = match &error {
            StoreError::Io { .. } | StoreError::Place(NodeError::File(_) | NodeError::Busy(_)) => {
                Some(Exit::NotRecorded)
            }
            _ => None,
        };
        let failure = Failure::from(error);
        Failure { exit: exit.unwrap_or(failure.exit), ..failure }
    }

    /// Adds the way out.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the way out, where there is one.
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// What goes to stderr: text for people, or one object. `attempt` is what could not be done: `enqueue`.
    pub fn render(&self, attempt: &str, json: bool) -> String {
        let message = format!("cannot {attempt}: {}", without_middle(&self.message));
        if json {
            let hint = self.hint.as_deref();
            let object = ErrorJson { error: &message, hint, exit_code: self.exit.code() };
            let text = serde_json::to_string(&object).expect("BUG: an error that is no JSON");
            return format!("{text}\n");
        }
        let mut text = format!("queuectl: {}\n", super::render::visible(&message));
        if let Some(hint) = &self.hint {
            text.push_str(&format!("hint: {}\n", super::render::visible(hint)));
        }
        text
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The longest message that is printed whole, in bytes. It repeats what was given, which may be of any length.
const LONGEST_MESSAGE: usize = 1200;

/// The text, of which the middle is left out where it is too long for a person.
pub(super) fn without_middle(text: &str) -> Cow<'_, str> {
    if text.len() <= LONGEST_MESSAGE {
        return Cow::Borrowed(text);
    }
    let head = &text[..text.floor_char_boundary(LONGEST_MESSAGE / 2)];
    let tail = &text[text.ceil_char_boundary(text.len() - LONGEST_MESSAGE / 4)..];
    Cow::Owned(format!("{head} … {tail}"))
}

/// Words a suggestion as a hint.
pub fn did_you_mean(word: Option<&str>) -> Option<String> {
    word.map(|word| format!("did you mean {word}?"))
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Failure::refused(error.to_string()).maybe_hint(did_you_mean(error.suggestion()))
    }
}

impl From<SelectorError> for Failure {
    fn from(error: SelectorError) -> Self {
        let hint = match &error {
            SelectorError::NoSuchJob(_) => Some("queuectl list shows the jobs there are".into()),
            SelectorError::Ambiguous { .. } => Some("give more characters of the id".into()),
            _ => did_you_mean(error.suggestion()),
        };
        let exit = if error.is_usage() { Exit::Usage } else { Exit::Refused };
        Failure { exit, message: error.to_string(), hint }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let hint = match &refusal {
            Refusal::Duplicate { .. } => Some(
                "queuectl enqueue --on-conflict keep answers with the job that is there".into(),
            ),
            Refusal::NoSuchJob(_) => Some("queuectl list shows the jobs there are".into()),
            Refusal::NoSuchWorker(_) => Some("queuectl worker list shows the workers".into()),
            _ => None,
        };
        Failure::refused(refusal.to_string()).maybe_hint(hint)
    }
}

/// The way out of a log that was rolled back.
pub(super) const TAKE_OVER: &str = "put the log back as it was; or go on with what is left, once no job runs any more: \
     queuectl doctor --repair";

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let exit = match &error {
            StoreError::Damaged(_) | StoreError::Degraded(_) | StoreError::RolledBack { .. } => {
                Exit::Damaged
            }
            StoreError::Place(NodeError::Damaged { .. } | NodeError::LogMissing(_)) => {
                Exit::Damaged
            }
            StoreError::NotRecorded { .. }
            | StoreError::Full { .. }
            | StoreError::Unknown { .. }
            | StoreError::LockHeld { .. } => Exit::NotRecorded,
            _ => Exit::Refused,
        };
        let hint = match &error {
            StoreError::Place(error) => error.hint().map(str::to_owned),
            StoreError::RolledBack { .. } => Some(TAKE_OVER.into()),
            StoreError::InUse(_) => Some("queuectl worker stop --now ends what runs".into()),
            StoreError::Full { .. } => Some(
                "free some space there; what runs is recorded all the same, and what waits is safe"
                    .into(),
            ),
            StoreError::TooLong { .. } => Some("put what is long into a file".into()),
            StoreError::TooNew { .. } => Some("use a newer queuectl; reading works".into()),
            StoreError::Damaged(_) | StoreError::Degraded(_) => {
                Some("queuectl doctor says what is wrong, and --repair mends it".into())
            }
            StoreError::Unknown { .. } => {
                Some("queuectl list shows whether it is there; with an id of yours it is safe to try again".into())
            }
            _ => None,
        };
        match error {
            StoreError::Refused(refusal) => Failure::from(refusal),
            error => Failure { exit, message: error.to_string(), hint },
        }
    }
}

impl From<WorkerError> for Failure {
    fn from(error: WorkerError) -> Self {
        match error {
            WorkerError::Store(error) => Failure::of_writing(error),
            WorkerError::File(_) => {
                Failure { exit: Exit::NotRecorded, ..Failure::refused(error.to_string()) }
            }
            WorkerError::Displaced(_) | WorkerError::System(_) | WorkerError::Threads(_) => {
                Failure::refused(error.to_string())
            }
        }
    }
}

impl From<BadVariable> for Failure {
    fn from(error: BadVariable) -> Self {
        Failure::refused(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_lines_and_scripts_an_object() {
        let failure = Failure::refused("no \"command\"\x1b").hint("give one");
        assert_eq!(
            failure.render("enqueue", false),
            "queuectl: cannot enqueue: no \"command\"\\u{1b}\nhint: give one\n"
        );
        assert_eq!(
            failure.render("enqueue", true),
            "{\"error\":\"cannot enqueue: no \\\"command\\\"\\u001b\",\"hint\":\"give one\",\"exit_code\":1}\n"
        );
    }

    #[test]
    fn what_was_given_is_not_repeated_at_any_length() {
        let failure =
            Failure::refused(format!("no job {} (line 1, column 9)", "é".repeat(1 << 20)));
        let text = failure.render("enqueue", false);
        assert!(text.starts_with("queuectl: cannot enqueue: no job é"), "{text}");
        assert!(text.ends_with("é (line 1, column 9)\n") && text.len() < 1300, "{text}");
    }
}
