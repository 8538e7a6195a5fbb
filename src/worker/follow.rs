//! Reading what runs print while they print it.
//!
//! Unaware of runs' ends: whoever follows reads once more after one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// How much is read at once, in bytes.
const CHUNK: usize = 64 << 10;

/// One output that is followed. Holds no file open between looks, as a worker may have a thousand of them.
#[derive(Debug)]
pub struct Follow {
    path: PathBuf,
    offset: u64,
}

impl Follow {
    /// Follows a file from its beginning; it need not be there yet.
    pub fn new(path: PathBuf) -> Self {
        Follow { path, offset: 0 }
    }

    /// Hands on what was printed since the last look; says whether there was anything. What was cut out, and what the
    /// job truncated itself, is passed over.
    ///
    /// Errors: where the file is there and cannot be read.
    pub fn read(&mut self, take: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let len = file.metadata()?.len();
        if len < self.offset {
            self.offset = 0;
        }
        let start = self.offset;
        let mut buffer = vec![0; CHUNK];
        while self.offset < len {
            self.offset = data_from(&file, self.offset).min(len);
            let end = hole_from(&file, self.offset).min(len);
            let wanted = usize::try_from(end - self.offset).unwrap_or(CHUNK).min(CHUNK);
            let read = file.read_at(&mut buffer[..wanted], self.offset)?;
            if read == 0 {
                break;
            }
            self.offset += read as u64;
            take(&buffer[..read]);
        }
        Ok(self.offset > start)
    }
}

/// Where the next bytes are that are no hole.
fn data_from(file: &File, offset: u64) -> u64 {
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(offset)) {
        Ok(found) => found,
        // Only a hole is left.
        Err(rustix::io::Errno::NXIO) => u64::MAX,
        Err(_) => offset,
    }
}

/// Where the next hole begins.
fn hole_from(file: &File, offset: u64) -> u64 {
    rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(offset)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    use super::*;

    #[test]
    fn only_what_is_new_and_no_holes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.1.out");
        let mut follow = Follow::new(path.clone());
        let mut seen = Vec::new();
        let mut read = |follow: &mut Follow| {
            seen.clear();
            follow.read(&mut |bytes| seen.extend_from_slice(bytes)).unwrap();
            String::from_utf8(seen.clone()).unwrap()
        };
        assert_eq!(read(&mut follow), "");
        fs::write(&path, "one ").unwrap();
        assert_eq!(read(&mut follow), "one ");
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"two").unwrap();
        assert_eq!(read(&mut follow), "two");
        assert_eq!(read(&mut follow), "");
        file.set_len(1 << 20).unwrap();
        file.write_all(b"three").unwrap();
        assert_eq!(read(&mut follow).trim_start_matches('\0'), "three");
        file.set_len(0).unwrap();
        file.write_all(&[b'x'; 12 << 10]).unwrap();
        let keep = rustix::fs::FallocateFlags::KEEP_SIZE;
        let punch = rustix::fs::FallocateFlags::PUNCH_HOLE | keep;
        if rustix::fs::fallocate(&file, punch, 4 << 10, 4 << 10).is_ok() {
            let mut whole = Follow::new(path.clone());
            assert_eq!(read(&mut whole).len(), 8 << 10, "a hole within what is read at once");
        }
        file.set_len(0).unwrap();
        file.write_all(b"four").unwrap();
        assert_eq!(read(&mut follow), "four");
    }
}
