//! Input that nobody should give, and everybody may: each has one clear outcome, and nothing of it is stored.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, symlink};

use super::harness::{Done, Home};
use super::story;
use super::tree::tree;

/// Fails where a command did not end by itself, in a documented way, saying why, with nothing on stdout.
#[track_caller]
fn assert_refused(what: &str, done: &Done, codes: &[i32]) {
    let head: String = done.stderr.chars().take(600).collect();
    assert!(codes.contains(&done.code), "{what}: exit {}: {head}", done.code);
    assert!(!done.stderr.contains("panicked"), "{what}: {head}");
    assert!(
        !done.stderr.contains('\u{1b}'),
        "{what}: an escape code goes to the terminal: {head:?}"
    );
    assert_eq!(done.stdout, "", "{what}");
    assert!(!done.stderr.is_empty(), "{what}: it says why");
    assert!(done.stderr.len() < 3000, "{what}: what is wrong is cut: {} bytes", done.stderr.len());
}

/// Enqueues each text as JSON, which is refused with these words, and nothing is stored.
fn refused_json(table: &[(&str, &[&str])]) {
    let home = Home::new();
    home.ok("init");
    let before = tree(&home.queue());
    for (text, words) in table {
        let what: String = text.chars().take(60).collect();
        let done = home.run_with("enqueue -f -", text);
        assert_refused(&what, &done, &[1]);
        for word in *words {
            assert!(done.stderr.contains(word), "{what}: no {word:?} in {}", done.stderr);
        }
    }
    assert_eq!(tree(&home.queue()), before);
}

#[test]
fn malformed_json_is_told_with_its_place() {
    refused_json(&[
        ("{", &["line 1, column 1"]),
        ("{\"command\":\"x\"", &["line 1, column"]),
        ("{\"command\":\"x\"}\n{\"command\":}", &["line 2, column 12"]),
        ("{\"command\":\"x\",}", &["line 1, column 16"]),
        ("{'command':'x'}", &["line 1, column 2"]),
        ("{command:\"x\"}", &["line 1, column 2"]),
        ("{\"command\":\"a\nb\"}", &["control character", "line 1, column 13"]),
        ("{\"command\":\"\\ud800\"}", &["line 1, column"]),
        ("{\"command\":\"x\"} trailing", &["line 1, column 19"]),
        ("[{\"command\":\"x\"}", &["line 1, column"]),
        ("\u{0}", &["line 1, column 1"]),
        ("echo hi", &["line 1, column 1"]),
    ]);
}

#[test]
fn a_shell_command_that_begins_like_json_is_shown_the_way() {
    let home = Home::new();
    for word in ["{ echo hi; }", "[ -e x ] && echo y", "{}", "{\"comand\":\"x\"}"] {
        let done = home.queuectl(["enqueue", word]).done();
        assert_refused(word, &done, &[1]);
        let (_, hint) = done.stderr.split_once("\nhint: ").expect("a way out");
        assert!(hint.contains("--command") || hint.contains("did you mean"), "{word}: {hint}");
        assert!(done.stderr.contains("line 1, column "), "{word}: {}", done.stderr);
    }
    home.queuectl(["enqueue", "--command", "{ echo hi; }"]).done().ok();
    assert!(home.queuectl(["enqueue", "--", "[ -e x ]"]).done().ok().len() > 20);
}

