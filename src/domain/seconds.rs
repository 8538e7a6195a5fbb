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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, Deserialize)]
    struct Spans {
        #[serde(with = "super")]
        one: Duration,
        #[serde(with = "super::option")]
        other: Option<Duration>,
    }

    #[test]
    fn as_json_and_back() {
        for (one, other, json) in [
            (0, None, r#"{"one":0,"other":null}"#),
            (2_000_000, Some(1), r#"{"one":2,"other":1e-6}"#),
            (1_500_000, Some(90_000_000), r#"{"one":1.5,"other":90}"#),
        ] {
            let other = other.map(Duration::from_micros);
            let spans = Spans { one: Duration::from_micros(one), other };
            assert_eq!(serde_json::to_string(&spans).unwrap(), json);
            assert_eq!(serde_json::from_str::<Spans>(json).unwrap(), spans);
        }
    }

    #[test]
    fn a_hundred_years_and_no_more_in_whole_microseconds() {
        let years = 3_153_600_000.0;
        assert_eq!(from_f64(years), Some(LONGEST));
        assert_eq!(from_f64(0.000_000_4), Some(Duration::ZERO));
        assert_eq!(from_f64(0.000_001_6), Some(Duration::from_micros(2)));
        for wrong in [years + 1.0, -1.0, f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(from_f64(wrong), None, "{wrong}");
        }
        for json in [r#"{"one":-1,"other":null}"#, r#"{"one":1,"other":-1}"#] {
            let error = serde_json::from_str::<Spans>(json).unwrap_err().to_string();
            assert!(error.contains("-1 is not a span of 0 seconds to 100 years"), "{error}");
        }
    }
}
