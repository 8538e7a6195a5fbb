//! What stands under git as a queue, or as a line of one, is what this version reads and writes.

mod home;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use home::{Home, ROOT, mask, text};
use queuectl::domain::event::Event;
use queuectl::store::line;
use serde_json::Value;

/// The node that wrote the fixtures, and a boot and a moment for whoever works on them.
const PINNED: [(&str, &str); 4] = [
    ("QUEUECTL_NODE", "desk-0001"),
    ("QUEUECTL_TEST_BOOT", "fixture"),
    ("QUEUECTL_TEST_NOW", "2026-02-02T04:00:00Z"),
    ("QUEUECTL_TEST_SEED", "fixtures"),
];

fn pinned() -> Home {
    PINNED.iter().fold(Home::new(), |home, (name, value)| home.with(name, value))
}

fn fixture(name: &str) -> PathBuf {
    Path::new(ROOT).join("fixtures/queues").join(name)
}

/// What git has of a queue: its files by their paths, without `local/`.
fn files(queue: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut directories = vec![queue.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let below = path.strip_prefix(queue).unwrap().to_owned();
            if below == Path::new("local") {
                continue;
            }
            match entry.file_type().unwrap().is_dir() {
                true => directories.push(path),
                false => drop(files.insert(below, fs::read(&path).unwrap())),
            }
        }
    }
    files
}

