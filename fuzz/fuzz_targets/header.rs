//! The header of the newest segment, or of the one before it, with a checksum that holds: which node, which number, what
//! is in force, and where the segment before ends, on which everything rests that is read or written behind it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use scene::{Queue, sealed};

const LOG: [&[u8]; 2] = [
    include_bytes!("../../fixtures/queues/healthy/log/desk-0001/00000001.jsonl"),
    include_bytes!("../../fixtures/queues/healthy/log/desk-0001/00000002.jsonl"),
];

fuzz_target!(|bytes: &[u8]| {
    let Some((which, header)) = bytes.split_first() else { return };
    let header: Vec<u8> = header.iter().copied().filter(|byte| *byte != b'\n').collect();
    let log = LOG.map(<[u8]>::to_vec);
    let [first, second] = std::array::from_fn(|index| match usize::from(which % 2) == index {
        true => {
            let lines = log[index].iter().position(|byte| *byte == b'\n').unwrap_or(0);
            [sealed(&header), log[index][lines + 1..].to_vec()].concat()
        }
        false => log[index].clone(),
    });
    let queue = Queue::of(&[("log/desk-0001/00000001.jsonl", &first)]);
    if which & 2 == 0 {
        queue.put("log/desk-0001/00000002.jsonl", &second);
    }
    queue.live();
});
