//! `queuectl list`: the jobs there are, in order of creation.

use super::args::jobs::List as Args;
use super::choose::{select, selector_or_all};
use super::columns::{Column, LIST, LIST_PIPED, ShortIds};
use super::error::Failure;
use super::exit::Exit;
use super::job_json::View;
use super::output::{Form, List, Out};
use super::render::table;
use super::session::Session;
use super::stranded::Stranded;

/// Does it.
pub(super) fn perform(session: &mut Session, args: &Args) -> Result<Exit, Failure> {
    session.read()?;
    let selector = selector_or_all(&args.selection)?;
    let selected = select(session, &selector)?;
    let newest = selected.jobs.len().saturating_sub(args.limit.unwrap_or(usize::MAX));
    let mut views: Vec<View> =
        selected.jobs[newest..].iter().map(|job| session.view(*job)).collect();
    if let Some(column) = args.sort {
        views.sort_by(|a, b| column.compare(a, b));
    }
    if args.reverse {
        views.reverse();
    }
    let form = Form::of(session.globals.json, args.lines.jsonl);
    if args.ids {
        print_ids(&views)?;
    } else {
        let defaults: &[Column] = if session.look.terminal.is_some() { &LIST } else { &LIST_PIPED };
        let columns = if args.columns.is_empty() { defaults } else { &args.columns };
        print(session, &views, columns, form)?;
    }
    if views.is_empty() && form == Form::Table {
        session.note(match (session.jobs().is_empty(), session.is_damaged()) {
            (true, true) => "no job can be read",
            (true, false) => "the queue has no jobs",
            (false, _) => "no job is selected",
        });
    }
    let shown = views.iter().map(|view| (view.node, view.job));
    Stranded::among(session, shown).tell_ways_out(session);
    session.warn_of_disk();
    Ok(session.finish(Exit::Done))
}

/// Prints jobs in the wanted form; as a table, with these columns.
pub(super) fn print(
    session: &Session,
    views: &[View<'_>],
    columns: &[Column],
    form: Form,
) -> Result<(), Failure> {
    let mut out = Out::new();
    if form != Form::Table {
        let mut list = List::begin(&mut out, form)?;
        for view in views {
            list.entry(&mut out, view.to_json().get())?;
        }
        list.end(&mut out)?;
        return out.flush();
    }
    if views.is_empty() {
        return Ok(());
    }
    let ids = match session.look.terminal {
        Some(_) => {
            let jobs = session.jobs();
            ShortIds::among(jobs.iter().map(|(_, job)| job.id().as_str()))
        }
        None => ShortIds::default(),
    };
    let heads: Vec<_> = columns.iter().map(|column| column.head()).collect();
    // A pipe needs no widths, so that nothing is kept.
    let chunk = if session.look.terminal.is_some() { views.len() } else { 1000 };
    for views in views.chunks(chunk) {
        let cells = |view| columns.iter().map(|c| c.cell(view, &ids, session.look)).collect();
        let rows: Vec<Vec<_>> = views.iter().map(cells).collect();
        out.text(&table(&heads, &rows, session.look))?;
    }
    out.flush()
}

fn print_ids(views: &[View<'_>]) -> Result<(), Failure> {
    let mut out = Out::new();
    for view in views {
        out.text(view.job.id().as_str())?;
        out.text("\n")?;
    }
    out.flush()
}
