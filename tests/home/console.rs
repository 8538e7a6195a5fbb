//! Examples in a Markdown page: what is typed, and what is to appear.
//!
//! Generated ids, times, durations and workers may be any; blanks count as one. `[..]` stands for anything within a
//! line, a line `...` for any lines.

use super::mask;

/// The node on which the examples are typed.
pub const NODE: &str = "desk-7f3a";

/// A command and its output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// What stands behind `$ `, with continued lines joined as they stand.
    pub command: String,
    /// The lines below it.
    pub expected: Vec<String>,
}

/// The ```console blocks of a page.
pub fn examples(page: &str) -> Vec<Vec<Example>> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while lines.by_ref().any(|line| line.trim() == "```console") {
        let mut block: Vec<Example> = Vec::new();
        for line in lines.by_ref().take_while(|line| line.trim() != "```") {
            match (line.strip_prefix("$ "), block.last_mut()) {
                (Some(command), _) => {
                    let (command, expected) = (command.to_owned(), Vec::new());
                    block.push(Example { command, expected });
                }
                (None, Some(example)) => match line.strip_prefix("> ") {
                    Some(more) if example.expected.is_empty() => {
                        example.command.push('\n');
                        example.command.push_str(more);
                    }
                    _ => example.expected.push(line.to_owned()),
                },
                (None, None) => panic!("a block begins with output: {line}"),
            }
        }
        blocks.push(block);
    }
    blocks
}

impl Example {
    /// Whether the output is what was expected. Errors: the first line that is not.
    pub fn compare(&self, output: &str) -> Result<(), String> {
        let output: Vec<String> = output.lines().map(plain).collect();
        let expected: Vec<String> = self.expected.iter().map(|line| plain(line)).collect();
        compare(&expected, &output)
    }
}

fn compare(expected: &[String], output: &[String]) -> Result<(), String> {
    match (expected.split_first(), output.split_first()) {
        (None, None) => Ok(()),
        (Some((line, rest)), _) if line == "..." => {
            let mut first = Err("nothing follows".to_owned());
            for skipped in 0..=output.len() {
                match compare(rest, &output[skipped..]) {
                    Ok(()) => return Ok(()),
                    Err(why) if skipped == 0 => first = Err(why),
                    Err(_) => {}
                }
            }
            first
        }
        (Some((line, rest)), Some((shown, others))) if matches(line, shown) => {
            compare(rest, others)
        }
        (Some((line, _)), Some((shown, _))) => Err(format!("expected: {line}\n but got: {shown}")),
        (Some((line, _)), None) => Err(format!("expected: {line}\n but it ends")),
        (None, Some((shown, _))) => Err(format!("expected no more, but got: {shown}")),
    }
}

/// Whether a line is as the pattern, in which `[..]` stands for anything.
fn matches(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split("[..]");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// A line without what differs from one day and machine to the next.
fn plain(line: &str) -> String {
    if line.starts_with("{\"seq\"") {
        return mask::line(line);
    }
    let mut words: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        words.push(plain_word(word));
        if word.ends_with('…') {
            // How much fits depends on the words before.
            words.pop();
            words.push("…".to_owned());
            break;
        }
    }
    let plain = words.join(" ");
    ["DURATION ago", "in DURATION", "now"]
        .iter()
        .fold(plain, |plain, when| replace_words(&plain, when, "WHEN"))
}

/// Replaces words that stand by themselves.
fn replace_words(line: &str, words: &str, with: &str) -> String {
    let padded = format!(" {line} ").replace(&format!(" {words} "), &format!(" {with} "));
    padded.trim().to_owned()
}

fn plain_word(word: &str) -> String {
    if let Some((before, _)) = word.split_once(&format!("{NODE}.")) {
        return format!("{before}WORKER");
    }
    let core = word.trim_end_matches([',', ':', ')', '.', '…']);
    let start = core.trim_start_matches('(');
    let kind = match start {
        _ if is_id(start) => "ID",
        _ if is_time(start) => "TIME",
        _ if is_duration(start) => "DURATION",
        _ => return word.to_owned(),
    };
    word.replace(start, kind)
}

/// A ULID, or enough of its beginning.
fn is_id(word: &str) -> bool {
    let is_base32 = |c: char| c.is_ascii_digit() || c.is_ascii_uppercase();
    word.len() >= 10 && word.starts_with("01") && word.chars().all(is_base32)
}

/// `2026-02-02`, `03:04:05`, or both with a `T` and a `Z`.
fn is_time(word: &str) -> bool {
    let is_of_time = |c: char| c.is_ascii_digit() || "-:.TZ".contains(c);
    word.len() >= 8 && word.chars().all(is_of_time) && word.contains(['-', ':'])
}

/// `12ms`, `3s`, `1h30m`.
fn is_duration(word: &str) -> bool {
    let ends = ["ms", "s", "m", "h", "d"].iter().any(|unit| word.ends_with(unit));
    let is_of_span = |c: char| c.is_ascii_digit() || "msuhd.".contains(c);
    ends && word.starts_with(|c: char| c.is_ascii_digit()) && word.chars().all(is_of_span)
}
