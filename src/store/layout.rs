//! Where everything is in the queue directory, and what may be a name there.
//!
//! Only names: touches no file.

use std::path::{Path, PathBuf};

use crc32c::crc32c;

/// Says which format the directory has.
pub const FORMAT: &str = "FORMAT";
/// What [`FORMAT`] says in a directory made by this version.
pub const FORMAT_CONTENT: &str = "{\"format\":1,\"requires\":[]}\n";
/// The newest format this version knows.
pub const FORMAT_KNOWN: u64 = 1;

/// Says which node this machine is.
pub const NODE_FILE: &str = "node.json";

/// Files that keep `local/` and what is half made from other machines, and what they say.
pub const KEPT_HOME: [(&str, &str); 3] = [
    (".gitignore", "/local/\n*.tmp\n"),
    // Git would change line ends, and with them every checksum.
    (".gitattributes", "*.jsonl -text\n"),
    (".stignore", "/local\n*.tmp\n"),
];

/// The longest id of a node, in bytes.
pub const LONGEST_NODE: usize = 64;

/// The longest name of a host within the id of its node, in bytes.
const LONGEST_HOST: usize = 20;

/// The longest that stands of a job's id in the name of a file, in bytes.
const LONGEST_JOB: usize = 160;

/// The logs of all nodes.
pub fn logs(root: &Path) -> PathBuf {
    root.join("log")
}

/// What is one machine's own, for all machines.
pub fn locals(root: &Path) -> PathBuf {
    root.join("local")
}

/// Whether a text can be the id of a node: it names a directory, on every machine that syncs it, so it has only
/// lower-case letters, digits, `-` and `_`, and begins with none of the two.
pub fn is_node(text: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    !text.is_empty()
        && text.len() <= LONGEST_NODE
        && text.bytes().all(allowed)
        && !text.starts_with(['-', '_'])
}

/// The name of a host as it stands in the id of its node: the part before the first dot, in lower case, with `-` for
/// what cannot stand in a node's id.
pub fn short_host(host: &str) -> String {
    let first = host.split('.').next().unwrap_or_default();
    let allowed = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let name: String = first.to_lowercase().chars().map(allowed).take(LONGEST_HOST).collect();
    match name.trim_matches('-') {
        "" => "node".to_owned(),
        name => name.to_owned(),
    }
}

/// The files of one run, relative to the directory of outputs. Each carries the run's lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFiles {
    /// What it printed.
    pub out: PathBuf,
    /// What it printed as errors.
    pub err: PathBuf,
    /// What it reads.
    pub stdin: PathBuf,
}

/// The files of a run of a job, `<shard>/<job>.<run>.out` and so on.
///
/// Whatever the id, also one that a hostile log brings, they stand within the directory of outputs.
pub fn run_files(job: &str, run: u32) -> RunFiles {
    let shard = PathBuf::from(shard(job));
    let [out, err, stdin] = run_names(job, run).map(|name| shard.join(name));
    RunFiles { out, err, stdin }
}

/// The directory, among the outputs, of what a job printed.
pub fn shard(job: &str) -> String {
    format!("{:02x}", crc32c(job.as_bytes()) & 0xff)
}

/// The names of the files of a run: what it printed, what it printed as errors, what it read.
pub fn run_names(job: &str, run: u32) -> [String; 3] {
    let name = file_name(job);
    ["out", "err", "in"].map(|ending| format!("{name}.{run}.{ending}"))
}

/// The job of a file of a run, by its name; none where it is no such name, or the id is too long to stand in it whole.
pub fn job_of_run_file(name: &str) -> Option<String> {
    let (rest, ending) = name.rsplit_once('.')?;
    let (stem, run) = rest.rsplit_once('.')?;
    if !["out", "err", "in"].contains(&ending) || run.parse::<u32>().is_err() {
        return None;
    }
    let (mut bytes, mut rest) = (Vec::new(), stem.as_bytes());
    while let Some((byte, after)) = rest.split_first() {
        (bytes, rest) = match (byte, after) {
            (b'%', [a, b, after @ ..]) => {
                let digits = [*a, *b];
                let digits = std::str::from_utf8(&digits).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                (bytes, after)
            }
            (b'%', _) => return None,
            _ => {
                bytes.push(*byte);
                (bytes, after)
            }
        };
    }
    String::from_utf8(bytes).ok()
}

