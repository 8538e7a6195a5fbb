//! Waiting for news of the log, so that nobody has to look for it all the time.
//!
//! Only speeds things up: wake-ups may come late, twice, or not at all, as over a network, so whoever waits also looks by
//! itself now and then. Arm it before the first read, and no news falls between the two.
//!
//! Knows nothing of what is in the files.

use std::path::{Path, PathBuf};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

/// Watches directories for as long as it lives.
#[derive(Debug)]
pub struct Watch {
    _watcher: RecommendedWatcher,
}

/// Why news of a directory cannot be had: it is missing, or a limit of the system is reached. Look for it more often.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch {}: {source}", path.display())]
pub struct WatchError {
    /// The directory.
    pub path: PathBuf,
    /// What the system said.
    pub source: notify::Error,
}

impl Watch {
    /// Calls `on_news`, on another thread, after anything was written, made, renamed or removed in one of these
    /// directories, and also when the system has lost count of what was. `on_news` must not block.
    ///
    /// Errors: where one of them cannot be watched; then none is.
    pub fn arm(
        directories: &[&Path],
        on_news: impl Fn() + Send + 'static,
    ) -> Result<Watch, WatchError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| WatchError { path, source }
        };
        let first = directories.first().copied().unwrap_or(Path::new(""));
        let mut watcher = notify::recommended_watcher(move |event| {
            if is_news(&event) {
                on_news();
            }
        })
        .map_err(failed(first))?;
        for directory in directories {
            watcher.watch(directory, RecursiveMode::NonRecursive).map_err(failed(directory))?;
        }
        Ok(Watch { _watcher: watcher })
    }
}

/// Whether there may be something to read. Reading itself is no news, or each reader would wake itself and all others.
fn is_news(event: &notify::Result<notify::Event>) -> bool {
    match event {
        Ok(event) => event.need_rescan() || !matches!(event.kind, EventKind::Access(_)),
        // What was lost may have been news.
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};
    use std::time::Duration;

    use notify::event::{AccessKind, Flag};

    use super::*;
    use crate::store::disk::{Disk as _, Open};
    use crate::store::real_disk::RealDisk;

    const LIMIT: Duration = Duration::from_secs(10);

    fn armed(directory: &Path) -> (Watch, Receiver<()>) {
        let (sender, news) = sync_channel(1000);
        let watch = Watch::arm(&[directory], move || {
            // A full channel already says it.
            let _ = sender.try_send(());
        });
        (watch.unwrap(), news)
    }

    #[test]
    fn an_append_by_another_is_news() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("1.jsonl");
        let writer = RealDisk.open(&path, Open::CreateNew).unwrap();
        let (_watch, news) = armed(place.path());
        writer.append(b"x\n").unwrap();
        news.recv_timeout(LIMIT).unwrap();
    }

    #[test]
    fn a_new_segment_is_news() {
        let place = tempfile::tempdir().unwrap();
        let directory = RealDisk.open(place.path(), Open::Directory).unwrap();
        let (_watch, news) = armed(place.path());
        directory.open_in("2.tmp", Open::CreateNew).unwrap();
        news.recv_timeout(LIMIT).unwrap();
        directory.rename_new("2.tmp", "2.jsonl").unwrap();
        news.recv_timeout(LIMIT).unwrap();
    }

    #[test]
    fn reading_is_no_news() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("1.jsonl");
        let writer = RealDisk.open(&path, Open::CreateNew).unwrap();
        writer.append(b"x\n").unwrap();
        let (_watch, news) = armed(place.path());
        for _ in 0..100 {
            let reader = RealDisk.open(&path, Open::Read).unwrap();
            reader.read_at(&mut [0; 8], 0).unwrap();
            RealDisk.open(place.path(), Open::Directory).unwrap().names().unwrap();
        }
        writer.append(b"y\n").unwrap();
        // Events come in order, so those of the reads have come by the time the append's has.
        news.recv_timeout(LIMIT).unwrap();
        assert!(news.try_iter().count() < 10);
    }

    #[test]
    fn what_was_lost_may_be_news() {
        let access = notify::Event::new(EventKind::Access(AccessKind::Any));
        assert!(!is_news(&Ok(access.clone())));
        assert!(is_news(&Ok(access.set_flag(Flag::Rescan))));
        assert!(is_news(&Err(notify::Error::generic("lost"))));
    }

    #[test]
    fn a_missing_directory_cannot_be_watched() {
        let place = tempfile::tempdir().unwrap();
        let missing = place.path().join("log");
        let error = Watch::arm(&[place.path(), &missing], || {}).unwrap_err();
        assert_eq!(error.path, missing);
    }
}
