//! Making a queue directory, or what is missing of it, and minting the node, under the lock of the directory.
//!
//! Knows nothing of what is in the logs.

use std::path::Path;
use std::time::Duration;

use super::{NodeError, Place, Recorded, Standing, unwritable};
use crate::store::disk::{Disk, Handle, Lock, Open, Stat};
use crate::store::error::StoreError;
use crate::store::ids::{Ids, NODE_SUFFIX};
use crate::store::layout;
use crate::store::machine::Environment;
use crate::store::small_file::{self, FileError};

/// How long to wait for the lock of the directory.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait between two tries.
const PAUSE: Duration = Duration::from_millis(5);

/// Makes what is missing and gives the place its node.
///
/// Ensures: everything that was made is on stable storage, and `node.json` appears last.
pub(super) fn found(
    disk: &dyn Disk,
    place: &mut Place,
    environment: &Environment,
    pinned: Option<String>,
    ids: &mut Ids,
) -> Result<(), NodeError> {
    small_file::create_directories(disk, &place.root)?;
    let (directory, stat) = lock(disk, &place.root)?;
    let founded = place
        .take_in(&stat, environment)
        .and_then(|()| settle(disk, place, directory.as_ref(), &stat, environment, pinned, ids));
    // Before the close: a child between fork and exec may hold a copy.
    let unlocked = directory.unlock().map_err(FileError::when("unlock", &place.root));
    founded?;
    Ok(unlocked?)
}

/// Locks the queue directory, and says what it is.
///
/// Ensures: the locked directory is the one at the path, so whoever comes to the path stands before this lock.
fn lock(disk: &dyn Disk, root: &Path) -> Result<(Box<dyn Handle>, Stat), NodeError> {
    let mut waited = Duration::ZERO;
    while waited < PATIENCE {
        let directory = disk.open(root, Open::Directory).map_err(FileError::when("open", root))?;
        if directory.try_lock(Lock::Exclusive).map_err(FileError::when("lock", root))? {
            let held = directory.stat().map_err(FileError::when("look at", root))?;
            let named = disk.stat(root).map_err(FileError::when("look at", root))?;
            if (held.device, held.inode) == (named.device, named.inode) {
                return Ok((directory, held));
            }
            directory.unlock().map_err(FileError::when("unlock", root))?;
        }
        drop(directory);
        disk.pause(PAUSE);
        waited += PAUSE;
    }
    Err(NodeError::Busy(root.to_owned()))
}

fn settle(
    disk: &dyn Disk,
    place: &mut Place,
    directory: &dyn Handle,
    stat: &Stat,
    environment: &Environment,
    pinned: Option<String>,
    ids: &mut Ids,
) -> Result<(), NodeError> {
    // Another process may have come first.
    if let Some(why) = unwritable(disk, &place.root)? {
        return Err(NodeError::ReadOnly { path: place.root.clone(), why });
    }
    let recorded = Recorded::read(disk, &place.node_file())?;
    let kept = match (&pinned, &recorded) {
        (None, Some(recorded)) => {
            let standing = recorded.standing(disk, &place.root, stat)?;
            (standing != Standing::Other).then(|| (recorded.node.clone(), standing))
        }
        (Some(pinned), Some(recorded)) if recorded.stands_for(pinned) => {
            Some((recorded.node.clone(), Standing::Same))
        }
        (_, _) => None,
    };
    make_around(disk, place, directory)?;
    let (node, standing) = match (kept, pinned) {
        (Some((node, standing)), _) => (node, Some(standing)),
        (None, Some(pinned)) => (pinned, None),
        (None, None) => (mint(disk, place, environment, ids)?, None),
    };
    if !name_staged(disk, place, &node)? {
        small_file::create_directory(disk, &place.log_dir(&node), place.owner)?;
    }
    place.sync_directories(disk)?;
    place.node = Some(node.clone());
    if standing != Some(Standing::Same) {
        record(disk, place, &Recorded::new(&node, &place.root, stat))?;
    }
    Ok(())
}

/// See [`Place::succeed`].
pub(super) fn succeed(
    disk: &dyn Disk,
    place: &mut Place,
    environment: &Environment,
    pinned: Option<String>,
    ids: &mut Ids,
    stage: impl FnOnce(&Place, &Path) -> Result<bool, StoreError>,
) -> Result<bool, StoreError> {
    let (directory, stat) = lock(disk, &place.root)?;
    let outcome = replace_node(disk, place, &stat, environment, pinned, ids, stage);
    let unlocked = directory.unlock().map_err(FileError::when("unlock", &place.root));
    let is_new = outcome?;
    unlocked.map_err(NodeError::from)?;
    Ok(is_new)
}

