//! Tables of selectors and what they select.

use super::*;
use crate::domain::job::Spec;
use crate::domain::timestamp::Timestamp;

fn job(order: u64, id: &str, queue: &str, tags: &[&str], state: JobState) -> Job {
    let mut spec = Spec::shell(JobId::from_log(id), "true", 3);
    spec.queue = queue.into();
    spec.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    spec.name = (order == 2).then(|| "nightly".into());
    Job {
        spec,
        state,
        order,
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
        attempts: 0,
        lost: 0,
        last_run: 0,
        due: None,
        delay: None,
        claim: None,
        cancel_requested: false,
        reason: None,
        held: None,
        origin: None,
        runs: Vec::new(),
    }
}

fn jobs() -> Vec<Job> {
    vec![
        job(1, "a", "default", &["x"], JobState::Completed),
        job(2, "b", "slow", &["x", "y"], JobState::Failed),
        job(3, "01KGE3H9000000000000000001", "slow", &[], JobState::Dead),
        job(4, "01KGE3H9000000000000000002", "default", &["y"], JobState::Pending),
        job(6, "mail:7", "default", &[], JobState::Pending),
        // As long as a generated one, with letters that none has.
        job(7, "01KGE3L9000000000000000001", "other", &[], JobState::Cancelled),
        job(5, "01KGE3", "default", &[], JobState::Pending),
    ]
}

fn all<'a>(jobs: &'a [Job]) -> impl Fn() -> std::vec::IntoIter<Owned<'a>> {
    move || jobs.iter().map(|job| ("desk", job)).collect::<Vec<_>>().into_iter()
}

fn get<'a>(jobs: &'a [Job]) -> impl Fn(&JobId) -> Vec<Owned<'a>> {
    move |id| jobs.iter().filter(|job| job.id() == id).map(|job| ("desk", job)).collect()
}

fn select(words: &str, narrowing: &[Term]) -> Result<Vec<u64>, String> {
    let jobs = jobs();
    let mut selector = Selector::parse(words.split_whitespace()).map_err(|e| e.to_string())?;
    for term in narrowing {
        selector = selector.narrow(term.clone());
    }
    let selected = selector.select(all(&jobs), get(&jobs)).map_err(|e| e.to_string())?;
    Ok(selected.jobs.iter().map(|(_, job)| job.order).collect())
}

#[test]
fn what_words_select() {
    let table: [(&str, &[u64]); 16] = [
        ("a", &[1]),
        ("b a b", &[1, 2]),
        ("id:b", &[2]),
        ("01kge3h9000000000000000002", &[4]),
        ("01KGE3", &[5]),
        ("@last", &[5]),
        ("all", &[1, 2, 3, 4, 6, 7, 5]),
        ("name:nightly", &[2]),
        ("tag:x tag:y", &[1, 2, 4]),
        ("tag:x queue:slow", &[2]),
        ("queue:slow state:FAILED,dead", &[2, 3]),
        ("a b queue:slow", &[2]),
        ("a state:dead", &[]),
        ("all state:dead", &[3]),
        ("queue:none", &[]),
        ("mail:7", &[6]),
    ];
    for (words, orders) in table {
        assert_eq!(select(words, &[]).as_deref(), Ok(orders), "{words}");
    }
}

#[test]
fn options_narrow_further() {
    let dead = Term::State(vec![JobState::Dead]);
    assert_eq!(select("queue:slow", std::slice::from_ref(&dead)), Ok(vec![3]));
    assert_eq!(select("state:failed", std::slice::from_ref(&dead)), Ok(vec![]));
    assert_eq!(select("", &[Term::Tag("x".into()), Term::Queue("slow".into())]), Ok(vec![2]));
}

#[test]
fn what_cannot_be_selected() {
    let table = [
        ("nope", "no such job: nope"),
        ("01KGE", "no such job: 01KGE"),
        ("01KGE3L", "no such job: 01KGE3L"),
        ("01kge3l900", "no such job: 01kge3l900"),
        (
            "01kge3h",
            "01kge3h may be 2 jobs: 01KGE3H9000000000000000001, 01KGE3H9000000000000000002",
        ),
        ("@first", "unknown selector \"@first\""),
        ("tag:", "\"tag:\" selects nothing"),
        ("state:done", "unknown state \"done\""),
    ];
    for (words, message) in table {
        let error = select(words, &[]).unwrap_err();
        assert!(error.starts_with(message), "{error}");
    }
    let error = Selector::parse(["state:complete"]).unwrap_err();
    assert_eq!(error.suggestion(), Some("completed"));
    assert!(error.is_usage());
    assert!(!SelectorError::NoSuchJob("a".into()).is_usage() && !SelectorError::NoJobs.is_usage());
}

#[test]
fn what_a_selector_says_of_itself() {
    let of = |words: &str| Selector::parse(words.split_whitespace()).unwrap();
    assert!(of("all").is_all() && of("all state:dead").is_all());
    assert!(!of("a tag:x").is_all());
    let dead = of("queue:slow state:failed,dead");
    assert!(dead.names_state(JobState::Dead) && !dead.names_state(JobState::Completed));
    assert!(!of("all").names_state(JobState::Dead));
    assert!(of("a").narrow(Term::State(vec![JobState::Dead])).names_state(JobState::Dead));
}

#[test]
fn named_jobs_are_told_from_filtered_ones() {
    let jobs = jobs();
    let named = Selector::parse(["a"]).unwrap();
    assert!(named.is_plain());
    assert!(named.select(all(&jobs), get(&jobs)).unwrap().is_named("desk", jobs[0].id()));
    let filtered = Selector::parse(["tag:x"]).unwrap();
    assert!(!filtered.is_plain() && !filtered.is_empty());
    assert!(!filtered.select(all(&jobs), get(&jobs)).unwrap().is_named("desk", jobs[0].id()));
    assert!(Selector::default().is_empty());
}

#[test]
fn nothing_is_last_in_an_empty_queue() {
    let selector = Selector::parse(["@last"]).unwrap();
    let none: Vec<Job> = Vec::new();
    assert!(matches!(selector.select(all(&none), get(&none)), Err(SelectorError::NoJobs)));
}

#[test]
fn an_id_that_two_nodes_have_needs_its_node() {
    let (mut here, there) = (jobs(), jobs());
    here.iter_mut().for_each(|job| job.created_at = Timestamp::from_micros(1));
    let both = || here.iter().map(|job| ("desk", job)).chain(there.iter().map(|job| ("nas", job)));
    let with = |id: &JobId| both().filter(|(_, job)| job.id() == id).collect::<Vec<_>>();
    let error = resolve("a", both, with).unwrap_err();
    assert_eq!(error.to_string(), "a may be 2 jobs: a@desk, a@nas");
    assert_eq!(resolve("a@nas", both, with).unwrap().0, "nas");
    assert!(matches!(resolve("a@lap", both, with), Err(SelectorError::NoSuchJob(_))));
    let selector = Selector::parse(["b@nas", "a@nas"]).unwrap();
    let selected = selector.select(both, with).unwrap();
    assert_eq!(selected.jobs.len(), 2);
    let selector = Selector::parse(["a@desk", "b@nas"]).unwrap();
    let order = selector.select(both, with).unwrap().jobs;
    assert_eq!(order.iter().map(|(node, _)| *node).collect::<Vec<_>>(), ["nas", "desk"]);
    assert!(selected.is_named("nas", here[0].id()) && !selected.is_named("desk", here[0].id()));
}
