//! The real disk, of which any call can be refused in any way, or be preceded by what somebody else does at that moment.
//!
//! A call is told as what it does to what: `open mark`, `list desk`, `sync 00000001.jsonl`, `rename a.tmp a`. What was
//! done before stays done, synced or not; what a power cut leaves of it is for the simulated disk.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Store;
use super::disk::{Disk, FileSystem, Handle, Lock, Open, Stat};
use super::real_disk::RealDisk;

/// What happens before a call. An error is what the call is answered with, and then it is not made.
type Before = dyn Fn(&str) -> io::Result<()> + Send + Sync;

/// The calls that change something.
const CHANGES: [&str; 6] = ["mkdir", "append", "write", "sync", "rename", "unlink"];

/// A disk on which odd things happen.
#[derive(Clone)]
pub(crate) struct Odd {
    before: Arc<Before>,
    /// What was changed, in order.
    pub(crate) calls: Arc<Mutex<Vec<String>>>,
    /// No more bytes are read or appended in one call.
    step: usize,
    /// A file that is found in the place of another.
    pub(crate) moved: Option<(PathBuf, PathBuf)>,
    /// What kind of file system everything is on, where it is another than the real one.
    pub(crate) kind: Option<FileSystem>,
    /// What is said of a path.
    pub(crate) told: Option<(PathBuf, Stat)>,
}

struct Held {
    inner: Box<dyn Handle>,
    name: String,
    disk: Odd,
}

/// The store with another disk.
pub(super) fn on(disk: Odd, mut store: Store) -> Store {
    store.disk = Arc::new(disk);
    store
}

/// The last part of a path.
pub(crate) fn last(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn is_change(call: &str) -> bool {
    CHANGES.contains(&call.split(' ').next().unwrap_or_default())
}

impl Odd {
    pub(crate) fn new(before: impl Fn(&str) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let (before, calls, step) = (Arc::new(before), Arc::default(), usize::MAX);
        Odd { before, calls, step, moved: None, kind: None, told: None }
    }

    /// Nothing is refused; what is done is told.
    pub(crate) fn watched() -> Self {
        Self::new(|_| Ok(()))
    }

    /// Calls are refused, each by the kind of error that is given for it.
    pub(crate) fn refusing(
        refuse: impl Fn(&str) -> Option<io::ErrorKind> + Send + Sync + 'static,
    ) -> Self {
        Self::new(move |call| refuse(call).map_or(Ok(()), |kind| Err(kind.into())))
    }

    /// Every such call is refused with an error of this kind. Where it is `stored NAME`, stable storage has nothing but
    /// zeros there.
    pub(crate) fn always(refused: &'static str, kind: io::ErrorKind) -> Self {
        Self::refusing(move |call| (call == refused).then_some(kind))
    }

    /// The first such call is refused, and none behind it.
    pub(crate) fn once(refused: &'static str, kind: io::ErrorKind) -> Self {
        let is_due = AtomicBool::new(true);
        let is_it = move |call: &str| call == refused && is_due.swap(false, Ordering::SeqCst);
        Self::refusing(move |call| is_it(call).then_some(kind))
    }

    /// Calls fail, without a kind.
    pub(crate) fn failing(fails: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self::new(move |call| match fails(call) {
            true => Err(io::Error::other("the disk fails")),
            false => Ok(()),
        })
    }

    /// Everything fails from the n-th change on, as for a process that is gone by then.
    pub(crate) fn after(changes: usize) -> Self {
        let left = AtomicUsize::new(changes);
        let less = |left: usize| left.checked_sub(1);
        let is_over = move || left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_err();
        Self::failing(move |call| is_change(call) && is_over())
    }

    /// Reads and appends no more than this at once.
    pub(crate) fn in_steps(step: usize) -> Self {
        Odd { step, ..Self::watched() }
    }

    fn call<T>(
        &self,
        call: &str,
        name: &str,
        make: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let call = format!("{call} {name}");
        (self.before)(&call)?;
        if is_change(&call) {
            self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
        }
        make()
    }

    fn held(&self, inner: Box<dyn Handle>, name: &str) -> Box<dyn Handle> {
        Box::new(Held { inner, name: name.to_owned(), disk: self.clone() })
    }
}

impl Disk for Odd {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn Handle>> {
        let name = last(path);
        let path = self.moved.as_ref().filter(|(old, _)| old == path).map_or(path, |(_, new)| new);
        Ok(self.held(self.call("open", &name, || RealDisk.open(path, how))?, &name))
    }
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.call("mkdir", &last(path), || RealDisk.create_directory(path))
    }
    fn stat(&self, path: &Path) -> io::Result<Stat> {
        match self.told.as_ref().filter(|(told, _)| told == path) {
            Some((_, stat)) => Ok(*stat),
            None => self.call("stat", &last(path), || RealDisk.stat(path)),
        }
    }
    fn file_system(&self, path: &Path) -> io::Result<FileSystem> {
        let kind = || self.kind.map_or_else(|| RealDisk.file_system(path), Ok);
        self.call("kind", &last(path), kind)
    }
    /// One that is refused takes no time.
    fn pause(&self, time: Duration) {
        if (self.before)(&format!("pause {}", time.as_micros())).is_ok() {
            RealDisk.pause(time);
        }
    }
    fn boot(&self) -> io::Result<String> {
        RealDisk.boot()
    }
}

impl Held {
    fn call<T>(&self, call: &str, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.disk.call(call, &self.name, make)
    }
}

impl Handle for Held {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let len = buffer.len().min(self.disk.step);
        self.call("read", || self.inner.read_at(&mut buffer[..len], offset))
    }
    fn read_stable(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let count = self.read_at(buffer, offset)?;
        if self.call("stored", || Ok(())).is_err() {
            buffer[..count].fill(0);
        }
        Ok(count)
    }
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(self.disk.step);
        self.call("append", || self.inner.append(&bytes[..len]))
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.call("write", || self.inner.write_at(bytes, offset))
    }
    fn sync_data(&self) -> io::Result<()> {
        self.call("sync", || self.inner.sync_data())
    }
    fn sync_all(&self) -> io::Result<()> {
        self.call("sync", || self.inner.sync_all())
    }
    fn stat(&self) -> io::Result<Stat> {
        self.call("look", || self.inner.stat())
    }
    fn try_lock(&self, kind: Lock) -> io::Result<bool> {
        self.call("lock", || self.inner.try_lock(kind))
    }
    fn unlock(&self) -> io::Result<()> {
        self.inner.unlock()
    }
    fn open_in(&self, name: &str, how: Open) -> io::Result<Box<dyn Handle>> {
        Ok(self.disk.held(self.disk.call("open", name, || self.inner.open_in(name, how))?, name))
    }
    fn stat_in(&self, name: &str) -> io::Result<Stat> {
        self.disk.call("stat", name, || self.inner.stat_in(name))
    }
    fn names(&self) -> io::Result<Vec<String>> {
        self.call("list", || self.inner.names())
    }
    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        let names = format!("{from} {to}");
        self.disk.call("rename", &names, || self.inner.rename_new(from, to))
    }
    fn rename_over(&self, from: &str, to: &str) -> io::Result<()> {
        let names = format!("{from} {to}");
        self.disk.call("rename", &names, || self.inner.rename_over(from, to))
    }
    fn unlink(&self, name: &str) -> io::Result<()> {
        self.disk.call("unlink", name, || self.inner.unlink(name))
    }
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inner.descriptor()
    }
}
