//! A worker in the background: this program again, in a session of its own.
//!
//! The child makes the session itself, before it does anything else. Unaware of what it does then.

use std::env;
use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What a job's environment says of its own run, and must not be said of the jobs of a worker that it starts.
const OF_A_RUN: [&str; 5] =
    ["QUEUECTL_JOB_ID", "QUEUECTL_CLAIM", "QUEUECTL_RUN", "QUEUECTL_ATTEMPT", "QUEUECTL_QUEUE"];

/// How often the child is looked at while it starts.
const LOOK: Duration = Duration::from_millis(10);

/// What became of a child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detached {
    /// It works.
    Working,
    /// It ended before.
    Ended {
        /// Its exit code.
        code: u8,
        /// What it said on stderr.
        said: String,
    },
}

/// Runs this program again with the same arguments but `from`, which becomes `to`; waits until `is_working` says so of
/// its process number, or it has ended. What it says goes to the end of the file `log`.
///
/// Errors: where it cannot be started, or the file cannot be opened.
pub fn run_detached(
    from: &str,
    to: &str,
    log: &Path,
    mut is_working: impl FnMut(u32) -> bool,
) -> io::Result<Detached> {
    let arguments = env::args_os().skip(1);
    let mut command = Command::new(env::current_exe()?);
    command.args(arguments.map(|word| if word == from { to.into() } else { word }));
    let open = || OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(log);
    let mut log = open()?;
    let before = log.metadata()?.len();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.try_clone()?);
    for variable in OF_A_RUN {
        command.env_remove(variable);
    }
    let mut child = command.spawn()?;
    loop {
        if let Some(status) = child.try_wait()? {
            let mut said = Vec::new();
            log.seek(SeekFrom::Start(before))?;
            log.read_to_end(&mut said)?;
            let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
            return Ok(Detached::Ended { code, said: String::from_utf8_lossy(&said).into_owned() });
        }
        if is_working(child.id()) {
            return Ok(Detached::Working);
        }
        std::thread::sleep(LOOK);
    }
}

/// Leaves the caller's session for one of its own, without a terminal.
///
/// Errors: where the process leads a group already.
pub fn begin_session() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(())
}
