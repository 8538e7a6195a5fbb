//! The seeds of the fuzzer, made anew from the queues under git and from the format page: they are what this version
//! writes, so that a run begins behind the checksums. `QUEUECTL_BLESS=1` writes them.
//!
//! Knows how the targets in `fuzz/` read their input, and nothing of what they do with it.

mod home;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use home::ROOT;
use queuectl::store::clock::Clock;
use queuectl::store::ids::Ids;
use queuectl::store::line;
use queuectl::store::machine::Environment;
use queuectl::store::real_disk::RealDisk;
use queuectl::store::{Setting, Store};

/// Seeds by their names, each in the directory of its target.
type Seeds = BTreeMap<String, Vec<u8>>;

/// More than any seed has, in bytes.
const LARGEST: usize = 4096;

fn fixture(path: &str) -> Vec<u8> {
    fs::read(Path::new(ROOT).join("fixtures/queues").join(path)).unwrap()
}

fn first_line(path: &str) -> Vec<u8> {
    fixture(path).split(|byte| *byte == b'\n').next().unwrap().to_vec()
}

/// One line of each event that the format page has.
fn lines(seeds: &mut Seeds) {
    let page = include_str!("../docs/format.md");
    for text in page.lines().filter(|line| line.starts_with("{\"seq\"")) {
        let (record, _) = line::decode(text.as_bytes()).unwrap();
        seeds.entry(format!("line/{}", record.event.name())).or_insert(text.into());
    }
    for (name, number) in [("job_admired", 5), ("moon_rose", 6)] {
        let future = fixture("future/log/desk-0001/00000001.jsonl");
        let line = future.split(|byte| *byte == b'\n').nth(number - 1).unwrap();
        seeds.insert(format!("line/{name}"), line.to_vec());
    }
}

/// Headers, behind a byte that says of which segment.
fn headers(seeds: &mut Seeds) {
    for (name, which, path) in [
        ("first", 0, "healthy/log/desk-0001/00000001.jsonl"),
        ("second", 1, "healthy/log/desk-0001/00000002.jsonl"),
        ("alone", 2, "healthy/log/desk-0001/00000001.jsonl"),
        ("newer", 2, "newer/log/desk-0001/00000001.jsonl"),
        ("torn", 1, "format-1/log/desk-0001/00000005.jsonl"),
        ("base", 0, "compacted/log/desk-0001/00000001-00000002.base.jsonl"),
    ] {
        seeds.insert(format!("header/{name}"), [vec![which], first_line(path)].concat());
    }
}

fn segments(seeds: &mut Seeds) {
    for queue in ["future", "healthy", "torn"] {
        let bytes = fixture(&format!("{queue}/log/desk-0001/00000001.jsonl"));
        seeds.insert(format!("segment/{queue}"), bytes);
    }
    let worked = fixture("format-1/log/desk-0001/00000004.jsonl");
    seeds.insert("segment/worked".into(), worked[..worked.len().min(LARGEST)].to_vec());
}

fn bases(seeds: &mut Seeds) {
    let base = fixture("compacted/log/desk-0001/00000001-00000002.base.jsonl");
    for (name, first) in [("resealed", 0), ("as-it-is", 1)] {
        seeds.insert(format!("base/{name}"), [vec![first], base.clone()].concat());
    }
}

/// Checkpoints of the healthy queue and another node, of all of it and of its first segment.
fn checkpoints(seeds: &mut Seeds) {
    let mine = "log/desk-0001/00000001.jsonl";
    let next = "log/desk-0001/00000002.jsonl";
    let other = "log/nas-0002/00000001.jsonl";
    for (name, files) in [("earlier", vec![mine]), ("whole", vec![mine, next, other])] {
        let home = tempfile::tempdir().unwrap();
        for file in files {
            let queue = if file == other { "two-nodes" } else { "healthy" };
            let path = home.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, fixture(&format!("{queue}/{file}"))).unwrap();
        }
        let uid = rustix::process::geteuid().as_raw();
        let mut store = Store::open(Setting {
            disk: Arc::new(RealDisk),
            root: home.path().to_owned(),
            environment: Environment {
                node: Some("desk-0001".into()),
                uid,
                ..Environment::default()
            },
            clock: Clock::System,
            ids: Ids::new(Some("seeds")),
            boot: Some("fuzz-0".into()),
        })
        .unwrap();
        let cache = store.place().cache_dir();
        fs::create_dir_all(&cache).unwrap();
        store.read().unwrap();
        store.write_checkpoint();
        let packed = packed(&fs::read(cache.join("state.ckpt")).unwrap());
        for (form, first) in [("resealed", 0), ("as-it-is", 1)] {
            let seed = [&[first], &packed[..]].concat();
            seeds.insert(format!("checkpoint/{name}-{form}"), seed);
        }
    }
}

/// Runs of zeros are written as `0xfe` and their length.
fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    for run in bytes.chunk_by(|one, next| *one == 0 && *next == 0) {
        match (run[0], u16::try_from(run.len()).unwrap()) {
            (0, zeros @ 4..) => packed.extend([&[0xfe], &zeros.to_le_bytes()[..]].concat()),
            (0xfe, _) => packed.extend([0xfe, 0, 0]),
            _ => packed.extend(run),
        }
    }
    packed
}

