//! `queuectl enqueue`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use serde_json::{Value, json};

use super::harness::Home;
use super::story;
use super::verbs::{Case, Verb};

pub const VERBS: &[Verb] = &[Verb {
    path: "enqueue",
    success: Case::ok(story::nothing, "enqueue 'echo hi | wc'"),
    refusal: Case::fails(story::one_waiting, "enqueue --id job1 true", 1),
    json: Case::ok(
        story::nothing,
        "enqueue --id job1 --priority 5 --tag a --tag b --timeout 90s --meta '{\"n\": 1.50}' rsync -a 'my src/' dst/",
    ),
}];

/// The jobs that `list --json` shows.
fn jobs(home: &Home) -> Vec<Value> {
    home.run("list --json").json().as_array().expect("an array").clone()
}

/// Enqueues one job, and gives it.
#[track_caller]
fn enqueued(line: &str) -> Value {
    let home = Home::new();
    let id = home.say(&format!("enqueue {line}")).done().ok();
    home.job(id.trim_end())
}

#[test]
fn the_id_alone_is_printed_and_generated_ids_are_ulids() {
    let home = Home::new();
    let printed = home.say("enqueue 'echo hi'").done();
    assert_eq!(printed.stderr, "");
    let id = printed.ok();
    assert_eq!((id.len(), id.ends_with('\n')), (27, true), "{id:?}");
    assert!(id.trim_end().bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase()), "{id}");
    assert_eq!(home.ok("enqueue --id job1 true"), "job1\n");
}

#[test]
fn the_forms_of_a_command() {
    let table = [
        ("'echo hi | wc'", json!("echo hi | wc"), Value::Null),
        ("--command 'echo hi'", json!("echo hi"), Value::Null),
        ("-c ls", json!("ls"), Value::Null),
        ("ls", json!("ls"), Value::Null),
        ("rsync -a src/ dst/", json!("rsync -a src/ dst/"), json!(["rsync", "-a", "src/", "dst/"])),
        ("-- rsync --json", json!("rsync --json"), json!(["rsync", "--json"])),
        ("-- '{\"command\":\"x\"}'", json!("{\"command\":\"x\"}"), Value::Null),
        ("'{\"command\":\"sleep 2\"}'", json!("sleep 2"), Value::Null),
        ("'{\"argv\":[\"echo\",\"a b\"]}'", json!("echo 'a b'"), json!(["echo", "a b"])),
        ("'echo hi' --priority 3", json!("echo hi"), Value::Null),
        ("--command '-n'", json!("-n"), Value::Null),
    ];
    for (line, command, argv) in table {
        let job = enqueued(line);
        assert_eq!(job["argv"], argv, "{line}");
        let said = job["command"].as_str().map(|text| text.replace('"', "'"));
        let wanted = command.as_str().map(|text| text.replace('"', "'"));
        assert_eq!(said, wanted, "{line}");
    }
}

#[test]
fn exactly_one_source() {
    let home = Home::new();
    home.write("f", "{\"command\":\"true\"}\n");
    for line in [
        "enqueue",
        "enqueue --priority 3",
        "enqueue --command a b",
        "enqueue --command a --file f",
        "enqueue --file f --lines f",
        "enqueue --file f ls",
        "enqueue 'a b' c",
        "enqueue --",
        "enqueue --command a -- b",
    ] {
        let said = home.say(line).done().fails(2);
        assert!(!said.is_empty(), "{line}");
    }
    assert!(!home.queue().exists());
}

#[test]
fn files_and_stdin_hold_sequences_of_objects() {
    for text in [
        "{\"id\":\"a\",\"command\":\"x\"}\n{\"id\":\"b\",\"command\":\"y\"}\n",
        "{\n  \"id\": \"a\",\n  \"command\": \"x\"\n}\n\n{ \"id\": \"b\", \"command\": \"y\" }",
        "[{\"id\":\"a\",\"command\":\"x\"},{\"id\":\"b\",\"command\":\"y\"}]",
        "\u{feff}{\"id\":\"a\",\"command\":\"x\"}{\"id\":\"b\",\"command\":\"y\"}\r\n",
    ] {
        let home = Home::new();
        home.write("jobs", text);
        assert_eq!(home.ok("enqueue -f jobs"), "a\nb\n", "{text}");
        for line in ["enqueue -", "enqueue -f -", "enqueue --file=-"] {
            let home = Home::new();
            assert_eq!(home.run_with(line, text).ok(), "a\nb\n", "{line}: {text}");
        }
        let commands: Vec<Value> = jobs(&home).iter().map(|job| job["command"].clone()).collect();
        assert_eq!(commands, ["x", "y"], "{text}");
    }
}

