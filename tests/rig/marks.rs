//! Jobs that leave marks where no crash of the queue reaches: a file at the begin and one at the end of each run, made
//! with O_EXCL, so that no run can begin twice unseen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What a job does. Its first word is the exit code; with a lock in the open file, which is held as long as anything of
/// the run lives, it sees whether another run of the job is still there.
const SCRIPT: &str = r#"set -C
mark="$MARKS/$QUEUECTL_JOB_ID.$QUEUECTL_RUN"
true > "$mark.begin" || { true > "$mark.again"; exit 9; }
if [ -n "$2" ]; then
    exec 9>> "$MARKS/$QUEUECTL_JOB_ID.0.lock"
    flock -n 9 || true > "$mark.overlap"
    sleep "$2"
fi
true > "$mark.end"
exit "$1"
"#;

/// The marks of all runs, each a job's id and the run's number.
#[derive(Debug, Default)]
pub struct Marks {
    pub begun: BTreeSet<(String, u32)>,
    pub ended: BTreeSet<(String, u32)>,
    /// Runs that began although one of the same number had.
    pub again: Vec<String>,
    /// Runs that began while another of the same job was there.
    pub overlaps: Vec<String>,
}

/// Writes the script and makes the place of the marks. Gives the script's path.
pub fn prepare(home: &Path) -> PathBuf {
    std::fs::create_dir_all(home.join("marks")).expect("a place for marks");
    let path = home.join("job.sh");
    std::fs::write(&path, SCRIPT).expect("a script");
    path
}

/// Reads the marks.
pub fn read(place: &Path) -> Marks {
    let mut marks = Marks::default();
    for file in std::fs::read_dir(place).into_iter().flatten().flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        let parts: Vec<&str> = name.split('.').collect();
        let [id, run, kind] = parts[..] else { panic!("no mark: {name}") };
        let run = (id.to_owned(), run.parse().expect("the number of a run"));
        match kind {
            "begin" => drop(marks.begun.insert(run)),
            "end" => drop(marks.ended.insert(run)),
            "again" => marks.again.push(name),
            "overlap" => marks.overlaps.push(name),
            "lock" => {}
            _ => panic!("no mark: {name}"),
        }
    }
    marks
}

/// The job and the number of its run, of a worker's message that it has ended for good.
pub fn told_end(line: &str) -> Option<(&str, u32)> {
    let is_end = line.ends_with(", completed") || line.ends_with(", dead");
    let (id, rest) = line.split_once(": run ").filter(|_| is_end)?;
    let (run, _) = rest.split_once(" ended: ")?;
    Some((id, run.parse().ok()?))
}

impl Marks {
    /// The number of the last run of each job that began.
    pub fn last_runs(&self) -> BTreeMap<&str, u32> {
        // The later runs of a job come later in the set.
        self.begun.iter().map(|(id, run)| (id.as_str(), *run)).collect()
    }
}
