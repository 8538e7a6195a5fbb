//! The store against the model and against its own log: however a log is read, it says the same.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use proptest::prelude::*;
use proptest::sample::Index;
use queuectl::domain::config::Config;
use queuectl::domain::decide::{OnConflict, Refusal};
use queuectl::domain::event::Record;
use queuectl::domain::job::Spec;
use queuectl::domain::state::{NodeState, State};
use queuectl::domain::timestamp::Timestamp;
use queuectl::store::clock::Clock;
use queuectl::store::ids::Ids;
use queuectl::store::machine::Environment;
use queuectl::store::real_disk::RealDisk;
use queuectl::store::replay::View;
use queuectl::store::{Enqueue, Setting, Store, StoreError, line};
use tempfile::TempDir;

use super::action::{Action, New, action, history};
use super::cases;
use super::play::{Decide, Play, Queue, START};

/// What happens between two actions to the process or its machine.
#[derive(Debug, Clone)]
enum Chore {
    Nothing,
    /// The next process goes on.
    Reopen,
    Checkpoint,
    DropCheckpoint,
    /// The machine is started anew.
    Boot,
}

fn chore() -> impl Strategy<Value = Chore> {
    prop_oneof![
        6 => Just(Chore::Nothing),
        3 => Just(Chore::Reopen),
        2 => Just(Chore::Checkpoint),
        1 => Just(Chore::DropCheckpoint),
        1 => Just(Chore::Boot),
    ]
}

/// A node's queue on a real disk, with segments as small as they may be.
pub struct OnDisk {
    home: TempDir,
    node: &'static str,
    clock: Arc<AtomicI64>,
    boot: u32,
    store: Store,
    nothing: NodeState,
}

impl OnDisk {
    pub fn new(node: &'static str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let clock = Arc::new(AtomicI64::new(START));
        let store = open(&root(&home), node, &clock, 0);
        let nothing = NodeState::default();
        let mut queue = OnDisk { home, node, clock, boot: 0, store, nothing };
        let small = |config: &Config| config.with("segment_size", "4096");
        let set =
            queuectl::domain::event::ConfigSet { key: "segment_size".into(), value: "4096".into() };
        queue
            .store
            .configure(|config| {
                (small(config), vec![queuectl::domain::event::Event::ConfigSet(set)])
            })
            .unwrap();
        queue
    }

    pub fn reopen(&mut self) {
        self.store = self.another();
    }

    /// What another process finds.
    pub fn another(&self) -> Store {
        open(&root(&self.home), self.node, &self.clock, self.boot)
    }

    fn drop_checkpoint(&self) {
        let cache = self.store.place().cache_dir();
        if cache.exists() {
            std::fs::remove_dir_all(&cache).unwrap();
            std::fs::create_dir(&cache).unwrap();
        }
    }

    fn chore(&mut self, chore: &Chore) {
        match chore {
            Chore::Nothing => {}
            Chore::Reopen => self.reopen(),
            Chore::Checkpoint => {
                self.store.read().unwrap();
                self.store.write_checkpoint();
            }
            Chore::DropCheckpoint => self.drop_checkpoint(),
            Chore::Boot => {
                self.boot += 1;
                self.reopen();
            }
        }
    }

    /// Enqueues a job, and says whether that was acknowledged.
    pub fn enqueue_any(&mut self, text: &str) -> bool {
        let specs = vec![Spec::shell(super::play::id(text), "true", 3)];
        let on_conflict = OnConflict::Fail;
        self.store.enqueue(Enqueue { specs, has_chosen_ids: true, on_conflict }).is_ok()
    }

    pub fn log(&self) -> PathBuf {
        self.store.place().log_dir(self.node)
    }

    /// The files of the log, in order, with what they hold.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        files(&self.log())
    }
}

fn root(home: &TempDir) -> PathBuf {
    home.path().join("queue")
}

fn open(root: &Path, node: &str, clock: &Arc<AtomicI64>, boot: u32) -> Store {
    let uid = rustix::process::geteuid().as_raw();
    Store::open(Setting {
        disk: Arc::new(RealDisk),
        root: root.to_owned(),
        environment: Environment { node: Some(node.into()), uid, ..Environment::default() },
        clock: Clock::Shared(Arc::clone(clock)),
        ids: Ids::new(None),
        boot: Some(format!("boot-{boot}")),
    })
    .unwrap()
}

fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn refused<T>(outcome: Result<T, StoreError>) -> Result<(), Refusal> {
    match outcome {
        Ok(_) => Ok(()),
        Err(StoreError::Refused(refusal)) => Err(refusal),
        Err(error) => panic!("{error}"),
    }
}

impl Queue for OnDisk {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.clock.load(Ordering::SeqCst))
    }

    fn pass(&mut self, seconds: u64) {
        self.clock.fetch_add(seconds as i64 * 1_000_000, Ordering::SeqCst);
    }

    fn enqueue(&mut self, specs: Vec<Spec>) -> Result<(), Refusal> {
        let on_conflict = OnConflict::Fail;
        refused(self.store.enqueue(Enqueue { specs, has_chosen_ids: true, on_conflict }))
    }

    fn write(&mut self, decide: Decide) -> Result<(), Refusal> {
        refused(self.store.transact(|node, now| Ok((decide(node, now)?, ()))))
    }

    fn look(&mut self) -> &NodeState {
        let now = self.now();
        assert_eq!(self.store.read().unwrap().damage, []);
        self.store.ripen(|job| job.due.is_none_or(|due| due <= now));
        self.store.own().unwrap_or(&self.nothing)
    }
}

fn play(node: &'static str, history: &[(Action, Chore)]) -> Play<OnDisk> {
    let mut play = Play::new(OnDisk::new(node));
    for (action, chore) in history {
        play.step(action);
        play.queue.chore(chore);
    }
    play
}

fn with_chores(most: usize) -> impl Strategy<Value = Vec<(Action, Chore)>> {
    proptest::collection::vec((action(), chore()), 1..=most)
}

/// A directory of logs that fills up bit by bit.
struct Mirror {
    _home: TempDir,
    logs: PathBuf,
}

impl Mirror {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let logs = home.path().to_owned();
        Mirror { _home: home, logs }
    }

    fn put(&self, node: &str, name: &str, bytes: &[u8]) {
        let directory = self.logs.join(node);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(name), bytes).unwrap();
    }

    fn remove(&self, node: &str, name: &str) {
        let _ = std::fs::remove_file(self.logs.join(node).join(name));
    }

    /// Reads what is new.
    fn refresh(&self, view: &mut View, own: Option<&str>) {
        view.refresh(&RealDisk, &self.logs, own, None).unwrap();
    }

    fn read(&self, own: Option<&str>) -> View {
        let mut view = View::default();
        self.refresh(&mut view, own);
        view
    }
}

/// What is damaged in another node's log hides what comes after it, is told, and is forgotten once it is mended.
#[test]
fn the_damage_of_another_node_is_told_until_it_is_gone() {
    let one =
        |job| Action::Enqueue(vec![New { job, queue: 0, priority: 0, max_retries: 1, wait: None }]);
    let history = [(one(0), Chore::Nothing), (one(1), Chore::Boot), (one(2), Chore::Nothing)];
    let play = play("desk", &history);
    let files = play.queue.files();
    assert_eq!(files.len(), 3);
    let (mirror, mut view) = (Mirror::new(), View::default());
    for (name, bytes) in &files {
        mirror.put("desk", name, bytes);
    }
    let (name, good) = &files[1];
    let mut bad = good.clone();
    *bad.iter_mut().rev().nth(20).unwrap() ^= 1;
    let ids = |view: &View| -> Vec<String> {
        view.state.jobs().iter().map(|(_, job)| job.id().to_string()).collect()
    };
    mirror.put("desk", name, &bad);
    for _ in 0..2 {
        mirror.refresh(&mut view, None);
        assert_eq!((view.foreign.len(), view.damage.len()), (1, 0));
        assert_eq!(ids(&view), ["j0"]);
    }
    mirror.put("desk", name, good);
    mirror.refresh(&mut view, None);
    assert_eq!((view.foreign.len(), ids(&view)), (0, vec!["j0".into(), "j1".into(), "j2".into()]));
}

