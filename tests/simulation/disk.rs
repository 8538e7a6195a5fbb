//! The simulated disk: [`Disk`] and [`Handle`] over the simulated machine, as one of its processes sees them.
//!
//! Every call is a turn and may fail as the weather has it. Knows no log and no job.

use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::path::{Component, Path};
use std::sync::MutexGuard;
use std::time::Duration;

use queuectl::store::disk::{Disk, Handle, Lock, Open, Space, Stat};

use crate::files::Holder;
use crate::machine::{Inner, Pace, Process};
use crate::medium::{Inode, ROOT, count};
use crate::pilot::{How, Thing};

/// The disk as a process sees it.
#[derive(Debug)]
pub struct SimulatedDisk<L> {
    pub process: Process<L>,
}

#[derive(Debug)]
struct SimulatedHandle<L: Send> {
    process: Process<L>,
    number: u64,
    inode: Inode,
    how: Open,
}

/// What a call asks of the disk, and so how it may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    /// What is only looked at.
    Looking,
    Reading,
    Room,
}

const INPUT_OUTPUT: i32 = 5;
const NO_SPACE: i32 = 28;
/// How long a change of names is likely to be cut short by a power cut: some calls.
const DELICATE: Duration = Duration::from_micros(50);
/// How many bytes the disk is said to hold.
const SPACE: u64 = 8192;

impl<L: Send + 'static> Disk for SimulatedDisk<L> {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn Handle>> {
        act(&self.process, &|| format!("open {} {how:?}", path.display()), need(how), |inner| {
            let (directory, name) = resolve(inner, path)?;
            open(&self.process, inner, directory, name, how)
        })
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        act(&self.process, &|| format!("mkdir {}", path.display()), Need::Room, |inner| {
            let (directory, name) = resolve(inner, path)?;
            let name = name.ok_or(ErrorKind::AlreadyExists)?;
            inner.touch(Thing::Names(directory), How::Changes);
            inner.touch(Thing::Numbers, How::Changes);
            inner.medium.create(directory, name, false).map(drop)
        })
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        act(&self.process, &|| format!("stat {}", path.display()), Need::Looking, |inner| {
            let (directory, name) = resolve(inner, path)?;
            let inode = match name {
                Some(name) => find(inner, directory, name)?,
                None => directory,
            };
            Ok(stat(inner, inode))
        })
    }

    fn free_space(&self, _path: &Path) -> io::Result<Option<Space>> {
        act(&self.process, &|| "free space".to_owned(), Need::Reading, |inner| {
            let free = if inner.weather.full { 0 } else { SPACE };
            Ok(Some(Space { free, total: SPACE }))
        })
    }

    fn pause(&self, time: Duration) {
        drop(self.process.turn_after(time));
    }

    fn boot(&self) -> io::Result<String> {
        let boot = self.process.machine.lock().boot;
        Ok(format!("{boot:08x}-0000-4000-8000-000000000000"))
    }
}

