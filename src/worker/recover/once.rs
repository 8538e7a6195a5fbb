//! One recovery of what dead workers left, by a process that is no worker and claims nothing.
//!
//! The same as every worker does beside its own work. Knows nothing of why it is asked for.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::{Recoveries, Settled};
use crate::domain::config::Config;
use crate::domain::event::{Event, WorkerStopped};
use crate::domain::policy::RetryPolicy;
use crate::store::Store;
use crate::worker::WorkerError;
use crate::worker::committer::{self, Batch, Wanted};
use crate::worker::inbox::Message;
use crate::worker::output::Place;

/// How often is looked whether a run is gone.
const PAUSE: Duration = Duration::from_millis(20);

/// What became of dead workers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Recovered {
    /// What was written of each of their runs.
    pub events: Vec<Event>,
    /// Workers whose lock files are gone, since nothing of theirs is unsettled.
    pub workers: BTreeSet<String>,
    /// Runs that were not gone when time was up; the next worker goes on with them.
    pub left: usize,
}

impl Recoveries {
    /// Runs that are not settled in the log.
    fn unsettled(&self) -> usize {
        self.active.values().map(|recovery| recovery.open.len()).sum()
    }
}

/// Settles what dead workers of this machine left, at most for this long, and removes their locks.
///
/// Ensures: what is returned is in the log, on stable storage.
/// Errors: where the queue cannot be read or written; what is not settled then, the next worker settles.
pub fn settle_dead(store: &mut Store, limit: Duration) -> Result<Recovered, WorkerError> {
    let begun = Instant::now();
    let (sender, receiver) = mpsc::channel();
    let (mut recoveries, mut recovered) = (Recoveries::default(), Recovered::default());
    recoveries.take_news();
    store.read()?;
    let values = store.own().map(|own| own.facts.config.clone()).unwrap_or_default();
    let config = Config::from_map(values);
    let mut settled = recoveries.look(store, "", &config, &sender)?;
    let outcome = loop {
        if let Err(error) = record(store, &mut recoveries, &mut settled, &config, &mut recovered) {
            break Err(error);
        }
        if recoveries.active.is_empty() || begun.elapsed() >= limit {
            break Ok(());
        }
        let message = receiver.recv_timeout(PAUSE).ok();
        for message in message.into_iter().chain(receiver.try_iter()) {
            if let Message::Settled(run) = message {
                settled.push(run);
            }
        }
    };
    recovered.left = recoveries.unsettled();
    recoveries.abandon();
    outcome.map(|()| recovered)
}

/// Writes down what is settled by now, and lets go of the workers that have nothing more.
fn record(
    store: &mut Store,
    recoveries: &mut Recoveries,
    settled: &mut Vec<Settled>,
    config: &Config,
    recovered: &mut Recovered,
) -> Result<(), WorkerError> {
    let policy = RetryPolicy {
        backoff_base: config.backoff_base(),
        max_delay: config.max_delay(),
        jitter: config.jitter(),
        max_lost: config.max_lost(),
    };
    let mut write = |store: &mut Store, batch: Batch| -> Result<(), WorkerError> {
        if !batch.is_empty() {
            let done = committer::commit(store, "", &mut 0, &policy, &batch, &Wanted::Nothing)?;
            recovered.events.extend(done.events);
            store.read()?;
        }
        Ok(())
    };
    let runs = std::mem::take(settled);
    write(store, Batch { settled: runs.clone(), ..Batch::default() })?;
    for run in &runs {
        let (job, number) = (&run.claimed.job, run.claimed.run);
        Place::new(&store.place().output_dir(), job, number).tidy();
    }
    let over = recoveries.recorded(&runs);
    let is_open =
        |worker: &String| store.own().is_some_and(|own| own.facts.workers.contains_key(worker));
    let ends = over.iter().filter(|worker| is_open(worker)).cloned();
    let ends = ends.map(|worker| Event::WorkerStopped(WorkerStopped { worker, died: true }));
    let others: Vec<Event> = ends.collect();
    write(store, Batch { others, ..Batch::default() })?;
    for worker in over {
        recoveries.close(store, &worker)?;
        recovered.workers.insert(worker);
    }
    Ok(())
}
