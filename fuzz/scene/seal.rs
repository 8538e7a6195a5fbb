//! The same bytes with checksums that hold, so that what is behind the checksums is reached.
//!
//! Knows where checksums stand, and nothing of what is said between them.

use bitcode::{Decode, Encode};
use queuectl::store::replay::Cursor;

/// How a checksum begins, and how long it is to the end of the line.
const CRC: &[u8] = b",\"crc\":\"";
const CRC_LEN: usize = CRC.len() + 8 + 2;

/// The lines of a log.
pub fn sealed(bytes: &[u8]) -> Vec<u8> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.flat_map(|line| [seal(line), b"\n".to_vec()].concat()).collect()
}

fn seal(line: &[u8]) -> Vec<u8> {
    let body = match line.len().checked_sub(CRC_LEN) {
        Some(at) if line[at..].starts_with(CRC) => &line[..at],
        _ => line.strip_suffix(b"}").unwrap_or(line),
    };
    let mut sealed = body.to_vec();
    sealed.extend_from_slice(format!(",\"crc\":\"{:08x}\"}}", crc32c::crc32c(body)).as_bytes());
    sealed
}

/// The mark, and what else has its checksum in front.
pub fn mark(bytes: &[u8]) -> Vec<u8> {
    let json = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut mark = format!("{:08x} ", crc32c::crc32c(json)).into_bytes();
    mark.extend_from_slice(json);
    mark.push(b'\n');
    mark
}

/// The lock file of a worker: a head and records, each of a multiple of 256 bytes.
pub fn lock(bytes: &[u8], inode: u64) -> Vec<u8> {
    let mut lock = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line = String::from_utf8_lossy(line.trim_ascii_end());
        // The file itself is named in its head.
        let line = line.replace("\"inode\":0", &format!("\"inode\":{inode}"));
        let mut record = seal(line.as_bytes());
        record.resize((record.len() + 1).next_multiple_of(256) - 1, b' ');
        record.push(b'\n');
        lock.extend(record);
    }
    lock
}

/// Long runs of zeros are written as `0xfe` and their length in two bytes, `0xfe` as itself and two zeros.
pub fn unpacked(mut bytes: &[u8]) -> Vec<u8> {
    let mut unpacked = Vec::new();
    while let Some((byte, rest)) = bytes.split_first() {
        bytes = rest;
        match (byte, rest) {
            (0xfe, [low, high, rest @ ..]) => {
                match u16::from_le_bytes([*low, *high]) {
                    0 => unpacked.push(0xfe),
                    zeros => unpacked.resize(unpacked.len() + usize::from(zeros), 0),
                }
                bytes = rest;
            }
            _ => unpacked.push(*byte),
        }
    }
    unpacked
}

const BLOCK: usize = 4096;

/// The header of a checkpoint, as `store::checkpoint` has it.
#[derive(Encode, Decode)]
struct Header {
    app: String,
    boot: String,
    own: Option<String>,
    cursors: Vec<(String, Cursor)>,
    blocks: u64,
    body_len: u64,
    body_crc: u32,
}

/// A checkpoint of this body, of which every checksum holds, whatever its header and its ids say; as it is where its
/// header is none. The body is believed by whoever reads it, so it must be one that was written.
pub fn checkpoint(bytes: &[u8], body: &[u8]) -> Vec<u8> {
    sealed_checkpoint(bytes, body).unwrap_or_else(|| bytes.to_vec())
}

fn sealed_checkpoint(bytes: &[u8], body: &[u8]) -> Option<Vec<u8>> {
    let mut header = header_of(bytes)?;
    header.body_crc = crc32c::crc32c(body);
    let header = bitcode::encode(&header);
    let mut sealed = b"QCTLCKP1".to_vec();
    sealed.extend((header.len() as u32).to_le_bytes());
    sealed.extend(crc32c::crc32c(&header).to_le_bytes());
    sealed.extend(header);
    sealed.resize(BLOCK, 0);
    for block in bytes.get(BLOCK..)?.chunks_exact(BLOCK) {
        sealed.extend(crc32c::crc32c(&block[4..]).to_le_bytes());
        sealed.extend(&block[4..]);
    }
    sealed.extend(body);
    Some(sealed)
}

fn header_of(bytes: &[u8]) -> Option<Header> {
    let len: [u8; 4] = bytes.get(8..12)?.try_into().ok()?;
    let header = bytes.get(16..)?.get(..u32::from_le_bytes(len) as usize)?;
    bitcode::decode(header).ok()
}

/// The body of a checkpoint that was written.
pub fn body(bytes: &[u8]) -> &[u8] {
    let header = header_of(bytes).expect("a checkpoint");
    &bytes[BLOCK * (1 + header.blocks as usize)..]
}
