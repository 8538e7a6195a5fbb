//! `queuectl worker start`, `stop` and `list`: what they say. What workers do is told elsewhere.

use serde_json::json;

use super::harness::{Home, wait_until};
use super::story;
use super::verbs::{Case, Verb};

pub const VERBS: &[Verb] = &[
    Verb {
        path: "worker start",
        success: Case::ok(story::one_waiting, "worker start --drain"),
        refusal: Case::fails(story::one_waiting, "worker start --count 0", 2),
        json: Case::ok(story::one_waiting, "worker start --drain"),
    },
    Verb {
        path: "worker stop",
        success: Case::ok(story::nothing, "worker stop"),
        refusal: Case::fails(story::one_waiting, "worker stop desk.nobody", 1),
        json: Case::ok(story::nothing, "worker stop"),
    },
    Verb {
        path: "worker list",
        success: Case::ok(story::nothing, "worker list"),
        refusal: Case::fails(story::nothing, "worker list --json --jsonl", 2),
        json: Case::ok(story::nothing, "worker list"),
    },
];

#[test]
fn how_many_slots_there_may_be() {
    let home = Home::new();
    for count in ["0", "-1", "1025", "100000", "four", "", "1.5", "99999999999999999999"] {
        for flag in ["--count", "-j", "--concurrency"] {
            let said = home.queuectl(["worker", "start", "--drain", flag, count]).done().fails(2);
            assert!(
                said.contains("1024") || count.is_empty() || said.contains("invalid"),
                "{count}: {said}"
            );
        }
    }
    home.ok("worker start --drain --count 1024");
    home.fails("worker start --max-jobs 0", 2);
    home.fails("worker start --stop-timeout soon", 2);
}

#[test]
fn a_worker_from_its_start_to_its_end() {
    let home = Home::new();
    let mut worker = home.worker("--count 2");
    wait_until("the worker is listed", || home.ok("worker list").lines().count() == 1);
    let list = home.run("worker list --json").json();
    let entry = &list[0];
    assert_eq!(entry["pid"], json!(worker.pid().as_raw_nonzero().get()), "{entry}");
    assert_eq!(entry["slots"], 2);
    let id = entry["id"].as_str().expect("an id").to_owned();
    let fields: Vec<String> =
        home.ok("worker list").trim_end().split('\t').map(str::to_owned).collect();
    assert_eq!(fields[0], id, "{fields:?}");
    assert_eq!(home.ok("worker status"), home.ok("worker list"));
    assert!(!worker.is_over());
    let said = home.queuectl(["worker", "stop", &id]).done();
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(worker.is_over(), "stop waits until it is gone");
    assert_eq!(worker.end().code, 0);
    assert_eq!(home.ok("worker list"), "");
}

#[test]
fn stopping_none_says_so() {
    for line in
        ["worker stop", "worker stop --now", "worker stop --timeout 5s", "worker stop --no-wait"]
    {
        let home = Home::new();
        let done = home.run(line);
        assert_eq!((done.code, &*done.stdout), (0, ""), "{line}: {}", done.stderr);
        assert!(done.stderr.len() > 5, "{line}");
        assert!(!home.queue().exists(), "{line}: nothing is made for it");
    }
    Home::new().fails("worker stop --now --timeout 5s", 2);
}

#[test]
fn all_of_them_stop() {
    let home = Home::new();
    home.ok("init");
    let workers = [home.worker(""), home.worker("--queue a")];
    wait_until("both are listed", || home.ok("worker list").lines().count() == 2);
    home.ok("worker stop");
    for mut worker in workers {
        assert!(worker.is_over());
        assert_eq!(worker.end().code, 0);
    }
}

#[test]
fn drain_says_what_it_left() {
    let home = Home::new();
    home.ok("enqueue --id later --delay 1h true");
    home.ok("enqueue --id now true");
    let done = home.drain("");
    assert_eq!(done.stdout, "", "messages go to stderr");
    assert!(done.stderr.contains('1'), "{}", done.stderr);
    assert_eq!((home.state("now"), home.state("later")), ("completed".into(), "pending".into()));
}

#[test]
fn output_is_streamed_behind_the_id() {
    let home = Home::new();
    home.ok("enqueue --id talk echo hello");
    let done = home.drain("--output");
    let text = format!("{}{}", done.stdout, done.stderr);
    let line = text.lines().find(|line| line.ends_with("hello") && !line.contains("echo"));
    assert!(line.is_some_and(|line| line.contains("talk")), "{text}");
}

#[test]
fn max_jobs_and_queues() {
    let home = Home::new();
    for (id, queue) in [("a", "x"), ("b", "y"), ("c", "x"), ("d", "x")] {
        home.ok(&format!("enqueue --id {id} --queue {queue} true"));
    }
    home.ok("worker start --max-jobs 2 --queue x");
    assert_eq!(
        home.ok("list --columns id,state"),
        "a\tcompleted\nb\tpending\nc\tcompleted\nd\tpending\n"
    );
    home.ok("worker start --drain --queue x --queue z");
    assert_eq!(home.ok("list --ids state:pending"), "b\n");
}

#[test]
fn detached_it_names_its_log_and_lives_on() {
    let home = Home::new();
    home.ok("init");
    let done = home.run("worker start --detach");
    let said = format!("{}{}", done.stdout, done.stderr);
    assert_eq!(done.code, 0, "{said}");
    wait_until("the worker is listed", || home.ok("worker list").lines().count() == 1);
    let log = said.split_whitespace().find(|word| word.starts_with('/') && word.ends_with(".log"));
    let log = log.unwrap_or_else(|| panic!("no log file is named: {said}"));
    home.ok("enqueue --id a true");
    home.ok("wait a --timeout 20s");
    home.ok("worker stop");
    let text = std::fs::read_to_string(log).expect("the log");
    assert!(text.lines().any(|line| line.contains(" a")), "{text}");
    home.fails("worker start --detach --output", 2);
}
