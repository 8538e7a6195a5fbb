//! Stopping a worker by signal, where its log cannot be told of it.
//!
//! Unaware of why it is stopped.

use std::io;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::system::{self, Held};
use crate::domain::event::WorkerStarted;

/// How long after a first signal a second one is a signal of its own.
const APART: Duration = Duration::from_millis(200);

/// Asks a worker of this boot and process namespace to stop; with `signals` of 2, at once. Says whether it was there.
///
/// Errors: where the system refuses.
pub fn stop_by_signal(worker: &WorkerStarted, boot: &str, signals: u32) -> io::Result<bool> {
    let Some(held) = hold(worker, boot) else { return Ok(false) };
    for signal in 0..signals {
        if signal > 0 && held.dies_within(APART) {
            break;
        }
        held.signal(Signal::TERM)?;
    }
    Ok(true)
}

/// Whether the process of a worker of this boot and process namespace still runs: it gives its lock back a little before
/// it ends.
pub fn is_running(worker: &WorkerStarted, boot: &str) -> bool {
    hold(worker, boot).is_some_and(|held| !held.dies_within(Duration::ZERO))
}

/// The process of a worker, unless its number is another's by now.
fn hold(worker: &WorkerStarted, boot: &str) -> Option<Held> {
    if worker.boot != boot || worker.pid_namespace != system::pid_namespace() {
        return None;
    }
    let pid = i32::try_from(worker.pid).ok().and_then(Pid::from_raw);
    let process = pid.and_then(system::find).filter(|process| process.start == worker.start);
    process.and_then(Held::new)
}
