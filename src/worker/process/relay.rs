//! A thin parent for a worker that leads its session or is process 1.
//!
//! The kernel lets a session leader's terminal go only with a hangup for everybody, so the leader stays behind and the
//! worker runs under it as an ordinary member. And process 1 inherits every orphan, which somebody has to reap who
//! has no children of his own to confuse them with. It hands signals on, and ends as the worker ended. Unaware of what
//! the worker does.

use std::env;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, WaitOptions};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::system::{self, Held};

/// Runs this program again, with the same arguments, in a group of its own, and waits for its end: its exit code, or
/// 128 and the number of the signal it died of.
///
/// Errors: where it cannot be started.
pub fn run_below() -> io::Result<u8> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let handle = signals.handle();
    let mut command = Command::new(env::current_exe()?);
    let child = Pid::from_child(&command.args(env::args_os().skip(1)).process_group(0).spawn()?);
    // A grip and no number, since the thread may have a signal to hand on when the child is reaped.
    let held = system::find(child).and_then(Held::new);
    let forwarding = std::thread::spawn(move || {
        for signal in signals.forever() {
            if let (Some(signal), Some(held)) = (Signal::from_named_raw(signal), &held) {
                let _ = held.signal(signal);
            }
        }
    });
    let status = loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == child => break status,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    handle.close();
    let _ = forwarding.join();
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    };
    Ok(u8::try_from(code).unwrap_or(1))
}
