//! queuectl: a durable background job queue for the shell, with no daemon and no database.
//!
//! Imports point one way only: `main → cli → worker → store → domain`. `docs/architecture.md` is the map.

#![deny(unreachable_pub)]

pub mod cli;
pub mod domain;
pub mod settings;
pub mod store;
pub mod worker;
