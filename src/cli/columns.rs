//! The fields of a job as columns of a table: how each is headed, shown, written for scripts and sorted.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::job_json::View;
use super::render::{Cell, Head, Look, Tint, brief, relative};
use crate::domain::job::JobState;
use crate::domain::suggest::closest;
use crate::domain::timestamp::Timestamp;

/// A field of a job that `--columns` and `--sort` take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// The id.
    Id,
    /// The command, shell-quoted.
    Command,
    /// The state.
    State,
    /// Attempts so far; of how many, for people.
    Attempts,
    /// Failed attempts after which it is dead.
    MaxRetries,
    /// When it was enqueued.
    CreatedAt,
    /// When anything last happened to it.
    UpdatedAt,
    /// The priority.
    Priority,
    /// The queue.
    Queue,
    /// The name.
    Name,
    /// The tags.
    Tags,
    /// The directory it runs in.
    Cwd,
    /// Not before this moment.
    RunAt,
    /// When its retry is due.
    NextRetryAt,
    /// When its last run began.
    StartedAt,
    /// When it was finished.
    FinishedAt,
    /// How long its last run took.
    DurationMs,
    /// How the last run ended.
    Result,
    /// The exit code of the last run.
    ExitCode,
    /// What went wrong last.
    LastError,
    /// Runs so far.
    Runs,
    /// Runs lost with their worker.
    Lost,
    /// Who runs it, or ran it last.
    Worker,
    /// The node that owns it.
    Node,
    /// Why it waits, is dead or was cancelled.
    Reason,
}

/// Every column with its name and how it stands in a table.
const COLUMNS: [(Column, &str, Head); 25] = [
    (Column::Id, "id", Head::new("ID", 0)),
    (Column::Command, "command", Head::new("COMMAND", 0).flexible()),
    (Column::State, "state", Head::new("STATE", 0)),
    (Column::Attempts, "attempts", Head::new("TRIES", 3).right()),
    (Column::MaxRetries, "max_retries", Head::new("MAX", 4).right()),
    (Column::CreatedAt, "created_at", Head::new("CREATED", 4).right()),
    (Column::UpdatedAt, "updated_at", Head::new("UPDATED", 4).right()),
    (Column::Priority, "priority", Head::new("PRIORITY", 4).right()),
    (Column::Queue, "queue", Head::new("QUEUE", 6)),
    (Column::Name, "name", Head::new("NAME", 5)),
    (Column::Tags, "tags", Head::new("TAGS", 5)),
    (Column::Cwd, "cwd", Head::new("CWD", 5).flexible()),
    (Column::RunAt, "run_at", Head::new("RUN AT", 4).right()),
    (Column::NextRetryAt, "next_retry_at", Head::new("RETRY", 4).right()),
    (Column::StartedAt, "started_at", Head::new("STARTED", 4).right()),
    (Column::FinishedAt, "finished_at", Head::new("FINISHED", 4).right()),
    (Column::DurationMs, "duration_ms", Head::new("TOOK", 4).right()),
    (Column::Result, "result", Head::new("RESULT", 2)),
    (Column::ExitCode, "exit_code", Head::new("EXIT", 3).right()),
    (Column::LastError, "last_error", Head::new("ERROR", 4).flexible()),
    (Column::Runs, "runs", Head::new("RUNS", 5).right()),
    (Column::Lost, "lost", Head::new("LOST", 6).right()),
    (Column::Worker, "worker", Head::new("WORKER", 5)),
    (Column::Node, "node", Head::new("NODE", 6)),
    (Column::Reason, "reason", Head::new("REASON", 4).flexible()),
];

/// Columns of `list` where none are asked for, on a terminal.
pub const LIST: [Column; 7] = [
    Column::Id,
    Column::State,
    Column::Attempts,
    Column::Queue,
    Column::CreatedAt,
    Column::Command,
    Column::Reason,
];

/// Columns of `list` where none are asked for, in a pipe.
pub const LIST_PIPED: [Column; 6] = [
    Column::Id,
    Column::State,
    Column::Attempts,
    Column::Queue,
    Column::CreatedAt,
    Column::Command,
];

/// Columns of `dlq list`.
pub const DLQ: [Column; 5] =
    [Column::Id, Column::Attempts, Column::Result, Column::UpdatedAt, Column::Command];

/// Reads the name of a column, with dashes or underscores, in any case.
///
/// Errors: an unknown one, with the names there are.
pub fn parse(text: &str) -> Result<Column, String> {
    let plain = text.trim().to_ascii_lowercase().replace('-', "_");
    let known = COLUMNS.iter().find(|(_, name, _)| *name == plain);
    known.map(|(column, ..)| *column).ok_or_else(|| {
        let names: Vec<&str> = COLUMNS.iter().map(|(_, name, _)| *name).collect();
        let tip = closest(text, names.iter().copied())
            .map(|name| format!("\n\n  tip: did you mean '{name}'?"))
            .unwrap_or_default();
        format!("no such field; the fields are {}{tip}", names.join(", "))
    })
}

/// Ids shortened so far that each still names its job.
#[derive(Debug, Default)]
pub struct ShortIds(HashMap<String, usize>);

/// The fewest characters of a generated id that are shown.
const SHORTEST_SHOWN: usize = 10;

impl ShortIds {
    /// Finds how far each generated id can be shortened among `ids`, which are all there are.
    pub fn among<'a>(ids: impl Iterator<Item = &'a str>) -> Self {
        let mut generated: Vec<&str> = ids.filter(|id| id.len() == 26).collect();
        generated.sort_unstable();
        let common =
            |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
        let mut lengths: HashMap<String, usize> = HashMap::new();
        for (at, id) in generated.iter().enumerate() {
            let before = at.checked_sub(1).map_or(0, |before| common(generated[before], id));
            let behind = generated.get(at + 1).map_or(0, |behind| common(behind, id));
            let len = (before.max(behind) + 1).clamp(SHORTEST_SHOWN, 26);
            lengths.insert((*id).to_owned(), len);
        }
        ShortIds(lengths)
    }

    fn shorten<'i>(&self, id: &'i str) -> &'i str {
        self.0.get(id).and_then(|len| id.get(..*len)).unwrap_or(id)
    }
}

