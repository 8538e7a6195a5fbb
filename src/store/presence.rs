//! Who is alive: the locks of workers and of runs.
//!
//! A lock lives in an open file, so the kernel frees it when the last process that has the file is gone; no timer and
//! no heartbeat says who lives. Assumes that nobody takes these locks but for the moment of a probe.
//!
//! Ensures: a worker's lock file appears locked, and goes only by whoever holds its lock.
//!
//! Knows nothing of processes: what a number of a process is worth is decided elsewhere.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::disk::{Disk, Handle, Lock, Open, Stat};
use super::ids::{WORKER_SUFFIX, is_suffix};
use super::layout::{self, RunFiles};
use super::small_file::{self, FileError, Owner};
use crate::domain::event::WorkerStarted;
use crate::domain::job::Claim;

pub mod notes;

use notes::{Notes, Process, RECORD};

/// Whether a worker lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// Its lock is held: by itself, or by whoever settles what it left.
    Alive,
    /// Its lock is free.
    Dead,
    /// It has no lock file, which proves nothing: anyone may have deleted it.
    Missing,
}

/// The lock of this process's worker, with what the worker notes of its runs. Dropped without [`WorkerLock::remove`]
/// it is a dead worker's.
pub struct WorkerLock {
    held: Held,
    first: u64,
    records: Mutex<Records>,
}

/// The lock of a dead worker, held until its runs are settled: whoever has it is its only recoverer.
pub struct DeadWorker {
    held: Held,
    notes: Notes,
}

/// An open lock file and its lock, which is unlocked before the close: a child between fork and exec may have a copy.
struct Held {
    path: PathBuf,
    file: Box<dyn Handle>,
    identity: (u64, u64),
}

/// Which records of the file are in use. One is free again once its run is settled, so the file is no longer than the
/// runs that are unsettled at once.
#[derive(Debug, Default)]
struct Records {
    held: HashMap<Claim, u64>,
    free: Vec<u64>,
    next: u64,
}

impl WorkerLock {
    /// Makes the lock file of a new worker.
    ///
    /// Errors: where it cannot be made, or the worker's id is taken.
    pub fn take(
        disk: &dyn Disk,
        run_dir: &Path,
        info: &WorkerStarted,
        owner: Option<Owner>,
    ) -> Result<WorkerLock, FileError> {
        let path = lock_path(run_dir, &info.worker);
        let failed = || FileError::when("make", &path);
        small_file::create_directory(disk, run_dir, owner)?;
        let directory =
            disk.open(run_dir, Open::Directory).map_err(FileError::when("open", run_dir))?;
        let name = file_name(&info.worker);
        let Some(file) = lock_temporary(directory.as_ref(), &name, owner).map_err(failed())? else {
            return Err(failed()(io::ErrorKind::AlreadyExists.into()));
        };
        let stat = file.stat().map_err(failed())?;
        let head = notes::head(info, stat.inode).map_err(failed())?;
        let held = Held { path: path.clone(), file, identity: identity(&stat) };
        held.write(&head, 0).map_err(failed())?;
        if let Err(error) = directory.rename_new(&temporary(&name), &name) {
            // The first error says more than one of the removal would.
            let _ = directory.unlink(&temporary(&name));
            return Err(failed()(error));
        }
        Ok(WorkerLock { held, first: head.len() as u64, records: Mutex::default() })
    }

    /// Whether the lock file still is where others look for it. A worker that finds it is not claims nothing more.
    pub fn is_in_place(&self, disk: &dyn Disk) -> Result<bool, FileError> {
        self.held.is_in_place(disk)
    }

    /// Notes that a run is about to be started. Without this note the run counts as never started.
    ///
    /// Ensures: whoever takes the lock after this process has died sees the note.
    pub fn note_starting(&self, claim: &Claim) -> Result<(), FileError> {
        self.note(claim, None)
    }

    /// Notes which process a run is.
    pub fn note_started(&self, claim: &Claim, process: Process) -> Result<(), FileError> {
        self.note(claim, Some(process))
    }

    /// Frees the note of a run whose outcome is on stable storage. Costs no call to the system.
    pub fn forget(&self, claim: &Claim) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = records.held.remove(claim) {
            records.free.push(index);
        }
    }

    /// Gives the lock up and removes its file. Only for a worker that has settled all its runs.
    pub fn remove(self, disk: &dyn Disk) -> Result<(), FileError> {
        self.held.remove(disk)
    }

    fn note(&self, claim: &Claim, process: Option<Process>) -> Result<(), FileError> {
        let index = self.records.lock().unwrap_or_else(PoisonError::into_inner).give(claim);
        notes::record(claim, process)
            .and_then(|record| self.held.write(&record, self.first + index * RECORD as u64))
            .map_err(FileError::when("write", &self.held.path))
    }
}

