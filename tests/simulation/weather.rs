//! How likely what befalls a machine is. Knows nothing of how it befalls.

use crate::random::Random;

/// Chances, each in millionths: of a turn, or of a call of its kind.
#[derive(Debug, Clone, Default)]
pub struct Weather {
    /// That the same process has the next turn too.
    pub stay: u32,
    /// How long a sync takes at most, in microseconds.
    pub sync_time: u64,
    /// That a process is killed.
    pub kill: u32,
    /// That the power is cut.
    pub cut: u32,
    /// That the clock is set.
    pub clock: u32,
    /// That a page or a size is brought to stable storage unasked.
    pub write_back: u32,
    /// That dropped pages of a file go out of memory.
    pub evict: u32,
    /// That a call fails.
    pub error: u32,
    /// That a sync of a file fails and drops pages.
    pub sync_error: u32,
    /// Whether that happens once and then not again.
    pub once: bool,
    /// That a sync of a directory fails.
    pub name_error: u32,
    /// That a write writes less than it was given.
    pub short: u32,
    /// That the disk becomes full.
    pub fill: u32,
    /// That there is room on a full disk again.
    pub empty: u32,
    /// Whether the disk is full.
    pub full: bool,
    /// Whether the disk becomes full in the middle of the next write.
    pub tears_once: bool,
    /// Whether the disk becomes full when a sync fails.
    pub fills_at_error: bool,
    /// The number of turns after which nothing befalls anybody.
    pub calm_after: u64,
}

impl Weather {
    /// The weather of a seed: some days have one kind of trouble, some have every kind.
    pub fn of(random: &mut Random) -> Self {
        let mut weather = Self {
            stay: *random.pick(&[0, 300_000, 700_000, 950_000]),
            sync_time: *random.pick(&[0, 300, 10_000]),
            clock: *random.pick(&[0, 0, 2_000]),
            write_back: *random.pick(&[0, 10_000, 100_000]),
            empty: 50_000,
            calm_after: random.between(200, 1200),
            ..Self::default()
        };
        let kind = random.below(8);
        if matches!(kind, 1 | 3 | 4 | 6 | 7) {
            weather.kill = *random.pick(&[1_000, 4_000, 15_000]);
        }
        if matches!(kind, 2 | 3 | 5 | 7) {
            weather.cut = *random.pick(&[300, 1_000, 3_000]);
        }
        if matches!(kind, 4 | 7) {
            weather.error = *random.pick(&[0, 500, 5_000]);
            weather.fill = *random.pick(&[0, 5_000]);
        }
        if matches!(kind, 5..=7) {
            weather.sync_error = *random.pick(&[10_000, 50_000, 200_000]);
            weather.name_error = weather.sync_error;
            weather.evict = *random.pick(&[0, 20_000]);
        }
        if kind != 0 {
            weather.short = *random.pick(&[0, 300_000]);
        }
        weather
    }

    /// Nothing befalls anybody from now on.
    pub fn calm(&mut self) {
        *self = Self {
            stay: self.stay,
            sync_time: self.sync_time,
            calm_after: self.calm_after,
            ..Self::default()
        };
    }
}
