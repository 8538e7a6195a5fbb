//! Small files that break a rule each, so that the checks themselves can fail.

use super::check;
use super::source::Source;

/// What is found in a file of this path and code, which is given a header.
fn found(path: &str, code: &str) -> Vec<String> {
    let source = Source::new(path, &format!("//! A sample.\n{code}\n"));
    check(&source).iter().map(ToString::to_string).collect()
}

#[test]
fn each_rule_is_broken_by_its_sample() {
    for (path, code, what) in [
        ("src/domain/a.rs", "use std::fs;", "domain names std::fs"),
        ("src/domain/a.rs", "use std::{fmt, io::Read};", "domain names std::io"),
        ("src/domain/a.rs", "fn f() { std::env::var(x); }", "domain names std::env"),
        ("src/domain/a.rs", "use std::time::Instant;", "reads a clock"),
        ("src/domain/a.rs", "fn f() { OffsetDateTime::now_utc(); }", "reads a clock"),
        ("src/domain/a.rs", "use ulid::Ulid;", "not pure"),
        ("src/domain/a.rs", "use crate::store::Store;", "domain names store"),
        ("src/domain/a/b.rs", "use crate::{cli, domain};", "domain names cli"),
        ("src/store/a.rs", "use crate::worker::X;", "store names worker"),
        ("src/store/mod.rs", "use crate::cli::X;", "store names cli"),
        ("src/store/a.rs", "use crate::settings::X;", "store names settings"),
        ("src/worker/a.rs", "use crate::cli::X;", "worker names cli"),
        ("src/store/a.rs", "fn f() { std::process::id(); }", "store names std::process"),
        ("src/cli/a.rs", "use std::fs::File;", "only the store opens files"),
        ("src/worker/a.rs", "fn f() { rustix::fs::open(x); }", "only the store opens files"),
        ("src/cli/a.rs", "fn f() { fs::read_to_string(x); }", "only the store opens files"),
        ("src/cli/a.rs", "use crate::store::log::Log;", "append to the log"),
        ("src/worker/a.rs", "use crate::store::append::Fate;", "append to the log"),
        ("src/store/a.rs", "fn f() { locked.write(events, a, b); }", "written to by"),
        ("src/store/a.rs", "fn f() { log.commit(&written); }", "written to by"),
        ("src/store/a.rs", "fn f() { locked.rotate_orderly(a); }", "written to by"),
        ("src/store/a.rs", "fn f() { file.append(bytes); }", "appended to through"),
        ("src/cli/a.rs", "use std::process::{Command, Stdio};", "starts and ends processes"),
        ("src/cli/a.rs", "fn f() { process::Command::new(x); }", "starts and ends processes"),
        ("src/worker/a.rs", "use rustix::process::kill_process;", "starts and ends processes"),
        ("src/store/a.rs", "fn f() { println!(x); }", "only cli prints"),
        ("src/worker/a.rs", "fn f() { eprint!(x); }", "only cli prints"),
        ("src/worker/a.rs", "fn f() { std::process::exit(1); }", "exit code"),
        ("src/store/a.rs", "use std::process::ExitCode;", "exit code"),
        ("src/cli/a.rs", "#[allow(dead_code)]\nfn f() {}", "never #[allow]"),
        ("tests/a.rs", "#![allow(dead_code)]", "never #[allow]"),
        ("src/cli/a.rs", "fn f() { x.unwrap(); }", "unwrap only in tests"),
        ("src/cli/a.rs", "fn f() { unsafe { x() } }", "unsafe only in"),
        ("src/cli/a.rs", "fn f() { todo!() }", "no code"),
        ("tests/a.rs", "fn f() { unimplemented!() }", "no code"),
        ("src/cli/a.rs", concat!("// FIX", "ME: later."), "no comment"),
        ("tests/a.rs", "fn f() { std::thread::sleep(x); }", "sleeps only"),
        ("src/store/a_tests.rs", "fn f() { thread::sleep(x); }", "sleeps only"),
        ("src/cli/a.rs", "#[cfg(test)]\nmod tests { fn f() { thread::sleep(x); } }", "sleeps only"),
    ] {
        let found = found(path, code);
        assert!(found.iter().any(|one| one.contains(what)), "{path}: {code}\nfound {found:?}");
        assert!(found.iter().all(|one| one.starts_with(path)), "{found:?}");
    }
}

