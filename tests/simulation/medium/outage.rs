//! The power cut: what is left of a medium, as chance has it, and which ways to survive were seen.
//!
//! Knows no process and no log.

use std::collections::BTreeSet;

use super::{Change, Content, Inode, Medium, ROOT, count};
use crate::random::Random;

/// So many pages of files that are gone are remembered.
const FREED: usize = 64;

impl Medium {
    /// Cuts the power: what was not synced survives in part, by chance, and everything else is as it was synced.
    pub fn cut_power(&mut self, random: &mut Random) {
        // A power cut may also come when all is written, or nothing.
        let kept = *random.pick(&[0, 200_000, 500_000, 800_000, 1_000_000]);
        // Most file systems show zeros where a page was never written, some show what was there before.
        let stale = random.chance(300_000);
        let freed = if stale { self.freed.as_slice() } else { &[] };
        let mut changed = BTreeSet::new();
        for (inode, node) in &mut self.nodes {
            (node.errors, node.told) = (0, false);
            if let Content::File(pages) = &mut node.content
                && pages.cut_power(kept, freed, random, &mut self.sampled)
            {
                changed.insert(*inode);
            }
        }
        let changes = std::mem::take(&mut self.pending);
        let (kept, lost): (Vec<_>, Vec<_>) = changes.into_iter().partition(|_| random.chance(kept));
        self.look_at_names(&kept, &lost, &changed);
        self.settle(kept);
        self.forget_what_has_no_name();
    }

    /// The files whose names end so, with the bytes that are left if the power is cut now and nothing survives but what
    /// was synced.
    pub fn synced(&self, ending: &str) -> Vec<(&str, &[u8])> {
        let mut synced = Vec::new();
        let mut waiting = vec![ROOT];
        while let Some(directory) = waiting.pop() {
            for (name, inode) in self.stable_names.get(&directory).into_iter().flatten() {
                match &self.nodes[inode].content {
                    Content::Directory(_) => waiting.push(*inode),
                    Content::File(pages) if name.ends_with(ending) => {
                        synced.push((name.as_str(), pages.synced()));
                    }
                    Content::File(_) => {}
                }
            }
        }
        synced
    }

    /// Whether a file of this name ever failed to be synced, so that no later sync says much.
    pub fn has_failed(&self, name: &str) -> bool {
        let mut named = self.stable_names.values().flatten().filter(|(other, _)| *other == name);
        named.any(|(_, inode)| self.nodes[inode].errors > 0)
    }

    /// Remembers the pages of a file that is gone.
    pub(super) fn free(&mut self, content: &Content) {
        if let Content::File(pages) = content {
            self.freed.extend(pages.stable().chunks_exact(self.page).map(<[u8]>::to_vec));
            let surplus = self.freed.len().saturating_sub(FREED);
            self.freed.drain(..surplus);
        }
    }

    /// Counts in which ways the changes of names that were kept fit to those that were lost, and to the bytes.
    fn look_at_names(
        &mut self,
        kept: &[(Inode, u64, Change)],
        lost: &[(Inode, u64, Change)],
        changed: &BTreeSet<Inode>,
    ) {
        let later = |is_first: fn(&Change) -> bool, is_second: fn(&Change) -> bool| {
            lost.iter().filter(|(_, _, change)| is_first(change)).any(|(at, number, _)| {
                let mut kept = kept.iter().filter(|(_, _, change)| is_second(change));
                kept.any(|(other, later, _)| other == at && later > number)
            })
        };
        let is_new = |change: &Change| !matches!(change, Change::Unlink { .. });
        let is_gone = |change: &Change| matches!(change, Change::Unlink { .. });
        let is_renamed = |change: &Change| matches!(change, Change::Rename { .. });
        let inode = |change: &Change| match change {
            Change::Link { inode, .. } | Change::Rename { inode, .. } => Some(*inode),
            Change::Unlink { .. } => None,
        };
        let has_lost =
            |change: &Change| inode(change).is_some_and(|inode| changed.contains(&inode));
        let is_whole = |change: &Change| {
            inode(change).is_some_and(|inode| {
                let content = &self.nodes.get(&inode).map(|node| &node.content);
                let has_bytes = matches!(content, Some(Content::File(p)) if !p.seen().is_empty());
                has_bytes && !changed.contains(&inode)
            })
        };
        let seen = [
            ("a name without its data", kept.iter().any(|(_, _, change)| has_lost(change))),
            ("data without its name", lost.iter().any(|(_, _, change)| is_whole(change))),
            ("a later name without an earlier one", later(is_new, is_new)),
            ("an unlink without a rename before it", later(is_renamed, is_gone)),
            ("a rename without an unlink before it", later(is_gone, is_renamed)),
            ("a later unlink without an earlier one", later(is_gone, is_gone)),
        ];
        for (what, _) in seen.iter().filter(|(_, seen)| *seen) {
            count(&mut self.sampled, what);
        }
    }

    fn forget_what_has_no_name(&mut self) {
        let mut reached = BTreeSet::from([ROOT]);
        let mut waiting = vec![ROOT];
        while let Some(directory) = waiting.pop() {
            let names = self.stable_names.get(&directory).cloned().unwrap_or_default();
            for inode in names.values().filter(|inode| reached.insert(**inode)) {
                if matches!(self.nodes[inode].content, Content::Directory(_)) {
                    waiting.push(*inode);
                }
            }
        }
        let gone: Vec<_> = self.nodes.extract_if(.., |inode, _| !reached.contains(inode)).collect();
        for (_, node) in gone {
            self.free(&node.content);
        }
        self.stable_names.retain(|inode, _| reached.contains(inode));
        for node in self.nodes.values_mut() {
            node.links = 0;
        }
        for (directory, names) in self.stable_names.clone() {
            for inode in names.values() {
                self.nodes.get_mut(inode).unwrap().links += 1;
            }
            self.nodes.get_mut(&directory).unwrap().content = Content::Directory(names);
        }
    }

    /// Makes changes of names stable, in their order.
    pub(super) fn settle(&mut self, changes: Vec<(Inode, u64, Change)>) {
        for (directory, _, change) in changes {
            let Some(names) = self.stable_names.get_mut(&directory) else { continue };
            match change {
                Change::Link { name, inode } => {
                    names.insert(name, inode);
                }
                Change::Unlink { name } => {
                    names.remove(&name);
                }
                Change::Rename { from, to, inode } => {
                    // Another file may have the old name, where the change that gave it up was lost.
                    if names.get(&from) == Some(&inode) {
                        names.remove(&from);
                    }
                    names.insert(to, inode);
                }
            }
        }
    }
}
