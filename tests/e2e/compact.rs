//! `queuectl compact`, and the compaction that workers do by themselves.

use std::path::PathBuf;

use serde_json::Value;

use super::harness::{Home, wait_until};
use super::story;
use super::verbs::{Case, Verb};

pub const VERBS: &[Verb] = &[Verb {
    path: "compact",
    success: Case::ok(story::six_states, "compact"),
    refusal: Case::fails(story::six_states, "compact --archive queue/log/desk", 74),
    json: Case::ok(story::six_states, "compact --dry-run"),
}];

fn list(home: &Home) -> Value {
    home.run("list --json").json()
}

fn names(home: &Home) -> Vec<String> {
    let node = std::fs::read_dir(home.queue().join("log")).unwrap().next().unwrap().unwrap();
    let files = std::fs::read_dir(node.path()).unwrap();
    let mut names: Vec<String> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn nothing_changes_but_the_files() {
    let home = Home::pinned();
    story::six_states(&home);
    home.ok("config set retention none");
    let (jobs, shown) = (list(&home), home.ok("show dead"));
    let dry: Value = home.run("compact --dry-run --json").json();
    assert_eq!(names(&home), ["00000001.jsonl", "00000002.jsonl"]);
    let done: Value = home.run("compact --json").json();
    assert_eq!(names(&home), ["00000001-00000002.base.jsonl", "00000003.jsonl"]);
    for field in ["jobs", "expired", "before_bytes"] {
        assert_eq!(dry[field], done[field], "{field}");
    }
    assert!(done["after_bytes"].as_u64() < done["before_bytes"].as_u64(), "{done}");
    assert_eq!((list(&home), home.ok("show dead")), (jobs, shown));
    home.ok("enqueue --id later true");
    home.fails("enqueue --id dead true", 1);
    assert_eq!(home.state("later"), "pending");
    // What was set holds on.
    assert!(home.ok("config get retention").contains("none"));
}

#[test]
fn the_history_of_a_job_goes_on_from_what_it_had_come_to() {
    let home = Home::pinned();
    story::six_states(&home);
    home.ok("config set retention none");
    home.ok("compact");
    home.ok("dlq retry dead");
    let lines = home.ok("history dead --jsonl");
    let events: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let kinds: Vec<&str> = events.iter().map(|event| event["ev"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["job_state", "requeued"]);
    assert_eq!(events[0]["state"], "dead");
    assert_eq!(events[0]["runs"].as_array().unwrap().len(), 1);
    assert!(events[0]["runs"][0]["result"].is_string());
    let text = home.ok("history dead");
    assert!(text.lines().next().unwrap().contains("state=dead"), "{text}");
    let all = home.ok("events");
    assert!(!all.contains("base_end") && all.contains("job_state"), "{all}");
}

#[test]
fn finished_jobs_go_with_their_output_and_leave_their_counts() {
    let home = Home::new();
    for id in ["a", "b"] {
        home.ok(&format!("enqueue --id {id} -- echo {id}"));
    }
    home.ok("enqueue --id back true");
    home.ok("cancel back");
    home.drain("").ok();
    assert_eq!(home.ok("logs a"), "a\n");
    let outputs = || {
        files_below(&home.queue().join("local")).into_iter().filter(|path| is_output(path)).count()
    };
    assert_eq!(outputs(), 2);
    home.ok("config set retention_cancelled none");
    home.ok("config set retention 0");
    let done: Value = home.run("compact --json").json();
    assert_eq!((&done["expired"], &done["jobs"]), (&2.into(), &1.into()));
    assert_eq!(outputs(), 0);
    assert_eq!(home.ok("list --ids"), "back\n");
    let status: Value = home.run("status --json").json();
    assert_eq!(status["counts"]["completed"], 0);
    assert_eq!(status["expired"]["completed"], 2);
    // A purge takes the output along too.
    home.ok("enqueue --id c -- echo c");
    home.drain("").ok();
    home.ok("enqueue --id d -- echo d");
    home.drain("").ok();
    home.ok("config set retention 7d");
    assert!(home.ok("list --ids").contains('d'));
    home.ok("purge d --yes");
    let left = files_below(&home.queue().join("local"));
    assert!(!left.iter().any(|path| path.ends_with("d.1.out")), "{left:?}");
}

fn is_output(path: &std::path::Path) -> bool {
    path.extension().is_some_and(|ending| ending == "out" || ending == "err")
}

fn files_below(directory: &std::path::Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => files.extend(files_below(&entry.path())),
            false => files.push(entry.path()),
        }
    }
    files
}

#[test]
fn a_worker_compacts_by_itself_once_most_is_of_no_more_use() {
    let home = Home::new();
    home.ok("config set segment_size 4KiB");
    for round in 0..3 {
        let lines = "true\n".repeat(20);
        home.run_with("enqueue --lines -", &lines).ok();
        home.drain("").ok();
        assert!(names(&home).len() > round, "segments");
    }
    let before = list(&home);
    let worker = home.worker("");
    wait_until("a base", || names(&home).iter().any(|name| name.ends_with(".base.jsonl")));
    wait_until("it said so", || worker.stderr().contains("compacted"));
    assert_eq!(list(&home), before);
    worker.signal(rustix::process::Signal::TERM);
    worker.end().ok();
    assert_eq!(list(&home), before);
}

#[test]
fn what_is_not_worth_it_is_left_alone() {
    let home = Home::new();
    home.ok("compact");
    assert!(!home.queue().exists(), "made a queue");
    home.ok("config set segment_size 4KiB");
    let lines = "true\n".repeat(100);
    home.run_with("enqueue --lines - --delay 1d", &lines).ok();
    let before = names(&home);
    assert!(before.len() > 2);
    home.drain("").ok();
    assert!(names(&home).iter().all(|name| !name.contains("base")));
}

#[test]
fn an_archive_is_read_as_the_page_says() {
    let home = Home::pinned();
    story::six_states(&home);
    home.ok("config set retention none");
    home.ok("enqueue --id later true");
    let events = |line: &str| home.ok(line).lines().map(str::to_owned).collect::<Vec<_>>();
    let (told, jobs) = (events("events --jsonl"), list(&home));
    // Beside the segments the archive then has the base that stood for some of them.
    home.ok("compact --archive old/log");
    home.ok("cancel later");
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let block = page.lines().skip_while(|line| !line.contains("--archive ~/"));
    let block = block.map_while(|line| line.trim().strip_prefix("$ "));
    let script = format!("set -e\n{}", block.collect::<Vec<_>>().join("\n"));
    assert!(script.contains("history JOB"), "{script}");
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_queuectl"));
    let path = format!("{}:/usr/bin:/bin", binary.parent().expect("a directory").display());
    let read = home.command("sh", ["-c", &script.replace("JOB", "dead")]).env("PATH", path);
    let read = read.done().ok();
    let [_, dead] = ["list", "history dead"].map(|line| home.ok(&format!("--dir old {line}")));
    assert!(read.ends_with(&dead) && dead.contains("\tdied\t"), "{read}");
    let again = events("--dir old events --jsonl");
    assert_eq!(again[..told.len()], told[..], "each event is there as it was");
    let again = home.queuectl(["--dir", "old", "list", "--json"]).done().json();
    assert_eq!(again.as_array().map(Vec::len), jobs.as_array().map(Vec::len));
    assert!(!home.join("old/local").exists(), "reading makes nothing");
}
