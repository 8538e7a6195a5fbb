//! What every disk does unless it knows better; and a real one whose calls may be answered otherwise.

use std::sync::Arc;

use super::*;
use crate::store::failing_disk::{Failing, last};
use crate::store::real_disk::RealDisk;

/// What a call is answered with instead, by what it does to what, as `open mark`, `list desk` or `sync 00000001.jsonl`.
type Answer = Arc<dyn Fn(&str) -> Option<io::Error> + Send + Sync>;

/// The real disk, of which some calls are answered with an error, whichever that is.
///
/// Where `stored NAME` is answered so, stable storage has nothing but zeros there.
#[derive(Clone)]
pub(crate) struct Odd {
    answer: Answer,
    /// No more bytes are read or written in one call.
    step: usize,
}

struct Held {
    inner: Box<dyn Handle>,
    name: String,
    disk: Odd,
}

impl Odd {
    pub(crate) fn new(answer: impl Fn(&str) -> Option<io::Error> + Send + Sync + 'static) -> Self {
        Odd { answer: Arc::new(answer), step: usize::MAX }
    }

    /// Every call of this kind is answered with an error of this kind.
    pub(crate) fn always(call: &'static str, kind: io::ErrorKind) -> Self {
        Self::new(move |asked| (asked == call).then(|| kind.into()))
    }

    /// Reads and writes no more than this at once.
    pub(crate) fn in_steps(step: usize) -> Self {
        Odd { step, ..Self::new(|_| None) }
    }

    fn ask(&self, call: &str, name: &str) -> io::Result<()> {
        (self.answer)(&format!("{call} {name}")).map_or(Ok(()), Err)
    }

    fn held(&self, inner: Box<dyn Handle>, name: &str) -> Box<dyn Handle> {
        Box::new(Held { inner, name: name.to_owned(), disk: self.clone() })
    }
}

impl Held {
    fn ask(&self, call: &str) -> io::Result<()> {
        self.disk.ask(call, &self.name)
    }
}

impl Disk for Odd {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn Handle>> {
        self.ask("open", &last(path))?;
        Ok(self.held(RealDisk.open(path, how)?, &last(path)))
    }
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.ask("mkdir", &last(path))?;
        RealDisk.create_directory(path)
    }
    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.ask("stat", &last(path))?;
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
        self.ask("read")?;
        let len = buffer.len().min(self.disk.step);
        self.inner.read_at(&mut buffer[..len], offset)
    }
    fn read_stable(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let len = buffer.len().min(self.disk.step);
        let count = self.inner.read_at(&mut buffer[..len], offset)?;
        if self.ask("stored").is_err() {
            buffer[..count].fill(0);
        }
        Ok(count)
    }
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        self.ask("append")?;
        self.inner.append(&bytes[..bytes.len().min(self.disk.step)])
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.ask("write")?;
        self.inner.write_at(bytes, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.ask("sync")?;
        self.inner.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.ask("sync")?;
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
        self.disk.ask("open", name)?;
        Ok(self.disk.held(self.inner.open_in(name, how)?, name))
    }
    fn stat_in(&self, name: &str) -> io::Result<Stat> {
        self.disk.ask("stat", name)?;
        self.inner.stat_in(name)
    }
    fn names(&self) -> io::Result<Vec<String>> {
        self.ask("list")?;
        self.inner.names()
    }
    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.ask("rename", to)?;
        self.inner.rename_new(from, to)
    }
    fn rename_over(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.ask("rename", to)?;
        self.inner.rename_over(from, to)
    }
    fn unlink(&self, name: &str) -> io::Result<()> {
        self.disk.ask("unlink", name)?;
        self.inner.unlink(name)
    }
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inner.descriptor()
    }
}

#[test]
fn a_disk_that_knows_no_better_says_so() {
    let place = tempfile::tempdir().unwrap();
    let disk = Failing::where_it(|_| false);
    let directory = disk.open(place.path(), Open::Directory).unwrap();
    assert!(directory.try_lock(Lock::Exclusive).unwrap());
    assert_eq!(disk.lock_holder(directory.as_ref()), None);
    assert_eq!(disk.free_space(place.path()).unwrap(), None);
    let file = directory.open_in("file", Open::CreateNew).unwrap();
    assert_eq!(file.allocate(9).unwrap_err().kind(), io::ErrorKind::Unsupported);
    file.append(b"12345").unwrap();
    let mut found = [0; 3];
    assert_eq!((file.read_stable(&mut found, 1).unwrap(), &found), (3, b"234"));
}

#[test]
fn all_is_appended_in_steps_and_behind_interruptions() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("file");
    let file = Odd::in_steps(3).open(&path, Open::CreateNew).unwrap();
    append_all(file.as_ref(), b"0123456789").unwrap();
    drop(file);

    let calls = std::sync::atomic::AtomicUsize::new(0);
    let disk = Odd::new(move |call| {
        let is_even = call == "append file"
            && calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst).is_multiple_of(2);
        is_even.then(|| io::ErrorKind::Interrupted.into())
    });
    let file = disk.open(&path, Open::Append).unwrap();
    append_all(file.as_ref(), b"abc").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"0123456789abc");

    let full = Odd::always("append file", io::ErrorKind::StorageFull);
    let file = full.open(&path, Open::Append).unwrap();
    let error = append_all(file.as_ref(), b"abc").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    let file = Odd::in_steps(0).open(&path, Open::Append).unwrap();
    let error = append_all(file.as_ref(), b"abc").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WriteZero);
}

#[test]
fn only_what_is_no_directory_is_none() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    std::fs::write(at("file"), "").unwrap();
    std::os::unix::fs::symlink("loop", at("loop")).unwrap();
    for (name, is_none) in [("absent", true), ("file", true), ("loop", false)] {
        let error = RealDisk.open(&at(name), Open::Directory).err().unwrap();
        assert_eq!(is_no_directory(&error), is_none, "{name}: {error}");
    }
}
