//! Power cuts: the built binary on a file system whose power goes at a random moment, and what must be there then.
//!
//! Each seed is a queue with up to three lives; in each, many processes use it until the cut. Afterwards everything
//! that was told must be there, nothing may count as damaged, and with another boot everything is worked off.
//! `QUEUECTL_SEED` plays one seed again, several times, since the moment of a cut is never twice the same;
//! `QUEUECTL_LONG` plays ten times as many. Needs root, loop devices and xfsprogs (btrfs-progs for Btrfs).

mod disk;
mod life;
mod plan;
#[path = "../rig/mod.rs"]
mod rig;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use disk::{Disk, Kind};
use life::Scene;
use plan::Plan;
use rig::ledger::{Ledger, Notes, is_finished};
use rig::{Broken, Place, is_long, log, marks, variable};

/// How many seeds are played, if they are done in [`TIME`].
const SEEDS: u64 = 50;

/// How long the normal form may take.
const TIME: Duration = Duration::from_secs(60);

/// How often one seed is played again.
const AGAIN: u64 = 20;

#[test]
fn what_was_told_outlives_a_power_cut_on_ext4() {
    play_on(Kind::Ext4);
}

#[test]
fn what_was_told_outlives_a_power_cut_on_xfs() {
    play_on(Kind::Xfs);
}

#[test]
fn what_was_told_outlives_a_power_cut_on_btrfs() {
    play_on(Kind::Btrfs);
}

/// What happened over all cuts, to see that enough did.
#[derive(Debug, Default)]
struct Sums {
    queues: u64,
    cuts: usize,
    told: usize,
    ends: usize,
    segments: usize,
    compacted: u64,
    torn: usize,
    beyond: u64,
}

fn play_on(kind: Kind) {
    let Some(disk) = Disk::try_new(kind) else { return };
    let seeds: Vec<u64> = match variable("QUEUECTL_SEED") {
        Some(seed) => vec![seed; usize::try_from(AGAIN).unwrap()],
        None => (0..if is_long() { 10 * SEEDS } else { SEEDS }).collect(),
    };
    let (begun, mut sums) = (Instant::now(), Sums::default());
    for seed in &seeds {
        if !is_long() && begun.elapsed() > TIME {
            break;
        }
        let queue = disk.mount().join(format!("queue{seed}"));
        let place = Place { home: disk.outside(), queue, boot: None };
        if let Err(what) = play(&disk, &Plan::new(*seed), place.clone(), &mut sums) {
            while place.end_processes() {}
            let kept = keep(kind, *seed, &place);
            panic!(
                "{} seed {seed}: {what}\nthe queue, the ledger and the marks are in {}\nonce more: QUEUECTL_SEED={seed} cargo test --test power {}",
                kind.name(),
                kept.display(),
                kind.name()
            );
        }
        std::fs::remove_dir_all(&place.queue).unwrap();
        std::fs::remove_dir_all(&place.home).unwrap();
        sums.queues += 1;
    }
    let Sums { queues, cuts, told, ends, segments, compacted, torn, beyond } = sums;
    let (of, took) = (seeds.len(), begun.elapsed());
    eprintln!(
        "{}: {queues} of {of} queues, {cuts} cuts, {told} ids and {ends} ends told, {segments} segments and {compacted} compacted ones, {torn} of them after a torn one, {beyond} bytes lost that nobody was told of, in {took:.1?}",
        kind.name()
    );
    assert!(told > 5 * cuts && ends > cuts, "the power went while nobody did anything");
}

