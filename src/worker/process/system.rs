//! What the kernel knows of processes that are not our children: their identity, group, session, environment and death.
//!
//! The only file here that is Linux's own; elsewhere it finds nothing, and groups and locks alone decide.
//! Unaware of jobs and runs.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Pid, Signal};

/// A process, as it was when it was looked at. Number and start time together name it for a whole boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Its number, which comes round.
    pub pid: Pid,
    /// When it started, in clock ticks since boot.
    pub start: u64,
    /// Its parent's number; 0 where it has none in this namespace.
    pub parent: i32,
    /// Its group's number.
    pub group: i32,
    /// Its session's number.
    pub session: i32,
    /// Whether its main thread has ended. Other threads of it may live on.
    pub is_zombie: bool,
}

/// A grip on one process that cannot slip to another one with the same number.
#[derive(Debug)]
pub struct Held {
    /// Whom it holds.
    pub process: Process,
    /// None where the kernel has none to give: then looks are repeated instead.
    descriptor: Option<OwnedFd>,
}

impl Held {
    /// Takes hold of a process; none where it is gone.
    pub fn new(process: Process) -> Option<Held> {
        let descriptor = match open(process.pid) {
            Ok(descriptor) => Some(descriptor),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
                return None;
            }
            Err(_) => None,
        };
        is_same(process).then_some(Held { process, descriptor })
    }

    /// Sends it a signal. That it is gone is no error.
    ///
    /// Errors: where it is another user's.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let sent = match &self.descriptor {
            Some(descriptor) => send(descriptor, signal),
            None if is_same(self.process) => {
                rustix::process::kill_process(self.process.pid, signal).map_err(Into::into)
            }
            None => Ok(()),
        };
        match sent {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
                Ok(())
            }
            sent => sent,
        }
    }

    /// Whether all its threads have ended. A zombie whose other threads run is not dead.
    pub fn is_dead(&self) -> bool {
        self.dies_within(Duration::ZERO)
    }

    /// Waits for its death, at most so long; says whether it is dead.
    pub fn dies_within(&self, time: Duration) -> bool {
        match &self.descriptor {
            Some(descriptor) => is_readable(descriptor, time),
            None => {
                // Without a descriptor the best there is: look now, and let the caller look again.
                if is_same(self.process) && !time.is_zero() {
                    std::thread::sleep(time.min(Duration::from_millis(10)));
                }
                !is_same(self.process)
            }
        }
    }
}