/// The state of whole lines alone.
fn fold(bytes: &[u8]) -> NodeState {
    let mut node = NodeState::default();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(line) = line.strip_suffix(b"\n") else { break };
        let (record, _): (Record, _) = line::decode(line).unwrap();
        let _ = node.apply(&record);
    }
    node
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn the_store_does_as_the_model_and_full_replay_is_checkpoint_and_tail(
        history in with_chores(40)
    ) {
        let mut play = play("desk", &history);
        play.compare();
        let queue = &mut play.queue;
        let live = queue.store.read().unwrap().state.clone();
        let with_checkpoint = queue.another().read().unwrap().state.clone();
        queue.drop_checkpoint();
        let mut replay = queue.another();
        prop_assert_eq!(&replay.read().unwrap().state, &live);
        prop_assert_eq!(&with_checkpoint, &live);
        let bytes: Vec<u8> = queue.files().into_iter().flat_map(|(_, bytes)| bytes).collect();
        prop_assert_eq!(Some(&fold(&bytes)), live.node("desk"));
    }

    /// A log that grows under its reader by any steps, or is put back, as the own one and as another's.
    #[test]
    fn reading_in_any_chunks_is_reading_at_once(
        history in with_chores(40),
        cuts in proptest::collection::vec(any::<Index>(), 1..12),
    ) {
        let play = play("desk", &history);
        let files = play.queue.files();
        let whole: Vec<u8> = files.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(whole.len() + 1)).collect();
        cuts.push(whole.len());
        for own in [Some("desk"), None] {
            let (mirror, mut view) = (Mirror::new(), View::default());
            for cut in &cuts {
                let mut left = *cut;
                for (name, bytes) in &files {
                    let part = &bytes[..bytes.len().min(left)];
                    left -= part.len();
                    mirror.remove("desk", name);
                    // The own segments appear with their header or not at all.
                    if part.contains(&b'\n') || (own.is_none() && !part.is_empty()) {
                        mirror.put("desk", name, part);
                    }
                }
                mirror.refresh(&mut view, own);
                let state = view.state.node("desk").cloned().unwrap_or_default();
                prop_assert_eq!(&state, &fold(&whole[..*cut]), "own: {:?}, cut {}", own, cut);
                prop_assert_eq!(&view.damage, &[]);
            }
            prop_assert_eq!(&view.foreign, &[], "what was in flight is no damage");
        }
    }

    /// Two nodes' files arrive in any order, in any pieces; what is read is the same for whoever has the same files.
    #[test]
    fn any_order_of_arrival_folds_to_the_same_state(
        desk in history(25),
        nas in history(25),
        arrivals in proptest::collection::vec((any::<Index>(), 0..=100_usize), 1..12),
    ) {
        let quiet = |history: Vec<Action>| -> Vec<(Action, Chore)> {
            history.into_iter().map(|action| (action, Chore::Nothing)).collect()
        };
        let mut both = State::default();
        let mut files = Vec::new();
        for (node, history) in [("desk", desk), ("nas", nas)] {
            let mut play = play(node, &quiet(history));
            for (name, bytes) in play.queue.files() {
                files.push((node, name, bytes));
            }
            both.nodes.extend(play.queue.store.read().unwrap().state.nodes.clone());
        }
        let (mirror, mut view) = (Mirror::new(), View::default());
        let mut there = vec![0; files.len()];
        for (file, percent) in arrivals {
            let at = file.index(files.len());
            let (node, name, bytes) = &files[at];
            there[at] = there[at].max(bytes.len() * percent / 100);
            mirror.put(node, name, &bytes[..there[at]]);
            mirror.refresh(&mut view, None);
            prop_assert_eq!(&view.state, &mirror.read(None).state);
        }
        for (node, name, bytes) in &files {
            mirror.put(node, name, bytes);
        }
        mirror.refresh(&mut view, None);
        prop_assert_eq!(&view.state, &both);
        prop_assert_eq!(&view.foreign, &[]);
        for own in ["desk", "nas"] {
            prop_assert_eq!(&mirror.read(Some(own)).state, &both);
        }
    }
}
