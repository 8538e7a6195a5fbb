//! The way out of a log that was rolled back: a new node takes over what is left of it.
//!
//! The new log is written whole under a name that nobody reads, then the directory is given the new node, and then the
//! log its name. A crash before that leaves the old node, still refused; after it, the next write finishes what was begun.
//! The old log stays as it is. That no process of a job lives is for the caller to see: only files are known here.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::clock::Clock;
use super::disk::{Disk, Open};
use super::error::StoreError;
use super::log::{Locked, Log};
use super::node::{NodeError, Place};
use super::presence::{self, Liveness};
use super::replay::{self, Damage, Reading, View};
use super::rotate::{Reason, Rotation};
use super::small_file;
use super::{Store, line, mark, segment};
use crate::domain::event::Event;
use crate::domain::state::NodeState;
use crate::domain::takeover;
use crate::domain::timestamp::Timestamp;

/// What a new node took over. Said aloud, it is the one notice of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Takeover {
    /// The node whose log was rolled back.
    pub from: String,
    /// The node that goes on in its stead.
    pub to: String,
    /// The `seq` of the last line that was left.
    pub upto: u64,
    /// The `seq` of the last line that is known to have been there.
    pub synced: Option<u64>,
    /// How many jobs were left.
    pub taken: u64,
    /// How many of those are held.
    pub held: u64,
    /// What was wrong with what was left.
    pub damage: Vec<Damage>,
}

impl std::fmt::Display for Takeover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Takeover { from, to, upto, synced, taken, held, .. } = self;
        write!(f, "the log of node {from} was rolled back: ")?;
        match synced.and_then(|synced| synced.checked_sub(*upto)) {
            Some(0) | None => write!(f, "what stands there is not what was synced")?,
            Some(1) => write!(f, "the line of seq {} is missing", upto + 1)?,
            Some(missing) => {
                write!(f, "{missing} lines, seq {} to {}, are missing", upto + 1, upto + missing)?;
            }
        }
        write!(f, "; node {to} goes on in its stead, with {taken} jobs")?;
        if *held > 0 {
            write!(f, ", of which {held} are held until they are retried or cancelled")?;
        }
        Ok(())
    }
}

impl Store {
    /// Gives this machine a new node that takes over from the old one, where the log of that was rolled back; none
    /// where it was not.
    ///
    /// Expects: no process carries a claim of the node.
    /// Ensures: the new node and all that it took over are on stable storage. May be called again after any failure.
    /// Errors: [`StoreError::InUse`] while a worker lives or a run's lock is held; where the disk fails.
    pub fn take_over(&mut self) -> Result<Option<Takeover>, StoreError> {
        let old = Place::find(self.disk.as_ref(), self.place.root(), &self.environment)?;
        if !old.exists() {
            return Ok(None);
        }
        let mut place = old.clone();
        let (disk, boot, clock) = (Arc::clone(&self.disk), self.boot.clone(), self.clock.clone());
        let mut taken = None;
        let stage = |new: &Place, staged: &Path| -> Result<bool, StoreError> {
            let scene = Scene { disk: &disk, old: &old, boot: &boot, clock: &clock };
            taken = scene.stage(new, staged)?;
            Ok(taken.is_some())
        };
        let is_new = place.succeed(self.disk.as_ref(), &self.environment, &mut self.ids, stage)?;
        let Some(taken) = taken.filter(|_| is_new) else { return Ok(None) };
        self.place = place;
        (self.view, self.look, self.log) = (View::default(), None, None);
        // What was noted is of the old log, which nobody writes any more.
        let local = self.place.local();
        let opened =
            self.disk.open(&local, Open::Directory).map_err(StoreError::io("open", &local))?;
        match opened.unlink("degraded") {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::io("remove the note of damage in", &local)(error));
            }
            _ => {}
        }
        // The mark is of the new node from here on.
        self.transact(|_, _| Ok((Vec::new(), ())))?;
        self.settle_dead(&taken.from)?;
        Ok(Some(taken))
    }

    /// Removes the locks of dead workers of a node that is left: their runs are settled.
    fn settle_dead(&self, node: &str) -> Result<(), NodeError> {
        let (disk, run_dir) = (self.disk.as_ref(), self.place.run_dir());
        for worker in presence::workers(disk, &run_dir, node)? {
            if let Some(dead) = presence::take_dead(disk, &run_dir, &worker)? {
                dead.settle(disk)?;
            }
        }
        Ok(())
    }
}

/// What is taken over, and by what means.
struct Scene<'a> {
    disk: &'a Arc<dyn Disk>,
    old: &'a Place,
    boot: &'a str,
    clock: &'a Clock,
}

