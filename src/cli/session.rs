//! One call of queuectl: its queue, its settings, and how it talks.
//!
//! Knows no verb.

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::sync::Arc;

use super::args::Globals;
use super::error::{Failure, TAKE_OVER};
use super::exit::Exit;
use super::job_json::View;
use super::output::{look, message};
use super::progress;
use super::render::{Look, visible};
use crate::domain::job::JobId;
use crate::domain::selector::Owned;
use crate::settings::{self, Settings};
use crate::store::clock::Clock;
use crate::store::disk::Disk;
use crate::store::disk::Open;
use crate::store::ids::Ids;
use crate::store::layout::short_host;
use crate::store::machine::Environment;
use crate::store::node::NodeError;
use crate::store::presence::{self, Liveness};
use crate::store::real_disk::RealDisk;
use crate::store::replay::Damage;
use crate::store::{Setting, Store, StoreError};

/// The queue that this call is about.
pub(super) struct Session {
    /// The queue.
    pub(super) store: Store,
    /// What the environment says of the configuration.
    pub(super) settings: Settings,
    /// The flags every verb takes.
    pub(super) globals: Globals,
    /// How stdout looks.
    pub(super) look: Look,
    /// What nodes that this machine begins are called by; none where their name is given.
    host: Option<String>,
    /// Damage that was met beside what the store knows of.
    damage: Option<String>,
}

impl Session {
    /// Looks at the queue's directory. Makes nothing.
    ///
    /// Errors: where there is no telling which directory, or it cannot be trusted or read.
    pub(super) fn open(globals: &Globals) -> Result<Self, Failure> {
        let variable = |name: &OsStr| std::env::var_os(name);
        let settings = Settings::read(variable)?;
        let root = settings::directory(globals.dir.clone(), variable).ok_or_else(|| {
            Failure::refused("cannot tell where the queue is: $HOME is not set")
                .hint("name its directory with --dir or $QUEUECTL_DIR")
        })?;
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let environment = Environment::of_this_process(disk.as_ref());
        let environment = environment.map_err(|error| StoreError::from(NodeError::from(error)))?;
        let host = environment.node.is_none().then(|| short_host(&environment.host));
        let rehearsed = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let clock = match rehearsed("QUEUECTL_TEST_NOW").map(|moment| moment.parse()) {
            Some(Ok(moment)) => Clock::Fixed(moment),
            Some(Err(error)) => {
                return Err(Failure::refused(format!("$QUEUECTL_TEST_NOW: {error}")));
            }
            None => Clock::System,
        };
        let ids = Ids::new(rehearsed("QUEUECTL_TEST_SEED").as_deref());
        let boot = rehearsed("QUEUECTL_TEST_BOOT");
        let store = Store::open(Setting { disk, root, environment, clock, ids, boot })?;
        let look = look(globals.color, store.now());
        Ok(Session { store, settings, globals: globals.clone(), look, host, damage: None })
    }

    /// Looks at the directory again, which another process may have made by now, or have begun a new node in.
    pub(super) fn refind_place(&mut self) -> Result<(), Failure> {
        let is_left = |node| self.store.view().state.is_left(node);
        if self.store.place().node().is_none_or(is_left) {
            self.store = Session::open(&self.globals)?.store;
        }
        Ok(())
    }

    /// Takes in the state of the queue.
    pub(super) fn read(&mut self) -> Result<(), Failure> {
        self.store.tell(progress::of_the_store(self.globals.quiet));
        self.store.read().map(drop).map_err(Failure::of_reading)
    }

