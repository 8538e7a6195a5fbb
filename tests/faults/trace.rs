//! The system calls of a run, as strace wrote them down: which thread made them, when they began and when they ended.
//!
//! Knows nothing of what they are for.

use std::collections::BTreeMap;

/// The calls of a run, in the order in which they began.
pub struct Trace {
    pub calls: Vec<Call>,
}

/// A system call.
#[derive(Debug, Clone)]
pub struct Call {
    /// The process or thread.
    pub thread: u32,
    pub name: String,
    /// Its arguments and what came back, with the paths of open files.
    pub text: String,
    /// The line on which it began.
    pub begun: usize,
    /// The line on which it ended; none where it never came back.
    pub ended: Option<usize>,
}

impl Trace {
    /// Takes the lines of `strace -y`, with or without the numbers of processes.
    pub fn parse(text: &str) -> Self {
        let mut calls: Vec<Call> = Vec::new();
        let mut open = BTreeMap::new();
        for (at, line) in text.lines().enumerate() {
            let (thread, rest) = match line.split_once(' ') {
                Some((number, rest)) if number.parse::<u32>().is_ok() => {
                    (number.parse().expect("a number"), rest.trim_start())
                }
                _ => (0, line),
            };
            if let Some(resumed) = rest.strip_prefix("<... ") {
                if let Some(index) = open.remove(&thread) {
                    let call: &mut Call = &mut calls[index];
                    call.text.push_str(resumed.split_once("resumed>").map_or("", |(_, text)| text));
                    call.ended = Some(at);
                }
                continue;
            }
            let Some((name, _)) = rest.split_once('(') else { continue };
            if name.is_empty() || name.contains(' ') {
                continue;
            }
            let unfinished = rest.strip_suffix("<unfinished ...>");
            let text = unfinished.unwrap_or(rest).to_owned();
            let ended = unfinished.is_none().then_some(at);
            if ended.is_none() {
                open.insert(thread, calls.len());
            }
            calls.push(Call { thread, name: name.to_owned(), text, begun: at, ended });
        }
        Trace { calls }
    }

    /// How many calls of this name a thread made that made most of them, and how many of the first thread's loaded the
    /// program's libraries, before anything of it ran.
    pub fn count(&self, name: &str) -> (usize, usize) {
        let mut most = BTreeMap::<u32, usize>::new();
        for call in self.calls.iter().filter(|call| call.name == name) {
            *most.entry(call.thread).or_default() += 1;
        }
        let loads = |call: &&Call| call.name == name && call.text.contains(".so");
        (most.into_values().max().unwrap_or(0), self.calls.iter().filter(loads).count())
    }
}

impl Call {
    /// Whether it came back without an error.
    pub fn is_good(&self) -> bool {
        self.ended.is_some() && !self.text.contains(") = -1 ")
    }

    /// Whether it ended before the other began.
    pub fn is_before(&self, other: &Call) -> bool {
        self.ended.is_some_and(|ended| ended < other.begun)
    }

    /// The path of the file or directory that is its first argument.
    pub fn path(&self) -> &str {
        let file = self.text.split_once('(').map_or("", |(_, rest)| rest);
        let named = file.split_once('<').filter(|(number, _)| number.parse::<u32>().is_ok());
        named.and_then(|(_, rest)| rest.split_once('>')).map_or("", |(path, _)| path)
    }
}
