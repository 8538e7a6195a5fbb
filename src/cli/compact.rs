//! `queuectl compact`: removes what is not kept any longer, and puts a base in the place of the sealed log.

use serde::Serialize;

use super::args::upkeep::Compact as Args;
use super::error::Failure;
use super::exit::Exit;
use super::output::Out;
use super::render::{amount, facts, visible};
use super::session::Session;
use crate::domain::retention::Retention;
use crate::store::StoreError;
use crate::store::compact::{Compacted, Compactor, Idle};
use crate::store::progress::Rest;
use crate::worker::process::courtesy;

/// What was done, or would be, as JSON.
#[derive(Serialize)]
struct Report {
    dry_run: bool,
    /// Files that a base took the place of.
    files: u64,
    before_bytes: u64,
    after_bytes: u64,
    /// Jobs that are kept.
    jobs: u64,
    /// Finished jobs that had been kept for long enough.
    expired: u64,
    /// Files that jobs printed to that are gone.
    outputs: u64,
}

/// Does it.
pub(super) fn perform(session: &mut Session, args: &Args) -> Result<Exit, Failure> {
    courtesy::aside(|| session.read())?;
    let config = session.store.config().map_err(Failure::of_reading)?;
    let retention = Retention::of(&session.settings.over(&config));
    let mut report = Report {
        dry_run: args.dry_run,
        files: 0,
        before_bytes: 0,
        after_bytes: 0,
        jobs: 0,
        expired: 0,
        outputs: 0,
    };
    let outcome = match args.dry_run {
        true => {
            let expired = session.store.expired(retention);
            report.expired = expired.len() as u64;
            let rehearse = |compactor: Compactor| courtesy::aside(|| compactor.rehearse(&expired));
            session.store.compactor().map(rehearse).transpose()
        }
        false => work(session, args, retention, &mut report),
    };
    session.tell_notices();
    if let (Err(StoreError::Damaged(_)), false) = (&outcome, args.dry_run) {
        session.store.confirm_damage().map_err(Failure::of_writing)?;
    }
    match outcome.map_err(Failure::of_writing)? {
        Some(Ok(Compacted { files, before, after, jobs, .. })) => {
            (report.files, report.jobs) = (files, jobs);
            (report.before_bytes, report.after_bytes) = (before, after);
        }
        Some(Err(Idle::Busy)) => {
            return Err(Failure::refused("another process is compacting the log")
                .hint("there is nothing to do but to let it finish"));
        }
        Some(Err(Idle::Nothing)) | None => {}
    }
    answer(session, &report)?;
    Ok(session.finish(Exit::Done))
}

fn work(
    session: &mut Session,
    args: &Args,
    retention: Retention,
    report: &mut Report,
) -> Result<Option<Result<Compacted, Idle>>, StoreError> {
    let store = &mut session.store;
    if store.own().is_none() {
        return Ok(None);
    }
    if let (Some(archive), Some(compactor)) = (&args.archive, store.compactor()) {
        compactor.open_archive(archive)?;
    }
    let went = store.expire(retention, Rest::by(courtesy::rest))?;
    (report.expired, report.outputs) = (went.jobs, went.outputs);
    store.seal()?;
    let archive = args.archive.as_deref();
    let run = |compactor: Compactor| {
        let compactor = compactor.resting(Rest::by(courtesy::rest));
        courtesy::aside(|| compactor.run(archive))
    };
    let outcome = store.compactor().map(run).transpose()?;
    report.outputs += store.sweep_outputs()?;
    store.write_checkpoint();
    Ok(outcome)
}

fn answer(session: &Session, report: &Report) -> Result<(), Failure> {
    let mut out = Out::new();
    if session.globals.json {
        out.json(report)?;
        return out.flush();
    }
    if report.files == 0 {
        session.note("nothing to compact: all that is sealed is in a base");
    }
    let count =
        |number: u64, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let mut pairs = Vec::new();
    if report.files > 0 {
        let before = format!("{} in {}", amount(report.before_bytes), count(report.files, "file"));
        let share = report.after_bytes as f64 * 100.0 / report.before_bytes.max(1) as f64;
        pairs.push(("before", before));
        pairs.push(("after", format!("{} ({share:.1} %)", amount(report.after_bytes))));
        pairs.push(("kept", count(report.jobs, "job")));
    }
    if report.expired > 0 {
        pairs.push(("expired", count(report.expired, "job")));
    }
    if report.outputs > 0 {
        pairs.push(("removed", count(report.outputs, "file") + " that jobs printed to"));
    }
    match session.look.terminal {
        Some(_) => out.text(&facts(&pairs))?,
        None => {
            for (label, value) in pairs {
                out.text(&format!("{label}\t{}\n", visible(&value)))?;
            }
        }
    }
    out.flush()
}
