//! A checkpoint that is another by now. One of which a checksum doesn't hold is read as if there were none. One that was
//! sealed again, over the same jobs, may say of them what it likes: where they are, and how much of the log it covers.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use scene::{Queue, checkpoint, unpacked};

const LOG: [(&str, &[u8]); 3] = [
    (
        "log/desk-0001/00000001.jsonl",
        include_bytes!("../../fixtures/queues/healthy/log/desk-0001/00000001.jsonl"),
    ),
    (
        "log/desk-0001/00000002.jsonl",
        include_bytes!("../../fixtures/queues/healthy/log/desk-0001/00000002.jsonl"),
    ),
    (
        "log/nas-0002/00000001.jsonl",
        include_bytes!("../../fixtures/queues/two-nodes/log/nas-0002/00000001.jsonl"),
    ),
];
const NAME: &str = "@/cache/state.ckpt";

/// A checkpoint of these logs, as it is written.
static WRITTEN: OnceLock<Vec<u8>> = OnceLock::new();

fn write() -> Vec<u8> {
    let queue = Queue::of(&LOG);
    let mut store = queue.open().expect("a whole queue");
    store.read().expect("a whole log");
    store.write_checkpoint();
    std::fs::read(store.place().cache_dir().join("state.ckpt")).expect("a checkpoint")
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let (queue, bytes) = (Queue::of(&LOG), unpacked(rest));
    if first % 2 == 0 {
        queue.put(NAME, &checkpoint(&bytes, scene::body(WRITTEN.get_or_init(write))));
        queue.live();
        return;
    }
    queue.put(NAME, &bytes);
    let state = |queue: &Queue| {
        let mut store = queue.open().expect("a whole queue");
        store.read().expect("a whole log").state.clone()
    };
    assert_eq!(state(&queue), state(&Queue::of(&LOG)));
});
