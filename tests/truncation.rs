//! A log that was cut off at any byte: what is whole counts, what is torn does not, and the next writer goes on.
//!
//! A power cut shortens a file to whatever had reached the disk. What was acknowledged lies before the mark; the mark
//! is deleted here, since with it a shorter log is one that was rolled back, which is another story.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use queuectl::domain::decide::{self, OnConflict, Outcome};
use queuectl::domain::event::Event;
use queuectl::domain::job::{Claim, JobId, RunResult, Spec};
use queuectl::domain::policy::RetryPolicy;
use queuectl::domain::state::NodeState;
use queuectl::store::clock::Clock;
use queuectl::store::ids::Ids;
use queuectl::store::machine::Environment;
use queuectl::store::real_disk::RealDisk;
use queuectl::store::{Enqueue, Setting, Store, StoreError, line};
use tempfile::TempDir;

const SEGMENTS: [&str; 3] = ["00000001.jsonl", "00000002.jsonl", "00000003.jsonl"];

/// A directory in memory where there is one: thousands of queues are made here, each with its syncs.
fn temporary() -> TempDir {
    let memory = Path::new("/dev/shm");
    let here = tempfile::Builder::new().tempdir_in(memory);
    here.or_else(|_| tempfile::tempdir()).unwrap()
}

struct Queue {
    home: TempDir,
}

impl Queue {
    /// A queue that has these files of a log and nothing else, as on a machine whose mark was lost.
    fn of(files: &[(&str, &[u8])]) -> Self {
        let queue = Queue { home: temporary() };
        fs::create_dir_all(queue.log()).unwrap();
        for (name, bytes) in files {
            fs::write(queue.log().join(name), bytes).unwrap();
        }
        queue
    }

    fn root(&self) -> PathBuf {
        self.home.path().join("queue")
    }

    fn log(&self) -> PathBuf {
        self.root().join("log/desk")
    }

    fn open(&self, boot: &str) -> Store {
        let uid = rustix::process::geteuid().as_raw();
        Store::open(Setting {
            disk: Arc::new(RealDisk),
            root: self.root(),
            environment: Environment { node: Some("desk".into()), uid, ..Environment::default() },
            clock: Clock::System,
            ids: Ids::new(None),
            boot: Some(boot.into()),
        })
        .unwrap()
    }

    fn bytes(&self, segment: usize) -> Option<Vec<u8>> {
        fs::read(self.log().join(SEGMENTS[segment - 1])).ok()
    }
}

fn id(text: &str) -> JobId {
    JobId::new(text).unwrap()
}

fn enqueue(store: &mut Store, ids: &[&str]) -> Result<Vec<JobId>, StoreError> {
    let specs = ids.iter().map(|text| Spec::shell(id(text), "true", 3)).collect();
    store.enqueue(Enqueue { specs, has_chosen_ids: true, on_conflict: OnConflict::Fail })
}

/// Two segments with some of everything.
fn whole_log() -> (Vec<u8>, Vec<u8>) {
    let queue = Queue::of(&[]);
    enqueue(&mut queue.open("boot-1"), &["a", "b"]).unwrap();
    let mut store = queue.open("boot-2");
    enqueue(&mut store, &["c"]).unwrap();
    let claim = |store: &mut Store, n| {
        store
            .transact(|node, now| {
                let claims = decide::claim(node, "desk.w", n, 1, &[], now);
                Ok((claims.into_iter().map(Event::Claimed).collect(), ()))
            })
            .unwrap();
    };
    claim(&mut store, 0);
    store
        .transact(|node, now| {
            let (job, claim, error) = (id("a"), Claim::new("desk.w", 0), Some("naïve".into()));
            let (result, ms, tail) = (RunResult::Exit(1), 5, None);
            let outcome = Outcome { job, run: 1, claim, result, ms, tail, error };
            let event = decide::finish(node, outcome, &RetryPolicy::default(), now, 0.0);
            Ok((vec![event], ()))
        })
        .unwrap();
    enqueue(&mut store, &["d", "e", "f"]).unwrap();
    claim(&mut store, 1);
    enqueue(&mut store, &["g"]).unwrap();
    assert_eq!(queue.bytes(3), None);
    (queue.bytes(1).unwrap(), queue.bytes(2).unwrap())
}

/// What whole lines alone add up to.
fn fold(parts: &[&[u8]]) -> NodeState {
    let mut node = NodeState::default();
    for line in parts.iter().flat_map(|part| part.split_inclusive(|byte| *byte == b'\n')) {
        let Some(line) = line.strip_suffix(b"\n") else { continue };
        node.apply(&line::decode(line).unwrap().0).unwrap();
    }
    node
}

/// The same, where a line is missing and another has lost its ground.
fn fold_what_can_be(bytes: &[u8]) -> NodeState {
    let mut node = NodeState::default();
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let _ = node.apply(&line::decode(line).unwrap().0);
    }
    node
}

fn after_line(bytes: &[u8], end: usize) -> bool {
    bytes[..end].ends_with(b"\n")
}

fn ids(node: &NodeState) -> Vec<String> {
    node.jobs().map(|job| job.id().to_string()).collect()
}

