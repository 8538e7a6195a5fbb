//! The simulated disk as processes see it: turns, locks, deaths and errors.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::machine::Machine;
use crate::random::Random;
use crate::weather::Weather;

type Ledger = Vec<String>;

/// Runs processes in slots of a machine until one stops it, and hands the machine back.
fn run(
    seed: u64,
    slots: usize,
    weather: Weather,
    live: impl Fn(&Process<Ledger>, &SimulatedDisk<Ledger>) + Sync,
) -> Arc<Machine<Ledger>> {
    let machine = Machine::new(seed, slots, weather, Ledger::new());
    let live =
        |process: &Process<Ledger>| live(process, &SimulatedDisk { process: process.clone() });
    machine.run(live).unwrap();
    machine
}

fn root(disk: &SimulatedDisk<Ledger>) -> Box<dyn Handle> {
    disk.open(Path::new("/"), Open::Directory).unwrap()
}

fn say(process: &Process<Ledger>, what: impl Into<String>) {
    process.turn().unwrap().ledger.push(what.into());
}

/// Appends under a lock, or not, a counter that it has read before.
fn count(process: &Process<Ledger>, disk: &SimulatedDisk<Ledger>, locks: Option<Lock>) {
    let file = root(disk).open_in("counter", Open::ReadWrite).unwrap();
    if let Some(kind) = locks {
        while !file.try_lock(kind).unwrap() {
            disk.pause(Duration::from_millis(1));
        }
    }
    let mut counter = [0];
    file.read_at(&mut counter, 0).unwrap();
    if counter[0] == 30 {
        process.stop();
    }
    file.write_at(&[counter[0] + 1], 0).unwrap();
    say(process, counter[0].to_string());
    file.unlock().unwrap();
}

#[test]
fn an_exclusive_lock_keeps_others_out_and_a_shared_one_does_not() {
    let repeats = |locks| {
        (0..20).filter(move |seed| {
            let weather = Weather { stay: 300_000, ..Weather::default() };
            let machine = run(*seed, 3, weather, |process, disk| count(process, disk, locks));
            let said = machine.lock().ledger.clone();
            said.iter().collect::<BTreeSet<_>>().len() < said.len()
        })
    };
    assert_eq!(repeats(Some(Lock::Exclusive)).count(), 0);
    assert!(repeats(Some(Lock::Shared)).count() > 10);
    assert!(repeats(None).count() > 10);
}

#[test]
fn a_seed_is_a_whole_history() {
    let history = |seed| {
        let weather = Weather { kill: 20_000, cut: 5_000, ..Weather::of(&mut Random::new(seed)) };
        let machine = run(seed, 3, weather, |process, disk| {
            if process.machine.lock().turns > 300 {
                process.stop();
            }
            let Ok(file) = root_or_error(disk).and_then(|root| root.open_in("f", Open::ReadWrite))
            else {
                return;
            };
            while file.try_lock(Lock::Exclusive).is_ok_and(|taken| !taken) {
                disk.pause(Duration::from_millis(1));
            }
            let _ = file.write_at(b"x", process.number);
            let _ = file.sync_data();
        });
        let inner = machine.lock();
        (inner.digest, inner.clock, inner.turns, inner.cuts)
    };
    let histories: Vec<_> = (0..20).map(history).collect();
    assert_eq!(histories, (0..20).map(history).collect::<Vec<_>>());
    assert_eq!(histories.iter().collect::<BTreeSet<_>>().len(), 20);
    assert!(histories.iter().any(|history| history.3 > 0));
}

fn root_or_error(disk: &SimulatedDisk<Ledger>) -> io::Result<Box<dyn Handle>> {
    disk.open(Path::new("/"), Open::Directory)
}

#[test]
fn a_killed_process_lets_go_of_its_locks_and_does_nothing_more() {
    struct Last<'a>(&'a Process<Ledger>, Box<dyn Handle>);
    impl Drop for Last<'_> {
        fn drop(&mut self) {
            // What the dead do while they unwind has no effect.
            let _ = self.1.append(b"dead");
            self.0.machine.lock().ledger.push("unwound".to_owned());
        }
    }
    let weather = Weather { kill: 1_000_000, calm_after: 1000, ..Weather::default() };
    let weather = Weather { stay: 1_000_000, ..weather };
    for seed in 0..20 {
        let machine = run(seed, 2, weather.clone(), |process, disk| {
            // Nothing befalls a process before its first turn; the second kills it.
            process.machine.lock().weather.kill = 0;
            let file = root(disk);
            let file = match file.open_in("lock", Open::CreateNew) {
                Ok(file) => file,
                Err(_) => file.open_in("lock", Open::Append).unwrap(),
            };
            if !file.try_lock(Lock::Exclusive).unwrap() {
                return;
            }
            if process.number > 4 {
                assert_eq!(file.stat().unwrap().len, 0);
                process.stop();
            }
            process.machine.lock().weather.kill = 1_000_000;
            let last = Last(process, file);
            last.1.append(b"dying").unwrap();
        });
        let said = machine.lock().ledger.clone();
        assert!(!said.is_empty() && said.iter().all(|said| said == "unwound"));
    }
}

