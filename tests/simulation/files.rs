//! What processes and children have open: each open file with its lock, and who holds it.
//!
//! A lock lives in the open file: it goes when the last of its holders closes it. Knows no turns and no errors but the
//! ones an open file is told of.

use std::collections::BTreeMap;

use queuectl::store::disk::Lock;

use crate::medium::{Inode, Medium};

/// Who has a file open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A process, by its number.
    Process(u64),
    /// A child, by its claim.
    Child(String),
}

/// An open file.
#[derive(Debug)]
pub struct OpenFile {
    pub inode: Inode,
    /// The failures of the file that this open file knows of.
    pub known_errors: u64,
    lock: Option<Lock>,
    holders: Vec<Holder>,
}

/// All open files, by number.
#[derive(Debug, Default)]
pub struct Files {
    open: BTreeMap<u64, OpenFile>,
    opened: u64,
}

impl Files {
    /// Opens a file on behalf of a process.
    pub fn open(&mut self, inode: Inode, process: u64, medium: &mut Medium) -> u64 {
        self.opened += 1;
        let file = OpenFile {
            inode,
            known_errors: medium.errors_told(inode),
            lock: None,
            holders: vec![Holder::Process(process)],
        };
        self.open.insert(self.opened, file);
        self.opened
    }

    /// The open file of a number.
    pub fn get(&mut self, number: u64) -> &mut OpenFile {
        self.open.get_mut(&number).expect("BUG: a process that lives has its files")
    }

    /// Locks, where nobody else's lock stands against it. A lock that was held is changed, and lost where it can't be.
    pub fn try_lock(&mut self, number: u64, kind: Lock) -> bool {
        let inode = self.get(number).inode;
        let taken = !self.open.iter().any(|(other, file)| {
            let stands = match kind {
                Lock::Exclusive => file.lock.is_some(),
                Lock::Shared => file.lock == Some(Lock::Exclusive),
            };
            *other != number && file.inode == inode && stands
        });
        self.get(number).lock = taken.then_some(kind);
        taken
    }

    /// Whether a lock lives in an open file.
    pub fn is_locked(&self, number: u64) -> bool {
        self.open.get(&number).is_some_and(|file| file.lock.is_some())
    }

    /// Whether anybody holds a lock on a file.
    pub fn is_any_locked(&self, inode: Inode) -> bool {
        self.open.values().any(|file| file.inode == inode && file.lock.is_some())
    }

    /// Unlocks, for everybody who holds the open file.
    pub fn unlock(&mut self, number: u64) {
        self.get(number).lock = None;
    }

    /// Gives every open file of a process on one inode to a child too.
    pub fn inherit(&mut self, process: u64, inode: Inode, claim: &str) {
        let process = Holder::Process(process);
        for file in self.open.values_mut() {
            if file.inode == inode && file.holders.contains(&process) {
                file.holders.push(Holder::Child(claim.to_owned()));
            }
        }
    }

    /// Closes one open file of a holder.
    pub fn close(&mut self, number: u64, holder: &Holder, medium: &mut Medium) {
        let Some(file) = self.open.get_mut(&number) else { return };
        file.holders.retain(|other| other != holder);
        if file.holders.is_empty() {
            let inode = file.inode;
            self.open.remove(&number);
            self.forget(inode, medium);
        }
    }

    /// Closes whatever a holder has open.
    pub fn close_all(&mut self, holder: Holder, medium: &mut Medium) {
        let numbers: Vec<u64> = self.open.keys().copied().collect();
        for number in numbers {
            self.close(number, &holder, medium);
        }
    }

    /// Forgets a file that has neither a name nor anybody who has it open.
    pub fn forget(&self, inode: Inode, medium: &mut Medium) {
        if self.open.values().all(|file| file.inode != inode) {
            medium.forget(inode);
        }
    }
}
