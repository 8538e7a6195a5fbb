//! The jobs of a node by the order of their creation, in chunks that stay packed until somebody looks into them.
//!
//! So a checkpoint of many jobs costs only what is asked of it. Pure: the bytes are handed in and out.

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

use bitcode::{Decode, Encode};

use super::agenda::Entry;
use super::id::JobId;
use super::job::{Job, JobState};
use super::timestamp::Timestamp;

/// How many jobs a chunk holds before the next begins.
const CHUNK: usize = 1024;

/// Jobs by their `order`, and the way from an id to one.
#[derive(Debug, Clone, Default)]
pub struct Shelf {
    /// By the first `order` that can be in it; the next chunk's is the first that can't.
    chunks: BTreeMap<u64, Chunk>,
    /// The ids that came since the packed ones.
    ids: HashMap<JobId, u64>,
    /// Hashes of the packed ids and where their jobs are, sorted; jobs that are gone may be among them.
    packed_ids: Vec<(u64, u64)>,
}

/// A chunk as it is kept elsewhere.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Packed {
    /// The first `order` that can be in it.
    pub first: u64,
    /// How many of its jobs are in each state, in the order of [`JobState::ALL`].
    pub counts: [u64; 6],
    /// When the first of those is due that wait for their time.
    pub earliest_due: Option<Timestamp>,
    /// When the first of those ended that are completed or cancelled.
    pub earliest_end: Option<Timestamp>,
    /// What is to know of those that wait or run without looking at them.
    pub live: Vec<u8>,
    /// The jobs.
    pub bytes: Vec<u8>,
}

#[derive(Debug, Clone, Default)]
struct Chunk {
    counts: [u64; 6],
    /// As it was taken from elsewhere; none once a job of it has changed.
    packed: Option<Packed>,
    jobs: OnceLock<BTreeMap<u64, Job>>,
}

impl Chunk {
    fn jobs(&self) -> &BTreeMap<u64, Job> {
        self.jobs.get_or_init(|| {
            let bytes = self.packed.as_ref().map(|packed| packed.bytes.as_slice());
            // Whoever keeps the bytes answers for them with a checksum and the version of their form.
            bytes.map_or_else(BTreeMap::new, |bytes| {
                bitcode::decode(bytes).expect("BUG: packed jobs that are not what was packed")
            })
        })
    }

    fn jobs_mut(&mut self) -> &mut BTreeMap<u64, Job> {
        self.jobs();
        self.packed = None;
        self.jobs.get_mut().expect("BUG: jobs that were just unpacked")
    }

    fn live(&self) -> Vec<Entry> {
        match &self.packed {
            Some(packed) => bitcode::decode(&packed.live)
                .expect("BUG: packed jobs that are not what was packed"),
            None => self.jobs().values().filter_map(Entry::of).collect(),
        }
    }

    fn earliest_due(&self) -> Option<Timestamp> {
        match &self.packed {
            Some(packed) => packed.earliest_due,
            None => self.jobs().values().filter_map(due).min(),
        }
    }

    fn earliest_end(&self) -> Option<Timestamp> {
        match &self.packed {
            Some(packed) => packed.earliest_end,
            None => self.jobs().values().filter_map(end).min(),
        }
    }
}

fn end(job: &Job) -> Option<Timestamp> {
    let is_over = matches!(job.state, JobState::Completed | JobState::Cancelled);
    is_over.then_some(job.updated_at)
}

fn due(job: &Job) -> Option<Timestamp> {
    job.due.filter(|_| job.state.is_waiting() && job.held.is_none())
}

impl Shelf {
    /// Takes what was packed, and the sorted hashes of the ids with the orders of their jobs.
    pub fn unpack(chunks: Vec<Packed>, packed_ids: Vec<(u64, u64)>) -> Self {
        let chunk = |packed: Packed| {
            let first = packed.first;
            (first, Chunk { counts: packed.counts, packed: Some(packed), jobs: OnceLock::new() })
        };
        let chunks = chunks.into_iter().map(chunk).collect();
        Shelf { chunks, ids: HashMap::new(), packed_ids }
    }

