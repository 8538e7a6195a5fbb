//! Moments as people name them: RFC 3339 with an offset, `+10m`, `18:30`; and, looking back, `1h` ago.
//!
//! Knows no clock: the moment it is now is handed in.

use std::time::Duration;

use super::Surroundings;
use crate::cli::error::Failure;
use crate::domain::timestamp::Timestamp;
use crate::domain::units::parse_duration;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Reads a moment to come: RFC 3339 with an offset, `+DURATION`, `HH:MM` (the next such local time) or `now`.
///
/// Errors: anything else, with a hint; a bare number and a time without an offset say too little.
pub fn to_come(text: &str, around: &Surroundings<'_>) -> Result<Timestamp, Failure> {
    let text = text.trim();
    if text == "now" {
        return Ok(around.now);
    }
    if let Some(span) = text.strip_prefix('+') {
        let span = parse_duration(span).map_err(|error| Failure::refused(error.to_string()))?;
        return Ok(around.now.after(span));
    }
    if let Some((hour, minute)) = clock_time(text) {
        return Ok(next_local(hour, minute, around));
    }
    text.parse().map_err(|_| not_a_moment(text))
}

/// Reads a moment gone by: RFC 3339 with an offset, or a duration: that long ago.
///
/// Errors: anything else, with a hint.
pub fn gone_by(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let text = text.trim();
    match parse_duration(text) {
        Ok(span) => Ok(now.before(span)),
        Err(_) => text.parse().map_err(|_| {
            Failure::refused(format!("{text:?} is neither a time nor a duration"))
                .hint("give a time as 2026-02-02T03:04:05Z, or how long ago, as 1h30m")
        }),
    }
}

fn not_a_moment(text: &str) -> Failure {
    let hint = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        format!("for {text} seconds from now write +{text}s; a time needs a date and an offset")
    } else if is_clock_shaped(text) {
        "the local times of a day are 00:00 to 23:59".to_owned()
    } else if text.starts_with(|c: char| c.is_ascii_digit()) && text.contains(':') {
        "a time needs its offset, as 2026-02-02T03:04:05Z or 2026-02-02T03:04:05+01:00".to_owned()
    } else {
        "give a time as 2026-02-02T03:04:05Z, +10m (from now) or 18:30 (local time)".to_owned()
    };
    Failure::refused(format!("{text:?} is not a moment")).hint(hint)
}

/// Whether it looks like `HH:MM`.
fn is_clock_shaped(text: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    text.split_once(':').is_some_and(|(hour, minute)| {
        (1..=2).contains(&hour.len()) && minute.len() == 2 && digits(hour) && digits(minute)
    })
}

fn clock_time(text: &str) -> Option<(u32, u32)> {
    let (hour, minute) = text.split_once(':').filter(|_| is_clock_shaped(text))?;
    let (hour, minute) = (hour.parse().ok()?, minute.parse().ok()?);
    (hour < 24 && minute < 60).then_some((hour, minute))
}

/// The first moment after now at which local clocks show this time.
fn next_local(hour: u32, minute: u32, around: &Surroundings<'_>) -> Timestamp {
    const MICROS: i64 = 1_000_000;
    let offset_at = |moment| i64::from((around.local_offset)(moment)) * MICROS;
    let day = i64::try_from(DAY.as_micros()).unwrap_or(i64::MAX);
    let of_day = i64::from(hour * 3600 + minute * 60) * MICROS;
    let today = (around.now.micros() + offset_at(around.now)).div_euclid(day);
    let moment_on = |date: i64| {
        let local = date * day + of_day;
        let guess = Timestamp::from_micros(local - offset_at(around.now));
        // The clocks may be put forward or back between now and then.
        Timestamp::from_micros(local - offset_at(guess))
    };
    let candidates = (today..today + 3).map(moment_on);
    candidates.into_iter().find(|moment| *moment > around.now).unwrap_or(around.now.after(DAY))
}
