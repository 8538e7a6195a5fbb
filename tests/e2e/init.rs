//! `queuectl init`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::harness::Home;
use super::story;
use super::tree::tree;
use super::verbs::{Case, Verb};

pub const VERBS: &[Verb] = &[Verb {
    path: "init",
    success: Case::ok(story::nothing, "init"),
    refusal: Case::fails(a_file_in_its_place, "init", 1),
    json: Case::ok(story::nothing, "init"),
}];

fn a_file_in_its_place(home: &Home) {
    home.write("queue", "not a directory\n");
}

#[test]
fn it_makes_a_private_directory_with_what_keeps_it_apart() {
    let home = Home::new();
    home.ok("init");
    let queue = home.queue();
    for entry in ["FORMAT", ".gitignore", ".gitattributes", ".stignore", "log", "local"] {
        assert!(queue.join(entry).exists(), "{entry}");
    }
    assert_eq!(home.read("queue/FORMAT"), "{\"format\":1,\"requires\":[]}\n");
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(queue.clone()), 0o700);
    assert_eq!(mode(queue.join("FORMAT")), 0o600);
    assert_eq!(mode(queue.join("log")), 0o700);
}

#[test]
fn a_second_time_changes_nothing() {
    let home = Home::new();
    home.ok("init");
    home.ok("enqueue true");
    let before = tree(&home.queue());
    home.ok("init");
    assert_eq!(tree(&home.queue()), before);
}

#[test]
fn the_directory_is_the_flags_then_a_variables_then_at_home() {
    let home = Home::new();
    let bare = || home.queuectl(["init"]).without_env("QUEUECTL_DIR");
    bare().done().ok();
    assert!(home.join(".queuectl/FORMAT").exists());
    bare().env("QUEUECTL_DB", home.join("db")).done().ok();
    assert!(home.join("db/FORMAT").exists());
    bare().env("QUEUECTL_DB", "x").env("QUEUECTL_HOME", home.join("house")).done().ok();
    assert!(home.join("house/FORMAT").exists());
    home.run("init --dir flag").ok();
    home.run("--db alias init").ok();
    assert!(home.join("flag/FORMAT").exists() && home.join("alias/FORMAT").exists());
    assert!(!home.queue().exists() && !home.join("x").exists());
}

#[test]
fn without_a_home_there_is_no_telling_where() {
    let home = Home::new();
    let bare = home.queuectl(["init"]).without_env("QUEUECTL_DIR").without_env("HOME");
    let said = bare.done().fails(1);
    assert!(said.contains("$HOME is not set") && said.contains("\nhint: "), "{said}");
}
