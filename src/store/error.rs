//! What can go wrong between a verb and the disk. The terminal adds the way out.

use std::io;
use std::path::{Path, PathBuf};

use super::node::NodeError;
use super::replay::Damage;
use super::reserve;
use crate::domain::decide::Refusal;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The rules forbid it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A call to the system failed before anything was written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb with its preposition.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The own log is damaged; nothing is written until it is repaired.
    #[error("the log is damaged: {0}")]
    Damaged(#[from] Damage),
    /// Damage was noted before; nothing is written until it is repaired.
    #[error("the queue is degraded: {0}")]
    Degraded(String),
    /// The own log is shorter than, or another than, what was synced: something put an old copy in its place.
    #[error("the log in {} was rolled back: {what}", path.display())]
    RolledBack {
        /// The directory of the log.
        path: PathBuf,
        /// How it was seen.
        what: String,
    },
    /// Somebody still works on the queue.
    #[error("the queue is in use: {0}")]
    InUse(String),
    /// A newer version wrote this; this one may only read it.
    #[error("{} needs a newer queuectl: {what}", path.display())]
    TooNew {
        /// The file that says so.
        path: PathBuf,
        /// What is new in it.
        what: String,
    },
    /// Another process held the append lock all the time.
    #[error("cannot lock {}: held for {seconds} s{}", path.display(), holder_text(*holder))]
    LockHeld {
        /// The directory of the log.
        path: PathBuf,
        /// How long it was waited for.
        seconds: u64,
        /// Who holds it, where that is known.
        holder: Option<u32>,
    },
    /// What was to be written was not stored, or not whole.
    #[error("not recorded: cannot {action} {}: {source}", path.display())]
    NotRecorded {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is so little room left that nothing new is begun.
    #[error(
        "the disk is nearly full: {} KiB are free in {}, and below {} KiB nothing new is begun",
        free >> 10, path.display(), needed >> 10
    )]
    Full {
        /// The queue directory.
        path: PathBuf,
        /// What is free there, in bytes.
        free: u64,
        /// What must be free, in bytes.
        needed: u64,
    },
    /// It was written, and whether it is on stable storage can't be known.
    #[error("outcome unknown: it may or may not be recorded in {}: {source}", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An event is longer than a line may be.
    #[error("the event takes {len} bytes, more than the {limit} a line may have")]
    TooLong {
        /// Its length.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// The place of the queue is not usable.
    #[error(transparent)]
    Place(#[from] NodeError),
}

fn holder_text(holder: Option<u32>) -> String {
    holder.map_or(String::new(), |pid| format!(" by process {pid}"))
}

impl StoreError {
    /// Wraps what the system said with what was tried on what.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_owned();
        move |source| StoreError::Io { action, path, source }
    }

    /// Whether it was for want of room, of which there may be more later.
    pub fn is_full(&self) -> bool {
        match self {
            StoreError::Full { .. } => true,
            // Not of what only reads: such an error does not go away with room.
            StoreError::NotRecorded { source, .. } => reserve::is_full(source),
            StoreError::Place(NodeError::File(error)) => reserve::is_full(&error.source),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::small_file::FileError;

    #[test]
    fn who_holds_the_lock_is_named_where_it_is_known() {
        let held = |holder| {
            StoreError::LockHeld { path: "/q/log/desk".into(), seconds: 60, holder }.to_string()
        };
        assert_eq!(held(Some(7)), "cannot lock /q/log/desk: held for 60 s by process 7");
        assert_eq!(held(None), "cannot lock /q/log/desk: held for 60 s");
    }

    #[test]
    fn want_of_room_is_told_from_what_no_room_mends() {
        let place = |kind: io::ErrorKind| {
            let error = FileError { action: "make", path: "/q".into(), source: kind.into() };
            StoreError::Place(NodeError::File(error))
        };
        assert!(place(io::ErrorKind::StorageFull).is_full());
        assert!(!place(io::ErrorKind::PermissionDenied).is_full());
        let read = StoreError::io("read", Path::new("/q"))(io::ErrorKind::StorageFull.into());
        assert!(!read.is_full());
    }
}
