//! The house rules, held against the text of every file, so that they stay true.

mod samples;
mod source;
mod style;
mod walls;

use std::fmt;
use std::path::{Path, PathBuf};

use source::Source;

/// A rule that a file breaks.
#[derive(Debug)]
pub struct Broken {
    path: String,
    line: usize,
    what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

fn broken(source: &Source, at: usize, what: &str) -> Broken {
    Broken { path: source.path.clone(), line: source.line(at), what: what.to_owned() }
}

fn check(source: &Source) -> Vec<Broken> {
    let mut all = walls::check(source);
    all.extend(style::check(source));
    all
}

/// Every Rust file under a folder.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        match path.is_dir() {
            true => files.extend(rust_files(&path)),
            false if path.extension().is_some_and(|ending| ending == "rs") => files.push(path),
            false => {}
        }
    }
    files.sort();
    files
}

/// Every Rust file of the project.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["src", "tests", "benches"].map(|folder| rust_files(&root.join(folder)));
    let sources: Vec<Source> = folders
        .iter()
        .flatten()
        .map(|file| {
            let path = file.strip_prefix(root).unwrap().to_str().unwrap();
            Source::new(path, &std::fs::read_to_string(file).unwrap())
        })
        .collect();
    assert!(sources.len() > 50, "only {} files in {}", sources.len(), root.display());
    sources
}

#[test]
fn the_house_is_tidy() {
    let broken: Vec<String> =
        sources().iter().flat_map(check).map(|broken| broken.to_string()).collect();
    assert!(broken.is_empty(), "{} rules are broken:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn no_exception_outlives_its_need() {
    let sources = sources();
    for (path, why) in walls::OPENS_FILES {
        let mut here = sources.iter().filter(|source| walls::is_in(&source.path, &[path]));
        assert!(here.any(|source| !walls::file_calls(source).is_empty()), "{path}: {why}");
    }
}
