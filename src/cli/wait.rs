//! `queuectl wait`: until jobs are finished.

use std::time::{Duration, Instant};

use super::args::jobs::Wait as Args;
use super::choose::{jobs, select, selector};
use super::error::Failure;
use super::exit::Exit;
use super::news::News;
use super::output::{Form, List, Out};
use super::progress::Progress;
use super::session::Session;
use super::stranded::Stranded;
use crate::domain::job::{JobId, JobState};
use crate::domain::selector::Owned;

/// How often it looks without being told of news.
const POLL: Duration = Duration::from_secs(1);

/// Does it.
pub(super) fn perform(session: &mut Session, args: &Args) -> Result<Exit, Failure> {
    let selector = selector(&args.selection, args.all)?;
    let deadline = args.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut news = News::of(session, POLL);
    session.read()?;
    let selected = select(session, &selector)?;
    let wanted: Vec<(String, JobId)> =
        selected.jobs.iter().map(|(node, job)| ((*node).to_owned(), job.id().clone())).collect();
    if wanted.is_empty() {
        session.note("no job to wait for");
    }
    if verdict(session, &wanted, args.any).is_none() {
        session.say_where_no_worker_is();
    }
    let progress = Progress::new(session.globals.quiet);
    let mut told_of_held = None;
    loop {
        if let Some(exit) = verdict(session, &wanted, args.any) {
            progress.clear();
            // What is answered must not be undone by a power cut.
            let own = wanted.iter().any(|(node, _)| session.is_own(node));
            if own && session.store.place().read_only().is_none() {
                session.store.sync_what_was_read().map_err(Failure::of_writing)?;
            }
            print(session, &wanted)?;
            return Ok(session.finish(exit));
        }
        let stranded = Stranded::among(session, wanted.iter().filter_map(|it| job(session, it)));
        if told_of_held.is_none_or(|told| stranded.held > told) {
            progress.clear();
            stranded.tell(session);
            told_of_held = Some(stranded.held);
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            progress.clear();
            session.note("timed out");
            print(session, &wanted)?;
            return Ok(session.finish(Exit::TimedOut));
        }
        progress.show(&format!(
            "{} of {}",
            ended(session, &wanted).len(),
            jobs(wanted.len(), "ended")
        ));
        news.wait(deadline);
        session.refind_place()?;
        session.read()?;
    }
}

/// The job, with its new owner where another node has taken it over since.
fn job<'a>(session: &'a Session, (node, id): &'a (String, JobId)) -> Option<Owned<'a>> {
    let state = &session.store.view().state;
    let taken = || state.is_left(node).then(|| session.with_id(id)).into_iter().flatten().next();
    state.job_of(node, id).map(|job| (node.as_str(), job)).or_else(taken)
}

/// The states of the jobs that have ended; none of one that was purged.
fn ended(session: &Session, wanted: &[(String, JobId)]) -> Vec<Option<JobState>> {
    let states = wanted.iter().map(|wanted| job(session, wanted).map(|(_, job)| job.state));
    states.filter(|state| state.is_none_or(JobState::is_finished)).collect()
}

/// How the wait ends, if it ends now.
fn verdict(session: &Session, wanted: &[(String, JobId)], any: bool) -> Option<Exit> {
    let ended = ended(session, wanted);
    let is_over = ended.len() == wanted.len() || (any && !ended.is_empty());
    let all_well = ended.iter().all(|state| *state == Some(JobState::Completed));
    is_over.then_some(if all_well { Exit::Done } else { Exit::EndedBadly })
}

fn print(session: &Session, wanted: &[(String, JobId)]) -> Result<(), Failure> {
    if !session.globals.json {
        return Ok(());
    }
    let mut out = Out::new();
    let mut list = List::begin(&mut out, Form::Json)?;
    for wanted in wanted {
        if let Some(job) = job(session, wanted) {
            list.entry(&mut out, session.view(job).to_json().get())?;
        }
    }
    list.end(&mut out)?;
    out.flush()
}
