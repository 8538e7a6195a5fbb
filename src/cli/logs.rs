//! `queuectl logs`: what a job printed, stdout to stdout and stderr to stderr.

use std::collections::VecDeque;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::args::jobs::Logs as Args;
use super::choose::one;
use super::error::Failure;
use super::exit::Exit;
use super::news::News;
use super::output::Out;
use super::session::Session;
use crate::domain::job::{Job, JobId, Run, RunResult};
use crate::store::layout::run_files;
use crate::worker::follow::Follow;

/// How often one who follows looks whether there is more.
const POLL: Duration = Duration::from_millis(100);

/// Does it.
pub(super) fn perform(session: &mut Session, args: &Args) -> Result<Exit, Failure> {
    if args.follow && session.globals.json {
        return Err(Failure::usage("--follow and --json exclude each other"));
    }
    let mut news = args.follow.then(|| News::of(session, POLL));
    session.read()?;
    let Some((node, job)) = job(session, args)? else {
        session.note("no job has run yet");
        if session.globals.json {
            let mut out = Out::new();
            out.json(&LogsJson { job: None, runs: Vec::new() })?;
            out.flush()?;
        }
        return Ok(session.finish(Exit::Done));
    };
    if !session.is_own(node) {
        let id = job.id();
        return Err(Failure::refused(format!(
            "the output of job {id} is on the machine of node {node}"
        ))
        .hint("queuectl show prints its end"));
    }
    let id = job.id().clone();
    if session.globals.json {
        print_json(session, &id, args)?;
        return Ok(session.finish(Exit::Done));
    }
    let mut printed = 0;
    loop {
        let next = wanted(session, &id, args, printed)?;
        if next.is_empty() && printed == 0 && news.is_none() {
            session.note(&format!("job {id} has not run yet"));
        }
        for run in next {
            print_run(session, &id, run, args, news.as_mut())?;
            printed = run;
        }
        if args.all_runs && !wanted(session, &id, args, printed)?.is_empty() {
            // They came while another was followed.
            continue;
        }
        // A job that is cancelled before its first run will never print.
        let goes_on = (printed == 0 || args.all_runs) && !is_finished(session, &id);
        match &mut news {
            Some(news)
                if goes_on && session.store.own().is_some_and(|own| own.job(&id).is_some()) =>
            {
                news.wait(None);
                session.read()?;
            }
            _ => return Ok(session.finish(Exit::Done)),
        }
    }
}

/// The job that is meant: the named one, else the one that was started last, of those that run if any does.
fn job<'a>(session: &'a Session, args: &Args) -> Result<Option<(&'a str, &'a Job)>, Failure> {
    if let Some(word) = &args.job {
        return one(session, word).map(Some);
    }
    let (Some(node), Some(state)) = (session.store.place().node(), session.store.own()) else {
        return Ok(None);
    };
    let started = |job: &&Job| job.latest_run().map(|run| run.started_at);
    let ran = |job: &&Job| !job.runs.is_empty();
    let running = state.processing().filter(ran).max_by_key(started);
    let last = || state.jobs().filter(ran).max_by_key(started);
    Ok(running.or_else(last).map(|job| (node, job)))
}

fn is_finished(session: &Session, id: &JobId) -> bool {
    let job = session.store.own().and_then(|own| own.job(id));
    job.is_none_or(|job| job.state.is_finished())
}

/// The numbers of the runs to print, of which those up to `printed` were printed already.
fn wanted(session: &Session, id: &JobId, args: &Args, printed: u32) -> Result<Vec<u32>, Failure> {
    let runs: Vec<u32> = match session.store.own().and_then(|own| own.job(id)) {
        Some(job) => job.runs.iter().map(|run| run.run).collect(),
        None => Vec::new(),
    };
    let wanted: Vec<u32> = match args.run {
        Some(run) if runs.contains(&run) => vec![run],
        Some(run) => {
            let last =
                runs.last().map_or("it has not run yet".to_owned(), |l| format!("the last is {l}"));
            return Err(Failure::refused(format!("job {id} has no run {run}; {last}")));
        }
        None if args.all_runs => runs,
        None => runs.last().copied().into_iter().collect(),
    };
    Ok(wanted.into_iter().filter(|run| *run > printed).collect())
}

fn run_of<'a>(session: &'a Session, id: &JobId, run: u32) -> Option<&'a Run> {
    session.store.own()?.job(id)?.runs.iter().find(|candidate| candidate.run == run)
}

/// Prints what a run printed; with `news`, until it has ended.
fn print_run(
    session: &mut Session,
    id: &JobId,
    run: u32,
    args: &Args,
    mut news: Option<&mut News>,
) -> Result<(), Failure> {
    let mut outputs = Outputs::of(session, id, run, args);
    let mut out = Out::new();
    let lines = args.tail;
    // The end of the run is looked for before its output, so that none is missed.
    let mut ended = run_of(session, id, run).is_none_or(|run| run.result.is_some());
    let any = outputs.print(&mut out, lines)?;
    if let (false, true, Some(run)) = (any, ended, run_of(session, id, run)) {
        print_kept_tail(&mut out, run, args)?;
    }
    while let (false, Some(news)) = (ended, news.as_deref_mut()) {
        news.wait(None);
        session.read()?;
        ended = run_of(session, id, run).is_none_or(|run| run.result.is_some());
        outputs.print(&mut out, None)?;
    }
    out.flush()
}

