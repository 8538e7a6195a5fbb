//! The main thread of a worker: it alone has the store, and everything that happens comes to it over one channel.
//!
//! Each turn reads the news, obeys what people asked for, looks after the dead, writes down what there is to say
//! together with the next claims, and hands the claims to the slots. Unaware of how a process is started or ended.

mod commit;
mod life;
mod obey;
mod timing;
pub(super) mod upkeep;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::WorkerError;
use super::committer::Release;
use super::follow::Follow;
use super::inbox::{Inbox, Message};
use super::output::Place;
use super::pace::{GATHER, Pace, STALE};
use super::process::control::Control;
use super::recover::{Recoveries, Settled};
use super::reporter::{Notice, Reporter, Stream};
use super::retries::Retries;
use super::signal::{self, Signal};
use super::slots::{Over, Slots};
use super::warden::Warden;
use crate::domain::config::Config;
use crate::domain::decide::Outcome;
use crate::domain::event::{Claimed, Event, WorkerStarted};
use crate::domain::job::{Claim, JobId, RunResult, Spec};
use crate::domain::timestamp::Timestamp;
use crate::store::node::NodeError;
use crate::store::presence::WorkerLock;
use crate::store::{Store, StoreError};

/// What a worker works on.
#[derive(Debug, Clone)]
pub(super) enum Scope {
    /// Whatever is ready in these queues, all where empty.
    Queues(Vec<String>),
    /// One job, in the foreground.
    Job(JobId),
}

/// How a worker works.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) scope: Scope,
    pub(super) slots: usize,
    /// Whether it ends when nothing is left to do.
    pub(super) drains: bool,
    /// After how many runs it ends.
    pub(super) max_jobs: Option<u64>,
    /// How long it lets runs go on once it was asked to stop, instead of the configured time.
    pub(super) stop_timeout: Option<Duration>,
    /// Whether what the runs print is handed on.
    pub(super) streams: bool,
    /// Keys of the configuration that count for this process whatever the queue says.
    pub(super) overrides: BTreeMap<String, String>,
}

/// A claim that is not settled in the log.
struct Running {
    claimed: Claimed,
    control: Arc<Control>,
    place: Place,
    follows: Option<[(Stream, Follow); 2]>,
}

/// How far a worker is with its end.
#[derive(Debug, Default)]
struct Stop {
    asked: Option<Instant>,
    at_once: bool,
    /// The signal that asked, where it was one.
    signal: Option<Signal>,
    /// Whether a person wants the foreground job cancelled.
    cancel: bool,
}

/// An end of a run that is not in the log yet.
struct Pending {
    over: Over,
    since: Instant,
    /// Not written before: it may turn out to be of the worker's own stop.
    hold: Option<Instant>,
}

pub(super) struct Supervisor<'a> {
    store: &'a mut Store,
    reporter: &'a mut dyn Reporter,
    setting: Setting,
    config: Config,
    identity: WorkerStarted,
    lock: Arc<WorkerLock>,
    warden: Arc<Warden>,
    slots: Slots,
    inbox: Inbox,
    _signals: signal::Listener,
    running: HashMap<Claim, Running>,
    pending: Vec<Pending>,
    releases: Vec<Release>,
    settled: Vec<Settled>,
    /// A job to be enqueued with the first commit.
    enqueue: Option<Spec>,
    next_claim: u64,
    runs_ended: u64,
    retries: Retries,
    surveyed: Option<Instant>,
    /// The moment for which the foreground job waited and that has come.
    ripe: Option<Timestamp>,
    recoveries: Recoveries,
    pace: Pace,
    stop: Stop,
    /// Nothing is claimed before, as something every start needs was wanting.
    starved_until: Option<Instant>,
    /// The disk is full, as was said.
    is_full: bool,
    failed: Option<WorkerError>,
    /// Its lock file was found not to be where it was made.
    is_displaced: bool,
    watched: Option<(u64, u64)>,
    upkeep: upkeep::Upkeep,
}

/// How soon a run that died of a stop's signal may be written, where no stop is known of yet.
const SIGNAL_LAG: Duration = Duration::from_millis(50);

/// How long nothing is claimed after something was wanting for a start.
const STARVED: Duration = Duration::from_secs(1);

/// How often output is handed on.
const STREAM: Duration = Duration::from_millis(40);

/// How often a worker looks for news that nothing tells it of.
const UNTOLD: Duration = Duration::from_millis(100);

