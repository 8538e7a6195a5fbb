//! A whole directory: files of any names that mean something there, of any bytes. A file begins with a byte that picks
//! its name and ends before a byte 0xff.

#![no_main]

use libfuzzer_sys::fuzz_target;
use scene::{Queue, sealed};

const NAMES: [&str; 16] = [
    "log/desk-0001/00000001.jsonl",
    "log/desk-0001/00000002.jsonl",
    "log/desk-0001/00000003.jsonl",
    "log/desk-0001/00000001-00000002.base.jsonl",
    "log/desk-0001/00000001-00000003.base.jsonl",
    "log/desk-0001/00000002 (copy).jsonl",
    "log/nas-0002/00000001.jsonl",
    "log/nas-0002/00000001-00000001.base.jsonl",
    "FORMAT",
    "@/mark",
    "@/node.json",
    "@/degraded",
    "@/run/desk-0001.4k2mq7ab.lock",
    "@/cache/checkpoint",
    "@/compact.lock",
    "log/desk-0001/.00000001-00000002.base.jsonl.tmp",
];

fuzz_target!(|bytes: &[u8]| {
    let files = bytes.split(|byte| *byte == 0xff).filter_map(|file| file.split_first());
    let files: Vec<(&str, Vec<u8>)> = files
        .take(8)
        .map(|(pick, rest)| {
            let name = NAMES[usize::from(pick % 16)];
            let is_sealed = name.ends_with(".jsonl") && *pick < 128;
            (name, if is_sealed { sealed(rest) } else { rest.to_vec() })
        })
        .collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, &bytes[..])).collect();
    Queue::of(&files).live();
});
