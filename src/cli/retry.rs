//! `queuectl retry`: runs finished jobs again from the start, makes waiting retries due now, and lets held jobs go on.

use super::args::jobs::Retry as Args;
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
    let applies =
        |job: &Job| job.state.is_finished() || job.state == JobState::Failed || job.held.is_some();
    let targets = Targets::find(session, &selector, applies)?;
    let wording = Wording { verb: "retry", done: "requeued" };
    choose::perform(session, &targets, wording, None, |node, id| decide::retry(node, id).map(Some))
}
