//! Tables at 40, 80 and 160 columns and in a pipe.

use super::*;

const HEADS: [Head; 5] = [
    Head::new("ID", 0),
    Head::new("STATE", 0),
    Head::new("TRIES", 3).right(),
    Head::new("CREATED", 4).right(),
    Head::new("COMMAND", 0).flexible(),
];

fn rows() -> Vec<Vec<Cell>> {
    let row = |id: &str, full: &str, state, tint, tries: &str, age: &str, command: &str| {
        vec![
            Cell::pair(id, full),
            Cell::of(state).tinted(tint),
            Cell::pair(format!("{tries}/3"), tries),
            Cell::pair(age, "2026-02-02T03:04:05.000000Z"),
            Cell::of(command),
        ]
    };
    vec![
        row(
            "01KGE3H900",
            "01KGE3H9000000000000000001",
            "completed",
            Tint::Good,
            "1",
            "3m ago",
            "echo hi",
        ),
        row(
            "job1",
            "job1",
            "dead",
            Tint::Bad,
            "3",
            "2h ago",
            "rsync -a --delete /home/ann/pictures/ /mnt/backup/pictures/ && echo done",
        ),
        row("job2", "job2", "failed", Tint::Warn, "2", "5d ago", "printf 'a\tb\n\u{1b}[31mred'"),
    ]
}

fn look(terminal: Option<u16>) -> Look {
    Look { terminal, color: false, now: Timestamp::default() }
}

#[test]
fn forty_columns() {
    insta::assert_snapshot!(table(&HEADS, &rows(), look(Some(40))));
}

#[test]
fn eighty_columns() {
    insta::assert_snapshot!(table(&HEADS, &rows(), look(Some(80))));
}

#[test]
fn a_hundred_and_sixty_columns() {
    insta::assert_snapshot!(table(&HEADS, &rows(), look(Some(160))));
}

#[test]
fn in_a_pipe() {
    insta::assert_snapshot!(table(&HEADS, &rows(), look(None)));
}

#[test]
fn no_table_is_wider_than_its_terminal_unless_nothing_can_be_left_out() {
    for width in 30..200 {
        let text = table(&HEADS, &rows(), look(Some(width)));
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= usize::from(width), "{width}:\n{text}");
    }
}

#[test]
fn colours_only_where_they_are_wanted() {
    let plain = table(&HEADS, &rows(), look(Some(80)));
    assert!(!plain.contains('\u{1b}'));
    let coloured = table(&HEADS, &rows(), Look { color: true, ..look(Some(80)) });
    assert!(coloured.contains("\u{1b}[38;5;9m") || coloured.contains("\u{1b}["), "{coloured:?}");
    let piped = table(&HEADS, &rows(), Look { color: true, ..look(None) });
    assert!(!piped.contains('\u{1b}'));
}

#[test]
fn ages_sizes_and_facts() {
    let now = Timestamp::from_micros(1_000_000_000_000);
    let ago = |seconds| relative(now.before(Duration::from_secs(seconds)), now);
    assert_eq!(
        [ago(0), ago(59), ago(60), ago(7200), ago(200_000)],
        ["now", "59s ago", "1m ago", "2h ago", "2d ago"]
    );
    assert_eq!(relative(now.after(Duration::from_secs(90)), now), "in 1m");
    assert_eq!(
        [amount(0), amount(1023), amount(1536), amount(3 << 30)],
        ["0 B", "1023 B", "1.5 KiB", "3.0 GiB"]
    );
    assert_eq!(brief(Duration::from_millis(12)), "12ms");
    assert_eq!(
        facts(&[("id", "a".into()), ("command", "x\ny\u{7}".into())]),
        "id       a\ncommand  x\n         y\\u{7}\n"
    );
}
