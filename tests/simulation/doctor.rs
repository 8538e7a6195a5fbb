//! A virtual process that mends the queue, as `queuectl doctor --repair` does.
//!
//! Only what dead workers left is left to workers.

use std::time::Duration;

use queuectl::domain::job::{Claim, Job};
use queuectl::domain::state::NodeState;
use queuectl::store::doctor::{Condition, Report};
use queuectl::store::repair::Step;
use queuectl::store::{Store, StoreError};

use crate::process::{self, Member, Trouble};

/// How long runs are left to come to their end before the next try.
const PATIENCE: Duration = Duration::from_millis(500);

/// Lives: one repair, then the end.
pub fn live(process: &Member) {
    process::end(process, mend(process));
}

fn mend(process: &Member) -> Result<(), Trouble> {
    let (since, done, is_alone) = {
        let mut inner = process.machine.lock();
        let is_alone = !inner.ledger.harm.doctors.iter().any(|other| inner.lives(*other));
        inner.ledger.harm.doctors.push(process.number);
        (inner.turns, inner.ledger.harm.done, is_alone)
    };
    let mut store = process::open(process)?;
    let report = examine(process, &store, since)?;
    let steps = store.repairs(&report);
    for step in &steps {
        perform(process, &mut store, *step)?;
    }
    let is_grave = |step: &Step| {
        matches!(step, Step::TakeOver | Step::Rebuild | Step::MoveAway | Step::Reopen)
    };
    if report.condition != Condition::Whole || steps.iter().any(is_grave) {
        process.machine.lock().ledger.count("repaired");
        let store = process::open(process)?;
        let again = examine(process, &store, since)?;
        let rest = store.repairs(&again);
        let is_undisturbed = {
            let harm = &process.machine.lock().ledger.harm;
            is_alone && harm.done == done && harm.doctors.last() == Some(&process.number)
        };
        if is_undisturbed && rest.iter().any(is_grave) {
            process.wrong(format!("a repair mends: {steps:?} leave {rest:?} to be done"));
        }
    }
    let mut inner = process.machine.lock();
    let turn = inner.turns;
    inner.ledger.harm.mend(turn, done);
    Ok(())
}

/// Looks at everything; sees damage only where there is some.
fn examine(process: &Member, store: &Store, since: u64) -> Result<Report, Trouble> {
    let report = store.examine(&mut |_| {})?;
    let mut inner = process.machine.lock();
    inner.ledger.harm.told.extend(&report.missing);
    let is_bad = matches!(report.condition, Condition::Damaged | Condition::RolledBack);
    if is_bad && !inner.ledger.harm.is_open(since) {
        drop(inner);
        let faults = report.checks.iter().flat_map(|check| &check.found);
        let faults: Vec<_> =
            faults.map(|found| format!("{}: {}", found.file.display(), found.what)).collect();
        process.wrong(format!("no damage without damage: a doctor finds {faults:?}"));
    }
    Ok(report)
}

fn perform(process: &Member, store: &mut Store, step: Step) -> Result<(), Trouble> {
    let live: Vec<Claim> = {
        let inner = process.machine.lock();
        inner.children.iter().map(|child| Claim(child.claim.clone())).collect()
    };
    let outcome = match step {
        Step::SettleDead => return Ok(()),
        Step::Rebuild => store.rebuild(&live),
        Step::TakeOver if !live.is_empty() => Err(StoreError::InUse("jobs still run".to_owned())),
        step => store.repair(step),
    };
    process.machine.lock().ledger.count(match (&outcome, step) {
        (Err(StoreError::InUse(_)), _) => "a repair that waits for a run",
        (Err(_), _) => "a repair that met trouble",
        (Ok(_), Step::Rebuild) => "a log rebuilt",
        (Ok(_), Step::TakeOver) => "a log taken over",
        (Ok(_), _) => "another step of a repair",
    });
    if matches!(outcome, Err(StoreError::InUse(_))) {
        drop(process.turn_after(PATIENCE));
    }
    process.machine.lock().ledger.harm.told.extend(outcome?.lost);
    if step == Step::TakeOver {
        see_that_all_is_held(process, store)?;
    }
    Ok(())
}

/// What was taken over and not finished waits for a person.
fn see_that_all_is_held(process: &Member, store: &mut Store) -> Result<(), Trouble> {
    store.read()?;
    let runs = |job: &&Job| job.origin.is_some() && !job.state.is_finished() && job.held.is_none();
    if let Some(job) = store.own().into_iter().flat_map(NodeState::jobs).find(runs) {
        process.wrong(format!("what is taken over is held: {} is not", job.id()));
    }
    Ok(())
}
