//! A file system of its own in a loop file, whose power can be cut.
//!
//! On ext4 and XFS the cut is the shutdown ioctl without a flush of the log: whatever the file system has not written
//! is lost. Btrfs has no such call here, so its device is copied in one step (a reflink on XFS), while nobody moves,
//! and the copy is mounted: whatever had not reached the device is lost. Needs root.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::rig::{Place, is_ci, wait_for};

/// A kind of file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ext4,
    Xfs,
    Btrfs,
}

/// A mounted file system. Unmounted and removed when this is dropped.
pub struct Disk {
    kind: Kind,
    work: TempDir,
}

/// In bytes. The files are sparse; XFS and Btrfs want so much.
const SIZE: u64 = 512 << 20;

/// Room for all of it in memory, in bytes, without which the disk is used.
const ROOM: u64 = 3 << 30;

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ext4 => "ext4",
            Kind::Xfs => "xfs",
            Kind::Btrfs => "btrfs",
        }
    }
}

impl Disk {
    /// Makes one; none, and says so, where that can't be done here. In CI ext4 can.
    pub fn try_new(kind: Kind) -> Option<Disk> {
        match Disk::make(kind) {
            Ok(disk) => Some(disk),
            Err(why) => {
                let name = kind.name();
                assert!(!is_ci() || kind != Kind::Ext4, "no power can be cut on {name}: {why}");
                eprintln!("skipped: no power can be cut on {name}: {why}");
                None
            }
        }
    }

    fn make(kind: Kind) -> Result<Disk, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("that needs root".into());
        }
        // The loop file need not survive anything, and memory is quick and always equally so.
        let memory = Path::new("/dev/shm");
        let room = rustix::fs::statvfs(memory).map_or(0, |stat| stat.f_bavail * stat.f_frsize);
        let parent = if room >= ROOM { memory.to_owned() } else { std::env::temp_dir() };
        let work = tempfile::Builder::new().prefix("queuectl-power").tempdir_in(parent);
        let disk = Disk { kind, work: work.map_err(|error| error.to_string())? };
        let failed = |error: std::io::Error| error.to_string();
        for directory in ["host", "mount"] {
            std::fs::create_dir(disk.path(directory)).map_err(failed)?;
        }
        if kind == Kind::Btrfs {
            let below = disk.path("below");
            sparse(&below, 2 * SIZE).map_err(failed)?;
            run("mkfs.xfs", &["-q".as_ref(), &below])?;
            mount(&below, &disk.path("host"))?;
        } else {
            run("xfs_io", &["-V".as_ref()])?;
        }
        let image = disk.image();
        sparse(&image, SIZE).map_err(failed)?;
        let quiet = if kind == Kind::Ext4 { "-qF" } else { "-q" };
        run(&format!("mkfs.{}", kind.name()), &[quiet.as_ref(), &image])?;
        mount(&image, &disk.mount())?;
        Ok(disk)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    fn image(&self) -> PathBuf {
        self.path("host/device")
    }

    /// Where it is mounted.
    pub fn mount(&self) -> PathBuf {
        self.path("mount")
    }

    /// A directory whose power is never cut.
    pub fn outside(&self) -> PathBuf {
        let path = self.path("outside");
        std::fs::create_dir_all(&path).expect("a directory");
        path
    }

    /// Cuts the power.
    pub fn cut(&self, place: &Place) {
        let cut = match self.kind {
            Kind::Ext4 | Kind::Xfs => {
                run("xfs_io", &["-x".as_ref(), "-c".as_ref(), "shutdown".as_ref(), &self.mount()])
            }
            Kind::Btrfs => {
                place.freeze_processes();
                let copy = self.path("host/copy");
                run("cp", &["--reflink=always".as_ref(), &self.image(), &copy])
            }
        };
        cut.unwrap_or_else(|why| panic!("the power could not be cut: {why}"));
    }

    /// Mounts it again after a cut, once nobody uses it any more.
    pub fn restart(&self) {
        unmount(&self.mount());
        // Whoever copied the mounts of this machine, as a container does, keeps the dead file system alive.
        let image = self.image();
        wait_for("the loop device to be free", || {
            run("losetup", &["-j".as_ref(), &image]).is_ok_and(|attached| attached.is_empty())
        });
        if self.kind == Kind::Btrfs {
            std::fs::rename(self.path("host/copy"), self.image()).expect("the copy is there");
        }
        mount(&self.image(), &self.mount()).expect("it can be mounted again");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for directory in ["mount", "host"] {
            if is_mounted(&self.path(directory)) {
                unmount(&self.path(directory));
            }
        }
    }
}

fn sparse(path: &Path, size: u64) -> std::io::Result<()> {
    std::fs::File::create_new(path)?.set_len(size)
}

fn mount(image: &Path, place: &Path) -> Result<(), String> {
    run("mount", &["-o".as_ref(), "loop".as_ref(), image, place]).map(drop)
}

fn unmount(place: &Path) {
    // Whoever was killed may still be on the way out.
    wait_for("the file system to be free", || run("umount", &[place]).is_ok());
}

fn is_mounted(place: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(1).is_some_and(|at| Path::new(at) == place))
}

/// Runs a program that must succeed, and gives what it printed.
fn run(program: &str, words: &[&Path]) -> Result<String, String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    let output = command.args(words).env("PATH", format!("{path}:/usr/sbin:/sbin")).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
