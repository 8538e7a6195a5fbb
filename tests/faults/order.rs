//! The order of system calls, which no crash shows that comes at another moment: what is acknowledged, or run, or named
//! was synced before.

use crate::harness::{Done, Home};
use crate::has_tools;
use crate::points::CHANGES;
use crate::rig::{self, Fault, Times, What};
use crate::scenario::{self, Scenario};
use crate::trace::{Call, Trace};

/// Does what the scenario does, and tells which calls were made that matter here.
fn watch(home: &Home, scenario: &Scenario) -> (Done, Trace) {
    rig::watch_all(home, scenario, &[&CHANGES[..], &["openat", "execve"]].concat())
}

/// The scenario's calls, in a home that stays as it is afterwards.
fn traced(name: &str) -> (Home, Trace) {
    let home = Home::new();
    let scenario = scenario::named(name);
    let _ = (scenario.before)(&home);
    let (done, trace) = watch(&home, scenario);
    done.ok();
    (home, trace)
}

impl Trace {
    /// The good calls of these names for which this holds.
    fn all<'t>(
        &'t self,
        names: &'t [&str],
        is_it: impl Fn(&Call) -> bool + 't,
    ) -> impl Iterator<Item = &'t Call> + 't {
        self.calls
            .iter()
            .filter(|call| names.contains(&call.name.as_str()) && call.is_good())
            .filter(move |call| is_it(call))
    }

    /// The first of them.
    #[track_caller]
    fn first(&self, names: &[&str], is_it: impl Fn(&Call) -> bool) -> &Call {
        let found = self
            .calls
            .iter()
            .find(|call| names.contains(&call.name.as_str()) && call.is_good() && is_it(call));
        found.unwrap_or_else(|| panic!("no {names:?} such as it must be in:\n{}", self.text()))
    }

    /// The first write to a stream of the process, 1 or 2, with this in them.
    #[track_caller]
    fn said(&self, stream: u32, text: &str) -> &Call {
        let start = format!("write({stream}<");
        self.first(&["write"], |call| call.text.starts_with(&start) && call.text.contains(text))
    }

    /// Fails unless one of these calls on this path lies between the two: begun after the one ended, and ended before the
    /// other began.
    #[track_caller]
    fn assert_between(&self, earlier: &Call, names: &[&str], path: &str, later: &Call) {
        let lies =
            |call: &Call| call.path() == path && earlier.is_before(call) && call.is_before(later);
        let found = self.all(names, lies).next().is_some();
        let (from, to) = (&earlier.text, &later.text);
        assert!(
            found,
            "no {names:?} of {path} between\n  {from}\nand\n  {to}\nin:\n{}",
            self.text()
        );
    }

    fn text(&self) -> String {
        let lines = self.calls.iter().map(|call| format!("{} {}", call.thread, call.text));
        lines.collect::<Vec<_>>().join("\n")
    }
}

impl Call {
    /// Whether it writes to a segment of a log, or to what will be one.
    fn is_append(&self) -> bool {
        self.name == "write" && self.path().contains("/queue/log/")
    }

