//! What a mistyped word may have been meant as.
//!
//! Knows no list of words: whoever asks brings the ones that are allowed.

/// The longest word that is compared, in bytes.
const LONGEST: usize = 64;

/// Returns the allowed word that `word` is most like, where one is like it at all.
///
/// Case, dashes and underscores make no difference. A long word is like none: comparing takes the square of its length.
pub fn closest<'a>(word: &str, allowed: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let word = plain(word);
    let scored =
        allowed.into_iter().map(|known| (strsim::jaro_winkler(&word, &plain(known)), known));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.8).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        let allowed = ["max_retries", "max_delay", "timeout"];
        assert_eq!(closest("max-retrys", allowed), Some("max_retries"));
        assert_eq!(closest("TIMEOUTS", allowed), Some("timeout"));
        assert_eq!(closest("colour", allowed), None);
        assert_eq!(closest("", allowed), None);
        assert_eq!(closest(&"max_retries".repeat(100_000), allowed), None);
    }

    #[test]
    fn a_word_of_64_bytes_is_still_compared() {
        let (word, longer) = ("x".repeat(64), "x".repeat(65));
        assert_eq!(closest(&word, [word.as_str()]), Some(word.as_str()));
        assert_eq!(closest(&longer, [longer.as_str()]), None);
    }
}