    /// Packs what has changed; the rest is as it was.
    pub fn pack(&self) -> Vec<Packed> {
        let pack = |(first, chunk): (&u64, &Chunk)| match &chunk.packed {
            Some(packed) => packed.clone(),
            None => Packed {
                first: *first,
                counts: chunk.counts,
                earliest_due: chunk.earliest_due(),
                earliest_end: chunk.earliest_end(),
                live: bitcode::encode(&chunk.live()),
                bytes: bitcode::encode(chunk.jobs()),
            },
        };
        self.chunks.iter().map(pack).collect()
    }

    /// The sorted hashes of the ids, with the orders of their jobs; jobs that are gone may be among them.
    pub fn pack_ids(&self) -> Vec<(u64, u64)> {
        let mut ids = self.packed_ids.clone();
        ids.extend(self.ids.iter().map(|(id, order)| (hash(id), *order)));
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// How many jobs are in each state, in the order of [`JobState::ALL`].
    pub fn counts(&self) -> [u64; 6] {
        let mut sum = [0; 6];
        for chunk in self.chunks.values() {
            for (sum, count) in sum.iter_mut().zip(chunk.counts) {
                *sum += count;
            }
        }
        sum
    }

    /// The job at a place.
    pub fn get(&self, order: u64) -> Option<&Job> {
        let (_, chunk) = self.chunks.range(..=order).next_back()?;
        chunk.jobs().get(&order)
    }

    /// The place of the job of an id.
    pub fn find(&self, id: &JobId) -> Option<u64> {
        if let Some(order) = self.ids.get(id) {
            return Some(*order);
        }
        let wanted = hash(id);
        let start = self.packed_ids.partition_point(|(hash, _)| *hash < wanted);
        let same = self.packed_ids[start..].iter().take_while(|(hash, _)| *hash == wanted);
        same.map(|(_, order)| *order).find(|order| self.get(*order).is_some_and(|j| j.id() == id))
    }

    /// Puts a job in its place, which must be free, as must its id.
    pub fn insert(&mut self, job: Job) {
        let order = job.order;
        let full = |(_, chunk): (&u64, &Chunk)| chunk.counts.iter().sum::<u64>() as usize >= CHUNK;
        let last = self.chunks.last_key_value();
        let begins = match last {
            Some((first, chunk)) if *first < order => {
                full((first, chunk))
                    && chunk.jobs().last_key_value().is_none_or(|(k, _)| *k < order)
            }
            _ => self.chunks.range(..=order).next_back().is_none(),
        };
        if begins {
            self.chunks.insert(order, Chunk::default());
        }
        let (_, chunk) =
            self.chunks.range_mut(..=order).next_back().expect("BUG: no chunk for a job");
        chunk.counts[job.state as usize] += 1;
        self.ids.insert(job.id().clone(), order);
        chunk.jobs_mut().insert(order, job);
    }

    /// Changes the job at a place; its id and place stay.
    pub fn change<T>(&mut self, order: u64, change: impl FnOnce(&mut Job) -> T) -> Option<T> {
        let (_, chunk) = self.chunks.range_mut(..=order).next_back()?;
        let job = chunk.jobs_mut().get_mut(&order)?;
        let before = job.state;
        let outcome = change(job);
        let after = job.state;
        chunk.counts[before as usize] -= 1;
        chunk.counts[after as usize] += 1;
        Some(outcome)
    }

    /// Takes a job away.
    pub fn remove(&mut self, order: u64) -> Option<Job> {
        let (_, chunk) = self.chunks.range_mut(..=order).next_back()?;
        let job = chunk.jobs_mut().remove(&order)?;
        chunk.counts[job.state as usize] -= 1;
        self.ids.remove(job.id());
        Some(job)
    }

    /// The jobs in order of creation.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Job> {
        self.chunks.values().flat_map(|chunk| chunk.jobs().values())
    }

    /// The jobs in these states, in order of creation; looks only where there are any.
    pub fn in_states<'a>(&'a self, states: &'a [JobState]) -> impl Iterator<Item = &'a Job> {
        self.chunks
            .values()
            .filter(|chunk| states.iter().any(|state| chunk.counts[*state as usize] > 0))
            .flat_map(|chunk| chunk.jobs().values())
            .filter(|job| states.contains(&job.state))
    }

