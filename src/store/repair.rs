//! Mending what the doctor found, as far as this machine may: nothing is edited or truncated, and what is replaced is
//! moved to `quarantine/`.
//!
//! A damaged log goes on from a base of every line that holds. A crash at any step leaves it as damaged as before or
//! mended, and a second repair finishes. Knows no process and no terminal.

mod unseen;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::compact::Compactor;
use super::disk::{Disk, Handle, Open};
use super::doctor::{Condition, Level, Report};
use super::log::Log;
use super::node::Identity;
use super::replay::{Cursor, View};
use super::rotate::{Reason, Rotation};
use super::segment::SegmentName;
use super::small_file::{self, FileError};
use super::{Store, StoreError, base, checkpoint, note_damage, takeover};
use crate::domain::job::Claim;
use crate::domain::state::NodeState;

/// Something that is done to mend a queue. They are done in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Goes on as a new node that has what the rolled-back log of the old one has.
    TakeOver,
    /// Writes a base of every line that holds, and moves the damaged files away.
    Rebuild,
    /// Moves away copies and what a base stands for.
    MoveAway,
    /// Ends that writers refuse, as the log is whole.
    Reopen,
    /// Begins a new segment behind a torn end.
    BeginSegment,
    /// Settles the runs of dead workers, and removes their locks.
    SettleDead,
    /// Removes files that somebody began and did not finish.
    RemoveTemporary,
    /// Removes what can be made again.
    DropCaches,
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mended {
    /// A sentence each.
    pub done: Vec<String>,
    /// Which lines a rebuild did not find: from this `seq` to that one.
    pub lost: Vec<(u64, u64)>,
    /// Up to this `seq` nothing is lost, whatever was damaged: it had been read before.
    pub remembered: u64,
}

impl Step {
    /// As scripts know it.
    pub fn name(self) -> &'static str {
        match self {
            Step::TakeOver => "take_over",
            Step::Rebuild => "rebuild",
            Step::MoveAway => "move_away",
            Step::Reopen => "reopen",
            Step::BeginSegment => "begin_segment",
            Step::SettleDead => "settle_dead",
            Step::RemoveTemporary => "remove_temporary",
            Step::DropCaches => "drop_caches",
        }
    }

    /// What is done, as a person asks for it.
    pub fn sentence(self) -> &'static str {
        match self {
            Step::TakeOver => "go on as a new node with what the rolled-back log has",
            Step::Rebuild => {
                "write a base of every line that holds, and move the damaged files to quarantine"
            }
            Step::MoveAway => "move copies and replaced files of the own log to quarantine",
            Step::Reopen => "let writers write again",
            Step::BeginSegment => "begin a new segment behind the torn end",
            Step::SettleDead => {
                "end what dead workers left running, settle their runs and remove their locks"
            }
            Step::RemoveTemporary => "remove temporary files",
            Step::DropCaches => "remove caches",
        }
    }
}

/// How long after the latest line of a damaged log the new one begins.
const LATER: Duration = Duration::from_secs(1);

impl Store {
    /// What would mend what was found. Nothing where nothing can be, or need be.
    pub fn repairs(&self, report: &Report) -> Vec<Step> {
        let level = |name: &str| {
            let check = report.checks.iter().find(|check| check.name == name);
            check.map_or(Level::Ok, super::doctor::Check::level)
        };
        let has = |name: &str| level(name) > Level::Ok;
        let mut steps = Vec::new();
        let is_writable = self.place.node().is_some() && self.place.read_only().is_none();
        let identity = self.place.identity(self.disk.as_ref());
        let is_recorded = !matches!(identity, Ok(Identity::Other(_) | Identity::Unwritten));
        if report.condition == Condition::RolledBack && is_writable && is_recorded {
            // What was noted and left is the old node's, and the new one's is looked at next time.
            return vec![Step::TakeOver];
        }
        let is_mine = matches!(identity, Ok(Identity::Same | Identity::Moved))
            && self.place.read_only().is_none();
        if is_mine {
            let is_noted = self.degraded().is_some();
            match report.condition {
                Condition::Damaged => steps.push(Step::Rebuild),
                Condition::Torn => steps.push(Step::BeginSegment),
                Condition::Whole | Condition::RolledBack => {}
            }
            if is_noted {
                steps.push(Step::Reopen);
            }
            if !self.replaced(is_noted).unwrap_or_default().is_empty() {
                steps.push(Step::MoveAway);
            }
            if has("claims") || has("locks") {
                steps.push(Step::SettleDead);
            }
            if has("temporary_files") {
                steps.push(Step::RemoveTemporary);
            }
        }
        if has("checkpoint") || steps.contains(&Step::Rebuild) {
            steps.push(Step::DropCaches);
        }
        steps.sort();
        steps
    }

