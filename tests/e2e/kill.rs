//! kill -9: of workers, whose jobs run again once what was left of them is gone, and of whoever enqueues, who has
//! promised nothing that isn't kept.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::harness::{Done, Home, has_tool};
use crate::scene::{is_alive, is_long, load};

/// Complains where an earlier run of the same job is still there, then sleeps for long.
const SLEEPER: &str = "for pid in $(cat pids.$QUEUECTL_JOB_ID 2>/dev/null); do \
     grep -qs '^State:[[:space:]]*[^ZX[:space:]]' /proc/$pid/status && echo $pid >> overlaps; done; \
     echo $$ >> pids.$QUEUECTL_JOB_ID; exec sleep 60";

/// The time a run may take to be claimed again after its worker was killed: a poll, the grace, and a busy machine.
const AGAIN: Duration = Duration::from_secs(10);

#[track_caller]
fn assert_runs_again(home: &Home, job: &str, since: Instant) {
    home.wait_for_lines(&format!("pids.{job}"), 2);
    let took = since.elapsed();
    eprintln!("{job}: running again after {took:.1?}");
    assert!(took < AGAIN.mul_f64(load().sqrt()), "{job}: {took:?}");
    assert_eq!(home.read("overlaps"), "", "an earlier run was still there");
    let pids = home.read(&format!("pids.{job}"));
    let first: i32 = pids.lines().next().unwrap().parse().unwrap();
    assert!(!is_alive(first), "{job}: the first run is still there");
    assert_eq!(home.kinds_of(job), ["enqueued", "claimed", "lost", "claimed"]);
}

#[test]
fn another_worker_takes_over_from_one_that_was_killed() {
    let home = Home::new();
    home.enqueue("slow", "", SLEEPER);
    home.enqueue("stubborn", "", &format!("trap '' TERM; {SLEEPER}"));
    home.enqueue("closed", "", &format!("exec <&- >&- 2>&-; {SLEEPER}"));
    let first = home.worker_up("--count 3");
    home.wait_for_lines("pids.slow", 1);
    home.wait_for_lines("pids.stubborn", 1);
    home.wait_for_lines("pids.closed", 1);
    let _second = home.worker_up("--count 3");
    let killed = Instant::now();
    let _ = first.kill();
    assert_runs_again(&home, "slow", killed);
    assert_runs_again(&home, "closed", killed);
    assert_runs_again(&home, "stubborn", killed);
    let history = home.queuectl(["history", "slow", "--json"]).done().json();
    let events = history.as_array().unwrap();
    let told: Vec<_> = events.iter().map(|event| event["ev"].as_str().unwrap()).collect();
    assert_eq!(told, ["enqueued", "claimed", "lost", "claimed"]);
    assert_eq!(events[1]["claim"], events[2]["claim"]);
    assert_ne!(events[1]["claim"], events[3]["claim"]);
    let job = home.job("slow");
    assert_eq!((&job["attempts"], &job["lost"]), (&0.into(), &1.into()), "a crash is not charged");
    assert_eq!(job["runs"][0]["result"], "lost");
}

#[test]
fn the_next_worker_takes_over_where_all_were_killed() {
    let home = Home::new();
    home.enqueue("one", "", SLEEPER);
    home.enqueue("two", "", SLEEPER);
    let workers = [home.worker_up("--count 1"), home.worker_up("--count 1")];
    home.wait_for_lines("pids.one", 1);
    home.wait_for_lines("pids.two", 1);
    for worker in workers {
        let _ = worker.kill();
    }
    let started = Instant::now();
    let _third = home.worker_up("--count 2");
    assert_runs_again(&home, "one", started);
    assert_runs_again(&home, "two", started);
}

#[test]
fn a_run_without_its_worker_may_be_let_end_first() {
    let home = Home::new();
    home.ok("config set on_worker_death wait");
    let job = "echo began >> story; until test -e go; do sleep 0.02; done; echo ended >> story";
    home.enqueue("slow", "", job);
    let first = home.worker_up("");
    home.wait_for_lines("story", 1);
    let _second = home.worker_up("");
    let _ = first.kill();
    home.enqueue("next", "", "true");
    // The other worker goes on meanwhile.
    home.wait_for("completed", 1);
    assert_eq!(home.kinds_of("slow"), ["enqueued", "claimed"]);
    home.write("go", "");
    home.wait_for("completed", 2);
    assert_eq!(home.kinds_of("slow"), ["enqueued", "claimed", "lost", "claimed", "completed"]);
    assert_eq!(home.read("story"), "began\nended\nbegan\nended\n");
}

#[test]
fn a_run_whose_worker_died_is_cancelled_all_the_same() {
    let home = Home::new();
    home.enqueue("slow", "", "trap '' TERM; echo began >> story; sleep 60");
    let first = home.worker_up("");
    home.wait_for_lines("story", 1);
    let _ = first.kill();
    home.ok("cancel slow");
    assert_eq!(home.state("slow"), "processing", "nobody has ended it yet");
    let _ = home.drain("");
    assert_eq!(home.state("slow"), "cancelled");
    assert!(home.processes_of("slow").is_empty());
    assert_eq!(home.read("story"), "began\n");
}