#[test]
fn lines_are_commands_and_nothing_in_them_is_interpreted() {
    let home = Home::new();
    let text = "echo one\n\n   \n# not a comment \\\n{\"command\":\"x\"}\nlast without newline";
    home.run_with("enqueue --lines - --tag t", text).ok();
    let commands: Vec<Value> = jobs(&home).iter().map(|job| job["command"].clone()).collect();
    assert_eq!(
        commands,
        ["echo one", "# not a comment \\", "{\"command\":\"x\"}", "last without newline"]
    );
    assert!(jobs(&home).iter().all(|job| job["tags"] == json!(["t"])));
}

#[test]
fn a_batch_is_all_or_nothing() {
    let home = Home::new();
    home.ok("enqueue --id taken true");
    let before = home.log();
    for (text, word) in [
        ("{\"id\":\"a\",\"command\":\"x\"}\n{\"id\":\"taken\",\"command\":\"y\"}", "taken"),
        ("{\"id\":\"a\",\"command\":\"x\"}\n{\"id\":\"a\",\"command\":\"y\"}", "twice"),
        ("{\"id\":\"a\",\"command\":\"x\"}\n{\"command\":}", "line 2, column 12"),
        ("{\"id\":\"a\",\"command\":\"x\"}\n{\"id\":\"b\"}", "command"),
        ("{\"id\":\"a\",\"command\":\"x\"}\n{\"id\":\"b c\",\"command\":\"y\"}", "b c"),
    ] {
        let done = home.run_with("enqueue -f -", text);
        assert_eq!(done.stdout, "", "{text}");
        let said = done.fails(1);
        assert!(said.contains(word), "{text}: {said}");
    }
    // Lines of a batch that came to nothing may stand in the log; jobs of it may not.
    assert!(home.log().len() >= before.len());
    assert_eq!(home.ok("list --ids"), "taken\n");
    let kept = "{\"id\":\"taken\",\"command\":\"x\"}\n{\"id\":\"new\",\"command\":\"y\"}";
    assert_eq!(home.run_with("enqueue -f - --on-conflict keep", kept).ok(), "taken\nnew\n");
    assert_eq!(home.ok("list --ids"), "taken\nnew\n");
}

#[test]
fn an_empty_batch_is_told() {
    let home = Home::new();
    let done = home.run_with("enqueue -f -", "");
    assert!(!done.stderr.is_empty(), "an empty file is a surprise");
    assert_eq!(done.stdout, "");
    assert_eq!(home.run_with("enqueue -f - --json", "[]").stdout.trim(), "[]");
}

#[test]
fn json_is_always_an_array_of_jobs() {
    let home = Home::new();
    let one = home.say("enqueue --json --id a 'echo hi'").done().json();
    assert_eq!(one.as_array().map(Vec::len), Some(1));
    assert_eq!((&one[0]["id"], &one[0]["state"]), (&json!("a"), &json!("pending")));
    let two = home.run_with("enqueue --json --lines -", "x\ny\n").json();
    assert_eq!(two.as_array().map(Vec::len), Some(2));
    assert_eq!(two[1]["command"], "y");
    assert_eq!(one[0], home.job("a"));
}

#[test]
fn flags_override_fields_in_every_job_of_a_batch() {
    let home = Home::new();
    let text = "[{\"command\":\"x\",\"priority\":1,\"env\":{\"A\":\"1\"}},{\"command\":\"y\",\"queue\":\"q\"}]";
    home.run_with("enqueue -f - --priority 7 --env B=2 --max_retries 9", text).ok();
    let jobs = jobs(&home);
    assert!(jobs.iter().all(|job| job["priority"] == 7 && job["max_retries"] == 9));
    assert_eq!(jobs[0]["env"], json!({"A": "1", "B": "2"}));
    assert_eq!((&jobs[0]["queue"], &jobs[1]["queue"]), (&json!("default"), &json!("q")));
    home.run_with("enqueue -f - --id one", text).fails(2);
    home.run_with("enqueue --lines - --id one", "a\nb\n").fails(2);
}

