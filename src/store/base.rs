//! A base: the file that stands for all segments up to one, as what their events came to.
//!
//! ```text
//! header                 with `end`: the place where the last of the segments ended
//! lines kept verbatim    of what this version does not know, with all that belongs to it, in order
//! worker_…, queue_…      what is in force
//! batch_abandoned        so that what comes late of a batch stays without effect
//! enqueued               of batches that are not whole yet
//! job_state              each job, by the order of creation
//! totals                 what is counted and not kept
//! base_end               how many lines, and a sum over their checksums
//! ```
//! Knows how one is written and read, and nothing of when.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::disk::Handle;
use super::disk::Open;
use super::line::{self, Crc};
use super::replay::{Cursor, Damage};
use super::segment::{self, Placed, SegmentName};
use crate::domain::bytes::Bytes;
use crate::domain::event::{
    BaseEnd, BatchAbandoned, Event, JobRecorded, QueuePaused, Segment, SegmentEnd,
    WorkerStopRequested,
};
use crate::domain::job::JobId;
use crate::domain::state::{Facts, NodeState};
use crate::domain::timestamp::Timestamp;

/// So much of a base is read at a time, in bytes.
const CHUNK: u64 = 8 << 20;

/// A whole base, open.
pub(super) struct Base {
    /// The last segment it stands for.
    pub(super) last: u64,
    pub(super) header: Segment,
    pub(super) file: Box<dyn Handle>,
    pub(super) len: u64,
}

impl Base {
    /// Whether it stands for all up to this place, and for nothing more.
    pub(super) fn ends_at(&self, cursor: &Cursor) -> bool {
        let crc = String::from_utf8_lossy(&cursor.crc);
        self.header.end.as_ref().is_some_and(|end| {
            (end.segment, end.len) == (cursor.segment, cursor.offset)
                && end.crc.as_deref() == Some(&crc)
        })
    }

    /// Hands on its lines with their bytes, newline and all.
    pub(super) fn read(&self, mut take: impl FnMut(&Placed, &[u8])) -> io::Result<()> {
        read_lines(self.file.as_ref(), self.len, |bytes, start| {
            for placed in segment::cut(bytes, start).good {
                let at = |place: u64| usize::try_from(place - start).unwrap_or(usize::MAX);
                take(&placed, &bytes[at(placed.start)..at(placed.end)]);
            }
            true
        })
        .map(drop)
    }
}

/// The newest whole base among the names; one that is not whole is none.
pub(super) fn newest(directory: &dyn Handle, names: &[SegmentName]) -> io::Result<Option<Base>> {
    let range = |name: &SegmentName| match name {
        SegmentName::Base(first, last) => Some((*last, *first)),
        SegmentName::Segment(_) => None,
    };
    let mut ranges: Vec<(u64, u64)> = names.iter().filter_map(range).collect();
    ranges.sort_unstable();
    while let Some((last, first)) = ranges.pop() {
        if let Some(base) = open(directory, first, last)? {
            return Ok(Some(base));
        }
    }
    Ok(None)
}

/// Opens the base that ends with this segment; none where there is none that is whole.
pub(super) fn open_number(
    directory: &dyn Handle,
    names: &[(String, SegmentName)],
    last: u64,
) -> io::Result<Option<Base>> {
    let bases = names.iter().map(|(_, name)| *name);
    let bases: Vec<SegmentName> =
        bases.filter(|name| matches!(name, SegmentName::Base(_, to) if *to == last)).collect();
    newest(directory, &bases)
}

/// Opens a base; none where it is not whole.
pub(super) fn open(directory: &dyn Handle, first: u64, last: u64) -> io::Result<Option<Base>> {
    let file = directory.open_in(&segment::base_name(first, last), Open::Read)?;
    whole(file, last)
}