impl<'a> Supervisor<'a> {
    /// Works until there is a reason to end and nothing of its own runs any more. Says how many runs ended.
    ///
    /// Errors: where the log could not be read or written; its children have ended then all the same.
    pub(super) fn work(mut self) -> Result<Worked, WorkerError> {
        let mut is_watching = self.arm();
        self.reconfigure();
        let started = Event::WorkerStarted(self.identity.clone());
        if let Err(error) = self.commit(vec![started]) {
            if matches!(error, StoreError::Refused(_)) {
                let _ = self.leave();
            }
            return Err(error.into());
        }
        let worker = self.identity.worker.clone();
        self.reporter.notice(&Notice::Working { worker, slots: self.setting.slots });
        self.tell_of_others();
        loop {
            let step = if self.failed.is_none() { self.step() } else { Ok(self.wind_up()) };
            let pause = match step {
                Ok(Some(pause)) => pause,
                Ok(None) => break,
                // One that is to stop doesn't wait for somebody to make room.
                Err(error)
                    if error.is_of_want() && !(error.is_full() && self.stop.asked.is_some()) =>
                {
                    self.want(&error);
                    UNTOLD
                }
                Err(WorkerError::Store(error)) if self.is_in_repair(&error) => UNTOLD,
                Err(error) => {
                    self.fail(error);
                    continue;
                }
            };
            if self.is_moved() {
                is_watching = self.arm();
                if self.watched.is_none() && self.failed.is_none() {
                    self.fail(self.is_homeless());
                    continue;
                }
            }
            let pause = if is_watching { pause } else { pause.min(UNTOLD) };
            for message in self.inbox.receive(pause) {
                self.take(message);
            }
            self.stream();
        }
        self.end()
    }

    /// One turn. Gives how long to wait for the next at most; none where the work is over.
    fn step(&mut self) -> Result<Option<Duration>, WorkerError> {
        if self.store.has_news() {
            self.store.read()?;
            self.recoveries.take_news();
        }
        if self.store.view().rolled_back.is_some() {
            // Only under the lock is it certain.
            self.store.sync_what_was_read()?;
        }
        self.tell_notices();
        self.reconfigure();
        let ripens = self.ripen();
        self.obey();
        if !self.stop.at_once {
            self.look_for_dead()?;
        }
        self.tend()?;
        let now = Instant::now();
        let gathers = self.gathers_until(now);
        let has_written = gathers.is_none() && self.commit(Vec::new())?;
        if self.is_done() {
            return Ok(None);
        }
        if has_written {
            return Ok(Some(Duration::ZERO));
        }
        let mut pause = self.config.poll_interval();
        let mut sooner = |time: Option<Duration>| pause = time.map_or(pause, |t| pause.min(t));
        sooner(ripens);
        sooner(gathers.map(|until| until.saturating_duration_since(now)));
        sooner((self.slots.waiting() > 0).then_some(STALE));
        sooner((self.setting.streams && !self.running.is_empty()).then_some(STREAM));
        // One that stops leaves the past where it is.
        let starved = self.starved_until.filter(|until| *until > now);
        sooner(starved.map(|until| until.saturating_duration_since(now)));
        let holds = self.pending.iter().filter_map(|pending| pending.hold).min();
        sooner(holds.map(|hold| hold.saturating_duration_since(now)));
        sooner(self.stop_deadline().map(|at| at.saturating_duration_since(now)));
        Ok(Some(pause))
    }

    /// A turn after the log failed: children finish, and their ends are written if that works again.
    fn wind_up(&mut self) -> Option<Duration> {
        self.obey_deadline();
        if self.pending.len() < self.running.len() {
            return Some(self.config.poll_interval());
        }
        None
    }

    /// Claims nothing for a while; what was to be done is tried again.
    fn want(&mut self, error: &WorkerError) {
        let is_told = match error.is_full() {
            true => std::mem::replace(&mut self.is_full, true),
            false => self.starved_until.is_some(),
        };
        if !is_told {
            self.reporter.notice(&Notice::Other(format!("{error}; trying again")));
        }
        self.starved_until = Some(Instant::now() + STARVED);
    }

    /// Whether a repair is all that is in the way, behind which it goes on.
    fn is_in_repair(&self, error: &StoreError) -> bool {
        matches!(error, StoreError::Degraded(_)) && self.store.is_being_repaired()
    }

    fn fail(&mut self, error: WorkerError) {
        self.reporter.notice(&Notice::Failing(error.to_string()));
        self.failed = Some(error);
        self.stop.asked.get_or_insert_with(Instant::now);
        // What was claimed and not started stays claimed, since that it is handed back cannot be written.
        for claimed in self.slots.take_back(|_| true) {
            self.running.remove(&claimed.claim);
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::News => {}
            Message::Started(claim) => {
                if let Some(running) = self.running.get(&claim) {
                    self.reporter.run_started(&running.claimed);
                }
            }
            Message::Over(over) => self.take_over(*over),
            Message::Signal(signal) => self.take_signal(signal),
            Message::Compacted(ending) => self.compacted(*ending),
            Message::Settled(settled) => self.settled.push(settled),
            Message::CannotEnd(job, processes) => {
                self.reporter.notice(&Notice::CannotEnd { job, processes });
            }
        }
    }

