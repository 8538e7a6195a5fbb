//! The disk: files, locks and sync. [`Store`] is its only door: open, read, transact.
//!
//! Knows no process, no terminal and no rule: what is written is decided by whoever calls.

pub mod clock;
pub mod disk;
pub mod ids;
pub mod layout;
pub mod machine;
pub mod node;
pub mod presence;
pub mod real_disk;
pub mod small_file;
pub mod watch;
