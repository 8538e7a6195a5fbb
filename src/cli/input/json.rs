//! Jobs as JSON: an object, an array of objects, or a sequence of either.
//!
//! Field names are taken with dashes, underscores or in camelCase; an unknown one is refused, with a suggestion.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Surroundings;
use super::draft::{Draft, check_argv, check_shell};
use super::fields::{absolute, check, meta, stdin};
use super::moment::to_come;
use crate::cli::error::Failure;
use crate::domain::bytes::Bytes;
use crate::domain::decide::OnConflict;
use crate::domain::job::JobId;
use crate::domain::seconds;
use crate::domain::suggest::closest;
use crate::domain::units::parse_duration;

/// Every field, by the name it is known by in suggestions.
const FIELDS: [&str; 22] = [
    "id",
    "command",
    "argv",
    "name",
    "queue",
    "tags",
    "priority",
    "max_retries",
    "backoff_base",
    "max_delay",
    "jitter",
    "timeout",
    "kill_grace",
    "run_at",
    "delay",
    "cwd",
    "env",
    "stdin",
    "merge_output",
    "meta",
    "on_conflict",
    "state",
];

/// Fields of a job's full record that are taken and mean nothing here.
const IGNORED: [&str; 2] = ["created_at", "updated_at"];

/// Reads the jobs of a JSON text.
///
/// Errors: with line and column, where it is not JSON, a field is unknown or wrong, or an object is no job.
pub fn from_json(text: &[u8], around: &Surroundings<'_>) -> Result<Vec<Draft>, Failure> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut hint = None;
    let mut drafts = Vec::new();
    let mut reader = serde_json::Deserializer::from_slice(text);
    loop {
        if reader.end().is_ok() {
            return Ok(drafts);
        }
        let seed = Jobs { into: &mut drafts, around, hint: &mut hint };
        seed.deserialize(&mut reader).map_err(|error| explain(&error, hint.take()))?;
    }
}

fn explain(error: &serde_json::Error, hint: Option<String>) -> Failure {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let what = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
    let kind = if error.is_data() { "" } else { "not JSON: " };
    let place = format!("line {line}, column {column}");
    Failure::refused(format!("{kind}{what} ({place})")).maybe_hint(hint)
}

/// Takes one value of the sequence: an object, or an array of objects.
struct Jobs<'s, 'a> {
    into: &'s mut Vec<Draft>,
    around: &'s Surroundings<'a>,
    hint: &'s mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Jobs<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Jobs<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a job, which is a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.into.push(job(map, self.around, self.hint)?);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut jobs: A) -> Result<(), A::Error> {
        let Jobs { into, around, hint } = self;
        while jobs.next_element_seed(Job { into, around, hint })?.is_some() {}
        Ok(())
    }
}

/// Takes one object of an array.
struct Job<'s, 'a> {
    into: &'s mut Vec<Draft>,
    around: &'s Surroundings<'a>,
    hint: &'s mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Job<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Job<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a job, which is a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.into.push(job(map, self.around, self.hint)?);
        Ok(())
    }
}

fn job<'de, A: MapAccess<'de>>(
    mut map: A,
    around: &Surroundings<'_>,
    hint: &mut Option<String>,
) -> Result<Draft, A::Error> {
    let mut draft = Draft::default();
    let mut seen: Vec<&'static str> = Vec::new();
    while let Some(key) = map.next_key::<String>()? {
        let Some((field, unit)) = known(&key) else {
            let suggestion = closest(&snake_case(&key), FIELDS);
            *hint = suggestion.map(|field| format!("did you mean {field:?}?"));
            return Err(de::Error::custom(format!("unknown field {key:?}")));
        };
        let raw: Box<RawValue> = map.next_value()?;
        if raw.get() == "null" {
            continue;
        }
        if seen.contains(&field) {
            return Err(de::Error::custom(format!("{field:?} is given twice")));
        }
        seen.push(field);
        take(&mut draft, field, unit, raw.get(), around).map_err(|failure| {
            *hint = failure.hint;
            de::Error::custom(format!("{key:?}: {}", failure.message))
        })?;
    }
    whole(&draft, &seen).map_err(|failure| {
        *hint = failure.hint;
        de::Error::custom(failure.message)
    })?;
    Ok(draft)
}

/// Refuses an object that is no job.
fn whole(draft: &Draft, seen: &[&str]) -> Result<(), Failure> {
    if seen.contains(&"run_at") && seen.contains(&"delay") {
        return Err(Failure::refused("\"run_at\" and \"delay\" exclude each other"));
    }
    match (&draft.command, &draft.argv) {
        (None, None) => return Err(Failure::refused("no \"command\" in the JSON object")),
        (Some(_), Some(_)) => {
            return Err(Failure::refused("\"command\" and \"argv\" exclude each other"));
        }
        (Some(command), None) => check_shell(&command.0)?,
        (None, Some(argv)) => check_argv(argv)?,
    }
    check(draft)
}

/// In what a duration is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Seconds,
    Milliseconds,
}

