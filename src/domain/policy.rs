//! Arithmetic of retries. Knows no job and no clock.

use std::time::Duration;

use super::seconds::LONGEST;

/// What decides how long a retry waits, once job, environment and configuration are put together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// The delay after `n` failed attempts is this to the power of `n`, in seconds.
    pub backoff_base: f64,
    /// The longest delay, before jitter.
    pub max_delay: Duration,
    /// How much longer a delay may become, as a fraction of it; never shorter.
    pub jitter: f64,
    /// After more lost runs than this a job is dead.
    pub max_lost: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            backoff_base: 2.0,
            max_delay: Duration::from_secs(3600),
            jitter: 0.0,
            max_lost: 5,
        }
    }
}

impl RetryPolicy {
    /// How long to wait after `attempts` failed attempts; `chance` in 0..1 places it within the jitter.
    ///
    /// Never shorter than `min(max_delay, backoff_base ^ attempts)`.
    pub fn retry_delay(&self, attempts: u32, chance: f64) -> Duration {
        let delay = power(self.backoff_base, attempts).min(self.max_delay);
        let extra = delay.as_secs_f64() * self.jitter.max(0.0) * chance.clamp(0.0, 1.0);
        whole_micros(delay.saturating_add(Duration::try_from_secs_f64(extra).unwrap_or_default()))
    }

    /// How long to wait after the `lost`-th lost run: none after the first, then as for attempts.
    pub fn lost_delay(&self, lost: u32) -> Duration {
        match lost {
            0 | 1 => Duration::ZERO,
            _ => whole_micros(power(self.backoff_base, lost - 1).min(self.max_delay)),
        }
    }
}

/// `base ^ exponent` seconds, saturating.
fn power(base: f64, exponent: u32) -> Duration {
    let seconds = base.max(0.0).powi(i32::try_from(exponent).unwrap_or(i32::MAX));
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// The delay as the log can hold it, so that it is the same when it is read back.
fn whole_micros(delay: Duration) -> Duration {
    Duration::from_micros(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap() {
        let policy = RetryPolicy::default();
        let seconds: Vec<u64> =
            [1, 2, 3, 11, 12, 5000, u32::MAX].map(|n| policy.retry_delay(n, 0.0).as_secs()).into();
        assert_eq!(seconds, [2, 4, 8, 2048, 3600, 3600, 3600]);
    }

    #[test]
    fn jitter_only_adds() {
        let policy = RetryPolicy { jitter: 0.5, ..RetryPolicy::default() };
        assert_eq!(policy.retry_delay(1, 0.0), Duration::from_secs(2));
        assert_eq!(policy.retry_delay(1, 1.0), Duration::from_secs(3));
        assert_eq!(policy.retry_delay(1, 7.0), Duration::from_secs(3));
    }

    #[test]
    fn the_first_lost_run_is_run_again_at_once() {
        let policy = RetryPolicy::default();
        let seconds = [0, 1, 2, 3, 4].map(|n| policy.lost_delay(n).as_secs());
        assert_eq!(seconds, [0, 0, 2, 4, 8]);
    }

    #[test]
    fn a_base_of_one_or_a_fraction_is_exact() {
        let policy = RetryPolicy { backoff_base: 1.5, ..RetryPolicy::default() };
        assert_eq!(policy.retry_delay(2, 0.0), Duration::from_millis(2250));
        let policy = RetryPolicy { backoff_base: 1.0, ..RetryPolicy::default() };
        assert_eq!(policy.retry_delay(9, 0.0), Duration::from_secs(1));
    }

    #[test]
    fn every_delay_can_be_written_and_read_back() {
        let max_delay = LONGEST;
        let policy = RetryPolicy { jitter: 1.0, max_delay, ..RetryPolicy::default() };
        for attempts in [1, 7, 60, u32::MAX] {
            for chance in [0.0, 1.0 / 3.0, 1.0] {
                let delay = policy.retry_delay(attempts, chance);
                let seconds = delay.as_micros() as f64 / 1e6;
                assert_eq!(crate::domain::seconds::from_f64(seconds), Some(delay));
            }
        }
    }
}
