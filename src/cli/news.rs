//! Waiting for news of the queue: told of it where that works, and looking now and then in any case.
//!
//! Knows nothing of what the news is.

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use super::session::Session;
use crate::store::watch::Watch;

/// How often one looks where nobody tells of news.
const UNWATCHED: Duration = Duration::from_millis(200);

/// A wait for news. Armed before the first read, so that none falls between the two.
pub(super) struct News {
    watch: Option<Watch>,
    told: Receiver<()>,
    poll: Duration,
}

impl News {
    /// Arms it on the logs of all nodes.
    pub(super) fn of(session: &Session, poll: Duration) -> Self {
        let (sender, told) = sync_channel(1);
        let place = session.store.place();
        let logs = place.logs();
        let names = session.store.disk().open(&logs, crate::store::disk::Open::Directory);
        let nodes = names.and_then(|directory| directory.names()).unwrap_or_default();
        let nodes = nodes.iter().filter(|name| !name.starts_with('.'));
        let mut directories: Vec<_> = nodes.map(|node| place.log_dir(node)).collect();
        directories.push(logs);
        let paths: Vec<_> = directories.iter().map(std::path::PathBuf::as_path).collect();
        let watch = Watch::arm(&paths, move || {
            // A full channel says it already.
            let _ = sender.try_send(());
        });
        News { watch: watch.ok(), told, poll }
    }

    /// Waits for news, for the next look, or for the deadline, whichever comes first.
    pub(super) fn wait(&mut self, deadline: Option<Instant>) {
        let poll = if self.watch.is_some() { self.poll } else { self.poll.min(UNWATCHED) };
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let time = left.map_or(poll, |left| left.min(poll));
        if let Err(RecvTimeoutError::Disconnected) = self.told.recv_timeout(time) {
            // The watch is gone with its sender; what is left is to look.
            std::thread::sleep(time);
        }
    }
}
