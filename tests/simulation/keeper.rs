//! A virtual process that keeps the log small, as workers and `queuectl compact` and `purge` do: it removes finished jobs,
//! seals the active segment and compacts what is sealed.

use std::path::Path;
use std::time::Duration;

use queuectl::domain::decide;
use queuectl::domain::event::Event;
use queuectl::domain::job::JobId;
use queuectl::domain::retention::{self, Retention};
use queuectl::store::compact::Idle;
use queuectl::store::{Store, StoreError};

use crate::lines::Log;
use crate::machine::Inner;
use crate::process::{self, Member, Trouble};
use crate::submitter;

/// Where copies are kept of what a compaction removes, in some histories.
const ARCHIVE: &str = "/archive";

/// Lives: one round, then the end.
pub fn live(process: &Member) {
    process::end(process, keep(process));
}

fn keep(process: &Member) -> Result<(), Trouble> {
    let mut store = process::open(process)?;
    process::read(process, &mut store)?;
    let (expires, purges, seals) = {
        let mut inner = process.machine.lock();
        (inner.random.chance(500_000), inner.random.chance(300_000), inner.random.chance(700_000))
    };
    if expires {
        expire(process, &mut store)?;
    }
    if purges {
        purge(process, &mut store)?;
    }
    if seals {
        store.seal()?;
    }
    let Some(compactor) = store.compactor() else { return Ok(()) };
    let archive = process.machine.lock().ledger.has_archive.then_some(Path::new(ARCHIVE));
    if archive.is_some() {
        note_sealed(process, &store);
    }
    let outcome = compactor.run(archive);
    let what = match outcome {
        Ok(Ok(_)) if archive.is_some() => "compacted, and archived",
        Ok(Ok(_)) => "compacted",
        Ok(Err(Idle::Nothing)) => "nothing to compact",
        Ok(Err(Idle::Busy)) => "compactions that met another",
        Err(error) => return Err(error.into()),
    };
    process.machine.lock().ledger.count(what);
    // Folded bit by bit so far, and now from the base on.
    process::read(process, &mut store)?;
    Ok(())
}

/// Notes what rests and is sealed: nothing of it goes without a copy.
fn note_sealed(process: &Member, store: &Store) {
    let place = store.place();
    let mut inner = process.machine.lock();
    let Inner { medium, ledger, .. } = &mut *inner;
    let Some(directory) = place.node().and_then(|node| medium.at(&place.log_dir(node))) else {
        return;
    };
    let mut sealed = Log::of(medium, directory).sealed();
    let resting = medium.resting(directory);
    sealed.retain(|name, _| resting.iter().any(|(rests, _)| rests == name));
    ledger.sealed.extend(sealed);
}

/// Removes the jobs that ended some time ago.
fn expire(process: &Member, store: &mut Store) -> Result<(), Trouble> {
    let kept = Some(Duration::from_millis(process.machine.lock().random.between(0, 20)));
    let over = Retention { completed: kept, cancelled: kept };
    remove(process, store, |node, now| {
        retention::expired(node, over, now, 5).into_iter().map(retention::expire).collect()
    })?;
    let swept = store.sweep_outputs()?;
    if swept > 0 {
        process.machine.lock().ledger.count("outputs swept");
    }
    Ok(())
}

/// Removes one finished job, as somebody wants it.
fn purge(process: &Member, store: &mut Store) -> Result<(), Trouble> {
    let pick = process.machine.lock().random.below(1000);
    remove(process, store, |node, _| {
        let finished: Vec<JobId> =
            node.jobs().filter(|job| job.state.is_finished()).map(|job| job.id().clone()).collect();
        let id = finished.get(pick % finished.len().max(1));
        id.and_then(|id| decide::purge(node, id).ok()).into_iter().collect()
    })
}

/// Removes what is decided on. From the decision on it may be gone, and once that is acknowledged it stays away.
fn remove(
    process: &Member,
    store: &mut Store,
    decide: impl Fn(
        &queuectl::domain::state::NodeState,
        queuectl::domain::timestamp::Timestamp,
    ) -> Vec<Event>,
) -> Result<(), Trouble> {
    let outcome: Result<Vec<JobId>, StoreError> = store.transact(|node, now| {
        let events = decide(node, now);
        let gone = events.iter().filter_map(|event| match event {
            Event::Purged(purged) => Some(purged.job.clone()),
            _ => None,
        });
        let gone: Vec<JobId> = gone.collect();
        process.machine.lock().ledger.removed.extend(gone.iter().cloned());
        Ok((events, gone))
    });
    let gone = outcome?;
    let Some(mut inner) = process.turn() else { return Ok(()) };
    let turn = inner.turns;
    inner.ledger.count(if gone.is_empty() { "nothing removed" } else { "removed" });
    // An id that others choose may have been enqueued again meanwhile.
    for id in gone.iter().filter(|id| !submitter::is_chosen(id)) {
        inner.ledger.wanted.get_mut(id).unwrap().gone.get_or_insert(turn);
    }
    Ok(())
}
