//! Queue directories of hostile bytes, and what must be true of them whatever they hold: nobody panics, a repair that
//! says it is done has mended the queue, it loses no job that was read before, and what is enqueued then is there.
//!
//! Knows nothing of where the bytes come from. No process is looked at or signalled, whatever the bytes say.

mod acts;
mod live;
mod seal;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use queuectl::domain::timestamp::Timestamp;
use queuectl::store::clock::Clock;
use queuectl::store::ids::Ids;
use queuectl::store::machine::Environment;
use queuectl::store::real_disk::RealDisk;
use queuectl::store::{Setting, Store, StoreError};
use tempfile::TempDir;

pub use seal::{body, checkpoint, lock, mark, sealed, unpacked};

/// The node whose logs are tried.
pub const NODE: &str = "desk-0001";

/// The first moment, an hour after the fixtures were made, in microseconds since 1970.
const BEGIN: i64 = 1_770_004_800_000_000;

/// A queue directory in memory, that this machine's node has written in.
pub struct Queue {
    home: TempDir,
    local: PathBuf,
    /// How often the machine was started anew.
    boots: u32,
    /// How many processes have opened it; each is a second later than the last, and has chance of its own.
    opened: std::cell::Cell<u32>,
    /// The own log as it was once, to be put back.
    copy: Vec<(String, Vec<u8>)>,
}

impl Queue {
    /// One without a log and without a mark.
    pub fn new() -> Self {
        let home = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let home = home.expect("a temporary directory");
        let local = PathBuf::new();
        let mut queue =
            Queue { home, local, boots: 0, opened: Default::default(), copy: Vec::new() };
        fs::create_dir_all(queue.log()).expect("a log");
        let store = queue.open().expect("an empty queue");
        queue.local = store.place().local();
        for name in ["run", "output", "cache"] {
            fs::create_dir_all(queue.local.join(name)).expect("a directory");
        }
        // Whoever has no node mends nothing.
        let node = format!(
            "{{\"node\":\"{NODE}\",\"path\":\"{}\",\"inode\":0}}\n",
            queue.root().display()
        );
        fs::write(queue.local.join("node.json"), node).expect("a node");
        queue
    }

    /// One of these files; see [`Queue::put`].
    pub fn of(files: &[(&str, &[u8])]) -> Self {
        let queue = Queue::new();
        files.iter().for_each(|(name, bytes)| queue.put(name, bytes));
        queue
    }

    /// Of a file that was put, what names it.
    pub fn inode(&self, name: &str) -> u64 {
        let name = name.strip_prefix("@/").unwrap_or(name);
        fs::metadata(self.local.join(name)).map_or(0, |stat| stat.ino())
    }

    /// Puts a file, by its path below the queue. A path with `@` for a directory is this machine's own.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let path = match name.strip_prefix("@/") {
            Some(name) => self.local.join(name),
            None => self.root().join(name),
        };
        let above = path.parent().unwrap_or(Path::new("/"));
        if fs::create_dir_all(above).is_ok() {
            // What is a directory by now stays one.
            let _ = fs::write(path, bytes);
        }
    }

    fn root(&self) -> PathBuf {
        self.home.path().join("queue")
    }

    fn log(&self) -> PathBuf {
        self.root().join("log").join(NODE)
    }

    /// What the next process opens.
    pub fn open(&self) -> Result<Store, StoreError> {
        let (uid, opened) = (rustix::process::geteuid().as_raw(), self.opened.get() + 1);
        self.opened.set(opened);
        Store::open(Setting {
            disk: Arc::new(RealDisk),
            root: self.root(),
            environment: Environment { node: Some(NODE.into()), uid, ..Environment::default() },
            clock: Clock::Fixed(Timestamp::from_micros(BEGIN + i64::from(opened) * 1_000_000)),
            ids: Ids::new(Some(&format!("fuzz {opened}"))),
            boot: Some(format!("fuzz-{}", self.boots)),
        })
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self::new()
    }
}
