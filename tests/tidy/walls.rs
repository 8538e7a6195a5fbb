//! The walls between the rooms: what none of them may name.

use super::source::Source;
use super::{Broken, broken};

/// The rooms from the innermost out. Each may name those before it.
const ROOMS: [&str; 4] = ["domain", "store", "worker", "cli"];

/// Files outside the store that open files, and which.
pub const OPENS_FILES: [(&str, &str); 6] = [
    ("src/cli/enqueue.rs", "the files of jobs that a person names"),
    ("src/worker/output.rs", "what jobs print and read"),
    ("src/worker/output/", "what jobs print and read"),
    ("src/worker/follow.rs", "what jobs print"),
    ("src/worker/process/", "programs, and processes in /proc"),
    ("src/worker/signal.rs", "the terminal, to give it up"),
];

/// Where processes are started and ended.
const PROCESSES: [&str; 2] = ["src/worker/process.rs", "src/worker/process/"];

pub fn is_in(path: &str, list: &[&str]) -> bool {
    list.iter().any(|part| if part.ends_with('/') { path.starts_with(part) } else { path == *part })
}

pub fn check(source: &Source) -> Vec<Broken> {
    let mut all = Vec::new();
    if source.path.starts_with("src/") {
        all.extend(imports_point_one_way(source));
        all.extend(domain_is_pure(source));
        all.extend(only_the_store_opens_files(source));
        all.extend(only_transactions_append(source));
        all.extend(only_workers_have_processes(source));
        all.extend(only_the_terminal_speaks(source));
    }
    all
}

fn imports_point_one_way(source: &Source) -> Vec<Broken> {
    let Some(room) = source.room() else { return Vec::new() };
    let level = |room: &str| ROOMS.iter().position(|known| *known == room);
    let mut outward = source.named_of("crate");
    outward.extend(source.named_of("queuectl"));
    outward
        .into_iter()
        .filter(|(_, named)| level(named) > level(room) || (*named == "settings" && room != "cli"))
        .map(|(at, named)| {
            broken(source, at, &format!("{room} names {named}, but imports point inwards only"))
        })
        .collect()
}

fn domain_is_pure(source: &Source) -> Vec<Broken> {
    if source.room() != Some("domain") {
        return Vec::new();
    }
    let impure = ["fs", "io", "env", "process", "thread", "net"];
    let named = source.named_of("std").into_iter().filter(|(_, name)| impure.contains(name));
    let mut all: Vec<Broken> =
        named.map(|(at, name)| broken(source, at, &format!("domain names std::{name}"))).collect();
    for clock in ["SystemTime", "Instant", "now_utc", "now_local"] {
        let found = source.find(clock).into_iter();
        all.extend(found.map(|at| broken(source, at, &format!("domain reads a clock: {clock}"))));
    }
    for chance in ["rand", "Ulid", "rustix", "fs4", "notify", "rayon"] {
        let found = source.find(chance).into_iter();
        all.extend(found.map(|at| broken(source, at, &format!("domain is not pure: {chance}"))));
    }
    all
}

fn only_the_store_opens_files(source: &Source) -> Vec<Broken> {
    let listed: Vec<&str> = OPENS_FILES.iter().map(|(path, _)| *path).collect();
    if source.room() == Some("store") || is_in(&source.path, &listed) {
        return Vec::new();
    }
    let what = "only the store opens files of the queue; others stand in the list of this check";
    let places = file_calls(source).into_iter();
    places.map(|at| broken(source, at, what)).collect()
}

/// Where files are named outside of tests.
pub fn file_calls(source: &Source) -> Vec<usize> {
    let named = ["std", "rustix"].map(|root| source.named_of(root));
    let named = named.into_iter().flatten().filter(|(_, name)| *name == "fs");
    let mut places: Vec<usize> = named.map(|(at, _)| at).collect();
    places.extend(source.named_of("fs").into_iter().map(|(at, _)| at));
    for words in ["File::open", "File::create", "OpenOptions::new"] {
        places.extend(source.find(words));
    }
    places.retain(|at| !source.is_test(*at));
    places
}

fn only_transactions_append(source: &Source) -> Vec<Broken> {
    let mut all = Vec::new();
    let mut forbid = |words: &str, allowed: &[&str], what: &str| {
        if !is_in(&source.path, allowed) {
            let places = source.find(words).into_iter().filter(|at| !source.is_test(*at));
            all.extend(places.map(|at| broken(source, at, what)));
        }
    };
    let rooms = ["src/store/", "src/store.rs"];
    for words in ["store::append", "store::log", "store::rotate", "store::disk::write_all"] {
        forbid(words, &rooms, "only Store::transact and Store::enqueue append to the log");
    }
    let writers = ["src/store/mod.rs", "src/store/enqueue.rs", "src/store/append.rs"];
    let what = "the log is written to by Store::transact and Store::enqueue alone";
    forbid("locked.write", &writers, what);
    forbid(".commit(&written", &writers, what);
    let rotators = [writers[0], writers[2], "src/store/rotate.rs", "src/store/upkeep.rs"];
    forbid("rotate_orderly", &rotators, what);
    let appenders = ["src/store/disk.rs", "src/store/small_file.rs", "src/store/append.rs"];
    forbid("file.append(", &appenders, "files are appended to through disk::write_all alone");
    all
}

fn only_workers_have_processes(source: &Source) -> Vec<Broken> {
    let mut all = Vec::new();
    if !is_in(&source.path, &PROCESSES) {
        let mut places = Vec::new();
        for words in ["kill_process", "kill_process_group", "pidfd_send_signal", "fork"] {
            places.extend(source.find(words));
        }
        // The command line has a Command of its own.
        let named = source.named_of("process").into_iter().filter(|(_, name)| *name == "Command");
        places.extend(named.map(|(at, _)| at));
        let what = "only worker/process starts and ends processes";
        let places = places.into_iter().filter(|at| !source.is_test(*at));
        all.extend(places.map(|at| broken(source, at, what)));
    }
    if source.room() == Some("store") {
        let named = source.named_of("std").into_iter().filter(|(_, name)| *name == "process");
        let named = named.filter(|(at, _)| !source.is_test(*at));
        all.extend(named.map(|(at, _)| broken(source, at, "store names std::process")));
    }
    all
}

fn only_the_terminal_speaks(source: &Source) -> Vec<Broken> {
    let is_outer = source.room() == Some("cli") || source.path == "src/main.rs";
    let mut all = Vec::new();
    if !is_outer {
        for words in ["println!", "eprintln!", "print!", "eprint!"] {
            let places = source.find(words).into_iter().filter(|at| !source.is_test(*at));
            all.extend(places.map(|at| broken(source, at, "only cli prints")));
        }
    }
    if !is_outer && !is_in(&source.path, &PROCESSES) {
        for words in ["process::exit", "ExitCode", "exit::"] {
            let places = source.find(words).into_iter().filter(|at| !source.is_test(*at));
            all.extend(places.map(|at| broken(source, at, "only cli picks an exit code")));
        }
    }
    all
}