impl Scene<'_> {
    /// Writes the log of the new node in the directory `staged`; none where there is nothing to be taken over.
    fn stage(&self, new: &Place, staged: &Path) -> Result<Option<Takeover>, StoreError> {
        let (Some(from), Some(to)) = (self.old.node(), new.node()) else { return Ok(None) };
        // Held all the while, so nobody writes there, also where the log is put back meanwhile.
        let mut log = self.log(self.old);
        let mut damaged = None;
        let locked = match log.lock() {
            Err(StoreError::Place(NodeError::LogMissing(_))) => None,
            locked => {
                let mut locked = locked?;
                match locked.settle() {
                    Err(StoreError::RolledBack { .. }) => {}
                    // It may be that too: of the active segment not even the header is left.
                    Err(StoreError::Damaged(damage)) => damaged = Some(damage),
                    settled => return settled.map(|_| None),
                }
                Some(locked)
            }
        };
        self.see_that_nobody_works(from)?;
        let mark = self.mark()?.filter(|mark| mark.node == from);
        let (logs, mut view) = (self.old.logs(), View::default());
        view.refresh(self.disk.as_ref(), &logs, Some(from), mark.as_ref())
            .map_err(StoreError::io("read", &logs))?;
        if let (Some(damage), None) = (damaged, &view.rolled_back) {
            return Err(StoreError::Damaged(damage));
        }
        let now = self.clock.now();
        let left = match &locked {
            Some(locked) => left_of(locked, from).map_err(StoreError::io("read", &logs))?,
            None => NodeState::default(),
        };
        let synced = mark.as_ref().map(|mark| mark.seq);
        let mut events = takeover::take_over(&left, from, synced, now);
        events.iter_mut().try_for_each(fit)?;
        let after = replay::latest_foreign(&view.state, to, now).unwrap_or(Timestamp::MIN);
        let is_held = |event: &&Event| matches!(event, Event::Taken(e) if e.state.held.is_some());
        let (taken, held) = (left.jobs().count(), events.iter().filter(is_held).count());
        self.write(new, staged, left.facts.config, after, events)?;
        Ok(Some(Takeover {
            from: from.to_owned(),
            to: to.to_owned(),
            upto: left.facts.last_seq,
            synced,
            taken: taken as u64,
            held: held as u64,
            damage: view.damage,
        }))
    }

    fn log(&self, place: &Place) -> Log {
        Log::new(Arc::clone(self.disk), self.clock.clone(), place.clone(), self.boot.to_owned())
    }

    fn mark(&self) -> Result<Option<mark::Mark>, StoreError> {
        let path = self.old.mark();
        match self.disk.open(&path, Open::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => file
                .and_then(|file| mark::read(file.as_ref()))
                .map_err(StoreError::io("read", &path)),
        }
    }

    /// Writes the one segment of the new log, whole and durably.
    fn write(
        &self,
        new: &Place,
        staged: &Path,
        config: std::collections::BTreeMap<String, String>,
        after: Timestamp,
        events: Vec<Event>,
    ) -> Result<(), StoreError> {
        let disk = self.disk.as_ref();
        small_file::create_directories(disk, &new.logs()).map_err(NodeError::from)?;
        small_file::create_directory(disk, staged, new.owner()).map_err(NodeError::from)?;
        let mut log = self.log(new);
        staged.clone_into(&mut log.path);
        let mut locked = log.lock()?;
        // Whoever began this before got no further.
        match locked.directory.unlink(&segment::file_name(1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::io("make anew what is in", staged)(error));
            }
            _ => {}
        }
        let mut rotation = Rotation::new(Reason::First, 1);
        (rotation.not_before, rotation.config, rotation.events) = (after, config, events);
        locked.rotate(rotation).map(drop)
    }

    /// Sees that no worker of the node lives, and no process has the files of a run.
    fn see_that_nobody_works(&self, node: &str) -> Result<(), StoreError> {
        let (disk, run_dir) = (self.disk.as_ref(), self.old.run_dir());
        for worker in presence::workers(disk, &run_dir, node).map_err(NodeError::from)? {
            let liveness = presence::probe(disk, &run_dir, &worker).map_err(NodeError::from)?;
            if liveness == Liveness::Alive {
                return Err(StoreError::InUse(format!("worker {worker} lives")));
            }
        }
        for path in presence::run_files(disk, &self.old.output_dir()).map_err(NodeError::from)? {
            if presence::probe_lock(disk, &path).map_err(NodeError::from)? == Some(true) {
                let what = format!("a job still runs that has {}", path.display());
                return Err(StoreError::InUse(what));
            }
        }
        Ok(())
    }
}

