//! A worker's beginning and end: how it takes its place among the others, and how it gives it up.

use std::collections::HashMap;
use std::sync::Arc;

use rustix::system::uname;

use super::{Scope, Setting, Stop, Supervisor, UNTOLD, Worked};
use crate::domain::config::Config;
use crate::domain::event::{Event, WorkerStarted, WorkerStopped};
use crate::domain::job::Spec;
use crate::store::Store;
use crate::store::presence::WorkerLock;
use crate::worker::WorkerError;
use crate::worker::inbox::{Inbox, Message};
use crate::worker::pace::Pace;
use crate::worker::process::{self, system};
use crate::worker::recover::Recoveries;
use crate::worker::reporter::{Notice, Reporter};
use crate::worker::retries::Retries;
use crate::worker::signal;
use crate::worker::slots::{Context, Slots};
use crate::worker::warden::Warden;

impl<'a> Supervisor<'a> {
    /// Takes its place among the workers: a lock, signals, slots. A job may be enqueued with the first commit.
    ///
    /// Errors: where the queue cannot be written, or the system refuses a thread or handler.
    pub(in crate::worker) fn new(
        store: &'a mut Store,
        setting: Setting,
        enqueue: Option<Spec>,
        reporter: &'a mut dyn Reporter,
    ) -> Result<Self, WorkerError> {
        let inbox = Inbox::new();
        let sender = inbox.sender();
        let signals = signal::listen(move |signal| {
            let _ = sender.send(Message::Signal(signal));
        })?;
        store.sync_what_was_read()?;
        store.renew_reserve();
        let identity = identity(store, &setting);
        let place = store.place().clone();
        let (disk, owner) = (Arc::clone(store.disk()), place.owner());
        let lock = WorkerLock::take(disk.as_ref(), &place.run_dir(), &identity, owner)?;
        let lock = Arc::new(lock);
        let config = Config::default();
        let warden = Arc::new(Warden::new(config.poll_interval())?);
        let context = Context {
            lock: Arc::clone(&lock),
            warden: Arc::clone(&warden),
            sender: inbox.sender(),
            output: place.output_dir(),
            directory: std::path::absolute(place.root()).unwrap_or(place.root().to_owned()),
            starts: Default::default(),
        };
        let slots = Slots::new(setting.slots, context)?;
        Ok(Supervisor {
            store,
            reporter,
            setting,
            config,
            identity,
            lock,
            warden,
            slots,
            inbox,
            _signals: signals,
            running: HashMap::new(),
            pending: Vec::new(),
            releases: Vec::new(),
            settled: Vec::new(),
            enqueue,
            next_claim: 1,
            runs_ended: 0,
            retries: Retries::default(),
            surveyed: None,
            ripe: None,
            recoveries: Recoveries::default(),
            pace: Pace::default(),
            stop: Stop::default(),
            starved_until: None,
            is_full: false,
            failed: None,
            is_displaced: false,
            watched: None,
            upkeep: Default::default(),
        })
    }

    /// Writes its own end, and gives up its place. A worker that could not write is a dead one, for others to recover.
    pub(super) fn end(mut self) -> Result<Worked, WorkerError> {
        self.recoveries.abandon();
        if let Some(error) = self.failed.take() {
            let _ = self.commit(Vec::new());
            return Err(error);
        }
        let worker = self.identity.worker.clone();
        let stopped = WorkerStopped { worker, died: false };
        while let Err(error) = self.commit(vec![Event::WorkerStopped(stopped.clone())]) {
            if !self.is_in_repair(&error) {
                return Err(error.into());
            }
            std::thread::sleep(UNTOLD);
        }
        self.store.write_checkpoint();
        let (runs, signal) = (self.runs_ended, self.stop.signal);
        let displaced = self.is_displaced.then(|| self.identity.worker.clone());
        self.leave()?;
        match displaced {
            Some(worker) => Err(WorkerError::Displaced(worker)),
            None => Ok(Worked { runs, signal }),
        }
    }

    /// Removes its lock file. Only for a worker all of whose runs are settled in the log.
    pub(super) fn leave(self) -> Result<(), WorkerError> {
        let Supervisor { store, slots, lock, .. } = self;
        drop(slots);
        // The last task lets go of its share a moment after it sent its outcome; then the file stays a dead worker's.
        match Arc::into_inner(lock) {
            Some(lock) => Ok(lock.remove(store.disk().as_ref())?),
            None => Ok(()),
        }
    }

    /// Says where jobs are ready that only other machines may run.
    pub(super) fn tell_of_others(&mut self) {
        let now = self.store.now();
        let own = self.store.place().node();
        let all = &self.store.view().state;
        let others = all.nodes.iter().filter(|(node, state)| {
            let is_other = Some(node.as_str()) != own && !all.is_left(node);
            is_other && state.ready(&[], now).next().is_some()
        });
        let others: Vec<String> = others.map(|(node, _)| node.clone()).collect();
        if !others.is_empty() {
            self.reporter.notice(&Notice::ReadyElsewhere { nodes: others });
        }
    }
}

fn identity(store: &mut Store, setting: &Setting) -> WorkerStarted {
    let node = store.place().node().unwrap_or_default().to_owned();
    let worker = store.ids().worker(&node);
    let pid = rustix::process::getpid();
    let (queues, slots) = match &setting.scope {
        Scope::Queues(queues) => (queues.clone(), u32::try_from(setting.slots).unwrap_or(u32::MAX)),
        // A worker without slots works on one job in the foreground, and nobody but its own terminal stops it.
        Scope::Job(_) => (Vec::new(), 0),
    };
    WorkerStarted {
        worker,
        pid: pid.as_raw_nonzero().get().unsigned_abs(),
        start: system::find(pid).map_or(0, |process| process.start),
        boot: store.boot().to_owned(),
        pid_namespace: system::pid_namespace(),
        session: process::session().unsigned_abs(),
        host: uname().nodename().to_string_lossy().into_owned(),
        slots,
        queues,
    }
}
