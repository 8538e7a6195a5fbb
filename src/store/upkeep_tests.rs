//! What goes by upkeep and what stays, and from when on a compaction is worth its while.

use std::fs;
use std::time::Duration;

use super::*;
use crate::domain::decide;
use crate::domain::event::QueuePaused;
use crate::domain::job::{Claim, RunResult};
use crate::domain::policy::RetryPolicy;
use crate::domain::state::NodeState;
use crate::store::clock::Clock;
use crate::store::disk::{Space, Stat};
use crate::store::real_disk::RealDisk;
use crate::store::store_tests::{Queue, enqueue};

fn pause(store: &mut Store) {
    let event = Event::QueuePaused(QueuePaused { queue: Some("q".into()), until: None });
    store.transact(|_, _| Ok((vec![event.clone()], ()))).unwrap();
}

fn cancel(store: &mut Store, id: &str) {
    let id = JobId::new(id).unwrap();
    store
        .transact(|node, _| Ok((decide::cancel(node, &id, None)?.into_iter().collect(), ())))
        .unwrap();
}

/// Runs the only job that waits, to a good end.
fn run(store: &mut Store, id: &str) {
    let job = JobId::new(id).unwrap();
    let claim = |node: &NodeState, now| decide::claim(node, "desk.2abcdefg", 0, 1, &[], now);
    store
        .transact(|node, now| Ok((claim(node, now).into_iter().map(Event::Claimed).collect(), ())))
        .unwrap();
    let claim = Claim::new("desk.2abcdefg", 0);
    let (tail, error, result) = (None, None, RunResult::Exit(0));
    let outcome = decide::Outcome { job, run: 1, claim, result, ms: 7, tail, error };
    let policy = RetryPolicy::default();
    let end = |node: &NodeState, now| decide::finish(node, outcome.clone(), &policy, now, 0.0);
    store.transact(|node, now| Ok((vec![end(node, now)], ()))).unwrap();
}

/// Makes the three files of a run.
fn print(store: &Store, id: &str, run: u32) -> [std::path::PathBuf; 3] {
    let files = layout::run_files(id, run);
    [files.out, files.err, files.stdin].map(|file| {
        let file = store.place().output_dir().join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "printed").unwrap();
        file
    })
}

const AT_ONCE: Retention = Retention { completed: None, cancelled: Some(Duration::ZERO) };

#[test]
fn finished_jobs_go_with_what_they_printed_and_are_counted() {
    let queue = Queue::new();
    let mut store = queue.open();
    for id in ["a", "b", "c"] {
        enqueue(&mut store, &[id]).unwrap();
    }
    ["a", "b"].into_iter().for_each(|id| cancel(&mut store, id));
    let printed = print(&store, "a", 1);
    let jobs = ["a", "b"].map(|id| Traces { id: JobId::new(id).unwrap(), last_run: 1 });
    assert_eq!(store.forget_outputs(&jobs), 3);
    assert!(printed.iter().all(|file| !file.exists()));
    assert_eq!(store.expire_some(AT_ONCE).unwrap(), Went { jobs: 2, outputs: 0, more: false });
    assert_eq!(store.expire_some(AT_ONCE).unwrap(), Went::default());
    assert_eq!(queue.ids(), ["c"]);
    ["d", "e"].into_iter().for_each(|id| {
        enqueue(&mut store, &[id]).unwrap();
        cancel(&mut store, id);
    });
    run(&mut store, "c");
    print(&store, "c", 1);
    let all = Retention { completed: Some(Duration::ZERO), ..AT_ONCE };
    let went = store.expire(all, Rest::default()).unwrap();
    assert_eq!(went, Went { jobs: 3, outputs: 3, more: false });
}

/// A look at a queue in which nothing is over writes nothing, not even where the log is to be begun anew.
#[test]
fn batches_that_nobody_made_whole_are_given_up_after_a_day() {
    let queue = Queue::new();
    enqueue(&mut queue.open(), &["a", "b"]).unwrap();
    let bytes = fs::read(queue.log(1)).unwrap();
    let lines: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').collect();
    fs::write(queue.log(1), lines[..lines.len() - 1].concat()).unwrap();
    fs::remove_file(queue.open().place().mark()).unwrap();
    let mut store = queue.open_in_boot("boot-2");
    store.read().unwrap();
    let day = retention::BATCH_PATIENCE;
    let open = |store: &Store| store.own().unwrap().facts.open_batches.len();
    let at = store.own().unwrap().facts.last_ts;
    store.clock = Clock::Fixed(at.after(day - Duration::from_micros(1)));
    store.expire(AT_ONCE, Rest::default()).unwrap();
    assert_eq!((open(&store), queue.segments().len()), (1, 1));
    store.clock = Clock::Fixed(at.after(day));
    store.expire(AT_ONCE, Rest::default()).unwrap();
    assert_eq!((open(&store), queue.segments().len()), (0, 2));
}

