//! `queuectl dlq`.

use super::harness::Home;
use super::story;
use super::verbs::{Case, Verb};

pub const VERBS: &[Verb] = &[
    Verb {
        path: "dlq list",
        success: Case::ok(story::three_dead, "dlq list"),
        refusal: Case::fails(story::six_states, "dlq list pending", 1),
        json: Case::ok(story::six_states, "dlq list"),
    },
    Verb {
        path: "dlq show",
        success: Case::ok(story::three_dead, "dlq show d1"),
        refusal: Case::fails(story::six_states, "dlq show completed", 1),
        json: Case::ok(story::three_dead, "dlq show d2"),
    },
    Verb {
        path: "dlq retry",
        success: Case::ok(story::three_dead, "dlq retry d1"),
        refusal: Case::fails(story::six_states, "dlq retry failed", 1),
        json: Case::ok(story::three_dead, "dlq retry d1"),
    },
    Verb {
        path: "dlq retry-all",
        success: Case::ok(story::three_dead, "dlq retry-all"),
        refusal: Case::fails(story::three_dead, "dlq retry-all d1", 2),
        json: Case::ok(story::six_states, "dlq retry-all"),
    },
    Verb {
        path: "dlq purge",
        success: Case::ok(story::three_dead, "dlq purge queue:mail --yes"),
        refusal: Case::fails(story::six_states, "dlq purge completed --yes", 1),
        json: Case::ok(story::six_states, "dlq purge dead --yes"),
    },
];

#[test]
fn only_dead_jobs_are_in_it() {
    let home = Home::pinned();
    story::six_states(&home);
    let ids = |line: &str| -> Vec<String> {
        let lines = home.ok(line);
        lines.lines().filter_map(|line| line.split('\t').next()).map(str::to_owned).collect()
    };
    assert_eq!(ids("dlq list"), ["dead"]);
    assert_eq!(ids("dlq list all"), ["dead"]);
    assert_eq!(ids("dlq list queue:slow"), [""; 0]);
    assert_eq!(ids("dlq list state:pending,dead"), ["dead"]);
    home.ok("dlq retry all");
    assert_eq!(home.run("dlq list --json").ok().trim(), "[]");
    assert!(home.run("dlq list").stderr.len() > 5, "an empty one is a sentence");
}

#[test]
fn a_plain_id_that_is_not_in_it_is_refused_with_its_state() {
    let home = Home::pinned();
    story::six_states(&home);
    let before = home.log();
    for id in ["completed", "cancelled", "failed", "processing", "pending"] {
        for verb in ["show", "retry", "purge --yes", "purge --dry-run", "list"] {
            let said = home.fails(&format!("dlq {verb} {id}"), 1);
            assert!(said.matches(id).count() >= 2, "dlq {verb} {id} names no state: {said}");
        }
    }
    home.fails("dlq retry dead pending", 1);
    home.fails("dlq retry nope", 1);
    assert_eq!(home.log(), before);
}

#[test]
fn retrying_begins_again_and_keeps_the_history() {
    let home = Home::pinned();
    story::three_dead(&home);
    home.ok("dlq retry queue:mail");
    assert_eq!(home.ok("list --ids state:dead"), "d1\n");
    let job = home.job("d2");
    assert_eq!(
        (&job["state"], &job["attempts"], &job["lost"]),
        (&"pending".into(), &0.into(), &0.into())
    );
    assert_eq!(job["runs"].as_array().map(Vec::len), Some(1));
    home.ok("dlq retry --all");
    assert_eq!(home.ok("list --ids state:dead"), "");
}

#[test]
fn nothing_never_means_everything() {
    let home = Home::pinned();
    story::three_dead(&home);
    let before = home.log();
    for line in ["dlq retry", "dlq purge", "dlq purge --yes", "dlq purge --older-than 1d", "dlq"] {
        home.fails(line, 2);
    }
    for line in ["dlq purge --all", "dlq purge all", "dlq purge d1"] {
        let said = home.fails(line, 2);
        assert!(said.contains("--yes"), "{line}: {said}");
    }
    assert_eq!(home.ok("dlq purge --all --dry-run"), "d1\nd2\nd3\n");
    assert_eq!(home.log(), before);
    home.ok("dlq purge --all --yes");
    assert_eq!(home.ok("list --ids"), "");
}

#[test]
fn older_than() {
    let home = Home::pinned();
    story::three_dead(&home);
    assert_eq!(home.ok("dlq purge --all --older-than 1d --dry-run"), "d1\nd2\n");
    home.ok("dlq purge --all --older-than 40h --yes");
    assert_eq!(home.ok("list --ids"), "d2\nd3\n");
    let none = home.run("dlq purge --all --older-than 30d --yes");
    assert_eq!(none.code, 0);
    assert!(none.stderr.len() > 5);
    home.fails("dlq purge --all --older-than old --yes", 2);
}

#[test]
fn five_retries_at_once_are_one() {
    let home = Home::new();
    home.ok("enqueue --id d --max-retries 1 false");
    home.drain("");
    assert_eq!(home.state("d"), "dead");
    let five: Vec<_> = (0..5).map(|_| home.queuectl(["dlq", "retry", "d"]).start()).collect();
    let codes: Vec<i32> = five.into_iter().map(|running| running.end().code).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert!(codes.iter().all(|code| matches!(code, 0 | 1)), "{codes:?}");
    let requeued = home.log().iter().filter(|line| line["ev"] == "requeued").count();
    assert_eq!(requeued, 1);
}