#[test]
fn every_field_has_its_flag_and_its_spellings() {
    let flags = enqueued(
        "--id j --name n --queue q --tag t --tag u --priority -5 --max-retries 7 --backoff-base 1.5 \
         --max-delay 1h30m --jitter 0.25 --timeout 90 --kill-grace 500ms --run-at 2030-01-01T00:00:00+01:00 \
         --cwd /srv --env K=V --stdin in --merge-output --meta '{\"b\":1.50,\"a\":[]}' ls",
    );
    let spellings = [
        "{\"id\":\"j\",\"name\":\"n\",\"queue\":\"q\",\"tags\":[\"t\",\"u\"],\"priority\":-5,\"max_retries\":7,\
         \"backoff_base\":1.5,\"max_delay\":5400,\"jitter\":0.25,\"timeout\":90,\"kill_grace\":0.5,\
         \"run_at\":\"2029-12-31T23:00:00Z\",\"cwd\":\"/srv\",\"env\":{\"K\":\"V\"},\"stdin\":\"in\",\"merge_output\":true,\
         \"meta\":{\"b\":1.50,\"a\":[]},\"command\":\"ls\",\"state\":\"pending\",\"attempts\":0,\
         \"created_at\":\"2020-01-01T00:00:00Z\",\"updated_at\":\"2020-01-01T00:00:00Z\"}",
        "{\"id\":\"j\",\"name\":\"n\",\"queue\":\"q\",\"tags\":[\"t\",\"u\"],\"priority\":-5,\"maxRetries\":7,\
         \"backoffBase\":1.5,\"max-delay\":\"1h30m\",\"jitter\":0.25,\"timeout_ms\":90000,\"killGrace\":\"500ms\",\
         \"next_run_at\":\"2029-12-31T23:00:00Z\",\"cwd\":\"/srv\",\"env\":{\"K\":\"V\"},\"stdin\":\"in\",\
         \"mergeOutput\":true,\"meta\": { \"b\":1.50, \"a\":[] },\"command\":\"ls\"}",
        "{\"id\":\"j\",\"name\":\"n\",\"queue\":\"q\",\"tags\":[\"t\",\"u\"],\"priority\":-5,\"max-retries\":7,\
         \"backoff-base\":1.5,\"maxDelay\":5400,\"jitter\":0.25,\"timeout_seconds\":90,\"kill-grace\":0.5,\
         \"nextRunAt\":\"2029-12-31T23:00:00Z\",\"cwd\":\"/srv\",\"env\":{\"K\":\"V\"},\"stdin\":\"in\",\
         \"merge-output\":true,\"meta\":{\"b\":1.50,\"a\":[]},\"command\":\"ls\"}",
    ];
    let steady = |mut job: Value| {
        for field in ["created_at", "updated_at", "node", "stdin"] {
            job.as_object_mut().expect("a job").remove(field);
        }
        job
    };
    let wanted = steady(flags.clone());
    assert_eq!(wanted["timeout"], json!(90), "durations are seconds on output");
    assert_eq!(wanted["run_at"], "2029-12-31T23:00:00.000000Z");
    for text in spellings {
        let home = Home::new();
        home.run_with("enqueue -", text).ok();
        assert_eq!(steady(home.job("j")), wanted, "{text}");
    }
    let stdin = flags["stdin"].to_string();
    assert!(stdin.contains("/in\""), "the path of stdin is absolute: {stdin}");
}

#[test]
fn meta_is_carried_untouched() {
    let home = Home::new();
    home.say("enqueue --id m --meta '{\"z\": 1.50, \"a\": 1e400, \"z\": null}' true").done().ok();
    let text = home.ok("show m --json");
    assert!(text.contains("{\"z\":1.50,\"a\":1e400,\"z\":null}"), "{text}");
}

#[test]
fn the_environment_and_directory_of_the_caller() {
    let home = Home::new();
    std::fs::create_dir(home.join("here")).unwrap();
    let cmd =
        home.say("enqueue --id a --env SECRET --env B=x=y true").current_dir(home.join("here"));
    cmd.env("SECRET", "s3").done().ok();
    let job = home.job("a");
    assert_eq!(job["env"], json!({"SECRET": "s3", "B": "x=y"}));
    assert!(job["cwd"].as_str().is_some_and(|cwd| cwd.ends_with("/here")), "{job}");
    let said = home.say("enqueue --env NOT_SET_HERE true").done().fails(2);
    assert!(said.contains("NOT_SET_HERE"), "{said}");
    let text = std::fs::read_dir(home.queue().join("log")).unwrap().count();
    assert_eq!(text, 1);
    assert!(!home.log().iter().any(|line| line.to_string().contains("PATH")), "env leaks");
}

