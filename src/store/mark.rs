//! The mark: how far this node's log was known to be on stable storage.
//!
//! It may lag, and never runs ahead. It is one line with a checksum, written in place over the last; one that cannot
//! be read counts as none. Knows nothing of what the log says.

use std::io;

use serde::{Deserialize, Serialize};

use super::disk::{Handle, Open};

/// How long the file is: longer than any mark, so that a shorter one leaves no end of the last behind.
const LEN: usize = 512;

/// A place in the log before which everything was synced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The node.
    pub node: String,
    /// The segment.
    pub segment: u64,
    /// The bytes of it.
    pub len: u64,
    /// The `seq` of the last line before the place.
    pub seq: u64,
    /// The checksum of that line.
    pub line: String,
    /// The boot in which it was synced.
    pub boot: String,
}

impl Mark {
    /// Whether this mark is of the same boot and lies at or behind the other's place.
    pub fn covers(&self, other: &Mark) -> bool {
        self.node == other.node
            && self.boot == other.boot
            && (self.segment, self.len) >= (other.segment, other.len)
    }
}

/// Reads the mark from its file; none where there is none or it is not whole.
pub fn read(file: &dyn Handle) -> io::Result<Option<Mark>> {
    let mut bytes = vec![0; LEN];
    let count = file.read_at(&mut bytes, 0)?;
    let Some(newline) = memchr::memchr(b'\n', &bytes[..count]) else { return Ok(None) };
    let Some((crc, json)) = bytes[..newline].split_first_chunk::<9>() else { return Ok(None) };
    if crc.as_slice() != format!("{:08x} ", crc32c::crc32c(json)).as_bytes() {
        return Ok(None);
    }
    Ok(serde_json::from_slice(json).ok())
}

/// Opens the file of the mark in its directory, making it where it is missing.
pub fn open(directory: &dyn Handle) -> io::Result<Box<dyn Handle>> {
    directory.open_in("mark", Open::ReadWrite)
}

/// Writes the mark over the last one.
pub fn write(file: &dyn Handle, mark: &Mark) -> io::Result<()> {
    let json = serde_json::to_vec(mark)?;
    let mut bytes = format!("{:08x} ", crc32c::crc32c(&json)).into_bytes();
    bytes.extend_from_slice(&json);
    bytes.push(b'\n');
    bytes.resize(bytes.len().max(LEN), b' ');
    let mut at = 0;
    while at < bytes.len() {
        match file.write_at(&bytes[at..], at as u64)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => at += count,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_covers_what_the_same_boot_of_its_node_synced_before() {
        let mark = |node: &str, segment, len, boot: &str| Mark {
            node: node.into(),
            segment,
            len,
            seq: 9,
            line: "00000000".into(),
            boot: boot.into(),
        };
        let one = mark("desk", 2, 100, "b1");
        for (other, is_covered) in [
            (mark("desk", 2, 100, "b1"), true),
            (mark("desk", 2, 99, "b1"), true),
            (mark("desk", 1, 200, "b1"), true),
            (mark("desk", 2, 101, "b1"), false),
            (mark("desk", 3, 1, "b1"), false),
            (mark("nas", 1, 1, "b1"), false),
            (mark("desk", 1, 1, "b0"), false),
        ] {
            assert_eq!(one.covers(&other), is_covered, "{other:?}");
        }
    }
}
