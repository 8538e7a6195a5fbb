//! Damaged logs that have what this version does not know all of.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use crate::domain::config::Config;
use crate::domain::event::{ConfigSet, Event};
use crate::domain::timestamp::Timestamp;
use crate::store::Store;
use crate::store::store_tests::{Queue, append_to, enqueue};

/// What stands in the log and would be written otherwise by this version.
const STRANGE: [&str; 3] = [
    r#""ev":"admired","job":"a","by":"ann""#,
    r#""ev":"moon_rose""#,
    r#""ev":"queue_paused","queue":"q","mood":"blue""#,
];

/// Appends lines of a newer version.
fn append_strange(queue: &Queue, store: &mut Store) {
    store.read().unwrap();
    let facts = &store.own().unwrap().facts;
    let (seq, ts) = (facts.last_seq, facts.last_ts);
    for (n, body) in (1_u64..).zip(STRANGE) {
        let ts: Timestamp = ts.after(Duration::from_micros(n));
        let body = format!("{{\"seq\":{},\"ts\":\"{ts}\",{body}", seq + n);
        let line = format!("{body},\"crc\":\"{:08x}\"}}\n", crc32c::crc32c(body.as_bytes()));
        append_to(&queue.log(1), line.as_bytes());
    }
}

fn jobs(store: &mut Store) -> BTreeSet<String> {
    store.read().unwrap();
    store.own().unwrap().jobs().map(|job| job.id().to_string()).collect()
}

/// Whatever line is lost, the others are kept, and those that are not known as they stand.
#[test]
fn any_line_may_be_lost_beside_what_is_not_known() {
    for lost in 0.. {
        let queue = Queue::new();
        let mut store = queue.open();
        enqueue(&mut store, &["plain"]).unwrap();
        enqueue(&mut store, &["a", "b", "c"]).unwrap();
        append_strange(&queue, &mut store);
        enqueue(&mut store, &["last"]).unwrap();
        let mut wanted = jobs(&mut store);
        store.seal().unwrap();
        let text = fs::read_to_string(queue.log(1)).unwrap();
        let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
        let Some(line) = lines.get_mut(lost) else { return };
        let was = line.clone();
        *line = was.replace("\"ev\":", "\"eV\":");
        fs::write(queue.log(1), lines.concat()).unwrap();
        if let Some(id) = ["plain", "a", "b", "c", "last"]
            .into_iter()
            .find(|id| was.contains("\"enqueued\"") && was.contains(&format!("\"job\":\"{id}\"")))
        {
            wanted.remove(id);
        }

        let mut store = queue.open();
        let _ = fs::remove_dir_all(store.place().cache_dir());
        store.rebuild(&[]).unwrap_or_else(|error| panic!("without {was}: {error}"));
        assert_eq!(store.take_notices(), [""; 0], "a later header has the settings");
        for round in 0..2 {
            assert_eq!(jobs(&mut store), wanted, "round {round} without {was}");
            let log = queue.log(1);
            let files = fs::read_dir(log.parent().unwrap()).unwrap().flatten();
            let all: String = files.map(|file| fs::read_to_string(file.path()).unwrap()).collect();
            for strange in STRANGE.iter().filter(|strange| !was.contains(*strange)) {
                assert_eq!(all.matches(strange).count(), 1, "{strange} without {was}");
            }
            // And a compaction goes on with it.
            let more = format!("more{round}");
            enqueue(&mut store, &[&more]).unwrap();
            wanted.insert(more);
            store.seal().unwrap();
            store.compactor().unwrap().run(None).unwrap().unwrap();
            store = queue.open();
        }
    }
}

/// The settings stand in the header of each segment. Where the newest has lost its own, nobody knows what was set last.
#[test]
fn settings_that_may_be_older_are_told_of() {
    for is_read in [false, true] {
        let queue = Queue::new();
        let mut store = queue.open();
        for value in ["7", "8"] {
            let set = ConfigSet { key: "max_lost".into(), value: value.into() };
            let change =
                |config: &Config| (config.with("max_lost", value), vec![Event::ConfigSet(set)]);
            store.configure(change).unwrap();
        }
        enqueue(&mut store, &["last"]).unwrap();
        store.read().unwrap();
        store.write_checkpoint();
        if !is_read {
            fs::remove_dir_all(store.place().cache_dir()).unwrap();
        }
        let text = fs::read_to_string(queue.log(3)).unwrap();
        fs::write(queue.log(3), text.replacen("\"why\"", "\"wyh\"", 1)).unwrap();

        let mut store = queue.open();
        store.rebuild(&[]).unwrap();
        let told = store.take_notices().concat();
        assert_eq!(told.contains("settings may be older"), !is_read, "{told}");
        assert_eq!(store.config().unwrap().max_lost(), if is_read { 8 } else { 7 });
        assert_eq!(jobs(&mut store), BTreeSet::from(["last".to_owned()]));
    }
}
