//! What time it is: the system's clock, or one that stands still or is turned by hand, for tests.
//!
//! Knows nothing of the order of events; the log keeps that.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use time::OffsetDateTime;

use crate::domain::timestamp::Timestamp;

/// A wall clock.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The system's.
    #[default]
    System,
    /// One that stands still.
    Fixed(Timestamp),
    /// One that is turned by whoever shares it, in microseconds since 1970.
    Shared(Arc<AtomicI64>),
}

impl Clock {
    /// The present moment.
    pub fn now(&self) -> Timestamp {
        match self {
            Clock::System => OffsetDateTime::now_utc().into(),
            Clock::Fixed(moment) => *moment,
            Clock::Shared(micros) => Timestamp::from_micros(micros.load(Ordering::SeqCst)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn each_kind_tells_its_time() {
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
        assert!(Clock::System.now().micros() >= i64::try_from(before).unwrap());

        let moment = Timestamp::from_micros(7);
        assert_eq!(Clock::Fixed(moment).now(), moment);

        let hand = Arc::new(AtomicI64::new(1));
        let clock = Clock::Shared(Arc::clone(&hand));
        assert_eq!(clock.now().micros(), 1);
        hand.store(2, Ordering::SeqCst);
        assert_eq!(clock.now().micros(), 2);
    }
}