    /// What is to know of the jobs that wait or run, in order of creation. Unpacks none.
    pub(super) fn live(&self) -> impl Iterator<Item = Entry> {
        let is_live = |state: &JobState| !state.is_finished();
        let states: Vec<JobState> = JobState::ALL.into_iter().filter(is_live).collect();
        let any =
            move |chunk: &&Chunk| states.iter().any(|state| chunk.counts[*state as usize] > 0);
        self.chunks.values().filter(any).flat_map(Chunk::live)
    }

    /// The completed and cancelled jobs that ended by `moment`, in order of creation; looks only where there are any.
    pub fn finished_until(&self, moment: Timestamp) -> impl Iterator<Item = &Job> {
        self.chunks
            .values()
            .filter(move |chunk| chunk.earliest_end().is_some_and(|end| end <= moment))
            .flat_map(|chunk| chunk.jobs().values())
            .filter(move |job| end(job).is_some_and(|end| end <= moment))
    }

    /// When the first of those is due that wait for their time, past `now`.
    pub fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let next = |chunk: &Chunk| match chunk.earliest_due()? {
            due if due > now => Some(due),
            _ => chunk.jobs().values().filter_map(due).filter(|due| *due > now).min(),
        };
        self.chunks.values().filter_map(next).min()
    }
}

impl PartialEq for Shelf {
    /// Compares the jobs; how they are packed makes no difference.
    fn eq(&self, other: &Self) -> bool {
        self.counts() == other.counts() && self.iter().eq(other.iter())
    }
}

