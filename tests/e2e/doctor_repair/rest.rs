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
