//! One run of the binary under strace, with a fault at one of its system calls.
//!
//! Knows nothing of queues.

use std::fmt;
use std::time::{Duration, Instant};

use crate::harness::{Cmd, Done, Home, wait_until};
use crate::scenario::{Scenario, Threads};
use crate::trace::Trace;

/// A fault at a system call.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// The call.
    pub call: &'static str,
    /// What happens there.
    pub what: What,
    /// At which of these calls, the first being 1.
    pub nth: usize,
    /// For how many of them.
    pub times: Times,
}

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// SIGKILL, and the call isn't made.
    Kill,
    /// The call isn't made and fails with this.
    Error(&'static str),
}

/// How often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Once.
    Once,
    /// Five times in a row.
    Five,
    /// From then on.
    ForEver,
}

/// A run that was rigged.
pub struct Rigged {
    /// What it did.
    pub done: Done,
    /// The calls that failed on purpose, as strace writes them.
    pub hits: Vec<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            What::Kill => write!(f, "{}:signal=SIGKILL:when={}", self.call, self.nth),
            What::Error(error) => write!(f, "{}:error={error}:when={}", self.call, self.nth),
        }?;
        match self.times {
            Times::Once => Ok(()),
            Times::Five => write!(f, "..{}", self.nth + 4),
            Times::ForEver => write!(f, "+"),
        }
    }
}

/// How long a worker may take before it is told to end: one that can run nothing for now waits until it can.
const LONG: Duration = Duration::from_secs(4);

/// Does what the scenario does, with a fault.
pub fn run(home: &Home, scenario: &Scenario, fault: &Fault) -> Rigged {
    let (only, inject) = (format!("trace={}", fault.call), format!("inject={fault}"));
    let mut running = strace(home, scenario, &["-e", &only, "-e", &inject]).start();
    let begun = Instant::now();
    let is_worker = scenario.act[0] == "worker";
    wait_until("the end, or longer", || running.is_over() || is_worker && begun.elapsed() > LONG);
    if !running.is_over() {
        home.ok("worker stop");
    }
    let done = running.end();
    let text = std::fs::read_to_string(home.join("trace")).unwrap_or_default();
    let hits = text.lines().filter(|line| line.contains("(INJECTED)")).map(str::to_owned);
    Rigged { done, hits: hits.collect() }
}

/// Does what the scenario does, and tells which of these calls it made.
pub fn watch(home: &Home, scenario: &Scenario, calls: &[&str]) -> (Done, Trace) {
    let only = format!("trace={}", calls.join(","));
    let done = strace(home, scenario, &["-e", &only]).done();
    (done, read(home))
}

/// As [`watch`], with all threads and jobs, and all that is written.
pub fn watch_all(home: &Home, scenario: &Scenario, calls: &[&str]) -> (Done, Trace) {
    let only = format!("trace={}", calls.join(","));
    let options = ["-qq", "-y", "-o", "trace", "-f", "-s", "65536", "-e", &only];
    let words = options.into_iter().chain([env!("CARGO_BIN_EXE_queuectl")]);
    let done = home.command("strace", words.chain(scenario.act.iter().copied())).done();
    (done, read(home))
}

fn read(home: &Home) -> Trace {
    let text = std::fs::read_to_string(home.join("trace")).expect("strace wrote down the calls");
    Trace::parse(&text)
}

fn strace(home: &Home, scenario: &Scenario, options: &[&str]) -> Cmd {
    let threads: &[&str] = match scenario.threads {
        Threads::First => &[],
        // A job is let go when it begins.
        Threads::Any => &["-f", "-b", "execve"],
    };
    let always = ["-qq", "-y", "-o", "trace"];
    let words = always.iter().chain(threads).chain(options).copied();
    let words = words.chain([env!("CARGO_BIN_EXE_queuectl")]).chain(scenario.act.iter().copied());
    // What fails to start is tried again at once.
    home.command("strace", words).env("QUEUECTL_BACKOFF_BASE", "0")
}
