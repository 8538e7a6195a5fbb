//! What only Linux tells, and tells of itself.

use rustix::fs::Advice;

use super::*;

#[test]
fn the_holder_of_a_lock_is_named() {
    let home = tempfile::tempdir().unwrap();
    let held = RealDisk.open(home.path(), Open::Directory).unwrap();
    assert_eq!(RealDisk.lock_holder(held.as_ref()), None);
    assert!(held.try_lock(Lock::Exclusive).unwrap());
    assert_eq!(RealDisk.lock_holder(held.as_ref()), Some(std::process::id()));
}

#[test]
fn only_who_holds_the_lock_of_the_file_is_named() {
    let locks = "\
1: POSIX  ADVISORY  WRITE 11 fe:00:7 0 EOF
2: FLOCK  ADVISORY  WRITE 12 fe:00:8 0 EOF
3: -> FLOCK  ADVISORY  WRITE 13 fe:00:9 0 EOF
4: FLOCK  ADVISORY  WRITE 14 fe:00:9 0 EOF
";
    let holders = [(7, None), (8, Some(12)), (9, Some(14)), (10, None)];
    for (inode, pid) in holders {
        assert_eq!(holder(locks, inode), pid, "{inode}");
    }
    assert_eq!(holder("", 8), None);
}

/// As `linux/magic.h` has them.
#[test]
fn the_kind_of_file_system_is_known_by_its_number() {
    let mut stat = rustix::fs::statfs("/proc").unwrap();
    for (number, kind) in [
        (0x794c_7630, FileSystem::Overlay),
        (0x6969, FileSystem::Remote("NFS")),
        (0xff53_4d42, FileSystem::Remote("SMB")),
        (0xfe53_4d42, FileSystem::Remote("SMB")),
        (0x517b, FileSystem::Remote("SMB")),
        (0x6573_5546, FileSystem::Remote("FUSE")),
        (0x0102_1997, FileSystem::Remote("9P")),
        (0x00c3_6400, FileSystem::Remote("Ceph")),
        (0x5346_414f, FileSystem::Remote("AFS")),
        (0x6b41_4653, FileSystem::Remote("AFS")),
        (0xef53, FileSystem::Local),
    ] {
        stat.f_type = number;
        assert_eq!(kind_of(&stat), kind, "{number:x}");
    }
}

/// `/proc` has neither room nor times of birth.
#[test]
fn what_a_file_system_does_not_know_is_not_told() {
    let proc = Path::new("/proc/self");
    assert_eq!(RealDisk.free_space(proc).unwrap(), None);
    assert!(std::fs::metadata(proc).unwrap().created().is_err());
    assert_eq!(RealDisk.stat(proc).unwrap().born, None);
}

#[test]
fn what_can_not_be_synced_or_locked_is_an_error() {
    let (place, directory) = directory();
    let pipe = place.path().join("pipe");
    rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
        .unwrap();
    let pipe = directory.open_in("pipe", Open::Read).unwrap();
    assert_eq!(kind(pipe.sync_data()), Some(ErrorKind::InvalidInput));
    assert_eq!(kind(pipe.sync_all()), Some(ErrorKind::InvalidInput));
    symlink("nowhere", place.path().join("dangling")).unwrap();
    let dangling = directory.open_in("dangling", Open::Read).unwrap();
    for lock in [Lock::Exclusive, Lock::Shared] {
        assert!(dangling.try_lock(lock).is_err(), "{lock:?}");
    }
}

/// Whether memory has the first bytes of the file; none where nobody can tell. To ask brings them there.
fn is_in_memory(file: &File) -> Option<bool> {
    let mut bytes = [0; 8];
    let flags = rustix::io::ReadWriteFlags::NOWAIT;
    match rustix::io::preadv2(file, &mut [io::IoSliceMut::new(&mut bytes)], 0, flags) {
        Ok(_) => Some(true),
        Err(Errno::AGAIN) => Some(false),
        Err(_) => None,
    }
}

/// Seen by what memory has afterwards. Where it is all there is, as on tmpfs, there is nothing to be seen.
#[test]
fn what_is_stored_is_not_read_from_memory() {
    type Reading = fn(&dyn Handle, &mut [u8]) -> io::Result<usize>;
    let (place, directory) = directory();
    let after = |reading: Reading| {
        let path = place.path().join("log");
        std::fs::write(&path, vec![b'x'; 8192]).unwrap();
        let file = File::open(&path).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        let handle = directory.open_in("log", Open::Read).unwrap();
        let count = reading(handle.as_ref(), &mut [0; 100]).unwrap();
        std::fs::remove_file(&path).unwrap();
        (count, is_in_memory(&file))
    };
    // Some file systems take what is read past memory into it all the same.
    let directly: Reading = |file, _| {
        let path = format!("/proc/self/fd/{}", file.descriptor().unwrap().as_raw_fd());
        let direct = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECT, Mode::empty())?;
        let mut bytes = [0; 8192];
        let start = bytes.as_ptr().align_offset(BLOCK);
        File::from(direct).read_at(&mut bytes[start..start + BLOCK], 0)
    };
    if after(directly) == (BLOCK, Some(false)) {
        assert_eq!(after(|file, buffer| file.read_stable(buffer, 0)), (100, Some(false)));
        assert_eq!(after(|file, buffer| file.read_at(buffer, 0)), (100, Some(true)));
    }
}
