//! Small files and directories, made so that they are there whole after a power cut or not at all.
//!
//! Knows nothing of what they are for.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::{Disk, Handle, Open};

/// More than any small file has, in bytes.
const LARGEST: usize = 16 << 20;

/// Who gets what is made, where that is not who makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// Something went wrong with a file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct FileError {
    /// What was tried, such as `read`.
    pub action: &'static str,
    /// With which file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl FileError {
    /// Puts action and path to an error of the system.
    pub fn when<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| FileError { action, path: path.to_owned(), source }
    }

    /// Whether the file was not there.
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// Reads the whole of a file; none where there is no such file.
pub fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let handle = match disk.open(path, Open::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(FileError::when("open", path))?,
    };
    read_open(handle.as_ref()).map(Some).map_err(FileError::when("read", path))
}

/// Reads the whole of an open file.
///
/// Errors: where it is larger than any small file, or no file.
pub fn read_open(handle: &dyn Handle) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = handle.read_at(&mut buffer, content.len() as u64)?;
        content.extend_from_slice(&buffer[..read]);
        // A short read of a file is the end of it.
        if read < buffer.len() {
            return match handle.stat()?.no_file().filter(|_| content.is_empty()) {
                Some(no_file) => Err(io::Error::other(no_file)),
                None => Ok(content),
            };
        }
        if content.len() > LARGEST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
}

/// Makes a file in an open directory, unless the name is taken. Says whether it was made.
///
/// Ensures: it appears whole, and its bytes are on stable storage; its name is once the directory is synced.
/// Expects: nobody else uses the name with `.tmp` at its end.
pub fn create(
    directory: &dyn Handle,
    name: &str,
    content: &[u8],
    owner: Option<Owner>,
) -> io::Result<bool> {
    match directory.stat_in(name) {
        Ok(_) => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let temporary = write_temporary(directory, name, content, owner)?;
    match directory.rename_new(&temporary, name) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            directory.unlink(&temporary)?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Makes a file in an open directory, or puts another in its place.
///
/// Ensures and expects: as [`create`].
pub fn replace(
    directory: &dyn Handle,
    name: &str,
    content: &[u8],
    owner: Option<Owner>,
) -> io::Result<()> {
    let temporary = write_temporary(directory, name, content, owner)?;
    directory.rename_over(&temporary, name)
}

fn write_temporary(
    directory: &dyn Handle,
    name: &str,
    content: &[u8],
    owner: Option<Owner>,
) -> io::Result<String> {
    let temporary = format!("{name}.tmp");
    let file = match directory.open_in(&temporary, Open::CreateNew) {
        // Whoever began it died.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            directory.unlink(&temporary)?;
            directory.open_in(&temporary, Open::CreateNew)?
        }
        other => other?,
    };
    give(file.as_ref(), owner)?;
    let mut rest = content;
    while !rest.is_empty() {
        match file.append(rest)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => rest = &rest[written..],
        }
    }
    file.sync_all()?;
    Ok(temporary)
}

/// Makes a directory, unless there is one. Says whether it was made. Its name is not synced.
pub fn create_directory(
    disk: &dyn Disk,
    path: &Path,
    owner: Option<Owner>,
) -> Result<bool, FileError> {
    match disk.create_directory(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        other => other.map_err(FileError::when("create directory", path))?,
    }
    if owner.is_some() {
        let opened = disk.open(path, Open::Directory).map_err(FileError::when("open", path))?;
        give(opened.as_ref(), owner).map_err(FileError::when("change the owner of", path))?;
    }
    Ok(true)
}

/// Gives what was made to whom it belongs.
pub fn give(handle: &dyn Handle, owner: Option<Owner>) -> io::Result<()> {
    owner.map_or(Ok(()), |owner| handle.set_owner(owner.uid, owner.gid))
}

/// Makes a directory and those above it that are missing, each of them synced into the one above.
pub fn create_directories(disk: &dyn Disk, path: &Path) -> Result<(), FileError> {
    let mut missing = Vec::new();
    let mut at = path;
    loop {
        match disk.stat(at) {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(at),
            Err(error) => return Err(FileError::when("look at", at)(error)),
        }
        match at.parent() {
            Some(above) => at = above,
            None => break,
        }
    }
    while let Some(directory) = missing.pop() {
        create_directory(disk, directory, None)?;
        if let Some(above) = directory.parent() {
            sync_directory(disk, above)?;
        }
    }
    Ok(())
}

/// Brings the names in a directory to stable storage.
pub fn sync_directory(disk: &dyn Disk, path: &Path) -> Result<(), FileError> {
    let opened = disk.open(path, Open::Directory).map_err(FileError::when("open", path))?;
    sync_open_directory(opened.as_ref()).map_err(FileError::when("sync", path))
}