/// Where the files of a run are gone, what its outcome kept of them.
fn print_kept_tail(out: &mut Out, run: &Run, args: &Args) -> Result<(), Failure> {
    let Some(tail) = &run.tail else { return Ok(()) };
    if !args.stderr {
        out.text(&tail.out)?;
    }
    if !args.stdout {
        out.flush()?;
        print_error(tail.err.as_bytes());
    }
    Ok(())
}

/// The two outputs of a run, as far as they are wanted.
struct Outputs {
    out: Option<Follow>,
    err: Option<Follow>,
}

impl Outputs {
    fn of(session: &Session, id: &JobId, run: u32, args: &Args) -> Self {
        let (out, err) = paths(session, id, run);
        Outputs {
            out: (!args.stderr).then(|| Follow::new(out)),
            err: (!args.stdout).then(|| Follow::new(err)),
        }
    }

    /// Prints what is new, or the last lines of it. Says whether there was anything.
    fn print(&mut self, out: &mut Out, lines: Option<usize>) -> Result<bool, Failure> {
        let mut any = false;
        if let Some(follow) = &mut self.out {
            any |= read(follow, lines, &mut |bytes| out.bytes(bytes))?;
            out.flush()?;
        }
        if let Some(follow) = &mut self.err {
            any |= read(follow, lines, &mut |bytes| {
                print_error(bytes);
                Ok(())
            })?;
        }
        Ok(any)
    }
}

fn paths(session: &Session, id: &JobId, run: u32) -> (PathBuf, PathBuf) {
    let directory = session.store.place().output_dir();
    let files = run_files(id.as_str(), run);
    (directory.join(files.out), directory.join(files.err))
}

fn read(
    follow: &mut Follow,
    lines: Option<usize>,
    take: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<bool, Failure> {
    let mut outcome = Ok(());
    let mut last = lines.map(LastLines::new);
    let any = follow.read(&mut |bytes| match &mut last {
        Some(last) => last.take(bytes),
        None if outcome.is_ok() => outcome = take(bytes),
        None => {}
    });
    let any = any.map_err(|error| Failure::refused(format!("cannot read the output: {error}")))?;
    outcome?;
    for line in last.iter().flat_map(|last| &last.lines) {
        take(line)?;
    }
    Ok(any)
}

/// Writes to stderr. That nobody reads it is no failure.
fn print_error(bytes: &[u8]) {
    let _ = std::io::stderr().lock().write_all(bytes);
}

/// The last lines of what comes by.
struct LastLines {
    most: usize,
    lines: VecDeque<Vec<u8>>,
}

impl LastLines {
    fn new(most: usize) -> Self {
        LastLines { most, lines: VecDeque::new() }
    }

    fn take(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            match self.lines.back_mut() {
                Some(line) if line.last() != Some(&b'\n') => line.extend_from_slice(part),
                _ => self.lines.push_back(part.to_vec()),
            }
            while self.lines.len() > self.most {
                self.lines.pop_front();
            }
        }
    }
}

/// What runs printed, as one document. What is not UTF-8 is U+FFFD.
#[derive(Serialize)]
struct LogsJson<'a> {
    job: Option<&'a str>,
    runs: Vec<RunLogs>,
}

#[derive(Serialize)]
struct RunLogs {
    run: u32,
    result: Option<RunResult>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stdout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stderr: Option<String>,
}

fn print_json(session: &Session, id: &JobId, args: &Args) -> Result<(), Failure> {
    let mut runs = Vec::new();
    for run in wanted(session, id, args, 0)? {
        let result = run_of(session, id, run).and_then(|run| run.result);
        let (out, err) = paths(session, id, run);
        let text = |path: PathBuf| -> Result<String, Failure> {
            let mut bytes = Vec::new();
            read(&mut Follow::new(path), args.tail, &mut |more| {
                bytes.extend_from_slice(more);
                Ok(())
            })?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let stdout = if args.stderr { None } else { Some(text(out)?) };
        let stderr = if args.stdout { None } else { Some(text(err)?) };
        runs.push(RunLogs { run, result, stdout, stderr });
    }
    let mut out = Out::new();
    out.json(&LogsJson { job: Some(id.as_str()), runs })?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_whatever_the_pieces_they_come_in() {
        let table: [(&[&str], usize, &str); 6] = [
            (&["a\nb\nc\n"], 2, "b\nc\n"),
            (&["a\nb", "b\nc"], 2, "bb\nc"),
            (&["a", "b", "c"], 1, "abc"),
            (&["a\n", "b\n"], 5, "a\nb\n"),
            (&["a\n"], 0, ""),
            (&[], 3, ""),
        ];
        for (pieces, most, text) in table {
            let mut last = LastLines::new(most);
            for piece in pieces {
                last.take(piece.as_bytes());
            }
            let seen: Vec<u8> = last.lines.into_iter().flatten().collect();
            assert_eq!(String::from_utf8(seen).unwrap(), text, "{pieces:?}");
        }
    }
}
