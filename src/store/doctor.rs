//! What is in order with a queue and what is not: a row of checks, each with its name, over everything in the
//! directory and what it stands on.
//!
//! Gathers facts and changes nothing in `log/`; probes make a file in `local/` and remove it. Knows no process and no
//! terminal; mending is in `repair.rs`.

mod leftovers;
mod place;
mod probes;
mod state;
mod survey;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::survey::Survey;
use super::disk::{Disk, Handle, Lock, Open, is_no_directory};
use super::replay::View;
use super::{Store, StoreError};

/// How grave it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing was found.
    Ok,
    /// Something that harms nothing, or that mends itself.
    Note,
    /// Something that is not as it should be.
    Fault,
}

impl Level {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Fault => "fault",
        }
    }
}

/// Something that a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How grave it is.
    pub level: Level,
    /// In or of which file.
    pub file: PathBuf,
    /// What it is, with its place in the file.
    pub what: String,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name; these never change.
    pub name: &'static str,
    /// What was found, the first [`Check::KEPT`] of it.
    pub found: Vec<Finding>,
    /// How many more there were.
    pub more: u64,
    /// Why it could not be done, where that is so.
    pub skipped: Option<String>,
    /// What was looked at, in a few words.
    pub summary: String,
    /// What was measured, each with its unit in its name.
    pub measured: Vec<(&'static str, u64)>,
    /// The way out, where something was found that has one.
    pub hint: Option<&'static str>,
    worst: Option<Level>,
}

impl Check {
    /// How many findings of a check are kept.
    pub const KEPT: usize = 100;

    fn new(name: &'static str) -> Self {
        Check {
            name,
            found: Vec::new(),
            more: 0,
            skipped: None,
            summary: String::new(),
            measured: Vec::new(),
            hint: None,
            worst: None,
        }
    }

    fn skipped(name: &'static str, why: impl Into<String>) -> Self {
        Check { skipped: Some(why.into()), ..Check::new(name) }
    }

    /// The gravest of what was found.
    pub fn level(&self) -> Level {
        self.worst.unwrap_or(Level::Ok)
    }

    fn find(&mut self, level: Level, file: &Path, what: impl Into<String>) {
        self.worst = self.worst.max(Some(level));
        if self.found.len() < Check::KEPT {
            self.found.push(Finding { level, file: file.to_owned(), what: what.into() });
        } else {
            self.more += 1;
        }
    }

    fn fault(&mut self, file: &Path, what: impl Into<String>) {
        self.find(Level::Fault, file, what);
    }

    fn note(&mut self, file: &Path, what: impl Into<String>) {
        self.find(Level::Note, file, what);
    }
}

/// What is the case with the own node's log as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It is what it should be.
    Whole,
    /// Its end is torn, which the next writer mends.
    Torn,
    /// Lines are missing or don't hold that were acknowledged, or may have been.
    Damaged,
    /// It is an older copy of itself.
    RolledBack,
}

/// Everything that was looked at.
#[derive(Debug)]
pub struct Report {
    /// The checks, in order.
    pub checks: Vec<Check>,
    /// What is the case with the own node's log.
    pub condition: Condition,
    /// Which lines of the own node are missing: from this `seq` to that one.
    pub missing: Vec<(u64, u64)>,
}

impl Report {
    /// Whether no check found a fault.
    pub fn is_ok(&self) -> bool {
        self.checks.iter().all(|check| check.level() < Level::Fault)
    }
}

/// How often a log is listed again because a file of it was gone by the time it was opened.
const RELISTINGS: usize = 10;

/// How long appenders are waited for, so that nothing changes while what looks wrong is looked at again.
const PATIENCE: Duration = Duration::from_secs(5);

impl Store {
    /// Looks at everything; at nothing where there is no queue. `tell` is told what is looked at next.
    ///
    /// Errors: where the logs can't be read at all.
    pub fn examine(&self, tell: &mut dyn FnMut(&str)) -> Result<Report, StoreError> {
        let logs = self.place.logs();
        if !self.place.exists() {
            let (checks, missing) = (Vec::new(), Vec::new());
            return Ok(Report { checks, condition: Condition::Whole, missing });
        }
        let mut checks = vec![self.check_format(), self.check_identity(), self.check_permissions()];
        checks.push(self.check_files());
        checks.push(self.check_file_system());
        checks.push(self.check_free_space());
        tell("every line of the log");
        let own = match self.place.node() {
            Some(node) => self.survey_own(node).map_err(StoreError::io("read", &logs))?,
            None => Survey::empty(),
        };
        let (condition, missing) = (own.condition(), own.missing.clone());
        checks.extend(own.checks);
        checks.push(self.check_degraded());
        tell("the logs of other machines");
        checks.push(self.check_other_nodes().map_err(StoreError::io("read", &logs))?);
        tell("the whole log again, to fold it");
        let mark = self.read_mark();
        let progress = self.view.progress.clone();
        let mut view = View { progress, ..View::default() };
        view.refresh(self.disk.as_ref(), &logs, self.place.node(), mark.as_ref())
            .map_err(StoreError::io("read", &logs))?;
        checks.push(self.check_events(&view));
        checks.push(self.check_checkpoint(&mut view, condition));
        checks.push(self.check_claims(&view));
        checks.push(self.check_locks(&view));
        checks.push(self.check_temporary_files());
        checks.push(self.check_outputs(&view));
        checks.push(self.check_copies());
        checks.push(self.check_clock(&view));
        tell("the disk and the kernel");
        checks.push(self.check_wake_up());
        checks.push(self.check_sync());
        Ok(Report { checks, condition, missing })
    }

