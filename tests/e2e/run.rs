//! `queuectl run`.

use rustix::process::Signal;

use super::harness::{Home, wait_until};
use super::story;
use super::verbs::{Case, Verb};

pub const VERBS: &[Verb] = &[Verb {
    path: "run",
    success: Case::ok(story::nothing, "run --id job1 'echo hello; echo there >&2'"),
    refusal: Case::fails(story::one_waiting, "run --id job1 true", 125),
    json: Case::ok(story::nothing, "run --id job1 true"),
}];

#[test]
fn output_goes_where_it_belongs_and_so_does_the_exit_code() {
    let home = Home::new();
    let done =
        home.queuectl(["run", "-q", "echo out; echo err >&2; exit 7", "--max-retries", "1"]).done();
    assert_eq!((done.code, &*done.stdout, &*done.stderr), (7, "out\n", "err\n"));
    assert_eq!(home.run("list --columns state,exit_code").stdout, "dead\t7\n");
    assert_eq!(home.run("run -q echo a b").ok(), "a b\n");
}

#[test]
fn the_last_run_counts() {
    let home = Home::new();
    let words =
        ["run", "--backoff-base", "0", "echo $QUEUECTL_RUN; [ $QUEUECTL_RUN = 3 ] || exit 9"];
    let done = home.queuectl(words).done();
    assert_eq!((done.code, &*done.stdout), (0, "1\n2\n3\n"), "{}", done.stderr);
}

#[test]
fn how_runs_end() {
    let home = Home::new();
    let table: [(&[&str], i32); 7] = [
        (&["run", "--max-retries", "1", "kill -9 $$"], 137),
        (&["run", "--max-retries", "1", "kill -TERM $$"], 143),
        (&["run", "--max-retries", "1", "--timeout", "100ms", "sleep 60"], 124),
        (&["run", "--max-retries", "1", "no-such-program", "x"], 127),
        (&["run", "--max-retries", "1", "/", "x"], 126),
        (&["run"], 2),
        (&["run", "--priority", "high", "true"], 2),
    ];
    for (words, code) in table {
        let done = home.queuectl(words).done();
        let usage = code == 2 && done.code == 125;
        assert!(done.code == code || usage, "{words:?}: {} {}", done.code, done.stderr);
    }
}

#[test]
fn queuectl_failing_is_125() {
    let home = Home::new();
    home.ok("enqueue --id a true");
    for (line, word) in
        [("run --id a true", "exists"), ("run '{\"command\":1}'", "string"), ("run ''", "empty")]
    {
        let done = home.say(line).done();
        assert_eq!((done.code, &*done.stdout), (125, ""), "{line}: {}", done.stderr);
        assert!(done.stderr.contains(word), "{line}: {}", done.stderr);
    }
    assert_eq!(home.ok("list --ids"), "a\n");
}

#[test]
fn stdin_is_empty_unless_given() {
    let home = Home::new();
    home.write("in", "text\n");
    assert_eq!(home.queuectl(["run", "-q", "cat; echo end"]).stdin("mine").done().ok(), "end\n");
    assert_eq!(
        home.queuectl(["run", "-q", "--stdin", "in", "cat"]).stdin("mine").done().ok(),
        "text\n"
    );
}

#[test]
fn it_works_on_its_own_job_only() {
    let home = Home::new();
    home.ok("enqueue --id other --priority 100 true");
    home.run("run --id mine true").ok();
    assert_eq!((home.state("other"), home.state("mine")), ("pending".into(), "completed".into()));
}

/// Runs a job until it is under way, sends a signal, and gives the exit code and the job's state.
fn signalled(signal: Signal) -> (i32, String) {
    let home = Home::new();
    let command = "echo up > up; while :; do sleep 0.02; done";
    let running = home.queuectl(["run", "--id", "r", command]).start();
    wait_until("the job runs", || home.read("up") == "up\n");
    running.signal(signal);
    let code = running.end().code;
    (code, home.state("r"))
}

#[test]
fn ctrl_c_cancels_it() {
    assert_eq!(signalled(Signal::INT), (130, "cancelled".into()));
}

#[test]
fn sigterm_and_sighup_hand_it_back() {
    for signal in [Signal::TERM, Signal::HUP] {
        let (code, state) = signalled(signal);
        assert_ne!(code, 0, "{signal:?}");
        assert_eq!(state, "pending", "{signal:?}");
    }
}

#[test]
fn enqueue_and_claim_are_one_append() {
    let home = Home::new();
    home.run("run --id r true").ok();
    let events: Vec<String> =
        home.log().iter().map(|line| line["ev"].as_str().unwrap_or_default().to_owned()).collect();
    let enqueued = events.iter().position(|ev| ev == "enqueued").expect("a job");
    assert_eq!(events[enqueued + 1], "claimed", "{events:?}");
}
