//! The fields of a job as flags give them, and the checks that flags and JSON share.
//!
//! Knows no JSON.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use super::draft::Draft;
use super::{Surroundings, moment};
use crate::cli::args::enqueue::JobOptions;
use crate::cli::error::Failure;
use crate::domain::bytes::Bytes;
use crate::domain::job::Stdin;

/// How many bytes of stdin the log takes.
pub(super) const LARGEST_STDIN: usize = 64 << 10;

/// The longest name, queue or tag, in bytes.
const LONGEST_WORD: usize = 256;

/// The deepest nesting of `meta`, so that a line that carries it can be read back.
const DEEPEST_META: usize = 64;

/// Makes a draft of flags.
pub(super) fn of_flags(options: &JobOptions, around: &Surroundings<'_>) -> Result<Draft, Failure> {
    let mut draft = Draft {
        name: options.name.clone(),
        queue: options.queue.clone(),
        tags: (!options.tags.is_empty()).then(|| options.tags.clone()),
        priority: options.priority,
        max_retries: options.max_retries,
        backoff_base: options.backoff_base,
        max_delay: options.max_delay,
        jitter: options.jitter,
        timeout: options.timeout.map(|timeout| timeout.0.unwrap_or(Duration::ZERO)),
        kill_grace: options.kill_grace,
        run_at: options.delay.map(|delay| around.now.after(delay)),
        cwd: options.cwd.as_ref().map(|dir| absolute(dir.as_os_str(), around)),
        merge_output: options.merge_output.then_some(true),
        ..Draft::default()
    };
    if let Some(text) = &options.run_at {
        draft.run_at = Some(moment::to_come(text, around).map_err(|f| within("--run-at", f))?);
    }
    for variable in &options.env {
        let (name, value) = variable_of_flag(variable, around).map_err(|f| within("--env", f))?;
        draft.env.insert(name, value);
    }
    if let Some(file) = &options.stdin {
        draft.stdin = Some(stdin(file.as_os_str(), around).map_err(|f| within("--stdin", f))?);
    }
    if let Some(text) = &options.meta {
        draft.meta = Some(meta(text).map_err(|f| within("--meta", f))?);
    }
    check(&draft)?;
    Ok(draft)
}

/// Says of a failure which flag or field it is about.
pub(in crate::cli) fn within(field: &str, failure: Failure) -> Failure {
    Failure { message: format!("{field}: {}", failure.message), ..failure }
}

/// Refuses values that are wrong whichever way they were given.
pub(super) fn check(draft: &Draft) -> Result<(), Failure> {
    let words = draft.tags.iter().flatten().map(|tag| ("tag", tag));
    let words = words.chain(draft.name.as_ref().map(|name| ("name", name)));
    for (field, word) in words.chain(draft.queue.as_ref().map(|queue| ("queue", queue))) {
        if word.trim().is_empty() {
            return Err(Failure::refused(format!("{field} is empty")));
        }
        if word.len() > LONGEST_WORD {
            return Err(Failure::refused(format!("{field} is longer than {LONGEST_WORD} bytes")));
        }
        if word.contains(char::is_control) {
            return Err(Failure::refused(format!("{field} {word:?} has a control character")));
        }
    }
    for (field, number, most) in
        [("backoff_base", draft.backoff_base, 1e6), ("jitter", draft.jitter, 1.0)]
    {
        if number.is_some_and(|number| !(0.0..=most).contains(&number)) {
            return Err(Failure::refused(format!("{field} must be a number from 0 to {most}")));
        }
    }
    for (name, value) in &draft.env {
        if name.is_empty() || name.contains(['=', '\0']) || value.0.contains(&0) {
            return Err(Failure::refused(format!(
                "{name:?} cannot be a variable: its name is empty or has '=', or it has a NUL"
            )));
        }
    }
    Ok(())
}

/// The absolute path of a file or directory that was named from where the caller is.
pub(super) fn absolute(path: &OsStr, around: &Surroundings<'_>) -> Bytes {
    let mut joined = around.cwd.clone();
    for part in Path::new(path).components() {
        match part {
            std::path::Component::CurDir => {}
            part => joined.push(part),
        }
    }
    Bytes::from(joined.into_os_string())
}

fn variable_of_flag(text: &OsStr, around: &Surroundings<'_>) -> Result<(String, Bytes), Failure> {
    let bytes = text.as_bytes();
    let equals = bytes.iter().position(|byte| *byte == b'=');
    let name = OsStr::from_bytes(&bytes[..equals.unwrap_or(bytes.len())]);
    let utf8 = name.to_str().ok_or_else(|| Failure::refused("the name is not UTF-8"))?;
    let value: OsString = match equals {
        Some(at) => OsStr::from_bytes(&bytes[at + 1..]).to_owned(),
        None => (around.variable)(name).ok_or_else(|| {
            Failure::refused(format!("no variable {utf8} is set here"))
                .hint(format!("--env {utf8}=VALUE gives it a value"))
        })?,
    };
    Ok((utf8.to_owned(), value.into()))
}

/// Reads what a job's stdin is to be: `-` for the bytes on ours, else the path of a file.
pub(super) fn stdin(file: &OsStr, around: &Surroundings<'_>) -> Result<Stdin, Failure> {
    if file != "-" {
        return Ok(Stdin::File(absolute(file, around)));
    }
    let bytes = (around.stdin)()?;
    if bytes.len() > LARGEST_STDIN {
        return Err(Failure::refused(
            "stdin has more than 65536 bytes, which the log takes at most",
        )
        .hint("write it into a file and give that"));
    }
    Ok(Stdin::Data(Bytes(bytes)))
}

/// Checks JSON and takes the blanks between its parts out, so that it fits on a line; the rest is as it came.
pub(super) fn meta(text: &str) -> Result<String, Failure> {
    // Numbers are not looked at: one that no machine number holds is the caller's as well.
    serde_json::from_str::<serde::de::IgnoredAny>(text)
        .map_err(|error| Failure::refused(format!("not JSON: {error}")))?;
    let mut compact = String::with_capacity(text.len());
    let (mut in_string, mut escaped, mut depth, mut deepest) = (false, false, 0_usize, 0_usize);
    for c in text.chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = c == '\\' && !escaped;
        } else {
            match c {
                ' ' | '\t' | '\n' | '\r' => continue,
                '"' => in_string = true,
                '[' | '{' => depth += 1,
                ']' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            deepest = deepest.max(depth);
        }
        compact.push(c);
    }
    if deepest > DEEPEST_META {
        return Err(Failure::refused(format!("nested deeper than {DEEPEST_META} levels")));
    }
    Ok(compact)
}
