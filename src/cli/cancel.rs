//! `queuectl cancel`: takes jobs back; those that run are ended by their worker.

use super::args::jobs::Cancel as Args;
use super::choose::{self, Targets, Wording, selector};
use super::error::Failure;
use super::exit::Exit;
use super::session::Session;
use crate::domain::decide;
use crate::domain::job::{Job, JobState};

/// Does it.
pub(super) fn perform(session: &mut Session, args: &Args) -> Result<Exit, Failure> {
    let selector = selector(&args.selection, args.all)?;
    session.read()?;
    let applies = |job: &Job| job.state.is_waiting() || job.state == JobState::Processing;
    let targets = Targets::find(session, &selector, applies)?;
    // What runs is ended by its worker, which may take a while.
    let runs = |id| session.store.own().and_then(|own| own.job(id)).is_some_and(is_running);
    let done = if targets.ids().iter().all(runs) { "cancelling" } else { "cancelled" };
    let wording = Wording { verb: "cancel", done };
    let consent = Some((args.consent, !selector.is_plain()));
    choose::perform(session, &targets, wording, consent, |node, id| decide::cancel(node, id, None))
}

fn is_running(job: &Job) -> bool {
    job.state == JobState::Processing
}
