//! What a seed stands for: how many lives a queue has, who works in each, and when the power goes.

use std::time::Duration;

use crate::rig::random::Random;

/// A queue and its lives. Each but the last ends with a cut.
#[derive(Debug)]
pub struct Plan {
    pub seed: u64,
    /// In bytes; small, so that new segments are begun all the time.
    pub segment_size: u64,
    pub lives: Vec<Life>,
}

/// What happens until a cut.
#[derive(Debug)]
pub struct Life {
    pub enqueuers: usize,
    /// The slots of each worker.
    pub workers: Vec<u64>,
    /// The power goes once so much was told, as a busy machine does less in the same time,
    pub told: usize,
    /// and then so long after.
    pub then: Duration,
}

impl Plan {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let segment_size = 4096 << random.below(4);
        let lives = (0..1 + random.below(3)).map(|_| Life::new(&mut random)).collect();
        Plan { seed, segment_size, lives }
    }
}

impl Life {
    fn new(random: &mut Random) -> Self {
        // Early cuts meet directories that are being made and a first segment, late ones a queue at work.
        let (told, then) = match random.below(4) {
            0 => (0, random.between(0, 40_000)),
            _ => (1 + random.below(60), random.between(0, 8_000)),
        };
        Life {
            enqueuers: 1 + random.below(3),
            workers: (0..1 + random.below(2)).map(|_| random.between(2, 4)).collect(),
            told,
            then: Duration::from_micros(then),
        }
    }
}
