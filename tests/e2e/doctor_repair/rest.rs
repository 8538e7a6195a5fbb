//! What a repair keeps that is nearly lost, and what it leaves alone.

use super::*;

/// Once a repair made nothing of a batch of which one line was lost.
#[test]
fn of_a_batch_that_lost_a_line_the_rest_is_there() {
    for (lost, left) in [("echo 7", 39), ("batch_committed", 40), ("echo 39", 39)] {
        let home = Home::new();
        let lines: String = (0..40).map(|n| format!("echo {n}\n")).collect();
        home.run_with("enqueue --lines - --quiet", &lines).ok();
        home.ok("enqueue --id other true");
        edit(&home.own_segment(1), |text| {
            let line = text.lines().find(|line| line.contains(&format!("\"{lost}\""))).unwrap();
            text.replace(line, &line.replace("\"ts\"", "\"tz\""))
        });
        home.forget();
        // What is readable is shown before it is mended, too.
        assert_eq!(home.run("list --ids").stdout.lines().count(), left + 1, "{lost}");
        assert_eq!(home.repair()["lost"].as_array().unwrap().len(), 1);
        assert_eq!(home.ok("list --ids").lines().count(), left + 1, "{lost}");
        home.drain("").ok();
        assert_eq!(home.run("status --json").json()["counts"]["completed"], left + 1);
        assert_eq!(home.examine().0, 0);
    }
}

/// A compaction that was ended leaves segments that its base stands for; where a line of that is hit, they still have it.
#[test]
fn what_a_broken_base_lost_is_taken_from_the_segments_that_are_left() {
    let home = worked();
    home.ok("config set retention none");
    let all: Vec<_> = home.segments().iter().map(|p| (p.clone(), fs::read(p).unwrap())).collect();
    home.ok("compact");
    let base = home.segments().into_iter().find(|path| path.to_string_lossy().contains(".base."));
    for (path, bytes) in &all[1..] {
        fs::write(path, bytes).expect("a segment is put back");
    }
    edit(&base.expect("a base"), |text| text.replace("\"job\":\"three\"", "\"job\":\"thrEe\""));
    home.forget();
    home.repair();
    assert_eq!(home.ids_there(), ["one", "two", "three"]);
    assert_eq!(home.examine().0, 0);
}

/// Somebody may have put a directory of theirs in the place of the caches.
#[test]
fn what_is_not_its_own_is_left_alone() {
    let home = worked();
    home.ok("status");
    let cache = home.local().join("cache");
    for name in ["thesis.txt", "thesis.tmp"] {
        fs::write(cache.join(name), "mine\n").expect("a file");
    }
    edit(&home.own_segment(1), |text| text.replace("echo\",\"2\"", "echo\",\"3\""));
    home.repair();
    for name in ["thesis.txt", "thesis.tmp"] {
        assert!(cache.join(name).exists(), "{name}");
    }
    assert!(!cache.join("state.ckpt").exists());
}

/// Once a repair made nothing of what the cache knew where the file was gone that it had read to.
#[test]
fn what_was_read_before_its_file_was_lost_is_not_lost() {
    type Wound = fn(&Home);
    let gone: Wound = |home| fs::remove_file(home.own_segment(1)).unwrap();
    let zeroed: Wound = |home| {
        let len = fs::metadata(home.own_segment(1)).unwrap().len() as usize;
        fs::write(home.own_segment(1), vec![0; len]).unwrap();
    };
    for (wound, is_sealed) in [(gone, true), (zeroed, true), (zeroed, false)] {
        let home = Home::new();
        for text in ["one", "two", "three"] {
            home.enqueue(text, "", "true");
        }
        // Whoever has read a little keeps it for the next once it is much, or once a worker ends.
        home.drain("").ok();
        assert!(home.local().join("cache/state.ckpt").exists());
        let before = home.run("list --json").json();
        if is_sealed {
            home.ok("config set max_retries 7");
        }
        wound(&home);
        let repair = home.repair();
        assert_eq!(home.run("list --json").json(), before, "{repair}");
        assert_eq!(home.examine().0, 0);
        home.ok("enqueue true");
    }
}

#[test]
fn only_lines_that_are_not_there_are_told_as_lost() {
    let home = Home::new();
    for text in ["one", "two", "three"] {
        home.enqueue(text, "", &format!("echo {text}"));
    }
    home.ok("config set max_retries 7");
    // The line is longer by a byte, so what stands behind it is behind the end that the next segment tells of.
    edit(&home.own_segment(1), |text| text.replace("echo two", "echo twoo"));
    home.forget();
    assert_eq!(home.repair()["lost"], json!([{ "from": 2, "to": 2 }]));
    assert_eq!(home.ids_there(), ["one", "three"]);

    let home = Home::new();
    home.enqueue("one", "", "true");
    home.enqueue("two", "", "true");
    fs::remove_dir_all(home.own_log()).expect("a log");
    assert_eq!(home.repair()["lost"], json!([{ "from": 1, "to": 2 }]));
}

