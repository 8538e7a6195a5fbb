//! What may happen to a queue, at random, with few names so that everything meets everything.
//!
//! Knows nothing of what becomes of it.

use proptest::prelude::*;
use queuectl::domain::job::RunResult;

/// One thing that a person, a worker or the machine does. A `pick` counts round the list of what there is.
#[derive(Debug, Clone)]
pub enum Action {
    Enqueue(Vec<New>),
    /// The lines of a batch, but for its last.
    OpenBatch(Vec<New>),
    CommitBatch {
        pick: usize,
        /// Jobs more than there are.
        excess: u64,
    },
    AbandonBatch {
        pick: usize,
    },
    Claim {
        worker: usize,
        count: usize,
        only: Option<usize>,
    },
    Finish {
        pick: usize,
        result: RunResult,
    },
    /// A run that was settled ends once more.
    FinishLate {
        pick: usize,
        result: RunResult,
    },
    Lose {
        pick: usize,
        reboot: bool,
    },
    Release {
        pick: usize,
    },
    Cancel(usize),
    Retry(usize),
    RetryDead(usize),
    Purge(usize),
    Edit {
        job: usize,
        priority: Option<i32>,
        max_retries: Option<u32>,
        wait: Option<u64>,
        queue: Option<usize>,
    },
    Pause(usize),
    Resume(usize),
    /// Seconds pass.
    Pass(u64),
}

/// A job to be enqueued.
#[derive(Debug, Clone)]
pub struct New {
    pub job: usize,
    pub queue: usize,
    pub priority: i32,
    pub max_retries: u32,
    pub wait: Option<u64>,
}

pub const JOBS: [&str; 4] = ["j0", "j1", "j2", "j3"];
pub const QUEUES: [&str; 2] = ["default", "slow"];
pub const WORKERS: [&str; 2] = ["desk.w0", "desk.w1"];

fn job() -> impl Strategy<Value = usize> {
    0..JOBS.len()
}

fn new() -> impl Strategy<Value = New> {
    let wait = proptest::option::weighted(0.2, 1..5_u64);
    (job(), 0..2_usize, -1..2_i32, 0..4_u32, wait)
        .prop_map(|(job, queue, priority, max_retries, wait)| New {
            job,
            queue,
            priority,
            max_retries,
            wait,
        })
        .boxed()
}

fn result() -> impl Strategy<Value = RunResult> {
    prop_oneof![
        3 => Just(RunResult::Exit(0)),
        3 => Just(RunResult::Exit(1)),
        1 => Just(RunResult::Signal(9)),
        1 => Just(RunResult::Timeout),
        1 => Just(RunResult::Interrupted),
        1 => Just(RunResult::Cancelled),
    ]
}

fn edit() -> impl Strategy<Value = Action> {
    use proptest::option::of;
    (job(), of(-2..3_i32), of(0..4_u32), of(0..4_u64), of(0..2_usize)).prop_map(
        |(job, priority, max_retries, wait, queue)| Action::Edit {
            job,
            priority,
            max_retries,
            wait,
            queue,
        },
    )
}

pub fn action() -> impl Strategy<Value = Action> {
    let pick = || 0..6_usize;
    let news = |most| proptest::collection::vec(new(), 1..=most);
    let only = proptest::option::weighted(0.2, 0..2_usize);
    prop_oneof![
        6 => news(1).prop_map(Action::Enqueue),
        2 => news(3).prop_map(Action::Enqueue),
        1 => news(2).prop_map(Action::OpenBatch),
        2 => (pick(), prop_oneof![4 => Just(0), 1 => Just(1_u64)])
            .prop_map(|(pick, excess)| Action::CommitBatch { pick, excess }),
        1 => pick().prop_map(|pick| Action::AbandonBatch { pick }),
        10 => (0..2_usize, 0..3_usize, only)
            .prop_map(|(worker, count, only)| Action::Claim { worker, count, only }),
        9 => (pick(), result()).prop_map(|(pick, result)| Action::Finish { pick, result }),
        2 => (pick(), result()).prop_map(|(pick, result)| Action::FinishLate { pick, result }),
        6 => (pick(), proptest::bool::weighted(0.2))
            .prop_map(|(pick, reboot)| Action::Lose { pick, reboot }),
        2 => pick().prop_map(|pick| Action::Release { pick }),
        3 => job().prop_map(Action::Cancel),
        2 => job().prop_map(Action::Retry),
        2 => job().prop_map(Action::RetryDead),
        2 => job().prop_map(Action::Purge),
        2 => edit(),
        1 => (0..2_usize).prop_map(Action::Pause),
        2 => (0..2_usize).prop_map(Action::Resume),
        6 => (0..9_u64).prop_map(Action::Pass),
    ]
}

/// A history of at most so many actions.
pub fn history(most: usize) -> impl Strategy<Value = Vec<Action>> {
    proptest::collection::vec(action(), 1..=most)
}
