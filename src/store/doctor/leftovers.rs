//! What stands in the directory and belongs to nothing: half-made files, copies that sync tools made, output of jobs
//! that are gone.
//!
//! Judges by names alone.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::{Check, counted, names};
use crate::store::disk::{Disk, NoFile, Open, is_no_directory};
use crate::store::layout;
use crate::store::replay::View;
use crate::store::segment::SegmentName;
use crate::store::{Store, checkpoint};

/// What is a directory of this machine's own, once there is anything in it.
const DIRECTORIES: [&str; 4] = ["cache", "output", "quarantine", "run"];

/// Whether a temporary file is one that this program begins: by the name that it was to have.
fn is_ours(name: &str) -> bool {
    let name = name.trim_end_matches(".tmp");
    let hidden = name.strip_prefix('.').unwrap_or(name);
    let kept = layout::KEPT_HOME.iter().map(|(name, _)| *name);
    SegmentName::parse(hidden).is_some()
        || name.ends_with(".lock")
        || checkpoint::is_own(name)
        || hidden.starts_with("probe")
        || kept.chain([layout::FORMAT, layout::NODE_FILE]).any(|kept| kept == name)
}

impl Store {
    /// Whether what is written again and again is a file, and what it is in a directory: anything else can neither be
    /// written nor replaced.
    pub(super) fn check_files(&self) -> Check {
        let mut check = Check::new("files");
        let local = self.place.local();
        let mut paths =
            ["mark", "degraded", "compact.lock", "reserve"].map(|name| local.join(name)).to_vec();
        paths.push(self.place.cache_dir().join("state.ckpt"));
        for path in paths {
            let opened = self.disk.open(&path, Open::Append);
            if let Some(no_file) = opened.err().as_ref().and_then(NoFile::of) {
                check.fault(&path, no_file.to_string());
            }
        }
        let inside = names(self.disk.as_ref(), &local).unwrap_or_default();
        for name in inside.iter().filter(|name| DIRECTORIES.contains(&name.as_str())) {
            let path = local.join(name);
            let opened = self.disk.open(&path, Open::Directory);
            if opened.as_ref().is_err_and(is_no_directory) {
                check.fault(&path, "it is no directory, and no link that leads to one");
            }
        }
        for path in self.begun().filter(|path| self.is_directory(path)) {
            check.fault(&path, "it is a directory, and a file is to be begun under this name");
        }
        check.hint = (!check.found.is_empty())
            .then_some("move away what is named; the next write makes anew what it needs");
        check
    }

    /// Looks for files that somebody began and did not finish.
    pub(super) fn check_temporary_files(&self) -> Check {
        let mut check = Check::new("temporary_files");
        for path in self.temporary_files() {
            let len = self.disk.stat(&path).map_or(0, |stat| stat.len);
            check.note(
                &path,
                format!("{len} bytes that somebody began to write, and did not finish"),
            );
        }
        check.hint = (!check.found.is_empty())
            .then_some("queuectl doctor --repair removes those that nobody writes");
        check
    }

    /// Temporary files of this machine.
    pub(in crate::store) fn temporary_files(&self) -> Vec<PathBuf> {
        self.begun().filter(|path| !self.is_directory(path)).collect()
    }

    fn is_directory(&self, path: &Path) -> bool {
        self.disk.open(path, Open::Directory).is_ok()
    }

    /// Whatever stands under a name under which this machine begins a file.
    fn begun(&self) -> impl Iterator<Item = PathBuf> {
        let place = &self.place;
        let mut directories =
            vec![place.root().to_owned(), place.local(), place.run_dir(), place.cache_dir()];
        directories.extend(place.node().map(|node| place.log_dir(node)));
        let mut found = Vec::new();
        for directory in directories {
            let inside = names(self.disk.as_ref(), &directory).unwrap_or_default();
            let mine = inside.into_iter().filter(|name| name.ends_with(".tmp") && is_ours(name));
            found.extend(mine.map(|name| directory.join(name)));
        }
        found.into_iter()
    }

