//! What an enqueue costs does not grow with the queue: counted in system calls and bytes, which no load can disturb.

use std::collections::BTreeMap;

use crate::harness::{Home, has_tool};

const MANY: usize = 100_000;

/// What a process asked of the system.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    /// The calls, in order, but for memory.
    calls: Vec<String>,
    /// The bytes it read of each of the queue's files.
    reads: BTreeMap<String, u64>,
}

/// Runs an enqueue and counts.
fn cost(home: &Home, options: &[&str]) -> Cost {
    let file = home.join("calls");
    let strace = [
        "-f",
        "-y",
        "-qq",
        "-o",
        file.to_str().unwrap(),
        env!("CARGO_BIN_EXE_queuectl"),
        "enqueue",
    ];
    let words = strace.iter().chain(options).chain(&["true"]);
    home.command("strace", words).done().ok();
    let text = std::fs::read_to_string(file).unwrap();
    let queue = home.queue().canonicalize().unwrap();
    let mut cost = Cost { calls: Vec::new(), reads: BTreeMap::new() };
    for line in text.lines() {
        let call = line.split_once(' ').map_or("", |(_, call)| call.trim_start());
        let name = call.split('(').next().unwrap_or_default();
        if ["brk", "mmap", "munmap", "mprotect", "madvise", "mremap"].contains(&name) {
            continue;
        }
        cost.calls.push(name.to_owned());
        if ["read", "pread64", "readv", "preadv"].contains(&name) {
            let file = call.split(['<', '>']).nth(1).unwrap_or_default();
            if let Some(file) = file.strip_prefix(queue.to_str().unwrap()) {
                let count =
                    call.rsplit("= ").next().and_then(|count| count.trim().parse::<u64>().ok());
                *cost.reads.entry(kind(file)).or_default() += count.unwrap_or(0);
            }
        }
    }
    cost
}

/// The file within its directory, without what differs from queue to queue.
fn kind(file: &str) -> String {
    let parts: Vec<_> = file.trim_matches('/').split('/').collect();
    match parts[..] {
        ["log", _, _] => "a segment".into(),
        ["local", _, ref rest @ ..] => rest.join("/"),
        _ => parts.join("/"),
    }
}

fn queue_of(jobs: usize) -> Home {
    let home = Home::new();
    home.queuectl(["enqueue", "--lines", "-"]).stdin("true\n".repeat(jobs)).done().ok();
    // Workers and readers write checkpoints; both queues have one.
    let _ = home.run("worker start --max-jobs 1");
    // Both logs end with the same.
    for _ in 0..30 {
        home.ok("enqueue true");
    }
    home
}

#[test]
fn an_enqueue_costs_the_same_in_a_queue_of_a_hundred_thousand() {
    if !has_tool("an_enqueue_costs_the_same_in_a_queue_of_a_hundred_thousand", "strace") {
        return;
    }
    let (few, many) = (queue_of(1), queue_of(MANY));
    let counts = &many.queuectl(["status", "--json"]).done().json()["counts"];
    assert_eq!(counts["pending"], MANY + 29, "{counts}");

    let (in_few, in_many) = (cost(&few, &[]), cost(&many, &[]));
    eprintln!("{} calls, {:?}", in_many.calls.len(), in_many.reads);
    assert_eq!(in_few.calls, in_many.calls);
    for (file, bytes) in &in_few.reads {
        // Numbers have more digits there, so the tail begins elsewhere in its line.
        let other = in_many.reads[file];
        assert!(other.abs_diff(*bytes) <= 64, "{file}: {bytes} bytes, {other} in the long queue");
    }
    assert_eq!(in_few.reads.len(), in_many.reads.len(), "{:?}", in_many.reads);

    let (in_few, in_many) = (cost(&few, &["--id", "mine"]), cost(&many, &["--id", "mine"]));
    eprintln!("with an id: {} calls, {:?}", in_many.calls.len(), in_many.reads);
    let more = in_many.calls.len().saturating_sub(in_few.calls.len());
    assert!(more <= 8, "{more} calls more:\n{:?}\n{:?}", in_few.calls, in_many.calls);
    let bytes = |cost: &Cost| cost.reads.values().sum::<u64>();
    let (in_few, in_many) = (bytes(&in_few), bytes(&in_many));
    assert!(in_many <= in_few + (64 << 10), "{in_few} bytes, {in_many} in the long queue");
    // It is found out all the same.
    many.run("enqueue --id mine true").fails(1);
}
