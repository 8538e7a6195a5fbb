//! What goes to stdout and stderr, and what is said when nobody listens any more.
//!
//! Knows no verb.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use serde::Serialize;

use super::args::When;
use super::error::Failure;
use super::render::Look;
use crate::domain::timestamp::Timestamp;

/// Data on stdout. A closed stdout ends the verb quietly.
pub struct Out(BufWriter<StdoutLock<'static>>);

impl Out {
    /// Takes stdout.
    pub fn new() -> Self {
        Out(BufWriter::with_capacity(64 << 10, io::stdout().lock()))
    }

    /// Writes text as it is.
    ///
    /// Errors: [`Failure::is_quiet`] where stdout is closed.
    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    /// Writes bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.0.write_all(bytes).map_err(not_written)
    }

    /// Writes one JSON document, on one line.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).expect("BUG: an answer that is no JSON");
        self.text(&text)?;
        self.text("\n")
    }

    /// Writes what was buffered.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.0.flush().map_err(not_written)
    }
}

impl Default for Out {
    fn default() -> Self {
        Self::new()
    }
}

fn not_written(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::quiet(),
        _ => Failure::refused(format!("cannot write to stdout: {error}")),
    }
}

/// How a listing is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people, or tab-separated in a pipe.
    Table,
    /// One JSON array.
    Json,
    /// JSON, a line each.
    JsonLines,
}

impl Form {
    /// The form that the flags ask for.
    pub fn of(json: bool, lines: bool) -> Self {
        match (json, lines) {
            (_, true) => Form::JsonLines,
            (true, false) => Form::Json,
            (false, false) => Form::Table,
        }
    }
}

/// Writes JSON texts as an array or as lines, one by one.
pub struct List {
    form: Form,
    count: usize,
}

impl List {
    /// Begins a list.
    pub fn begin(out: &mut Out, form: Form) -> Result<Self, Failure> {
        if form == Form::Json {
            out.text("[")?;
        }
        Ok(List { form, count: 0 })
    }

    /// Writes the next entry, which is JSON.
    pub fn entry(&mut self, out: &mut Out, json: &str) -> Result<(), Failure> {
        match (self.form, self.count) {
            (Form::Json, 0) => out.text("\n")?,
            (Form::Json, _) => out.text(",\n")?,
            _ => {}
        }
        self.count += 1;
        out.text(json)?;
        if self.form == Form::Json { Ok(()) } else { out.text("\n") }
    }

    /// Ends the list.
    pub fn end(self, out: &mut Out) -> Result<(), Failure> {
        match (self.form, self.count) {
            (Form::Json, 0) => out.text("]\n"),
            (Form::Json, _) => out.text("\n]\n"),
            _ => Ok(()),
        }
    }
}

/// Writes a message to stderr. That nobody reads it is no failure.
pub fn message(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// A stream that is written to for as long as somebody reads it. While nobody does, what is written is dropped, so that
/// whoever writes goes on with what it is there for.
#[derive(Debug)]
pub struct Patient<W> {
    stream: W,
    /// Bytes that were dropped since it was last read.
    dropped: u64,
}

impl<W: AsFd> Patient<W> {
    /// How long a reader may take to make room.
    const PATIENCE: Duration = Duration::from_millis(200);

    /// A stream that is believed to be read.
    pub fn new(stream: W) -> Self {
        Patient { stream, dropped: 0 }
    }

    /// Writes the bytes, or drops what has no room. What was dropped is told once there is room again.
    ///
    /// Errors: where the stream is closed.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.dropped > 0 && self.has_room()? {
            let lost = std::mem::take(&mut self.dropped);
            let note = format!("\nnote: {lost} bytes are missing here, as nobody read them\n");
            self.write_with_room(note.as_bytes())?;
        }
        self.write_with_room(bytes)
    }

    fn write_with_room(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        // Where there is room at all there is room for so much: in a pipe for a page, in a terminal for a line.
        let chunk = if rustix::termios::isatty(&self.stream) { 256 } else { 4096 };
        while !bytes.is_empty() && self.has_room()? {
            let part = &bytes[..bytes.len().min(chunk)];
            let count = retry_on_intr(|| rustix::io::write(&self.stream, part))?;
            bytes = &bytes[count..];
        }
        self.dropped += bytes.len() as u64;
        Ok(())
    }

    fn has_room(&self) -> io::Result<bool> {
        let patience = if self.dropped == 0 { Self::PATIENCE } else { Duration::ZERO };
        let patience = Timespec::try_from(patience).expect("BUG: a patience that is no time");
        let mut polled = [PollFd::new(&self.stream, PollFlags::OUT)];
        Ok(retry_on_intr(|| poll(&mut polled, Some(&patience)))? > 0)
    }
}

/// How stdout looks, of which `color` and the environment say when it is coloured.
pub fn look(color: When, now: Timestamp) -> Look {
    let terminal = io::stdout().is_terminal();
    let width = || {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
        size.map(|size| size.ws_col).filter(|width| *width > 0).unwrap_or(80)
    };
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let plain = set("NO_COLOR").is_some() || set("TERM").is_some_and(|term| term == "dumb");
    let color = match color {
        When::Always => true,
        When::Never => false,
        When::Auto => terminal && !plain,
    };
    Look { terminal: terminal.then(width), color, now }
}

/// Whether a person can be asked: stdin and stderr are a terminal.
pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks a person, on the terminal, whether to go on.
pub fn ask(question: &str) -> bool {
    message(&format!("{question} [y/N] "));
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_nobody_reads_is_dropped_and_told_of() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut patient = Patient::new(writer);
        patient.write(b"first\n").unwrap();
        let flood = vec![b'x'; 1 << 20];
        patient.write(&flood).unwrap();
        patient.write(b"lost too\n").unwrap();
        let mut page = vec![0; 1 << 17];
        let read = reader.read(&mut page).unwrap();
        patient.write(b"last\n").unwrap();
        drop(patient);
        let mut rest = String::from_utf8(page[..read].to_vec()).unwrap();
        reader.read_to_string(&mut rest).unwrap();
        let kept = rest.matches('x').count();
        let note = format!("\nnote: {} bytes are missing here", flood.len() + 9 - kept);
        assert!(rest.starts_with("first\nxxx") && rest.ends_with("last\n"), "{kept}");
        assert!(rest.contains(&note), "{kept}");
        assert!(!rest.contains("lost too"));
    }

    #[test]
    fn a_reader_that_takes_its_time_gets_everything() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut patient = Patient::new(writer);
        let read = std::thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all)
        });
        let flood = vec![b'x'; 1 << 20];
        patient.write(&flood).unwrap();
        drop(patient);
        assert!(read.join().unwrap().unwrap() == flood);
    }
}
