//! What the rigs share that cut the power and kill: a queue and whoever works on it, jobs that leave marks, and notes
//! of what was told that stand where no crash reaches them.
//!
//! Everything goes through the built binary and the bytes of the log; nothing here uses the project's own code.

#![expect(dead_code, reason = "each rig uses a part")]

pub mod crowd;
pub mod ledger;
pub mod log;
pub mod marks;
#[path = "../simulation/random.rs"]
pub mod random;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long anything may take before a rig gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Something that must hold and does not, and how it was seen.
pub type Broken = String;

/// Whether there is time for the long form: with `QUEUECTL_LONG` set.
pub fn is_long() -> bool {
    std::env::var_os("QUEUECTL_LONG").is_some()
}

/// Whether what a test needs must be here: with `QUEUECTL_CI` set.
pub fn is_ci() -> bool {
    std::env::var_os("QUEUECTL_CI").is_some()
}

/// A number that a variable of the environment gives.
pub fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("${name}: {error}")))
}

/// A queue, and the home of whoever uses it, which may be on another file system.
#[derive(Debug, Clone)]
pub struct Place {
    pub home: PathBuf,
    pub queue: PathBuf,
    /// The boot that is rehearsed.
    pub boot: Option<String>,
}

/// What a command did.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Place {
    /// `queuectl` with these words, on this queue, with nothing of the surrounding environment.
    pub fn queuectl(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_queuectl"));
        command.args(words).current_dir(&self.home).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", &self.home).env("QUEUECTL_DIR", &self.queue).env("TZ", "UTC");
        command.env("MARKS", self.marks());
        command.envs(self.boot.as_ref().map(|boot| ("QUEUECTL_TEST_BOOT", boot)));
        command
    }

    /// Where jobs leave their marks.
    pub fn marks(&self) -> PathBuf {
        self.home.join("marks")
    }

    /// Runs it to its end.
    pub fn done(&self, words: &[&str]) -> Done {
        let output = self.queuectl(words).output().expect("the program starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = crowd::code(output.status);
        Done { code, out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Runs what must succeed, and gives its stdout.
    pub fn must(&self, words: &[&str]) -> Result<String, Broken> {
        let done = self.done(words);
        match done.code {
            0 => Ok(done.out),
            code => Err(format!("{words:?} exits {code}: {}{}", done.out, done.err)),
        }
    }

    /// Runs what must succeed, and gives its stdout as one JSON document.
    pub fn json(&self, words: &[&str]) -> Result<Value, Broken> {
        let text = self.must(words)?;
        serde_json::from_str(&text).map_err(|error| format!("{words:?}: {error}: {text}"))
    }

    /// The processes that have this queue in their environment: those the rig started, and the jobs of its workers.
    fn processes(&self) -> Vec<Pid> {
        let variable = format!("QUEUECTL_DIR={}\0", self.queue.display());
        let mut found = Vec::new();
        for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(number) = process.file_name().to_string_lossy().parse::<i32>() else { continue };
            let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
            if environment.windows(variable.len()).any(|part| part == variable.as_bytes()) {
                found.extend(Pid::from_raw(number));
            }
        }
        found
    }

    /// Ends every process of this queue, and says whether there was one.
    pub fn end_processes(&self) -> bool {
        let processes = self.processes();
        for pid in &processes {
            let _ = kill_process(*pid, Signal::KILL);
        }
        !processes.is_empty()
    }

    /// Stops every process of this queue where it stands, and returns once none moves any more, but for the calls that
    /// some are in: those end, and nobody is told.
    pub fn freeze_processes(&self) {
        let mut stopped = BTreeSet::new();
        let moves = |pid: &Pid| {
            let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
            let stat = std::fs::read_to_string(path).unwrap_or_default();
            let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
            state.is_some_and(|state| !matches!(state, 'T' | 'D' | 'Z' | 'X'))
        };
        wait_for("processes to stop", || {
            let mut still = true;
            for pid in self.processes() {
                if stopped.insert(pid.as_raw_nonzero()) || moves(&pid) {
                    let _ = kill_process(pid, Signal::STOP);
                    still = false;
                }
            }
            still
        });
    }
}

/// Waits for a condition, looking often, and gives up after [`PATIENCE`].
#[track_caller]
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "gave up waiting for {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Lets a span of time pass, in which others work.
pub fn wait_out(span: Duration) {
    let begun = Instant::now();
    while let Some(left) = span.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}
