//! kill -9 of all who enqueue and of all who work, while they write lines of all sizes.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::rig::crowd::{Crowd, Part, XFSZ};
use crate::rig::ledger::{Ledger, by_id};
use crate::rig::random::Random;
use crate::rig::{Broken, Place, is_long, log, marks, variable, wait_for, wait_out};

const ENQUEUERS: usize = 8;
const WORKERS: usize = 2;

/// The most bytes that a job carries along, so that its event is just under the limit of 512 KiB.
const LARGEST: f64 = 510_000.0;

/// The size of a segment, in bytes.
const SEGMENT: u64 = 1 << 20;

/// What is written at once and takes a while, in bytes.
const MUCH: u64 = 200_000;

/// The longest time until the next kill that nothing calls for.
const TICK: Duration = Duration::from_millis(15);

#[test]
fn nothing_told_is_lost_and_no_runs_overlap_while_everybody_is_killed() {
    let seed = variable("QUEUECTL_SEED").unwrap_or(1);
    let home = tempfile::Builder::new().prefix("queuectl-storm").tempdir().unwrap();
    let queue = home.path().join("queue");
    let place = Place { home: home.path().to_owned(), queue, boot: None };
    let outcome = storm(&place, seed);
    while place.end_processes() {}
    if let Err(what) = outcome {
        panic!("seed {seed}: {what}\neverything is in {}", home.keep().display());
    }
}

fn storm(place: &Place, seed: u64) -> Result<(), Broken> {
    let is_ci = std::env::var_os("QUEUECTL_CI").is_some();
    let span = Duration::from_secs(if is_long() { 600 } else { [20, 60][usize::from(is_ci)] });
    let script = marks::prepare(&place.home);
    let ledger = Ledger::new(&place.home.join("ledger"));
    for (key, value) in
        [("segment_size", "1MiB"), ("poll_interval", "50ms"), ("max_lost", "1000000")]
    {
        place.must(&["config", "set", key, value])?;
    }
    let crowd = Crowd::default();
    std::thread::scope(|scope| {
        let (crowd, ledger, script) = (&crowd, &ledger, &script);
        let mut all = Vec::new();
        for index in 0..ENQUEUERS {
            let mut random = Random::new(seed << 8 | index as u64);
            all.push(
                scope.spawn(move || enqueue(place, crowd, ledger, script, index, &mut random)),
            );
        }
        for _ in 0..WORKERS {
            all.push(scope.spawn(move || work(place, crowd, ledger)));
        }
        let mut random = Random::new(seed);
        let (begun, mut next) = (Instant::now(), Duration::ZERO);
        while begun.elapsed() < span {
            // A busy machine gets less done between two kills, unless they wait for it.
            let (since, more) = (Instant::now(), ledger.lines() + random.below(6));
            wait_for("something to happen", || {
                ledger.lines() >= more || since.elapsed() > Duration::from_millis(300)
            });
            if random.below(2) == 0 {
                // Whoever writes much is in the middle of it now.
                let (since, before) = (Instant::now(), size(&place.queue));
                wait_for("a long write", || {
                    size(&place.queue) > before + MUCH || since.elapsed() > 10 * TICK
                });
                crowd.strike_all(Part::Asks);
            } else {
                wait_out(TICK.mul_f64(random.below(1000) as f64 / 1000.0));
                crowd.strike(Part::Asks, &mut random);
            }
            if begun.elapsed() >= next {
                next = begun.elapsed() + Duration::from_millis(random.between(200, 1500));
                let count = 1 + random.below(WORKERS);
                for _ in 0..count {
                    crowd.strike(Part::Works, &mut random);
                }
            }
        }
        crowd.close();
        wait_for("everybody to be gone", || {
            !place.end_processes() && all.iter().all(|actor| actor.is_finished())
        });
    });
    check(place, &ledger, &crowd)
}

