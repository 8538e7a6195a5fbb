//! `queuectl doctor`: what is found, and that nothing is touched by looking.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::harness::{Home, wait_until};
use super::story;
use super::tree::tree;
use super::verbs::{Case, Verb};

pub const VERBS: &[Verb] = &[Verb {
    path: "doctor",
    success: Case::ok(story::six_states, "doctor"),
    refusal: Case::fails(story::six_states, "doctor --repair", 2),
    json: Case::ok(story::six_states, "doctor"),
}];

impl Home {
    /// What `doctor --json` says, and how it ends.
    #[track_caller]
    pub fn examine(&self) -> (i32, Value) {
        let done = self.run("doctor --json");
        let report = serde_json::from_str(&done.stdout);
        (done.code, report.unwrap_or_else(|error| panic!("{error}: {done:?}")))
    }

    /// The files of this machine's own log.
    pub fn own_log(&self) -> PathBuf {
        let logs = fs::read_dir(self.queue().join("log")).expect("the logs");
        logs.flatten().next().expect("a node").path()
    }

    pub fn own_segment(&self, number: u64) -> PathBuf {
        self.own_log().join(format!("{number:08}.jsonl"))
    }

    /// The directory of this machine.
    pub fn local(&self) -> PathBuf {
        let locals = fs::read_dir(self.queue().join("local")).expect("the machines");
        locals.flatten().next().expect("a machine").path()
    }
}

pub fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().expect("checks");
    let check = checks.iter().find(|check| check["check"] == name);
    check.unwrap_or_else(|| panic!("no check {name}: {report}"))
}

/// What a check found, each as file and text.
pub fn found(report: &Value, name: &str) -> Vec<String> {
    let found = check(report, name)["found"].as_array().expect("findings");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    found.iter().map(|one| format!("{}: {}", text(&one["file"]), text(&one["what"]))).collect()
}

/// Every check that found something, with its level.
pub fn troubles(report: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let checks = report["checks"].as_array().expect("checks").iter();
    checks
        .map(|check| (text(&check["check"]), text(&check["level"])))
        .filter(|(_, level)| level != "ok")
        .collect()
}

/// Three segments with jobs in each, all of which have run.
pub fn worked() -> Home {
    let home = Home::new();
    home.ok("enqueue --id one echo 1");
    home.ok("enqueue --id two echo 2");
    home.ok("config set max_retries 4");
    home.ok("enqueue --id three echo 3");
    home.ok("config set max_retries 5");
    let _ = home.drain("");
    home
}

pub fn edit(path: &Path, change: impl FnOnce(String) -> String) {
    let text = fs::read_to_string(path).expect("a log");
    let changed = change(text.clone());
    assert_ne!(text, changed, "nothing was changed in {}", path.display());
    fs::write(path, changed).expect("a log can be written");
}

/// The line with a checksum that holds.
pub fn sealed(line: &str) -> String {
    let (body, _) = line.rsplit_once(",\"crc\":\"").expect("a line of the log");
    format!("{body},\"crc\":\"{:08x}\"}}\n", crc32c::crc32c(body.as_bytes()))
}

#[test]
fn a_queue_that_is_in_order_is_said_to_be_and_left_alone() {
    let home = worked();
    let before = (tree(&home.queue().join("log")), home.log());
    let (code, report) = home.examine();
    assert_eq!((code, report["ok"].as_bool()), (0, Some(true)));
    assert_eq!(troubles(&report), [], "{report}");
    for check in report["checks"].as_array().expect("checks") {
        assert!(check["skipped"].is_null(), "{check}");
    }
    assert_eq!((tree(&home.queue().join("log")), home.log()), before);
    let measured = |name: &str, field: &str| check(&report, name)["measured"][field].as_u64();
    assert!(measured("wake_up", "woke_after_us").is_some_and(|us| us < 2_000_000));
    assert!(measured("sync", "median_us").is_some());
    assert!(measured("free_space", "free_bytes").is_some_and(|bytes| bytes > 0));
    let inside = tree(&home.local()).join("\n");
    assert!(!inside.contains(".probe."), "a probe was left: {inside}");
}

#[test]
fn where_there_is_no_queue_nothing_is_looked_at_or_made() {
    let home = Home::new();
    let (code, report) = home.examine();
    assert_eq!((code, report["checks"].as_array().map(Vec::len)), (0, Some(0)));
    assert!(!home.queue().exists());
}

#[test]
fn a_line_that_does_not_hold_is_found_with_its_bytes_and_its_seq() {
    let home = worked();
    let path = home.own_segment(1);
    let text = fs::read_to_string(&path).expect("a log");
    let start = text.find("{\"seq\":2,").expect("the second line");
    let end = start + text[start..].find('\n').expect("its end") + 1;
    edit(&path, |text| text.replace("echo\",\"2\"", "echo\",\"3\""));
    let (code, report) = home.examine();
    assert_eq!((code, report["ok"].as_bool()), (3, Some(false)));
    let lines = found(&report, "lines");
    assert!(lines[0].contains(&format!("bytes {start} to {end}")), "{lines:?}");
    assert!(lines[0].contains("00000001.jsonl"), "{lines:?}");
    assert!(found(&report, "sequence")[0].contains("seq 2 is missing"), "{report}");
    assert_eq!(report["missing"], serde_json::json!([{"from": 2, "to": 2}]));
}

