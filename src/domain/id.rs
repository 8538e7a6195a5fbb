//! What jobs and claims are called, and what cannot be a job's id.
//!
//! Knows nothing of what a job is.

use std::fmt;
use std::sync::Arc;

use bitcode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::timestamp::Timestamp;

/// The name of a job, unique among the jobs its node enqueued.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
)]
#[serde(transparent)]
pub struct JobId(Arc<str>);

/// Why a text cannot be the id of a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{id:?} cannot be an id: {why}")]
pub struct BadId {
    /// What was given, cut where it is long.
    pub id: String,
    /// The rule it breaks.
    pub why: &'static str,
}

/// Words before a colon that make a selector, and so cannot begin an id.
pub const SELECTOR_WORDS: [&str; 5] = ["id", "name", "tag", "queue", "state"];

impl JobId {
    /// The longest id, in bytes.
    pub const LONGEST: usize = 128;

    /// Makes an id of a text a person chose.
    ///
    /// Errors: where it is empty, too long, has a control character, blank, `/` or `,`, or reads as a flag or selector.
    pub fn new(text: &str) -> Result<Self, BadId> {
        let bad = |why| {
            let id: String = text.chars().take(40).collect();
            Err(BadId { id, why })
        };
        if text.is_empty() {
            return bad("it is empty");
        }
        if text.len() > Self::LONGEST {
            return bad("it is longer than 128 bytes");
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return bad("it has a blank or control character");
        }
        if text.contains(['/', ',']) {
            return bad("it has a '/' or ','");
        }
        if text.starts_with(['-', '@', '.']) {
            return bad("it begins with '-', '@' or '.'");
        }
        if text == "all" {
            return bad("'all' selects every job");
        }
        if text.split_once(':').is_some_and(|(word, _)| SELECTOR_WORDS.contains(&word)) {
            return bad("it reads as a selector");
        }
        Ok(JobId(text.into()))
    }

    /// Makes an id of what a log holds, where an older or newer version may have been freer.
    pub fn from_log(text: &str) -> Self {
        JobId(text.into())
    }

    /// Until when an id that begins so can have been generated, as a ULID begins with its moment; none where it is none.
    pub fn generated_until(text: &str) -> Option<Timestamp> {
        const DIGITS: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        const LATEST: &str = "7ZZZZZZZZZ";
        let moment = format!("{text}{}", LATEST.get(text.len()..).unwrap_or_default());
        let moment = moment.get(..LATEST.len())?.to_ascii_uppercase();
        let digit = |c| DIGITS.find(c).and_then(|at| i64::try_from(at).ok());
        let millis = moment.chars().try_fold(0, |sum: i64, c| Some(sum * 32 + digit(c)?))?;
        let is_one = (6..=26).contains(&text.len())
            && text.chars().all(|c| digit(c.to_ascii_uppercase()).is_some());
        (is_one && moment.as_str() <= LATEST).then(|| Timestamp::from_micros(millis * 1000 + 999))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One grant of a job to a worker, `<worker>.<n>`: never given twice, so it fences late outcomes.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
)]
#[serde(transparent)]
pub struct Claim(pub String);

impl Claim {
    /// The `n`-th claim of a worker.
    pub fn new(worker: &str, n: u64) -> Self {
        Claim(format!("{worker}.{n}"))
    }

    /// The worker it was given to.
    pub fn worker(&self) -> &str {
        self.0.rsplit_once('.').map_or(self.0.as_str(), |(worker, _)| worker)
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_id_tells_its_age() {
        for (text, until) in [
            ("01KGE3H9000000000000000000", "2026-02-02T02:40:00.000999Z"),
            ("01kge3h900", "2026-02-02T02:40:00.000999Z"),
            ("01KGE3", "2026-02-02T02:48:02.303999Z"),
        ] {
            let moment = JobId::generated_until(text).map(|moment| moment.to_string());
            assert_eq!(moment.as_deref(), Some(until), "{text}");
        }
        for none in [
            "",
            "01KGE",
            "job123456",
            "01KGE3H9OO",
            "81KGE3H900",
            "é1KGE3H900",
            "01KGE3H90000000000000000000",
        ] {
            assert_eq!(JobId::generated_until(none), None, "{none}");
        }
    }

    #[test]
    fn ids_that_are_refused() {
        for bad in ["", "a b", "a/b", "a,b", "-a", "@last", ".x", "all", "tag:x", "a\nb", "id:1"] {
            assert!(JobId::new(bad).is_err(), "{bad:?}");
        }
        assert!(JobId::new(&"x".repeat(129)).is_err());
        for good in ["job1", "é", "a:b", "a.b-c", &"x".repeat(128)] {
            assert!(JobId::new(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_claim_names_its_worker() {
        let claim = Claim::new("desk.w1", 7);
        assert_eq!((claim.to_string(), claim.worker()), ("desk.w1.7".to_owned(), "desk.w1"));
        assert_eq!(Claim("odd".into()).worker(), "odd");
    }
}
