//! Runs that fail: when they are made again, when no more, and what each kind of failure is called.

use std::time::Duration;

use crate::harness::{Home, wait_until};
use crate::scene::{load, seconds};

#[test]
fn a_failing_job_starts_at_0_2_and_6_seconds_and_is_dead() {
    let home = Home::new();
    home.enqueue("bad", "", "date +%s.%N >> starts; test -e fixed");
    let _worker = home.worker_up("");
    home.wait_for("died", 1);
    let starts = home.read("starts");
    let starts: Vec<Duration> = starts.lines().map(seconds).collect();
    let waits: Vec<f64> = starts.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    eprintln!("waits of {waits:.3?} s, load {:.1}", load());
    // Each start is told by the job, before the wait begins and after it is over; so a wait can't seem too short.
    for (wait, delay) in waits.iter().zip([2.0, 4.0]) {
        assert!(*wait >= delay, "too early: {waits:?}");
        assert!(*wait <= delay + 0.3 * load(), "too late: {waits:?}, load {}", load());
    }
    assert_eq!(starts.len(), 3);
    let job = home.job("bad");
    assert_eq!(job["state"], "dead");
    assert_eq!((&job["attempts"], &job["exit_code"]), (&3.into(), &1.into()));
    let delays: Vec<_> =
        home.events("failed").iter().map(|failed| failed["delay"].to_string()).collect();
    assert_eq!(delays, ["2", "4"]);
    assert!(home.ok("dlq list").contains("bad"));

    // A retry from the dead letter queue begins again and keeps what was.
    home.ok("dlq retry bad");
    home.wait_for("failed", 3);
    home.write("fixed", "");
    home.wait_for("completed", 1);
    let job = home.job("bad");
    assert_eq!(job["state"], "completed");
    assert_eq!(job["attempts"], 2);
    assert_eq!(job["runs"].as_array().unwrap().len(), 5);
    assert!(!home.ok("dlq list").contains("bad"));
}

#[test]
fn no_retry_waits_for_the_poll() {
    let home = Home::new();
    home.ok("config set poll_interval 60s");
    home.ok("config set backoff_base 1");
    home.enqueue("bad", "", "date +%s.%N >> starts; exit 1");
    let _worker = home.worker_up("");
    home.wait_for("died", 1);
    let starts = home.read("starts");
    let starts: Vec<Duration> = starts.lines().map(seconds).collect();
    assert_eq!(starts.len(), 3);
    for pair in starts.windows(2) {
        let wait = pair[1] - pair[0];
        assert!(wait >= Duration::from_secs(1) && wait < Duration::from_secs(20), "{wait:?}");
    }
}

#[test]
fn nought_and_one_both_mean_once() {
    let home = Home::new();
    home.enqueue("none", "--max-retries 0", "exit 5");
    home.enqueue("one", "--max-retries 1", "exit 5");
    home.drain("");
    for job in ["none", "one"] {
        assert_eq!(home.kinds_of(job), ["enqueued", "claimed", "died"]);
        assert_eq!(home.job(job)["result"], "exit 5");
        assert_eq!(home.job(job)["attempts"], 1);
    }
}

#[test]
fn each_kind_of_failure_has_its_name() {
    let home = Home::new();
    let script = home.write("plain.txt", "echo hello\n");
    let enqueue = |id: &str, options: &str, words: &[&str]| {
        let first = ["enqueue", "--id", id, "--max-retries", "1"].into_iter();
        let options = options.split_ascii_whitespace();
        home.queuectl(first.chain(options).chain(words.iter().copied())).done().ok();
    };
    enqueue("fails", "", &["--command", "echo oh no >&2; exit 3"]);
    enqueue("slow", "--timeout 300ms", &["--command", "sleep 60"]);
    enqueue("unknown", "", &["--", "no-such-command", "x"]);
    enqueue("unknown-to-sh", "", &["--command", "no-such-command x"]);
    enqueue("plain", "", &["--", script.to_str().unwrap(), "x"]);
    enqueue("plain-to-sh", "", &["--command", "./plain.txt x"]);
    enqueue("shot", "", &["--command", "kill -KILL $$"]);
    enqueue("bowed-out", "", &["--command", "kill -TERM $$"]);
    enqueue("lines", "", &["--", "sh", "-c", "exit 9"]);
    home.drain("--count 4");
    for (job, result, code) in [
        ("fails", "exit 3", Some(3)),
        ("slow", "timeout", None),
        ("unknown", "exit 127", Some(127)),
        ("unknown-to-sh", "exit 127", Some(127)),
        ("plain", "exit 126", Some(126)),
        ("plain-to-sh", "exit 126", Some(126)),
        ("shot", "signal 9", None),
        ("bowed-out", "signal 15", None),
        ("lines", "exit 9", Some(9)),
    ] {
        let told = home.job(job);
        assert_eq!(told["state"], "dead", "{job}");
        assert_eq!(told["result"], result, "{job}: {told}");
        if let Some(code) = code {
            assert_eq!(told["exit_code"], code, "{job}");
        }
        assert!(told["last_error"].is_string(), "{job}: {told}");
    }
    assert_eq!(home.job("fails")["last_error"], "exit 3: oh no");
    assert!(home.job("slow")["duration_ms"].as_u64().unwrap() >= 300);
    for job in ["unknown", "plain"] {
        let error = home.job(job)["last_error"].to_string();
        let name = if job == "unknown" { "no-such-command" } else { "plain.txt" };
        assert!(error.contains(name), "{job}: {error}");
    }
}

#[test]
fn of_five_that_retry_a_dead_job_one_does() {
    let home = Home::new();
    home.enqueue("bad", "--max-retries 1", "false");
    home.drain("");
    let all: Vec<_> = (0..5).map(|_| home.queuectl(["dlq", "retry", "bad"]).start()).collect();
    let codes: Vec<i32> = all.into_iter().map(|running| running.end().code).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 1).count(), 4, "{codes:?}");
    assert_eq!(home.events("requeued").len(), 1);
    let stderr = home.run("dlq retry bad").fails(1);
    assert!(stderr.contains("bad") && stderr.contains("pending"), "{stderr}");
}

#[test]
fn a_retry_now_ends_the_wait_and_keeps_the_attempts() {
    let home = Home::new();
    home.ok("config set backoff_base 1000");
    home.enqueue("bad", "--max-retries 2", "false");
    let _worker = home.worker_up("");
    home.wait_for("failed", 1);
    home.ok("retry bad");
    wait_until("the second run", || home.state("bad") == "dead");
    assert_eq!(home.job("bad")["attempts"], 2);
}
