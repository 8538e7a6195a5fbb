//! Everything that wakes a worker's main thread, over one channel.
//!
//! Unaware of what is done about it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use super::recover::Settled;
use super::signal::Signal;
use super::slots::Over;
use super::supervisor::upkeep::Ending;
use crate::domain::job::{Claim, JobId};
use crate::store::watch::Watch;

/// Something the main thread has to know.
#[derive(Debug)]
pub enum Message {
    /// A run was started.
    Started(Claim),
    /// A run is over, or was not started.
    Over(Box<Over>),
    /// The log may have grown.
    News,
    /// A signal came.
    Signal(Signal),
    /// A dead worker's run is settled, but for the log.
    Settled(Settled),
    /// A compaction is over.
    Compacted(Box<Ending>),
    /// Processes of a run outlive KILL.
    CannotEnd(JobId, Vec<i32>),
}

/// The receiving end, and what sends news and signals to it.
#[derive(Debug)]
pub struct Inbox {
    sender: Sender<Message>,
    receiver: Receiver<Message>,
    /// Whether news was sent and not yet received: one message stands for all.
    pending: Arc<AtomicBool>,
    watched: Vec<PathBuf>,
    watch: Option<Watch>,
}

impl Inbox {
    /// Makes an empty one.
    pub fn new() -> Self {
        let (sender, receiver) = mpsc::channel();
        Inbox { sender, receiver, pending: Arc::default(), watched: Vec::new(), watch: None }
    }

    /// A way to send to it.
    pub fn sender(&self) -> Sender<Message> {
        self.sender.clone()
    }

    /// Has news of these directories sent, from here on; says whether that was possible.
    pub fn watch(&mut self, directories: &[&Path]) -> bool {
        self.watch = None;
        self.watched = directories.iter().map(|&path| path.to_owned()).collect();
        let (sender, pending) = (self.sender(), Arc::clone(&self.pending));
        let armed = Watch::arm(directories, move || {
            if !pending.swap(true, Ordering::SeqCst) {
                // Nobody receives any more where the worker is ending.
                let _ = sender.send(Message::News);
            }
        });
        self.watch = armed.ok();
        self.watch.is_some()
    }

    /// Waits for a message, at most so long, and takes all that are there.
    pub fn receive(&self, time: Duration) -> Vec<Message> {
        let first = match self.receiver.recv_timeout(time) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Vec::new(),
        };
        // Cleared before the caller reads, so that what is written meanwhile is news again.
        self.pending.store(false, Ordering::SeqCst);
        std::iter::once(first).chain(self.receiver.try_iter()).collect()
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new()
    }
}
