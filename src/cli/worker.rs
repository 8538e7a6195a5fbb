//! `queuectl worker`: starts, stops and lists workers.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::args::worker::{List as ListArgs, Start, Stop, Worker as Args, WorkerVerb};
use super::choose::jobs;
use super::error::Failure;
use super::exit::Exit;
use super::news::News;
use super::output::{Form, List, Out, message};
use super::render::{Cell, Head, Look, Tint, relative, table};
use super::reporter::{Lines, Prefix};
use super::session::Session;
use super::status::{Worker, workers};
use super::stranded::Stranded;
use crate::domain::decide::{self, Refusal};
use crate::domain::event::WorkerStarted;
use crate::store::presence::{self, Liveness};
use crate::worker::process::detach::{Detached, begin_session, run_detached};
use crate::worker::process::stop::{is_running, stop_by_signal};
use crate::worker::signal::{Prepared, prepare};
use crate::worker::{Summary, WorkerOptions, work};

/// How often it is looked whether workers are gone.
const LOOK: Duration = Duration::from_millis(100);

/// Does it.
pub(super) fn perform(session: &mut Session, args: &Args) -> Result<Exit, Failure> {
    match &args.verb {
        WorkerVerb::Start(args) if args.detach => detach(session),
        WorkerVerb::Start(args) => start(session, args),
        WorkerVerb::Stop(args) => stop(session, args),
        WorkerVerb::List(args) => list(session, args),
    }
}

fn start(session: &mut Session, args: &Start) -> Result<Exit, Failure> {
    let refused = |error: std::io::Error| Failure::refused(error.to_string());
    if args.detached {
        begin_session().map_err(refused)?;
    }
    if let Prepared::Relayed(code) = prepare().map_err(refused)? {
        return Ok(Exit::Job(code));
    }
    session.warn_of_place();
    let options = WorkerOptions {
        slots: usize::try_from(args.count).unwrap_or(usize::MAX),
        queues: args.queue.clone(),
        drain: args.drain,
        max_jobs: args.max_jobs,
        stop_timeout: args.stop_timeout,
        output: args.output,
        overrides: session.settings.overrides(),
    };
    let mut lines = Lines::new(Prefix::JobId, session.globals.quiet);
    let outcome = work(&mut session.store, options, &mut lines);
    // Its line of progress goes before anything else is said.
    drop(lines);
    session.tell_notices();
    let Summary { scheduled, paused, .. } = outcome?;
    let left = [(scheduled, "scheduled for later"), (paused, "in paused queues")];
    for (count, which) in left.into_iter().filter(|(count, _)| args.drain && *count > 0) {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        session.note(&format!("left {}", jobs(count, which)));
    }
    if args.drain {
        Stranded::of_queue(session).tell_ways_out(session);
    }
    Ok(Exit::Done)
}

/// A worker in the background, and where what it says goes.
#[derive(Serialize)]
struct DetachedJson {
    id: String,
    log: String,
}

/// Starts this program again in the background, and prints the worker's id once it works.
fn detach(session: &mut Session) -> Result<Exit, Failure> {
    // Makes the directory that the log file is in.
    session.store.sync_what_was_read().map_err(Failure::of_writing)?;
    let log = session.store.place().worker_log();
    let mut working = None;
    let outcome = run_detached("--detach", "--detached", &log, |pid| {
        working = with_pid(session, pid);
        working.is_some()
    });
    match outcome.map_err(|error| Failure::refused(error.to_string()))? {
        Detached::Ended { code, said } => {
            message(&said);
            Ok(Exit::Job(code))
        }
        Detached::Working => {
            let (worker, log) = (working.unwrap_or_default(), log.to_string_lossy().into_owned());
            session.note(&format!("what it says goes to {log}"));
            let mut out = Out::new();
            match session.globals.json {
                true => out.json(&DetachedJson { id: worker, log })?,
                false => out.text(&format!("{worker}\n"))?,
            }
            out.flush()?;
            Ok(Exit::Done)
        }
    }
}

/// The live worker that is this process, once the log tells of it.
fn with_pid(session: &mut Session, pid: u32) -> Option<String> {
    session.refind_place().ok()?;
    session.read().ok()?;
    let workers = workers(session).ok()?;
    workers.entries.into_iter().find(|worker| worker.pid == pid).map(|worker| worker.id)
}

fn stop(session: &mut Session, args: &Stop) -> Result<Exit, Failure> {
    session.read()?;
    let mut stopping: Vec<WorkerStarted> = Vec::new();
    let alive = session.live_workers()?;
    let known = session.store.own().map(|own| own.facts.workers.clone()).unwrap_or_default();
    for worker in &args.workers {
        if !alive.contains(worker) {
            return Err(Refusal::NoSuchWorker(worker.clone()).into());
        }
    }
    for id in alive {
        let is_wanted = args.workers.is_empty() || args.workers.contains(&id);
        // A worker without slots is a job in the foreground, which its own terminal stops.
        let record = known.get(&id).filter(|record| is_wanted && record.started.slots > 0);
        stopping.extend(record.map(|record| record.started.clone()));
    }
    if stopping.is_empty() {
        session.note("no worker is running on this machine");
        return Ok(Exit::Done);
    }
    ask_to_stop(session, &stopping, args.now)?;
    if args.no_wait {
        return Ok(Exit::Done);
    }
    let deadline = args.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    if !wait_until_gone(session, &mut stopping, deadline)? {
        session.note("ending what still runs");
        ask_to_stop(session, &stopping, true)?;
        wait_until_gone(session, &mut stopping, None)?;
    }
    session.note("stopped");
    Ok(Exit::Done)
}

