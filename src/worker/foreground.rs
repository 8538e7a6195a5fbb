//! One job, enqueued and worked on here, retries and all.
//!
//! It is a worker without slots in the log, so `worker stop` passes it by, and everything else that holds for a worker
//! holds for it. Unaware of exit codes.

use std::collections::BTreeMap;

use super::reporter::Reporter;
use super::signal::Signal;
use super::supervisor::{Scope, Setting, Supervisor};
use super::{WorkerError, signal};
use crate::domain::job::{JobState, RunResult, Spec};
use crate::store::Store;

/// How a job that was run in the foreground ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForegroundEnd {
    /// Where the job is now; none where it was purged.
    pub state: Option<JobState>,
    /// How its last run ended, if there was one.
    pub result: Option<RunResult>,
    /// The signal that came meanwhile: after an interrupt the job is cancelled, after another it waits for a worker.
    pub signal: Option<signal::Signal>,
}

/// Enqueues a complete job and claims it in the same append, unless it is to run later; runs it, hands its output on,
/// and returns when it is finished. An interrupt cancels it; a request to terminate, or a hangup, hands it back.
///
/// Errors: [`WorkerError::Store`] with a refusal where the id is taken or the disk nearly full; else as [`super::work`].
pub fn run(
    store: &mut Store,
    spec: Spec,
    overrides: BTreeMap<String, String>,
    reporter: &mut dyn Reporter,
) -> Result<ForegroundEnd, WorkerError> {
    store.require_room()?;
    let id = spec.id.clone();
    let setting = Setting {
        scope: Scope::Job(id.clone()),
        slots: 1,
        drains: false,
        max_jobs: None,
        stop_timeout: None,
        streams: true,
        overrides,
    };
    let worked = Supervisor::new(store, setting, Some(spec), reporter)?.work()?;
    store.read()?;
    let job = store.own().and_then(|own| own.job(&id));
    Ok(ForegroundEnd {
        state: job.map(|job| job.state),
        result: job.and_then(|job| job.latest_run()?.result),
        signal: worked.signal,
    })
}

impl ForegroundEnd {
    /// Whether a signal other than an interrupt handed the job back to the queue.
    pub fn was_handed_back(&self) -> bool {
        matches!(self.signal, Some(Signal::Terminate | Signal::HangUp))
            && self.state.is_some_and(|state| !state.is_finished())
    }
}
