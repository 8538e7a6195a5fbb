//! Faults put into the built binary at one system call after another: it is killed there, or the call fails, or a file
//! may not grow any more. Whatever it had acknowledged is there afterwards, and everything works.
//!
//! `cargo test --test faults` tries a sample of the calls, spread evenly over each run; with `QUEUECTL_LONG=1` it tries
//! every one. With `-- --nocapture` it shows how many were tried.

#[path = "../e2e/harness.rs"]
#[expect(dead_code, reason = "the harness of the verbs, of which the rigs need a part")]
mod harness;

mod points;
mod rig;
mod scenario;
mod tally;
mod trace;
mod verdict;

mod errors;
mod full;
mod kill;
mod order;

/// Whether there is time for the long form of the tests: with `QUEUECTL_LONG` set.
fn is_long() -> bool {
    std::env::var_os("QUEUECTL_LONG").is_some()
}

/// Whether the tools are here that a rig needs. In CI they must be.
fn has_tools(tools: &[&str]) -> bool {
    tools.iter().all(|tool| harness::has_tool("putting in faults", tool))
}
