//! Readers look on while segments are begun, filled, compacted and removed without a pause: every call succeeds, says
//! something whole, and nothing that was seen goes back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::rig::crowd::{Crowd, Part};
use crate::rig::ledger::is_finished;
use crate::rig::{Broken, Place, is_long, wait_for, wait_out};

/// A queue that never rests.
struct Scene {
    place: Place,
    crowd: Crowd,
    /// Jobs that were acknowledged.
    told: Mutex<Vec<String>>,
    /// The first thing that was nonsense.
    broken: Mutex<Option<Broken>>,
    looks: AtomicU64,
    /// Whether finished jobs are removed.
    forgets: Forgets,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forgets {
    Nothing,
    Finished,
}

#[test]
fn views_only_move_forward_while_the_log_is_rewritten() {
    watch(Forgets::Nothing);
}

#[test]
fn views_only_move_forward_while_finished_jobs_go() {
    watch(Forgets::Finished);
}

fn watch(forgets: Forgets) {
    let span = Duration::from_secs(if is_long() { 300 } else { 8 });
    let home = tempfile::Builder::new().prefix("queuectl-readers").tempdir().unwrap();
    let queue = home.path().join("queue");
    let place = Place { home: home.path().to_owned(), queue, boot: None };
    let retention = if forgets == Forgets::Finished { "200ms" } else { "7d" };
    for (key, value) in
        [("segment_size", "4KiB"), ("poll_interval", "50ms"), ("retention", retention)]
    {
        place.must(&["config", "set", key, value]).unwrap();
    }
    let (crowd, told, broken) = (Crowd::default(), Mutex::default(), Mutex::default());
    let scene = Scene { place, crowd, told, broken, looks: AtomicU64::new(0), forgets };
    let mut followed = Vec::new();
    std::thread::scope(|scope| {
        let scene = &scene;
        let follower = scope.spawn(|| scene.follow());
        let mut all = Vec::new();
        for act in [Scene::enqueue, Scene::enqueue, Scene::configure, Scene::compact, Scene::work] {
            all.push(scope.spawn(move || act(scene)));
        }
        for look in [Scene::count, Scene::list, Scene::show, Scene::events] {
            all.push(scope.spawn(move || scene.look_on(look)));
        }
        wait_out(span);
        scene.crowd.close();
        wait_for("everybody to be gone", || {
            !scene.place.end_processes() && all.iter().all(|actor| actor.is_finished())
        });
        followed = follower.join().unwrap();
    });
    let told = scene.told.lock().unwrap().len();
    let looks = scene.looks.load(Ordering::SeqCst);
    let outcome = check_order(&followed).map_err(|what| format!("events --follow: {what}"));
    let broken = scene.broken.lock().unwrap().take().or(outcome.err());
    if let Some(what) = broken {
        panic!("{what}\neverything is in {}", home.keep().display());
    }
    eprintln!("{forgets:?}: {told} jobs, {looks} looks, {} events followed", followed.len());
    assert!(looks > 20 && told > 20 && followed.len() > told, "nothing happened");
}

impl Scene {
    fn complain(&self, what: Broken) {
        self.broken.lock().unwrap().get_or_insert(what);
        self.crowd.close();
    }

    /// Runs what must succeed; gives what it printed, none once everybody goes home.
    fn ask(&self, words: &[&str]) -> Option<Vec<String>> {
        let (mut command, mut lines) = (self.place.queuectl(words), Vec::new());
        let hear = |line: &str| lines.push(line.to_owned());
        let end = self.crowd.run(Part::Asks, &mut command, None, hear)?;
        if self.crowd.is_closed() {
            return None;
        }
        let is_gone = self.forgets == Forgets::Finished && words[0] == "show" && end.code == 1;
        let is_busy = words[0] == "compact" && end.err.contains("another process is compacting");
        if end.code != 0 && !is_gone && !is_busy {
            self.complain(format!("{words:?} exits {}: {}", end.code, end.err));
        }
        Some(if end.code == 0 { lines } else { Vec::new() })
    }

    fn enqueue(&self) {
        while let Some(ids) = self.ask(&["enqueue", "--max-retries", "1", "test $(($$ % 3)) -gt 0"])
        {
            self.told.lock().unwrap().extend(ids);
        }
    }

    fn configure(&self) {
        for value in 0.. {
            if self.ask(&["config", "set", "max_lost", &value.to_string()]).is_none() {
                return;
            }
            wait_out(Duration::from_millis(50));
        }
    }

    fn compact(&self) {
        while self.ask(&["compact"]).is_some() {}
    }

    fn work(&self) {
        let mut command = self.place.queuectl(&["worker", "start", "--count", "2"]);
        let end = self.crowd.run(Part::Works, &mut command, None, |_| {});
        if let Some(end) = end.filter(|_| !self.crowd.is_closed()) {
            self.complain(format!("the worker exits {}: {}", end.code, end.err));
        }
    }

    fn follow(&self) -> Vec<Value> {
        let mut command = self.place.queuectl(&["events", "--follow", "--jsonl"]);
        let mut events = Vec::new();
        let _ = self.crowd.run(Part::Asks, &mut command, None, |line| {
            match serde_json::from_str(line) {
                Ok(event) => events.push(event),
                Err(error) => self.complain(format!("events --follow: {error}: {line}")),
            }
        });
        events
    }

