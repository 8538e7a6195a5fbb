//! Files that may not grow past a size: the write that meets the limit is a short one, and the next fails, as on a full
//! disk. Or it kills, and leaves a line of which only a part was written.

use std::time::Instant;

use crate::errors::assert_told;
use crate::harness::{Done, Home};
use crate::points::sample;
use crate::rig::Rigged;
use crate::scenario::{self, Scenario, Threads};
use crate::tally::Tally;
use crate::{has_tools, is_long, verdict};

/// Less than any line of a log has, but more than any job prints.
const LEAST: u64 = 16;

/// What a write past the limit does.
#[derive(Debug, Clone, Copy)]
enum Past {
    /// It fails with EFBIG.
    Fails,
    /// It kills, by SIGXFSZ.
    Kills,
}

#[test]
fn however_much_of_a_write_is_done_nothing_acknowledged_is_lost() {
    if !has_tools(&["prlimit", "flock"]) {
        return;
    }
    let begun = Instant::now();
    let mut points = Vec::new();
    for scenario in scenario::ALL
        .iter()
        .filter(|scenario| scenario.act[0] != "worker" || scenario.threads == Threads::First)
    {
        let (least, most) = range(scenario);
        // Every byte in the short form would take minutes, and lines are longer than their fields.
        let most_points = if is_long() { 400 } else { 12 };
        for (turn, past) in [Past::Fails, Past::Kills].into_iter().enumerate() {
            let sizes = sample(least, most, most_points, turn).into_iter();
            points.extend(sizes.map(|size| (scenario, past, size)));
        }
    }
    let tally = Tally::of(
        &points,
        |(scenario, past, _)| match past {
            Past::Fails => (scenario.name, "fails"),
            Past::Kills => (scenario.name, "kills"),
        },
        |(scenario, past, size)| format!("{}, a write past {size} bytes, {past:?}", scenario.name),
        |(scenario, past, size)| {
            let home = Home::new();
            let before = (scenario.before)(&home);
            let done = limited(&home, scenario, *past, *size);
            match past {
                Past::Fails => {
                    let rigged = Rigged { done: done.clone(), hits: Vec::new() };
                    assert_told(scenario, &home, &rigged);
                }
                Past::Kills => assert!([0, 153].contains(&done.code), "{done:?}"),
            }
            verdict::assert_all_holds(&home, scenario, &before, &done);
            done.code != 0
        },
    );
    tally.conclude("a write past it", begun);
    assert!(tally.struck() * 2 > points.len(), "most limits were of no effect");
}

/// The sizes between which a limit is met: from a little to what the largest file of the queue has in the end, and where
/// a log was there before, from its size on.
fn range(scenario: &Scenario) -> (usize, usize) {
    let home = Home::new();
    let _ = (scenario.before)(&home);
    let before = largest_segment(&home);
    let words = scenario.act.iter().copied();
    home.queuectl(words).done().ok();
    let after = largest_segment(&home).max(before + 1);
    // The header of a new segment is met before the size of the old one.
    let least = if home.segments().len() > 1 { LEAST } else { before.max(LEAST) };
    (least as usize, after as usize - 1)
}

fn largest_segment(home: &Home) -> u64 {
    let segments = home.segments().into_iter();
    segments.filter_map(|path| Some(path.metadata().ok()?.len())).max().unwrap_or(0)
}

fn limited(home: &Home, scenario: &Scenario, past: Past, size: usize) -> Done {
    let trap = match past {
        Past::Fails => "trap '' XFSZ; ",
        Past::Kills => "ulimit -c 0; ",
    };
    let script = format!("{trap}exec prlimit --fsize={size} \"$@\"");
    let words = ["-c", &script, "sh", env!("CARGO_BIN_EXE_queuectl")];
    let words = words.into_iter().chain(scenario.act.iter().copied());
    home.command("sh", words).env("QUEUECTL_BACKOFF_BASE", "0").done()
}
