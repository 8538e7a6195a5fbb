//! `queuectl config`.

use super::harness::Home;
use super::story;
use super::tree::tree;
use super::verbs::{Case, Verb};

pub const VERBS: &[Verb] = &[
    Verb {
        path: "config get",
        success: Case::ok(story::nothing, "config get max-retries"),
        refusal: Case::fails(story::nothing, "config get max-retry", 1),
        json: Case::ok(changed, "config get max_retries"),
    },
    Verb {
        path: "config set",
        success: Case::ok(story::nothing, "config set poll-interval 500ms"),
        refusal: Case::fails(story::one_waiting, "config set jitter lots", 1),
        json: Case::ok(story::nothing, "config set max_retries 5"),
    },
    Verb {
        path: "config unset",
        success: Case::ok(changed, "config unset max_retries"),
        refusal: Case::fails(changed, "config unset colour", 1),
        json: Case::ok(changed, "config unset max_retries"),
    },
    Verb {
        path: "config reset",
        success: Case::ok(changed, "config reset --yes"),
        refusal: Case::fails(changed, "config reset", 2),
        json: Case::ok(changed, "config reset max_retries"),
    },
    Verb {
        path: "config list",
        success: Case::ok(changed, "config list"),
        refusal: Case::fails(|home| home.make_public(), "config list", 1),
        json: Case::ok(changed, "config list"),
    },
];

fn changed(home: &Home) {
    home.ok("config set max_retries 5");
    home.ok("config set kill_grace 2s");
}

const KEYS: [&str; 12] = [
    "max_retries",
    "backoff_base",
    "max_delay",
    "jitter",
    "timeout",
    "kill_grace",
    "poll_interval",
    "stop_timeout",
    "output_limit",
    "on_worker_death",
    "max_lost",
    "max_job_size",
];

#[test]
fn what_is_built_in() {
    let home = Home::new();
    let table = [
        ("max_retries", "3"),
        ("backoff_base", "2"),
        ("max_delay", "1h"),
        ("jitter", "0"),
        ("timeout", "none"),
        ("kill_grace", "5s"),
        ("poll_interval", "1s"),
        ("stop_timeout", "none"),
        ("output_limit", "16MiB"),
        ("on_worker_death", "kill"),
        ("max_lost", "5"),
        ("max_job_size", "512KiB"),
    ];
    for (key, value) in table {
        assert_eq!(home.ok(&format!("config get {key}")), format!("{key} = {value}\n"));
        assert_eq!(home.ok(&format!("config get {key} --raw")), format!("{value}\n"));
    }
    assert!(!home.queue().exists(), "reading makes nothing");
    let list = home.ok("config list");
    for key in KEYS {
        assert!(list.lines().any(|line| line.starts_with(&format!("{key}\t"))), "{key}: {list}");
    }
}

#[test]
fn set_get_unset() {
    let home = Home::new();
    for (key, given, value) in [
        ("max_retries", "5", "5"),
        ("max-retries", "0", "0"),
        ("backoff_base", "1.5", "1.5"),
        ("max_delay", "90", "1m30s"),
        ("timeout", "90s", "1m30s"),
        ("job_timeout", "none", "none"),
        ("job_timeout_ms", "1500", "1s500ms"),
        ("poll_interval_ms", "50", "50ms"),
        ("poll_interval", "60s", "1m"),
        ("output_limit", "1MiB", "1MiB"),
        ("on_worker_death", "wait", "wait"),
    ] {
        home.ok(&format!("config set {key} {given}"));
        assert_eq!(home.ok(&format!("config get {key} --raw")), format!("{value}\n"), "{key}");
    }
    home.ok("config unset on-worker-death");
    assert_eq!(home.ok("config get on_worker_death --raw"), "kill\n");
    home.ok("config reset backoff_base");
    assert_eq!(home.ok("config get backoff_base --raw"), "2\n");
    let said = home.fails("config reset", 2);
    assert!(said.contains("--yes"), "{said}");
    home.ok("config reset --dry-run");
    assert_eq!(home.ok("config get poll_interval --raw"), "1m\n");
    home.ok("config reset --yes");
    assert_eq!(home.ok("config get poll_interval --raw"), "1s\n");
}

#[test]
fn bad_values_and_keys_name_what_is_allowed() {
    let home = Home::new();
    home.ok("init");
    let before = tree(&home.queue().join("log"));
    for (line, words) in [
        ("config set max_retries -1", "max_retries"),
        ("config set max_retries many", "max_retries"),
        ("config set max_retries 99999999999", "max_retries"),
        ("config set jitter 2", "0 to 1"),
        ("config set jitter -1", "0 to 1"),
        ("config set poll_interval 10ms", "50ms"),
        ("config set poll_interval 2m", "1m"),
        ("config set timeout soon", "none"),
        ("config set on_worker_death panic", "kill"),
        ("config set colour red", "max_retries"),
        ("config get colour", "max_retries"),
        ("config unset colour", "max_retries"),
        ("config reset colour", "max_retries"),
        ("config set max_retrys 3", "did you mean max_retries?"),
    ] {
        let said = home.fails(line, 1);
        assert!(said.contains(words), "{line}: {said}");
    }
    for line in [
        "config set max_retries",
        "config get",
        "config",
        "config set a b c",
        "config get max_retries --raw --json",
    ] {
        home.fails(line, 2);
    }
    assert_eq!(tree(&home.queue().join("log")), before);
}

#[test]
fn the_environment_goes_before_the_queue_and_is_told() {
    let home = Home::new();
    home.ok("config set max_retries 5");
    let list = |variable: &str| {
        let cmd = home.queuectl(["config", "list"]).env("QUEUECTL_MAX_RETRIES", variable);
        let list = cmd.done().ok();
        list.lines().find(|line| line.starts_with("max_retries\t")).unwrap_or_default().to_owned()
    };
    assert!(list("").contains("\t5\t"), "{}", list(""));
    assert!(list("").contains("queue"), "{}", list(""));
    assert!(list("7").contains("\t7\t") && list("7").contains("environment"), "{}", list("7"));
    let raw = home.queuectl(["config", "get", "max_retries", "--raw"]);
    assert_eq!(raw.env("QUEUECTL_MAX_RETRIES", "7").done().ok(), "7\n");
}

#[test]
fn changes_are_events_and_what_is_so_already_is_none() {
    let home = Home::new();
    home.ok("config set max_retries 5");
    let once = home.log();
    assert!(once.iter().any(|line| line["ev"] == "config_set"), "{once:?}");
    home.ok("config set max_retries 5");
    home.ok("config unset jitter");
    assert_eq!(home.log(), once);
    home.ok("config unset max_retries");
    assert!(home.log().iter().any(|line| line["ev"] == "config_unset"));
}