impl Records {
    /// The record of a claim; a new one where it has none yet.
    fn give(&mut self, claim: &Claim) -> u64 {
        if let Some(index) = self.held.get(claim) {
            return *index;
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        self.held.insert(claim.clone(), index);
        index
    }
}

impl DeadWorker {
    /// What the worker noted of itself and its runs.
    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Removes the lock file and gives the lock up, once all runs of the worker are settled.
    pub fn settle(self, disk: &dyn Disk) -> Result<(), FileError> {
        self.held.remove(disk)
    }
}

impl Held {
    fn is_in_place(&self, disk: &dyn Disk) -> Result<bool, FileError> {
        match disk.stat(&self.path) {
            Ok(stat) => Ok(identity(&stat) == self.identity),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(FileError::when("look at", &self.path)(error)),
        }
    }

    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut written = 0;
        while written < bytes.len() {
            match self.file.write_at(&bytes[written..], offset + written as u64)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                more => written += more,
            }
        }
        Ok(())
    }

    /// Removes the file, unless the name is another's by now.
    fn remove(self, disk: &dyn Disk) -> Result<(), FileError> {
        if !self.is_in_place(disk)? {
            return Ok(());
        }
        let (Some(run_dir), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return Ok(());
        };
        let directory =
            disk.open(run_dir, Open::Directory).map_err(FileError::when("open", run_dir))?;
        match directory.unlink(&name.to_string_lossy()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(FileError::when("remove", &self.path)),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The close that follows frees it too, unless a copy is about.
        let _ = self.file.unlock();
    }
}

/// The workers of a node that have a lock file, alive or dead.
pub fn workers(disk: &dyn Disk, run_dir: &Path, node: &str) -> Result<Vec<String>, FileError> {
    let directory = match disk.open(run_dir, Open::Directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(FileError::when("open", run_dir))?,
    };
    let names = directory.names().map_err(FileError::when("list", run_dir))?;
    let worker = |name: &String| {
        let worker = name.strip_suffix(".lock")?;
        (is_worker(worker) && node_of(worker) == Some(node)).then(|| worker.to_owned())
    };
    let mut workers: Vec<String> = names.iter().filter_map(worker).collect();
    workers.sort();
    Ok(workers)
}

/// Whether a worker of this machine lives.
pub fn probe(disk: &dyn Disk, run_dir: &Path, worker: &str) -> Result<Liveness, FileError> {
    if !is_worker(worker) {
        return Ok(Liveness::Missing);
    }
    Ok(match probe_lock(disk, &lock_path(run_dir, worker))? {
        None => Liveness::Missing,
        Some(true) => Liveness::Alive,
        Some(false) => Liveness::Dead,
    })
}

/// What a worker has noted, without its lock; none where it has no file.
///
/// While the worker lives, its notes change: a run without note is one that was not started yet.
pub fn read_notes(
    disk: &dyn Disk,
    run_dir: &Path,
    worker: &str,
) -> Result<Option<Notes>, FileError> {
    if !is_worker(worker) {
        return Ok(None);
    }
    let path = lock_path(run_dir, worker);
    match disk.open(&path, Open::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => {
            let file = other.map_err(FileError::when("open", &path))?;
            notes_in(file.as_ref()).map(Some).map_err(FileError::when("read", &path))
        }
    }
}

/// Takes the lock of a dead worker; none where it lives, somebody else is at it, or it has no file.
pub fn take_dead(
    disk: &dyn Disk,
    run_dir: &Path,
    worker: &str,
) -> Result<Option<DeadWorker>, FileError> {
    if !is_worker(worker) {
        return Ok(None);
    }
    let path = lock_path(run_dir, worker);
    // Over a network an exclusive lock needs a file that was opened to be written.
    let file = match disk.open(&path, Open::Append) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(FileError::when("open", &path))?,
    };
    if !file.try_lock(Lock::Exclusive).map_err(FileError::when("lock", &path))? {
        return Ok(None);
    }
    let stat = file.stat().map_err(FileError::when("look at", &path))?;
    let held = Held { path, file, identity: identity(&stat) };
    // Another may have settled it between our open and our lock.
    if !held.is_in_place(disk)? {
        return Ok(None);
    }
    let notes = notes_in(held.file.as_ref()).map_err(FileError::when("read", &held.path))?;
    Ok(Some(DeadWorker { held, notes }))
}