    /// Looks at the own log; where something seems wrong, once more while nobody can append or compact.
    fn survey_own(&self, node: &str) -> io::Result<Survey> {
        let path = self.place.log_dir(node);
        let look = || self.survey(&path, node, self.read_mark());
        let first = look()?;
        if first.is_clean() {
            return Ok(first);
        }
        // In the order in which a repair takes them, or two doctors would wait for each other.
        let held = [self.place.local().join("compact.lock"), path.clone()];
        let held: Vec<_> = held.iter().filter_map(|path| self.hold_still(path)).collect();
        let second = look();
        for handle in &held {
            // Unlocked before the close: a child between fork and exec may hold a copy.
            let _ = handle.unlock();
        }
        second
    }

    /// Keeps out whoever locks this file or directory, for as long as the handle is locked; none where that can't be had.
    pub(super) fn hold_still(&self, path: &Path) -> Option<Box<dyn Handle>> {
        let file = self.disk.open(path, Open::Read).ok()?;
        let mut waited = Duration::ZERO;
        let pause = Duration::from_millis(2);
        while waited < PATIENCE {
            if file.try_lock(Lock::Shared).ok()? {
                return Some(file);
            }
            self.disk.pause(pause);
            waited += pause;
        }
        None
    }

    fn check_degraded(&self) -> Check {
        let mut check = Check::new("degraded");
        if let Some(note) = self.degraded() {
            let what = format!("writers refuse since this was met: {note}");
            check.fault(&self.place.local().join("degraded"), what);
            check.hint = Some("queuectl doctor --repair ends that, once the log is whole");
        }
        check
    }

    fn check_other_nodes(&self) -> io::Result<Check> {
        let mut check = Check::new("other_nodes");
        let mut count = 0_u64;
        for node in names(self.disk.as_ref(), &self.place.logs())? {
            if node.starts_with('.') || Some(node.as_str()) == self.place.node() {
                continue;
            }
            let path = self.place.log_dir(&node);
            let opened = self.disk.open(&path, Open::Directory);
            if opened.as_ref().is_err_and(is_no_directory) {
                continue;
            }
            match self.survey(&path, &node, None) {
                Ok(survey) => {
                    count += 1;
                    let found = survey.checks.into_iter().flat_map(|check| check.found);
                    for finding in found {
                        check.note(&finding.file, finding.what);
                    }
                }
                Err(error) => check.note(&path, format!("cannot be read: {error}")),
            }
        }
        check.summary = counted(count, "other log", "other logs");
        check.hint = (!check.found.is_empty())
            .then_some("what is wrong in another machine's log is mended on that machine");
        Ok(check)
    }

    /// Whether the log of a node is damaged.
    pub(super) fn is_damaged(
        &self,
        path: &Path,
        node: &str,
        mark: Option<super::mark::Mark>,
    ) -> io::Result<bool> {
        Ok(self.survey(path, node, mark)?.condition() == Condition::Damaged)
    }

    /// Reads the log of a node, also where files of it go while it is read.
    fn survey(
        &self,
        path: &Path,
        node: &str,
        mark: Option<super::mark::Mark>,
    ) -> io::Result<Survey> {
        let own = self.place.node() == Some(node);
        for _ in 0..RELISTINGS {
            match Survey::take(self.disk.as_ref(), path, node, own, mark.clone()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => return other,
            }
        }
        Survey::take(self.disk.as_ref(), path, node, own, mark)
    }
}

/// The names in a directory, sorted; none where there is no such directory.
fn names(disk: &dyn Disk, path: &Path) -> io::Result<Vec<String>> {
    let mut names = match disk.open(path, Open::Directory) {
        Ok(directory) => directory.names()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    names.sort();
    Ok(names)
}

/// `1 file`, `3 files`.
fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
#[path = "doctor_tests.rs"]
mod tests;
