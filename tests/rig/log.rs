//! The bytes of a log, read as the format page says and not as the project reads them: whether all that counts is whole
//! and in order.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Broken;

/// What was found.
#[derive(Debug, Default)]
pub struct Survey {
    pub segments: usize,
    /// Segments that a base took the place of.
    pub compacted: u64,
    pub lines: u64,
    /// Segments that were begun because the one before did not end with a whole line.
    pub torn: usize,
    /// Bytes behind what counts.
    pub beyond: u64,
}

/// Reads every log of a queue.
pub fn survey(queue: &Path) -> Result<Survey, Broken> {
    let mut survey = Survey::default();
    for node in std::fs::read_dir(queue.join("log")).into_iter().flatten().flatten() {
        let files = std::fs::read_dir(node.path()).into_iter().flatten().flatten();
        let mut segments: Vec<PathBuf> = files.map(|file| file.path()).collect();
        let base = segments.iter().filter_map(|path| last_of_base(path)).max().unwrap_or(0);
        survey.compacted += base;
        // What a base covers may still stand, or a part of it.
        segments.retain(|path| number(path).is_some_and(|number| number > base));
        segments.sort();
        let texts: Vec<Vec<u8>> =
            segments.iter().map(|path| std::fs::read(path).expect("a segment")).collect();
        let mut reached = None;
        for (index, bytes) in texts.iter().enumerate() {
            let name = segments[index].display();
            let prev = |bytes: &Vec<u8>| header(bytes).map(|header| header["prev"]["len"].as_u64());
            let next = texts.get(index + 1).and_then(|next| prev(next)?);
            let len = bytes.len() as u64;
            let counts = next.unwrap_or(len).min(len);
            survey.beyond += len - counts;
            if next.is_some_and(|next| next > len) {
                return Err(format!("{name}: the next segment says more than is there"));
            }
            let counted = &bytes[..usize::try_from(counts).expect("a length")];
            read(counted, &mut reached, &mut survey).map_err(|what| format!("{name}: {what}"))?;
        }
        survey.segments += segments.len();
    }
    Ok(survey)
}

/// The number of a segment.
fn number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".jsonl")?.parse().ok()
}

/// The last segment that a base covers.
fn last_of_base(path: &Path) -> Option<u64> {
    let (_, last) = path.file_name()?.to_str()?.strip_suffix(".base.jsonl")?.split_once('-')?;
    last.parse().ok()
}

fn header(bytes: &[u8]) -> Option<Value> {
    let line = bytes.split(|byte| *byte == b'\n').next()?;
    serde_json::from_slice(line).ok()
}

/// Reads lines that all count. `reached`: the `seq` of the last line before.
fn read(bytes: &[u8], reached: &mut Option<u64>, survey: &mut Survey) -> Result<(), Broken> {
    let mut at = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\n").ok_or_else(|| format!("no whole line at byte {at}"))?;
        let event = whole(text).ok_or_else(|| format!("no good line at byte {at}"))?;
        match event["seq"].as_u64().ok_or("a line without seq")? {
            0 => {
                // What was compacted away is told in the header of what is left.
                let before = event["prev"]["seq"].as_u64().unwrap_or(0);
                if reached.is_some_and(|reached| reached != before) {
                    return Err(format!("the header says {before} and {reached:?} was reached"));
                }
                *reached = Some(before);
                survey.torn += usize::from(event["why"] == "torn");
            }
            seq if reached.is_some_and(|reached| reached + 1 == seq) => *reached = Some(seq),
            seq => return Err(format!("seq {seq} at byte {at} comes after {reached:?}")),
        }
        survey.lines += 1;
        at += line.len();
    }
    Ok(())
}

/// The line as JSON, if its checksum holds.
fn whole(line: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(line).ok()?;
    let (body, crc) = text.rsplit_once(",\"crc\":\"")?;
    let crc = u32::from_str_radix(crc.strip_suffix("\"}")?, 16).ok()?;
    (crc32c::crc32c(body.as_bytes()) == crc).then(|| serde_json::from_str(text).ok())?
}
