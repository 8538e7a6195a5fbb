//! The real disk in temporary directories. Knows nothing of logs.

use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use super::*;
use crate::domain::event::{BatchCommitted, Event};
use crate::domain::timestamp::Timestamp;
use crate::store::disk::NoFile;
use crate::store::line;
use crate::store::segment::is_stored;

#[cfg(target_os = "linux")]
#[path = "real_disk/linux_tests.rs"]
mod linux;

fn directory() -> (tempfile::TempDir, Box<dyn Handle>) {
    let place = tempfile::tempdir().unwrap();
    let handle = RealDisk.open(place.path(), Open::Directory).unwrap();
    (place, handle)
}

fn kind<T>(result: io::Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

fn content(handle: &dyn Handle) -> Vec<u8> {
    let mut buffer = vec![0; 64];
    let read = handle.read_at(&mut buffer, 0).unwrap();
    buffer.truncate(read);
    buffer
}

#[test]
fn appends_go_to_the_end_and_reads_anywhere() {
    let (_place, directory) = directory();
    let first = directory.open_in("log", Open::CreateNew).unwrap();
    assert_eq!(first.append(b"one\n").unwrap(), 4);
    let second = directory.open_in("log", Open::Append).unwrap();
    assert_eq!(second.append(b"two\n").unwrap(), 4);
    first.append(b"three\n").unwrap();
    first.sync_data().unwrap();
    second.sync_all().unwrap();
    directory.sync_all().unwrap();

    let reader = directory.open_in("log", Open::Read).unwrap();
    assert_eq!(content(reader.as_ref()), b"one\ntwo\nthree\n");
    let mut buffer = [0; 4];
    assert_eq!(reader.read_at(&mut buffer, 4).unwrap(), 4);
    assert_eq!(&buffer, b"two\n");
    assert_eq!(reader.read_at(&mut buffer, 14).unwrap(), 0);
}

#[test]
fn what_is_stored_is_read_past_memory() {
    let (_place, directory) = directory();
    let file = directory.open_in("log", Open::CreateNew).unwrap();
    let bytes: Vec<u8> = (0..10_000_u32).map(|n| (n % 251) as u8).collect();
    file.append(&bytes).unwrap();
    file.sync_data().unwrap();
    for (start, len) in [(0, 10_000), (1, 1), (4095, 2), (4096, 4096), (9_990, 10)] {
        let mut found = vec![0; len];
        assert_eq!(file.read_stable(&mut found, start as u64).unwrap(), len, "{start}");
        assert_eq!(found, bytes[start..start + len], "{start}");
    }
    let mut found = [0; 100];
    assert_eq!(file.read_stable(&mut found, 9_990).unwrap(), 10);
    assert_eq!(file.read_stable(&mut found, 10_000).unwrap(), 0);
    assert_eq!(file.read_stable(&mut found, 20_000).unwrap(), 0);
}

/// What a failed sync dropped may be gone from memory too, and then both have the same nothing.
#[test]
fn what_is_no_line_is_not_stored_as_one() {
    let (_place, directory) = directory();
    let file = directory.open_in("log", Open::CreateNew).unwrap();
    let event = Event::BatchCommitted(BatchCommitted { batch: "b".into(), count: 1 });
    let line = line::encode(1, Timestamp::MIN, Timestamp::MIN, &event);
    file.append(&line.repeat(2)).unwrap();
    file.sync_data().unwrap();
    let (one, two) = (line.len() as u64, 2 * line.len() as u64);
    assert!(is_stored(file.as_ref(), 0, two).unwrap());
    assert!(is_stored(file.as_ref(), one, two).unwrap());
    assert!(!is_stored(file.as_ref(), 0, two - 1).unwrap(), "half a line");
    assert!(!is_stored(file.as_ref(), 0, two + 1).unwrap(), "less than there should be");
    file.append(&vec![0; line.len()]).unwrap();
    file.sync_data().unwrap();
    assert!(!is_stored(file.as_ref(), 0, 3 * one).unwrap());
    assert!(!is_stored(file.as_ref(), two, 3 * one).unwrap());
}

#[test]
fn a_file_is_written_the_way_it_was_opened() {
    let (_place, directory) = directory();
    let file = directory.open_in("mark", Open::ReadWrite).unwrap();
    file.write_at(b"abcdef", 0).unwrap();
    file.write_at(b"XY", 2).unwrap();
    assert_eq!(content(file.as_ref()), b"abXYef");
    assert_eq!(kind(file.append(b"z")), Some(ErrorKind::InvalidInput));

    let appender = directory.open_in("mark", Open::Append).unwrap();
    assert_eq!(kind(appender.write_at(b"z", 0)), Some(ErrorKind::InvalidInput));
    let again = directory.open_in("mark", Open::ReadWrite).unwrap();
    assert_eq!(content(again.as_ref()), b"abXYef", "opening does not empty it");
}

#[test]
fn new_things_are_new_and_private() {
    let (place, directory) = directory();
    directory.open_in("file", Open::CreateNew).unwrap();
    assert_eq!(kind(directory.open_in("file", Open::CreateNew)), Some(ErrorKind::AlreadyExists));
    directory.open_in("other", Open::ReadWrite).unwrap();
    let below = place.path().join("below");
    RealDisk.create_directory(&below).unwrap();
    assert_eq!(kind(RealDisk.create_directory(&below)), Some(ErrorKind::AlreadyExists));
    for (name, mode) in [("file", 0o600), ("other", 0o600), ("below", 0o700)] {
        let found = std::fs::metadata(place.path().join(name)).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }
    assert_eq!(kind(directory.open_in("absent", Open::Append)), Some(ErrorKind::NotFound));
    assert_eq!(kind(directory.open_in("file", Open::Directory)), Some(ErrorKind::NotADirectory));
}

#[test]
fn nothing_is_written_through_a_symbolic_link() {
    let (place, directory) = directory();
    let target = place.path().join("target");
    std::fs::write(&target, "kept").unwrap();
    symlink(&target, place.path().join("link")).unwrap();
    symlink(place.path().join("absent"), place.path().join("dangling")).unwrap();
    for how in [Open::Append, Open::ReadWrite, Open::CreateNew] {
        assert!(directory.open_in("link", how).is_err(), "{how:?}");
        assert!(directory.open_in("dangling", how).is_err(), "{how:?}");
    }
    assert!(!place.path().join("absent").exists());
    assert_eq!(kind(directory.open_in("dangling", Open::Directory)), Some(ErrorKind::NotFound));
    assert_eq!(content(directory.open_in("link", Open::Read).unwrap().as_ref()), b"kept");
}

#[test]
fn a_pipe_keeps_nobody_waiting() {
    let (place, directory) = directory();
    let pipe = place.path().join("pipe");
    rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
        .unwrap();
    assert_no_file(directory.as_ref(), "pipe", "a pipe");
}

/// Says what it is, is empty to whoever reads, and is not written to.
fn assert_no_file(directory: &dyn Handle, name: &str, what: &str) {
    let opened = directory.open_in(name, Open::Read).unwrap();
    assert_eq!(opened.read_at(&mut [0; 8], 0).unwrap(), 0, "{name}");
    assert_eq!(opened.read_stable(&mut [0; 8], 0).unwrap(), 0, "{name}");
    let told = opened.stat().unwrap().no_file().unwrap().to_string();
    assert!(told.contains(what), "{name}: {told}");
    for how in [Open::Append, Open::ReadWrite] {
        let told = directory.open_in(name, how).err().unwrap();
        assert!(NoFile::of(&told).is_some(), "{name}: {told}");
    }
}

#[test]
fn what_is_no_file_has_no_end_that_anybody_looks_for() {
    let (place, directory) = directory();
    let at = |name: &str| place.path().join(name);
    std::fs::create_dir(at("directory")).unwrap();
    symlink("directory", at("link to a directory")).unwrap();
    symlink("/dev/zero", at("endless")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    symlink("loop", at("loop")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    for (name, what) in [
        ("directory", "a directory"),
        ("link to a directory", "a directory"),
        ("endless", "a device"),
        ("dangling", "leads nowhere"),
        ("loop", "leads nowhere"),
        ("socket", "a socket"),
    ] {
        assert_no_file(directory.as_ref(), name, what);
    }
    std::fs::write(at("file"), "kept").unwrap();
    symlink("file", at("link")).unwrap();
    let linked = directory.open_in("link", Open::Read).unwrap();
    assert_eq!(
        (content(linked.as_ref()), linked.stat().unwrap().no_file()),
        (b"kept".into(), None)
    );
    assert_eq!(kind(directory.open_in("absent", Open::Read)), Some(ErrorKind::NotFound));
}

#[test]
fn stat_tells_what_the_system_tells() {
    let (place, directory) = directory();
    let file = directory.open_in("file", Open::CreateNew).unwrap();
    file.append(b"12345").unwrap();
    let path = place.path().join("file");
    let expected = std::fs::metadata(&path).unwrap();
    for found in [
        file.stat().unwrap(),
        directory.stat_in("file").unwrap(),
        RealDisk.stat(&path).unwrap(),
        Stat { born: file.stat().unwrap().born, ..plain_stat(rustix::fs::stat(&path).unwrap()) },
    ] {
        assert_eq!(found.inode, expected.ino());
        assert_eq!(found.device, expected.dev());
        assert_eq!(found.len, 5);
        assert_eq!(found.links, 1);
        assert_eq!(found.mode, expected.mode());
        assert_eq!((found.uid, found.gid), (expected.uid(), expected.gid()));
        let born = expected.created().ok().map(|time| {
            let since = time.duration_since(std::time::UNIX_EPOCH).unwrap();
            i128::try_from(since.as_nanos()).unwrap()
        });
        assert_eq!(found.born, born);
    }
    assert_eq!(kind(directory.stat_in("absent")), Some(ErrorKind::NotFound));
    directory.unlink("file").unwrap();
    assert_eq!(file.stat().unwrap().links, 0);
}

#[test]
fn a_lock_lives_in_the_open_file() {
    let (place, directory) = directory();
    let again = RealDisk.open(place.path(), Open::Directory).unwrap();
    assert!(directory.try_lock(Lock::Exclusive).unwrap());
    assert!(!again.try_lock(Lock::Exclusive).unwrap());
    assert!(!again.try_lock(Lock::Shared).unwrap());
    directory.unlock().unwrap();
    assert!(again.try_lock(Lock::Shared).unwrap());
    assert!(directory.try_lock(Lock::Shared).unwrap());
    assert!(!directory.try_lock(Lock::Exclusive).unwrap());
    directory.unlock().unwrap();

    // What a child inherits is the open file, and the lock with it.
    let copy = again.descriptor().unwrap().try_clone_to_owned().unwrap();
    drop(again);
    assert!(!directory.try_lock(Lock::Exclusive).unwrap());
    drop(copy);
    assert!(directory.try_lock(Lock::Exclusive).unwrap());
}

#[test]
fn renaming_replaces_only_where_it_is_asked_to() {
    let (place, directory) = directory();
    let names = || {
        let mut names = directory.names().unwrap();
        names.sort();
        names
    };
    for name in ["a", "b", "c"] {
        std::fs::write(place.path().join(name), name).unwrap();
    }
    assert_eq!(kind(directory.rename_new("a", "b")), Some(ErrorKind::AlreadyExists));
    assert_eq!(names(), ["a", "b", "c"]);
    directory.rename_new("a", "d").unwrap();
    assert_eq!(names(), ["b", "c", "d"]);
    directory.rename_over("d", "b").unwrap();
    assert_eq!(names(), ["b", "c"]);
    assert_eq!(content(directory.open_in("b", Open::Read).unwrap().as_ref()), b"a");

    let fallback = |from, to| {
        link_and_unlink(
            rustix::fs::openat(CWD, place.path(), OFlags::RDONLY, Mode::empty()).unwrap().as_fd(),
            from,
            to,
        )
    };
    assert_eq!(kind(fallback("b", "c")), Some(ErrorKind::AlreadyExists));
    assert_eq!(names(), ["b", "c"]);
    fallback("b", "e").unwrap();
    assert_eq!(names(), ["c", "e"]);
    directory.unlink("c").unwrap();
    assert_eq!(names(), ["e"]);
    assert_eq!(kind(directory.unlink("c")), Some(ErrorKind::NotFound));
}

#[test]
fn a_name_does_not_lead_out_of_its_directory() {
    let (_place, directory) = directory();
    for name in ["", ".", "..", "a/b", "../a", "/tmp"] {
        assert_eq!(kind(directory.open_in(name, Open::ReadWrite)), Some(ErrorKind::InvalidInput));
        assert_eq!(kind(directory.stat_in(name)), Some(ErrorKind::InvalidInput));
        assert_eq!(kind(directory.unlink(name)), Some(ErrorKind::InvalidInput));
        assert_eq!(kind(directory.rename_new(name, "a")), Some(ErrorKind::InvalidInput));
        assert_eq!(kind(directory.rename_over("a", name)), Some(ErrorKind::InvalidInput));
    }
}

#[test]
fn one_boot_has_one_name() {
    let boot = RealDisk.boot().unwrap();
    #[cfg(target_os = "linux")]
    assert_eq!(boot, std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim());
    assert!(!boot.is_empty());
    assert_eq!(boot, boot.trim());
    assert_eq!(boot, RealDisk.boot().unwrap());
}

#[test]
fn the_kind_of_file_system_is_known() {
    let place = tempfile::tempdir().unwrap();
    let kind = RealDisk.file_system(place.path()).unwrap();
    assert!(!matches!(kind, FileSystem::Remote("NFS" | "SMB")), "{kind:?}");
    let missing = RealDisk.file_system(&place.path().join("none"));
    assert_eq!(missing.map_err(|error| error.kind()), Err(ErrorKind::NotFound));
}

/// Another boot would stand for a power cut, and the tail of the log for torn.
#[test]
fn a_boot_that_cannot_be_read_for_once_is_no_other_boot() {
    let dev = || RealDisk.stat(std::path::Path::new("/"));
    let absent = || Err(ErrorKind::NotFound.into());
    assert_eq!(boot_of(Ok(Some(b"abc\n".into())), absent).unwrap(), "abc");
    for error in [Errno::MFILE, Errno::NFILE, Errno::IO] {
        assert!(boot_of(Err(error.into()), dev).is_err(), "{error}");
        assert!(boot_of(Ok(None), || Err(error.into())).is_err(), "{error}");
    }
    for nothing in [Ok(None), Ok(Some(b"\n".into())), Err(ErrorKind::PermissionDenied.into())] {
        assert_eq!(boot_of(nothing, absent).unwrap(), "unknown");
    }
}

#[test]
fn room_is_told_and_taken() {
    let (place, directory) = directory();
    let space = RealDisk.free_space(place.path()).unwrap().unwrap();
    assert!(space.free > 0 && space.free <= space.total, "{space:?}");
    let file = directory.open_in("reserve", Open::ReadWrite).unwrap();
    match file.allocate(100_000) {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported),
        Ok(()) => {
            let found = std::fs::metadata(place.path().join("reserve")).unwrap();
            assert_eq!(found.len(), 100_000);
            assert!(found.blocks() * 512 >= 100_000);
        }
    }
}

#[test]
fn a_pause_takes_its_time() {
    let time = Duration::from_millis(5);
    let begin = std::time::Instant::now();
    RealDisk.pause(time);
    assert!(begin.elapsed() >= time);
}

#[test]
fn only_what_a_signal_interrupted_is_called_again() {
    for (errors, calls, outcome) in [
        (vec![], 1, None),
        (vec![ErrorKind::Interrupted; 3], 4, None),
        (vec![ErrorKind::Interrupted, ErrorKind::StorageFull], 2, Some(ErrorKind::StorageFull)),
    ] {
        let (mut errors, mut made) = (errors.into_iter(), 0);
        let result = retry(|| {
            made += 1;
            errors.next().map_or(Ok(7), |error| Err(error.into()))
        });
        assert_eq!((made, kind(result)), (calls, outcome));
    }
}
