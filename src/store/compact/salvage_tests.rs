//! Damaged logs: what is got out of them, also where they have what this version does not know all of.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::had_come_to;
use crate::domain::config::Config;
use crate::domain::decide;
use crate::domain::event::{ConfigSet, Event};
use crate::domain::job::{Claim, JobId};
use crate::domain::state::NodeState;
use crate::domain::timestamp::Timestamp;
use crate::store::disk::{Disk as _, Open};
use crate::store::files::Files;
use crate::store::mark::{self, Mark};
use crate::store::real_disk::RealDisk;
use crate::store::replay::Cursor;
use crate::store::store_tests::{Queue, append_to, enqueue};
use crate::store::{Store, StoreError, segment};

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

/// Makes the first line not hold that has this in it.
fn damage(path: &Path, part: &str) {
    let text = fs::read_to_string(path).unwrap();
    let line = text.split_inclusive('\n').find(|line| line.contains(part)).unwrap();
    fs::write(path, text.replacen(line, &line.replace("\"ev\":", "\"eV\":"), 1)).unwrap();
}

/// Makes the last line not hold: its checksum is another.
fn damage_last_line(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() - 4;
    bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
    fs::write(path, bytes).unwrap();
}

/// A line of a sealed segment that does not hold, and what is enqueued behind it.
fn damaged(behind: &[&[&str]]) -> (Queue, Store) {
    let queue = Queue::new();
    let mut store = queue.open();
    enqueue(&mut store, &["x"]).unwrap();
    store.seal().unwrap();
    for ids in behind {
        enqueue(&mut store, ids).unwrap();
    }
    store.read().unwrap();
    store.write_checkpoint();
    damage(&queue.log(1), "\"x\"");
    (queue, store)
}

