//! What the rigs run: a queue, one command on it, and what that command adds.
//!
//! Knows nothing of faults.

use std::io::Write as _;

use crate::harness::Home;

/// A job that marks where it begins and ends, in files that nobody may have made before, and sees whether another run
/// of it is still there. Its arguments: what it exits with, and what it prints before it sleeps
/// a little, so that some are met while they run.
const JOB: &str = r#"exec 9>>"lock.$QUEUECTL_JOB_ID"
flock -n 9 || : > "overlap.$QUEUECTL_CLAIM"
set -C
: > "begun.$QUEUECTL_JOB_ID.$QUEUECTL_CLAIM"
[ -z "$2" ] || { echo "$2"; sleep 0.05; }
: > "ended.$QUEUECTL_JOB_ID.$QUEUECTL_CLAIM"
exit "${1:-0}"
"#;

/// The name of jobs that fail and have no second attempt.
pub const FAILING: &str = "failing";

/// How many jobs the batch has.
const BATCH: usize = 3;

/// One thing that queuectl does.
pub struct Scenario {
    /// What the table calls it.
    pub name: &'static str,
    /// Makes the queue as it stands before, and gives the ids that were acknowledged.
    pub before: fn(&Home) -> Vec<String>,
    /// The command.
    pub act: &'static [&'static str],
    /// How many jobs it adds, all or none.
    pub adds: usize,
    /// A command, and what that prints once it is done.
    pub proof: Option<(&'static str, &'static str)>,
    /// Whose calls are counted.
    pub threads: Threads,
}

/// Whose calls a rig counts. It counts for each thread alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// Those of the thread that the process began with.
    First,
    /// Those of whichever thread comes first to the number, but not of jobs.
    Any,
}

/// Everything that is tried.
pub static ALL: [Scenario; 9] = [
    Scenario { name: "found", before: nothing, ..ENQUEUE },
    Scenario { name: "enqueue", ..ENQUEUE },
    Scenario { name: "batch", act: &["enqueue", "--lines", "batch"], adds: BATCH, ..ENQUEUE },
    Scenario { name: "work", threads: Threads::First, ..WORK },
    Scenario { name: "work, threads", threads: Threads::Any, ..WORK },
    Scenario {
        name: "rotate, config",
        act: &["config", "set", "segment_size", "4KiB"],
        adds: 0,
        proof: Some(("config get segment_size", "segment_size = 4KiB\n")),
        ..ENQUEUE
    },
    Scenario { name: "rotate, size", before: full_segment, ..ENQUEUE },
    Scenario { name: "rotate, doubt", before: torn_segment, ..ENQUEUE },
    Scenario { name: "compact", before: sealed_segments, threads: Threads::Any, ..COMPACT },
];

const ENQUEUE: Scenario = Scenario {
    name: "enqueue",
    before: one_job,
    act: &["enqueue", "sh", "job.sh"],
    adds: 1,
    proof: None,
    threads: Threads::First,
};

/// It compacts on a thread of its own.
const COMPACT: Scenario = Scenario { act: &["compact"], adds: 0, ..ENQUEUE };

const WORK: Scenario = Scenario {
    name: "work",
    before: several_jobs,
    act: &["worker", "start", "--drain"],
    adds: 0,
    proof: None,
    threads: Threads::First,
};

/// The scenario of this name.
pub fn named(name: &str) -> &'static Scenario {
    ALL.iter().find(|scenario| scenario.name == name).expect("a scenario of that name")
}

/// What jobs need, and no queue.
fn nothing(home: &Home) -> Vec<String> {
    home.write("job.sh", JOB);
    home.write("batch", "sh job.sh\n".repeat(BATCH));
    Vec::new()
}

fn one_job(home: &Home) -> Vec<String> {
    nothing(home);
    vec![enqueue(home, "sh job.sh")]
}

fn several_jobs(home: &Home) -> Vec<String> {
    nothing(home);
    let failing = format!("--name {FAILING} --max-retries 1 sh job.sh 1");
    ["sh job.sh 0", "sh job.sh 0 words", &failing, "sh job.sh"]
        .map(|job| enqueue(home, job))
        .to_vec()
}

/// A segment that the next line doesn't fit in.
fn full_segment(home: &Home) -> Vec<String> {
    nothing(home);
    home.ok("config set segment_size 4KiB");
    vec![enqueue(home, &format!("sh job.sh 0 {}", "x".repeat(3_700)))]
}

/// Sealed segments, with jobs that are over and one that isn't.
fn sealed_segments(home: &Home) -> Vec<String> {
    let mut ids = several_jobs(home);
    home.ok("config set segment_size 4KiB");
    home.drain("");
    home.ok("config set segment_size 5KiB");
    ids.push(enqueue(home, "sh job.sh"));
    ids
}

/// A segment that ends with what somebody was killed over.
fn torn_segment(home: &Home) -> Vec<String> {
    let ids = one_job(home);
    let segment = home.segments().pop().expect("a segment");
    let mut file = std::fs::File::options().append(true).open(segment).expect("a segment opens");
    file.write_all(b"{\"seq\":2,\"ts\":\"20").expect("a segment can be written");
    ids
}

/// Enqueues, and gives the id.
#[track_caller]
pub fn enqueue(home: &Home, job: &str) -> String {
    home.ok(&format!("enqueue {job}")).trim_end().to_owned()
}
