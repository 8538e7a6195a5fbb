//! A home of its own for each test: a queue directory, a cleared environment, the built binary.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The moment at which a pinned home stands still.
pub const NOW: &str = "2026-02-02T03:04:05Z";

/// The node of a pinned home.
pub const NODE: &str = "desk";

/// The boot of a pinned home.
pub const BOOT: &str = "boot1";

/// A directory that is home to one test. Whatever still works on its queue is killed when this is dropped.
pub struct Home {
    directory: TempDir,
    /// In a pinned home, how many commands it has seen: each has its own seed.
    pinned: Option<AtomicU32>,
}

/// What a command did.
#[derive(Debug, Clone)]
pub struct Done {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A command to be run.
pub struct Cmd {
    command: Command,
    stdin: Option<Vec<u8>>,
    stdout: Option<Stdio>,
    stderr: Option<Stdio>,
    said: String,
}

/// A command that runs; it is killed when this is dropped.
pub struct Running {
    child: Child,
    err: Reader,
    said: String,
}

/// Reads a pipe from the moment it is there, so that whoever writes never waits.
struct Reader {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Home {
    pub fn new() -> Self {
        Home { directory: tempfile::tempdir().expect("a temporary directory"), pinned: None }
    }

    /// A home in which node, boot and clock are pinned and ids come from seeds, so that commands print the same bytes
    /// each time.
    pub fn pinned() -> Self {
        let mut home = Home::new();
        home.pinned = Some(AtomicU32::new(0));
        home
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn queue(&self) -> PathBuf {
        self.join("queue")
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        std::fs::write(&path, text).expect("a file can be written");
        path
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.join(name)).unwrap_or_default()
    }

    /// `queuectl` with these arguments, on this home's queue.
    pub fn queuectl<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Cmd {
        self.command(env!("CARGO_BIN_EXE_queuectl"), arguments)
    }

    /// Any program, in this home.
    pub fn command<A: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Cmd {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path()).env("QUEUECTL_DIR", self.queue()).env("TZ", "UTC");
        if let Some(count) = &self.pinned {
            let count = count.fetch_add(1, Ordering::SeqCst) + 1;
            command.env("QUEUECTL_NODE", NODE).env("QUEUECTL_TEST_BOOT", BOOT);
            command.env("QUEUECTL_TEST_NOW", NOW).env("QUEUECTL_TEST_SEED", count.to_string());
        }
        let said = format!("{command:?}");
        Cmd { command, stdin: None, stdout: None, stderr: None, said }
    }

    /// The words of one line, split at blanks, as arguments.
    #[must_use = "look at what it printed, or at its exit code"]
    pub fn run(&self, line: &str) -> Done {
        self.queuectl(line.split_ascii_whitespace()).done()
    }

    /// A line in which words may be quoted as for a shell.
    #[track_caller]
    pub fn say(&self, line: &str) -> Cmd {
        self.queuectl(shlex::split(line).expect("quotes that end"))
    }

    /// The words of one line, with this on stdin.
    #[must_use = "look at what it printed, or at its exit code"]
    pub fn run_with(&self, line: &str, stdin: &str) -> Done {
        self.queuectl(line.split_ascii_whitespace()).stdin(stdin).done()
    }

    /// The words of one line, on another machine that has this queue's directory.
    #[must_use = "look at what it printed, or at its exit code"]
    pub fn run_as(&self, node: &str, line: &str) -> Done {
        self.queuectl(line.split_ascii_whitespace()).env("QUEUECTL_NODE", node).done()
    }

    /// The words of one line, with one more variable.
    #[must_use = "look at what it printed, or at its exit code"]
    pub fn run_in(&self, line: &str, variable: &str, value: &OsStr) -> Done {
        self.queuectl(line.split_ascii_whitespace()).env(variable, value).done()
    }

    /// Makes the queue's directory, which everybody may write.
    pub fn make_public(&self) {
        use std::os::unix::fs::PermissionsExt;
        self.ok("init");
        let everybody = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(self.queue(), everybody).expect("a mode can be set");
    }

    /// As [`Home::run`], for what must fail with this code; gives its stderr.
    #[track_caller]
    pub fn fails(&self, line: &str, code: i32) -> String {
        self.run(line).fails(code)
    }

    /// As [`Home::run`], for what must succeed; gives its stdout.
    #[track_caller]
    pub fn ok(&self, line: &str) -> String {
        self.run(line).ok()
    }

    /// The job as `show --json` tells it.
    #[track_caller]
    pub fn job(&self, id: &str) -> serde_json::Value {
        self.queuectl(["show", id, "--json"]).done().json()
    }

    /// The state of a job.
    #[track_caller]
    pub fn state(&self, id: &str) -> String {
        self.job(id)["state"].as_str().expect("a state").to_owned()
    }

    /// A worker that runs until it is stopped.
    pub fn worker(&self, arguments: &str) -> Running {
        let words = ["worker", "start"].into_iter().chain(arguments.split_ascii_whitespace());
        self.queuectl(words).start()
    }

