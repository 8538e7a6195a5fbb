//! Whether a base is whole: its header, its lines and the sum at its end.
//!
//! Knows nothing of the segments it stands for.

use crate::domain::event::{Event, SegmentEnd};
use crate::store::segment::Lines;

/// Where a base ends, or what is wrong with it.
pub(super) fn base_end(lines: &Lines, node: &str, last: u64) -> Result<SegmentEnd, String> {
    if let Some((start, end)) = lines.bad.first() {
        return Err(format!("bytes {start} to {end} are no line that holds"));
    }
    if lines.good_prefix != lines.end {
        return Err(format!("it is cut off at byte {}", lines.end));
    }
    let header = match lines.good.first().map(|placed| &placed.record.event) {
        Some(Event::Segment(header)) => header,
        _ => return Err("its first line is not a header".to_owned()),
    };
    let Some(end) = header.end.clone() else {
        return Err("its header does not say where it ends".to_owned());
    };
    if header.node != node {
        return Err(format!("its header is of {}", header.node));
    }
    if end.segment != last {
        return Err(format!("its header ends at segment {}, its name at {last}", end.segment));
    }
    let Some((footer, body)) = lines.good.split_last() else {
        return Err("it is empty".to_owned());
    };
    let Event::BaseEnd(footer) = &footer.record.event else {
        return Err("its last line does not end it".to_owned());
    };
    if footer.lines != body.len() as u64 {
        return Err(format!("it has {} lines, and {} were written", body.len(), footer.lines));
    }
    let sum = body.iter().fold(0, |sum, placed| crc32c::crc32c_append(sum, &placed.crc));
    if footer.sum.0 != format!("{sum:08x}").into_bytes() {
        return Err("the sum of its lines is another than was written".to_owned());
    }
    Ok(end)
}
