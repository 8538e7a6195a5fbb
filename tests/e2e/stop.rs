//! How workers end: asked by a signal or from another terminal, at once, after a while, or because all is done.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Home, wait_until};
use crate::scene::load;

/// Says that it has begun, and ends once there is a file `go`.
const PATIENT: &str =
    "echo begun >> begun; until test -e go; do sleep 0.02; done; echo ended >> ended";

/// Says that it has begun, and ignores TERM.
const STUBBORN: &str = "trap '' TERM; echo begun >> begun; sleep 60";

#[track_caller]
fn assert_waits_uncharged(home: &Home, job: &str) {
    assert_eq!(home.kinds_of(job), ["enqueued", "claimed", "released"]);
    let told = home.job(job);
    assert_eq!((&told["state"], &told["attempts"]), (&"pending".into(), &0.into()));
    assert!(home.processes_of(job).is_empty(), "something of the run is left");
}

#[test]
fn sigterm_lets_what_runs_finish() {
    for signal in [Signal::TERM, Signal::INT] {
        let home = Home::new();
        home.enqueue("patient", "", PATIENT);
        let mut worker = home.worker_up("--count 1");
        home.wait_for_lines("begun", 1);
        worker.signal(signal);
        wait_until("it to say so", || worker.stderr().to_lowercase().contains("stop"));
        home.enqueue("later", "", "true");
        assert!(!worker.is_over());
        assert_eq!(home.state("patient"), "processing");
        home.write("go", "");
        assert_eq!(worker.end().code, 0);
        assert_eq!(home.read("ended"), "ended\n");
        assert_eq!(home.state("patient"), "completed");
        assert_eq!(home.state("later"), "pending", "a worker that stops claims nothing more");
        assert_eq!(home.events("worker_stopped").len(), 1);
    }
}

#[test]
fn worker_stop_from_another_terminal_waits_until_all_are_gone() {
    let home = Home::new();
    home.enqueue("patient", "", PATIENT);
    let (first, second) = (home.worker_up("--count 1"), home.worker_up("--count 1"));
    home.wait_for_lines("begun", 1);
    let mut stop = home.queuectl(["worker", "stop"]).start();
    home.wait_for("worker_stop_requested", 2);
    home.wait_for("worker_stopped", 1);
    assert!(!stop.is_over(), "it waits for the one that is busy");
    home.write("go", "");
    assert_eq!(stop.end().code, 0);
    assert_eq!((first.end().code, second.end().code), (0, 0));
    assert_eq!(home.state("patient"), "completed");
    let none = home.run("worker stop");
    assert_eq!((none.code, none.stdout.as_str()), (0, ""));
    assert!(none.stderr.contains("no worker"), "{}", none.stderr);
}

#[test]
fn one_worker_is_stopped_by_its_name() {
    let home = Home::new();
    let (first, mut second) = (home.worker_up("--count 1"), home.worker_up("--count 1"));
    let name = home.events("worker_started")[0]["worker"].as_str().unwrap().to_owned();
    home.queuectl(["worker", "stop", &name]).done().ok();
    assert_eq!(first.end().code, 0);
    assert!(!second.is_over());
    home.run("worker stop nobody").fails(1);
    home.ok("worker stop");
    assert_eq!(second.end().code, 0);
}

#[test]
fn a_second_sigterm_ends_what_runs_within_the_grace_and_charges_nothing() {
    let home = Home::new();
    home.ok("config set kill_grace 500ms");
    home.enqueue("stubborn", "", STUBBORN);
    home.enqueue("polite", "", "echo begun >> begun; sleep 60");
    let worker = home.worker_up("--count 2");
    home.wait_for_lines("begun", 2);
    worker.signal(Signal::TERM);
    wait_until("it to say so", || worker.stderr().to_lowercase().contains("stop"));
    let asked = Instant::now();
    worker.signal(Signal::TERM);
    assert_eq!(worker.end().code, 0);
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(3).mul_f64(load()), "{took:?}");
    assert!(took >= Duration::from_millis(500), "no grace was given: {took:?}");
    assert_waits_uncharged(&home, "stubborn");
    assert_waits_uncharged(&home, "polite");
    assert_eq!(home.job("polite")["runs"][0]["result"], "interrupted");
}

#[test]
fn stop_now_hands_back() {
    let home = Home::new();
    home.enqueue("slow", "", "echo begun >> begun; sleep 60");
    let worker = home.worker_up("");
    home.wait_for_lines("begun", 1);
    home.ok("worker stop --now");
    assert_eq!(worker.end().code, 0);
    assert_waits_uncharged(&home, "slow");
}

#[test]
fn stop_with_a_timeout_waits_that_long() {
    let home = Home::new();
    home.enqueue("slow", "", "echo begun >> begun; sleep 60");
    let worker = home.worker_up("");
    home.wait_for_lines("begun", 1);
    let asked = Instant::now();
    home.ok("worker stop --timeout 700ms");
    let took = asked.elapsed();
    assert!(took >= Duration::from_millis(700), "{took:?}");
    assert_eq!(worker.end().code, 0);
    assert_waits_uncharged(&home, "slow");
}

#[test]
fn a_worker_with_a_stop_timeout_waits_no_longer() {
    let home = Home::new();
    home.enqueue("slow", "", "echo begun >> begun; sleep 60");
    let worker = home.worker_up("--stop-timeout 300ms");
    home.wait_for_lines("begun", 1);
    worker.signal(Signal::TERM);
    assert_eq!(worker.end().code, 0);
    assert_waits_uncharged(&home, "slow");
}

