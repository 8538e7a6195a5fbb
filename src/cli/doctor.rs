//! `queuectl doctor`: says what is in order with the queue and what is not, and mends it where that is wanted.
//!
//! Knows the checks by their names alone; what they look at is the store's business.

mod repair;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use self::repair::Repair;
use super::args::doctor::Doctor as Args;
use super::error::Failure;
use super::exit::Exit;
use super::output::{Out, ask, is_interactive};
use super::progress::{Progress, of_the_store};
use super::render::{Cell, Look, amount, table, visible};
use super::session::Session;
use crate::store::doctor::{Check, Level, Report};

/// What was found, as JSON.
#[derive(Serialize)]
struct Document<'a> {
    /// Whether no check found a fault.
    ok: bool,
    dir: String,
    node: Option<&'a str>,
    checks: Vec<CheckJson<'a>>,
    /// Which lines of this machine's log are missing.
    missing: Vec<Missing>,
    /// What was done, or would be; absent where nothing was to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    repair: Option<&'a Repair>,
}

#[derive(Serialize)]
struct CheckJson<'a> {
    check: &'a str,
    level: &'a str,
    summary: &'a str,
    found: Vec<FindingJson<'a>>,
    /// How many findings there are beyond those that are listed.
    more: u64,
    skipped: Option<&'a str>,
    measured: BTreeMap<&'a str, u64>,
    hint: Option<&'a str>,
}

#[derive(Serialize)]
struct FindingJson<'a> {
    level: &'a str,
    file: String,
    what: &'a str,
}

/// From this `seq` to that one.
#[derive(Debug, Clone, Copy, Serialize)]
struct Missing {
    from: u64,
    to: u64,
}

/// Does it.
pub(super) fn perform(session: &mut Session, args: &Args) -> Result<Exit, Failure> {
    let report = examine(session)?;
    if !args.repair {
        return answer(session, &report, None);
    }
    let steps = session.store.repairs(&report);
    if steps.is_empty() {
        session.note(match report.is_ok() {
            true => "nothing to repair",
            false => "nothing here can be repaired by a machine",
        });
        return answer(session, &report, Some(&Repair::default()));
    }
    if args.consent.dry_run {
        for step in &steps {
            session.note(&format!("would {}", step.sentence()));
        }
        return answer(session, &report, Some(&Repair::of(&steps)));
    }
    if !args.consent.yes {
        let what = steps.iter().map(|step| step.sentence()).collect::<Vec<_>>().join("; ");
        if !is_interactive() {
            return Err(Failure::usage(format!(
                "to {what}: needs --yes where nobody can be asked"
            ))
            .hint("--dry-run says what would be done"));
        }
        if !ask(&format!("{what}?")) {
            session.note("nothing is done");
            return Ok(Exit::Refused);
        }
    }
    let repair = repair::perform(session, &report, &steps)?;
    let report = examine(session)?;
    answer(session, &report, Some(&repair))
}

/// Looks at everything; on a terminal a line says how far it is.
fn examine(session: &mut Session) -> Result<Report, Failure> {
    session.store.tell(of_the_store(session.globals.quiet));
    let progress = Progress::new(session.globals.quiet);
    let examined = session.store.examine(&mut |what| progress.show(&format!("looking at {what}")));
    progress.clear();
    examined.map_err(Failure::of_reading)
}

fn answer(session: &Session, report: &Report, repair: Option<&Repair>) -> Result<Exit, Failure> {
    let root = session.store.place().root();
    let mut out = Out::new();
    if session.globals.json {
        out.json(&document(session, report, repair))?;
    } else if session.look.terminal.is_some() {
        out.text(&for_people(report, root, session.look))?;
    } else {
        out.text(&for_scripts(report, session.look))?;
    }
    out.flush()?;
    if !session.store.place().exists() {
        session.note(&format!("note: there is no queue in {} yet", root.display()));
    }
    Ok(if report.is_ok() { Exit::Done } else { Exit::Damaged })
}

