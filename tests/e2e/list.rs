//! `queuectl list`.

use serde_json::Value;

use super::harness::Home;
use super::story;
use super::verbs::{Case, Verb};

pub const VERBS: &[Verb] = &[Verb {
    path: "list",
    success: Case::ok(story::six_states, "list"),
    refusal: Case::fails(story::six_states, "list --state done", 2),
    json: Case::ok(story::six_states, "list queue:slow"),
}];

const ALL: &str = "completed\ndead\ncancelled\nfailed\nprocessing\npending\n";

fn told() -> Home {
    let home = Home::pinned();
    story::six_states(&home);
    home
}

#[test]
fn all_jobs_in_order_of_creation_newest_last() {
    let home = told();
    assert_eq!(home.ok("list --ids"), ALL);
    assert_eq!(home.ok("list all --ids"), ALL);
    assert_eq!(home.ok("list --ids --limit 2"), "processing\npending\n");
    assert_eq!(home.ok("list --ids -n 100"), ALL);
    assert_eq!(home.ok("list --ids -n 0"), "");
    let reversed: String = ALL.lines().rev().map(|id| format!("{id}\n")).collect();
    assert_eq!(home.ok("list --ids --reverse"), reversed);
    assert_eq!(
        home.ok("list --ids --reverse --limit 1"),
        "pending\n",
        "the newest, whatever the order"
    );
}

#[test]
fn states_in_any_case_and_more_than_one() {
    let home = told();
    assert_eq!(home.ok("list --ids --state DEAD"), "dead\n");
    assert_eq!(home.ok("list --ids --state Dead,failed"), "dead\nfailed\n");
    assert_eq!(home.ok("list --ids --state dead --state failed"), "dead\nfailed\n");
    assert_eq!(home.ok("list --ids state:Dead,FAILED"), "dead\nfailed\n");
    for line in ["list --state done", "list state:done"] {
        let said = home.fails(line, 2);
        for state in ["pending", "processing", "completed", "failed", "dead", "cancelled"] {
            assert!(said.contains(state), "{line}: {said}");
        }
    }
    let said = home.fails("list --state complete", 2);
    assert!(said.contains("did you mean 'completed'?"), "{said}");
}

#[test]
fn sorting() {
    let home = told();
    assert_eq!(
        home.ok("list --ids --sort id"),
        "cancelled\ncompleted\ndead\nfailed\npending\nprocessing\n"
    );
    assert!(home.ok("list --ids --sort priority").ends_with("\npending\n"));
    assert!(home.ok("list --ids --sort priority --reverse").starts_with("pending\n"));
    assert_eq!(home.ok("list --ids --sort created_at"), ALL);
    assert_eq!(home.ok("list --ids --sort created-at"), ALL);
    let said = home.fails("list --sort prioritie", 2);
    assert!(said.contains("'priority'"), "{said}");
}

#[test]
fn columns_for_scripts() {
    let home = told();
    assert_eq!(
        home.ok("list --columns id,max-retries,result,name pending dead"),
        "dead\t1\texit 2\t\npending\t3\t\tmirror\n"
    );
    let said = home.fails("list --columns id,nme", 2);
    assert!(said.contains("'name'"), "{said}");
    for line in ["list --ids --json", "list --ids --columns id", "list --json --jsonl"] {
        home.fails(line, 2);
    }
}

#[test]
fn json_lines_are_the_same_records() {
    let home = told();
    let document = home.run("list --json").json();
    let lines = home.ok("list --jsonl");
    let lines: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("a record")).collect();
    assert_eq!(document, Value::Array(lines));
}

#[test]
fn empty_is_a_sentence_on_stderr() {
    let home = Home::new();
    for line in ["list", "list --ids", "list state:dead", "list --jsonl"] {
        let done = home.run(line);
        assert_eq!((done.code, &*done.stdout), (0, ""), "{line}");
    }
    assert!(home.run("list").stderr.len() > 5);
    let json = home.run("list --json");
    assert_eq!(json.clone().ok().trim(), "[]");
    let told = told();
    assert!(told.run("list queue:nowhere").stderr.len() > 5);
    assert_eq!(told.run("list queue:nowhere --json").ok().trim(), "[]");
    assert_eq!(told.run("list queue:nowhere -q").stderr, "");
}

#[test]
fn a_job_that_is_not_there() {
    let said = told().fails("list nope", 1);
    assert!(said.contains("nope"), "{said}");
}

#[test]
fn the_whole_record() {
    let home = told();
    let fields = "id command argv state attempts max_retries created_at updated_at priority queue name tags meta cwd \
        env run_at next_retry_at started_at finished_at duration_ms timeout result exit_code last_error runs lost \
        worker node reason";
    for job in home.run("list --json").json().as_array().expect("an array") {
        for field in fields.split_whitespace() {
            assert!(job.get(field).is_some(), "{field} is not in {job}");
        }
    }
    let failed = home.job("failed");
    assert_eq!((&failed["attempts"], &failed["exit_code"]), (&1.into(), &22.into()));
    assert_eq!(failed["result"], "exit 22");
    assert!(failed["next_retry_at"].is_string() && failed["last_error"].is_string(), "{failed}");
    assert_eq!(home.job("processing")["worker"], story::WORKER);
    assert_eq!(home.job("pending")["worker"], Value::Null);
}
