//! What a power cut leaves, over many seeds: only what may be left, and everything that may be.

use std::collections::BTreeSet;

use super::*;
use crate::pages::SECTOR;

const PAGE: usize = 256;

/// What is left of a medium after power cuts of many seeds.
fn outcomes<T: Ord>(medium: &Medium, look: impl Fn(&Medium) -> T) -> BTreeSet<T> {
    let left = |seed| {
        let mut medium = medium.clone();
        medium.cut_power(&mut Random::new(seed));
        look(&medium)
    };
    (0..2000).map(left).collect()
}

fn bytes(medium: &Medium, name: &str) -> Option<Vec<u8>> {
    let inode = medium.find(ROOT, name).ok()?;
    let mut buffer = vec![0; 4 * PAGE];
    let count = medium.read(inode, &mut buffer, 0).unwrap();
    buffer.truncate(count);
    Some(buffer)
}

fn names(medium: &Medium) -> String {
    medium.names(ROOT).unwrap().keys().cloned().collect::<Vec<_>>().join(" ")
}

/// A medium with one file of synced bytes under a synced name.
fn synced(content: &[u8]) -> (Medium, Inode) {
    let mut medium = Medium::new(PAGE);
    let inode = medium.create(ROOT, "log", true).unwrap();
    medium.write(inode, content, None);
    medium.sync(inode);
    medium.sync(ROOT);
    (medium, inode)
}

#[test]
fn what_was_synced_survives_and_nothing_else_must() {
    let (mut medium, inode) = synced(b"first ");
    assert_eq!(outcomes(&medium, |m| bytes(m, "log")), [Some(b"first ".to_vec())].into());

    medium.write(inode, b"second", None);
    let left = outcomes(&medium, |m| bytes(m, "log").unwrap());
    assert!(left.iter().all(|left| left.starts_with(b"first ")));
    assert!(left.contains(b"first ".as_slice()), "the write may be lost");
    assert!(left.contains(b"first second".as_slice()), "the write may survive");
    assert!(left.contains(b"first \0\0\0\0\0\0".as_slice()), "the size may survive without it");
    assert!(left.contains(b"first sec".as_slice()), "a part of the size may survive");
}

#[test]
fn pages_reach_the_medium_in_any_order_and_torn() {
    let (mut medium, inode) = synced(b"");
    medium.write(inode, &[1; PAGE], None);
    medium.write(inode, &[2; PAGE], None);
    let left = outcomes(&medium, |m| bytes(m, "log").unwrap());
    let whole: Vec<&Vec<u8>> = left.iter().filter(|left| left.len() == 2 * PAGE).collect();
    let first_only = [[1; PAGE], [0; PAGE]].concat();
    let second_only = [[0; PAGE], [2; PAGE]].concat();
    assert!(whole.contains(&&first_only) && whole.contains(&&second_only));
    let torn =
        |left: &[u8]| left[..SECTOR] == [0; SECTOR] && left[SECTOR..2 * SECTOR] == [1; SECTOR];
    assert!(whole.iter().any(|left| torn(left)));
}

#[test]
fn a_sync_brings_what_was_there_when_it_began() {
    let (mut medium, inode) = synced(b"first ");
    medium.write(inode, b"second ", None);
    medium.create(ROOT, "early", true).unwrap();
    let (sync, of_names) = (medium.begin_sync(inode), medium.begin_sync(ROOT));
    medium.write(inode, b"third", None);
    medium.create(ROOT, "late", true).unwrap();
    medium.finish_sync(inode, sync);
    medium.finish_sync(ROOT, of_names);
    let left = outcomes(&medium, |m| bytes(m, "log").unwrap());
    assert!(left.iter().all(|left| left.starts_with(b"first second ")));
    assert!(left.contains(b"first second ".as_slice()));
    assert!(left.contains(b"first second third".as_slice()));
    let slow = medium.begin_sync(inode);
    medium.write(inode, b"!", None);
    medium.sync(inode);
    medium.write(inode, b"?", None);
    medium.finish_sync(inode, slow);
    let left = outcomes(&medium, |m| bytes(m, "log").unwrap());
    assert!(left.iter().all(|left| left.starts_with(b"first second third!")), "{left:?}");

    let expected = ["early late log", "early log"].map(str::to_owned).into();
    assert_eq!(outcomes(&medium, names), expected);
}

#[test]
fn an_overwritten_page_is_old_or_new() {
    let (mut medium, inode) = synced(b"old");
    medium.write(inode, b"new", Some(0));
    let expected = [Some(b"new".to_vec()), Some(b"old".to_vec())].into();
    assert_eq!(outcomes(&medium, |m| bytes(m, "log")), expected);
    medium.sync(inode);
    assert_eq!(outcomes(&medium, |m| bytes(m, "log")), [Some(b"new".to_vec())].into());
}

#[test]
fn a_name_is_synced_by_its_directory_only() {
    let mut medium = Medium::new(PAGE);
    let inode = medium.create(ROOT, "new", true).unwrap();
    medium.write(inode, b"bytes", None);
    medium.sync(inode);
    let expected = [None, Some(b"bytes".to_vec())].into();
    assert_eq!(outcomes(&medium, |m| bytes(m, "new")), expected);
    medium.sync(ROOT);
    assert_eq!(outcomes(&medium, |m| bytes(m, "new")), [Some(b"bytes".to_vec())].into());
}

