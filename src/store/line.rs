//! One line of the log: an event as JSON, with its place, time and checksum.
//!
//! `{"seq":1042,"ts":"…","ev":"claimed",…,"crc":"2d95724f"}`: `seq`, `ts` and `ev` come first and `crc` last. The
//! checksum is the CRC32C of every byte before `,"crc":"`; its width is fixed, so a line is verified before it is
//! parsed. Knows nothing of files.

use serde::Deserialize;

use crate::domain::event::{Event, Record};
use crate::domain::timestamp::Timestamp;

/// The longest line, in bytes, with its newline.
pub const LONGEST: usize = 1 << 20;

/// The largest `seq`, length and number of a segment: the last whole number that every reader of JSON has exactly.
pub const LARGEST: u64 = 1 << 53;

/// How a checksum begins, and how long it is to the end of the line without its newline.
const CRC_KEY: &[u8] = b",\"crc\":\"";
const CRC_LEN: usize = CRC_KEY.len() + 8 + 2;

/// Why bytes are not a line of the log.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The checksum is missing or another.
    #[error("its checksum does not match")]
    Checksum,
    /// It is not JSON of the shape of an event.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// It does not begin with its `seq`.
    #[error("it does not begin with its seq")]
    Shape,
    /// It has a number that no log can have come to.
    #[error("it has a number over 2^53")]
    Number,
}

/// The eight hex digits at the end of a line.
pub type Crc = [u8; 8];

/// Writes an event as a line with its newline. `wall` is written only where `ts` is more than 1 s from it.
pub fn encode(seq: u64, ts: Timestamp, wall: Timestamp, event: &Event) -> Vec<u8> {
    let body = serde_json::to_vec(event).expect("BUG: an event that is not JSON");
    let mut line = format!("{{\"seq\":{seq},\"ts\":\"{ts}\",").into_bytes();
    line.extend_from_slice(&body[1..body.len() - 1]);
    if ts.micros().abs_diff(wall.micros()) > 1_000_000 {
        line.extend_from_slice(format!(",\"wall\":\"{wall}\"").as_bytes());
    }
    seal(line)
}

/// Appends the checksum and the newline to what stands before it.
fn seal(mut line: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&line);
    line.extend_from_slice(CRC_KEY);
    line.extend_from_slice(format!("{crc:08x}\"}}\n").as_bytes());
    line
}

/// The checksum of a line without its newline, where the line holds what it says.
pub fn verify(line: &[u8]) -> Option<Crc> {
    let covered = line.len().checked_sub(CRC_LEN)?;
    let (body, end) = line.split_at(covered);
    let digits = end.strip_prefix(CRC_KEY)?.strip_suffix(b"\"}")?;
    let crc: Crc = digits.try_into().ok()?;
    (format!("{:08x}", crc32c::crc32c(body)).as_bytes() == crc).then_some(crc)
}

/// Reads a line without its newline.
///
/// Errors: where the checksum does not match, or it is not the JSON of an event.
pub fn decode(line: &[u8]) -> Result<(Record, Crc), LineError> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        seq: u64,
        ts: Timestamp,
        #[serde(borrow)]
        ev: std::borrow::Cow<'a, str>,
        #[serde(default)]
        wall: Option<Timestamp>,
    }

    let crc = verify(line).ok_or(LineError::Checksum)?;
    let Envelope { seq, ts, ev, wall } = serde_json::from_slice(line)?;
    let event = Event::parse(&ev, line)?;
    if seq > LARGEST || !counts_soundly(&event) {
        return Err(LineError::Number);
    }
    Ok((Record { seq, ts, wall, event }, crc))
}

/// Whether a header can be counted on from.
fn counts_soundly(event: &Event) -> bool {
    let Event::Segment(header) = event else { return true };
    let mut ends = header.prev.iter().chain(&header.end);
    header.segment <= LARGEST && ends.all(|end| end.segment.max(end.len).max(end.seq) <= LARGEST)
}

/// Writes a verified line again under another `seq`, with every field it has.
///
/// Errors: where it does not begin with its `seq`.
pub fn renumber(line: &[u8], seq: u64) -> Result<Vec<u8>, LineError> {
    let rest = line.strip_prefix(b"{\"seq\":").ok_or(LineError::Shape)?;
    let comma = memchr::memchr(b',', rest).ok_or(LineError::Shape)?;
    let end = rest.len().checked_sub(CRC_LEN).filter(|end| *end >= comma);
    let mut again = format!("{{\"seq\":{seq}").into_bytes();
    again.extend_from_slice(&rest[comma..end.ok_or(LineError::Shape)?]);
    Ok(seal(again))
}