fn without_cache(queue: &Queue) -> Store {
    let store = queue.open();
    fs::remove_dir_all(store.place().cache_dir()).unwrap();
    store
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

/// What was synced behind the last job of a batch was its end, and somebody was told that the batch is there. Where
/// nothing was, nobody was.
#[test]
fn the_end_of_a_batch_is_made_up_where_it_was_synced_and_nowhere_else() {
    for was_synced in [true, false] {
        let (queue, store) = damaged(&[&["a", "b"]]);
        damage_last_line(&queue.log(2));
        if !was_synced {
            let bytes = fs::read(queue.log(2)).unwrap();
            let last = segment::cut(&bytes, 0).good.pop().unwrap();
            let file = RealDisk.open(&store.place().mark(), Open::ReadWrite).unwrap();
            let was = mark::read(file.as_ref()).unwrap().unwrap();
            let line = String::from_utf8(last.crc.to_vec()).unwrap();
            let mark = Mark { len: last.end, seq: last.record.seq, line, ..was };
            mark::write(file.as_ref(), &mark).unwrap();
        }
        let mut store = without_cache(&queue);
        store.rebuild(&[]).unwrap();
        assert_eq!(jobs(&mut store), if was_synced { set(&["a", "b"]) } else { set(&[]) });
    }
}

/// Also before any repair, what is left of a batch is there.
#[test]
fn of_a_batch_that_has_lost_a_line_the_others_are_seen() {
    let (queue, _) = damaged(&[&["a", "b", "c"]]);
    damage(&queue.log(2), "\"b\"");
    let mut store = without_cache(&queue);
    assert_eq!(jobs(&mut store), set(&["a", "c"]));
    assert_ne!(store.view().damage, []);
    store.rebuild(&[]).unwrap();
    assert_eq!(jobs(&mut store), set(&["a", "c"]));
}

/// A cache is of this log where the log is still there up to it, or says that it was.
#[test]
fn what_was_read_is_believed_where_the_log_had_come_so_far() {
    type Deed = fn(&Queue, &mut Store);
    fn forget_mark(_: &Queue, store: &mut Store) {
        fs::remove_file(store.place().mark()).unwrap();
    }
    let cases: [(&str, Deed, &[&str]); 4] = [
        ("its end holds", forget_mark, &["x", "y", "z"]),
        ("its end was synced", |queue, _| damage_last_line(&queue.log(2)), &["x", "y", "z"]),
        (
            "the next segment begins behind it",
            |queue, store| {
                store.seal().unwrap();
                forget_mark(queue, store);
                damage_last_line(&queue.log(2));
            },
            &["x", "y", "z"],
        ),
        (
            "nothing says so",
            |queue, store| {
                forget_mark(queue, store);
                damage_last_line(&queue.log(2));
            },
            &["y"],
        ),
    ];
    for (case, deed, expected) in cases {
        let (queue, mut store) = damaged(&[&["y"], &["z"]]);
        deed(&queue, &mut store);
        let mut store = queue.open();
        store.rebuild(&[]).unwrap();
        assert_eq!(jobs(&mut store), set(expected), "{case}");
    }
}

/// The base has what the cache never saw. It was once left out: what lay behind the place of the cache was lost.
#[test]
fn a_cache_that_is_older_than_a_base_of_its_segment_is_not_gone_on_from() {
    for is_begun_in in [1, 2] {
        let queue = Queue::new();
        let mut store = queue.open();
        enqueue(&mut store, &["a"]).unwrap();
        if is_begun_in == 2 {
            store.seal().unwrap();
            enqueue(&mut store, &["a2"]).unwrap();
        }
        store.read().unwrap();
        store.write_checkpoint();
        enqueue(&mut store, &["b"]).unwrap();
        store.seal().unwrap();
        store.compactor().unwrap().run(None).unwrap().unwrap();
        assert!(!queue.log(is_begun_in).exists());
        enqueue(&mut store, &["x"]).unwrap();
        enqueue(&mut store, &["y"]).unwrap();
        let had = jobs(&mut queue.open());
        damage(&queue.log(is_begun_in + 1), "\"x\"");
        queue.open().rebuild(&[]).unwrap();
        let left: BTreeSet<String> = had.into_iter().filter(|id| id != "x").collect();
        assert_eq!(jobs(&mut queue.open()), left, "{is_begun_in}");
    }
}

#[test]
fn a_log_had_come_to_a_place_that_is_at_or_before_what_was_synced() {
    let mut state = NodeState::default();
    state.facts.last_seq = 7;
    let cursor = Cursor { segment: 2, offset: 100, crc: *b"00000000" };
    let files = Files { base: None, segments: std::collections::BTreeMap::new(), is_all: true };
    let cases = [
        ((2, 100, 7), true),
        ((2, 101, 8), true),
        ((2, 99, 7), false),
        ((2, 100, 6), false),
        ((1, 100, 7), false),
        // Of another segment nothing is known.
        ((3, 100, 7), false),
        ((1, 100, 6), false),
    ];
    for ((segment, len, seq), expected) in cases {
        let (node, line, boot) = ("desk".to_owned(), String::new(), String::new());
        let mark = Mark { node, segment, len, seq, line, boot };
        assert_eq!(had_come_to(&files, Some(&mark), &state, &cursor), expected, "{mark:?}");
    }
    assert!(!had_come_to(&files, None, &state, &cursor));
}

/// Its job would be begun again beside what runs.
#[test]
fn a_repair_waits_for_a_run_of_which_the_start_is_lost_and_for_no_other() {
    let (queue, mut store) = damaged(&[&["y"]]);
    let claim = store.transact(|node, now| {
        // The first is of the job that is lost.
        let claims = decide::claim(node, "desk.2abcdefg", node.facts.last_seq, 2, &[], now);
        let claim = claims[1].claim.clone();
        Ok((claims.into_iter().map(Event::Claimed).collect(), claim))
    });
    let claim = claim.unwrap();
    let mut store = without_cache(&queue);
    let other = Claim::new("desk.2abcdefg", 99);
    let error = store.rebuild(&[claim.clone(), other]).unwrap_err();
    assert!(matches!(&error, StoreError::InUse(what) if what.contains(".99")), "{error}");
    store.rebuild(&[claim]).unwrap();
    assert_eq!(jobs(&mut store), set(&["y"]));
}

/// The header of the next segment says how far one had come that has lost its last line.
#[test]
fn no_number_is_given_again_that_a_header_tells_of() {
    let queue = Queue::new();
    let mut store = queue.open();
    for id in ["a", "b"] {
        enqueue(&mut store, &[id]).unwrap();
    }
    store.seal().unwrap();
    fs::remove_file(store.place().mark()).unwrap();
    damage(&queue.log(1), "\"b\"");
    let mut store = queue.open();
    let _ = fs::remove_dir_all(store.place().cache_dir());
    store.rebuild(&[]).unwrap();
    enqueue(&mut store, &["c"]).unwrap();
    store.read().unwrap();
    assert_eq!(store.own().unwrap().job(&JobId::new("c").unwrap()).unwrap().order, 3);
}
