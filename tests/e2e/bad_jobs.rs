//! Jobs that misbehave: each has one clear end, and neither its worker nor any other job suffers.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::process::{Signal, kill_process};

use crate::harness::{Home, has_tool, wait_until};
use crate::scene::{is_alive, is_long};

impl Home {
    /// The output files of a job's runs, those of stdout.
    fn outputs(&self, job: &str) -> Vec<PathBuf> {
        let children = |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten();
        let machines =
            children(self.queue().join("local")).map(|machine| machine.path().join("output"));
        let shards = machines.flat_map(children).map(|shard| shard.path());
        let files = shards.flat_map(children).map(|file| file.path());
        let name =
            |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.filter(|path| name(path).starts_with(job) && name(path).ends_with(".out")).collect()
    }
}

#[test]
fn one_that_reads_gets_nothing() {
    let home = Home::new();
    home.enqueue("reads", "", "cat > got; echo $? >> got; test -t 0 || echo no terminal >> got");
    home.enqueue("asks", "--max-retries 1", "read answer < /dev/tty");
    home.drain("--count 2");
    assert_eq!(home.read("got"), "0\nno terminal\n");
    assert_eq!(home.state("asks"), "dead", "a job has no terminal to ask");
}

#[test]
fn one_that_prints_without_end_keeps_the_first_and_the_last() {
    let size = if is_long() { "1G" } else { "200M" };
    let home = Home::new();
    home.ok("config set output_limit 256KiB");
    home.enqueue("loud", "", &format!("echo first; yes | head -c {size}; echo last"));
    home.drain("");
    assert_eq!(home.state("loud"), "completed");
    let [file] = home.outputs("loud").try_into().unwrap();
    let meta = file.metadata().unwrap();
    eprintln!("{size} printed, {} KiB kept", meta.blocks() / 2);
    assert!(meta.blocks() * 512 <= 2 << 20, "{} bytes are kept", meta.blocks() * 512);
    let printed = File::create(home.join("printed")).unwrap();
    assert_eq!(home.queuectl(["logs", "loud"]).stdout(printed).done().code, 0);
    let printed = home.read("printed");
    assert!(printed.starts_with("first\ny\n") && printed.ends_with("y\nlast\n"));
    assert!(printed.len() < 4 << 20, "holes are skipped: {}", printed.len());
    let shown = home.ok("show loud");
    assert!(shown.contains("cut"), "what was cut isn't said: {shown}");
}

#[test]
fn one_that_prints_binary_is_kept_to_the_byte() {
    let home = Home::new();
    home.enqueue(
        "binary",
        "",
        "head -c 50000 /dev/urandom | tee copy; printf '\\000\\033[31m\\377' | tee -a copy",
    );
    home.drain("");
    assert_eq!(home.state("binary"), "completed");
    let printed = File::create(home.join("printed")).unwrap();
    assert_eq!(home.queuectl(["logs", "binary"]).stdout(printed).done().code, 0);
    let (printed, copy) = (std::fs::read(home.join("printed")), std::fs::read(home.join("copy")));
    assert!(printed.unwrap() == copy.unwrap(), "logs printed something else");
    let shown = home.ok("show binary");
    assert!(!shown.contains('\x1b'), "an escape code got through");
}

#[test]
fn a_daemon_of_one_is_left_alone_and_waited_for_by_nobody() {
    if !has_tool("a_daemon_of_one_is_left_alone_and_waited_for_by_nobody", "setsid") {
        return;
    }
    let home = Home::new();
    home.ok("config set kill_grace 200ms");
    // The sixth field is its session: it is a daemon once that is its own.
    let daemon = r#"setsid sleep 300 & until [ "$(cut -d ' ' -f 6 /proc/$!/stat)" = $! ]; do :; done; echo $! >> $QUEUECTL_JOB_ID"#;
    home.enqueue("well", "", daemon);
    home.enqueue("badly", "--max-retries 1", &format!("{daemon}; exit 1"));
    home.enqueue("leaves", "", "sleep 300 & echo $! >> $QUEUECTL_JOB_ID");
    home.enqueue("drops", "--max-retries 1", "sleep 300 & echo $! >> $QUEUECTL_JOB_ID; exit 1");
    let done = home.drain("--count 4");
    let pid = |job: &str| home.read(job).trim().parse::<i32>().unwrap();
    assert_eq!((home.state("well"), home.state("badly")), ("completed".into(), "dead".into()));
    assert_eq!((home.state("leaves"), home.state("drops")), ("completed".into(), "dead".into()));
    assert!(is_alive(pid("well")), "a daemon was killed");
    assert!(is_alive(pid("badly")), "a daemon of a failed run was killed");
    assert!(is_alive(pid("leaves")), "what a completed run left was killed");
    assert!(!is_alive(pid("drops")), "what a failed run left is still there");
    assert!(done.stderr.contains(&pid("badly").to_string()), "it isn't told of: {}", done.stderr);
}

