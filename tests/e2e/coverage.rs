//! Walks the command line: every verb has its cases and examples, every flag its help.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::path::Path;

use clap::Command;
use queuectl::cli::args;

use super::harness::{Done, Home};
use super::verbs::{Case, Verb};
use super::{
    cancel, compact, config, dlq, doctor, edit, enqueue, events, history, init, list, logs, purge,
    retry, run, show, status, wait, worker,
};

/// The cases of every file of a verb.
const CASES: [&[Verb]; 19] = [
    cancel::VERBS,
    compact::VERBS,
    config::VERBS,
    dlq::VERBS,
    doctor::VERBS,
    edit::VERBS,
    enqueue::VERBS,
    events::VERBS,
    history::VERBS,
    init::VERBS,
    list::VERBS,
    logs::VERBS,
    purge::VERBS,
    retry::VERBS,
    run::VERBS,
    show::VERBS,
    status::VERBS,
    wait::VERBS,
    worker::VERBS,
];

/// Flags whose absence needs no default to be named: one of them is the job.
const SOURCES: [&str; 3] = ["command", "file", "lines"];

fn command_line() -> Command {
    let mut root = args::command();
    root.build();
    root
}

/// Every command with its path, groups too, but for `help`.
fn commands<'a>(of: &'a Command, path: &str, into: &mut Vec<(String, &'a Command)>) {
    for command in of.get_subcommands().filter(|command| command.get_name() != "help") {
        let path = format!("{path} {}", command.get_name()).trim_start().to_owned();
        commands(command, &path, into);
        into.push((path, command));
    }
}

fn all(root: &Command) -> Vec<(String, &Command)> {
    let mut all = Vec::new();
    commands(root, "", &mut all);
    assert!(all.len() > 20, "the walk sees few of the verbs: {}", all.len());
    all
}

#[test]
fn every_verb_has_a_success_a_refusal_and_json() {
    let mut cases: BTreeMap<&str, &Verb> = BTreeMap::new();
    for verb in CASES.into_iter().flatten() {
        assert!(cases.insert(verb.path, verb).is_none(), "{} stands twice", verb.path);
    }
    let root = command_line();
    let verbs = all(&root).into_iter().filter(|(_, command)| !command.has_subcommands());
    for (path, _) in verbs {
        let verb = cases.remove(&*path).unwrap_or_else(|| panic!("{path} has no cases"));
        insta::assert_snapshot!(path.replace(' ', "_"), verb.picture());
    }
    assert!(cases.is_empty(), "cases of no verb: {:?}", cases.keys());
}

/// What a verb does whose stdout has room for nothing, beside what it prints where it has.
fn with_full_stdout(case: &Case, line: &str) -> (Done, Done) {
    let [done, full] = [None, Some("/dev/full")].map(|stdout| {
        let home = Home::pinned();
        (case.given)(&home);
        let command = home.say(line);
        match stdout.map(|path| File::options().write(true).open(path).expect("a full device")) {
            Some(full) => command.stdout(full).done(),
            None => command.done(),
        }
    });
    (done, full)
}

#[test]
fn a_full_stdout_is_told_by_every_verb() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    let nothing = Case::ok(|_| {}, "");
    let plain = ["", "--help", "--version", "list --help", "run --max-retries 1 'echo x; exit 7'"];
    let mut calls: Vec<(&Case, String)> =
        plain.iter().map(|line| (&nothing, (*line).to_owned())).collect();
    for verb in CASES.into_iter().flatten() {
        calls.push((&verb.success, verb.success.line.to_owned()));
        calls.push((&verb.json, format!("{} --json", verb.json.line)));
    }
    let mut seen = 0;
    for (case, line) in calls {
        let (done, full) = with_full_stdout(case, &line);
        if done.stdout.is_empty() {
            continue;
        }
        seen += 1;
        let failed = match (done.code, line.starts_with("run")) {
            (0, true) => 125,
            (code, true) => code,
            _ => 1,
        };
        let said = full.fails(failed);
        assert!(said.contains("cannot write to stdout: No space left"), "{line}: {said}");
    }
    assert!(seen > 30, "few of the verbs print: {seen}");
}

