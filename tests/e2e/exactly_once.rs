//! Every job runs once, whoever works on it; and where workers are killed, no two runs of one job overlap.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Home, has_tool, wait_until};
use crate::scene::{is_long, moment};

#[test]
fn five_hundred_jobs_by_four_producers_run_once_each() {
    let home = Home::new();
    let _first = home.worker("--count 8");
    let _second = home.worker("--count 8");
    std::thread::scope(|scope| {
        for producer in 0..4 {
            let home = &home;
            scope.spawn(move || {
                for number in 0..125 {
                    let id = format!("p{producer}-{number}");
                    home.enqueue(&id, "", "echo $QUEUECTL_JOB_ID >> ran");
                }
            });
        }
    });
    home.wait_for_lines("ran", 500);
    home.wait_for("completed", 500);
    let ran = home.read("ran");
    let mut ran: Vec<&str> = ran.lines().collect();
    assert_eq!(ran.len(), 500);
    ran.sort_unstable();
    ran.dedup();
    assert_eq!(ran.len(), 500, "a job ran twice");
    let counts = &home.queuectl(["status", "--json"]).done().json()["counts"];
    assert_eq!(counts["completed"], 500, "{counts}");
    let workers = home.events("completed").into_iter().map(|event| worker_of(&event));
    let shares = workers.fold(BTreeMap::<_, u32>::new(), |mut shares, worker| {
        *shares.entry(worker).or_default() += 1;
        shares
    });
    assert_eq!(shares.len(), 2, "one worker did it all: {shares:?}");
}

#[test]
fn no_run_overlaps_another_while_workers_are_killed() {
    if !has_tool("no_run_overlaps_another_while_workers_are_killed", "flock") {
        return;
    }
    let (jobs, storm) =
        if is_long() { (1500, Duration::from_secs(60)) } else { (200, Duration::from_secs(8)) };
    let home = Home::new();
    std::fs::create_dir(home.join("locks")).unwrap();
    // The lock lives in the open file, so it is held as long as anything of the run lives.
    home.write(
        "job.sh",
        "exec 9>>locks/$QUEUECTL_JOB_ID\n\
         flock -n 9 || { echo $QUEUECTL_JOB_ID >> overlaps; exit 1; }\n\
         echo $QUEUECTL_JOB_ID >> began\n\
         sleep 0.3\n\
         echo $QUEUECTL_JOB_ID >> ended\n",
    );
    let lines = "sh job.sh\n".repeat(jobs);
    home.queuectl(["enqueue", "--lines", "-"]).stdin(lines).done().ok();
    let mut workers = vec![home.worker("--count 3"), home.worker("--count 3")];
    let begun = Instant::now();
    let mut kills: u32 = 0;
    while begun.elapsed() < storm {
        std::thread::park_timeout(Duration::from_millis(850 + u64::from(kills * 37 % 300)));
        // The one that has lived longest, and now and then both at once.
        for _ in 0..1 + u32::from(kills % 4 == 3) {
            assert_eq!(workers.remove(0).kill().code, 137, "a worker ended by itself");
            kills += 1;
        }
        workers.resize_with(2, || home.worker("--count 3"));
    }
    workers.push(home.worker("--count 8"));
    wait_until("all jobs to end", || {
        home.events("completed").len() + home.events("died").len() >= jobs
    });
    assert_eq!(home.read("overlaps"), "", "two runs of one job overlapped");
    let losses = home.events("lost").len();
    eprintln!("{jobs} jobs, {kills} workers killed, {losses} runs lost");
    assert!(losses >= 5, "the storm hit nothing: {kills} kills, {losses} runs lost");
    let counts = &home.queuectl(["status", "--json"]).done().json()["counts"];
    assert_eq!(counts["completed"], jobs, "{counts}");
    for (job, events) in by_job(home.log()) {
        check_story(&job, &events);
    }
}

/// Where a claim is held, its end comes before the next claim, names it, and is obeyed: no claim comes before its time.
fn check_story(job: &str, events: &[Value]) {
    let mut claim: Option<&Value> = None;
    let mut not_before = None;
    let mut run = 0;
    for event in events {
        let text = || format!("{job}: {event}\nin {events:#?}");
        match event["ev"].as_str().unwrap() {
            "claimed" => {
                assert_eq!(claim, None, "claimed twice: {}", text());
                assert!(not_before.is_none_or(|due| moment(event) >= due), "early: {}", text());
                run += 1;
                assert_eq!(event["run"], run, "{}", text());
                claim = Some(&event["claim"]);
            }
            ended @ ("completed" | "lost" | "released" | "failed" | "died") => {
                assert_eq!(claim, Some(&event["claim"]), "not its claim: {}", text());
                claim = None;
                let is_unstarted = ended == "released" && event["started"] == false;
                run -= i32::from(is_unstarted);
                let due = event["retry_at"].as_str();
                not_before = due.map(|due| due.parse().expect("a time"));
                assert!(ended != "failed" && ended != "died", "{}", text());
            }
            _ => {}
        }
    }
    assert_eq!(events.last().unwrap()["ev"], "completed", "{job}: {events:#?}");
}

fn by_job(log: Vec<Value>) -> BTreeMap<String, Vec<Value>> {
    let mut jobs = BTreeMap::<String, Vec<Value>>::new();
    for event in log {
        if let Some(job) = event["job"].as_str() {
            jobs.entry(job.to_owned()).or_default().push(event);
        }
    }
    jobs
}

fn worker_of(event: &Value) -> String {
    let claim = event["claim"].as_str().expect("a claim");
    claim.rsplit_once('.').expect("a worker and a number").0.to_owned()
}