#[test]
fn a_log_cut_at_any_byte_is_a_prefix_of_it_and_the_next_writer_goes_on() {
    let (first, second) = whole_log();
    let header = second.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    assert!(second.len() - header > 1000, "a log too short to say anything");
    for cut in header..=second.len() {
        let kept = &second[..cut];
        let queue = Queue::of(&[(SEGMENTS[0], &first), (SEGMENTS[1], kept)]);
        let expected = fold(&[&first, kept]);
        let mut reader = queue.open("boot-2");
        let view = reader.read().unwrap();
        assert_eq!(view.damage, [], "cut at {cut}");
        assert_eq!(view.state.node("desk"), Some(&expected), "cut at {cut}");

        let mut writer = queue.open("boot-2");
        enqueue(&mut writer, &["new"]).unwrap();
        let is_torn = !after_line(&second, cut);
        assert_eq!(writer.take_notices().len(), usize::from(is_torn), "cut at {cut}");
        assert_eq!(queue.bytes(3).is_some(), is_torn, "cut at {cut}");
        assert!(queue.bytes(2).unwrap().starts_with(kept), "cut at {cut}: rewritten");

        let mut again = queue.open("boot-2");
        let after = again.read().unwrap();
        assert_eq!(after.damage, [], "cut at {cut}");
        let after = after.state.node("desk").unwrap();
        let mut jobs = ids(&expected);
        jobs.push("new".into());
        assert_eq!(ids(after), jobs, "cut at {cut}");
        assert_eq!(after.facts.last_seq, expected.facts.last_seq + 1, "cut at {cut}");
        assert_eq!(after.facts.totals.oddity_count, 0);
        for job in expected.jobs() {
            assert_eq!(after.job(job.id()), Some(job), "cut at {cut}");
        }
        assert_eq!(writer.read().unwrap().state, again.view().state, "cut at {cut}");
    }
}

/// Pages reach the disk in any order: a line may be lost and those behind it kept. They count once they are carried
/// over, and not before.
#[test]
fn a_line_lost_in_the_middle_hides_the_others_until_somebody_writes() {
    let (first, second) = whole_log();
    let lines: Vec<&[u8]> = second.split_inclusive(|byte| *byte == b'\n').collect();
    for lost in 1..lines.len() {
        let mut start = lines[..lost].concat();
        let expected = fold(&[&first, &start]);
        start.extend(vec![0; lines[lost].len() - 1]);
        let torn = [start, vec![b'\n'], lines[lost + 1..].concat()].concat();
        let queue = Queue::of(&[(SEGMENTS[0], &first), (SEGMENTS[1], &torn)]);
        let mut reader = queue.open("boot-2");
        let view = reader.read().unwrap();
        assert_eq!(view.damage, [], "line {lost} lost");
        assert_eq!(view.state.node("desk"), Some(&expected), "line {lost} lost");

        let mut writer = queue.open("boot-2");
        enqueue(&mut writer, &["new"]).unwrap();
        assert_eq!(writer.take_notices().len(), 1);
        let mut again = queue.open("boot-2");
        let after = again.read().unwrap();
        assert_eq!(after.damage, [], "line {lost} lost");
        let after = after.state.node("desk").unwrap();
        let kept = [&first[..], &lines[..lost].concat(), &lines[lost + 1..].concat()].concat();
        let mut jobs = ids(&fold_what_can_be(&kept));
        jobs.push("new".into());
        assert_eq!(ids(after), jobs, "line {lost} lost");
        let count = first.split(|byte| *byte == b'\n').count() + lines.len() - 4;
        assert_eq!(after.facts.last_seq, count as u64 + 1, "line {lost} lost");
    }
}

#[test]
fn seqs_are_dense_over_what_counts() {
    let (first, second) = whole_log();
    let cut = second.len() - 9;
    let queue = Queue::of(&[(SEGMENTS[0], &first), (SEGMENTS[1], &second[..cut])]);
    enqueue(&mut queue.open("boot-2"), &["new"]).unwrap();
    let third = queue.bytes(3).unwrap();
    let (header, _) = line::decode(third.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    let Event::Segment(header) = header.event else { panic!("no header: {header:?}") };
    let counted = &second[..usize::try_from(header.prev.unwrap().len).unwrap()];
    assert!(after_line(counted, counted.len()));
    let seqs: Vec<u64> = [&first[..], counted, &third]
        .iter()
        .flat_map(|part| part.split(|byte| *byte == b'\n'))
        .filter(|line| !line.is_empty())
        .map(|line| line::decode(line).unwrap().0.seq)
        .filter(|seq| *seq != 0)
        .collect();
    let dense: Vec<u64> = (1..=seqs.len() as u64).collect();
    assert_eq!(seqs, dense);
}

/// A segment appears with its header or not at all, and a sealed one ends where the next says: less is damage.
#[test]
fn a_log_that_lost_more_than_a_tail_is_read_and_not_written_to() {
    let (first, second) = whole_log();
    let header = second.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let whole = fold(&[&first, &second]);
    let in_header = (0..header).map(|cut| (&first[..], &second[..cut]));
    let in_sealed = (0..first.len()).map(|cut| (&first[..cut], &second[..]));
    for (first, second) in in_header.chain(in_sealed) {
        let queue = Queue::of(&[(SEGMENTS[0], first), (SEGMENTS[1], second)]);
        let cut = (first.len(), second.len());
        let mut reader = queue.open("boot-2");
        let view = reader.read().unwrap();
        assert_ne!(view.damage, [], "cut at {cut:?}");
        for job in view.state.node("desk").iter().flat_map(|node| node.jobs()) {
            assert!(whole.job(job.id()).is_some(), "cut at {cut:?}: {} from nowhere", job.id());
        }
        let mut writer = queue.open("boot-2");
        let error = writer.transact(|node, _| {
            let cancelled = decide::cancel(node, &id("b"), None).ok().flatten();
            Ok((cancelled.into_iter().collect(), ()))
        });
        assert!(matches!(error, Err(StoreError::Damaged(_))), "cut at {cut:?}: {error:?}");
        assert_eq!(queue.bytes(2).as_deref(), Some(second));
    }
}
