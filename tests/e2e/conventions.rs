//! What holds for every verb: data on stdout, messages on stderr, JSON that is JSON, reading that makes nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use super::harness::{Home, wait_until};
use super::story;
use super::tree::tree;
use super::verbs::assert_is_json;

/// Commands that only read, which succeed on the story of six states.
const READING: [&str; 17] = [
    "list",
    "list --ids",
    "list state:dead",
    "show dead",
    "history dead",
    "logs completed",
    "wait completed",
    "status",
    "worker list",
    "dlq list",
    "dlq show dead",
    "config list",
    "config get jitter",
    "events",
    "events --job dead",
    "cancel all --dry-run",
    "purge all --dry-run",
];

fn told() -> Home {
    let home = Home::pinned();
    story::six_states(&home);
    home
}

#[test]
fn with_json_stdout_is_one_document_whatever_happens() {
    let home = told();
    let more = [
        "cancel pending",
        "retry dead",
        "edit failed --priority 2",
        "enqueue --id new 'a b'",
        "worker stop",
        "config set jitter 0.5",
        "config unset jitter",
        "config reset --yes",
        "init",
        "purge cancelled --yes",
        "dlq retry all",
        "dlq purge all --yes",
        "dlq retry-all",
    ];
    let lines = READING.iter().filter(|line| !line.contains("--ids")).chain(&more);
    for line in lines {
        let done = home.say(&format!("{line} --json")).done();
        assert_eq!(done.code, 0, "{line}: {}", done.stderr);
        assert_is_json(line, &done.stdout);
        assert!(!done.stdout.contains('\u{1b}'), "{line}");
        let before = home.say(&format!("--json {line}")).done();
        assert_is_json(line, &before.stdout);
    }
    let home = told();
    for line in READING.iter().filter(|line| !line.contains("--ids")) {
        let done = home.run(&format!("{line} --json"));
        assert!(!done.stdout.is_empty(), "{line} --json prints nothing");
    }
}

#[test]
fn with_json_an_error_is_one_object_on_stderr() {
    let home = told();
    for (line, code) in [
        ("show nope", 1),
        ("cancel dead", 1),
        ("purge completed", 2),
        ("config get colour", 1),
        ("list --state x", 2),
        ("nonsense", 2),
        ("enqueue {", 1),
        ("enqueue", 2),
        ("dlq retry pending", 1),
        ("worker start --count 0", 2),
        ("wait", 2),
        ("edit pending", 2),
        ("events --since x", 2),
        ("worker stop nobody", 1),
        ("worker", 2),
        ("dlq", 2),
        ("config", 2),
    ] {
        for line in [format!("{line} --json"), format!("--json {line}")] {
            if line.starts_with("enqueue {") {
                continue;
            }
            let done = home.run(&line);
            assert_eq!((done.code, &*done.stdout), (code, ""), "{line}: {}", done.stderr);
            let error: serde_json::Value = serde_json::from_str(&done.stderr)
                .unwrap_or_else(|error| panic!("{line}: {error}: {}", done.stderr));
            assert!(error["error"].as_str().is_some_and(|text| text.len() > 5), "{line}: {error}");
            assert_eq!(error["exit_code"], code, "{line}: {error}");
        }
    }
}

#[test]
fn errors_name_the_program_and_begin_small() {
    let home = told();
    for line in [
        "show nope",
        "cancel dead",
        "purge completed",
        "config get colour",
        "enqueue {",
        "edit dead -p 1",
    ] {
        let done = home.run(line);
        let first = done.stderr.lines().next().unwrap_or_default().to_owned();
        let message = first.strip_prefix("queuectl: cannot ").unwrap_or_default();
        assert!(message.starts_with(|c: char| c.is_lowercase()), "{line}: {first}");
        assert!(message.contains(": ") && !message.ends_with('.'), "{line}: {first}");
        for line in done.stderr.lines().skip(1) {
            assert!(line.starts_with("hint: "), "{line}");
        }
    }
    let typo = home.fails("lst", 2);
    assert!(typo.contains("list"), "{typo}");
    let typo = home.fails("list --stat dead", 2);
    assert!(typo.contains("--state"), "{typo}");
}

