//! The simulated medium: what a file system holds, once as processes see it and once as a power cut would leave it.
//!
//! Content is volatile page by page, a size apart from the pages, a name apart from what it names, and each of them
//! reaches stable storage only by a sync, by chance, or by the chance of a power cut. Stricter than any one file system:
//! a synced file may lose its name, names may survive in any order. Two things are taken for granted: a rename happens
//! wholly or not at all, and writing a block anew never harms the bytes in it that stay the same.
//! Knows no process, no lock and no log.

mod outage;
mod wounds;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

use crate::pages::{Pages, Snapshot};
use crate::random::Random;

/// The number of a file.
pub type Inode = u64;

/// The root directory, which is always there.
pub const ROOT: Inode = 2;

/// What a file or directory is.
#[derive(Debug, Clone)]
enum Content {
    File(Pages),
    Directory(BTreeMap<String, Inode>),
}

/// A file or directory.
#[derive(Debug, Clone)]
struct Node {
    content: Content,
    /// The names that lead here, as processes see them.
    links: u64,
    /// When it was made: no two are the same.
    born: i128,
    /// How many times bringing pages to stable storage has failed.
    errors: u64,
    /// Whether somebody was told of the last failure.
    told: bool,
}

/// A change of names that no sync has brought to stable storage.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Link { name: String, inode: Inode },
    Unlink { name: String },
    Rename { from: String, to: String, inode: Inode },
}

/// The whole file system.
#[derive(Debug, Clone)]
pub struct Medium {
    page: usize,
    nodes: BTreeMap<Inode, Node>,
    /// Directories as they are on stable storage.
    stable_names: BTreeMap<Inode, BTreeMap<String, Inode>>,
    /// Changes since, in order, each with its directory and its number.
    pending: Vec<(Inode, u64, Change)>,
    changes: u64,
    births: i128,
    /// Pages of files that are gone, which a disk may show where a page was never written.
    freed: Vec<Vec<u8>>,
    /// How often each kind of survival was seen.
    pub sampled: BTreeMap<&'static str, u64>,
}

/// Counts something that was seen.
pub fn count(sampled: &mut BTreeMap<&'static str, u64>, what: &'static str) {
    *sampled.entry(what).or_default() += 1;
}

/// A sync that has begun.
#[derive(Debug)]
pub enum Sync {
    File(Snapshot),
    /// The last change of names that it is to bring.
    Directory(u64),
}

/// What [`Medium::facts`] says of a file.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    pub len: u64,
    pub links: u64,
    pub born: i128,
    pub directory: bool,
}

impl Medium {
    /// An empty one whose pages have this many bytes.
    pub fn new(page: usize) -> Self {
        let mut medium = Self {
            page,
            nodes: BTreeMap::new(),
            stable_names: BTreeMap::from([(ROOT, BTreeMap::new())]),
            pending: Vec::new(),
            changes: 0,
            births: 0,
            freed: Vec::new(),
            sampled: BTreeMap::new(),
        };
        medium.insert(ROOT, Content::Directory(BTreeMap::new()));
        medium
    }