#[test]
fn drain_waits_for_retries_and_not_for_the_future() {
    let home = Home::new();
    home.ok("config set backoff_base 1");
    home.enqueue("flaky", "", "echo x >> tries; test $(wc -l < tries) -ge 2");
    home.enqueue("tomorrow", "--delay 1d", "true");
    let done = home.drain("--count 2");
    assert_eq!(home.state("flaky"), "completed");
    assert_eq!(home.job("flaky")["attempts"], 2);
    assert_eq!(home.state("tomorrow"), "pending");
    assert!(done.stderr.contains('1'), "what was left isn't told: {}", done.stderr);
    assert_eq!(done.stdout, "");
    assert_eq!(home.events("worker_stopped").len(), 1);
}

#[test]
fn max_jobs_is_the_number_of_runs() {
    let home = Home::new();
    home.queuectl(["enqueue", "--lines", "-"]).stdin("true\n".repeat(5)).done().ok();
    let done = home.run("worker start --max-jobs 3 --count 2");
    assert_eq!(done.code, 0, "{}", done.stderr);
    let counts = &home.queuectl(["status", "--json"]).done().json()["counts"];
    assert_eq!((&counts["completed"], &counts["pending"]), (&3.into(), &2.into()), "{counts}");
}

#[test]
fn a_detached_worker_names_its_log_and_works() {
    let home = Home::new();
    let done = home.run("worker start --detach --count 2");
    assert_eq!(done.code, 0, "{}", done.stderr);
    let said = format!("{}{}", done.stdout, done.stderr);
    let words = said.split_whitespace().map(|word| word.trim_matches([',', '.', ':', '"']));
    let mut logs =
        words.filter(|word| word.starts_with('/') && std::path::Path::new(word).is_file());
    let log = logs.next().unwrap_or_else(|| panic!("no log file is named: {said}")).to_owned();
    home.enqueue("job", "", "echo hello");
    home.wait_for("completed", 1);
    wait_until("the log to tell of the job", || {
        std::fs::read_to_string(&log).unwrap_or_default().contains("job")
    });
    let status = home.queuectl(["status", "--json"]).done().json();
    assert_eq!(status["workers"]["running"], 2, "{status}");
    home.ok("worker stop");
    assert_eq!(home.events("worker_stopped").len(), 1);
    let status = home.queuectl(["status", "--json"]).done().json();
    assert_eq!(status["workers"]["total"], 0, "{status}");
}

#[test]
fn what_a_service_manager_ends_is_handed_back() {
    let home = Home::new();
    home.enqueue("slow", "", "echo begun >> begun; exec sleep 60");
    let worker = home.worker_up("");
    home.wait_for_lines("begun", 1);
    // systemd signals every process of the service at once.
    let jobs = home.processes_of("slow");
    worker.signal(Signal::TERM);
    for pid in jobs {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
    }
    assert_eq!(worker.end().code, 0);
    assert_waits_uncharged(&home, "slow");
}

#[test]
fn a_suspended_worker_keeps_nothing_but_what_it_runs() {
    let home = Home::new();
    home.enqueue("patient", "", PATIENT);
    let lines = "sleep 0.02\n".repeat(40);
    home.queuectl(["enqueue", "--lines", "-"]).stdin(lines).done().ok();
    let worker = home.worker_up("--count 2");
    home.wait_for_lines("begun", 1);
    home.wait_for("completed", 5);
    worker.signal(Signal::TSTP);
    let other = home.worker_up("--count 1");
    // All but those that the suspended worker runs, of which it can't write the ends.
    home.wait_for("completed", 39);
    home.write("go", "");
    home.wait_for_lines("ended", 1);
    assert_eq!(home.state("patient"), "processing", "it works while it is suspended");
    worker.signal(Signal::CONT);
    home.wait_for("completed", 41);
    for event in home.events("completed") {
        assert_eq!(event["run"], 1, "{event}");
    }
    home.ok("worker stop");
    assert_eq!((worker.end().code, other.end().code), (0, 0));
}

/// A worker once worked on in a directory that had been moved away, where nobody could reach it.
#[test]
fn a_worker_whose_queue_was_moved_away_ends_and_says_why() {
    let home = Home::new();
    home.ok("init");
    let worker = home.worker("");
    wait_until("the worker works", || home.ok("worker list --json").contains("\"pid\""));
    std::fs::rename(home.queue(), home.join("moved")).expect("a rename");
    let told = worker.end().fails(74);
    assert!(told.contains("cannot find the log any more"), "{told}");
}

/// It once ended as if all were well, with jobs left undone.
#[test]
fn a_worker_whose_lock_file_was_taken_away_ends_badly() {
    let home = Home::new();
    home.ok("init");
    let worker = home.worker("");
    wait_until("the worker works", || home.ok("worker list --json").contains("\"pid\""));
    for machine in std::fs::read_dir(home.queue().join("local")).expect("a directory").flatten() {
        std::fs::remove_dir_all(machine.path().join("run")).expect("a directory of locks");
    }
    home.ok("enqueue --id left true");
    let told = worker.end().fails(1);
    assert!(told.contains("not where it was made"), "{told}");
}

/// Jobs that were claimed ahead behind a long one were once handed back and claimed again 20 times a second.
#[test]
fn nothing_is_claimed_over_and_over_behind_a_long_job() {
    let home = Home::new();
    for name in ["s1", "s2", "s3", "s4", "s5", "s6"] {
        home.ok(&format!("enqueue --id {name} --priority 1 true"));
    }
    home.ok("enqueue --id long sleep 2");
    home.ok("enqueue --id after true");
    home.drain("");
    let released = home.log().iter().filter(|line| line["ev"] == "released").count();
    assert!(released <= 5, "{released} claims were handed back");
}
