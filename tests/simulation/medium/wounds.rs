//! What no crash does to a disk: bytes change where they rest, files go, and others are put in their place. It is seen at
//! once, and is so on stable storage.
//!
//! Knows nothing of what the bytes say.

use std::path::{Component, Path};

use super::{Content, Inode, Medium, Pages, ROOT};

impl Medium {
    /// What a path leads to.
    pub fn at(&self, path: &Path) -> Option<Inode> {
        let mut names = path.components().filter_map(|component| match component {
            Component::Normal(name) => name.to_str(),
            _ => None,
        });
        names.try_fold(ROOT, |directory, name| self.find(directory, name).ok())
    }

    /// The bytes of a file; none of a directory.
    pub fn bytes(&self, inode: Inode) -> &[u8] {
        match &self.nodes[&inode].content {
            Content::File(pages) => pages.seen(),
            Content::Directory(_) => &[],
        }
    }

    /// The files of a directory that rest: their bytes and names are on stable storage, and no change is under way.
    pub fn resting(&self, directory: Inode) -> Vec<(String, Inode)> {
        let (Ok(names), Some(stable)) = (self.names(directory), self.stable_names.get(&directory))
        else {
            return Vec::new();
        };
        let moves = self.pending.iter().any(|(at, ..)| *at == directory);
        let rests = |(name, inode): &(&String, &Inode)| {
            let is_still =
                matches!(&self.nodes[inode].content, Content::File(pages) if pages.is_at_rest());
            !moves && is_still && stable.get(*name) == Some(*inode)
        };
        names.iter().filter(rests).map(|(name, inode)| (name.clone(), *inode)).collect()
    }

    /// Changes bytes of a file that rests.
    pub fn wound(&mut self, inode: Inode, at: usize, bytes: &[u8]) {
        if let Content::File(pages) = self.content(inode) {
            pages.wound(at, bytes);
        }
    }

    /// Takes a name away. Gives the file, which may have to be forgotten.
    pub fn lose(&mut self, directory: Inode, name: &str) -> Option<Inode> {
        let inode = self.find(directory, name).ok()?;
        self.rest_names(directory);
        self.unlink_seen(directory, name);
        self.stable_names.entry(directory).or_default().remove(name);
        Some(inode)
    }

    /// Puts a new file under a name that is free.
    pub fn put(&mut self, directory: Inode, name: &str, bytes: &[u8]) {
        let inode = self.free_number();
        self.rest_names(directory);
        let mut pages = Pages::new(self.page);
        pages.write(bytes, None);
        pages.finish_sync(pages.begin_sync());
        self.insert(inode, Content::File(pages));
        self.link(directory, name, inode);
        self.stable_names.entry(directory).or_default().insert(name.to_owned(), inode);
    }

    /// Ends what is under way with the names of a directory: it must not come over what is put in their place.
    fn rest_names(&mut self, directory: Inode) {
        let names = self.begin_sync(directory);
        self.finish_sync(directory, names);
    }
}