#[test]
fn a_pipe_gets_plain_whole_lines() {
    let home = Home::new();
    let long = "x".repeat(500);
    for n in 0..3 {
        home.queuectl(["enqueue", &format!("echo {n} {long}")]).done().ok();
    }
    let list = home.ok("list");
    assert_eq!(list.lines().count(), 3, "no header: {list}");
    for line in list.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        assert_eq!(fields.len(), 6, "{line}");
        assert_eq!((fields[0].len(), fields[1]), (26, "pending"), "{line}");
        assert!(fields[4].ends_with('Z') && fields[5].ends_with(&long), "{line}");
    }
    for line in ["list", "status", "config list", "events", "show @last", "history @last", "--help"]
    {
        for env in [("TERM", "xterm-256color"), ("CLICOLOR_FORCE", "1"), ("COLUMNS", "40")] {
            let done = home.queuectl(line.split(' ')).env(env.0, env.1).done();
            let text = format!("{}{}", done.stdout, done.stderr);
            assert!(!text.contains('\u{1b}'), "{line} with {env:?}: {text:?}");
        }
    }
    assert_eq!(home.queuectl(["list"]).env("COLUMNS", "20").done().ok(), list);
}

#[test]
fn quiet_leaves_only_data_and_errors() {
    let home = told();
    for line in [
        "cancel pending -q",
        "list queue:nowhere -q",
        "retry -q state:pending",
        "enqueue --json -q ls",
        "dlq list tag:x -q",
    ] {
        assert_eq!(home.run(line).stderr, "", "{line}");
    }
    assert!(!home.run("show nope -q").stderr.is_empty());
}

#[test]
fn destructive_verbs_need_a_yes_and_can_be_rehearsed() {
    let home = told();
    home.ok("config set max_retries 5");
    let before = home.log();
    for line in [
        "purge completed",
        "purge all",
        "purge state:dead",
        "dlq purge all",
        "dlq purge --all",
        "dlq purge dead",
        "config reset",
        "cancel all",
        "cancel --all",
        "cancel queue:slow",
        "cancel state:pending",
        "cancel @last",
        "cancel tag:nightly",
        "cancel name:mirror",
    ] {
        let said = home.fails(line, 2);
        assert!(said.contains("--yes"), "{line}: {said}");
        let dry = home.run(&format!("{line} --dry-run"));
        assert_eq!(dry.code, 0, "{line} --dry-run: {}", dry.stderr);
        let dry = home.run(&format!("{line} --dry-run --yes"));
        assert_eq!(dry.code, 0, "{line} --dry-run --yes: {}", dry.stderr);
    }
    assert_eq!(home.log(), before, "none of it is done");
    home.ok("cancel pending");
    home.ok("cancel tag:nightly failed --yes");
}

#[test]
fn nothing_never_means_everything() {
    let home = told();
    let before = home.log();
    for line in [
        "cancel",
        "cancel --yes",
        "retry",
        "purge",
        "purge --yes",
        "edit --priority 3",
        "wait",
        "dlq retry",
        "dlq purge --yes",
    ] {
        let said = home.fails(line, 2);
        assert!(said.contains("--all") || said.contains("SEL"), "{line}: {said}");
    }
    assert_eq!(home.log(), before);
}

#[test]
fn reading_makes_nothing() {
    let home = Home::new();
    for line in READING {
        let _ = home.run(line);
        let _ = home.run(&format!("{line} --dir other"));
    }
    let _ = home.run("worker stop");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn reading_changes_nothing_but_the_cache() {
    let home = told();
    let look = || -> Vec<String> {
        tree(&home.queue()).into_iter().filter(|line| !line.contains("/cache")).collect()
    };
    // What the first look finds in the cache's place is not what the second does.
    let steady = || look().into_iter().filter(|line| !line.contains("/local/")).collect::<Vec<_>>();
    let before = steady();
    for line in READING {
        home.run(line).ok();
    }
    assert_eq!(steady(), before);
    let files = |home: &Home| look().len() + home.log().len();
    let count = files(&home);
    for line in READING {
        home.run(line).ok();
    }
    assert_eq!(files(&home), count);
}

#[test]
fn another_machine_reads_and_is_not_remembered() {
    let home = told();
    let before = tree(&home.queue());
    for line in READING.iter().filter(|line| !line.contains("dry-run") && !line.starts_with("logs"))
    {
        let done = home.run_as("laptop", line);
        assert_eq!(done.code, 0, "{line}: {}", done.stderr);
    }
    assert_eq!(tree(&home.queue()), before);
}

/// Sets the modes of a directory and all below it, and gives them to a user.
fn set_modes(path: &std::path::Path, directories: u32, files: u32, user: Option<u32>) {
    let is_directory = fs::symlink_metadata(path).expect("an entry").is_dir();
    if is_directory {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).expect("a mode");
        for entry in fs::read_dir(path).expect("a directory").flatten() {
            set_modes(&entry.path(), directories, files, user);
        }
    }
    if let Some(user) = user {
        std::os::unix::fs::chown(path, Some(user), Some(user)).expect("root gives away");
    }
    let mode = if is_directory { directories } else { files };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}

