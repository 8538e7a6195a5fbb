//! Nodes that take over from others, and what is refused meanwhile, on the real disk.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;

use super::*;
use crate::store::odd_disk::Odd;
use crate::store::real_disk::RealDisk;

struct Bench {
    home: tempfile::TempDir,
    environment: Environment,
    ids: Ids,
}

impl Bench {
    fn pinned(node: Option<&str>) -> Self {
        let environment = Environment {
            node: node.map(str::to_owned),
            machine_id: Some("1".into()),
            host: "desk".into(),
            uid: rustix::process::geteuid().as_raw(),
            ..Environment::default()
        };
        Bench { home: tempfile::tempdir().unwrap(), environment, ids: Ids::new(None) }
    }

    fn root(&self) -> std::path::PathBuf {
        self.home.path().join("queue")
    }

    fn establish(&mut self) -> Result<Place, NodeError> {
        Place::establish(&RealDisk, &self.root(), &self.environment, &mut self.ids)
    }

    /// The name that the next node would have.
    fn next(&mut self, disk: &dyn Disk) -> Result<String, StoreError> {
        let mut place = self.establish().unwrap();
        let name = RefCell::new(String::new());
        let stage = |new: &Place, _: &Path| {
            *name.borrow_mut() = new.node().unwrap().to_owned();
            Ok(false)
        };
        assert!(!place.succeed(disk, &self.environment, &mut self.ids, stage)?);
        Ok(name.into_inner())
    }
}

#[test]
fn a_node_that_takes_over_has_a_name_of_its_own_or_that_of_an_attempt_before() {
    let mut bench = Bench::pinned(None);
    let logs = bench.establish().unwrap().logs();
    let first = bench.next(&RealDisk).unwrap();
    assert!(first.starts_with("desk-") && !logs.join(&first).exists(), "{first}");

    fs::create_dir(logs.join(".Hostile Name.tmp")).unwrap();
    assert!(bench.next(&RealDisk).unwrap().starts_with("desk-"));
    fs::remove_dir(logs.join(".Hostile Name.tmp")).unwrap();

    fs::create_dir(logs.join(".begun.tmp")).unwrap();
    assert_eq!(bench.next(&RealDisk).unwrap(), "begun");
    fs::create_dir(logs.join("begun")).unwrap();
    assert!(bench.next(&RealDisk).unwrap().starts_with("desk-"), "somebody has it by now");
}

#[test]
fn where_the_names_in_use_are_not_known_none_is_given() {
    let mut bench = Bench::pinned(None);
    let refused = Odd::refusing(|call| (call == "list log").then_some(io::ErrorKind::Other));
    assert!(bench.next(&refused).is_err());
}

/// Whoever made the node may have died before its log had its name.
#[test]
fn a_node_that_took_over_from_a_pinned_one_gets_its_log() {
    let mut bench = Bench::pinned(Some("nas"));
    let mut place = bench.establish().unwrap();
    let stage = |_: &Place, staged: &Path| {
        fs::create_dir(staged).unwrap();
        Ok(true)
    };
    assert!(place.succeed(&RealDisk, &bench.environment, &mut bench.ids, stage).unwrap());
    let node = place.node().unwrap().to_owned();
    assert!(node.starts_with("nas-"), "{node}");
    let log = place.log_dir(&node);
    fs::rename(&log, place.logs().join(staged(Some(&node)))).unwrap();
    assert_eq!(bench.establish().unwrap().node(), Some(node.as_str()));
    assert!(log.exists());
}

#[test]
fn what_another_node_recorded_is_not_taken_for_the_pinned_one() {
    let mut bench = Bench::pinned(Some("nas"));
    let place = bench.establish().unwrap();
    let recorded = fs::read_to_string(place.node_file()).unwrap();
    fs::write(place.node_file(), recorded.replace("\"nas\"", "\"other\"")).unwrap();
    let found = Place::find(&RealDisk, &bench.root(), &bench.environment).unwrap();
    assert_eq!(found.node(), Some("nas"));
    assert_eq!(bench.establish().unwrap().node(), Some("nas"));
    assert_eq!(fs::read_to_string(place.node_file()).unwrap(), recorded);
}

#[test]
fn what_cannot_be_looked_at_may_be_there() {
    let mut bench = Bench::pinned(Some("nas"));
    let file = bench.home.path().join("file");
    fs::write(&file, "").unwrap();
    let below = file.join("queue");
    assert!(Place::find(&RealDisk, &below, &bench.environment).is_err());

    // A log that was staged, perhaps.
    let logs = layout::logs(&bench.root());
    fs::create_dir_all(&logs).unwrap();
    symlink(".nas.tmp", logs.join(".nas.tmp")).unwrap();
    assert!(matches!(bench.establish(), Err(NodeError::File(_))));
    fs::remove_file(logs.join(".nas.tmp")).unwrap();

    // A log that is no log.
    bench.establish().unwrap();
    fs::remove_dir(logs.join("nas")).unwrap();
    symlink("nas", logs.join("nas")).unwrap();
    assert!(matches!(bench.establish(), Err(NodeError::File(_))));
}

#[test]
fn names_are_synced_up_to_a_parent_that_is_somebody_elses() {
    let mut bench = Bench::pinned(None);
    let place = bench.establish().unwrap();
    let parent = bench.home.path().file_name().unwrap().to_str().unwrap().to_owned();
    for (name, kind, is_synced) in [
        (parent.as_str(), io::ErrorKind::PermissionDenied, true),
        (parent.as_str(), io::ErrorKind::Other, false),
        ("queue", io::ErrorKind::PermissionDenied, false),
        ("log", io::ErrorKind::PermissionDenied, false),
        (place.node().unwrap(), io::ErrorKind::Other, false),
    ] {
        let refused = format!("open {name}");
        let disk = Odd::refusing(move |call| (call == refused).then_some(kind));
        assert_eq!(place.sync_names(&disk).is_ok(), is_synced, "{name} {kind}");
    }
}
