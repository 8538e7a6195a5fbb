//! The real disk, of which any call can be refused in any way, or be preceded by what somebody else does at that moment.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Store;
use super::disk::{Disk, FileSystem, Handle, Lock, Open, Stat};
use super::failing_disk::last;
use super::real_disk::RealDisk;

/// What happens before a call, which is told as its name and the last part of its path.
type Before = dyn Fn(&str) -> io::Result<()> + Send + Sync;

/// A disk on which odd things happen.
#[derive(Clone)]
pub(super) struct Odd {
    before: Arc<Before>,
    /// A file that is found in the place of another.
    pub(super) moved: Option<(PathBuf, PathBuf)>,
    /// What kind of file system everything is on, where it is another than the real one.
    pub(super) kind: Option<FileSystem>,
    /// What is said of a path.
    pub(super) told: Option<(PathBuf, Stat)>,
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

impl Odd {
    pub(super) fn new(before: impl Fn(&str) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Odd { before: Arc::new(before), moved: None, kind: None, told: None }
    }

    /// Calls are refused, each by the kind of error that is given for it.
    pub(super) fn refusing(
        refuse: impl Fn(&str) -> Option<io::ErrorKind> + Send + Sync + 'static,
    ) -> Self {
        Self::new(move |call| refuse(call).map_or(Ok(()), |kind| Err(kind.into())))
    }

    fn call<T>(
        &self,
        call: &str,
        name: &str,
        make: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        (self.before)(&format!("{call} {name}"))?;
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
    /// Takes no time.
    fn pause(&self, time: Duration) {
        let _ = (self.before)(&format!("pause {}", time.as_micros()));
    }
    fn boot(&self) -> io::Result<String> {
        RealDisk.boot()
    }
}

impl Handle for Held {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.call("read", &self.name, || self.inner.read_at(buffer, offset))
    }
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.call("append", &self.name, || self.inner.append(bytes))
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.disk.call("write", &self.name, || self.inner.write_at(bytes, offset))
    }
    fn sync_data(&self) -> io::Result<()> {
        self.disk.call("sync", &self.name, || self.inner.sync_data())
    }
    fn sync_all(&self) -> io::Result<()> {
        self.disk.call("sync", &self.name, || self.inner.sync_all())
    }
    fn stat(&self) -> io::Result<Stat> {
        self.disk.call("look", &self.name, || self.inner.stat())
    }
    fn try_lock(&self, kind: Lock) -> io::Result<bool> {
        self.disk.call("lock", &self.name, || self.inner.try_lock(kind))
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
        self.disk.call("list", &self.name, || self.inner.names())
    }
    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.call("rename", from, || self.inner.rename_new(from, to))
    }
    fn rename_over(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.call("rename", from, || self.inner.rename_over(from, to))
    }
    fn unlink(&self, name: &str) -> io::Result<()> {
        self.disk.call("unlink", name, || self.inner.unlink(name))
    }
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inner.descriptor()
    }
}
