//! The end of a history: every job has come to its end, and every way of reading tells the same.

use std::collections::BTreeSet;
use std::path::Path;

use queuectl::domain::event::Event;
use queuectl::domain::job::Claim;
use queuectl::store::Store;
use queuectl::store::disk::{Disk, Open};
use queuectl::store::replay::View;
use queuectl::store::segment::{self, SegmentName};

use crate::neighbour;
use crate::process::{self, Member, Trouble};

/// Stops the machine if every job has come to its end.
pub fn consider(process: &Member, store: &mut Store) -> Result<(), Trouble> {
    let is_hurt = process.machine.lock().ledger.harm.is_unmended();
    let node = store.own().unwrap();
    if is_hurt || node.jobs().any(|job| !job.state.is_finished()) {
        return Ok(());
    }
    if compare(process, store)? {
        process.stop();
    }
    Ok(())
}

/// Compares what was read bit by bit with a full replay and with a checkpoint and its tail. Says whether it could.
pub fn compare(process: &Member, store: &mut Store) -> Result<bool, Trouble> {
    let mut full = View::default();
    let place = store.place().clone();
    full.refresh(store.disk().as_ref(), &place.logs(), place.node(), None)?;
    let mut other = process::open(process)?;
    other.read()?;
    let own = store.view();
    if own.cursors != full.cursors || own.cursors != other.view().cursors {
        // Others have appended meanwhile.
        return Ok(false);
    }
    for (view, name) in [(&full, "a full replay"), (other.view(), "a checkpoint and its tail")] {
        if view.state != own.state || !view.damage.is_empty() {
            process.wrong(format!("replays agree: {name} tells otherwise, {:?}", view.damage));
        }
    }
    process.machine.lock().ledger.count("compared");
    Ok(true)
}

/// Looks at everything once more after the last power cut.
pub fn pass(process: &Member) -> Result<(), Trouble> {
    let mut store = process::open(process)?;
    let since = process.machine.lock().turns;
    // This writes, and so looks under the lock.
    store.sync_what_was_read()?;
    store.read()?;
    process::check(process, &store, since);
    if let Some(damage) = store.view().damage.first() {
        process.wrong(format!("no damage without damage: {damage}"));
    }
    compare(process, &mut store)?;
    let log = store.place().log_dir(store.place().node().unwrap());
    let mut counted = lines_that_count(process, store.disk().as_ref(), &log)?;
    // Of the jobs in a base, the runs stand with the job.
    let runs = store.own().unwrap().jobs().flat_map(|job| &job.runs);
    counted.extend(runs.map(|run| run.claim.clone()));
    let outcome = process.machine.lock().ledger.check_claims(&counted);
    if let Err(broken) = outcome {
        process.wrong(broken);
    }
    look_at_files(process);
    if let Some(name) = neighbour::strange(&process.machine) {
        process.wrong(format!("nobody writes in another's log: {name} is there"));
    }
    Ok(())
}

/// What was lost was told, what was hurt was kept, and what was removed was archived.
fn look_at_files(process: &Member) {
    let inner = process.machine.lock();
    let harm = &inner.ledger.harm;
    let untold = harm.untold();
    let files = inner.medium.synced(".jsonl");
    let thrown_away = harm.thrown_away(&files);
    let is_kept = |(name, sealed): &(&String, &Vec<u8>)| {
        files.iter().any(|(kept, bytes)| kept == name && bytes.starts_with(sealed))
    };
    let not_archived = inner.ledger.sealed.iter().find(|file| !is_kept(file));
    let not_archived = not_archived.map(|(name, _)| name.clone());
    drop(inner);
    if let Some(seq) = untold {
        process.wrong(format!("what is lost is told: seq {seq} is not"));
    }
    if let Some(name) = thrown_away {
        process.wrong(format!("originals are kept: {name:?} is gone"));
    }
    if let Some(name) = not_archived {
        process.wrong(format!("what is removed is archived: {name} is not"));
    }
}

/// The claims of all lines that count, found without the fold. Counts why each segment was begun.
fn lines_that_count(
    process: &Member,
    disk: &dyn Disk,
    log: &Path,
) -> Result<BTreeSet<Claim>, Trouble> {
    let directory = disk.open(log, Open::Directory)?;
    let (mut numbers, mut base) = (Vec::new(), 0);
    for name in directory.names()?.iter().filter_map(|name| SegmentName::parse(name)) {
        match name {
            SegmentName::Segment(number) => numbers.push(number),
            SegmentName::Base(_, last) => base = base.max(last),
        }
    }
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    let (mut claims, mut end) = (BTreeSet::new(), u64::MAX);
    for number in numbers {
        let file = directory.open_in(&segment::file_name(number), Open::Read)?;
        let lines = segment::cut(&segment::read_range(file.as_ref(), 0, end)?, 0);
        for placed in &lines.good {
            match &placed.record.event {
                Event::Segment(header) => {
                    end = header.prev.as_ref().map_or(0, |prev| prev.len);
                    process.machine.lock().ledger.count(begun(&header.why));
                }
                Event::Claimed(claimed) => {
                    claims.insert(claimed.claim.clone());
                }
                _ => {}
            }
        }
    }
    if base > 0 {
        process.machine.lock().ledger.count("a base at the end");
    }
    Ok(claims)
}

/// What to count where a segment was begun for this reason.
fn begun(why: &str) -> &'static str {
    match why {
        "first" => "a segment begun as the first",
        "size" => "a segment begun by size",
        "config" => "a segment begun by configuration",
        "compact" => "a segment begun to compact",
        "boot" => "a segment begun by boot",
        "torn" => "a segment begun behind a torn one",
        "fsync_error" => "a segment begun behind a failed sync",
        _ => "a segment begun for another reason",
    }
}
