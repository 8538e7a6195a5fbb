//! The disk: files, locks and sync. [`Store`] is its only door: open, read, transact.
//!
//! Knows no process, no terminal and no rule: what is written is decided by whoever calls.

pub mod append;
mod base;
pub mod checkpoint;
pub mod clock;
pub mod compact;
pub mod disk;
pub mod doctor;
mod enqueue;
mod error;
mod files;
pub mod ids;
pub mod layout;
pub mod line;
pub mod log;
pub mod machine;
pub mod mark;
pub mod node;
#[cfg(test)]
pub(crate) mod odd_disk;
pub mod presence;
pub mod progress;
mod read;
pub mod real_disk;
pub mod repair;
pub mod replay;
pub mod reserve;
mod rollback;
#[cfg(test)]
mod rollback_tests;
pub mod rotate;
pub mod segment;
pub mod small_file;
#[cfg(test)]
mod store_tests;
pub mod tail;
mod takeover;
#[cfg(test)]
mod takeover_tests;
pub mod upkeep;
pub mod watch;

use std::path::PathBuf;
use std::sync::Arc;

pub use enqueue::Enqueue;
pub use error::StoreError;
pub use takeover::Takeover;

use self::append::Fate;
use self::clock::Clock;
use self::disk::{Disk, Open};
use self::ids::Ids;
use self::log::Log;
use self::machine::Environment;
use self::node::Place;
use self::read::Look;
use self::replay::{Cursor, Damage, Reading, View};
use self::rotate::Reason;
use crate::domain::config::Config;
use crate::domain::decide::Refusal;
use crate::domain::event::Event;
use crate::domain::job::Job;
use crate::domain::state::NodeState;
use crate::domain::timestamp::Timestamp;

/// How often something is decided and written anew because its sync failed.
const ATTEMPTS: usize = 3;

/// What a store is opened with.
pub struct Setting {
    /// The files and locks.
    pub disk: Arc<dyn Disk>,
    /// The queue directory.
    pub root: PathBuf,
    /// Who the process is.
    pub environment: Environment,
    /// The wall clock.
    pub clock: Clock,
    /// Where ids and chance come from.
    pub ids: Ids,
    /// The running boot; the disk's own where it is absent.
    pub boot: Option<String>,
}

/// A queue directory, as one process reads and writes it.
pub struct Store {
    disk: Arc<dyn Disk>,
    environment: Environment,
    clock: Clock,
    ids: Ids,
    boot: String,
    place: Place,
    view: View,
    is_loaded: bool,
    look: Option<Look>,
    log: Option<Log>,
    notices: Vec<String>,
}

impl Store {
    /// Looks at a queue directory. Makes nothing there, and works where there is nothing yet.
    ///
    /// Errors: where the directory can't be trusted or read.
    pub fn open(setting: Setting) -> Result<Self, StoreError> {
        let Setting { disk, root, environment, clock, ids, boot } = setting;
        let place = Place::find(disk.as_ref(), &root, &environment)?;
        let boot = match boot {
            Some(boot) => boot,
            None => disk.boot().map_err(StoreError::io("tell the running boot, for", &root))?,
        };
        Ok(Store {
            disk,
            environment,
            clock,
            ids,
            boot,
            place,
            view: View::default(),
            is_loaded: false,
            look: None,
            log: None,
            notices: Vec::new(),
        })
    }

    /// The queue directory.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Has it told how far reading is, from here on.
    pub fn tell(&mut self, progress: progress::Progress) {
        self.view.progress = progress;
    }

    /// The files and locks.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The running boot.
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Where ids and chance come from.
    pub fn ids(&mut self) -> &mut Ids {
        &mut self.ids
    }

    /// The state as far as it was read.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The own node's state as far as it was read; none where the node has no log yet.
    pub fn own(&self) -> Option<&NodeState> {
        self.view.state.node(self.place.node()?)
    }

    /// What people should be told; each is told once.
    pub fn take_notices(&mut self) -> Vec<String> {
        if let Some(log) = &mut self.log {
            self.notices.append(&mut log.notices);
        }
        std::mem::take(&mut self.notices)
    }

    /// What was noted of damage, if it was; writers refuse then.
    pub fn degraded(&self) -> Option<String> {
        append::degraded_note(self.disk.as_ref(), &self.place.local())
    }

