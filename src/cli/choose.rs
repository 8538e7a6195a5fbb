//! Which jobs a verb takes, and the one way in which verbs change jobs.
//!
//! A job that was named by its id must be one the verb applies to, or nothing is done; a filter takes only the jobs the
//! verb applies to. The set is fixed when the command starts.

use std::collections::HashSet;

use super::args::jobs::{All, Consent, Selection};
use super::error::Failure;
use super::exit::Exit;
use super::output::{Form, List, Out, ask, is_interactive};
use super::session::Session;
use crate::domain::decide::Refusal;
use crate::domain::event::Event;
use crate::domain::job::{Job, JobId};
use crate::domain::retention::Retention;
use crate::domain::selector::{Selected, Selector, SelectorError, Term};
use crate::domain::state::NodeState;
use crate::domain::timestamp::Timestamp;
use crate::domain::units::format_duration;
use crate::store::upkeep::Traces;

/// Reads a selection; nothing at all selects every job.
pub(super) fn selector_or_all(selection: &Selection) -> Result<Selector, Failure> {
    let mut selector = Selector::parse(selection.selectors.iter().map(String::as_str))?;
    if !selection.state.is_empty() {
        selector = selector.narrow(Term::State(selection.state.clone()));
    }
    for queue in &selection.queue {
        selector = selector.narrow(Term::Queue(queue.clone()));
    }
    for tag in &selection.tag {
        selector = selector.narrow(Term::Tag(tag.clone()));
    }
    Ok(selector)
}

/// Reads a selection that must select something.
///
/// Errors: a usage error where there is neither a selector nor `--all`.
pub(super) fn selector(selection: &Selection, all: All) -> Result<Selector, Failure> {
    let mut words = selection.clone();
    if all.all {
        words.selectors.push("all".into());
    }
    let selector = selector_or_all(&words)?;
    if selector.is_empty() {
        return Err(Failure::usage("no job is named")
            .hint("name jobs by id, tag:T, queue:Q or state:S, or say --all"));
    }
    Ok(selector)
}

/// The jobs that are selected, of all nodes.
pub(super) fn select<'a>(
    session: &'a Session,
    selector: &Selector,
) -> Result<Selected<'a>, Failure> {
    let jobs = || session.jobs().into_iter();
    let selected = selector.select(jobs, |id| session.with_id(id));
    selected.map_err(|error| match &error {
        SelectorError::NoSuchJob(word) => {
            let hint = perhaps_expired(session, word);
            Failure::from(error).maybe_hint(hint)
        }
        _ => error.into(),
    })
}

/// Says of an id that no job has where it may be of one that has expired. Of those only the number is known, but a
/// generated id tells its age.
fn perhaps_expired(session: &Session, word: &str) -> Option<String> {
    let nodes = session.store.view().state.nodes.values();
    let expired: u64 = nodes.flat_map(|node| node.facts.totals.expired.values()).sum();
    let config = session.store.config().ok()?;
    let kept = Retention::of(&session.settings.over(&config)).shortest();
    let is_kept = |at: Timestamp| kept.is_some_and(|kept| at > session.look.now.before(kept));
    if expired == 0 || JobId::generated_until(word).is_some_and(is_kept) {
        return None;
    }
    let count = usize::try_from(expired).unwrap_or(usize::MAX);
    let kept = kept.map(|kept| format!("; finished ones are kept for {}", format_duration(kept)));
    Some(format!("it may have expired, as {} did{}", jobs(count, ""), kept.unwrap_or_default()))
}

/// The one job that a word names.
///
/// Errors: no job, or several.
pub(super) fn one<'a>(session: &'a Session, word: &str) -> Result<(&'a str, &'a Job), Failure> {
    let selected = select(session, &Selector::parse([word])?)?;
    match selected.jobs[..] {
        [one] => Ok(one),
        [] => Err(Failure::refused(format!("{word} selects no job"))),
        _ => {
            let count = selected.jobs.len();
            Err(Failure::refused(format!("{word} selects {count} jobs, and this takes one")))
        }
    }
}

/// Jobs that a verb is to change, all of this machine's node.
#[derive(Debug, Clone)]
pub(super) struct Targets {
    ids: Vec<JobId>,
    named: HashSet<JobId>,
}

/// What a verb is called in messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wording {
    /// `cancel`.
    pub(super) verb: &'static str,
    /// `cancelled`.
    pub(super) done: &'static str,
}

impl Targets {
    /// The jobs.
    pub(super) fn ids(&self) -> &[JobId] {
        &self.ids
    }

