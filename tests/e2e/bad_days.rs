//! Days on which the system refuses: no right to write, no room, no descriptors, no reader, a clock that was set back.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Done, Home, has_tool, wait_until};
use crate::scene::{is_long, load, moment};

const BINARY: &str = env!("CARGO_BIN_EXE_queuectl");

/// Every file below a directory, with its bytes.
fn tree(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(path).unwrap().flatten().map(|entry| entry.path());
    let below = |path: PathBuf| match path.is_dir() {
        true => tree(&path).into_iter().collect::<Vec<_>>(),
        false => vec![(path.clone(), std::fs::read(&path).unwrap())],
    };
    entries.flat_map(below).collect()
}

/// Gives or takes the right to write, of everything below.
fn set_writable(path: &Path, is_writable: bool) {
    let set = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    if path.is_file() {
        return set(path, if is_writable { 0o600 } else { 0o400 });
    }
    set(path, 0o700);
    for entry in std::fs::read_dir(path).unwrap().flatten() {
        set_writable(&entry.path(), is_writable);
    }
    set(path, if is_writable { 0o700 } else { 0o500 });
}

/// Runs it as somebody to whom permissions mean something.
fn unprivileged(home: &Home, line: &str) -> Done {
    let words = line.split_ascii_whitespace();
    if !rustix::process::geteuid().is_root() {
        return home.queuectl(words).done();
    }
    let drop = ["--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", BINARY];
    home.command("setpriv", drop.into_iter().chain(words)).done()
}

#[test]
fn a_read_only_directory_is_read_and_left_as_it_is() {
    if rustix::process::geteuid().is_root()
        && !has_tool("a_read_only_directory_is_read_and_left_as_it_is", "setpriv")
    {
        return;
    }
    let home = Home::new();
    home.enqueue("job", "", "echo hello");
    home.drain("");
    home.enqueue("waits", "", "true");
    set_writable(&home.queue(), false);
    let before = tree(&home.queue());
    let list = unprivileged(&home, "list --ids").ok();
    assert_eq!(list, "job\nwaits\n");
    assert!(unprivileged(&home, "show job").ok().contains("hello"));
    assert_eq!(unprivileged(&home, "logs job").ok(), "hello\n");
    let _ = unprivileged(&home, "status").ok();
    let _ = unprivileged(&home, "events --jsonl").ok();
    for line in ["enqueue true", "cancel waits", "config set max_retries 5"] {
        let refused = unprivileged(&home, line).fails(74);
        assert!(refused.contains("ermission denied"), "{line}: {refused}");
    }
    let worker = unprivileged(&home, "worker start --drain");
    assert!([1, 74].contains(&worker.code), "{worker:?}");
    assert!(worker.stderr.contains("ermission denied"), "{}", worker.stderr);
    assert_eq!(tree(&home.queue()), before, "something was written");
    set_writable(&home.queue(), true);
    assert_eq!(home.ok("list --ids"), "job\nwaits\n");
}

#[test]
fn without_a_home_it_says_what_to_do() {
    let home = Home::new();
    for line in ["list", "enqueue true", "worker start"] {
        let words = ["-i", BINARY].into_iter().chain(line.split(' '));
        let said = home.command("env", words).done().fails(1);
        assert!(
            said.contains("HOME") && said.contains("hint: ") && said.contains("--dir"),
            "{said}"
        );
    }
    let directory = format!("QUEUECTL_DIR={}", home.queue().display());
    let words = ["-i", &directory, BINARY, "enqueue", "--", "/bin/true"];
    home.command("env", words).done().ok();
}

/// Runs a script where `$QUEUECTL_DIR` is a file system of its own of this size.
fn on_a_small_disk(test: &str, home: &Home, size: &str, script: &str) -> Option<Done> {
    let mount = format!("mount -t tmpfs -o mode=700,size={size} tmpfs $QUEUECTL_DIR");
    let may =
        Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output();
    if !may.is_ok_and(|done| done.status.success()) {
        assert!(std::env::var_os("QUEUECTL_CI").is_none(), "{test} may not mount a tmpfs");
        eprintln!("skipped: {test} may not mount a tmpfs");
        return None;
    }
    std::fs::create_dir(home.queue()).unwrap();
    let script = format!("set -eu; {mount}; q() {{ \"{BINARY}\" \"$@\"; }}\n{script}");
    Some(home.command("unshare", ["-m", "sh", "-c", &script]).done())
}

