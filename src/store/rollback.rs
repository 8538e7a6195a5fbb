//! Whether the own log still is the one of which the mark was taken, or an older or another one stands in its place.
//!
//! The mark never runs ahead of stable storage, and no crash takes back what was synced; so where the log doesn't reach
//! it, or another line ends there, something else wrote there: a backup, a sync tool, a person. A log that is longer and
//! has the line of the mark is simply the log. Knows what files and lines are, and nothing of what they say.

use std::io;

use super::base;
use super::disk::{Handle, Open};
use super::error::StoreError;
use super::files::Files;
use super::log::Locked;
use super::mark::Mark;
use super::replay::{Cursor, Damage, Reading};
use super::segment::{self, SegmentName};
use crate::domain::event::Segment;

/// How a log differs, by its files, from the one that the mark was taken of; none where it goes on from the mark.
///
/// `files` are those from the place on that was read before, or all. What was read up to a place that still holds
/// was compared then.
pub(super) fn seen(
    reading: Reading,
    cursor: Option<&Cursor>,
    files: &Files,
) -> io::Result<Option<Damage>> {
    let Some(mark) = reading.mark else { return Ok(None) };
    let file = reading.path.join(segment::file_name(mark.segment));
    let told =
        |what: String| Some(Damage { file: file.clone(), what: format!("rolled back: {what}") });
    let read = cursor.map_or((0, 0), |cursor| (cursor.segment, cursor.offset));
    if read < (mark.segment, mark.len) {
        let there = if read.0 == mark.segment { read.1 } else { 0 };
        return Ok(told(format!("{} bytes of it were synced, {there} hold", mark.len)));
    }
    if cursor.is_some_and(|cursor| {
        read == (mark.segment, mark.len) && mark.line.as_bytes() == cursor.crc
    }) {
        return Ok(None);
    }
    let next = files.segments.get(&(mark.segment + 1)).and_then(|next| next.header.as_ref());
    if let Some(what) = next.and_then(|next| cut_short(mark, next)) {
        return Ok(told(what));
    }
    let covered = files.base.as_ref().map(|base| base.last);
    match files.segments.get(&mark.segment) {
        Some(open) => Ok(other_line(open.file.as_ref(), mark)?.and_then(told)),
        None if files.is_all && covered.is_none_or(|covered| covered < mark.segment) => {
            Ok(told("it was synced, and is missing".to_owned()))
        }
        None => Ok(None),
    }
}

impl Locked<'_> {
    /// Sees that what was synced of an earlier segment than the active one is still there.
    ///
    /// Errors: [`StoreError::RolledBack`].
    pub(super) fn check_sealed(
        &self,
        mark: &Mark,
        active: u64,
        header: &Segment,
    ) -> Result<(), StoreError> {
        let path = self.log.file(mark.segment);
        let failed = || StoreError::io("read", &path);
        let next = match active - mark.segment {
            1 => Some(header.clone()),
            _ => self.header(mark.segment + 1).map_err(failed())?,
        };
        if let Some(what) = next.and_then(|next| cut_short(mark, &next)) {
            return Err(self.rolled_back(what));
        }
        match self.directory.open_in(&segment::file_name(mark.segment), Open::Read) {
            Ok(file) => match other_line(file.as_ref(), mark).map_err(failed())? {
                // Of a segment that a base stands for, whatever is in its place by now is read by nobody.
                Some(what) if !self.is_in_a_whole_base(mark.segment).map_err(failed())? => {
                    Err(self.rolled_back(what))
                }
                _ => Ok(()),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match self.is_in_a_base(mark.segment).map_err(failed())? {
                    true => Ok(()),
                    false => Err(self.rolled_back(format!("segment {} is missing", mark.segment))),
                }
            }
            Err(error) => Err(failed()(error)),
        }
    }

    fn header(&self, number: u64) -> io::Result<Option<Segment>> {
        match self.directory.open_in(&segment::file_name(number), Open::Read) {
            Ok(file) => Ok(segment::read_header(file.as_ref())?.map(|(_, header)| header)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_in_a_whole_base(&self, number: u64) -> io::Result<bool> {
        let names = self.directory.names()?;
        let names: Vec<_> = names.iter().filter_map(|name| SegmentName::parse(name)).collect();
        let base = base::newest(self.directory.as_ref(), &names)?;
        Ok(base.is_some_and(|base| base.last >= number))
    }

    /// Listed anew, for a base may just have come into the place of the segment. One that isn't whole is damage.
    fn is_in_a_base(&self, number: u64) -> io::Result<bool> {
        let names = self.directory.names()?;
        Ok(names.iter().any(|name| match SegmentName::parse(name) {
            Some(SegmentName::Base(first, last)) => (first..=last).contains(&number),
            _ => false,
        }))
    }
}

/// Where the segment behind the mark's says that less of that one counts than was synced. Doubt never cuts so much
/// off, since it looks at the mark first.
fn cut_short(mark: &Mark, next: &Segment) -> Option<String> {
    let prev = next.prev.as_ref().filter(|prev| prev.segment == mark.segment)?;
    (prev.len < mark.len || prev.seq < mark.seq).then(|| {
        let (len, seq) = (prev.len, prev.seq);
        format!(
            "{} bytes of segment {} were synced, to seq {}, and the next goes on from byte {len}, seq {seq}",
            mark.len, mark.segment, mark.seq
        )
    })
}

/// How the line that ends at the mark's place is another than the one that was synced. That it doesn't hold, or is
/// missing, is not for this to tell.
pub(super) fn other_line(file: &dyn Handle, mark: &Mark) -> io::Result<Option<String>> {
    const END: usize = 11;
    let end = segment::read_range(file, mark.len.saturating_sub(END as u64), mark.len)?;
    if end.len() == END && end.starts_with(mark.line.as_bytes()) && end.ends_with(b"\"}\n") {
        return Ok(None);
    }
    // Seldom, so the whole of it is looked at: a line that does not hold is damage, and another log has lines that do.
    let lines = segment::cut(&segment::read_range(file, 0, u64::MAX)?, 0);
    let there = lines.good.iter().find(|placed| placed.end >= mark.len);
    Ok(there.filter(|placed| placed.start < mark.len).map(|placed| {
        let (synced, len, seq) = (mark.seq, mark.len, placed.record.seq);
        format!("the line of seq {synced} that was synced at byte {len} is another, of seq {seq}")
    }))
}
