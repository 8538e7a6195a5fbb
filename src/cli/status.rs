//! `queuectl status`: what is in the queue and who works on it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::error::Failure;
use super::exit::Exit;
use super::output::Out;
use super::render::{Cell, Head, Look, Tint, amount, facts, relative, table, visible};
use super::session::Session;
use super::stranded::Stranded;
use crate::domain::job::JobState;
use crate::domain::timestamp::Timestamp;

/// The queue at a glance, as JSON.
#[derive(Serialize)]
struct Status {
    dir: String,
    node: Option<String>,
    counts: Counts,
    workers: Workers,
    oldest_waiting: Option<Waiting>,
    next_due: Option<Timestamp>,
    disk: Disk,
    /// What was noted of damage: nothing is written until it is repaired.
    degraded: Option<String>,
    damage: Vec<String>,
    /// Finished jobs that had been kept for long enough, by the state they were in.
    expired: BTreeMap<JobState, u64>,
    /// Jobs of this machine that were taken from a log that was rolled back, and wait for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<u64>,
    /// Events of a newer version, which are kept and have no effect here.
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown_events: Option<u64>,
}

#[derive(Serialize)]
struct Counts {
    pending: u64,
    processing: u64,
    completed: u64,
    failed: u64,
    dead: u64,
    cancelled: u64,
}

/// Workers of this machine that are alive.
#[derive(Serialize)]
pub(super) struct Workers {
    /// Slots of those that are not stopping.
    pub(super) running: u32,
    /// Slots of all.
    pub(super) total: u32,
    pub(super) entries: Vec<Worker>,
}

/// One worker process.
#[derive(Serialize)]
pub(super) struct Worker {
    pub(super) id: String,
    pub(super) pid: u32,
    pub(super) host: String,
    pub(super) started_at: Timestamp,
    pub(super) slots: u32,
    pub(super) queues: Vec<String>,
    pub(super) stopping: bool,
    /// The jobs it runs.
    pub(super) jobs: Vec<String>,
}

#[derive(Serialize)]
struct Waiting {
    id: String,
    since: Timestamp,
}

#[derive(Serialize)]
struct Disk {
    log_bytes: u64,
    /// What can still be filled where the queue is; null where nobody knows.
    free_bytes: Option<u64>,
    /// Whether that is so little that nothing new is enqueued.
    full: bool,
    /// When the disk failed to store some of the log, as long as that was the last thing that befell it.
    sync_error: Option<Timestamp>,
}

/// Does it.
pub(super) fn perform(session: &mut Session) -> Result<Exit, Failure> {
    session.read()?;
    let status = survey(session)?;
    let mut out = Out::new();
    if session.globals.json {
        out.json(&status)?;
    } else {
        out.text(&text(&status, session.look))?;
    }
    out.flush()?;
    Stranded::of_queue(session).tell(session);
    session.warn_of_disk();
    Ok(session.finish(Exit::Done))
}

fn survey(session: &Session) -> Result<Status, Failure> {
    let view = session.store.view();
    let now = session.look.now;
    let [pending, processing, completed, failed, dead, cancelled] = view.state.counts();
    // What another node took over waits there, if anywhere.
    let nodes = || {
        view.state
            .nodes
            .iter()
            .filter(|(node, _)| !view.state.is_left(node))
            .map(|(_, state)| state)
    };
    let held = session.store.own().map_or(0, |own| own.held());
    let oldest = nodes().filter_map(|node| node.oldest_waiting(now)).min_by_key(|j| j.created_at);
    let mut expired = BTreeMap::new();
    let all = view.state.nodes.values();
    for (state, count) in all.flat_map(|node| &node.facts.totals.expired) {
        *expired.entry(*state).or_default() += count;
    }
    let unknown: u64 = nodes().map(|node| node.facts.totals.unknown).sum();
    let due = |node: &crate::domain::state::NodeState| node.next_due(now);
    Ok(Status {
        dir: session.store.place().root().display().to_string(),
        node: session.store.place().node().map(str::to_owned),
        counts: Counts { pending, processing, completed, failed, dead, cancelled },
        workers: workers(session)?,
        oldest_waiting: oldest
            .map(|job| Waiting { id: job.id().to_string(), since: job.created_at }),
        next_due: nodes().filter_map(due).min(),
        disk: Disk {
            log_bytes: session.store.log_bytes().map_err(Failure::of_reading)?,
            free_bytes: session.store.space().map(|space| space.free),
            full: session.store.require_room().is_err(),
            sync_error: session.store.sync_error().ok().flatten(),
        },
        degraded: session.store.degraded(),
        damage: view
            .damage
            .iter()
            .chain(&view.rolled_back)
            .map(ToString::to_string)
            .chain(session.store.degraded())
            .collect(),
        expired,
        held: (held > 0).then_some(held),
        unknown_events: (unknown > 0).then_some(unknown),
    })
}

