//! Logs that are not what they should be: torn, padded with NULs, garbled, or from the future. What was acknowledged
//! stays, and damage is said.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::Home;
use crate::scene::moment;

impl Home {
    /// The newest segment.
    fn segment(&self) -> PathBuf {
        let nodes = std::fs::read_dir(self.queue().join("log")).unwrap().flatten();
        let files = nodes.flat_map(|node| std::fs::read_dir(node.path()).unwrap().flatten());
        files.map(|file| file.path()).max().expect("a segment")
    }

    fn append(&self, bytes: &[u8]) {
        // Rewritten, it would be shorter for a moment, and so rolled back.
        let mut file = std::fs::OpenOptions::new().append(true).open(self.segment()).unwrap();
        file.write_all(bytes).unwrap();
    }

    fn ids(&self) -> Vec<String> {
        self.ok("list --ids").lines().map(str::to_owned).collect()
    }
}

fn queue_of_three() -> Home {
    let home = Home::new();
    for id in ["one", "two", "three"] {
        home.enqueue(id, "", "echo $QUEUECTL_JOB_ID >> ran");
    }
    home
}

/// A line as the log has them.
fn line(body: &str) -> String {
    format!("{body},\"crc\":\"{:08x}\"}}\n", crc32c::crc32c(body.as_bytes()))
}

#[test]
fn what_a_crash_leaves_at_the_end_costs_nothing_that_was_told() {
    let torn = br#"{"seq":4,"ts":"2026-02-02T03:04:05.000000Z","ev":"enqueued","job":"to"#;
    let bad_crc = line(r#"{"seq":4,"ts":"2099-01-01T00:00:00.000000Z","ev":"enqueued","job":"x""#)
        .replace("2099", "2098");
    for tail in
        [&torn[..], &[0; 4096], b"\n", &[b"\0\n".as_slice(), torn].concat(), bad_crc.as_bytes()]
    {
        let home = queue_of_three();
        home.append(tail);
        assert_eq!(home.ids(), ["one", "two", "three"], "a reader is told nothing of it");
        let old = (home.segment(), std::fs::read(home.segment()).unwrap());
        let done = home.run("enqueue --id four true");
        assert_eq!((done.code, done.stdout.as_str()), (0, "four\n"), "{}", done.stderr);
        assert_eq!(
            done.stderr.matches("never acknowledged").count(),
            1,
            "one notice: {}",
            done.stderr
        );
        let quiet = home.run("enqueue --id five true");
        assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""));
        assert_eq!(std::fs::read(old.0).unwrap(), old.1, "nothing is rewritten");
        let _ = home.drain("");
        assert_eq!(home.ids(), ["one", "two", "three", "four", "five"]);
        assert_eq!(home.read("ran"), "one\ntwo\nthree\n");
    }
}

#[test]
fn a_worker_goes_on_behind_a_torn_end() {
    let home = Home::new();
    home.enqueue("one", "", "until test -e go; do sleep 0.02; done");
    let worker = home.worker_up("");
    home.wait_for("claimed", 1);
    home.append(b"{\"seq\":99,\"ts\":\"20");
    home.write("go", "");
    home.wait_for("completed", 1);
    home.enqueue("two", "", "true");
    home.wait_for("completed", 2);
    home.ok("worker stop");
    assert_eq!(worker.end().code, 0);
}

#[test]
fn a_garbled_line_in_the_middle_is_damage_and_loses_nothing_else() {
    let home = queue_of_three();
    let path = home.segment();
    let text = std::fs::read_to_string(&path).unwrap();
    let garbled = text.replacen("\"job\":\"two\"", "\"job\":\"tvo\"", 1);
    assert_ne!(text, garbled);
    std::fs::write(&path, &garbled).unwrap();

    let list = home.run("list --ids");
    assert_eq!((list.code, list.stdout.as_str()), (3, "one\nthree\n"));
    assert_eq!(list.stderr.lines().count(), 1, "one warning: {}", list.stderr);
    assert!(list.stderr.contains("damaged"), "{}", list.stderr);
    for line in
        ["enqueue --id four true", "worker start --drain", "cancel one", "config set max_retries 2"]
    {
        let said = home.run(line).fails(3);
        assert!(said.contains("damaged") || said.contains("degraded"), "{line}: {said}");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), garbled, "nothing is written after damage");
    assert_eq!(home.read("ran"), "", "nothing is run on a damaged queue");
    let status = home.run("status --json");
    assert_eq!(status.code, 3);
    assert!(serde_json::from_str::<serde_json::Value>(&status.stdout).is_ok());
    // Noted once, it stays noted for those who don't look for it.
    home.run("enqueue true").fails(3);
}

#[test]
fn a_log_that_was_rolled_back_is_noticed_by_a_running_worker() {
    let home = Home::new();
    let job = "echo begun >> begun; until test -e go; do sleep 0.02; done; echo ended >> ended";
    home.enqueue("one", "", job);
    let worker = home.worker_up("--count 1");
    home.wait_for_lines("begun", 1);
    let old = std::fs::read(home.segment()).unwrap();
    home.enqueue("two", "", job);
    home.enqueue("three", "", job);
    std::fs::write(home.segment(), &old).unwrap();
    home.run("enqueue true").fails(3);
    home.write("go", "");
    assert_eq!(worker.end().code, 3);
    assert_eq!(home.read("ended"), "ended\n", "what runs is let finish");
    assert_eq!(home.read("begun"), "begun\n", "it went on claiming");
    assert_eq!(std::fs::read(home.segment()).unwrap(), old, "something was written");
    assert_eq!(home.run("list").code, 3);
}

