//! What README and docs/cli.md say is what the program does.
//!
//! The ```console blocks of README are typed, command by command, into a terminal of 100 columns, from the repository's
//! root and with a home of its own. Commands of cargo are known to be right because this test runs.

mod home;

use std::fs;

use home::console::{Example, NODE, examples};
use home::{Home, ROOT};

fn readme() -> String {
    fs::read_to_string(format!("{ROOT}/README.md")).unwrap()
}

#[test]
fn the_first_two_commands_of_the_readme_are_known_word_for_word() {
    let blocks = examples(&readme());
    let commands: Vec<&str> =
        blocks.iter().flatten().map(|example| example.command.as_str()).take(2).collect();
    assert_eq!(commands, ["cargo run --release -- run 'echo hello'", "cargo test"]);
    let ci = fs::read_to_string(format!("{ROOT}/.ci/run")).unwrap();
    assert!(ci.lines().any(|line| line == "cargo test"), "the tests that land are the README's");
}

#[test]
fn the_examples_of_the_readme_are_what_happens() {
    let home = Home::new().with("QUEUECTL_NODE", NODE);
    let mut wrong = Vec::new();
    let mut typed = 0;
    for example in examples(&readme()).iter().flatten() {
        let Some(command) = as_built(&example.command) else { continue };
        let output = home.type_in(&command);
        let output =
            output.replace(home.path("").to_str().unwrap().trim_end_matches('/'), "/home/you");
        let output = output.replace(ROOT, "/home/you/queuectl");
        typed += 1;
        if let Err(why) = example.compare(&output) {
            wrong.push(format!("$ {}\n{why}\n--- it printed:\n{output}", example.command));
        }
    }
    assert!(typed > 10, "only {typed} commands were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// The command with the built binary; none where it would build or test the project again.
fn as_built(command: &str) -> Option<String> {
    match command.strip_prefix("cargo ") {
        None => Some(command.to_owned()),
        Some(cargo) => {
            cargo.strip_prefix("run --release -- ").map(|rest| format!("queuectl {rest}"))
        }
    }
}

#[test]
fn a_wrong_example_is_seen() {
    let example = |expected: &str| Example {
        command: String::new(),
        expected: expected.lines().map(str::to_owned).collect(),
    };
    for (expected, output) in [
        ("a", "a\n"),
        ("", ""),
        ("a[..]c [..]", "abbc d\n"),
        ("...\nz", "x\ny\nz\n"),
        ("a\n...", "a\n"),
        ("a\n...\nb\n...\nc", "a\nx\nb\nc\n"),
    ] {
        assert_eq!(example(expected).compare(output), Ok(()), "{expected:?} {output:?}");
    }
    for (expected, output) in [
        ("a", "b\n"),
        ("a", "a\nb\n"),
        ("a\nb", "a\n"),
        ("", "x\n"),
        ("a[..]c", "ab\n"),
        ("...\nz", "x\nz\ny\n"),
    ] {
        assert!(example(expected).compare(output).is_err(), "{expected:?} {output:?}");
    }
}

#[test]
fn the_page_on_the_command_line_names_every_verb_and_flag() {
    let page = fs::read_to_string(format!("{ROOT}/docs/cli.md")).unwrap();
    let mut root = queuectl::cli::args::command();
    root.build();
    let mut missing = Vec::new();
    for verb in root.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let title = |name: &str| {
            let is_named = |line: &&str| line.starts_with('#') && line.contains(name);
            page.lines().any(|line| is_named(&line)) || page.contains(&format!("- `{name}"))
        };
        if !title(verb.get_name()) && !page.contains(&format!("`{} ", verb.get_name())) {
            missing.push(verb.get_name().to_owned());
        }
        let mut commands = vec![verb];
        commands.extend(verb.get_subcommands().filter(|below| below.get_name() != "help"));
        for command in commands {
            let of_verb = format!("{} {}", verb.get_name(), command.get_name());
            if command.get_name() != verb.get_name() && !page.contains(&of_verb) {
                missing.push(of_verb.clone());
            }
            let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
            for flag in shown.filter_map(|argument| argument.get_long()) {
                if !page.contains(&format!("--{flag}")) && flag != "help" && flag != "version" {
                    missing.push(format!("{of_verb} --{flag}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "docs/cli.md lacks {missing:?}");
}

#[test]
fn the_page_on_the_command_line_has_the_keys_as_they_are() {
    let page = fs::read_to_string(format!("{ROOT}/docs/cli.md")).unwrap();
    let rows: Vec<&str> =
        page.lines().skip_while(|line| *line != "| key | built in | |").skip(2).collect();
    let keys = queuectl::domain::config::KEYS;
    for (row, key) in rows.iter().zip(&keys) {
        assert_eq!(*row, format!("| `{}` | {} | {} |", key.name, key.default, key.about));
    }
    assert!(!rows[keys.len()].starts_with('|'), "a key too many");
}
