//! A virtual process that is no part of the queue: it copies the log, as a backup does, and one day puts the copy back.

use std::collections::BTreeMap;

use queuectl::store::segment::SegmentName;

use crate::ledger::Backup;
use crate::lines::Log;
use crate::machine::Inner;
use crate::process::{self, Member, Trouble};
use crate::rot;

/// Lives: copies the log or puts it back, then the end.
pub fn live(process: &Member) {
    process::end(process, restore(process));
}

fn restore(process: &Member) -> Result<(), Trouble> {
    let store = process::open(process)?;
    let Some(node) = store.place().node() else { return Ok(()) };
    let (log, local) = (store.place().log_dir(node), store.place().local());
    let Some(mut inner) = process.turn() else { return Ok(()) };
    let is_examined = rot::is_examined(&inner);
    let Inner { medium, files, ledger, .. } = &mut *inner;
    let Some(directory) = medium.at(&log) else { return Ok(()) };
    if files.is_any_locked(directory) {
        // What is being written goes to a file that is gone by then, and nobody here would know what.
        return Ok(());
    }
    let names = medium.names(directory)?.clone();
    let names = names.into_iter().filter(|(name, _)| SegmentName::parse(name).is_some());
    let there: BTreeMap<String, Vec<u8>> =
        names.map(|(name, inode)| (name, medium.bytes(inode).to_vec())).collect();
    match std::mem::take(&mut ledger.backup) {
        Backup::Never => {}
        Backup::Wanted => ledger.backup = Backup::Made(there),
        Backup::Made(copy) => {
            let (before, mark) = (Log::of(medium, directory), rot::mark(medium, &local));
            for name in there.keys() {
                if let Some(gone) = medium.lose(directory, name) {
                    files.forget(gone, medium);
                }
            }
            for (name, bytes) in &copy {
                medium.put(directory, name, bytes);
            }
            let after = Log::of(medium, directory);
            let lost = ledger.harm.note(&before, &after, mark.as_ref(), true, is_examined);
            ledger.count("a log put back");
            inner.note(process.number, || format!("a log put back: {lost:#?}"), 5);
        }
    }
    Ok(())
}
