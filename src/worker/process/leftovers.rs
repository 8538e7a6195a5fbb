//! The processes of one run: finding them after its leader has ended, and ending them.
//!
//! A run's processes carry its claim in their environment, are in its group, or hold its files, and are in its worker's
//! session. One in another session is a daemon on purpose: it is told of and left alone. Unaware of claims beyond their
//! text, and of what holds a file's lock.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::system::{self, Held, Process};
use crate::domain::job::Claim;

/// The variable that says under which claim a process runs.
pub const CLAIM_VARIABLE: &str = "QUEUECTL_CLAIM";

/// How long to wait between looks for processes that appeared meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long a process must hold a file to count as a holder: one between fork and exec has copies of others' files.
const HOLD: Duration = Duration::from_millis(20);

/// What is known of the group a run was started in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// The leader is our zombie, so the number can be no other group's.
    Pinned(Pid),
    /// Noted by a worker that is dead: the number may have come round since.
    Noted(Pid),
    /// Nothing.
    Unknown,
}

/// What the processes of a run are known by.
#[derive(Debug, Clone)]
pub struct Traces {
    /// The claim they carry.
    pub claim: Claim,
    /// The session their worker was in; any where it is not known.
    pub session: Option<i32>,
    /// The group.
    pub group: Group,
    /// When the leader started, in clock ticks since boot; 0 where it is not known. Nothing of the run is older.
    pub start: u64,
}

/// The processes of a run that live.
#[derive(Debug, Default)]
pub struct Found {
    /// Those that must end before the job may run again.
    pub members: Vec<Process>,
    /// Those that went to a session of their own.
    pub daemons: Vec<Process>,
}

impl Traces {
    fn sort(&self, process: Process, found: &mut Found) {
        if self.session.is_none_or(|session| session == process.session) {
            found.members.push(process);
        } else {
            found.daemons.push(process);
        }
    }
}

/// All processes at one moment, each with the claim it carries.
#[derive(Debug)]
pub struct Snapshot(Vec<(Process, Option<Vec<u8>>)>);

impl Snapshot {
    /// Looks at all processes that started at `since`, in clock ticks since boot, or later.
    ///
    /// Errors: where they cannot be listed; then nothing is known.
    pub fn take(since: u64) -> io::Result<Self> {
        let me = rustix::process::getpid();
        let is_other = |process: &Process| process.pid != me && process.start >= since;
        let others = system::list()?.into_iter().filter(is_other);
        let carried = |process: Process| (process, system::variable(process.pid, CLAIM_VARIABLE));
        Ok(Snapshot(others.map(carried).collect()))
    }

    /// The living processes of a run that carry its claim or are in its group.
    pub fn find(&self, traces: &Traces) -> Found {
        let mut found = Found::default();
        let leader = match traces.group {
            Group::Noted(group) => {
                self.0.iter().map(|(process, _)| process).find(|process| process.pid == group)
            }
            Group::Pinned(_) | Group::Unknown => None,
        };
        for (process, carried) in &self.0 {
            let carries = carried.as_deref() == Some(traces.claim.0.as_bytes());
            let is_ours = carries || is_in_group(traces, *process, carried.is_some(), leader);
            if is_ours && traces.group != Group::Pinned(process.pid) && !is_dead(*process) {
                traces.sort(*process, &mut found);
            }
        }
        found
    }
}

/// Looks for processes that hold one of the run's files open, whatever their environment says. They need to be looked
/// for only where a lock is held and [`Snapshot::find`] finds nobody.
///
/// Errors: where processes cannot be listed; then nothing is known.
pub fn find_holders(traces: &Traces, files: &[PathBuf]) -> io::Result<Found> {
    let mut found = Found::default();
    let me = rustix::process::getpid();
    let holders = |processes: Vec<Process>| -> Vec<Process> {
        let holds = |process: &Process| process.pid != me && system::holds(process.pid, files);
        processes.into_iter().filter(holds).collect()
    };
    let first = holders(system::list()?);
    if first.is_empty() {
        return Ok(found);
    }
    std::thread::sleep(HOLD);
    for process in holders(system::list()?) {
        if first.contains(&process) && traces.group != Group::Pinned(process.pid) {
            traces.sort(process, &mut found);
        }
    }
    Ok(found)
}

/// The living processes that carry a claim of the node, whichever queue it is of and in whatever session they are.
///
/// Errors: where processes cannot be listed; then nothing is known.
pub fn carriers(node: &str) -> io::Result<Vec<(Process, Claim)>> {
    let is_of_node = |claim: &[u8]| {
        let rest = claim.strip_prefix(node.as_bytes()).and_then(|rest| rest.strip_prefix(b"."));
        rest.is_some_and(|rest| !rest.is_empty())
    };
    let Snapshot(all) = Snapshot::take(0)?;
    let carriers = all.into_iter().filter_map(|(process, carried)| {
        let carried = carried.filter(|claim| is_of_node(claim))?;
        let claim = Claim(String::from_utf8_lossy(&carried).into_owned());
        (!is_dead(process)).then_some((process, claim))
    });
    Ok(carriers.collect())
}

