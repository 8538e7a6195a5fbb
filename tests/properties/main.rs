//! What must hold for every history: the rules against a plain model of them, and the store against its own log.

mod action;
mod hostile;
mod model;
mod on_disk;
mod play;
mod rules;

use proptest::test_runner::Config;

/// So many cases, unless `$PROPTEST_CASES` says otherwise.
fn cases(count: u32) -> Config {
    let default = Config::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { count };
    Config { cases, failure_persistence: None, ..default }
}