#[test]
fn a_child_keeps_the_lock_of_a_file_that_it_inherited() {
    run(1, 1, Weather::default(), |process, disk| {
        let root = root(disk);
        let output = root.open_in("output", Open::ReadWrite).unwrap();
        if process.number == 1 {
            assert!(output.try_lock(Lock::Exclusive).unwrap());
            let inode = output.stat().unwrap().inode;
            let mut inner = process.turn().unwrap();
            let ends = inner.clock + Duration::from_secs(2);
            inner.begin_child(process.number, "w.1", inode, ends, 0);
            return;
        }
        let began = process.machine.lock().clock;
        assert!(!output.try_lock(Lock::Exclusive).unwrap());
        while !output.try_lock(Lock::Exclusive).unwrap() {
            disk.pause(Duration::from_millis(100));
        }
        let waited = process.machine.lock().clock - began;
        assert!(waited > Duration::from_secs(1) && waited < Duration::from_secs(3), "{waited:?}");
        process.stop();
    });
}

#[test]
fn a_power_cut_ends_everybody_and_begins_another_boot() {
    for seed in 0..20 {
        let machine = run(seed, 3, Weather::default(), |process, disk| {
            let boot = disk.boot().unwrap();
            if process.machine.lock().cuts == 2 {
                say(process, boot);
                process.stop();
            }
            let file = root(disk).open_in("lock", Open::ReadWrite).unwrap();
            if !file.try_lock(Lock::Exclusive).unwrap() {
                return;
            }
            say(process, boot);
            let mut inner = process.turn().unwrap();
            inner.begin_child(process.number, "w.1", ROOT, Duration::from_secs(1000), 0);
            inner.cut_power();
            assert!(inner.children.is_empty());
            drop(inner);
            drop(process.turn());
            unreachable!("nobody has a turn without power");
        });
        let inner = machine.lock();
        assert_eq!(inner.boot, 3);
        assert_eq!(inner.ledger.iter().collect::<BTreeSet<_>>().len(), 3, "{:?}", inner.ledger);
    }
}

#[test]
fn calls_fail_as_the_weather_has_it() {
    let errors = |weather: Weather| {
        let weather = Weather { calm_after: 200, ..weather };
        let machine = run(3, 1, weather, |process, disk| {
            if process.machine.lock().turns > 300 {
                process.stop();
            }
            let attempt = || -> io::Result<()> {
                let file = root_or_error(disk)?.open_in("file", Open::ReadWrite)?;
                if file.write_at(b"four", 0)? < 4 {
                    return Err(ErrorKind::WriteZero.into());
                }
                file.sync_data()
            };
            if let Err(error) = attempt() {
                let turns = process.machine.lock().turns;
                assert!(turns < 210, "{error} at {turns}: it should be calm by now");
                say(process, error.raw_os_error().map_or("short".to_owned(), |c| c.to_string()));
            }
        });
        let said: BTreeSet<String> = machine.lock().ledger.iter().cloned().collect();
        said.into_iter().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(errors(Weather::default()), "");
    assert_eq!(errors(Weather { error: 100_000, ..Weather::default() }), "5");
    assert_eq!(errors(Weather { sync_error: 100_000, ..Weather::default() }), "5");
    assert_eq!(errors(Weather { fill: 50_000, empty: 50_000, ..Weather::default() }), "28");
    assert_eq!(errors(Weather { short: 100_000, ..Weather::default() }), "short");
}

#[test]
fn a_panic_is_told_and_stops_the_machine() {
    let machine = Machine::new(1, 3, Weather::default(), Ledger::new());
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = machine.run(|process| {
        drop(process.turn());
        assert!(process.number < 5, "the fifth is one too many");
    });
    std::panic::set_hook(hook);
    assert_eq!(outcome.unwrap_err(), "a process panicked: the fifth is one too many");
}
