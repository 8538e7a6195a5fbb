//! The terminal: what people and scripts say, and what they are told. The only room that prints or picks an exit code.
//!
//! One file a verb. Knows no file of the queue; the store is its only door.

pub mod args;
mod cancel;
mod choose;
pub mod columns;
mod compact;
mod config;
mod dlq;
mod doctor;
mod edit;
mod enqueue;
pub mod error;
mod events;
pub mod exit;
mod init;
pub mod input;
pub mod job_json;
mod list;
mod logs;
mod news;
pub mod output;
mod progress;
mod purge;
pub mod render;
mod reporter;
mod retry;
mod run;
mod session;
mod show;
mod status;
mod stranded;
mod wait;
mod worker;

use std::ffi::OsString;
use std::mem::ManuallyDrop;
use std::process::ExitCode;

use clap::error::ErrorKind;

use self::args::{Invocation, Verb};
use self::error::{Failure, without_middle};
use self::exit::Exit;
use self::output::{Out, message};
use self::render::visible;
use self::session::Session;

/// Does what the command line says.
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let json = args::wants_json(&words);
    match args::parse(words) {
        Ok(invocation) => call(&invocation).into(),
        Err(error) => misunderstood(&error, json).into(),
    }
}

fn call(invocation: &Invocation) -> Exit {
    let outcome = Session::open(&invocation.globals).and_then(|session| {
        // The process is about to end, and to give back a large state piece by piece would only take time.
        let mut session = ManuallyDrop::new(session);
        perform(&mut session, &invocation.verb).map_err(|failure| session.doubt(failure))
    });
    match outcome {
        Ok(exit) => exit,
        Err(failure) => {
            if !failure.is_quiet() {
                message(&failure.render(attempt(&invocation.verb), invocation.globals.json));
            }
            failure.exit
        }
    }
}

fn perform(session: &mut Session, verb: &Verb) -> Result<Exit, Failure> {
    match verb {
        Verb::Enqueue(args) => enqueue::perform(session, args),
        Verb::List(args) => list::perform(session, args),
        Verb::Show(args) => show::perform(session, args),
        Verb::History(args) => events::perform_history(session, args),
        Verb::Logs(args) => logs::perform(session, args),
        Verb::Wait(args) => wait::perform(session, args),
        Verb::Cancel(args) => cancel::perform(session, args),
        Verb::Retry(args) => retry::perform(session, args),
        Verb::Purge(args) => purge::perform(session, args),
        Verb::Edit(args) => edit::perform(session, args),
        Verb::Run(args) => run::perform(session, args),
        Verb::Status(_) => status::perform(session),
        Verb::Worker(args) => worker::perform(session, args),
        Verb::Dlq(args) => dlq::perform(session, args),
        Verb::Config(args) => config::perform(session, args),
        Verb::Events(args) => events::perform(session, args),
        Verb::Compact(args) => compact::perform(session, args),
        Verb::Init(_) => init::perform(session),
        Verb::Doctor(args) => doctor::perform(session, args),
    }
}

/// What could not be done, behind `cannot`.
fn attempt(verb: &Verb) -> &'static str {
    use args::config::ConfigVerb;
    use args::dlq::DlqVerb;
    use args::worker::WorkerVerb;
    match verb {
        Verb::Enqueue(_) => "enqueue",
        Verb::List(_) => "list jobs",
        Verb::Show(_) => "show the job",
        Verb::History(_) => "show the history",
        Verb::Logs(_) => "print the output",
        Verb::Wait(_) => "wait",
        Verb::Cancel(_) => "cancel",
        Verb::Retry(_) => "retry",
        Verb::Purge(_) => "purge",
        Verb::Edit(_) => "edit",
        Verb::Run(_) => "run",
        Verb::Status(_) => "show the status",
        Verb::Events(_) => "print events",
        Verb::Compact(_) => "compact the log",
        Verb::Init(_) => "make the queue",
        Verb::Doctor(args) if args.repair => "repair the queue",
        Verb::Doctor(_) => "look at the queue",
        Verb::Worker(worker) => match worker.verb {
            WorkerVerb::Start(_) => "work on the queue",
            WorkerVerb::Stop(_) => "stop workers",
            WorkerVerb::List(_) => "list workers",
        },
        Verb::Dlq(dlq) => match dlq.verb {
            DlqVerb::List(_) => "list the dead letter queue",
            DlqVerb::Show(_) => "show the dead job",
            DlqVerb::Retry(_) | DlqVerb::RetryAll(_) => "retry from the dead letter queue",
            DlqVerb::Purge(_) => "purge the dead letter queue",
        },
        Verb::Config(config) => match config.verb {
            ConfigVerb::Get(_) => "get the key",
            ConfigVerb::Set(_) => "set the key",
            ConfigVerb::Unset(_) | ConfigVerb::Reset(_) => "reset the configuration",
            ConfigVerb::List(_) => "list the configuration",
        },
    }
}

/// Answers a command line that is no command: with help, where that was asked for, or with what is wrong.
fn misunderstood(error: &clap::Error, json: bool) -> Exit {
    let text = error.render();
    if !error.use_stderr() {
        let mut out = Out::new();
        return match out.text(&text.to_string()).and_then(|()| out.flush()) {
            Err(failure) if !failure.is_quiet() => {
                message(&failure.render("print the help", json));
                failure.exit
            }
            // A person who closed the pager has seen enough.
            _ => Exit::Done,
        };
    }
    let text = text.to_string();
    if json && error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let failure = Failure::usage("no verb is named").hint("--help lists the verbs");
        message(&failure.render("understand the command line", true));
        return Exit::Usage;
    }
    let Some(text) = text.strip_prefix("error: ") else {
        message(&text);
        return Exit::Usage;
    };
    // What was given is repeated in it.
    let lines = without_middle(text).lines().map(visible).collect::<Vec<_>>().join("\n");
    let text = format!("{lines}\n");
    if json {
        let mut paragraphs = text.split("\n\n").map(str::trim);
        let mut failure = Failure::usage(paragraphs.next().unwrap_or_default());
        let tip = paragraphs.find_map(|line| line.strip_prefix("tip: "));
        failure = failure.maybe_hint(tip.map(str::to_owned));
        message(&failure.render("understand the command line", true));
    } else {
        message(&format!("queuectl: {}", text.replace("\n  tip: ", "\nhint: ")));
    }
    Exit::Usage
}
