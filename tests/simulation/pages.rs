//! The bytes of a simulated file: once as processes read them, once as they are on stable storage.
//!
//! Each page gets there by itself, and the size apart from them. Knows no names.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::medium::count;
use crate::random::Random;

/// The least that is written in one piece, in bytes. Devices promise 512; less makes more of the short lines torn.
pub const SECTOR: usize = 64;

/// The bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pages {
    page: usize,
    /// As a process reads them.
    seen: Vec<u8>,
    /// As they are on stable storage, whatever the size there says.
    stable: Vec<u8>,
    stable_len: usize,
    writes: u64,
    /// Pages that were written to and not brought to stable storage, each with the number of the last write.
    dirty: BTreeMap<usize, u64>,
    /// The last write that a page on stable storage holds.
    stored: BTreeMap<usize, u64>,
}

/// A sync that has begun: what was there then.
#[derive(Debug, Default)]
pub struct Snapshot {
    pages: Vec<(usize, u64, Vec<u8>)>,
    len: usize,
}

impl Pages {
    /// An empty file with pages of so many bytes.
    pub fn new(page: usize) -> Self {
        Self {
            page,
            seen: Vec::new(),
            stable: Vec::new(),
            stable_len: 0,
            writes: 0,
            dirty: BTreeMap::new(),
            stored: BTreeMap::new(),
        }
    }

    /// The bytes as a process reads them.
    pub fn seen(&self) -> &[u8] {
        &self.seen
    }

    /// The bytes as they are on stable storage.
    pub fn stable(&self) -> &[u8] {
        &self.stable[..self.stable.len().min(self.seen.len())]
    }

    /// Writes at an offset, or at the end where none is given.
    pub fn write(&mut self, bytes: &[u8], offset: Option<usize>) {
        if bytes.is_empty() {
            return;
        }
        let start = offset.unwrap_or(self.seen.len());
        let end = start + bytes.len();
        if self.seen.len() < end {
            self.seen.resize(end, 0);
        }
        self.seen[start..end].copy_from_slice(bytes);
        self.writes += 1;
        for number in start / self.page..=(end - 1) / self.page {
            self.dirty.insert(number, self.writes);
        }
    }

    /// Begins a sync.
    pub fn begin_sync(&self) -> Snapshot {
        let page = |(number, write): (&usize, &u64)| {
            (*number, *write, self.seen[self.range(*number)].to_vec())
        };
        Snapshot { pages: self.dirty.iter().map(page).collect(), len: self.seen.len() }
    }

    /// Ends a sync.
    pub fn finish_sync(&mut self, snapshot: Snapshot) {
        for (number, write, bytes) in snapshot.pages {
            // Another sync may have stored the page since, with more in it.
            if self.stored.get(&number).is_none_or(|stored| *stored < write) {
                self.store(number * self.page, &bytes);
                self.stored.insert(number, write);
            }
            if self.dirty.get(&number) == Some(&write) {
                self.dirty.remove(&number);
            }
        }
        self.stable_len = self.stable_len.max(snapshot.len);
    }

    /// Stores every page, but not the size.
    pub fn flush(&mut self) {
        let pages = Snapshot { len: 0, ..self.begin_sync() };
        self.finish_sync(pages);
    }

    /// Drops some of what was not brought to stable storage: it still reads as it was written, and no later sync brings it
    /// there, unless its page is written to again.
    pub fn drop_some(&mut self, random: &mut Random) {
        let dropped = *random.pick(&[1_000_000, 500_000]);
        for (number, write) in std::mem::take(&mut self.dirty) {
            if !random.chance(dropped) {
                self.store_page(number, write);
            }
        }
        if random.chance(500_000) {
            self.stable_len = self.seen.len();
        }
    }

    /// Reads the pages that are not about to be written anew from stable storage, where some may have been dropped.
    pub fn evict(&mut self) {
        for number in 0..self.seen.len().div_ceil(self.page) {
            if !self.dirty.contains_key(&number) {
                let range = self.range(number);
                self.stable.resize(self.stable.len().max(range.end), 0);
                self.seen[range.clone()].copy_from_slice(&self.stable[range]);
            }
        }
    }

    /// Whether something is still to be brought to stable storage.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Whether all of it is on stable storage.
    pub fn is_at_rest(&self) -> bool {
        self.dirty.is_empty() && self.synced() == self.seen
    }

    /// Changes bytes of a file that rests, in memory and on stable storage. No sync that is under way brings them back.
    pub fn wound(&mut self, start: usize, bytes: &[u8]) {
        self.write(bytes, Some(start));
        for (number, write) in std::mem::take(&mut self.dirty) {
            self.store_page(number, write);
        }
    }

