//! What is no file stands where a file should: a pipe, a directory, a device without an end, a link that leads nowhere.
//! It is named, nobody waits for it, and a repair goes on without it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::harness::Home;

/// What can stand there, and how it is told.
const KINDS: [(&str, &str); 5] = [
    ("pipe", "it is a pipe"),
    ("directory", "it is a directory"),
    ("device", "it is a device"),
    ("nowhere", "leads nowhere"),
    ("socket", "it is a socket"),
];

fn put(kind: &str, path: &Path) {
    if path.exists() {
        fs::remove_file(path).unwrap();
    }
    match kind {
        "pipe" => rustix::fs::mknodat(
            rustix::fs::CWD,
            path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap(),
        "directory" => fs::create_dir_all(path).unwrap(),
        "device" => symlink("/dev/zero", path).unwrap(),
        "nowhere" => symlink("nowhere", path).unwrap(),
        // The name of a socket must be short.
        "socket" => {
            let place = tempfile::tempdir().unwrap();
            let short = place.path().join("s");
            let _socket = std::os::unix::net::UnixListener::bind(&short).unwrap();
            fs::rename(short, path).unwrap();
        }
        _ => unreachable!("{kind}"),
    }
}

/// Two segments with a job each, and where wanted a base in the place of the first.
fn queue(with_base: bool) -> Home {
    let home = Home::new();
    home.enqueue("one", "", "true");
    home.ok("config set max_lost 7");
    home.enqueue("two", "", "true");
    if with_base {
        home.ok("compact");
        // A checkpoint would hide it.
        fs::remove_dir_all(home.local().join("cache")).unwrap();
    }
    home
}

fn base(home: &Home) -> PathBuf {
    let log = home.segments()[0].parent().unwrap().to_owned();
    let mut files = fs::read_dir(log).unwrap().map(|file| file.unwrap().path());
    files.find(|file| file.to_string_lossy().ends_with(".base.jsonl")).expect("a base")
}

fn assert_named(home: &Home, path: &Path, what: &str) {
    let found = home.say("doctor --json").done();
    assert_eq!(found.code, 3, "{}", found.stderr);
    let report: serde_json::Value = serde_json::from_str(&found.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let findings = checks.iter().flat_map(|check| check["found"].as_array().unwrap());
    let is_named = findings.into_iter().any(|finding| {
        finding["file"] == path.to_str().unwrap()
            && finding["what"].as_str().unwrap().contains(what)
    });
    assert!(is_named, "{} {what}: {report}", path.display());
}

#[test]
fn what_is_no_file_of_a_log_is_damage_that_is_named_and_mended() {
    for (kind, what) in KINDS {
        for (part, left) in [("sealed", vec!["two"]), ("active", vec!["one"]), ("base", vec![])] {
            let home = queue(part == "base");
            let path = match part {
                "base" => base(&home),
                "sealed" => home.segments()[0].clone(),
                _ => home.segments()[1].clone(),
            };
            put(kind, &path);
            assert_eq!(home.run("list --ids").code, 3, "{kind} {part}");
            if part == "active" {
                let told = home.fails("enqueue true", 3);
                assert!(told.contains("and no file"), "{kind}: {told}");
            }
            assert_named(&home, &path, what);
            home.ok("doctor --repair --yes");
            home.ok("doctor");
            assert_eq!(home.ok("list --ids").lines().collect::<Vec<_>>(), left, "{kind} {part}");
            home.ok("enqueue --id three true");
        }
    }
}

#[test]
fn what_is_no_file_beside_the_log_is_named() {
    for (kind, what) in KINDS {
        for name in ["mark", "degraded", "cache/state.ckpt", "compact.lock", "reserve"] {
            let home = queue(false);
            let path = home.local().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            put(kind, &path);
            assert_named(&home, &path, "and no file");
            let read = home.run("list --ids");
            assert_eq!(read.stdout, "one\ntwo\n", "{kind} {name}: {}", read.stderr);
        }
        for name in ["FORMAT", "node.json"] {
            let home = queue(false);
            let local = if name == "FORMAT" { home.queue() } else { home.local() };
            put(kind, &local.join(name));
            for verb in ["list", "doctor"] {
                let told = home.fails(verb, 1);
                assert!(told.contains(what) && told.contains(name), "{kind}: {told}");
            }
        }
    }
}

#[test]
fn a_log_that_is_no_directory_is_a_log_that_is_missing() {
    let home = queue(false);
    let log = home.segments()[0].parent().unwrap().to_owned();
    fs::remove_dir_all(&log).unwrap();
    for kind in ["pipe", "nowhere", "socket", "device"] {
        put(kind, &log);
        let read = home.run("status");
        assert_eq!(read.code, 3, "it doesn't begin anew: {}", read.stdout);
        home.fails("enqueue true", 3);
        home.fails("doctor", 3);
        fs::remove_file(&log).unwrap();
    }
    // It leads to the queue itself, and what stands there is none of the log's.
    symlink("..", &log).unwrap();
    assert_eq!(home.run("status").code, 3);
    home.ok("doctor --repair --yes");
    assert!(home.queue().join("FORMAT").is_file() && home.local().join("node.json").is_file());
    home.ok("enqueue --id three true");
}

/// A queue, its logs or what is this machine's own may be on another disk, behind a link.
#[test]
fn a_link_to_a_directory_is_as_good_as_the_directory() {
    for part in ["", "log", "local"] {
        let home = queue(false);
        let (path, other) = (home.queue().join(part), home.join("other"));
        let path = path.components().collect::<PathBuf>();
        fs::rename(&path, &other).unwrap();
        symlink(&other, &path).unwrap();
        home.enqueue("three", "", "true");
        home.drain("");
        home.ok("compact");
        home.ok("doctor");
        assert_eq!(home.ok("list --ids --state completed").lines().count(), 3, "{part}");
    }
}

/// A file of a log that is only read may be a link to one, as some tools that keep large files elsewhere make them.
#[test]
fn a_link_to_a_sealed_segment_is_as_good_as_the_segment() {
    let home = queue(false);
    let (path, other) = (home.segments()[0].clone(), home.join("other"));
    fs::rename(&path, &other).unwrap();
    symlink(&other, &path).unwrap();
    assert_eq!(home.ok("list --ids"), "one\ntwo\n");
    home.ok("doctor");
}

/// Who writes follows no link, so all that it leads to goes on in a file of the log's own.
#[test]
fn a_link_in_the_place_of_the_segment_that_is_written_to_is_damage_that_costs_nothing() {
    let home = queue(false);
    let (path, other) = (home.segments()[1].clone(), home.join("other"));
    fs::rename(&path, &other).unwrap();
    symlink(&other, &path).unwrap();
    for _ in 0..2 {
        assert_named(&home, &path, "a link that is not followed");
        home.fails("enqueue true", 3);
    }
    let kept = fs::read(&other).unwrap();
    home.ok("doctor --repair --yes");
    home.ok("doctor");
    home.ok("enqueue --id three true");
    assert_eq!(home.ok("list --ids"), "one\ntwo\nthree\n");
    assert_eq!(fs::read(&other).unwrap(), kept, "it is another's");
    // Another machine's log is read, whatever way it came here.
    assert_eq!(home.run_as("other", "enqueue --id four true").code, 0);
    let log = home.queue().join("log/other");
    fs::rename(log.join("00000001.jsonl"), &other).unwrap();
    symlink(&other, log.join("00000001.jsonl")).unwrap();
    let report = home.ok("doctor");
    assert!(!report.contains("link"), "{report}");
}

/// A name under which a file is begun has room for nothing else, and a repair removes no directory.
#[test]
fn a_directory_under_the_name_of_a_half_made_file_is_named() {
    let home = queue(false);
    let log = home.segments()[0].parent().unwrap().to_owned();
    for name in [".00000003.jsonl.tmp", ".00000001-00000002.base.jsonl.tmp"] {
        let path = log.join(name);
        fs::create_dir_all(path.join("kept")).unwrap();
        home.fails("compact", 74);
        assert_named(&home, &path, "it is a directory");
        home.fails("doctor --repair --yes", 3);
        fs::remove_dir_all(&path).unwrap();
    }
    home.ok("compact");
    home.ok("doctor");
}

#[test]
fn what_is_no_directory_beside_the_log_is_named() {
    for kind in ["pipe", "nowhere", "socket", "device"] {
        for name in ["run", "output", "cache", "quarantine"] {
            let home = queue(false);
            let path = home.local().join(name);
            if path.exists() {
                fs::remove_dir_all(&path).unwrap();
            }
            put(kind, &path);
            assert_named(&home, &path, "it is no directory");
            fs::remove_file(&path).unwrap();
            home.ok("doctor");
            home.drain("");
        }
    }
}

#[test]
fn what_is_to_be_done_about_a_garbled_format_is_said() {
    for text in ["", "rubbish"] {
        let home = queue(false);
        let path = home.queue().join("FORMAT");
        fs::write(&path, text).unwrap();
        for (verb, code) in [("enqueue true", 1), ("doctor --json", 3)] {
            let said = home.run(verb);
            assert_eq!(said.code, code, "{}", said.stderr);
            let told = said.stdout + &said.stderr;
            assert!(told.contains("move FORMAT away"), "{told}");
        }
        fs::remove_file(&path).unwrap();
        home.ok("enqueue true");
        home.ok("doctor");
    }
}
