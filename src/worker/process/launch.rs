//! From a job's fields to a started child: program, directory, environment, files.
//!
//! Everything that can be known to fail is looked at before the spawn, since there a missing directory and a missing
//! program are the same error. Unaware of what becomes of the child.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};
use std::time::Instant;

use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::Leader;
use super::control::Control;
use super::leftovers::CLAIM_VARIABLE;
use crate::domain::job::{Claim, Command, RunResult, Spec};

/// What a run is started with.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    /// The job.
    pub spec: &'a Spec,
    /// The claim it runs under.
    pub claim: &'a Claim,
    /// The number of the run.
    pub run: u32,
    /// The number of the attempt this run will be charged as.
    pub attempt: u32,
    /// The queue's directory.
    pub directory: &'a Path,
}

/// The files a run is started with. Their locks live as long as the run's processes hold them.
#[derive(Debug)]
pub struct Files {
    /// Its standard input.
    pub stdin: File,
    /// Its standard output.
    pub stdout: File,
    /// Its standard error, where that is not its standard output.
    pub stderr: Option<File>,
}

/// Why there is no child.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The machine lacks what every start needs; no fault of the job's.
    #[error("{0}")]
    Starved(String),
    /// The job cannot be started as it is.
    #[error("{error}")]
    Failed {
        /// The result of the run.
        result: RunResult,
        /// What is wrong, for people.
        error: String,
    },
}

/// Where programs are looked for when no `PATH` is set.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The shell for commands that are one string, and for scripts that name no interpreter.
const SHELL: &str = "/bin/sh";

/// Starts the job's leader in a group of its own; none where `control` was asked to end it before.
///
/// Errors: where it cannot be started; nothing was then.
pub fn start(
    launch: &Launch<'_>,
    files: &Files,
    control: &Control,
) -> Result<Option<Leader>, StartError> {
    let directory = Path::new(launch.spec.cwd.as_os_str());
    check_directory(directory)?;
    let (program, words): (PathBuf, Vec<&OsStr>) = match launch.spec.command() {
        Command::Shell(text) => {
            let mut words = vec![OsStr::new("sh"), OsStr::new("-c")];
            if text.0.starts_with(b"-") || text.0.starts_with(b"+") {
                // Else it would be taken for an option.
                words.push(OsStr::new("--"));
            }
            words.push(text.as_os_str());
            (SHELL.into(), words)
        }
        Command::Argv(argv) => {
            let words: Vec<&OsStr> = argv.iter().map(|word| word.as_os_str()).collect();
            (resolve(words.first().unwrap_or(&OsStr::new("")), &path_of(launch), directory)?, words)
        }
    };
    let started = control.start(
        || match spawn(launch, files, &program, &words) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NOEXEC) => {
                let mut script = vec![OsStr::new("sh"), program.as_os_str()];
                script.extend(&words[1..]);
                spawn(launch, files, Path::new(SHELL), &script)
            }
            spawned => spawned,
        },
        |leader| leader.pid,
    );
    started.map_err(|error| refusal(&program, error))
}

fn spawn(
    launch: &Launch<'_>,
    files: &Files,
    program: &Path,
    words: &[&OsStr],
) -> io::Result<Leader> {
    let mut command = process::Command::new(program);
    command.arg0(words[0]).args(&words[1..]).process_group(0);
    if !launch.spec.cwd.0.is_empty() {
        command.current_dir(launch.spec.cwd.as_os_str());
    }
    for (name, value) in &launch.spec.env {
        // A name with `=` would be another variable, perhaps one of ours.
        if !name.is_empty() && !name.contains('=') {
            command.env(name, value.as_os_str());
        }
    }
    command
        .env("QUEUECTL_JOB_ID", launch.spec.id.as_str())
        .env(CLAIM_VARIABLE, &launch.claim.0)
        .env("QUEUECTL_RUN", launch.run.to_string())
        .env("QUEUECTL_ATTEMPT", launch.attempt.to_string())
        .env("QUEUECTL_DIR", launch.directory)
        .env("QUEUECTL_QUEUE", &*launch.spec.queue);
    let stderr = files.stderr.as_ref().unwrap_or(&files.stdout);
    command
        .stdin(Stdio::from(files.stdin.try_clone()?))
        .stdout(Stdio::from(files.stdout.try_clone()?))
        .stderr(Stdio::from(stderr.try_clone()?));
    let started = Instant::now();
    Ok(Leader::new(command.spawn()?, started))
}

fn path_of(launch: &Launch<'_>) -> OsString {
    match launch.spec.env.get("PATH") {
        Some(path) => path.as_os_str().to_owned(),
        None => env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into()),
    }
}

fn check_directory(directory: &Path) -> Result<(), StartError> {
    if directory.as_os_str().is_empty() {
        return Ok(());
    }
    let failed = |why: &dyn std::fmt::Display| StartError::Failed {
        result: RunResult::SpawnError,
        error: format!("cannot run in {}: {why}", directory.display()),
    };
    match directory.metadata() {
        Ok(found) if !found.is_dir() => Err(failed(&"it is not a directory")),
        Ok(_) => access(directory, Access::EXEC_OK).map_err(|error| failed(&error)),
        Err(error) if is_starved(&error) => Err(StartError::Starved(error.to_string())),
        Err(error) => Err(failed(&error)),
    }
}

/// Finds a program as `execvp` does, in `path` as seen from `directory`, which may be empty for ours.
///
/// Errors: exit 127 where there is none, 126 where there is one that cannot be executed.
pub fn resolve(program: &OsStr, path: &OsStr, directory: &Path) -> Result<PathBuf, StartError> {
    let here = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let mut denied = None;
    let mut candidates: Vec<PathBuf> = Vec::new();
    if program.as_bytes().contains(&b'/') {
        candidates.push(here.join(program));
    } else if !program.is_empty() {
        candidates.extend(env::split_paths(path).map(|entry| here.join(entry).join(program)));
    }
    for candidate in candidates {
        match candidate.metadata() {
            Ok(found) if found.is_file() && access(&candidate, Access::EXEC_OK).is_ok() => {
                return Ok(candidate);
            }
            Ok(_) => denied = Some(candidate),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                denied = Some(candidate);
            }
            Err(_) => {}
        }
    }
    Err(match denied {
        Some(found) => StartError::Failed {
            result: RunResult::Exit(126),
            error: format!("cannot execute {}", found.display()),
        },
        None => StartError::Failed {
            result: RunResult::Exit(127),
            error: format!("command not found: {}", program.to_string_lossy()),
        },
    })
}

fn refusal(program: &Path, error: io::Error) -> StartError {
    if is_starved(&error) {
        return StartError::Starved(format!("cannot start a process: {error}"));
    }
    let (result, error) = match Errno::from_io_error(&error) {
        Some(Errno::NOENT) => (
            RunResult::Exit(127),
            format!("cannot execute {}: its interpreter is missing", program.display()),
        ),
        Some(Errno::ACCESS | Errno::PERM) => {
            (RunResult::Exit(126), format!("cannot execute {}: {error}", program.display()))
        }
        _ => (RunResult::SpawnError, format!("cannot start {}: {error}", program.display())),
    };
    StartError::Failed { result, error }
}

/// Whether the machine lacks descriptors, processes, memory or disk.
pub fn is_starved(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::MFILE
                | Errno::NFILE
                | Errno::AGAIN
                | Errno::NOMEM
                | Errno::NOSPC
                | Errno::DQUOT
                | Errno::NOBUFS
        )
    )
}
