//! Runs that go on and have nothing in their environment to be known by: the locks of their files tell of them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::domain::job::{Claim, Job};
use crate::domain::state::NodeState;
use crate::store::disk::Disk;
use crate::store::node::{NodeError, Place};
use crate::store::{StoreError, layout, presence};

/// The claims of runs whose files are held, and of which `left` has no start, though `before` has.
///
/// `left` is what every line that holds comes to, `before` what was read while more of them did.
/// Errors: [`StoreError::InUse`] where neither has the start of such a run; where the files can't be looked at.
pub(super) fn runs(
    disk: &dyn Disk,
    place: &Place,
    left: &NodeState,
    before: Option<&NodeState>,
) -> Result<Vec<Claim>, StoreError> {
    let output = place.output_dir();
    let left = by_name(left);
    let before = before.map(by_name).unwrap_or_default();
    let mut claims = Vec::new();
    for path in presence::run_files(disk, &output).map_err(NodeError::from)? {
        let Some((stem, run)) = path.strip_prefix(&output).ok().and_then(parse) else { continue };
        let has_begun = |job: &&&Job| job.last_run >= run;
        if left.get(&stem).filter(has_begun).is_some()
            || presence::probe_lock(disk, &path).map_err(NodeError::from)? != Some(true)
        {
            continue;
        }
        let Some(job) = before.get(&stem).filter(has_begun) else {
            let what = format!(
                "the log has lost the start of a run that goes on and has {}: wait for its end",
                path.display()
            );
            return Err(StoreError::InUse(what));
        };
        claims.extend(job.runs.iter().find(|known| known.run == run).map(|run| run.claim.clone()));
    }
    Ok(claims)
}

/// The jobs by what the names of their files begin with.
fn by_name(state: &NodeState) -> HashMap<PathBuf, &Job> {
    let stem = |job: &Job| parse(&layout::run_files(job.id().as_str(), 0).out);
    state.jobs().filter_map(|job| Some((stem(job)?.0, job))).collect()
}

/// What the name of a file of a run begins with, and the number of the run.
fn parse(file: &Path) -> Option<(PathBuf, u32)> {
    let rest = file.with_extension("");
    let run = rest.extension()?.to_str()?.parse().ok()?;
    Some((rest.with_extension(""), run))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::domain::decide;
    use crate::domain::event::{Event, Record};
    use crate::domain::job::{JobId, Spec};
    use crate::domain::policy::RetryPolicy;
    use crate::store::disk::{Handle, Lock, Open};
    use crate::store::real_disk::RealDisk;
    use crate::store::store_tests::Queue;

    const WORKER: &str = "desk.2abcdefg";

    fn apply(state: &mut NodeState, event: Event) {
        let seq = state.facts.last_seq + 1;
        let ts = state.facts.last_ts.after(std::time::Duration::from_secs(3600));
        state.apply(&Record { seq, ts, wall: None, event }).unwrap();
    }

    /// A job after each of its events: enqueued, begun, lost, begun again.
    fn history() -> [NodeState; 4] {
        let id = JobId::new("a").unwrap();
        let mut state = NodeState::default();
        apply(&mut state, Event::Enqueued(Box::new(Spec::shell(id.clone(), "true", 3))));
        let begin = |state: &NodeState, claim| {
            let (mut state, later) = (state.clone(), "2030-01-01T00:00:00Z".parse().unwrap());
            state.ripen(|_| true);
            let claimed = decide::claim(&state, WORKER, claim, 1, &[], later).remove(0);
            apply(&mut state, Event::Claimed(claimed));
            state
        };
        let first = begin(&state, 1);
        let mut lost = first.clone();
        let (claim, now) = (Claim::new(WORKER, 1), first.facts.last_ts);
        let policy = RetryPolicy::default();
        apply(&mut lost, decide::lose(&first, &id, &claim, &policy, now, false).unwrap());
        let second = begin(&lost, 2);
        [state, first, lost, second]
    }

    #[test]
    fn runs_that_go_on_are_known_by_what_was_read_before_or_stop_a_repair() {
        let queue = Queue::new();
        let store = queue.open();
        let output = store.place().output_dir();
        let [enqueued, first, lost, second] = history();
        let none = NodeState::default();
        let look = |left: &NodeState, before| runs(&RealDisk, store.place(), left, before);
        assert_eq!(look(&none, None).unwrap(), []);
        let hold = |run| -> Box<dyn Handle> {
            let file = output.join(layout::run_files("a", run).out);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            let held = RealDisk.open(&file, Open::ReadWrite).unwrap();
            assert!(held.try_lock(Lock::Exclusive).unwrap());
            held
        };
        let held = hold(1);
        // Its start is still there, whatever came of it.
        for left in [&first, &lost, &second] {
            assert_eq!(look(left, None).unwrap(), []);
        }
        // Its start is lost, and was read before.
        for left in [&none, &enqueued] {
            for before in [&first, &lost, &second] {
                assert_eq!(look(left, Some(before)).unwrap(), [Claim::new(WORKER, 1)]);
            }
            for before in [None, Some(&none), Some(&enqueued)] {
                let error = look(left, before).unwrap_err();
                assert!(matches!(&error, StoreError::InUse(what) if what.contains("a.1.out")));
            }
        }
        let again = hold(2);
        assert_eq!(look(&lost, Some(&second)).unwrap(), [Claim::new(WORKER, 2)]);
        assert!(look(&lost, Some(&lost)).is_err());
        // Nothing of it goes on any more.
        held.unlock().unwrap();
        again.unlock().unwrap();
        assert_eq!(look(&none, None).unwrap(), []);
    }
}
