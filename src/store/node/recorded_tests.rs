//! Which directory is the recorded one, by what the system says of it.

use super::*;
use crate::store::odd_disk::Odd;
use crate::store::real_disk::RealDisk;

fn stat(inode: u64, born: Option<i128>) -> Stat {
    let any = RealDisk.stat(Path::new("/")).unwrap();
    Stat { inode, born, device: 1, ..any }
}

fn disk(kind: FileSystem) -> Odd {
    let mut disk = Odd::watched();
    disk.kind = Some(kind);
    disk
}

#[test]
fn a_directory_at_its_path_is_known_by_its_birth_and_else_by_its_number() {
    use FileSystem::{Local, Overlay};
    let root = Path::new("/home/anna/queue");
    let recorded = Recorded::new("desk", root, &stat(7, Some(100)));
    for (inode, born, kind, standing) in [
        (7, Some(100), Local, Standing::Same),
        (8, Some(100), Local, Standing::Moved),
        // Restored, and by chance of the same number.
        (7, Some(101), Local, Standing::Other),
        (8, Some(101), Local, Standing::Other),
        // In a layer it is born again with the first write.
        (7, Some(101), Overlay, Standing::Moved),
        (8, Some(101), Overlay, Standing::Other),
        (7, None, Local, Standing::Same),
        (8, None, Local, Standing::Other),
        (8, None, Overlay, Standing::Other),
    ] {
        let found = recorded.standing(&disk(kind), root, &stat(inode, born)).unwrap();
        assert_eq!(found, standing, "{inode} {born:?} {kind:?}");
    }
    let unborn = Recorded::new("desk", root, &stat(7, None));
    for (inode, standing) in [(7, Standing::Same), (8, Standing::Other)] {
        let found = unborn.standing(&disk(Local), root, &stat(inode, Some(100))).unwrap();
        assert_eq!(found, standing, "{inode}");
    }
}

#[test]
fn a_directory_elsewhere_is_the_one_unless_the_original_still_stands() {
    let (root, elsewhere) = (Path::new("/none/queue"), Path::new("/none/other"));
    let here = stat(7, Some(100));
    let recorded = Recorded::new("desk", root, &here);
    for (there, standing) in [
        (None, Standing::Moved),
        // Another way to it.
        (Some(here), Standing::Same),
        // A copy of the whole file system, and the original.
        (Some(Stat { device: 2, ..here }), Standing::Other),
        // Something else has come to the old path.
        (Some(Stat { inode: 8, ..here }), Standing::Moved),
        (Some(Stat { inode: 8, device: 2, ..here }), Standing::Moved),
    ] {
        let mut disk = disk(FileSystem::Local);
        disk.told = there.map(|there| (root.to_owned(), there));
        assert_eq!(recorded.standing(&disk, elsewhere, &here).unwrap(), standing, "{there:?}");
    }
}
