//! A line on a person's terminal that says how far something is: written over itself, and gone at the end.
//!
//! Knows nothing of what it is about.

use std::cell::Cell;
use std::io::{self, IsTerminal};

use super::output::message;
use super::render::visible;

/// Back to the beginning of the line, which is cleared.
const CLEAR: &str = "\r\u{1b}[K";

/// The line.
#[derive(Debug)]
pub(super) struct Progress {
    /// The width of the terminal; none where the line is never shown.
    width: Option<usize>,
    is_shown: Cell<bool>,
}

impl Progress {
    /// A line on stderr. It is shown where that is a terminal, unless quiet is wanted.
    pub(super) fn new(quiet: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let wanted = !quiet && !dumb && io::stderr().is_terminal();
        let width = || {
            let size = rustix::termios::tcgetwinsize(io::stderr()).ok();
            size.map(|size| usize::from(size.ws_col)).filter(|width| *width > 0).unwrap_or(80)
        };
        Progress { width: wanted.then(width), is_shown: Cell::new(false) }
    }

    /// Writes the line anew.
    pub(super) fn show(&self, text: &str) {
        if let Some(width) = self.width {
            let text: String = visible(text).chars().take(width.saturating_sub(1)).collect();
            message(&format!("{CLEAR}{text}"));
            self.is_shown.set(true);
        }
    }

    /// Takes the line away, so that something else can be written there.
    pub(super) fn clear(&self) {
        if self.is_shown.replace(false) {
            message(CLEAR);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