#[test]
fn an_event_from_the_future_is_kept_and_counted() {
    let home = queue_of_three();
    let last = home.log().pop().unwrap();
    let seq = last["seq"].as_u64().unwrap() + 1;
    let ts = moment(&last).after(Duration::from_micros(1));
    let future = format!(r#"{{"seq":{seq},"ts":"{ts}","ev":"hologram","job":"one","depth":3"#);
    let future = line(&future);
    home.append(future.as_bytes());
    assert_eq!(home.ids(), ["one", "two", "three"]);
    home.enqueue("four", "", "true");
    let _ = home.drain("");
    let log = home.log();
    let place = log.iter().position(|event| event["ev"] == "hologram").expect("it was dropped");
    assert_eq!(log[place + 1]["seq"], seq + 1);
    assert_eq!(home.read("ran"), "one\ntwo\nthree\n");
    let status = home.queuectl(["status", "--json"]).done().json();
    assert_eq!(status["unknown_events"], 1, "{status}");
    let events = home.ok("events --jsonl");
    assert!(events.contains("hologram"), "{events}");
}

#[test]
fn a_newer_format_is_only_read() {
    let home = queue_of_three();
    std::fs::write(home.queue().join("FORMAT"), "{\"format\":1,\"requires\":[\"telepathy\"]}\n")
        .unwrap();
    assert_eq!(home.ids(), ["one", "two", "three"]);
    for line in ["enqueue true", "worker start --drain", "cancel one"] {
        let said = home.run(line).fails(1);
        assert!(said.contains("telepathy"), "{line}: {said}");
    }
}

/// The log's own readers once stopped at such a line without a word, and a job that stood in it was "no such job".
#[test]
fn a_line_that_does_not_hold_is_told_by_whoever_meets_it() {
    let home = Home::new();
    for id in ["one", "two", "three"] {
        home.ok(&format!("enqueue --id {id} true"));
    }
    let logs = std::fs::read_dir(home.queue().join("log")).expect("the logs");
    let log = logs.flatten().next().expect("a node").path().join("00000001.jsonl");
    let text = std::fs::read_to_string(&log).expect("a log");
    std::fs::write(&log, text.replace("\"job\":\"two\"", "\"job\":\"twx\"")).expect("a log");
    let events = home.run("events");
    assert!(events.stdout.contains("three"), "what is readable is printed: {}", events.stdout);
    assert!(events.fails(3).contains("damaged"));
    assert!(home.run("history three").fails(3).contains("damaged"));
    assert!(home.run("show two").fails(3).contains("damaged"));
}

/// The directory of the log.
fn log_of(home: &Home) -> PathBuf {
    home.segment().parent().unwrap().to_owned()
}

fn names(path: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(path).unwrap().flatten().map(|entry| entry.path()).collect()
}

#[test]
fn a_worker_that_has_nothing_to_do_stops_on_a_log_that_was_rolled_back_too() {
    type Deed = fn(&Home, &[u8]);
    let deeds: [(&str, Deed); 3] = [
        ("an old copy", |home, old| std::fs::write(home.segment(), old).unwrap()),
        ("no segment", |home, _| std::fs::remove_file(home.segment()).unwrap()),
        ("no log", |home, _| std::fs::remove_dir_all(log_of(home)).unwrap()),
    ];
    for (case, deed) in deeds {
        let home = Home::new();
        home.enqueue("one", "", "true");
        let worker = home.worker_up("--count 1");
        home.wait_for("completed", 1);
        let old = std::fs::read(home.segment()).unwrap();
        home.enqueue("two", "", "true");
        home.wait_for("completed", 2);
        deed(&home, &old);
        let done = worker.end();
        assert_eq!(done.code, 3, "{case}: {}", done.stderr);
        let told = done.stderr.matches("claiming nothing more").count();
        assert_eq!(told, 1, "{case}: {}", done.stderr);
        assert!(done.stderr.contains("hint: "), "{case}: {}", done.stderr);
    }
}

#[test]
fn readers_show_what_is_left_of_a_log_that_was_rolled_back() {
    let home = queue_of_three();
    let old = std::fs::read(home.segment()).unwrap();
    home.enqueue("four", "", "true");
    std::fs::write(home.segment(), &old).unwrap();
    for line in ["status", "list", "show one", "status --json", "list --json"] {
        let done = home.run(line);
        assert!(!done.stdout.is_empty(), "{line}");
        let said = done.fails(3);
        assert!(said.contains("rolled back") && said.contains("doctor --repair"), "{line}: {said}");
    }
    for line in ["enqueue true", "cancel one", "worker start --drain", "config set max_retries 2"] {
        let said = home.run(line).fails(3);
        assert!(said.contains("rolled back") && said.contains("doctor --repair"), "{line}: {said}");
    }
    assert_eq!(std::fs::read(home.segment()).unwrap(), old);
    assert_eq!(names(&log_of(&home)).len(), 1);
}

/// What can't be read may be there.
#[test]
fn a_queue_whose_log_is_gone_is_not_said_to_have_no_jobs() {
    let home = queue_of_three();
    std::fs::remove_dir_all(log_of(&home)).unwrap();
    let said = home.run("list").fails(3);
    assert!(said.contains("no job can be read") && !said.contains("has no jobs"), "{said}");
}
