//! What is told from what by its name.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::store::doctor::Level;
use crate::store::store_tests::{Queue, enqueue};

#[test]
fn half_made_files_are_ours_by_the_names_that_they_were_to_have() {
    for ours in [
        ".00000004.jsonl.tmp",
        ".00000001-00000004.base.jsonl.tmp",
        "desk.2abcdefg.lock.tmp",
        ".state.ckpt.abcdefgh.tmp",
        ".probe.7.8.tmp",
        ".gitignore.tmp",
        ".gitattributes.tmp",
        ".stignore.tmp",
        "FORMAT.tmp",
        "node.json.tmp",
    ] {
        assert!(is_ours(ours), "{ours}");
    }
    for other in
        ["mine.tmp", ".mine.tmp", "00000004.json.tmp", "lock.tmp", "gitignore.tmp", "FORMAT2.tmp"]
    {
        assert!(!is_ours(other), "{other}");
    }
}

#[test]
fn copies_are_told_by_what_tools_put_in_their_names() {
    for copy in [
        "00000001.sync-conflict-20260102-030405-ABCDEFG.jsonl",
        "00000001 (desk's conflicted copy 2026-01-02).jsonl",
        "00000001.jsonl~",
        ".syncthing.00000001.jsonl.tmp",
        "~syncthing~00000001.jsonl.tmp",
        ".~00000001.jsonl",
    ] {
        assert!(is_copy(copy), "{copy}");
    }
    for other in ["00000001.jsonl", "a~b", "syncthing", "sync-conflict-1"] {
        assert!(!is_copy(other), "{other}");
    }
}

#[test]
fn the_job_of_a_file_of_a_run_is_what_stands_before_its_number() {
    for (name, job) in [
        ("a.1.out", Some("a")),
        ("a.b.12.err", Some("a.b")),
        ("a.0.in", Some("a")),
        ("a.1.log", None),
        ("a.x.out", None),
        ("a.out", None),
        ("a", None),
    ] {
        assert_eq!(job_of(name), job, "{name}");
    }
}

/// A queue with something in it, as the doctor sees it.
fn queue() -> (Queue, Store) {
    let queue = Queue::new();
    let mut store = queue.open();
    enqueue(&mut store, &["a"]).unwrap();
    store.read().unwrap();
    (queue, store)
}

fn assert_found(check: &Check, root: &Path, level: Level, expected: &[(&str, &str)]) {
    let found = check.found.iter().map(|finding| {
        assert_eq!(finding.level, level);
        (finding.file.strip_prefix(root).unwrap().to_str().unwrap(), &*finding.what)
    });
    assert_eq!(found.collect::<Vec<_>>(), expected);
    assert_eq!(check.hint.is_some(), !expected.is_empty());
}

#[test]
fn what_is_half_made_is_a_file_and_anything_else_there_is_in_the_way() {
    let (queue, store) = queue();
    assert_found(&store.check_temporary_files(), &queue.root, Level::Note, &[]);
    assert_found(&store.check_files(), &queue.root, Level::Fault, &[]);
    let log = queue.root.join("log/desk");
    fs::write(log.join(".00000002.jsonl.tmp"), "half").unwrap();
    fs::write(log.join("mine.tmp"), "half").unwrap();
    fs::create_dir(log.join(".00000003.jsonl.tmp")).unwrap();
    let bytes = "4 bytes that somebody began to write, and did not finish";
    let begun = [("log/desk/.00000002.jsonl.tmp", bytes)];
    assert_found(&store.check_temporary_files(), &queue.root, Level::Note, &begun);
    assert_eq!(store.temporary_files(), [log.join(".00000002.jsonl.tmp")]);
    let way = "it is a directory, and a file is to be begun under this name";
    let found = [("log/desk/.00000003.jsonl.tmp", way)];
    assert_found(&store.check_files(), &queue.root, Level::Fault, &found);
}

#[test]
fn copies_are_found_wherever_something_is_read_by_name() {
    let (queue, store) = queue();
    let local = store.place().local();
    assert_found(&store.check_copies(), &queue.root, Level::Note, &[]);
    let log = queue.root.join("log/desk");
    for other in ["notes", "notes.tmp", ".00000002.jsonl.tmp"] {
        fs::write(log.join(other), "").unwrap();
    }
    for stranger in ["00000001.jsonl.orig", "notes~", ".syncthing.00000001.jsonl.tmp"] {
        fs::write(log.join(stranger), "").unwrap();
    }
    // What can be no node's log is named as a whole.
    fs::create_dir(queue.root.join("log/desk (conflicted copy)")).unwrap();
    for inside in [queue.root.join("FORMAT~"), local.join("node.json~")] {
        fs::write(inside, "").unwrap();
    }
    // A link to nowhere is no log that could be looked into.
    symlink("nowhere", queue.root.join("log/nas")).unwrap();
    let mine = local.strip_prefix(&queue.root).unwrap().join("node.json~");
    let what = "a copy that a sync tool or an editor made; it is read by nobody";
    let found = [
        "log/desk/.syncthing.00000001.jsonl.tmp",
        "log/desk/00000001.jsonl.orig",
        "log/desk/notes~",
        "log/desk (conflicted copy)",
        "FORMAT~",
        mine.to_str().unwrap(),
    ]
    .map(|file| (file, what));
    assert_found(&store.check_copies(), &queue.root, Level::Note, &found);
}

#[test]
fn outputs_are_counted_and_those_of_jobs_that_are_gone_with_their_bytes() {
    let (_queue, store) = queue();
    let output = store.place().output_dir();
    let print = |job: &str, run, text: &str| {
        let files = layout::run_files(job, run);
        for file in [files.out, files.err].map(|file| output.join(file)) {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
    };
    let said = || {
        let check = store.check_outputs(store.view());
        let found: Vec<String> = check.found.iter().map(|finding| finding.what.clone()).collect();
        (check.summary, found.join("; "))
    };
    print("a", 1, "printed");
    assert_eq!(said(), ("2 files".to_owned(), String::new()));
    print("gone", 12, "123");
    fs::write(output.join(layout::shard("gone")).join("notes"), "mine").unwrap();
    let gone = "2 files with 6 bytes are of jobs that are gone".to_owned();
    assert_eq!(said(), ("5 files".to_owned(), gone));
}
