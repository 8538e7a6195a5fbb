//! `queuectl show`.

use super::harness::Home;
use super::story;
use super::verbs::{Case, Verb};

pub const VERBS: &[Verb] = &[Verb {
    path: "show",
    success: Case::ok(story::six_states, "show dead"),
    refusal: Case::fails(story::six_states, "show nope", 1),
    json: Case::ok(story::six_states, "show failed"),
}];

#[test]
fn everything_about_a_job_and_its_runs() {
    let home = Home::pinned();
    story::six_states(&home);
    let dead = home.ok("show dead");
    for part in ["dead", "make it", "exit 2", story::WORKER, "No rule to make target", "/srv"] {
        assert!(dead.contains(part), "{part:?} is not in\n{dead}");
    }
    let pending = home.ok("show pending");
    for part in ["pending", "slow", "mirror", "nightly", "5", "rsync -a src/ dst/"] {
        assert!(pending.contains(part), "{part:?} is not in\n{pending}");
    }
    assert!(home.ok("show completed").contains("hello"));
}

#[test]
fn it_takes_one_job() {
    let home = Home::pinned();
    story::six_states(&home);
    assert_eq!(home.ok("show @last"), home.ok("show pending"));
    assert_eq!(home.ok("show state:dead"), home.ok("show id:dead"));
    home.fails("show state:dead,failed", 1);
    home.fails("show all", 1);
    home.fails("show queue:nowhere", 1);
    home.fails("show", 2);
    home.fails("show dead failed", 2);
    let said = Home::new().fails("show @last", 1);
    assert!(!said.is_empty());
}

#[test]
fn errors_are_an_object_with_json() {
    let home = Home::pinned();
    story::six_states(&home);
    let done = home.run("show nope --json");
    assert_eq!((done.code, &*done.stdout), (1, ""));
    let error: serde_json::Value = serde_json::from_str(&done.stderr).expect("one object");
    assert!(error["error"].as_str().is_some_and(|text| text.contains("nope")), "{error}");
}