#[test]
fn stdin_of_a_job() {
    let home = Home::new();
    home.say("enqueue --id a --stdin - cat").stdin("some text\n").done().ok();
    let job = home.job("a").to_string();
    assert!(job.contains("some text"), "{job}");
    let long = vec![b'x'; (64 << 10) + 1];
    let said = home.say("enqueue --id b --stdin - cat").stdin(long).done();
    assert!(matches!(said.code, 1 | 2), "{}", said.stderr);
    assert!(said.stderr.contains("65536"), "{}", said.stderr);
    home.say("enqueue --id c --stdin - cat").stdin(vec![b'x'; 64 << 10]).done().ok();
    assert_eq!(home.ok("list --ids"), "a\nc\n");
}

#[test]
fn stdin_is_read_once_for_all_who_want_it() {
    let home = Home::new();
    let batch = "[{\"id\":\"a\",\"command\":\"cat\",\"stdin\":\"-\"},{\"id\":\"b\",\"command\":\"cat\",\"stdin\":\"-\"}]";
    home.queuectl(["enqueue", batch]).stdin("shared").done().ok();
    assert_eq!(home.job("a")["stdin"], home.job("b")["stdin"]);
    assert!(home.job("b")["stdin"].to_string().contains("shared"), "{}", home.job("b"));
    let before = home.log();
    for (line, text) in [
        ("enqueue -f - --stdin -", "{\"command\":\"cat\"}"),
        ("enqueue --lines - --stdin -", "cat"),
        ("enqueue -", batch),
    ] {
        let done = home.run_with(line, text);
        assert!(matches!(done.code, 1 | 2), "{line}: {}", done.stdout);
        assert!(done.stderr.contains("stdin holds the jobs"), "{line}: {}", done.stderr);
    }
    assert_eq!(home.log(), before);
}

#[test]
fn of_twenty_that_want_one_id_one_gets_it() {
    let home = Home::new();
    let twenty: Vec<_> = (0..20)
        .map(|n| home.queuectl(["enqueue", "--id", "a", &format!("echo {n}")]).start())
        .collect();
    let ended: Vec<_> = twenty.into_iter().map(|running| running.end()).collect();
    let winners = ended.iter().filter(|done| done.code == 0).count();
    assert_eq!(winners, 1, "{ended:?}");
    assert!(ended.iter().all(|done| matches!(done.code, 0 | 1)), "{ended:?}");
    assert_eq!(home.log().iter().filter(|line| line["ev"] == "enqueued").count(), 1);
}