/// A store that has written reads on from there, and would not see it.
#[test]
fn damage_behind_what_was_read_is_found_by_the_mark_alone() {
    let queue = Queue::new();
    let mut store = queue.open();
    (0..3).for_each(|_| pause(&mut store));
    store.confirm_damage().unwrap();
    let mut bytes = fs::read(queue.log(1)).unwrap();
    let at = bytes.len() - 40;
    bytes[at] ^= 1;
    fs::write(queue.log(1), bytes).unwrap();
    let error = store.confirm_damage().unwrap_err();
    assert!(matches!(error, StoreError::Damaged(_)), "{error}");
    assert!(store.degraded().is_some());
}

#[test]
fn outputs_of_jobs_that_are_gone_are_swept_but_for_those_in_use() {
    let queue = Queue::new();
    let mut store = queue.open();
    enqueue(&mut store, &["a"]).unwrap();
    assert_eq!(store.sweep_outputs().unwrap(), 0);
    let kept = print(&store, "a", 7);
    let gone = print(&store, "gone", 1);
    let held = print(&store, "held", 1);
    let locked = RealDisk.open(&held[1], Open::Append).unwrap();
    assert!(locked.try_lock(Lock::Exclusive).unwrap());
    let mine = held[0].with_file_name("notes.txt");
    fs::write(&mine, "").unwrap();
    assert_eq!(store.sweep_outputs().unwrap(), 5);
    assert!(kept.iter().chain([&held[1], &mine]).all(|file| file.exists()));
    assert!(gone.iter().chain([&held[0], &held[2]]).all(|file| !file.exists()));
    locked.unlock().unwrap();
    assert_eq!(store.sweep_outputs().unwrap(), 1);
    // One that can't be looked through is not an empty one.
    fs::remove_dir_all(store.place().output_dir()).unwrap();
    assert_eq!(store.sweep_outputs().unwrap(), 0);
    fs::write(store.place().output_dir(), "").unwrap();
    store.sweep_outputs().unwrap_err();
}

#[test]
fn outputs_of_purged_jobs_are_counted_where_they_were_there_and_not_in_use() {
    let queue = Queue::new();
    let mut store = queue.open();
    enqueue(&mut store, &["a"]).unwrap();
    let traces = |id: &str, last_run| [Traces { id: JobId::new(id).unwrap(), last_run }];
    assert_eq!(store.forget_outputs(&traces("a", 3)), 0);
    let [first, second] = [1, 2].map(|run| print(&store, "a", run));
    let held = RealDisk.open(&first[0], Open::Append).unwrap();
    assert!(held.try_lock(Lock::Exclusive).unwrap());
    assert_eq!(store.forget_outputs(&traces("a", 1)), 2);
    assert!(first[0].exists() && second.iter().all(|file| file.exists()));
    held.unlock().unwrap();
    assert_eq!(store.forget_outputs(&traces("a", 2)), 4);
}

/// Where part of a log can't be read, nobody knows which jobs are gone.
#[test]
fn nothing_is_swept_while_any_log_is_not_whole() {
    let bad: fn(&Queue) = |queue| {
        let text = fs::read_to_string(queue.log(1)).unwrap();
        fs::write(queue.log(1), text.replacen("\"a\"", "\"x\"", 1)).unwrap();
    };
    let foreign: fn(&Queue) = |queue| {
        fs::create_dir_all(queue.root.join("log/nas/00000001.jsonl")).unwrap();
    };
    let older: fn(&Queue) = |queue| {
        let text = fs::read_to_string(queue.log(1)).unwrap();
        let cut = text.trim_end().rfind('\n').unwrap() + 1;
        fs::write(queue.log(1), &text[..cut]).unwrap();
    };
    let none: fn(&Queue) = |_| {};
    let seen = |store: &mut Store| {
        let view = store.read().unwrap();
        (!view.damage.is_empty(), !view.foreign.is_empty(), view.rolled_back.is_some())
    };
    for (deed, expected, gone) in [
        (none, (false, false, false), 3),
        (bad, (true, false, false), 0),
        (foreign, (false, true, false), 0),
        (older, (false, false, true), 0),
    ] {
        let queue = Queue::new();
        ["a", "b"].into_iter().for_each(|id| drop(enqueue(&mut queue.open(), &[id]).unwrap()));
        print(&queue.open(), "gone", 1);
        deed(&queue);
        assert_eq!(seen(&mut queue.open()), expected);
        assert_eq!(queue.open().sweep_outputs().unwrap(), gone, "{expected:?}");
    }
}

