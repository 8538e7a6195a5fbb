//! `queuectl show`: everything about a job.

use std::time::Duration;

use super::args::jobs::Show as Args;
use super::choose::one;
use super::error::Failure;
use super::exit::Exit;
use super::job_json::View;
use super::output::Out;
use super::render::{Cell, Head, Look, brief, facts, relative, table};
use super::session::Session;
use crate::domain::job::{Run, Stdin};
use crate::domain::timestamp::Timestamp;
use crate::domain::units::format_duration;

/// Does it.
pub(super) fn perform(session: &mut Session, args: &Args) -> Result<Exit, Failure> {
    session.read()?;
    let view = session.view(one(session, &args.job)?);
    print(session, &view)?;
    Ok(session.finish(Exit::Done))
}

/// Prints the job.
pub(super) fn print(session: &Session, view: &View<'_>) -> Result<(), Failure> {
    let mut out = Out::new();
    if session.globals.json {
        out.json(&view.to_json())?;
        return out.flush();
    }
    out.text(&text(view, session.look))?;
    out.flush()
}

fn text(view: &View<'_>, look: Look) -> String {
    let mut text = facts(&pairs(view, look));
    if !view.job.runs.is_empty() {
        text.push('\n');
        text.push_str(&runs(&view.job.runs, look));
    }
    let tail = view.job.latest_run().and_then(|run| run.tail.as_ref());
    for (name, end) in tail.iter().flat_map(|t| [("stdout", &t.out), ("stderr", &t.err)]) {
        if !end.is_empty() {
            text.push_str(&format!("\nend of its {name}:\n"));
            text.push_str(&facts(&[("", end.clone())]));
        }
    }
    text
}

fn pairs(view: &View<'_>, look: Look) -> Vec<(&'static str, String)> {
    let (job, spec) = (view.job, &view.job.spec);
    let moment = |at: Timestamp| format!("{at} ({})", relative(at, look.now));
    let span = |span: Duration| {
        if span.is_zero() { "none".to_owned() } else { format_duration(span) }
    };
    let mut pairs = vec![
        ("id", spec.id.to_string()),
        ("state", job.state.to_string()),
        ("command", view.command()),
        ("attempts", format!("{} of {}", job.attempts, spec.attempts_allowed())),
        ("queue", spec.queue.to_string()),
        ("priority", spec.priority.to_string()),
        ("created", moment(job.created_at)),
        ("updated", moment(job.updated_at)),
        ("node", view.node.to_owned()),
    ];
    let tags = (!spec.tags.is_empty()).then(|| spec.tags.join(" "));
    let cwd = (!spec.cwd.0.is_empty()).then(|| spec.cwd.lossy().into_owned());
    let env: Vec<String> = spec.env.iter().map(|(k, v)| format!("{k}={}", v.lossy())).collect();
    let stdin = spec.stdin.as_ref().map(|stdin| match stdin {
        Stdin::File(path) => path.lossy().into_owned(),
        Stdin::Data(bytes) => format!("{} bytes, kept in the log", bytes.0.len()),
    });
    let more = [
        ("reason", view.reason.clone()),
        ("name", spec.name.clone()),
        ("tags", tags),
        ("run at", spec.run_at.map(moment)),
        ("next retry", view.next_retry_at().map(moment)),
        ("worker", view.worker().map(str::to_owned)),
        ("last error", view.last_error()),
        ("lost", (job.lost > 0).then(|| format!("{} runs with their worker", job.lost))),
        ("timeout", spec.timeout.map(span)),
        ("kill grace", spec.kill_grace.map(format_duration)),
        ("backoff base", spec.backoff_base.map(|base| base.to_string())),
        ("max delay", spec.max_delay.map(format_duration)),
        ("jitter", spec.jitter.map(|jitter| jitter.to_string())),
        ("directory", cwd),
        ("environment", (!env.is_empty()).then(|| env.join("\n"))),
        ("stdin", stdin),
        ("output", spec.merge_output.then(|| "stderr goes where stdout goes".to_owned())),
        ("meta", spec.meta.clone()),
        ("cancel", job.cancel_requested.then(|| "asked for".to_owned())),
    ];
    pairs.extend(more.into_iter().filter_map(|(label, value)| Some((label, value?))));
    pairs
}

fn runs(runs: &[Run], look: Look) -> String {
    const HEADS: [Head; 6] = [
        Head::new("RUN", 0).right(),
        Head::new("STARTED", 2).right(),
        Head::new("TOOK", 2).right(),
        Head::new("RESULT", 0),
        Head::new("WORKER", 4),
        Head::new("ERROR", 3).flexible(),
    ];
    let row = |run: &Run| {
        let took = run.ms.map(Duration::from_millis);
        vec![
            Cell::of(run.run.to_string()),
            Cell::pair(relative(run.started_at, look.now), run.started_at.to_string()),
            match took {
                Some(took) => Cell::pair(brief(took), took.as_millis().to_string()),
                None => Cell::default(),
            },
            Cell::of(run.result.map_or("running".to_owned(), |result| result.to_string())),
            Cell::of(run.claim.worker()),
            Cell::of(run.error.clone().unwrap_or_default()),
        ]
    };
    let rows: Vec<Vec<Cell>> = runs.iter().map(row).collect();
    table(&HEADS, &rows, look)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::at_every_width;
    use crate::domain::job::{Claim, Job, JobId, JobState, RunResult, Spec, Tail};

    #[test]
    fn everything_about_a_job() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let mut spec = Spec::shell(JobId::new("job1").unwrap(), "make report\nmake mail", 3);
        spec.tags = vec!["nightly".into()];
        spec.name = Some("report".into());
        spec.timeout = Some(Duration::ZERO);
        spec.cwd = "/home/ann".into();
        spec.env = [("A".into(), "1".into()), ("B".into(), "x\u{1b}y".into())].into();
        spec.meta = Some("{\"n\":1}".into());
        let run = |run, result, error: Option<&str>, tail| Run {
            run,
            claim: Claim::new("desk-7f3a.4k2mq7ab", u64::from(run)),
            started_at: at("2026-02-02T03:00:00Z"),
            finished_at: None,
            result,
            ms: result.map(|_| 61_500),
            error: error.map(str::to_owned),
            tail,
        };
        let tail = Tail { out: "one\ntwo\n".into(), err: "no such file\n".into() };
        let job = Job {
            spec,
            state: JobState::Failed,
            order: 1,
            created_at: at("2026-02-02T02:00:00Z"),
            updated_at: at("2026-02-02T03:01:00Z"),
            attempts: 2,
            lost: 1,
            last_run: 2,
            due: Some(at("2026-02-02T03:10:00Z")),
            delay: Some(Duration::from_secs(4)),
            claim: None,
            cancel_requested: false,
            reason: None,
            held: None,
            origin: None,
            runs: vec![
                run(1, Some(RunResult::Lost), None, None),
                run(2, Some(RunResult::Exit(2)), Some("its output was cut"), Some(tail)),
            ],
        };
        let view = View { node: "desk-7f3a", job: &job, reason: Some("at 2026".into()) };
        insta::assert_snapshot!(at_every_width(|look| text(&view, look)));
    }
}