#[test]
fn json_of_the_wrong_type_names_what_it_should_be() {
    refused_json(&[
        ("42", &["a job, which is a JSON object"]),
        ("\"ls\"", &["a job, which is a JSON object"]),
        ("null", &["a job, which is a JSON object"]),
        ("[[{\"command\":\"x\"}]]", &["a JSON object"]),
        ("[1]", &["a JSON object"]),
        ("{\"command\":1}", &["\"command\"", "must be a string"]),
        ("{\"command\":[\"a\"]}", &["\"command\"", "must be a string"]),
        ("{\"argv\":\"a\"}", &["\"argv\"", "an array of strings"]),
        ("{\"argv\":[1]}", &["\"argv\"", "an array of strings"]),
        ("{\"argv\":[]}", &["argv is empty"]),
        ("{\"command\":\"x\",\"priority\":\"high\"}", &["\"priority\"", "whole number"]),
        ("{\"command\":\"x\",\"priority\":1.5}", &["\"priority\"", "whole number"]),
        ("{\"command\":\"x\",\"max_retries\":-1}", &["\"max_retries\"", "at least 0"]),
        ("{\"command\":\"x\",\"timeout\":{}}", &["\"timeout\""]),
        ("{\"command\":\"x\",\"timeout\":-1}", &["\"timeout\""]),
        ("{\"command\":\"x\",\"env\":[\"A=1\"]}", &["\"env\"", "object of strings"]),
        ("{\"command\":\"x\",\"env\":{\"A\":1}}", &["\"env\"", "object of strings"]),
        ("{\"command\":\"x\",\"tags\":{}}", &["\"tags\""]),
        ("{\"command\":\"x\",\"id\":7}", &["\"id\"", "a string"]),
        ("{\"command\":\"x\",\"merge_output\":1}", &["\"merge_output\"", "true or false"]),
        ("{\"command\":\"x\",\"on_conflict\":\"replace\"}", &["\"fail\" or \"keep\""]),
        ("{\"command\":\"x\",\"state\":\"done\"}", &["\"state\"", "\"pending\""]),
        ("{\"command\":\"x\",\"attempts\":2}", &["\"attempts\""]),
    ]);
}

#[test]
fn unknown_fields_are_named_with_a_suggestion() {
    refused_json(&[
        (
            "{\"command\":\"x\",\"prioritty\":1}",
            &["unknown field \"prioritty\"", "did you mean \"priority\"?"],
        ),
        ("{\"comand\":\"x\"}", &["unknown field \"comand\"", "did you mean \"command\"?"]),
        ("{\"command\":\"x\",\"colour\":1}", &["unknown field \"colour\""]),
        ("{\"command\":\"x\",\"\":1}", &["unknown field \"\""]),
        ("{\"command\":\"x\",\"\\u001b[31m\":1}", &["unknown field"]),
    ]);
}

#[test]
fn no_command_or_none_that_can_run() {
    let long = format!("{{\"command\":\"{}\"}}", "x".repeat(131_072));
    let argument = format!("{{\"argv\":[\"echo\",\"{}\"]}}", "x".repeat(131_072));
    refused_json(&[
        ("{}", &["no \"command\" in the JSON object"]),
        ("{\"id\":\"a\"}", &["no \"command\" in the JSON object"]),
        ("{\"command\":null}", &["no \"command\" in the JSON object"]),
        ("{\"command\":\"\"}", &["empty"]),
        ("{\"command\":\" \\t\\n\"}", &["empty"]),
        ("{\"command\":\"a\\u0000b\"}", &["NUL"]),
        ("{\"argv\":[\"a\",\"b\\u0000\"]}", &["NUL"]),
        ("{\"argv\":[\"\"]}", &["empty"]),
        ("{\"command\":\"x\",\"argv\":[\"x\"]}", &["exclude each other"]),
        (&long, &["131072 bytes", "131071", "hint: ", "script"]),
        (&argument, &["131072 bytes", "131071", "hint: ", "script"]),
    ]);
}