#[test]
fn a_read_only_directory_can_be_read() {
    let home = told();
    // Root may write whatever the modes say, so where root runs the tests somebody else reads.
    let user = rustix::process::geteuid().is_root().then_some(65_534);
    set_modes(&home.queue(), 0o500, 0o400, user);
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
    let before = tree(&home.queue());
    for line in READING {
        let done = home.say(line).by(user).done();
        assert_eq!(done.code, 0, "{line}: {}", done.stderr);
        assert!(!done.stderr.contains("denied"), "{line}: {}", done.stderr);
    }
    for line in ["enqueue true", "cancel pending", "config set jitter 1", "worker start --drain"] {
        let done = home.say(line).by(user).done();
        assert!(matches!(done.code, 1 | 74), "{line}: {}: {}", done.code, done.stderr);
        assert!(done.stderr.contains("ermission denied"), "{line}: {}", done.stderr);
    }
    assert_eq!(tree(&home.queue()), before);
    set_modes(&home.queue(), 0o700, 0o600, None);
}

/// Runs a command whose stdout nobody reads.
fn into_nothing(home: &Home, line: &str) -> (Option<i32>, String) {
    let mut command = home.queuectl(line.split(' ')).into_command();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_closed_stdout_ends_reading_quietly() {
    let home = Home::pinned();
    story::six_states(&home);
    let long: String = (0..3000).map(|n| format!("echo {n} {}\n", "x".repeat(80))).collect();
    home.run_with("enqueue --lines -", &long).ok();
    for line in [
        "list",
        "list --json",
        "list --jsonl",
        "events",
        "events --json",
        "show dead",
        "status",
        "config list",
    ] {
        let (code, said) = into_nothing(&home, line);
        assert_eq!((code, &*said), (Some(0), ""), "{line}");
    }
    let done = home
        .command("sh", ["-c", &format!("'{}' list | head -n 1", env!("CARGO_BIN_EXE_queuectl"))]);
    let done = done.done();
    assert_eq!((done.stdout.lines().count(), &*done.stderr), (1, ""));
}

#[test]
fn an_id_that_cannot_be_told_is_still_stored() {
    let home = Home::new();
    let (code, _) = into_nothing(&home, "enqueue --id a true");
    assert!(matches!(code, Some(0)), "{code:?}");
    assert_eq!(home.ok("list --ids"), "a\n");
}

#[test]
fn a_damaged_queue_is_read_with_a_warning_and_not_written() {
    let home = Home::new();
    for id in ["a", "b", "c"] {
        home.ok(&format!("enqueue --id {id} true"));
    }
    let segment = home.segments().remove(0);
    let text = fs::read_to_string(&segment).unwrap();
    fs::write(&segment, text.replacen("\"b\"", "\"B\"", 1)).unwrap();
    for _ in 0..2 {
        for line in ["list --ids", "list --json", "status", "show a", "events --jsonl", "dlq list"]
        {
            let done = home.run(line);
            assert_eq!(done.code, 3, "{line}: {}", done.stderr);
            assert_eq!(done.stderr.matches("damaged").count(), 1, "{line}: {}", done.stderr);
        }
        assert_eq!(home.run("list --ids").stdout, "a\nc\n");
        for line in
            ["cancel a", "enqueue true", "config set jitter 1", "worker start --drain", "run true"]
        {
            let done = home.run(line);
            let run = line.starts_with("run") && done.code == 125;
            assert!(done.code == 3 || run, "{line}: {} {}", done.code, done.stderr);
        }
    }
    let after = fs::read_to_string(&segment).unwrap();
    assert!(after.contains("\"B\"") && after.len() == text.len(), "nothing is touched");
}

#[test]
fn a_terminal_that_goes_away_does_not_stop_a_worker() {
    let home = Home::new();
    home.queuectl(["enqueue", "--id", "a", "while [ ! -e go ]; do sleep 0.02; done"]).done().ok();
    home.ok("enqueue --id b true");
    let mut command = home.queuectl(["worker", "start", "--drain"]).into_command();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    wait_until("the job runs", || home.state("a") == "processing");
    drop((child.stdout.take(), child.stderr.take()));
    home.write("go", "");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert_eq!(home.state("b"), "completed");
}
