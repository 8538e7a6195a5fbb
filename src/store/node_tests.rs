//! Queue directories that are moved, copied, restored, shared and forbidden, on the real disk.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use super::*;
use crate::store::odd_disk::Odd;
use crate::store::real_disk::RealDisk;

struct Bench {
    _place: tempfile::TempDir,
    root: PathBuf,
    environment: Environment,
    ids: Ids,
}

impl Bench {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("queue");
        let environment = Environment {
            machine_id: Some("1".into()),
            host: "Desk.local".into(),
            uid: rustix::process::geteuid().as_raw(),
            ..Environment::default()
        };
        Bench { _place: place, root, environment, ids: Ids::new(None) }
    }

    fn find(&self) -> Result<Place, NodeError> {
        Place::find(&RealDisk, &self.root, &self.environment)
    }

    fn establish(&mut self) -> Result<Place, NodeError> {
        Place::establish(&RealDisk, &self.root, &self.environment, &mut self.ids)
    }

    fn node(&mut self) -> String {
        self.establish().unwrap().node().unwrap().to_owned()
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.root.with_file_name(name)
    }

    fn set_mode(&self, mode: u32) {
        fs::set_permissions(&self.root, fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// Everything below a directory, with its permissions.
fn tree(root: &Path) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::metadata(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.push((name, metadata.mode() & 0o7777));
            if metadata.is_dir() {
                directories.push(path);
            }
        }
    }
    found.sort();
    found
}

/// As `cp -r`.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn reading_makes_nothing() {
    let bench = Bench::new();
    let place = bench.find().unwrap();
    assert!(!place.exists() && place.node().is_none());
    assert!(!bench.root.exists());
    fs::create_dir(&bench.root).unwrap();
    let place = bench.find().unwrap();
    assert!(place.exists() && place.node().is_none());
    assert_eq!(tree(&bench.root), []);
}

#[test]
fn the_first_write_makes_everything_once() {
    let mut bench = Bench::new();
    let place = bench.establish().unwrap();
    let node = place.node().unwrap().to_owned();
    let suffix = node.strip_prefix("desk-").unwrap();
    assert!(crate::store::ids::is_suffix(suffix, 4), "{node}");

    let local = format!("local/{}", place.machine());
    let mut expected = vec![
        (".gitattributes".to_owned(), 0o600),
        (".gitignore".to_owned(), 0o600),
        (".stignore".to_owned(), 0o600),
        ("FORMAT".to_owned(), 0o600),
        ("local".to_owned(), 0o700),
        (local.clone(), 0o700),
        (format!("{local}/cache"), 0o700),
        (format!("{local}/node.json"), 0o600),
        (format!("{local}/output"), 0o700),
        (format!("{local}/run"), 0o700),
        ("log".to_owned(), 0o700),
        (format!("log/{node}"), 0o700),
    ];
    expected.sort();
    assert_eq!(tree(&bench.root), expected);
    assert_eq!(fs::metadata(&bench.root).unwrap().mode() & 0o777, 0o700);
    let format = fs::read_to_string(bench.root.join("FORMAT")).unwrap();
    assert_eq!(format, "{\"format\":1,\"requires\":[]}\n");

    let before = fs::metadata(place.node_file()).unwrap().ino();
    assert_eq!(bench.establish().unwrap(), place);
    assert_eq!(fs::metadata(place.node_file()).unwrap().ino(), before);
    assert_eq!(bench.find().unwrap(), place);
    assert_eq!(tree(&bench.root), expected);
    place.sync_names(&RealDisk).unwrap();
}