/// Whether the group alone makes the process one of the run's.
fn is_in_group(
    traces: &Traces,
    process: Process,
    carries_another: bool,
    leader: Option<&Process>,
) -> bool {
    match traces.group {
        Group::Pinned(group) => process.group == group.as_raw_nonzero().get(),
        // The kernel gives out no number that is still some group's, so a leader that is another process means that
        // the noted group is gone; and so does a member that is older than the leader or is another run's.
        Group::Noted(group) => {
            process.group == group.as_raw_nonzero().get()
                && leader.is_none_or(|leader| leader.start == traces.start)
                && process.start >= traces.start
                && !carries_another
        }
        Group::Unknown => false,
    }
}

/// A zombie is dead only if its other threads are too.
fn is_dead(process: Process) -> bool {
    process.is_zombie && Held::new(process).is_none_or(|held| held.is_dead())
}

/// How processes are ended: TERM first, KILL later.
#[derive(Debug)]
pub struct Ender {
    kill_at: Instant,
    termed: Vec<Process>,
}

impl Ender {
    /// KILL comes once `grace` has passed since `asked`, where they were asked before, else since now.
    pub fn new(asked: Option<Instant>, grace: Duration) -> Self {
        Ender { kill_at: asked.unwrap_or_else(Instant::now) + grace, termed: Vec::new() }
    }

    /// For how long KILL has been sent by now, if it was.
    pub fn killing_for(&self) -> Option<Duration> {
        Instant::now().checked_duration_since(self.kill_at)
    }

    /// Sends each process what is due; gives a grip on them.
    pub fn send(&mut self, members: &[Process]) -> Vec<Held> {
        let killing = self.killing_for().is_some();
        let held: Vec<Held> = members.iter().copied().filter_map(Held::new).collect();
        for member in &held {
            if killing {
                let _ = member.signal(Signal::KILL);
            } else if !self.termed.contains(&member.process) {
                // A stopped process takes its TERM only once it goes on.
                let _ = member.signal(Signal::TERM);
                let _ = member.signal(Signal::CONT);
                self.termed.push(member.process);
            }
        }
        held
    }

    /// Waits a moment for the ends of processes, less where KILL is due before.
    pub fn wait(&self, held: &[Held]) {
        let until_kill = self.kill_at.saturating_duration_since(Instant::now());
        let moment = if until_kill.is_zero() { LOOK_AGAIN } else { until_kill.min(LOOK_AGAIN) };
        let until = Instant::now() + moment;
        for member in held {
            if !member.dies_within(until.saturating_duration_since(Instant::now())) {
                return;
            }
        }
    }
}

/// Ends what a run left behind, whose leader is our zombie. Returns only when none is left, with the daemons, or where
/// `report`, which is told again and again of those that outlive KILL, breaks off.
///
/// Errors: where processes cannot be listed; the group was killed then.
pub fn end(
    traces: &Traces,
    asked: Option<Instant>,
    grace: Duration,
    report: &mut dyn FnMut(&[Process]) -> ControlFlow<()>,
) -> io::Result<Vec<Process>> {
    if cfg!(not(target_os = "linux")) {
        end_group_unseen(traces, asked, grace);
        return Ok(Vec::new());
    }
    let mut ender = Ender::new(asked, grace);
    loop {
        let processes =
            Snapshot::take(traces.start).inspect_err(|_| signal_group(traces, Signal::KILL))?;
        let found = processes.find(traces);
        if found.members.is_empty() {
            return Ok(found.daemons);
        }
        if let Some(time) = ender.killing_for() {
            signal_group(traces, Signal::KILL);
            if time >= Duration::from_secs(1) && report(&found.members).is_break() {
                return Ok(found.daemons);
            }
        }
        let held = ender.send(&found.members);
        ender.wait(&held);
    }
}

fn signal_group(traces: &Traces, signal: Signal) {
    if let Group::Pinned(group) = traces.group {
        let _ = kill_process_group(group, signal);
    }
}

/// Where processes cannot be looked at, the group is all there is.
fn end_group_unseen(traces: &Traces, asked: Option<Instant>, grace: Duration) {
    let Group::Pinned(group) = traces.group else { return };
    if asked.is_none() {
        signal_group(traces, Signal::TERM);
        signal_group(traces, Signal::CONT);
    }
    let kill_at = asked.unwrap_or_else(Instant::now) + grace;
    // A group of which only zombies are left takes no signal there.
    while Instant::now() < kill_at && rustix::process::test_kill_process_group(group).is_ok() {
        std::thread::sleep(Duration::from_millis(10));
    }
    signal_group(traces, Signal::KILL);
}