#[test]
fn one_that_ignores_term_is_killed_after_its_grace() {
    let home = Home::new();
    home.enqueue(
        "stubborn",
        "--max-retries 1 --timeout 200ms --kill-grace 300ms",
        "trap '' TERM; sleep 60 & echo $! > child; wait; sleep 60",
    );
    home.drain("");
    let job = home.job("stubborn");
    assert_eq!((&job["state"], &job["result"]), (&"dead".into(), &"timeout".into()));
    assert!(job["duration_ms"].as_u64().unwrap() >= 500, "{job}");
    assert!(!is_alive(home.read("child").trim().parse().unwrap()), "its child is still there");
}

#[test]
fn one_that_is_stopped_is_ended_too() {
    let home = Home::new();
    home.enqueue("stops", "--max-retries 1 --timeout 200ms", "kill -STOP $$; sleep 60");
    home.drain("");
    assert_eq!(home.job("stops")["result"], "timeout");
}

#[test]
fn one_that_kills_its_own_group_kills_nobody_else() {
    let home = Home::new();
    home.enqueue("kills", "--max-retries 1", "kill -KILL 0; sleep 60");
    home.enqueue("terms", "--max-retries 1", "kill -TERM 0; sleep 60");
    home.enqueue("next", "", "true");
    home.drain("--count 1");
    assert_eq!(home.job("kills")["result"], "signal 9");
    assert_eq!(home.job("terms")["result"], "signal 15");
    assert_eq!(home.state("next"), "completed");
}

#[test]
fn one_that_closes_its_files_is_still_seen_to_its_end() {
    let home = Home::new();
    home.enqueue("closes", "", "exec <&- >&- 2>&-; sleep 0.3; echo end >> end");
    home.drain("");
    assert_eq!(home.state("closes"), "completed");
    assert_eq!(home.read("end"), "end\n");
    assert!(home.job("closes")["duration_ms"].as_u64().unwrap() >= 300);
}

#[test]
fn one_that_empties_its_output_is_told_of() {
    let home = Home::new();
    home.enqueue(
        "empties",
        "",
        "head -c 5000 /dev/zero; sleep 0.4; echo two > /dev/stdout; sleep 0.4",
    );
    home.drain("");
    let shown = home.ok("show empties");
    assert!(shown.contains("truncated its own stdout"), "{shown}");
}

#[test]
fn one_that_goes_elsewhere_takes_nobody_along() {
    let home = Home::new();
    std::fs::create_dir(home.join("sub")).unwrap();
    home.enqueue("leaves", "", "cd /; pwd");
    home.enqueue("stays", "", "pwd > where");
    home.queuectl(["enqueue", "--cwd", "sub", "--id", "below", "--command", "pwd > where"])
        .done()
        .ok();
    home.drain("--count 1");
    let path = home.path().canonicalize().unwrap();
    assert_eq!(home.read("where").trim(), path.to_str().unwrap());
    assert_eq!(home.read("sub/where").trim(), path.join("sub").to_str().unwrap());
}

#[test]
fn one_whose_directory_is_gone_fails_by_that_name() {
    let home = Home::new();
    let gone = home.join("gone");
    std::fs::create_dir(&gone).unwrap();
    home.queuectl(["enqueue", "--id", "lost", "--max-retries", "1", "true"])
        .current_dir(&gone)
        .done()
        .ok();
    std::fs::remove_dir(&gone).unwrap();
    home.enqueue("next", "", "true");
    home.drain("--count 1");
    let job = home.job("lost");
    assert_eq!((&job["state"], &job["result"]), (&"dead".into(), &"spawn_error".into()));
    assert!(job["last_error"].as_str().unwrap().contains("gone"), "{job}");
    assert_eq!(home.state("next"), "completed");
}

#[test]
fn one_that_kills_its_worker_ends_as_poison() {
    let home = Home::new();
    home.ok("config set max_lost 2");
    home.ok("config set backoff_base 1");
    home.enqueue("poison", "", "kill -KILL $PPID; sleep 60");
    for run in 1..=3 {
        // It may need a look at the one before it, first.
        let worker = home.worker("");
        home.wait_for("claimed", run);
        assert_eq!(worker.end().code, 137);
    }
    home.drain("");
    let job = home.job("poison");
    assert_eq!(job["state"], "dead", "{job}");
    assert_eq!((&job["reason"], &job["attempts"]), (&"poison".into(), &0.into()), "{job}");
    assert_eq!(home.events("claimed").len(), 3);
}

#[test]
fn one_that_is_cancelled_is_ended() {
    let home = Home::new();
    home.ok("config set kill_grace 300ms");
    home.enqueue("stubborn", "", "trap '' TERM; echo begun >> begun; sleep 60");
    let worker = home.worker_up("");
    home.wait_for_lines("begun", 1);
    home.ok("cancel stubborn");
    home.wait_for("cancelled", 1);
    assert_eq!(home.state("stubborn"), "cancelled");
    assert!(home.processes_of("stubborn").is_empty());
    kill_process(worker.pid(), Signal::TERM).unwrap();
    assert_eq!(worker.end().code, 0);
}

#[test]
fn what_a_left_process_still_prints_does_no_harm() {
    let home = Home::new();
    home.enqueue("leaves", "", "(until test -e go; do sleep 0.02; done; echo late) & echo early");
    home.drain("");
    assert_eq!(home.ok("logs leaves"), "early\n");
    home.write("go", "");
    wait_until("the rest to be printed", || home.ok("logs leaves") == "early\nlate\n");
}
