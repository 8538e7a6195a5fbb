//! Batches of which lines are lost: what is left of one was acknowledged with the rest.
//!
//! What says so is a line like any other, and is shown to whoever looks on as that: it holds without the lines that are
//! lost. Knows nothing of files.

use super::Fold;
use crate::domain::event::{BatchCommitted, Event, Record};
use crate::domain::state::Enqueued;
use crate::store::line;
use crate::store::segment::Placed;

impl Fold<'_> {
    /// Behind damage, the end of a batch that counts more jobs than are left of it: the same for those, with its bytes.
    pub(super) fn short_batch(&self, placed: &Placed, bytes: &[u8]) -> Option<(Placed, Vec<u8>)> {
        let record = &placed.record;
        let Event::BatchCommitted(batch) = &record.event else { return None };
        let open = self.state.facts.open_batches.get(&batch.batch)?;
        let count = open.len() as u64;
        if !self.is_damaged() || count >= batch.count {
            return None;
        }
        let event = Event::BatchCommitted(BatchCommitted { count, ..batch.clone() });
        let record = Record { event, ..record.clone() };
        // With what a newer version may have added to it.
        let bytes = line::recount(bytes.trim_ascii_end(), batch.count, count)
            .unwrap_or_else(|| line::encode(record.seq, record.ts, record.wall(), &record.event));
        Some((Placed { record, ..placed.clone() }, bytes))
    }

    /// Where the line right behind the last job of a batch is lost, that was its end, and it was acknowledged.
    pub(in crate::store) fn commit_before_gap(&mut self, first_missing: u64) {
        let is_last =
            |jobs: &Vec<Enqueued>| jobs.last().map(|job| job.seq + 1) == Some(first_missing);
        if !self.reading.own {
            return;
        }
        let open = self.state.facts.open_batches.iter();
        let ended = open.filter(|(_, jobs)| is_last(jobs));
        let ended: Vec<BatchCommitted> = ended
            .map(|(batch, jobs)| BatchCommitted { batch: batch.clone(), count: jobs.len() as u64 })
            .collect();
        for batch in ended {
            let (ts, event) = (self.state.facts.last_ts, Event::BatchCommitted(batch));
            let bytes = line::encode(0, ts, ts, &event);
            let record = Record { seq: 0, ts, wall: None, event };
            let (crc, start, end) = (*b"00000000", 0, 0);
            self.apply(&Placed { record, crc, start, end }, &bytes);
        }
    }

    fn is_damaged(&self) -> bool {
        self.reading.own && (self.reading.salvage || !self.damage.is_empty())
    }
}
