//! Children that misbehave, run for real.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::control::{Control, Ending};
use super::launch::{Launch, StartError, start};
use super::system::{self, Held};
use super::{Ended, Leader};
use crate::domain::bytes::Bytes;
use crate::domain::job::{Claim, JobId, RunResult, Spec};
use crate::worker::output::Place;

/// A directory, and a claim nobody else has.
struct Bench {
    directory: tempfile::TempDir,
    claim: Claim,
    spec: Spec,
}

fn bench(command: &str) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let mut spec = Spec::shell(JobId::new("job1").unwrap(), command, 3);
    spec.cwd = Bytes::from(directory.path().as_os_str().to_owned());
    // The name of the directory is as unique as the claim has to be.
    let name = directory.path().file_name().unwrap().to_str().unwrap();
    Bench { claim: Claim::new(name, 1), spec, directory }
}

impl Bench {
    fn argv(mut self, words: &[&str]) -> Self {
        self.spec.command = None;
        self.spec.argv = words.iter().map(|&word| word.into()).collect();
        self
    }

    fn place(&self) -> Place {
        Place::new(&self.directory.path().join("output"), &self.spec.id, 1)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn start(&self, control: &Control) -> Result<Option<Leader>, StartError> {
        let files = self.place().create(&self.spec).unwrap();
        let launch = Launch {
            spec: &self.spec,
            claim: &self.claim,
            run: 1,
            attempt: 1,
            directory: Path::new("/queue"),
        };
        start(&launch, &files, control)
    }

    fn run(&self) -> Ended {
        let control = Control::new(Duration::from_secs(5));
        let leader = self.start(&control).unwrap().unwrap();
        leader.wait(&self.claim, &control, &mut |_| ControlFlow::Continue(()))
    }

    /// Runs until `ready` exists, then ends it, with a grace in milliseconds.
    fn run_and_end(&self, why: Ending, grace: u64) -> Ended {
        let control = Arc::new(Control::new(Duration::from_millis(grace)));
        let leader = self.start(&control).unwrap().unwrap();
        let other = Arc::clone(&control);
        let ready = self.path("ready");
        let ending = thread::spawn(move || {
            wait_until("the job is ready", || ready.exists());
            other.end(why);
            wait_until("it is over or killed", || other.kill_when_due(Instant::now()).is_none());
        });
        let ended = leader.wait(&self.claim, &control, &mut |_| ControlFlow::Continue(()));
        ending.join().unwrap();
        ended
    }

    fn out(&self) -> String {
        fs::read_to_string(self.place().out).unwrap()
    }

    fn refused(&self) -> (RunResult, String) {
        match self.start(&Control::new(Duration::ZERO)) {
            Err(StartError::Failed { result, error }) => (result, error),
            started => panic!("{started:?}"),
        }
    }

    /// The process whose number the job wrote into a file.
    fn process(&self, file: &str) -> Option<system::Process> {
        let number = fs::read_to_string(self.path(file)).ok()?.trim().parse().ok()?;
        system::find(Pid::from_raw(number)?)
    }

    fn is_alive(&self, file: &str) -> bool {
        self.process(file).and_then(Held::new).is_some_and(|held| !held.is_dead())
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < limit, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn results() {
    for (command, result) in [
        ("exit 0", RunResult::Exit(0)),
        ("exit 7", RunResult::Exit(7)),
        ("no-such-command-here", RunResult::Exit(127)),
        ("kill -9 $$", RunResult::Signal(9)),
        ("kill -9 0", RunResult::Signal(9)),
        ("kill 0", RunResult::Signal(15)),
        ("-x", RunResult::Exit(127)),
        ("cd / && rm -rf \"$OLDPWD/x\" && pwd", RunResult::Exit(0)),
    ] {
        assert_eq!(bench(command).run().result, result, "{command}");
    }
}

#[test]
fn what_a_job_sees() {
    let mut bench = bench(
        "pwd; cat; echo $QUEUECTL_JOB_ID,$QUEUECTL_RUN,$QUEUECTL_ATTEMPT,$QUEUECTL_DIR,$QUEUECTL_QUEUE,$A,$X; \
         test \"$QUEUECTL_CLAIM\" != evil && test -n \"$QUEUECTL_CLAIM\" && ps -o pgid= $$ | tr -d ' ' > group; echo $$ > pid; echo e >&2",
    );
    for (name, value) in [("A", "b c"), ("QUEUECTL_CLAIM", "evil"), ("X=Y", "z"), ("", "n")] {
        bench.spec.env.insert(name.into(), value.into());
    }
    assert_eq!(bench.run().result, RunResult::Exit(0));
    let directory = fs::canonicalize(bench.directory.path()).unwrap();
    assert_eq!(bench.out(), format!("{}\njob1,1,1,/queue,default,b c,\n", directory.display()));
    assert_eq!(fs::read(bench.path("group")).unwrap(), fs::read(bench.path("pid")).unwrap());
    assert_eq!(bench.place().tail().unwrap().err, "e\n");
}

#[test]
fn binary_output_and_merged_output() {
    let mut bench = bench("printf '\\377\\000\\n'; echo e >&2; echo o");
    bench.spec.merge_output = true;
    assert_eq!(bench.run().result, RunResult::Exit(0));
    assert_eq!(fs::read(bench.place().out).unwrap(), b"\xff\0\ne\no\n");
    assert!(!bench.place().err.exists());
}

#[test]
fn words_run_without_a_shell_and_scripts_without_interpreter_by_one() {
    let bench = bench("").argv(&["script", "$HOME", "a b"]);
    fs::create_dir(bench.path("bin")).unwrap();
    let script = bench.path("bin/script");
    fs::write(&script, "echo \"$1,$2\"").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let mut bench = bench;
    bench.spec.env.insert("PATH".into(), "none:bin:/bin:/usr/bin".into());
    assert_eq!(bench.run().result, RunResult::Exit(0));
    assert_eq!(bench.out(), "$HOME,a b\n");
}

#[test]
fn what_cannot_be_started() {
    let (result, error) = bench("").argv(&["no-such-program"]).refused();
    assert_eq!(result, RunResult::Exit(127));
    assert_eq!(error, "command not found: no-such-program");
    assert_eq!(bench("").argv(&["./no"]).refused().0, RunResult::Exit(127));
    assert_eq!(bench("").argv(&[""]).refused().0, RunResult::Exit(127));
    assert_eq!(bench("").argv(&["/etc"]).refused().0, RunResult::Exit(126));
    let bench = bench("true");
    fs::write(bench.path("data"), "#!/bin/sh\n").unwrap();
    let mut bench = bench.argv(&["./data"]);
    assert_eq!(bench.refused().0, RunResult::Exit(126));
    fs::write(bench.path("lost"), "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(bench.path("lost"), fs::Permissions::from_mode(0o755)).unwrap();
    bench.spec.argv = vec!["./lost".into()];
    assert_eq!(bench.refused().0, RunResult::Exit(127));
    bench.spec.cwd = "/no/such/directory".into();
    let (result, error) = bench.refused();
    assert_eq!(result, RunResult::SpawnError);
    assert!(error.starts_with("cannot run in /no/such/directory: "), "{error}");
    bench.spec.cwd = "/etc/passwd".into();
    assert_eq!(bench.refused().1, "cannot run in /etc/passwd: it is not a directory");
    bench.spec.cwd = "".into();
    bench.spec.argv = vec!["/bin/sh".into(), Bytes(b"a\0b".to_vec())];
    assert_eq!(bench.refused().0, RunResult::SpawnError);
}

#[test]
fn a_job_that_ignores_term_is_killed_after_the_grace() {
    let bench = bench("trap '' TERM; touch ready; while :; do sleep 1; done");
    let ended = bench.run_and_end(Ending::Timeout, 100);
    assert_eq!((ended.result, ended.signal), (RunResult::Timeout, Some(9)));
    assert!(ended.time >= Duration::from_millis(100));
}

#[test]
fn a_job_that_obeys_term_ends_at_once_also_when_it_is_stopped() {
    let bench = bench("touch ready; kill -STOP $$; sleep 100");
    let ended = bench.run_and_end(Ending::Cancelled, 60_000);
    assert_eq!((ended.result, ended.signal), (RunResult::Cancelled, Some(15)));
}

#[test]
fn an_end_before_the_start_and_after_the_end() {
    let bench = bench("touch ran");
    let control = Control::new(Duration::ZERO);
    control.end(Ending::Interrupted);
    control.end(Ending::Cancelled);
    assert_eq!(control.ending(), Some(Ending::Cancelled));
    assert!(bench.start(&control).unwrap().is_none());
    let control = Control::new(Duration::ZERO);
    let leader = bench.start(&control).unwrap().unwrap();
    let (pid, start) = (leader.pid, leader.start);
    wait_until("it is a zombie", || system::find(pid).is_some_and(|found| found.is_zombie));
    control.end(Ending::Timeout);
    let ended = leader.wait(&bench.claim, &control, &mut |_| ControlFlow::Continue(()));
    assert_eq!(ended.result, RunResult::Exit(0), "it had ended by itself");
    assert!(system::find(pid).is_none_or(|found| found.start != start), "it was reaped");
}

#[test]
fn what_a_failed_run_left_is_ended_with_it() {
    // `timeout` moves itself to a group of its own; what it runs outlives the shell that ran it.
    let bench = bench(
        "exec >/dev/null 2>&1 </dev/null; timeout 100 sh -c 'echo $$ > moved; sleep 100' & \
         sh -c 'echo $$ > left; sleep 100' & while ! test -s moved || ! test -s left; do :; done; exit 3",
    );
    assert_eq!(bench.run().result, RunResult::Exit(3));
    assert!(bench.process("moved").is_none_or(|found| found.is_zombie));
    assert!(!bench.is_alive("moved") && !bench.is_alive("left"));
}

#[test]
fn what_a_good_run_left_is_left_alone_and_a_daemon_always() {
    let bench = bench(
        "sh -c 'echo $$ > left; sleep 100' & setsid sh -c 'echo $$ > daemon; sleep 100' & \
         while ! test -s left || ! test -s daemon; do :; done; test ! -e fail",
    );
    assert_eq!(bench.run().result, RunResult::Exit(0));
    let left = bench.process("left").and_then(Held::new).unwrap();
    let daemon = bench.process("daemon").and_then(Held::new).unwrap();
    assert!(bench.place().is_held(), "the lock lives with what was left");
    assert!(!left.is_dead() && !daemon.is_dead());
    let end = |held: &Held| {
        let group = Pid::from_raw(held.process.group).unwrap();
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
        wait_until("it is dead", || held.is_dead());
    };
    end(&left);
    end(&daemon);
    wait_until("the lock is free", || !bench.place().is_held());
    fs::write(bench.path("fail"), "").unwrap();
    for file in ["left", "daemon"] {
        fs::remove_file(bench.path(file)).unwrap();
    }
    let ended = bench.run();
    assert_eq!(ended.result, RunResult::Exit(1));
    let daemon = bench.process("daemon").and_then(Held::new).unwrap();
    assert!(!bench.is_alive("left"));
    assert!(!daemon.is_dead());
    assert!(ended.daemons.contains(&daemon.process), "{ended:?}");
    end(&daemon);
}

#[test]
fn whoever_carries_a_claim_of_a_node_is_found_by_it() {
    let bench = bench("echo > ready; until test -e go; do sleep 0.01; done");
    let node = bench.claim.0.strip_suffix(".1").unwrap().to_owned();
    let control = Arc::new(Control::new(Duration::from_secs(5)));
    let leader = bench.start(&control).unwrap().unwrap();
    let ready = bench.path("ready");
    wait_until("the job is ready", || ready.exists());
    let found = |node: &str| super::leftovers::carriers(node).unwrap().len();
    let counts = [found(&node), found(&node[..node.len() - 1]), found(&format!("{node}.1"))];
    fs::write(bench.path("go"), "").unwrap();
    leader.wait(&bench.claim, &control, &mut |_| ControlFlow::Continue(()));
    assert!(counts[0] >= 1, "{counts:?}");
    assert_eq!(counts[1..], [0, 0]);
    assert_eq!(found(&node), 0);
}
