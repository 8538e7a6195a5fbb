//! Which files of a damaged log count, by what is there of segments and bases.

use std::fs;

use super::*;
use crate::store::compact::names;
use crate::store::real_disk::RealDisk;
use crate::store::segment::{base_name, file_name};
use crate::store::store_tests::{Queue, enqueue};

/// The files of four sealed segments of one job each, and of one without, and a base up to each of the four.
struct Files4 {
    segments: Vec<String>,
    bases: Vec<String>,
}

impl Files4 {
    fn new() -> Self {
        let queue = Queue::new();
        let read = |name: &str| fs::read_to_string(queue.log(1).with_file_name(name)).unwrap();
        let mut store = queue.open();
        let (mut segments, mut bases) = (Vec::new(), Vec::new());
        for number in 1..=4 {
            enqueue(&mut store, &[&format!("job{number}")]).unwrap();
            store.seal().unwrap();
            segments.push(read(&file_name(number)));
            store.compactor().unwrap().run(None).unwrap().unwrap();
            bases.push(read(&base_name(1, number)));
        }
        segments.push(read(&file_name(5)));
        Files4 { segments, bases }
    }

    fn segment(&self, number: usize) -> String {
        self.segments[number - 1].clone()
    }

    fn base(&self, last: usize) -> String {
        self.bases[last - 1].clone()
    }

    /// A base of which a line does not hold.
    fn broken(&self, last: usize) -> String {
        self.base(last).replacen("\"job1\"", "\"jobx\"", 1)
    }

    /// What counts of these files: `s2` is the second segment, `b2` the base up to it, and `x2` that one broken.
    fn open(&self, what: &str) -> Opened {
        let all = what.split(' ').map(|one| {
            let number: usize = one[1..].parse().unwrap();
            let at = number as u64;
            match one.as_bytes()[0] {
                b's' => (file_name(at), self.segment(number)),
                b'b' => (base_name(1, at), self.base(number)),
                _ => (base_name(1, at), self.broken(number)),
            }
        });
        Opened::of(&all.collect::<Vec<_>>())
    }
}

/// A directory of some files.
struct Opened {
    _place: tempfile::TempDir,
    directory: Box<dyn Handle>,
    names: Vec<(String, SegmentName)>,
}

impl Opened {
    fn of(files: &[(String, String)]) -> Self {
        use crate::store::disk::Disk as _;
        let place = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(place.path().join(name), text).unwrap();
        }
        let directory = RealDisk.open(place.path(), Open::Directory).unwrap();
        let names = names(directory.as_ref()).unwrap();
        Opened { _place: place, directory, names }
    }

    fn files(&self) -> Files {
        open(self.directory.as_ref(), "desk", &self.names).unwrap()
    }

    fn look(&self) -> (Option<u64>, Vec<u64>) {
        look(&self.files())
    }
}

fn look(files: &Files) -> (Option<u64>, Vec<u64>) {
    (files.base.as_ref().map(|base| base.last), files.segments.keys().copied().collect())
}

#[test]
fn a_base_counts_where_it_is_whole_or_alone_has_what_it_stands_for() {
    let all = Files4::new();
    let cases: [(&str, Option<u64>, &[u64]); 7] = [
        ("s1 s2 s3 s4 s5", None, &[1, 2, 3, 4, 5]),
        // What a base stands for, and is still there, is not read beside it.
        ("b2 s2 s3 s4 s5", Some(2), &[3, 4, 5]),
        ("x2 s1 s2 s3", None, &[1, 2, 3]),
        ("x2 s2 s3", Some(2), &[3]),
        ("b1 x3 s3 s4", Some(3), &[4]),
        ("b1 x3 s2 s3 s4", Some(1), &[2, 3, 4]),
        ("x2 x3 s4", Some(3), &[4]),
    ];
    for (what, base, segments) in cases {
        assert_eq!(all.open(what).look(), (base, segments.to_vec()), "{what}");
    }
}

