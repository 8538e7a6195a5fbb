//! A child in a group of its own: its start, the wait for it, and its end.
//!
//! Just processes: unaware of the log, of claims beyond their text, and of what follows from a result. Nothing else
//! in the crate starts or signals a process.

pub mod control;
pub mod courtesy;
pub mod detach;
pub mod launch;
pub mod leftovers;
pub mod relay;
pub mod stop;
pub mod system;
#[cfg(test)]
mod tests;

use std::io;
use std::ops::ControlFlow;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use self::control::{Control, Ending};
use self::leftovers::{Group, Traces};
use self::system::Process;
use crate::domain::job::{Claim, RunResult};

/// The leader of a run, started and not yet reaped.
#[derive(Debug)]
pub struct Leader {
    child: Child,
    /// Its number, and its group's.
    pub pid: Pid,
    /// When it started, in clock ticks since boot; 0 where the system does not say.
    pub start: u64,
    started: Instant,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its result, with our own reason where we ended it.
    pub result: RunResult,
    /// The signal its leader died of, whoever sent it.
    pub signal: Option<i32>,
    /// From the start to the leader's end.
    pub time: Duration,
    /// What went to a session of its own and lives on.
    pub daemons: Vec<Process>,
}

impl Leader {
    fn new(child: Child, started: Instant) -> Self {
        let pid = Pid::from_child(&child);
        let start = system::find(pid).map_or(0, |process| process.start);
        Leader { child, pid, start, started }
    }

    /// Waits until the leader ends, ends what the run left unless it ended well, and reaps the leader last, so that
    /// the group's number is the run's for as long as it is signalled.
    ///
    /// `report` is told of processes that outlive KILL; their run does not end before they do, unless it breaks off.
    pub fn wait(
        mut self,
        claim: &Claim,
        control: &Control,
        report: &mut dyn FnMut(&[Process]) -> ControlFlow<()>,
    ) -> Ended {
        let status = wait_without_reaping(self.pid);
        let time = self.started.elapsed();
        let (asked, ending) = (control.asked(), control.ending());
        let exit = *status.as_ref().unwrap_or(&RunResult::Lost);
        let result = ending.map_or(exit, result_of);
        let mut daemons = Vec::new();
        if result != RunResult::Exit(0) {
            let session = Some(session());
            let group = if status.is_ok() { Group::Pinned(self.pid) } else { Group::Unknown };
            let traces = Traces { claim: claim.clone(), session, group, start: self.start };
            daemons = leftovers::end(&traces, asked, control.grace(), report).unwrap_or_default();
        }
        control.leave();
        // It is a zombie, so this returns at once; where it fails the child was reaped by no doing of ours.
        let _ = self.child.wait();
        let signal = match exit {
            RunResult::Signal(signal) => Some(signal),
            _ => None,
        };
        Ended { result, signal, time, daemons }
    }
}

/// The session this process is in; 0 where its leader is outside of our namespace, as in a container.
pub fn session() -> i32 {
    // The call of the same name in rustix takes it that there is no 0.
    nix::unistd::getsid(None).map_or(0, nix::unistd::Pid::as_raw)
}

fn result_of(ending: Ending) -> RunResult {
    match ending {
        Ending::Timeout => RunResult::Timeout,
        Ending::OutputLimit => RunResult::OutputLimit,
        Ending::Cancelled => RunResult::Cancelled,
        Ending::Interrupted => RunResult::Interrupted,
    }
}

/// Errors: `ECHILD`, where somebody else in this process reaped it.
fn wait_without_reaping(pid: Pid) -> io::Result<RunResult> {
    loop {
        match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Ok(Some(status)) => {
                let exit = status.exit_status().map(RunResult::Exit);
                let signal = || RunResult::Signal(status.terminating_signal().unwrap_or(0));
                return Ok(exit.unwrap_or_else(signal));
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
