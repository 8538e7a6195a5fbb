//! Values of flags: what a word must look like to be one.
//!
//! Knows no clock and no queue.

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

/// Reads a number that is finite and at least 0.
pub(super) fn number(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if number.is_finite() && number >= 0.0 {
        Ok(number)
    } else {
        Err(format!("{text:?} is not a number of at least 0"))
    }
}
