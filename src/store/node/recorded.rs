//! For which directory a node was minted, and whether a directory is that one.
//!
//! Knows nothing of how one is made.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::NodeError;
use crate::domain::bytes::Bytes;
use crate::store::disk::{Disk, FileSystem, Stat};
use crate::store::layout;
use crate::store::small_file::{self, FileError};

/// What `node.json` says: the node, and the directory it was minted for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Recorded {
    pub(super) node: String,
    path: Bytes,
    inode: u64,
    #[serde(default)]
    born: Option<i64>,
    /// What pinned the node from which this one took over, where one was pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pinned: Option<String>,
}

/// Whether the directory is the one its node was minted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is, and everything stands as it is recorded.
    Same,
    /// It is, but moved.
    Moved,
    /// It is another: a copy, or a restored backup.
    Other,
}

impl Recorded {
    /// What is recorded of a directory for its node.
    pub(super) fn new(node: &str, root: &Path, stat: &Stat) -> Recorded {
        let path = Bytes(root.as_os_str().as_bytes().to_vec());
        Recorded { node: node.to_owned(), path, inode: stat.inode, born: birth(stat), pinned: None }
    }

    /// With what is pinned, where the node is another than that.
    pub(super) fn in_stead_of(self, pinned: Option<String>) -> Recorded {
        Recorded { pinned, ..self }
    }

    /// Whether the node is the one that is pinned, or took over from it.
    pub(super) fn stands_for(&self, pinned: &str) -> bool {
        self.node == pinned || self.pinned.as_deref() == Some(pinned)
    }

    fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path.0))
    }

    /// Reads `node.json`; none where there is none.
    pub(super) fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Recorded>, NodeError> {
        let damaged = |why: String| NodeError::Damaged { path: path.to_owned(), why };
        let Some(content) = small_file::read(disk, path)? else { return Ok(None) };
        let recorded: Recorded =
            serde_json::from_slice(&content).map_err(|error| damaged(error.to_string()))?;
        if !layout::is_node(&recorded.node) {
            return Err(damaged(format!("{:?} cannot name a node", recorded.node)));
        }
        Ok(Some(recorded))
    }

    /// Whether the directory is the one that is recorded.
    pub(super) fn standing(
        &self,
        disk: &dyn Disk,
        root: &Path,
        stat: &Stat,
    ) -> Result<Standing, FileError> {
        let same_birth = match (self.born, birth(stat)) {
            (Some(then), Some(now)) => Some(then == now),
            _ => None,
        };
        let same_inode = self.inode == stat.inode;
        let is_it = match same_birth {
            Some(true) => true,
            // A restored backup often gets the inode its original had, so that proves nothing. But the first write in a
            // layer of an image gives a directory another birth time.
            Some(false) => {
                let kind = || disk.file_system(root).map_err(FileError::when("look at", root));
                same_inode && kind()? == FileSystem::Overlay
            }
            None => same_inode,
        };
        if !is_it {
            return Ok(Standing::Other);
        }
        if self.path() == root {
            let unchanged = same_inode && same_birth != Some(false);
            return Ok(if unchanged { Standing::Same } else { Standing::Moved });
        }
        match disk.stat(self.path()) {
            // Another way to the same directory.
            Ok(there) if (there.device, there.inode) == (stat.device, stat.inode) => {
                Ok(Standing::Same)
            }
            // The original still stands, so this is a copy, of the whole file system perhaps.
            Ok(there) if there.inode == self.inode => Ok(Standing::Other),
            Ok(_) | Err(_) => Ok(Standing::Moved),
        }
    }
}

/// Nanoseconds since 1970, as JSON holds them.
fn birth(stat: &Stat) -> Option<i64> {
    stat.born.and_then(|born| i64::try_from(born).ok())
}

#[cfg(test)]
#[path = "recorded_tests.rs"]
mod tests;
