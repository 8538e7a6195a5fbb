//! The real disk: the calls of [`Disk`] and [`Handle`] as system calls, each retried where a signal interrupted it.
//!
//! Knows nothing of logs, lines or jobs, and nothing of what is done about an error.

mod system;

use std::fs::File;
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, RenameFlags};
use rustix::io::{Errno, retry_on_intr};

use self::system::{boot_of, holder, kind_of};
use super::disk::{Disk, FileSystem, Handle, Lock, Open, Space, Stat, copy_and_unlink};
use super::small_file;

/// What direct reads are aligned to, in bytes; no device wants more.
#[cfg(target_os = "linux")]
const BLOCK: usize = 4096;

/// The disk of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

/// An open file or directory of this machine.
#[derive(Debug)]
struct RealHandle {
    file: File,
    how: Open,
    /// Whether there is anything to read.
    is_file: bool,
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn Handle>> {
        open_at(CWD, path, how)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        retry_on_intr(|| rustix::fs::mkdir(path, Mode::RWXU))?;
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let renamed =
            retry_on_intr(|| rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE));
        match renamed {
            // Another file system, or one that can't do it in one call.
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                copy_and_unlink(self, from, to)
            }
            other => Ok(other?),
        }
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        stat_at(CWD, path, AtFlags::empty())
    }

    fn file_system(&self, path: &Path) -> io::Result<FileSystem> {
        let stat = retry_on_intr(|| rustix::fs::statfs(path))?;
        Ok(kind_of(&stat))
    }

    fn free_space(&self, path: &Path) -> io::Result<Option<Space>> {
        let stat = retry_on_intr(|| rustix::fs::statvfs(path))?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        let space = Space { free: bytes(stat.f_bavail), total: bytes(stat.f_blocks) };
        // Some file systems don't count.
        Ok((space.total > 0).then_some(space))
    }

    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn lock_holder(&self, file: &dyn Handle) -> Option<u32> {
        holder(&std::fs::read_to_string("/proc/locks").ok()?, file.stat().ok()?.inode)
    }

    /// Linux tells it. Elsewhere, and where `/proc` is not mounted, it is the moment at which `/dev` was made, which
    /// happens once a boot and does not move when the clock is set; where that isn't known either, every boot looks alike,
    /// and a power cut shows only by the tear it left.
    fn boot(&self) -> io::Result<String> {
        let id = small_file::read(self, Path::new("/proc/sys/kernel/random/boot_id"));
        boot_of(id.map_err(|error| error.source), || self.stat(Path::new("/dev")))
    }
}

