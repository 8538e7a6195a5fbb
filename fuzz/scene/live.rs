//! What must be true of a queue whatever it holds.
//!
//! Knows nothing of how it came to hold that.

use std::collections::{BTreeMap, BTreeSet};

use queuectl::domain::decide::{self, OnConflict};
use queuectl::domain::event::{Event, SegmentEnd, WorkerStopped};
use queuectl::domain::job::{Claim, Job, JobId, Spec};
use queuectl::domain::state::NodeState;
use queuectl::store::checkpoint;
use queuectl::store::disk::{Disk as _, Open};
use queuectl::store::doctor::Condition;
use queuectl::store::presence::notes::RunStart;
use queuectl::store::presence::{self, Liveness};
use queuectl::store::real_disk::RealDisk;
use queuectl::store::repair::Step;
use queuectl::store::replay::{Cursor, View};
use queuectl::store::segment::{self, SegmentName};
use queuectl::store::{Enqueue, Store, StoreError};

use super::acts::{POLICY, files};
use super::{NODE, Queue};

/// So often a repair may find something more: a take-over leaves the rest to the next.
const REPAIRS: usize = 4;

/// Steps that may be left for ever: the lock of no worker, and what only a worker settles.
const MAY_STAY: [Step; 2] = [Step::SettleDead, Step::DropCaches];

impl Queue {
    /// Reads, looks at everything, repairs what can be, goes on, and reads again.
    pub fn live(&self) {
        let Ok(mut store) = self.open() else { return };
        let _ = store.read();
        // A node that took over may have purged since what the old log still has.
        let is_same = store.place().node() == Some(NODE);
        let remembered = remembered(&store);
        drop(store);
        let is_checked = is_same && self.is_honest();
        let had = if is_checked { self.kept(remembered.as_ref()) } else { BTreeSet::new() };
        for _ in 0..REPAIRS {
            match self.mend() {
                Ok(false) => {}
                Ok(true) => break,
                Err(_) => return,
            }
        }
        let Ok(mut store) = self.open() else { return };
        let Ok(report) = store.examine(&mut |_| {}) else { return };
        let left: Vec<Step> = store.repairs(&report);
        let left: Vec<_> = left.into_iter().filter(|step| !MAY_STAY.contains(step)).collect();
        assert!(left.is_empty(), "repaired, and not mended: {left:?} of {report:?}");
        let is_mended = report.condition == Condition::Whole && store.degraded().is_none();
        if is_mended {
            self.sees_all(&mut store, &had);
        } else {
            // What keeps a repair from the log must not harm it either.
            let lost: Vec<_> = had.difference(&self.kept(None)).cloned().collect();
            assert!(lost.is_empty(), "without a repair {lost:?} are lost");
        }
        self.goes_on(is_mended);
    }

    /// What was read before is there.
    fn sees_all(&self, store: &mut Store, had: &BTreeSet<JobId>) {
        let Ok(_) = store.read() else { return };
        let Some(own) = store.own() else {
            assert!(had.is_empty(), "the log is gone, with {had:?}");
            return;
        };
        let lost: Vec<_> = had.iter().filter(|id| own.job(id).is_none()).collect();
        assert!(lost.is_empty(), "a repair has lost {lost:?}");
    }

    /// What is enqueued now is there for who comes next.
    fn goes_on(&self, is_mended: bool) {
        let (Ok(mut store), Ok(id)) = (self.open(), JobId::new("fuzzed-new")) else { return };
        let specs = vec![Spec::shell(id.clone(), "true", 3)];
        let on_conflict = OnConflict::Fail;
        let enqueued = store.enqueue(Enqueue { specs, has_chosen_ids: true, on_conflict });
        match enqueued {
            Ok(_) => {}
            Err(
                StoreError::Damaged(_) | StoreError::Degraded(_) | StoreError::RolledBack { .. },
            ) if is_mended => {
                panic!("the doctor found nothing, and an enqueue does: {enqueued:?}")
            }
            Err(_) => return,
        }
        let Ok(mut store) = self.open() else { panic!("cannot be opened after an enqueue") };
        if let Err(error) = store.read() {
            panic!("cannot be read after an enqueue: {error}");
        }
        let is_there = store.own().is_some_and(|own| own.job(&id).is_some());
        assert!(is_there, "an acknowledged job is gone");
        let report = store.examine(&mut |_| {}).expect("what was read is looked at");
        if is_mended {
            assert_eq!(report.condition, Condition::Whole, "after an enqueue: {report:?}");
        }
    }

