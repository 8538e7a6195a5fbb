//! Which machine this is, so that a copied `local/` never hands one machine's identity to another.
//!
//! Knows nothing of queues and nodes.

use std::path::{Path, PathBuf};

use crc32c::crc32c;

use super::disk::{Disk, NoFile, Open};
use super::ids::Ids;
use super::small_file::{self, FileError};

/// What the process was started with and where, as far as identity depends on it.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `$QUEUECTL_NODE`, which pins the node.
    pub node: Option<String>,
    /// The id the system gave the machine.
    pub machine_id: Option<String>,
    /// `$XDG_STATE_HOME`.
    pub state_home: Option<PathBuf>,
    /// `$HOME`.
    pub home: Option<PathBuf>,
    /// The name of the host.
    pub host: String,
    /// The effective user.
    pub uid: u32,
}

/// What stands for the machine where it has no id yet. No machine is ever called so.
const UNNAMED: &str = "unnamed";

impl Environment {
    /// What this process was started with.
    ///
    /// Errors: where the id of the machine is there and cannot be read.
    pub fn of_this_process(disk: &dyn Disk) -> Result<Self, FileError> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let node = variable("QUEUECTL_NODE").map(|node| node.to_string_lossy().into_owned());
        // A pinned node needs no machine.
        let machine_id = if node.is_none() { machine_id(disk)? } else { None };
        Ok(Environment {
            node,
            machine_id,
            state_home: absolute("XDG_STATE_HOME"),
            home: absolute("HOME"),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            uid: rustix::process::geteuid().as_raw(),
        })
    }

    /// The machine as it names a directory under `local/`: 8 hex digits. Makes nothing.
    pub fn machine(&self, disk: &dyn Disk) -> Result<String, FileError> {
        if let Some(name) = self.known_machine() {
            return Ok(name);
        }
        let Some(directory) = self.state() else { return Ok(UNNAMED.to_owned()) };
        let kept = small_file::read(disk, &directory.join("machine"))?;
        Ok(kept.map_or_else(|| UNNAMED.to_owned(), |id| hash("kept", id.trim_ascii())))
    }

    /// As [`Environment::machine`], and where the machine has no id it gets one, kept in the user's state directory.
    /// None where there is no such directory.
    pub fn machine_or_make(
        &self,
        disk: &dyn Disk,
        ids: &mut Ids,
    ) -> Result<Option<String>, FileError> {
        let name = self.machine(disk)?;
        if name != UNNAMED {
            return Ok(Some(name));
        }
        let Some(directory) = self.state() else { return Ok(None) };
        small_file::create_directories(disk, &directory)?;
        let opened =
            disk.open(&directory, Open::Directory).map_err(FileError::when("open", &directory))?;
        let path = directory.join("machine");
        // Of several processes that make one at once, one wins, and all read that one.
        let made = format!("{}\n", ids.suffix(26));
        let unique = format!("machine.{}", ids.suffix(8));
        small_file::create(opened.as_ref(), &unique, made.as_bytes(), None)
            .and_then(|_| match opened.rename_new(&unique, "machine") {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    opened.unlink(&unique)
                }
                other => other,
            })
            .and_then(|()| small_file::sync_open_directory(opened.as_ref()))
            .map_err(FileError::when("make", &path))?;
        self.machine(disk).map(Some)
    }

    /// The machine, where that is known without the state directory.
    fn known_machine(&self) -> Option<String> {
        if let Some(node) = &self.node {
            return Some(hash("node", node.as_bytes()));
        }
        self.machine_id.as_ref().map(|id| hash("machine-id", id.as_bytes()))
    }

    /// Where this user's programs keep what they must remember.
    fn state(&self) -> Option<PathBuf> {
        let home = || self.home.as_ref().map(|home| home.join(".local/state"));
        self.state_home.clone().or_else(home).map(|state| state.join("queuectl"))
    }
}

/// The id the system gave the machine, if it is one: containers have an empty file or a placeholder.
///
/// Errors: where it cannot be read for once. Taken for a machine without one, this would write as another node, whose
/// jobs nobody here would ever run.
fn machine_id(disk: &dyn Disk) -> Result<Option<String>, FileError> {
    let content = match small_file::read(disk, Path::new("/etc/machine-id")) {
        // Who may not read it never may, and what is no file has no id.
        Err(error) if error.source.kind() == std::io::ErrorKind::PermissionDenied => None,
        Err(error) if NoFile::of(&error.source).is_some() => None,
        other => other?,
    };
    let id = content.and_then(|content| String::from_utf8(content).ok());
    let id = id.map(|id| id.trim().to_owned());
    Ok(id.filter(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())))
}