impl<L: Send + 'static> Handle for SimulatedHandle<L> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let offset = usize::try_from(offset).unwrap();
        self.act(&|| format!("read at {offset}"), Need::Reading, |inner| {
            inner.touch(Thing::Bytes(self.inode), How::Looks);
            inner.medium.read(self.inode, buffer, offset)
        })
    }

    fn read_stable(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let offset = usize::try_from(offset).unwrap();
        self.act(&|| format!("read back at {offset}"), Need::Reading, |inner| {
            inner.touch(Thing::Bytes(self.inode), How::Looks);
            inner.touch(Thing::Stable(self.inode), How::Changes);
            inner.medium.read_stable(self.inode, buffer, offset)
        })
    }

    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        if !matches!(self.how, Open::Append | Open::CreateNew) {
            return Err(ErrorKind::InvalidInput.into());
        }
        self.write(bytes, None)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if self.how != Open::ReadWrite {
            return Err(ErrorKind::InvalidInput.into());
        }
        self.write(bytes, Some(usize::try_from(offset).unwrap()))
    }

    fn sync_data(&self) -> io::Result<()> {
        let (sync, time) = self.act(&|| "begin to sync".to_owned(), Need::Nothing, |inner| {
            let time = Duration::from_micros(inner.random.between(0, inner.weather.sync_time));
            if self.how == Open::Append {
                inner.delicate = inner.delicate.max(inner.clock + time);
            }
            inner.touch(Thing::Bytes(self.inode), How::Looks);
            inner.touch(Thing::Names(self.inode), How::Looks);
            Ok((inner.medium.begin_sync(self.inode), time))
        })?;
        let what = || format!("sync of file {}", self.inode);
        act_after(&self.process, time, &what, Need::Nothing, |inner| {
            inner.touch(Thing::Stable(self.inode), How::Changes);
            let fails = match self.how {
                Open::Directory => inner.weather.name_error,
                _ => inner.weather.sync_error,
            };
            if inner.random.chance(fails) {
                inner.medium.fail_sync(self.inode, &mut inner.random);
                inner.weather.full |= inner.weather.fills_at_error;
                if inner.weather.once {
                    inner.weather.sync_error = 0;
                }
                if self.how == Open::Directory {
                    return Err(io::Error::from_raw_os_error(INPUT_OUTPUT));
                }
            } else {
                inner.medium.finish_sync(self.inode, sync);
            }
            let known = &mut inner.files.get(self.number).known_errors;
            if inner.medium.tell_error(self.inode, known) {
                inner.critical = Some(self.process.number);
                return Err(io::Error::from_raw_os_error(INPUT_OUTPUT));
            }
            Ok(())
        })
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn stat(&self) -> io::Result<Stat> {
        self.act(&|| "stat".to_owned(), Need::Looking, |inner| Ok(stat(inner, self.inode)))
    }

    fn try_lock(&self, kind: Lock) -> io::Result<bool> {
        self.act(&|| format!("lock {kind:?}"), Need::Nothing, |inner| {
            inner.touch(Thing::Lock(self.inode), How::Changes);
            Ok(inner.files.try_lock(self.number, kind))
        })
    }

    fn unlock(&self) -> io::Result<()> {
        self.act(&|| "unlock".to_owned(), Need::Nothing, |inner| {
            inner.touch(Thing::Lock(self.inode), How::Changes);
            inner.files.unlock(self.number);
            inner.released();
            Ok(())
        })
    }

    fn open_in(&self, name: &str, how: Open) -> io::Result<Box<dyn Handle>> {
        let name = single(name)?;
        self.act(&|| format!("open {name} {how:?}"), need(how), |inner| {
            open(&self.process, inner, self.inode, Some(name), how)
        })
    }

    fn stat_in(&self, name: &str) -> io::Result<Stat> {
        let name = single(name)?;
        self.act(&|| format!("stat {name}"), Need::Looking, |inner| {
            let inode = find(inner, self.inode, name)?;
            Ok(stat(inner, inode))
        })
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.act(&|| "names".to_owned(), Need::Reading, |inner| {
            let mut names: Vec<String> = inner.medium.names(self.inode)?.keys().cloned().collect();
            inner.touch(Thing::Names(self.inode), How::Looks);
            // A directory has no order that anybody may count on.
            for last in (1..names.len()).rev().filter(|_| inner.pilot.is_none()) {
                names.swap(last, inner.random.below(last + 1));
            }
            Ok(names)
        })
    }

    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (single(from)?, single(to)?);
        self.act(&|| format!("rename {from} to new {to}"), Need::Room, |inner| {
            if find(inner, self.inode, to).is_ok() {
                return Err(ErrorKind::AlreadyExists.into());
            }
            rename(inner, self.inode, from, to)
        })
    }

    fn rename_over(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (single(from)?, single(to)?);
        self.act(&|| format!("rename {from} over {to}"), Need::Room, |inner| {
            let replaced = find(inner, self.inode, to).ok();
            rename(inner, self.inode, from, to)?;
            if let Some(inode) = replaced {
                inner.touch(Thing::Bytes(inode), How::Changes);
                inner.touch(Thing::Numbers, How::Changes);
                inner.files.forget(inode, &mut inner.medium);
            }
            Ok(())
        })
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let name = single(name)?;
        self.act(&|| format!("unlink {name}"), Need::Reading, |inner| {
            let inode = find(inner, self.inode, name)?;
            for thing in [Thing::Names(self.inode), Thing::Bytes(inode), Thing::Numbers] {
                inner.touch(thing, How::Changes);
            }
            inner.medium.unlink(self.inode, name)?;
            if name == "reserve" && std::mem::take(&mut inner.weather.full) {
                count(&mut inner.medium.sampled, "room made by the reserve");
            }
            inner.delicate = inner.delicate.max(inner.clock + DELICATE);
            inner.files.forget(inode, &mut inner.medium);
            Ok(())
        })
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl<L: Send> Drop for SimulatedHandle<L> {
    fn drop(&mut self) {
        let mut inner = self.process.machine.lock();
        if inner.lives(self.process.number) {
            if inner.files.is_locked(self.number) {
                inner.touch(Thing::Lock(self.inode), How::Changes);
                inner.released();
            }
            if inner.medium.facts(self.inode).links == 0 {
                inner.touch(Thing::Numbers, How::Changes);
            }
            let Inner { files, medium, .. } = &mut *inner;
            files.close(self.number, &Holder::Process(self.process.number), medium);
        }
    }
}

impl<L: Send + 'static> SimulatedHandle<L> {
    fn act<T>(
        &self,
        what: &dyn Fn() -> String,
        need: Need,
        call: impl FnOnce(&mut Inner<L>) -> io::Result<T>,
    ) -> io::Result<T> {
        let what = || format!("{} of file {}", what(), self.inode);
        act(&self.process, &what, need, call)
    }

    fn write(&self, bytes: &[u8], offset: Option<usize>) -> io::Result<usize> {
        let place = || offset.map_or("the end".to_owned(), |offset| offset.to_string());
        self.act(&|| format!("write {} at {}", bytes.len(), place()), Need::Room, |inner| {
            let tears = std::mem::take(&mut inner.weather.tears_once);
            let short = bytes.len() > 1 && (tears || inner.random.chance(inner.weather.short));
            inner.weather.full |= tears;
            let count = match short {
                true => 1 + inner.random.below(bytes.len() - 1),
                false => bytes.len(),
            };
            if short {
                inner.critical = Some(self.process.number);
                inner.weather.full |= inner.weather.fill > 0 && inner.random.chance(300_000);
            }
            inner.touch(Thing::Bytes(self.inode), How::Changes);
            inner.medium.write(self.inode, &bytes[..count], offset);
            Ok(count)
        })
    }
}

