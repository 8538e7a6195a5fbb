//! `queuectl dlq`: the dead letter queue. Filters are within it; a plain id that isn't in it is refused.

use super::args::dlq::{Dlq, DlqVerb, List as ListArgs, Purge as PurgeArgs};
use super::args::jobs::{All, Selection, Show as ShowArgs};
use super::choose::{self, Targets, Wording, one, select, selector, selector_or_all};
use super::columns::DLQ;
use super::error::Failure;
use super::exit::Exit;
use super::list;
use super::output::Form;
use super::session::Session;
use super::show;
use crate::domain::decide::{self, Refusal};
use crate::domain::event::Event;
use crate::domain::job::{Job, JobId, JobState};
use crate::domain::state::NodeState;

/// Does it.
pub(super) fn perform(session: &mut Session, args: &Dlq) -> Result<Exit, Failure> {
    session.read()?;
    match &args.verb {
        DlqVerb::List(args) => perform_list(session, args),
        DlqVerb::Show(args) => perform_show(session, args),
        DlqVerb::Retry(args) => retry(session, &args.selection, args.all),
        DlqVerb::RetryAll(_) => retry(session, &Selection::default(), All { all: true }),
        DlqVerb::Purge(args) => purge(session, args),
    }
}

fn is_dead(job: &Job) -> bool {
    job.state == JobState::Dead
}

fn not_dead(job: &Job) -> Failure {
    Failure::refused(format!("job {} is {}, not in the dead letter queue", job.id(), job.state))
}

fn perform_list(session: &mut Session, args: &ListArgs) -> Result<Exit, Failure> {
    let selected = select(session, &selector_or_all(&args.selection)?)?;
    let mut views = Vec::new();
    for (node, job) in &selected.jobs {
        if is_dead(job) {
            views.push(session.view((node, job)));
        } else if selected.is_named(node, job.id()) {
            return Err(not_dead(job));
        }
    }
    let newest = views.len().saturating_sub(args.limit.unwrap_or(usize::MAX));
    let form = Form::of(session.globals.json, args.lines.jsonl);
    list::print(session, &views[newest..], &DLQ, form)?;
    if views.is_empty() && form == Form::Table {
        session.note("no job is in the dead letter queue");
    }
    Ok(session.finish(Exit::Done))
}

fn perform_show(session: &mut Session, args: &ShowArgs) -> Result<Exit, Failure> {
    let (node, job) = one(session, &args.job)?;
    if !is_dead(job) {
        return Err(not_dead(job));
    }
    show::print(session, &session.view((node, job)))?;
    Ok(session.finish(Exit::Done))
}

fn retry(session: &mut Session, selection: &Selection, all: All) -> Result<Exit, Failure> {
    let targets = Targets::find(session, &selector(selection, all)?, is_dead)?;
    let wording = Wording { verb: "retry", done: "requeued" };
    choose::perform(session, &targets, wording, None, |node, id| {
        decide::retry_dead(node, id).map(Some)
    })
}

fn purge(session: &mut Session, args: &PurgeArgs) -> Result<Exit, Failure> {
    let youngest = args.older_than.map(|age| session.store.now().before(age));
    let old_enough = |job: &Job| youngest.is_none_or(|moment| job.updated_at <= moment);
    let selector = selector(&args.selection, args.all)?;
    let mut targets = Targets::find(session, &selector, |job| is_dead(job) && old_enough(job))?;
    if let Some(own) = session.store.own() {
        // A named job that is too young is spared, as the option says, and no mistake.
        targets.retain(|id| own.job(id).is_none_or(|job| !is_dead(job) || old_enough(job)));
    }
    let wording = Wording { verb: "purge", done: "purged" };
    choose::perform(session, &targets, wording, Some((args.consent, true)), purge_dead)
}

fn purge_dead(node: &NodeState, id: &JobId) -> Result<Option<Event>, Refusal> {
    match node.job(id) {
        Some(job) if !is_dead(job) => Err(Refusal::WrongState {
            id: id.clone(),
            state: job.state,
            verb: "purged from the dead letter queue",
        }),
        _ => decide::purge(node, id).map(Some),
    }
}
