//! One segment of a log: its header, what of it is no line, and the order of the lines that are.
//!
//! Knows the segments before it only by where they ended.

use std::io;

use super::Walk;
use crate::domain::event::{Event, SegmentEnd};
use crate::store::disk::{NoFile, Open};
use crate::store::segment::{self, Lines, Placed};

impl Walk<'_> {
    /// Looks at a segment. `next` is what the header of the next one says of its end, where there is a next one.
    pub(super) fn take_segment(
        &mut self,
        number: u64,
        next: Option<Option<&SegmentEnd>>,
    ) -> io::Result<()> {
        let file = self.open(&segment::file_name(number))?;
        let bytes = segment::read_range(file.as_ref(), 0, u64::MAX)?;
        let lines = segment::cut(&bytes, 0);
        self.counts = (self.counts.0 + lines.good.len() as u64, self.counts.1 + 1);
        let limit = match next {
            Some(Some(end)) if end.segment == number => Some(end.len),
            Some(_) => {
                let what = "its header does not say where the segment before it ends";
                self.headers.fault(&self.file(number + 1), what);
                None
            }
            None => None,
        };
        match file.stat()?.no_file() {
            Some(no_file) => self.headers.fault(&self.file(number), no_file.to_string()),
            None => {
                self.take_header(number, &lines);
                if self.own && next.is_none() {
                    self.see_that_it_can_be_written(number);
                }
            }
        }
        let stop = self.take_bad(number, &bytes, &lines, limit, next.is_some());
        // Lines of another node are none of this log.
        let is_of_node = lines.good.first().is_none_or(|first| match &first.record.event {
            Event::Segment(header) => header.node == self.node,
            _ => true,
        });
        for placed in lines.good.iter().filter(|_| is_of_node) {
            if placed.end > stop {
                if limit.is_some() && placed.start < stop {
                    let what = format!(
                        "it says that the segment before ends within a line, at byte {stop}"
                    );
                    self.headers.fault(&self.file(number + 1), what);
                }
                break;
            }
            self.take_line(number, placed);
        }
        let ends = next.flatten().filter(|end| end.segment == number);
        if let Some(end) = ends {
            if end.seq < self.seq {
                let what = format!(
                    "it says that seq {} came last before it, and {} did",
                    end.seq, self.seq
                );
                self.headers.fault(&self.file(number + 1), what);
            }
            self.skip_to(number, end.seq);
        }
        Ok(())
    }

    /// Sees that the last segment is one for writers too, who follow no link.
    fn see_that_it_can_be_written(&mut self, number: u64) {
        let opened = self.directory.open_in(&segment::file_name(number), Open::Append);
        if let Some(no_file) = opened.err().as_ref().and_then(NoFile::of) {
            self.headers.fault(&self.file(number), no_file.to_string());
        }
    }

    /// Looks at the first line of a segment.
    fn take_header(&mut self, number: u64, lines: &Lines) {
        let file = self.file(number);
        let first = lines.good.first().filter(|placed| placed.start == 0);
        let Some(Placed { record, .. }) = first else {
            self.headers.fault(&file, "its first line is no header that holds");
            return;
        };
        let Event::Segment(header) = &record.event else {
            self.headers.fault(&file, "its first line is not a header");
            return;
        };
        if header.segment != number || header.node != self.node {
            let what = format!("its header is of segment {} of {}", header.segment, header.node);
            self.headers.fault(&file, what);
        }
        if header.v > segment::VERSION || !header.requires.is_empty() {
            self.headers.note(&file, "a newer version wrote it, and this one may only read it");
        }
        match (&header.prev, self.base_end.take()) {
            (None, None) if number > 1 => {
                self.headers.fault(&file, "its header says nothing of the segment before it");
            }
            (Some(prev), Some(end))
                if (prev.segment, prev.len, prev.seq) != (end.segment, end.len, end.seq) =>
            {
                let place = |end: &SegmentEnd| {
                    format!("segment {}, byte {}, seq {}", end.segment, end.len, end.seq)
                };
                let what =
                    format!("it follows {}, and the base ends at {}", place(prev), place(&end));
                self.headers.fault(&file, what);
            }
            (Some(prev), None) if prev.segment != number.saturating_sub(1) => {
                let what = format!("its header says that it follows segment {}", prev.segment);
                self.headers.fault(&file, what);
            }
            _ => {}
        }
        if let Some(prev) = &header.prev {
            self.skip_to(number, prev.seq);
            if prev.ts.is_some_and(|ts| record.ts <= ts) {
                self.headers.note(&file, "its header is no later than the line before it");
            }
        }
    }

    /// Notes what is no line. Says up to which byte lines count.
    fn take_bad(
        &mut self,
        number: u64,
        bytes: &[u8],
        lines: &Lines,
        limit: Option<u64>,
        is_sealed: bool,
    ) -> u64 {
        let file = self.file(number);
        let marked = self.mark.as_ref().filter(|mark| mark.segment == number);
        let synced = marked.map_or(0, |mark| mark.len);
        let mut stop = limit.unwrap_or(lines.end);
        if limit.is_some_and(|limit| limit > lines.end) {
            let what = format!("bytes {} to {stop} are missing", lines.end);
            self.lines.fault(&file, what);
        }
        for (start, end) in stretches(bytes, lines) {
            let what = format!("bytes {start} to {end} are no line that holds");
            match limit {
                Some(limit) if start >= limit => {}
                Some(_) => self.lines.fault(&file, what),
                None if is_sealed => self.lines.fault(&file, what),
                None if start < synced => {
                    self.lines.fault(&file, format!("{what}, and were synced"))
                }
                None => {
                    let end = lines.end;
                    let what = format!(
                        "it is torn from byte {start} to {end}; the next writer begins a new segment"
                    );
                    self.lines.note(&file, what);
                    self.is_torn = true;
                    stop = start;
                    break;
                }
            }
        }
        if let Some(past) =
            limit.and_then(|limit| lines.end.checked_sub(limit)).filter(|past| *past > 0)
        {
            let what = format!(
                "{past} bytes from byte {stop} on do not count, as the next segment says: they were torn"
            );
            self.lines.note(&file, what);
        }
        stop
    }

    fn take_line(&mut self, number: u64, placed: &Placed) {
        let record = &placed.record;
        let marked = self.mark.as_ref().filter(|mark| mark.segment == number);
        if marked.is_some_and(|mark| mark.len == placed.end) {
            self.at_mark = Some(placed.crc);
        }
        if matches!(record.event, Event::Segment(_)) {
            if placed.start > 0 {
                let what = format!("a header stands at byte {}", placed.start);
                self.headers.fault(&self.file(number), what);
            }
            return;
        }
        if record.seq <= self.seq {
            let what =
                format!("seq {} stands there a second time, at byte {}", record.seq, placed.start);
            self.sequence.fault(&self.file(number), what);
        } else {
            self.skip_to(number, record.seq - 1);
        }
        if record.ts <= self.ts {
            let what = format!(
                "seq {} counts for nothing: its ts is no later than the one before",
                record.seq
            );
            self.sequence.note(&self.file(number), what);
        }
        (self.seq, self.ts) = (self.seq.max(record.seq), self.ts.max(record.ts));
    }

    /// Takes the lines up to `seq` as read; those that were not are missing.
    fn skip_to(&mut self, number: u64, seq: u64) {
        if seq <= self.seq {
            return;
        }
        let (from, to) = (self.seq + 1, seq);
        let what = if from == to {
            format!("seq {from} is missing")
        } else {
            format!("seq {from} to {to} are missing")
        };
        self.sequence.fault(&self.file(number), what);
        self.missing.push((from, to));
        self.seq = seq;
    }
}

/// The stretches that are no lines, joined where they touch, with a last line that is not ended.
fn stretches(bytes: &[u8], lines: &Lines) -> Vec<(u64, u64)> {
    let ended = memchr::memrchr(b'\n', bytes).map_or(0, |newline| newline as u64 + 1);
    let unended = (ended < lines.end).then_some((ended, lines.end));
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (start, end) in lines.bad.iter().copied().chain(unended) {
        match joined.last_mut() {
            Some(last) if last.1 == start => last.1 = end,
            _ => joined.push((start, end)),
        }
    }
    joined
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;
