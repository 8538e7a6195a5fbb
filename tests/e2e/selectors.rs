//! Naming jobs: ids, their beginnings, filters, and what of them adds up or narrows.

use super::harness::Home;
use super::story;

fn told() -> Home {
    let home = Home::pinned();
    story::six_states(&home);
    for (id, queue, tag) in [("s1", "slow", "x"), ("s2", "slow", "y"), ("q1", "quick", "x")] {
        home.ok(&format!("enqueue --id {id} --queue {queue} --tag {tag} --name {id}-name true"));
    }
    home
}

fn ids(home: &Home, line: &str) -> Vec<String> {
    home.ok(&format!("list --ids {line}")).lines().map(str::to_owned).collect()
}

#[test]
fn ids_are_united_filters_intersected() {
    let home = told();
    let table: [(&str, &[&str]); 22] = [
        ("s1", &["s1"]),
        ("q1 s1", &["s1", "q1"]),
        ("s1 s1 id:s1", &["s1"]),
        ("id:dead", &["dead"]),
        ("@last", &["q1"]),
        ("@last s1", &["s1", "q1"]),
        ("name:s2-name", &["s2"]),
        ("name:nobody", &[]),
        ("tag:x", &["s1", "q1"]),
        ("tag:x tag:y", &["s1", "s2", "q1"]),
        ("queue:slow", &["pending", "s1", "s2"]),
        ("queue:slow tag:x", &["s1"]),
        ("queue:slow queue:quick tag:x", &["s1", "q1"]),
        ("state:dead,failed", &["dead", "failed"]),
        ("state:dead state:failed", &["dead", "failed"]),
        ("state:dead tag:x", &[]),
        ("all tag:x", &["s1", "q1"]),
        ("--tag x", &["s1", "q1"]),
        ("--tag x --queue slow", &["s1"]),
        ("tag:x --queue slow", &["s1"]),
        ("queue:slow --state pending --tag y", &["s2"]),
        ("--queue slow --queue quick --tag x --state dead", &[]),
    ];
    for (line, wanted) in table {
        assert_eq!(ids(&home, line), wanted, "{line}");
    }
    assert_eq!(ids(&home, "state:dead,failed tag:x --state pending"), [""; 0]);
}

#[test]
fn ids_and_filters_together() {
    let home = told();
    // Kinds are intersected, so an id beside a filter counts only where the filter lets it pass.
    assert_eq!(ids(&home, "s1 s2 tag:x"), ["s1"]);
    assert_eq!(ids(&home, "dead queue:slow"), [""; 0]);
    assert_eq!(ids(&home, "s1 q1 --queue slow"), ["s1"]);
}

#[test]
fn beginnings_of_generated_ids() {
    let home = Home::new();
    let first = home.ok("enqueue true").trim_end().to_owned();
    let same = |id: &str| format!("{}{}", &id[..25], if id.ends_with('0') { '1' } else { '0' });
    let second = same(&first);
    home.ok(&format!("enqueue --id {second} true"));
    home.ok("enqueue --id job-with-a-long-name true");
    assert_eq!(ids(&home, &first), std::slice::from_ref(&first));
    let common = &first[..25];
    let said = home.fails(&format!("show {common}"), 1);
    assert!(said.contains(&first) && said.contains(&second), "{said}");
    home.fails(&format!("cancel {} --yes", &first[..10]), 1);
    home.fails(&format!("show {}", &first[..5]), 1);
    home.fails("show job-wi", 1);
    home.ok(&format!("cancel {second}"));
    home.ok(&format!("purge {second} --yes"));
    for length in [6, 10, 25] {
        assert_eq!(ids(&home, &first[..length]), std::slice::from_ref(&first));
    }
    assert_eq!(ids(&home, &first[..12].to_lowercase()), [first]);
}

#[test]
fn the_last_of_none() {
    let home = Home::new();
    for line in ["show @last", "list @last", "cancel @last --yes", "wait @last"] {
        let said = home.fails(line, 1);
        assert!(!said.is_empty(), "{line}");
    }
}

#[test]
fn a_plain_id_must_fit_and_a_filter_takes_what_fits() {
    let home = told();
    home.fails("retry dead s1", 1);
    assert_eq!(home.state("dead"), "dead");
    home.ok("retry state:dead,pending");
    assert_eq!(home.state("dead"), "pending");
    // Said with a filter, the id is still one that was named.
    home.fails("purge s1 state:pending --yes", 1);
    for line in
        ["purge queue:slow --yes", "dlq retry tag:x", "edit state:completed -p 1", "retry tag:x"]
    {
        let done = home.run(line);
        assert_eq!((done.code, &*done.stdout), (0, ""), "{line}: {}", done.stderr);
        assert!(done.stderr.len() > 5, "{line}: none is a sentence");
    }
}

#[test]
fn jobs_of_one_id_on_two_machines() {
    let home = Home::pinned();
    story::one_waiting(&home);
    home.run_as("laptop", "enqueue --id job1 false").ok();
    let said = home.fails("show job1", 1);
    assert!(said.contains("job1@desk") && said.contains("job1@laptop"), "{said}");
    assert_eq!(home.run("show job1@laptop --json").json()["command"], "false");
    assert_eq!(home.run("show job1@desk --json").json()["command"], "echo one");
    let said = home.fails("cancel job1@laptop", 1);
    assert!(said.contains("laptop"), "{said}");
    home.ok("cancel job1@desk");
    assert_eq!(home.run("show job1@desk --json").json()["state"], "cancelled");
    assert_eq!(home.run("show job1@laptop --json").json()["state"], "pending");
}
