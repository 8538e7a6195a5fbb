//! A queue that was put back from a backup, a log that was rolled back, jobs that were not kept: what people are told.

use std::fs;
use std::path::Path;

use super::harness::{Home, wait_until};

/// Copies a directory as `cp -a` does.
fn copy(from: &Path, to: &Path) {
    let home = Home::new();
    let _ = home.command("cp", ["-a".as_ref(), from.as_os_str(), to.as_os_str()]).done().ok();
}

/// The node whose log is there.
fn node(home: &Home) -> String {
    let mut nodes = fs::read_dir(home.queue().join("log")).expect("logs");
    nodes.next().expect("a log").expect("a log").file_name().into_string().expect("a name")
}

/// A queue with a finished and a waiting job that was lost and put back, with or without `local/`.
fn put_back(local: bool) -> (Home, String) {
    let home = Home::new();
    home.ok("enqueue --id done echo hi");
    let _ = home.drain("");
    home.ok("enqueue --id waits true");
    let backup = home.join("backup");
    copy(&home.queue(), &backup);
    fs::remove_dir_all(home.queue()).expect("it goes");
    copy(&backup, &home.queue());
    if !local {
        fs::remove_dir_all(home.queue().join("local")).expect("it goes");
    }
    let node = node(&home);
    (home, node)
}

#[test]
fn whoever_puts_a_backup_back_is_told_how_to_go_on() {
    for local in [true, false] {
        let (home, node) = put_back(local);
        let way = format!("its node: QUEUECTL_NODE={node} queuectl worker start");
        for (line, code) in [
            ("status", 0),
            ("list", 0),
            ("wait waits --timeout 0", 124),
            ("wait waits --timeout 100ms", 124),
            ("enqueue --id new true", 0),
            ("cancel waits", 1),
            ("worker start --drain", 0),
            ("status", 0),
        ] {
            let said = home.run(line).fails(code);
            assert_eq!(said.matches(&way).count(), 1, "{line}: {said}");
        }
        assert_eq!(home.state("new"), "completed", "the new node does its own");
        let worker = ["worker", "start", "--drain"];
        let said = home.queuectl(worker).env("QUEUECTL_NODE", &node).done().fails(0);
        assert!(!said.contains("hint"), "{said}");
        assert_eq!(home.state("waits"), "completed");
        for line in ["status", "list"] {
            assert_eq!(home.run(line).fails(0), "", "nothing waits any more");
        }
    }
}

#[test]
fn jobs_of_a_machine_of_another_name_are_no_backup_of_this_one() {
    let home = Home::new();
    let _ = home.run_as("nas-7f3a", "enqueue --id theirs true").ok();
    for line in ["status", "list", "enqueue true", "worker start --drain"] {
        let said = home.run(line).fails(0);
        assert!(!said.contains("QUEUECTL_NODE"), "{line}: {said}");
    }
}

#[test]
fn outputs_that_were_put_back_are_of_jobs_that_are_there() {
    let (home, _) = put_back(true);
    home.ok("enqueue --id new true");
    let found = home.run("doctor").ok();
    assert!(found.contains("outputs\t\t1 file\n") && !found.contains("gone"), "{found}");
}

/// Puts the log back as it was before its last job.
fn rolled_back() -> Home {
    let home = Home::new();
    home.ok("enqueue --id held true");
    let segment = home.segments().remove(0);
    let before = fs::read(&segment).expect("a segment");
    home.ok("enqueue --id lost true");
    fs::write(&segment, before).expect("an older copy");
    home
}

#[test]
fn a_held_job_says_what_it_waits_for() {
    let home = rolled_back();
    let _ = home.run("doctor --repair --yes").ok();
    for (line, code) in [
        ("status", 0),
        ("list", 0),
        ("list state:pending --json", 0),
        ("worker start --drain", 0),
        ("wait held --timeout 100ms", 124),
    ] {
        let said = home.run(line).fails(code);
        let way = "rolled back: 1 job; queuectl retry ID lets one go on";
        assert_eq!(said.matches(way).count(), 1, "{line}: {said}");
    }
    home.ok("retry held");
    for line in ["status", "list", "worker start --drain", "wait held"] {
        assert!(!home.run(line).fails(0).contains("rolled back"), "{line}");
    }
}

/// Once it waited for ever for the job of the old node, which nobody would run.
#[test]
fn a_wait_goes_on_with_the_job_at_its_new_node() {
    let home = rolled_back();
    let waiting = home.queuectl(["wait", "held"]).start();
    let _ = home.run("doctor --repair --yes").ok();
    wait_until("it is told of", || waiting.stderr().contains("rolled back: 1 job; queuectl retry"));
    home.ok("retry held");
    let _ = home.drain("");
    assert_eq!(waiting.end().code, 0);
}

#[test]
fn of_an_id_that_may_have_expired_it_is_said() {
    let old = "01KGE3H9000000000000000000";
    let home = Home::new();
    home.ok(&format!("enqueue --id {old} true"));
    let recent = home.ok("enqueue true");
    let recent = recent.trim();
    let _ = home.drain("");
    let hint = |id: &str| {
        let lines = ["wait ID", "show ID", "logs ID", "history ID", "cancel ID"];
        let said = lines.map(|line| home.fails(&line.replace("ID", id), 1));
        let hints = said.map(|said| said.split("hint: ").last().unwrap_or_default().to_owned());
        assert!(hints.iter().all(|hint| *hint == hints[0]), "{hints:?}");
        hints[0].clone()
    };
    let usual = "queuectl list shows the jobs there are\n";
    assert_eq!(hint("01KGE3H9000000000000000001"), usual, "none has expired");
    home.ok("config set retention 0");
    home.ok("compact");
    home.ok("config set retention 7d");
    let perhaps = "it may have expired, as 2 jobs did; finished ones are kept for 7d\n";
    for id in [old, "01kge3h9", "mine"] {
        assert_eq!(hint(id), perhaps, "{id}");
    }
    assert_eq!(hint(recent), usual, "it would still be kept");
    home.ok("config set retention none");
    assert_eq!(hint(old), "it may have expired, as 2 jobs did\n");
}
