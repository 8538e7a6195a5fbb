//! The command line as types: every verb, flag and help text.
//!
//! Only the named verb's arguments are built. Knows nothing of what the verbs do.

pub mod config;
pub mod dlq;
pub mod doctor;
pub mod enqueue;
pub mod jobs;
pub mod upkeep;
mod values;
pub mod words;
pub mod worker;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueEnum};

pub use values::OptionalDuration;
use words::Split;

/// Flags that every verb takes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Globals {
    /// The queue's directory [default: $QUEUECTL_DIR, $QUEUECTL_HOME, $QUEUECTL_DB or ~/.queuectl]
    #[arg(long, alias = "db", value_name = "DIR", global = true)]
    pub dir: Option<PathBuf>,
    /// Print JSON on stdout, one document, and errors as a JSON object on stderr
    #[arg(long, global = true)]
    pub json: bool,
    /// When to use colours [default: auto: on a terminal, unless NO_COLOR is set]
    #[arg(
        long,
        value_name = "WHEN",
        global = true,
        hide_possible_values = true,
        hide_default_value = true,
        default_value = "auto"
    )]
    pub color: When,
    /// Print no messages on stderr but errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// When something is done that depends on whether a person looks on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum When {
    /// Where the output is a terminal.
    #[default]
    Auto,
    /// Also into a pipe.
    Always,
    /// Not even on a terminal.
    Never,
}

/// What was asked for.
#[derive(Debug)]
pub struct Invocation {
    /// The flags every verb takes.
    pub globals: Globals,
    /// The verb with its arguments.
    pub verb: Verb,
}

