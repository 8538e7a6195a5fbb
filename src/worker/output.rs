//! The files of a run: what it prints and what it reads.
//!
//! The run writes them itself. Each is locked before the run starts, and the lock lives in the open file, so it stays
//! held for as long as any process of the run has the file open. Unaware of processes and results.

pub mod limit;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, fcntl_getfl, fcntl_setfl, flock};
use rustix::io::{Errno, retry_on_intr};

use super::process::launch::Files;
use crate::domain::job::{JobId, Spec, Stdin, Tail};
use crate::store::layout::{self, RunFiles};

/// How much of the end of each file an outcome carries, in bytes.
pub const TAIL: usize = 512;

/// Where the files of one run are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What it printed.
    pub out: PathBuf,
    /// What it printed as errors; unused where the two are merged.
    pub err: PathBuf,
    /// What it reads, unless that is a file of the caller's. Gone once the run has ended.
    pub input: PathBuf,
}

/// Why a run has no files.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// One of ours cannot be made.
    #[error("cannot make {}: {source}", path.display())]
    Own {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The caller's input cannot be read.
    #[error("cannot read the input {}: {source}", path.display())]
    Given {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Place {
    /// The place of a run's files below `output`, the machine's directory of them.
    pub fn new(output: &Path, job: &JobId, run: u32) -> Place {
        let RunFiles { out, err, stdin } = layout::run_files(job.as_str(), run);
        Place { out: output.join(out), err: output.join(err), input: output.join(stdin) }
    }

    /// Makes and locks the files. A file that an earlier run of this number left is replaced, never reused: something
    /// may still write to it.
    ///
    /// Errors: where one of ours cannot be made, or the caller's input cannot be read.
    pub fn create(&self, spec: &Spec) -> Result<Files, FilesError> {
        let own = |path: &Path| {
            let path = path.to_owned();
            move |source| FilesError::Own { path, source }
        };
        let stdout = create_locked(&self.out).map_err(own(&self.out))?;
        let stderr = match spec.merge_output {
            true => None,
            false => Some(create_locked(&self.err).map_err(own(&self.err))?),
        };
        let stdin = match &spec.stdin {
            None => self.create_input(b"").map_err(own(&self.input))?,
            Some(Stdin::Data(data)) => self.create_input(&data.0).map_err(own(&self.input))?,
            Some(Stdin::File(path)) => {
                let path = Path::new(path.as_os_str());
                open_given(path)
                    .map_err(|source| FilesError::Given { path: path.to_owned(), source })?
            }
        };
        Ok(Files { stdin, stdout, stderr })
    }

    /// The input is opened twice, so that the run gets one it cannot write to.
    fn create_input(&self, data: &[u8]) -> io::Result<File> {
        create(&self.input)?.write_all(data)?;
        let input = File::open(&self.input)?;
        lock(&input, FlockOperation::NonBlockingLockExclusive)?;
        Ok(input)
    }

    /// The end of what the run printed; none where it printed nothing or the files are gone.
    pub fn tail(&self) -> Option<Tail> {
        let tail = Tail {
            out: tail_of(&self.out).unwrap_or_default(),
            err: tail_of(&self.err).unwrap_or_default(),
        };
        (tail != Tail::default()).then_some(tail)
    }

    /// Whether any process may still hold one of the files open. Files that are missing prove nothing.
    pub fn is_held(&self) -> bool {
        [&self.out, &self.err, &self.input].into_iter().any(|path| is_held(path))
    }

    /// Whether all the files that were made for the run are there, so that [`Place::is_held`] proves something.
    pub fn is_whole(&self, spec: &Spec) -> bool {
        self.out.exists()
            && (spec.merge_output || self.err.exists())
            && (matches!(spec.stdin, Some(Stdin::File(_))) || self.input.exists())
    }

    /// Removes the input, and what is empty of the output and held by nobody. Only for a run whose outcome is on disk:
    /// until then the files are what proves its end.
    pub fn tidy(&self) {
        let _ = fs::remove_file(&self.input);
        for path in [&self.out, &self.err] {
            if path.metadata().is_ok_and(|found| found.len() == 0) && !is_held(path) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

fn create_locked(path: &Path) -> io::Result<File> {
    let file = create(path)?;
    lock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// Locks or unlocks, also where a signal comes between.
fn lock(file: &File, operation: FlockOperation) -> Result<(), Errno> {
    retry_on_intr(|| flock(file, operation))
}

/// Makes a new file for us alone, to append to and to read, and its directory where that is missing.
fn create(path: &Path) -> io::Result<File> {
    let open =
        || OpenOptions::new().read(true).append(true).create_new(true).mode(0o600).open(path);
    match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = path.parent().unwrap_or(Path::new("."));
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            open()
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            open()
        }
        opened => opened,
    }
}

/// Opens the caller's input without waiting for the writer of a pipe, and without taking a terminal as ours.
fn open_given(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

/// Whether a lock on the file is held; a file that is missing or cannot be looked at counts as not held.
fn is_held(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    match lock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            // Unlocked before the close: a child between fork and exec may hold a copy.
            let _ = lock(&file, FlockOperation::Unlock);
            false
        }
        Err(error) => error == Errno::WOULDBLOCK,
    }
}

/// The last bytes of a file as text: from the beginning of a line where one begins among them, else of a character.
fn tail_of(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let start = len.saturating_sub(TAIL as u64);
    let mut bytes = vec![0; TAIL + 1];
    // One byte more, to see whether a line begins at the first.
    let from = start.saturating_sub(1);
    let read = read_full(&file, &mut bytes, from)?;
    let mut text = &bytes[..read];
    if start > 0 {
        let body = &text[..text.len().saturating_sub(1)];
        text = match body.iter().position(|&byte| byte == b'\n') {
            Some(line_end) => &text[line_end + 1..],
            None => {
                let text = text.get(1..).unwrap_or_default();
                let inside = text.iter().take(3).take_while(|&&byte| byte & 0xc0 == 0x80).count();
                &text[inside..]
            }
        };
    }
    Ok(String::from_utf8_lossy(text).into_owned())
}

fn read_full(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(directory: &Path) -> Place {
        Place::new(directory, &JobId::new("job1").unwrap(), 2)
    }

    #[test]
    fn the_end_of_the_output_begins_with_a_line_or_character() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        let lines = |count| (0..count).map(|line| format!("line {line:04}\n")).collect::<String>();
        let halves = ["é".repeat(256).as_bytes(), b"x"].concat();
        let cases: [(Vec<u8>, String); 7] = [
            (b"".to_vec(), String::new()),
            (b"a\nb".to_vec(), "a\nb".into()),
            (lines(51).into(), lines(51)),
            (lines(100).into(), lines(100)[490..].to_owned()),
            ("é".repeat(400).into(), "é".repeat(256)),
            (halves, "é".repeat(255) + "x"),
            (b"\xff\x1b[0m".to_vec(), "\u{fffd}\u{1b}[0m".into()),
        ];
        for (bytes, expected) in cases {
            fs::write(&path, &bytes).unwrap();
            assert_eq!(tail_of(&path).unwrap(), expected);
        }
    }

    #[test]
    fn files_are_private_locked_and_never_reused() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir().unwrap();
        let place = place(directory.path());
        let mut spec = Spec::shell(JobId::new("job1").unwrap(), "true", 3);
        spec.stdin = Some(Stdin::Data("in".into()));
        assert!(!place.is_held());
        let files = place.create(&spec).unwrap();
        assert!(place.is_held() && place.is_whole(&spec));
        assert_eq!(place.out.metadata().unwrap().mode() & 0o7777, 0o600);
        assert_eq!(place.out.parent().unwrap().metadata().unwrap().mode() & 0o7777, 0o700);
        assert_eq!(io::read_to_string(&files.stdin).unwrap(), "in");
        assert!((&files.stdin).write(b"x").is_err(), "the input is not for writing");
        // Each of the three speaks for the run alone.
        let again = place.create(&spec).unwrap();
        let Files { stdin, stdout, stderr } = again;
        drop((stdout, stderr));
        assert!(place.is_held());
        drop(stdin);
        assert!(!place.is_held());
        drop(files);
        place.tidy();
        assert!(!place.is_whole(&spec) && !place.out.exists());
    }

    #[test]
    fn input_that_cannot_be_read_is_the_jobs_fault_and_a_pipe_holds_up_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let mut spec = Spec::shell(JobId::new("job1").unwrap(), "true", 3);
        let pipe = directory.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for (path, is_readable) in [("missing", false), (".", false), ("pipe", true)] {
            let path = directory.path().join(path).into_os_string();
            spec.stdin = Some(Stdin::File(path.into()));
            let created = place(directory.path()).create(&spec);
            assert_eq!(created.is_ok(), is_readable, "{created:?}");
            assert!(!matches!(created, Err(FilesError::Own { .. })));
        }
    }
}