/// A copy of what git has of a queue.
fn copy(queue: &Path, to: &Path) -> PathBuf {
    for (below, content) in files(queue) {
        let path = to.join(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    to.to_owned()
}

/// The lines of a node's log, over all its segments.
fn lines(queue: &Path, node: &str) -> Vec<String> {
    let log = Path::new("log").join(node);
    let segments = files(queue).into_iter().filter(|(path, _)| path.starts_with(&log));
    segments
        .flat_map(|(_, content)| text(&content).lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// A log without what differs from one machine and run to the next: the lines of the queue, then those of each job.
///
/// Claims that were given back before their start are left out, since how far ahead a worker claims is a matter of time.
fn masked(lines: &[String]) -> String {
    let parsed: Vec<Value> = lines.iter().map(|line| json(line)).collect();
    let unstarted: Vec<&Value> =
        parsed.iter().filter(|line| line["started"] == false).map(|line| &line["claim"]).collect();
    let mut of_job: Vec<(&Value, String)> = vec![(&Value::Null, String::new())];
    for (line, text) in parsed.iter().zip(lines) {
        if unstarted.contains(&&line["claim"]) {
            continue;
        }
        let text = mask::line(text) + "\n";
        match of_job.iter_mut().find(|(job, _)| **job == line["job"]) {
            Some((_, lines)) => lines.push_str(&text),
            None => of_job.push((&line["job"], text)),
        }
    }
    of_job.into_iter().map(|(_, lines)| lines).collect()
}

fn json(output: &str) -> Value {
    serde_json::from_str(output).unwrap_or_else(|error| panic!("{error}: {output}"))
}

fn states(home: &Home, queue: &Path) -> BTreeMap<String, String> {
    let jobs = json(&home.must(&["--dir", queue.to_str().unwrap(), "list", "--json"]));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    jobs.as_array().unwrap().iter().map(|job| (text(&job["id"]), text(&job["state"]))).collect()
}

#[test]
fn the_format_page_has_a_real_line_of_every_event() {
    let page = include_str!("../docs/format.md");
    let mut named = BTreeSet::new();
    for text in page.lines().filter(|line| line.starts_with("{\"seq\"")) {
        let (record, _) = line::decode(text.as_bytes()).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert!(!matches!(record.event, Event::Unknown(_)), "{text}");
        let again = line::encode(record.seq, record.ts, record.wall(), &record.event);
        assert_eq!(String::from_utf8(again).unwrap().trim_end(), text);
        named.insert(record.event.name().to_owned());
    }
    let known: BTreeSet<String> = Event::NAMES.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(named, known);
}

#[test]
fn made_again_the_queues_are_the_same_bytes() {
    let home = Home::new();
    let made = home.path("made");
    let output = home
        .command(Path::new(ROOT).join("fixtures/make"))
        .arg(&made)
        .env("QUEUECTL", env!("CARGO_BIN_EXE_queuectl"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    for name in ["healthy", "torn", "damaged", "two-nodes", "compacted", "future", "newer"] {
        let (kept, again) = (files(&fixture(name)), files(&made.join(name)));
        assert_eq!(kept.keys().collect::<Vec<_>>(), again.keys().collect::<Vec<_>>(), "{name}");
        for (path, content) in kept {
            assert_eq!(text(&content), text(&again[&path]), "{name}/{}", path.display());
        }
    }
}

#[test]
fn a_healthy_queue_is_drained_into_the_golden_log() {
    let home = pinned();
    let queue = copy(&fixture("healthy"), &home.path("queue"));
    home.must(&["--dir", queue.to_str().unwrap(), "worker", "start", "--drain"]);
    let log = masked(&lines(&queue, "desk-0001"));
    let golden = Path::new(ROOT).join("fixtures/golden/healthy-drained.jsonl");
    if std::env::var_os("QUEUECTL_BLESS").is_some() {
        fs::write(&golden, &log).unwrap();
    }
    assert_eq!(log, fs::read_to_string(&golden).unwrap(), "QUEUECTL_BLESS=1 writes it anew");
}

#[test]
fn a_torn_line_costs_nothing_that_was_acknowledged() {
    let home = pinned();
    let queue = copy(&fixture("torn"), &home.path("queue"));
    assert_eq!(states(&home, &queue), BTreeMap::from([("first".into(), "pending".into())]));
    let before = files(&queue);
    home.must(&["--dir", queue.to_str().unwrap(), "enqueue", "--id", "third", "echo third"]);
    let after = files(&queue);
    for (path, content) in before {
        assert_eq!(after[&path], content, "nothing is truncated or written over");
    }
    let ids: Vec<String> = states(&home, &queue).into_keys().collect();
    assert_eq!(ids, ["first", "third"]);
}

#[test]
fn damage_is_told_and_nothing_is_built_on_it() {
    let home = pinned();
    let queue = copy(&fixture("damaged"), &home.path("queue"));
    let directory = queue.to_str().unwrap();
    let list = home.queuectl(&["--dir", directory, "list", "--ids"]);
    assert_eq!(list.status.code(), Some(3));
    assert_eq!(text(&list.stdout), "second\nthird\n");
    assert!(text(&list.stderr).contains("00000001.jsonl"), "{}", text(&list.stderr));

    let before = files(&queue);
    for words in [&["cancel", "second"][..], &["worker", "start", "--drain"]] {
        let refused = home.queuectl(&[&["--dir", directory], words].concat());
        assert_eq!(refused.status.code(), Some(3), "{words:?}: {}", text(&refused.stderr));
    }
    // From now on it is known, so those who do not look refuse as well.
    let refused = home.queuectl(&["--dir", directory, "enqueue", "echo more"]);
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused.stderr));
    assert_eq!(files(&queue), before);
}

#[test]
fn each_machine_runs_its_own_jobs_only() {
    let home = pinned();
    let queue = copy(&fixture("two-nodes"), &home.path("queue"));
    home.must(&["--dir", queue.to_str().unwrap(), "worker", "start", "--drain"]);
    let jobs = json(&home.must(&["--dir", queue.to_str().unwrap(), "list", "--json"]));
    for job in jobs.as_array().unwrap() {
        let expected = if job["node"] == "desk-0001" { "completed" } else { "pending" };
        assert_eq!(job["state"], expected, "{job}");
    }
    assert_eq!(jobs.as_array().unwrap().len(), 4);
    let theirs = files(&fixture("two-nodes"));
    let log = Path::new("log/nas-0002/00000001.jsonl");
    assert_eq!(files(&queue)[log], theirs[log]);
}

#[test]
fn the_first_format_is_read_for_ever() {
    let home = pinned();
    let queue = copy(&fixture("format-1"), &home.path("queue"));
    let jobs = home.must(&["--dir", queue.to_str().unwrap(), "list", "--jsonl"]);
    let expected = fs::read_to_string(Path::new(ROOT).join("fixtures/golden/format-1.jsonl"));
    // New fields may come beside the old ones.
    let expected = expected.unwrap();
    assert_eq!(jobs.lines().count(), expected.lines().count());
    for (job, expected) in jobs.lines().zip(expected.lines()) {
        let job = json(job);
        for (field, value) in json(expected).as_object().unwrap() {
            assert_eq!(job[field], *value, "{field} of {}", job["id"]);
        }
    }
}

#[test]
fn a_base_is_read_for_ever() {
    let home = pinned();
    let queue = copy(&fixture("compacted"), &home.path("queue"));
    let directory = queue.to_str().unwrap();
    assert!(queue.join("log/desk-0001/00000001-00000002.base.jsonl").exists());
    let jobs = home.must(&["--dir", directory, "list", "--jsonl"]);
    let expected = Path::new(ROOT).join("fixtures/golden/compacted.jsonl");
    if std::env::var_os("QUEUECTL_BLESS").is_some() {
        fs::write(&expected, &jobs).unwrap();
    }
    let expected = fs::read_to_string(expected).unwrap();
    assert_eq!(jobs.lines().count(), expected.lines().count());
    for (job, expected) in jobs.lines().zip(expected.lines()) {
        let job = json(job);
        for (field, value) in json(expected).as_object().unwrap() {
            assert_eq!(job[field], *value, "{field} of {}", job["id"]);
        }
    }
}

/// What a later version of the format writes is kept, line for line, and has no effect that it shouldn't have.
#[test]
fn what_the_future_writes_is_kept() {
    let home = pinned();
    let queue = copy(&fixture("future"), &home.path("queue"));
    let directory = queue.to_str().unwrap();
    let states = states(&home, &queue);
    assert_eq!(states.keys().collect::<Vec<_>>(), ["gpu", "plain", "seen"]);
    let status = json(&home.must(&["--dir", directory, "status", "--json"]));
    assert_eq!(status["unknown_events"], 2);
    home.must(&["--dir", directory, "enqueue", "--id", "new", "true"]);
    let lines = files(&queue);
    let log = text(&lines[Path::new("log/desk-0001/00000001.jsonl")]);
    for id in ["more", "most"] {
        home.must(&["--dir", directory, "compact"]);
        let base = files(&queue).into_iter().find(|(path, _)| is_base(path)).unwrap().1;
        let base = text(&base);
        for strange in ["\"gpus\":2", "job_admired", "moon_rose", "\"mood\":\"blue\""] {
            let line = log.lines().find(|line| line.contains(strange)).unwrap();
            assert_eq!(base.matches(line).count(), 1, "{line}");
        }
        assert!(!base.contains("\"ev\":\"enqueued\",\"job\":\"plain\""));
        home.must(&["--dir", directory, "enqueue", "--id", id, "true"]);
    }
    home.must(&["--dir", directory, "worker", "start", "--drain"]);
    let status = json(&home.must(&["--dir", directory, "status", "--json"]));
    assert_eq!((&status["unknown_events"], &status["counts"]["completed"]), (&2.into(), &6.into()));
}

fn is_base(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".base.jsonl")
}

#[test]
fn a_later_format_is_only_read() {
    let home = pinned();
    let queue = copy(&fixture("newer"), &home.path("queue"));
    let directory = queue.to_str().unwrap();
    assert_eq!(home.must(&["--dir", directory, "list", "--ids"]), "plain\n");
    let before = files(&queue);
    for words in [
        &["enqueue", "true"][..],
        &["cancel", "plain"],
        &["worker", "start", "--drain"],
        &["compact"],
    ] {
        let refused = home.queuectl(&[&["--dir", directory], words].concat());
        assert_eq!(refused.status.code(), Some(1), "{words:?}: {}", text(&refused.stderr));
        let said = text(&refused.stderr);
        assert!(said.contains("newer queuectl") && said.contains("moonlight"), "{said}");
        assert_eq!(files(&queue), before);
    }
}

#[test]
fn the_example_queue_is_looked_at_without_leaving_a_trace() {
    let home = Home::new();
    let example = Path::new(ROOT).join(".queuectl.example");
    let before = files(&example);
    let states = states(&home, &example);
    let found: BTreeSet<&str> = states.values().map(String::as_str).collect();
    assert_eq!(found, BTreeSet::from(["completed", "dead", "failed", "pending"]));
    home.must(&["--dir", example.to_str().unwrap(), "status"]);
    assert_eq!(files(&example), before);

    // What people try there stays where it is.
    let queue = copy(&example, &home.path("queue"));
    home.must(&["--dir", queue.to_str().unwrap(), "enqueue", "echo tried"]);
    let after = files(&queue);
    for (path, content) in before {
        assert_eq!(after[&path], content, "{}", path.display());
    }
}

#[test]
fn the_demo_ends_with_every_job_where_it_belongs() {
    let home = Home::new();
    home.must(&["enqueue", "--file", "fixtures/demo.jsonl"]);
    home.must(&["worker", "start", "--count", "4", "--drain"]);
    let jobs = json(&home.must(&["list", "--json"]));
    let jobs = jobs.as_array().unwrap();
    assert_eq!(jobs.len(), 100);
    let of_name = |name: &str| jobs.iter().find(|job| job["name"] == name).unwrap();
    for job in jobs {
        let broken = job["name"].as_str().unwrap().starts_with("a command that");
        let expected = if broken { "dead" } else { "completed" };
        assert_eq!(job["state"], expected, "{job}");
    }
    for name in ["wait for the report", "wait for the archive"] {
        assert!(of_name(name)["attempts"].as_u64().unwrap() >= 2, "{}", of_name(name));
    }
    assert_eq!(of_name("a command that does not exist")["exit_code"], 127);
    assert_eq!(of_name("a command that never ends")["result"], "timeout");
}
