//! Reading: the news, the checkpoint that spares most of it, and what a few `stat` tell.
//!
//! Takes no lock and needs no right to write; a checkpoint that can't be written is no harm.

use super::disk::{Handle, Open, is_no_directory};
use super::replay::View;
use super::rotate::Reason;
use super::segment::Placed;
use super::{Store, StoreError, checkpoint, mark, segment};
use crate::domain::config::Config;
use crate::domain::event::Segment;
use crate::domain::timestamp::Timestamp;

/// A checkpoint is written by whoever read this many bytes that the last did not cover, and a quarter of its own size: so
/// writing it costs no more than the events that it spares.
const CHECKPOINT_STEP: u64 = 1 << 20;

/// What a few `stat` say of the logs: the links of their directory, and of each node the newest segment that was read
/// (inode and length) and whether there is one behind it.
pub(super) type Look = (u64, Vec<(Option<(u64, u64)>, bool)>);

impl Store {
    /// Takes in all news and gives the state. Takes no lock and needs no right to write.
    ///
    /// Errors: where a file that is there can't be read. Damage is no error; it stands in the view.
    pub fn read(&mut self) -> Result<&View, StoreError> {
        self.load_checkpoint();
        let logs = self.place.logs();
        let before = self.look();
        let mark = self.read_mark();
        let own = self.place.node().map(str::to_owned);
        self.view
            .refresh(self.disk.as_ref(), &logs, own.as_deref(), mark.as_ref())
            .map_err(StoreError::io("read", &logs))?;
        let look = self.look();
        let has_read_all =
            self.view.cursors.values().zip(&look.1).all(|(cursor, (newest, next))| {
                newest.is_some_and(|(_, len)| len == cursor.offset) && !next
            });
        self.look = (has_read_all || look == before).then_some(look);
        if self.view.news >= CHECKPOINT_STEP.max(self.view.checkpoint / 4) {
            self.write_checkpoint();
        }
        Ok(&self.view)
    }

    /// Whether there may be news since the last [`Store::read`], told by `stat` alone. May err towards yes.
    pub fn has_news(&self) -> bool {
        self.look.as_ref() != Some(&self.look())
    }

    fn look(&self) -> Look {
        let logs = self.place.logs();
        let links = self.disk.stat(&logs).map_or(0, |stat| stat.links);
        let nodes = self.view.cursors.iter().map(|(node, cursor)| {
            let path = self.place.log_dir(node);
            let stat = |segment| self.disk.stat(&path.join(segment::file_name(segment))).ok();
            let newest = stat(cursor.segment).map(|stat| (stat.inode, stat.len));
            (newest, stat(cursor.segment + 1).is_some())
        });
        (links, nodes.collect())
    }

    /// The configuration in force on this node, from the header of its newest segment alone.
    pub fn config(&self) -> Result<Config, StoreError> {
        if let Some(active) = self.log.as_ref().and_then(|log| log.active.as_ref()) {
            return Ok(Config::from_map(active.header.config.clone()));
        }
        let header = self.newest_header()?;
        Ok(Config::from_map(header.map(|(_, header)| header.config).unwrap_or_default()))
    }

    /// Since when the log goes on in another file because the disk failed to store the one before; none where it goes on
    /// for another reason by now.
    ///
    /// Errors: where the newest segment can't be read.
    pub fn sync_error(&self) -> Result<Option<Timestamp>, StoreError> {
        let header = self.newest_header()?;
        let header = header.filter(|(_, header)| header.why == Reason::SyncError.name());
        Ok(header.map(|(placed, _)| placed.record.wall()))
    }

    /// The header of the own node's newest segment.
    fn newest_header(&self) -> Result<Option<(Placed, Segment)>, StoreError> {
        let Some(node) = self.place.node() else { return Ok(None) };
        let path = self.place.log_dir(node);
        let header = (|| {
            let directory = self.disk.open(&path, Open::Directory)?;
            let names = directory.names()?;
            let names = names.iter().filter_map(|name| segment::SegmentName::parse(name));
            let newest = names.max_by_key(|name| match name {
                // A segment has the say; a base only where there is no other file.
                segment::SegmentName::Segment(number) => (true, *number),
                segment::SegmentName::Base(_, last) => (false, *last),
            });
            let name = match newest {
                Some(segment::SegmentName::Segment(number)) => segment::file_name(number),
                Some(segment::SegmentName::Base(a, b)) => segment::base_name(a, b),
                None => return Ok(None),
            };
            segment::read_header(directory.open_in(&name, Open::Read)?.as_ref())
        })();
        match header {
            Err(error) if is_no_directory(&error) => Ok(None),
            other => other.map_err(StoreError::io("read", &path)),
        }
    }

    /// Whether everything that was read of the own node is on stable storage, by the mark.
    pub(super) fn is_marked_durable(&self) -> bool {
        let Some(node) = self.place.node() else { return false };
        let file = self.disk.open(&self.place.mark(), Open::Read);
        let mark = file.and_then(|file| mark::read(file.as_ref())).ok().flatten();
        let read = self.view.cursors.get(node);
        mark.zip(read).is_some_and(|(mark, read)| {
            let place = (mark.segment, mark.len) == (read.segment, read.offset);
            place && mark.line.as_bytes() == read.crc && mark.node == node && mark.boot == self.boot
        })
    }

    pub(super) fn cache(&self) -> Option<Box<dyn Handle>> {
        self.disk.open(&self.place.cache_dir(), Open::Directory).ok()
    }

    pub(super) fn read_mark(&self) -> Option<mark::Mark> {
        let local = self.disk.open(&self.place.local(), Open::Directory).ok()?;
        let file = local.open_in("mark", Open::Read).ok()?;
        mark::read(file.as_ref()).ok()?.filter(|mark| Some(mark.node.as_str()) == self.place.node())
    }

    pub(super) fn load_checkpoint(&mut self) {
        if std::mem::replace(&mut self.is_loaded, true) {
            return;
        }
        let checkpoint = self
            .cache()
            .and_then(|cache| checkpoint::open(cache.as_ref(), self.place.node(), &self.boot));
        if let Some(view) = checkpoint.and_then(|checkpoint| checkpoint.load()) {
            self.view = View { progress: self.view.progress.clone(), ..view };
        }
    }

    /// Writes the checkpoint. A cache that can't be written is no harm.
    pub fn write_checkpoint(&mut self) {
        self.view.news = 0;
        if !self.view.damage.is_empty() {
            return;
        }
        if let Some(cache) = self.cache() {
            let suffix = self.ids.suffix(8);
            let (own, owner) = (self.place.node(), self.place.owner());
            let (cache, boot, room) = (cache.as_ref(), self.boot.as_str(), self.spare_room());
            let len = checkpoint::write(cache, &self.view, own, boot, owner, &suffix, room);
            self.view.checkpoint = len.unwrap_or(self.view.checkpoint);
        }
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
