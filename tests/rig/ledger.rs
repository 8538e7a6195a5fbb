//! What the queue told somebody, noted at the moment it was told, in a synced file of the rig's own; and what must
//! therefore be there.
//!
//! Only what was told is noted as told; what was merely asked for may be there or not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::Broken;
use super::marks::Marks;

/// The file.
pub struct Ledger {
    path: PathBuf,
    file: Mutex<File>,
    lines: AtomicUsize,
}

/// What stands in it.
#[derive(Debug, Default)]
pub struct Notes {
    /// Jobs whose ids were printed.
    pub there: BTreeSet<String>,
    /// Jobs whose end was told, and the number of the run that was their last.
    pub ended: BTreeMap<String, u32>,
    /// Jobs that were told to be cancelled.
    pub cancelled: BTreeSet<String>,
    /// The value that was told to be set last.
    pub set: Option<u64>,
    /// Jobs that were asked for together.
    pub batches: Vec<Vec<String>>,
}

impl Ledger {
    pub fn new(path: &Path) -> Self {
        let file = File::options().create(true).append(true).open(path).expect("a ledger");
        Ledger { path: path.to_owned(), file: Mutex::new(file), lines: AtomicUsize::new(0) }
    }

    /// The job was acknowledged.
    pub fn there(&self, id: &str) {
        self.note(&format!("there {id}"));
    }

    /// The job's end was told; this was its last run.
    pub fn ended(&self, id: &str, run: u32) {
        self.note(&format!("ended {id} {run}"));
    }

    /// The job was told to be cancelled.
    pub fn cancelled(&self, id: &str) {
        self.note(&format!("cancelled {id}"));
    }

    /// The value was told to be set.
    pub fn set(&self, value: u64) {
        self.note(&format!("set {value}"));
    }

    /// Several jobs are about to be asked for, all or nothing.
    pub fn batch(&self, ids: &[String]) {
        self.note(&format!("batch {}", ids.join(" ")));
    }

    fn note(&self, line: &str) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(format!("{line}\n").as_bytes()).expect("the ledger can be written");
        file.sync_data().expect("the ledger can be synced");
        self.lines.fetch_add(1, Ordering::SeqCst);
    }

    /// How much was noted.
    pub fn lines(&self) -> usize {
        self.lines.load(Ordering::SeqCst)
    }

    /// Reads it back.
    pub fn read(&self) -> Notes {
        let text = std::fs::read_to_string(&self.path).expect("the ledger can be read");
        let mut notes = Notes::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["there", id] => drop(notes.there.insert(id.to_owned())),
                ["ended", id, run] => drop(notes.ended.insert(id.to_owned(), run.parse().unwrap())),
                ["cancelled", id] => drop(notes.cancelled.insert(id.to_owned())),
                ["set", value] => notes.set = Some(value.parse().unwrap()),
                ["batch", ref ids @ ..] => {
                    notes.batches.push(ids.iter().map(|id| (*id).to_owned()).collect());
                }
                _ => panic!("no line of a ledger: {line:?}"),
            }
        }
        notes
    }
}

/// The jobs of `list --json` by their ids.
pub fn by_id(list: &Value) -> BTreeMap<&str, &Value> {
    let jobs = list.as_array().into_iter().flatten();
    jobs.filter_map(|job| Some((job["id"].as_str()?, job))).collect()
}

/// Whether a job has come to its end.
pub fn is_finished(job: &Value) -> bool {
    matches!(job["state"].as_str(), Some("completed" | "dead" | "cancelled"))
}

impl Notes {
    /// Checks what `list --json` shows against what was told.
    pub fn check(&self, list: &Value) -> Result<(), Broken> {
        let jobs = by_id(list);
        for id in &self.there {
            if !jobs.contains_key(id.as_str()) {
                return Err(format!("{id} was acknowledged and is gone"));
            }
        }
        for id in self.ended.keys() {
            if !jobs.get(id.as_str()).is_some_and(|job| is_finished(job)) {
                return Err(format!("the end of {id} was told and is gone: {:?}", jobs.get(&**id)));
            }
        }
        for id in &self.cancelled {
            if jobs.get(id.as_str()).is_none_or(|job| job["state"] != "cancelled") {
                return Err(format!("{id} was cancelled and is not: {:?}", jobs.get(&**id)));
            }
        }
        for batch in &self.batches {
            let present = batch.iter().filter(|id| jobs.contains_key(id.as_str())).count();
            if present != 0 && present != batch.len() {
                return Err(format!(
                    "{present} of {} that were asked for at once: {batch:?}",
                    batch.len()
                ));
            }
        }
        Ok(())
    }

    /// Checks what the jobs themselves saw against the list: each run that began has its claim in the queue, began
    /// once, and none came after an end that was told.
    pub fn check_runs(&self, list: &Value, marks: &Marks) -> Result<(), Broken> {
        if let Some(again) = marks.again.first() {
            return Err(format!("a run began twice: {again}"));
        }
        let jobs = by_id(list);
        for (id, run) in &marks.begun {
            let runs = jobs.get(id.as_str()).and_then(|job| job["runs"].as_array());
            if !runs.into_iter().flatten().any(|known| known["run"] == *run) {
                return Err(format!(
                    "run {run} of {id} began and nobody claimed it: {:?}",
                    jobs.get(&**id)
                ));
            }
            if let Some(last) = self.ended.get(id).filter(|last| run > last) {
                return Err(format!("the end of {id} in run {last} was told, and run {run} began"));
            }
        }
        Ok(())
    }
}
