//! A virtual process that is no part of the queue: what it does to the log, a dying disk does, or a person with an editor.

use std::path::Path;

use queuectl::store::mark::Mark;
use queuectl::store::segment::SegmentName;

use crate::ledger::Ledger;
use crate::lines::Log;
use crate::machine::Inner;
use crate::medium::{Inode, Medium};
use crate::process::{self, Member, Trouble};
use crate::random::Random;

/// Lives: hurts one file, then the end.
pub fn live(process: &Member) {
    process::end(process, hurt(process));
}

fn hurt(process: &Member) -> Result<(), Trouble> {
    let store = process::open(process)?;
    let Some(node) = store.place().node() else { return Ok(()) };
    let (log, local) = (store.place().log_dir(node), store.place().local());
    let Some(mut inner) = process.turn() else { return Ok(()) };
    if inner.ledger.harm.left == 0 {
        // Another was faster.
        return Ok(());
    }
    let what = hurt_some(&mut inner, &log, &local);
    if let Some((what, lost)) = what {
        inner.note(process.number, || format!("{what}: {lost:#?}"), 4);
        inner.ledger.harm.left -= 1;
        inner.ledger.count(what);
    }
    Ok(())
}

/// Hurts a file that rests. Says what was done, and which lines are lost.
fn hurt_some(
    inner: &mut Inner<Ledger>,
    log: &Path,
    local: &Path,
) -> Option<(&'static str, Vec<String>)> {
    let is_examined = is_examined(inner);
    let Inner { medium, files, random, ledger, .. } = inner;
    let directory = medium.at(log)?;
    if files.is_any_locked(directory) {
        // Who has looked at the end and is about to write there cannot know.
        return None;
    }
    let mark = mark(medium, local);
    let lock = medium.at(&local.join("compact.lock"));
    let is_compacted = lock.is_some_and(|lock| files.is_any_locked(lock));
    let before = Log::of(medium, directory);
    let active = before.active().map(SegmentName::Segment);
    let mut resting = medium.resting(directory);
    resting.retain(|(name, inode)| {
        SegmentName::parse(name).is_some() && !medium.bytes(*inode).is_empty()
    });
    if resting.is_empty() {
        return None;
    }
    let (name, inode) = random.pick(&resting).clone();
    let is_active = SegmentName::parse(&name) == active;
    let what = match random.below(8) {
        0 if !is_active => {
            let gone = medium.lose(directory, &name)?;
            files.forget(gone, medium);
            "a file of the log lost"
        }
        1 if !is_active => {
            cut_out_a_line(medium, directory, &name, random);
            files.forget(inode, medium);
            "a line cut out"
        }
        2 => zero(medium, inode, random),
        3 => misplace(medium, inode, random),
        _ => flip(medium, inode, random),
    };
    let after = Log::of(medium, directory);
    Some((what, ledger.harm.note(&before, &after, mark.as_ref(), is_compacted, is_examined)))
}

/// Whether a doctor is at work that may have looked before, and may die before it tells what it finds when it mends.
pub fn is_examined(inner: &Inner<Ledger>) -> bool {
    let weather = &inner.weather;
    let trouble = weather.kill + weather.cut + weather.error + weather.fill + weather.sync_error;
    trouble > 0 && inner.ledger.harm.doctors.iter().any(|doctor| inner.lives(*doctor))
}

/// The mark, beside the log in this machine's own directory.
pub fn mark(medium: &Medium, local: &Path) -> Option<Mark> {
    let bytes = medium.bytes(medium.at(&local.join("mark"))?);
    let end = memchr::memchr(b'\n', bytes)?;
    serde_json::from_slice(bytes.get(9..end)?).ok()
}

/// Turns one bit of a file around.
fn flip(medium: &mut Medium, inode: Inode, random: &mut Random) -> &'static str {
    let bytes = medium.bytes(inode);
    let at = random.below(bytes.len());
    let byte = bytes[at] ^ (1 << random.below(8));
    medium.wound(inode, at, &[byte]);
    "a bit turned around"
}

/// Puts zeros in the place of some bytes.
fn zero(medium: &mut Medium, inode: Inode, random: &mut Random) -> &'static str {
    let (at, len) = stretch(medium.bytes(inode).len(), random);
    medium.wound(inode, at, &vec![0; len]);
    "a stretch of zeros"
}

/// Puts bytes of elsewhere in the file in the place of some.
fn misplace(medium: &mut Medium, inode: Inode, random: &mut Random) -> &'static str {
    let bytes = medium.bytes(inode);
    let (at, len) = stretch(bytes.len(), random);
    let from = random.below(bytes.len() - len + 1);
    let misplaced = bytes[from..from + len].to_vec();
    medium.wound(inode, at, &misplaced);
    "a stretch misplaced"
}

/// Some bytes of a file: where they begin, and how many they are.
fn stretch(len: usize, random: &mut Random) -> (usize, usize) {
    let at = random.below(len);
    let longest = *random.pick(&[64, 256, 4096]);
    (at, (1 + random.below(longest)).min(len - at))
}

/// Writes a file anew without one of its lines, as an editor does.
fn cut_out_a_line(medium: &mut Medium, directory: Inode, name: &str, random: &mut Random) {
    let Some(inode) = medium.lose(directory, name) else { return };
    let mut lines: Vec<&[u8]> =
        medium.bytes(inode).split_inclusive(|byte| *byte == b'\n').collect();
    lines.remove(random.below(lines.len()));
    let bytes = lines.concat();
    medium.put(directory, name, &bytes);
}
