//! A worker with nothing to do costs next to nothing, and is awake at once when there is something.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::harness::{Home, Running, has_tool, wait_until};
use crate::scene::{is_long, load, moment};

/// Watches for so long: that nothing happens can't be waited for.
fn let_pass(time: Duration) {
    let begun = Instant::now();
    while let Some(left) = time.checked_sub(begun.elapsed()) {
        std::thread::park_timeout(left);
    }
}

/// How long all threads of a process have been on a core.
fn time_on_core(worker: &Running) -> Duration {
    let tasks = format!("/proc/{}/task", worker.pid().as_raw_nonzero());
    let tasks = std::fs::read_dir(tasks).unwrap().flatten();
    let nanos = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// A worker that has done something, and has nothing more to do.
fn idle_worker(home: &Home, arguments: &str) -> Running {
    home.enqueue("done", "", "true");
    home.enqueue("tomorrow", "--delay 1d", "true");
    let worker = home.worker_up(arguments);
    home.wait_for("completed", 1);
    let_pass(Duration::from_millis(1500));
    worker
}

#[test]
fn an_idle_worker_uses_less_than_half_a_percent_of_a_core() {
    let home = Home::new();
    let worker = idle_worker(&home, "--count 8");
    let before = time_on_core(&worker);
    let time = Duration::from_secs(if is_long() { 60 } else { 4 });
    let_pass(time);
    let used = time_on_core(&worker) - before;
    let share = used.as_secs_f64() / time.as_secs_f64();
    eprintln!("{used:?} of {time:?}: {:.3} % of a core", share * 100.0);
    assert!(share < 0.005, "{:.2} % of a core", share * 100.0);
}

#[test]
fn the_poll_of_an_idle_worker_only_stats() {
    if !has_tool("the_poll_of_an_idle_worker_only_stats", "strace") {
        return;
    }
    let home = Home::new();
    home.enqueue("done", "", "true");
    let calls = home.join("calls");
    let words =
        ["-f", "-qq", "-ttt", "-o", calls.to_str().unwrap(), env!("CARGO_BIN_EXE_queuectl")];
    let _worker = home.command("strace", words.into_iter().chain(["worker", "start"])).start();
    home.wait_for("completed", 1);
    let_pass(Duration::from_secs(2));
    let before = home.read("calls").lines().count();
    let_pass(Duration::from_secs(3));
    let text = home.read("calls");
    let mut counts = BTreeMap::<&str, usize>::new();
    for line in text.lines().skip(before) {
        // The thread, the moment, the call.
        let call = line.split_ascii_whitespace().skip(2).find(|word| *word != "<...");
        let call = call.unwrap_or_default();
        let name = call.split('(').next().unwrap_or_default();
        *counts.entry(name).or_default() += 1;
    }
    eprintln!("in 3 s: {counts:?}");
    let stats = ["stat", "lstat", "newfstatat", "statx", "fstat"];
    let waits = [
        "futex",
        "poll",
        "ppoll",
        "epoll_wait",
        "epoll_pwait",
        "clock_nanosleep",
        "restart_syscall",
    ];
    let others = counts.keys().filter(|name| !stats.contains(name) && !waits.contains(name));
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&&str>::new(), "{counts:?}");
    let looked: usize = stats.iter().filter_map(|name| counts.get(name)).sum();
    assert!(looked >= 2, "it didn't look at all: {counts:?}");
}

/// How long jobs that others enqueue one by one wait for an idle worker.
fn waits(home: &Home, count: usize) -> Vec<Duration> {
    for number in 0..count {
        home.enqueue(&format!("job{number}"), "", "true");
        home.wait_for("completed", number + 1);
        // So that it is idle again, and not in step with its poll.
        let_pass(Duration::from_millis(30 + (number as u64 * 37) % 60));
    }
    let wait = |number| {
        let events = home.events_of(&format!("job{number}"));
        moment(&events[1]).since(moment(&events[0]))
    };
    let mut waits: Vec<_> = (0..count).map(wait).collect();
    waits.sort_unstable();
    waits
}

#[test]
fn an_idle_worker_wakes_for_a_job_at_once() {
    let home = Home::new();
    let _worker = home.worker_up("");
    let waits = waits(&home, if is_long() { 200 } else { 21 });
    let median = waits[waits.len() / 2];
    eprintln!("median {median:?}, longest {:?}, load {:.1}", waits[waits.len() - 1], load());
    assert!(median < Duration::from_millis(50), "{waits:?}");
}

#[test]
fn without_a_watch_it_wakes_within_the_poll() {
    let test = "without_a_watch_it_wakes_within_the_poll";
    if !has_tool(test, "unshare") {
        return;
    }
    let home = Home::new();
    home.ok("init");
    let script = format!(
        "echo 0 > /proc/sys/user/max_inotify_instances && exec '{}' worker start",
        env!("CARGO_BIN_EXE_queuectl")
    );
    let mut worker =
        home.command("unshare", ["--user", "--map-root-user", "sh", "-c", &script]).start();
    wait_until("the worker", || worker.is_over() || !home.events("worker_started").is_empty());
    if worker.is_over() && worker.stderr().contains("ermitted") {
        assert!(std::env::var_os("QUEUECTL_CI").is_none(), "{test} may not make a user namespace");
        eprintln!("skipped: {test} may not make a user namespace");
        return;
    }
    let descriptors = format!("/proc/{}/fd", worker.pid().as_raw_nonzero());
    let descriptors = std::fs::read_dir(descriptors).unwrap().flatten();
    let mut names = descriptors.filter_map(|file| std::fs::read_link(file.path()).ok());
    assert!(!names.any(|name| name.ends_with("anon_inode:inotify")), "it could watch after all");
    let waits = waits(&home, if is_long() { 50 } else { 8 });
    eprintln!("median {:?}, longest {:?}", waits[waits.len() / 2], waits[waits.len() - 1]);
    let poll = Duration::from_secs(1);
    assert!(
        waits[waits.len() - 1] < poll + Duration::from_millis(200).mul_f64(load()),
        "{waits:?}"
    );
}

#[test]
fn what_is_configured_counts_at_once() {
    let home = Home::new();
    let _worker = home.worker_up("");
    home.ok("config set backoff_base 1");
    home.enqueue("bad", "--max-retries 2", "false");
    home.wait_for("died", 1);
    assert_eq!(home.events("failed")[0]["delay"], 1);
}
