//! A line on a person's terminal that says how far something is: written over itself, and gone at the end.
//!
//! Knows nothing of what it is about.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::output::message;
use super::render::{amount, visible};
use crate::store::progress::{self, Reached};

/// What takes less is over before anybody wonders.
const PATIENCE: Duration = Duration::from_millis(300);

/// How often a bar is drawn anew.
const STEP: Duration = Duration::from_millis(100);

/// How many characters a bar has.
const BAR: usize = 20;

/// Back to the beginning of the line, which is cleared.
const CLEAR: &str = "\r\u{1b}[K";

/// The line.
#[derive(Debug)]
pub(super) struct Progress {
    /// The width of the terminal; none where the line is never shown.
    width: Option<usize>,
    is_shown: AtomicBool,
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
        Progress { width: wanted.then(width), is_shown: AtomicBool::new(false) }
    }

    /// Writes the line anew.
    pub(super) fn show(&self, text: &str) {
        if let Some(width) = self.width {
            let text: String = visible(text).chars().take(width.saturating_sub(1)).collect();
            message(&format!("{CLEAR}{text}"));
            self.is_shown.store(true, Ordering::Relaxed);
        }
    }

    /// Takes the line away, so that something else can be written there.
    pub(super) fn clear(&self) {
        if self.is_shown.swap(false, Ordering::Relaxed) {
            message(CLEAR);
        }
    }
}

/// Shows on stderr, where that is a terminal and it takes a while, how far the store is.
pub(super) fn of_the_store(quiet: bool) -> progress::Progress {
    let line = Progress::new(quiet);
    if line.width.is_none() {
        return progress::Progress::default();
    }
    let next = Mutex::new(None);
    progress::Progress::to(move |reached| {
        let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if reached.done == reached.total {
            *next = None;
            line.clear();
        } else if now >= *next.get_or_insert(now + PATIENCE) {
            *next = Some(now + STEP);
            line.show(&bar(reached));
        }
    })
}

/// `reading the log  [#####               ]  27 %, 12.0 MiB of 44.1 MiB`.
fn bar(Reached { what, done, total }: Reached) -> String {
    let share = done as f64 / total.max(1) as f64;
    let full = (share * BAR as f64) as usize;
    let (hashes, percent) = ("#".repeat(full.min(BAR)), share * 100.0);
    format!("{what}  [{hashes:BAR$}] {percent:3.0} %, {} of {}", amount(done), amount(total))
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_full_as_things_are_far() {
        let at = |done| bar(Reached { what: "reading the log", done, total: 40 << 20 });
        assert_eq!(at(0), "reading the log  [                    ]   0 %, 0 B of 40.0 MiB");
        let half = "reading the log  [##########          ]  50 %, 20.0 MiB of 40.0 MiB";
        assert_eq!(at(20 << 20), half);
        assert!(at(40 << 20).contains("[####################] 100 %"));
    }
}
