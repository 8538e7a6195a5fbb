//! The second half of `queuectl doctor --repair`: does the steps one by one, and says what each did.
//!
//! Knows of the steps only who does them: the store, or the worker room where processes are looked into.

use std::time::Duration;

use serde::Serialize;

use super::Missing;
use crate::cli::choose::jobs;
use crate::cli::error::Failure;
use crate::cli::progress::Progress;
use crate::cli::session::Session;
use crate::domain::event::Event;
use crate::store::doctor::{Level, Report};
use crate::store::repair::{Mended, Step};
use crate::worker::process::leftovers::carriers;
use crate::worker::recover::settle_dead;

/// How long the end of what dead workers left running is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was done to mend the queue, or would be.
#[derive(Debug, Default, Serialize)]
pub(super) struct Repair {
    steps: Vec<&'static str>,
    /// What was done, a sentence each; empty where it only would be.
    done: Vec<String>,
    /// Lines that no longer are in the log, as it was before.
    lost: Vec<Missing>,
}

impl Repair {
    /// What would be done.
    pub(super) fn of(steps: &[Step]) -> Self {
        Repair { steps: steps.iter().map(|step| step.name()).collect(), ..Repair::default() }
    }
}

/// Does the steps, in order. What was done is told as it is done.
///
/// Errors: where a step fails; those before it stay done.
pub(super) fn perform(
    session: &mut Session,
    report: &Report,
    steps: &[Step],
) -> Result<Repair, Failure> {
    let mut repair = Repair::of(steps);
    for step in steps {
        let progress = Progress::new(session.globals.quiet);
        progress.show(step.sentence());
        let Mended { done, lost, remembered } = match step {
            Step::SettleDead => Mended { done: settle(session)?, ..Mended::default() },
            Step::TakeOver => take_over(session)?,
            Step::Rebuild => {
                let live = carriers(session.store.place().node().unwrap_or_default());
                let live = live.map_err(|error| {
                    Failure::refused(format!("cannot look for running jobs: {error}"))
                })?;
                let live: Vec<_> = live.into_iter().map(|(_, claim)| claim).collect();
                session.store.rebuild(&live).map_err(Failure::of_writing)?
            }
            step => session.store.repair(*step).map_err(Failure::of_writing)?,
        };
        progress.clear();
        session.tell_notices();
        for what in &done {
            session.note(what);
        }
        repair.done.extend(done);
        if [Step::Rebuild, Step::TakeOver].contains(step) {
            let lost = if *step == Step::Rebuild { &lost } else { &report.missing };
            let lost = lost.iter().filter(|(_, to)| *to > remembered);
            let missing = |&(from, to): &(u64, u64)| Missing { from: from.max(remembered + 1), to };
            repair.lost = lost.map(missing).collect();
            tell_what_is_lost(session, report, &repair.lost, remembered);
        }
    }
    Ok(repair)
}

/// What was acknowledged and is gone is told in any case.
fn tell_what_is_lost(session: &Session, report: &Report, lost: &[Missing], remembered: u64) {
    let range = |lost: &Missing| match lost.to - lost.from {
        0 => lost.from.to_string(),
        _ => format!("{} to {}", lost.from, lost.to),
    };
    let ranges: Vec<String> = lost.iter().map(range).collect();
    // The lines of a base are of jobs, and have no number of their own to be missed by.
    let of_bases = report.checks.iter().filter(|c| c.name == "bases" && remembered == 0);
    let of_bases: Vec<_> = of_bases.flat_map(|check| &check.found).collect();
    for found in of_bases.iter().filter(|found| found.level == Level::Fault) {
        let what = format!("lost of {}: {}\n", found.file.display(), found.what);
        crate::cli::output::message(&what);
    }
    match &ranges[..] {
        [] if !of_bases.is_empty() => {}
        [] => session.note("no line of the log is lost"),
        _ => crate::cli::output::message(&format!("lost: seq {}\n", ranges.join(", "))),
    }
}

/// Goes on as a new node, where no process works for the old one any more.
fn take_over(session: &mut Session) -> Result<Mended, Failure> {
    let node = session.store.place().node().unwrap_or_default().to_owned();
    let working = carriers(&node)
        .map_err(|error| Failure::refused(format!("cannot look for running jobs: {error}")))?;
    if !working.is_empty() {
        let pids: Vec<String> =
            working.iter().map(|(process, _)| process.pid.to_string()).collect();
        let what = format!("jobs of node {node} still run, in the processes {}", pids.join(", "));
        return Err(Failure::refused(what).hint("wait for them, or end them; then try again"));
    }
    session.store.repair(Step::TakeOver).map_err(Failure::of_writing)
}

fn settle(session: &mut Session) -> Result<Vec<String>, Failure> {
    let recovered = settle_dead(&mut session.store, PATIENCE)?;
    let mut done = Vec::new();
    for event in &recovered.events {
        if let Some(job) = event.job() {
            done.push(match event {
                Event::Released(_) => {
                    format!("{job}: its worker died before it began, it is in the queue again")
                }
                Event::Lost(_) => format!("{job}: its worker died, it is in the queue again"),
                Event::Died(_) => format!("{job}: its worker died, it is dead"),
                _ => format!("{job}: its worker died, it is cancelled"),
            });
        }
    }
    done.extend(
        recovered.workers.iter().map(|worker| format!("removed the lock of worker {worker}")),
    );
    if recovered.left > 0 {
        let left = jobs(recovered.left, "of dead workers");
        done.push(format!("still running: {left}; the next worker goes on with that"));
    }
    Ok(done)
}
