//! Processes that may be killed at any moment: each is heard while it runs, and none starts once the crowd is closed.
//!
//! Kills by the handles of its own children only, so never a stranger that got the number of one.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::random::Random;
use super::wait_for;

/// What a process does, by which the victim of a kill is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Asks,
    Works,
}

/// How a shell tells that a process was ended by SIGXFSZ.
pub const XFSZ: i32 = 128 + 25;

/// The processes.
#[derive(Default)]
pub struct Crowd {
    members: Mutex<Members>,
    kills: AtomicUsize,
    torn: AtomicUsize,
}

#[derive(Default)]
struct Members {
    children: Vec<(Part, Arc<Mutex<Child>>)>,
    is_closed: bool,
}

/// How a process ended.
#[derive(Debug)]
pub struct End {
    /// 128 and the signal's number where it was killed.
    pub code: i32,
    /// What it complained of.
    pub err: String,
}

impl Crowd {
    /// Runs a command to its end, and hands on each line that it prints the moment it is there whole: a worker's
    /// messages, others' data. None once the crowd is closed.
    pub fn run(
        &self,
        part: Part,
        command: &mut Command,
        stdin: Option<Vec<u8>>,
        mut hear: impl FnMut(&str),
    ) -> Option<End> {
        command.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut members = lock(&self.members);
        if members.is_closed {
            return None;
        }
        let mut child = command.spawn().expect("the program starts");
        let (input, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let child = Arc::new(Mutex::new(child));
        members.children.push((part, Arc::clone(&child)));
        drop(members);
        if let (Some(bytes), Some(mut input)) = (stdin, input) {
            // Whoever is killed reads no more.
            std::thread::spawn(move || drop(input.write_all(&bytes)));
        }
        let (out, err) = (out.expect("a pipe"), err.expect("a pipe"));
        let (data, rest): (Box<dyn Read>, Box<dyn Read + Send>) = match part {
            Part::Asks => (Box::new(out), Box::new(err)),
            Part::Works => (Box::new(err), Box::new(out)),
        };
        let rest = std::thread::spawn(move || read_all(rest));
        let mut said = String::new();
        listen(data, |line| {
            hear(line);
            if part == Part::Works {
                said.push_str(line);
                said.push('\n');
            }
        });
        let status = wait(&child);
        lock(&self.members).children.retain(|(_, other)| !Arc::ptr_eq(other, &child));
        let rest = rest.join().expect("a reader ends");
        let err = if part == Part::Works { said } else { rest };
        let code = code(status);
        self.torn.fetch_add(usize::from(code == XFSZ), Ordering::SeqCst);
        Some(End { code, err })
    }

    /// Lets nobody in any more; returns once whoever was about to start has started.
    pub fn close(&self) {
        lock(&self.members).is_closed = true;
    }

    pub fn is_closed(&self) -> bool {
        lock(&self.members).is_closed
    }

    /// Kills one of those that play this part, and says whether there was one.
    pub fn strike(&self, part: Part, random: &mut Random) -> bool {
        let members = lock(&self.members);
        let all: Vec<_> = members.children.iter().filter(|(own, _)| *own == part).collect();
        if all.is_empty() {
            return false;
        }
        let (_, child) = random.pick(&all);
        self.kill(child)
    }

    /// Kills all that play this part.
    pub fn strike_all(&self, part: Part) {
        for (_, child) in lock(&self.members).children.iter().filter(|(own, _)| *own == part) {
            self.kill(child);
        }
    }

    /// Kills one, unless it was waited for.
    fn kill(&self, child: &Mutex<Child>) -> bool {
        let was_there = lock(child).kill().is_ok();
        self.kills.fetch_add(usize::from(was_there), Ordering::SeqCst);
        was_there
    }

    /// How many were ended at a limit on the size of a file, in the middle of a write.
    pub fn torn(&self) -> usize {
        self.torn.load(Ordering::SeqCst)
    }

    /// How many were killed.
    pub fn kills(&self) -> usize {
        self.kills.load(Ordering::SeqCst)
    }
}

/// How a process ended, as a shell tells it.
pub fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Hands on each line that ends; what was cut off is no line.
fn listen(pipe: impl Read, mut hear: impl FnMut(&str)) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    while let Ok(1..) = pipe.read_until(b'\n', &mut line) {
        if let Some(whole) = line.strip_suffix(b"\n") {
            hear(&String::from_utf8_lossy(whole));
        }
        line.clear();
    }
}

fn read_all(mut pipe: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = pipe.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn wait(child: &Mutex<Child>) -> ExitStatus {
    let mut status = None;
    wait_for("a process that closed its output", || {
        status = lock(child).try_wait().expect("a child");
        status.is_some()
    });
    status.expect("a status")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
