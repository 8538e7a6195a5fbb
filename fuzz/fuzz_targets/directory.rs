//! A whole directory: files of any names that mean something there, of any bytes, and what is done to the queue between
//! them. Each begins with a byte that says which it is, and ends before a byte 0xff.

#![no_main]

use libfuzzer_sys::fuzz_target;
use scene::{Queue, lock, mark, sealed};

const NAMES: [&str; 20] = [
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
    "@/cache/state.ckpt",
    "@/compact.lock",
    "log/desk-0001/.00000001-00000002.base.jsonl.tmp",
    "archive/desk-0001/00000001.jsonl",
    "@/reserve",
    "@/output/00/job-1.1.out",
    "log/.desk-abcd.tmp/00000001.jsonl",
];

fuzz_target!(|bytes: &[u8]| {
    let mut queue = Queue::new();
    for part in bytes.split(|byte| *byte == 0xff).take(12) {
        let Some((pick, rest)) = part.split_first() else { continue };
        let Some(name) = NAMES.get(usize::from(pick & 0x3f)) else {
            queue.act(pick & 0x3f, rest);
            continue;
        };
        let bytes = match name {
            _ if *pick >= 128 => rest.to_vec(),
            name if name.ends_with(".jsonl") => sealed(rest),
            name if name.ends_with("mark") => mark(rest),
            name if name.ends_with("b.lock") => {
                queue.put(name, b"");
                lock(rest, queue.inode(name))
            }
            _ => rest.to_vec(),
        };
        queue.put(name, &bytes);
    }
    queue.live();
});
