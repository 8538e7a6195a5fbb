//! `queuectl logs`.

use super::harness::{Home, wait_until};
use super::verbs::{Case, Verb};

pub const VERBS: &[Verb] = &[Verb {
    path: "logs",
    success: Case::ok(talked, "logs talk"),
    refusal: Case::fails(talked, "logs nope", 1),
    json: Case::ok(talked, "logs talk"),
}];

/// A job that printed on both, and failed the first time.
fn talked(home: &Home) {
    let command = "echo run $QUEUECTL_RUN; echo oops $QUEUECTL_RUN >&2; [ $QUEUECTL_RUN = 2 ]";
    let words = ["enqueue", "--id", "talk", "--max-retries", "2", "--backoff-base", "0", command];
    home.queuectl(words).done().ok();
    home.drain("");
    assert_eq!(home.state("talk"), "completed");
}

#[test]
fn stdout_to_stdout_and_stderr_to_stderr() {
    let home = Home::new();
    talked(&home);
    let both = |line: &str| {
        let done = home.run(line);
        assert_eq!(done.code, 0, "{line}: {}", done.stderr);
        (done.stdout, done.stderr)
    };
    let pair = |out: &str, err: &str| (out.to_owned(), err.to_owned());
    assert_eq!(both("logs talk"), pair("run 2\n", "oops 2\n"));
    assert_eq!(both("logs"), pair("run 2\n", "oops 2\n"));
    assert_eq!(both("logs talk --run 1"), pair("run 1\n", "oops 1\n"));
    assert_eq!(both("logs talk --stdout"), pair("run 2\n", ""));
    assert_eq!(both("logs talk --stderr"), pair("", "oops 2\n"));
    let all = both("logs talk --all-runs -q");
    assert!(all.0.contains("run 1\n") && all.0.contains("run 2\n"), "{all:?}");
    assert_eq!(both("logs talk --all-runs --stdout -q").0, "run 1\nrun 2\n");
}

#[test]
fn the_last_lines() {
    let home = Home::new();
    home.queuectl(["enqueue", "--id", "n", "seq 1 1000; printf end"]).done().ok();
    home.drain("");
    assert_eq!(home.ok("logs n --tail 3"), "999\n1000\nend");
    assert_eq!(home.ok("logs n -n 1"), "end");
    assert_eq!(home.ok("logs n -n 0"), "");
    assert_eq!(home.ok("logs n -n 5000").lines().count(), 1001);
}

#[test]
fn binary_output_comes_back_byte_for_byte() {
    let home = Home::new();
    home.queuectl(["enqueue", "--id", "b", r"printf '\000\377\033[31m\r\n'"]).done().ok();
    home.drain("");
    let output = home.queuectl(["logs", "b"]).into_command().output().expect("it runs");
    assert_eq!(output.stdout, b"\x00\xff\x1b[31m\r\n");
}

#[test]
fn what_has_not_run_has_no_logs() {
    let home = Home::new();
    home.ok("enqueue --id a true");
    for line in ["logs a", "logs"] {
        let done = home.run(line);
        assert_eq!((done.code, &*done.stdout), (0, ""), "{line}");
        assert!(done.stderr.contains("run yet"), "{line}: {}", done.stderr);
        let json = home.run(&format!("{line} --json")).json();
        assert_eq!(json["runs"], serde_json::json!([]), "{line}: {json}");
    }
    home.drain("");
    assert_eq!(home.ok("logs a"), "");
    home.fails("logs a --run 7", 1);
    home.fails("logs a --run 0", 1);
    home.fails("logs a --run 1 --all-runs", 2);
    home.fails("logs a --stdout --stderr", 2);
}

#[test]
fn following_waits_for_a_first_run_and_not_for_ever() {
    let home = Home::new();
    home.ok("enqueue --id never true");
    home.ok("enqueue --id once echo printed");
    let mut once = home.queuectl(["logs", "once", "-f"]).start();
    let mut never = home.queuectl(["logs", "never", "-f"]).start();
    wait_until("both wait", || once.is_asleep() && never.is_asleep());
    assert!(!once.is_over() && !never.is_over());
    home.ok("cancel never");
    let _ = home.drain("");
    assert_eq!(never.end().ok(), "");
    assert_eq!(once.end().ok(), "printed\n");
    assert_eq!(home.ok("logs never -f"), "");
}

#[test]
fn following_prints_as_it_comes_and_ends_with_the_run() {
    let home = Home::new();
    let go = home.join("go");
    let command =
        format!("echo begin; while [ ! -e '{}' ]; do sleep 0.02; done; echo end", go.display());
    home.queuectl(["enqueue", "--id", "f", &command]).done().ok();
    let worker = home.worker("--drain");
    wait_until("the job prints", || home.run("logs f").stdout == "begin\n");
    assert_eq!(home.run("logs").stdout, "begin\n", "the one that runs");
    let mut follower = home.queuectl(["logs", "f", "--follow"]).start();
    assert!(!follower.is_over());
    home.write("go", "");
    assert_eq!(follower.end().ok(), "begin\nend\n");
    worker.end().ok();
    assert_eq!(home.ok("logs f -f"), "begin\nend\n");
}