    /// Finds what a directory has under a name.
    pub fn find(&self, directory: Inode, name: &str) -> io::Result<Inode> {
        self.names(directory)?.get(name).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// The names in a directory.
    pub fn names(&self, directory: Inode) -> io::Result<&BTreeMap<String, Inode>> {
        match self.nodes.get(&directory).map(|node| &node.content) {
            Some(Content::Directory(names)) => Ok(names),
            Some(Content::File(_)) => Err(ErrorKind::NotADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    /// Says what a file is.
    pub fn facts(&self, inode: Inode) -> Facts {
        let node = &self.nodes[&inode];
        let (len, directory) = match &node.content {
            Content::File(pages) => (pages.seen().len(), false),
            Content::Directory(_) => (4096, true),
        };
        Facts { len: len as u64, links: node.links, born: node.born, directory }
    }

    /// Makes an empty file or directory under a name that is free.
    pub fn create(&mut self, directory: Inode, name: &str, is_file: bool) -> io::Result<Inode> {
        if self.names(directory)?.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let inode = self.free_number();
        let content = match is_file {
            true => Content::File(Pages::new(self.page)),
            false => Content::Directory(BTreeMap::new()),
        };
        self.insert(inode, content);
        self.link(directory, name, inode);
        self.change(directory, Change::Link { name: name.to_owned(), inode });
        Ok(inode)
    }

    /// Renames within a directory, over what has the new name.
    pub fn rename(&mut self, directory: Inode, from: &str, to: &str) -> io::Result<()> {
        let inode = self.find(directory, from)?;
        self.unlink_seen(directory, from);
        self.unlink_seen(directory, to);
        self.link(directory, to, inode);
        let (from, to) = (from.to_owned(), to.to_owned());
        self.change(directory, Change::Rename { from, to, inode });
        Ok(())
    }

    /// Removes the name of a file.
    pub fn unlink(&mut self, directory: Inode, name: &str) -> io::Result<()> {
        let inode = self.find(directory, name)?;
        if matches!(self.nodes[&inode].content, Content::Directory(_)) {
            return Err(ErrorKind::IsADirectory.into());
        }
        self.unlink_seen(directory, name);
        self.change(directory, Change::Unlink { name: name.to_owned() });
        Ok(())
    }

    /// Forgets a file that has no name, once nobody has it open.
    pub fn forget(&mut self, inode: Inode) {
        if inode == ROOT || self.nodes.get(&inode).is_none_or(|node| node.links > 0) {
            return;
        }
        let on_stable = self.stable_names.values().any(|names| names.values().any(|n| *n == inode));
        let pending = self.pending.iter().any(|(_, _, change)| match change {
            Change::Link { inode: n, .. } | Change::Rename { inode: n, .. } => *n == inode,
            Change::Unlink { .. } => false,
        });
        // A power cut may bring such a name back, and the file with it.
        if !on_stable
            && !pending
            && let Some(node) = self.nodes.remove(&inode)
        {
            self.free(&node.content);
        }
    }

    /// Reads at an offset.
    pub fn read(&self, inode: Inode, buffer: &mut [u8], offset: usize) -> io::Result<usize> {
        let Content::File(pages) = &self.nodes[&inode].content else {
            return Err(ErrorKind::IsADirectory.into());
        };
        let rest = pages.seen().get(offset..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    /// Reads past what memory has, as a direct read does: what is to be written yet is written first.
    pub fn read_stable(
        &mut self,
        inode: Inode,
        buffer: &mut [u8],
        offset: usize,
    ) -> io::Result<usize> {
        let Content::File(pages) = self.content(inode) else {
            return Err(ErrorKind::IsADirectory.into());
        };
        pages.flush();
        let rest = pages.stable().get(offset..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    /// Writes at an offset, or at the end where none is given.
    pub fn write(&mut self, inode: Inode, bytes: &[u8], offset: Option<usize>) {
        match self.content(inode) {
            Content::File(pages) => pages.write(bytes, offset),
            Content::Directory(_) => panic!("BUG: directory {inode} has no bytes"),
        }
    }

    /// Brings a file's pages and size, or a directory's names, to stable storage.
    #[cfg(test)]
    pub fn sync(&mut self, inode: Inode) {
        let sync = self.begin_sync(inode);
        self.finish_sync(inode, sync);
    }

    /// Begins a sync: it brings to stable storage what is there by now, and need not bring what comes later.
    pub fn begin_sync(&mut self, inode: Inode) -> Sync {
        match &self.nodes[&inode].content {
            Content::File(pages) => Sync::File(pages.begin_sync()),
            Content::Directory(_) => Sync::Directory(self.changes),
        }
    }

    /// Ends a sync.
    pub fn finish_sync(&mut self, inode: Inode, sync: Sync) {
        match (self.content(inode), sync) {
            (Content::File(pages), Sync::File(snapshot)) => pages.finish_sync(snapshot),
            (Content::Directory(_), Sync::Directory(last)) => {
                let (done, rest) = std::mem::take(&mut self.pending)
                    .into_iter()
                    .partition(|(at, number, _)| *at == inode && *number <= last);
                self.pending = rest;
                self.settle(done);
            }
            _ => panic!("BUG: {inode} became something else"),
        }
    }

    /// Fails to bring a file to stable storage, which drops some of it.
    pub fn fail_sync(&mut self, inode: Inode, random: &mut Random) {
        let node = self.nodes.get_mut(&inode).unwrap();
        node.errors += 1;
        node.told = false;
        if let Content::File(pages) = &mut node.content {
            pages.drop_some(random);
        }
    }

    /// Forgets what only memory had of some file.
    pub fn evict(&mut self, random: &mut Random) {
        if let Content::File(pages) = self.content(self.any(random)) {
            pages.evict();
        }
    }

    /// Brings one page, or one size, to stable storage, as kernels do when they like, or fails to.
    pub fn write_back(&mut self, fails: bool, random: &mut Random) {
        let inode = self.any(random);
        let Content::File(pages) = self.content(inode) else { return };
        match fails && pages.is_dirty() {
            true => self.fail_sync(inode, random),
            false => pages.write_back(random),
        }
    }

    /// How many failures a file had, for an open file to remember. One that nobody was told of is yet to be told.
    pub fn errors_told(&mut self, inode: Inode) -> u64 {
        let node = &self.nodes[&inode];
        if node.errors > 0 && node.told {
            count(&mut self.sampled, "a file opened after its failed sync was told");
        }
        node.errors - u64::from(node.errors > 0 && !node.told)
    }

    /// Tells an open file, that knows of so many failures, whether there was one since.
    pub fn tell_error(&mut self, inode: Inode, known: &mut u64) -> bool {
        let node = self.nodes.get_mut(&inode).unwrap();
        let news = node.errors > *known;
        if news {
            node.told = true;
            count(&mut self.sampled, "a failed sync told");
        }
        *known = node.errors;
        news
    }

    /// The lowest free number, as ext4 does: a number soon means another file than it did.
    fn free_number(&self) -> Inode {
        (ROOT..).find(|inode| !self.nodes.contains_key(inode)).unwrap()
    }

    fn change(&mut self, directory: Inode, change: Change) {
        self.changes += 1;
        self.pending.push((directory, self.changes, change));
    }

    fn insert(&mut self, inode: Inode, content: Content) {
        self.births += 1;
        if let Content::Directory(names) = &content {
            self.stable_names.insert(inode, names.clone());
        }
        let node = Node { content, links: 0, born: self.births, errors: 0, told: false };
        self.nodes.insert(inode, node);
    }

    fn link(&mut self, directory: Inode, name: &str, inode: Inode) {
        self.nodes.get_mut(&inode).unwrap().links += 1;
        self.entries(directory).insert(name.to_owned(), inode);
    }

    fn unlink_seen(&mut self, directory: Inode, name: &str) {
        if let Some(inode) = self.entries(directory).remove(name) {
            self.nodes.get_mut(&inode).unwrap().links -= 1;
        }
    }

    fn entries(&mut self, directory: Inode) -> &mut BTreeMap<String, Inode> {
        match &mut self.nodes.get_mut(&directory).unwrap().content {
            Content::Directory(names) => names,
            Content::File(_) => panic!("BUG: file {directory} has no names"),
        }
    }

    fn content(&mut self, inode: Inode) -> &mut Content {
        &mut self.nodes.get_mut(&inode).unwrap().content
    }

    /// Any file or directory.
    fn any(&self, random: &mut Random) -> Inode {
        *self.nodes.keys().nth(random.below(self.nodes.len())).unwrap()
    }
}

#[cfg(test)]
#[path = "medium_tests.rs"]
mod tests;