/// Brings the names in an open directory to stable storage.
pub fn sync_open_directory(directory: &dyn Handle) -> io::Result<()> {
    match directory.sync_all() {
        // File systems that keep names by themselves refuse to sync a directory in this way.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::store::odd_disk::Odd;
    use crate::store::real_disk::RealDisk;

    #[test]
    fn a_file_is_made_once_and_replaced_at_will() {
        let place = tempfile::tempdir().unwrap();
        let directory = RealDisk.open(place.path(), Open::Directory).unwrap();
        // What somebody began and did not end is no hindrance.
        std::fs::write(place.path().join("a.tmp"), "half").unwrap();
        assert!(create(directory.as_ref(), "a", b"one", None).unwrap());
        assert!(!create(directory.as_ref(), "a", b"two", None).unwrap());
        let path = place.path().join("a");
        assert_eq!(read(&RealDisk, &path).unwrap().unwrap(), b"one");

        let long = vec![b'x'; 4096 * 2];
        replace(directory.as_ref(), "a", &long, None).unwrap();
        assert_eq!(read(&RealDisk, &path).unwrap().unwrap(), long);
        assert_eq!(directory.names().unwrap(), ["a"]);
        assert!(read(&RealDisk, &place.path().join("b")).unwrap().is_none());
    }

    #[test]
    fn directories_are_made_all_the_way() {
        let place = tempfile::tempdir().unwrap();
        let deep = place.path().join("a/b/c");
        create_directories(&RealDisk, &deep).unwrap();
        create_directories(&RealDisk, &deep).unwrap();
        assert!(deep.is_dir());
        std::fs::write(place.path().join("file"), "").unwrap();
        assert!(create_directories(&RealDisk, &place.path().join("file/x")).is_err());
    }

    /// What is there and can't be read must not be taken for missing: it would be made anew.
    #[test]
    fn only_what_is_not_there_is_missing() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("file"), "").unwrap();
        let error = read(&RealDisk, &place.path().join("file/x")).unwrap_err();
        assert!(!error.is_missing() && error.action == "open", "{error}");
        let error = sync_directory(&RealDisk, &place.path().join("none")).unwrap_err();
        assert!(error.is_missing(), "{error}");

        symlink("loop", place.path().join("loop")).unwrap();
        let directory = RealDisk.open(place.path(), Open::Directory).unwrap();
        assert!(create(directory.as_ref(), "loop", b"", None).is_err());
        for path in ["file/x", "loop/x"] {
            let error = create_directories(&RealDisk, &place.path().join(path)).unwrap_err();
            assert_eq!(error.action, "look at", "{error}");
        }
    }

    /// Where the name is taken between the look and the renaming, as by a link that leads nowhere.
    #[test]
    fn a_name_that_is_taken_meanwhile_is_not_replaced() {
        let place = tempfile::tempdir().unwrap();
        symlink("nowhere", place.path().join("a")).unwrap();
        let directory = RealDisk.open(place.path(), Open::Directory).unwrap();
        assert!(!create(directory.as_ref(), "a", b"one", None).unwrap());
        assert_eq!(directory.names().unwrap(), ["a"]);
    }

    /// Whether room may help is told by the kind of the error.
    #[test]
    fn what_the_disk_refuses_is_told_as_it_was() {
        let place = tempfile::tempdir().unwrap();
        let full = io::ErrorKind::StorageFull;
        for call in ["open a.tmp", "append a.tmp", "sync a.tmp", "rename a.tmp a"] {
            let disk = Odd::always(call, full);
            let directory = disk.open(place.path(), Open::Directory).unwrap();
            let made = create(directory.as_ref(), "a", b"one", None);
            assert_eq!(made.unwrap_err().kind(), full, "{call}");
            let replaced = replace(directory.as_ref(), "a", b"one", None);
            assert_eq!(replaced.unwrap_err().kind(), full, "{call}");
            assert!(!place.path().join("a").exists());
        }
        let made = create_directory(&Odd::always("mkdir b", full), &place.path().join("b"), None);
        assert_eq!(made.unwrap_err().source.kind(), full);
    }

    #[test]
    fn only_a_directory_that_needs_no_sync_does_without() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("names");
        std::fs::create_dir(&path).unwrap();
        let sync = |kind| sync_directory(&Odd::always("sync names", kind), &path);
        assert!(sync(io::ErrorKind::InvalidInput).is_ok());
        for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull, io::ErrorKind::NotFound] {
            assert_eq!(sync(kind).unwrap_err().source.kind(), kind);
        }
    }

    #[test]
    fn a_file_is_read_in_steps_up_to_the_largest() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a");
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(LARGEST as u64).unwrap();
        assert_eq!(read(&RealDisk, &path).unwrap().unwrap().len(), LARGEST);
        file.set_len(LARGEST as u64 + 4096).unwrap();
        let error = read(&RealDisk, &path).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::FileTooLarge);

        let directory = Odd::in_steps(2).open(place.path(), Open::Directory).unwrap();
        replace(directory.as_ref(), "a", b"12345", None).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"12345");
    }
}