/// Writes a verified line again with another `count`, with every other field it has; none where `from` is not its count.
pub fn recount(line: &[u8], from: u64, to: u64) -> Option<Vec<u8>> {
    let body = line.get(..line.len().checked_sub(CRC_LEN)?)?;
    let old = format!(",\"count\":{from}");
    let at = memchr::memmem::find(body, old.as_bytes())?;
    let (before, rest) = (&body[..at], &body[at + old.len()..]);
    let is_whole = rest.first().is_none_or(|next| *next == b',');
    let count = format!(",\"count\":{to}");
    is_whole.then(|| seal([before, count.as_bytes(), rest].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Claimed;
    use crate::domain::job::{Claim, JobId};

    const GOLDEN: &[u8] = br#"{"seq":1042,"ts":"2026-02-02T03:04:05.223456Z","ev":"claimed","job":"01KGE3H9000000000000000000","run":1,"claim":"desk-7f3a.4k2mq7ab.17","crc":"2d95724f"}"#;

    fn claimed() -> Event {
        Event::Claimed(Claimed {
            job: JobId::new("01KGE3H9000000000000000000").unwrap(),
            run: 1,
            claim: Claim::new("desk-7f3a.4k2mq7ab", 17),
        })
    }

    #[test]
    fn a_line_of_the_format_page_byte_for_byte() {
        let ts = "2026-02-02T03:04:05.223456Z".parse().unwrap();
        let line = encode(1042, ts, ts, &claimed());
        assert_eq!(String::from_utf8_lossy(&line), String::from_utf8_lossy(GOLDEN) + "\n");
        let (record, _) = decode(GOLDEN).unwrap();
        assert_eq!((record.seq, record.ts, record.event), (1042, ts, claimed()));
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        for at in 0..GOLDEN.len() {
            for bit in 0..8 {
                let mut line = GOLDEN.to_vec();
                line[at] ^= 1 << bit;
                assert!(decode(&line).is_err(), "byte {at} bit {bit}");
            }
        }
        for len in 0..GOLDEN.len() {
            assert!(decode(&GOLDEN[..len]).is_err(), "cut to {len}");
        }
    }

    #[test]
    fn the_wall_clock_is_written_where_it_differs() {
        let ts: Timestamp = "2026-02-02T03:04:05.223456Z".parse().unwrap();
        let wall = ts.before(std::time::Duration::from_secs(60));
        let line = encode(1, ts, wall, &claimed());
        let (record, _) = decode(line.strip_suffix(b"\n").unwrap()).unwrap();
        assert_eq!(record.wall(), wall);
        for (micros, is_written) in [(1_000_000, false), (1_000_001, true)] {
            let wall = Timestamp::from_micros(ts.micros() + micros);
            let line = String::from_utf8(encode(1, ts, wall, &claimed())).unwrap();
            assert_eq!(line.contains("\"wall\""), is_written, "{micros}");
        }
    }

    #[test]
    fn a_number_that_no_log_came_to_makes_no_line() {
        for (seq, is_line) in [(LARGEST, true), (LARGEST + 1, false), (u64::MAX, false)] {
            let event = r#""ts":"2026-02-02T03:04:05.2Z","ev":"danced""#;
            let line = seal(format!("{{\"seq\":{seq},{event}").into_bytes());
            assert_eq!(decode(line.strip_suffix(b"\n").unwrap()).is_ok(), is_line, "{seq}");
            let end = format!("{{\"segment\":1,\"len\":2,\"seq\":{seq}}}");
            let header = format!(
                r#"{{"seq":0,"ts":"2026-02-02T03:04:05Z","ev":"segment","v":1,"node":"desk","segment":2,"boot":"b","why":"size","prev":{end},"app":"x""#
            );
            let line = seal(header.into_bytes());
            assert_eq!(decode(line.strip_suffix(b"\n").unwrap()).is_ok(), is_line, "{seq}");
        }
    }

    #[test]
    fn an_event_of_the_future_is_kept_and_renumbered_whole() {
        let line = seal(
            br#"{"seq":7,"ts":"2026-02-02T03:04:05.2Z","ev":"danced","x":[1,{"y":2}]"#.to_vec(),
        );
        let line = line.strip_suffix(b"\n").unwrap();
        let (record, _) = decode(line).unwrap();
        assert_eq!(record.event, Event::Unknown("danced".into()));
        let again = renumber(line, 12).unwrap();
        let again = again.strip_suffix(b"\n").unwrap();
        assert_eq!(decode(again).unwrap().0.seq, 12);
        assert!(String::from_utf8_lossy(again).contains(r#""x":[1,{"y":2}]"#));
    }

    #[test]
    fn the_count_of_a_batch_is_changed_and_nothing_else() {
        let start = r#"{"seq":7,"ts":"2026-02-02T03:04:05.2Z","ev":"batch_committed","batch":"b""#;
        for (old, new) in [
            (r#","count":12"#, Some(r#","count":9"#)),
            (r#","count":12,"x":[1]"#, Some(r#","count":9,"x":[1]"#)),
            (r#","y":3,"count":12,"x":[1]"#, Some(r#","y":3,"count":9,"x":[1]"#)),
            (r#","count":123"#, None),
            (r#","count":1"#, None),
            ("", None),
        ] {
            let line = seal(format!("{start}{old}").into_bytes());
            let again = recount(line.strip_suffix(b"\n").unwrap(), 12, 9);
            assert_eq!(again, new.map(|new| seal(format!("{start}{new}").into_bytes())), "{old}");
        }
    }
}
