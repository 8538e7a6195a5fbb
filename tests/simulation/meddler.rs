//! A virtual process that is no part of the queue: it deletes what anybody may delete, caches and lock files and the mark.

use queuectl::store::Store;
use queuectl::store::disk::{Disk, Open};

use crate::process::{self, Member, Trouble};

/// Lives: deletes one file, then the end.
pub fn live(process: &Member) {
    process::end(process, meddle(process));
}

fn meddle(process: &Member) -> Result<(), Trouble> {
    let store = process::open(process)?;
    let what = {
        let mut inner = process.machine.lock();
        // Without a mark some damage looks like a torn end, as it does to everybody.
        let is_hurt = inner.ledger.harm.is_unmended();
        inner.random.below(if is_hurt { 2 } else { 3 })
    };
    let (place, ending, deleted) = match what {
        0 => (store.place().local().join("cache"), "", "a cache deleted"),
        1 => (store.place().run_dir(), ".lock", "a lock file deleted"),
        _ => (store.place().local(), "mark", "the mark deleted"),
    };
    delete(process, &store, &place, ending, deleted)
}

fn delete(
    process: &Member,
    store: &Store,
    place: &std::path::Path,
    ending: &str,
    deleted: &'static str,
) -> Result<(), Trouble> {
    let disk: &dyn Disk = store.disk().as_ref();
    let Ok(directory) = disk.open(place, Open::Directory) else { return Ok(()) };
    let names: Vec<String> =
        directory.names()?.into_iter().filter(|name| name.ends_with(ending)).collect();
    let Some(name) = names.first() else { return Ok(()) };
    directory.unlink(name)?;
    process.machine.lock().ledger.count(deleted);
    Ok(())
}
