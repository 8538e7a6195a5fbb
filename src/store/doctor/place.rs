//! The directory itself: its format, whose it is, who can write in it, and what it stands on.
//!
//! Knows nothing of what is in the logs.

use std::path::Path;

use super::{Check, names};
use crate::store::Store;
use crate::store::disk::FileSystem;
use crate::store::layout;
use crate::store::node::{GARBLED, Identity, NodeError, UNGARBLE};
use crate::store::small_file;

/// Less free space than this is told of, in bytes.
const LITTLE: u64 = 64 << 20;

/// Fewer files than this that can still be made are told of.
const FEW: u64 = 1000;

impl Store {
    /// Whether the format is one that this version knows.
    pub(super) fn check_format(&self) -> Check {
        let mut check = Check::new("format");
        let path = self.place.root().join(layout::FORMAT);
        match small_file::read(self.disk.as_ref(), &path) {
            Ok(Some(_)) => {}
            Ok(None) => {
                check.note(&path, "it is missing; this version takes the queue for its own")
            }
            Err(error) => check.fault(&path, error.to_string()),
        }
        match self.place.read_only() {
            Some(why) => {
                check.fault(&path, why);
                check.hint = Some(match why {
                    GARBLED => UNGARBLE,
                    _ => "use a newer queuectl",
                });
            }
            None => check.summary = format!("{}", layout::FORMAT_KNOWN),
        }
        check
    }

    /// Whether this directory is the one that its node was minted for.
    pub(super) fn check_identity(&self) -> Check {
        let mut check = Check::new("identity");
        let path = self.place.local().join(layout::NODE_FILE);
        let node = self.place.node().unwrap_or("no node");
        check.summary = format!("{node} on machine {}", self.place.machine());
        match self.place.identity(self.disk.as_ref()) {
            Ok(Identity::Unwritten) => {
                check.summary = format!("{node}, which has written nothing here");
            }
            Ok(Identity::Same) => {}
            Ok(Identity::Moved) => {
                check.note(&path, "the directory was moved; the next write records its new place");
            }
            Ok(Identity::Other(recorded)) => {
                let what = format!("it names {recorded}, and this is a copy or a restored backup");
                check.note(&path, format!("{what}: the next write begins a new node"));
                check.hint = Some("the jobs of the old node run only where its directory stands");
            }
            Err(error) => {
                check.fault(&path, error.to_string());
                check.hint = NodeError::hint(&error);
            }
        }
        check
    }

    /// Whether others could put jobs, and so commands, in the queue.
    pub(super) fn check_permissions(&self) -> Check {
        let mut check = Check::new("permissions");
        let (root, logs, local) = (self.place.root(), self.place.logs(), self.place.local());
        let mut paths = vec![root.to_owned(), root.join(layout::FORMAT), logs.clone()];
        let mut directories = vec![layout::locals(root), local];
        directories.extend(self.place.node().map(|node| self.place.log_dir(node)));
        for directory in directories {
            let inside = names(self.disk.as_ref(), &directory).unwrap_or_default();
            paths.extend(inside.into_iter().map(|name| directory.join(name)));
            paths.push(directory);
        }
        let mut count = 0;
        for path in paths {
            count += u64::from(self.check_mode(&mut check, &path));
        }
        check.summary = super::counted(count, "file or directory", "files and directories");
        check.hint = (!check.found.is_empty()).then_some("chmod -R go-w, or chown, what is named");
        check
    }

    fn check_mode(&self, check: &mut Check, path: &Path) -> bool {
        let Ok(stat) = self.disk.stat(path) else { return false };
        if stat.mode & 0o002 != 0 {
            check.fault(path, "everybody can write to it, and so run commands as you");
        } else if stat.mode & 0o020 != 0 {
            check.note(path, "its group can write to it, and so run commands as you");
        }
        let me = self.environment.uid;
        if stat.uid != me && stat.uid != 0 && me != 0 {
            check.fault(
                path,
                format!("it belongs to user {}, neither to you nor to root", stat.uid),
            );
        }
        true
    }

    /// Whether locks and wake-ups work there as the kernel promises.
    pub(super) fn check_file_system(&self) -> Check {
        let mut check = Check::new("file_system");
        let local = self.place.local();
        for path in [local.as_path(), self.place.root()] {
            match self.disk.file_system(path) {
                Ok(FileSystem::Remote(kind)) => {
                    check.summary = kind.to_owned();
                    let what =
                        format!("it is on {kind}, where locks and wake-ups are not to be trusted");
                    check.note(path, what);
                    check.hint = Some("keep local/ on a disk of this machine; a link will do");
                }
                Ok(FileSystem::Overlay) => check.summary = "layers of a container".to_owned(),
                Ok(FileSystem::Local) => check.summary = "local".to_owned(),
                Err(_) => continue,
            }
            return check;
        }
        Check::skipped("file_system", "the system does not tell")
    }

    /// Whether there is room for what is to be written.
    pub(super) fn check_free_space(&self) -> Check {
        let mut check = Check::new("free_space");
        let root = self.place.root();
        let Ok(stat) = rustix::fs::statvfs(root) else {
            return Check::skipped("free_space", "the system does not tell");
        };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        // Some file systems have no number of files at which they are full.
        let files = (stat.f_files > 0).then_some(stat.f_favail);
        check.measured.push(("free_bytes", free));
        check.measured.extend(files.map(|files| ("free_inodes", files)));
        tell_of_little_room(&mut check, root, free, files);
        check
    }
}

fn tell_of_little_room(check: &mut Check, root: &Path, free: u64, files: Option<u64>) {
    if free < LITTLE {
        check.note(root, format!("{free} bytes are free on its disk"));
        check.hint = Some("what can't be stored is not acknowledged; make room");
    } else if let Some(files) = files.filter(|files| *files < FEW) {
        check.note(root, format!("{files} more files can be made on its disk"));
    }
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
