//! `queuectl purge`: removes finished jobs for good.

use super::args::jobs::Purge as Args;
use super::choose::{self, Targets, Wording, selector};
use super::error::Failure;
use super::exit::Exit;
use super::session::Session;
use crate::domain::decide;
use crate::domain::job::{Job, JobState};

/// Does it. `all` leaves the dead letter queue alone, unless its state is named.
pub(super) fn perform(session: &mut Session, args: &Args) -> Result<Exit, Failure> {
    let selector = selector(&args.selection, args.all)?;
    session.read()?;
    let spares_dead = selector.is_all() && !selector.names_state(JobState::Dead);
    let applies =
        |job: &Job| job.state.is_finished() && !(spares_dead && job.state == JobState::Dead);
    let targets = Targets::find(session, &selector, applies)?;
    let wording = Wording { verb: "purge", done: "purged" };
    let consent = Some((args.consent, true));
    choose::perform(session, &targets, wording, consent, |node, id| {
        decide::purge(node, id).map(Some)
    })
}
