//! Copies of what a compaction replaces, in a directory for each node.
//!
//! A copy appears whole or not at all. Knows nothing of what is in the files.

use std::io;
use std::path::Path;

use super::{Compactor, Sealed};
use crate::store::StoreError;
use crate::store::disk::{Handle, Open, append_all};
use crate::store::node::NodeError;
use crate::store::segment;
use crate::store::small_file;

impl Compactor {
    /// Copies the files that are to be replaced, durably.
    pub(super) fn archive(
        &self,
        directory: &dyn Handle,
        sealed: &Sealed,
        archive: &Path,
    ) -> Result<(), StoreError> {
        let there = self.open_archive(archive)?;
        for name in &sealed.files {
            let copy = archive.join(&self.node).join(name);
            let failed = |action| {
                let path = copy.clone();
                move |source| StoreError::NotRecorded { action, path, source }
            };
            let from = directory.open_in(name, Open::Read).map_err(self.failed("read"))?;
            let bytes = segment::read_range(from.as_ref(), 0, u64::MAX);
            let bytes = bytes.map_err(self.failed("read"))?;
            let temporary = format!(".{name}.tmp");
            // Whoever left it died over it.
            let _ = there.unlink(&temporary);
            let file = there.open_in(&temporary, Open::CreateNew).map_err(failed("make"))?;
            append_all(file.as_ref(), &bytes).map_err(failed("write"))?;
            file.sync_all().map_err(failed("sync"))?;
            match there.rename_new(&temporary, name) {
                // An earlier compaction that was ended may have come so far.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let file = there.open_in(name, Open::Read).map_err(failed("read"))?;
                    let other = segment::read_range(file.as_ref(), 0, u64::MAX);
                    there.unlink(&temporary).map_err(failed("remove what was to be"))?;
                    if other.map_err(failed("read"))? != bytes {
                        return Err(failed("write over another")(error));
                    }
                }
                other => other.map_err(failed("name"))?,
            }
        }
        let failed = StoreError::io("sync the copies in", archive);
        there.sync_all().map_err(failed)?;
        self.sync_above(archive)
    }

    /// Brings the names that lead to the copies to stable storage. Whoever made the directories may have died, or failed,
    /// before they were.
    fn sync_above(&self, archive: &Path) -> Result<(), StoreError> {
        let absolute = std::path::absolute(archive).map_err(StoreError::io("find", archive))?;
        for above in absolute.ancestors() {
            match small_file::sync_directory(self.disk.as_ref(), above) {
                // What may not be listed was made by somebody else.
                Err(error) if error.source.kind() == io::ErrorKind::PermissionDenied => break,
                synced => synced.map_err(NodeError::from)?,
            }
        }
        Ok(())
    }

    /// Opens the directory of this node's copies in the archive, making it where it is missing.
    ///
    /// Errors: where it is no directory, or among the logs themselves.
    pub fn open_archive(&self, archive: &Path) -> Result<Box<dyn Handle>, StoreError> {
        let failed = |action| {
            let path = archive.to_owned();
            move |source| StoreError::NotRecorded { action, path, source }
        };
        let absolute = std::path::absolute(archive).map_err(failed("find"))?;
        let of_itself = || Err(failed("copy to")(io::Error::other("it is the log itself")));
        if absolute.starts_with(self.place.logs()) {
            return of_itself();
        }
        let path = absolute.join(&self.node);
        small_file::create_directories(self.disk.as_ref(), &path).map_err(NodeError::from)?;
        let there = self.disk.open(&path, Open::Directory).map_err(failed("open"))?;
        let other = there.stat().map_err(failed("look at"))?;
        let own = self.disk.stat(&self.path()).map_err(self.failed("look at"))?;
        match (own.inode, own.device) == (other.inode, other.device) {
            true => of_itself(),
            false => Ok(there),
        }
    }
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
