//! The keys of the configuration: names, built-in values, what each accepts.
//!
//! Knows no environment and no log: whoever has the values hands them in as text, and a value that this version
//! cannot read counts as not given.

use std::collections::BTreeMap;
use std::time::Duration;

use super::job::JobState;
use super::suggest::closest;
use super::units::{format_duration, format_size, parse_duration, parse_size};

/// A key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// The name, with underscores.
    pub name: &'static str,
    /// The built-in value, as it is written.
    pub default: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
    kind: Kind,
}

/// What a key accepts. Bounds are inclusive; spans are bounded in milliseconds, sizes in bytes.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Count(u64, u64),
    Number(f64, f64),
    Span(u64, u64),
    SpanOrNone,
    /// A span, of which zero is one, `none` for ever, or what another key says.
    Keep(Option<&'static str>),
    Size(u64, u64),
    Choice(&'static [&'static str]),
}

const ANY_SPAN: Kind = Kind::Span(0, u64::MAX);
const ANY_COUNT: Kind = Kind::Count(0, u32::MAX as u64);

/// Every key, in the order people are shown them.
pub const KEYS: [Key; 16] = [
    key("max_retries", "3", ANY_COUNT, "failed attempts after which a job is dead"),
    key("backoff_base", "2", Kind::Number(0.0, 1e6), "a retry waits this to the power of attempts"),
    key("max_delay", "1h", ANY_SPAN, "longest wait for a retry"),
    key(
        "jitter",
        "0",
        Kind::Number(0.0, 1.0),
        "longest addition to that wait, as a fraction of it",
    ),
    key("timeout", "none", Kind::SpanOrNone, "how long a run may take"),
    key("kill_grace", "5s", ANY_SPAN, "how long after TERM comes KILL"),
    key("poll_interval", "1s", Kind::Span(50, 60_000), "how often a worker looks without news"),
    key("stop_timeout", "none", Kind::SpanOrNone, "how long a stopping worker lets jobs run"),
    key("retention", "7d", Kind::Keep(None), "how long completed and cancelled jobs are kept"),
    key(
        "retention_completed",
        "retention",
        Kind::Keep(Some("retention")),
        "the same, of completed",
    ),
    key(
        "retention_cancelled",
        "retention",
        Kind::Keep(Some("retention")),
        "the same, of cancelled",
    ),
    key("output_limit", "16MiB", Kind::Size(1 << 10, 1 << 40), "how much of each output is kept"),
    key("on_worker_death", "kill", Kind::Choice(&["kill", "wait"]), "what becomes of a run"),
    key("max_lost", "5", ANY_COUNT, "lost runs after which a job is dead"),
    key("max_job_size", "512KiB", Kind::Size(1 << 10, 1000 << 10), "largest event of a job"),
    key(
        "segment_size",
        "32MiB",
        Kind::Size(4 << 10, 1 << 30),
        "size at which the log goes on in a new file",
    ),
];

/// Other names of keys; `true` where a bare number counts milliseconds.
const ALIASES: [(&str, &str, bool); 3] = [
    ("job_timeout", "timeout", false),
    ("job_timeout_ms", "timeout", true),
    ("poll_interval_ms", "poll_interval", true),
];

const fn key(name: &'static str, default: &'static str, kind: Kind, about: &'static str) -> Key {
    Key { name, default, about, kind }
}

/// Why a key or value is refused. Names what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No key has this name.
    #[error("unknown key {key:?}; the keys are {}", names().join(", "))]
    UnknownKey {
        /// What was given.
        key: String,
    },
    /// The key does not accept this value.
    #[error("{value:?} is no value for {key}, which takes {allowed}")]
    BadValue {
        /// The key's own name.
        key: &'static str,
        /// What was given.
        value: String,
        /// What it accepts.
        allowed: String,
    },
}

impl ConfigError {
    /// The key that may have been meant.
    pub fn suggestion(&self) -> Option<&'static str> {
        match self {
            ConfigError::UnknownKey { key } => closest(key, names()),
            ConfigError::BadValue { .. } => None,
        }
    }
}

fn names() -> Vec<&'static str> {
    KEYS.iter().map(|key| key.name).collect()
}

/// Finds a key by its name or an alias of it, with dashes or underscores, in any case.
///
/// Errors: where there is none.
pub fn find(name: &str) -> Result<&'static Key, ConfigError> {
    lookup(name).map(|(key, _)| key)
}

fn lookup(name: &str) -> Result<(&'static Key, bool), ConfigError> {
    let plain = name.trim().to_ascii_lowercase().replace('-', "_");
    let alias = ALIASES.iter().find(|(alias, ..)| *alias == plain);
    let (plain, millis) = alias.map_or((plain.as_str(), false), |(_, key, millis)| (key, *millis));
    let key = KEYS.iter().find(|key| key.name == plain);
    key.map(|key| (key, millis)).ok_or_else(|| ConfigError::UnknownKey { key: name.into() })
}

