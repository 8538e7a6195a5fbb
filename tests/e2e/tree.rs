//! What stands in a directory: every entry below it with all that a change would show in.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A line for each entry: path, kind and mode, inode, length, time of its last change.
pub fn tree(path: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut left = vec![path.to_owned()];
    while let Some(path) = left.pop() {
        let Ok(of) = fs::symlink_metadata(&path) else { continue };
        let (changed, nanoseconds) = (of.ctime(), of.ctime_nsec());
        lines.push(format!(
            "{} {:o} inode {} length {} changed {changed}.{nanoseconds:09}",
            path.display(),
            of.mode(),
            of.ino(),
            of.len(),
        ));
        if of.is_dir() {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            left.extend(entries.map(|entry| entry.path()));
        }
    }
    lines.sort();
    lines
}
