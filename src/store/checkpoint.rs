//! The checkpoint: the fold as it stood, so that reading costs the new events and not the whole log.
//!
//! A cache: delete it at will. It is written under a temporary name and renamed, carries its own checksums, and any
//! doubt about it means throwing it away. Whether its places still hold is the reader's question.
//!
//! ```text
//! "QCTLCKP1" | length, crc of header | header | blocks of ids, 4 KiB each, from byte 4096 on | body
//! ```
//! The blocks hold the hashes of the own node's ids with the places of their jobs, sorted, so that one id is looked up
//! by reading a block or two in place.

use std::io;

use bitcode::{Decode, Encode};

use super::disk::{Handle, Open, append_all};
use super::replay::{Cursor, View};
use super::segment::read_range;
use super::small_file::{Owner, give};
use crate::domain::job::JobId;
use crate::domain::shelf::{Packed, Shelf, hash};
use crate::domain::state::{Facts, NodeState};

const NAME: &str = "state.ckpt";
const MAGIC: &[u8; 8] = b"QCTLCKP1";
const BLOCK: usize = 4096;
/// Sixteen bytes an id, and the checksum and count of the block.
const IDS: usize = (BLOCK - 8) / 16;
/// The form of what is packed. Raised whenever a type in it changes.
const FORM: u32 = 6;

/// What the checkpoint covers, and where its parts are.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
struct Header {
    /// The version that wrote it; another's is no use.
    app: String,
    /// The boot in which it was written.
    boot: String,
    /// The node whose ids are in the blocks.
    own: Option<String>,
    /// How far each node had been read.
    cursors: Vec<(String, Cursor)>,
    blocks: u64,
    body_len: u64,
    body_crc: u32,
}

/// A node as it is kept.
#[derive(Encode, Decode)]
struct Image {
    node: String,
    facts: Facts,
    chunks: Vec<Packed>,
    /// Of the own node, none: its ids are in the blocks.
    ids: Vec<(u64, u64)>,
}

/// Whether a file in the directory of caches is a checkpoint, or was to become one.
pub fn is_own(name: &str) -> bool {
    name == NAME || name.strip_prefix('.').is_some_and(|name| name.starts_with(NAME))
}

/// An open checkpoint.
pub struct Checkpoint {
    file: Box<dyn Handle>,
    header: Header,
}

fn app() -> String {
    format!(concat!("queuectl ", env!("CARGO_PKG_VERSION"), " form {}"), FORM)
}

/// Opens the checkpoint in the directory of caches; none where there is none of this version, boot and node.
pub fn open(cache: &dyn Handle, own: Option<&str>, boot: &str) -> Option<Checkpoint> {
    let file = cache.open_in(NAME, Open::Read).ok()?;
    let head = read_range(file.as_ref(), 0, BLOCK as u64).ok()?;
    let rest = head.strip_prefix(MAGIC)?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let bytes = rest.get(..u32::from_le_bytes(*len) as usize)?;
    if crc32c::crc32c(bytes) != u32::from_le_bytes(*crc) {
        return None;
    }
    let header: Header = bitcode::decode(bytes).ok()?;
    let fits = header.app == app() && header.boot == boot && header.own.as_deref() == own;
    fits.then_some(Checkpoint { file, header })
}

impl Checkpoint {
    /// How far the own node had been read.
    pub fn own_cursor(&self) -> Option<&Cursor> {
        let own = self.header.own.as_ref()?;
        self.header.cursors.iter().find(|(node, _)| node == own).map(|(_, cursor)| cursor)
    }

