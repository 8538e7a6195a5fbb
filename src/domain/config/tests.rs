//! Keys, values and what is refused.

use super::*;

#[test]
fn every_built_in_value_is_accepted_and_written_as_it_stands() {
    for key in &KEYS {
        assert_eq!(normalize(key.name, key.default), Ok((key.name, key.default.to_owned())));
    }
}

#[test]
fn the_built_in_configuration() {
    let config = Config::default();
    assert_eq!((config.max_retries(), config.max_lost()), (3, 5));
    assert_eq!((config.backoff_base(), config.jitter()), (2.0, 0.0));
    assert_eq!(config.max_delay(), Duration::from_secs(3600));
    assert_eq!((config.timeout(), config.stop_timeout()), (None, None));
    assert_eq!(config.kill_grace(), Duration::from_secs(5));
    assert_eq!(config.poll_interval(), Duration::from_secs(1));
    assert_eq!(config.on_worker_death(), OnWorkerDeath::Kill);
    assert_eq!((config.output_limit(), config.segment_size()), (16 << 20, 32 << 20));
    assert_eq!(config.max_job_size(), 512 << 10);
}

#[test]
fn values_as_they_are_kept() {
    let table = [
        ("max-retries", " 5 ", "max_retries", "5"),
        ("MAX_RETRIES", "0", "max_retries", "0"),
        ("backoff-base", "1.5", "backoff_base", "1.5"),
        ("jitter", "-0", "jitter", "0"),
        ("max_delay", "5400", "max_delay", "1h30m"),
        ("timeout", "0", "timeout", "none"),
        ("timeout", "None", "timeout", "none"),
        ("job-timeout", "90", "timeout", "1m30s"),
        ("job_timeout_ms", "1500", "timeout", "1s500ms"),
        ("job_timeout_ms", "2s", "timeout", "2s"),
        ("poll_interval_ms", "200", "poll_interval", "200ms"),
        ("on_worker_death", "WAIT", "on_worker_death", "wait"),
        ("output_limit", "1048576", "output_limit", "1MiB"),
        ("retention", "NONE", "retention", "none"),
        ("retention", "0", "retention", "0s"),
        ("retention_completed", "Retention", "retention_completed", "retention"),
        ("retention_cancelled", "12h", "retention_cancelled", "12h"),
    ];
    for (key, value, name, kept) in table {
        assert_eq!(normalize(key, value), Ok((name, kept.to_owned())), "{key} {value}");
    }
}

#[test]
fn what_is_refused_names_what_is_allowed() {
    let table = [
        ("max_retries", "-1", "a whole number from 0 to 4294967295"),
        ("max_retries", "many", "a whole number"),
        ("backoff_base", "-2", "a number from 0 to 1000000"),
        ("backoff_base", "NaN", "a number from 0"),
        ("jitter", "inf", "a number from 0 to 1"),
        ("poll_interval", "10ms", "a duration from 50ms to 1m"),
        ("timeout", "soon", "or none"),
        ("on_worker_death", "restart", "kill or wait"),
        ("output_limit", "1PiB", "a size from 1KiB to 1TiB"),
        ("max_job_size", "1MiB", "a size from 1KiB to 1000KiB"),
        ("segment_size", "1KiB", "a size from 4KiB to 1GiB"),
        ("retention", "retention", "a duration such as 12h or 7d, or none for ever"),
        ("retention_completed", "long", "none, or retention"),
    ];
    for (key, value, part) in table {
        let error = normalize(key, value).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let error = normalize("max_retry", "3").unwrap_err();
    assert!(error.to_string().contains("max_retries, backoff_base"), "{error}");
    assert_eq!(error.suggestion(), Some("max_retries"));
}

#[test]
fn a_value_this_version_cannot_read_counts_as_not_given() {
    let config = Config::default().with("max_retries", "lots").with("new_key", "7");
    assert_eq!(config.max_retries(), 3);
    assert_eq!(config.get("max-retries").unwrap(), "3");
    assert_eq!(config.with("max_retries", "9").max_retries(), 9);
    assert_eq!(config.without("max_retries").map().len(), 1);
    assert_eq!(config.get("new_key"), None);
}

#[test]
fn values_that_were_given_count() {
    let given = [
        ("jitter", "0.5"),
        ("timeout", "90"),
        ("stop_timeout", "1500ms"),
        ("on_worker_death", "wait"),
    ];
    let map = given.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let config = Config::from_map(map.into());
    assert_eq!(config.jitter(), 0.5);
    assert_eq!(config.timeout(), Some(Duration::from_secs(90)));
    assert_eq!(config.stop_timeout(), Some(Duration::from_millis(1500)));
    assert_eq!(config.on_worker_death(), OnWorkerDeath::Wait);
}

#[test]
fn each_kind_of_finished_job_may_be_kept_for_its_own_time() {
    let kept = |config: &Config| {
        [JobState::Completed, JobState::Cancelled, JobState::Dead]
            .map(|state| config.retention(state).map(|kept| kept.as_secs()))
    };
    let config = Config::default();
    assert_eq!(kept(&config), [Some(7 * 86400), Some(7 * 86400), None]);
    let config = config.with("retention", "none");
    assert_eq!(kept(&config), [None, None, None]);
    let config = config.with("retention_completed", "1h").with("retention_cancelled", "2h");
    assert_eq!(kept(&config), [Some(3600), Some(7200), None]);
    let config = config.with("retention", "5s").with("retention_completed", "none");
    assert_eq!(kept(&config), [None, Some(7200), None]);
}

#[test]
fn values_as_json() {
    let config = Config::default().with("poll_interval", "1500ms").with("jitter", "0.25");
    for (key, json) in [
        ("max_retries", "3"),
        ("jitter", "0.25"),
        ("kill_grace", "5"),
        ("poll_interval", "1.5"),
        ("timeout", "null"),
        ("output_limit", "16777216"),
        ("on_worker_death", "\"kill\""),
        ("retention_completed", "\"retention\""),
        ("no_key", "null"),
    ] {
        assert_eq!(config.get_json(key).to_string(), json, "{key}");
    }
}