#[test]
fn what_is_in_order_is_left_alone() {
    for (path, code) in [
        ("src/domain/a.rs", "// std::fs and Instant are words.\nuse std::fmt;"),
        ("src/domain/a.rs", "fn f() -> &'static str { \"std::fs \\\" todo!\" }"),
        ("src/domain/a.rs", "fn f() { g(r#\"std::io \" unsafe\"#, b\"std::io\", 'x', '\\''); }"),
        ("src/domain/a.rs", "/* std::fs /* std::io */ println!() */"),
        ("src/domain/a.rs", "struct Instantly; fn strand() {}"),
        ("src/store/a.rs", "use std::fs; use crate::domain::job; fn f() { ids.worker(x); }"),
        ("src/store/a.rs", "#[cfg(test)]\nmod tests { fn f() { std::process::id(); } }"),
        ("src/store/a.rs", "#[cfg(test)]\nmod a_tests;\nfn f() {}"),
        ("src/store/mod.rs", "fn f() { locked.write(a); all.append(&mut b); }"),
        ("src/worker/process.rs", "use std::process::Command; fn f() { Command::new(x); }"),
        ("src/worker/a.rs", "use crate::{domain, store};"),
        ("src/worker/signal.rs", "fn f() { unsafe { x() } }"),
        ("src/cli/a.rs", "use crate::{domain, store, worker}; fn f() { println!(x); }"),
        ("src/cli/a.rs", "use clap::Command; fn f() { Command::new(x); }"),
        ("src/cli/a.rs", "#[cfg(all(test, unix))]\nmod tests { fn f() { x.unwrap(); } }"),
        ("src/cli/a.rs", "#[cfg(test)]\nmod tests { fn f() { x.unwrap(); } }"),
        ("src/main.rs", "fn main() -> ExitCode { queuectl::cli::run() }"),
        ("tests/a.rs", "fn wait_until() { loop { thread::sleep(x); } }"),
        ("tests/a.rs", "fn f<'a>(x: &'a str) { x.unwrap(); }"),
    ] {
        assert_eq!(found(path, code), Vec::<String>::new(), "{path}: {code}");
    }
}

#[test]
fn only_what_is_outside_the_tests_is_held_to_what_is_not_for_tests() {
    let code = "#[cfg(test)]\nmod tests { fn f() { x.unwrap(); } }\nfn g() { y.unwrap(); }";
    let found = found("src/cli/a.rs", code);
    assert_eq!(found, ["src/cli/a.rs:4: unwrap only in tests"]);
}

#[test]
fn files_and_functions_have_their_longest() {
    let function = |lines: usize| format!("fn long() {{\n{}}}\n", "    x();\n".repeat(lines - 2));
    assert_eq!(found("src/cli/a.rs", &function(69)), Vec::<String>::new());
    let long = found("src/cli/a.rs", &function(70));
    assert_eq!(long, ["src/cli/a.rs:2: fn long has 70 lines, but one has under 70"]);
    let brace = found("src/cli/a.rs", &function(70).replace("x();", "x('{');"));
    assert_eq!(brace.len(), 1, "a brace in quotes was counted: {brace:?}");
    let file =
        |lines: usize| Source::new("src/cli/a.rs", &format!("//! A.\n{}", "\n".repeat(lines - 1)));
    assert_eq!(check(&file(449)).len(), 0);
    assert_eq!(check(&file(450)).len(), 1);
}

#[test]
fn a_file_says_first_what_it_does() {
    let bare = Source::new("src/cli/a.rs", "use std::fmt;\n");
    assert!(check(&bare)[0].to_string().contains("begins with //!"));
}
