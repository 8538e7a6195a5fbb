//! Storms: everybody who uses a queue is killed at any moment, and readers look on while the log is rewritten behind
//! them. Nothing that was told may be missing, no two runs of a job may overlap, no view may go back.
//!
//! `QUEUECTL_LONG` plays them for ten minutes, `QUEUECTL_SEED` with other kills and sizes.

mod kills;
mod readers;
#[path = "../rig/mod.rs"]
mod rig;