/// A part of a seed of a directory: a file as it stands, or an act, and how it is done.
#[derive(Clone, Copy)]
enum Part {
    Segment1 = 128,
    Segment2 = 129,
    Segment3 = 130,
    Base = 131,
    Other = 134,
    Format = 136,
    Enqueue = 24,
    Work = 25,
    Checkpoint = 26,
    Compact = 27,
    Configure = 28,
    Append = 29,
    Spoil = 30,
    Cancel = 31,
    Boot = 32,
    Copy = 33,
    PutBack = 34,
    Mend = 35,
}

type Parts<'a> = &'a [(Part, &'a [u8])];

fn joined(parts: Parts) -> Vec<u8> {
    let parts: Vec<_> = parts.iter().map(|(part, how)| [&[*part as u8], *how].concat()).collect();
    parts.join(&0xff)
}

/// Queues as they stand under git.
fn directories(seeds: &mut Seeds) {
    for (name, files) in [
        (
            "compacted",
            &[
                (Part::Base, "compacted/log/desk-0001/00000001-00000002.base.jsonl"),
                (Part::Segment3, "compacted/log/desk-0001/00000003.jsonl"),
                (Part::Format, "compacted/FORMAT"),
            ][..],
        ),
        (
            "damaged",
            &[
                (Part::Segment1, "damaged/log/desk-0001/00000001.jsonl"),
                (Part::Segment2, "damaged/log/desk-0001/00000002.jsonl"),
            ],
        ),
        (
            "two-nodes",
            &[
                (Part::Segment1, "two-nodes/log/desk-0001/00000001.jsonl"),
                (Part::Other, "two-nodes/log/nas-0002/00000001.jsonl"),
            ],
        ),
    ] {
        let files: Vec<_> = files.iter().map(|(part, path)| (*part, fixture(path))).collect();
        let files: Vec<_> = files.iter().map(|(part, bytes)| (*part, &bytes[..])).collect();
        seeds.insert(format!("directory/{name}"), joined(&files));
    }
}

/// Queues that lived: what is done to them, and how.
fn lives(seeds: &mut Seeds) {
    use Part::*;
    let all_ended: &[u8] = &[0b0011_1111];
    let one_begun: &[u8] = &[0b0000_0001];
    let lives: [(&str, Parts); 7] = [
        ("worked", &[(Enqueue, &[8]), (Work, one_begun), (Checkpoint, &[]), (Mend, &[])]),
        (
            "archived",
            &[
                (Enqueue, &[8]),
                (Work, all_ended),
                (Compact, &[3]),
                (Enqueue, &[3]),
                (Compact, &[2]),
            ],
        ),
        (
            "rolled-back",
            &[(Enqueue, &[0]), (Copy, &[]), (Enqueue, &[1]), (Work, one_begun), (PutBack, &[])],
        ),
        ("torn", &[(Enqueue, &[0]), (Append, b"{\"seq\":"), (Boot, &[]), (Enqueue, &[1])]),
        (
            "flipped",
            &[
                (Enqueue, &[0]),
                (Checkpoint, &[]),
                (Configure, &[0]),
                (Enqueue, &[9]),
                (Spoil, &[0, 3, 200]),
            ],
        ),
        ("unmarked", &[(Enqueue, &[0]), (Cancel, &[0]), (Spoil, &[1, 0]), (Spoil, &[2, 1, 9])]),
        (
            "cached",
            &[
                (Enqueue, &[8]),
                (Checkpoint, &[]),
                (Spoil, &[7, 4, 16, 4]),
                (Compact, &[0]),
                (Configure, &[1]),
            ],
        ),
    ];
    for (name, acts) in lives {
        seeds.insert(format!("directory/{name}"), joined(acts));
    }
}

#[test]
fn made_again_the_seeds_are_the_same_bytes() {
    let mut seeds = Seeds::new();
    for make in [lines, headers, segments, bases, checkpoints, directories, lives] {
        make(&mut seeds);
    }
    let corpora = Path::new(ROOT).join("fixtures/corpora");
    if std::env::var_os("QUEUECTL_BLESS").is_some() {
        let _ = fs::remove_dir_all(&corpora);
        for (name, bytes) in &seeds {
            let path = corpora.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
    let mut kept = Seeds::new();
    for target in fs::read_dir(&corpora).unwrap() {
        let target: PathBuf = target.unwrap().path();
        for seed in fs::read_dir(&target).unwrap() {
            let path = seed.unwrap().path();
            let name = path.strip_prefix(&corpora).unwrap().to_str().unwrap().to_owned();
            kept.insert(name, fs::read(path).unwrap());
        }
    }
    let names = |seeds: &Seeds| seeds.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&kept), names(&seeds), "QUEUECTL_BLESS=1 writes them anew");
    for (name, bytes) in &seeds {
        assert!(bytes.len() <= LARGEST, "{name} has {} bytes", bytes.len());
        assert!(kept[name] == *bytes, "{name} is another: QUEUECTL_BLESS=1 writes it anew");
    }
}
