//! Whose the directory is, and what version it is of.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;
use crate::store::doctor::Level;
use crate::store::store_tests::{Queue, enqueue};

fn queue() -> (Queue, Store) {
    let queue = Queue::new();
    let mut store = queue.open();
    enqueue(&mut store, &["a"]).unwrap();
    (queue, store)
}

#[test]
fn a_format_that_cannot_be_read_has_another_way_out_than_a_newer_one() {
    let (queue, store) = queue();
    assert_eq!(store.check_format().hint, None);
    for (text, hint) in [("{", UNGARBLE), ("{\"format\":2}", "use a newer queuectl")] {
        fs::write(queue.root.join(layout::FORMAT), text).unwrap();
        let check = queue.open().check_format();
        assert_eq!((check.level(), check.hint), (Level::Fault, Some(hint)));
    }
}

#[test]
fn files_are_counted_and_a_way_out_is_shown_where_one_is_open() {
    let (queue, store) = queue();
    let check = store.check_permissions();
    assert_eq!((check.level(), check.hint), (Level::Ok, None));
    let count = |summary: &str| summary.split(' ').next().unwrap().parse::<u32>().unwrap();
    let before = count(&check.summary);
    fs::write(queue.root.join("log/desk/more"), "").unwrap();
    let check = store.check_permissions();
    assert_eq!(count(&check.summary), before + 1, "{}", check.summary);
    fs::set_permissions(queue.log(1), fs::Permissions::from_mode(0o622)).unwrap();
    let check = store.check_permissions();
    assert_eq!((check.level(), check.hint.is_some()), (Level::Fault, true));
}

/// Root may do what it likes anyway, and what belongs to it is as safe as the machine.
#[test]
fn files_of_another_user_are_a_fault_unless_either_is_root() {
    let (queue, mut store) = queue();
    let path = queue.log(1);
    // Only root can give a file away.
    let _ = std::os::unix::fs::chown(&path, Some(4711), None);
    let owner = fs::metadata(&path).unwrap().uid();
    let mut is_told = |me, path: &Path| {
        store.environment.uid = me;
        let mut check = Check::new("permissions");
        assert!(store.check_mode(&mut check, path));
        check.found.iter().any(|finding| finding.what.contains("neither to you nor to root"))
    };
    assert_eq!([owner, owner + 1, 0].map(|me| is_told(me, &path)), [false, true, false]);
    assert_eq!([owner, 0].map(|me| is_told(me, Path::new("/"))), [false, false]);
}

#[test]
fn free_inodes_are_measured_where_the_file_system_has_any() {
    let (queue, store) = queue();
    let stat = rustix::fs::statvfs(&queue.root).unwrap();
    let has = |name| store.check_free_space().measured.iter().any(|(known, _)| *known == name);
    assert_eq!((has("free_bytes"), has("free_inodes")), (true, stat.f_files > 0));
}

#[test]
fn little_room_is_told_of() {
    let root = Path::new("queue");
    let told = |free, files| {
        let mut check = Check::new("free_space");
        tell_of_little_room(&mut check, root, free, files);
        check.found.into_iter().map(|finding| finding.what).collect::<String>()
    };
    for files in [None, Some(FEW)] {
        assert_eq!(told(LITTLE, files), "");
    }
    assert_eq!(told(LITTLE - 1, Some(0)), "67108863 bytes are free on its disk");
    assert_eq!(told(LITTLE, Some(FEW - 1)), "999 more files can be made on its disk");
}