/// The bytes of the log.
fn size(queue: &Path) -> u64 {
    let nodes = std::fs::read_dir(queue.join("log")).into_iter().flatten().flatten();
    let files = nodes.flat_map(|node| std::fs::read_dir(node.path()).into_iter().flatten());
    files.flatten().filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

/// Enqueues one by one and in batches, with lines of all sizes.
fn enqueue(
    place: &Place,
    crowd: &Crowd,
    ledger: &Ledger,
    script: &Path,
    index: usize,
    random: &mut Random,
) {
    for turn in 0.. {
        let count = if random.below(2) == 0 { 1 } else { 2 + random.below(8) };
        let ids: Vec<String> =
            (0..count).map(|number| format!("{index}-{turn}-{number}")).collect();
        let cut_off = random.below(4) == 0;
        let all_large = cut_off || random.below(16) == 0;
        let lines = ids.iter().map(|id| {
            // As many of each order of magnitude, and now and then a write so long that it can be cut off.
            let share = if all_large { 1.0 } else { random.below(1000) as f64 / 1000.0 };
            let meta = "x".repeat((100.0 * (LARGEST / 100.0).powf(share)) as usize);
            json!({ "id": id, "argv": ["sh", script, "0", "0.03"], "meta": meta }).to_string()
                + "\n"
        });
        let lines: String = lines.collect();
        ledger.batch(&ids);
        let mut command = match cut_off {
            true => limited(place, random.between(16, SEGMENT / 512)),
            false => place.queuectl(&["enqueue", "-f", "-"]),
        };
        let stdin = Some(lines.into_bytes());
        let end = crowd.run(Part::Asks, &mut command, stdin, |id| ledger.there(id));
        let Some(end) = end else { return };
        let is_fine = matches!(end.code, 0 | 137) || (cut_off && matches!(end.code, 74 | XFSZ));
        assert!(is_fine, "an enqueue exits {}: {}", end.code, end.err);
        wait_out(Duration::from_millis(250));
    }
}

/// An enqueue whose write ends where the file would get longer than this, in units of 512 bytes, and which is killed
/// then. So lines are torn far more often than a kill from outside does it.
fn limited(place: &Place, limit: u64) -> Command {
    let mut command = place.queuectl(&[]);
    let enqueue = [command.get_program().to_owned(), "enqueue".into(), "-f".into(), "-".into()];
    let shell = "ulimit -c 0; ulimit -f \"$0\"; exec \"$@\"";
    let environment: Vec<_> = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    command = Command::new("sh");
    command.args(["-c", shell, &limit.to_string()]).args(enqueue);
    command.current_dir(&place.home).env_clear().envs(environment);
    command
}

fn work(place: &Place, crowd: &Crowd, ledger: &Ledger) {
    loop {
        let mut command = place.queuectl(&["worker", "start", "--count", "4"]);
        let end = crowd.run(Part::Works, &mut command, None, |line| {
            if let Some((id, run)) = marks::told_end(line) {
                ledger.ended(id, run);
            }
        });
        let Some(end) = end else { return };
        assert_eq!(end.code, 137, "a worker ended by itself: {}", end.err);
    }
}

fn check(place: &Place, ledger: &Ledger, crowd: &Crowd) -> Result<(), Broken> {
    let before = place.json(&["status", "--json"])?;
    let notes = ledger.read();
    notes.check(&place.json(&["list", "--json"])?)?;
    place.must(&["worker", "start", "--drain", "--count", "8"])?;
    let status = place.json(&["status", "--json"])?;
    for status in [&before, &status] {
        if status["damage"].as_array().is_none_or(|damage| !damage.is_empty()) {
            return Err(format!("damage: {status}"));
        }
    }
    let list = place.json(&["list", "--json"])?;
    notes.check(&list)?;
    let marks = marks::read(&place.marks());
    notes.check_runs(&list, &marks)?;
    if let Some(overlap) = marks.overlaps.first() {
        return Err(format!("two runs of a job overlapped: {overlap}"));
    }
    let jobs = by_id(&list);
    for (id, job) in &jobs {
        let last = job["runs"].as_array().and_then(|runs| runs.last()).map(|run| &run["run"]);
        let run = last.and_then(serde_json::Value::as_u64).unwrap_or(0);
        let run = u32::try_from(run).map_err(|_| format!("{id}: run {run}"))?;
        if job["state"] != "completed" || !marks.ended.contains(&((*id).to_owned(), run)) {
            return Err(format!("{id} did not end well in its last run: {job}"));
        }
    }
    log::survey(&place.queue)?;
    eprintln!(
        "{} kills, {} ids and {} ends told, {} jobs and {} runs, {} writes cut off",
        crowd.kills(),
        notes.there.len(),
        notes.ended.len(),
        jobs.len(),
        marks.begun.len(),
        crowd.torn()
    );
    let hit = [crowd.kills(), marks.begun.len() - jobs.len(), notes.there.len(), crowd.torn()];
    if hit.contains(&0) { Err(format!("the storm hit nothing: {hit:?}")) } else { Ok(()) }
}
