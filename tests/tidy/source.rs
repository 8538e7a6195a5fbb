//! A Rust file as the checks see it: its code without comments and texts, and which of it is tests.
//!
//! Knows a little of the syntax and nothing of what the code means.

use std::ops::Range;

/// A file of the project.
pub struct Source {
    /// From the project's root, with slashes.
    pub path: String,
    pub text: String,
    /// The text with blanks for comments and for what stands in quotes; every byte at its place.
    pub code: String,
    tests: Vec<Range<usize>>,
}

/// A function with a body.
pub struct Function {
    pub name: String,
    pub start: usize,
    pub end: usize,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let code = scrub(text);
        let whole = is_test_file(path).then_some(0..text.len());
        let tests = whole.into_iter().chain(test_parts(&code)).collect();
        Source { path: path.to_owned(), text: text.to_owned(), code, tests }
    }

    pub fn line(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }

    pub fn is_test(&self, at: usize) -> bool {
        self.tests.iter().any(|part| part.contains(&at))
    }

    /// The room the file is in; none where it is in none.
    pub fn room(&self) -> Option<&str> {
        let room = self.path.strip_prefix("src/")?;
        let room = room.split_once('/').map_or(room.strip_suffix(".rs")?, |(room, _)| room);
        ["domain", "store", "worker", "cli"].into_iter().find(|known| *known == room)
    }

    /// Where the words stand in the code, not as parts of longer ones.
    pub fn find(&self, words: &str) -> Vec<usize> {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let begins = words.starts_with(is_word);
        let ends = words.ends_with(is_word);
        self.code
            .match_indices(words)
            .map(|(at, _)| at)
            .filter(|at| !begins || !self.code[..*at].ends_with(is_word))
            .filter(|at| !ends || !self.code[at + words.len()..].starts_with(is_word))
            .collect()
    }

    /// What is named of a crate: for `std::{fs, io::Read}` both `fs` and `io`, each with its place.
    pub fn named_of(&self, root: &str) -> Vec<(usize, &str)> {
        let mut named = Vec::new();
        for at in self.find(root) {
            let start = at + root.len();
            let Some(rest) = self.code[start..].strip_prefix("::") else { continue };
            match rest.strip_prefix('{') {
                Some(group) => named.extend(group_names(group).into_iter().map(|name| (at, name))),
                None => named.push((at, first_word(rest))),
            }
        }
        named
    }

    /// The functions that have a body, inner ones too.
    pub fn functions(&self) -> Vec<Function> {
        let functions = self.find("fn").into_iter().filter_map(|start| {
            let name = first_word(self.code[start + 2..].trim_start()).to_owned();
            let signature = self.code[start..].find(['{', ';']).map(|at| start + at)?;
            let is_body = self.code[signature..].starts_with('{') && !name.is_empty();
            is_body.then(|| Function { name, start, end: closing(&self.code, signature) })
        });
        functions.collect()
    }
}

fn is_test_file(path: &str) -> bool {
    let is_test = |part: &str| part == "tests" || part == "testing" || part.ends_with("_tests");
    path.trim_end_matches(".rs").split('/').any(is_test)
}

fn first_word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// The first words of a group's members, up to its closing brace.
fn group_names(group: &str) -> Vec<&str> {
    let (mut names, mut depth, mut is_start) = (Vec::new(), 0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => is_start = true,
            c if c.is_whitespace() => {}
            _ if is_start => {
                names.push(first_word(&group[at..]));
                is_start = false;
            }
            _ => {}
        }
    }
    names
}

/// Where the brace that opens at `open` is closed.
fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, c) in code[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + at;
        }
    }
    code.len()
}

/// What stands behind `#[cfg(test)]`, alone or with other conditions, each time up to its end.
fn test_parts(code: &str) -> Vec<Range<usize>> {
    let alone = code.match_indices("#[cfg(test)]");
    alone
        .chain(code.match_indices("#[cfg(all(test,"))
        .filter_map(|(start, _)| {
            let end = start + code[start..].find(['{', ';'])?;
            let end = if code[end..].starts_with('{') { closing(code, end) } else { end };
            Some(start..end + 1)
        })
        .collect()
}

/// Blanks out comments and what stands in quotes. Line ends stay.
fn scrub(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match skipped(bytes, at) {
            Some(end) => end.min(bytes.len()),
            None => {
                at += 1;
                continue;
            }
        };
        for byte in &mut code[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(code).expect("only ASCII was blanked in part")
}

/// Where the comment, text or character that begins at `at` ends; none where none begins.
fn skipped(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return Some(at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()));
    }
    if rest.starts_with(b"/*") {
        return Some(at + block_comment(rest));
    }
    let is_inside_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    if rest[0] == b'r' && (!is_inside_word || bytes[at - 1] == b'b') {
        let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
        if rest.get(1 + hashes) == Some(&b'"') {
            let mut end = b"\"".to_vec();
            end.extend(vec![b'#'; hashes]);
            let body = &rest[2 + hashes..];
            let length = body.windows(end.len()).position(|window| window == end)?;
            return Some(at + 2 + hashes + length + end.len());
        }
    }
    match rest[0] {
        b'"' => Some(at + quoted(rest, b'"')),
        // A lifetime has no second quote behind its first letter.
        b'\'' if rest.get(1) == Some(&b'\\') => Some(at + quoted(rest, b'\'')),
        b'\'' => {
            let width = std::str::from_utf8(&rest[1..rest.len().min(5)])
                .map_or_else(|error| error.valid_up_to(), str::len);
            let letter = std::str::from_utf8(&rest[1..=width]).ok()?.chars().next()?.len_utf8();
            (rest.get(1 + letter) == Some(&b'\'')).then_some(at + letter + 2)
        }
        _ => None,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += 1;
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}
