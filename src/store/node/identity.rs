//! What `node.json` says of a directory, for people.
//!
//! Makes nothing.

use super::{NodeError, Place, Recorded, Standing};
use crate::store::disk::Disk;
use crate::store::small_file::FileError;

/// Whether a directory is the one that this machine's node was minted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// This machine has written nothing there.
    Unwritten,
    /// It is.
    Same,
    /// It is, but moved.
    Moved,
    /// It is another: a copy, a restored backup, or one whose node is pinned to another. The node it was.
    Other(String),
}

impl Place {
    /// Says what `node.json` is worth here. Makes nothing.
    ///
    /// Errors: where it cannot be read, or the log that was written here is missing.
    pub fn identity(&self, disk: &dyn Disk) -> Result<Identity, NodeError> {
        let Some(recorded) = Recorded::read(disk, &self.node_file())? else {
            return Ok(Identity::Unwritten);
        };
        let stat = disk.stat(&self.root).map_err(FileError::when("look at", &self.root))?;
        let log = self.log_dir(&recorded.node);
        let is_same = self.node.as_deref() == Some(recorded.node.as_str());
        match recorded.standing(disk, &self.root, &stat)? {
            _ if !is_same => Ok(Identity::Other(recorded.node)),
            _ if disk.stat(&log).is_err() => Err(NodeError::LogMissing(log)),
            Standing::Moved => Ok(Identity::Moved),
            // Where the node is pinned, the directory may be any.
            Standing::Same | Standing::Other => Ok(Identity::Same),
        }
    }
}
