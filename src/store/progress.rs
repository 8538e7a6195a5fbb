//! How far something is that may take a while, told to whoever wants to show it.
//!
//! Knows no terminal.

use std::fmt;
use std::sync::Arc;

/// How far something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// What is being done: `reading the log`.
    pub what: &'static str,
    /// Bytes that are done.
    pub done: u64,
    /// Bytes that there are to do.
    pub total: u64,
}

/// Whoever wants to know, if anybody does. Called often, and from whatever thread does the work.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<dyn Fn(Reached) + Send + Sync>>);

impl Progress {
    /// Tells `take` how far things are.
    pub fn to(take: impl Fn(Reached) + Send + Sync + 'static) -> Self {
        Progress(Some(Arc::new(take)))
    }

    /// Whether anybody wants to know.
    pub fn is_told(&self) -> bool {
        self.0.is_some()
    }

    /// Says how far something is.
    pub fn tell(&self, what: &'static str, done: u64, total: u64) {
        if let Some(take) = &self.0 {
            take(Reached { what, done: done.min(total), total });
        }
    }
}

/// Is called again and again by what takes long and can wait, so that it may let others go first for a while.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rest(Option<fn()>);

impl Rest {
    /// Rests by this.
    pub fn by(rest: fn()) -> Self {
        Rest(Some(rest))
    }

    /// Lets others go first, perhaps.
    pub(super) fn take(self) {
        if let Rest(Some(rest)) = self {
            rest();
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_told() { "told" } else { "untold" })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn whoever_wants_to_know_is_told() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&heard);
        let progress = Progress::to(move |reached| told.lock().unwrap().push(reached));
        assert!(progress.is_told());
        progress.tell("reading", 3, 10);
        progress.tell("reading", 12, 10);
        let reached = |done| Reached { what: "reading", done, total: 10 };
        assert_eq!(*heard.lock().unwrap(), [reached(3), reached(10)]);
        let nobody = Progress::default();
        nobody.tell("reading", 3, 10);
        assert!(!nobody.is_told());
    }

    #[test]
    fn rest_is_taken_where_there_is_any() {
        static RESTS: AtomicUsize = AtomicUsize::new(0);
        Rest::default().take();
        let rest = Rest::by(|| {
            RESTS.fetch_add(1, Ordering::SeqCst);
        });
        rest.take();
        rest.take();
        assert_eq!(RESTS.load(Ordering::SeqCst), 2);
    }
}
