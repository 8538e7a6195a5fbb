//! `queuectl doctor --repair`: what is mended, what is kept, and that nothing is thrown away.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::doctor::{conflict, edit, sealed, troubles, worked};
use super::harness::{Home, wait_until};
use super::tree::tree;

mod rest;

impl Home {
    /// Repairs, and says what was done.
    #[track_caller]
    fn repair(&self) -> Value {
        let done = self.run("doctor --repair --yes --json");
        let report: Value = serde_json::from_str(&done.stdout).expect("a report");
        assert_eq!(done.code, 0, "{done:?}");
        assert_in_order(&report);
        report["repair"].clone()
    }

    /// Takes away what was read before.
    fn forget(&self) {
        let _ = fs::remove_dir_all(self.local().join("cache"));
    }

    /// Every file in quarantine by its name.
    fn quarantine(&self) -> BTreeMap<String, Vec<u8>> {
        let times = fs::read_dir(self.local().join("quarantine")).into_iter().flatten().flatten();
        let files = times.flat_map(|time| fs::read_dir(time.path()).expect("a time").flatten());
        files
            .map(|file| {
                let name = file.file_name().to_string_lossy().into_owned();
                (name, fs::read(file.path()).expect("a file"))
            })
            .collect()
    }

    fn files_of_the_log(&self) -> BTreeMap<String, Vec<u8>> {
        let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        self.segments().iter().map(|path| (name(path), fs::read(path).expect("a file"))).collect()
    }

    fn ids_there(&self) -> Vec<String> {
        self.ok("list --ids").lines().map(str::to_owned).collect()
    }
}

/// Fails unless all that is left to tell of is what a loss entails: events of jobs that are gone, and their output; and
/// torn bytes that the next segment explains.
#[track_caller]
fn assert_in_order(report: &Value) {
    for (name, level) in troubles(report) {
        let is_told = ["events", "outputs", "lines"].contains(&&*name);
        assert!(is_told && level == "note", "{name}: {report}");
    }
}