/// What is wrong where nothing is left of a log but bases of which none is whole: it is not an empty one.
pub(super) fn alone(directory: &dyn Handle, path: &Path) -> io::Result<Option<Damage>> {
    let names = directory.names()?;
    let names: Vec<SegmentName> =
        names.iter().filter_map(|name| SegmentName::parse(name)).collect();
    let Some(SegmentName::Base(first, last)) = names.iter().max().copied() else { return Ok(None) };
    if names.iter().any(|name| matches!(name, SegmentName::Segment(_))) {
        return Ok(None);
    }
    let file = path.join(segment::base_name(first, last));
    let what = "it is not whole, and nothing else is left of the log".to_owned();
    Ok(newest(directory, &names)?.is_none().then_some(Damage { file, what }))
}

/// The file as a base; none where it is not a whole one that ends with the segment `last`.
pub(super) fn whole(file: Box<dyn Handle>, last: u64) -> io::Result<Option<Base>> {
    let len = file.stat()?.len;
    let Some((_, header)) = segment::read_header(file.as_ref())? else { return Ok(None) };
    let Some(Placed { record, start, .. }) = segment::read_last(file.as_ref(), len)? else {
        return Ok(None);
    };
    let Event::BaseEnd(end) = record.event else { return Ok(None) };
    if header.end.as_ref().is_none_or(|end| end.segment != last) {
        return Ok(None);
    }
    let mut sum = Sum::default();
    let is_sound = read_lines(file.as_ref(), start, |bytes, _| {
        memchr::memchr_iter(b'\n', bytes)
            .scan(0, |from, newline| {
                Some(line::verify(&bytes[std::mem::replace(from, newline + 1)..newline]))
            })
            .all(|crc| crc.is_some_and(|crc| sum.add(&crc)))
    })?;
    let is_whole = is_sound && sum.lines == end.lines && sum.text() == end.sum;
    Ok(is_whole.then_some(Base { last, header, file, len }))
}

/// Hands on the lines of a file up to `len`, many whole ones at a time, with the place where they begin, for as long as
/// that is answered with yes. Says whether all were taken, down to a newline at `len`.
fn read_lines(
    file: &dyn Handle,
    len: u64,
    mut take: impl FnMut(&[u8], u64) -> bool,
) -> io::Result<bool> {
    let mut start = 0;
    while start < len {
        let (bytes, next) = read_some(file, start, len)?;
        if bytes.is_empty() || !take(&bytes, start) {
            return Ok(false);
        }
        start = next;
    }
    Ok(start == len)
}

/// Reads some whole lines from `start` on, before `len`; none where there is no newline. Says where the next begin.
pub(super) fn read_some(file: &dyn Handle, start: u64, len: u64) -> io::Result<(Vec<u8>, u64)> {
    let mut bytes = segment::read_range(file, start, len.min(start + CHUNK))?;
    bytes.truncate(memchr::memrchr(b'\n', &bytes).map_or(0, |newline| newline + 1));
    let next = start + bytes.len() as u64;
    Ok((bytes, next))
}

/// The sum over the checksums of lines.
#[derive(Default)]
struct Sum {
    lines: u64,
    crc: u32,
}

impl Sum {
    fn add(&mut self, crc: &Crc) -> bool {
        self.lines += 1;
        self.crc = crc32c::crc32c_append(self.crc, crc);
        true
    }

    fn text(&self) -> Bytes {
        Bytes(format!("{:08x}", self.crc).into_bytes())
    }
}

/// What is to be written as a base.
pub(super) struct Content<'a> {
    /// The state that it comes to.
    pub(super) state: &'a NodeState,
    /// Where the log ends that it stands for.
    pub(super) end: SegmentEnd,
    /// See [`Segment::cut`].
    pub(super) cut: BTreeMap<u64, u64>,
    pub(super) kept: &'a Kept,
    pub(super) node: &'a str,
    pub(super) boot: &'a str,
    pub(super) now: Timestamp,
}

/// What stays as it stands, since this version does not know all of it.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Whether what is said of workers and queues is among it.
    pub(super) facts: bool,
    /// The jobs of which every line stays.
    pub(super) jobs: BTreeSet<JobId>,
    /// The lines, with their newlines.
    pub(super) lines: Vec<Vec<u8>>,
}

