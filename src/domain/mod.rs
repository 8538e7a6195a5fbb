//! The rules of the queue: what a job is, what may happen to it, and what follows.
//!
//! Pure: knows no file, clock, environment, thread, process or terminal. Time, ids and chance are handed in.

pub mod bytes;
pub mod event;
mod id;
pub mod job;
mod payload;
pub mod seconds;
mod spec;
pub mod timestamp;
