//! What every verb must have: a success, a refusal with its exit code, and a `--json` answer, all three in a snapshot.
//!
//! The cases are data. `coverage.rs` runs them, and fails for a verb that has none.

use super::harness::{Done, Home};

/// A line, what is there before it, and how it ends.
pub struct Case {
    pub given: fn(&Home),
    /// What stands behind `queuectl`, quoted as for a shell.
    pub line: &'static str,
    pub code: i32,
}

/// A verb with its cases.
pub struct Verb {
    /// As on the command line: `dlq retry`.
    pub path: &'static str,
    pub success: Case,
    pub refusal: Case,
    /// Without `--json`, which is added.
    pub json: Case,
}

impl Case {
    pub const fn ok(given: fn(&Home), line: &'static str) -> Self {
        Case { given, line, code: 0 }
    }

    pub const fn fails(given: fn(&Home), line: &'static str, code: i32) -> Self {
        Case { given, line, code }
    }
}

impl Verb {
    /// Runs the cases and gives a picture of them.
    pub fn picture(&self) -> String {
        let success = self.run(&self.success, "");
        assert_eq!(self.success.code, 0, "{}: the success is none", self.path);
        let refusal = self.run(&self.refusal, "");
        assert_ne!(self.refusal.code, 0, "{}: the refusal is none", self.path);
        let json = self.run(&self.json, " --json");
        format!("{success}\n{refusal}\n{json}")
    }

    fn run(&self, case: &Case, more: &str) -> String {
        let home = Home::pinned();
        (case.given)(&home);
        let words = case.line.strip_prefix(self.path);
        let words = words.unwrap_or_else(|| panic!("{:?} does not call {}", case.line, self.path));
        let line = format!("{}{more}{words}", self.path);
        let before = home.log();
        let done = home.say(&line).done();
        assert_eq!(done.code, case.code, "queuectl {line}\n{}\n{}", done.stdout, done.stderr);
        if case.code != 0 {
            assert_eq!(done.stdout, "", "queuectl {line}: a refusal is no data");
            assert!(!done.stderr.is_empty(), "queuectl {line}: a refusal says why");
            assert_eq!(home.log(), before, "queuectl {line}: a refusal leaves nothing");
        }
        if !more.is_empty() {
            assert_is_json(&line, &done.stdout);
        }
        picture(&home, &line, &done)
    }
}

/// Fails unless the text is one JSON document, or nothing.
#[track_caller]
pub fn assert_is_json(line: &str, text: &str) {
    let mut documents = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>();
    if let Some(first) = documents.next() {
        first.unwrap_or_else(|error| panic!("queuectl {line}: {error}: {text}"));
        assert!(documents.next().is_none(), "queuectl {line}: more than a document: {text}");
    }
}

/// A command with all that it did, without what differs from one time to the next.
pub fn picture(home: &Home, line: &str, done: &Done) -> String {
    let mut text = format!("$ queuectl {line}\n");
    for (mark, printed) in [("", &done.stdout), ("! ", &done.stderr)] {
        for line in steady(home, printed).lines() {
            text.push_str(mark);
            text.push_str(line);
            text.push('\n');
        }
    }
    format!("{text}[exit {}]\n", done.code)
}

/// The text with the home's own path, spans of time, sizes on disk and process ids blotted out.
pub fn steady(home: &Home, text: &str) -> String {
    let path = home.path().to_str().expect("a path in UTF-8");
    let mut text = text.replace(path, "HOME");
    for field in [
        "\"ms\":",
        "\"duration_ms\":",
        "\"pid\":",
        "\"disk_bytes\":",
        "\"free_bytes\":",
        "\"start\":",
        "pid ",
        " after ",
    ] {
        text = blot(&text, field);
    }
    for measure in ["free_bytes", "free_inodes", "max_user_instances", "max_user_watches"]
        .into_iter()
        .chain(["woke_after_us", "median_us", "worst_us"])
    {
        text = blot(&blot(&text, &format!("{measure}=")), &format!("\"{measure}\":"));
    }
    text
}

/// Puts `N` in the place of each number behind `field`, and of the unit of time behind it.
fn blot(text: &str, field: &str) -> String {
    let mut parts = text.split(field);
    let mut blotted = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        let rest = if rest.len() < part.len() { rest.trim_start_matches(['m', 's']) } else { rest };
        blotted.push_str(field);
        blotted.push_str(if rest.len() < part.len() { "N" } else { "" });
        blotted.push_str(rest);
    }
    blotted
}
