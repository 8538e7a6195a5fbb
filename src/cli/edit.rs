//! `queuectl edit`: changes waiting jobs.

use std::time::Duration;

use super::args::jobs::{Edit as Args, Selection};
use super::choose::{self, Targets, Wording, selector};
use super::enqueue::with_surroundings;
use super::error::Failure;
use super::exit::Exit;
use super::input::{check_words, moment, within};
use super::session::Session;
use crate::domain::decide;
use crate::domain::event::Edited;
use crate::domain::job::JobId;

/// Does it.
pub(super) fn perform(session: &mut Session, args: &Args) -> Result<Exit, Failure> {
    let selection = Selection { selectors: args.selectors.clone(), ..Selection::default() };
    let selector = selector(&selection, args.all)?;
    let changes =
        changes(session, args).map_err(|failure| Failure { exit: Exit::Usage, ..failure })?;
    session.read()?;
    let targets = Targets::find(session, &selector, |job| job.state.is_waiting())?;
    let wording = Wording { verb: "edit", done: "edited" };
    choose::perform(session, &targets, wording, None, |node, id| {
        decide::edit(node, Edited { job: id.clone(), ..changes.clone() }).map(Some)
    })
}

fn changes(session: &Session, args: &Args) -> Result<Edited, Failure> {
    let changes = &args.changes;
    check_words(changes.queue.as_deref(), &changes.tag)?;
    let run_at = match &changes.run_at {
        Some(text) => Some(with_surroundings(session, |around| {
            moment::to_come(text, around).map_err(|failure| within("--run-at", failure))
        })?),
        None => None,
    };
    Ok(Edited {
        job: JobId::from_log(""),
        priority: changes.priority,
        run_at,
        max_retries: changes.max_retries,
        timeout: changes.timeout.map(|timeout| timeout.0.unwrap_or(Duration::ZERO)),
        queue: changes.queue.clone(),
        tags: (!changes.tag.is_empty()).then(|| changes.tag.clone()),
    })
}
