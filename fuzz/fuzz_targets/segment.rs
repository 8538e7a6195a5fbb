//! The one segment of a log, header and lines, with checksums that hold.

#![no_main]

use libfuzzer_sys::fuzz_target;
use scene::{Queue, sealed};

fuzz_target!(|bytes: &[u8]| {
    Queue::of(&[("log/desk-0001/00000001.jsonl", &sealed(bytes))]).live();
});
