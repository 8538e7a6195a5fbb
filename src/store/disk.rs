//! The narrow waist over files, names and locks: every such call of the queue goes through [`Disk`].
//!
//! There are two of them: the real one here, and a simulated one among the tests that can crash at every step.
//! Knows nothing of logs, lines or jobs.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// An existing file, to read. What else stands in its place, such as a pipe, has no bytes: see [`Stat::no_file`].
    Read,
    /// An existing file, to read and to append to.
    Append,
    /// A file that must not exist yet, to read and to append to; mode 0600.
    CreateNew,
    /// A file that may exist, to read and to write anywhere in; mode 0600 where it is made.
    ReadWrite,
    /// A directory, to list it, to sync its names, to lock it and to open what is in it.
    Directory,
}

/// How a lock is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// Nobody else holds the lock.
    Exclusive,
    /// Others may hold it shared.
    Shared,
}

/// What kind of file system a path is on, as far as the queue must care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// Locks and wake-ups work as this machine's kernel promises.
    Local,
    /// Layers, as of a container: the birth time of a directory changes when it is first written in.
    Overlay,
    /// Another machine or process stands behind it, so locks and wake-ups may not reach everybody.
    Remote(&'static str),
}

/// What the file system says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The number of the file within its file system.
    pub inode: u64,
    /// The file system.
    pub device: u64,
    /// Bytes.
    pub len: u64,
    /// How many names it has.
    pub links: u64,
    /// Permission bits and kind, as in `st_mode`.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// When it was made, in nanoseconds since 1970, where the file system knows.
    pub born: Option<i128>,
}

impl Stat {
    /// What it is, where it is no file. Reading such a thing may wait for ever, or never come to an end.
    pub fn no_file(&self) -> Option<NoFile> {
        match self.mode & 0o170_000 {
            0o100_000 => None,
            0o040_000 => Some(NoFile("a directory")),
            0o010_000 => Some(NoFile("a pipe")),
            0o140_000 => Some(NoFile("a socket")),
            0o120_000 => Some(NoFile("a link that is not followed here or leads nowhere")),
            _ => Some(NoFile("a device")),
        }
    }
}

/// What stands where a file should, as a noun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is {0}, and no file")]
pub struct NoFile(&'static str);

impl NoFile {
    /// What an error of the system tells of, where it is that.
    pub fn of(error: &io::Error) -> Option<NoFile> {
        error.get_ref()?.downcast_ref().copied()
    }
}

/// How much room a file system has, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What anybody but root can still fill.
    pub free: u64,
    /// All of it, full or not.
    pub total: u64,
}

/// The calls that reach the disk by path.
pub trait Disk: Send + Sync {
    /// Opens a file or directory, never through a symbolic link at its last step where it would write.
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn Handle>>;

    /// Makes one directory with mode 0700. Errors: `AlreadyExists` where something is there.
    fn create_directory(&self, path: &Path) -> io::Result<()>;

    /// Moves a file to another directory; durably once both directories are synced. Errors: `AlreadyExists` where the new name is taken.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        copy_and_unlink(self, from, to)
    }

    /// Says what is at the path, following symbolic links.
    fn stat(&self, path: &Path) -> io::Result<Stat>;

    /// Says what kind of file system the path is on; local, unless the disk knows better.
    fn file_system(&self, _path: &Path) -> io::Result<FileSystem> {
        Ok(FileSystem::Local)
    }

    /// Says how much room there is where the path is; none where the disk doesn't know.
    fn free_space(&self, _path: &Path) -> io::Result<Option<Space>> {
        Ok(None)
    }

    /// Waits, on behalf of whoever wants a lock that another holds.
    fn pause(&self, time: Duration);

    /// The process that holds a lock on the file, where that can be known.
    fn lock_holder(&self, _file: &dyn Handle) -> Option<u32> {
        None
    }

    /// The id of the running boot.
    ///
    /// Errors: where the system has one and it can't be read for once; another would stand for a power cut.
    fn boot(&self) -> io::Result<String>;
}

/// An open file or directory. A lock lives in it: it is released by [`Handle::unlock`] or by the last close.
pub trait Handle: Send + Sync {
    /// Reads up to `buffer.len()` bytes at `offset`; 0 at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Reads what stable storage has at `offset`, past what memory has of it; only where the disk can tell the two apart.
    /// What was not synced yet may be there or not.
    fn read_stable(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Appends in one call to the system; may be short.
    fn append(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Writes at `offset`; may be short.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Takes room for the first `len` bytes of the file without writing them.
    ///
    /// Errors: `Unsupported` where only writing takes room.
    fn allocate(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Brings the bytes, and what is needed to read them, to stable storage.
    fn sync_data(&self) -> io::Result<()>;

    /// Brings everything to stable storage; of a directory, its names.
    fn sync_all(&self) -> io::Result<()>;

    /// Says what the open file is now, whatever its path names.
    fn stat(&self) -> io::Result<Stat>;

    /// Gives the file or directory to this user and group, where the disk has users.
    fn set_owner(&self, _uid: u32, _gid: u32) -> io::Result<()> {
        Ok(())
    }

    /// Takes the lock if nobody stands against it.
    fn try_lock(&self, kind: Lock) -> io::Result<bool>;

    /// Gives the lock back.
    fn unlock(&self) -> io::Result<()>;

    /// Opens what is in this directory under `name`.
    fn open_in(&self, name: &str, how: Open) -> io::Result<Box<dyn Handle>>;

    /// Says what is in this directory under `name`.
    fn stat_in(&self, name: &str) -> io::Result<Stat>;

    /// Lists the names in this directory that are UTF-8, afresh at each call, without `.` and `..`.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Renames within this directory. Errors: `AlreadyExists` where the new name is taken.
    fn rename_new(&self, from: &str, to: &str) -> io::Result<()>;

    /// Renames within this directory, over whatever has the new name.
    fn rename_over(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name from this directory.
    fn unlink(&self, name: &str) -> io::Result<()>;

    /// The descriptor, to hand to a child; none where there is no real file.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;
}

/// Whether there is no directory where one was to be opened: nothing, or something else.
pub fn is_no_directory(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Moves a file where that can't be done in one call. A crash in between leaves both, of which the first is whole.
pub fn copy_and_unlink<D: Disk + ?Sized>(disk: &D, from: &Path, to: &Path) -> io::Result<()> {
    const STEP: usize = 1 << 20;
    let (Some(above), Some(name)) = (from.parent(), from.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let (old, new) = (disk.open(from, Open::Read)?, disk.open(to, Open::CreateNew)?);
    let (mut buffer, mut at) = (vec![0; STEP], 0);
    loop {
        match old.read_at(&mut buffer, at)? {
            0 => break,
            count => append_all(new.as_ref(), &buffer[..count])?,
        }
        at = new.stat()?.len;
    }
    new.sync_all()?;
    if let Some(above) = to.parent() {
        disk.open(above, Open::Directory)?.sync_all()?;
    }
    disk.open(above, Open::Directory)?.unlink(&name.to_string_lossy())
}

/// Appends all the bytes, in as few calls as the system takes.
///
/// Errors: where the system takes no more; what was appended by then stays.
pub fn append_all(file: &dyn Handle, bytes: &[u8]) -> io::Result<()> {
    let mut at = 0;
    while at < bytes.len() {
        match file.append(&bytes[at..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => at += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