#[test]
fn a_loss_by_reboot_is_nobodys_fault() {
    let home = Home::new();
    home.enqueue("slow", "", "echo began >> story; test $(wc -l < story) -gt 1 || exec sleep 60");
    let first = home.queuectl(["worker", "start"]).env("QUEUECTL_TEST_BOOT", "boot1").start();
    home.wait_for_lines("story", 1);
    // As a power cut leaves it: nothing lives, and nobody wrote an end.
    let runs = home.processes_of("slow");
    let _ = first.kill();
    for pid in runs {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    let second = home.queuectl(["worker", "start", "--drain"]).env("QUEUECTL_TEST_BOOT", "boot2");
    second.done().ok();
    let lost = &home.events("lost")[0];
    assert_eq!((&lost["reboot"], &lost["delay"]), (&true.into(), &0.into()), "{lost}");
    let job = home.job("slow");
    assert_eq!((&job["state"], &job["lost"]), (&"completed".into(), &0.into()), "{job}");
    let reasons: Vec<_> =
        home.events("segment").iter().map(|event| event["why"].to_string()).collect();
    assert_eq!(reasons, [r#""first""#, r#""boot""#, r#""boot""#]);
}

#[test]
fn what_a_killed_enqueue_printed_is_in_the_queue() {
    let rounds: usize = if is_long() { 1000 } else { 99 };
    let has_strace = has_tool("a third of the killed enqueues", "strace");
    let home = Home::new();
    home.ok("enqueue true");
    let begun = Instant::now();
    (0..5).for_each(|_| drop(home.ok("enqueue true")));
    let usual = begun.elapsed() / 5;

    let (mut printed, mut killed) = (Vec::new(), BTreeSet::new());
    for round in 0..rounds {
        let name = format!("round{round}");
        let done = match round % 3 {
            0 => kill_after(&home, &name, usual.mul_f64(((round * 7919) % 1500) as f64 / 1000.0)),
            1 => kill_once_written(&home, &name),
            _ if has_strace => kill_at_call(&home, &name, round / 3),
            _ => kill_once_written(&home, &name),
        };
        assert!([0, 137].contains(&done.code), "{done:?}");
        assert!(done.code != 0 || !done.stdout.is_empty(), "done without an id: {done:?}");
        // What isn't a whole line wasn't told.
        printed.extend(
            done.stdout
                .split_inclusive('\n')
                .filter_map(|id| id.strip_suffix('\n'))
                .map(str::to_owned),
        );
        if done.code == 137 {
            killed.insert(name);
        }
    }
    // The next to write settles what was left half done.
    home.ok("enqueue true");
    let ids = home.ok("list --ids");
    let ids: BTreeSet<&str> = ids.lines().collect();
    let missing: Vec<_> = printed.iter().filter(|id| !ids.contains(id.as_str())).collect();
    assert!(missing.is_empty(), "told and gone: {missing:?}");
    let written = home
        .events("enqueued")
        .into_iter()
        .filter_map(|event| event["name"].as_str().map(str::to_owned));
    let between = written.filter(|name| killed.contains(name)).count();
    let told = printed.len();
    eprintln!(
        "{rounds} rounds: {} killed, {between} of them between the write and the exit; {told} ids told, none missing",
        killed.len()
    );
    assert!(
        between * 5 >= rounds,
        "only {between} of {rounds} kills came between the write and the exit"
    );
}

fn enqueue(name: &str) -> [&str; 4] {
    ["enqueue", "--name", name, "true"]
}

fn kill_after(home: &Home, name: &str, time: Duration) -> Done {
    let running = home.queuectl(enqueue(name)).start();
    std::thread::park_timeout(time);
    running.kill()
}

/// Kills it as soon as the log has grown.
fn kill_once_written(home: &Home, name: &str) -> Done {
    let before = log_size(home);
    let mut running = home.queuectl(enqueue(name)).start();
    while log_size(home) == before && !running.is_over() {
        std::thread::yield_now();
    }
    running.kill()
}

/// Kills it as it enters one of the calls around the promise.
fn kill_at_call(home: &Home, name: &str, turn: usize) -> Done {
    let calls = [
        "fdatasync:when=1",
        "write:when=1",
        "fdatasync:when=1",
        "pwrite64:when=1",
        "flock:when=2",
        "fdatasync:when=1",
        "exit_group:when=1",
        "flock:when=3",
        "write:when=2",
    ];
    let call = calls[turn % calls.len()];
    let inject = format!("inject={call}:signal=SIGKILL");
    let strace = ["-f", "-qq", "-o", "/dev/null", "-e", &inject, env!("CARGO_BIN_EXE_queuectl")];
    home.command("strace", strace.into_iter().chain(enqueue(name))).done()
}

fn log_size(home: &Home) -> u64 {
    let nodes = std::fs::read_dir(home.queue().join("log")).into_iter().flatten().flatten();
    let segments = nodes.flat_map(|node| std::fs::read_dir(node.path()).into_iter().flatten());
    let paths = segments.flatten().map(|segment| segment.path());
    paths.filter_map(|path: PathBuf| Some(path.metadata().ok()?.len())).sum()
}

#[test]
fn one_of_twenty_gets_an_id() {
    let home = Home::new();
    let all: Vec<_> =
        (0..20).map(|_| home.queuectl(["enqueue", "--id", "same", "true"]).start()).collect();
    let all: Vec<Done> = all.into_iter().map(|running| running.end()).collect();
    let (won, lost): (Vec<_>, Vec<_>) = all.into_iter().partition(|done| done.code == 0);
    assert_eq!(won.len(), 1);
    assert_eq!(won[0].stdout, "same\n");
    for done in lost {
        assert!(done.stdout.is_empty());
        assert!(done.fails(1).contains("same"));
    }
    assert_eq!(home.events("enqueued").len(), 1);
}