#[test]
fn every_flag_says_what_it_is_for_and_what_holds_without_it() {
    let root = command_line();
    let mut seen = 0;
    for (path, command) in all(&root).into_iter().chain([(String::new(), &root)]) {
        for flag in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            let id = flag.get_id().as_str();
            let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.len() > 8, "{path}: {id} has no help");
            assert!(!help.ends_with('.'), "{path}: {id}: {help:?} ends with a full stop");
            let optional = !flag.is_positional() && flag.get_action().takes_values();
            let exempt = SOURCES.contains(&id) || flag.is_required_set();
            assert!(
                !optional || exempt || help.contains("[default: "),
                "{path}: --{id} takes a value, and does not say what holds without it: {help}"
            );
            seen += 1;
        }
    }
    assert!(seen > 100, "the walk sees few of the flags: {seen}");
}

#[test]
fn negative_numbers_are_values_and_no_flags() {
    let root = command_line();
    let mut seen = 0;
    for (path, command) in all(&root) {
        for flag in command.get_arguments() {
            let names = flag.get_value_names().unwrap_or_default().iter();
            let is_number = names
                .clone()
                .any(|name| matches!(name.as_str(), "NUMBER" | "LINES" | "DURATION" | "FRACTION"));
            let Some(long) = flag.get_long().filter(|_| is_number) else { continue };
            let words = format!("{path} --{long} -1");
            if let Err(error) = args::parse(words.split(' ').map(OsString::from).collect()) {
                let text = error.to_string();
                assert!(!text.contains("unexpected argument"), "{path} --{long} -1: {text}");
            }
            seen += 1;
        }
    }
    assert!(seen > 20, "the walk sees few of the numbers: {seen}");
}

/// The example lines at the end of a help text.
fn examples(help: &str) -> Vec<&str> {
    let (_, examples) = help.rsplit_once("Examples:\n").unwrap_or_default();
    examples.lines().take_while(|line| line.starts_with("  ")).collect()
}

/// The words behind `queuectl` in an example: without what is piped, and without the remark behind three blanks.
fn words(example: &str) -> Vec<OsString> {
    let from = example.find("queuectl ").expect("an example of queuectl") + "queuectl ".len();
    let line = example[from..].split("   ").next().unwrap_or_default();
    let words = shlex::split(line).unwrap_or_else(|| panic!("an open quote: {example}"));
    let ours = words.into_iter().take_while(|word| word != "|" && word != "<");
    ours.map(OsString::from).collect()
}

#[test]
fn every_help_ends_in_examples_that_can_be_read() {
    let home = Home::new();
    let root = command_line();
    for (path, command) in all(&root).into_iter().chain([(String::new(), &root)]) {
        let help = home.say(&format!("{path} --help")).done().ok();
        let examples = examples(&help);
        assert!(!examples.is_empty(), "{path}: no example at the end of:\n{help}");
        for example in &examples {
            let read = args::parse(words(example));
            assert!(read.is_ok(), "{path}: {example}: {}", read.unwrap_err());
        }
        let own = |example: &&str| example.contains(&format!("queuectl {path}"));
        let shows_itself = examples.iter().any(|example| own(example) || path == "init");
        assert!(shows_itself, "{path}: no example calls it:\n{help}");
        for flag in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            let Some(long) = flag.get_long() else { continue };
            assert!(help.contains(&format!("--{long}")), "{path}: its help leaves --{long} out");
        }
    }
}

#[test]
fn nothing_makes_a_directory_by_asking_for_help() {
    let home = Home::new();
    for line in ["", "--help", "-h", "help enqueue", "--version", "list --help"] {
        let done = home.say(line).done();
        assert_eq!((done.code, &*done.stderr), (0, ""), "{line:?}");
        assert!(done.stdout.contains("queuectl"), "{line:?}: {}", done.stdout);
    }
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}