#[test]
fn a_full_disk_takes_nothing_back_and_promises_nothing() {
    let home = Home::new();
    let script = r#"
        head -c 300k /dev/zero > $QUEUECTL_DIR/padding
        printf '"%050000d"' 0 > meta
        told() { q enqueue --id "$1" --meta "$(cat meta)" 'echo $QUEUECTL_JOB_ID >> ran' 2>> errors; }
        n=0; while told job$n >> told; do n=$((n + 1)); done
        told again >> told || echo $? > code
        cat /dev/zero > $QUEUECTL_DIR/more 2> /dev/null || true
        q list --ids > listed_full
        q status > status_full || echo "status: $?" >> errors
        q worker start --drain 2> worker_errors || echo $? > worker_code
        rm $QUEUECTL_DIR/padding $QUEUECTL_DIR/more
        q enqueue --id after 'echo $QUEUECTL_JOB_ID >> ran' >> told
        q list --ids > listed
        q worker start --drain --count 2
        q list state:completed --ids > completed
    "#;
    let test = "a_full_disk_takes_nothing_back_and_promises_nothing";
    let Some(done) = on_a_small_disk(test, &home, "1200k", script) else { return };
    assert_eq!(done.code, 0, "{}\n{}", done.stderr, home.read("errors"));
    let told = home.read("told");
    assert!(told.lines().count() > 5, "the disk was full from the start: {told}");
    assert_eq!(home.read("code"), "74\n", "{}", home.read("errors"));
    assert!(home.read("errors").contains("the disk is nearly full"), "{}", home.read("errors"));
    assert_eq!(home.read("listed_full"), told.replace("after\n", ""));
    assert_eq!(home.read("listed"), told);
    assert_eq!(home.read("worker_code"), "74\n", "{}", home.read("worker_errors"));
    assert_eq!(home.read("completed"), told);
    assert_eq!(home.read("ran").lines().count(), told.lines().count());
}

#[test]
fn a_disk_that_was_made_read_only_is_a_fault_where_a_log_is_written() {
    let home = Home::new();
    let script = r#"
        q enqueue --id one true
        mount -o remount,ro $QUEUECTL_DIR
        q enqueue true 2> enqueue || echo "code $?" >> enqueue
        q doctor --json > doctor || echo "code $?" >> doctor
        q list --ids
    "#;
    let test = "a_disk_that_was_made_read_only_is_a_fault_where_a_log_is_written";
    let Some(done) = on_a_small_disk(test, &home, "1200k", script) else { return };
    assert_eq!((done.code, &*done.stdout), (0, "one\none\n"), "{}", done.stderr);
    assert!(home.read("enqueue").ends_with("code 74\n"), "{}", home.read("enqueue"));
    let doctor = home.read("doctor");
    assert!(doctor.contains("nothing can be written here: Read-only file system"), "{doctor}");
    assert!(doctor.ends_with("code 3\n"), "{doctor}");
}

#[test]
fn a_worker_is_stopped_on_a_full_disk() {
    let home = Home::new();
    let script = r#"
        q init
        q enqueue 'echo begun >> begun; until test -e go; do sleep 0.02; done; echo ended > ended'
        q worker start 2> worker_errors & worker=$!
        until test -e begun; do sleep 0.02; done
        cat /dev/zero > $QUEUECTL_DIR/padding 2> /dev/null || true
        q worker stop --no-wait 2> stop_errors || echo $? > stop_code
        touch go
        code=0; wait $worker || code=$?; echo $code > worker_code
        rm $QUEUECTL_DIR/padding
        q worker start --drain --count 2
        q list state:completed --ids | wc -l > completed
    "#;
    let test = "a_worker_is_stopped_on_a_full_disk";
    let Some(done) = on_a_small_disk(test, &home, "1m", script) else { return };
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(home.read("ended"), "ended\n", "the job was not let finish");
    assert_eq!(home.read("worker_code"), "0\n", "{}", home.read("worker_errors"));
    assert_eq!(home.read("completed").trim(), "1");
}

#[test]
fn where_descriptors_run_out_jobs_wait_and_are_not_charged() {
    let home = Home::new();
    let jobs = "sleep 0.1\n".repeat(30);
    home.queuectl(["enqueue", "--lines", "-"]).stdin(jobs).done().ok();
    let script = format!("ulimit -n 40; exec '{BINARY}' worker start --drain --count 30");
    let done = home.command("sh", ["-c", &script]).done();
    assert_eq!(done.code, 0, "{}", done.stderr);
    let jobs = home.queuectl(["list", "--json"]).done().json();
    for job in jobs.as_array().unwrap() {
        assert_eq!((&job["state"], &job["attempts"]), (&"completed".into(), &1.into()), "{job}");
    }
    assert_eq!(jobs.as_array().unwrap().len(), 30);
}

