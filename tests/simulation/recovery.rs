//! Settling what dead workers left, by the locks alone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use queuectl::domain::decide;
use queuectl::domain::event::{Event, WorkerStopped};
use queuectl::domain::job::{Claim, JobId};
use queuectl::store::layout;
use queuectl::store::presence::notes::RunStart;
use queuectl::store::presence::{self, DeadWorker};

use crate::process::{self, Trouble};
use crate::worker::{POLICY, Worker};

/// Settles the runs of every dead worker that nobody else is at.
pub fn recover(worker: &mut Worker) -> Result<(), Trouble> {
    let disk = Arc::clone(worker.store.disk());
    let place = worker.store.place().clone();
    let node = place.node().unwrap();
    let with_file = presence::workers(disk.as_ref(), &place.run_dir(), node)?;
    let mut others: BTreeSet<String> = with_file.iter().cloned().collect();
    let state = worker.store.own().unwrap();
    others
        .extend(state.processing().filter_map(|job| Some(job.claim.as_ref()?.worker().to_owned())));
    others.remove(&worker.id);
    for other in others {
        let taken = match with_file.contains(&other) {
            true => presence::take_dead(disk.as_ref(), &place.run_dir(), &other)?,
            false => presence::stand_in(disk.as_ref(), &place.run_dir(), &other, None)?,
        };
        if let Some(dead) = taken {
            settle(worker, &other, &dead)?;
            dead.settle(disk.as_ref())?;
        }
    }
    Ok(())
}

fn settle(worker: &mut Worker, other: &str, dead: &DeadWorker) -> Result<(), Trouble> {
    process::read(worker.process, &mut worker.store)?;
    let left: Vec<(JobId, u32, Claim)> = worker
        .store
        .own()
        .unwrap()
        .processing()
        .filter_map(|job| Some((job.id().clone(), job.last_run, job.claim.clone()?)))
        .filter(|(_, _, claim)| claim.worker() == other)
        .collect();
    for (job, run, claim) in left {
        let start = dead.notes().start_of(&claim, worker.store.boot());
        if start == RunStart::Never {
            worker.store.transact(|node, _| {
                let (job, claim) = (job.clone(), claim.clone());
                Ok((vec![decide::release(node, job, run, claim, None, None)], ()))
            })?;
            worker.process.machine.lock().ledger.count("recovered unrun");
            continue;
        }
        end(worker, &job, run, &claim)?;
        let same_boot = dead.notes().info().is_some_and(|info| info.boot == worker.store.boot());
        worker.store.transact(|node, now| {
            let lost = decide::lose(node, &job, &claim, &POLICY, now, !same_boot);
            Ok((lost.into_iter().collect(), ()))
        })?;
        worker.process.machine.lock().ledger.count("lost");
    }
    let stopped = WorkerStopped { worker: other.to_owned(), died: true };
    worker.store.transact(|node, _| {
        let known = node.facts.workers.contains_key(other);
        Ok((known.then(|| Event::WorkerStopped(stopped.clone())).into_iter().collect(), ()))
    })?;
    Ok(())
}

/// Ends what may run, and waits until its lock says that nothing of it is left.
fn end(worker: &Worker, job: &JobId, run: u32, claim: &Claim) -> Result<(), Trouble> {
    let files = layout::run_files(job.as_str(), run);
    let place = worker.store.place().output_dir();
    let grace = {
        let mut inner = worker.process.machine.lock();
        let grace = Duration::from_millis(inner.random.between(0, 50));
        inner.kill_child(&claim.0, grace);
        grace
    };
    while presence::is_run_locked(worker.store.disk().as_ref(), &place, &files)? {
        drop(worker.process.turn_after(grace / 4 + Duration::from_millis(1)));
    }
    Ok(())
}
