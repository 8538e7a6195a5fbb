//! A home of its own for a test, and the built binary in it. Nothing of the surrounding environment gets in.

#![expect(dead_code, reason = "each test file uses a part")]

pub mod console;
pub mod mask;

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// The root of the repository.
pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// How wide the terminal of an example is.
const COLUMNS: u16 = 100;

/// A home directory, removed with everything in it.
pub struct Home {
    directory: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Home {
    /// Makes one.
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("queuectl").tempdir().unwrap();
        std::fs::create_dir(directory.path().join("tmp")).unwrap();
        Home { directory, variables: Vec::new() }
    }

    /// The same with a variable set.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A path below it.
    pub fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join(below)
    }

    /// A command in the repository's root, with the built binary first in its PATH.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let binary = Path::new(env!("CARGO_BIN_EXE_queuectl"));
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", binary.parent().unwrap().display());
        let mut command = Command::new(program);
        command
            .current_dir(ROOT)
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.directory.path())
            .env("TMPDIR", self.path("tmp"))
            .env("TERM", "xterm")
            .env("NO_COLOR", "1")
            .env("TZ", "UTC")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs the binary and gives what it printed.
    pub fn queuectl(&self, words: &[&str]) -> Output {
        self.command(env!("CARGO_BIN_EXE_queuectl")).args(words).output().unwrap()
    }

    /// Runs the binary, which must succeed, and gives its stdout.
    pub fn must(&self, words: &[&str]) -> String {
        let output = self.queuectl(words);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{words:?}: {}\n{out}{err}", output.status);
        out
    }

    /// Types a line into a shell on a terminal of [`COLUMNS`] columns, and gives what stands there in the end.
    pub fn type_in(&self, line: &str) -> String {
        let (ours, theirs) = terminal();
        let mut command = self.command("/bin/sh");
        command
            .args(["-c", line])
            .stdin(theirs.try_clone().unwrap())
            .stdout(theirs.try_clone().unwrap())
            .stderr(theirs);
        let mut child = command.spawn().unwrap();
        // It holds copies of their end.
        drop(command);
        let mut shown = Vec::new();
        let mut ours = File::from(ours);
        let mut buffer = [0; 4096];
        // Linux says EIO when nobody has their end open any more.
        while let Ok(count @ 1..) = ours.read(&mut buffer) {
            shown.extend_from_slice(&buffer[..count]);
        }
        child.wait().unwrap();
        let shown = text(&shown).replace("\r\n", "\n");
        // A line of progress is drawn over the one before, and wiped out at last.
        let lines = shown.split('\n').map(|line| line.rsplit("\r\u{1b}[K").next().unwrap_or(line));
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn terminal() -> (OwnedFd, OwnedFd) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let theirs = rustix::fs::open(name, flags, Mode::empty()).unwrap();
    let size = Winsize { ws_row: 50, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&theirs, size).unwrap();
    (ours, theirs)
}

/// Bytes as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
