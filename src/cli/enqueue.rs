//! `queuectl enqueue`: puts jobs into the queue and prints their ids.

use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::args::enqueue::{Enqueue, OnConflict as OnConflictFlag};
use super::args::words::{Split, Words};
use super::error::Failure;
use super::exit::Exit;
use super::input::{self, Draft, Fixed, Surroundings};
use super::output::{Form, List, Out};
use super::session::Session;
use crate::domain::bytes::Bytes;
use crate::domain::decide::OnConflict;
use crate::domain::event::Event;
use crate::domain::job::{JobId, Spec};
use crate::domain::timestamp::Timestamp;
use crate::domain::units::format_size;
use crate::store;

/// Does it.
pub(super) fn perform(session: &mut Session, args: &Enqueue) -> Result<Exit, Failure> {
    let source = Source::of(args)?;
    let mut drafts = with_surroundings(session, |around| {
        let around = &match source.is_stdin() {
            true => Surroundings { stdin: &stdin_is_taken, cwd: around.cwd.clone(), ..*around },
            false => Surroundings { cwd: around.cwd.clone(), ..*around },
        };
        let flags = input::from_flags(&args.job, around)?;
        let drafts = source.drafts(around)?;
        Ok(drafts.into_iter().map(|draft| draft.overridden_by(&flags)).collect::<Vec<_>>())
    })?;
    if let Some(id) = &args.id {
        give_id(&mut drafts, id)?;
    }
    if let Some(word) = &args.words.looks_like_option {
        session.note(&format!("note: {word} is part of the command; options stand before it"));
    }
    session.warn_of_place();
    let on_conflict = on_conflict(&drafts, args.on_conflict)?;
    let has_chosen_ids = drafts.iter().any(|draft| draft.id.is_some());
    let specs = specs(session, drafts)?;
    if specs.is_empty() {
        session.note("no job to enqueue");
        return answer(session, &[]);
    }
    let outcome = session.store.enqueue(store::Enqueue { specs, has_chosen_ids, on_conflict });
    session.tell_notices();
    let ids = outcome.map_err(Failure::of_writing)?;
    let exit = answer(session, &ids).map_err(|failure| match failure.is_quiet() {
        true => failure,
        false => failure.hint("the jobs are recorded all the same; queuectl list shows them"),
    })?;
    session.say_where_no_worker_is();
    Ok(exit)
}

/// Where jobs come from.
enum Source<'a> {
    Shell(&'a OsStr),
    Words(&'a [OsString]),
    Json(&'a OsStr),
    File(&'a Path),
    Lines(&'a Path),
}

impl<'a> Source<'a> {
    /// Errors: a usage error unless exactly one is given.
    fn of(args: &'a Enqueue) -> Result<Self, Failure> {
        let sources = [
            args.command.as_deref().map(Source::Shell),
            args.file.as_deref().map(Source::File),
            args.lines.as_deref().map(Source::Lines),
            Self::of_words(&args.words),
        ];
        let mut given = sources.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(source), None) => Ok(source),
            (None, _) => Err(Failure::usage("no job is given")
                .hint("queuectl enqueue 'COMMAND', or --command, --file or --lines")),
            (Some(_), Some(_)) => Err(Failure::usage(
                "the job is given twice: as words, --command, --file or --lines",
            )),
        }
    }

    fn of_words(split: &'a Split) -> Option<Self> {
        match &split.words {
            Words::None => None,
            Words::Whole(word) if word == "-" => Some(Source::File(Path::new("-"))),
            Words::Whole(word) if word.as_bytes().starts_with(b"{") => Some(Source::Json(word)),
            Words::Whole(word) if word.as_bytes().starts_with(b"[") => Some(Source::Json(word)),
            Words::Whole(word) => Some(Source::Shell(word)),
            Words::Command(words) | Words::Explicit(words) => Some(Source::Words(words)),
        }
    }

    fn is_stdin(&self) -> bool {
        matches!(self, Source::File(path) | Source::Lines(path) if *path == Path::new("-"))
    }

    fn drafts(&self, around: &Surroundings<'_>) -> Result<Vec<Draft>, Failure> {
        match self {
            Source::Shell(command) => Ok(vec![input::from_shell(command.as_bytes())?]),
            Source::Words(words) => Ok(vec![input::from_words(words)?]),
            Source::Json(text) => input::from_json(text.as_bytes(), around).map_err(|failure| {
                let hint = "a shell command that begins so goes behind --command";
                Failure { hint: failure.hint.or(Some(hint.into())), ..failure }
            }),
            Source::File(path) => {
                let text = read(path)?;
                input::from_json(&text, around).map_err(|failure| in_file(path, failure))
            }
            Source::Lines(path) => {
                let text = read(path)?;
                input::from_lines(&text).map_err(|failure| in_file(path, failure))
            }
        }
    }
}

fn in_file(path: &Path, failure: Failure) -> Failure {
    Failure { message: format!("{}: {}", name_of(path), failure.message), ..failure }
}

fn name_of(path: &Path) -> String {
    if path == Path::new("-") { "stdin".into() } else { path.display().to_string() }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    if path == Path::new("-") {
        return read_stdin();
    }
    std::fs::read(path)
        .map_err(|error| Failure::refused(format!("cannot read {}: {error}", path.display())))
}

fn read_stdin() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut bytes);
    read.map_err(|error| Failure::refused(format!("cannot read stdin: {error}")))?;
    Ok(bytes)
}

