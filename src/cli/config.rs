//! `queuectl config`: reads and changes the configuration of this machine's node.

use serde::Serialize;
use serde_json::Value;

use super::args::config::{Config as Args, ConfigVerb, Get, List as ListArgs, Reset};
use super::error::Failure;
use super::exit::Exit;
use super::output::{Form, List, Out, ask, is_interactive};
use super::render::{Cell, Head, Look, Tint, table};
use super::session::Session;
use crate::domain::config::{Config, KEYS, Key, find, normalize};
use crate::domain::event::{ConfigSet, ConfigUnset, Event};
use crate::settings::{Origin, Settings};

/// Does it.
pub(super) fn perform(session: &mut Session, args: &Args) -> Result<Exit, Failure> {
    match &args.verb {
        ConfigVerb::Get(args) => get(session, args),
        ConfigVerb::Set(args) => set(session, &args.key, &args.value),
        ConfigVerb::Unset(args) => unset(session, &args.key),
        ConfigVerb::Reset(Reset { key: Some(key), .. }) => unset(session, key),
        ConfigVerb::Reset(args) => reset_all(session, args),
        ConfigVerb::List(args) => list(session, args),
    }
}

/// A key as it is in force.
#[derive(Serialize)]
struct Entry {
    key: &'static str,
    /// Durations in seconds, sizes in bytes, null for none.
    value: Value,
    /// The value as `config set` takes it.
    text: String,
    default: Value,
    origin: &'static str,
    #[serde(skip)]
    default_text: &'static str,
    #[serde(skip)]
    about: &'static str,
}

fn entry(settings: &Settings, key: &Key, queue: &Config) -> Entry {
    let config = settings.over(queue);
    Entry {
        key: key.name,
        value: config.get_json(key.name),
        text: config.get(key.name).unwrap_or_default(),
        default: Config::default().get_json(key.name),
        origin: settings.origin(key.name, queue).name(),
        default_text: key.default,
        about: key.about,
    }
}

