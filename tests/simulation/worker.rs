//! A virtual process that works on the queue: it claims, spawns, finishes and recovers what dead workers left.
//!
//! Follows the protocol of the real worker, over the real store, presence and rules; only the children are not real.

use std::collections::BTreeMap;
use std::time::Duration;

use queuectl::domain::decide::{self, Outcome};
use queuectl::domain::event::{Event, WorkerStarted, WorkerStopped};
use queuectl::domain::job::{Claim, Job, JobId, RunResult};
use queuectl::domain::policy::RetryPolicy;
use queuectl::store::disk::{Lock, Open};
use queuectl::store::layout;
use queuectl::store::presence::WorkerLock;
use queuectl::store::presence::notes::Process as Leader;
use queuectl::store::small_file;
use queuectl::store::{Store, StoreError};

use crate::process::{self, Member, Trouble};
use crate::recovery;
use crate::verdict;

/// How many runs a worker has at once.
const SLOTS: usize = 2;
/// Retries are soon, and a job that loses many workers goes on.
pub const POLICY: RetryPolicy =
    RetryPolicy { backoff_base: 0.3, max_delay: Duration::MAX, jitter: 0.0, max_lost: 5 };
/// How long it waits for news.
const POLL: Duration = Duration::from_millis(500);

/// Lives until it is stopped.
pub fn live(process: &Member) {
    process::end(process, work(process));
}

/// A worker.
pub struct Worker<'a> {
    pub process: &'a Member,
    pub store: Store,
    pub id: String,
    lock: WorkerLock,
    /// The next claim's number.
    next: u64,
    /// Its runs whose end is not recorded yet.
    runs: BTreeMap<Claim, (JobId, u32)>,
}

fn work(process: &Member) -> Result<(), Trouble> {
    let mut worker = begin(process)?;
    loop {
        process::read(process, &mut worker.store)?;
        let (mood, calm) = {
            let mut inner = process.machine.lock();
            (inner.random.below(100), inner.is_calm())
        };
        if mood < 30 || worker.runs.is_empty() {
            recovery::recover(&mut worker)?;
        }
        worker.release_unknown()?;
        worker.finish_ended()?;
        if (mood < 3 && !calm) || (calm && process.slot() >= crate::LAST_SLOTS) {
            return worker.stop();
        }
        if mood > 94 {
            worker.store.write_checkpoint();
        }
        let begun = worker.runs.len() < SLOTS && worker.claim()?;
        if worker.runs.is_empty() && !begun && calm {
            worker.confirm()?;
            verdict::consider(process, &mut worker.store)?;
        }
        if !begun {
            drop(process.turn_after(worker.next_end()));
        }
    }
}

fn begin(process: &Member) -> Result<Worker<'_>, Trouble> {
    let mut store = process::open(process)?;
    store.sync_what_was_read()?;
    store.renew_reserve();
    let node = store.place().node().unwrap().to_owned();
    let id = store.ids().worker(&node);
    let info = WorkerStarted {
        worker: id.clone(),
        pid: u32::try_from(process.number).unwrap(),
        start: 0,
        boot: store.boot().to_owned(),
        pid_namespace: String::new(),
        session: 0,
        host: String::new(),
        slots: SLOTS as u32,
        queues: Vec::new(),
    };
    let disk = std::sync::Arc::clone(store.disk());
    let lock = WorkerLock::take(disk.as_ref(), &store.place().run_dir(), &info, None)?;
    store.transact(|_, _| Ok((vec![Event::WorkerStarted(info.clone())], ())))?;
    Ok(Worker { process, store, id, lock, next: 1, runs: BTreeMap::new() })
}