    fn take_over(&mut self, over: Over) {
        let now = Instant::now();
        let mut hold = None;
        match &over {
            Over::NotStarted { claimed, error: Some(error) } => {
                let (job, error) = (claimed.job.clone(), error.clone());
                self.reporter.notice(&Notice::Starved { job, error });
                self.starved_until = Some(now + STARVED);
            }
            Over::NotStarted { .. } => {}
            Over::Ended { outcome, daemons, .. } => {
                self.pace.ran(Duration::from_millis(outcome.ms));
                if !daemons.is_empty() {
                    let (job, processes) = (outcome.job.clone(), daemons.clone());
                    self.reporter.notice(&Notice::Daemons { job, processes });
                }
                // A service manager signals everyone, and our own signal may only be about to come.
                hold = is_of_a_stop(&over).then_some(now + SIGNAL_LAG);
            }
        }
        self.pending.push(Pending { over, since: now, hold });
    }

    /// Until when outcomes wait for company; none where it is time to write, or nothing waits.
    fn gathers_until(&self, now: Instant) -> Option<Instant> {
        let first = self.pending.iter().map(|pending| pending.since).min()?;
        let until = first + GATHER;
        (self.slots.waiting() > 0 && until > now && self.settled.is_empty()).then_some(until)
    }

    /// Watches the log; says whether that is possible.
    fn arm(&mut self) -> bool {
        let place = self.store.place();
        let Some(node) = place.node() else { return false };
        let (logs, log) = (place.logs(), place.log_dir(node));
        self.watched = self.log_identity();
        self.inbox.watch(&[&logs, &log])
    }

    /// Whether the directory of the log is another one by now: then the watch is on nothing.
    fn is_moved(&self) -> bool {
        self.log_identity() != self.watched
    }

    /// Why a worker can't go on whose queue was moved or taken away, or only its log: what comes to the old place is
    /// another queue.
    fn is_homeless(&self) -> WorkerError {
        let place = self.store.place();
        if let Some(log) = place.node().map(|node| place.log_dir(node))
            && self.store.disk().stat(&place.mark()).is_ok()
        {
            return WorkerError::Store(NodeError::LogMissing(log).into());
        }
        let path = place.logs();
        let source = std::io::ErrorKind::NotFound.into();
        WorkerError::Store(StoreError::Io { action: "find the log any more in", path, source })
    }

    fn log_identity(&self) -> Option<(u64, u64)> {
        let place = self.store.place();
        let stat = self.store.disk().stat(&place.log_dir(place.node()?)).ok()?;
        Some((stat.device, stat.inode))
    }

    fn tell_notices(&mut self) {
        for notice in self.store.take_notices() {
            self.reporter.notice(&Notice::Other(notice));
        }
    }

    fn reconfigure(&mut self) {
        let mut values = self.store.own().map(|own| own.facts.config.clone()).unwrap_or_default();
        values.extend(self.setting.overrides.clone());
        let config = Config::from_map(values);
        if config != self.config {
            self.warden.set_poll(config.poll_interval());
            self.config = config;
        }
    }

    fn stream(&mut self) {
        if self.setting.streams {
            for running in self.running.values_mut() {
                hand_on(running, self.reporter);
            }
        }
    }
}

/// What a worker did.
#[derive(Debug, Clone, Copy)]
pub(super) struct Worked {
    pub(super) runs: u64,
    pub(super) signal: Option<Signal>,
}

/// Hands on what a run printed since the last time.
fn hand_on(running: &mut Running, reporter: &mut dyn Reporter) {
    let claimed = &running.claimed;
    for (stream, follow) in running.follows.iter_mut().flatten() {
        // What cannot be read now is read with the next look, or by whoever asks for the run's output.
        let _ = follow.read(&mut |bytes| reporter.output(claimed, *stream, bytes));
    }
}

/// Whether a run died, unasked by us, of a signal with which everything is told to stop.
fn is_of_a_stop(over: &Over) -> bool {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGKILL, SIGTERM};
    match over {
        Over::Ended { outcome: Outcome { result: RunResult::Signal(signal), .. }, .. } => {
            [SIGTERM, SIGINT, SIGHUP, SIGKILL].contains(signal)
        }
        Over::Ended { .. } | Over::NotStarted { .. } => false,
    }
}