    /// Does a step, and says what was done, a sentence each. What is done by processes is not done here.
    ///
    /// Errors: where the disk fails. What was done by then stays, and a second repair goes on from there.
    pub fn repair(&mut self, step: Step) -> Result<Mended, StoreError> {
        let done = match step {
            Step::Rebuild => return self.rebuild(&[]),
            Step::MoveAway => self.alone(|store, _| store.move_away()),
            Step::Reopen => self.alone(|store, _| store.reopen()),
            Step::BeginSegment => {
                // Whoever looks at the end before writing begins it.
                self.transact(|_, _| Ok((Vec::new(), ())))?;
                Ok(vec!["a new segment is begun".to_owned()])
            }
            Step::RemoveTemporary => self.alone(|store, _| store.remove_temporary()),
            Step::DropCaches => self.drop_caches(),
            Step::TakeOver => {
                let taken = self.take_over()?;
                let put_back = || "the log is as it was synced again".to_owned();
                Ok(vec![taken.map_or_else(put_back, |taken| taken.to_string())])
            }
            Step::SettleDead => Ok(Vec::new()),
        };
        Ok(Mended { done: done?, ..Mended::default() })
    }

    /// Writes a base of every line that holds and a segment behind it. `live` are the claims of which something runs.
    ///
    /// Errors: [`StoreError::InUse`] where the log has lost such a claim, since its job would be run beside what runs.
    pub fn rebuild(&mut self, live: &[Claim]) -> Result<Mended, StoreError> {
        self.alone(|store, compactor| {
            let Some(mut mended) = store.rebuild_locked(compactor, live)? else {
                return Ok(Mended::default());
            };
            store.forget();
            mended.done.extend(store.move_away()?);
            mended.done.extend(store.drop_caches()?);
            mended.done.extend(store.reopen()?);
            Ok(mended)
        })
    }

    /// Whether the note of damage that a writer met is of a repair that goes on, or gone by now.
    pub fn is_being_repaired(&self) -> bool {
        self.is_held(&self.place.local().join("compact.lock")) || self.degraded().is_none()
    }

    /// Does something while nobody else repairs or compacts.
    fn alone<T: Default>(
        &mut self,
        work: impl FnOnce(&mut Self, &Compactor) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let Some(compactor) = self.compactor() else { return Ok(T::default()) };
        let Some(guard) = compactor.lock()? else { return Err(self.busy()) };
        let outcome = work(self, &compactor);
        // Unlocked before the close: a child between fork and exec may hold a copy.
        let _ = guard.unlock();
        outcome
    }

    /// The own node's state as the checkpoint has it, which is only written of a log that is whole.
    fn checkpointed(&self) -> Option<(NodeState, Cursor)> {
        let node = self.place.node()?;
        let cache = self.cache()?;
        let checkpoint = checkpoint::open(cache.as_ref(), Some(node), &self.boot)?;
        let mut view = checkpoint.load()?;
        Some((view.state.nodes.remove(node)?, view.cursors.remove(node)?))
    }