/// Returns the key's own name and the value as it is written everywhere.
///
/// Errors: where there is no such key, or it does not accept the value.
pub fn normalize(name: &str, value: &str) -> Result<(&'static str, String), ConfigError> {
    let (key, millis) = lookup(name)?;
    let trimmed = value.trim();
    let bare = !trimmed.is_empty() && trimmed.bytes().all(|b| b.is_ascii_digit());
    let text = if millis && bare { format!("{trimmed}ms") } else { trimmed.to_owned() };
    let parsed = key.kind.parse(&text).ok_or_else(|| ConfigError::BadValue {
        key: key.name,
        value: value.into(),
        allowed: key.kind.allowed(),
    })?;
    Ok((key.name, parsed.write()))
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Value {
    Count(u64),
    Number(f64),
    Span(Option<Duration>),
    Size(u64),
    Choice(&'static str),
}

impl Value {
    fn write(self) -> String {
        match self {
            Value::Count(number) => number.to_string(),
            Value::Number(number) => number.to_string(),
            Value::Span(None) => "none".into(),
            Value::Span(Some(span)) => format_duration(span),
            Value::Size(bytes) => format_size(bytes),
            Value::Choice(word) => word.into(),
        }
    }
}

impl Kind {
    fn parse(self, text: &str) -> Option<Value> {
        match self {
            Kind::Count(least, most) => {
                let number: u64 = text.parse().ok()?;
                (least..=most).contains(&number).then_some(Value::Count(number))
            }
            Kind::Number(least, most) => {
                let number: f64 = text.parse().ok()?;
                (least..=most).contains(&number).then_some(Value::Number(number + 0.0))
            }
            Kind::Span(least, most) => {
                let span = parse_duration(text).ok()?;
                let bounds = u128::from(least)..=u128::from(most);
                bounds.contains(&span.as_millis()).then_some(Value::Span(Some(span)))
            }
            Kind::SpanOrNone if text.eq_ignore_ascii_case("none") => Some(Value::Span(None)),
            Kind::SpanOrNone => {
                let span = parse_duration(text).ok()?;
                Some(Value::Span((!span.is_zero()).then_some(span)))
            }
            Kind::Keep(Some(key)) if text.eq_ignore_ascii_case(key) => Some(Value::Choice(key)),
            Kind::Keep(_) if text.eq_ignore_ascii_case("none") => Some(Value::Span(None)),
            Kind::Keep(_) => Some(Value::Span(Some(parse_duration(text).ok()?))),
            Kind::Size(least, most) => {
                let bytes = parse_size(text).ok()?;
                (least..=most).contains(&bytes).then_some(Value::Size(bytes))
            }
            Kind::Choice(words) => {
                let known = words.iter().find(|word| word.eq_ignore_ascii_case(text));
                known.map(|word| Value::Choice(word))
            }
        }
    }

    fn allowed(self) -> String {
        let millis = |ms| format_duration(Duration::from_millis(ms));
        match self {
            Kind::Count(least, most) => format!("a whole number from {least} to {most}"),
            Kind::Number(least, most) => format!("a number from {least} to {most}"),
            Kind::Span(_, u64::MAX) => "a duration such as 90s or 1h30m".into(),
            Kind::Span(least, most) => {
                format!("a duration from {} to {}", millis(least), millis(most))
            }
            Kind::SpanOrNone => "a duration such as 90s or 1h30m, or none".into(),
            Kind::Keep(None) => "a duration such as 12h or 7d, or none for ever".into(),
            Kind::Keep(Some(key)) => format!("a duration such as 12h or 7d, none, or {key}"),
            Kind::Size(least, most) => {
                format!("a size from {} to {}", format_size(least), format_size(most))
            }
            Kind::Choice(words) => words.join(" or "),
        }
    }
}

/// What becomes of a run whose worker died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnWorkerDeath {
    /// It is ended, and only then written as lost.
    Kill,
    /// It is let end first.
    Wait,
}

/// The configuration in force: what differs from the built-in one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config(BTreeMap<String, String>);

impl Config {
    /// Takes the values a log or an environment holds, also of keys this version does not know.
    pub fn from_map(values: BTreeMap<String, String>) -> Self {
        Config(values)
    }

    /// The values, as a log keeps them.
    pub fn map(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// The same configuration with one value set. The caller has it from [`normalize`].
    pub fn with(&self, key: &str, value: &str) -> Self {
        let mut values = self.0.clone();
        values.insert(key.into(), value.into());
        Config(values)
    }

    /// The same configuration with one key back at its built-in value.
    pub fn without(&self, key: &str) -> Self {
        let mut values = self.0.clone();
        values.remove(key);
        Config(values)
    }

    /// The value in force of a key, as it is written; none where there is no such key.
    pub fn get(&self, name: &str) -> Option<String> {
        let key = find(name).ok()?;
        Some(self.value(key.name).write())
    }

    /// The value in force of a key as JSON: spans in seconds, sizes in bytes, null for none and for no key.
    pub fn get_json(&self, name: &str) -> serde_json::Value {
        let Ok(key) = find(name) else { return serde_json::Value::Null };
        match self.value(key.name) {
            Value::Count(number) | Value::Size(number) => number.into(),
            Value::Number(number) => number.into(),
            Value::Span(span) => match span {
                Some(span) if span.subsec_micros() == 0 => span.as_secs().into(),
                Some(span) => (span.as_micros() as f64 / 1e6).into(),
                None => serde_json::Value::Null,
            },
            Value::Choice(word) => word.into(),
        }
    }

    fn value(&self, name: &'static str) -> Value {
        let key = KEYS.iter().find(|key| key.name == name).expect("BUG: a getter of no key");
        let given = self.0.get(name).and_then(|text| key.kind.parse(text));
        given
            .or_else(|| key.kind.parse(key.default))
            .expect("BUG: a built-in value its key does not accept")
    }

    fn count(&self, name: &'static str) -> u32 {
        match self.value(name) {
            Value::Count(number) => u32::try_from(number).unwrap_or(u32::MAX),
            _ => unreachable!("BUG: {name} is no count"),
        }
    }

    fn number(&self, name: &'static str) -> f64 {
        match self.value(name) {
            Value::Number(number) => number,
            _ => unreachable!("BUG: {name} is no number"),
        }
    }

    fn span(&self, name: &'static str) -> Option<Duration> {
        match self.value(name) {
            Value::Span(span) => span,
            _ => unreachable!("BUG: {name} is no span"),
        }
    }

    fn size(&self, name: &'static str) -> u64 {
        match self.value(name) {
            Value::Size(bytes) => bytes,
            _ => unreachable!("BUG: {name} is no size"),
        }
    }

    /// Failed attempts after which a job is dead; 0 and 1 both mean one.
    pub fn max_retries(&self) -> u32 {
        self.count("max_retries")
    }

    /// What a retry's wait is a power of, in seconds.
    pub fn backoff_base(&self) -> f64 {
        self.number("backoff_base")
    }

    /// The longest wait for a retry.
    pub fn max_delay(&self) -> Duration {
        self.span("max_delay").unwrap_or_default()
    }

    /// The longest addition to a retry's wait, as a fraction of it.
    pub fn jitter(&self) -> f64 {
        self.number("jitter")
    }

    /// How long a run may take.
    pub fn timeout(&self) -> Option<Duration> {
        self.span("timeout")
    }

    /// How long after TERM comes KILL.
    pub fn kill_grace(&self) -> Duration {
        self.span("kill_grace").unwrap_or_default()
    }

    /// How often a worker looks for news it was not told of.
    pub fn poll_interval(&self) -> Duration {
        self.span("poll_interval").unwrap_or_default()
    }

    /// How long a stopping worker lets its jobs run.
    pub fn stop_timeout(&self) -> Option<Duration> {
        self.span("stop_timeout")
    }

    /// How long a finished job in this state is kept; none where for ever, as the dead are.
    pub fn retention(&self, state: JobState) -> Option<Duration> {
        let own = match state {
            JobState::Completed => self.value("retention_completed"),
            JobState::Cancelled => self.value("retention_cancelled"),
            _ => return None,
        };
        match own {
            Value::Span(span) => span,
            _ => self.span("retention"),
        }
    }

    /// How many bytes of each of a run's outputs are kept.
    pub fn output_limit(&self) -> u64 {
        self.size("output_limit")
    }

    /// What becomes of a run whose worker died.
    pub fn on_worker_death(&self) -> OnWorkerDeath {
        match self.value("on_worker_death") {
            Value::Choice("wait") => OnWorkerDeath::Wait,
            _ => OnWorkerDeath::Kill,
        }
    }

    /// Lost runs after which a job is dead.
    pub fn max_lost(&self) -> u32 {
        self.count("max_lost")
    }

    /// The largest event of a job, in bytes.
    pub fn max_job_size(&self) -> usize {
        usize::try_from(self.size("max_job_size")).unwrap_or(usize::MAX)
    }

    /// The size in bytes at which the log goes on in a new file.
    pub fn segment_size(&self) -> u64 {
        self.size("segment_size")
    }
}

#[cfg(test)]
mod tests;
