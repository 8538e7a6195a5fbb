//! Tables as people see them, on terminals of three widths; and what is asked there.

use super::harness::{Home, wait_until};
use super::story;
use super::terminal::on_a_terminal;
use super::verbs::steady;

const WIDTHS: [u16; 3] = [40, 80, 160];

/// The text without what colours it, which must be whole sequences of `ESC [ … m`.
fn plain(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (_, rest) = part.split_once('m').expect("a colour");
        plain.push_str(rest);
    }
    plain
}

/// Shows a table at each width, none of whose lines may be wider.
fn at_each_width(home: &Home, line: &str) -> String {
    let mut picture = String::new();
    for width in WIDTHS {
        let done = on_a_terminal(home.say(line), width, "");
        assert_eq!(done.code, 0, "{line}: {}", done.stdout);
        let text = plain(&done.stdout);
        for line in text.lines() {
            assert!(line.chars().count() <= usize::from(width), "wider than {width}: {line}");
        }
        let bare = on_a_terminal(home.say(line).env("NO_COLOR", "1"), width, "").stdout;
        let trimmed = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        assert_eq!(trimmed(&bare), trimmed(&text), "{line}: the same but for colours");
        picture.push_str(&format!("-- {width} columns\n{}", steady(home, &text)));
    }
    picture
}

#[test]
fn tables() {
    let home = Home::pinned();
    story::six_states(&home);
    home.say("enqueue \"printf '%s\\n' a-rather-long-word-that-will-not-fit-into-forty-columns && echo done\"")
        .done()
        .ok();
    insta::assert_snapshot!("list", at_each_width(&home, "list"));
    insta::assert_snapshot!("status", at_each_width(&home, "status"));
    let home = Home::pinned();
    story::three_dead(&home);
    insta::assert_snapshot!("dlq_list", at_each_width(&home, "dlq list"));
    insta::assert_snapshot!("config_list", at_each_width(&home, "config list"));
    insta::assert_snapshot!("history", at_each_width(&home, "history d2"));
}

#[test]
fn the_table_of_workers() {
    let home = Home::pinned();
    home.queuectl(["enqueue", "--id", "job1", "while [ ! -e go ]; do sleep 0.02; done"])
        .done()
        .ok();
    let worker = home.worker("--count 2 --drain");
    wait_until("the job runs", || home.state("job1") == "processing");
    let picture = at_each_width(&home, "worker list");
    home.write("go", "");
    worker.end().ok();
    let pid = process_id(&picture);
    let head = format!("{:>1$}", "PID", pid.len());
    let picture = picture.replace(&head, "PID").replace(&pid, "PID");
    insta::assert_snapshot!("worker_list", picture);
}

/// The process id in a table: the longest run of digits that stands alone.
fn process_id(text: &str) -> String {
    let words = text.split_whitespace().filter(|word| word.bytes().all(|b| b.is_ascii_digit()));
    words.max_by_key(|word| word.len()).unwrap_or_default().to_owned()
}

#[test]
fn a_terminal_of_one_column_is_no_reason_to_fall() {
    let home = Home::pinned();
    story::six_states(&home);
    for width in [1, 5, 0] {
        for line in ["list", "status", "dlq list", "show dead"] {
            let done = on_a_terminal(home.say(line), width, "");
            assert_eq!(done.code, 0, "{line} at {width}: {}", done.stdout);
        }
    }
}

#[test]
fn colours_only_where_they_are_wanted() {
    let home = Home::pinned();
    story::six_states(&home);
    for (line, variable, coloured) in [
        ("list", ("X", ""), true),
        ("list --color never", ("X", ""), false),
        ("list --color always", ("NO_COLOR", "1"), true),
        ("list", ("NO_COLOR", "1"), false),
        ("list", ("NO_COLOR", ""), true),
        ("list --json", ("X", ""), false),
    ] {
        let done = on_a_terminal(home.say(line).env(variable.0, variable.1), 80, "");
        assert_eq!(
            done.stdout.contains('\u{1b}'),
            coloured,
            "{line} {variable:?}: {:?}",
            done.stdout
        );
    }
    home.run("list --color sometimes").fails(2);
}

#[test]
fn destroying_asks_first() {
    let home = Home::pinned();
    story::six_states(&home);
    let answer = |line: &str, typed: &str| on_a_terminal(home.say(line), 80, typed);
    for typed in ["n\n", "\n", "\u{4}", "maybe\n"] {
        let done = answer("purge completed", typed);
        assert!(done.stdout.contains("[y/N]"), "{}", done.stdout);
        assert_ne!(done.code, 0, "{typed:?}");
    }
    assert_eq!(home.state("completed"), "completed");
    assert_eq!(answer("purge completed", "y\n").code, 0);
    home.fails("show completed", 1);
    assert_eq!(answer("cancel pending", "").code, 0, "a plain id is not asked about");
    assert_eq!(answer("dlq purge --all", "YES\n").code, 0);
    assert_eq!(home.ok("dlq list"), "");
}

#[test]
fn progress_is_for_terminals() {
    let home = Home::pinned();
    story::six_states(&home);
    let line = "wait pending --timeout 300ms";
    let done = on_a_terminal(home.say(line), 80, "");
    assert_eq!(done.code, 124);
    assert!(done.stdout.contains('\r'), "no progress: {:?}", done.stdout);
    let piped = home.run(line);
    assert!(
        !piped.stderr.contains('\r') && piped.stderr.lines().count() <= 1,
        "{:?}",
        piped.stderr
    );
    let home = Home::new();
    home.queuectl(["enqueue", "sleep 0.3"]).done().ok();
    let done = on_a_terminal(home.say("worker start --drain"), 80, "");
    assert_eq!(done.code, 0, "{}", done.stdout);
    assert!(done.stdout.contains('\r'), "no progress: {:?}", done.stdout);
    home.queuectl(["enqueue", "sleep 0.3"]).done().ok();
    let piped = home.drain("");
    assert!(!piped.stderr.contains(['\r', '\u{1b}']), "{:?}", piped.stderr);
}

#[test]
fn enqueueing_without_a_worker_says_how_to_start_one() {
    let home = Home::new();
    let done = on_a_terminal(home.say("enqueue true"), 80, "");
    assert_eq!(done.code, 0);
    assert!(done.stdout.contains("queuectl worker start"), "{}", done.stdout);
    let worker = home.worker("");
    wait_until("the worker is listed", || !home.ok("worker list").is_empty());
    let done = on_a_terminal(home.say("enqueue true"), 80, "");
    assert_eq!(done.stdout.lines().count(), 1, "{}", done.stdout);
    home.ok("worker stop");
    worker.end().ok();
}
