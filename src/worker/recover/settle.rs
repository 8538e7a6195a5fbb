//! Seeing dead workers' runs to their end, or bringing it about, until it is proven.
//!
//! A run is gone when twice in succession none of its files is locked and then none of its processes is found. Unaware
//! of the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use super::{Fate, Settled};
use crate::domain::event::Claimed;
use crate::domain::job::Spec;
use crate::worker::inbox::Message;
use crate::worker::output::Place;
use crate::worker::output::limit::Watch;
use crate::worker::process::leftovers::{Ender, Found, Snapshot, Traces, find_holders};
use crate::worker::warden::Limits;

/// Between two looks while something is being ended or was just seen gone, and while it is waited for.
const SOON: Duration = Duration::from_millis(5);
const LATER: Duration = Duration::from_millis(50);

/// What a run may be told while it is waited for.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// A person cancelled the job.
    pub(super) cancel: AtomicBool,
}

/// How a run is treated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mode {
    /// Whether it is ended, or let end.
    pub(super) ends: bool,
    /// Whether its processes can be seen; else the locks alone decide.
    pub(super) sees: bool,
    /// How long after TERM comes KILL.
    pub(super) grace: Duration,
    /// What it is held to from now on.
    pub(super) limits: Limits,
    /// How often its output is looked at while it is quiet.
    pub(super) poll: Duration,
}

/// A run that may not be gone.
#[derive(Debug)]
pub(super) struct Case {
    claimed: Claimed,
    spec: Spec,
    place: Place,
    traces: Traces,
    mode: Mode,
    orders: Arc<Orders>,
    deadline: Option<Instant>,
    watches: [Watch; 2],
    ender: Option<Ender>,
    seen_gone: u32,
    is_told: bool,
}

impl Case {
    pub(super) fn new(
        claimed: Claimed,
        spec: Spec,
        place: Place,
        traces: Traces,
        mode: Mode,
        orders: Arc<Orders>,
    ) -> Self {
        let now = Instant::now();
        let watch = |path: &std::path::Path| Watch::new(path.to_owned(), mode.limits.output, now);
        Case {
            claimed,
            spec,
            watches: [watch(&place.out), watch(&place.err)],
            place,
            traces,
            mode,
            orders,
            deadline: mode.limits.timeout.and_then(|timeout| now.checked_add(timeout)),
            ender: None,
            seen_gone: 0,
            is_told: false,
        }
    }

    /// The locks first, then the processes: one that starts another before it goes is not missed both times.
    fn look(&mut self, is_locked: bool, processes: Option<&Snapshot>) -> Found {
        let sees = self.mode.sees && cfg!(target_os = "linux");
        let mut found = match processes {
            Some(processes) if sees => processes.find(&self.traces),
            _ => Found::default(),
        };
        let nobody = found.members.is_empty() && found.daemons.is_empty();
        if is_locked && nobody && sees {
            let Place { out, err, input } = self.place.clone();
            found = find_holders(&self.traces, &[out, err, input]).unwrap_or_default();
        }
        // What only a daemon holds blocks nothing. Where nobody can be seen, files that are missing prove nothing.
        let is_held = is_locked && found.daemons.is_empty();
        let is_blind = (!sees || processes.is_none()) && !self.place.is_whole(&self.spec);
        if found.members.is_empty() && !is_held && !is_blind {
            self.seen_gone += 1;
        } else {
            self.seen_gone = 0;
        }
        found
    }

    /// Whether it is to be ended by now.
    fn is_to_end(&mut self, now: Instant) -> bool {
        let poll = self.mode.poll;
        let fits = |watch: &mut Watch| watch.due() > now || watch.look(now, poll).is_ok();
        let fits = self.watches.iter_mut().all(fits);
        self.mode.ends
            || !fits
            || self.deadline.is_some_and(|deadline| deadline <= now)
            || self.orders.cancel.load(Ordering::SeqCst)
    }

    fn end(&mut self, found: &Found, sender: &Sender<Message>) {
        let grace = self.mode.grace;
        let ender = self.ender.get_or_insert_with(|| Ender::new(None, grace));
        ender.send(&found.members);
        let is_stubborn = ender.killing_for().is_some_and(|time| time > Duration::from_secs(1));
        if is_stubborn && !self.is_told {
            self.is_told = true;
            let processes = found.members.iter().map(|p| p.pid.as_raw_nonzero().get()).collect();
            let _ = sender.send(Message::CannotEnd(self.claimed.job.clone(), processes));
        }
    }
}

/// Sees every case to its end and sends it, until `abandoned`.
pub(super) fn settle(mut cases: Vec<Case>, sender: &Sender<Message>, abandoned: &AtomicBool) {
    while !cases.is_empty() && !abandoned.load(Ordering::SeqCst) {
        let locked: Vec<bool> = cases.iter().map(|case| case.place.is_held()).collect();
        let since = cases.iter().map(|case| case.traces.start).min().unwrap_or(0);
        let processes = Snapshot::take(since).ok();
        let mut pause = LATER;
        for (case, is_locked) in cases.iter_mut().zip(locked) {
            let found = case.look(is_locked, processes.as_ref());
            if case.seen_gone > 0 {
                pause = SOON;
            } else if case.is_to_end(Instant::now()) && !found.members.is_empty() {
                case.end(&found, sender);
                pause = SOON;
            }
        }
        let gone = |case: &mut Case| case.seen_gone >= 2;
        for case in cases.extract_if(.., gone) {
            let settled = Settled { claimed: case.claimed, fate: Fate::Gone };
            if sender.send(Message::Settled(settled)).is_err() {
                return;
            }
        }
        if !cases.is_empty() {
            thread::sleep(pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job::{Claim, JobId};
    use crate::worker::process::leftovers::Group;

    fn case(sees: bool) -> Case {
        let (job, claim) = (JobId::new("a").unwrap(), Claim::new("desk.gone", 1));
        let spec = Spec::shell(job.clone(), "true", 0);
        let place = Place::new(std::path::Path::new("/nowhere"), &job, 1);
        let traces =
            Traces { claim: claim.clone(), session: None, group: Group::Unknown, start: 0 };
        let limits = Limits { timeout: None, output: u64::MAX };
        let (grace, poll) = (Duration::ZERO, Duration::from_secs(1));
        let mode = Mode { ends: true, sees, grace, limits, poll };
        Case::new(Claimed { job, run: 1, claim }, spec, place, traces, mode, Arc::default())
    }

    /// Its holder may be in another container, on another machine, or another user's.
    #[test]
    fn a_run_whose_lock_is_held_by_nobody_who_is_seen_is_waited_for() {
        let processes = Snapshot::take(0).unwrap();
        let mut case = case(true);
        for (is_locked, gone) in [(true, 0), (false, 1), (true, 0), (false, 1), (false, 2)] {
            assert!(case.look(is_locked, Some(&processes)).members.is_empty());
            assert_eq!(case.seen_gone, gone);
        }
    }

    /// Whose files are gone may hold them all the same.
    #[test]
    fn where_nobody_can_be_seen_missing_files_prove_nothing() {
        let mut case = case(false);
        case.look(false, None);
        assert_eq!(case.seen_gone, 0);
    }
}
