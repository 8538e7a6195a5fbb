//! The real disk, on which something in a directory can't be opened once.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::store::disk::{Disk, Handle, Lock, Open, Stat};
use crate::store::real_disk::RealDisk;

/// What is refused next, and by which error.
type Next = Arc<Mutex<Option<(Open, io::ErrorKind)>>>;

pub(super) struct Refusing(Next);

struct Held(Box<dyn Handle>, Next);

impl Refusing {
    /// The first that is opened in this way is refused.
    pub(super) fn once(how: Open, error: io::ErrorKind) -> Self {
        Refusing(Arc::new(Mutex::new(Some((how, error)))))
    }
}

impl Disk for Refusing {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn Handle>> {
        Ok(Box::new(Held(RealDisk.open(path, how)?, Arc::clone(&self.0))))
    }
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_directory(path)
    }
    fn stat(&self, path: &Path) -> io::Result<Stat> {
        RealDisk.stat(path)
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
        self.0.read_at(buffer, offset)
    }
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.append(bytes)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }
    fn stat(&self) -> io::Result<Stat> {
        self.0.stat()
    }
    fn try_lock(&self, kind: Lock) -> io::Result<bool> {
        self.0.try_lock(kind)
    }
    fn unlock(&self) -> io::Result<()> {
        self.0.unlock()
    }
    fn open_in(&self, name: &str, how: Open) -> io::Result<Box<dyn Handle>> {
        match self.1.lock().unwrap().take_if(|(refused, _)| *refused == how) {
            Some((_, error)) => Err(error.into()),
            None => self.0.open_in(name, how),
        }
    }
    fn stat_in(&self, name: &str) -> io::Result<Stat> {
        self.0.stat_in(name)
    }
    fn names(&self) -> io::Result<Vec<String>> {
        self.0.names()
    }
    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename_new(from, to)
    }
    fn rename_over(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename_over(from, to)
    }
    fn unlink(&self, name: &str) -> io::Result<()> {
        self.0.unlink(name)
    }
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.0.descriptor()
    }
}