#[test]
fn a_stray_base_that_has_nothing_is_none_beside_a_whole_one() {
    let all = Files4::new();
    for text in ["", "no line\n"] {
        let mut files = vec![(file_name(2), all.segment(2)), (base_name(1, 9), text.to_owned())];
        // Alone it says at least that there was something.
        assert_eq!(Opened::of(&files).look(), (Some(9), vec![]));
        files.push((base_name(1, 1), all.base(1)));
        assert_eq!(Opened::of(&files).look(), (Some(1), vec![2]));
    }
}

#[test]
fn a_base_that_is_not_whole_ends_where_it_says_or_where_the_next_segment_begins() {
    let all = Files4::new();
    let place = |end: SegmentEnd| (end.segment, end.len, end.seq);
    let end = |opened: Opened| place(opened.files().base.unwrap().header.end.unwrap());
    let begins = |number| {
        let headers = all.open("s2 s3 s4 s5").files().segments;
        place(headers[&number].header.clone().unwrap().prev.unwrap())
    };
    assert_eq!(end(all.open("x2")), begins(3));
    // Its header is lost, or it is another's.
    let headless = all.base(2).replacen("compact", "c0mpact", 1);
    let lost = (base_name(1, 2), headless);
    let next = (file_name(3), all.segment(3));
    assert_eq!(end(Opened::of(&[lost.clone(), next])), begins(3));
    assert_eq!(end(Opened::of(&[lost])), (2, 0, 0));
    let renamed = [(base_name(1, 3), all.base(2)), (file_name(4), all.segment(4))];
    assert_eq!(end(Opened::of(&renamed)), begins(4));
}

#[test]
fn of_what_a_broken_base_was_to_stand_for_all_that_is_there_counts() {
    let all = Files4::new();
    let below = |what: &str, last| {
        let opened = all.open(what);
        look(&open_below(opened.directory.as_ref(), "desk", &opened.names, last).unwrap())
    };
    assert_eq!(below("x3 s1 s3 s4", 3), (None, vec![1, 3]));
    assert_eq!(below("b1 x3 s1 s3 s4", 3), (Some(1), vec![3]));
    assert_eq!(below("b2 x3 s2 s4", 3), (Some(2), vec![]));
    // Not itself.
    assert_eq!(below("b2 s1 s2 s3", 2), (None, vec![1, 2]));
}

#[test]
fn a_segment_stands_where_its_header_says_unless_that_place_is_taken() {
    let all = Files4::new();
    let is_in_place = |opened: &Opened| is_in_place(&opened.files());
    let renamed = [(1, all.segment(1)), (7, all.segment(2)), (3, all.segment(3))]
        .map(|(n, s)| (file_name(n), s));
    let renamed = Opened::of(&renamed);
    assert_eq!(renamed.look(), (None, vec![1, 2, 3]));
    assert!(is_in_place(&renamed));
    // One of another node, and one that has lost its header, stand where their names say.
    let foreign = {
        let text = all.segment(2);
        let header = text.lines().next().unwrap();
        let body = &header[..header.rfind(",\"crc\"").unwrap()];
        let body = body.replace("\"desk\"", "\"nas-\"").replace("\"segment\":2", "\"segment\":9");
        format!("{body},\"crc\":\"{:08x}\"}}\n", crc32c::crc32c(body.as_bytes()))
    };
    for text in [foreign, all.segment(2).replacen("\"why\"", "\"wyh\"", 1)] {
        let files = [(file_name(1), all.segment(1)), (file_name(2), text)];
        assert_eq!(Opened::of(&files).look(), (None, vec![1, 2]));
    }
    // Of two that say the same, the one that has the name is the one, whichever is met first.
    let copy = format!("{}\n", all.segment(2).lines().next().unwrap());
    let mut opened = Opened::of(&[(file_name(1), copy.clone()), (file_name(2), all.segment(2))]);
    for _ in 0..2 {
        opened.names.reverse();
        let files = opened.files();
        let len = |number| files.segments[&number].file.stat().unwrap().len;
        assert_eq!((len(1), len(2)), (copy.len() as u64, all.segment(2).len() as u64));
        assert!(!super::is_in_place(&files));
    }
}