fn document<'a>(
    session: &'a Session,
    report: &'a Report,
    repair: Option<&'a Repair>,
) -> Document<'a> {
    let place = session.store.place();
    let check = |check: &'a Check| CheckJson {
        check: check.name,
        level: check.level().name(),
        summary: &check.summary,
        found: check
            .found
            .iter()
            .map(|finding| FindingJson {
                level: finding.level.name(),
                file: finding.file.display().to_string(),
                what: &finding.what,
            })
            .collect(),
        more: check.more,
        skipped: check.skipped.as_deref(),
        measured: check.measured.iter().copied().collect(),
        hint: check.hint,
    };
    Document {
        ok: report.is_ok(),
        dir: place.root().display().to_string(),
        node: place.node(),
        checks: report.checks.iter().map(check).collect(),
        missing: report.missing.iter().map(|&(from, to)| Missing { from, to }).collect(),
        repair,
    }
}

/// A line a check, and one for each thing it found: level, check, file, text.
fn for_scripts(report: &Report, look: Look) -> String {
    let mut rows = Vec::new();
    for check in &report.checks {
        let row = |level: Level, file: String, what: &str| {
            [level.name(), check.name, &file, what].map(Cell::of).to_vec()
        };
        let measured = check.measured.iter().map(|(name, value)| format!("{name}={value}"));
        rows.push(row(check.level(), String::new(), &about(check, measured)));
        for finding in &check.found {
            rows.push(row(finding.level, finding.file.display().to_string(), &finding.what));
        }
    }
    table(&[], &rows, look)
}

/// A line a check behind its mark, and below it what it found.
fn for_people(report: &Report, root: &Path, look: Look) -> String {
    let mut text = String::new();
    let widest = report.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    for check in &report.checks {
        let name = check.name.replace('_', " ");
        let measured = check.measured.iter().map(|(name, value)| measure(name, *value));
        let about = visible(&about(check, measured));
        let line = format!("{}  {name:widest$}  {about}", mark(check, look));
        text.push_str(&format!("{}\n", line.trim_end()));
        for finding in &check.found {
            let file = finding.file.strip_prefix(root).unwrap_or(&finding.file);
            let file = if file.as_os_str().is_empty() { &finding.file } else { file };
            let what = visible(&format!("{}: {}", file.display(), finding.what));
            text.push_str(&format!("       {what}\n"));
        }
        if check.more > 0 {
            text.push_str(&format!("       and {} more\n", check.more));
        }
        if let Some(hint) = check.hint {
            text.push_str(&format!("       hint: {hint}\n"));
        }
    }
    text
}

/// What was looked at and measured, or why it was not.
fn about(check: &Check, measured: impl Iterator<Item = String>) -> String {
    if let Some(why) = &check.skipped {
        return format!("skipped: {why}");
    }
    let summary = Some(check.summary.clone()).filter(|summary| !summary.is_empty());
    summary.into_iter().chain(measured).collect::<Vec<_>>().join(", ")
}

/// `woke after 412 µs`, `free 3.4 GiB`.
fn measure(name: &str, value: u64) -> String {
    let value_of = |ending: &str| name.strip_suffix(ending).map(|name| name.replace('_', " "));
    if let Some(name) = value_of("_bytes") {
        format!("{name} {}", amount(value))
    } else if let Some(name) = value_of("_us") {
        let ms = value as f64 / 1000.0;
        if ms < 1.0 { format!("{name} {value} µs") } else { format!("{name} {ms:.1} ms") }
    } else {
        format!("{} {value}", name.replace('_', " "))
    }
}

fn mark(check: &Check, look: Look) -> String {
    let (mark, color) = match check.level() {
        _ if check.skipped.is_some() => ("-    ", 2),
        Level::Ok => ("ok   ", 32),
        Level::Note => ("note ", 33),
        Level::Fault => ("fault", 31),
    };
    if look.color { format!("\u{1b}[{color}m{mark}\u{1b}[0m") } else { mark.to_owned() }
}
