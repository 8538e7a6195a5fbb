//! Command lines and what they are read as.

use super::enqueue::Enqueue;
use super::words::Words;
use super::*;
use crate::cli::columns::Column;
use crate::domain::job::JobState;

fn read(line: &str) -> Result<Invocation, clap::Error> {
    let words = shlex::split(line).unwrap();
    parse(words.into_iter().map(OsString::from).collect())
}

fn enqueue(line: &str) -> Enqueue {
    match read(&format!("enqueue {line}")).unwrap().verb {
        Verb::Enqueue(enqueue) => *enqueue,
        verb => panic!("{verb:?}"),
    }
}

fn command(words: &[&str]) -> Words {
    Words::Command(words.iter().map(OsString::from).collect())
}

fn whole(word: &str) -> Words {
    Words::Whole(word.into())
}

#[test]
fn clap_finds_nothing_wrong_with_any_verb() {
    let mut root = super::command();
    root.build();
    root.debug_assert();
}

#[test]
fn every_verb_has_examples_and_every_flag_a_line() {
    fn check(command: &Command) {
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            assert!(arg.get_help().is_some(), "{} {}", command.get_name(), arg.get_id());
        }
        for verb in command.get_subcommands() {
            check(verb);
        }
        if !command.has_subcommands() && command.get_name() != "help" {
            let help = command.get_after_help().unwrap_or_default().to_string();
            assert!(help.contains("Examples:\n  queuectl "), "{}", command.get_name());
        }
    }
    let mut root = super::command().disable_help_subcommand(true);
    root.build();
    check(&root);
}

#[test]
fn where_options_end_and_the_command_begins() {
    let table = [
        ("'echo hi | wc'", whole("echo hi | wc")),
        ("ls", command(&["ls"])),
        ("rsync -a src/ dst/", command(&["rsync", "-a", "src/", "dst/"])),
        ("-p 5 rsync -p --json x", command(&["rsync", "-p", "--json", "x"])),
        ("-p5 ls", command(&["ls"])),
        ("-p -5 ls", command(&["ls"])),
        ("--priority=5 ls --priority 6", command(&["ls", "--priority", "6"])),
        ("-qp 5 ls", command(&["ls"])),
        ("'echo hi' --priority 5", whole("echo hi")),
        ("-", whole("-")),
        ("'{\"command\":\"a\"}' --tag x", whole("{\"command\":\"a\"}")),
        ("'[]'", whole("[]")),
        ("-- '{ echo hi; }'", Words::Explicit(vec!["{ echo hi; }".into()])),
        ("--tag x -- a -b", Words::Explicit(vec!["a".into(), "-b".into()])),
        ("ls -- -x", command(&["ls", "--", "-x"])),
        ("--command ls", Words::None),
        ("--", Words::None),
        ("'a b' --", whole("a b")),
    ];
    for (line, words) in table {
        assert_eq!(enqueue(line).words.words, words, "{line}");
    }
    assert_eq!(enqueue("-p -5 ls").job.priority, Some(-5));
    assert_eq!(enqueue("'echo hi' --priority 5").job.priority, Some(5));
    assert_eq!(enqueue("--json ls --json").words.looks_like_option.as_deref(), Some("--json"));
    assert_eq!(enqueue("ls -- --json").words.looks_like_option, None);
}

#[test]
fn another_word_behind_a_whole_job_is_refused() {
    for line in ["'a b' c", "'{}' '{}'", "- x", "'a b' -- c", "'a b' --tag x c"] {
        let error = read(&format!("enqueue {line}")).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn underscores_are_dashes_in_flags_and_nowhere_else() {
    let enqueue = enqueue("--max_retries 5 --kill_grace=2s a_b --max_retries");
    assert_eq!(enqueue.job.max_retries, Some(5));
    assert_eq!(enqueue.job.kill_grace, Some(std::time::Duration::from_secs(2)));
    assert_eq!(enqueue.words.words, command(&["a_b", "--max_retries"]));
    let Verb::Purge(purge) = read("purge all_of --dry_run").unwrap().verb else { panic!() };
    assert!(purge.consent.dry_run);
    assert_eq!(purge.selection.selectors, ["all_of"]);
}

#[test]
fn flags_for_every_verb_stand_before_or_behind_it() {
    for line in ["--db /q list --json", "list --dir /q --json", "--json --dir=/q list"] {
        let invocation = read(line).unwrap();
        assert!(invocation.globals.json, "{line}");
        assert_eq!(invocation.globals.dir.as_deref(), Some("/q".as_ref()), "{line}");
    }
}

#[test]
fn lists_columns_and_aliases() {
    let Verb::List(list) =
        read("list tag:x --state pending,DEAD --columns id,max-retries --sort created-at -n 3")
            .unwrap()
            .verb
    else {
        panic!()
    };
    assert_eq!(list.selection.state, [JobState::Pending, JobState::Dead]);
    assert_eq!(list.columns, [Column::Id, Column::MaxRetries]);
    assert_eq!((list.sort, list.limit), (Some(Column::CreatedAt), Some(3)));
    for line in [
        "worker start --concurrency 4",
        "worker start -j 4",
        "worker status",
        "worker stop --force",
        "dlq retry-all",
        "config show",
        "config reset",
        "config set jitter -1",
        "enqueue --next_run_at +5m ls",
        "events -f --jsonl",
    ] {
        assert!(read(line).is_ok(), "{line}");
    }
}

#[test]
fn mistakes_exit_2_and_name_the_way_out() {
    let table = [
        ("lst", "'list'"),
        ("list --stat dead", "'--state'"),
        ("list --state done", "pending, processing, completed, failed, dead, cancelled"),
        ("list --state complete", "did you mean 'completed'?"),
        ("list --columns idd", "did you mean 'id'?"),
        ("worker start --count 0", "from 1 to 1024"),
        ("worker start --count -1", "from 1 to 1024"),
        ("enqueue --max-retries -1 ls", "from 0 to 4294967295"),
        ("enqueue --timeout soon ls", "nor none"),
        ("enqueue --delay 5 --run-at +5m ls", "cannot be used with"),
        ("list --json --jsonl", "cannot be used with"),
        ("edit job1", "required"),
        ("worker", "Usage"),
        ("--json", "requires a subcommand"),
    ];
    for (line, part) in table {
        let error = read(line).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
        let text = error.render().to_string();
        assert!(text.contains(part), "{line}: {text}");
    }
}

#[test]
fn nothing_at_all_is_answered_with_help() {
    let error = read("").unwrap_err();
    assert_eq!(error.exit_code(), 0);
    assert!(error.render().to_string().contains("Usage: queuectl"));
    for line in ["--help", "-h", "help enqueue", "enqueue --help", "run -h", "--version"] {
        assert_eq!(read(line).unwrap_err().exit_code(), 0, "{line}");
    }
}