fn stdin_is_taken() -> Result<Vec<u8>, Failure> {
    Err(Failure::usage("stdin holds the jobs, so no job can have it as its own")
        .hint("give the jobs, or what they read, as a file"))
}

/// Gives `make` the moment, the directory, the environment and stdin of this call.
pub(super) fn with_surroundings<T>(
    session: &Session,
    make: impl FnOnce(&Surroundings<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let cwd = std::env::current_dir()
        .map_err(|error| Failure::refused(format!("cannot tell the current directory: {error}")))?;
    let stdin = OnceCell::new();
    make(&Surroundings {
        now: session.store.now(),
        local_offset: &local_offset,
        cwd,
        variable: &|name| std::env::var_os(name),
        // Several jobs of a batch may ask for it, and all get the same.
        stdin: &|| match stdin.get() {
            Some(bytes) => Ok(Vec::clone(bytes)),
            None => read_stdin().map(|bytes| stdin.get_or_init(|| bytes).clone()),
        },
    })
}

fn local_offset(moment: Timestamp) -> i32 {
    time::UtcOffset::local_offset_at(moment.into()).map_or(0, time::UtcOffset::whole_seconds)
}

/// Gives the one job this id.
///
/// Errors: a usage error where there are more.
pub(super) fn give_id(drafts: &mut [Draft], id: &str) -> Result<(), Failure> {
    let id = JobId::new(id).map_err(|bad| Failure::refused(bad.to_string()))?;
    match drafts {
        [] => Ok(()),
        [draft] => {
            draft.id = Some(id);
            Ok(())
        }
        _ => Err(Failure::usage(format!("--id is for one job, and there are {}", drafts.len()))),
    }
}

/// The drafts of a job that is given as a command or as words.
pub(super) fn drafts_of_one(
    command: Option<&OsStr>,
    words: &Split,
    around: &Surroundings<'_>,
) -> Result<Vec<Draft>, Failure> {
    match (command.map(Source::Shell), Source::of_words(words)) {
        (Some(source), None) | (None, Some(source)) => source.drafts(around),
        (None, None) => Err(Failure::usage("no command is given")),
        (Some(_), Some(_)) => Err(Failure::usage("the command is given twice")),
    }
}

/// What happens to ids that exist: the same for all jobs of a batch.
fn on_conflict(drafts: &[Draft], flag: Option<OnConflictFlag>) -> Result<OnConflict, Failure> {
    if let Some(flag) = flag {
        return Ok(match flag {
            OnConflictFlag::Fail => OnConflict::Fail,
            OnConflictFlag::Keep => OnConflict::Keep,
        });
    }
    let mut wanted = drafts.iter().map(|draft| draft.on_conflict.unwrap_or_default());
    let first = wanted.next().unwrap_or_default();
    if wanted.all(|other| other == first) {
        return Ok(first);
    }
    Err(Failure::refused("\"on_conflict\" differs among the jobs, which are all or nothing"))
}

/// Makes the jobs of the drafts, with what the configuration fixes at enqueue.
pub(super) fn specs(session: &mut Session, drafts: Vec<Draft>) -> Result<Vec<Spec>, Failure> {
    let queue = session.store.config().map_err(Failure::of_writing)?;
    let config = session.settings.over(&queue);
    let cwd = match drafts.iter().all(|draft| draft.cwd.is_some()) {
        true => Bytes::default(),
        false => {
            with_surroundings(session, |around| Ok(around.cwd.clone().into_os_string().into()))?
        }
    };
    let fixed = Fixed { max_retries: config.max_retries(), cwd };
    let now = session.store.now();
    let mut specs = Vec::with_capacity(drafts.len());
    for draft in drafts {
        let id = || JobId::from_log(&session.store.ids().ulid(now));
        let spec = draft.into_spec(id, &fixed);
        check_size(&spec, config.max_job_size())?;
        specs.push(spec);
    }
    Ok(specs)
}

fn check_size(spec: &Spec, limit: usize) -> Result<(), Failure> {
    let event = Event::Enqueued(Box::new(spec.clone()));
    let size = serde_json::to_vec(&event).expect("BUG: a job that is no JSON").len();
    if size <= limit {
        return Ok(());
    }
    let limit = format_size(limit as u64);
    Err(Failure::refused(format!(
        "job {} takes {size} bytes, more than max_job_size, {limit}",
        spec.id
    ))
    .hint("put what is long into a file and let the job read it"))
}

/// Prints the ids, or the jobs as JSON.
fn answer(session: &mut Session, ids: &[JobId]) -> Result<Exit, Failure> {
    let mut out = Out::new();
    if session.globals.json {
        if !ids.is_empty() {
            session.read()?;
        }
        let mut list = List::begin(&mut out, Form::Json)?;
        let node = session.store.place().node().unwrap_or_default();
        for id in ids {
            if let Some(job) = session.store.own().and_then(|state| state.job(id)) {
                list.entry(&mut out, session.view((node, job)).to_json().get())?;
            }
        }
        list.end(&mut out)?;
    } else {
        for id in ids {
            out.text(id.as_str())?;
            out.text("\n")?;
        }
    }
    out.flush()?;
    Ok(Exit::Done)
}
