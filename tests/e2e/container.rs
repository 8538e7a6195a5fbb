//! Workers in a container: as its first process, and seen from outside of it.

use std::process::Command;
use std::time::Instant;

use crate::harness::Home;
use crate::scene::load;

const NAMESPACE: [&str; 4] = ["--pid", "--fork", "--mount-proc", "--kill-child"];

fn may_make_namespaces(test: &str) -> bool {
    let may = Command::new("unshare").args(NAMESPACE).arg("true").output();
    let may = may.is_ok_and(|done| done.status.success());
    assert!(may || std::env::var_os("QUEUECTL_CI").is_none(), "{test} may not make a namespace");
    if !may {
        eprintln!("skipped: {test} may not make a namespace");
    }
    may
}

fn worker<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let words = [env!("CARGO_BIN_EXE_queuectl"), "worker", "start"];
    NAMESPACE.iter().chain(&words).chain(arguments).copied().collect()
}

#[test]
fn a_worker_as_the_first_process_reaps_strangers() {
    if !may_make_namespaces("a_worker_as_the_first_process_reaps_strangers") {
        return;
    }
    let home = Home::new();
    for number in 0..5 {
        home.enqueue(&format!("leaves{number}"), "", "sleep 0.1 & exit 0");
    }
    home.enqueue("fails", "--max-retries 1", "sleep 60 & exit 3");
    home.enqueue(
        "last",
        "--priority -1",
        "sleep 0.4; cat /proc/[0-9]*/stat | grep -c ') Z' > zombies; exit 0",
    );
    let done = home.command("unshare", worker(&["--drain", "--count", "2"])).done();
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(home.read("zombies"), "0\n");
    assert_eq!(home.events("completed").len(), 6);
    assert_eq!(home.job("fails")["result"], "exit 3");
    assert!(home.processes_of("fails").is_empty(), "what a failed run left is still there");
}

#[test]
fn a_container_that_is_killed_is_recovered_from_outside_and_no_sooner() {
    if !may_make_namespaces("a_container_that_is_killed_is_recovered_from_outside_and_no_sooner") {
        return;
    }
    let home = Home::new();
    home.enqueue("slow", "", "echo began >> story; sleep 60");
    let inside = home.command("unshare", worker(&[])).start();
    home.wait_for_lines("story", 1);
    let _outside = home.worker_up("");
    for number in 0..3 {
        home.enqueue(&format!("next{number}"), "", "sleep 0.4");
    }
    home.wait_for("completed", 3);
    assert_eq!(home.kinds_of("slow"), ["enqueued", "claimed"], "its worker is alive");
    let killed = Instant::now();
    let _ = inside.kill();
    home.wait_for_lines("story", 2);
    assert!(killed.elapsed().as_secs_f64() < 5.0 * load(), "{:?}", killed.elapsed());
    assert_eq!(home.kinds_of("slow"), ["enqueued", "claimed", "lost", "claimed"]);
}