/// What every line that holds of a log adds up to, in whatever order they stand by now.
pub(super) fn left_of(locked: &Locked, node: &str) -> io::Result<NodeState> {
    let path = locked.log.path.as_path();
    let reading = Reading { path, node, mark: None, own: true, salvage: true };
    let mut view = View::default();
    view.refresh_node(locked.directory.as_ref(), reading)?;
    Ok(view.state.nodes.remove(node).unwrap_or_default())
}

/// Makes a job fit into a line, by what it printed and then by all of its runs but the last.
///
/// Errors: where its command and variables alone are too long.
fn fit(event: &mut Event) -> Result<(), StoreError> {
    let len = |event: &Event| line::encode(u64::MAX, Timestamp::MIN, Timestamp::MAX, event).len();
    if len(event) <= line::LONGEST {
        return Ok(());
    }
    if let Event::Taken(taken) = event {
        taken.state.runs.iter_mut().for_each(|run| run.tail = None);
    }
    if len(event) <= line::LONGEST {
        return Ok(());
    }
    if let Event::Taken(taken) = event {
        let runs = &mut taken.state.runs;
        runs.drain(..runs.len().saturating_sub(1));
    }
    match len(event) {
        len if len > line::LONGEST => Err(StoreError::TooLong { len, limit: line::LONGEST }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::bytes::Bytes;
    use crate::domain::event::Record;
    use crate::domain::job::{Claim, Run, Tail};
    use crate::store::store_tests::job;

    #[test]
    fn what_was_missing_and_is_held_is_told_where_there_is_any() {
        let told = |synced, held| {
            let (from, to) = ("old".to_owned(), "new".to_owned());
            Takeover { from, to, upto: 3, synced, taken: 2, held, damage: Vec::new() }.to_string()
        };
        let other = "the log of node old was rolled back: what stands there is not what was synced; \
                     node new goes on in its stead, with 2 jobs";
        for synced in [None, Some(2), Some(3)] {
            assert_eq!(told(synced, 0), other);
        }
        assert!(told(Some(4), 1).contains("the line of seq 4 is missing"), "{}", told(Some(4), 1));
        assert!(told(Some(5), 0).contains("2 lines, seq 4 to 5, are missing"));
        assert!(
            told(None, 1)
                .ends_with("jobs, of which 1 are held until they are retried or cancelled")
        );
    }

    fn len(event: &Event) -> usize {
        line::encode(u64::MAX, Timestamp::MIN, Timestamp::MAX, event).len()
    }

    /// A job of two runs, taken over: it has `command` bytes to run, and printed `tail` bytes in each.
    fn taken(command: usize, tail: usize) -> Event {
        let mut spec = job("a");
        spec.command = Some(Bytes(vec![b'x'; command]));
        let (mut state, at) = (NodeState::default(), "2026-02-02T03:04:05Z".parse().unwrap());
        let event = Event::Enqueued(Box::new(spec));
        state.apply(&Record { seq: 1, ts: at, wall: None, event }).unwrap();
        let mut events = takeover::take_over(&state, "old", None, at);
        let Some(Event::Taken(mut taken)) = events.pop() else { panic!("{events:?}") };
        taken.state.runs = (1..=2)
            .map(|run| {
                let claim = Claim::new("desk.2abcdefg", 1);
                let tail = (tail > 0).then(|| Tail { out: "o".repeat(tail), err: String::new() });
                let (finished_at, result, ms, error) = (None, None, None, None);
                Run { run, claim, started_at: at, finished_at, result, ms, error, tail }
            })
            .collect();
        Event::Taken(taken)
    }

    /// What the job has left, as the number of each run and whether it has what was printed; none where it is too long.
    fn fitted(mut event: Event) -> Option<Vec<(u32, bool)>> {
        fit(&mut event).ok()?;
        assert!(len(&event) <= line::LONGEST);
        let Event::Taken(taken) = event else { panic!() };
        Some(taken.state.runs.iter().map(|run| (run.run, run.tail.is_some())).collect())
    }

    #[test]
    fn a_job_is_cut_no_more_than_it_must_be() {
        let whole = line::LONGEST - len(&taken(0, 9));
        let silent = line::LONGEST - len(&taken(0, 0));
        let mut one = taken(0, 0);
        let Event::Taken(last) = &mut one else { panic!() };
        last.state.runs.remove(0);
        let bare = line::LONGEST - len(&one);
        assert_eq!(fitted(taken(whole, 9)), Some(vec![(1, true), (2, true)]));
        assert_eq!(fitted(taken(whole + 1, 9)), Some(vec![(1, false), (2, false)]));
        assert_eq!(fitted(taken(silent, 9)), Some(vec![(1, false), (2, false)]));
        assert_eq!(fitted(taken(silent + 1, 9)), Some(vec![(2, false)]));
        assert_eq!(fitted(taken(bare, 9)), Some(vec![(2, false)]));
        assert_eq!(fitted(taken(bare + 1, 9)), None);
    }
}