    /// Moves the own jobs whose time has come to the ready ones; see [`NodeState::ripen`].
    pub fn ripen(&mut self, is_ripe: impl FnMut(&Job) -> bool) -> usize {
        let node = self.place.node().map(str::to_owned).unwrap_or_default();
        self.view.state.nodes.get_mut(&node).map_or(0, |state| state.ripen(is_ripe))
    }

    /// Moves one own job to the ready ones.
    pub fn ripen_job(&mut self, order: u64) {
        let node = self.place.node().map(str::to_owned).unwrap_or_default();
        if let Some(state) = self.view.state.nodes.get_mut(&node) {
            state.ripen_job(order);
        }
    }

    /// Decides on the newest state, under the append lock, and writes down what was decided.
    ///
    /// `decide` may be called again, where what it wanted could not be made durable the first time. On a full disk the
    /// reserve is given up for it.
    /// Ensures: when this returns an answer, what was written, or what was found instead, is on stable storage.
    /// Errors: what `decide` refuses; damage; where the disk fails.
    pub fn transact<T>(
        &mut self,
        mut decide: impl FnMut(&NodeState, Timestamp) -> Result<(Vec<Event>, T), Refusal>,
    ) -> Result<T, StoreError> {
        match self.transact_in_room(&mut decide) {
            Err(error) if error.is_full() => {
                // Also where another process has just given it up.
                reserve::give_up(self.disk.as_ref(), &self.place.local());
                self.transact_in_room(&mut decide)
            }
            other => other,
        }
    }

    /// As [`Store::transact`], in the room there is beside the reserve.
    fn transact_in_room<T>(
        &mut self,
        decide: &mut impl FnMut(&NodeState, Timestamp) -> Result<(Vec<Event>, T), Refusal>,
    ) -> Result<T, StoreError> {
        self.establish()?;
        for _ in 0..ATTEMPTS {
            self.read()?;
            let clock = self.clock.clone();
            let (written, answer, expected) = {
                let (mut locked, view, _) = self.lock_and_read()?;
                let node = locked.log.node.clone();
                let now = clock.now();
                let state = view.state.nodes.entry(node.clone()).or_default();
                let (events, answer) = decide(state, now)?;
                let expected = view.cursors.get(&node).cloned();
                let written = match events.is_empty() {
                    true => locked.position(),
                    false => {
                        let size = Config::from_map(state.facts.config.clone()).segment_size();
                        let after = replay::latest_foreign(&view.state, &node, now);
                        locked.write(events, after.unwrap_or(Timestamp::MIN), size)?
                    }
                };
                (written, answer, expected)
            };
            let log = self.log.as_mut().expect("BUG: no log after it was established");
            if log.commit(&written)? == Fate::Durable {
                self.take_in(written, expected);
                return Ok(answer);
            }
        }
        Err(self.gave_up())
    }

    /// Changes the configuration: `decide` gives the new one and the events that tell of it.
    ///
    /// Errors: as [`Store::transact`].
    pub fn configure(
        &mut self,
        decide: impl FnOnce(&Config) -> (Config, Vec<Event>),
    ) -> Result<(), StoreError> {
        self.establish()?;
        self.read()?;
        let written = {
            let (mut locked, _, config) = self.lock_and_read()?;
            let (config, events) = decide(&config);
            if events.is_empty() {
                return Ok(());
            }
            locked.rotate_orderly(Reason::Config, Some(config.map().clone()), events)?;
            locked.position()
        };
        let log = self.log.as_mut().expect("BUG: no log after it was established");
        match log.commit(&written)? {
            Fate::Durable => Ok(()),
            Fate::Again => Err(self.gave_up()),
        }
    }

    /// Makes durable what was read of the own node, so that it may be answered with.
    ///
    /// Writes nothing where the mark says that it is, so that this works in a directory that can only be read.
    pub fn sync_what_was_read(&mut self) -> Result<(), StoreError> {
        if self.is_marked_durable() {
            return Ok(());
        }
        self.transact(|_, _| Ok((Vec::new(), ())))
    }

    fn gave_up(&self) -> StoreError {
        let path = self.place.logs();
        let source = std::io::Error::other("what was written was replaced each time");
        StoreError::Unknown { path, source }
    }

