//! A virtual process that is no part of the queue: it brings the log of another machine, as a sync tool does, each time as
//! far as that one had come by then, now and then torn.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use queuectl::domain::decide::{self, OnConflict, Outcome};
use queuectl::domain::event::{ConfigSet, Event};
use queuectl::domain::job::{JobId, RunResult, Spec};
use queuectl::store::disk::{Open, append_all};
use queuectl::store::{Enqueue, Store, small_file};

use crate::ledger::Ledger;
use crate::machine::Machine;
use crate::process::{self, Member, Trouble};
use crate::weather::Weather;
use crate::worker::POLICY;

/// The other machine's node, and the files of its log after each thing that it did.
type Past = (String, Vec<BTreeMap<String, Vec<u8>>>);

static PAST: LazyLock<Past> = LazyLock::new(live_there);

/// How the tool calls what it has not brought wholly.
const TEMPORARY: &str = ".syncthing.";

/// Lives: brings the log once, then the end.
pub fn live(process: &Member) {
    process::end(process, bring(process));
}

fn bring(process: &Member) -> Result<(), Trouble> {
    let store = process::open(process)?;
    if !store.place().exists() {
        return Ok(());
    }
    let (node, past) = &*PAST;
    let (at, tears, syncs) = {
        let mut inner = process.machine.lock();
        let at = inner.ledger.neighbour.unwrap_or_default() + inner.random.below(4);
        (at.min(past.len() - 1), inner.random.chance(300_000), inner.random.chance(500_000))
    };
    let (disk, path) = (store.disk().as_ref(), store.place().log_dir(node));
    small_file::create_directories(disk, &path)?;
    let directory = disk.open(&path, Open::Directory)?;
    for (name, bytes) in &past[at] {
        let mut bytes = bytes.as_slice();
        if tears {
            bytes = &bytes[..process.machine.lock().random.below(bytes.len())];
            process.machine.lock().ledger.count("a torn file of a neighbour");
        }
        let temporary = format!("{TEMPORARY}{name}.tmp");
        let _ = directory.unlink(&temporary);
        let file = directory.open_in(&temporary, Open::CreateNew)?;
        append_all(file.as_ref(), bytes)?;
        if syncs {
            file.sync_all()?;
        }
        directory.rename_over(&temporary, name)?;
    }
    for name in directory.names()?.iter().filter(|name| !past[at].contains_key(*name)) {
        directory.unlink(name)?;
    }
    let mut inner = process.machine.lock();
    inner.ledger.neighbour = Some(at);
    inner.ledger.count("a log of a neighbour");
    Ok(())
}

/// Says what stands in the neighbour's directory and that the tool has not put there.
pub fn strange(machine: &Machine<Ledger>) -> Option<String> {
    let (node, past) = &*PAST;
    let inner = machine.lock();
    let directory = inner.medium.at(&std::path::Path::new(process::ROOT).join("log").join(node))?;
    let names = inner.medium.names(directory).ok()?;
    let is_known = |name: &&String| {
        name.starts_with(TEMPORARY) || past.iter().any(|files| files.contains_key(*name))
    };
    names.keys().find(|name| !is_known(name)).cloned()
}

/// What the other machine does, in a world of its own.
fn live_there() -> Past {
    let ledger = Ledger { seed: u64::MAX, ..Ledger::default() };
    let machine = Machine::new(u64::MAX, 1, Weather::default(), ledger);
    let past = std::sync::Mutex::new((String::new(), Vec::new()));
    let outcome = machine.run(|process| {
        let mut store = process::open(process).unwrap();
        for round in 0..4 {
            for act in [enqueue, work, seal, compact] {
                act(&mut store, round);
                let place = store.place();
                let inner = process.machine.lock();
                let log = inner.medium.at(&place.log_dir(place.node().unwrap())).unwrap();
                let names = inner.medium.names(log).unwrap().iter();
                let files = names.map(|(name, inode)| (name.clone(), inner.medium.bytes(*inode)));
                let mut past = past.lock().unwrap();
                past.0 = place.node().unwrap().to_owned();
                past.1.push(files.map(|(name, bytes)| (name, bytes.to_vec())).collect());
            }
        }
        process.stop();
    });
    outcome.unwrap();
    past.into_inner().unwrap()
}

fn enqueue(store: &mut Store, round: u32) {
    for count in [1, 3] {
        let id = |n| JobId::new(&format!("there-{round}-{count}-{n}")).unwrap();
        let specs = (0..count).map(|n| Spec::shell(id(n), "true", 1)).collect();
        let on_conflict = OnConflict::Fail;
        store.enqueue(Enqueue { specs, has_chosen_ids: true, on_conflict }).unwrap();
    }
}

/// Runs some of the jobs; others stay claimed, or wait.
fn work(store: &mut Store, round: u32) {
    let claims = store.transact(|node, now| {
        let claims = decide::claim(node, &format!("there.{round}"), 1, 2, &[], now);
        Ok((claims.iter().cloned().map(Event::Claimed).collect(), claims))
    });
    let claimed = claims.unwrap().remove(0);
    store
        .transact(|node, now| {
            let (job, run, claim) = (claimed.job.clone(), claimed.run, claimed.claim.clone());
            let (result, ms, tail, error) = (RunResult::Exit(0), 1, None, None);
            let outcome = Outcome { job, run, claim, result, ms, tail, error };
            Ok((vec![decide::finish(node, outcome, &POLICY, now, 0.0)], ()))
        })
        .unwrap();
}

fn seal(store: &mut Store, round: u32) {
    let (key, value) = ("jitter", format!("0.{round}"));
    let set = ConfigSet { key: key.to_owned(), value: value.clone() };
    store.configure(|config| (config.with(key, &value), vec![Event::ConfigSet(set)])).unwrap();
}

fn compact(store: &mut Store, round: u32) {
    if round % 2 == 1 {
        store.compactor().unwrap().run(None).unwrap().unwrap();
    }
}