/// 8 hex digits. The machine id itself is nobody else's business (machine-id(5)), and 32 bits don't give it away.
fn hash(kind: &str, id: &[u8]) -> String {
    let keyed = [b"queuectl ", kind.as_bytes(), b" ", id].concat();
    format!("{:08x}", crc32c(&keyed))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::store::odd_disk::Odd;
    use crate::store::real_disk::RealDisk;

    #[test]
    fn the_machine_id_names_the_machine_and_a_pinned_node_goes_before_it() {
        let one = Environment { machine_id: Some("1".into()), ..Environment::default() };
        let two = Environment { machine_id: Some("2".into()), ..Environment::default() };
        let name = one.machine(&RealDisk).unwrap();
        assert_eq!(name, "846b3a79");
        assert_ne!(name, two.machine(&RealDisk).unwrap());
        let pinned = |environment| Environment { node: Some("n1".into()), ..environment };
        let machine = pinned(one).machine(&RealDisk).unwrap();
        assert_eq!(machine, pinned(two).machine(&RealDisk).unwrap());
        assert_ne!(machine, name);
    }

    #[test]
    fn a_machine_without_id_gets_one_with_the_first_write() {
        let place = tempfile::tempdir().unwrap();
        let environment =
            Environment { home: Some(place.path().to_owned()), ..Environment::default() };
        assert_eq!(environment.machine(&RealDisk).unwrap(), UNNAMED);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);

        let made = environment.machine_or_make(&RealDisk, &mut Ids::new(None)).unwrap().unwrap();
        assert_eq!(made.len(), 8);
        let again = environment.machine_or_make(&RealDisk, &mut Ids::new(None)).unwrap();
        assert_eq!(again, Some(made.clone()));
        assert_eq!(environment.machine(&RealDisk).unwrap(), made);
        let state = place.path().join(".local/state/queuectl");
        assert_eq!(std::fs::read_dir(state).unwrap().count(), 1);

        let homeless = Environment::default();
        assert_eq!(homeless.machine_or_make(&RealDisk, &mut Ids::new(None)).unwrap(), None);
    }

    #[test]
    fn of_several_that_make_an_id_at_once_one_wins() {
        let place = tempfile::tempdir().unwrap();
        let environment =
            Environment { state_home: Some(place.path().to_owned()), ..Environment::default() };
        let (one, other) = (environment.clone(), Mutex::new(None));
        let other = Arc::new(other);
        let winner = Arc::clone(&other);
        let disk = Odd::new(move |call| {
            // The file is made by two renames, of which the second gives it its name.
            let is_named = call.starts_with("rename machine.") && call.ends_with(" machine");
            if is_named {
                let made = one.machine_or_make(&RealDisk, &mut Ids::new(None)).unwrap();
                *winner.lock().unwrap() = made;
            }
            Ok(())
        });
        let made = environment.machine_or_make(&disk, &mut Ids::new(None)).unwrap();
        assert!(made.is_some());
        assert_eq!(made, *other.lock().unwrap());
        let state = place.path().join("queuectl");
        assert_eq!(std::fs::read_dir(&state).unwrap().count(), 1);

        std::fs::remove_file(state.join("machine")).unwrap();
        let full = Odd::refusing(|call| {
            let is_named = call.starts_with("rename machine.") && call.ends_with(" machine");
            is_named.then_some(io::ErrorKind::StorageFull)
        });
        assert!(environment.machine_or_make(&full, &mut Ids::new(None)).is_err());
    }

    #[test]
    fn only_an_id_is_taken_for_one_and_only_for_once_is_none_an_error() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("id");
        let id = "0123456789abcdef0123456789ABCDEF";
        let mut disk = Odd::watched();
        disk.moved = Some(("/etc/machine-id".into(), path.clone()));
        assert_eq!(machine_id(&disk).unwrap(), None, "there is no file");
        for (content, found) in [
            (format!("{id}\n"), Some(id)),
            (id.to_owned(), Some(id)),
            (String::new(), None),
            ("uninitialized\n".to_owned(), None),
            (id[1..].to_owned(), None),
            (format!("{id}0"), None),
            (id.replace('a', "g"), None),
        ] {
            std::fs::write(&path, &content).unwrap();
            assert_eq!(machine_id(&disk).unwrap().as_deref(), found, "{content:?}");
        }
        for (kind, is_none) in [
            (io::ErrorKind::PermissionDenied, true),
            (io::ErrorKind::NotFound, true),
            (io::ErrorKind::Interrupted, false),
            (io::ErrorKind::Other, false),
        ] {
            let refused = Odd::refusing(move |call| (call == "open machine-id").then_some(kind));
            match machine_id(&refused) {
                Ok(id) => assert!(is_none && id.is_none(), "{kind}"),
                Err(error) => assert!(!is_none, "{error}"),
            }
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(machine_id(&disk).unwrap(), None, "a directory has no id");
    }

    #[test]
    fn this_process_is_somewhere() {
        let environment = Environment::of_this_process(&RealDisk).unwrap();
        assert!(!environment.host.is_empty());
        assert_eq!(environment.uid, rustix::process::geteuid().as_raw());
    }
}
