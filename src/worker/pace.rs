//! How many jobs to claim ahead, and how long outcomes may wait for company, so that slots never wait for the disk.
//!
//! Arithmetic over what was measured; unaware of jobs.

use std::time::Duration;

/// A claim that was made ahead and not started after this long is given back.
pub const STALE: Duration = Duration::from_millis(50);

/// How long outcomes may wait for others while no slot is idle: one append and one sync then serve them all.
pub const GATHER: Duration = Duration::from_millis(10);

/// The most claims made ahead.
const MOST: usize = 256;

/// Moving averages of how long runs and commits take.
#[derive(Debug, Default)]
pub struct Pace {
    run: Option<Duration>,
    commit: Option<Duration>,
    /// How many runs in a row were short: no more are claimed ahead than were seen to be.
    short: usize,
}

impl Pace {
    /// Takes in how long a run took. A long one counts at once and is forgotten slowly: where jobs are of all lengths,
    /// what is claimed ahead would wait behind the next long one.
    pub fn ran(&mut self, time: Duration) {
        self.run = Some(mean(self.run, time).max(time.min(STALE)));
        self.short = if time < STALE / 2 { self.short.saturating_add(1) } else { 0 };
    }

    /// Takes in that what was claimed ahead had to be given back: nothing is, until short runs are seen again.
    pub fn went_stale(&mut self) {
        self.short = 0;
    }

    /// Takes in how long a commit took.
    pub fn committed(&mut self, time: Duration) {
        self.commit = Some(mean(self.commit, time));
    }

    /// How many jobs to have claimed beyond what `slots` run: as many as they get through while a commit gathers and
    /// takes, and none where runs take so long that those would go stale.
    pub fn ahead(&self, slots: usize) -> usize {
        let (Some(run), Some(commit)) = (self.run, self.commit) else { return 0 };
        if run >= STALE / 2 {
            return 0;
        }
        let run = run.as_micros().max(100);
        let span = (commit + GATHER).min(STALE / 2).as_micros();
        let ahead = usize::try_from(span.div_ceil(run)).unwrap_or(MOST);
        ahead.saturating_mul(slots).min(MOST.max(slots)).min(self.short)
    }
}

fn mean(before: Option<Duration>, now: Duration) -> Duration {
    before.map_or(now, |before| (before * 7 + now) / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_jobs_are_claimed_ahead_and_long_ones_not() {
        let mut pace = Pace::default();
        assert_eq!(pace.ahead(2), 0, "nothing is known yet");
        pace.committed(Duration::from_millis(2));
        pace.ran(Duration::from_millis(1));
        assert_eq!(pace.ahead(2), 1, "one short job says little");
        for _ in 0..2000 {
            pace.ran(Duration::from_millis(1));
        }
        assert_eq!(pace.ahead(2), 24);
        assert_eq!(pace.ahead(1000), 1000);
        pace.went_stale();
        assert_eq!(pace.ahead(2), 0, "what went stale once would again");
        pace.ran(Duration::from_secs(1));
        assert_eq!(pace.ahead(2), 0, "one long job is enough");
        for _ in 0..50 {
            pace.ran(Duration::from_millis(1));
        }
        assert!(pace.ahead(2) > 0, "and is forgotten in time");
    }
}
