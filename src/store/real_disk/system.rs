//! What the system tells of itself: the boot, who holds a lock, the kind of a file system.
//!
//! Knows how it is written down, and not where.

use std::io;

use crate::store::disk::{FileSystem, Stat};

/// The boot, by its id where the system tells it, else by what is known of `/dev`.
pub(super) fn boot_of(
    id: io::Result<Option<Vec<u8>>>,
    dev: impl FnOnce() -> io::Result<Stat>,
) -> io::Result<String> {
    let id = match id {
        // Who may not read it never may.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
        other => other?,
    };
    let id = id.and_then(|id| String::from_utf8(id).ok());
    if let Some(id) = id.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty()) {
        return Ok(id);
    }
    match dev() {
        Ok(Stat { born: Some(born), .. }) => Ok(format!("dev-{born}")),
        Ok(_) => Ok("unknown".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok("unknown".to_owned()),
        Err(error) => Err(error),
    }
}

/// The process that holds the flock of an inode, by the lines of `/proc/locks`.
pub(super) fn holder(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip_while(|field| *field != "FLOCK");
        let (pid, place) = (fields.nth(3)?, fields.next()?);
        let held = place.rsplit(':').next()?.parse::<u64>().ok()?;
        (held == inode && !line.contains("->")).then(|| pid.parse().ok())?
    })
}

/// The kinds that matter, by the numbers of `statfs(2)` and `linux/magic.h`.
#[cfg(target_os = "linux")]
pub(super) fn kind_of(stat: &rustix::fs::StatFs) -> FileSystem {
    // The field's width and sign differ by architecture; the numbers have 32 bits.
    match stat.f_type as u32 {
        0x794c_7630 => FileSystem::Overlay,
        0x6969 => FileSystem::Remote("NFS"),
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => FileSystem::Remote("SMB"),
        0x6573_5546 => FileSystem::Remote("FUSE"),
        0x0102_1997 => FileSystem::Remote("9P"),
        0x00c3_6400 => FileSystem::Remote("Ceph"),
        0x5346_414f | 0x6b41_4653 => FileSystem::Remote("AFS"),
        _ => FileSystem::Local,
    }
}

/// The kinds that matter, by their names.
#[cfg(target_vendor = "apple")]
pub(super) fn kind_of(stat: &rustix::fs::StatFs) -> FileSystem {
    let name: Vec<u8> =
        stat.f_fstypename.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
    match name.as_slice() {
        b"nfs" => FileSystem::Remote("NFS"),
        b"smbfs" => FileSystem::Remote("SMB"),
        b"macfuse" | b"osxfuse" | b"fusefs" => FileSystem::Remote("FUSE"),
        _ => FileSystem::Local,
    }
}

/// Elsewhere nothing is known.
#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
pub(super) fn kind_of(_: &rustix::fs::StatFs) -> FileSystem {
    FileSystem::Local
}
