//! A line, as it stands and with a checksum that holds.

#![no_main]

use libfuzzer_sys::fuzz_target;
use queuectl::domain::event::Event;
use queuectl::store::line;

fuzz_target!(|bytes: &[u8]| {
    for bytes in [bytes.to_vec(), scene::sealed(bytes)] {
        for text in bytes.split(|byte| *byte == b'\n') {
            let Ok((record, _)) = line::decode(text) else { continue };
            if matches!(record.event, Event::Unknown(_)) {
                continue; // It is kept as it stands, and never written.
            }
            let again = line::encode(record.seq, record.ts, record.wall(), &record.event);
            let (read, _) = line::decode(again.strip_suffix(b"\n").unwrap_or(&again))
                .expect("what was written is read");
            assert_eq!(read.event, record.event);
            let _ = line::renumber(text, 7);
        }
    }
});