    /// Looks for copies that sync tools and editors make, which are read by nobody.
    pub(super) fn check_copies(&self) -> Check {
        let mut check = Check::new("copies");
        for path in self.copies() {
            check.note(&path, "a copy that a sync tool or an editor made; it is read by nobody");
        }
        check.hint = (!check.found.is_empty()).then_some(
            "two machines may write as one node: see that local/ is not synced. doctor --repair moves those of the own log away",
        );
        check
    }

    /// Files and directories that look like a part of the queue, and are none by their names.
    pub(in crate::store) fn copies(&self) -> Vec<PathBuf> {
        let (disk, place) = (self.disk.as_ref(), &self.place);
        let mut found = Vec::new();
        let logs = place.logs();
        for node in names(disk, &logs).unwrap_or_default() {
            let log = logs.join(&node);
            if !layout::is_node(&node) {
                found.push(log);
                continue;
            }
            found.extend(strangers(disk, &log).into_iter().map(|name| log.join(name)));
        }
        for directory in [place.root().to_owned(), layout::locals(place.root()), place.local()] {
            let inside = names(disk, &directory).unwrap_or_default();
            let copies = inside.into_iter().filter(|name| is_copy(name));
            found.extend(copies.map(|name| directory.join(name)));
        }
        found
    }

    /// Looks for output of jobs that the log no longer has.
    pub(super) fn check_outputs(&self, view: &View) -> Check {
        let mut check = Check::new("outputs");
        let directory = self.place.output_dir();
        if self.place.node().and_then(|node| view.state.node(node)).is_none() {
            return Check::skipped("outputs", "this machine has written nothing here yet");
        }
        // A backup that was put back has the outputs of a node that this machine was before.
        let nodes = view.state.nodes.values();
        let known: HashSet<PathBuf> = nodes
            .flat_map(|node| node.jobs())
            .map(|job| {
                layout::run_files(job.id().as_str(), 0).out.with_extension("").with_extension("")
            })
            .collect();
        let (mut count, mut gone, mut bytes) = (0, 0_u64, 0);
        for shard in names(self.disk.as_ref(), &directory).unwrap_or_default() {
            for name in names(self.disk.as_ref(), &directory.join(&shard)).unwrap_or_default() {
                count += 1;
                let Some(job) = job_of(&name).map(|job| Path::new(&shard).join(job)) else {
                    continue;
                };
                if !known.contains(&job) {
                    gone += 1;
                    let path = directory.join(&shard).join(&name);
                    bytes += self.disk.stat(&path).map_or(0, |stat| stat.len);
                }
            }
        }
        check.summary = counted(count, "file", "files");
        if gone > 0 {
            let files = counted(gone, "file", "files");
            check.note(&directory, format!("{files} with {bytes} bytes are of jobs that are gone"));
        }
        check
    }
}

/// The job's part of the name of a file of a run.
fn job_of(name: &str) -> Option<&str> {
    let (rest, ending) = name.rsplit_once('.')?;
    let (job, run) = rest.rsplit_once('.')?;
    let is_run = ["out", "err", "in"].contains(&ending) && run.bytes().all(|b| b.is_ascii_digit());
    is_run.then_some(job)
}

/// What stands in the directory of a log and is neither of it nor half made by us.
fn strangers(disk: &dyn Disk, log: &Path) -> Vec<String> {
    let Ok(directory) = disk.open(log, Open::Directory) else { return Vec::new() };
    let mut names = directory.names().unwrap_or_default();
    names.sort();
    names.retain(|name| SegmentName::parse(name).is_none());
    names.retain(|name| is_of_a_tool(name) || !name.ends_with(".tmp"));
    // A link may lead anywhere, and what else stands there is none of ours.
    names.retain(|name| is_copy(name) || name.contains(".jsonl"));
    names
}

/// Whether the name is one that a sync tool or an editor gives.
fn is_copy(name: &str) -> bool {
    name.contains(".sync-conflict-")
        || name.contains("conflicted copy")
        || name.ends_with('~')
        || is_of_a_tool(name)
}

fn is_of_a_tool(name: &str) -> bool {
    name.starts_with(".syncthing.") || name.starts_with("~syncthing~") || name.starts_with(".~")
}

#[cfg(test)]
#[path = "leftovers_tests.rs"]
mod tests;