/// The field a key means, and the unit of its number.
fn known(key: &str) -> Option<(&'static str, Unit)> {
    let name = snake_case(key);
    let (name, unit) = match name.as_str() {
        "timeout_seconds" | "timeout_sec" => ("timeout", Unit::Seconds),
        "timeout_ms" => ("timeout", Unit::Milliseconds),
        "next_run_at" => ("run_at", Unit::Seconds),
        "tag" => ("tags", Unit::Seconds),
        "attempts" => return Some(("attempts", Unit::Seconds)),
        name => (name, Unit::Seconds),
    };
    let mut all = FIELDS.into_iter().chain(IGNORED);
    all.find(|field| *field == name).map(|field| (field, unit))
}

/// Writes `maxRetries` and `max-retries` as `max_retries`.
fn snake_case(key: &str) -> String {
    let mut name = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_ascii_uppercase() && name.ends_with(|c: char| c.is_ascii_lowercase()) {
            name.push('_');
        }
        name.push(if c == '-' { '_' } else { c.to_ascii_lowercase() });
    }
    name
}

/// Puts the value of one field into the draft.
fn take(
    draft: &mut Draft,
    field: &str,
    unit: Unit,
    raw: &str,
    around: &Surroundings<'_>,
) -> Result<(), Failure> {
    match field {
        "id" => {
            let text: String = of_type(raw, "a string")?;
            draft.id = Some(JobId::new(&text).map_err(|bad| Failure::refused(bad.to_string()))?);
        }
        "command" => draft.command = Some(of_type(raw, "a string")?),
        "argv" => draft.argv = Some(of_type(raw, "an array of strings")?),
        "name" => draft.name = Some(of_type(raw, "a string")?),
        "queue" => draft.queue = Some(of_type(raw, "a string")?),
        "tags" if raw.starts_with('"') => draft.tags = Some(vec![of_type(raw, "a string")?]),
        "tags" => draft.tags = Some(of_type(raw, "an array of strings")?),
        "priority" => draft.priority = Some(of_type(raw, "a whole number")?),
        "max_retries" => draft.max_retries = Some(of_type(raw, "a whole number of at least 0")?),
        "backoff_base" => draft.backoff_base = Some(of_type(raw, "a number")?),
        "jitter" => draft.jitter = Some(of_type(raw, "a number")?),
        "max_delay" => draft.max_delay = Some(span(raw, unit)?),
        "timeout" if raw == "\"none\"" => draft.timeout = Some(Duration::ZERO),
        "timeout" => draft.timeout = Some(span(raw, unit)?),
        "kill_grace" => draft.kill_grace = Some(span(raw, unit)?),
        "delay" => draft.run_at = Some(around.now.after(span(raw, unit)?)),
        "run_at" => {
            let bare = raw.starts_with(|c: char| c == '-' || c.is_ascii_digit());
            let text: String =
                if bare { raw.to_owned() } else { of_type(raw, "a string with a time")? };
            draft.run_at = Some(to_come(&text, around)?);
        }
        "cwd" => {
            let dir: Bytes = of_type(raw, "a string")?;
            draft.cwd = Some(absolute(dir.as_os_str(), around));
        }
        "env" => {
            let env: BTreeMap<String, Bytes> = of_type(raw, "an object of strings")?;
            draft.env = env;
        }
        "stdin" => {
            let file: Bytes = of_type(raw, "a string")?;
            draft.stdin = Some(stdin(file.as_os_str(), around)?);
        }
        "merge_output" => draft.merge_output = Some(of_type(raw, "true or false")?),
        "meta" => draft.meta = Some(meta(raw)?),
        "on_conflict" => draft.on_conflict = Some(on_conflict(raw)?),
        "state" => only(raw, "\"pending\"")?,
        "attempts" => only(raw, "0")?,
        _ => {}
    }
    Ok(())
}

fn of_type<'t, T: de::Deserialize<'t>>(raw: &'t str, what: &str) -> Result<T, Failure> {
    serde_json::from_str(raw).map_err(|_| Failure::refused(format!("must be {what}, not {raw}")))
}

fn span(raw: &str, unit: Unit) -> Result<Duration, Failure> {
    if raw.starts_with('"') {
        let text: String = of_type(raw, "a duration")?;
        return parse_duration(&text).map_err(|error| Failure::refused(error.to_string()));
    }
    let number: f64 = of_type(raw, "a number of seconds")?;
    let scale = if unit == Unit::Milliseconds { 1000.0 } else { 1.0 };
    let span = seconds::from_f64(number / scale);
    span.ok_or_else(|| Failure::refused(format!("{raw} is not a span of 0 seconds to 100 years")))
}

fn on_conflict(raw: &str) -> Result<OnConflict, Failure> {
    match raw {
        "\"fail\"" => Ok(OnConflict::Fail),
        "\"keep\"" => Ok(OnConflict::Keep),
        _ => Err(Failure::refused(format!("must be \"fail\" or \"keep\", not {raw}"))),
    }
}

/// A new job is pending and untried; a record that says otherwise is not a new job.
fn only(raw: &str, value: &str) -> Result<(), Failure> {
    if raw.eq_ignore_ascii_case(value) {
        return Ok(());
    }
    Err(Failure::refused(format!("a new job has {value}, not {raw}")))
}
