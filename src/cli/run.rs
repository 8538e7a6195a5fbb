//! `queuectl run`: enqueues a job and works on it here, in the foreground, retries and all.

use super::args::enqueue::Run as Args;
use super::enqueue::{drafts_of_one, give_id, specs, with_surroundings};
use super::error::Failure;
use super::exit::Exit;
use super::input;
use super::reporter::{Lines, Prefix};
use super::session::Session;
use crate::domain::job::{JobState, RunResult};
use crate::worker::foreground::{ForegroundEnd, run};
use crate::worker::signal::{Prepared, Signal, prepare};

/// Does it. What fails here and not in the job exits 125, so that it is told from the job's own failure; a command line
/// that is wrong exits 2.
pub(super) fn perform(session: &mut Session, args: &Args) -> Result<Exit, Failure> {
    work(session, args).map_err(|failure| match failure.exit {
        Exit::Done | Exit::Usage => failure,
        _ => Failure { exit: Exit::RunFailed, ..failure },
    })
}

fn work(session: &mut Session, args: &Args) -> Result<Exit, Failure> {
    // A process below may do the work, and it reads what there is to read.
    match prepare().map_err(|error| Failure::refused(error.to_string()))? {
        Prepared::Relayed(code) => return Ok(Exit::Job(code)),
        Prepared::Ready => {}
    }
    let mut drafts = with_surroundings(session, |around| {
        let flags = input::from_flags(&args.job, around)?;
        let drafts = drafts_of_one(args.command.as_deref(), &args.words, around)?;
        Ok(drafts.into_iter().map(|draft| draft.overridden_by(&flags)).collect::<Vec<_>>())
    })?;
    if let Some(id) = &args.id {
        give_id(&mut drafts, id)?;
    }
    if let Some(word) = &args.words.looks_like_option {
        session.note(&format!("note: {word} is part of the command; options stand before it"));
    }
    session.warn_of_place();
    let mut specs = specs(session, drafts)?;
    let (Some(spec), true) = (specs.pop(), specs.is_empty()) else {
        return Err(Failure::usage("it takes one job"));
    };
    let id = spec.id.clone();
    let overrides = session.settings.overrides();
    let mut lines = Lines::new(Prefix::None, session.globals.quiet);
    let outcome = run(&mut session.store, spec, overrides, &mut lines);
    session.tell_notices();
    let end = outcome?;
    let unwritten = lines.unwritten();
    if end.was_handed_back() {
        session.note(&format!("{id} is back in the queue"));
    }
    match (code(end), unwritten) {
        // The job did its work, but whoever wants what it printed doesn't have it.
        (0, Some(error)) => {
            let hint = format!("the job is completed; queuectl logs {id} prints it");
            Err(Failure::refused(format!("cannot write to stdout: {error}")).hint(hint))
        }
        (code, unwritten) => {
            if let Some(error) = unwritten {
                session.note(&format!("warning: cannot write to stdout: {error}"));
            }
            Ok(Exit::Job(code))
        }
    }
}

/// The exit code that the end of the job is told by.
fn code(end: ForegroundEnd) -> u8 {
    match end.signal {
        Some(Signal::Interrupt) => return Exit::Interrupted.code(),
        Some(Signal::Terminate) => return 128 + 15,
        Some(Signal::HangUp) => return 128 + 1,
        Some(Signal::Suspend) | None => {}
    }
    match (end.state, end.result) {
        (Some(JobState::Completed), _) => Exit::Done.code(),
        (Some(JobState::Cancelled), _) | (_, Some(RunResult::Cancelled)) => {
            Exit::Interrupted.code()
        }
        (_, Some(RunResult::Exit(code))) => u8::try_from(code).unwrap_or(1),
        (_, Some(RunResult::Signal(signal))) => u8::try_from(128 + signal).unwrap_or(1),
        (_, Some(RunResult::Timeout)) => Exit::TimedOut.code(),
        (_, Some(RunResult::OutputLimit)) => 1,
        (_, Some(RunResult::SpawnError | RunResult::Lost | RunResult::Interrupted) | None) => {
            Exit::RunFailed.code()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_job_ends_is_told_by_the_exit_code() {
        use JobState::{Cancelled, Completed, Dead, Pending};
        use RunResult::{Exit, Lost, OutputLimit, Signal as BySignal, SpawnError, Timeout};
        let table = [
            (Some(Completed), Some(Exit(0)), None, 0),
            (Some(Dead), Some(Exit(7)), None, 7),
            (Some(Dead), Some(Exit(127)), None, 127),
            (Some(Dead), Some(BySignal(9)), None, 137),
            (Some(Dead), Some(Timeout), None, 124),
            (Some(Dead), Some(OutputLimit), None, 1),
            (Some(Dead), Some(SpawnError), None, 125),
            (Some(Dead), Some(Lost), None, 125),
            (Some(Cancelled), Some(RunResult::Cancelled), Some(Signal::Interrupt), 130),
            (Some(Cancelled), None, None, 130),
            (Some(Pending), Some(RunResult::Interrupted), Some(Signal::Terminate), 143),
            (Some(Pending), Some(RunResult::Interrupted), Some(Signal::HangUp), 129),
            (None, None, None, 125),
        ];
        for (state, result, signal, expected) in table {
            let end = ForegroundEnd { state, result, signal };
            assert_eq!(code(end), expected, "{end:?}");
        }
    }
}
