//! What was done to the disk that no crash does, and what of the promises that takes away: those that rest on the lines
//! that were lost, and no others.
//!
//! Knows no disk: it is told what stood there before and after.

use std::collections::{BTreeMap, BTreeSet};

use queuectl::domain::event::{Event, Record};
use queuectl::domain::job::JobId;
use queuectl::store::mark::Mark;
use queuectl::store::segment::SegmentName;

use crate::lines::{Line, Log};

/// The notes of it.
#[derive(Debug, Default)]
pub struct Harm {
    /// How often it is still to be done.
    pub left: u32,
    /// How often it was done.
    pub done: u64,
    /// The jobs of which lines were lost.
    pub jobs: BTreeSet<JobId>,
    /// The numbers of the lines that were synced and lost.
    lost: BTreeSet<u64>,
    /// Those of which only a mark knew, which may be lost. Then they look as if they had never been there, unless somebody
    /// has noted the damage before.
    unsure: BTreeSet<u64>,
    /// Which numbers a doctor has told: from this one to that one.
    pub told: Vec<(u64, u64)>,
    /// What the files with lost lines were when they were hurt, by their names.
    originals: BTreeMap<SegmentName, Vec<u8>>,
    /// The doctors that began, by the numbers of their processes.
    pub doctors: Vec<u64>,
    /// The turn in which it was mended, with how often it had been done by then.
    mended: (u64, u64),
}

impl Harm {
    /// Notes that harm was done to a log, of which the mark was this. What is being compacted has been read before,
    /// and a doctor that has looked tells what it saw then. Gives the lines that are lost.
    pub fn note(
        &mut self,
        before: &Log,
        after: &Log,
        mark: Option<&Mark>,
        is_compacted: bool,
        is_examined: bool,
    ) -> Vec<String> {
        self.done += 1;
        // What is hurt again is to be kept as it is now, and what is lost cannot be.
        self.originals.retain(|name, original| match (before.bytes(*name), after.bytes(*name)) {
            (Some(_), Some(bytes)) => {
                *original = bytes.to_vec();
                true
            }
            (was_there, _) => was_there.is_none(),
        });
        let (counted, left) = (before.counted(), after.counted());
        let left: BTreeSet<&[u8]> = left.iter().map(|line| line.text.as_slice()).collect();
        let lost: Vec<&Line> = counted.iter().filter(|line| !left.contains(&*line.text)).collect();
        for line in &lost {
            self.jobs.extend(line.record.event.job().cloned());
            if let Event::BatchCommitted(batch) = &line.record.event {
                self.jobs.extend(jobs_of(&counted, &batch.batch));
            }
            // Of what is written to, only a mark tells damage from a torn end, and a mark may be lost.
            let is_sure = match line.file {
                SegmentName::Segment(number) => Some(number) < after.active(),
                SegmentName::Base(..) => true,
            };
            let is_marked =
                |number| mark.is_some_and(|mark| (number, line.end) <= (mark.segment, mark.len));
            match line.file {
                _ if is_examined => {}
                SegmentName::Segment(_) if line.record.seq > 0 && is_sure => {
                    self.lost.insert(line.record.seq);
                }
                SegmentName::Segment(number) if line.record.seq > 0 && is_marked(number) => {
                    self.unsure.insert(line.record.seq);
                }
                _ => {}
            }
            if !is_sure {
                // Nobody knows that it was whole.
                if let Event::Enqueued(spec) = &line.record.event {
                    self.jobs.extend(spec.batch.iter().flat_map(|batch| jobs_of(&counted, batch)));
                }
                continue;
            }
            if let Some(bytes) = after.bytes(line.file).filter(|_| !is_compacted) {
                self.originals.insert(line.file, bytes.to_vec());
            }
        }
        lost.iter().map(|line| String::from_utf8_lossy(&line.text).into_owned()).collect()
    }

    /// Whether some of it is not mended yet.
    pub fn is_unmended(&self) -> bool {
        self.done > self.mended.1
    }

    /// Whether it may be seen by whoever looked from this turn on.
    pub fn is_open(&self, since: u64) -> bool {
        self.is_unmended() || (self.done > 0 && since <= self.mended.0)
    }

    /// Notes that somebody who wanted to write has noted the damage, beside a mark that `lasts` or doesn't.
    pub fn degrade(&mut self, lasts: bool) {
        let unsure = std::mem::take(&mut self.unsure);
        self.lost.extend(unsure.into_iter().filter(|_| lasts));
    }

    /// Notes that all is mended that was done up to the `done`th time.
    pub fn mend(&mut self, turn: u64, done: u64) {
        self.mended = (turn, done);
    }

    /// A file that was hurt and is not kept among these, as it was then or with more behind that.
    pub fn thrown_away(&self, kept: &[(&str, &[u8])]) -> Option<SegmentName> {
        let is_kept = |(name, original): &(&SegmentName, &Vec<u8>)| {
            kept.iter().any(|(kept, bytes)| {
                SegmentName::parse(kept) == Some(**name) && bytes.starts_with(original)
            })
        };
        self.originals.iter().find(|file| !is_kept(file)).map(|(name, _)| *name)
    }

    /// A line that was lost and of which no doctor has told.
    pub fn untold(&self) -> Option<u64> {
        let is_told = |seq: &u64| self.told.iter().any(|(from, to)| (from..=to).contains(&seq));
        self.lost.iter().copied().find(|seq| !is_told(seq))
    }
}

/// The jobs that came in one batch.
fn jobs_of<'a>(lines: &'a [Line], batch: &'a str) -> impl Iterator<Item = JobId> + 'a {
    lines.iter().filter_map(move |line| match &line.record {
        Record { event: Event::Enqueued(spec), .. } if spec.batch.as_deref() == Some(batch) => {
            Some(spec.id.clone())
        }
        _ => None,
    })
}