macro_rules! verbs {
    ($($variant:ident($args:ty) = $name:literal: $about:literal,)*) => {
        /// A verb with its arguments.
        #[derive(Debug)]
        pub enum Verb {
            $(#[doc = $about] $variant(Box<$args>),)*
        }

        impl Verb {
            fn commands() -> Vec<Command> {
                vec![$(
                    Command::new($name)
                        .about($about)
                        .defer(|command| <$args>::augment_args(command).about($about)),
                )*]
            }

            fn from_matches(name: &str, matches: &ArgMatches) -> Result<Self, clap::Error> {
                match name {
                    $($name => Ok(Verb::$variant(Box::new(<$args>::from_arg_matches(matches)?))),)*
                    _ => unreachable!("BUG: a verb that no command has"),
                }
            }
        }
    };
}

verbs! {
    Enqueue(enqueue::Enqueue) = "enqueue": "Put jobs into the queue and print their ids",
    List(jobs::List) = "list": "List jobs, newest last",
    Show(jobs::Show) = "show": "Show everything about a job",
    History(jobs::History) = "history": "Show the events of a job",
    Logs(jobs::Logs) = "logs": "Print what a job printed",
    Wait(jobs::Wait) = "wait": "Wait until jobs are finished",
    Cancel(jobs::Cancel) = "cancel": "Take jobs back; those that run are ended",
    Retry(jobs::Retry) = "retry": "Run finished jobs again, and waiting retries now",
    Purge(jobs::Purge) = "purge": "Remove finished jobs for good",
    Edit(jobs::Edit) = "edit": "Change waiting jobs",
    Run(enqueue::Run) = "run": "Enqueue a job and work on it here, in the foreground",
    Status(Status) = "status": "Show what is in the queue and who works on it",
    Worker(worker::Worker) = "worker": "Start, stop and list workers",
    Dlq(dlq::Dlq) = "dlq": "Look at and empty the dead letter queue",
    Config(config::Config) = "config": "Read and change the configuration",
    Events(jobs::Events) = "events": "Print the event log",
    Compact(upkeep::Compact) = "compact": "Make the log small: drop what is not kept, and sum up the rest",
    Doctor(doctor::Doctor) = "doctor": "Look for what is wrong with the queue",
    Init(Init) = "init": "Make the queue's directory, which the first enqueue does too",
}

/// Arguments of `init`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  queuectl init
  queuectl --dir ./queue init")]
pub struct Init {}

/// Arguments of `status`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  queuectl status
  queuectl status --json | jq .counts.dead")]
pub struct Status {}

const EXAMPLES: &str = "Examples:
  queuectl enqueue 'make report'        a job for the shell
  queuectl enqueue rsync -a src/ dst/   a job without a shell
  queuectl worker start --count 4       work on four at once, in the foreground
  queuectl list state:failed,dead
  queuectl dlq retry --all

Exit codes: 0 done, 1 refused or failed, 2 usage, 3 the queue is damaged, 74 not recorded,
130 interrupted; wait: 10 some ended dead or cancelled, 124 timed out.";

/// The whole command line. Arguments of a verb are added when the verb is named.
pub fn command() -> Command {
    Globals::augment_args(Command::new("queuectl"))
        .version(env!("CARGO_PKG_VERSION"))
        .about("A durable background job queue for the shell, with no daemon and no database")
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .max_term_width(100)
        .subcommands(Verb::commands())
}

/// Reads the words behind the program's name.
///
/// Errors: clap's own, also where help was asked for; nothing at all asks for help.
pub fn parse(words: Vec<OsString>) -> Result<Invocation, clap::Error> {
    let mut root = command();
    let words = if words.is_empty() { vec![OsString::from("--help")] } else { words };
    let (words, split) = prepare(&root, words)?;
    let name = OsString::from("queuectl");
    let matches = root.try_get_matches_from_mut(std::iter::once(name).chain(words))?;
    let globals = Globals::from_arg_matches(&matches)?;
    let (name, of_verb) = matches.subcommand().expect("BUG: clap let a missing verb pass");
    let mut verb = Verb::from_matches(name, of_verb)?;
    match (&mut verb, split) {
        (Verb::Enqueue(enqueue), Some(split)) => enqueue.words = split,
        (Verb::Run(run), Some(split)) => run.words = split,
        _ => {}
    }
    Ok(Invocation { globals, verb })
}

/// Takes the positional words of `enqueue` and `run` out, and writes flags with dashes.
fn prepare(
    root: &Command,
    mut words: Vec<OsString>,
) -> Result<(Vec<OsString>, Option<Split>), clap::Error> {
    let options = words::Options::of(root);
    let verb = options.first_word(&words);
    let rest = verb.map(|at| words.split_off(at + 1)).unwrap_or_default();
    let name = verb.and_then(|at| words[at].to_str()).unwrap_or_default().to_owned();
    let mut words: Vec<OsString> = words.iter().map(|word| words::with_dashes(word)).collect();
    let of_verb = match name.as_str() {
        "enqueue" => enqueue::Enqueue::augment_args(Command::new("enqueue")),
        "run" => enqueue::Run::augment_args(Command::new("run")),
        _ => {
            let ends = rest.iter().position(|word| word == OsStr::new("--"));
            let ends = ends.unwrap_or(rest.len());
            words.extend(rest[..ends].iter().map(|word| words::with_dashes(word)));
            words.extend_from_slice(&rest[ends..]);
            return Ok((words, None));
        }
    };
    let (flags, split) = options.and(&of_verb).split(rest).map_err(|word| {
        let message = format!("unexpected word {word:?} behind the job, which is one word\n");
        clap::Error::raw(ErrorKind::UnknownArgument, message)
    })?;
    words.extend(flags);
    Ok((words, Some(split)))
}

/// Says whether errors are to be JSON, of words that could not be read.
pub fn wants_json(words: &[OsString]) -> bool {
    words.iter().take_while(|word| *word != "--").any(|word| word == "--json")
}

/// A flag that is set or not, for options that only some verbs have.
const SET: ArgAction = ArgAction::SetTrue;

#[cfg(test)]
mod tests;