/// Hands on the lines of a base, each with its newline.
///
/// Gives the jobs that are left out since they have come to more than a line may have: their own lines must be kept.
/// Errors: what `take` fails with.
pub(super) fn write(
    content: &Content,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Vec<JobId>> {
    let Content { state, end, kept, now, .. } = content;
    let ts = end.ts.unwrap_or(*now);
    let (mut sum, mut too_long) = (Sum::default(), Vec::new());
    let mut put = |line: &[u8]| {
        let crc = line::verify(line.trim_ascii_end()).expect("BUG: a line without its checksum");
        sum.add(&crc);
        take(line)
    };
    put(&line::encode(0, *now, *now, &Event::Segment(Box::new(header(content)))))?;
    for line in &kept.lines {
        put(line)?;
    }
    for (at, event) in facts(&state.facts, kept, ts) {
        put(&line::encode(0, at, at, &event))?;
    }
    for batch in state.facts.open_batches.values().flatten() {
        if !kept.jobs.contains(&batch.spec.id) {
            let event = Event::Enqueued(Box::new(batch.spec.clone()));
            put(&line::encode(batch.seq, batch.at, batch.at, &event))?;
        }
    }
    for job in state.jobs().filter(|job| !kept.jobs.contains(job.id())) {
        let event = Event::JobRecorded(Box::new(JobRecorded::of(job)));
        let line = line::encode(job.order, job.created_at, job.created_at, &event);
        match line.len() > line::LONGEST {
            true => too_long.push(job.id().clone()),
            false => put(&line)?,
        }
    }
    put(&line::encode(0, ts, ts, &Event::Totals(state.facts.totals.clone())))?;
    let end = Event::BaseEnd(BaseEnd { lines: sum.lines, sum: sum.text() });
    take(&line::encode(0, ts, ts, &end))?;
    Ok(too_long)
}

fn header(content: &Content) -> Segment {
    Segment {
        v: segment::VERSION,
        node: content.node.to_owned(),
        segment: content.end.segment,
        boot: content.boot.to_owned(),
        why: "compact".to_owned(),
        prev: None,
        carried: 0,
        config: content.state.facts.config.clone(),
        requires: Vec::new(),
        end: Some(content.end.clone()),
        cut: content.cut.clone(),
        app: concat!("queuectl ", env!("CARGO_PKG_VERSION")).to_owned(),
    }
}

/// What is in force beside the jobs, as events, each with the moment of its line.
fn facts(facts: &Facts, kept: &Kept, ts: Timestamp) -> Vec<(Timestamp, Event)> {
    let mut events = Vec::new();
    if !kept.facts {
        for record in facts.workers.values() {
            events.push((record.started_at, Event::WorkerStarted(record.started.clone())));
            if let Some(now) = record.stop_requested {
                let worker = record.started.worker.clone();
                events.push((ts, Event::WorkerStopRequested(WorkerStopRequested { worker, now })));
            }
        }
        for (queue, until) in &facts.paused {
            let (queue, until) = (queue.clone(), *until);
            events.push((ts, Event::QueuePaused(QueuePaused { queue, until })));
        }
    }
    let retired = facts.retired.values().cloned();
    events.extend(retired.map(|retired| (ts, Event::NodeRetired(Box::new(retired)))));
    let abandoned = facts.abandoned.iter().cloned();
    events.extend(abandoned.map(|batch| (ts, Event::BatchAbandoned(BatchAbandoned { batch }))));
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Record;
    use crate::domain::job::Spec;
    use crate::store::disk::{Disk as _, append_all};
    use crate::store::real_disk::RealDisk;

    const TS: Timestamp = Timestamp::MIN;

    /// A node with one job a command.
    fn state(commands: &[String]) -> NodeState {
        let mut state = NodeState::default();
        for (number, command) in (1..).zip(commands) {
            let spec = Spec::shell(JobId::new(&format!("job-{number}")).unwrap(), command, 3);
            let event = Event::Enqueued(Box::new(spec));
            let ts = Timestamp::from_micros(i64::try_from(number).unwrap());
            state.apply(&Record { seq: number, ts, wall: None, event }).unwrap();
        }
        state
    }

    fn end() -> SegmentEnd {
        SegmentEnd { segment: 3, len: 700, seq: 9, ts: Some(TS), crc: Some("0011aabb".into()) }
    }

    /// The lines of a base, and the jobs that it leaves out.
    fn lines(commands: &[String]) -> (Vec<Vec<u8>>, Vec<JobId>) {
        let (state, kept, end) = (state(commands), Kept::default(), end());
        let (cut, node, boot, now) = (BTreeMap::new(), "desk", "boot-1", TS);
        let content = Content { state: &state, end, cut, kept: &kept, node, boot, now };
        let mut lines = Vec::new();
        let left_out = write(&content, |line| {
            lines.push(line.to_vec());
            Ok(())
        })
        .unwrap();
        (lines, left_out)
    }

    fn put(directory: &dyn Handle, name: &str, lines: &[Vec<u8>]) {
        let file = directory.open_in(name, Open::CreateNew).unwrap();
        append_all(file.as_ref(), &lines.concat()).unwrap();
    }

    fn scene() -> (tempfile::TempDir, Box<dyn Handle>) {
        let directory = tempfile::tempdir().unwrap();
        let handle = RealDisk.open(directory.path(), Open::Directory).unwrap();
        (directory, handle)
    }

    #[test]
    fn it_stands_for_a_log_up_to_one_place() {
        let (_directory, handle) = scene();
        put(handle.as_ref(), &segment::base_name(1, 3), &lines(&[]).0);
        let base = open(handle.as_ref(), 1, 3).unwrap().unwrap();
        let at = |segment, offset, crc: &Crc| base.ends_at(&Cursor { segment, offset, crc: *crc });
        assert!(at(3, 700, b"0011aabb"));
        assert!(!at(2, 700, b"0011aabb") && !at(3, 699, b"0011aabb") && !at(3, 700, b"0011aabc"));
    }

    #[test]
    fn one_is_found_by_the_segment_that_it_ends_with() {
        let (_directory, handle) = scene();
        put(handle.as_ref(), &segment::base_name(1, 3), &lines(&[]).0);
        let names = [(1, 3), (1, 2)]
            .map(|(first, last)| (segment::base_name(first, last), SegmentName::Base(first, last)));
        let last = |number| open_number(handle.as_ref(), &names[..1], number).unwrap();
        assert_eq!(last(3).map(|base| base.last), Some(3));
        assert!(last(2).is_none());
    }

    /// More than is read at a time.
    #[test]
    fn a_long_one_is_read_as_it_was_written() {
        let (_directory, handle) = scene();
        let (lines, left_out) = lines(&vec!["x".repeat(1_000_000); 9]);
        assert!(left_out.is_empty() && lines.iter().map(Vec::len).sum::<usize>() as u64 > CHUNK);
        put(handle.as_ref(), &segment::base_name(1, 3), &lines);
        let base = open(handle.as_ref(), 1, 3).unwrap().unwrap();
        let mut read = Vec::new();
        base.read(|_, bytes| read.push(bytes.to_vec())).unwrap();
        assert!(read == lines);
    }

    #[test]
    fn a_job_of_the_longest_line_is_in_it_and_one_of_a_longer_is_left_out() {
        let frame = lines(&["x".to_owned()]).0[1].len() - 1;
        let (of, most) = (|len| lines(&["x".repeat(len)]), line::LONGEST - frame);
        assert_eq!((of(most).0[1].len(), of(most).1.len()), (line::LONGEST, 0));
        assert_eq!(of(most + 1).1, [JobId::new("job-1").unwrap()]);
    }
}
