//! The rules of style that a machine can hold: lengths, headers and words that are not to be there.

use super::source::Source;
use super::{Broken, broken};

const LONGEST_FILE: usize = 449;
const LONGEST_FUNCTION: usize = 69;

/// The one argued place.
const UNSAFE: &str = "src/worker/signal.rs";

pub fn check(source: &Source) -> Vec<Broken> {
    let mut all = lengths(source);
    if !source.text.starts_with("//! ") {
        all.push(broken(source, 0, "a file begins with //! and what it does"));
    }
    for words in ["#[allow", "#![allow"] {
        all.extend(every(source, words, |_| true, "#[expect] and a reason, never #[allow]"));
    }
    for words in ["todo!", "unimplemented!", "dbg!"] {
        all.extend(every(source, words, |_| true, "what is not done yet is no code"));
    }
    let is_code = |at| !source.is_test(at);
    all.extend(every(source, ".unwrap()", is_code, "unwrap only in tests"));
    if source.path != UNSAFE {
        let what = format!("unsafe only in {UNSAFE}");
        all.extend(every(source, "unsafe", |_| true, &what));
    }
    all.extend(sleeping_tests(source));
    for mark in ["FIXME", "TODO", "XXX"].map(|mark| format!("{mark}:")) {
        let places = source.text.match_indices(&mark).map(|(at, _)| at);
        all.extend(places.map(|at| broken(source, at, "what is not done yet is no comment")));
    }
    all
}

fn every(source: &Source, words: &str, counts: impl Fn(usize) -> bool, what: &str) -> Vec<Broken> {
    let places = source.find(words).into_iter().filter(|at| counts(*at));
    places.map(|at| broken(source, at, what)).collect()
}

fn lengths(source: &Source) -> Vec<Broken> {
    let mut all = Vec::new();
    let lines = source.text.lines().count();
    if lines > LONGEST_FILE {
        all.push(broken(source, 0, &format!("{lines} lines, but a file has under 450")));
    }
    for function in source.functions() {
        let lines = source.line(function.end) - source.line(function.start) + 1;
        if lines > LONGEST_FUNCTION {
            let what = format!("fn {} has {lines} lines, but one has under 70", function.name);
            all.push(broken(source, function.start, &what));
        }
    }
    all
}

/// A test waits for what it wants to see, in a function that says so and has a limit.
fn sleeping_tests(source: &Source) -> Vec<Broken> {
    let functions = source.functions();
    let waits = |at: usize| {
        let around =
            functions.iter().filter(|function| (function.start..function.end).contains(&at));
        around.into_iter().any(|function| function.name.starts_with("wait"))
    };
    let mut all = Vec::new();
    for words in ["thread::sleep", "sleep_until", "sleep_ms"] {
        let counts = |at| source.is_test(at) && !waits(at);
        all.extend(every(source, words, counts, "a test sleeps only in a wait_… with a limit"));
    }
    all
}
