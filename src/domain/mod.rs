//! The rules of the queue: what a job is, what may happen to it, and what follows.
//!
//! Pure: knows no file, clock, environment, thread, process or terminal. Time, ids and chance are handed in.

mod agenda;
pub mod bytes;
pub mod config;
pub mod decide;
#[cfg(test)]
mod decide_tests;
pub mod event;
mod id;
pub mod job;
mod payload;
pub mod policy;
mod query;
#[cfg(test)]
mod query_tests;
pub mod recorded;
pub mod retention;
pub mod seconds;
pub mod selector;
pub mod shelf;
mod spec;
pub mod state;
#[cfg(test)]
mod state_tests;
pub mod suggest;
pub mod takeover;
#[cfg(test)]
mod takeover_tests;
#[cfg(test)]
mod testing;
pub mod timestamp;
mod transition;
#[cfg(test)]
mod transition_tests;
pub mod units;