    /// A worker that ends once nothing is left to do.
    #[track_caller]
    pub fn drain(&self, arguments: &str) -> Done {
        let words = ["worker", "start", "--drain"];
        let done =
            self.queuectl(words.into_iter().chain(arguments.split_ascii_whitespace())).done();
        assert_eq!(done.code, 0, "{}", done.stderr);
        done
    }

    /// The files of this queue's logs, in order.
    pub fn segments(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for node in std::fs::read_dir(self.queue().join("log")).into_iter().flatten().flatten() {
            let segments = std::fs::read_dir(node.path()).into_iter().flatten().flatten();
            files.extend(segments.map(|entry| entry.path()));
        }
        files.sort();
        files
    }

    /// Every line of this queue's logs, in the order of their files.
    pub fn log(&self) -> Vec<serde_json::Value> {
        let files = self.segments();
        let lines = files.iter().filter_map(|path| std::fs::read_to_string(path).ok());
        lines
            .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .filter_map(|line| serde_json::from_str(&line).ok())
            .collect()
    }
}

impl Cmd {
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it as another user.
    pub fn by(mut self, user: Option<u32>) -> Self {
        use std::os::unix::process::CommandExt;
        if let Some(user) = user {
            self.command.uid(user).gid(user);
        }
        self
    }

    pub fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// The command as the standard library has it, for what this harness cannot do.
    pub fn into_command(self) -> Command {
        self.command
    }

    pub fn current_dir(mut self, path: impl AsRef<Path>) -> Self {
        self.command.current_dir(path);
        self
    }

    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Where its stdout goes, instead of to the test.
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.stdout = Some(stdout.into());
        self
    }

    /// Where its stderr goes, instead of to the test.
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.stderr = Some(stderr.into());
        self
    }

    /// Runs it to its end.
    #[track_caller]
    #[must_use = "look at what it printed, or at its exit code"]
    pub fn done(self) -> Done {
        self.start().end()
    }

    /// Starts it.
    #[track_caller]
    pub fn start(mut self) -> Running {
        let stdin = if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() };
        self.command.stdin(stdin);
        self.command.stdout(self.stdout.unwrap_or_else(Stdio::piped));
        self.command.stderr(self.stderr.unwrap_or_else(Stdio::piped));
        let mut child = self.command.spawn().expect("the program starts");
        if let (Some(bytes), Some(mut pipe)) = (self.stdin, child.stdin.take()) {
            // A program that reads no more has said all it wants to say.
            std::thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        let err = Reader::of(child.stderr.take());
        Running { child, err, said: self.said }
    }
}

impl Running {
    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// What it prints from here on.
    pub fn stdout(&mut self) -> std::process::ChildStdout {
        self.child.stdout.take().expect("stdout that nobody reads yet")
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(), signal).expect("the process is there");
    }

    /// Whether it sleeps until something happens. Only Linux tells; elsewhere it is taken to.
    pub fn is_asleep(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        stat.map_or(cfg!(not(target_os = "linux")), |stat| stat.contains(") S "))
    }

    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// What it has complained of by now.
    pub fn stderr(&self) -> String {
        self.err.text()
    }

    /// Waits for its end.
    #[track_caller]
    #[must_use = "look at what it printed, or at its exit code"]
    pub fn end(mut self) -> Done {
        let out = Reader::of(self.child.stdout.take());
        let said = self.said.clone();
        wait_until(&said, || self.is_over());
        let status = self.child.wait().expect("a child");
        let code = status.code().unwrap_or_else(|| {
            use std::os::unix::process::ExitStatusExt;
            128 + status.signal().unwrap_or(0)
        });
        wait_until(&said, || out.is_over() && self.err.is_over());
        Done { code, stdout: out.text(), stderr: self.stderr() }
    }

    /// Ends it with SIGKILL, if it hasn't ended by itself.
    #[track_caller]
    pub fn kill(mut self) -> Done {
        let _ = self.child.kill();
        self.end()
    }
}

impl Reader {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&bytes);
        let read = move |mut pipe: Box<dyn Read + Send>| {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                all.extend_from_slice(&buffer[..count]);
            }
        };
        let thread = pipe.map(|pipe| std::thread::spawn(move || read(Box::new(pipe))));
        Reader { bytes, thread }
    }

    fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn text(&self) -> String {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let variable = format!("QUEUECTL_DIR={}\0", self.queue().display());
        for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let works_here = std::fs::read(process.path().join("environ")).is_ok_and(|all| {
                all.windows(variable.len()).any(|part| part == variable.as_bytes())
            });
            let number = process.file_name().to_string_lossy().parse().ok().filter(|_| works_here);
            if let Some(pid) = number.and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Done {
    /// What it printed, where it succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self.stdout
    }

    /// What it complained, where it ended with this code.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self.stderr
    }

    /// Its stdout as one JSON document, where it succeeded.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

/// Waits for a condition, looking often, and gives up after [`PATIENCE`].
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "gave up waiting for: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Whether a tool that a test needs is here. In CI it must be.
pub fn has_tool(test: &str, tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok_and(|out| out.status.success());
    let is_ci = std::env::var_os("QUEUECTL_CI").is_some();
    assert!(found || !is_ci, "{test} needs {tool}, which is not here");
    if !found {
        eprintln!("skipped: {test} needs {tool}");
    }
    found
}
