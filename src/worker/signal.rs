//! The process itself: its signal mask, its signals as messages, and its terminal given up.
//!
//! A job that asks `/dev/tty` would be stopped for ever in a background group; once the worker has no controlling
//! terminal it fails at once, and Ctrl-C and Ctrl-Z still arrive, since the terminal sends them to the group. Unaware of
//! what a signal leads to.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use nix::sys::signal::SigSet;
use rustix::fs::OFlags;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::iterator::{Handle, Signals};

use super::process::{relay, system};

/// A signal a worker obeys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// TERM: from a person or a service manager.
    Terminate,
    /// INT: Ctrl-C.
    Interrupt,
    /// HUP: the terminal is gone.
    HangUp,
    /// TSTP: Ctrl-Z.
    Suspend,
}

/// What [`prepare`] made of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prepared {
    /// Go on.
    Ready,
    /// The work was done by a process below this one, which ended with this exit code.
    Relayed(u8),
}

/// Makes the process fit to have children: no signal blocked or, for children's ends, ignored, and no controlling
/// terminal. Must be called before there is any other thread.
///
/// Errors: where a signal handler or the process below a session's leader is refused.
pub fn prepare() -> io::Result<Prepared> {
    SigSet::empty().thread_set_mask()?;
    // With SIGCHLD ignored, as it may be inherited, the kernel would reap the children itself.
    signal_hook::flag::register(SIGCHLD, Arc::new(AtomicBool::new(false)))?;
    if rustix::process::getpid().is_init() {
        return Ok(Prepared::Relayed(relay::run_below()?));
    }
    match open_terminal() {
        None => Ok(Prepared::Ready),
        Some(_) if leads_its_session() => Ok(Prepared::Relayed(relay::run_below()?)),
        Some(terminal) => {
            give_up(&terminal)?;
            Ok(Prepared::Ready)
        }
    }
}

/// The controlling terminal, where there is one.
fn open_terminal() -> Option<File> {
    let flags = (OFlags::NOCTTY | OFlags::NONBLOCK).bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(flags).open("/dev/tty").ok()
}

fn leads_its_session() -> bool {
    super::process::session() == rustix::process::getpid().as_raw_nonzero().get()
}

fn give_up(terminal: &File) -> io::Result<()> {
    use rustix::ioctl::{NoArg, Opcode, ioctl};
    #[cfg(any(target_os = "macos", target_arch = "sparc64"))]
    const TIOCNOTTY: Opcode = 0x2000_7471;
    #[cfg(not(any(target_os = "macos", target_arch = "sparc64")))]
    const TIOCNOTTY: Opcode = 0x5422;
    #[expect(unsafe_code, reason = "no crate wraps this call, which takes and writes no memory")]
    // SAFETY: the opcode is TIOCNOTTY, which has no argument; it reads and writes nothing of ours.
    unsafe {
        Ok(ioctl(terminal, NoArg::<TIOCNOTTY>::new())?)
    }
}

/// Signals as messages. Dropping it ends its thread.
#[derive(Debug)]
pub struct Listener {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

/// Hands every signal to `obey` from here on, on a thread of its own.
///
/// A HUP that was ignored when the process started stays ignored: that is what `nohup` asks for.
///
/// Errors: where a handler or a thread is refused.
pub fn listen(mut obey: impl FnMut(Signal) + Send + 'static) -> io::Result<Listener> {
    let mut wanted = vec![SIGTERM, SIGINT, SIGTSTP];
    if system::ignored_signals() & (1 << (SIGHUP - 1)) == 0 {
        wanted.push(SIGHUP);
    }
    let mut signals = Signals::new(wanted)?;
    let handle = signals.handle();
    let thread = std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            obey(match signal {
                SIGINT => Signal::Interrupt,
                SIGHUP => Signal::HangUp,
                SIGTSTP => Signal::Suspend,
                _ => Signal::Terminate,
            });
        }
    })?;
    Ok(Listener { handle, thread: Some(thread) })
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Stops the process as a Ctrl-Z would have; returns when it goes on.
///
/// Errors: where the system refuses.
pub fn suspend() -> io::Result<()> {
    signal_hook::low_level::emulate_default_handler(SIGTSTP)
}