    /// Makes what is missing of the directory, and the node where this machine has none. Before the first write.
    fn establish(&mut self) -> Result<(), StoreError> {
        if self.log.is_some() {
            return Ok(());
        }
        let root = self.place.root().to_owned();
        self.place = Place::establish(self.disk.as_ref(), &root, &self.environment, &mut self.ids)?;
        if let Some(note) = self.degraded() {
            return Err(StoreError::Degraded(note));
        }
        let (disk, clock) = (Arc::clone(&self.disk), self.clock.clone());
        self.log = Some(Log::new(disk, clock, self.place.clone(), self.boot.clone()));
        Ok(())
    }

    /// Takes the append lock and reads the rest of the news under it.
    ///
    /// Errors: [`StoreError::Damaged`], which is noted, so that from now on every writer refuses.
    fn lock_and_read(&mut self) -> Result<(log::Locked<'_>, &mut View, Config), StoreError> {
        let log = self.log.as_mut().expect("BUG: the log is locked before it is established");
        let mut locked = log.lock()?;
        if let Some(note) = append::degraded_note(self.disk.as_ref(), &self.place.local()) {
            return Err(StoreError::Degraded(note));
        }
        let (path, node) = (locked.log.path.clone(), locked.log.node.clone());
        loop {
            let settled = locked.settle();
            let active =
                settled.inspect_err(|error| noting(self.disk.as_ref(), &self.place, error))?;
            let mark = locked.mark().map_err(StoreError::io("read the mark in", &path))?;
            let mark = mark.filter(|mark| mark.node == node);
            let reading = Reading {
                path: &path,
                node: &node,
                mark: mark.as_ref(),
                own: true,
                salvage: false,
            };
            self.view
                .refresh_node(locked.directory.as_ref(), reading)
                .map_err(StoreError::io("read", &path))?;
            if let Some(damage) = self.view.damage.first() {
                // What this process remembers of the end may be of a log that another was written over.
                locked.log.active = None;
                locked.settle()?;
                let error = StoreError::Damaged(damage.clone());
                noting(self.disk.as_ref(), &self.place, &error);
                return Err(error);
            }
            let end = self.view.cursors.get(&node).map(|cursor| (cursor.segment, cursor.offset));
            if end == Some((active.number, active.len)) {
                // An old end that this process remembers may be another's by now.
                if let Some(Damage { what, .. }) = &self.view.rolled_back {
                    let what = what.trim_start_matches("rolled back: ").to_owned();
                    return Err(StoreError::RolledBack { path, what });
                }
                return Ok((locked, &mut self.view, Config::from_map(active.header.config)));
            }
            // A torn line in the middle hides the lines behind it, which a new segment carries over.
            locked.rotate_on_doubt(Reason::Torn, mark.as_ref())?;
        }
    }

    /// Folds what was just written, where the view stands right before it; else the next reading does.
    fn take_in(&mut self, written: append::Written, expected: Option<Cursor>) {
        let node = self.place.node().map(str::to_owned).unwrap_or_default();
        let follows = expected.is_some_and(|cursor| {
            (cursor.segment, cursor.offset) == (written.segment, written.start)
        });
        let Some(state) = self.view.state.nodes.get_mut(&node).filter(|_| follows) else { return };
        self.view.news = self.view.news.saturating_add(written.end - written.start);
        for record in &written.records {
            // What is illegal is listed in the state, as it will be on replay.
            let _ = state.apply(record);
        }
        let (segment, offset, crc) = (written.segment, written.end, written.crc);
        self.view.cursors.insert(node, Cursor { segment, offset, crc });
    }
}

/// Notes damage that was found under the lock, so that every writer refuses until it is repaired. A note that can't be
/// written is no harm: whoever comes next finds the damage again.
fn noting(disk: &dyn Disk, place: &Place, error: &StoreError) {
    if let StoreError::Damaged(what) = error {
        note_damage(disk, place, &what.to_string());
    }
}

/// Notes that nothing must be written, and why, until a repair has ended.
fn note_damage(disk: &dyn Disk, place: &Place, what: &str) {
    let note = || -> std::io::Result<()> {
        let local = disk.open(&place.local(), Open::Directory)?;
        // By the mark alone some damage is told from a torn end, so it has to last as long as the note.
        if let Ok(mark) = local.open_in("mark", Open::Append) {
            let _ = mark.sync_data();
        }
        let file = local.open_in("degraded", Open::ReadWrite)?;
        small_file::give(file.as_ref(), place.owner())?;
        file.write_at(format!("{what}\n").as_bytes(), 0)?;
        file.sync_all()?;
        local.sync_all()
    };
    let _ = note();
}
