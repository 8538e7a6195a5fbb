//! Spans of time and sizes as people write them: `90`, `500ms`, `1h30m`, `16MiB`.
//!
//! Knows nothing of what they are the spans and sizes of.

use std::time::Duration;

use super::seconds::LONGEST;

/// The text is not a span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration, such as 90 (seconds), 500ms, 1h30m or 7d, of at most 100 years")]
pub struct BadDuration(pub String);

/// The text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a size, such as 4096 (bytes), 512KiB or 16MiB")]
pub struct BadSize(pub String);

/// Units of time in microseconds, largest first.
const TIME_UNITS: [(&str, u64); 7] = [
    ("w", 7 * 24 * 3_600_000_000),
    ("d", 24 * 3_600_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// Units of size in bytes. A letter alone is the binary unit.
const SIZE_UNITS: [(&str, u64); 14] = [
    ("b", 1),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
    ("t", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("", 1),
];

/// Reads a span: a bare number of seconds, or numbers with units (`us`, `ms`, `s`, `m`, `h`, `d`, `w`), largest first.
///
/// Errors: where it is anything else, negative, or over 100 years.
pub fn parse_duration(text: &str) -> Result<Duration, BadDuration> {
    duration(text.trim()).filter(|span| *span <= LONGEST).ok_or_else(|| BadDuration(text.into()))
}

fn duration(text: &str) -> Option<Duration> {
    if !text.contains(char::is_alphabetic) {
        return scaled(text, 1_000_000).map(Duration::from_micros);
    }
    let mut rest = text;
    let mut total: u64 = 0;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let (number, behind) = rest.split_at(rest.find(|c: char| c.is_alphabetic())?);
        let (unit, behind) =
            behind.split_at(behind.find(|c: char| !c.is_alphabetic()).unwrap_or(behind.len()));
        let (_, micros) = TIME_UNITS.into_iter().find(|(name, _)| *name == unit)?;
        if micros >= smallest {
            return None;
        }
        smallest = micros;
        total = total.checked_add(scaled(number, micros)?)?;
        rest = behind.trim_start();
    }
    (smallest != u64::MAX).then(|| Duration::from_micros(total))
}

/// Reads a decimal number and multiplies it, exactly for whole numbers.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let number = number.trim_end();
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(unit);
    }
    let value = number.parse::<f64>().ok()? * unit as f64;
    (value < 9e18).then_some(value.round() as u64)
}

/// Writes a span so that [`parse_duration`] reads it back: `1h30m`, `500ms`, `0s`.
pub fn format_duration(span: Duration) -> String {
    let mut left = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    if left == 0 {
        return "0s".into();
    }
    let mut text = String::new();
    for (name, micros) in &TIME_UNITS[1..] {
        if left >= *micros {
            text.push_str(&format!("{}{name}", left / micros));
            left %= micros;
        }
    }
    text
}

/// Reads a size: bytes, or a number with a unit in any case (`KiB`, `K`, `KB` = 1000, …).
///
/// Errors: where it is anything else, negative, or does not fit.
pub fn parse_size(text: &str) -> Result<u64, BadSize> {
    let bad = || BadSize(text.into());
    let trimmed = text.trim();
    let unit_at = trimmed.find(|c: char| c.is_alphabetic()).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(unit_at);
    let unit = unit.to_ascii_lowercase();
    let (_, bytes) = SIZE_UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
    scaled(number, bytes).ok_or_else(bad)
}

/// Writes a size so that [`parse_size`] reads it back exactly: `16MiB`, `1000`.
pub fn format_size(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let whole = units.into_iter().find(|(_, bits)| bytes != 0 && bytes.is_multiple_of(1 << bits));
    match whole {
        Some((name, bits)) => format!("{}{name}", bytes >> bits),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_written() {
        let table = [
            ("90", 90_000, "1m30s"),
            ("0", 0, "0s"),
            ("500ms", 500, "500ms"),
            ("90s", 90_000, "1m30s"),
            ("1h30m", 5_400_000, "1h30m"),
            ("1h 30m", 5_400_000, "1h30m"),
            ("7d", 604_800_000, "7d"),
            ("2w", 1_209_600_000, "14d"),
            ("1.5h", 5_400_000, "1h30m"),
            ("0.25", 250, "250ms"),
            (" 1s ", 1_000, "1s"),
            ("5.", 5_000, "5s"),
        ];
        for (text, millis, written) in table {
            let span = parse_duration(text).unwrap();
            assert_eq!(span, Duration::from_millis(millis), "{text}");
            assert_eq!(format_duration(span), written, "{text}");
            assert_eq!(parse_duration(written).unwrap(), span, "{written}");
        }
        assert_eq!(format_duration(Duration::from_micros(1_000_250)), "1s250us");
    }

    #[test]
    fn what_is_no_duration() {
        for bad in [
            "",
            "-1",
            "-5s",
            "1x",
            "s",
            "1h1h",
            "1m1h",
            "ten",
            "1e3",
            "101w5000w",
            "nan",
            "1s5",
            "99999999999999999999",
            "36501d",
            ".",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_read_and_written() {
        let table = [
            ("4096", 4096, "4KiB"),
            ("16MiB", 16 << 20, "16MiB"),
            ("512kib", 512 << 10, "512KiB"),
            ("1.5 KiB", 1536, "1536"),
            ("2M", 2 << 20, "2MiB"),
            ("1kb", 1000, "1000"),
            ("1k", 1 << 10, "1KiB"),
            ("3g", 3 << 30, "3GiB"),
            ("1t", 1 << 40, "1TiB"),
            ("5GiB", 5 << 30, "5GiB"),
            ("1.5tib", 3 << 39, "1536GiB"),
            ("0", 0, "0"),
        ];
        for (text, bytes, written) in table {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
            assert_eq!(format_size(bytes), written);
        }
        for bad in ["", "-1", "KiB", "1XiB", "99999999999TiB", "9000000.0TB", "1 2", "1e3"] {
            assert!(parse_size(bad).is_err(), "{bad:?}");
        }
    }
}
