//! The real disk, of which changes and looks at names fail: as for a process that is ended in the midst of something, or as on one that
//! breaks.
//!
//! What was done before stays done, synced or not; what a power cut leaves of it is for the simulated disk.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::disk::{Disk, FileSystem, Handle, Lock, Open, Stat};
use super::real_disk::RealDisk;

/// A disk on which some calls fail.
#[derive(Clone)]
pub(crate) struct Failing {
    /// Whether a call fails, of those that are made in order.
    fails: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    /// What was done, in order.
    pub(crate) calls: Arc<Mutex<Vec<String>>>,
}

struct Held {
    inner: Box<dyn Handle>,
    name: String,
    disk: Failing,
}

impl Failing {
    /// Everything fails from the n-th change on, as for a process that is gone by then.
    pub(crate) fn after(calls: usize) -> Self {
        let left = AtomicUsize::new(calls);
        let less = |left: usize| left.checked_sub(1);
        let is_over = move || left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_err();
        let is_look = |call: &str| call.starts_with("look at ") || call.starts_with("open ");
        Failing { fails: Arc::new(move |call| !is_look(call) && is_over()), calls: Arc::default() }
    }

    /// Nothing can be appended once it is broken.
    pub(crate) fn once(is_broken: Arc<AtomicBool>) -> Self {
        Self::where_it(move |call| call.starts_with("append ") && is_broken.load(Ordering::SeqCst))
    }

    /// Some calls fail, whenever they are made.
    pub(crate) fn where_it(fails: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Failing { fails: Arc::new(fails), calls: Arc::default() }
    }

    fn change<T>(&self, call: String, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if (self.fails)(&call) {
            return Err(io::Error::other("the disk fails"));
        }
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
        change()
    }

    fn look<T>(&self, call: String, look: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if (self.fails)(&call) {
            return Err(io::Error::other("the disk fails"));
        }
        look()
    }

    fn held(&self, inner: Box<dyn Handle>, name: &str) -> Box<dyn Handle> {
        Box::new(Held { inner, name: name.to_owned(), disk: self.clone() })
    }
}

/// The last part of a path.
pub(crate) fn last(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Disk for Failing {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn Handle>> {
        Ok(self.held(RealDisk.open(path, how)?, &last(path)))
    }
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.change(format!("mkdir {}", last(path)), || RealDisk.create_directory(path))
    }
    fn stat(&self, path: &Path) -> io::Result<Stat> {
        RealDisk.stat(path)
    }
    fn file_system(&self, path: &Path) -> io::Result<FileSystem> {
        RealDisk.file_system(path)
    }
    fn pause(&self, time: Duration) {
        RealDisk.pause(time);
    }
    fn boot(&self) -> io::Result<String> {
        RealDisk.boot()
    }
}

impl Handle for Held {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.change(format!("append {}", self.name), || self.inner.append(bytes))
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.disk.change(format!("write {}", self.name), || self.inner.write_at(bytes, offset))
    }
    fn sync_data(&self) -> io::Result<()> {
        self.disk.change(format!("sync {}", self.name), || self.inner.sync_data())
    }
    fn sync_all(&self) -> io::Result<()> {
        self.disk.change(format!("sync {}", self.name), || self.inner.sync_all())
    }
    fn stat(&self) -> io::Result<Stat> {
        self.inner.stat()
    }
    fn try_lock(&self, kind: Lock) -> io::Result<bool> {
        self.inner.try_lock(kind)
    }
    fn unlock(&self) -> io::Result<()> {
        self.inner.unlock()
    }
    fn open_in(&self, name: &str, how: Open) -> io::Result<Box<dyn Handle>> {
        let inner = self.disk.look(format!("open {name}"), || self.inner.open_in(name, how))?;
        Ok(self.disk.held(inner, name))
    }
    fn stat_in(&self, name: &str) -> io::Result<Stat> {
        self.disk.look(format!("look at {name}"), || self.inner.stat_in(name))
    }
    fn names(&self) -> io::Result<Vec<String>> {
        self.inner.names()
    }
    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.change(format!("rename {from} {to}"), || self.inner.rename_new(from, to))
    }
    fn rename_over(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.change(format!("rename {from} {to}"), || self.inner.rename_over(from, to))
    }
    fn unlink(&self, name: &str) -> io::Result<()> {
        self.disk.change(format!("unlink {name}"), || self.inner.unlink(name))
    }
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inner.descriptor()
    }
}