    /// The view as it stood; none where the file does not hold what it should.
    pub fn load(&self) -> Option<View> {
        let start = start_of(self.header.blocks)?;
        let end = start.checked_add(self.header.body_len)?;
        let bytes = read_range(self.file.as_ref(), start, end).ok()?;
        if bytes.len() as u64 != self.header.body_len
            || crc32c::crc32c(&bytes) != self.header.body_crc
        {
            return None;
        }
        let body: Vec<Image> = bitcode::decode(&bytes).ok()?;
        let mut view = View::default();
        for Image { node, facts, chunks, mut ids } in body {
            if self.header.own.as_ref() == Some(&node) {
                for block in 0..self.header.blocks {
                    ids.extend(self.block(block)?);
                }
            }
            let jobs = Shelf::unpack(chunks, ids);
            view.state.nodes.insert(node, NodeState::of_parts(facts, jobs));
        }
        view.checkpoint = end;
        view.cursors = self.header.cursors.iter().cloned().collect();
        Some(view)
    }

    /// Whether the own node may have had a job of this id when the checkpoint was written, or a batch that was not
    /// whole yet; none where the file does not hold what it should.
    pub fn may_have(&self, id: &JobId) -> Option<bool> {
        let wanted = hash(id);
        let (mut low, mut high) = (0, self.header.blocks);
        while low < high {
            // Hashes are spread evenly, so the place of one can be guessed closely.
            let guess = u64::try_from((u128::from(wanted) * u128::from(self.header.blocks)) >> 64);
            let middle = match (low, high - low == self.header.blocks) {
                (0, true) => guess.ok()?,
                _ => low + (high - low) / 2,
            };
            let ids = self.block(middle)?;
            match (ids.first(), ids.last()) {
                (Some((first, _)), _) if wanted < *first => high = middle,
                (_, Some((last, _))) if wanted > *last => low = middle + 1,
                _ => return Some(ids.iter().any(|(hash, _)| *hash == wanted)),
            }
        }
        Some(false)
    }

    fn block(&self, index: u64) -> Option<Vec<(u64, u64)>> {
        let (start, end) = (start_of(index)?, start_of(index.checked_add(1)?)?);
        let bytes = read_range(self.file.as_ref(), start, end).ok()?;
        let (crc, rest) = bytes.split_first_chunk::<4>()?;
        if bytes.len() != BLOCK || crc32c::crc32c(rest) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (count, ids) = rest.split_first_chunk::<4>()?;
        let (numbers, _) = ids.as_chunks::<8>();
        let (pairs, _) = numbers.as_chunks::<2>();
        let pair =
            |[hash, order]: &[[u8; 8]; 2]| (u64::from_le_bytes(*hash), u64::from_le_bytes(*order));
        Some(pairs.iter().take(u32::from_le_bytes(*count) as usize).map(pair).collect())
    }
}

/// Where a block of ids begins, behind the page of the header; none where no file is that long.
fn start_of(block: u64) -> Option<u64> {
    block.checked_add(1)?.checked_mul(BLOCK as u64)
}

/// Writes the view as the checkpoint, in place of the last. Says how many bytes it has.
///
/// `suffix` keeps the temporary names of several processes apart; no more than `room` bytes are taken.
pub fn write(
    cache: &dyn Handle,
    view: &View,
    own: Option<&str>,
    boot: &str,
    owner: Option<Owner>,
    suffix: &str,
    room: u64,
) -> io::Result<u64> {
    let image = |(node, state): (&String, &NodeState)| Image {
        node: node.clone(),
        facts: state.facts.clone(),
        chunks: state.shelf().pack(),
        ids: if own == Some(node) { Vec::new() } else { state.shelf().pack_ids() },
    };
    let body = bitcode::encode(&view.state.nodes.iter().map(image).collect::<Vec<_>>());
    let own_state = own.and_then(|own| view.state.nodes.get(own));
    let blocks = own_state.map(id_blocks).unwrap_or_default();
    let header = bitcode::encode(&Header {
        app: app(),
        boot: boot.to_owned(),
        own: own.map(str::to_owned),
        cursors: view.cursors.iter().map(|(node, at)| (node.clone(), at.clone())).collect(),
        blocks: (blocks.len() / BLOCK) as u64,
        body_len: body.len() as u64,
        body_crc: crc32c::crc32c(&body),
    });
    let mut bytes = MAGIC.to_vec();
    bytes.extend((header.len() as u32).to_le_bytes());
    bytes.extend(crc32c::crc32c(&header).to_le_bytes());
    bytes.extend(&header);
    if bytes.len() > BLOCK {
        // So many nodes that the header takes more than its page: read the logs instead.
        return Ok(0);
    }
    bytes.resize(BLOCK, 0);
    bytes.extend(blocks);
    bytes.extend(body);
    if bytes.len() as u64 > room {
        return Err(io::ErrorKind::StorageFull.into());
    }
    let temporary = format!(".{NAME}.{suffix}.tmp");
    let _ = cache.unlink(&temporary);
    let write = || -> io::Result<()> {
        let file = cache.open_in(&temporary, Open::CreateNew)?;
        append_all(file.as_ref(), &bytes)?;
        give(file.as_ref(), owner)?;
        cache.rename_over(&temporary, NAME)
    };
    // On a full disk half a cache is the last thing that is wanted.
    write().inspect_err(|_| drop(cache.unlink(&temporary)))?;
    Ok(bytes.len() as u64)
}

