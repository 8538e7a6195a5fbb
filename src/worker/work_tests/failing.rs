//! A worker whose disk fails under it.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::{Queue, Told, drain};
use crate::domain::job::JobState;
use crate::store::disk::{Disk, Handle, Lock, Open, Stat};
use crate::store::real_disk::RealDisk;
use crate::worker::reporter::Notice;
use crate::worker::{WorkerError, WorkerOptions, work};

/// The real disk until it is broken: then nothing can be appended any more.
#[derive(Clone, Default)]
struct Breaking {
    is_broken: Arc<AtomicBool>,
}

struct Opened {
    inner: Box<dyn Handle>,
    disk: Breaking,
}

impl Breaking {
    fn wrap(&self, inner: Box<dyn Handle>) -> Box<dyn Handle> {
        Box::new(Opened { inner, disk: self.clone() })
    }
}

impl Disk for Breaking {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn Handle>> {
        RealDisk.open(path, how).map(|inner| self.wrap(inner))
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

    fn boot(&self) -> String {
        RealDisk.boot()
    }
}

impl Handle for Opened {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }

    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        if self.disk.is_broken.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is broken"));
        }
        self.inner.append(bytes)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.inner.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.inner.sync_all()
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
        self.inner.open_in(name, how).map(|inner| self.disk.wrap(inner))
    }

    fn stat_in(&self, name: &str) -> io::Result<Stat> {
        self.inner.stat_in(name)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.inner.names()
    }

    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename_new(from, to)
    }

    fn rename_over(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename_over(from, to)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.inner.unlink(name)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inner.descriptor()
    }
}

#[test]
fn a_worker_whose_log_cannot_be_written_lets_its_jobs_finish_and_says_so() {
    let queue = Queue::new();
    queue.enqueue(vec![
        queue.spec("short", "touch one; while test ! -e broken; do sleep 0.01; done"),
        queue.spec("long", "touch two; while test ! -e failing; do sleep 0.01; done; touch done"),
        queue.spec("later", "touch three"),
    ]);
    let disk = Breaking::default();
    let is_broken = Arc::clone(&disk.is_broken);
    let mut store = queue.open_on(Arc::new(disk), "boot-1");
    let (failing, broken) = (queue.path("failing"), queue.path("broken"));
    let worker = thread::spawn(move || {
        let mut told = Told { failing: Some(failing), ..Told::default() };
        let options = WorkerOptions { slots: 2, ..WorkerOptions::default() };
        (work(&mut store, options, &mut told), told)
    });
    queue.wait_for("one");
    queue.wait_for("two");
    is_broken.store(true, Ordering::SeqCst);
    std::fs::write(broken, "").unwrap();
    let (result, told) = worker.join().unwrap();
    assert!(matches!(result, Err(WorkerError::Store(_))), "{result:?}");
    let failed = |notice: &&Notice| matches!(notice, Notice::Failing(_));
    assert_eq!(told.notices.iter().filter(failed).count(), 1, "{:?}", told.notices);
    assert!(queue.path("done").exists(), "a child was not let finish");
    assert!(!queue.path("three").exists(), "a job was started that nobody recorded");
    assert_eq!(queue.job("short").state, JobState::Processing);
    // Its lock file stays, so the next worker knows what it has to look after.
    let (summary, _) = queue.work(drain(2));
    assert_eq!(summary.runs, 3);
    assert!(queue.states().iter().all(|(_, state)| *state == JobState::Completed));
    assert_eq!(queue.job("short").lost, 1);
    assert_eq!(queue.workers(), 0);
}
