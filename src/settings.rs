//! Where settings come from: flags before the environment, the environment before the queue, the queue before what is
//! built in. Resolved once, at the start.
//!
//! Knows no process: the environment is handed in.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::domain::config::{Config, ConfigError, KEYS, normalize};

/// Variables that name the queue's directory, the first that is set counts.
pub const DIRECTORY_VARIABLES: [&str; 3] = ["QUEUECTL_DIR", "QUEUECTL_HOME", "QUEUECTL_DB"];

/// Where the value of a key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// `$QUEUECTL_<KEY>`.
    Environment,
    /// `config set`.
    Queue,
    /// Nobody has set it.
    BuiltIn,
}

impl Origin {
    /// The origin in a word.
    pub fn name(self) -> &'static str {
        match self {
            Origin::Environment => "environment",
            Origin::Queue => "queue",
            Origin::BuiltIn => "built-in",
        }
    }
}

/// A variable has a value that its key does not accept.
#[derive(Debug, thiserror::Error)]
#[error("${variable}: {source}")]
pub struct BadVariable {
    /// The variable.
    pub variable: String,
    /// What is wrong with its value.
    pub source: ConfigError,
}

/// What the environment says of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    environment: BTreeMap<&'static str, String>,
}

impl Settings {
    /// Reads `$QUEUECTL_<KEY>` of every key. A variable that is empty counts as not set.
    ///
    /// Errors: a value that the key does not accept.
    pub fn read(variable: impl Fn(&OsStr) -> Option<OsString>) -> Result<Self, BadVariable> {
        let mut environment = BTreeMap::new();
        for key in &KEYS {
            let name = variable_of(key.name);
            let value = variable(OsStr::new(&name)).filter(|value| !value.is_empty());
            if let Some(value) = value {
                let normal = normalize(key.name, &value.to_string_lossy());
                let (key, value) =
                    normal.map_err(|source| BadVariable { variable: name, source })?;
                environment.insert(key, value);
            }
        }
        Ok(Settings { environment })
    }

    /// The configuration in force for this process, over that of the queue.
    pub fn over(&self, queue: &Config) -> Config {
        let own = self.environment.iter();
        own.fold(queue.clone(), |config, (key, value)| config.with(key, value))
    }

    /// What the environment says, by key, as text.
    pub fn overrides(&self) -> BTreeMap<String, String> {
        let own = self.environment.iter();
        own.map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    }

    /// Where the value of a key comes from.
    pub fn origin(&self, key: &str, queue: &Config) -> Origin {
        if self.environment.contains_key(key) {
            Origin::Environment
        } else if queue.map().contains_key(key) {
            Origin::Queue
        } else {
            Origin::BuiltIn
        }
    }
}

/// The variable that sets a key.
pub fn variable_of(key: &str) -> String {
    format!("QUEUECTL_{}", key.to_ascii_uppercase())
}

/// The queue's directory: the flag, else a variable, else `~/.queuectl`; none where there is no home.
pub fn directory(
    flag: Option<PathBuf>,
    variable: impl Fn(&OsStr) -> Option<OsString>,
) -> Option<PathBuf> {
    let set = |name: &str| variable(OsStr::new(name)).filter(|value| !value.is_empty());
    let named = DIRECTORY_VARIABLES.into_iter().find_map(set).map(PathBuf::from);
    let home = || set("HOME").map(|home| PathBuf::from(home).join(".queuectl"));
    flag.or(named).or_else(home)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable<'a>(set: &'a [(&str, &str)]) -> impl Fn(&OsStr) -> Option<OsString> + 'a {
        move |name| set.iter().find(|(known, _)| name == *known).map(|(_, value)| value.into())
    }

    #[test]
    fn the_environment_goes_before_the_queue() {
        let set = [("QUEUECTL_MAX_RETRIES", "7"), ("QUEUECTL_TIMEOUT", ""), ("QUEUECTL_X", "1")];
        let settings = Settings::read(variable(&set)).unwrap();
        let queue = Config::default().with("max_retries", "5").with("max_lost", "1");
        let config = settings.over(&queue);
        assert_eq!((config.max_retries(), config.max_lost(), config.timeout()), (7, 1, None));
        assert_eq!(settings.origin("max_retries", &queue), Origin::Environment);
        assert_eq!(settings.origin("max_lost", &queue), Origin::Queue);
        assert_eq!(settings.origin("timeout", &queue), Origin::BuiltIn);
    }

    #[test]
    fn a_bad_variable_is_named() {
        let error = Settings::read(variable(&[("QUEUECTL_JITTER", "lots")])).unwrap_err();
        assert!(error.to_string().starts_with("$QUEUECTL_JITTER: \"lots\" is no value"), "{error}");
    }

    #[test]
    fn which_directory_counts() {
        let all = [
            ("HOME", "/home/ann"),
            ("QUEUECTL_DB", "/db"),
            ("QUEUECTL_HOME", "/h"),
            ("QUEUECTL_DIR", "/d"),
        ];
        let of = |flag: Option<&str>, set| directory(flag.map(PathBuf::from), variable(set));
        assert_eq!(of(Some("/flag"), &all), Some("/flag".into()));
        assert_eq!(of(None, &all), Some("/d".into()));
        assert_eq!(of(None, &all[..3]), Some("/h".into()));
        assert_eq!(of(None, &all[..2]), Some("/db".into()));
        assert_eq!(of(None, &all[..1]), Some("/home/ann/.queuectl".into()));
        assert_eq!(of(None, &[]), None);
    }
}
