//! The queue directory, and which node of it this machine is.
//!
//! A node is one chain of events with one writer, so everything here serves one rule: **no two directories ever write
//! as the same node.** A directory is the one its node was minted for where its birth time is the recorded one; a copy or
//! a restored backup has another, and gets a node of its own with the first write. Reading makes nothing.
//!
//! Ensures: where `node.json` is seen, the directories and files beside it are on stable storage; its own name is once
//! [`Place::sync_names`] was called or whoever made it has ended well.
//!
//! Knows nothing of what is in the logs.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::disk::{Disk, FileSystem, Open, Stat};
use super::error::StoreError;
use super::ids::Ids;
use super::layout;
use super::machine::Environment;
use super::small_file::{self, FileError, Owner};

mod founding;
mod identity;
mod recorded;

pub use identity::Identity;
use recorded::{Recorded, Standing};

/// A queue directory as this machine sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    root: PathBuf,
    machine: String,
    node: Option<String>,
    owner: Option<Owner>,
    group_can_write: bool,
    read_only: Option<String>,
    exists: bool,
}

/// Why a directory cannot be used, or not written to.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The system refused something.
    #[error(transparent)]
    File(#[from] FileError),
    /// Anybody could put jobs in it.
    #[error("refusing {}: users other than its owner and group can write in it", .0.display())]
    OthersCanWrite(PathBuf),
    /// Its owner could put jobs in it.
    #[error("refusing {}: it belongs to user {owner}, neither to you nor to root", path.display())]
    NotYours {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// It says it needs a newer version.
    #[error("cannot write to {}: {why}", path.display())]
    ReadOnly {
        /// The directory.
        path: PathBuf,
        /// What is too new.
        why: String,
    },
    /// Nobody can say whose log is to be written.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// `node.json`.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The log of this machine's node is gone.
    #[error("the log {} is missing, and this machine has written one", .0.display())]
    LogMissing(PathBuf),
    /// What `$QUEUECTL_NODE` says names no directory.
    #[error(
        "QUEUECTL_NODE {0:?} cannot name a node: it must have at most 64 of a-z, 0-9, '-' and '_', \
         beginning with a letter or digit"
    )]
    BadNode(String),
    /// The machine has no id, and there is nowhere to keep one.
    #[error("cannot tell which machine this is: it has no /etc/machine-id, and $HOME is not set")]
    NoMachine,
    /// Somebody holds the lock of the directory.
    #[error("cannot lock {}: another process has held the lock for a minute", .0.display())]
    Busy(PathBuf),
}

impl NodeError {
    /// The way out, where there is one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            NodeError::OthersCanWrite(_) => Some("chmod o-w the directory, or use another one"),
            NodeError::NotYours { .. } => Some("run as its owner, or use another directory"),
            NodeError::ReadOnly { why, .. } if why == GARBLED => Some(UNGARBLE),
            NodeError::ReadOnly { .. } => Some("use a newer queuectl; reading works"),
            NodeError::Damaged { .. } => {
                Some("move the file away; the next write begins a new node, and its jobs stay")
            }
            NodeError::LogMissing(_) => Some(
                "put it back; or begin anew, once no job runs any more: queuectl doctor --repair",
            ),
            NodeError::NoMachine => Some("set QUEUECTL_NODE to a name for this machine"),
            NodeError::File(_) | NodeError::BadNode(_) | NodeError::Busy(_) => None,
        }
    }
}

/// What a person should know of a directory that can be used all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// The group could put jobs in it.
    #[error("the group of {} can write in it, and so run commands as you", .0.display())]
    GroupCanWrite(PathBuf),
    /// Locks and wake-ups may not work there.
    #[error("{} is on {kind}, where locks and wake-ups are not to be trusted", path.display())]
    Remote {
        /// The directory that should be local.
        path: PathBuf,
        /// The kind of file system.
        kind: &'static str,
    },
}

/// Why a directory must not be written to whose `FORMAT` says nothing.
pub(super) const GARBLED: &str = "its FORMAT cannot be read";

/// The way out of that.
pub(super) const UNGARBLE: &str =
    "if no newer queuectl was used here, move FORMAT away, and the next write makes it anew";

/// What `FORMAT` says.
#[derive(Debug, Deserialize)]
struct Format {
    format: u64,
    #[serde(default)]
    requires: Vec<String>,
}