    /// Every job of every node, in order of creation.
    pub(super) fn jobs(&self) -> Vec<Owned<'_>> {
        self.store.view().state.jobs()
    }

    /// The jobs with this id: one, unless several nodes have one.
    pub(super) fn with_id(&self, id: &JobId) -> Vec<Owned<'_>> {
        let state = &self.store.view().state;
        state
            .nodes
            .keys()
            .filter_map(|name| Some((name.as_str(), state.job_of(name, id)?)))
            .collect()
    }

    /// Whether the node is this machine's.
    pub(super) fn is_own(&self, node: &str) -> bool {
        self.store.place().node() == Some(node)
    }

    /// The job with what its own record does not say.
    pub(super) fn view<'a>(&'a self, (node, job): Owned<'a>) -> View<'a> {
        let state = self.store.view().state.node(node);
        let reason = state.and_then(|state| state.reason(job, self.look.now));
        let reason = match job.state.is_waiting() && !self.is_own(node) {
            true => Some(format!("on node {node}")),
            false => reason,
        };
        View { node, job, reason }
    }

    /// Tells a person something, unless they want quiet.
    pub(super) fn note(&self, text: &str) {
        if !self.globals.quiet {
            message(&format!("{}\n", visible(text)));
        }
    }

    /// Warns of what makes the directory less than trustworthy, and says where this machine begins a node beside one
    /// that it may have been. Before writing.
    pub(super) fn warn_of_place(&self) {
        if self.globals.quiet {
            return;
        }
        let (place, disk) = (self.store.place(), self.store.disk());
        for warning in place.warnings(disk.as_ref()) {
            message(&format!("warning: {warning}\n"));
        }
        if place.node().is_none() {
            let logs = disk.open(&place.logs(), Open::Directory);
            for node in logs.and_then(|logs| logs.names()).unwrap_or_default() {
                if let Some(way) = self.way_back(&node) {
                    self.note(&format!(
                        "note: this machine begins a new node here, which runs no job of node {node}"
                    ));
                    self.note(&format!("hint: {way}"));
                }
            }
        }
    }

    /// How to go on as a node that may have been this machine's, since its name begins with the host's. Nobody can
    /// tell a backup that was put back from a copy whose original still works.
    pub(super) fn way_back(&self, node: &str) -> Option<String> {
        let (host, _) = node.rsplit_once('-')?;
        let may_be = self.host.as_deref() == Some(host) && !self.is_own(node);
        (may_be && !self.store.view().state.is_left(node)).then(|| {
            format!(
                "where this directory is a backup that was put back, and its original is gone for good, go on as its \
                 node: QUEUECTL_NODE={node} queuectl worker start"
            )
        })
    }

    /// Warns of a disk that takes in nothing new, or that failed to store what it was given.
    pub(super) fn warn_of_disk(&self) {
        if let Err(error) = self.store.require_room() {
            self.note(&format!("warning: {error}"));
        }
        if let Ok(Some(at)) = self.store.sync_error() {
            self.note(&format!(
                "warning: the disk failed to store some of the log, which goes on in a new file since {at}; nothing that \
                 was acknowledged is missing, but look after the disk"
            ));
        }
    }

    /// Says what the store has to say.
    pub(super) fn tell_notices(&mut self) {
        for notice in self.store.take_notices() {
            self.note(&format!("note: {notice}"));
        }
    }

    /// Takes note of damage that was met on the way.
    pub(super) fn saw(&mut self, damage: &[Damage]) {
        self.damage = damage.first().map(ToString::to_string).or(self.damage.take());
    }

    /// Ends a verb that read the state: where that is damaged it says so, once, and exits 3.
    pub(super) fn finish(&mut self, exit: Exit) -> Exit {
        self.tell_notices();
        for damage in &self.store.view().foreign {
            self.note(&format!("warning: a log of another machine: {damage}"));
        }
        match self.seen_damage() {
            Some(damage) => {
                let damage = visible(damage.trim_end());
                message(&format!(
                    "warning: the queue is damaged, and this is what is readable: {damage}\n"
                ));
                if self.store.view().rolled_back.is_some() {
                    self.note(&format!("hint: {TAKE_OVER}"));
                }
                if exit == Exit::Done { Exit::Damaged } else { exit }
            }
            None => exit,
        }
    }

    /// On a terminal, says where nobody is there to run jobs.
    pub(super) fn say_where_no_worker_is(&self) {
        let watched = std::io::stderr().is_terminal() && !self.globals.quiet;
        if watched && self.live_workers().is_ok_and(|workers| workers.is_empty()) {
            self.note("note: no worker is running; start one with: queuectl worker start");
        }
    }

    /// What is damaged of the own log, as far as it was seen or noted.
    fn seen_damage(&self) -> Option<String> {
        let view = self.store.view();
        let seen = view.damage.first().or(view.rolled_back.as_ref()).map(ToString::to_string);
        seen.or_else(|| self.damage.clone()).or_else(|| self.store.degraded())
    }

    /// Whether there may be more in the queue than is seen of it.
    pub(super) fn is_damaged(&self) -> bool {
        self.seen_damage().is_some()
    }

    /// What was refused on a damaged queue may have been refused for what is not readable of it.
    pub(super) fn doubt(&self, failure: Failure) -> Failure {
        match self.seen_damage() {
            Some(damage) if failure.exit == Exit::Refused => {
                let hint =
                    format!("the queue is damaged, and only what is readable counts: {damage}");
                Failure { exit: Exit::Damaged, ..failure.hint(hint) }
            }
            _ => failure,
        }
    }

    /// The workers of this machine that are alive.
    pub(super) fn live_workers(&self) -> Result<Vec<String>, Failure> {
        let (disk, place) = (self.store.disk().as_ref(), self.store.place());
        let Some(node) = place.node() else { return Ok(Vec::new()) };
        let failed =
            |error: crate::store::small_file::FileError| Failure::refused(error.to_string());
        let mut alive = Vec::new();
        for worker in presence::workers(disk, &place.run_dir(), node).map_err(failed)? {
            let liveness = presence::probe(disk, &place.run_dir(), &worker).map_err(failed)?;
            if liveness == Liveness::Alive {
                alive.push(worker);
            }
        }
        Ok(alive)
    }
}