    /// Whether it writes this event, of this job where one is named.
    fn writes(&self, event: &str, job: &str) -> bool {
        let event = format!(r#"\"ev\":\"{event}\",\"job\":\"{job}"#);
        self.is_append() && self.text.contains(&event)
    }

    /// The path without its last part.
    fn directory(&self) -> &str {
        self.path().rsplit_once('/').map_or("", |(directory, _)| directory)
    }
}

#[test]
fn an_id_is_told_once_its_line_is_synced() {
    if !has_tools(&["strace"]) {
        return;
    }
    for name in ["found", "enqueue", "batch", "rotate, size", "rotate, doubt"] {
        let (_home, trace) = traced(name);
        let mut told = 0;
        for said in trace.all(&["write"], |call| call.text.starts_with("write(1<")) {
            for id in said.text.split('"').nth(1).unwrap_or_default().split("\\n") {
                if !id.is_empty() {
                    told += 1;
                    let line = trace.first(&["write"], |call| call.writes("enqueued", id));
                    trace.assert_between(line, &["fdatasync"], line.path(), said);
                }
            }
        }
        assert_eq!(told, scenario::named(name).adds, "{name}");
    }
}

#[test]
fn a_new_queue_is_synced_up_to_its_parent_before_an_id_is_told() {
    if !has_tools(&["strace"]) {
        return;
    }
    let (home, trace) = traced("found");
    let said = trace.said(1, "");
    let queue = home.queue().canonicalize().expect("a queue").display().to_string();
    // What holds nothing but what can be made again is not synced.
    let matters = |path: &str| !["cache", "run", "output"].iter().any(|end| path.ends_with(end));
    let mut made = 0;
    for call in trace.all(&["mkdirat", "mkdir"], |_| true) {
        let path = call.text.split('"').nth(1).expect("a path");
        if matters(path) {
            made += 1;
            let parent = path.rsplit_once('/').expect("an absolute path").0;
            trace.assert_between(call, &["fsync"], parent, said);
        }
    }
    assert_eq!(made, 5, "queue, log, local, and one in each of these");
    let mut named = 0;
    for call in trace.all(&["rename", "renameat", "renameat2"], |_| true) {
        named += 1;
        let written = call.text.split('"').nth(1).expect("a name");
        let temporary = format!("{}/{written}", call.path());
        let write = trace.first(&["write"], |write| write.path() == temporary);
        trace.assert_between(write, &["fsync", "fdatasync"], &temporary, call);
        trace.assert_between(call, &["fsync"], call.path(), said);
    }
    assert_eq!(named, 6, "FORMAT, three files for other tools, node.json, a segment");
    assert!(trace.all(&["fsync"], |call| call.path() == queue).next().is_some());
}

#[test]
fn who_comes_after_a_founder_that_was_killed_syncs_what_that_one_did_not() {
    if !has_tools(&["strace"]) {
        return;
    }
    let home = Home::new();
    let scenario = scenario::named("found");
    let _ = (scenario.before)(&home);
    // The second is of the line; its segment and everything around it have their names by then.
    let fault = Fault { call: "fdatasync", what: What::Kill, nth: 2, times: Times::Once };
    assert_eq!(rig::run(&home, scenario, &fault).done.code, 137);
    let (done, trace) = watch(&home, scenario);
    let id = done.ok();
    let line = trace.first(&["write"], |call| call.writes("enqueued", id.trim_end()));
    let said = trace.said(1, id.trim_end());
    let queue = home.queue().canonicalize().expect("a queue").display().to_string();
    let parent = queue.rsplit_once('/').expect("an absolute path").0.to_owned();
    let local = format!("{queue}/local");
    let machine = std::fs::read_dir(&local).expect("a directory").flatten().next();
    let machine = machine.expect("one machine").path().display().to_string();
    let (node, logs) = (format!("{machine}/node.json"), format!("{queue}/log"));
    let log = line.directory().to_owned();
    for path in [node, log, machine, local, logs, queue, parent] {
        trace.assert_between(line, &["fsync"], &path, said);
    }
}

#[test]
fn what_another_wrote_is_synced_before_it_is_answered_with() {
    if !has_tools(&["strace"]) {
        return;
    }
    let home = Home::new();
    let _ = (scenario::named("enqueue").before)(&home);
    const WORDS: [&str; 6] = ["enqueue", "--id", "mine", "--on-conflict", "keep", "true"];
    let scenario = Scenario { act: &WORDS, ..*scenario::named("enqueue") };
    let fault = Fault { call: "fdatasync", what: What::Kill, nth: 1, times: Times::Once };
    assert_eq!(rig::run(&home, &scenario, &fault).done.code, 137);
    let (done, trace) = watch(&home, &scenario);
    assert_eq!(done.ok(), "mine\n");
    assert_eq!(trace.all(&["write"], Call::is_append).count(), 0, "it was there already");
    let said = trace.said(1, "mine");
    let segment = home.segments().pop().expect("a segment");
    let segment = segment.canonicalize().expect("a path").display().to_string();
    let opened = trace.first(&["openat"], |call| call.text.contains(".jsonl"));
    trace.assert_between(opened, &["fdatasync"], &segment, said);
}

#[test]
fn a_job_begins_once_its_claim_is_synced_and_its_end_is_told_once_that_is() {
    if !has_tools(&["strace", "flock"]) {
        return;
    }
    let (home, trace) = traced("work");
    let jobs = home.queuectl(["list", "--json"]).done().json();
    let jobs = jobs.as_array().expect("a list");
    // One slot runs one job at a time, in the order of the queue.
    let starts: Vec<&Call> = trace.all(&["execve"], |call| call.text.contains("job.sh")).collect();
    assert_eq!(starts.len(), jobs.len());
    for (job, start) in jobs.iter().zip(starts) {
        let id = job["id"].as_str().expect("an id");
        let argv = job["argv"].as_array().expect("words").iter();
        let words: Vec<String> = argv.map(ToString::to_string).collect();
        assert!(start.text.contains(&format!("[{}]", words.join(", "))), "{id}: {}", start.text);
        let claim = trace.first(&["write"], |call| call.writes("claimed", id));
        trace.assert_between(claim, &["fdatasync"], claim.path(), start);

        let kind = if job["state"] == "dead" { "died" } else { "completed" };
        let end = trace.first(&["write"], |call| call.writes(kind, id));
        let told = trace.said(2, &format!("{id}: run 1 ended"));
        trace.assert_between(end, &["fdatasync"], end.path(), told);
        // What it printed, or that it printed nothing, is looked at until then.
        for gone in trace.all(&["unlink", "unlinkat"], |call| call.text.contains(id)) {
            trace.assert_between(end, &["fdatasync"], end.path(), gone);
        }
    }
}

#[test]
fn a_new_segment_is_synced_before_it_has_its_name_and_its_name_before_anything_counts_on_it() {
    if !has_tools(&["strace"]) {
        return;
    }
    for (name, stream) in
        [("found", 1), ("rotate, config", 2), ("rotate, size", 1), ("rotate, doubt", 1)]
    {
        let (_home, trace) = traced(name);
        let is_log = |call: &Call| call.path().contains("/queue/log/");
        let rename = trace.first(&["renameat2", "renameat", "rename"], is_log);
        let mut names = rename.text.split('"').skip(1).step_by(2);
        let (temporary, segment) = (names.next().expect("a name"), names.next().expect("a name"));
        let directory = rename.path();
        let temporary = format!("{directory}/{temporary}");
        let segment = format!("{directory}/{segment}");

        let written = trace.first(&["write"], |call| call.path() == temporary);
        assert!(written.is_append() && written.directory() == directory);
        trace.assert_between(written, &["fdatasync", "fsync"], &temporary, rename);
        let said = trace.said(stream, "");
        trace.assert_between(rename, &["fsync"], directory, said);
        for append in trace.all(&["write"], |call| call.path() == segment) {
            trace.assert_between(rename, &["fsync"], directory, append);
        }
        // The segment before is complete on the disk before another one stands behind it.
        let number: u64 =
            segment.rsplit('/').next().and_then(|name| name[..8].parse().ok()).unwrap();
        if number > 1 {
            let old = format!("{directory}/{:08}.jsonl", number - 1);
            let synced = trace.first(&["fdatasync"], |call| call.path() == old);
            assert!(synced.is_before(rename), "{name}: {}", synced.text);
        }
    }
}

#[test]
fn a_base_is_synced_and_named_and_its_name_is_synced_before_what_it_stands_for_goes() {
    if !has_tools(&["strace"]) {
        return;
    }
    let (_home, trace) = traced("compact");
    let renames = ["renameat2", "renameat", "rename"];
    let base = trace.first(&renames, |call| call.text.contains(".base.jsonl\""));
    let directory = base.path();
    let name = base.text.split('"').nth(1).expect("a name");
    let temporary = format!("{directory}/{name}");
    let written = trace.all(&["write"], |call| call.path() == temporary).last();
    let written = written.expect("a base that is written");
    trace.assert_between(written, &["fdatasync", "fsync"], &temporary, base);
    let goes = |call: &Call| call.path() == directory && call.text.contains(".jsonl\"");
    let gone: Vec<&Call> = trace.all(&["unlinkat", "unlink"], goes).collect();
    let gone: Vec<_> = gone.into_iter().filter(|call| !call.text.contains(".tmp\"")).collect();
    assert!(gone.len() > 1, "it stands for several segments");
    for call in &gone {
        trace.assert_between(base, &["fsync"], directory, call);
    }
    let last = gone.last().expect("a segment that goes");
    let synced = trace.all(&["fsync"], |call| call.path() == directory && last.is_before(call));
    assert!(synced.count() > 0, "that they went is not synced");
}

#[test]
fn who_comes_after_a_compaction_that_was_killed_syncs_its_base_before_anything_goes() {
    if !has_tools(&["strace"]) {
        return;
    }
    let home = Home::new();
    let scenario = scenario::named("compact");
    let _ = (scenario.before)(&home);
    // One segment is gone then.
    let fault = Fault { call: "unlinkat", what: What::Kill, nth: 2, times: Times::Once };
    assert_eq!(rig::run(&home, scenario, &fault).done.code, 137);
    let (done, trace) = watch(&home, scenario);
    done.ok();
    let is_segment = |call: &Call| {
        let name = call.text.split('"').nth(1).unwrap_or_default();
        name.ends_with(".jsonl") && call.path().contains("/queue/log/")
    };
    let gone = trace.first(&["unlinkat", "unlink"], is_segment);
    let synced = trace.first(&["fsync", "fdatasync"], |call| call.path().ends_with(".base.jsonl"));
    trace.assert_between(synced, &["fsync"], gone.path(), gone);
}
