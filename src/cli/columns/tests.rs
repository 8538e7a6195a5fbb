//! Jobs as tables, from the events that made them what they are.

use std::time::Duration;

use super::*;
use crate::cli::render::{at_every_width, table};
use crate::domain::event::{Cancelled, Claimed, Completed, Died, Event, Failed, Record};
use crate::domain::job::{Claim, JobId, RunResult, Spec, Tail};
use crate::domain::state::NodeState;

/// 2026-02-02T03:00:00Z.
const START: i64 = 1_770_001_200_000_000;

fn queue() -> NodeState {
    let mut node = NodeState::default();
    let mut seq = 0;
    let mut apply = |event: Event| {
        seq += 1;
        let ts = Timestamp::from_micros(START + seq * 10_000_000);
        node.apply(&Record { seq: seq.unsigned_abs(), ts, wall: None, event }).unwrap();
    };
    let id = |text: &str| JobId::from_log(text);
    let claim = |n| Claim::new("desk-7f3a.4k2mq7ab", n);
    let tail = || Some(Tail { out: String::new(), err: "connection refused\n".into() });
    let first = "01KGE3H9000000000000000001";
    let mut spec = Spec::shell(id(first), "rsync -a --delete /home/ann/pictures/ /mnt/backup/", 3);
    spec.queue = "slow".into();
    apply(Event::Enqueued(Box::new(spec)));
    apply(Event::Enqueued(Box::new(Spec::shell(id("job1"), "curl -fsS https://example.org/", 3))));
    apply(Event::Enqueued(Box::new(Spec::shell(id("job2"), "exit 7", 1))));
    let mut later = Spec::shell(id("job3"), "printf 'a\tb\u{1b}[31m'", 3);
    later.run_at = Some(Timestamp::from_micros(START + 3_600_000_000));
    later.tags = vec!["nightly".into(), "mail".into()];
    later.name = Some("greet".into());
    apply(Event::Enqueued(Box::new(later)));
    apply(Event::Enqueued(Box::new(Spec::shell(id("job4"), "true", 3))));
    for (n, job) in [first, "job1", "job2"].into_iter().enumerate() {
        apply(Event::Claimed(Claimed { job: id(job), run: 1, claim: claim(n as u64 + 1) }));
    }
    apply(Event::Completed(Completed {
        job: id(first),
        run: 1,
        claim: claim(1),
        ms: 61_000,
        tail: None,
        note: None,
    }));
    apply(Event::Failed(Failed {
        job: id("job1"),
        run: 1,
        claim: claim(2),
        result: RunResult::Exit(22),
        retry_at: Timestamp::from_micros(START + 600_000_000),
        delay: Duration::from_secs(300),
        ms: 12,
        error: None,
        tail: tail(),
    }));
    apply(Event::Died(Died {
        job: id("job2"),
        run: 1,
        claim: claim(3),
        result: RunResult::Exit(7),
        reason: "exhausted".into(),
        ms: Some(3),
        error: None,
        tail: tail(),
    }));
    let (claim, ms, tail) = (None, None, None);
    let reason = Some("not needed".into());
    apply(Event::Cancelled(Cancelled { job: id("job4"), claim, ms, reason, tail }));
    node
}

fn views(node: &NodeState) -> Vec<View<'_>> {
    let now = Timestamp::from_micros(START + 245_000_000);
    let view = |job| View { node: "desk-7f3a", job, reason: node.reason(job, now) };
    node.jobs().map(view).collect()
}

fn text(columns: &[Column]) -> String {
    let node = queue();
    let views = views(&node);
    let ids = ShortIds::among(node.jobs().map(|job| job.id().as_str()));
    let heads: Vec<Head> = columns.iter().map(|column| column.head()).collect();
    at_every_width(|look| {
        let row = |view: &View<'_>| columns.iter().map(|c| c.cell(view, &ids, look)).collect();
        table(&heads, &views.iter().map(row).collect::<Vec<Vec<Cell>>>(), look)
    })
}

#[test]
fn the_columns_of_list() {
    insta::assert_snapshot!(text(&LIST));
}

#[test]
fn the_columns_of_list_in_a_pipe() {
    insta::assert_snapshot!(text(&LIST_PIPED));
}

#[test]
fn the_columns_of_the_dead_letter_queue() {
    insta::assert_snapshot!(text(&DLQ));
}

#[test]
fn every_column() {
    let all: Vec<Column> = COLUMNS.iter().map(|(column, ..)| *column).collect();
    insta::assert_snapshot!(text(&all));
}

#[test]
fn columns_by_name() {
    for (column, name, _) in &COLUMNS {
        assert_eq!(parse(name), Ok(*column));
        assert_eq!(parse(&name.to_uppercase().replace('_', "-")), Ok(*column));
    }
    assert!(parse("prioriti").unwrap_err().ends_with("did you mean 'priority'?"));
}

#[test]
fn jobs_in_the_order_of_a_column() {
    let node = queue();
    let sorted = |column: Column| {
        let mut views = views(&node);
        views.sort_by(|a, b| column.compare(a, b));
        views.iter().map(|view| view.job.order).collect::<Vec<_>>()
    };
    assert_eq!(sorted(Column::State), [4, 1, 2, 3, 5]);
    assert_eq!(sorted(Column::DurationMs), [4, 5, 3, 2, 1]);
    assert_eq!(sorted(Column::ExitCode), [4, 5, 1, 3, 2]);
    assert_eq!(sorted(Column::Queue), [2, 3, 4, 5, 1]);
    assert_eq!(sorted(Column::RunAt), [1, 2, 3, 5, 4]);
}

#[test]
fn ids_are_cut_no_further_than_they_name_one_job() {
    let ids = [
        "01KGE3H9000000000000000001",
        "01KGE3H9000000000000000002",
        "01KGE4ZZ000000000000000000",
        "job1",
    ];
    let short = ShortIds::among(ids.into_iter());
    let cut: Vec<&str> = ids.iter().map(|id| short.shorten(id)).collect();
    assert_eq!(cut, [ids[0], ids[1], "01KGE4ZZ00", "job1"]);
}