/// What is done to a queue, which check then finds what, and whether it is a fault.
type Wound = (&'static str, fn(&Home), &'static str, &'static str, &'static str);

const WOUNDS: &[Wound] = &[
    (
        "a segment is gone",
        |home| fs::remove_file(home.own_segment(2)).unwrap(),
        "headers",
        "missing",
        "fault",
    ),
    (
        "the first segment is gone",
        |home| fs::remove_file(home.own_segment(1)).unwrap(),
        "sequence",
        "1 to 2",
        "fault",
    ),
    (
        "a sealed segment is cut",
        |home| {
            let bytes = fs::read(home.own_segment(1)).unwrap();
            fs::write(home.own_segment(1), &bytes[..bytes.len() - 10]).unwrap();
        },
        "lines",
        "are missing",
        "fault",
    ),
    (
        "a header is of another node",
        |home| {
            edit(&home.own_segment(2), |text| {
                let (header, rest) = text.split_once('\n').unwrap();
                let node = home.own_log().file_name().unwrap().to_str().unwrap().to_owned();
                sealed(&header.replace(&node, "nas")) + rest
            })
        },
        "headers",
        "of nas",
        "fault",
    ),
    (
        "a header counts other lines",
        |home| {
            edit(&home.own_segment(2), |text| {
                let (header, rest) = text.split_once('\n').unwrap();
                sealed(&header.replace("\"seq\":2,\"ts\"", "\"seq\":1,\"ts\"")) + rest
            })
        },
        "headers",
        "seq 1 came last",
        "fault",
    ),
    (
        "a header ends its segment within a line",
        |home| {
            edit(&home.own_segment(2), |text| {
                let (header, rest) = text.split_once('\n').unwrap();
                let len = fs::metadata(home.own_segment(1)).unwrap().len();
                sealed(&header.replace(&format!("\"len\":{len}"), &format!("\"len\":{}", len - 9)))
                    + rest
            })
        },
        "headers",
        "within a line",
        "fault",
    ),
    (
        "a line stands twice",
        |home| {
            edit(&home.own_segment(3), |text| {
                let last = text.lines().last().unwrap().to_owned();
                text + &last + "\n"
            })
        },
        "sequence",
        "a second time",
        "fault",
    ),
    (
        "the newest segment is an older copy",
        |home| {
            edit(&home.own_segment(3), |text| {
                text.lines().take(2).map(|line| format!("{line}\n")).collect()
            })
        },
        "mark",
        "rolled back",
        "fault",
    ),
    (
        "the newest segment is gone",
        |home| fs::remove_file(home.own_segment(3)).unwrap(),
        "mark",
        "rolled back",
        "fault",
    ),
    (
        "the log is gone",
        |home| fs::remove_dir_all(home.own_log()).unwrap(),
        "identity",
        "missing",
        "fault",
    ),
    (
        "the end is torn",
        |home| edit(&home.own_segment(3), |text| text + "{\"seq\":99,\"ts"),
        "lines",
        "torn",
        "note",
    ),
    (
        "FORMAT is garbled",
        |home| drop(home.write("queue/FORMAT", "{")),
        "format",
        "cannot be read",
        "fault",
    ),
    (
        "FORMAT is newer",
        |home| drop(home.write("queue/FORMAT", "{\"format\":2}")),
        "format",
        "format 2",
        "fault",
    ),
    (
        "node.json is garbled",
        |home| fs::write(home.local().join("node.json"), "{").unwrap(),
        "identity",
        "damaged",
        "fault",
    ),
    (
        "damage was noted",
        |home| fs::write(home.local().join("degraded"), "a page\n").unwrap(),
        "degraded",
        "a page",
        "fault",
    ),
    (
        "anybody may write",
        |home| {
            fs::set_permissions(home.own_segment(1), fs::Permissions::from_mode(0o666)).unwrap();
        },
        "permissions",
        "everybody",
        "fault",
    ),
    (
        "the group may write",
        |home| {
            fs::set_permissions(home.own_segment(1), fs::Permissions::from_mode(0o660)).unwrap();
        },
        "permissions",
        "group",
        "note",
    ),
    (
        "Syncthing made a copy",
        |home| conflict(home, "00000001.sync-conflict-20260102-030405-ABCDEFG.jsonl"),
        "copies",
        "sync-conflict",
        "note",
    ),
    (
        "Dropbox made a copy",
        |home| conflict(home, "00000001 (desk's conflicted copy 2026-01-02).jsonl"),
        "copies",
        "conflicted",
        "note",
    ),
    ("an editor made a copy", |home| conflict(home, "00000001.jsonl~"), "copies", "jsonl~", "note"),
    (
        "Syncthing is at it",
        |home| conflict(home, ".syncthing.00000001.jsonl.tmp"),
        "copies",
        "syncthing",
        "note",
    ),
    (
        "a file is half made",
        |home| conflict(home, ".00000004.jsonl.tmp"),
        "temporary_files",
        "did not finish",
        "note",
    ),
    (
        "a doctor was killed while it timed the disk",
        |home| fs::write(home.local().join(".probe.7.8.tmp"), "....").unwrap(),
        "temporary_files",
        "did not finish",
        "note",
    ),
    (
        "output is left of a job",
        |home| {
            let shard = home.local().join("output/00");
            fs::create_dir_all(&shard).unwrap();
            fs::write(shard.join("nobody.1.out"), "left").unwrap();
        },
        "outputs",
        "1 file",
        "note",
    ),
    (
        "the checkpoint is garbled",
        |home| {
            home.ok("status");
            let path = home.local().join("cache/state.ckpt");
            let mut bytes = fs::read(&path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(path, bytes).unwrap();
        },
        "checkpoint",
        "checksums",
        "note",
    ),
    (
        "another machine's log has a hole",
        |home| {
            let (own, log) = (home.own_segment(3), home.queue().join("log/nas-0001"));
            fs::create_dir(&log).unwrap();
            fs::copy(own, log.join("00000003.jsonl")).unwrap();
        },
        "other_nodes",
        "missing",
        "note",
    ),
];

pub fn conflict(home: &Home, name: &str) {
    fs::copy(home.own_segment(1), home.own_log().join(name)).expect("a copy");
}

#[test]
fn what_is_wrong_is_found_by_its_check() {
    for (wound, make, name, words, level) in WOUNDS {
        let home = worked();
        make(&home);
        let (code, report) = home.examine();
        let found = found(&report, name);
        assert!(found.iter().any(|one| one.contains(words)), "{wound}: {name}: {report}");
        assert_eq!(check(&report, name)["level"], *level, "{wound}: {report}");
        assert_eq!(code, if *level == "fault" { 3 } else { 0 }, "{wound}: {report}");
        if *level == "note" {
            assert_eq!(troubles(&report), [((*name).to_owned(), "note".to_owned())], "{wound}");
        }
        let text = home.run("doctor");
        assert_eq!((text.code, text.stderr.as_str()), (code, ""), "{wound}");
        assert!(text.stdout.contains(words), "{wound}: {}", text.stdout);
    }
}

#[test]
fn a_clock_that_was_set_back_is_told_of() {
    let home = worked();
    let done = home.run_in("doctor --json", "QUEUECTL_TEST_NOW", "2026-01-01T00:00:00Z".as_ref());
    let report: Value = serde_json::from_str(&done.stdout).expect("a report");
    assert!(found(&report, "clock")[0].contains("ahead of the clock"), "{report}");
    assert_eq!(done.code, 0);
}

#[test]
fn a_worker_that_lives_is_in_order_and_a_dead_one_is_found() {
    let home = Home::new();
    home.enqueue("one", "", "echo $$ >> begun; until test -e go; do sleep 0.02; done");
    let worker = home.worker_up("");
    home.wait_for_lines("begun", 1);
    let (code, report) = home.examine();
    assert_eq!((code, troubles(&report)), (0, vec![]), "{report}");
    worker.kill();
    let (code, report) = home.examine();
    assert_eq!(code, 0);
    assert!(found(&report, "claims")[0].contains("its worker died, and had run 1 of job one"));
    assert!(found(&report, "locks")[0].contains("its worker died, and left runs"));
    let locks = home.local().join("run");
    let lock = fs::read_dir(locks).expect("locks").flatten().next().expect("a lock").path();
    fs::remove_file(lock).expect("a lock can be removed");
    let (_, report) = home.examine();
    assert!(found(&report, "claims")[0].contains("it is missing"), "{report}");
    home.write("go", "");
    wait_until("the end of the job", || home.processes_of("one").is_empty());
}

#[test]
fn in_a_directory_that_can_only_be_read_what_needs_writing_is_left_out_by_name() {
    let home = worked();
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    let mut left = vec![home.path().to_owned()];
    while let Some(path) = left.pop() {
        open(&path, if path.is_dir() { 0o555 } else { 0o444 }).expect("a mode can be set");
        left.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
    }
    // Root may write anywhere.
    let user = rustix::process::geteuid().is_root().then_some(65534);
    let before = tree(&home.queue());
    let done = home.queuectl(["doctor", "--json"]).by(user).done();
    let report: Value = serde_json::from_str(&done.stdout).expect("a report");
    assert_eq!((done.code, troubles(&report)), (0, vec![]), "{report}");
    let skipped = report["checks"].as_array().expect("checks").iter();
    let skipped: Vec<_> = skipped.filter(|check| !check["skipped"].is_null()).collect();
    let names: Vec<_> = skipped.iter().map(|check| &check["check"]).collect();
    assert_eq!(names, ["wake_up", "sync"], "{report}");
    assert_eq!(tree(&home.queue()), before);
    open(home.path(), 0o755).expect("a mode can be set");
    for path in [home.queue(), home.queue().join("log"), home.own_log()] {
        open(&path, 0o755).expect("a mode can be set");
    }
}