/// The ids of a node, sorted by their hashes, in blocks.
///
/// The ids of batches that are not whole yet are among them: they are taken once those are, and the lines that make
/// them whole name no id.
fn id_blocks(node: &NodeState) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut all = node.shelf().pack_ids();
    let staged = node.facts.open_batches.values().flatten();
    all.extend(staged.map(|job| (hash(&job.spec.id), job.seq)));
    all.sort_unstable();
    for ids in all.chunks(IDS) {
        let mut block = (ids.len() as u32).to_le_bytes().to_vec();
        for (hash, order) in ids {
            block.extend(hash.to_le_bytes());
            block.extend(order.to_le_bytes());
        }
        block.resize(BLOCK - 4, 0);
        bytes.extend(crc32c::crc32c(&block).to_le_bytes());
        bytes.extend(block);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{Event, Record};
    use crate::domain::job::Spec;
    use crate::domain::timestamp::Timestamp;
    use crate::store::disk::Disk as _;
    use crate::store::real_disk::RealDisk;

    /// A checkpoint of a node with jobs of these numbers, in a directory of its own.
    fn written(numbers: std::ops::Range<u32>) -> (tempfile::TempDir, Box<dyn Handle>) {
        let directory = tempfile::tempdir().unwrap();
        let cache = RealDisk.open(directory.path(), Open::Directory).unwrap();
        let mut state = NodeState::default();
        for number in numbers {
            let spec = Spec::shell(id(number), "true", 3);
            let (seq, ts) = (u64::from(number) + 1, Timestamp::from_micros(i64::from(number)));
            let event = Event::Enqueued(Box::new(spec));
            state.apply(&Record { seq, ts, wall: None, event }).unwrap();
        }
        let mut view = View::default();
        view.state.nodes.insert("desk".into(), state);
        write(cache.as_ref(), &view, Some("desk"), "boot-1", None, "x", u64::MAX).unwrap();
        (directory, cache)
    }

    fn id(number: u32) -> JobId {
        JobId::new(&format!("job-{number}")).unwrap()
    }

    #[test]
    fn every_id_is_found_and_no_other_whatever_the_number_of_blocks() {
        let per_block = u32::try_from(IDS).unwrap();
        for count in [0, 1, 2, per_block, per_block + 1, 7 * per_block + 5] {
            let (_directory, cache) = written(0..count);
            let checkpoint = open(cache.as_ref(), Some("desk"), "boot-1").unwrap();
            assert_eq!(checkpoint.header.blocks, u64::from(count.div_ceil(per_block)));
            for number in 0..count {
                assert_eq!(checkpoint.may_have(&id(number)), Some(true), "{number} of {count}");
            }
            for number in count..count + 200 {
                assert_eq!(checkpoint.may_have(&id(number)), Some(false), "{number} of {count}");
            }
        }
    }

    #[test]
    fn a_block_that_is_not_as_it_was_written_says_nothing() {
        let (directory, cache) = written(0..3);
        let path = directory.path().join(NAME);
        let bytes = std::fs::read(&path).unwrap();
        let look = || open(cache.as_ref(), Some("desk"), "boot-1").unwrap().may_have(&id(1));
        assert_eq!(look(), Some(true));
        for spoilt in
            [&bytes[..2 * BLOCK - 1], &[&bytes[..BLOCK + 9], &[1], &bytes[BLOCK + 10..]].concat()]
        {
            std::fs::write(&path, spoilt).unwrap();
            assert_eq!(look(), None);
        }
    }

    #[test]
    fn a_checkpoint_is_of_one_version_boot_and_node_and_whole() {
        let (directory, cache) = written(0..3);
        let opened = |own, boot| open(cache.as_ref(), own, boot).is_some();
        assert!(opened(Some("desk"), "boot-1"));
        for (own, boot) in [(Some("desk"), "boot-2"), (Some("nas"), "boot-1"), (None, "boot-1")] {
            assert!(!opened(own, boot), "{own:?} {boot}");
        }
        let path = directory.path().join(NAME);
        let bytes = std::fs::read(&path).unwrap();
        let load =
            || open(cache.as_ref(), Some("desk"), "boot-1").and_then(|it| it.load()).is_some();
        assert!(load());
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(!load(), "cut");
        let mut flipped = bytes.clone();
        flipped[2 * BLOCK + 3] ^= 1;
        std::fs::write(&path, flipped).unwrap();
        assert!(!load(), "flipped");
        // Another version says so in its header, whose checksum holds.
        let len = u32::from_le_bytes(*bytes[8..].first_chunk::<4>().unwrap()) as usize;
        let mut header: Header = bitcode::decode(&bytes[16..16 + len]).unwrap();
        assert!(header.app.starts_with("queuectl ") && header.app.ends_with(&format!(" {FORM}")));
        header.app = header.app.replace(" form ", " from ");
        let header = bitcode::encode(&header);
        let mut other = bytes;
        other[12..16].copy_from_slice(&crc32c::crc32c(&header).to_le_bytes());
        other[16..16 + len].copy_from_slice(&header);
        std::fs::write(&path, other).unwrap();
        assert!(!opened(Some("desk"), "boot-1"), "another version");
    }

    #[test]
    fn no_more_is_written_than_there_is_room_for_and_a_header_has_its_page() {
        let (directory, cache) = written(0..3);
        let path = directory.path().join(NAME);
        let len = std::fs::metadata(&path).unwrap().len();
        let view = open(cache.as_ref(), Some("desk"), "boot-1").unwrap().load().unwrap();
        let again = |room| write(cache.as_ref(), &view, Some("desk"), "boot-1", None, "x", room);
        assert_eq!(again(len).unwrap(), len);
        assert_eq!(again(len - 1).unwrap_err().kind(), io::ErrorKind::StorageFull);
        // Whoever has read so many logs that their places fill the page, reads them again.
        let with_boot = |boot: &str| {
            write(cache.as_ref(), &view, Some("desk"), boot, None, "x", u64::MAX).unwrap()
        };
        let header_of = |boot: &str| {
            with_boot(boot);
            let bytes = std::fs::read(&path).unwrap();
            16 + u32::from_le_bytes(*bytes[8..].first_chunk::<4>().unwrap()) as usize
        };
        let free = BLOCK - header_of(&"b".repeat(2000));
        assert_eq!(header_of(&"b".repeat(2000 + free)), BLOCK);
        assert_eq!(with_boot(&"b".repeat(2001 + free)), 0);
    }

    #[test]
    fn its_names_are_told_from_others() {
        for name in ["state.ckpt", ".state.ckpt.7.tmp"] {
            assert!(is_own(name), "{name}");
        }
        for name in ["", "state", "state.ckpt.old", "xstate.ckpt", ".other"] {
            assert!(!is_own(name), "{name}");
        }
    }

    #[test]
    fn a_block_that_no_file_can_have_is_none() {
        assert_eq!(start_of(0), Some(4096));
        assert_eq!(start_of((1 << 51) - 2), Some((1 << 63) - 4096));
        for block in [1 << 52, u64::MAX] {
            assert_eq!(start_of(block), None);
        }
    }
}
