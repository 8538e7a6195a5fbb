//! Values of flags: what a word must look like to be one.
//!
//! Knows no clock and no queue.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use crate::domain::job::JobState;
use crate::domain::suggest::closest;
use crate::domain::units::parse_duration;

/// A duration, or explicitly none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionalDuration(pub Option<Duration>);

/// Reads a duration.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

/// Reads a duration; 0 and `none` mean that there is none.
pub(super) fn optional_duration(text: &str) -> Result<OptionalDuration, String> {
    if text.eq_ignore_ascii_case("none") {
        return Ok(OptionalDuration(None));
    }
    let span = duration(text).map_err(|error| format!("{error}, nor none"))?;
    Ok(OptionalDuration((!span.is_zero()).then_some(span)))
}

/// Reads one of the six states, in any case.
pub(super) fn state(text: &str) -> Result<JobState, String> {
    text.trim().parse().map_err(|error: crate::domain::job::UnknownState| {
        match closest(text, JobState::ALL.map(JobState::name)) {
            Some(state) => format!("{error}\n\n  tip: did you mean '{state}'?"),
            None => error.to_string(),
        }
    })
}

/// Reads whole numbers of this range.
pub(super) fn whole<T>(
    range: RangeInclusive<T>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    move |text| match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!("it takes a whole number from {} to {}", range.start(), range.end())),
    }
}

/// Reads a number that is finite and at least 0.
pub(super) fn number(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if number.is_finite() && number >= 0.0 {
        Ok(number)
    } else {
        Err(format!("{text:?} is not a number of at least 0"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_of_a_range() {
        let slots = whole(1..=1024_u32);
        assert_eq!((slots("1"), slots("1024")), (Ok(1), Ok(1024)));
        for bad in ["0", "1025", "-1", "x", "", "3.5", "99999999999"] {
            assert_eq!(slots(bad).unwrap_err(), "it takes a whole number from 1 to 1024", "{bad}");
        }
        assert_eq!(whole(i32::MIN..=i32::MAX)("-5"), Ok(-5));
    }
}