    /// None where the log is not damaged, as another has mended it since somebody looked.
    fn rebuild_locked(
        &mut self,
        compactor: &Compactor,
        live: &[Claim],
    ) -> Result<Option<Mended>, StoreError> {
        let begin = self.checkpointed();
        let (disk, clock) = (Arc::clone(&self.disk), self.clock.clone());
        let mut log = Log::new(disk, clock, self.place.clone(), self.boot.clone());
        let mut locked = log.lock()?;
        let path = locked.log.path.clone();
        let mark = locked.mark().map_err(StoreError::io("read the mark in", &path))?;
        let mark = mark.filter(|mark| mark.node == locked.log.node);
        let damage = self.is_damaged(&path, &locked.log.node, mark.clone());
        if !damage.map_err(StoreError::io("read", &path))? {
            return Ok(None);
        }
        let left = takeover::left_of(&locked, &locked.log.node);
        let left = left.map_err(StoreError::io("read", &path))?;
        let before = begin.as_ref().map(|(state, _)| state);
        let unseen = unseen::runs(self.disk.as_ref(), &self.place, &left, before)?;
        let live = &[live, &unseen].concat();
        let (directory, mark) = (locked.directory.as_ref(), mark.as_ref());
        // Lines that must stay as they stand may be among the damaged ones; then only what holds is left.
        let salvage = |begin| compactor.salvage(directory, mark, begin, live);
        let salvaged = self.noted(directory, || match begin.map(|begin| salvage(Some(begin))) {
            Some(Ok(salvaged)) => Ok(salvaged),
            Some(Err(_)) | None => salvage(None),
        })?;
        if !salvaged.knows_config {
            let what = "where the newest segment began is lost: settings may be older than what was last set";
            self.notices.push(format!("{what}; see queuectl config list"));
        }
        let (lost, remembered) = (salvaged.lost, salvaged.remembered);
        let mut rotation = Rotation::new(Reason::Repair, salvaged.end.segment + 1);
        rotation.prev = Some(salvaged.end);
        rotation.not_before = salvaged.latest.after(LATER);
        rotation.config = salvaged.config;
        locked.rotate(rotation)?;
        let mut done = vec!["every line that holds is in a new base".to_owned()];
        if remembered > 0 {
            done.push(format!("up to seq {remembered} it is as it was read before the damage"));
        }
        Ok(Some(Mended { done, lost, remembered }))
    }

    /// Does something that ends with a base, under a note: nothing is removed that the base stands for, until it is in
    /// quarantine. Where it comes to no base, nothing was done, and the note goes unless it stood there before.
    fn noted<T>(
        &self,
        directory: &dyn Handle,
        work: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.degraded().is_some() {
            return work();
        }
        let before = count_bases(directory);
        note_damage(self.disk.as_ref(), &self.place, "a repair was begun and did not end");
        work().inspect_err(|_| {
            if before.is_some() && before == count_bases(directory) {
                // Where it can't go, it says what is true.
                let _ = unlink(self.disk.as_ref(), &self.place.local().join("degraded"));
            }
        })
    }

    /// Files of the own log that are of no use there: copies; bases that are not whole beside one that is, or beside what
    /// they stand for; and, where a repair was begun, what the newest base stands for.
    fn replaced(&self, is_noted: bool) -> io::Result<Vec<PathBuf>> {
        let Some(node) = self.place.node() else { return Ok(Vec::new()) };
        let path = self.place.log_dir(node);
        let directory = self.disk.open(&path, Open::Directory)?;
        let mut names = directory.names()?;
        names.sort();
        let parsed: Vec<SegmentName> =
            names.iter().filter_map(|name| SegmentName::parse(name)).collect();
        let newest = base::newest(directory.as_ref(), &parsed)?.map_or(0, |base| base.last);
        let has = |number| parsed.contains(&SegmentName::Segment(number));
        let copies = self.copies();
        let mut replaced = Vec::new();
        for name in names {
            let file = path.join(&name);
            let is_replaced = match SegmentName::parse(&name) {
                Some(SegmentName::Segment(number)) => is_noted && number <= newest,
                Some(SegmentName::Base(_, last)) if last < newest => is_noted,
                Some(SegmentName::Base(first, last)) => {
                    (last > newest && (first..=last).all(has))
                        || (is_noted
                            && last == newest
                            && base::open(directory.as_ref(), first, last)?.is_none())
                }
                None => copies.contains(&file),
            };
            if is_replaced {
                replaced.push(file);
            }
        }
        Ok(replaced)
    }

    /// Moves what is of no use to a new directory in `quarantine/`.
    fn move_away(&mut self) -> Result<Vec<String>, StoreError> {
        let log = self.place.logs();
        let files = self.replaced(self.degraded().is_some());
        let files = files.map_err(StoreError::io("look into", &log))?;
        let Some(above) = files.first().and_then(|file| file.parent()).map(Path::to_owned) else {
            return Ok(Vec::new());
        };
        let quarantine = self.make_quarantine()?;
        for file in &files {
            let Some(name) = file.file_name() else { continue };
            let moved = self.disk.rename(file, &quarantine.join(name));
            moved.map_err(StoreError::io("move to quarantine", file))?;
        }
        for directory in [&quarantine, &above] {
            small_file::sync_directory(self.disk.as_ref(), directory).map_err(of_file)?;
        }
        let count = files.len();
        let noun = if count == 1 { "file" } else { "files" };
        Ok(vec![format!("moved {count} {noun} to {}", quarantine.display())])
    }