#[test]
fn slots_fit_as_many_descriptors() {
    let (slots, limit) = if is_long() { (1024, 1024) } else { (200, 220) };
    let home = Home::new();
    let jobs = "sleep 1\n".repeat(slots);
    home.queuectl(["enqueue", "--lines", "-"]).stdin(jobs).done().ok();
    let script = format!("ulimit -n {limit}; exec '{BINARY}' worker start --drain --count {slots}");
    let done = home.command("sh", ["-c", &script]).done();
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(!done.stderr.contains("cannot be started"), "{}", done.stderr);
    assert_eq!(home.events("completed").len(), slots);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let home = Home::new();
    let jobs = "true\n".repeat(3000);
    home.queuectl(["enqueue", "--lines", "-"]).stdin(jobs).done().ok();
    for verb in ["list", "list --json", "list --jsonl", "events", "events --jsonl", "status"] {
        let script = format!("{{ '{BINARY}' {verb}; echo $? >&3; }} 3>&2 | true");
        let done = home.command("sh", ["-c", &script]).done();
        assert_eq!((done.code, done.stderr.as_str()), (0, "0\n"), "{verb}");
        let script = format!("'{BINARY}' {verb} >&-");
        let done = home.command("sh", ["-c", &script]).done();
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{verb} >&-");
    }
    // A slow reader gets everything.
    let script = format!("'{BINARY}' list --ids | {{ sleep 0.5; wc -l; }}");
    assert_eq!(home.command("sh", ["-c", &script]).done().ok().trim(), "3000");
}

#[test]
fn a_job_is_enqueued_although_its_id_cannot_be_told() {
    let home = Home::new();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let done = home.queuectl(["enqueue", "--id", "untold", "true"]).stdout(full).done();
    assert_ne!(done.code, 0, "it can't say that all is well");
    assert!(done.stderr.contains("untold") || done.stderr.contains("stdout"), "{}", done.stderr);
    assert_eq!(home.state("untold"), "pending");
}

#[test]
fn a_worker_whose_terminal_goes_away_works_on() {
    let home = Home::new();
    let (read, write) = std::io::pipe().unwrap();
    drop(read);
    let worker = home
        .queuectl(["worker", "start", "--output"])
        .stdout(write.try_clone().unwrap())
        .stderr(write)
        .start();
    home.enqueue("one", "", "echo hello");
    home.wait_for("completed", 1);
    worker.signal(Signal::HUP);
    home.enqueue("two", "", "echo hello");
    home.wait_for("completed", 2);
    worker.signal(Signal::TERM);
    assert_eq!(worker.end().code, 0);
}

#[test]
fn a_worker_whose_reader_sleeps_works_on_and_can_be_stopped() {
    let home = Home::new();
    let (_read, write) = std::io::pipe().unwrap();
    let worker = home
        .queuectl(["worker", "start", "--output"])
        .stdout(write.try_clone().unwrap())
        .stderr(write)
        .start();
    home.enqueue("loud", "", "head -c 1M /dev/zero | tr '\\0' x");
    home.enqueue("next", "", "true");
    home.wait_for("completed", 2);
    worker.signal(Signal::TERM);
    assert_eq!(worker.end().code, 0);
}

#[test]
fn a_clock_that_was_set_back_delays_nothing() {
    let home = Home::new();
    let future = "2035-01-01T00:00:00Z";
    home.ok("config set backoff_base 1");
    home.queuectl(["enqueue", "--id", "bad", "--max-retries", "2", "false"])
        .env("QUEUECTL_TEST_NOW", future)
        .done()
        .ok();
    let first = home.queuectl(["worker", "start", "--max-jobs", "1"]);
    first.env("QUEUECTL_TEST_NOW", future).done().ok();
    let failed = &home.events("failed")[0];
    assert!(failed["retry_at"].as_str().unwrap().starts_with("2035-01-01T00:00:01"), "{failed}");
    // And back to the present: the retry is seen for the first time by the next worker.
    home.enqueue("later", "--delay 1s", "true");
    let begun = Instant::now();
    let _ = home.drain("");
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(8).mul_f64(load()), "{took:?}");
    assert_eq!(home.state("bad"), "dead");
    wait_until("the delay to be over", || {
        home.run("worker start --drain").code == 0 && home.state("later") == "completed"
    });
    let log = home.log();
    let moments: Vec<_> = log.iter().filter(|event| event["ev"] != "segment").map(moment).collect();
    assert!(moments.windows(2).all(|pair| pair[0] < pair[1]), "the order was lost");
    let later = &home.events_of("later")[0];
    assert!(later["ts"].as_str().unwrap().starts_with("2035-01-01T"), "{later}");
    assert!(later["wall"].is_string(), "the wall clock isn't told: {later}");
    let shown = home.job("later");
    assert!(!shown["created_at"].as_str().unwrap().starts_with("2035"), "{shown}");
}