/// Makes a call of a process: its turn, then the trouble it may meet, then the call.
fn act<L: Send, T>(
    process: &Process<L>,
    what: &dyn Fn() -> String,
    need: Need,
    call: impl FnOnce(&mut Inner<L>) -> io::Result<T>,
) -> io::Result<T> {
    act_after(process, Duration::ZERO, what, need, call)
}

/// As [`act`], but not before some time has passed.
fn act_after<L: Send, T>(
    process: &Process<L>,
    time: Duration,
    what: &dyn Fn() -> String,
    need: Need,
    call: impl FnOnce(&mut Inner<L>) -> io::Result<T>,
) -> io::Result<T> {
    let pace = if need == Need::Looking { Pace::Same } else { Pace::Step };
    let Some(turn) = process.turn_for(time, pace) else {
        return Err(io::Error::other("the process was killed"));
    };
    let mut inner: MutexGuard<'_, Inner<L>> = turn;
    let outcome = match trouble(&mut inner, need) {
        Some(error) => Err(error),
        None => call(&mut inner),
    };
    let code = outcome.as_ref().err().map_or(0, |error| error.raw_os_error().unwrap_or(1) as u64);
    let error = outcome.as_ref().err().map_or(String::new(), |error| format!(": {error}"));
    inner.note(process.number, || format!("{}{error}", what()), code);
    outcome
}