#[test]
fn changes_of_names_survive_out_of_order() {
    let (mut medium, _) = synced(b"");
    medium.create(ROOT, "a.tmp", true).unwrap();
    medium.rename(ROOT, "a.tmp", "a").unwrap();
    medium.unlink(ROOT, "log").unwrap();
    let left = outcomes(&medium, names);
    let expected = ["", "a", "a log", "a.tmp", "a.tmp log", "log"];
    assert_eq!(left, expected.map(str::to_owned).into());
    medium.sync(ROOT);
    assert_eq!(outcomes(&medium, names), ["a".to_owned()].into());
}

#[test]
fn a_replaced_file_is_the_old_or_the_new_one() {
    let (mut medium, _) = synced(b"old");
    let inode = medium.create(ROOT, "tmp", true).unwrap();
    medium.write(inode, b"new", None);
    medium.sync(inode);
    medium.rename(ROOT, "tmp", "log").unwrap();
    let expected = [Some(b"new".to_vec()), Some(b"old".to_vec())].into();
    assert_eq!(outcomes(&medium, |m| bytes(m, "log")), expected);
    assert_eq!(bytes(&medium, "log").unwrap(), b"new");
    let links = |m: &Medium| m.facts(m.find(ROOT, "log").unwrap()).links;
    assert_eq!(outcomes(&medium, links), [1].into());
}

#[test]
fn what_a_failed_sync_dropped_reads_well_and_is_never_synced() {
    let (medium, inode) = synced(b"first ");
    let mut dropped = 0;
    for seed in 0..50 {
        let mut medium = medium.clone();
        medium.write(inode, b"second", None);
        medium.fail_sync(inode, &mut Random::new(seed));
        medium.sync(inode);
        assert_eq!(bytes(&medium, "log").unwrap(), b"first second");
        let left = outcomes(&medium, |m| bytes(m, "log").unwrap());
        assert_eq!(left.len(), 1, "nothing is left to chance after a sync");
        if left.contains(b"first \0\0\0\0\0\0".as_slice()) {
            dropped += 1;
            (0..20).for_each(|seed| medium.evict(&mut Random::new(seed)));
            assert_eq!(bytes(&medium, "log").unwrap(), b"first \0\0\0\0\0\0");
        }
    }
    assert!((10..50).contains(&dropped), "{dropped} of 50 were dropped");
}

#[test]
fn a_failure_is_told_once_to_each_open_file_and_to_nobody_who_opens_later() {
    let (mut medium, inode) = synced(b"first ");
    let (mut early, mut other) = (medium.errors_told(inode), medium.errors_told(inode));
    medium.write(inode, b"second", None);
    medium.fail_sync(inode, &mut Random::new(1));
    let mut unheard = medium.errors_told(inode);
    assert!(medium.tell_error(inode, &mut early));
    assert!(!medium.tell_error(inode, &mut early));
    let mut late = medium.errors_told(inode);
    assert!(!medium.tell_error(inode, &mut late));
    assert!(medium.tell_error(inode, &mut other));
    assert!(medium.tell_error(inode, &mut unheard), "it opened before anybody was told");
}

#[test]
fn numbers_come_round_and_births_do_not() {
    let (mut medium, inode) = synced(b"");
    let born = medium.facts(inode).born;
    medium.unlink(ROOT, "log").unwrap();
    medium.forget(inode);
    assert_ne!(medium.create(ROOT, "early", true).unwrap(), inode, "a power cut could revive it");
    medium.sync(ROOT);
    medium.forget(inode);
    let again = medium.create(ROOT, "next", true).unwrap();
    assert_eq!(again, inode);
    assert_ne!(medium.facts(again).born, born);
}

#[test]
fn directories_that_were_not_synced_vanish_with_what_is_in_them() {
    let mut medium = Medium::new(PAGE);
    let below = medium.create(ROOT, "below", false).unwrap();
    let inode = medium.create(below, "file", true).unwrap();
    medium.sync(inode);
    medium.sync(below);
    let look = |m: &Medium| m.find(ROOT, "below").ok().map(|d| m.find(d, "file").is_ok());
    assert_eq!(outcomes(&medium, look), [None, Some(true)].into());
    medium.sync(ROOT);
    assert_eq!(outcomes(&medium, look), [Some(true)].into());
}

#[test]
fn where_a_page_was_never_written_there_may_be_a_page_of_a_file_that_is_gone() {
    let (mut medium, _) = synced(b"");
    let gone = medium.create(ROOT, "gone", true).unwrap();
    medium.write(gone, &[7; PAGE], None);
    medium.sync(gone);
    medium.unlink(ROOT, "gone").unwrap();
    medium.sync(ROOT);
    medium.forget(gone);
    let log = medium.find(ROOT, "log").unwrap();
    medium.write(log, &[1; 2 * PAGE], None);
    let left = outcomes(&medium, |m| bytes(m, "log").unwrap());
    assert!(left.contains([[7; PAGE], [1; PAGE]].as_flattened()));
    assert!(left.contains([[0; PAGE], [1; PAGE]].as_flattened()));

    medium.sync(log);
    let left = outcomes(&medium, |m| bytes(m, "log").unwrap());
    assert_eq!(left, [vec![1; 2 * PAGE]].into());
}