    /// Does for the runs of dead workers what a worker does, but looks at no process: all are taken for gone.
    pub(super) fn settle(&self, store: &mut Store) -> Result<(), StoreError> {
        store.read()?;
        let run_dir = store.place().run_dir();
        let of = |job: &Job| job.claim.as_ref().map(|claim| claim.worker().to_owned());
        let running = store.own().into_iter().flat_map(|own| own.processing());
        let mut workers: BTreeSet<String> = running.filter_map(of).collect();
        let node = store.place().node().unwrap_or(NODE).to_owned();
        workers.extend(presence::workers(&RealDisk, &run_dir, &node).unwrap_or_default());
        for worker in workers {
            let dead = match presence::probe(&RealDisk, &run_dir, &worker) {
                Ok(Liveness::Dead) => presence::take_dead(&RealDisk, &run_dir, &worker),
                Ok(Liveness::Missing) => presence::stand_in(&RealDisk, &run_dir, &worker, None),
                Ok(Liveness::Alive) | Err(_) => continue,
            };
            let Ok(dead) = dead else { continue };
            let boot = store.boot().to_owned();
            let is_unstarted = |claim: &Claim| {
                let notes = dead.as_ref().map(|dead| dead.notes());
                notes.is_some_and(|notes| notes.start_of(claim, &boot) == RunStart::Never)
            };
            store.transact(|node, now| {
                let left = node.processing().filter(|job| of(job).as_ref() == Some(&worker));
                let end = |job: &Job| {
                    let (id, run, claim) = (job.id().clone(), job.last_run, job.claim.clone()?);
                    match is_unstarted(&claim) {
                        true => Some(decide::release(node, id, run, claim, None, None)),
                        false => decide::lose(node, &id, &claim, &POLICY, now, false),
                    }
                };
                let mut events: Vec<Event> = left.filter_map(end).collect();
                if node.facts.workers.contains_key(&worker) {
                    let (worker, died) = (worker.clone(), true);
                    events.push(Event::WorkerStopped(WorkerStopped { worker, died }));
                }
                Ok((events, ()))
            })?;
            let _ = dead.map(|dead| dead.settle(&RealDisk));
        }
        Ok(())
    }

    /// The jobs that the log has, read without a checkpoint, but for those that a line purges that may not count yet,
    /// and those of another log in the place of the one that is remembered.
    fn kept(&self, remembered: Option<&(NodeState, Cursor)>) -> BTreeSet<JobId> {
        let mut view = View::default();
        let logs = self.root().join("log");
        let read = view.refresh(&RealDisk, &logs, Some(NODE), None);
        let own = read.ok().and_then(|()| view.state.node(NODE));
        let jobs = own.into_iter().flat_map(|own| own.jobs()).map(|job| job.id().clone());
        let mut kept: BTreeSet<JobId> = jobs.collect();
        for (name, bytes) in files(&self.log()) {
            let number = match SegmentName::parse(&name) {
                Some(SegmentName::Segment(number)) => number,
                Some(SegmentName::Base(..)) => u64::MAX,
                None => continue,
            };
            for placed in segment::cut(&bytes, 0).good {
                let is_of_another = |id: &JobId| {
                    remembered.is_some_and(|(was, cursor)| {
                        let is_before = (number, placed.start) < (cursor.segment, cursor.offset);
                        let (seq, ts) = (placed.record.seq, placed.record.ts);
                        let follows = seq > was.facts.last_seq && ts > was.facts.last_ts;
                        (is_before || !follows) && was.job(id).is_none()
                    })
                };
                match placed.record.event.job() {
                    Some(id) if matches!(placed.record.event, Event::Purged(_)) => kept.remove(id),
                    Some(id) if is_of_another(id) => kept.remove(id),
                    _ => continue,
                };
            }
        }
        kept
    }

    /// Whether the lines that hold are such as could be what is left of an honest log: of these none may go.
    fn is_honest(&self) -> bool {
        let mut end = SegmentEnd { segment: 0, len: 0, seq: 0, ts: None, crc: None };
        let (mut bases, mut is_honest) = (0, true);
        let mut places = BTreeMap::new();
        for (name, bytes) in files(&self.log()) {
            let Some(name) = SegmentName::parse(&name) else { continue };
            let (number, is_base) = match name {
                SegmentName::Segment(number) => (number, false),
                SegmentName::Base(_, last) => (last, true),
            };
            bases += u32::from(is_base);
            for placed in segment::cut(&bytes, 0).good {
                let record = &placed.record;
                if let (Event::Enqueued(_) | Event::JobRecorded(_), Some(job)) =
                    (&record.event, record.event.job())
                {
                    // No two jobs have one place.
                    let known = places.entry(record.seq).or_insert_with(|| job.clone());
                    is_honest &= known == job;
                }
                match &record.event {
                    Event::Segment(header) => {
                        let follows = |prev: &SegmentEnd| {
                            let is_next = prev.segment + 1 == number;
                            is_next
                                && prev.seq >= end.seq
                                && prev.ts.is_none_or(|ts| Some(ts) >= end.ts)
                                && (prev.segment != end.segment || prev.len >= end.len)
                        };
                        is_honest &= header.segment == number && header.node == NODE;
                        is_honest &= placed.start == 0 && header.v == segment::VERSION;
                        is_honest &= header.requires.is_empty();
                        is_honest &= is_base || header.prev.as_ref().is_none_or(follows);
                        let known = header.prev.iter().chain(&header.end);
                        if let Some(known) = known.max_by_key(|end| end.seq) {
                            (end.seq, end.ts) = (known.seq, known.ts.max(end.ts));
                        }
                    }
                    Event::JobRecorded(_) if is_base => is_honest &= record.seq <= end.seq,
                    Event::JobRecorded(_) | Event::Taken(_) | Event::NodeRetired(_) => {
                        is_honest = false;
                    }
                    _ if is_base => {}
                    _ => {
                        is_honest &= record.seq > end.seq && Some(record.ts) > end.ts;
                        end.seq = record.seq;
                        end.ts = Some(record.ts);
                    }
                }
                (end.segment, end.len) = (number, if is_base { 0 } else { placed.end });
            }
        }
        is_honest && bases < 2
    }
}

/// The own log as it was when the checkpoint was written, and how far that was.
fn remembered(store: &Store) -> Option<(NodeState, Cursor)> {
    let cache = RealDisk.open(&store.place().cache_dir(), Open::Directory).ok()?;
    let view = checkpoint::open(cache.as_ref(), Some(NODE), store.boot())?.load()?;
    Some((view.state.node(NODE)?.clone(), view.cursors.get(NODE)?.clone()))
}
