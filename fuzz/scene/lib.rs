//! Queue directories of hostile bytes, and what must be true of them whatever they hold: nobody panics, a repair that
//! says it is done has mended the queue, and what is enqueued then is there.
//!
//! Knows nothing of where the bytes come from.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use queuectl::domain::decide::OnConflict;
use queuectl::domain::job::{JobId, Spec};
use queuectl::store::clock::Clock;
use queuectl::store::ids::Ids;
use queuectl::store::machine::Environment;
use queuectl::store::real_disk::RealDisk;
use queuectl::store::{Enqueue, Setting, Store, StoreError};
use tempfile::TempDir;

/// The node whose logs are tried.
pub const NODE: &str = "desk-0001";

/// A queue directory in memory.
pub struct Queue {
    home: TempDir,
}

impl Queue {
    /// One of these files, by their paths below it. A path with `@` for a directory is this machine's own.
    pub fn of(files: &[(&str, &[u8])]) -> Self {
        let home = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let queue = Queue { home: home.expect("a temporary directory") };
        fs::create_dir_all(queue.root().join("log").join(NODE)).expect("a log");
        let local = queue.open().map(|store| store.place().local());
        for (name, bytes) in files {
            let path = match (name.strip_prefix("@/"), &local) {
                (Some(name), Ok(local)) => local.join(name),
                _ => queue.root().join(name),
            };
            let above = path.parent().unwrap_or(Path::new("/"));
            fs::create_dir_all(above).expect("a directory");
            fs::write(path, bytes).expect("a file");
        }
        queue
    }

    fn root(&self) -> std::path::PathBuf {
        self.home.path().join("queue")
    }

    /// What the next process opens.
    pub fn open(&self) -> Result<Store, StoreError> {
        let uid = rustix::process::geteuid().as_raw();
        Store::open(Setting {
            disk: Arc::new(RealDisk),
            root: self.root(),
            environment: Environment { node: Some(NODE.into()), uid, ..Environment::default() },
            clock: Clock::System,
            ids: Ids::new(Some("fuzz")),
            boot: Some("fuzz".into()),
        })
    }

    /// Reads, looks at everything, repairs what can be, goes on, and reads again.
    pub fn live(&self) {
        let Ok(mut store) = self.open() else { return };
        let _ = store.read();
        let Ok(report) = store.examine(&mut |_| {}) else { return };
        for step in store.repairs(&report) {
            if store.repair(step).is_err() {
                return;
            }
        }
        let Ok(store) = self.open() else { return };
        let is_mended = store.examine(&mut |_| {}).is_ok_and(|report| report.is_ok());
        drop(store);
        let (Ok(mut store), Ok(id)) = (self.open(), JobId::new("fuzzed-new")) else { return };
        let specs = vec![Spec::shell(id.clone(), "true", 3)];
        let on_conflict = OnConflict::Fail;
        let enqueued = store.enqueue(Enqueue { specs, has_chosen_ids: true, on_conflict });
        match enqueued {
            Ok(_) => {}
            Err(StoreError::Damaged(_) | StoreError::Degraded(_)) if is_mended => {
                panic!("the doctor found nothing, and an enqueue does: {enqueued:?}")
            }
            Err(_) => return,
        }
        let Ok(mut store) = self.open() else { panic!("cannot be opened after an enqueue") };
        if let Err(error) = store.read() {
            panic!("cannot be read after an enqueue: {error}");
        }
        assert!(
            store.own().is_some_and(|own| own.job(&id).is_some()),
            "an acknowledged job is gone"
        );
    }
}

/// The same lines with checksums that hold, so that what is behind the checksum is reached.
pub fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let body = match line.len().checked_sub(18) {
            Some(at) if line[at..].starts_with(b",\"crc\":\"") => &line[..at],
            _ => line.strip_suffix(b"}").unwrap_or(line),
        };
        sealed.extend_from_slice(body);
        sealed
            .extend_from_slice(format!(",\"crc\":\"{:08x}\"}}\n", crc32c::crc32c(body)).as_bytes());
    }
    sealed
}