fn get(session: &mut Session, args: &Get) -> Result<Exit, Failure> {
    let key = find(&args.key)?;
    let queue = session.store.config().map_err(Failure::of_reading)?;
    let entry = entry(&session.settings, key, &queue);
    let mut out = Out::new();
    if session.globals.json {
        out.json(&entry)?;
    } else if args.raw {
        out.text(&format!("{}\n", entry.text))?;
    } else {
        out.text(&format!("{} = {}\n", entry.key, entry.text))?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn list(session: &mut Session, args: &ListArgs) -> Result<Exit, Failure> {
    let queue = session.store.config().map_err(Failure::of_reading)?;
    let entries = entries(&session.settings, &queue);
    let mut out = Out::new();
    let form = Form::of(session.globals.json, args.lines.jsonl);
    if form == Form::Table {
        out.text(&text(&entries, session.look))?;
    } else {
        let mut list = List::begin(&mut out, form)?;
        for entry in &entries {
            let text = serde_json::to_string(entry).expect("BUG: an entry that is no JSON");
            list.entry(&mut out, &text)?;
        }
        list.end(&mut out)?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn entries(settings: &Settings, queue: &Config) -> Vec<Entry> {
    KEYS.iter().map(|key| entry(settings, key, queue)).collect()
}

fn text(entries: &[Entry], look: Look) -> String {
    const HEADS: [Head; 5] = [
        Head::new("KEY", 0),
        Head::new("VALUE", 0),
        Head::new("DEFAULT", 2),
        Head::new("FROM", 1),
        Head::new("ABOUT", 3).flexible(),
    ];
    let row = |entry: &Entry| {
        let is_set = entry.origin != Origin::BuiltIn.name();
        let mut row = vec![
            Cell::of(entry.key),
            Cell::of(&entry.text).tinted(if is_set { Tint::Busy } else { Tint::Plain }),
            Cell::of(entry.default_text),
            Cell::of(entry.origin),
        ];
        // What never changes is of no use to a script.
        row.extend(look.terminal.map(|_| Cell::of(entry.about).tinted(Tint::Dim)));
        row
    };
    let rows: Vec<Vec<Cell>> = entries.iter().map(row).collect();
    table(&HEADS, &rows, look)
}

fn set(session: &mut Session, key: &str, value: &str) -> Result<Exit, Failure> {
    let (key, value) = normalize(key, value)?;
    let change = |config: &Config| {
        if config.map().get(key) == Some(&value) {
            return (config.clone(), Vec::new());
        }
        let event = Event::ConfigSet(ConfigSet { key: key.to_owned(), value: value.clone() });
        (config.with(key, &value), vec![event])
    };
    configure(session, change)?;
    say(session, &[key])
}

fn unset(session: &mut Session, key: &str) -> Result<Exit, Failure> {
    let key = find(key)?.name;
    let change = |config: &Config| {
        if !config.map().contains_key(key) {
            return (config.clone(), Vec::new());
        }
        let event = Event::ConfigUnset(ConfigUnset { key: key.to_owned() });
        (config.without(key), vec![event])
    };
    configure(session, change)?;
    say(session, &[key])
}

fn reset_all(session: &mut Session, args: &Reset) -> Result<Exit, Failure> {
    let queue = session.store.config().map_err(Failure::of_reading)?;
    let keys: Vec<&str> =
        KEYS.iter().map(|key| key.name).filter(|key| queue.map().contains_key(*key)).collect();
    if keys.is_empty() {
        session.note("no key is set");
        return Ok(Exit::Done);
    }
    let what = format!("reset {}", keys.join(", "));
    if args.consent.dry_run {
        session.note(&format!("would {what}"));
        return Ok(Exit::Done);
    }
    if !args.consent.yes {
        if !is_interactive() {
            return Err(Failure::usage(format!("to {what} needs --yes where nobody can be asked"))
                .hint("--dry-run says what would be done"));
        }
        if !ask(&format!("{what}?")) {
            session.note("nothing is done");
            return Ok(Exit::Refused);
        }
    }
    configure(session, |config| {
        let set = config.map().keys().cloned();
        let events = set.map(|key| Event::ConfigUnset(ConfigUnset { key })).collect();
        (Config::default(), events)
    })?;
    say(session, &keys)
}

/// Changes what the header of the log says; nothing where it says so already.
fn configure(
    session: &mut Session,
    change: impl FnOnce(&Config) -> (Config, Vec<Event>),
) -> Result<(), Failure> {
    session.warn_of_place();
    let outcome = session.store.configure(change);
    session.tell_notices();
    outcome.map_err(Failure::of_writing)
}

/// Says what is in force now; also where the environment overrides what was set.
fn say(session: &mut Session, keys: &[&'static str]) -> Result<Exit, Failure> {
    let queue = session.store.config().map_err(Failure::of_reading)?;
    for key in keys {
        let key = find(key)?;
        let entry = entry(&session.settings, key, &queue);
        session.note(&format!("{} = {}", entry.key, entry.text));
        if entry.origin == Origin::Environment.name() {
            let variable = crate::settings::variable_of(entry.key);
            session.note(&format!("note: here ${variable} overrides what the queue says"));
        }
        if session.globals.json {
            let mut out = Out::new();
            out.json(&entry)?;
            out.flush()?;
        }
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::at_every_width;

    #[test]
    fn keys_as_a_table() {
        let queue = Config::default().with("max_retries", "5").with("timeout", "90");
        let variable = |name: &std::ffi::OsStr| (name == "QUEUECTL_MAX_LOST").then(|| "7".into());
        let entries = entries(&Settings::read(variable).unwrap(), &queue);
        insta::assert_snapshot!(at_every_width(|look| text(&entries, look)));
    }

    #[test]
    fn values_in_json_are_numbers_of_seconds_and_bytes() {
        let queue = Config::default().with("kill_grace", "500ms").with("timeout", "90");
        let entries = entries(&Settings::default(), &queue);
        let value = |key: &str| entries.iter().find(|e| e.key == key).unwrap().value.to_string();
        let keys = [
            "max_retries",
            "kill_grace",
            "timeout",
            "stop_timeout",
            "max_job_size",
            "on_worker_death",
        ];
        assert_eq!(keys.map(value), ["3", "0.5", "90", "null", "524288", "\"kill\""]);
    }
}
