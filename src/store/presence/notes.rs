//! What a worker notes in its lock file: who it is, and which of its runs it has begun to start.
//!
//! ```text
//! {"worker":"desk-7f3a.4k2mq7ab","pid":4711,…,"inode":99,"crc":"…"}            a head of a multiple of 256 bytes
//! {"claim":"desk-7f3a.4k2mq7ab.1","crc":"…"}                                  256 bytes: about to be started
//! {"claim":"desk-7f3a.4k2mq7ab.2","pid":4712,"group":4712,"start":9,"crc":"…"} 256 bytes: started
//! ```
//!
//! A record is overwritten in place, within a page, so that a process which is killed leaves it old or new. It is
//! used again only when the outcome of its run is on stable storage. Nothing here is synced: after a power cut the boot
//! is another, and the notes prove nothing.
//!
//! Knows nothing of locks.

use std::collections::HashMap;
use std::io;

use crc32c::crc32c;
use serde::{Deserialize, Serialize};

use crate::domain::event::WorkerStarted;
use crate::domain::job::Claim;

/// The size of a record, in bytes. Divides the size of a page.
pub const RECORD: usize = 256;

/// The checksum, at the end of each line.
const CRC: &str = ",\"crc\":\"";
/// The bytes from there to the end of the object.
const CRC_LENGTH: usize = CRC.len() + 8 + 2;

/// The process that leads a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its process group.
    pub group: u32,
    /// When it started, in clock ticks since boot.
    pub start: u64,
}

/// What the notes say of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunStart {
    /// It was certainly never started.
    Never,
    /// It may have been started.
    Unknown,
    /// It was started, as this process.
    Started(Process),
}

/// The notes of a worker, as they were read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Notes {
    info: Option<WorkerStarted>,
    intact: bool,
    runs: HashMap<Claim, Option<Process>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    #[serde(flatten)]
    info: WorkerStarted,
    /// The file itself, so that a copy of it is known as one.
    inode: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    claim: Claim,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    process: Option<Process>,
}

impl Notes {
    /// Reads the notes in a lock file that has this inode. What is damaged is left out, and remembered.
    pub fn parse(content: &[u8], inode: u64) -> Notes {
        let mut notes = Notes::default();
        let Some(end) = content.iter().position(|byte| *byte == b'\n') else { return notes };
        let (head, mut rest) = content.split_at(end + 1);
        let Some(Head { info, inode: recorded }) = unseal(head) else { return notes };
        notes.info = Some(info);
        notes.intact = recorded == inode && head.len().is_multiple_of(RECORD);
        while !rest.is_empty() {
            let (record, more) = rest.split_at(RECORD.min(rest.len()));
            rest = more;
            // A record that was given but not written yet, before one that was.
            if record.len() == RECORD && record.iter().all(|byte| *byte == 0) {
                continue;
            }
            match unseal::<Record>(record) {
                Some(Record { claim, process }) if record.len() == RECORD => {
                    notes.runs.insert(claim, process);
                }
                Some(_) | None => notes.intact = false,
            }
        }
        notes
    }

    /// Who the worker is, where that can be read.
    pub fn info(&self) -> Option<&WorkerStarted> {
        self.info.as_ref()
    }

    /// What is known of a run of this worker whose outcome is not in the log.
    ///
    /// Ensures: `Never` only where the file is the worker's own, of this boot, undamaged and without a note of the run.
    pub fn start_of(&self, claim: &Claim, boot: &str) -> RunStart {
        let mine = self
            .info
            .as_ref()
            .is_some_and(|info| info.boot == boot && info.worker == claim.worker());
        match self.runs.get(claim) {
            // The numbers of processes begin anew with each boot.
            Some(Some(process)) if mine => RunStart::Started(*process),
            Some(_) => RunStart::Unknown,
            None if mine && self.intact => RunStart::Never,
            None => RunStart::Unknown,
        }
    }
}

/// The head of a lock file that has this inode.
pub(super) fn head(info: &WorkerStarted, inode: u64) -> io::Result<Vec<u8>> {
    let line = seal(&Head { info: info.clone(), inode })?;
    let length = (line.len() + 1).next_multiple_of(RECORD);
    Ok(pad(line, length))
}

/// The record of a run.
///
/// Errors: where the claim is longer than any of ours.
pub(super) fn record(claim: &Claim, process: Option<Process>) -> io::Result<Vec<u8>> {
    let line = seal(&Record { claim: claim.clone(), process })?;
    if line.len() >= RECORD {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(pad(line, RECORD))
}

/// An object on a line, with its checksum at the end, as in the log.
fn seal<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.pop();
    let crc = crc32c(&line);
    line.extend_from_slice(format!("{CRC}{crc:08x}\"}}").as_bytes());
    Ok(line)
}