#[test]
fn files_of_others_are_left_as_they_are() {
    let mut bench = Bench::new();
    fs::create_dir(&bench.root).unwrap();
    fs::set_permissions(&bench.root, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(bench.root.join(".gitignore"), "mine\n").unwrap();
    bench.establish().unwrap();
    assert_eq!(fs::read_to_string(bench.root.join(".gitignore")).unwrap(), "mine\n");
}

#[test]
fn processes_that_come_at_once_agree() {
    let bench = Bench::new();
    let nodes: Vec<String> = std::thread::scope(|scope| {
        let mint = || {
            let mut ids = Ids::new(None);
            let place = Place::establish(&RealDisk, &bench.root, &bench.environment, &mut ids);
            place.unwrap().node().unwrap().to_owned()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(mint)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(nodes.iter().all(|node| *node == nodes[0]), "{nodes:?}");
    assert_eq!(fs::read_dir(bench.root.join("log")).unwrap().count(), 1);
}

#[test]
fn a_moved_directory_keeps_its_node() {
    let mut bench = Bench::new();
    let node = bench.node();
    let moved = bench.beside("moved");
    fs::rename(&bench.root, &moved).unwrap();
    let old = std::mem::replace(&mut bench.root, moved);
    assert_eq!(bench.find().unwrap().node(), Some(node.as_str()));
    assert_eq!(bench.node(), node);

    // It stands there now: what comes to the old path is another.
    copy(&bench.root, &old);
    let moved = std::mem::replace(&mut bench.root, old);
    assert_eq!(bench.find().unwrap().node(), None);
    assert_ne!(bench.node(), node);
    bench.root = moved;
    assert_eq!(bench.node(), node);
}

#[test]
fn another_way_to_the_directory_changes_nothing() {
    let mut bench = Bench::new();
    let place = bench.establish().unwrap();
    let recorded = fs::read(place.node_file()).unwrap();
    let link = bench.beside("link");
    symlink(&bench.root, &link).unwrap();
    bench.root = link;
    assert_eq!(bench.establish().unwrap().node(), place.node());
    assert_eq!(fs::read(place.node_file()).unwrap(), recorded);
}

#[test]
fn a_copy_gets_a_node_of_its_own() {
    let mut bench = Bench::new();
    let node = bench.node();
    let copied = bench.beside("copy");
    copy(&bench.root, &copied);
    let original = std::mem::replace(&mut bench.root, copied);
    assert_eq!(bench.find().unwrap().node(), None);
    let other = bench.node();
    assert_ne!(other, node);
    assert_eq!(bench.node(), other);
    bench.root = original;
    assert_eq!(bench.node(), node);
}

#[test]
fn a_restored_backup_gets_a_node_of_its_own() {
    let mut bench = Bench::new();
    let node = bench.node();
    let backup = bench.beside("backup");
    copy(&bench.root, &backup);
    // The restored directory often gets the inode that was freed here.
    fs::remove_dir_all(&bench.root).unwrap();
    copy(&backup, &bench.root);
    assert_eq!(bench.find().unwrap().node(), None);
    let other = bench.node();
    assert_ne!(other, node);
    assert_eq!(bench.node(), other);
}

#[test]
fn another_machine_has_another_node() {
    let mut bench = Bench::new();
    let first = bench.establish().unwrap();
    bench.environment.machine_id = Some("2".into());
    assert_eq!(bench.find().unwrap().node(), None);
    let second = bench.establish().unwrap();
    assert_ne!(first.node(), second.node());
    assert_ne!(first.local(), second.local());
    bench.environment.machine_id = Some("1".into());
    assert_eq!(bench.establish().unwrap(), first);
}

#[test]
fn a_pinned_node_is_what_it_says() {
    let mut bench = Bench::new();
    bench.environment.node = Some("nas".into());
    assert_eq!(bench.node(), "nas");
    assert_eq!(bench.find().unwrap().node(), Some("nas"));
    let copied = bench.beside("copy");
    copy(&bench.root, &copied);
    bench.root = copied;
    assert_eq!(bench.node(), "nas");

    for bad in ["../x", "A", "a.b"] {
        bench.environment.node = Some(bad.into());
        assert!(matches!(bench.establish(), Err(NodeError::BadNode(_))), "{bad}");
        assert!(matches!(bench.find(), Err(NodeError::BadNode(_))), "{bad}");
    }
}

#[test]
fn a_log_that_is_gone_from_under_its_node_is_not_begun_anew() {
    let mut bench = Bench::new();
    let place = bench.establish().unwrap();
    fs::remove_dir(place.own_log()).unwrap();
    assert!(matches!(bench.establish(), Err(NodeError::LogMissing(_))));
    assert_eq!(bench.find().unwrap(), place);
}

#[test]
fn what_is_too_new_is_only_read() {
    let mut bench = Bench::new();
    bench.establish().unwrap();
    for (format, named, hint) in [
        ("{\"format\":2}", "format 2", "newer queuectl; reading works"),
        ("{\"format\":1,\"requires\":[\"zstd\",\"epochs\"]}", "zstd, epochs", "newer"),
        ("", "FORMAT", "move FORMAT away"),
    ] {
        fs::write(bench.root.join("FORMAT"), format).unwrap();
        let place = bench.find().unwrap();
        assert!(place.read_only().unwrap().contains(named));
        assert!(place.node().is_some());
        let error = bench.establish().unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
        assert!(error.hint().unwrap().contains(hint), "{error}");
    }
}

#[test]
fn a_damaged_identity_is_neither_guessed_nor_replaced() {
    let mut bench = Bench::new();
    let path = bench.establish().unwrap().node_file();
    for content in ["{\"node\":", "{\"node\":\"../x\",\"path\":\"/\",\"inode\":1}"] {
        fs::write(&path, content).unwrap();
        assert!(matches!(bench.establish(), Err(NodeError::Damaged { .. })), "{content}");
        assert_eq!(bench.find().unwrap().node(), None);
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    let mut bench = Bench::new();
    bench.establish().unwrap();
    bench.set_mode(0o702);
    assert!(matches!(bench.establish(), Err(NodeError::OthersCanWrite(_))));
    assert!(matches!(bench.find(), Err(NodeError::OthersCanWrite(_))));

    bench.set_mode(0o770);
    let warnings = bench.establish().unwrap().warnings(&RealDisk);
    assert!(warnings.contains(&Warning::GroupCanWrite(bench.root.clone())));
    bench.set_mode(0o755);
    let warnings = bench.establish().unwrap().warnings(&RealDisk);
    assert!(!warnings.contains(&Warning::GroupCanWrite(bench.root.clone())));
}

#[test]
fn a_directory_of_a_stranger_is_refused() {
    let mut bench = Bench::new();
    let stat = Stat { uid: 1001, ..RealDisk.stat(bench.root.parent().unwrap()).unwrap() };
    let stat = Stat { mode: 0o40700, ..stat };
    let mut place = bench.find().unwrap();
    bench.environment.uid = 1002;
    let refused = place.take_in(&stat, &bench.environment);
    assert!(matches!(refused, Err(NodeError::NotYours { owner: 1001, .. })));
    for (owner, user) in [(1001, 1001), (0, 1001)] {
        bench.environment.uid = user;
        place.take_in(&Stat { uid: owner, ..stat }, &bench.environment).unwrap();
        assert_eq!(place.owner(), None);
    }
    // Root comes everywhere, and what it makes is not its own.
    bench.environment.uid = 0;
    place.take_in(&stat, &bench.environment).unwrap();
    assert_eq!(place.owner(), Some(Owner { uid: 1001, gid: stat.gid }));
}

#[test]
fn what_root_makes_belongs_to_the_queues_owner() {
    let mut bench = Bench::new();
    if bench.environment.uid != 0 {
        return;
    }
    fs::create_dir(&bench.root).unwrap();
    bench.set_mode(0o700);
    std::os::unix::fs::chown(&bench.root, Some(1001), Some(1002)).unwrap();
    bench.establish().unwrap();
    let names = tree(&bench.root);
    assert!(names.len() > 10);
    for (name, _) in names {
        let metadata = fs::metadata(bench.root.join(&name)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (1001, 1002), "{name}");
    }
}

#[test]
fn a_read_only_directory_can_be_read() {
    let mut bench = Bench::new();
    let place = bench.establish().unwrap();
    let before = tree(&bench.root);
    bench.set_mode(0o500);
    assert_eq!(bench.find().unwrap(), place);
    // Another machine reads it as well, and remains without a node.
    bench.environment.machine_id = Some("2".into());
    assert_eq!(bench.find().unwrap().node(), None);
    bench.set_mode(0o700);
    assert_eq!(tree(&bench.root), before);
}

#[test]
fn without_any_id_the_machine_is_not_guessed() {
    let mut bench = Bench::new();
    bench.environment.machine_id = None;
    assert_eq!(bench.find().unwrap().node(), None);
    assert!(matches!(bench.establish(), Err(NodeError::NoMachine)));
    assert!(!bench.root.exists());
}

#[test]
fn a_log_that_is_gone_is_told_of_whoever_asks() {
    let mut bench = Bench::new();
    assert_eq!(bench.find().unwrap().identity(&RealDisk).unwrap(), Identity::Unwritten);
    let place = bench.establish().unwrap();
    assert_eq!(place.identity(&RealDisk).unwrap(), Identity::Same);
    assert_eq!(place.worker_log(), place.local().join("worker.log"));
    fs::remove_dir(place.own_log()).unwrap();
    assert!(matches!(place.identity(&RealDisk), Err(NodeError::LogMissing(_))));
}

#[test]
fn what_is_to_be_local_and_is_not_is_warned_of() {
    let mut bench = Bench::new();
    let place = bench.establish().unwrap();
    let remote = |path: PathBuf| vec![Warning::Remote { path, kind: "nfs" }];
    let local = format!("kind {}", place.machine());
    for (refused, expected) in [
        (None, remote(place.local())),
        // Where it is still to be made, that in which it will be tells.
        (Some(std::io::ErrorKind::NotFound), remote(bench.root.clone())),
        (Some(std::io::ErrorKind::PermissionDenied), Vec::new()),
    ] {
        let local = local.clone();
        let mut disk = Odd::refusing(move |call| refused.filter(|_| call == local));
        disk.kind = Some(FileSystem::Remote("nfs"));
        assert_eq!(place.warnings(&disk), expected, "{refused:?}");
    }
}