#[test]
fn moments_and_delays() {
    let home = Home::pinned();
    let run_at = |line: &str| {
        let id = home.say(&format!("enqueue {line} true")).done().ok();
        home.job(id.trim_end())["run_at"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(run_at("--delay 1h30m"), "2026-02-02T04:34:05.000000Z");
    assert_eq!(run_at("--delay 90"), "2026-02-02T03:05:35.000000Z");
    assert_eq!(run_at("--run-at +10m"), "2026-02-02T03:14:05.000000Z");
    assert_eq!(run_at("--run-at 18:30"), "2026-02-02T18:30:00.000000Z");
    assert_eq!(run_at("--run-at 03:04"), "2026-02-03T03:04:00.000000Z");
    assert_eq!(run_at("--run-at 2026-02-02T03:04:06.5-05:00"), "2026-02-02T08:04:06.500000Z");
    for moment in ["90", "2026-02-02T03:04:05", "2026-02-02", "tomorrow", "25:00", "-10m", ""] {
        let words = ["enqueue", "--run-at", moment, "true"];
        let said = home.queuectl(words).done().fails(2);
        assert!(said.contains("hint: "), "{moment:?}: {said}");
    }
    for span in ["-5", "soon", "1x", "1h 2", "", "1e3", "999999999999999999999d"] {
        home.queuectl(["enqueue", "--delay", span, "true"]).done().fails(2);
    }
    home.say("enqueue --delay 5 --run-at +5m true").done().fails(2);
    home.run_with("enqueue -", "{\"command\":\"x\",\"run_at\":1700000000}").fails(1);
}

#[test]
fn max_retries_is_fixed_when_enqueued() {
    let home = Home::new();
    let of = |line: &str, variable: &str| {
        let id = home.say(line).env("QUEUECTL_MAX_RETRIES", variable).done().ok();
        home.job(id.trim_end())["max_retries"].clone()
    };
    assert_eq!(of("enqueue true", ""), 3);
    home.ok("config set max_retries 5");
    assert_eq!(of("enqueue true", ""), 5);
    assert_eq!(of("enqueue true", "7"), 7);
    assert_eq!(of("enqueue '{\"command\":\"x\",\"max_retries\":8}'", "7"), 8);
    assert_eq!(of("enqueue --max-retries 9 '{\"command\":\"x\",\"max_retries\":8}'", "7"), 9);
    home.ok("config set max_retries 1");
    let fixed: Vec<Value> = jobs(&home).iter().map(|job| job["max_retries"].clone()).collect();
    assert_eq!(fixed, [3, 5, 7, 8, 9]);
}

#[test]
fn what_an_id_may_be() {
    let home = Home::new();
    let long = "x".repeat(128);
    for id in ["é", "a:b", "a.b-c_d", "0", "mail:1", long.as_str()] {
        assert_eq!(home.queuectl(["enqueue", "--id", id, "true"]).done().ok(), format!("{id}\n"));
        assert_eq!(home.job(id)["id"], id);
    }
    let too_long = "x".repeat(129);
    let bad = ["", "a b", "a/b", "a,b", "-a", "@a", ".a", "id:a", "tag:x", "all", "a\nb", "a\tb"];
    for id in bad.into_iter().chain([too_long.as_str(), &"y".repeat(4096)]) {
        let done = home.queuectl(["enqueue", "--id", id, "true"]).done();
        let said = done.fails(1);
        assert!(said.len() < 1000, "a long id is cut in messages");
        let text = json!({"id": id, "command": "true"}).to_string();
        home.queuectl(["enqueue", &text]).done().fails(1);
    }
    assert_eq!(jobs(&home).len(), 6);
}

#[test]
fn an_id_that_exists() {
    let home = Home::new();
    home.ok("enqueue --id a true");
    let said = home.fails("enqueue --id a false", 1);
    assert!(
        said.contains("job a") && said.contains("pending") && said.contains("hint: "),
        "{said}"
    );
    home.run("enqueue --on-conflict fail --id a false").fails(1);
    assert_eq!(home.ok("enqueue --on-conflict keep --id a false"), "a\n");
    assert_eq!(home.job("a")["command"], "true");
    let text = "{\"id\":\"a\",\"command\":\"x\",\"on_conflict\":\"keep\"}";
    assert_eq!(home.queuectl(["enqueue", text]).done().ok(), "a\n");
    home.run("enqueue --on-conflict replace --id a x").fails(2);
}

#[test]
fn a_word_that_looks_like_an_option_of_ours_is_noted() {
    let home = Home::new();
    let done = home.run("enqueue ls --priority 5");
    assert!(done.stderr.contains("--priority"), "{}", done.stderr);
    let id = done.ok();
    assert_eq!(home.job(id.trim_end())["argv"], json!(["ls", "--priority", "5"]));
    assert_eq!(home.run("enqueue -- ls --priority 5").stderr, "");
}

#[test]
fn arguments_that_are_not_utf8_are_carried() {
    let home = Home::new();
    let odd = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let words =
        [odd(b"enqueue"), odd(b"--max-retries=1"), odd(b"printf"), odd(b"%s"), odd(b"a\xff\xfeb")];
    home.queuectl(words).done().ok();
    home.queuectl([odd(b"enqueue"), odd(b"-c"), odd(b"printf %s 'c\xffd'")]).done().ok();
    home.drain("");
    let mut printed: Vec<Vec<u8>> = Vec::new();
    for id in home.ok("list --ids").lines() {
        let output = home.queuectl(["logs", id]).into_command().output().expect("it runs");
        printed.push(output.stdout);
    }
    assert_eq!(printed, [b"a\xff\xfeb".to_vec(), b"c\xffd".to_vec()]);
}