/// What is done to the log of [`worked`], which jobs are left of one, two and three, and which lines are lost.
type Wound = (&'static str, fn(&Home), &'static [&'static str], &'static [(u64, u64)]);

const WOUNDS: &[Wound] = &[
    (
        "a byte is another",
        |home| edit(&home.own_segment(1), |text| text.replace("echo\",\"2\"", "echo\",\"3\"")),
        &["one", "three"],
        &[(2, 2)],
    ),
    (
        "a segment is gone",
        |home| fs::remove_file(home.own_segment(1)).unwrap(),
        &["three"],
        &[(1, 2)],
    ),
    (
        "a segment is all zeros",
        |home| {
            let len = fs::metadata(home.own_segment(2)).unwrap().len();
            fs::write(home.own_segment(2), vec![0; len as usize]).unwrap();
        },
        &["one", "two"],
        &[(3, 4)],
    ),
    (
        "a header is garbled",
        |home| {
            edit(&home.own_segment(2), |text| {
                text.replacen("\"why\":\"config\"", "\"why\":\"confix\"", 1)
            });
        },
        &["one", "two", "three"],
        &[],
    ),
    (
        "a segment is cut",
        |home| {
            let bytes = fs::read(home.own_segment(1)).unwrap();
            fs::write(home.own_segment(1), &bytes[..bytes.len() - 10]).unwrap();
        },
        &["one", "three"],
        &[(2, 2)],
    ),
    (
        "a line stands twice",
        |home| {
            edit(&home.own_segment(3), |text| {
                let last = text.lines().last().unwrap().to_owned();
                text + &last + "\n"
            });
        },
        &["one", "two", "three"],
        &[],
    ),
    (
        "a header is of another machine",
        |home| {
            edit(&home.own_segment(2), |text| {
                let (header, rest) = text.split_once('\n').unwrap();
                let node = home.own_log().file_name().unwrap().to_string_lossy().into_owned();
                sealed(&header.replace(&node, "nas")) + rest
            });
        },
        &["one", "two"],
        &[(3, 4)],
    ),
];

#[test]
fn a_damaged_log_goes_on_with_every_line_that_holds() {
    for (wound, make, jobs, lost) in WOUNDS {
        let home = worked();
        let before: BTreeMap<String, Value> =
            ["one", "two", "three"].iter().map(|id| ((*id).to_owned(), home.job(id))).collect();
        make(&home);
        home.forget();
        let damaged = home.files_of_the_log();
        assert_eq!(home.examine().0, 3, "{wound}");
        let repair = home.repair();
        let lost: Vec<Value> =
            lost.iter().map(|(from, to)| json!({"from": from, "to": to})).collect();
        assert_eq!(repair["lost"], json!(lost), "{wound}");
        assert_eq!(home.quarantine(), damaged, "{wound}: the originals are kept as they were");
        for (name, bytes) in home.files_of_the_log() {
            assert_ne!(damaged.get(&name), Some(&bytes), "{wound}: {name} is still there");
        }
        assert_eq!(home.ids_there(), *jobs, "{wound}");
        for id in *jobs {
            assert_eq!(home.job(id), before[*id], "{wound}: {id} is another");
        }
        assert_eq!(home.ok("config get max_retries --raw"), "5\n", "{wound}");
        assert!(!home.local().join("degraded").exists(), "{wound}");
        assert_eq!(home.ok("enqueue --id four true"), "four\n", "{wound}");
        let _ = home.drain("");
        assert_eq!(home.state("four"), "completed", "{wound}");
        let (code, report) = home.examine();
        assert_eq!(code, 0, "{wound}: {report}");
        assert_in_order(&report);
        let seqs: Vec<u64> = home
            .log()
            .iter()
            .filter_map(|line| line["seq"].as_u64())
            .filter(|seq| *seq > 0)
            .collect();
        assert!(seqs.len() > 4, "{wound}: {seqs:?}");
    }
}

/// Once a repair threw the cache away first, and with it what only the cache still had.
#[test]
fn what_was_read_before_the_damage_is_not_lost() {
    for (wound, make, ..) in WOUNDS {
        let home = worked();
        let before = home.run("list --json").json();
        assert!(home.local().join("cache/state.ckpt").exists());
        make(&home);
        let repair = home.repair();
        if home.run("list --json").json() == before {
            assert_eq!(repair["lost"], json!([]), "{wound}");
        } else {
            // The place that the cache had read to was hit itself.
            assert!(wound.contains("header") || wound.contains("missing"), "{wound}: {repair}");
        }
        assert_eq!(home.examine().0, 0, "{wound}");
        home.ok("enqueue true");
    }
}

#[test]
fn a_job_whose_enqueueing_is_lost_is_lost_and_one_whose_end_is_lost_runs_again() {
    let home = Home::new();
    home.enqueue("one", "", "echo one >> ran");
    home.enqueue("two", "", "echo two >> ran");
    let _ = home.drain("");
    let end = home.events_of("two").iter().find(|event| event["ev"] == "completed").cloned();
    let seq = end.expect("an end")["seq"].as_u64().expect("a seq");
    edit(&home.own_segment(1), |text| {
        let line = text.lines().find(|line| line.starts_with(&format!("{{\"seq\":{seq},")));
        let line = line.expect("the line");
        text.replace(line, &line.replace("completed", "complexed"))
    });
    home.forget();
    let repair = home.repair();
    assert_eq!(repair["lost"], json!([{"from": seq, "to": seq}]));
    assert!(repair["steps"].as_array().expect("steps").contains(&json!("rebuild")));
    let _ = home.drain("");
    assert_eq!(home.state("two"), "completed");
    assert_eq!(home.read("ran"), "one\ntwo\ntwo\n");
}

#[test]
fn what_was_damaged_says_what_is_lost_to_a_person_too() {
    let home = worked();
    edit(&home.own_segment(1), |text| text.replace("echo\",\"2\"", "echo\",\"3\""));
    home.forget();
    let done = home.run("doctor --repair --yes --quiet");
    assert_eq!((done.code, done.stderr.as_str()), (0, "lost: seq 2\n"));
}

#[test]
fn it_asks_first_and_a_rehearsal_touches_nothing() {
    let home = worked();
    edit(&home.own_segment(1), |text| text.replace("echo\",\"2\"", "echo\",\"3\""));
    let before = tree(&home.queue().join("log"));
    let refused = home.run("doctor --repair");
    assert_eq!((refused.code, refused.stdout.as_str()), (2, ""));
    assert!(refused.stderr.contains("--yes"), "{}", refused.stderr);
    let rehearsed = home.run("doctor --repair --dry-run");
    assert_eq!(rehearsed.code, 3);
    assert!(rehearsed.stderr.contains("would write a base"), "{}", rehearsed.stderr);
    assert_eq!(tree(&home.queue().join("log")), before);
    assert!(!home.local().join("quarantine").exists());
}

#[test]
fn where_nothing_is_wrong_nothing_is_done() {
    let home = worked();
    let before = tree(&home.queue().join("log"));
    assert_eq!(home.repair(), json!({"steps": [], "done": [], "lost": []}));
    assert_eq!(tree(&home.queue().join("log")), before);
}

#[test]
fn small_things_are_put_in_order() {
    let home = worked();
    home.ok("status");
    let checkpoint = home.local().join("cache/state.ckpt");
    let mut bytes = fs::read(&checkpoint).expect("a checkpoint");
    *bytes.last_mut().expect("a byte") ^= 1;
    fs::write(&checkpoint, bytes).expect("a checkpoint can be written");
    let copies = ["00000001.sync-conflict-20260102-030405-ABCDEFG.jsonl", "00000001.jsonl~"];
    for name in copies {
        conflict(&home, name);
    }
    conflict(&home, ".00000004.jsonl.tmp");
    edit(&home.own_segment(3), |text| text + "{\"seq\":99,\"ts");
    fs::write(home.local().join("degraded"), "somebody met something\n").expect("a note");
    let repair = home.repair();
    let steps = ["move_away", "reopen", "begin_segment", "remove_temporary", "drop_caches"];
    assert_eq!(repair["steps"], json!(steps));
    assert_eq!(repair["lost"], json!([]));
    let away: Vec<String> = home.quarantine().into_keys().collect();
    assert_eq!(away, ["00000001.jsonl~", "00000001.sync-conflict-20260102-030405-ABCDEFG.jsonl"]);
    let left: Vec<String> = home.files_of_the_log().into_keys().collect();
    assert_eq!(left, ["00000001.jsonl", "00000002.jsonl", "00000003.jsonl", "00000004.jsonl"]);
    home.ok("enqueue true");
}

#[test]
fn what_a_dead_worker_left_is_ended_settled_and_removed() {
    let home = Home::new();
    home.enqueue("one", "", "echo $$ >> begun; until test -e go; do sleep 0.02; done");
    let worker = home.worker_up("");
    home.wait_for_lines("begun", 1);
    worker.kill();
    assert!(!home.processes_of("one").is_empty());
    let repair = home.repair();
    assert_eq!(repair["steps"], json!(["settle_dead"]));
    assert!(home.processes_of("one").is_empty(), "what it left runs on");
    assert_eq!(home.kinds_of("one"), ["enqueued", "claimed", "lost"]);
    assert_eq!(home.state("one"), "pending");
    let locks = fs::read_dir(home.local().join("run")).expect("locks").count();
    assert_eq!((locks, home.events("worker_stopped").len()), (0, 1));
    home.write("go", "");
    let _ = home.drain("");
    assert_eq!(home.state("one"), "completed");
}

#[test]
fn a_running_worker_goes_on_behind_a_repair() {
    let home = worked();
    home.enqueue("slow", "", "echo begun >> begun; until test -e go; do sleep 0.02; done");
    let worker = home.worker_up("");
    home.wait_for_lines("begun", 1);
    edit(&home.own_segment(1), |text| text.replace("echo\",\"2\"", "echo\",\"3\""));
    home.repair();
    home.enqueue("next", "", "true");
    home.write("go", "");
    wait_until("both jobs are completed", || {
        home.state("slow") == "completed" && home.state("next") == "completed"
    });
    home.ok("worker stop");
    assert_eq!(worker.end().code, 0);
    let (code, report) = home.examine();
    assert_eq!(code, 0, "{report}");
    assert_in_order(&report);
}

#[test]
fn a_log_that_was_rolled_back_is_taken_over_by_a_new_node() {
    let home = worked();
    home.enqueue("waiting", "", "true");
    let old = fs::read(home.own_segment(3)).expect("a segment");
    home.enqueue("gone", "", "true");
    let seq = home.events_of("gone")[0]["seq"].as_u64().expect("a seq");
    let from = home.own_log();
    fs::write(from.join("00000003.jsonl"), &old).expect("an older copy");
    assert_eq!(home.examine().0, 3);
    let repair = home.repair();
    assert_eq!(repair["steps"], json!(["take_over"]));
    assert_eq!(repair["lost"], json!([{"from": seq, "to": seq}]));
    assert_eq!(fs::read(from.join("00000003.jsonl")).expect("it stays"), old);
    assert_eq!(home.ids_there(), ["one", "two", "three", "waiting"]);
    assert_eq!(home.job("waiting")["reason"], "held: rolled back");
    home.ok("retry waiting");
    home.ok("enqueue --id more true");
    let _ = home.drain("");
    assert_eq!(home.state("waiting"), "completed");
    assert_eq!(home.examine().0, 0);
}

#[test]
fn nothing_is_taken_over_while_a_job_runs() {
    let home = worked();
    let old = fs::read(home.own_segment(3)).expect("a segment");
    home.enqueue("slow", "", "echo $$ >> begun; until test -e go; do sleep 0.02; done");
    let worker = home.worker_up("");
    home.wait_for_lines("begun", 1);
    fs::write(home.own_segment(3), &old).expect("an older copy");
    let refused = home.run("doctor --repair --yes").fails(1);
    assert!(refused.contains("still run"), "{refused}");
    worker.kill();
    let refused = home.run("doctor --repair --yes").fails(1);
    assert!(refused.contains("still run"), "what a dead worker left runs too: {refused}");
    home.write("go", "");
    wait_until("the end of the job", || home.processes_of("slow").is_empty());
    home.repair();
}

/// Once a repair made a job pending whose start was lost, and it was run beside itself.
#[test]
fn nothing_is_mended_while_a_run_goes_on_whose_start_is_lost() {
    let home = Home::new();
    home.enqueue("slow", "", "echo $$ >> begun; until test -e go; do sleep 0.02; done");
    let worker = home.worker_up("");
    home.wait_for_lines("begun", 1);
    edit(&home.own_segment(1), |text| {
        let line = text.lines().find(|line| line.contains("\"claimed\"")).expect("a claim");
        text.replace(line, &line.replace("claimed", "clammed"))
    });
    home.forget();
    let refused = home.run("doctor --repair --yes").fails(1);
    assert!(refused.contains("a run that goes on"), "{refused}");
    home.fails("enqueue true", 3);
    home.write("go", "");
    wait_until("the end of the job", || home.processes_of("slow").is_empty());
    let _ = worker.end();
    home.repair();
    let _ = home.drain("");
    assert_eq!(home.state("slow"), "completed");
    assert_eq!(home.examine().0, 0);
}

#[test]
fn the_last_line_is_told_of_where_it_is_lost() {
    let home = Home::new();
    for id in ["one", "two", "three"] {
        home.ok(&format!("enqueue --id {id} true"));
    }
    edit(&home.own_segment(1), |text| text.replace("\"three\"", "\"thrEe\""));
    home.forget();
    assert_eq!(home.repair()["lost"], json!([{"from": 3, "to": 3}]));
    assert_eq!(home.ok("list --ids"), "one\ntwo\n");
}

#[test]
fn a_damaged_base_gives_what_holds_of_it() {
    let home = worked();
    home.ok("compact");
    let base = home.segments().into_iter().find(|path| path.to_string_lossy().contains(".base."));
    edit(&base.expect("a base"), |text| text.replace("echo\",\"2\"", "echo\",\"3\""));
    let (code, report) = home.examine();
    assert_eq!(code, 3);
    let faults = troubles(&report).into_iter().filter(|(_, level)| level == "fault");
    assert_eq!(faults.map(|(name, _)| name).collect::<Vec<_>>(), ["bases"], "{report}");
    home.forget();
    let done = home.run("doctor --repair --yes --quiet");
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stderr.starts_with("lost of ") && done.stderr.contains("bytes "), "{done:?}");
    assert_eq!(home.ids_there(), ["one", "three"]);
    home.ok("enqueue --id four true");
    let _ = home.drain("");
    assert_eq!((home.examine().0, home.state("four").as_str()), (0, "completed"));
}