    /// Takes the selected jobs that `applies` lets pass; named ones are taken in any case, so that they are refused.
    ///
    /// Errors: a named job that another machine owns.
    pub(super) fn find(
        session: &Session,
        selector: &Selector,
        applies: impl Fn(&Job) -> bool,
    ) -> Result<Targets, Failure> {
        let selected = select(session, selector)?;
        let mut targets = Targets { ids: Vec::new(), named: HashSet::new() };
        let mut elsewhere = 0;
        for (node, job) in &selected.jobs {
            let id = job.id();
            match (session.is_own(node), selected.is_named(node, id)) {
                (true, true) => {
                    targets.named.insert(id.clone());
                    targets.ids.push(id.clone());
                }
                (true, false) if applies(job) => targets.ids.push(id.clone()),
                (false, true) => {
                    return Err(Failure::refused(format!("job {id} belongs to node {node}"))
                        .hint("only the machine that enqueued a job changes it")
                        .maybe_hint(session.way_back(node)));
                }
                (false, false) if applies(job) => elsewhere += 1,
                _ => {}
            }
        }
        if elsewhere > 0 {
            session.note(&format!("note: left alone: {}", jobs(elsewhere, "of other machines")));
        }
        Ok(targets)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Leaves out those that `keep` does not take.
    pub(super) fn retain(&mut self, keep: impl Fn(&JobId) -> bool) {
        self.ids.retain(|id| keep(id));
        self.named.retain(|id| keep(id));
    }

    /// Decides for each job on the newest state and writes down what follows, all or nothing. Gives the jobs that it
    /// changed; a job that was as wanted already is not among them.
    ///
    /// Errors: the refusal of a job that was named.
    pub(super) fn change(
        &self,
        session: &mut Session,
        decide: impl Fn(&NodeState, &JobId) -> Result<Option<Event>, Refusal>,
    ) -> Result<Vec<JobId>, Failure> {
        let outcome = session.store.transact(|node, _| {
            let (mut events, mut changed) = (Vec::new(), Vec::new());
            for id in &self.ids {
                match decide(node, id) {
                    Ok(Some(event)) => {
                        events.push(event);
                        changed.push(id.clone());
                    }
                    Ok(None) => {}
                    Err(refusal) if self.named.contains(id) => return Err(refusal),
                    Err(_) => {}
                }
            }
            Ok((events, changed))
        });
        session.tell_notices();
        outcome.map_err(Failure::of_writing)
    }

    /// Refuses named jobs without writing anything, as [`Targets::change`] would.
    fn check(
        &self,
        session: &Session,
        decide: impl Fn(&NodeState, &JobId) -> Result<Option<Event>, Refusal>,
    ) -> Result<(), Failure> {
        let Some(node) = session.store.own() else { return Ok(()) };
        for id in &self.named {
            decide(node, id)?;
        }
        Ok(())
    }
}

/// Changes jobs and says so. A verb that destroys brings `consent`, and whether it needs it.
pub(super) fn perform(
    session: &mut Session,
    targets: &Targets,
    wording: Wording,
    consent: Option<(Consent, bool)>,
    decide: impl Fn(&NodeState, &JobId) -> Result<Option<Event>, Refusal>,
) -> Result<Exit, Failure> {
    let Wording { verb, done } = wording;
    targets.check(session, &decide)?;
    if targets.is_empty() {
        session.note(&format!("no job to {verb}"));
        return answer(session, &[], None);
    }
    let before = views(session, &targets.ids);
    if let Some((consent, needed)) = consent {
        if consent.dry_run {
            session.note(&format!("would {verb} {}", jobs(targets.len(), "")));
            if !session.globals.json {
                let mut out = Out::new();
                for id in &targets.ids {
                    out.text(&format!("{id}\n"))?;
                }
                out.flush()?;
            }
            return answer(session, &targets.ids, Some(before));
        }
        if needed && !consent.yes {
            let what = format!("{verb} {}", jobs(targets.len(), ""));
            if !is_interactive() {
                return Err(Failure::usage(format!(
                    "to {what} needs --yes where nobody can be asked"
                ))
                .hint("--dry-run says what would be done"));
            }
            if !ask(&format!("{what}?")) {
                session.note("nothing is done");
                return Ok(Exit::Refused);
            }
        }
    }
    let own = session.store.own();
    let traces = |id: &JobId| Some((id.clone(), Traces::of(own?.job(id)?)));
    let traces: Vec<(JobId, Traces)> = targets.ids.iter().filter_map(traces).collect();
    let changed = targets.change(session, decide)?;
    match &changed[..] {
        [] => session.note(&format!("nothing to do: already {done}")),
        [id] => session.note(&format!("{done} {id}")),
        _ => session.note(&format!("{done} {}", jobs(changed.len(), ""))),
    }
    let gone = wording.done == "purged";
    if gone {
        let gone: HashSet<&JobId> = changed.iter().collect();
        let traces = traces.into_iter().filter(|(id, _)| gone.contains(id));
        session.store.forget_outputs(&traces.map(|(_, traces)| traces).collect::<Vec<_>>());
    }
    answer(session, &changed, gone.then_some(before))
}

/// Answers with the jobs as JSON, where that is wanted: as they are now, or as they were.
fn answer(
    session: &mut Session,
    ids: &[JobId],
    before: Option<Vec<(JobId, String)>>,
) -> Result<Exit, Failure> {
    if session.globals.json {
        let records = match before {
            Some(before) => before,
            None => {
                session.read()?;
                views(session, ids)
            }
        };
        let mut out = Out::new();
        let mut list = List::begin(&mut out, Form::Json)?;
        for (_, record) in records.iter().filter(|(id, _)| ids.contains(id)) {
            list.entry(&mut out, record)?;
        }
        list.end(&mut out)?;
        out.flush()?;
    }
    Ok(Exit::Done)
}

/// The records of jobs of this machine, where JSON is wanted.
fn views(session: &Session, ids: &[JobId]) -> Vec<(JobId, String)> {
    let Some(node) = session.store.place().node().filter(|_| session.globals.json) else {
        return Vec::new();
    };
    let state = session.store.own();
    let job = |id: &JobId| state.and_then(|state| state.job(id));
    ids.iter()
        .filter_map(|id| {
            Some((id.clone(), session.view((node, job(id)?)).to_json().get().to_owned()))
        })
        .collect()
}

/// `1 job`, `3 jobs of other machines`.
pub(super) fn jobs(count: usize, which: &str) -> String {
    let noun = if count == 1 { "job" } else { "jobs" };
    format!("{count} {noun} {which}").trim_end().to_owned()
}