/// Writes down that the workers are to stop. Where that can't be written, as on a full disk, a signal says it.
fn ask_to_stop(session: &mut Session, workers: &[WorkerStarted], now: bool) -> Result<(), Failure> {
    let outcome = session.store.transact(|node, _| {
        let mut events = Vec::new();
        for worker in workers {
            match decide::stop_worker(node, &worker.worker, now) {
                Ok(event) => events.extend(event),
                // It is gone by now.
                Err(Refusal::NoSuchWorker(_)) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok((events, ()))
    });
    session.tell_notices();
    let Err(error) = outcome else { return Ok(()) };
    let failure = Failure::of_writing(error);
    let boot = session.store.boot().to_owned();
    for worker in workers {
        let told = stop_by_signal(worker, &boot, if now { 2 } else { 1 });
        if !told.is_ok_and(|told| told) {
            return Err(failure);
        }
    }
    session.note(&format!("note: told by signal, as the log cannot be written: {failure}"));
    Ok(())
}

/// Waits until none of the workers holds its lock any more; says no where the deadline came first.
fn wait_until_gone(
    session: &mut Session,
    workers: &mut Vec<WorkerStarted>,
    deadline: Option<Instant>,
) -> Result<bool, Failure> {
    let mut news = News::of(session, LOOK);
    let (disk, run_dir) = (session.store.disk().clone(), session.store.place().run_dir());
    loop {
        let mut left = Vec::new();
        for worker in workers.drain(..) {
            let liveness = presence::probe(disk.as_ref(), &run_dir, &worker.worker)
                .map_err(|error| Failure::refused(error.to_string()))?;
            if liveness == Liveness::Alive || is_running(&worker, session.store.boot()) {
                left.push(worker);
            }
        }
        *workers = left;
        if workers.is_empty() {
            return Ok(true);
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Ok(false);
        }
        news.wait(deadline);
    }
}

fn list(session: &mut Session, args: &ListArgs) -> Result<Exit, Failure> {
    session.read()?;
    let workers = workers(session)?;
    let form = Form::of(session.globals.json, args.lines.jsonl);
    let mut out = Out::new();
    if form != Form::Table {
        let mut list = List::begin(&mut out, form)?;
        for worker in &workers.entries {
            let text = serde_json::to_string(worker).expect("BUG: a worker that is no JSON");
            list.entry(&mut out, &text)?;
        }
        list.end(&mut out)?;
    } else if workers.entries.is_empty() {
        session.note("no worker is running on this machine");
    } else {
        out.text(&text(&workers.entries, session.look))?;
    }
    out.flush()?;
    Ok(session.finish(Exit::Done))
}

fn text(workers: &[Worker], look: Look) -> String {
    const HEADS: [Head; 7] = [
        Head::new("WORKER", 0),
        Head::new("STATE", 1),
        Head::new("PID", 2).right(),
        Head::new("SLOTS", 3).right(),
        Head::new("STARTED", 4).right(),
        Head::new("QUEUES", 6),
        Head::new("JOBS", 5).flexible(),
    ];
    let row = |worker: &Worker| {
        let (state, tint) =
            if worker.stopping { ("stopping", Tint::Warn) } else { ("running", Tint::Busy) };
        let busy = format!("{}/{}", worker.jobs.len(), worker.slots);
        let age = relative(worker.started_at, look.now);
        vec![
            Cell::of(&worker.id),
            Cell::of(state).tinted(tint),
            Cell::of(worker.pid.to_string()),
            Cell::pair(busy, worker.slots.to_string()),
            Cell::pair(age, worker.started_at.to_string()),
            Cell::of(worker.queues.join(",")),
            Cell::of(worker.jobs.join(",")),
        ]
    };
    let rows: Vec<Vec<Cell>> = workers.iter().map(row).collect();
    table(&HEADS, &rows, look)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::at_every_width;

    #[test]
    fn workers_as_a_table() {
        let worker = |id: &str, stopping, queues: &[&str], jobs: &[&str]| Worker {
            id: id.into(),
            pid: 4711,
            host: "desk".into(),
            started_at: "2026-02-02T01:04:05Z".parse().unwrap(),
            slots: 4,
            queues: queues.iter().map(ToString::to_string).collect(),
            stopping,
            jobs: jobs.iter().map(ToString::to_string).collect(),
        };
        let workers = [
            worker("desk-7f3a.4k2mq7ab", false, &[], &["01KGE3H9000000000000000001", "job1"]),
            worker("desk-7f3a.9x8yz3cd", true, &["mail", "slow"], &[]),
        ];
        insta::assert_snapshot!(at_every_width(|look| text(&workers, look)));
    }
}
