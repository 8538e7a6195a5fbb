//! What must be true of a queue in which something has changed, as it is read and when it is mended.
//!
//! Knows the log by its lines; what they add up to, only as the library says.

use std::collections::BTreeSet;
use std::time::Duration;

use queuectl::domain::job::Job;
use queuectl::store::Store;
use queuectl::store::doctor::{Condition, Level, Report};
use queuectl::store::repair::Step;
use queuectl::worker::recover::settle_dead;

use super::change::Change;
use super::corpus::{Corpus, enqueue};

/// What came of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It is told that something is wrong.
    Detected,
    /// What is read is how the queue once was, and the next writer sees that the end is torn.
    Explained,
    /// What is read is what was written.
    Harmless,
}

/// Reads.
///
/// Errors: where something else is read, and nothing said.
pub fn look(corpus: &Corpus, file: usize, change: &Change) -> Result<Seen, String> {
    let Ok(mut store) = corpus.open() else { return Ok(Seen::Detected) };
    let Ok(view) = store.read() else { return Ok(Seen::Detected) };
    for (_, job) in view.state.jobs() {
        if !corpus.whole.jobs().iter().any(|(_, known)| known.id() == job.id()) {
            return Err(format!("job {} from nowhere", job.id()));
        }
    }
    if !view.damage.is_empty() || !view.foreign.is_empty() || view.rolled_back.is_some() {
        return Ok(Seen::Detected);
    }
    if view.state == corpus.whole {
        return Ok(Seen::Harmless);
    }
    let (active, acknowledged) = corpus.active;
    let is_behind = file == active && change.begins(corpus.bytes(file)) >= acknowledged;
    let own = view.state.node(&corpus.node).cloned().unwrap_or_default();
    if is_behind && corpus.states_behind_the_mark().contains(&own) {
        let report = store.examine(&mut |_| {}).map_err(|error| error.to_string())?;
        let is_cut_between_lines = matches!(change, Change::Cut { .. } | Change::Delete { .. });
        if report.condition == Condition::Torn || is_cut_between_lines {
            return Ok(Seen::Explained);
        }
        return Err(format!("what is torn is not seen: {:?}", report.condition));
    }
    Err("another state is read in silence".to_owned())
}

/// Mends, as a person does, and goes on.
///
/// Errors: where something is still wrong, or more is gone than was hit.
pub fn mend(corpus: &Corpus) -> Result<(), String> {
    let before = corpus.log_now();
    let steps = repair(corpus)?;
    let report = corpus.open().map_err(text)?.examine(&mut |_| {}).map_err(text)?;
    if !report.is_ok() {
        return Err(format!("after {steps:?} the doctor still finds {}", faults(&report)));
    }
    let mut store = corpus.open().map_err(text)?;
    enqueue(&mut store, &["new"]).map_err(|error| format!("after {steps:?}: {error}"))?;
    let mut store = corpus.open().map_err(text)?;
    let view = store.read().map_err(text)?;
    if let Some(damage) = view.damage.first().or(view.rolled_back.as_ref()) {
        return Err(format!("after {steps:?} and an enqueue there is damage: {damage}"));
    }
    let is_carried = steps.contains(&Step::BeginSegment);
    let is_taken_over = steps.contains(&Step::TakeOver);
    let is_rebuilt = steps.contains(&Step::Rebuild);
    for (_, job) in corpus.whole.jobs() {
        let id = job.id().to_string();
        if lines_of(&corpus.log(), &id, is_rebuilt) != lines_of(&before, &id, is_rebuilt) {
            continue;
        }
        let kept = store.own().and_then(|own| own.job(job.id()));
        let is_as_it_was = match kept {
            Some(kept) if is_taken_over => essence(kept) == essence(job),
            // What is carried over has numbers of its own.
            Some(kept) if is_carried => Job { order: job.order, ..kept.clone() } == *job,
            kept => kept == Some(job),
        };
        if !is_as_it_was {
            return Err(format!(
                "after {steps:?} {id}, which was not hit, is {kept:?}, not {job:?}"
            ));
        }
    }
    let known: BTreeSet<_> = corpus.whole.jobs().iter().map(|(_, job)| job.id().clone()).collect();
    let own = store.own().ok_or("there is no own node")?;
    match own.jobs().find(|job| !known.contains(job.id()) && job.id().to_string() != "new") {
        Some(job) => Err(format!("after {steps:?} there is job {} from nowhere", job.id())),
        None => Ok(()),
    }
}

fn repair(corpus: &Corpus) -> Result<Vec<Step>, String> {
    let mut store = corpus.open().map_err(text)?;
    let report = store.examine(&mut |_| {}).map_err(text)?;
    let steps = store.repairs(&report);
    for step in &steps {
        perform(&mut store, *step).map_err(|what| format!("{steps:?}: {what}"))?;
    }
    Ok(steps)
}

fn perform(store: &mut Store, step: Step) -> Result<(), String> {
    match step {
        Step::SettleDead => settle_dead(store, Duration::ZERO).map(drop).map_err(text),
        step => store.repair(step).map(drop).map_err(text),
    }
}

fn faults(report: &Report) -> String {
    let faulty = report.checks.iter().filter(|check| check.level() == Level::Fault);
    faulty.map(|check| format!("{}: {:?}; ", check.name, check.found)).collect()
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// What stays of a job that another node takes over.
fn essence(job: &Job) -> impl PartialEq + '_ {
    (&job.spec, job.state, job.created_at, job.attempts, job.last_run, &job.runs)
}

/// The lines that a job comes of: those that tell of it. Where the log is not rebuilt, and nobody knows of a line that
/// is lost, those of its batch too, which is all or nothing then.
fn lines_of(log: &[u8], id: &str, is_rebuilt: bool) -> Vec<String> {
    let log = String::from_utf8_lossy(log);
    // A line without its end is not whole.
    let lines = || log.split_inclusive('\n');
    let job = format!("\"job\":\"{id}\"");
    let of_job = lines().filter(|line| !is_rebuilt && line.contains(&job));
    let batches: Vec<&str> = of_job.filter_map(batch).collect();
    let counts = |line: &&str| {
        line.contains(&job) || batch(line).is_some_and(|batch| batches.contains(&batch))
    };
    lines().filter(counts).map(str::to_owned).collect()
}

fn batch(line: &str) -> Option<&str> {
    line.split_once("\"batch\":\"")?.1.split('"').next()
}
