//! Room that is kept back, so that a full disk can still record how running jobs end.
//!
//! A file that nobody reads holds the room, and is removed when what must be recorded finds none. Three lines lie above
//! each other: below twice the reserve nothing new is enqueued, below the reserve nothing is claimed, and with no room
//! left at all the reserve is given up. Knows nothing of what is written.

use std::io;
use std::path::Path;

use super::disk::{Disk, Handle, Open, Space};
use super::small_file::give;
use super::{Store, StoreError};

/// The most that is kept back, in bytes: some KiB for the outcome of each of a worker's slots, of which it has 1,024 at
/// most, and for the head of a new segment.
const LARGEST: u64 = 4 << 20;

/// No more than this part of the file system is kept back.
const SHARE: u64 = 16;

/// The name of the file, among what is one machine's own.
const NAME: &str = "reserve";

/// Whether the system had no room: the disk is full, or the user's share of it.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// How much is kept back on such a file system, in bytes.
fn size(space: Space) -> u64 {
    LARGEST.min(space.total / SHARE)
}

/// Gives the room back to the file system. Others may have done so already.
pub(super) fn give_up(disk: &dyn Disk, local: &Path) {
    if let Ok(directory) = disk.open(local, Open::Directory) {
        // Where it can't be removed, whoever wanted the room is told that there is none.
        let _ = directory.unlink(NAME);
    }
}

impl Store {
    /// How much room there is where the queue is; none where nobody knows.
    pub fn space(&self) -> Option<Space> {
        self.disk.free_space(self.place.root()).ok().flatten()
    }

    /// Sees that there is room to take in something new.
    ///
    /// Errors: [`StoreError::Full`] where less than twice the reserve is free.
    pub fn require_room(&self) -> Result<(), StoreError> {
        match self.space() {
            Some(space) => self.require(space, 2 * size(space)),
            None => Ok(()),
        }
    }

    /// How much may be filled with what can be done without, in bytes.
    pub fn spare_room(&self) -> u64 {
        self.space().map_or(u64::MAX, |space| space.free.saturating_sub(2 * size(space)))
    }

    /// Makes the reserve where it is missing, and sees that there is room beside it to begin something.
    ///
    /// A reserve that can't be made for other reasons than want of room is done without.
    /// Errors: [`StoreError::Full`].
    pub fn keep_reserve(&self) -> Result<(), StoreError> {
        let Some(space) = self.space() else { return Ok(()) };
        let size = size(space);
        let path = self.place.local().join(NAME);
        if self.disk.stat(&path).is_ok_and(|stat| stat.len >= size) {
            return self.require(space, size);
        }
        self.require(space, 2 * size)?;
        match self.make_reserve(size) {
            Err(error) if is_full(&error) => self.require(Space { free: 0, ..space }, 2 * size),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// As [`Store::keep_reserve`], and gives blocks to a reserve that was copied without them. At the start of a worker.
    pub fn renew_reserve(&self) {
        if let (Some(space), Ok(())) = (self.space(), self.keep_reserve()) {
            // Where it can't be, jobs are claimed only while there is room, and that is looked at again.
            let _ = self.make_reserve(size(space));
        }
    }

    fn require(&self, space: Space, needed: u64) -> Result<(), StoreError> {
        if space.free >= needed {
            return Ok(());
        }
        Err(StoreError::Full { path: self.place.root().to_owned(), free: space.free, needed })
    }

    /// Nothing of it is synced: after a power cut it is made again.
    fn make_reserve(&self, size: u64) -> io::Result<()> {
        let directory = self.disk.open(&self.place.local(), Open::Directory)?;
        let file = directory.open_in(NAME, Open::ReadWrite)?;
        give(file.as_ref(), self.place.owner())?;
        let made = match file.allocate(size) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => fill(file.as_ref(), size),
            other => other,
        };
        if made.is_err() {
            directory.unlink(NAME)?;
        }
        made
    }
}

/// Takes the room by writing.
fn fill(file: &dyn Handle, size: u64) -> io::Result<()> {
    let zeros = vec![0; 64 << 10];
    let mut at = 0;
    while at < size {
        let step = (size - at).min(zeros.len() as u64);
        match file.write_at(&zeros[..usize::try_from(step).unwrap_or(zeros.len())], at)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => at += count as u64,
        }
    }
    Ok(())
}
