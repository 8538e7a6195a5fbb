//! `queuectl status`.

use serde_json::json;

use super::harness::{Home, wait_until};
use super::story;
use super::verbs::{Case, Verb};

pub const VERBS: &[Verb] = &[Verb {
    path: "status",
    success: Case::ok(story::six_states, "status"),
    refusal: Case::fails(|home| home.make_public(), "status", 1),
    json: Case::ok(story::six_states, "status"),
}];

#[test]
fn counts_and_workers_in_their_documented_shape() {
    let home = Home::pinned();
    story::six_states(&home);
    let status = home.run("status --json").json();
    assert_eq!(
        status["counts"],
        json!({"pending": 1, "processing": 1, "completed": 1, "failed": 1, "dead": 1, "cancelled": 1})
    );
    assert_eq!(status["workers"]["running"], 0, "the worker of the story is dead: {status}");
    assert_eq!(status["workers"]["entries"], json!([]));
}

#[test]
fn an_empty_queue_and_none_at_all() {
    let home = Home::new();
    let of_none = home.run("status --json").json();
    assert_eq!(of_none["counts"]["pending"], 0);
    assert_eq!(of_none["workers"], json!({"running": 0, "total": 0, "entries": []}));
    home.run("status").ok();
    assert!(!home.queue().exists(), "reading makes nothing");
    home.ok("init");
    assert_eq!(home.run("status --json").json()["counts"], of_none["counts"]);
}

#[test]
fn live_workers_count_their_slots() {
    let home = Home::new();
    let command = "echo up >> up; while [ ! -e go ]; do sleep 0.02; done";
    home.queuectl(["enqueue", "--id", "r", command]).done().ok();
    let worker = home.worker("--count 4 --drain");
    wait_until("the job runs", || home.read("up") == "up\n");
    let status = home.run("status --json").json();
    assert_eq!(
        (&status["workers"]["running"], &status["workers"]["total"]),
        (&json!(4), &json!(4))
    );
    let entry = &status["workers"]["entries"][0];
    for field in ["id", "pid", "host", "started_at", "slots", "jobs"] {
        assert!(!entry[field].is_null(), "{field} is not in {entry}");
    }
    assert_eq!(
        (&entry["slots"], &entry["jobs"].as_array().map(Vec::len)),
        (&json!(4), &Some(1)),
        "{entry}"
    );
    assert!(entry["jobs"].to_string().contains("\"r\""), "{entry}");
    assert_eq!(status["counts"]["processing"], 1);
    home.write("go", "");
    worker.end().ok();
    assert_eq!(home.run("status --json").json()["workers"]["total"], 0);
}

#[test]
fn jobs_of_other_nodes_are_named() {
    let home = Home::pinned();
    story::one_waiting(&home);
    let status = home.run_as("laptop", "status");
    let text = format!("{}{}", status.stdout, status.stderr);
    assert_eq!(status.code, 0);
    assert!(text.contains("desk"), "{text}");
    let listed = home.run_as("laptop", "show job1 --json").json();
    assert_eq!(listed["node"], "desk");
    assert!(
        listed["reason"].as_str().is_some_and(|reason| reason.contains("on node desk")),
        "{listed}"
    );
}
