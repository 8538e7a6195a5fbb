//! A moment, in microseconds since 1970, written as RFC 3339 in UTC.
//!
//! Knows no clock: whoever needs the time is handed one.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bitcode::{Decode, Encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// A moment in microseconds since 1970-01-01T00:00:00Z, between the years 0000 and 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
pub struct Timestamp(i64);

/// The text is not a moment in RFC 3339.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a time in RFC 3339, such as 2026-02-02T03:04:05Z")]
pub struct NotATime(pub String);

/// 0000-01-01T00:00:00Z and the last microsecond of the year 9999.
const MIN: i64 = -62_167_219_200_000_000;
const MAX: i64 = 253_402_300_799_999_999;

impl Timestamp {
    /// The earliest moment that can be written.
    pub const MIN: Timestamp = Timestamp(MIN);
    /// The latest moment that can be written.
    pub const MAX: Timestamp = Timestamp(MAX);

    /// Makes a moment of microseconds since 1970, saturating at the ends of what can be written.
    pub fn from_micros(micros: i64) -> Self {
        Timestamp(micros.clamp(MIN, MAX))
    }

    /// Microseconds since 1970.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// The moment `delay` later, saturating.
    pub fn after(self, delay: Duration) -> Self {
        let micros = i64::try_from(delay.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_add(micros))
    }

    /// The moment `span` earlier, saturating.
    pub fn before(self, span: Duration) -> Self {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_sub(micros))
    }

    /// How long after `earlier` this moment is; zero where it is not.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    fn datetime(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1000)
            .expect("BUG: a timestamp outside the years 0000 to 9999")
    }
}

impl From<OffsetDateTime> for Timestamp {
    fn from(moment: OffsetDateTime) -> Self {
        let micros = moment.unix_timestamp_nanos().div_euclid(1000);
        Self::from_micros(i64::try_from(micros).expect("BUG: a date beyond 290,000 years"))
    }
}

impl From<Timestamp> for OffsetDateTime {
    fn from(moment: Timestamp) -> Self {
        moment.datetime()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z"
        );
        let text = self.datetime().format(&shape).map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}

impl FromStr for Timestamp {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        OffsetDateTime::parse(text, &Rfc3339)
            .map(Timestamp::from)
            .map_err(|_| NotATime(text.into()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let text = "2026-02-02T03:04:05.100000Z";
        let moment: Timestamp = text.parse().unwrap();
        assert_eq!(moment.to_string(), text);
        assert_eq!("2026-02-02T04:04:05.1+01:00".parse::<Timestamp>().unwrap(), moment);
        assert!("2026-02-02 03:04".parse::<Timestamp>().is_err());
    }

    #[test]
    fn the_ends_saturate_and_can_be_written() {
        assert_eq!(Timestamp::MAX.after(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.999999Z");
        assert_eq!(Timestamp::from_micros(i64::MIN).to_string(), "0000-01-01T00:00:00.000000Z");
    }

    #[test]
    fn what_the_calendar_of_a_library_can_say_is_brought_within() {
        let of = |text: &str| Timestamp::from(OffsetDateTime::parse(text, &Rfc3339).unwrap());
        assert_eq!(of("9999-12-31T23:59:59.9999999-01:00"), Timestamp::MAX);
        assert_eq!(of("0000-01-01T00:00:00+01:00"), Timestamp::MIN);
        let micro = Timestamp::from_micros(-1);
        assert_eq!(OffsetDateTime::from(micro).unix_timestamp_nanos(), -1000);
        assert_eq!(of("1969-12-31T23:59:59.9999995Z"), micro);
        assert_eq!(micro.since(Timestamp::MIN).as_micros(), 62_167_219_199_999_999);
        assert_eq!(Timestamp::MIN.since(micro), Duration::ZERO);
    }
}
