//! How fast the core is, without processes and without sync: the line codec, replay and claims.
//!
//! `cargo bench --bench core`. Figures are of one run on one machine; compare them with each other only.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use queuectl::domain::decide;
use queuectl::domain::event::{Claimed, Completed, Event, Record};
use queuectl::domain::job::{Claim, JobId, Spec};
use queuectl::domain::state::NodeState;
use queuectl::domain::timestamp::Timestamp;
use queuectl::store::{line, segment};

const JOBS: u64 = 100_000;

fn job(n: u64) -> Spec {
    let id = JobId::new(&format!("01KGE3H9{n:018}")).expect("an id");
    Spec { cwd: "/home/ada/photos".into(), ..Spec::shell(id, "convert in.png out.jpg", 3) }
}

/// A log of jobs that were enqueued, claimed and completed, or only enqueued.
fn records(is_finished: impl Fn(u64) -> bool) -> Vec<Record> {
    let mut ts = Timestamp::from_micros(1_769_999_999_000_000);
    let mut records = Vec::new();
    let mut push = |event| {
        ts = ts.after(Duration::from_micros(1));
        let seq = records.len() as u64 + 1;
        records.push(Record { seq, ts, wall: None, event });
    };
    for n in 0..JOBS {
        push(Event::Enqueued(Box::new(job(n))));
        if is_finished(n) {
            let (id, claim) = (job(n).id, Claim::new("desk-7f3a.4k2mq7ab", n));
            push(Event::Claimed(Claimed { job: id.clone(), run: 1, claim: claim.clone() }));
            let (run, ms, tail, note) = (1, 12, None, None);
            push(Event::Completed(Completed { job: id, run, claim, ms, tail, note }));
        }
    }
    records
}

fn log_of(records: &[Record]) -> Vec<u8> {
    records
        .iter()
        .flat_map(|record| line::encode(record.seq, record.ts, record.ts, &record.event))
        .collect()
}

fn fold(records: &[Record]) -> NodeState {
    let mut state = NodeState::default();
    for record in records {
        state.apply(record).expect("a legal event");
    }
    state
}

fn codec(c: &mut Criterion) {
    let ts = Timestamp::from_micros(1_769_999_999_000_000);
    let event = Event::Enqueued(Box::new(job(7)));
    let bytes = line::encode(1, ts, ts, &event);
    let mut group = c.benchmark_group("line");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("encode", |b| b.iter(|| line::encode(1, ts, ts, black_box(&event))));
    let body = bytes.strip_suffix(b"\n").expect("a line");
    group.bench_function("decode", |b| b.iter(|| line::decode(black_box(body)).expect("a line")));
    group.finish();
}

fn replay(c: &mut Criterion) {
    let records = records(|_| true);
    let log = log_of(&records);
    let mut group = c.benchmark_group("replay");
    group.sample_size(10).throughput(Throughput::Bytes(log.len() as u64));
    group.bench_function("cut and parse, bytes", |b| b.iter(|| segment::cut(black_box(&log), 0)));
    group.throughput(Throughput::Elements(records.len() as u64));
    group.bench_function("fold, events", |b| b.iter(|| fold(black_box(&records))));
    group.bench_function("whole, events", |b| {
        b.iter(|| {
            let lines = segment::cut(black_box(&log), 0);
            let mut state = NodeState::default();
            for placed in &lines.good {
                state.apply(&placed.record).expect("a legal event");
            }
            state
        });
    });
    group.finish();
}

fn claims(c: &mut Criterion) {
    let state = fold(&records(|_| false));
    let now = Timestamp::from_micros(1_869_999_999_000_000);
    let mut group = c.benchmark_group("claim");
    group.throughput(Throughput::Elements(1));
    group.bench_function("one of 100,000 pending", |b| {
        b.iter(|| decide::claim(black_box(&state), "w", 1, 1, &[], now));
    });
    group.sample_size(10).bench_function("decide and apply one", |b| {
        b.iter_batched_ref(
            || state.clone(),
            |state| {
                let claimed = decide::claim(state, "w", 1, 1, &[], now).remove(0);
                let seq = state.facts.last_seq + 1;
                let event = Event::Claimed(claimed);
                state.apply(&Record { seq, ts: now, wall: None, event }).expect("a claim");
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, codec, replay, claims);
criterion_main!(benches);