/// A hash of an id that stays the same between runs and versions: FNV-1a, mixed so that it spreads evenly.
pub fn hash(id: &JobId) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in id.as_str().bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{Event, Record};
    use crate::domain::spec::Spec;
    use crate::domain::state::NodeState;

    fn job(order: u64) -> Job {
        let spec = Spec::shell(JobId::from_log(&format!("job{order}")), "true", 3);
        let at = Timestamp::from_micros(1);
        let event = Event::Enqueued(Box::new(spec));
        let mut node = NodeState::default();
        node.apply(&Record { seq: order, ts: at, wall: None, event }).unwrap();
        node.jobs().next().unwrap().clone()
    }

    #[test]
    fn packed_or_not_it_is_the_same_shelf() {
        let mut shelf = Shelf::default();
        for order in (1..4000).rev().filter(|n| n % 3 == 0).chain((1..8000).filter(|n| n % 3 == 1))
        {
            shelf.insert(job(order));
        }
        shelf.change(1500, |job| job.state = JobState::Dead);
        shelf.change(2001, |job| job.due = Some(Timestamp::from_micros(77)));
        shelf.remove(3000);
        let mut again = Shelf::unpack(shelf.pack(), shelf.pack_ids());
        let look = |shelf: &Shelf| {
            let dead: Vec<u64> = shelf.in_states(&[JobState::Dead]).map(|job| job.order).collect();
            let id = |order: u64| shelf.find(&JobId::from_log(&format!("job{order}")));
            let ids = [1, 2, 3, 1500, 3000, 7999].map(id);
            (shelf.counts(), dead, ids, shelf.next_due(Timestamp::MIN))
        };
        assert_eq!(look(&shelf), look(&again));
        assert_eq!(look(&shelf).2, [Some(1), None, Some(3), Some(1500), None, Some(7999)]);
        assert_eq!(look(&shelf).3, Some(Timestamp::from_micros(77)));
        assert!(shelf == again);
        for shelf in [&mut shelf, &mut again] {
            shelf.change(1, |job| job.state = JobState::Completed);
            shelf.insert(job(9000));
            shelf.insert(job(2));
        }
        assert!(shelf == again);
        assert_eq!(look(&shelf), look(&again));
        assert!(shelf.iter().map(|job| job.order).is_sorted());
        again.change(2, |job| job.attempts = 1);
        assert!(shelf != again);
    }

    #[test]
    fn a_look_at_the_counts_unpacks_nothing() {
        let mut shelf = Shelf::default();
        for order in 1..3000 {
            shelf.insert(job(order));
        }
        let again = Shelf::unpack(shelf.pack(), shelf.pack_ids());
        assert_eq!(again.counts()[0], 2999);
        assert_eq!(again.next_due(Timestamp::MIN), None);
        assert_eq!(again.in_states(&[JobState::Dead]).count(), 0);
        assert_eq!(again.live().collect::<Vec<_>>(), shelf.live().collect::<Vec<_>>());
        assert_eq!(again.live().count(), 2999);
        assert!(again.chunks.values().all(|chunk| chunk.jobs.get().is_none()));
        assert!(again.get(1500).is_some());
        assert_eq!(again.chunks.values().filter(|chunk| chunk.jobs.get().is_some()).count(), 1);
    }

    fn sizes(shelf: &Shelf) -> Vec<(u64, u64)> {
        let chunks = shelf.chunks.iter();
        chunks.map(|(first, chunk)| (*first, chunk.counts.iter().sum())).collect()
    }

    #[test]
    fn a_full_chunk_is_followed_by_a_new_one_for_what_comes_behind_it() {
        let mut shelf = Shelf::default();
        for order in (10..).step_by(2).take(2 * CHUNK) {
            shelf.insert(job(order));
        }
        assert_eq!(sizes(&shelf), [(10, 1024), (2058, 1024)]);
        // What comes between others goes into their chunk, and what comes before all gets one of its own.
        for order in [11, 2059, 4103, 4105, 9] {
            shelf.insert(job(order));
        }
        assert_eq!(sizes(&shelf), [(9, 1), (10, 1025), (2058, 1026), (4105, 1)]);
    }

    #[test]
    fn what_has_ended_is_found_by_when_and_what_waits_by_when_it_is_due() {
        let at = Timestamp::from_micros;
        let ended = |order, state, micros| Job { state, updated_at: at(micros), ..job(order) };
        let due = |order, state, held: Option<&str>| {
            let held = held.map(str::to_owned);
            Job { state, held, due: Some(at(10)), ..job(order) }
        };
        let mut shelf = Shelf::default();
        shelf.insert(ended(1, JobState::Completed, 5));
        shelf.insert(ended(2, JobState::Cancelled, 4));
        shelf.insert(ended(3, JobState::Dead, 1));
        shelf.insert(ended(4, JobState::Pending, 1));
        shelf.insert(due(5, JobState::Pending, Some("held")));
        shelf.insert(due(6, JobState::Completed, None));
        let none = shelf.clone();
        assert_eq!(none.next_due(Timestamp::MIN), None);
        shelf.insert(due(7, JobState::Failed, None));
        shelf.insert(Job { due: Some(at(20)), ..due(8, JobState::Pending, None) });
        let again = Shelf::unpack(shelf.pack(), shelf.pack_ids());
        assert_eq!(again.next_due(at(9)), Some(at(10)));
        assert!(again.chunks.values().all(|chunk| chunk.jobs.get().is_none()), "unpacked");
        for shelf in [&shelf, &again] {
            let next = |now| shelf.next_due(at(now)).map(Timestamp::micros);
            assert_eq!([9, 10, 11, 20, 21].map(next), [Some(10), Some(20), Some(20), None, None]);
            let until = |moment| -> Vec<u64> {
                shelf.finished_until(at(moment)).map(|job| job.order).collect()
            };
            assert_eq!(until(0), [0; 0]);
            assert!(shelf.chunks.values().all(|chunk| chunk.earliest_end() == Some(at(1))));
            assert_eq!(until(4), [2, 6]);
            assert_eq!(until(5), [1, 2, 6]);
        }
    }

    #[test]
    fn hashes_of_ids_are_those_of_every_version() {
        let of = |id: &str| hash(&JobId::from_log(id));
        assert_eq!(of(""), 0xecba_3df2_c338_3c52);
        assert_eq!(of("a"), 0xed81_70de_1919_a24d);
        assert_eq!(of("01KGE3H9000000000000000001"), 0x26d9_66ab_2a4a_8915);
    }
}
