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