impl Column {
    /// How the column stands in a table.
    pub fn head(self) -> Head {
        let known = COLUMNS.iter().find(|(column, ..)| *column == self);
        known.map(|(.., head)| *head).expect("BUG: a column without head")
    }

    /// The field of one job.
    pub fn cell(self, view: &View<'_>, ids: &ShortIds, look: Look) -> Cell {
        let (job, spec) = (view.job, &view.job.spec);
        let moment = |at: Option<Timestamp>| match at {
            Some(at) => Cell::pair(relative(at, look.now), at.to_string()),
            None => Cell::default(),
        };
        let text = |text: Option<String>| Cell::of(text.unwrap_or_default());
        match self {
            Column::Id => Cell::pair(ids.shorten(spec.id.as_str()), spec.id.as_str()),
            Column::Command => Cell::of(view.command()),
            Column::State => Cell::of(job.state.name()).tinted(tint(job.state)),
            Column::Attempts => {
                let of = format!("{}/{}", job.attempts, spec.attempts_allowed());
                Cell::pair(of, job.attempts.to_string())
            }
            Column::MaxRetries => Cell::of(spec.max_retries.to_string()),
            Column::CreatedAt => moment(Some(job.created_at)),
            Column::UpdatedAt => moment(Some(job.updated_at)),
            Column::Priority => Cell::of(spec.priority.to_string()),
            Column::Queue => Cell::of(&*spec.queue),
            Column::Name => text(spec.name.clone()),
            Column::Tags => Cell::of(spec.tags.join(",")),
            Column::Cwd => Cell::of(spec.cwd.lossy()),
            Column::RunAt => moment(spec.run_at),
            Column::NextRetryAt => moment(view.next_retry_at()),
            Column::StartedAt => moment(job.latest_run().map(|run| run.started_at)),
            Column::FinishedAt => moment(view.finished_at()),
            Column::DurationMs => match view.ended().and_then(|run| run.ms) {
                Some(ms) => Cell::pair(brief(std::time::Duration::from_millis(ms)), ms.to_string()),
                None => Cell::default(),
            },
            Column::Result => text(view.ended().and_then(|run| run.result).map(|r| r.to_string())),
            Column::ExitCode => text(exit_code(view).map(|code| code.to_string())),
            Column::LastError => text(view.last_error()),
            Column::Runs => Cell::of(job.last_run.to_string()),
            Column::Lost => Cell::of(job.lost.to_string()),
            Column::Worker => text(view.worker().map(str::to_owned)),
            Column::Node => Cell::of(view.node),
            Column::Reason => {
                let full = view.reason.clone().unwrap_or_default();
                let due = job.due.filter(|due| full.starts_with("at ") && *due > look.now);
                let short = due.map_or(full.clone(), |due| relative(due, look.now));
                Cell::pair(short, full).tinted(Tint::Dim)
            }
        }
    }

    /// Which of two jobs comes first when they are ordered by this field; those without it come first.
    pub fn compare(self, a: &View<'_>, b: &View<'_>) -> Ordering {
        let by = |key: &dyn Fn(&View<'_>) -> Option<i128>| key(a).cmp(&key(b));
        let moment = |at: Option<Timestamp>| at.map(|at| i128::from(at.micros()));
        match self {
            Column::State => a.job.state.cmp(&b.job.state),
            Column::Attempts => a.job.attempts.cmp(&b.job.attempts),
            Column::MaxRetries => a.job.spec.max_retries.cmp(&b.job.spec.max_retries),
            Column::CreatedAt => a.job.created_at.cmp(&b.job.created_at),
            Column::UpdatedAt => a.job.updated_at.cmp(&b.job.updated_at),
            Column::Priority => a.job.spec.priority.cmp(&b.job.spec.priority),
            Column::RunAt => a.job.spec.run_at.cmp(&b.job.spec.run_at),
            Column::NextRetryAt => by(&|view| moment(view.next_retry_at())),
            Column::StartedAt => by(&|view| moment(view.job.latest_run().map(|r| r.started_at))),
            Column::FinishedAt => by(&|view| moment(view.finished_at())),
            Column::DurationMs => by(&|view| view.ended()?.ms.map(i128::from)),
            Column::ExitCode => exit_code(a).cmp(&exit_code(b)),
            Column::Runs => a.job.last_run.cmp(&b.job.last_run),
            Column::Lost => a.job.lost.cmp(&b.job.lost),
            _ => {
                let (ids, look) = (
                    ShortIds::default(),
                    Look { terminal: None, color: false, now: Timestamp::MIN },
                );
                self.cell(a, &ids, look).full.cmp(&self.cell(b, &ids, look).full)
            }
        }
    }
}

fn exit_code(view: &View<'_>) -> Option<i32> {
    match view.ended()?.result {
        Some(crate::domain::job::RunResult::Exit(code)) => Some(code),
        _ => None,
    }
}

/// The colour of a state.
pub fn tint(state: JobState) -> Tint {
    match state {
        JobState::Pending => Tint::Plain,
        JobState::Processing => Tint::Busy,
        JobState::Completed => Tint::Good,
        JobState::Failed => Tint::Warn,
        JobState::Dead => Tint::Bad,
        JobState::Cancelled => Tint::Dim,
    }
}

#[cfg(test)]
mod tests;