/// The workers of this machine that are alive, with what each runs.
pub(super) fn workers(session: &Session) -> Result<Workers, Failure> {
    let alive = session.live_workers()?;
    let mut workers = Workers { running: 0, total: 0, entries: Vec::new() };
    let Some(state) = session.store.own() else { return Ok(workers) };
    for id in alive {
        let Some(record) = state.facts.workers.get(&id) else { continue };
        let started = &record.started;
        if started.slots == 0 {
            // A job in the foreground, which is no worker for others.
            continue;
        }
        let stopping = record.stop_requested.is_some();
        workers.total += started.slots;
        workers.running += if stopping { 0 } else { started.slots };
        let runs = |job: &&crate::domain::job::Job| {
            job.claim.as_ref().is_some_and(|claim| claim.worker() == id)
        };
        workers.entries.push(Worker {
            pid: started.pid,
            host: started.host.clone(),
            started_at: record.started_at,
            slots: started.slots,
            queues: started.queues.clone(),
            stopping,
            jobs: state.processing().filter(runs).map(|job| job.id().to_string()).collect(),
            id,
        });
    }
    Ok(workers)
}

fn text(status: &Status, look: Look) -> String {
    const HEADS: [Head; 2] = [Head::new("STATE", 0), Head::new("JOBS", 0).right()];
    let counts = &status.counts;
    let numbers = [
        counts.pending,
        counts.processing,
        counts.completed,
        counts.failed,
        counts.dead,
        counts.cancelled,
    ];
    let row = |(state, number): (JobState, u64)| {
        let tint = if number == 0 { Tint::Dim } else { super::columns::tint(state) };
        vec![Cell::of(state.name()).tinted(tint), Cell::of(number.to_string())]
    };
    let rows: Vec<Vec<Cell>> = JobState::ALL.into_iter().zip(numbers).map(row).collect();
    let counts = table(&HEADS, &rows, look);
    let pairs = pairs(status, look);
    match look.terminal {
        Some(_) => format!("{counts}\n{}", facts(&pairs)),
        None => {
            let row = |(label, value)| vec![Cell::of(label), Cell::of(value)];
            let rows: Vec<Vec<Cell>> = pairs.into_iter().map(row).collect();
            format!("{counts}{}", table(&HEADS, &rows, look))
        }
    }
}

/// `2 completed, 1 cancelled`.
fn expired(counts: &BTreeMap<JobState, u64>) -> String {
    let counts = counts.iter().map(|(state, count)| format!("{count} {state}"));
    counts.collect::<Vec<_>>().join(", ")
}

fn pairs(status: &Status, look: Look) -> Vec<(&'static str, String)> {
    let workers = &status.workers;
    let moment = |at: Timestamp| match look.terminal {
        Some(_) => relative(at, look.now),
        None => at.to_string(),
    };
    let working = match workers.total {
        0 => "none".to_owned(),
        1 if workers.running == 1 => "1 slot".to_owned(),
        total if total == workers.running => format!("{total} slots"),
        total => format!("{} slots, {} more stopping", workers.running, total - workers.running),
    };
    let oldest = status.oldest_waiting.as_ref();
    let oldest = oldest.map(|w| format!("{}, enqueued {}", w.id, moment(w.since)));
    let free = status.disk.free_bytes.filter(|_| status.disk.full);
    let pairs = [
        ("workers", Some(working)),
        ("oldest waiting", oldest),
        ("next due", status.next_due.map(moment)),
        ("held", status.held.map(|count| format!("{count}, until retried or cancelled"))),
        ("log", Some(amount(status.disk.log_bytes))),
        ("expired", (!status.expired.is_empty()).then(|| expired(&status.expired))),
        ("disk", free.map(|free| format!("nearly full, {} free", amount(free)))),
        ("degraded", status.degraded.as_deref().map(visible)),
        ("unknown events", status.unknown_events.map(|count| count.to_string())),
        ("directory", Some(status.dir.clone())),
    ];
    pairs.into_iter().filter_map(|(label, value)| Some((label, value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::at_every_width;

    #[test]
    fn at_a_glance() {
        let moment = |text: &str| text.parse::<Timestamp>().unwrap();
        let id = "01KGE3H9000000000000000001".to_owned();
        let status = Status {
            dir: "/home/ann/.queuectl".into(),
            node: Some("desk-7f3a".into()),
            counts: Counts {
                pending: 12,
                processing: 4,
                completed: 1_234_567,
                failed: 1,
                dead: 2,
                cancelled: 0,
            },
            workers: Workers { running: 4, total: 6, entries: Vec::new() },
            oldest_waiting: Some(Waiting { id, since: moment("2026-02-02T03:00:00Z") }),
            next_due: Some(moment("2026-02-02T03:10:00Z")),
            disk: Disk {
                log_bytes: 5_000_000,
                free_bytes: Some(100_000),
                full: true,
                sync_error: None,
            },
            degraded: Some("00000001.jsonl: it does not hold at byte 96".into()),
            damage: Vec::new(),
            expired: [(JobState::Completed, 98_000), (JobState::Cancelled, 3)].into(),
            held: Some(3),
            unknown_events: None,
        };
        insta::assert_snapshot!(at_every_width(|look| text(&status, look)));
    }
}
