//! Where options end and the command begins, for `enqueue` and `run`.
//!
//! Options stand before the first word. A first word that is `-`, begins with `{` or `[` or holds a blank is the whole
//! job, and options may follow it; otherwise everything from it on is the command. Behind `--` there are no options.
//! Knows which options take a value, and nothing else about them.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::Command;

/// The words of a command line that are no options.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Words {
    /// There are none.
    #[default]
    None,
    /// One word that is the whole job: JSON, `-`, or a string with blanks.
    Whole(OsString),
    /// A command and its arguments, at least one word.
    Command(Vec<OsString>),
    /// What stands behind `--`, at least one word.
    Explicit(Vec<OsString>),
}

/// The words, and what about them may surprise.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Split {
    /// The words.
    pub words: Words,
    /// The first word of the command that looks like an option of ours.
    pub looks_like_option: Option<String>,
}

/// The options of a command line, and whether they take a value.
#[derive(Debug, Default)]
pub(super) struct Options {
    long: HashMap<String, bool>,
    short: HashMap<char, bool>,
}

impl Options {
    /// The options of a command.
    pub(super) fn of(command: &Command) -> Self {
        Options::default().and(command)
    }

    /// These and the options of another command.
    pub(super) fn and(mut self, command: &Command) -> Self {
        for arg in command.get_arguments() {
            let takes_value = arg.get_action().takes_values();
            for long in arg.get_long_and_visible_aliases().unwrap_or_default() {
                self.long.insert(long.to_owned(), takes_value);
            }
            for long in arg.get_all_aliases().unwrap_or_default() {
                self.long.insert(long.to_owned(), takes_value);
            }
            if let Some(short) = arg.get_short() {
                self.short.insert(short, takes_value);
            }
        }
        self
    }

    /// How many words an option takes with its value; 0 where the word is none.
    fn width(&self, word: &OsStr) -> usize {
        let Some(text) = word.to_str() else {
            return usize::from(word.as_bytes().starts_with(b"-"));
        };
        if let Some(long) = text.strip_prefix("--") {
            let takes =
                !long.contains('=') && self.long.get(&long.replace('_', "-")) == Some(&true);
            return 1 + usize::from(takes);
        }
        match text.strip_prefix('-') {
            None | Some("") => 0,
            Some(cluster) => {
                let first = cluster.chars().position(|c| self.short.get(&c) == Some(&true));
                1 + usize::from(first.is_some_and(|at| at + 1 == cluster.chars().count()))
            }
        }
    }

    /// Where the first word stands that is neither an option nor the value of one.
    pub(super) fn first_word(&self, words: &[OsString]) -> Option<usize> {
        let mut at = 0;
        while at < words.len() {
            match self.width(&words[at]) {
                0 => return Some(at),
                width => at += width,
            }
        }
        None
    }

    /// Parts options from words. Errors: a word behind one that is the whole job.
    pub(super) fn split(&self, words: Vec<OsString>) -> Result<(Vec<OsString>, Split), OsString> {
        let mut flags = Vec::new();
        let mut whole = None;
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            if word == "--" {
                let rest: Vec<OsString> = words.collect();
                return match (whole, rest.first()) {
                    (Some(_), Some(word)) => Err(word.clone()),
                    (Some(whole), None) => Ok((flags, Split::of(Words::Whole(whole)))),
                    (None, None) => Ok((flags, Split::default())),
                    (None, Some(_)) => Ok((flags, Split::of(Words::Explicit(rest)))),
                };
            }
            match self.width(&word) {
                0 if whole.is_some() => return Err(word),
                0 if is_whole(&word) => whole = Some(word),
                0 => {
                    let command: Vec<OsString> = std::iter::once(word).chain(words).collect();
                    let looks_like_option = self.option_among(&command);
                    let words = Words::Command(command);
                    return Ok((flags, Split { words, looks_like_option }));
                }
                width => {
                    flags.push(with_dashes(&word));
                    flags.extend(words.by_ref().take(width - 1));
                }
            }
        }
        Ok((flags, Split::of(whole.map_or(Words::None, Words::Whole))))
    }

    fn option_among(&self, command: &[OsString]) -> Option<String> {
        let own = |word: &str| {
            let long = word.strip_prefix("--")?;
            let name = long.split_once('=').map_or(long, |(name, _)| name).replace('_', "-");
            self.long.contains_key(&name).then(|| word.to_owned())
        };
        let words = command.iter().take_while(|word| *word != "--");
        words.filter_map(|word| word.to_str()).find_map(own)
    }
}

impl Split {
    fn of(words: Words) -> Self {
        Split { words, looks_like_option: None }
    }
}

fn is_whole(word: &OsStr) -> bool {
    let bytes = word.as_bytes();
    bytes == b"-"
        || bytes.starts_with(b"{")
        || bytes.starts_with(b"[")
        || bytes.iter().any(u8::is_ascii_whitespace)
}

/// Writes `--some_flag=a_b` as `--some-flag=a_b`; any other word stays as it is.
pub(super) fn with_dashes(word: &OsStr) -> OsString {
    let bytes = word.as_bytes();
    if !bytes.starts_with(b"--") {
        return word.to_owned();
    }
    let name = bytes.iter().position(|b| *b == b'=').unwrap_or(bytes.len());
    let mut bytes = bytes.to_vec();
    for byte in &mut bytes[..name] {
        if *byte == b'_' {
            *byte = b'-';
        }
    }
    OsString::from_vec(bytes)
}