impl Handle for RealHandle {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if !self.is_file {
            return Ok(0);
        }
        retry(|| self.file.read_at(buffer, offset))
    }

    #[cfg(target_os = "linux")]
    fn read_stable(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if !self.is_file {
            return Ok(0);
        }
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC;
        let Ok(direct) = retry_on_intr(|| rustix::fs::open(&path, flags, Mode::empty())) else {
            // Where memory is all there is, as on tmpfs, or where there is no `/proc`.
            return self.read_at(buffer, offset);
        };
        let (start, skip) =
            (offset / BLOCK as u64 * BLOCK as u64, (offset % BLOCK as u64) as usize);
        let wanted = (skip + buffer.len()).next_multiple_of(BLOCK);
        let mut bytes = vec![0; wanted + BLOCK];
        let aligned = bytes.as_ptr().align_offset(BLOCK);
        let bytes = &mut bytes[aligned..aligned + wanted];
        let direct = File::from(direct);
        match retry(|| direct.read_at(bytes, start)) {
            Ok(count) => {
                let found = bytes[..count].get(skip..).unwrap_or_default();
                let count = found.len().min(buffer.len());
                buffer[..count].copy_from_slice(&found[..count]);
                Ok(count)
            }
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                self.read_at(buffer, offset)
            }
            Err(error) => Err(error),
        }
    }

    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        if !matches!(self.how, Open::Append | Open::CreateNew) {
            return Err(misuse("append to a file that was not opened to append"));
        }
        Ok(retry_on_intr(|| rustix::io::write(&self.file, bytes))?)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        // Linux appends what is written at an offset of a file that was opened to append.
        if self.how != Open::ReadWrite {
            return Err(misuse("write at an offset of a file that was not opened for it"));
        }
        retry(|| self.file.write_at(bytes, offset))
    }

    #[cfg(target_os = "linux")]
    fn allocate(&self, len: u64) -> io::Result<()> {
        let mode = rustix::fs::FallocateFlags::empty();
        match retry_on_intr(|| rustix::fs::fallocate(&self.file, mode, 0, len)) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Err(io::ErrorKind::Unsupported.into()),
            other => Ok(other?),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        retry(|| self.file.sync_data())
    }

    fn sync_all(&self) -> io::Result<()> {
        retry(|| self.file.sync_all())
    }

    fn stat(&self) -> io::Result<Stat> {
        stat_open(self.file.as_fd())
    }

    fn set_owner(&self, uid: u32, gid: u32) -> io::Result<()> {
        let (user, group) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        Ok(retry_on_intr(|| rustix::fs::fchown(&self.file, Some(user), Some(group)))?)
    }

    fn try_lock(&self, kind: Lock) -> io::Result<bool> {
        retry(|| {
            // By full path, as the methods of the same names in std come first.
            let taken = match kind {
                Lock::Exclusive => fs4::FileExt::try_lock(&self.file),
                Lock::Shared => fs4::FileExt::try_lock_shared(&self.file),
            };
            match taken {
                Ok(()) => Ok(true),
                Err(fs4::TryLockError::WouldBlock) => Ok(false),
                Err(fs4::TryLockError::Error(error)) => Err(error),
            }
        })
    }

    fn unlock(&self) -> io::Result<()> {
        retry(|| fs4::FileExt::unlock(&self.file))
    }

    fn open_in(&self, name: &str, how: Open) -> io::Result<Box<dyn Handle>> {
        open_at(self.file.as_fd(), Path::new(single(name)?), how)
    }

    fn stat_in(&self, name: &str) -> io::Result<Stat> {
        stat_at(self.file.as_fd(), Path::new(single(name)?), AtFlags::empty())
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        // This opens the directory again, so the position in it is nobody else's.
        for entry in retry_on_intr(|| Dir::read_from(&self.file))? {
            let entry = entry?;
            match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        Ok(names)
    }

    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (single(from)?, single(to)?);
        let renamed = retry_on_intr(|| {
            rustix::fs::renameat_with(&self.file, from, &self.file, to, RenameFlags::NOREPLACE)
        });
        match renamed {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                link_and_unlink(self.file.as_fd(), from, to)
            }
            other => Ok(other?),
        }
    }

    fn rename_over(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (single(from)?, single(to)?);
        Ok(retry_on_intr(|| rustix::fs::renameat(&self.file, from, &self.file, to))?)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let name = single(name)?;
        Ok(retry_on_intr(|| rustix::fs::unlinkat(&self.file, name, AtFlags::empty()))?)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }
}

/// Opens a path relative to a directory.
fn open_at(directory: BorrowedFd<'_>, path: &Path, how: Open) -> io::Result<Box<dyn Handle>> {
    let flags = match how {
        // A pipe that somebody put under a name of ours must not keep a reader waiting for its other end.
        Open::Read => OFlags::RDONLY | OFlags::NONBLOCK,
        Open::Append => OFlags::RDWR | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK,
        Open::CreateNew => {
            OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW
        }
        Open::ReadWrite => OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK,
        Open::Directory => OFlags::RDONLY | OFlags::DIRECTORY,
    };
    let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
    let mode = Mode::RUSR | Mode::WUSR;
    let opened = match retry_on_intr(|| rustix::fs::openat(directory, path, flags, mode)) {
        Err(error) => open_no_file(directory, path, how, error)?,
        Ok(opened) => opened,
    };
    let no_file = match how {
        Open::CreateNew | Open::Directory => None,
        Open::Read | Open::Append | Open::ReadWrite => stat_open(opened.as_fd())?.no_file(),
    };
    match no_file {
        Some(no_file) if how != Open::Read => Err(io::Error::other(no_file)),
        _ => Ok(Box::new(RealHandle { file: File::from(opened), how, is_file: no_file.is_none() })),
    }
}