/// The real disk, with so much room on it.
struct Roomy(u64);

impl Disk for Roomy {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn Handle>> {
        RealDisk.open(path, how)
    }
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_directory(path)
    }
    fn stat(&self, path: &Path) -> io::Result<Stat> {
        RealDisk.stat(path)
    }
    fn free_space(&self, _: &Path) -> io::Result<Option<Space>> {
        // So small that nothing is kept back of it.
        Ok(Some(Space { free: self.0, total: 0 }))
    }
    fn pause(&self, time: Duration) {
        RealDisk.pause(time);
    }
    fn boot(&self) -> io::Result<String> {
        RealDisk.boot()
    }
}

/// The default size of a segment.
fn full() -> u64 {
    Config::default().segment_size()
}

/// Puts a segment there that is as long as this.
fn put(queue: &Queue, number: u64, len: u64) {
    fs::File::create(queue.log(number)).unwrap().set_len(len).unwrap();
}

/// As one that has read the log before the segments were put there.
fn is_worth(store: &mut Store, room: u64) -> bool {
    store.disk = Arc::new(Roomy(room));
    store.is_worth_compacting()
}

#[test]
fn a_log_is_compacted_where_more_than_half_of_it_goes_and_much_was_sealed() {
    let queue = Queue::new();
    let mut store = queue.open();
    assert!(!store.is_worth_compacting());
    ["a", "b"].into_iter().for_each(|id| drop(enqueue(&mut store, &[id]).unwrap()));
    pause(&mut store);
    // Half of the lines are left, rounded down, then fewer.
    for is_less in [false, false, true] {
        pause(&mut store);
        let small = fs::metadata(queue.log(1)).unwrap().len();
        for (sealed, is_much) in [(full() - small - 1, false), (full() - small, true)] {
            put(&queue, 2, sealed);
            // What is appended to is not sealed.
            put(&queue, 3, full());
            assert_eq!(is_worth(&mut store, u64::MAX), is_less && is_much);
        }
        [2, 3].into_iter().for_each(|number| fs::remove_file(queue.log(number)).unwrap());
    }
}

#[test]
fn very_many_segments_are_made_one_whatever_that_saves() {
    let queue = Queue::new();
    let mut store = queue.open();
    enqueue(&mut store, &["a"]).unwrap();
    store.read().unwrap();
    let small = fs::metadata(queue.log(1)).unwrap().len();
    (2..=256).for_each(|number| put(&queue, number, 1));
    assert!(!is_worth(&mut store, u64::MAX));
    put(&queue, 257, 1);
    assert!(is_worth(&mut store, small + 255));
    assert!(!is_worth(&mut store, small + 254));
}

/// What was sealed is held against the base, and lines against those that the base has.
#[test]
fn behind_a_base_only_what_was_sealed_since_counts() {
    let queue = Queue::new();
    let mut store = queue.open();
    enqueue(&mut store, &["a"]).unwrap();
    cancel(&mut store, "a");
    store.expire(AT_ONCE, Rest::default()).unwrap();
    store.seal().unwrap();
    store.compactor().unwrap().run(None).unwrap().unwrap();
    store.read().unwrap();
    assert_eq!(queue.segments(), ["00000001-00000001.base.jsonl", "00000002.jsonl"]);
    let base =
        fs::metadata(queue.root.join("log/desk/00000001-00000001.base.jsonl")).unwrap().len();
    // It stands for this one.
    put(&queue, 1, full());
    put(&queue, 3, 0);
    assert!(!is_worth(&mut store, u64::MAX));
    let small = fs::metadata(queue.log(2)).unwrap().len();
    put(&queue, 3, full() - small - 1);
    put(&queue, 4, 0);
    assert!(!is_worth(&mut store, u64::MAX));
    put(&queue, 3, full() - small);
    // No job is left, of what had two lines.
    assert!(is_worth(&mut store, full() + base));
    assert!(!is_worth(&mut store, full() + base - 1));
}