    /// A directory of its own for what is moved away now.
    fn make_quarantine(&self) -> Result<PathBuf, StoreError> {
        let (disk, owner) = (self.disk.as_ref(), self.place.owner());
        let all = self.place.local().join("quarantine");
        small_file::create_directory(disk, &all, owner).map_err(of_file)?;
        let now: String = self.now().to_string().replace([':', '-'], "");
        let mut at = all.join(&now);
        let mut more = 1_u32;
        while !small_file::create_directory(disk, &at, owner).map_err(of_file)? {
            more += 1;
            at = all.join(format!("{now}-{more}"));
        }
        for directory in [&self.place.local(), &all] {
            small_file::sync_directory(disk, directory).map_err(of_file)?;
        }
        Ok(at)
    }

    /// Takes the note away that keeps writers from writing, where the log is whole.
    fn reopen(&mut self) -> Result<Vec<String>, StoreError> {
        let local = self.place.local();
        let failed = || StoreError::io("end the degraded state in", &local);
        let mut view = View::default();
        let (own, mark, logs) = (self.place.node(), self.read_mark(), self.place.logs());
        view.refresh(self.disk.as_ref(), &logs, own, mark.as_ref()).map_err(failed())?;
        if let Some(damage) = view.damage.into_iter().chain(view.rolled_back).next() {
            return Err(StoreError::Damaged(damage));
        }
        let directory = self.disk.open(&local, Open::Directory).map_err(failed())?;
        match directory.unlink("degraded") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(failed())?,
        }
        directory.sync_all().map_err(failed())?;
        Ok(vec!["writers write again".to_owned()])
    }

    /// Removes temporary files, while nobody can be writing one.
    fn remove_temporary(&mut self) -> Result<Vec<String>, StoreError> {
        let log = self.place.node().map(|node| self.place.log_dir(node));
        let still = log.and_then(|log| self.hold_still(&log));
        let mut done = Vec::new();
        for path in self.temporary_files() {
            if !self.is_held(&path) {
                unlink(self.disk.as_ref(), &path)?;
                done.push(format!("removed {}", path.display()));
            }
        }
        if let Some(held) = still {
            let _ = held.unlock();
        }
        Ok(done)
    }

    /// Whether somebody has the file locked, as a worker has that is about to name its lock.
    fn is_held(&self, path: &Path) -> bool {
        let probe = super::presence::probe_lock(self.disk.as_ref(), path);
        probe.is_ok_and(|held| held == Some(true))
    }

    fn drop_caches(&mut self) -> Result<Vec<String>, StoreError> {
        let path = self.place.cache_dir();
        let mut count = 0;
        let names = self.cache().and_then(|cache| cache.names().ok()).unwrap_or_default();
        // A directory that somebody has put in its place may have other things in it.
        for name in names.into_iter().filter(|name| checkpoint::is_own(name)) {
            unlink(self.disk.as_ref(), &path.join(name))?;
            count += 1;
        }
        self.forget();
        Ok(if count > 0 {
            vec![format!("removed the caches in {}", path.display())]
        } else {
            Vec::new()
        })
    }

    /// Lets go of what was read, which is read anew.
    fn forget(&mut self) {
        let progress = self.view.progress.clone();
        (self.view, self.look, self.log) = (View { progress, ..View::default() }, None, None);
        // A checkpoint of before is of no use.
        self.is_loaded = true;
    }

    fn busy(&self) -> StoreError {
        let path = self.place.local().join("compact.lock");
        let source = io::Error::other("a compaction is running; try again");
        StoreError::Io { action: "lock", path, source }
    }
}

/// How many bases have their name; none where that can't be seen.
fn count_bases(directory: &dyn Handle) -> Option<usize> {
    let is_base = |name: &String| matches!(SegmentName::parse(name), Some(SegmentName::Base(..)));
    Some(directory.names().ok()?.iter().filter(|name| is_base(name)).count())
}

fn unlink(disk: &dyn Disk, path: &Path) -> Result<(), StoreError> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let directory: io::Result<Box<dyn Handle>> = disk.open(above, Open::Directory);
    match directory.and_then(|directory| directory.unlink(&name.to_string_lossy())) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(StoreError::io("remove", path)),
    }
}

fn of_file(error: FileError) -> StoreError {
    StoreError::Io { action: error.action, path: error.path, source: error.source }
}

#[cfg(test)]
#[path = "repair_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "repair/steps_tests.rs"]
mod steps_tests;
