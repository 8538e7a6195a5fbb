//! Names that nobody has had before: ULIDs for jobs and batches, base32 endings for nodes and workers.
//!
//! By chance from the system, or from a seed, and then the same in every process that is given it. Knows no clock.

use ulid::Ulid;

use crate::domain::timestamp::Timestamp;

/// Crockford's base32 in lower case: no `i`, `l`, `o` and `u`, which are misread.
const BASE32: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// How long the ending of a worker's id is.
pub const WORKER_SUFFIX: usize = 8;

/// How long the ending of a node's id is.
pub const NODE_SUFFIX: usize = 4;

/// The bits of a ULID that are chance.
const RANDOM_BITS: u32 = 80;

/// A source of names.
#[derive(Debug)]
pub struct Ids {
    chance: Chance,
    last: Option<Ulid>,
}

#[derive(Debug)]
enum Chance {
    System,
    Seeded(u64),
}

impl Ids {
    /// Names by the system's chance, or from a seed, which may be any text.
    pub fn new(seed: Option<&str>) -> Self {
        let chance = seed.map_or(Chance::System, |seed| Chance::Seeded(fnv1a(seed.as_bytes())));
        Ids { chance, last: None }
    }

    /// A ULID of this moment. Those of one source sort in the order they were given, also within a millisecond and
    /// when the clock is set back.
    pub fn ulid(&mut self, now: Timestamp) -> String {
        let milliseconds = u64::try_from(now.micros() / 1000).unwrap_or(0);
        let fresh = Ulid::from_parts(milliseconds, self.random(RANDOM_BITS));
        let next = match self.last {
            // The increment fails only after 2^80 names in a millisecond.
            Some(last) if last.timestamp_ms() >= milliseconds => last.increment().unwrap_or(fresh),
            Some(_) | None => fresh,
        };
        self.last = Some(next);
        next.to_string()
    }

    /// `length` random base32 characters.
    pub fn suffix(&mut self, length: usize) -> String {
        (0..length).map(|_| char::from(BASE32[(self.random(5)) as usize])).collect()
    }

    /// The id of a new worker of this node: `<node>.<8 base32 characters>`.
    pub fn worker(&mut self, node: &str) -> String {
        format!("{node}.{}", self.suffix(WORKER_SUFFIX))
    }

    /// A number from 0 up to but not including 1.
    pub fn fraction(&mut self) -> f64 {
        self.random(53) as f64 / (1_u64 << 53) as f64
    }

    /// So many bits of chance.
    fn random(&mut self, bits: u32) -> u128 {
        let random = match &mut self.chance {
            Chance::System => Ulid::generate().random(),
            Chance::Seeded(state) => {
                u128::from(splitmix64(state)) << 64 | u128::from(splitmix64(state))
            }
        };
        random & ((1 << bits) - 1)
    }
}

/// Whether a text is made of so many base32 characters.
pub fn is_suffix(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| BASE32.contains(&byte))
}

/// The next of a well-mixed sequence (Steele, Lea and Flood, 2014).
fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A number made of a text (Fowler, Noll and Vo).
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_seed_gives_the_same_names_for_ever() {
        let now = "2026-02-02T03:04:05Z".parse().unwrap();
        let mut ids = Ids::new(Some("1"));
        assert_eq!(ids.ulid(now), SEEDED_ULID);
        assert_eq!(ids.worker("desk-7f3a"), SEEDED_WORKER);
        assert_ne!(Ids::new(Some("2")).ulid(now), SEEDED_ULID);
    }

    const SEEDED_ULID: &str = "01KGE4XC483FTSYDCCQQFM8RYS";
    const SEEDED_WORKER: &str = "desk-7f3a.52wxx4mm";

    #[test]
    fn chance_gives_other_names_each_time() {
        let now = Timestamp::from_micros(1_000_000);
        let names: HashSet<String> = (0..100).map(|_| Ids::new(None).ulid(now)).collect();
        assert_eq!(names.len(), 100);
        let suffix = Ids::new(None).suffix(NODE_SUFFIX);
        assert!(is_suffix(&suffix, NODE_SUFFIX), "{suffix}");
        assert!(!is_suffix("abcl", NODE_SUFFIX) && !is_suffix("abc", NODE_SUFFIX));
    }

    #[test]
    fn ulids_sort_as_given_even_when_the_clock_goes_back() {
        let mut ids = Ids::new(None);
        let moments = [5_000, 5_000, 9_000, 2_000, 9_001];
        let names: Vec<String> =
            moments.map(|micros| ids.ulid(Timestamp::from_micros(micros))).into();
        assert!(names.is_sorted(), "{names:?}");
        let milliseconds = names.iter().map(|name| name.parse::<Ulid>().unwrap().timestamp_ms());
        assert!(milliseconds.eq([5, 5, 9, 9, 9]), "{names:?}");
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    }

    #[test]
    fn fractions_stay_below_one() {
        let mut ids = Ids::new(Some("x"));
        let fractions: Vec<f64> = (0..1000).map(|_| ids.fraction()).collect();
        assert!(fractions.iter().all(|fraction| (0.0..1.0).contains(fraction)));
        assert!(fractions.iter().any(|fraction| *fraction > 0.9));
        assert!(fractions.iter().any(|fraction| *fraction < 0.1));
    }
}