fn pad(mut line: Vec<u8>, length: usize) -> Vec<u8> {
    line.resize(length - 1, b' ');
    line.push(b'\n');
    line
}

/// What [`seal`] was given; none where a byte of it has changed.
fn unseal<T: for<'de> Deserialize<'de>>(line: &[u8]) -> Option<T> {
    let line = line.trim_ascii_end();
    let (body, end) = line.split_at_checked(line.len().checked_sub(CRC_LENGTH)?)?;
    let expected = format!("{CRC}{:08x}\"}}", crc32c(body));
    (end == expected.as_bytes()).then(|| serde_json::from_slice(line).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> WorkerStarted {
        WorkerStarted {
            worker: "desk-7f3a.4k2mq7ab".into(),
            pid: 4711,
            start: 7,
            boot: "b1".into(),
            pid_namespace: "4026531836".into(),
            session: 4700,
            host: "desk".into(),
            slots: 2,
            queues: vec!["a".into(), "b".repeat(300)],
        }
    }

    fn claim(n: u64) -> Claim {
        Claim::new(&info().worker, n)
    }

    const PROCESS: Process = Process { pid: u32::MAX, group: u32::MAX, start: u64::MAX };

    fn file() -> Vec<u8> {
        let mut content = head(&info(), 9).unwrap();
        content.extend(record(&claim(1), None).unwrap());
        content.extend(record(&claim(2), Some(PROCESS)).unwrap());
        content
    }

    #[test]
    fn notes_are_read_as_they_were_written() {
        let notes = Notes::parse(&file(), 9);
        assert_eq!(notes.info(), Some(&info()));
        assert_eq!(notes.start_of(&claim(1), "b1"), RunStart::Unknown);
        assert_eq!(notes.start_of(&claim(2), "b1"), RunStart::Started(PROCESS));
        assert_eq!(notes.start_of(&claim(3), "b1"), RunStart::Never);
    }

    #[test]
    fn a_head_of_any_length_is_read_as_it_was_written() {
        for length in 0..=RECORD {
            let info = WorkerStarted { queues: vec!["q".repeat(length)], ..info() };
            let head = head(&info, 9).unwrap();
            assert!(head.len().is_multiple_of(RECORD));
            let notes = Notes::parse(&head, 9);
            assert_eq!(notes.info(), Some(&info));
            assert_eq!(notes.start_of(&claim(3), "b1"), RunStart::Never);
        }
    }

    #[test]
    fn only_the_workers_own_intact_file_of_this_boot_proves_anything() {
        let never = |content: &[u8], inode, boot| {
            Notes::parse(content, inode).start_of(&claim(3), boot) == RunStart::Never
        };
        let content = file();
        assert!(never(&content, 9, "b1"));
        assert!(!never(&content, 10, "b1"), "a copy");
        assert!(!never(&content, 9, "b2"), "another boot");
        assert!(!never(&[], 9, "b1"), "an empty file");
        let other = Claim::new("desk-7f3a.00000000", 3);
        assert_eq!(Notes::parse(&content, 9).start_of(&other, "b1"), RunStart::Unknown);
        let started = Notes::parse(&content, 9).start_of(&claim(2), "b2");
        assert_eq!(started, RunStart::Unknown, "a number of another boot");

        let start = content.len() - 2 * RECORD;
        for cut in 1..start {
            assert!(!never(&content[..cut], 9, "b1"), "cut to {cut}");
        }
        for cut in start + 1..start + RECORD {
            assert!(!never(&content[..cut], 9, "b1"), "cut to {cut}");
        }
        for index in 0..content.len() {
            let mut damaged = content.clone();
            damaged[index] ^= 0x41;
            assert!(!never(&damaged, 9, "b1"), "byte {index}");
        }
    }

    #[test]
    fn a_record_that_was_not_written_yet_is_no_damage() {
        let mut content = head(&info(), 9).unwrap();
        content.extend([0; RECORD]);
        content.extend(record(&claim(2), None).unwrap());
        let notes = Notes::parse(&content, 9);
        assert_eq!(notes.start_of(&claim(1), "b1"), RunStart::Never);
        assert_eq!(notes.start_of(&claim(2), "b1"), RunStart::Unknown);
    }

    #[test]
    fn the_longest_claim_fits_and_a_longer_one_is_refused() {
        let longest = Claim(format!("{}.4k2mq7ab.{}", "n".repeat(64), u64::MAX));
        assert_eq!(record(&longest, Some(PROCESS)).unwrap().len(), RECORD);
        assert!(record(&Claim("x".repeat(300)), None).is_err());
    }
}
