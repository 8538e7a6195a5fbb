//! A file system that fills up while jobs run: nothing new is taken in, what runs is recorded, and with room everything
//! goes on. On ext4 in a loop file, in a mount namespace of its own, so as root.

use std::process::Command;

use serde_json::json;

use crate::harness::{Done, Home};

const BINARY: &str = env!("CARGO_BIN_EXE_queuectl");

/// Whether file systems can be mounted here. In CI it must be so.
fn may_mount(test: &str) -> bool {
    let try_it = "truncate -s 1M \"$1\" && mkfs.ext4 -q -F \"$1\" && mount -o loop \"$1\" /mnt";
    let image = tempfile::NamedTempFile::new().expect("a temporary file");
    let words = ["-m", "sh", "-c", try_it, "sh", image.path().to_str().expect("a path in UTF-8")];
    let may = Command::new("unshare").args(words).output();
    let may = may.is_ok_and(|done| done.status.success());
    assert!(may || std::env::var_os("QUEUECTL_CI").is_none(), "{test} may not mount a loop file");
    if !may {
        eprintln!("skipped: {test} may not mount a loop file");
    }
    may
}

/// Runs a script where `$QUEUECTL_DIR` is a file system of its own of this size.
fn on_ext4(home: &Home, size: &str, script: &str) -> Done {
    std::fs::create_dir(home.queue()).expect("a directory");
    let script = format!(
        r#"
        set -eu
        truncate -s {size} image; mkfs.ext4 -q -F image; mount -o loop image "$QUEUECTL_DIR"
        chmod 700 "$QUEUECTL_DIR"
        q() {{ "{BINARY}" "$@"; }}
        # Waits for what the words say, and not for ever.
        until_true() {{ n=0; until eval "$1"; do n=$((n + 1)); test $n -lt 1500; sleep 0.02; done; }}
        count() {{ q list "state:$1" --ids | wc -l; }}
        fill() {{ cat /dev/zero > "$QUEUECTL_DIR/padding" 2> /dev/null || true; }}
        {script}"#
    );
    home.command("unshare", ["-m", "sh", "-c", &script]).done()
}

const FILLS_UP: &str = r#"
    head -c $BALLAST /dev/zero > "$QUEUECTL_DIR/ballast"
    for n in 1 2 3 4 5 6 7 8; do
        q enqueue --id "run$n" 'touch begun.$QUEUECTL_JOB_ID
            until test -e go; do sleep 0.02; done; printf "%02000d" 0; echo $QUEUECTL_JOB_ID >> ended' >> told
    done
    q worker start --count 8 2> worker_errors & worker=$!
    until_true 'test $(ls begun.* 2> /dev/null | wc -l) = 8'
    test -s "$QUEUECTL_DIR"/local/*/reserve

    # First nothing new is taken in, with some room left.
    printf "\"%0${META}d\"" 0 > meta
    told() { q enqueue --id "$1" --meta "$(cat meta)" true >> told 2>> errors; }
    n=0; while told "job$n"; do n=$((n + 1)); done || true
    told again || echo $? > code
    printf 'true\ntrue\n' | q enqueue --lines - > batch 2>> errors || echo $? > batch_code
    q run true 2>> errors || echo $? > run_code
    q status --json > status_low

    # Then others take all of it, and what runs ends.
    fill
    q status --json > status_full
    q list --ids > listed_full 2> list_errors
    touch go
    until_true 'test $(count completed) = 8'
    fill
    touch full
    # Nothing is claimed meanwhile, and people can still change what waits.
    until_true 'grep -q "nearly full" worker_errors'
    test $(count processing) = 0
    kill -0 $worker
    q cancel job0 --yes 2> cancel_errors || echo $? > cancel_code
    told full || echo $? > full_code

    rm "$QUEUECTL_DIR/padding" "$QUEUECTL_DIR/ballast"
    until_true 'test $(( $(count completed) + $(count cancelled) )) = $(wc -l < told)'
    q enqueue --id after true >> told
    until_true 'q list --ids state:completed | grep -q "^after$"'
    test -s "$QUEUECTL_DIR"/local/*/reserve
    q worker stop
    wait $worker
    q list --ids > listed
    for kind in claimed released; do
        q events --jsonl | grep -c "\"ev\":\"$kind\"" > $kind || true
    done
"#;

#[test]
fn what_runs_is_recorded_on_a_full_disk_and_everything_goes_on_with_room() {
    let test = "what_runs_is_recorded_on_a_full_disk_and_everything_goes_on_with_room";
    if !may_mount(test) {
        return;
    }
    for (size, ballast, meta) in [("4M", "512k", 10_000), ("16M", "2M", 50_000)] {
        let home = Home::new();
        let done = on_ext4(&home, size, &format!("BALLAST={ballast}; META={meta}{FILLS_UP}"));
        let worker = home.read("worker_errors");
        let errors = home.read("errors");
        assert_eq!(done.code, 0, "{size}: {}\n{worker}\n{errors}", done.stderr);

        let told = home.read("told");
        assert!(told.lines().count() > 30, "the disk was full from the start: {told}");
        assert_eq!(home.read("listed"), told, "what was told, in that order, and nothing else");
        assert_eq!(home.read("listed_full"), told.replace("after\n", ""));

        for code in ["code", "batch_code", "full_code"] {
            assert_eq!(home.read(code), "74\n", "{size} {code}: {errors}");
        }
        assert_eq!((home.read("run_code").as_str(), home.read("batch").as_str()), ("125\n", ""));
        let queue = home.queue().display().to_string();
        for line in errors.lines().filter(|line| !line.starts_with("hint: ")) {
            let names = line.contains("KiB are free in") && line.contains(&queue);
            assert!(names && line.contains("the disk is nearly full"), "{line}");
        }
        assert!(errors.contains("hint: free some space"), "{errors}");

        let status = |name: &str| -> serde_json::Value {
            serde_json::from_str(&home.read(name)).expect("a status")
        };
        let (low, full) = (status("status_low"), status("status_full"));
        assert_eq!((&low["disk"]["full"], &full["disk"]["full"]), (&json!(true), &json!(true)));
        assert!(low["disk"]["free_bytes"].as_u64() > Some(0), "room was left: {low}");
        assert_eq!(full["disk"]["free_bytes"], 0, "{full}");
        assert_eq!(home.read("list_errors").matches("warning: the disk is nearly full").count(), 1);

        assert_eq!(
            worker.matches("the disk is nearly full").count(),
            1,
            "it is said once: {worker}"
        );
        assert!(worker.contains("there is room on the disk again"), "{worker}");
        // What waits can be changed, and but for claims that were made ahead each job was claimed once.
        assert_eq!(home.read("cancel_code"), "", "{}", home.read("cancel_errors"));
        assert_eq!(home.read("ended").lines().count(), 8);
        let number = |name: &str| home.read(name).trim().parse::<usize>().expect("a number");
        assert_eq!(number("claimed") - number("released"), told.lines().count() - 1, "{worker}");
        eprintln!("{size}: {} jobs", told.lines().count());
    }
}
