//! Logs that nobody honest wrote: valid checksums around absurd numbers, lines twice and in any order.
//!
//! What they say is of no interest here. Nothing may panic, and nobody may be told that something was stored that
//! cannot be found again.

use std::fs;

use proptest::prelude::*;
use proptest::sample::Index;
use queuectl::domain::decide;
use queuectl::domain::event::{Event, JobRecorded, Record, Taken, Totals};
use queuectl::domain::takeover;
use queuectl::domain::timestamp::Timestamp;
use queuectl::store::line;

use super::action::history;
use super::cases;
use super::on_disk::OnDisk;
use super::play::{Play, Queue, id, policy};
use super::rules::InMemory;

/// Numbers at which arithmetic ends.
const EXTREMES: [&str; 8] = [
    "0",
    "1",
    "4294967295",
    "2147483648",
    "9223372036854775807",
    "18446744073709551615",
    "-1",
    "1e308",
];

#[derive(Debug, Clone)]
enum Twist {
    /// The n-th number of a line becomes another.
    Number {
        line: Index,
        number: Index,
        extreme: usize,
    },
    Repeat {
        line: Index,
        to: Index,
    },
    Drop {
        line: Index,
    },
    /// A job as it stands is recorded in the middle, as if this were a base.
    Record {
        line: Index,
    },
    Totals {
        line: Index,
    },
    /// A job as it stands is taken over in the middle, as if it were another node's.
    Take {
        line: Index,
    },
}

fn twist() -> impl Strategy<Value = Twist> {
    let at = any::<Index>;
    prop_oneof![
        5 => (at(), at(), 0..EXTREMES.len())
            .prop_map(|(line, number, extreme)| Twist::Number { line, number, extreme }),
        2 => (at(), at()).prop_map(|(line, to)| Twist::Repeat { line, to }),
        1 => at().prop_map(|line| Twist::Drop { line }),
        2 => at().prop_map(|line| Twist::Record { line }),
        1 => at().prop_map(|line| Twist::Totals { line }),
        2 => at().prop_map(|line| Twist::Take { line }),
    ]
}

/// The lines of a history, without their newlines and checksums.
fn bodies(play: &Play<InMemory>) -> Vec<String> {
    play.queue.records.iter().map(body).collect()
}

fn body(record: &Record) -> String {
    let line = line::encode(record.seq, record.ts, record.wall(), &record.event);
    let text = String::from_utf8(line).unwrap();
    text[..text.rfind(",\"crc\":").unwrap()].to_owned()
}

fn seal(body: &str) -> String {
    format!("{body},\"crc\":\"{:08x}\"}}\n", crc32c::crc32c(body.as_bytes()))
}

/// Where numbers stand that are values of their own.
fn numbers(body: &str) -> Vec<std::ops::Range<usize>> {
    let bytes = body.as_bytes();
    let starts = (1..bytes.len()).filter(|at| bytes[at - 1] == b':' && bytes[*at].is_ascii_digit());
    let end = |start: usize| {
        bytes[start..]
            .iter()
            .position(|byte| !byte.is_ascii_digit())
            .map_or(bytes.len(), |n| start + n)
    };
    let outside = |at: &usize| body[..*at].matches('"').count().is_multiple_of(2);
    starts.filter(outside).map(|start| start..end(start)).collect()
}

fn apply(twist: &Twist, lines: &mut Vec<String>, play: &Play<InMemory>) {
    if lines.is_empty() {
        return;
    }
    let recorded = |event| {
        let ts = Timestamp::from_micros(play.model.now + 1_000_000);
        body(&Record { seq: 1, ts, wall: None, event })
    };
    match twist {
        Twist::Number { line, number, extreme } => {
            let line = line.get(lines).clone();
            let at = lines.iter().position(|other| *other == line).unwrap();
            let numbers = numbers(&line);
            if numbers.is_empty() {
                return;
            }
            let range = numbers[number.index(numbers.len())].clone();
            lines[at].replace_range(range, EXTREMES[*extreme]);
        }
        Twist::Repeat { line, to } => {
            let line = line.get(lines).clone();
            lines.insert(to.index(lines.len()), line);
        }
        Twist::Drop { line } => {
            lines.remove(line.index(lines.len()));
        }
        Twist::Record { line } => {
            let Some(job) = play.queue.node.jobs().next() else { return };
            let job = JobRecorded::of(job).into();
            lines.insert(line.index(lines.len()), recorded(Event::JobRecorded(job)));
        }
        Twist::Take { line } => {
            let node = &play.queue.node;
            let now = Timestamp::from_micros(play.model.now);
            for event in takeover::take_over(node, "nas", Some(u64::MAX), now) {
                lines.insert(line.index(lines.len()), recorded(event));
            }
            let Some(job) = node.jobs().next() else { return };
            let (from, why, state) = ("nas".to_owned(), String::new(), Box::new(job.clone()));
            let taken = Taken { job: id("other"), from, epoch: u64::MAX, why, state };
            lines.insert(line.index(lines.len()), recorded(Event::Taken(taken.into())));
        }
        Twist::Totals { line } => {
            let most = u64::MAX;
            let totals =
                Totals { enqueued: most, purged: most, unknown: most, ..Totals::default() };
            lines.insert(line.index(lines.len()), recorded(Event::Totals(totals)));
        }
    }
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn no_log_makes_anything_panic(
        history in history(40),
        twists in proptest::collection::vec(twist(), 1..8),
    ) {
        let mut play = Play::new(InMemory::new());
        history.iter().for_each(|action| play.step(action));
        let mut lines = bodies(&play);
        for twist in &twists {
            apply(twist, &mut lines, &play);
        }
        let mut queue = OnDisk::new("desk");
        let (name, mut bytes) = queue.files().pop().unwrap();
        let header = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        bytes.truncate(header);
        bytes.extend(lines.iter().flat_map(|body| seal(body).into_bytes()));
        fs::write(queue.log().join(&name), &bytes).unwrap();
        fs::remove_file(queue.another().place().local().join("mark")).unwrap();

        let seen = queue.another().read().unwrap().state.counts();
        queue.pass(1_000_000);
        queue.reopen();
        let is_stored = queue.enqueue_any("fresh");
        let mut again = queue.another();
        let node = again.read().unwrap().state.node("desk");
        let is_there = node.is_some_and(|node| node.job(&id("fresh")).is_some());
        // A record of a job that is yet to come takes the place of the next.
        let is_sane = !twists.iter().any(|twist| matches!(twist, Twist::Record { .. }));
        prop_assert!(is_there || !is_stored || !is_sane, "not found again, beside {:?}", seen);
        if let Some(node) = node {
            let _ = (node.ready(&[], queue.now()).count(), node.oldest_waiting(queue.now()));
            let claims = decide::claim(node, "desk.w", 0, 9, &[], queue.now());
            let mut node = node.clone();
            let mut log = InMemory::of(&node);
            log.append(claims.into_iter().map(Event::Claimed).collect());
            node = log.node;
            for job in node.clone().processing().filter(|job| job.claim.is_some()) {
                let claim = job.claim.as_ref().unwrap();
                let _ = decide::lose(&node, job.id(), claim, &policy(), queue.now(), false);
            }
        }
    }
}
