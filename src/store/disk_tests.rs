//! What every disk does unless it knows better.

use super::*;
use crate::store::odd_disk::Odd;
use crate::store::real_disk::RealDisk;

#[test]
fn a_disk_that_knows_no_better_says_so() {
    let place = tempfile::tempdir().unwrap();
    let disk = Odd::watched();
    let directory = disk.open(place.path(), Open::Directory).unwrap();
    assert!(directory.try_lock(Lock::Exclusive).unwrap());
    assert_eq!(disk.lock_holder(directory.as_ref()), None);
    assert_eq!(disk.free_space(place.path()).unwrap(), None);
    let file = directory.open_in("file", Open::CreateNew).unwrap();
    assert_eq!(file.allocate(9).unwrap_err().kind(), io::ErrorKind::Unsupported);
}

#[test]
fn all_is_appended_in_steps_and_behind_interruptions() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("file");
    let file = Odd::in_steps(3).open(&path, Open::CreateNew).unwrap();
    append_all(file.as_ref(), b"0123456789").unwrap();
    drop(file);

    let calls = std::sync::atomic::AtomicUsize::new(0);
    let disk = Odd::refusing(move |call| {
        let is_even = call == "append file"
            && calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst).is_multiple_of(2);
        is_even.then_some(io::ErrorKind::Interrupted)
    });
    let file = disk.open(&path, Open::Append).unwrap();
    append_all(file.as_ref(), b"abc").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"0123456789abc");

    let full = Odd::always("append file", io::ErrorKind::StorageFull);
    let file = full.open(&path, Open::Append).unwrap();
    let error = append_all(file.as_ref(), b"abc").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    let file = Odd::in_steps(0).open(&path, Open::Append).unwrap();
    let error = append_all(file.as_ref(), b"abc").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WriteZero);
}

#[test]
fn only_what_is_no_directory_is_none() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    std::fs::write(at("file"), "").unwrap();
    std::os::unix::fs::symlink("loop", at("loop")).unwrap();
    for (name, is_none) in [("absent", true), ("file", true), ("loop", false)] {
        let error = RealDisk.open(&at(name), Open::Directory).err().unwrap();
        assert_eq!(is_no_directory(&error), is_none, "{name}: {error}");
    }
}