/// Makes and takes a lock file for a dead worker that has none, so that it too has only one recoverer. Its notes prove
/// nothing. None where the worker has a file, or somebody else is at it.
pub fn stand_in(
    disk: &dyn Disk,
    run_dir: &Path,
    worker: &str,
    owner: Option<Owner>,
) -> Result<Option<DeadWorker>, FileError> {
    if !is_worker(worker) {
        return Ok(None);
    }
    let path = lock_path(run_dir, worker);
    let failed = || FileError::when("make", &path);
    small_file::create_directory(disk, run_dir, owner)?;
    let directory =
        disk.open(run_dir, Open::Directory).map_err(FileError::when("open", run_dir))?;
    let name = file_name(worker);
    let Some(file) = lock_temporary(directory.as_ref(), &name, owner).map_err(failed())? else {
        return Ok(None);
    };
    let stat = file.stat().map_err(failed())?;
    let held = Held { path: path.clone(), file, identity: identity(&stat) };
    match directory.rename_new(&temporary(&name), &name) {
        // Where another was faster by two steps, the name is on a file of a third.
        Ok(()) if !held.is_in_place(disk)? => Ok(None),
        Ok(()) => Ok(Some(DeadWorker { held, notes: Notes::default() })),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            directory.unlink(&temporary(&name)).map_err(failed())?;
            Ok(None)
        }
        // Another renamed the file between our open and our lock, and has given it up by now.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed()(error)),
    }
}

/// Whether a process that has one of the files of a run still lives. That they are missing proves nothing.
pub fn is_run_locked(
    disk: &dyn Disk,
    output_dir: &Path,
    files: &RunFiles,
) -> Result<bool, FileError> {
    for file in [&files.out, &files.err, &files.stdin] {
        if probe_lock(disk, &output_dir.join(file))? == Some(true) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Every file of a run that is among the outputs.
pub fn run_files(disk: &dyn Disk, output_dir: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut files = Vec::new();
    for shard in inside(disk, output_dir)? {
        files.extend(inside(disk, &shard)?);
    }
    Ok(files)
}

/// What is in a directory, where it is one.
fn inside(disk: &dyn Disk, path: &Path) -> Result<Vec<PathBuf>, FileError> {
    match disk.open(path, Open::Directory).and_then(|opened| opened.names()) {
        Ok(names) => Ok(names.into_iter().map(|name| path.join(name)).collect()),
        Err(error)
            if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) =>
        {
            Ok(Vec::new())
        }
        Err(error) => Err(FileError::when("list", path)(error)),
    }
}

/// Whether somebody holds the lock of a file; none where there is no such file.
///
/// The probe holds the lock, shared, for a moment: who then fails to take it exclusively must try again.
pub fn probe_lock(disk: &dyn Disk, path: &Path) -> Result<Option<bool>, FileError> {
    let file = match disk.open(path, Open::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(FileError::when("open", path))?,
    };
    let free = file.try_lock(Lock::Shared).map_err(FileError::when("probe the lock of", path))?;
    if free {
        file.unlock().map_err(FileError::when("unlock", path))?;
    }
    Ok(Some(!free))
}

/// Whether a text can be the id of a worker. Logs of others say who claims what, and a path is made of it.
pub fn is_worker(text: &str) -> bool {
    text.rsplit_once('.')
        .is_some_and(|(node, suffix)| layout::is_node(node) && is_suffix(suffix, WORKER_SUFFIX))
}

fn node_of(worker: &str) -> Option<&str> {
    worker.rsplit_once('.').map(|(node, _)| node)
}

/// Opens and locks the file that is to become the lock file; none where another is about to make it.
fn lock_temporary(
    directory: &dyn Handle,
    name: &str,
    owner: Option<Owner>,
) -> io::Result<Option<Box<dyn Handle>>> {
    let file = directory.open_in(&temporary(name), Open::ReadWrite)?;
    if !file.try_lock(Lock::Exclusive)? {
        return Ok(None);
    }
    small_file::give(file.as_ref(), owner)?;
    Ok(Some(file))
}

fn notes_in(file: &dyn Handle) -> io::Result<Notes> {
    let inode = file.stat()?.inode;
    Ok(Notes::parse(&small_file::read_open(file)?, inode))
}

fn lock_path(run_dir: &Path, worker: &str) -> PathBuf {
    run_dir.join(file_name(worker))
}

fn file_name(worker: &str) -> String {
    format!("{worker}.lock")
}

fn temporary(name: &str) -> String {
    format!("{name}.tmp")
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.device, stat.inode)
}

#[cfg(test)]
#[path = "presence_tests.rs"]
mod tests;