/// The trouble that a call meets.
fn trouble<L>(inner: &mut Inner<L>, need: Need) -> Option<io::Error> {
    if need != Need::Nothing && inner.random.chance(inner.weather.error) {
        return Some(io::Error::from_raw_os_error(INPUT_OUTPUT));
    }
    if need == Need::Room {
        let change = if inner.weather.full { inner.weather.empty } else { inner.weather.fill };
        inner.weather.full ^= inner.random.chance(change);
        if inner.weather.full {
            return Some(io::Error::from_raw_os_error(NO_SPACE));
        }
    }
    None
}

fn need(how: Open) -> Need {
    match how {
        Open::CreateNew | Open::ReadWrite => Need::Room,
        Open::Read | Open::Append | Open::Directory => Need::Looking,
    }
}

fn open<L: Send + 'static>(
    process: &Process<L>,
    inner: &mut Inner<L>,
    directory: Inode,
    name: Option<&str>,
    how: Open,
) -> io::Result<Box<dyn Handle>> {
    let found = match name {
        Some(name) => find(inner, directory, name),
        None => Ok(directory),
    };
    let inode = match (how, found, name) {
        (Open::CreateNew, Ok(_), _) => return Err(ErrorKind::AlreadyExists.into()),
        (Open::CreateNew | Open::ReadWrite, Err(_), Some(name)) => {
            inner.touch(Thing::Names(directory), How::Changes);
            inner.touch(Thing::Numbers, How::Changes);
            inner.medium.create(directory, name, true)?
        }
        (_, found, _) => found?,
    };
    match (how, inner.medium.facts(inode).directory) {
        (Open::Directory, false) => return Err(ErrorKind::NotADirectory.into()),
        (Open::Append | Open::ReadWrite, true) => return Err(ErrorKind::IsADirectory.into()),
        _ => {}
    }
    let number = inner.files.open(inode, process.number, &mut inner.medium);
    Ok(Box::new(SimulatedHandle { process: process.clone(), number, inode, how }))
}

fn find<L>(inner: &mut Inner<L>, directory: Inode, name: &str) -> io::Result<Inode> {
    inner.touch(Thing::Names(directory), How::Looks);
    inner.medium.find(directory, name)
}

fn rename<L>(inner: &mut Inner<L>, directory: Inode, from: &str, to: &str) -> io::Result<()> {
    inner.touch(Thing::Names(directory), How::Changes);
    inner.delicate = inner.delicate.max(inner.clock + DELICATE);
    inner.medium.rename(directory, from, to)
}

/// Splits a path into the directory that it is in and its name there; the root has no name.
fn resolve<'p, L>(inner: &mut Inner<L>, path: &'p Path) -> io::Result<(Inode, Option<&'p str>)> {
    let mut place = (ROOT, None);
    for component in path.components() {
        let name = match component {
            Component::RootDir | Component::CurDir => continue,
            Component::Normal(name) => name.to_str().unwrap(),
            Component::ParentDir | Component::Prefix(_) => panic!("BUG: {path:?} goes up"),
        };
        if let Some(above) = place.1 {
            place.0 = find(inner, place.0, above)?;
        }
        place.1 = Some(name);
    }
    // What is not a directory has nothing in it, not even a name that is missing.
    inner.medium.names(place.0)?;
    Ok(place)
}

fn stat<L>(inner: &mut Inner<L>, inode: Inode) -> Stat {
    inner.touch(Thing::Bytes(inode), How::Looks);
    let facts = inner.medium.facts(inode);
    Stat {
        inode,
        device: 1,
        len: facts.len,
        links: facts.links,
        mode: if facts.directory { 0o040_700 } else { 0o100_600 },
        uid: 0,
        gid: 0,
        born: Some(1_700_000_000_000_000_000 + facts.born),
    }
}

fn single(name: &str) -> io::Result<&str> {
    match name.is_empty() || name == "." || name == ".." || name.contains('/') {
        true => Err(ErrorKind::InvalidInput.into()),
        false => Ok(name),
    }
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