/// Once a repair went by names alone: what stood under another was taken for repeated, and a stray base for the newest.
#[test]
fn a_file_with_another_name_is_read_where_it_says_that_it_belongs() {
    type Change = fn(&Home);
    let swapped: Change = |home| {
        let (one, other) = (home.own_segment(2), home.own_segment(3));
        let between = one.with_extension("x");
        fs::rename(&one, &between).unwrap();
        fs::rename(&other, &one).unwrap();
        fs::rename(&between, &other).unwrap();
    };
    let renamed: Change = |home| {
        fs::rename(home.own_segment(2), home.own_log().join("00000007.jsonl")).unwrap();
    };
    let doubled: Change = |home| {
        fs::copy(home.own_segment(1), home.own_log().join("00000005.jsonl")).unwrap();
    };
    let stray: Change = |home| {
        home.ok("compact");
        fs::write(home.own_log().join("00000007-00000009.base.jsonl"), "").unwrap();
    };
    let out_of_reach: Change = |home| {
        edit(&home.own_segment(1), |text| text.replace("echo 1", "echo one"));
        fs::write(home.own_log().join("999999999999999999.jsonl"), "").unwrap();
    };
    for (what, change, lost) in [
        ("swapped", swapped, 0),
        ("renamed", renamed, 0),
        ("doubled", doubled, 0),
        ("a stray base", stray, 0),
        ("a number that no header can have", out_of_reach, 1),
    ] {
        let home = Home::new();
        for n in 1..=6 {
            home.enqueue(&format!("job{n}"), "", &format!("echo {n}"));
            if n % 2 == 0 {
                home.ok(&format!("config set max_retries {n}"));
            }
        }
        change(&home);
        home.forget();
        let repair = home.repair();
        assert_eq!(home.ids_there().len(), 6 - lost, "{what}: {repair}");
        assert_eq!(repair["lost"].as_array().map_or(0, Vec::len), lost, "{what}: {repair}");
        for n in 7..=12 {
            home.enqueue(&format!("job{n}"), "", "true");
        }
        assert_eq!(home.ids_there().len(), 12 - lost, "{what}");
        assert_eq!(home.examine().0, 0, "{what}");
    }
}

/// Once the doctor took it for an older log, and its repair found that it wasn't, for ever.
#[test]
fn a_file_that_was_cut_is_damage_where_the_log_goes_on_behind_it() {
    for is_next_there in [true, false] {
        let home = Home::new();
        for text in ["one", "two"] {
            home.enqueue(text, "", "true");
        }
        let mark = fs::read(home.local().join("mark")).expect("a mark");
        home.ok("config set max_retries 7");
        home.ok("config set max_retries 8");
        // The mark may lag behind, but never so far that it knows nothing of what was told.
        fs::write(home.local().join("mark"), mark).expect("a mark");
        let bytes = fs::read(home.own_segment(1)).expect("a segment");
        fs::write(home.own_segment(1), &bytes[..bytes.len() - 10]).expect("a segment");
        if !is_next_there {
            fs::remove_file(home.own_segment(2)).expect("a segment");
        }
        home.forget();
        let repair = home.repair();
        assert!(repair["steps"].as_array().expect("steps").contains(&json!("rebuild")), "{repair}");
        assert_eq!(home.ids_there(), ["one"]);
        assert_eq!(home.examine().0, 0);
    }
}

/// One that had shed its environment was not seen once, and its job was run beside it.
#[test]
fn a_run_whose_start_is_lost_is_waited_for_whatever_it_carries() {
    for (before, is_read) in [("", false), ("exec env -i ", false), ("exec env -i ", true)] {
        let home = Home::new();
        let go = home.join("go").display().to_string();
        let script = format!("echo begun >> begun; until test -e {go}; do sleep 0.02; done");
        home.enqueue("slow", "", &format!("{before}sh -c '{script}'"));
        let _worker = home.worker_up("");
        home.wait_for_lines("begun", 1);
        let claimed = |line: &&str| line.contains("\"claimed\"") && line.contains("\"slow\"");
        if is_read {
            home.enqueue("quick", "", "true");
            home.run("worker start --max-jobs 1").ok();
            assert!(home.local().join("cache/state.ckpt").exists());
        }
        edit(&home.own_segment(1), |text| {
            let line = text.lines().find(claimed).expect("a claim");
            text.replace(line, &line.replace("claimed", "clAimed"))
        });
        let log = tree(&home.queue().join("log"));
        let done = home.run("doctor --repair --yes");
        if is_read {
            // What was read before has the start, so nothing of the run is lost.
            assert_eq!((done.code, home.state("slow").as_str()), (0, "processing"), "{done:?}");
        } else {
            assert!(done.stderr.contains("the start of a run that goes on"), "{done:?}");
            assert_eq!(tree(&home.queue().join("log")), log, "{before}");
        }
        home.write("go", "");
    }
}

/// Its end could not be written, and it went as one that died.
#[test]
fn a_worker_that_is_stopped_while_a_repair_goes_on_ends_behind_it() {
    let home = worked();
    let mut worker = home.worker_up("");
    let lock = fs::File::create(home.local().join("compact.lock")).expect("a lock");
    lock.lock().expect("nobody else has it");
    let note = home.write("queue/note", "a repair was begun\n");
    fs::rename(note, home.local().join("degraded")).expect("a note");
    worker.signal(rustix::process::Signal::TERM);
    let then = std::time::Instant::now() + std::time::Duration::from_millis(300);
    wait_until("a while", || std::time::Instant::now() > then);
    assert!(!worker.is_over(), "{}", worker.stderr());
    fs::remove_file(home.local().join("degraded")).expect("a note");
    drop(lock);
    let ended = worker.end();
    assert!([0, 143].contains(&ended.code), "{ended:?}");
    assert_eq!(home.examine().0, 0);
    assert_eq!(home.events("worker_stopped").len(), 2);
}
