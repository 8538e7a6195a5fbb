//! What a worker has to tell, as lines: on stderr what happens to jobs, and what they print where it belongs.
//!
//! That nobody reads any more, or for a while, stops no worker. Knows nothing of how jobs are run.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Write};

use super::output::Patient;
use super::progress::Progress;
use super::render::{amount, brief, visible};
use crate::domain::event::Claimed;
use crate::domain::job::{JobId, RunResult};
use crate::domain::units::format_duration;
use crate::worker::reporter::{Next, Notice, Reporter, RunEnded, Stream};

/// How what jobs print is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefix {
    /// Each line stands behind the job's id.
    JobId,
    /// There is one job only.
    None,
}

/// Writes what happens as lines.
#[derive(Debug)]
pub(super) struct Lines {
    prefix: Prefix,
    quiet: bool,
    /// Lines that have not ended yet.
    begun: HashMap<(JobId, Stream), Vec<u8>>,
    progress: Progress,
    /// Runs that are under way, and that have ended.
    runs: (u64, u64),
    out: Patient<io::Stdout>,
    err: Patient<io::Stderr>,
    /// Why what the job in the foreground printed could not be passed on.
    unwritten: Option<io::Error>,
}

impl Lines {
    /// Lines for a worker; `quiet` leaves out all but failures.
    pub(super) fn new(prefix: Prefix, quiet: bool) -> Self {
        let progress = Progress::new(quiet || prefix == Prefix::None);
        let (out, err) = (Patient::new(io::stdout()), Patient::new(io::stderr()));
        let (begun, unwritten) = (HashMap::new(), None);
        Lines { prefix, quiet, begun, progress, runs: (0, 0), out, err, unwritten }
    }

    /// Why not all of what the job in the foreground printed is on stdout, though somebody still wants it.
    pub(super) fn unwritten(self) -> Option<io::Error> {
        self.unwritten
    }

    fn show_progress(&self) {
        let (running, ended) = self.runs;
        self.progress.show(&format!("{running} running, {ended} ended"));
    }

    fn say(&mut self, text: &str) {
        if !self.quiet {
            self.progress.clear();
            self.print(Stream::Err, format!("{}\n", visible(text)).as_bytes());
            self.show_progress();
        }
    }

    /// Writes what is for a person, and does not wait long for one. What the job in the foreground prints is data, for
    /// which it waits.
    fn print(&mut self, stream: Stream, bytes: &[u8]) {
        let is_data = self.prefix == Prefix::None;
        // Whoever closed the stream does not want it.
        let _ = match stream {
            Stream::Out if is_data => {
                let mut out = io::stdout().lock();
                let written = out.write_all(bytes).and_then(|()| out.flush());
                let failed = written.err().filter(|error| error.kind() != ErrorKind::BrokenPipe);
                self.unwritten = self.unwritten.take().or(failed);
                Ok(())
            }
            Stream::Err if is_data => io::stderr().lock().write_all(bytes),
            Stream::Out => self.out.write(bytes),
            Stream::Err => self.err.write(bytes),
        };
    }

    /// Writes lines that were begun and that nothing will end.
    fn end_lines(&mut self, run: &RunEnded) {
        for stream in [Stream::Out, Stream::Err] {
            let begun = self.begun.remove(&(run.job.clone(), stream));
            if let Some(line) = begun.filter(|line| !line.is_empty()) {
                self.print(stream, &[format!("{}: ", run.job).as_bytes(), &line, b"\n"].concat());
            }
        }
    }
}

/// How a run ended and what follows. The end of a cancelled job does not say which run it was.
fn sentence(ended: &RunEnded) -> String {
    let RunEnded { job, run, result, time, next, error } = ended;
    let number = if *run == 0 { String::new() } else { format!(" {run}") };
    let error = error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
    let next = match next {
        Next::Completed => ", completed".to_owned(),
        Next::Retry(delay) => format!(", retry in {}", format_duration(*delay)),
        Next::Dead => ", dead".to_owned(),
        Next::Cancelled if *result == RunResult::Cancelled => String::new(),
        Next::Cancelled => ", cancelled".to_owned(),
        Next::Released => ", back in the queue".to_owned(),
    };
    format!("{job}: run{number} ended: {result}{error} after {}{next}", brief(*time))
}

impl Reporter for Lines {
    fn run_started(&mut self, run: &Claimed) {
        self.runs.0 += 1;
        if self.prefix == Prefix::JobId {
            self.say(&format!("{}: run {} started", run.job, run.run));
        }
    }

