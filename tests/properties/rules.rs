//! The rules alone: decide and apply, in memory, against the model.

use std::time::Duration;

use proptest::prelude::*;
use queuectl::domain::decide::{self, OnConflict, Refusal};
use queuectl::domain::event::{BatchCommitted, Event, Record};
use queuectl::domain::job::Spec;
use queuectl::domain::shelf::Shelf;
use queuectl::domain::state::NodeState;
use queuectl::domain::timestamp::Timestamp;

use super::action::{Action, history};
use super::cases;
use super::play::{Decide, Play, Queue, START};

/// A log of events and what they add up to.
pub struct InMemory {
    pub node: NodeState,
    pub records: Vec<Record>,
    now: Timestamp,
}

impl InMemory {
    pub fn new() -> Self {
        let now = Timestamp::from_micros(START);
        InMemory { node: NodeState::default(), records: Vec::new(), now }
    }

    /// A log that goes on from a state.
    pub fn of(node: &NodeState) -> Self {
        InMemory { node: node.clone(), ..InMemory::new() }
    }

    pub fn append(&mut self, events: Vec<Event>) {
        for event in events {
            let seq = self.records.len() as u64 + 1;
            let ts = self.now.max(self.node.facts.last_ts.after(Duration::from_micros(1)));
            let record = Record { seq, ts, wall: None, event };
            // An event that cannot be is counted; the model says which they are.
            let _ = self.node.apply(&record);
            self.records.push(record);
        }
    }
}

impl Queue for InMemory {
    fn now(&self) -> Timestamp {
        self.now
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
    }

    fn enqueue(&mut self, specs: Vec<Spec>) -> Result<(), Refusal> {
        let mut specs = decide::enqueue(&self.node, specs, OnConflict::Fail)?.specs;
        let count = specs.len() as u64;
        let batch = (count > 1).then(|| format!("whole{}", self.records.len()));
        specs.iter_mut().for_each(|spec| spec.batch = batch.clone());
        let mut events: Vec<Event> =
            specs.into_iter().map(|spec| Event::Enqueued(Box::new(spec))).collect();
        let committed = batch.map(|batch| Event::BatchCommitted(BatchCommitted { batch, count }));
        events.extend(committed);
        self.append(events);
        Ok(())
    }

    fn write(&mut self, decide: Decide) -> Result<(), Refusal> {
        let events = decide(&self.node, self.now)?;
        self.append(events);
        Ok(())
    }

    fn look(&mut self) -> &NodeState {
        let now = self.now;
        self.node.ripen(|job| job.due.is_none_or(|due| due <= now));
        &self.node
    }
}

fn play(history: &[Action]) -> Play<InMemory> {
    let mut play = Play::new(InMemory::new());
    for action in history {
        play.step(action);
    }
    play
}

proptest! {
    #![proptest_config(cases(250))]

    #[test]
    fn the_rules_are_those_of_the_model(history in history(150)) {
        play(&history);
    }

    /// Full replay is replay from any state that was kept on the way.
    #[test]
    fn a_fold_may_be_kept_and_continued_anywhere(history in history(60), kept_at in 0..60_usize) {
        let play = play(&history);
        let records = &play.queue.records;
        let (before, after) = records.split_at(kept_at.min(records.len()));
        let mut node = NodeState::default();
        for record in before {
            let _ = node.apply(record);
        }
        let kept: Vec<u8> = bitcode::encode(&node.facts);
        let (chunks, ids) = (bitcode::encode(&node.shelf().pack()), node.shelf().pack_ids());
        let jobs = Shelf::unpack(bitcode::decode(&chunks).unwrap(), ids);
        let mut node = NodeState::of_parts(bitcode::decode(&kept).unwrap(), jobs);
        for record in after {
            let _ = node.apply(record);
        }
        prop_assert_eq!(&node, &play.queue.node);
        prop_assert_eq!(node.counts(), play.queue.node.counts());
    }

    /// What is written down is read back as it was, so that live code and replay fold the same.
    #[test]
    fn events_are_the_same_when_they_are_read_back(history in history(60)) {
        use queuectl::store::line;
        for record in play(&history).queue.records {
            let line = line::encode(record.seq, record.ts, record.wall(), &record.event);
            let (again, _) = line::decode(line.strip_suffix(b"\n").unwrap()).unwrap();
            prop_assert_eq!(again, record);
        }
    }
}
