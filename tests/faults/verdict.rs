//! What must hold once a fault is over, whatever it was: nothing that was acknowledged is missing, the queue is whole and
//! works, and no job ran twice at once or again after its end.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::harness::{Done, Home};
use crate::scenario::{FAILING, Scenario, enqueue};

/// What is known of one job.
#[derive(Default)]
struct Story {
    events: Vec<Value>,
    /// The claims under which it ran, by the marks that it made.
    begun: BTreeSet<String>,
    ended: BTreeSet<String>,
}

/// Looks at the queue after a fault, goes on with it, and complains of whatever does not hold.
#[track_caller]
pub fn assert_all_holds(home: &Home, scenario: &Scenario, before: &[String], done: &Done) {
    let status = home.queuectl(["status", "--json"]).done().json();
    assert_eq!(status["damage"], serde_json::json!([]), "the queue is damaged: {status}");
    let another = enqueue(home, "sh job.sh");
    if scenario.adds == 0 {
        // What failed, or was cut off, can be done again.
        home.queuectl(scenario.act.iter().copied()).done().ok();
    }
    let drained = home.drain("");
    if let Some((command, expected)) = scenario.proof {
        assert_eq!(home.ok(command), expected);
    }

    let jobs = home.queuectl(["list", "--json"]).done().json();
    let jobs = jobs.as_array().expect("a list");
    let states: BTreeMap<&str, &Value> =
        jobs.iter().map(|job| (job["id"].as_str().expect("an id"), job)).collect();
    let told = whole_lines(&done.stdout).filter(|_| scenario.adds > 0);
    for id in before.iter().map(String::as_str).chain(told.clone()).chain([another.as_str()]) {
        assert!(states.contains_key(id), "{id} was acknowledged and is gone");
    }
    let added = jobs.len() - before.len() - 1;
    assert!(added == 0 || added == scenario.adds, "{added} of {} were added", scenario.adds);
    if done.code == 0 {
        assert_eq!(
            (added, told.count()),
            (scenario.adds, scenario.adds),
            "it ended well: {done:?}"
        );
    }

    let stories = stories(home);
    for (id, story) in &stories {
        check_story(id, story, states.get(id.as_str()).copied());
    }
    for text in [&done.stderr, &drained.stderr] {
        check_what_was_said(text, &stories);
    }
    let overlaps = names(home).filter(|name| name.starts_with("overlap.")).count();
    assert_eq!(overlaps, 0, "two runs of one job at once");
}

/// What isn't a whole line wasn't told.
fn whole_lines(text: &str) -> impl Iterator<Item = &str> + Clone {
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'))
}

fn names(home: &Home) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(home.path()).expect("a home").flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

fn stories(home: &Home) -> BTreeMap<String, Story> {
    let mut stories = BTreeMap::<String, Story>::new();
    let events = home.queuectl(["events", "--json"]).done().json();
    for event in events.as_array().expect("a list") {
        if let Some(job) = event["job"].as_str() {
            stories.entry(job.to_owned()).or_default().events.push(event.clone());
        }
    }
    for name in names(home) {
        let mut parts = name.splitn(3, '.');
        let (kind, job, claim) = (parts.next(), parts.next(), parts.next());
        let (Some(kind), Some(job), Some(claim)) = (kind, job, claim) else { continue };
        let story = match kind {
            "begun" | "ended" => stories.entry(job.to_owned()).or_default(),
            _ => continue,
        };
        let marks = if kind == "begun" { &mut story.begun } else { &mut story.ended };
        marks.insert(claim.to_owned());
    }
    stories
}

/// Each run follows a claim and nothing else holds one then; the job came to its end, and was left alone since.
fn check_story(id: &str, story: &Story, job: Option<&Value>) {
    let Some(job) = job else {
        // A batch that was never committed has lines and no jobs.
        let kinds: Vec<_> = story.events.iter().map(|event| &event["ev"]).collect();
        assert!(kinds.iter().all(|kind| **kind == "enqueued"), "{id} is no job: {kinds:?}");
        assert!(story.begun.is_empty(), "{id} is no job and ran");
        return;
    };
    let text = || format!("{id}: {:#?}\nmarks: {:?}", story.events, story.begun);
    let (mut claim, mut over, mut claims) = (None, None, BTreeSet::new());
    for event in &story.events {
        let kind = event["ev"].as_str().unwrap_or_default();
        let held = event["claim"].as_str();
        match kind {
            "claimed" => {
                assert_eq!((claim, over), (None, None), "claimed out of turn: {}", text());
                claim = held;
                claims.extend(held);
            }
            // What a base has in the place of all that happened before; without a state, it is completed.
            "job_state" => {
                let runs = event["runs"].as_array().into_iter().flatten();
                claims.extend(runs.filter_map(|run| run["claim"].as_str()));
                claim = held;
                let last = event["runs"].as_array().and_then(|runs| runs.last());
                let is_over = matches!(event["state"].as_str(), None | Some("dead"));
                over = last.and_then(|run| run["claim"].as_str()).filter(|_| is_over);
            }
            // Said again where nobody could tell whether it had been recorded, and without effect.
            "completed" | "failed" | "died" if held != claim && is_one_of(&claims, held) => {}
            "completed" | "failed" | "died" | "lost" | "released" => {
                assert_eq!(held, claim, "an end of another claim: {}", text());
                claim = None;
                over = held.filter(|_| matches!(kind, "completed" | "died"));
                let exited = event["result"].as_str().is_some_and(|how| how.starts_with("exit "));
                assert!(!exited || job["name"] == FAILING, "it failed by itself: {}", text());
                if event["started"] == false {
                    assert!(!held.is_some_and(|held| story.begun.contains(held)), "{}", text());
                }
            }
            _ => {}
        }
    }
    let over = over.unwrap_or_else(|| panic!("it came to no end: {}", text()));
    let wanted = if job["name"] == FAILING { "dead" } else { "completed" };
    let is_unstarted = story.begun.is_empty() && job["state"] == "dead";
    assert!(job["state"] == wanted || is_unstarted, "it is {}: {}", job["state"], text());
    assert!(is_unstarted || story.ended.contains(over), "no mark of its end: {}", text());
    let unclaimed: Vec<_> =
        story.begun.iter().filter(|run| !claims.contains(run.as_str())).collect();
    assert!(unclaimed.is_empty(), "runs without a claim, {unclaimed:?}: {}", text());
}

fn is_one_of(claims: &BTreeSet<&str>, claim: Option<&str>) -> bool {
    claim.is_some_and(|claim| claims.contains(claim))
}

/// What a worker said of ends is in the log.
fn check_what_was_said(text: &str, stories: &BTreeMap<String, Story>) {
    for line in whole_lines(text) {
        let Some((id, rest)) = line.split_once(": run ") else { continue };
        let Some((run, end)) = rest.split_once(" ended: ") else { continue };
        if !end.ends_with(", completed") {
            continue;
        }
        let events = stories.get(id).map_or(&[][..], |story| &story.events);
        // A base says it of the job.
        let says_it = |event: &Value| match event["ev"].as_str() {
            Some("job_state") => event["state"].is_null(),
            Some("completed") => event["run"].as_u64() == run.parse().ok(),
            _ => false,
        };
        let is_there = events.iter().any(says_it);
        assert!(is_there, "it was said and isn't in the log: {line}\n{events:#?}");
    }
}
