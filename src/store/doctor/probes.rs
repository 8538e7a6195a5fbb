//! What the kernel and the disk really do: a wake-up that is waited for, syncs that are timed.
//!
//! Each probe makes one file below `local/` and removes it; where there is no place for it yet, it is left out.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::Check;
use crate::store::Store;
use crate::store::disk::{Handle, Open};
use crate::store::watch::Watch;

/// How long a wake-up may take.
const WAKE_UP: Duration = Duration::from_secs(2);

/// How many syncs are timed.
const SYNCS: usize = 11;

/// A sync that takes longer is told of.
const SLOW: Duration = Duration::from_millis(100);

impl Store {
    /// Whether workers are told when the log grows, and how soon.
    pub(super) fn check_wake_up(&self) -> Check {
        let mut check = Check::new("wake_up");
        for (name, file) in [
            ("max_user_instances", "/proc/sys/fs/inotify/max_user_instances"),
            ("max_user_watches", "/proc/sys/fs/inotify/max_user_watches"),
        ] {
            let limit =
                std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok());
            check.measured.extend(limit.map(|limit: u64| (name, limit)));
        }
        let Some((path, directory)) = self.probe_place() else {
            check.skipped = Some("nothing can be written there".to_owned());
            return check;
        };
        let hint = "workers look every poll_interval all the same; raise the limits of inotify";
        let (sender, news) = mpsc::sync_channel(16);
        let armed = Watch::arm(&[&path], move || {
            // A full channel already says it.
            let _ = sender.try_send(());
        });
        let watch = match armed {
            Ok(watch) => watch,
            Err(error) => {
                check.note(&path, error.to_string());
                check.hint = Some(hint);
                return check;
            }
        };
        let begun = Instant::now();
        let Ok(probe) = Probe::begin(directory) else {
            check.skipped = Some("nothing can be written there".to_owned());
            return check;
        };
        match news.recv_timeout(WAKE_UP) {
            Ok(()) => check.measured.push(("woke_after_us", micros(begun.elapsed()))),
            Err(_) => {
                let what = format!("a new file in it woke nobody within {} s", WAKE_UP.as_secs());
                check.note(&path, what);
                check.hint = Some(hint);
            }
        }
        drop(watch);
        drop(probe);
        check
    }

    /// How long a small append takes to reach stable storage.
    pub(super) fn check_sync(&self) -> Check {
        let mut check = Check::new("sync");
        let Some((path, directory)) = self.probe_place() else {
            check.skipped = Some("nothing can be written there".to_owned());
            return check;
        };
        let probe = match Probe::begin(directory) {
            Ok(probe) => probe,
            Err(error) => {
                // Who only may not write is not the one who does.
                match error.kind() {
                    io::ErrorKind::ReadOnlyFilesystem => {
                        check.fault(&path, format!("nothing can be written here: {error}"));
                    }
                    _ => check.skipped = Some("nothing can be written there".to_owned()),
                }
                return check;
            }
        };
        let mut times = Vec::with_capacity(SYNCS);
        for _ in 0..SYNCS {
            let begun = Instant::now();
            if let Err(error) = probe.append_and_sync() {
                check.fault(&path, format!("a file in it cannot be written and synced: {error}"));
                return check;
            }
            times.push(begun.elapsed());
        }
        tell_of_times(&mut check, &path, times);
        check
    }

    /// Where probes go, where there is such a place: a directory in which others seldom write.
    fn probe_place(&self) -> Option<(PathBuf, Box<dyn Handle>)> {
        let places = [self.place.cache_dir(), self.place.local()];
        places.into_iter().find_map(|path| {
            let directory = self.disk.open(&path, Open::Directory).ok()?;
            Some((path, directory))
        })
    }
}

/// Tells how long syncs took, in the middle and at worst.
fn tell_of_times(check: &mut Check, path: &Path, mut times: Vec<Duration>) {
    times.sort();
    let (median, worst) = (times[SYNCS / 2], times[SYNCS - 1]);
    check.measured.push(("median_us", micros(median)));
    check.measured.push(("worst_us", micros(worst)));
    if median > SLOW {
        let what =
            format!("a sync takes {} ms, and each enqueue waits for one", median.as_millis());
        check.note(path, what);
    }
}

/// A file that is removed when this is dropped.
struct Probe {
    directory: Box<dyn Handle>,
    name: String,
    file: Box<dyn Handle>,
}

impl Probe {
    fn begin(directory: Box<dyn Handle>) -> io::Result<Probe> {
        let inode = directory.stat()?.inode;
        // Two doctors at once each have their own.
        let name = format!(".probe.{}.{inode}.tmp", rustix::process::getpid().as_raw_nonzero());
        let _ = directory.unlink(&name);
        let file = directory.open_in(&name, Open::CreateNew)?;
        Ok(Probe { directory, name, file })
    }

    fn append_and_sync(&self) -> io::Result<()> {
        crate::store::disk::append_all(self.file.as_ref(), &[b'.'; 200])?;
        self.file.sync_data()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.directory.unlink(&self.name);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::doctor::Level;
    use crate::store::odd_disk::Odd;
    use crate::store::store_tests::{Queue, enqueue};

    /// Or a disk that stores nothing any more would be in order.
    #[test]
    fn a_probe_that_cannot_be_written_or_synced_is_a_fault() {
        let queue = Queue::new();
        let mut store = queue.open();
        enqueue(&mut store, &["a"]).unwrap();
        assert_eq!(store.check_sync().level(), Level::Ok);
        for call in ["append .probe.", "sync .probe."] {
            store.disk = Arc::new(Odd::failing(move |made| made.starts_with(call)));
            let check = store.check_sync();
            assert_eq!((check.level(), check.measured), (Level::Fault, Vec::new()), "{call}");
            let left = store.temporary_files();
            assert!(left.is_empty(), "{left:?}");
        }
    }

    /// Who only may not write is not the one who does.
    #[test]
    fn a_place_in_which_nobody_can_write_is_a_fault_and_one_in_which_this_user_cannot_is_not() {
        let queue = Queue::new();
        let mut store = queue.open();
        enqueue(&mut store, &["a"]).unwrap();
        for (error, level) in [
            (io::ErrorKind::ReadOnlyFilesystem, Level::Fault),
            (io::ErrorKind::PermissionDenied, Level::Ok),
        ] {
            store.disk = Arc::new(Odd::refusing(move |call| {
                call.starts_with("open .probe.").then_some(error)
            }));
            let check = store.check_sync();
            assert_eq!((check.level(), check.skipped.is_some()), (level, level == Level::Ok));
        }
    }

    #[test]
    fn a_disk_is_slow_where_half_of_its_syncs_are() {
        let told = |median| {
            let mut check = Check::new("sync");
            let (fast, slow) = ([Duration::from_micros(3); SYNCS / 2], [SLOW * 3; SYNCS / 2]);
            tell_of_times(&mut check, Path::new("local"), [&slow[..], &[median], &fast].concat());
            let worst = ("worst_us", 300_000);
            assert_eq!(check.measured, [("median_us", micros(median)), worst]);
            check.found.len()
        };
        assert_eq!((told(SLOW), told(SLOW + Duration::from_micros(1))), (0, 1));
    }

    #[test]
    fn times_are_told_in_microseconds() {
        assert_eq!(micros(Duration::from_millis(3)), 3000);
        assert_eq!(micros(Duration::MAX), u64::MAX);
    }
}
