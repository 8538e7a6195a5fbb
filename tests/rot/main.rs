//! Bit rot: any byte of a queue may be another by tomorrow, and any line or file of it gone, doubled or in another's
//! place. What is read then is either what was written, or it is said that something is wrong. And a repair gets back
//! everything that was not hit.
//!
//! `cargo test --test rot -- --nocapture` prints what was tried. `QUEUECTL_LONG=1` tries each bit and cut, and mends
//! after many more changes.

mod change;
mod corpus;
mod verdict;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use change::{Change, Thoroughness};
use corpus::{Corpus, Kind};
use verdict::Seen;

/// So many threads, each with a queue of its own.
const THREADS: usize = 2;

/// So many of the things that went wrong are told.
const TOLD: usize = 12;

/// What was seen of each kind of change: how often it was detected, explained and harmless, and how many were mended.
type Counts = BTreeMap<&'static str, [u32; 4]>;

fn is_long() -> bool {
    std::env::var_os("QUEUECTL_LONG").is_some()
}

/// Does something to a fresh queue for each change, on several threads, and adds up what it says of each.
fn each_change(
    kind: Kind,
    changes: &[(usize, Change)],
    attempt: impl Fn(&Corpus, usize, &Change) -> Result<[u32; 4], String> + Sync,
) -> Counts {
    let part = |thread: usize| {
        let corpus = Corpus::new(kind);
        let (mut counts, mut wrong) = (Counts::new(), Vec::new());
        for (file, change) in changes.iter().skip(thread).step_by(THREADS) {
            corpus.spoil(*file, change);
            let seen = catch_unwind(AssertUnwindSafe(|| attempt(&corpus, *file, change)));
            corpus.restore();
            match seen.unwrap_or_else(|_| Err("a panic".to_owned())) {
                Ok(seen) => {
                    let sum = counts.entry(change.kind()).or_default();
                    sum.iter_mut().zip(seen).for_each(|(sum, seen)| *sum += seen);
                }
                Err(what) => {
                    wrong.push(format!("{}: {change:?}: {what}", corpus.name(*file)));
                }
            }
        }
        (counts, wrong)
    };
    let (mut counts, mut wrong) = (Counts::new(), Vec::new());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || part(n))).collect();
        for thread in threads {
            let (more, other) = thread.join().unwrap();
            wrong.extend(other);
            for (kind, seen) in more {
                let sum: &mut [u32; 4] = counts.entry(kind).or_default();
                sum.iter_mut().zip(seen).for_each(|(sum, seen)| *sum += seen);
            }
        }
    });
    let count = wrong.len();
    wrong.truncate(TOLD);
    assert!(wrong.is_empty(), "{kind:?}: {count} went wrong:\n{}", wrong.join("\n"));
    counts
}

fn print(what: &str, counts: &Counts) {
    println!("{what}:");
    for (kind, [detected, explained, harmless, mended]) in counts {
        let tried = detected + explained + harmless + mended;
        println!(
            "  {kind:<10} {tried:>6} tried: {detected} detected, {explained} explained as a torn end, \
             {harmless} harmless, {mended} mended"
        );
    }
}

/// Reads after each change to any file of a queue.
fn read_after_each(kind: Kind) {
    let corpus = Corpus::new(kind);
    let how = match (is_long(), kind) {
        (true, _) => Thoroughness::Every,
        (false, Kind::Checkpoint) => Thoroughness::Few,
        (false, _) => Thoroughness::Some,
    };
    let changes = corpus.changes(how);
    let counts = each_change(kind, &changes, |corpus, file, change| {
        Ok(match verdict::look(corpus, file, change)? {
            Seen::Detected => [1, 0, 0, 0],
            Seen::Explained => [0, 1, 0, 0],
            Seen::Harmless => [0, 0, 1, 0],
        })
    });
    print(&format!("read, {kind:?}, {} changes", changes.len()), &counts);
    // A checkpoint that doesn't hold is as good as none.
    let at = if kind == Kind::Checkpoint { 2 } else { 0 };
    for change in Change::KINDS {
        let seen = counts.get(change).copied().unwrap_or_default();
        assert!(seen[at] > 0, "no {change} was seen as it should be: nothing was tried");
    }
}

/// Mends after a sample of the changes to the log, or after each.
fn mend_after_some(kind: Kind) {
    let corpus = Corpus::new(kind);
    let mut changes = corpus.changes(Thoroughness::Few);
    if is_long() {
        changes = corpus.changes(Thoroughness::Some);
    }
    changes.retain(|(file, _)| corpus.is_log(*file));
    let counts = each_change(kind, &changes, |corpus, _, _| {
        verdict::mend(corpus)?;
        Ok([0, 0, 0, 1])
    });
    print(&format!("mend, {kind:?}, {} changes", changes.len()), &counts);
    assert_eq!(counts.len(), Change::KINDS.len());
}

#[test]
fn segments_that_rot_are_never_read_as_something_else() {
    read_after_each(Kind::Segments);
}

#[test]
fn a_base_that_rots_is_never_read_as_something_else() {
    read_after_each(Kind::Base);
}

/// Behind the mark nothing was acknowledged, and a torn end is no damage.
#[test]
fn what_rots_behind_the_mark_is_explained_or_told() {
    read_after_each(Kind::BehindMark);
}

#[test]
fn a_checkpoint_that_rots_is_read_anew_or_not_at_all() {
    read_after_each(Kind::Checkpoint);
}

#[test]
fn segments_that_rotted_are_mended_with_all_that_was_not_hit() {
    mend_after_some(Kind::Segments);
}

#[test]
fn a_base_that_rotted_is_mended_with_all_that_was_not_hit() {
    mend_after_some(Kind::Base);
}

#[test]
fn what_rotted_behind_the_mark_is_mended_with_all_that_was_not_hit() {
    mend_after_some(Kind::BehindMark);
}