/// Opens what can't be opened as a file since it is none, only to say what it is: a directory that was to be written, a
/// socket, a link that is not followed or leads nowhere.
fn open_no_file(
    directory: BorrowedFd<'_>,
    path: &Path,
    how: Open,
    error: Errno,
) -> io::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    if !matches!(how, Open::CreateNew | Open::Directory)
        && matches!(error, Errno::ISDIR | Errno::LOOP | Errno::NXIO | Errno::NOENT)
    {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = retry_on_intr(|| rustix::fs::openat(directory, path, flags, Mode::empty()));
        // A file may have come by now; this way it couldn't be read.
        if let Ok(opened) = opened
            && stat_open(opened.as_fd())?.no_file().is_some()
        {
            return Ok(opened);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (directory, path, how);
    Err(error.into())
}

/// Renames without replacing where the file system can't do it in one call.
///
/// Ensures: `to` is never replaced. A crash between the two calls leaves both names on the one file.
fn link_and_unlink(directory: BorrowedFd<'_>, from: &str, to: &str) -> io::Result<()> {
    retry_on_intr(|| rustix::fs::linkat(directory, from, directory, to, AtFlags::empty()))?;
    Ok(retry_on_intr(|| rustix::fs::unlinkat(directory, from, AtFlags::empty()))?)
}

/// Says what an open file is.
fn stat_open(file: BorrowedFd<'_>) -> io::Result<Stat> {
    #[cfg(target_os = "linux")]
    {
        stat_at(file, Path::new(""), AtFlags::EMPTY_PATH)
    }
    #[cfg(not(target_os = "linux"))]
    {
        Ok(plain_stat(retry_on_intr(|| rustix::fs::fstat(file))?))
    }
}

/// Says what is at a path relative to a directory, with the time of birth where the kernel has `statx`.
#[cfg(target_os = "linux")]
fn stat_at(directory: BorrowedFd<'_>, path: &Path, flags: AtFlags) -> io::Result<Stat> {
    use rustix::fs::StatxFlags;
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let stat = match retry_on_intr(|| rustix::fs::statx(directory, path, flags, wanted)) {
        // A kernel without the call says the one, a container that forbids it the other.
        Err(Errno::NOSYS | Errno::PERM) => {
            return Ok(plain_stat(retry_on_intr(|| rustix::fs::statat(directory, path, flags))?));
        }
        other => other?,
    };
    let knows_birth = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
    Ok(Stat {
        inode: stat.stx_ino,
        device: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
        len: stat.stx_size,
        links: u64::from(stat.stx_nlink),
        mode: u32::from(stat.stx_mode),
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        born: knows_birth.then(|| nanoseconds(stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec)),
    })
}

/// Says what is at a path relative to a directory.
#[cfg(not(target_os = "linux"))]
fn stat_at(directory: BorrowedFd<'_>, path: &Path, flags: AtFlags) -> io::Result<Stat> {
    Ok(plain_stat(retry_on_intr(|| rustix::fs::statat(directory, path, flags))?))
}

/// What the older call tells, which has no time of birth but on Apple's systems.
fn plain_stat(stat: rustix::fs::Stat) -> Stat {
    #[cfg(target_vendor = "apple")]
    let born = Some(nanoseconds(stat.st_birthtime, stat.st_birthtime_nsec));
    #[cfg(not(target_vendor = "apple"))]
    let born = None;
    Stat {
        inode: whole(stat.st_ino),
        device: whole(stat.st_dev),
        len: whole(stat.st_size),
        links: whole(stat.st_nlink),
        mode: whole(stat.st_mode),
        uid: stat.st_uid,
        gid: stat.st_gid,
        born,
    }
}

/// A field whose width and sign differ by platform.
fn whole<F: TryInto<T>, T: Default>(field: F) -> T {
    field.try_into().unwrap_or_default()
}

/// Nanoseconds since 1970.
fn nanoseconds(seconds: impl Into<i128>, nanoseconds: impl Into<i128>) -> i128 {
    seconds.into() * 1_000_000_000 + nanoseconds.into()
}

/// A name in a directory, which must not lead out of it.
fn single(name: &str) -> io::Result<&str> {
    if name.is_empty() || name == "." || name == ".." || name.contains('/') {
        return Err(misuse("take a path for a name in a directory"));
    }
    Ok(name)
}

/// A call that is wrong whatever is on the disk.
fn misuse(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("can't {what}"))
}

/// Calls again for as long as a signal interrupts.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
#[path = "real_disk_tests.rs"]
mod tests;
