//! A terminal of a given width, as a program on it sees it, and what it then prints.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::harness::{Cmd, Done, wait_until};

/// The terminal must not become the one that controls the test.
const NOCTTY: i32 = rustix::fs::OFlags::NOCTTY.bits() as i32;

/// Runs a command with stdin, stdout and stderr on a terminal, after typing `typed`. Both outputs come as one.
#[track_caller]
pub fn on_a_terminal(command: Cmd, columns: u16, typed: &str) -> Done {
    let ours =
        openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("a terminal to give away");
    let name = ptsname(&ours, Vec::new()).expect("a name");
    let path = name.to_str().expect("a path");
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&ours, size).expect("a width");
    let theirs = || {
        let mut options = std::fs::OpenOptions::new();
        let file = options.read(true).write(true).custom_flags(NOCTTY).open(path);
        Stdio::from(OwnedFd::from(file.expect("the other end")))
    };
    let mut command = command.into_command();
    command.env("TERM", "xterm-256color").stdin(theirs()).stdout(theirs()).stderr(theirs());
    rustix::io::write(&ours, typed.as_bytes()).expect("typing");
    let mut child = command.spawn().expect("the program starts");
    // The ends that are given away must be closed here, for the other end to see that the child is gone.
    drop(command);
    let reader = std::thread::spawn(move || {
        let (mut text, mut file) = (Vec::new(), std::fs::File::from(ours));
        // A terminal whose other end is closed answers with an error, and what was read is kept.
        let _ = file.read_to_end(&mut text);
        String::from_utf8_lossy(&text).replace("\r\n", "\n")
    });
    let mut status = None;
    wait_until("the program on the terminal", || {
        status = child.try_wait().expect("a child");
        status.is_some()
    });
    let code = status.and_then(|status| status.code()).unwrap_or(-1);
    Done { code, stdout: reader.join().expect("a reader"), stderr: String::new() }
}
