//! A base before a segment that is whole.

#![no_main]

use libfuzzer_sys::fuzz_target;
use scene::{Queue, sealed};

const NEXT: &[u8] = include_bytes!("../../fixtures/queues/compacted/log/desk-0001/00000003.jsonl");

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let base = if first % 2 == 0 { sealed(rest) } else { rest.to_vec() };
    let name = "log/desk-0001/00000001-00000002.base.jsonl";
    Queue::of(&[(name, &base), ("log/desk-0001/00000003.jsonl", NEXT)]).live();
});
