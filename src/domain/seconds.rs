//! Spans of time as JSON numbers of seconds, exact to the microsecond.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer};

/// The longest span that is accepted: 100 years of 365 days.
pub const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Makes a span of a number of seconds; `None` where it is negative, not finite or over [`LONGEST`].
pub fn from_f64(seconds: f64) -> Option<Duration> {
    let span = Duration::try_from_secs_f64(seconds).ok()?;
    let rounded = Duration::from_micros(u64::try_from((span.as_nanos() + 500) / 1000).ok()?);
    (rounded <= LONGEST).then_some(rounded)
}

/// Writes a span as a whole number of seconds, or with a fraction where it has one.
pub fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    if span.subsec_micros() == 0 {
        serializer.serialize_u64(span.as_secs())
    } else {
        serializer.serialize_f64(span.as_micros() as f64 / 1e6)
    }
}

/// Reads a number of seconds.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    from_f64(seconds).ok_or_else(|| {
        serde::de::Error::custom(format!("{seconds} is not a span of 0 seconds to 100 years"))
    })
}

/// The same for a span that may be absent.
pub mod option {
    use super::*;

    /// Writes the span, or null.
    pub fn serialize<S: Serializer>(
        span: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match span {
            Some(span) => super::serialize(span, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads a number of seconds, or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        match Option::<f64>::deserialize(deserializer)? {
            None => Ok(None),
            Some(seconds) => from_f64(seconds).map(Some).ok_or_else(|| {
                serde::de::Error::custom(format!(
                    "{seconds} is not a span of 0 seconds to 100 years"
                ))
            }),
        }
    }
}