    /// Looks again and again, with what was seen the last time.
    fn look_on(&self, look: fn(&Self, &mut Seen) -> Option<Result<(), Broken>>) {
        let mut seen = Seen::default();
        while let Some(outcome) = look(self, &mut seen) {
            self.looks.fetch_add(1, Ordering::SeqCst);
            if let Err(what) = outcome {
                return self.complain(what);
            }
        }
    }

    fn json(&self, words: &[&str]) -> Option<Result<Value, Broken>> {
        let text = self.ask(words)?.join("\n");
        Some(serde_json::from_str(&text).map_err(|error| format!("{words:?}: {error}: {text}")))
    }

    /// The number of jobs never shrinks, where nothing is removed.
    fn count(&self, seen: &mut Seen) -> Option<Result<(), Broken>> {
        let told = self.told.lock().unwrap().len() as u64;
        let status = match self.json(&["status", "--json"])? {
            Ok(status) => status,
            Err(what) => return Some(Err(what)),
        };
        let counts = status["counts"].as_object().into_iter().flatten();
        let jobs: u64 = counts.filter_map(|(_, count)| count.as_u64()).sum();
        if status["damage"].as_array().is_none_or(|damage| !damage.is_empty()) {
            return Some(Err(format!("damage: {status}")));
        }
        if self.forgets == Forgets::Nothing && jobs < seen.jobs.max(told) {
            return Some(Err(format!("{jobs} jobs, {} seen and {told} told: {status}", seen.jobs)));
        }
        seen.jobs = jobs;
        Some(Ok(()))
    }

    /// No job is missing that was told or seen, none comes back that is gone, and none that is finished goes on.
    fn list(&self, seen: &mut Seen) -> Option<Result<(), Broken>> {
        let told = self.told.lock().unwrap().clone();
        let list = match self.json(&["list", "--json"])? {
            Ok(list) => list,
            Err(what) => return Some(Err(what)),
        };
        let mut now = BTreeMap::new();
        for job in list.as_array().into_iter().flatten() {
            let id = job["id"].as_str().unwrap_or_default().to_owned();
            if seen.gone.contains(&id) {
                return Some(Err(format!("list: a job that was gone is back: {job}")));
            }
            if seen.finished.get(&id) == Some(&true) && !is_finished(job) {
                return Some(Err(format!("list: a job that was finished is not: {job}")));
            }
            now.insert(id, is_finished(job));
        }
        let known = told.iter().chain(seen.finished.keys());
        let missing: BTreeSet<String> =
            known.filter(|id| !now.contains_key(*id)).cloned().collect();
        if self.forgets == Forgets::Nothing && !missing.is_empty() {
            return Some(Err(format!("list: told or seen, and gone: {missing:?}")));
        }
        seen.gone.extend(missing);
        seen.finished = now;
        Some(Ok(()))
    }

    /// A job that was told can be shown, and once finished stays so.
    fn show(&self, seen: &mut Seen) -> Option<Result<(), Broken>> {
        let told = self.told.lock().unwrap().clone();
        seen.jobs += 1;
        let number = usize::try_from(seen.jobs * 7919).unwrap_or(0);
        let Some(id) = told.get(number % told.len().max(1)) else {
            wait_out(Duration::from_millis(1));
            return (!self.crowd.is_closed()).then_some(Ok(()));
        };
        let text = self.ask(&["show", id, "--json"])?.join("\n");
        if text.is_empty() {
            return Some(Ok(()));
        }
        let job: Value = match serde_json::from_str(&text) {
            Ok(job) => job,
            Err(error) => return Some(Err(format!("show: {error}: {text}"))),
        };
        let was_finished = seen.finished.insert(id.clone(), is_finished(&job)) == Some(true);
        let goes_on = was_finished && !is_finished(&job);
        Some(if goes_on { Err(format!("show: it was finished: {job}")) } else { Ok(()) })
    }

    fn events(&self, _: &mut Seen) -> Option<Result<(), Broken>> {
        let lines = self.ask(&["events", "--jsonl"])?;
        let events: Result<Vec<Value>, _> =
            lines.iter().map(|line| serde_json::from_str(line)).collect();
        let events = events.map_err(|error| format!("events: {error}"));
        Some(
            events
                .and_then(|events| check_order(&events).map_err(|what| format!("events: {what}"))),
        )
    }
}

/// What a reader has seen.
#[derive(Default)]
struct Seen {
    jobs: u64,
    /// Of each job, whether it was finished.
    finished: BTreeMap<String, bool>,
    gone: BTreeSet<String>,
}

/// Of one node each event has a moment of its own, and they come in order.
fn check_order(events: &[Value]) -> Result<(), Broken> {
    let mut last: BTreeMap<&str, &Value> = BTreeMap::new();
    // What a base keeps of older events stands in an order of its own.
    let is_kept = |event: &Value| event["ev"] == "job_state" || event["seq"] == 0;
    for event in events.iter().filter(|event| !is_kept(event)) {
        let (Some(node), Some(ts)) = (event["node"].as_str(), event["ts"].as_str()) else {
            return Err(format!("neither node nor moment: {event}"));
        };
        if let Some(before) = last.insert(node, event)
            && before["ts"].as_str() >= Some(ts)
        {
            return Err(format!("{event}\ncomes after {before}"));
        }
    }
    Ok(())
}
