//! A virtual process that enqueues jobs, as `queuectl enqueue` does, or cancels one.

use queuectl::domain::decide::{self, OnConflict, Refusal};
use queuectl::domain::event::{ConfigSet, Event};
use queuectl::domain::job::{JobId, Spec};
use queuectl::store::{Enqueue, Store, StoreError};

use crate::process::{self, Member, Trouble};

/// How ids begin that several choose.
const CHOSEN: &str = "chosen-";

/// Whether several may choose this id.
pub fn is_chosen(id: &JobId) -> bool {
    id.as_str().starts_with(CHOSEN)
}

/// Lives: one verb, then the end.
pub fn live(process: &Member) {
    process::end(process, submit(process));
}

fn submit(process: &Member) -> Result<(), Trouble> {
    let mut store = process::open(process)?;
    let what = {
        let mut inner = process.machine.lock();
        let what = inner.random.below(10);
        // In half of the histories, whoever comes first makes segments small.
        if std::mem::take(&mut inner.ledger.is_small) { 0 } else { what }
    };
    match what {
        0 => configure(&mut store),
        1 => cancel(process, &mut store),
        2..=5 => batch(process, &mut store),
        6 | 7 => chosen(process, &mut store),
        _ => single(process, &mut store),
    }
}

/// Makes segments so small that many are begun.
fn configure(store: &mut Store) -> Result<(), Trouble> {
    let event = ConfigSet { key: "segment_size".to_owned(), value: "4KiB".to_owned() };
    store
        .configure(|config| (config.with("segment_size", "4KiB"), vec![Event::ConfigSet(event)]))?;
    Ok(())
}

fn single(process: &Member, store: &mut Store) -> Result<(), Trouble> {
    let now = store.now();
    let id = JobId::new(&store.ids().ulid(now)).unwrap();
    enqueue(process, store, vec![id], false, OnConflict::Fail)
}

fn batch(process: &Member, store: &mut Store) -> Result<(), Trouble> {
    let (count, has_chosen_ids) = {
        let mut inner = process.machine.lock();
        (inner.random.between(2, 9), inner.random.chance(300_000))
    };
    let now = store.now();
    let ids = (0..count).map(|_| JobId::new(&store.ids().ulid(now)).unwrap()).collect();
    enqueue(process, store, ids, has_chosen_ids, OnConflict::Fail)
}

/// Enqueues under an id that others may choose too.
fn chosen(process: &Member, store: &mut Store) -> Result<(), Trouble> {
    let (number, keep) = {
        let mut inner = process.machine.lock();
        (inner.random.below(4), inner.random.chance(700_000))
    };
    let id = JobId::new(&format!("{CHOSEN}{number}")).unwrap();
    let on_conflict = if keep { OnConflict::Keep } else { OnConflict::Fail };
    enqueue(process, store, vec![id], true, on_conflict)
}

fn enqueue(
    process: &Member,
    store: &mut Store,
    ids: Vec<JobId>,
    has_chosen_ids: bool,
    on_conflict: OnConflict,
) -> Result<(), Trouble> {
    process.machine.lock().ledger.want(&ids);
    let specs = ids.iter().map(|id| Spec::shell(id.clone(), "true", 2)).collect();
    match store.enqueue(Enqueue { specs, has_chosen_ids, on_conflict }) {
        Ok(answer) => {
            if answer != ids {
                process.wrong(format!("nothing nobody issued: {answer:?} instead of {ids:?}"));
            }
            process::acknowledge(process, &ids);
            Ok(())
        }
        Err(StoreError::Refused(Refusal::Duplicate { .. })) if has_chosen_ids => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn cancel(process: &Member, store: &mut Store) -> Result<(), Trouble> {
    let id = {
        let mut inner = process.machine.lock();
        let ids: Vec<JobId> = inner.ledger.wanted.keys().cloned().collect();
        match ids.is_empty() {
            true => return Ok(()),
            false => inner.random.pick(&ids).clone(),
        }
    };
    let cancelled =
        store.transact(|node, _| Ok((decide::cancel(node, &id, None)?.into_iter().collect(), ())));
    match cancelled {
        Ok(()) => {
            process.machine.lock().ledger.count("cancelled");
            Ok(())
        }
        Err(StoreError::Refused(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