    fn run_ended(&mut self, ended: &RunEnded) {
        self.runs = (self.runs.0.saturating_sub(1), self.runs.1 + 1);
        self.progress.clear();
        self.end_lines(ended);
        if self.prefix == Prefix::JobId || ended.next != Next::Completed {
            self.say(&sentence(ended));
        }
    }

    fn output(&mut self, run: &Claimed, stream: Stream, bytes: &[u8]) {
        if self.prefix == Prefix::None {
            self.print(stream, bytes);
            return;
        }
        let begun = self.begun.entry((run.job.clone(), stream)).or_default();
        let mut whole = Vec::with_capacity(bytes.len() + 64);
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            begun.extend_from_slice(part);
            if part.ends_with(b"\n") {
                whole.extend_from_slice(format!("{}: ", run.job).as_bytes());
                whole.append(begun);
            }
        }
        self.progress.clear();
        self.print(stream, &whole);
        self.show_progress();
    }

    fn notice(&mut self, notice: &Notice) {
        let jobs = |runs: &usize| super::choose::jobs(*runs, "");
        let numbers = |processes: &[i32]| {
            processes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        let text = match notice {
            Notice::Working { .. } if self.prefix == Prefix::None => return,
            Notice::Working { worker, slots: 1 } => format!("worker {worker}: working, 1 slot"),
            Notice::Working { worker, slots } => format!("worker {worker}: working, {slots} slots"),
            Notice::Compacted { files, before, after } => {
                let noun = if *files == 1 { "file" } else { "files" };
                let (before, after) = (amount(*before), amount(*after));
                format!("compacted {files} {noun} of the log, {before} to {after}")
            }
            Notice::ReadyElsewhere { nodes } => format!(
                "note: jobs of {} are ready, and only a worker on that machine runs them",
                nodes.join(", ")
            ),
            Notice::Stopping { runs: 0 } => "stopping".to_owned(),
            Notice::Stopping { runs } => format!("stopping once {} ended", jobs(runs)),
            Notice::EndingRuns { runs } => format!("ending {}", jobs(runs)),
            Notice::Recovered { job, worker, next } => {
                let next = match next {
                    Next::Completed => "it is completed",
                    Next::Retry(_) | Next::Released => "it is in the queue again",
                    Next::Dead => "it is dead",
                    Next::Cancelled => "it is cancelled",
                };
                format!("{job}: its worker {worker} died, {next}")
            }
            Notice::Starved { job, error } => format!("{job}: cannot be started now: {error}"),
            Notice::CannotEnd { job, processes } => {
                format!("{job}: waits for processes that outlive KILL: {}", numbers(processes))
            }
            Notice::Daemons { job, processes } => {
                format!("{job}: left daemons behind: {}", numbers(processes))
            }
            Notice::Failing(error) => {
                self.progress.clear();
                let text = format!("queuectl: claiming nothing more: {}\n", visible(error));
                self.print(Stream::Err, text.as_bytes());
                return;
            }
            Notice::Other(text) => format!("note: {text}"),
        };
        self.say(&text);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ends_of_runs_in_a_sentence() {
        let ended = |run, result, next, error: Option<&str>| RunEnded {
            job: JobId::from_log("job1"),
            run,
            result,
            time: Duration::from_millis(12),
            next,
            error: error.map(str::to_owned),
        };
        let table = [
            (
                ended(1, RunResult::Exit(0), Next::Completed, None),
                "run 1 ended: exit 0 after 12ms, completed",
            ),
            (
                ended(
                    2,
                    RunResult::Exit(127),
                    Next::Retry(Duration::from_secs(90)),
                    Some("command not found: x"),
                ),
                "run 2 ended: exit 127 (command not found: x) after 12ms, retry in 1m30s",
            ),
            (
                ended(3, RunResult::Timeout, Next::Dead, None),
                "run 3 ended: timeout after 12ms, dead",
            ),
            (
                ended(0, RunResult::Cancelled, Next::Cancelled, None),
                "run ended: cancelled after 12ms",
            ),
            (
                ended(1, RunResult::Interrupted, Next::Released, None),
                "run 1 ended: interrupted after 12ms, back in the queue",
            ),
        ];
        for (ended, text) in table {
            assert_eq!(sentence(&ended), format!("job1: {text}"));
        }
    }
}