impl Worker<'_> {
    /// Claims what is ready and begins its runs. Says whether there was any.
    fn claim(&mut self) -> Result<bool, Trouble> {
        let disk = std::sync::Arc::clone(self.store.disk());
        if !self.lock.is_in_place(disk.as_ref())? {
            // It is dead to others, so it claims nothing more, and ends once its runs have.
            return match self.runs.is_empty() {
                true => Err(std::io::Error::other("its lock file is gone").into()),
                false => Ok(false),
            };
        }
        let now = self.store.now();
        self.store.ripen(|job| job.due.is_none_or(|due| due <= now));
        let (worker, process, next) = (self.id.clone(), self.process, &mut self.next);
        let room = SLOTS - self.runs.len();
        if self.store.own().is_none_or(|node| node.ready(&[], now).next().is_none()) {
            return Ok(false);
        }
        if self.store.keep_reserve().is_err() {
            return Ok(false);
        }
        let claims = self.store.transact(|node, now| {
            let claims = decide::claim(node, &worker, *next, room, &[], now);
            // No number is used twice: of lines whose sync failed, some may count all the same.
            *next += claims.len() as u64;
            let mut inner = process.machine.lock();
            for claimed in &claims {
                inner.ledger.claims.insert(claimed.claim.clone(), claimed.job.clone());
            }
            Ok((claims.iter().cloned().map(Event::Claimed).collect(), claims))
        })?;
        for claimed in &claims {
            let (job, run, claim) = (&claimed.job, claimed.run, &claimed.claim);
            self.runs.insert(claim.clone(), (job.clone(), run));
            if let Err(trouble) = self.spawn(job, run, claim) {
                process::report(self.process, &trouble);
            }
        }
        Ok(!claims.is_empty())
    }

    fn spawn(&mut self, job: &JobId, run: u32, claim: &Claim) -> Result<(), Trouble> {
        let disk = std::sync::Arc::clone(self.store.disk());
        let place = self.store.place().output_dir();
        let path = place.join(layout::run_files(job.as_str(), run).out);
        let shard = path.parent().unwrap();
        small_file::create_directory(disk.as_ref(), shard, None)?;
        let directory = disk.open(shard, Open::Directory)?;
        let name = path.file_name().unwrap().to_str().unwrap();
        // A claim that was released unrun gives its number back, and may have left a file.
        let output = directory.open_in(name, Open::ReadWrite)?;
        if !output.try_lock(Lock::Exclusive)? {
            return Err(std::io::Error::other("its output is locked").into());
        }
        let inode = output.stat()?.inode;
        self.lock.note_starting(claim)?;
        process::begin_run(self.process, job, claim, inode);
        // That the process could not be noted leaves the note that the run may have begun.
        let leader = Leader { pid: 1, group: 1, start: 1 };
        if let Err(error) = self.lock.note_started(claim, leader) {
            process::report(self.process, &error.into());
        }
        Ok(())
    }

    /// Records the ends of runs that have ended.
    fn finish_ended(&mut self) -> Result<(), Trouble> {
        for (claim, (job, run)) in self.runs.clone() {
            let cancelled = self
                .store
                .own()
                .and_then(|node| node.job(&job))
                .is_some_and(|job| job.cancel_requested && job.claim.as_ref() == Some(&claim));
            let result = {
                let mut inner = self.process.machine.lock();
                if cancelled {
                    inner.kill_child(&claim.0, Duration::ZERO);
                }
                let ended = inner.ended.get(&claim.0).copied();
                let begun = inner.ledger.runs.iter_mut().find(|run| run.claim == claim);
                match (begun, ended) {
                    (None, _) => None,
                    (Some(_), None) => continue,
                    (Some(run), Some(code)) => {
                        run.code = Some(code);
                        Some(if code < 0 { RunResult::Signal(9) } else { RunResult::Exit(code) })
                    }
                }
            };
            let result = if cancelled { result.map(|_| RunResult::Cancelled) } else { result };
            self.record(&claim, &job, run, result)?;
            self.lock.forget(&claim);
            self.runs.remove(&claim);
        }
        Ok(())
    }

    /// Records how a run ended, or that it never began.
    fn record(
        &mut self,
        claim: &Claim,
        job: &JobId,
        run: u32,
        result: Option<RunResult>,
    ) -> Result<(), Trouble> {
        let policy = POLICY;
        let mut ended = false;
        let (job, claim) = (job.clone(), claim.clone());
        self.store.transact(|node, now| {
            let (job, claim) = (job.clone(), claim.clone());
            let event = match result {
                None => decide::release(node, job, run, claim, None, None),
                Some(result) => {
                    let (ms, tail, error) = (1, None, None);
                    let outcome = Outcome { job, run, claim, result, ms, tail, error };
                    decide::finish(node, outcome, &policy, now, 0.0)
                }
            };
            ended = matches!(event, Event::Completed(_) | Event::Died(_) | Event::Cancelled(_));
            Ok((vec![event], ()))
        })?;
        let Some(mut inner) = self.process.turn() else { return Ok(()) };
        let turn = inner.turns;
        inner.ledger.count(if result.is_some() { "finished" } else { "released" });
        let holds = |own: &queuectl::domain::state::NodeState| {
            own.job(&job).is_some_and(|job| job.state.is_finished())
        };
        if ended && self.store.own().is_some_and(holds) {
            inner.ledger.wanted.get_mut(&job).unwrap().ended.get_or_insert(turn);
        }
        Ok(())
    }

    /// Hands back claims of its own that it does not know of: the transaction that wrote them failed.
    fn release_unknown(&mut self) -> Result<(), Trouble> {
        let node = self.store.own().unwrap();
        let unknown: Vec<(Claim, JobId, u32)> = node
            .processing()
            .filter_map(|job| Some((job.claim.clone()?, job.id().clone(), job.last_run)))
            .filter(|(claim, ..)| claim.worker() == self.id && !self.runs.contains_key(claim))
            .collect();
        for (claim, job, run) in unknown {
            self.record(&claim, &job, run, None)?;
        }
        Ok(())
    }

    /// Lets the jobs go on that a take-over holds, as a person does who has looked.
    fn confirm(&mut self) -> Result<(), Trouble> {
        if self.process.machine.lock().ledger.harm.is_unmended() {
            return Ok(());
        }
        let held = |job: &&Job| job.held.is_some() && !job.state.is_finished();
        let held: Vec<JobId> =
            self.store.own().unwrap().jobs().filter(held).map(|job| job.id().clone()).collect();
        for id in held {
            match self.store.transact(|node, _| Ok((vec![decide::retry(node, &id)?], ()))) {
                Ok(()) => self.process.machine.lock().ledger.count("a held job let go"),
                // Another was faster.
                Err(StoreError::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// How long it takes until the next of its runs ends, or other news are looked for.
    fn next_end(&self) -> Duration {
        let inner = self.process.machine.lock();
        let mine = |claim: &str| self.runs.contains_key(&Claim(claim.to_owned()));
        let ends = inner.children.iter().filter(|child| mine(&child.claim)).map(|c| c.ends);
        ends.min().map_or(POLL, |end| end.saturating_sub(inner.clock).min(POLL))
    }

    /// Ends in good order, once its runs have.
    fn stop(mut self) -> Result<(), Trouble> {
        while !self.runs.is_empty() {
            process::read(self.process, &mut self.store)?;
            self.finish_ended()?;
            drop(self.process.turn_after(self.next_end()));
        }
        self.release_unknown()?;
        let stopped = WorkerStopped { worker: self.id.clone(), died: false };
        self.store.transact(|_, _| Ok((vec![Event::WorkerStopped(stopped.clone())], ())))?;
        let disk = std::sync::Arc::clone(self.store.disk());
        Ok(self.lock.remove(disk.as_ref())?)
    }
}