/// Plays one queue to its end.
fn play(disk: &Disk, plan: &Plan, mut place: Place, sums: &mut Sums) -> Result<(), Broken> {
    let script = marks::prepare(&place.home);
    let ledger = Ledger::new(&place.home.join("ledger"));
    let value = AtomicU64::new(0);
    for number in 0..plan.lives.len() {
        place.boot = Some(format!("boot{number}"));
        let scene = Scene::new(&place, &ledger, &script, plan, number, &value);
        scene.play(|| disk.cut(&place));
        disk.restart();
        sums.cuts += 1;
        let broken = scene.broken.lock().unwrap().clone();
        if let Some(what) = broken.first() {
            return Err(format!("life {number}: {what}"));
        }
        place.boot = Some(format!("boot{}", number + 1));
        let notes = ledger.read();
        check_after_cut(&place, &notes, value.load(Ordering::SeqCst))
            .map_err(|what| format!("after cut {number}: {what}"))?;
        ledger.there(place.must(&["enqueue", "true"])?.trim_end());
    }
    let notes = ledger.read();
    let survey = finish(&place, &notes).map_err(|what| format!("at the end: {what}"))?;
    sums.told += notes.there.len();
    sums.ends += notes.ended.len();
    sums.segments += survey.segments;
    sums.compacted += survey.compacted;
    sums.torn += survey.torn;
    sums.beyond += survey.beyond;
    Ok(())
}

/// What must hold before anybody has written again.
fn check_after_cut(place: &Place, notes: &Notes, tried: u64) -> Result<(), Broken> {
    check_whole(place)?;
    let list = place.json(&["list", "--json"])?;
    notes.check(&list)?;
    notes.check_runs(&list, &marks::read(&place.marks()))?;
    if let Some(told) = notes.set {
        let value = place.must(&["config", "get", "max_lost", "--raw"])?;
        let value: u64 = value.trim_end().parse().map_err(|_| format!("max_lost is {value:?}"))?;
        if !(told..=tried).contains(&value) {
            return Err(format!("max_lost is {value}, {told} was told and {tried} tried"));
        }
    }
    check_cache(place, &list)
}

/// A power cut is not damage.
fn check_whole(place: &Place) -> Result<(), Broken> {
    let status = place.json(&["status", "--json"])?;
    match status["damage"].as_array().is_some_and(Vec::is_empty) {
        true => Ok(()),
        false => Err(format!("damage: {status}")),
    }
}

/// The cached fold says what the log says.
fn check_cache(place: &Place, list: &Value) -> Result<(), Broken> {
    let locals = std::fs::read_dir(place.queue.join("local")).into_iter().flatten().flatten();
    let Some(cache) = locals.map(|own| own.path().join("cache")).find(|path| path.is_dir()) else {
        return Ok(());
    };
    let aside = cache.with_extension("aside");
    std::fs::rename(&cache, &aside).unwrap();
    let anew = place.json(&["list", "--json"])?;
    if cache.is_dir() {
        std::fs::remove_dir_all(&cache).unwrap();
    }
    std::fs::rename(&aside, &cache).unwrap();
    match anew == *list {
        true => Ok(()),
        false => Err(format!("with the cached fold: {list}\nwithout: {anew}")),
    }
}

/// Works everything off, and checks what came of it.
fn finish(place: &Place, notes: &Notes) -> Result<log::Survey, Broken> {
    place.must(&["worker", "start", "--drain", "--count", "4"])?;
    check_whole(place)?;
    let list = place.json(&["list", "--json"])?;
    notes.check(&list)?;
    let marks = marks::read(&place.marks());
    notes.check_runs(&list, &marks)?;
    for job in list.as_array().into_iter().flatten() {
        let (id, is_later) = (job["id"].as_str().unwrap_or_default(), !job["run_at"].is_null());
        if !is_finished(job) && !is_later {
            return Err(format!("{id} was not worked off: {job}"));
        }
        let last = job["runs"].as_array().and_then(|runs| runs.last());
        let run = last.and_then(|run| run["run"].as_u64()).and_then(|run| u32::try_from(run).ok());
        let ran = run.is_some_and(|run| marks.ended.contains(&(id.to_owned(), run)));
        if job["state"] == "completed" && job["command"] != "true" && !ran {
            return Err(format!("{id} is completed and its last run did not end: {job}"));
        }
    }
    log::survey(&place.queue)
}

/// Copies everything aside.
fn keep(kind: Kind, seed: u64, place: &Place) -> PathBuf {
    let prefix = format!("queuectl-power-{}-{seed}-", kind.name());
    let kept = tempfile::Builder::new().prefix(&prefix).tempdir().unwrap().keep();
    let copy = |from: &Path, to: &str| {
        let _ = Command::new("cp").arg("-a").arg(from).arg(kept.join(to)).status();
    };
    copy(&place.queue, "queue");
    copy(&place.home, "home");
    kept
}