    /// Brings a page, or the size, to stable storage.
    pub fn write_back(&mut self, random: &mut Random) {
        let dirty: Vec<(usize, u64)> = self.dirty.iter().map(|(n, write)| (*n, *write)).collect();
        if !dirty.is_empty() {
            let (number, write) = *random.pick(&dirty);
            self.dirty.remove(&number);
            self.store_page(number, write);
        }
        if random.chance(300_000) {
            self.stable_len = self.seen.len();
        }
    }

    /// The bytes that are left if the power is cut now and nothing survives but what was synced.
    pub fn synced(&self) -> &[u8] {
        &self.stable[..self.stable.len().min(self.stable_len)]
    }

    /// Cuts the power: of each page that was not synced survives all, nothing or some sectors, with `kept` millionths for
    /// all; and of the size any between the old and the new one. Where a page was never written there are zeros, or one of
    /// the `freed` pages. Says whether anything reads otherwise than before.
    pub fn cut_power(
        &mut self,
        kept: u32,
        freed: &[Vec<u8>],
        random: &mut Random,
        sampled: &mut BTreeMap<&'static str, u64>,
    ) -> bool {
        let torn = if kept == 0 { 0 } else { *random.pick(&[0, 0, 300_000]) };
        // The end may be there and what stands before it not, which is the worst to find out.
        let only_end = kept > 0 && random.chance(300_000);
        let dirty = std::mem::take(&mut self.dirty);
        let last = dirty.keys().next_back().copied();
        let (old, mut stored, mut lost) = (self.stable.len(), Vec::new(), Vec::new());
        for (number, write) in dirty {
            let Range { start, end } = self.range(number);
            let stays = match only_end {
                true => Some(number) == last || random.chance(500_000),
                false if random.chance(torn) => {
                    count(sampled, "a page torn");
                    for start in (start..end).step_by(SECTOR).filter(|_| random.chance(500_000)) {
                        let sector = self.seen[start..(start + SECTOR).min(end)].to_vec();
                        self.store(start, &sector);
                    }
                    continue;
                }
                false => random.chance(kept),
            };
            match stays {
                true => {
                    self.store_page(number, write);
                    stored.push(start..end);
                }
                false => lost.push(start..end),
            }
        }
        let grown = self.stable_len;
        self.stable_len = match only_end {
            true => self.seen.len(),
            false => self.size_left(kept, random),
        };
        self.stable.resize(self.stable_len, 0);
        for range in lost.iter().filter(|range| range.start >= old && range.end <= self.stable_len)
        {
            if !freed.is_empty() {
                count(sampled, "a stale page");
                self.stable[range.clone()].copy_from_slice(&random.pick(freed)[..range.len()]);
            }
        }
        self.look_at_pages(&stored, &lost, grown, sampled);
        let changed = self.seen != self.stable;
        self.seen = self.stable.clone();
        self.stored.clear();
        changed
    }

    /// Counts in which ways the pages that were stored fit to those that were lost, and to the size that was `grown` from.
    fn look_at_pages(
        &self,
        stored: &[Range<usize>],
        lost: &[Range<usize>],
        grown: usize,
        sampled: &mut BTreeMap<&'static str, u64>,
    ) {
        let len = self.stable_len;
        let is_in = |range: &Range<usize>| range.start < len;
        let earlier = lost.first().map_or(usize::MAX, |range| range.start);
        for (what, is_seen) in [
            ("a page kept", !stored.is_empty()),
            ("a page lost", !lost.is_empty()),
            (
                "a later page without an earlier one",
                stored.iter().any(|range| range.start > earlier && is_in(range)),
            ),
            (
                "a size without its data",
                len > grown && lost.iter().any(|range| range.end > grown && is_in(range)),
            ),
            (
                "data without its size",
                len < self.seen.len() && stored.iter().any(|range| range.end > len),
            ),
        ] {
            if is_seen {
                count(sampled, what);
            }
        }
    }

    /// The size after a power cut: any between the old and the new one.
    fn size_left(&self, kept: u32, random: &mut Random) -> usize {
        let (low, high) = (self.stable_len as u64, self.seen.len() as u64);
        if low >= high {
            return self.stable_len;
        }
        let between = random.between(low, high);
        let choices = match (kept, random.chance(kept)) {
            (0, _) => [low, low],
            (_, true) => [high, between],
            (_, false) => [low, between],
        };
        usize::try_from(*random.pick(&choices)).unwrap()
    }

    /// Where a page is.
    fn range(&self, number: usize) -> Range<usize> {
        number * self.page..((number + 1) * self.page).min(self.seen.len())
    }

    fn store_page(&mut self, number: usize, write: u64) {
        let bytes = self.seen[self.range(number)].to_vec();
        self.store(number * self.page, &bytes);
        self.stored.insert(number, write);
    }

    fn store(&mut self, start: usize, bytes: &[u8]) {
        let end = start + bytes.len();
        if self.stable.len() < end {
            self.stable.resize(end, 0);
        }
        self.stable[start..end].copy_from_slice(bytes);
    }
}
