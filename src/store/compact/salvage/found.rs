//! Which lines of a damaged log were found.

/// Which lines were found, as the ranges of `seq` that they make, in the order in which they stood.
#[derive(Default)]
pub(super) struct Found(Vec<(u64, u64)>);

impl Found {
    pub(super) fn add(&mut self, seq: u64) {
        match self.0.last_mut() {
            Some((_, to)) if to.checked_add(1) == Some(seq) => *to = seq,
            _ => self.0.push((seq, seq)),
        }
    }

    /// Those above `first` and up to `last` that were not.
    pub(super) fn missing(mut self, first: u64, last: u64) -> Vec<(u64, u64)> {
        self.0.sort_unstable();
        let (mut missing, mut next) = (Vec::new(), first.saturating_add(1));
        for (from, to) in self.0 {
            if from > next {
                missing.push((next, from - 1));
            }
            next = next.max(to.saturating_add(1));
        }
        if next <= last {
            missing.push((next, last));
        }
        missing
    }

    /// The highest that was.
    pub(super) fn last(&self) -> u64 {
        self.0.iter().map(|(_, to)| *to).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_found_lies_between_what_was() {
        let of = |seqs: &[u64]| {
            let mut found = Found::default();
            seqs.iter().for_each(|seq| found.add(*seq));
            found
        };
        assert_eq!(of(&[]).missing(0, 3), [(1, 3)]);
        assert_eq!(of(&[1, 2, 3]).missing(0, 3), []);
        assert_eq!(of(&[5, 6, 2, 6, 9]).missing(0, 9), [(1, 1), (3, 4), (7, 8)]);
        assert_eq!(of(&[5, 6, 2, 9]).missing(4, 11), [(7, 8), (10, 11)]);
        assert_eq!((of(&[5, 9, 2]).last(), of(&[]).last()), (9, 0));
    }
}
