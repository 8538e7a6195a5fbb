//! Where faults are put: each scenario's calls are counted, and so many of them are tried.

use crate::harness::Home;
use crate::is_long;
use crate::rig::{self, Fault, Times, What};
use crate::scenario::{self, Scenario};
use crate::tally::Tally;

/// The calls that change what is on a disk, or bring it there.
pub const CHANGES: [&str; 11] = [
    "write",
    "pwrite64",
    "fdatasync",
    "fsync",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
];

/// A scenario, and a fault in it.
pub type Point = (&'static Scenario, Fault);

/// Every scenario with each of the faults at its calls: in the short form at so many of a kind, evenly spread.
pub fn plan(calls: &[&'static str], faults: &[(What, Times)], most: usize) -> Vec<Point> {
    let most = if is_long() { usize::MAX } else { most };
    let mut points = Vec::new();
    for scenario in &scenario::ALL {
        let home = Home::new();
        let _ = (scenario.before)(&home);
        let (done, trace) = rig::watch(&home, scenario, calls);
        done.ok();
        for call in calls {
            let (made, loading) = trace.count(call);
            for (turn, (what, times)) in faults.iter().enumerate() {
                for nth in sample(loading + 1, made, most, turn) {
                    points.push((scenario, Fault { call, what: *what, nth, times: *times }));
                }
            }
        }
    }
    points
}

/// Tries all points. `each` says whether the fault struck.
pub fn try_all(points: &[Point], each: impl Fn(&Scenario, &Fault) -> bool + Sync) -> Tally {
    Tally::of(
        points,
        |(scenario, fault)| (scenario.name, fault.call),
        |(scenario, fault)| format!("{}, {fault}", scenario.name),
        |(scenario, fault)| each(scenario, fault),
    )
}

/// At most so many of the numbers from `first` to `last`, spread evenly. `turn` moves them, so that several samples of one
/// range meet more of it.
pub fn sample(first: usize, last: usize, most: usize, turn: usize) -> Vec<usize> {
    let count = (last + 1).saturating_sub(first);
    if count <= most {
        return (first..=last).collect();
    }
    let step = count as f64 / most as f64;
    let offset = (turn as f64 * 0.382).fract();
    (0..most).map(|index| first + ((index as f64 + offset) * step) as usize).collect()
}
