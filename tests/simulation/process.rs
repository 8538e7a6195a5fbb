//! What every virtual process of the queue does: open the store, note and check.

use std::sync::Arc;

use queuectl::domain::job::{Claim, JobId};
use queuectl::store::clock::Clock;
use queuectl::store::ids::Ids;
use queuectl::store::machine::Environment;
use queuectl::store::small_file::FileError;
use queuectl::store::{Setting, Store, StoreError};

use crate::disk::SimulatedDisk;
use crate::ledger::Ledger;
use crate::machine::{Inner, Process};

/// A process of the simulated queue.
pub type Member = Process<Ledger>;

/// Where the queue is.
pub const ROOT: &str = "/queue";

/// Why a process gives up.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Disk(#[from] std::io::Error),
    #[error("what is read is damaged, as it was hurt")]
    Damaged,
}

impl Trouble {
    /// Whether it says that the log is not as it was left, which no crash and no failing disk makes it.
    fn is_damage(&self) -> bool {
        matches!(
            self,
            Trouble::Store(
                StoreError::Damaged(_)
                    | StoreError::Degraded(_)
                    | StoreError::RolledBack { .. }
                    | StoreError::TooNew { .. }
                    | StoreError::LockHeld { .. }
            )
        )
    }
}

/// Opens the store as this process.
pub fn open(process: &Member) -> Result<Store, Trouble> {
    let (hand, seed) = {
        let inner = process.machine.lock();
        (Arc::clone(&inner.hand), inner.ledger.seed)
    };
    let environment = Environment {
        machine_id: Some("simulated".to_owned()),
        host: "sim".to_owned(),
        ..Environment::default()
    };
    Ok(Store::open(Setting {
        disk: Arc::new(SimulatedDisk { process: process.clone() }),
        root: ROOT.into(),
        environment,
        clock: Clock::Shared(hand),
        ids: Ids::new(Some(&format!("{seed}.{}", process.number))),
        boot: None,
    })?)
}

/// Lets a process end with its trouble, unless that is one there must not be.
pub fn end(process: &Member, outcome: Result<(), Trouble>) {
    if let Err(trouble) = outcome {
        report(process, &trouble);
    }
}

/// Notes trouble, and stops everything where there must be none of its kind.
pub fn report(process: &Member, trouble: &Trouble) {
    if std::thread::panicking() {
        return;
    }
    if trouble.is_damage() && !process.machine.lock().ledger.harm.is_open(process.since) {
        process.wrong(format!("no damage without damage: {trouble}"));
    }
    if let Trouble::Store(StoreError::NotRecorded { action: "keep" | "read back", source, .. }) =
        trouble
        && source.raw_os_error().is_none()
    {
        process.wrong(format!("a base is the log: {source}"));
    }
    let mut inner = process.machine.lock();
    if !inner.medium.synced("degraded").is_empty() {
        let lasts = !inner.medium.has_failed("mark");
        inner.ledger.harm.degrade(lasts);
    }
    inner.note(process.number, || format!("gives up: {trouble}"), 0);
    inner.ledger.count("trouble");
}

/// Reads all news, and checks the state against what was promised before.
pub fn read(process: &Member, store: &mut Store) -> Result<(), Trouble> {
    let since = process.machine.lock().turns;
    store.read()?;
    if process.machine.lock().ledger.harm.is_open(since) {
        // What is left of a damaged log says little. Nobody works on where that is seen.
        let view = store.view();
        let is_seen = !view.damage.is_empty() || view.rolled_back.is_some();
        return if is_seen { Err(Trouble::Damaged) } else { Ok(()) };
    }
    if let Some(damage) = store.view().damage.iter().chain(&store.view().rolled_back).next() {
        // Readers take no lock, and what they see may be half of a change; no half of a change looks like damage.
        process.wrong(format!("readers never see damage: {damage}"));
    }
    check(process, store, since);
    Ok(())
}

/// Checks what was read.
pub fn check(process: &Member, store: &Store, since: u64) {
    let empty = Default::default();
    let outcome = process.machine.lock().ledger.check(store.own().unwrap_or(&empty), since);
    if let Err(broken) = outcome {
        process.wrong(broken);
    }
}

/// Notes that jobs were acknowledged, which only a synced line allows.
pub fn acknowledge(process: &Member, ids: &[JobId]) {
    let Some(mut inner) = process.turn() else { return };
    let turn = inner.turns;
    inner.ledger.count(if ids.len() > 1 { "acknowledged batches" } else { "acknowledged" });
    let mut missing = None;
    for id in ids {
        let wanted = inner.ledger.wanted.get_mut(id).unwrap();
        wanted.acknowledged.get_or_insert(turn);
        if !is_synced(&inner, &format!("\"job\":\"{id}\"")) && !inner.ledger.harm.jobs.contains(id)
        {
            missing = Some(id);
        }
    }
    drop(inner);
    if let Some(id) = missing {
        process.wrong(format!("acknowledged is synced: {id} is on no stable storage"));
    }
}

/// Notes that a run begins, with a child that has the output file.
pub fn begin_run(process: &Member, job: &JobId, claim: &Claim, output: u64) {
    let Some(mut inner) = process.turn() else { return };
    let ledger = &inner.ledger;
    let job_of = |claim: &str| ledger.claims.get(&Claim(claim.to_owned()));
    let other = inner.children.iter().find(|child| job_of(&child.claim) == Some(job));
    let wrong = if let Some(other) = other {
        Some(format!("runs never overlap: {claim} of {job} begins while {} runs", other.claim))
    } else if ledger.runs.iter().any(|run| run.claim == *claim) {
        Some(format!("a claim is used once: {claim} of {job} begins again"))
    } else if !is_synced(&inner, &format!("\"claim\":\"{claim}\""))
        && !ledger.harm.jobs.contains(job)
    {
        Some(format!("a run follows its claim: {claim} of {job} is on no stable storage"))
    } else {
        None
    };
    if let Some(wrong) = wrong {
        drop(inner);
        process.wrong(wrong);
    }
    inner.ledger.count("runs");
    let most = *inner.random.pick(&[200, 20_000, 2_000_000]);
    let ends = inner.clock + std::time::Duration::from_micros(inner.random.between(0, most));
    let code = *inner.random.pick(&[0, 0, 0, 1]);
    let run = crate::ledger::Run { claim: claim.clone(), code: None };
    inner.ledger.runs.push(run);
    inner.begin_child(process.number, &claim.0, output, ends, code);
    inner.note(process.number, || format!("run {claim} of {job} begins"), 3);
}

/// Whether a text stands in the log even if the power is cut now and nothing survives but what was synced.
fn is_synced(inner: &Inner<Ledger>, text: &str) -> bool {
    inner
        .medium
        .synced(".jsonl")
        .iter()
        .any(|(_, bytes)| memchr::memmem::find(bytes, text.as_bytes()).is_some())
}
