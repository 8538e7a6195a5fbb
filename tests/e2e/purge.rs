//! `queuectl purge`.

use super::harness::Home;
use super::story;
use super::verbs::{Case, Verb};

pub const VERBS: &[Verb] = &[Verb {
    path: "purge",
    success: Case::ok(story::six_states, "purge completed --yes"),
    refusal: Case::fails(story::six_states, "purge pending --yes", 1),
    json: Case::ok(story::six_states, "purge cancelled --yes"),
}];

const ALL: [&str; 6] = ["completed", "dead", "cancelled", "failed", "processing", "pending"];

fn left(home: &Home) -> Vec<String> {
    home.ok("list --ids").lines().map(str::to_owned).collect()
}

#[test]
fn finished_jobs_are_gone_and_all_leaves_the_dead() {
    let home = Home::pinned();
    story::six_states(&home);
    home.ok("purge all --yes");
    assert_eq!(left(&home), ["dead", "failed", "processing", "pending"]);
    home.ok("purge state:dead --yes");
    assert_eq!(left(&home), ["failed", "processing", "pending"]);
    home.fails("show dead", 1);
}

#[test]
fn all_as_a_flag_is_the_selector() {
    let home = Home::pinned();
    story::six_states(&home);
    home.ok("purge --all --yes");
    assert_eq!(left(&home), ["dead", "failed", "processing", "pending"]);
}

#[test]
fn it_needs_consent_and_shows_what_it_would_do() {
    let home = Home::pinned();
    story::six_states(&home);
    let before = home.log();
    for line in [
        "purge completed",
        "purge all",
        "purge --all",
        "purge state:completed",
        "purge",
        "purge --yes",
    ] {
        let said = home.fails(line, 2);
        assert!(said.len() > 10, "{line}: {said}");
    }
    assert!(home.fails("purge completed", 2).contains("--yes"));
    assert_eq!(home.ok("purge all --dry-run"), "completed\ncancelled\n");
    assert_eq!(home.ok("purge all --dry-run --yes"), "completed\ncancelled\n");
    assert_eq!(home.log(), before);
    assert_eq!(left(&home), ALL);
}

#[test]
fn one_that_is_not_finished_leaves_all() {
    let home = Home::pinned();
    story::six_states(&home);
    for id in ["pending", "failed", "processing", "nope"] {
        let said = home.fails(&format!("purge completed {id} --yes"), 1);
        assert!(said.contains(id), "{said}");
        home.fails(&format!("purge completed {id} --dry-run"), 1);
    }
    assert_eq!(left(&home), ALL);
}

#[test]
fn an_id_is_free_again() {
    let home = Home::new();
    home.ok("enqueue --id a true");
    home.ok("cancel a");
    home.fails("enqueue --id a true", 1);
    home.ok("purge a --yes");
    home.ok("enqueue --id a false");
    assert_eq!(home.job("a")["command"], "false");
    assert_eq!(home.job("a")["runs"].as_array().map(Vec::len), Some(0));
}
