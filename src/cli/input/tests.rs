//! What people write, and the drafts it makes.

use super::*;
use crate::domain::decide::OnConflict;
use crate::domain::job::{JobId, Stdin};

/// 2026-02-02T03:04:05Z, in a zone one hour ahead of UTC that is two hours ahead from March on.
const NOW: i64 = 1_770_001_445_000_000;
const MARCH: i64 = 1_772_323_200_000_000;

fn local_offset(moment: Timestamp) -> i32 {
    if moment.micros() < MARCH { 3600 } else { 7200 }
}

fn variable(name: &OsStr) -> Option<OsString> {
    (name == "HERE").then(|| "a=b".into())
}

fn around() -> Surroundings<'static> {
    Surroundings {
        now: Timestamp::from_micros(NOW),
        local_offset: &local_offset,
        cwd: "/home/ann".into(),
        variable: &variable,
        stdin: &|| Ok(b"typed".to_vec()),
    }
}

fn one(json: &str) -> Draft {
    let mut drafts = from_json(json.as_bytes(), &around()).unwrap();
    assert_eq!(drafts.len(), 1, "{json}");
    drafts.remove(0)
}

fn refusal(json: &str) -> String {
    let failure = from_json(json.as_bytes(), &around()).unwrap_err();
    match failure.hint {
        Some(hint) => format!("{} | {hint}", failure.message),
        None => failure.message,
    }
}

fn flags(options: JobOptions) -> Result<Draft, Failure> {
    from_flags(&options, &around())
}

#[test]
fn every_field_of_a_job() {
    let draft = one(
        r#"{"id":"a","command":"x","name":"n","queue":"q","tags":["t","u"],"priority":-3,"max_retries":0,
            "backoff_base":1.5,"max_delay":60,"jitter":0.5,"timeout":1.5,"kill_grace":0,
            "run_at":"2026-02-02T03:05:05Z","cwd":"./sub","env":{"A":"1"},"stdin":"in.txt","merge_output":true,
            "meta":{"a" : [1, "x y\" z"],
                    "n":1.50},"on_conflict":"keep"}"#,
    );
    assert_eq!(draft.id, Some(JobId::new("a").unwrap()));
    assert_eq!(draft.command, Some("x".into()));
    assert_eq!(draft.tags.unwrap(), ["t", "u"]);
    assert_eq!((draft.priority, draft.max_retries), (Some(-3), Some(0)));
    assert_eq!((draft.backoff_base, draft.jitter), (Some(1.5), Some(0.5)));
    assert_eq!(draft.max_delay.unwrap().as_secs(), 60);
    assert_eq!(draft.timeout.unwrap().as_millis(), 1500);
    assert_eq!(draft.kill_grace.unwrap().as_secs(), 0);
    assert_eq!(draft.run_at.unwrap().micros(), NOW + 60_000_000);
    assert_eq!(draft.cwd, Some("/home/ann/sub".into()));
    assert_eq!(draft.env["A"], "1".into());
    assert_eq!(draft.stdin, Some(Stdin::File("/home/ann/in.txt".into())));
    assert_eq!(draft.merge_output, Some(true));
    assert_eq!(draft.meta.unwrap(), r#"{"a":[1,"x y\" z"],"n":1.50}"#);
    assert_eq!(draft.on_conflict, Some(OnConflict::Keep));
}

