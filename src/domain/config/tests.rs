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
        ("max_delay", "5400", "max_delay", "1h30m"),
        ("timeout", "0", "timeout", "none"),
        ("timeout", "None", "timeout", "none"),
        ("job-timeout", "90", "timeout", "1m30s"),
        ("job_timeout_ms", "1500", "timeout", "1s500ms"),
        ("job_timeout_ms", "2s", "timeout", "2s"),
        ("poll_interval_ms", "200", "poll_interval", "200ms"),
        ("on_worker_death", "WAIT", "on_worker_death", "wait"),
        ("output_limit", "1048576", "output_limit", "1MiB"),
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
        ("segment_size", "1KiB", "a size from 4KiB to 1GiB"),
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