/// A job's id as the beginning of a file's name: as it is where it can be, else with `%` and two hex digits a byte, and
/// cut to a checksum where it is long.
fn file_name(job: &str) -> String {
    let mut name = String::with_capacity(job.len());
    for (index, byte) in job.bytes().enumerate() {
        match byte {
            b'.' if index > 0 => name.push('.'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'@' | b'+' | b'=' => {
                name.push(char::from(byte));
            }
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    if name.len() > LONGEST_JOB {
        name.truncate(LONGEST_JOB);
        name.push_str(&format!("%%{:08x}", crc32c(job.as_bytes())));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_a_node() {
        for good in ["desk-7f3a", "n1", "a_b", &"x".repeat(64)] {
            assert!(is_node(good), "{good:?}");
        }
        for bad in ["", "-a", "_a", "A", "a.b", "a/b", "..", "é", "a b", &"x".repeat(65)] {
            assert!(!is_node(bad), "{bad:?}");
        }
    }

    #[test]
    fn hosts_are_cut_to_what_can_be_a_node() {
        for (host, short) in [
            ("Desk.local", "desk"),
            ("Anna's MacBook", "anna-s-macbook"),
            ("", "node"),
            ("…", "node"),
            ("a-very-long-name-of-a-host", "a-very-long-name-of"),
        ] {
            assert_eq!(short_host(host), short);
            assert!(is_node(&format!("{short}-7f3a")));
        }
    }

    #[test]
    fn run_files_stay_where_they_belong() {
        let files = run_files("01KGE3H9000000000000000000", 2);
        let name = files.out.file_name().unwrap().to_str().unwrap();
        assert_eq!(name, "01KGE3H9000000000000000000.2.out");
        assert_eq!(files.stdin.extension().unwrap(), "in");

        let long = "é".repeat(64);
        let alike = "é".repeat(63) + "è";
        for job in ["../../etc/passwd", ".", "..", "/", "", "a\0b", &long] {
            let out = run_files(job, 1).out;
            assert_eq!(out.components().count(), 2, "{out:?}");
            let name = out.file_name().unwrap().to_str().unwrap().to_owned();
            assert!(name.len() < 250 && !name.contains('\0') && !name.starts_with(".."), "{name}");
        }
        assert_ne!(run_files(&long, 1), run_files(&alike, 1));
        assert_eq!(job_of_run_file(run_names(&long, 7)[0].as_str()), None);
        for job in ["a.b", "../x", "é", "%41", "01KGE3H9000000000000000000", "."] {
            for name in run_names(job, 12) {
                assert_eq!(job_of_run_file(&name).as_deref(), Some(job));
            }
        }
        for name in ["a.out", "a.x.out", "a.1.txt", "%.1.out", "%zz.1.out"] {
            assert_eq!(job_of_run_file(name), None, "{name}");
        }
        assert_ne!(run_files("a:b", 1), run_files("a%3ab", 1));
    }

    /// What an older version printed to is found by every later one.
    #[test]
    fn run_files_are_named_so_for_ever() {
        for (job, out) in [
            ("01KGE3H9000000000000000000", "8e/01KGE3H9000000000000000000.2.out"),
            ("a.b", "d4/a.b.2.out"),
            (".a", "3b/%2ea.2.out"),
            ("a/b", "a3/a%2fb.2.out"),
        ] {
            assert_eq!(run_files(job, 2).out.to_str(), Some(out));
        }
        let longest = "x".repeat(LONGEST_JOB);
        for (job, is_whole) in [(longest.clone(), true), (longest + "x", false)] {
            let name = &run_names(&job, 1)[0];
            assert_eq!(job_of_run_file(name).as_ref() == Some(&job), is_whole, "{name}");
        }
    }
}
