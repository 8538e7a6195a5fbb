//! Keeping what a run prints within its limit: the middle is cut out of a file that outgrew it, first and last half
//! stay. The file keeps its length; what was cut takes no room and reads as zeros.
//!
//! Unaware of runs; what to do where the middle cannot be cut out is the caller's.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often a file is looked at that is new, or grows fast.
pub const OFTEN: Duration = Duration::from_millis(10);

/// Growth from which on a file is looked at often, in bytes a second.
const FAST: u64 = 16 << 20;

/// Cuts are whole blocks of this size, which every file system here can free.
const BLOCK: u64 = 4096;

/// One file under watch.
#[derive(Debug)]
pub struct Watch {
    path: PathBuf,
    limit: u64,
    len: u64,
    looked: Instant,
    pause: Duration,
    cut: Option<Cut>,
    truncated: bool,
}

/// A stretch that was cut out, from one byte to before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    from: u64,
    to: u64,
}

/// The middle of the file cannot be cut out.
#[derive(Debug, thiserror::Error)]
#[error("cannot cut {}, which is over the limit: {source}", path.display())]
pub struct CannotCut {
    path: PathBuf,
    source: io::Error,
}

impl Watch {
    /// Begins to watch a file that may hold `limit` bytes.
    pub fn new(path: PathBuf, limit: u64, now: Instant) -> Self {
        Watch { path, limit, len: 0, looked: now, pause: OFTEN, cut: None, truncated: false }
    }

    /// When to look next.
    pub fn due(&self) -> Instant {
        self.looked + self.pause
    }

    /// Looks at the file, and cuts it where it is over its limit. Looks again soon while it grows fast, else ever less
    /// often, at last every `poll`. A file that is gone is no error.
    ///
    /// Errors: where it is over its limit and cannot be cut.
    pub fn look(&mut self, now: Instant, poll: Duration) -> Result<(), CannotCut> {
        let len = fs::metadata(&self.path).map_or(self.len, |found| found.len());
        let grown = len.saturating_sub(self.len);
        let time = now.saturating_duration_since(self.looked).max(Duration::from_millis(1));
        let is_fast = u128::from(grown) * 1000 > u128::from(FAST) * time.as_millis();
        self.pause = if is_fast { OFTEN } else { (self.pause * 2).min(poll).max(OFTEN) };
        self.looked = now;
        if len < self.len {
            self.truncated = true;
            self.cut = None;
        }
        self.len = len;
        if len > self.limit { self.cut_middle() } else { Ok(()) }
    }

    /// What a person should know of the file, such as that it was cut.
    pub fn note(&self) -> Option<String> {
        let name = self.path.extension().map(|ending| ending.to_string_lossy().into_owned());
        let stream = if name.as_deref() == Some("err") { "stderr" } else { "stdout" };
        let mut notes = Vec::new();
        if let Some(Cut { from, to }) = self.cut {
            notes.push(format!("{stream} was cut: bytes {from} to {to} are gone"));
        }
        if self.truncated {
            notes.push(format!("the job truncated its own {stream}"));
        }
        (!notes.is_empty()).then(|| notes.join("; "))
    }

    fn cut_middle(&mut self) -> Result<(), CannotCut> {
        let half = self.limit / 2;
        let from = half.next_multiple_of(BLOCK);
        let to = (self.len - half) / BLOCK * BLOCK;
        // What was cut before is a hole already.
        let start = self.cut.map_or(from, |cut| cut.to);
        if start >= to {
            return Ok(());
        }
        let cut = || {
            let file = OpenOptions::new().write(true).open(&self.path)?;
            punch(&file, start, to - start)
        };
        match cut() {
            Ok(()) => {
                self.cut = Some(Cut { from, to });
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(CannotCut { path: self.path.clone(), source }),
        }
    }
}

#[cfg(target_os = "linux")]
fn punch(file: &fs::File, offset: u64, len: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    Ok(fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len)?)
}

#[cfg(not(target_os = "linux"))]
fn punch(_: &fs::File, _: u64, _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_middle_is_cut_and_both_ends_stay() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.1.out");
        let now = Instant::now();
        let mut watch = Watch::new(path.clone(), 64 << 10, now);
        watch.look(now, Duration::from_secs(1)).unwrap();
        let mut file = File::create(&path).unwrap();
        for round in 1..=3u8 {
            file.write_all(&[b'0' + round; 100 << 10]).unwrap();
            let now = now + Duration::from_millis(u64::from(round));
            watch.look(now, Duration::from_secs(1)).unwrap();
        }
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 300 << 10);
        assert!(bytes[..32 << 10].iter().all(|&byte| byte == b'1'));
        assert!(bytes[(300 - 32) << 10..].iter().all(|&byte| byte == b'3'));
        assert!(bytes[100 << 10..200 << 10].iter().all(|&byte| byte == 0));
        assert!(path.metadata().unwrap().blocks() * 512 <= 72 << 10);
        assert!(watch.note().unwrap().contains("stdout was cut: bytes 32768 to"));
        assert_eq!(watch.pause, OFTEN, "it grew fast");
    }

    #[test]
    fn a_quiet_file_is_looked_at_less_and_less() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.1.err");
        fs::write(&path, "hello").unwrap();
        let start = Instant::now();
        let mut watch = Watch::new(path.clone(), 64 << 10, start);
        let poll = Duration::from_secs(1);
        for second in 1..10 {
            watch.look(start + Duration::from_secs(second), poll).unwrap();
        }
        assert_eq!(watch.due(), start + Duration::from_secs(10));
        assert_eq!(watch.note(), None);
        fs::write(&path, "").unwrap();
        watch.look(start + Duration::from_secs(10), poll).unwrap();
        assert_eq!(watch.note().unwrap(), "the job truncated its own stderr");
    }
}