fn replace_node(
    disk: &dyn Disk,
    place: &mut Place,
    stat: &Stat,
    environment: &Environment,
    pinned: Option<String>,
    ids: &mut Ids,
    stage: impl FnOnce(&Place, &Path) -> Result<bool, StoreError>,
) -> Result<bool, StoreError> {
    place.take_in(stat, environment)?;
    if let Some(why) = unwritable(disk, &place.root).map_err(NodeError::from)? {
        return Err(NodeError::ReadOnly { path: place.root.clone(), why }.into());
    }
    // Another process may have come first, and a node that only has to be given its log needs no other.
    let recorded = Recorded::read(disk, &place.node_file())?;
    let Some(old) =
        recorded.map(|recorded| recorded.node).filter(|old| place.node.as_ref() == Some(old))
    else {
        return Ok(false);
    };
    if name_staged(disk, place, &old).map_err(NodeError::from)? {
        return Ok(false);
    }
    let host = pinned.as_deref().unwrap_or(&environment.host);
    let mut new = place.clone();
    let node = name_for_another(disk, place, host, ids).map_err(NodeError::from)?;
    let staged = place.logs().join(self::staged(Some(&node)));
    new.node = Some(node.clone());
    if !stage(&new, &staged)? {
        return Ok(false);
    }
    place.sync_directories(disk).map_err(NodeError::from)?;
    let recorded = Recorded::new(&node, &place.root, stat).in_stead_of(pinned);
    record(disk, place, &recorded).map_err(NodeError::from)?;
    name_staged(disk, place, &node).map_err(NodeError::from)?;
    *place = new;
    Ok(true)
}

/// Where the log of a node is made that takes over from another, until the node is recorded.
pub(super) fn staged(node: Option<&str>) -> String {
    format!(".{}.tmp", node.unwrap_or_default())
}

/// Gives the staged log of a node its name, durably; says whether there was one.
fn name_staged(disk: &dyn Disk, place: &Place, node: &str) -> Result<bool, FileError> {
    let (logs, staged) = (place.logs(), staged(Some(node)));
    match disk.stat(&logs.join(&staged)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        other => other.map_err(FileError::when("look at", &logs.join(&staged)))?,
    };
    let opened = disk.open(&logs, Open::Directory).map_err(FileError::when("open", &logs))?;
    opened
        .rename_over(&staged, node)
        .and_then(|()| small_file::sync_open_directory(opened.as_ref()))
        .map_err(FileError::when("name the log of the new node in", &logs))?;
    Ok(true)
}

/// A name that no node has; the one of an attempt that came to nothing, where there was one.
fn name_for_another(
    disk: &dyn Disk,
    place: &Place,
    host: &str,
    ids: &mut Ids,
) -> Result<String, FileError> {
    let logs = place.logs();
    let names = disk.open(&logs, Open::Directory).and_then(|opened| opened.names());
    let names = match names {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        names => names.map_err(FileError::when("list", &logs))?,
    };
    let begun = names.iter().find_map(|name| name.strip_prefix('.')?.strip_suffix(".tmp"));
    let begun = begun.filter(|node| layout::is_node(node) && !names.contains(&(*node).to_owned()));
    if let Some(begun) = begun {
        return Ok(begun.to_owned());
    }
    loop {
        let node = format!("{}-{}", layout::short_host(host), ids.suffix(NODE_SUFFIX));
        if !names.contains(&node) {
            return Ok(node);
        }
    }
}

/// Makes the directories and files that every queue has, as far as they are missing. Their names are not synced.
fn make_around(disk: &dyn Disk, place: &Place, directory: &dyn Handle) -> Result<(), FileError> {
    for path in [
        place.logs(),
        layout::locals(&place.root),
        place.local(),
        place.run_dir(),
        place.output_dir(),
        place.cache_dir(),
    ] {
        small_file::create_directory(disk, &path, place.owner)?;
    }
    let files = [(layout::FORMAT, layout::FORMAT_CONTENT)];
    for (name, content) in files.into_iter().chain(layout::KEPT_HOME) {
        small_file::create(directory, name, content.as_bytes(), place.owner)
            .map_err(FileError::when("make", &place.root.join(name)))?;
    }
    Ok(())
}

/// Makes the log of a new node, and with it the node.
fn mint(
    disk: &dyn Disk,
    place: &Place,
    environment: &Environment,
    ids: &mut Ids,
) -> Result<String, FileError> {
    let host = layout::short_host(&environment.host);
    loop {
        let node = format!("{host}-{}", ids.suffix(NODE_SUFFIX));
        // A name that another machine has by chance is left to it.
        if small_file::create_directory(disk, &place.log_dir(&node), place.owner)? {
            return Ok(node);
        }
    }
}

/// Writes `node.json`, and brings it to stable storage.
fn record(disk: &dyn Disk, place: &Place, recorded: &Recorded) -> Result<(), FileError> {
    let (path, local) = (place.node_file(), place.local());
    let mut content =
        serde_json::to_vec(recorded).expect("BUG: what node.json says cannot be written as JSON");
    content.push(b'\n');
    let opened = disk.open(&local, Open::Directory).map_err(FileError::when("open", &local))?;
    small_file::replace(opened.as_ref(), layout::NODE_FILE, &content, place.owner)
        .and_then(|()| small_file::sync_open_directory(opened.as_ref()))
        .map_err(FileError::when("write", &path))
}

#[cfg(test)]
#[path = "founding_tests.rs"]
mod tests;