#[test]
fn deep_nesting_huge_numbers_and_keys_that_stand_twice() {
    let deep =
        format!("{{\"command\":\"x\",\"meta\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let objects = format!("{}1{}", "{\"a\":".repeat(50_000), "}".repeat(50_000));
    let arrays = "[".repeat(200_000);
    refused_json(&[
        (&deep, &["line 1, column"]),
        (&objects, &["line 1, column"]),
        (&arrays, &["line 1, column"]),
        ("{\"command\":\"x\",\"priority\":1e999}", &["\"priority\""]),
        ("{\"command\":\"x\",\"priority\":2147483648}", &["\"priority\""]),
        ("{\"command\":\"x\",\"max_retries\":99999999999999999999}", &["\"max_retries\""]),
        ("{\"command\":\"x\",\"timeout\":1e300}", &["\"timeout\""]),
        ("{\"command\":\"x\",\"delay\":1e300}", &["\"delay\""]),
        ("{\"command\":\"x\",\"jitter\":1e300}", &["jitter"]),
        ("{\"command\":\"x\",\"backoff_base\":1e300}", &["backoff_base"]),
        ("{\"command\":\"x\",\"command\":\"y\"}", &["\"command\" is given twice"]),
        ("{\"command\":\"x\",\"maxRetries\":1,\"max_retries\":2}", &["given twice"]),
        ("{\"command\":\"x\",\"id\":\"a\",\"id\":\"b\"}", &["given twice"]),
    ]);
}

#[test]
fn a_command_of_two_mebibytes() {
    let home = Home::new();
    home.ok("init");
    let before = tree(&home.queue());
    let command = "x".repeat(2 << 20);
    for (line, text) in [
        ("enqueue -f -", format!("{{\"command\":\"{command}\"}}")),
        ("enqueue --lines -", command.clone()),
        ("enqueue -f -", format!("{{\"command\":\"x\",\"env\":{{\"A\":\"{command}\"}}}}")),
        ("enqueue -f -", format!("{{\"command\":\"x\",\"meta\":\"{command}\"}}")),
        ("enqueue -f -", format!("{{\"{command}\":\"x\"}}")),
        ("enqueue -f -", format!("{{\"command\":\"x\",\"id\":\"{command}\"}}")),
        ("enqueue -f -", format!("{{\"command\":\"x\",\"priority\":\"{command}\"}}")),
        ("enqueue -f -", format!("{{\"command\":\"x\",\"name\":\"{command}\"}}")),
        ("enqueue -f -", format!("{{\"command\":\"x\",\"run_at\":\"{command}\"}}")),
    ] {
        let done = home.run_with(line, &text);
        assert_refused(&text[..text.len().min(40)], &done, &[1]);
    }
    assert_eq!(tree(&home.queue()), before);
}

#[test]
fn the_longest_that_can_run_is_taken_and_runs() {
    let home = Home::new();
    let command = format!(": {}", "x".repeat(131_071 - 2));
    let id = home.run_with("enqueue --lines -", &command).ok();
    home.run_with("enqueue --lines -", &format!("{command}x")).fails(1);
    home.drain("");
    assert_eq!(home.state(id.trim_end()), "completed");
}

#[test]
fn a_job_that_is_larger_than_allowed() {
    let home = Home::new();
    home.ok("init");
    let argv = |count: usize| {
        let words: Vec<String> = (0..count).map(|_| "y".repeat(100_000)).collect();
        serde_json::json!({"id": format!("j{count}"), "argv": words}).to_string()
    };
    let said = home.run_with("enqueue -", &argv(6));
    assert_refused("600 kB", &said, &[1]);
    assert!(
        said.stderr.contains("max_job_size") || said.stderr.contains("524288"),
        "{}",
        said.stderr
    );
    home.run_with("enqueue -", &argv(5)).ok();
    home.ok("config set max_job_size 4KiB");
    let text = format!("{{\"command\":\"{}\"}}", "x".repeat(5000));
    assert_refused("5 kB", &home.run_with("enqueue -", &text), &[1]);
    assert_eq!(home.ok("list --ids"), "j5\n");
}

#[test]
fn bytes_that_are_not_utf8_are_refused_but_as_arguments() {
    let home = Home::new();
    home.ok("init");
    let before = tree(&home.queue());
    let odd = |text: &[u8]| OsString::from_vec(text.to_vec());
    let lines: [&[&[u8]]; 12] = [
        &[b"enqueue", b"--id", b"a\xff", b"true"],
        &[b"enqueue", b"--name", b"a\xff", b"true"],
        &[b"enqueue", b"--queue=\xff", b"true"],
        &[b"enqueue", b"--tag", b"\xff", b"true"],
        &[b"enqueue", b"--meta", b"\"\xff\"", b"true"],
        &[b"enqueue", b"--env", b"\xff=1", b"true"],
        &[b"enqueue", b"{\"command\":\"\xff\"}"],
        &[b"enqueue", b"--\xff", b"true"],
        &[b"show", b"\xff"],
        &[b"list", b"--state", b"\xff"],
        &[b"config", b"set", b"max_retries", b"\xff"],
        &[b"\xff\xfe"],
    ];
    for words in lines {
        let what = format!("{words:?}");
        let done = home.queuectl(words.iter().map(|word| odd(word))).done();
        assert_refused(&what, &done, &[1, 2]);
    }
    let file = home.join("f");
    std::fs::write(&file, b"{\"command\":\"\xff\"}").unwrap();
    assert_refused("a file", &home.run("enqueue -f f"), &[1]);
    assert_eq!(tree(&home.queue()), before);
}

#[test]
fn jobs_keys_and_workers_that_are_not_there() {
    let home = Home::pinned();
    story::six_states(&home);
    let before = home.log();
    let long = "x".repeat(4096);
    let names = [
        "nope",
        "a b",
        "a/b",
        "../../etc/passwd",
        "a\nb",
        "\u{1b}[31mred",
        "é",
        &long,
        "%s",
        "-",
        "*",
    ];
    let verbs: [&[&str]; 12] = [
        &["show"],
        &["history"],
        &["logs"],
        &["wait"],
        &["cancel"],
        &["retry"],
        &["purge", "--yes"],
        &["edit", "--priority=1"],
        &["list"],
        &["dlq", "show"],
        &["dlq", "retry"],
        &["worker", "stop"],
    ];
    for verb in verbs {
        for name in names {
            let words = verb.iter().copied().chain([name]);
            let what: String = format!("{verb:?} {name:?}").chars().take(60).collect();
            assert_refused(&what, &home.queuectl(words).done(), &[1, 2]);
        }
    }
    for verb in ["get", "unset", "reset"] {
        for name in names {
            let done = home.queuectl(["config", verb, name]).done();
            assert_refused(&format!("config {verb}"), &done, &[1, 2]);
        }
    }
    assert_eq!(home.log(), before);
}

#[test]
fn empty_words_select_nothing() {
    let home = Home::pinned();
    story::six_states(&home);
    let before = home.log();
    for line in ["cancel --yes", "purge --yes", "retry", "list", "dlq purge --yes", "wait"] {
        for word in
            ["", "tag:", "queue:", "state:", "name:", "id:", "@", "@first", "state:,", "state:nope"]
        {
            let words = line.split(' ').chain([word]);
            assert_refused(&format!("{line} {word:?}"), &home.queuectl(words).done(), &[1, 2]);
        }
    }
    assert_eq!(home.log(), before);
}

#[test]
fn control_characters_never_reach_the_terminal_or_a_line() {
    let home = Home::new();
    let odd = "a\u{1b}[31mred\u{7}\ttab\r\nline\u{202e}turned\u{9b}31m";
    for flag in ["--name", "--queue", "--tag"] {
        let done = home.queuectl(["enqueue", flag, odd, "true"]).done();
        assert_refused(flag, &done, &[1, 2]);
    }
    let text = serde_json::json!({"id": "j", "command": format!("true {odd}"), "meta": {"k": odd}});
    home.queuectl(["enqueue", &text.to_string()]).done().ok();
    home.queuectl(["enqueue", "--id", "k", "--env", &format!("E={odd}"), "--", "true", odd])
        .done()
        .ok();
    for line in
        ["list", "list --columns id,command", "show j", "show k", "history j", "events", "status"]
    {
        let printed = home.ok(line);
        let bad = |c: char| (c.is_control() && c != '\n' && c != '\t') || c == '\u{202e}';
        assert!(!printed.contains(bad), "{line}: {printed:?}");
    }
    let row = home.ok("list --columns id,command");
    assert_eq!(row.lines().count(), 2, "{row:?}");
    assert!(row.lines().all(|line| line.split('\t').count() == 2), "{row:?}");
    assert_eq!(home.job("j")["command"], format!("true {odd}"));
}

#[test]
fn what_a_mistake_repeats_is_harmless() {
    let home = Home::new();
    let odd = "a\u{1b}]0;x\u{7}\rb\u{202e}c\u{8}";
    for words in [
        ["list", "--state", odd],
        ["list", "--sort", odd],
        ["list", "--columns", odd],
        [odd, "list", "x"],
        ["worker", "start", &format!("--count={odd}")],
        ["enqueue", &format!("--{odd}"), "true"],
        ["enqueue", "a b", odd],
        ["config", "get", odd],
        ["enqueue", "--id", odd],
        ["dlq", odd, "x"],
    ] {
        for json in [None, Some("--json")] {
            let done = home.queuectl(json.into_iter().chain(words)).done();
            assert_refused(&format!("{words:?}"), &done, &[1, 2]);
            let bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            let is_json = json.is_some();
            assert!(is_json || !done.stderr.contains(bad), "{words:?}: {:?}", done.stderr);
        }
    }
}

#[test]
fn odd_variables_are_told_by_name() {
    let home = Home::new();
    home.ok("init");
    let before = tree(&home.queue());
    for (variable, value) in [
        ("QUEUECTL_MAX_RETRIES", "abc"),
        ("QUEUECTL_MAX_RETRIES", "-1"),
        ("QUEUECTL_TIMEOUT", "soon"),
        ("QUEUECTL_POLL_INTERVAL", "0"),
        ("QUEUECTL_JITTER", "NaN"),
        ("QUEUECTL_BACKOFF_BASE", "inf"),
        ("QUEUECTL_OUTPUT_LIMIT", "lots"),
        ("QUEUECTL_ON_WORKER_DEATH", "panic"),
        ("QUEUECTL_NODE", "../../x"),
        ("QUEUECTL_NODE", "a b"),
        ("QUEUECTL_NODE", "UPPER"),
        ("QUEUECTL_TEST_NOW", "yesterday"),
    ] {
        let done = home.run_in("enqueue true", variable, OsStr::new(value));
        assert_refused(&format!("{variable}={value}"), &done, &[1, 2]);
        assert!(done.stderr.contains(variable), "{variable}={value}: {}", done.stderr);
    }
    let done = home.run_in("enqueue true", "QUEUECTL_MAX_RETRIES", OsStr::from_bytes(b"\xff"));
    assert_refused("not UTF-8", &done, &[1, 2]);
    assert_eq!(tree(&home.queue()), before);
    home.run_in("enqueue true", "QUEUECTL_MAX_RETRIES", OsStr::new("")).ok();
    home.run_in("enqueue true", "QUEUECTL_DIR", OsStr::from_bytes(b"odd\xffdir")).ok();
    assert!(home.join(OsStr::from_bytes(b"odd\xffdir").to_str().unwrap_or(".")).exists());
}

#[test]
fn a_directory_that_others_can_write() {
    let home = Home::new();
    home.make_public();
    let before = tree(&home.queue());
    for line in
        ["enqueue true", "list", "status", "init", "worker start --drain", "config set jitter 1"]
    {
        let done = home.run(line);
        assert_refused(line, &done, &[1]);
        assert!(done.stderr.contains("hint: "), "{line}: {}", done.stderr);
    }
    assert_eq!(tree(&home.queue()), before);
}

#[test]
fn a_directory_that_the_group_can_write_is_warned_of() {
    let home = Home::new();
    home.ok("init");
    std::fs::set_permissions(home.queue(), std::fs::Permissions::from_mode(0o770)).unwrap();
    let done = home.run("enqueue --id a true");
    assert!(done.stderr.contains("warning: "), "{}", done.stderr);
    assert_eq!(done.ok(), "a\n");
}

#[test]
fn a_directory_that_is_a_link() {
    let home = Home::new();
    std::fs::create_dir(home.join("real")).unwrap();
    std::fs::set_permissions(home.join("real"), std::fs::Permissions::from_mode(0o700)).unwrap();
    symlink("real", home.queue()).unwrap();
    home.ok("enqueue --id a true");
    home.drain("");
    assert_eq!(home.state("a"), "completed");
    assert!(home.join("real/log").is_dir());
    let dangling = home.queuectl(["list", "--dir", "nowhere/at/all"]).done();
    assert_eq!((dangling.code, &*dangling.stdout), (0, ""));
    symlink("gone", home.join("dangling")).unwrap();
    let done = home.run("enqueue true --dir dangling");
    assert!(done.code == 0 || !done.stderr.is_empty());
    symlink("loop", home.join("loop")).unwrap();
    let done = home.queuectl(["--dir", "loop", "enqueue", "true"]).done();
    assert_refused("a loop", &done, &[1, 74]);
}

#[test]
fn files_that_cannot_be_read() {
    let home = Home::new();
    home.ok("init");
    let before = tree(&home.queue());
    for line in
        ["enqueue -f nowhere", "enqueue --lines nowhere", "enqueue -f .", "enqueue --lines ."]
    {
        assert_refused(line, &home.run(line), &[1]);
    }
    assert_eq!(tree(&home.queue()), before);
}