/// Whether the process with this number is still the same one, dead or alive.
fn is_same(process: Process) -> bool {
    find(process.pid).is_some_and(|found| found.start == process.start)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::{self, File};
    use std::io::{self, Read};
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::fs::MetadataExt;
    use std::path::PathBuf;
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

    use super::Process;

    pub(super) fn open(pid: Pid) -> io::Result<OwnedFd> {
        Ok(pidfd_open(pid, PidfdFlags::empty())?)
    }

    pub(super) fn send(descriptor: &OwnedFd, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(descriptor, signal)?)
    }

    pub(super) fn is_readable(descriptor: &OwnedFd, time: Duration) -> bool {
        let mut polled = [PollFd::from_borrowed_fd(descriptor.as_fd(), PollFlags::IN)];
        let time = Timespec::try_from(time).ok();
        matches!(poll(&mut polled, time.as_ref()), Ok(1..))
    }

    /// The process with this number, if there is one in sight.
    pub fn find(pid: Pid) -> Option<Process> {
        parse(pid, &contents(pid, "stat", 1024)?)
    }

    /// A file of a process. These say no length, so the room that is likely to do is given.
    fn contents(pid: Pid, name: &str, room: usize) -> Option<Vec<u8>> {
        let mut file = File::open(format!("/proc/{}/{name}", pid.as_raw_nonzero())).ok()?;
        let mut bytes = vec![0; room];
        let mut filled = 0;
        loop {
            match file.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
            if filled == bytes.len() {
                bytes.resize(2 * filled, 0);
            }
        }
        bytes.truncate(filled);
        Some(bytes)
    }

    /// Reads a line of `/proc/<pid>/stat`: the name in parentheses may hold anything, also `)`.
    pub(super) fn parse(pid: Pid, stat: &[u8]) -> Option<Process> {
        let behind_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
        let mut fields = std::str::from_utf8(&stat[behind_name..]).ok()?.split_ascii_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        let session = fields.next()?.parse().ok()?;
        // The start time is field 22 and the state is field 3.
        let start = fields.nth(15)?.parse().ok()?;
        Some(Process { pid, start, parent, group, session, is_zombie: matches!(state, "Z" | "X") })
    }

    /// All processes in sight.
    ///
    /// Errors: where `/proc` cannot be read, since then nothing is known.
    pub fn list() -> io::Result<Vec<Process>> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.parse().ok());
            if let Some(process) = number.and_then(Pid::from_raw).and_then(find) {
                found.push(process);
            }
        }
        Ok(found)
    }

    /// The value of a variable in the environment the process was started with; none where it has none or it cannot be read.
    pub fn variable(pid: Pid, name: &str) -> Option<Vec<u8>> {
        let environment = contents(pid, "environ", 16 << 10)?;
        let value = environment
            .split(|&byte| byte == 0)
            .find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
        value.map(<[u8]>::to_vec)
    }

    /// Whether the process has one of the files open. Of processes that cannot be looked into, nothing is known.
    pub fn holds(pid: Pid, files: &[PathBuf]) -> bool {
        let identity = |found: fs::Metadata| (found.dev(), found.ino());
        let files: Vec<_> = files.iter().filter_map(|path| path.metadata().ok()).collect();
        let wanted: Vec<(u64, u64)> = files.into_iter().map(identity).collect();
        let open = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero()));
        open.into_iter().flatten().flatten().any(|entry| {
            let found = fs::metadata(entry.path()).map(identity);
            found.is_ok_and(|found| wanted.contains(&found))
        })
    }

    /// The process id namespace we are in; numbers of another one mean nothing here.
    pub fn pid_namespace() -> String {
        let link = fs::read_link("/proc/self/ns/pid");
        link.map(|link| link.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The signals this process was started with as ignored, as a mask.
    pub fn ignored_signals() -> u64 {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
    }
}

#[cfg(target_os = "linux")]
pub use linux::{find, holds, ignored_signals, list, pid_namespace, variable};
#[cfg(target_os = "linux")]
use linux::{is_readable, open, send};

#[cfg(not(target_os = "linux"))]
mod other {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::path::PathBuf;
    use std::time::Duration;

    use rustix::process::{Pid, Signal};

    use super::Process;

    pub(super) fn open(_: Pid) -> io::Result<OwnedFd> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn send(_: &OwnedFd, _: Signal) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn is_readable(_: &OwnedFd, _: Duration) -> bool {
        false
    }

    /// Nothing is in sight.
    pub fn find(_: Pid) -> Option<Process> {
        None
    }

    /// Nothing is in sight.
    pub fn list() -> io::Result<Vec<Process>> {
        Ok(Vec::new())
    }

    /// Nothing can be read.
    pub fn variable(_: Pid, _: &str) -> Option<Vec<u8>> {
        None
    }

    /// Nothing can be looked into.
    pub fn holds(_: Pid, _: &[PathBuf]) -> bool {
        false
    }

    /// There is one.
    pub fn pid_namespace() -> String {
        String::new()
    }

    /// Nothing is known to be ignored.
    pub fn ignored_signals() -> u64 {
        0
    }
}

#[cfg(not(target_os = "linux"))]
pub use other::{find, holds, ignored_signals, list, pid_namespace, variable};
#[cfg(not(target_os = "linux"))]
use other::{is_readable, open, send};

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_blanks() {
        let stat = b"42 (a) b (c)) Z 1 40 39 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 0 0";
        let pid = Pid::from_raw(42).unwrap();
        let process = linux::parse(pid, stat).unwrap();
        assert_eq!((process.parent, process.group, process.session), (1, 40, 39));
        assert_eq!((process.start, process.is_zombie), (777, true));
        assert!(linux::parse(pid, b"42 (a) S 1").is_none());
        assert!(linux::parse(pid, b"").is_none());
    }

    #[test]
    fn this_process_is_found_and_held() {
        let me = find(rustix::process::getpid()).unwrap();
        assert!(list().unwrap().contains(&me));
        let held = Held::new(me).unwrap();
        assert!(!held.is_dead());
        // Somebody else with our number is not us.
        assert!(Held::new(Process { start: me.start + 1, ..me }).is_none());
        assert_eq!(variable(me.pid, "PATH"), std::env::var("PATH").ok().map(String::into_bytes));
    }
}
