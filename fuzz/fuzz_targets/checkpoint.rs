//! A checkpoint that is another by now: what is read is what the log says.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use scene::Queue;

const LOG: &[u8] = include_bytes!("../../fixtures/queues/healthy/log/desk-0001/00000001.jsonl");

static NAME: OnceLock<String> = OnceLock::new();

fn name() -> String {
    let queue = Queue::of(&[("log/desk-0001/00000001.jsonl", LOG), ("@/cache/none", b"")]);
    let mut store = queue.open().expect("a whole queue");
    store.read().expect("a whole log");
    store.write_checkpoint();
    let names = std::fs::read_dir(store.place().cache_dir()).expect("a cache");
    let names = names.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name != "none").next().expect("a checkpoint")
}

fuzz_target!(|bytes: &[u8]| {
    let path = format!("@/cache/{}", NAME.get_or_init(name));
    let log = ("log/desk-0001/00000001.jsonl", LOG);
    let (queue, plain) = (Queue::of(&[log, (&path, bytes)]), Queue::of(&[log]));
    let mut store = queue.open().expect("a whole queue");
    let read = store.read().expect("a whole log").state.clone();
    let mut plain = plain.open().expect("a whole queue");
    assert_eq!(read, plain.read().expect("a whole log").state);
});