impl Place {
    /// Looks at a queue directory to read it. Makes nothing, and works where nothing is or nothing can be written.
    ///
    /// Errors: as [`NodeError`] says, but for those of writing.
    pub fn find(
        disk: &dyn Disk,
        root: &Path,
        environment: &Environment,
    ) -> Result<Place, NodeError> {
        let pinned = pinned(environment)?;
        let machine = environment.machine(disk)?;
        let mut place = Place::new(absolute(root)?, machine);
        let stat = match disk.stat(&place.root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                place.node = pinned;
                return Ok(place);
            }
            other => other.map_err(FileError::when("look at", root))?,
        };
        place.take_in(&stat, environment)?;
        place.read_only = unwritable(disk, &place.root)?;
        place.node = match (pinned, Recorded::read(disk, &place.node_file())) {
            (Some(pinned), Ok(Some(recorded))) if recorded.stands_for(&pinned) => {
                Some(recorded.node)
            }
            (Some(pinned), _) => Some(pinned),
            (None, Ok(Some(recorded))) => {
                let same = recorded.standing(disk, &place.root, &stat)? != Standing::Other;
                same.then_some(recorded.node)
            }
            // A reader needs no node; the first write says what is wrong.
            (None, Ok(None) | Err(NodeError::Damaged { .. })) => None,
            (None, Err(error)) => return Err(error),
        };
        Ok(place)
    }

    /// Looks at a queue directory to write to it: makes what is missing, mints the node where it must.
    ///
    /// Ensures: the place has a node. What was made here is on stable storage. Where nothing is missing, this costs two
    /// `stat` and the reading of two small files.
    ///
    /// Errors: as [`NodeError`] says.
    pub fn establish(
        disk: &dyn Disk,
        root: &Path,
        environment: &Environment,
        ids: &mut Ids,
    ) -> Result<Place, NodeError> {
        let pinned = pinned(environment)?;
        let machine = environment.machine_or_make(disk, ids)?.ok_or(NodeError::NoMachine)?;
        let mut place = Place::new(absolute(root)?, machine);
        if place.stands(disk, environment, pinned.as_deref())? {
            return Ok(place);
        }
        founding::found(disk, &mut place, environment, pinned, ids)?;
        Ok(place)
    }

    /// Gives the place another node, once `stage` has made the directory it is given and in it the whole log of that.
    /// Says whether it did; `stage` may think better of it.
    ///
    /// Ensures: the node and its log are on stable storage, or all is as it was.
    pub(super) fn succeed(
        &mut self,
        disk: &dyn Disk,
        environment: &Environment,
        ids: &mut Ids,
        stage: impl FnOnce(&Place, &Path) -> Result<bool, StoreError>,
    ) -> Result<bool, StoreError> {
        let pinned = pinned(environment)?;
        founding::succeed(disk, self, environment, pinned, ids, stage)
    }

    fn new(root: PathBuf, machine: String) -> Place {
        Place {
            root,
            machine,
            node: None,
            owner: None,
            group_can_write: false,
            read_only: None,
            exists: false,
        }
    }

    /// Whether everything is there and this machine has its node, without making anything.
    fn stands(
        &mut self,
        disk: &dyn Disk,
        environment: &Environment,
        pinned: Option<&str>,
    ) -> Result<bool, NodeError> {
        let stat = match disk.stat(&self.root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            other => other.map_err(FileError::when("look at", &self.root))?,
        };
        self.take_in(&stat, environment)?;
        if let Some(why) = unwritable(disk, &self.root)? {
            return Err(NodeError::ReadOnly { path: self.root.clone(), why });
        }
        let Some(recorded) = Recorded::read(disk, &self.node_file())? else { return Ok(false) };
        let mine = match pinned {
            Some(node) => recorded.stands_for(node),
            None => recorded.standing(disk, &self.root, &stat)? == Standing::Same,
        };
        self.node = Some(recorded.node);
        if !mine {
            return Ok(false);
        }
        // It was made before the node was: whoever took it away took jobs away with it.
        match disk.stat(&self.own_log()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // Or whoever made the node died before its log had its name.
                match disk.stat(&self.logs().join(founding::staged(self.node.as_deref()))) {
                    Ok(_) => Ok(false),
                    Err(_) => Err(NodeError::LogMissing(self.own_log())),
                }
            }
            other => other
                .map(|_| true)
                .map_err(|error| FileError::when("look at", &self.own_log())(error).into()),
        }
    }

    /// Takes in whose the directory is.
    ///
    /// Errors: where strangers could put jobs in it, which are commands that run as whoever works on them.
    fn take_in(&mut self, stat: &Stat, environment: &Environment) -> Result<(), NodeError> {
        self.exists = true;
        if stat.mode & 0o002 != 0 {
            return Err(NodeError::OthersCanWrite(self.root.clone()));
        }
        if stat.uid != environment.uid && stat.uid != 0 && environment.uid != 0 {
            return Err(NodeError::NotYours { path: self.root.clone(), owner: stat.uid });
        }
        self.group_can_write = stat.mode & 0o020 != 0;
        self.owner = (environment.uid == 0 && stat.uid != 0)
            .then_some(Owner { uid: stat.uid, gid: stat.gid });
        Ok(())
    }

    /// The queue directory, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the directory exists.
    pub fn exists(&self) -> bool {
        self.exists
    }

    /// This machine, as `local/` has it.
    pub fn machine(&self) -> &str {
        &self.machine
    }

    /// This machine's node; none while it has not written.
    pub fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    /// Why the directory is only read, where it is.
    pub fn read_only(&self) -> Option<&str> {
        self.read_only.as_deref()
    }

    /// Who gets the files that are made here, where that is not who makes them: root gives what it makes in another
    /// user's queue to that user.
    pub fn owner(&self) -> Option<Owner> {
        self.owner
    }

    /// The logs of all nodes.
    pub fn logs(&self) -> PathBuf {
        layout::logs(&self.root)
    }

    /// The log of a node.
    pub fn log_dir(&self, node: &str) -> PathBuf {
        self.logs().join(node)
    }

    /// What is this machine's own.
    pub fn local(&self) -> PathBuf {
        layout::locals(&self.root).join(&self.machine)
    }

    /// The locks of workers.
    pub fn run_dir(&self) -> PathBuf {
        self.local().join("run")
    }

    /// What jobs printed.
    pub fn output_dir(&self) -> PathBuf {
        self.local().join("output")
    }

    /// What workers in the background say.
    pub fn worker_log(&self) -> PathBuf {
        self.local().join("worker.log")
    }

    /// What can be made again.
    pub fn cache_dir(&self) -> PathBuf {
        self.local().join("cache")
    }

    /// How far this node's log is known to be synced.
    pub fn mark(&self) -> PathBuf {
        self.local().join("mark")
    }

    /// What a person should know of the directory. Asks the system for the kind of file system.
    pub fn warnings(&self, disk: &dyn Disk) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if self.group_can_write {
            warnings.push(Warning::GroupCanWrite(self.root.clone()));
        }
        // The nearest that exists tells for what is to be made in it.
        for path in [self.local(), self.root.clone()] {
            match disk.file_system(&path) {
                Ok(FileSystem::Remote(kind)) => warnings.push(Warning::Remote { path, kind }),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Ok(FileSystem::Local | FileSystem::Overlay) | Err(_) => {}
            }
            break;
        }
        warnings
    }

    /// Brings `node.json` and every name from the queue's parent down to this node's log to stable storage, on behalf
    /// of whoever made them and may have died before.
    pub fn sync_names(&self, disk: &dyn Disk) -> Result<(), FileError> {
        let path = self.node_file();
        let file = disk.open(&path, Open::Read).map_err(FileError::when("open", &path))?;
        file.sync_all().map_err(FileError::when("sync", &path))?;
        small_file::sync_directory(disk, &self.own_log())?;
        self.sync_directories(disk)
    }

    /// Brings the names in every directory between the queue's parent and a log to stable storage.
    fn sync_directories(&self, disk: &dyn Disk) -> Result<(), FileError> {
        for path in [self.local(), layout::locals(&self.root), self.logs(), self.root.clone()] {
            small_file::sync_directory(disk, &path)?;
        }
        let Some(parent) = self.root.parent() else { return Ok(()) };
        match small_file::sync_directory(disk, parent) {
            // Where the parent may not be listed, the queue's directory was made by somebody else.
            Err(error) if error.source.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
            other => other,
        }
    }

    fn node_file(&self) -> PathBuf {
        self.local().join(layout::NODE_FILE)
    }

    fn own_log(&self) -> PathBuf {
        self.log_dir(self.node.as_deref().expect("BUG: a log is asked for before there is a node"))
    }
}

/// The node that `$QUEUECTL_NODE` pins.
fn pinned(environment: &Environment) -> Result<Option<String>, NodeError> {
    match &environment.node {
        Some(node) if !layout::is_node(node) => Err(NodeError::BadNode(node.clone())),
        node => Ok(node.clone()),
    }
}

fn absolute(root: &Path) -> Result<PathBuf, FileError> {
    std::path::absolute(root).map_err(FileError::when("find", root))
}

/// Why the directory must not be written to, where it says so.
fn unwritable(disk: &dyn Disk, root: &Path) -> Result<Option<String>, FileError> {
    let Some(content) = small_file::read(disk, &root.join(layout::FORMAT))? else {
        return Ok(None);
    };
    let Ok(format) = serde_json::from_slice::<Format>(&content) else {
        return Ok(Some(GARBLED.to_owned()));
    };
    if format.format > layout::FORMAT_KNOWN {
        return Ok(Some(format!(
            "it has format {}, and this version knows {}",
            format.format,
            layout::FORMAT_KNOWN
        )));
    }
    // This version knows no requirement yet.
    Ok((!format.requires.is_empty())
        .then(|| format!("it requires {}, which this version lacks", format.requires.join(", "))))
}

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;