#[test]
fn other_ways_to_write_a_field() {
    let table = [
        (r#"{"command":"x","maxRetries":7}"#, r#"{"command":"x","max_retries":7}"#),
        (r#"{"command":"x","max-retries":7}"#, r#"{"command":"x","max_retries":7}"#),
        (r#"{"command":"x","timeout_ms":1500}"#, r#"{"command":"x","timeout":1.5}"#),
        (r#"{"command":"x","timeoutSec":2}"#, r#"{"command":"x","timeout":2}"#),
        (r#"{"command":"x","timeout_seconds":2}"#, r#"{"command":"x","timeout":"2s"}"#),
        (r#"{"command":"x","timeout":"none"}"#, r#"{"command":"x","timeout":0}"#),
        (r#"{"command":"x","delay":60}"#, r#"{"command":"x","runAt":"+1m"}"#),
        (r#"{"command":"x","next_run_at":"+60"}"#, r#"{"command":"x","delay":"1m"}"#),
        (r#"{"command":"x","tag":"t"}"#, r#"{"command":"x","tags":["t"]}"#),
        (r#"{"command":"x","name":null,"meta":null}"#, r#"{"command":"x"}"#),
        (
            r#"{"command":"x","state":"pending","attempts":0,"created_at":"then","updated_at":7}"#,
            r#"{"command":"x"}"#,
        ),
    ];
    for (written, same) in table {
        assert_eq!(one(written), one(same), "{written}");
    }
    assert_eq!(one(r#"{"argv":["a",{"base64":"//4="}]}"#).argv.unwrap()[1].0, b"\xff\xfe");
}

#[test]
fn sequences_of_jobs() {
    let table = [
        ("", 0),
        ("[]", 0),
        (" \n", 0),
        ("\u{feff}{\"command\":\"a\"}", 1),
        ("{\"command\":\"a\"}\n{\"command\":\"b\"}\n", 2),
        ("{\n  \"command\": \"a\"\n}\n{\n  \"command\": \"b\"\n}", 2),
        ("[{\"command\":\"a\"},{\"command\":\"b\"}]", 2),
        ("[{\"command\":\"a\"}]\n{\"command\":\"b\"}", 2),
    ];
    for (text, count) in table {
        assert_eq!(from_json(text.as_bytes(), &around()).unwrap().len(), count, "{text:?}");
    }
}

#[test]
fn what_json_is_refused_and_how() {
    let table = [
        (r#"{"name":"x"}"#, r#"no "command" in the JSON object (line 1, column 12)"#),
        (r#"{"command":"x","argv":["x"]}"#, r#""command" and "argv" exclude each other"#),
        (
            r#"{"comand":"x"}"#,
            r#"unknown field "comand" (line 1, column 9) | did you mean "command"?"#,
        ),
        (
            "{\"command\":\"a\"}\n{\"command\":\"b\",\n\"prio\":1}",
            r#"unknown field "prio" (line 3, column 6) | did you mean "priority"?"#,
        ),
        (r#"{"command":"x""#, "not JSON: EOF while parsing an object (line 1, column 14)"),
        (r#"{ echo hi; }"#, "not JSON: key must be a string (line 1, column 3)"),
        (r#"{"command":"x"} trailing"#, "not JSON: expected ident"),
        (
            r#"[1]"#,
            "invalid type: integer `1`, expected a job, which is a JSON object (line 1, column 2)",
        ),
        (r#"[[{"command":"x"}]]"#, "invalid type: sequence"),
        (r#"7"#, "invalid type: integer `7`"),
        (r#"{"command":7}"#, r#""command": must be a string, not 7"#),
        (r#"{"command":" \n"}"#, "the command is empty"),
        (r#"{"command":"a\u0000b"}"#, "the command has a NUL character"),
        (r#"{"argv":[]}"#, "argv is empty"),
        (r#"{"argv":["","x"]}"#, "the program, the first word, is empty"),
        (r#"{"command":"x","id":"a b"}"#, r#""id": "a b" cannot be an id: it has a blank"#),
        (r#"{"command":"x","max_retries":-1}"#, "must be a whole number of at least 0, not -1"),
        (r#"{"command":"x","max_retries":"3"}"#, "must be a whole number"),
        (r#"{"command":"x","timeout":-1}"#, "-1 is not a span"),
        (r#"{"command":"x","timeout":1,"timeout_ms":1}"#, r#""timeout" is given twice"#),
        (r#"{"command":"x","run_at":"+1m","delay":1}"#, "exclude each other"),
        (
            r#"{"command":"x","run_at":90}"#,
            r#""90" is not a moment (line 1, column 27) | for 90 seconds from now write +90s"#,
        ),
        (r#"{"command":"x","run_at":"2026-02-02 03:04"}"#, "not a moment"),
        (r#"{"command":"x","state":"done"}"#, r#"a new job has "pending", not "done""#),
        (r#"{"command":"x","attempts":2}"#, "a new job has 0, not 2"),
        (r#"{"command":"x","tags":[""]}"#, "tag is empty"),
        (r#"{"command":"x","queue":"a\nb"}"#, "control character"),
        (r#"{"command":"x","jitter":2}"#, "jitter must be a number from 0 to 1"),
        (r#"{"command":"x","env":{"A=B":"1"}}"#, "cannot be a variable"),
        (r#"{"command":"x","env":{"A":1}}"#, "must be an object of strings"),
        (r#"{"command":"x","on_conflict":"replace"}"#, r#"must be "fail" or "keep""#),
    ];
    for (json, part) in table {
        let text = refusal(json);
        assert!(text.contains(part), "{json}\n{text}\n{part}");
    }
    assert!(from_json(b"{\"command\":\"\xff\"}", &around()).is_err());
    let deep = format!(r#"{{"command":"x","meta":{}{}}}"#, "[".repeat(65), "]".repeat(65));
    assert!(refusal(&deep).contains("nested deeper than 64"));
    assert!(from_json("[".repeat(100_000).as_bytes(), &around()).is_err());
}

#[test]
fn commands_of_words_and_lines() {
    assert_eq!(from_words(&["ls".into()]).unwrap().command, Some("ls".into()));
    let argv = from_words(&["ls".into(), "".into()]).unwrap().argv.unwrap();
    assert_eq!(argv, ["ls".into(), "".into()]);
    for blank in ["", " ", "\t\n"] {
        assert!(from_words(&[blank.into()]).is_err(), "{blank:?}");
        assert!(from_words(&[blank.into(), "x".into()]).is_err(), "{blank:?}");
    }
    let longest = "x".repeat(131_071);
    assert!(from_shell(longest.as_bytes()).is_ok());
    let failure = from_words(&["a".into(), format!("{longest}x").into()]).unwrap_err();
    assert_eq!(
        failure.message,
        "word 2 of the command is 131072 bytes long; the kernel takes at most 131071"
    );
    assert!(failure.hint.unwrap().contains("script"));

    let drafts = from_lines(b"echo '{}'\n\n  \nls # x\r\n\xff").unwrap();
    let commands: Vec<_> = drafts.iter().map(|draft| &*draft.command.as_ref().unwrap().0).collect();
    assert_eq!(commands, [&b"echo '{}'"[..], b"ls # x\r", b"\xff"]);
    assert_eq!(
        from_lines(b"a\nb\0").unwrap_err().message,
        "line 2: the command has a NUL character"
    );
}

#[test]
fn flags_lie_over_fields() {
    let over = flags(JobOptions {
        tags: vec!["flag".into()],
        env: vec!["A=2".into(), "HERE".into(), "EMPTY=".into()],
        delay: Some(std::time::Duration::from_secs(10)),
        stdin: Some("-".into()),
        ..JobOptions::default()
    })
    .unwrap();
    let draft =
        one(r#"{"command":"x","tags":["json"],"name":"n","env":{"A":"1","B":"1"},"run_at":"now"}"#)
            .overridden_by(&over);
    assert_eq!(draft.tags.clone().unwrap(), ["flag"]);
    assert_eq!(draft.name.as_deref(), Some("n"));
    assert_eq!(draft.run_at.unwrap().micros(), NOW + 10_000_000);
    assert_eq!(draft.stdin, Some(Stdin::Data("typed".into())));
    let env: Vec<_> = draft.env.iter().map(|(k, v)| format!("{k}={}", v.lossy())).collect();
    assert_eq!(env, ["A=2", "B=1", "EMPTY=", "HERE=a=b"]);

    let fixed = Fixed { max_retries: 4, cwd: "/home/ann".into() };
    let spec = draft.into_spec(|| JobId::new("made").unwrap(), &fixed);
    assert_eq!((spec.id.as_str(), spec.max_retries, &*spec.queue), ("made", 4, "default"));
    assert_eq!(spec.cwd, "/home/ann".into());
}

#[test]
fn wrong_flags_are_usage_errors_that_name_the_flag() {
    let table = [
        (JobOptions { run_at: Some("90".into()), ..Default::default() }, "--run-at: \"90\""),
        (
            JobOptions { env: vec!["NOT_HERE".into()], ..Default::default() },
            "--env: no variable NOT_HERE",
        ),
        (JobOptions { env: vec!["=x".into()], ..Default::default() }, "\"\" cannot be a variable"),
        (JobOptions { meta: Some("{".into()), ..Default::default() }, "--meta: not JSON"),
        (JobOptions { queue: Some(" ".into()), ..Default::default() }, "queue is empty"),
        (JobOptions { jitter: Some(1.5), ..Default::default() }, "jitter must be"),
    ];
    for (options, part) in table {
        let failure = flags(options).unwrap_err();
        assert_eq!(failure.exit.code(), 2);
        assert!(failure.message.contains(part), "{}", failure.message);
    }
    let large = Surroundings { stdin: &|| Ok(vec![b'x'; 65_537]), ..around() };
    let options = JobOptions { stdin: Some("-".into()), ..Default::default() };
    assert!(from_flags(&options, &large).unwrap_err().message.contains("65536"));
}

#[test]
fn moments_to_come() {
    let table = [
        ("now", "2026-02-02T03:04:05.000000Z"),
        ("+10m", "2026-02-02T03:14:05.000000Z"),
        ("+90", "2026-02-02T03:05:35.000000Z"),
        ("2026-02-02T05:00:00+01:00", "2026-02-02T04:00:00.000000Z"),
        ("04:05", "2026-02-02T03:05:00.000000Z"),
        ("4:04", "2026-02-03T03:04:00.000000Z"),
        ("00:00", "2026-02-02T23:00:00.000000Z"),
    ];
    for (text, moment) in table {
        assert_eq!(moment::to_come(text, &around()).unwrap().to_string(), moment, "{text}");
    }
    let eve = Surroundings { now: Timestamp::from_micros(MARCH - 7_200_000_000), ..around() };
    let after_the_change = moment::to_come("09:00", &eve).unwrap();
    assert_eq!(after_the_change.to_string(), "2026-03-01T07:00:00.000000Z");
    for (text, hint) in [
        ("90", "write +90s"),
        ("2026-02-02T03:04:05", "needs its offset"),
        ("24:00", "00:00 to 23:59"),
        ("9:60", "00:00 to 23:59"),
        ("tomorrow", "+10m"),
        ("", "+10m"),
        ("+soon", "100 years"),
    ] {
        let failure = moment::to_come(text, &around()).unwrap_err();
        let said = format!("{} {}", failure.message, failure.hint.unwrap_or_default());
        assert!(said.contains(hint), "{text}: {said}");
    }
}

#[test]
fn moments_gone_by() {
    let now = Timestamp::from_micros(NOW);
    assert_eq!(moment::gone_by("1h", now).unwrap().to_string(), "2026-02-02T02:04:05.000000Z");
    assert_eq!(
        moment::gone_by("2026-02-02T00:00:00Z", now).unwrap().to_string(),
        "2026-02-02T00:00:00.000000Z"
    );
    assert!(moment::gone_by("yesterday", now).unwrap_err().hint.is_some());
}
