//! `queuectl events` and `queuectl history`: the log as it stands, of all nodes, in order.

use std::time::Duration;

use serde_json::Value;

use super::args::jobs::{Events as EventsArgs, History as HistoryArgs};
use super::choose::one;
use super::error::Failure;
use super::exit::Exit;
use super::input::moment::gone_by;
use super::news::News;
use super::output::{Form, List, Out};
use super::render::{Look, visible};
use super::session::Session;
use crate::domain::event::Event;
use crate::domain::job::JobId;
use crate::domain::timestamp::Timestamp;
use crate::store::tail::{Line, Tail};

/// Which lines are wanted.
#[derive(Debug, Default)]
struct Filter {
    job: Option<(String, JobId)>,
    since: Option<Timestamp>,
}

/// How often a follower looks without being told of news.
const POLL: Duration = Duration::from_secs(1);

/// Does `events`.
pub(super) fn perform(session: &mut Session, args: &EventsArgs) -> Result<Exit, Failure> {
    let since = args.since.as_ref().map(|text| gone_by(text, session.store.now())).transpose();
    let since = since.map_err(|failure| Failure { exit: Exit::Usage, ..failure })?;
    let mut news = args.follow.then(|| News::of(session, POLL));
    session.read()?;
    let job = match &args.job {
        Some(word) => {
            let (node, job) = one(session, word)?;
            Some((node.to_owned(), job.id().clone()))
        }
        None => None,
    };
    let filter = Filter { job, since };
    let form = match args.follow {
        true if args.lines.jsonl => Form::JsonLines,
        _ => Form::of(session.globals.json, args.lines.jsonl),
    };
    let mut tail = Tail::default();
    print(session, &mut tail, &filter, form)?;
    session.saw(&tail.damage);
    while let Some(news) = &mut news {
        news.wait(None);
        print(session, &mut tail, &filter, form)?;
        let missed = std::mem::take(&mut tail.summed_up);
        if missed > 0 {
            session.note(&format!(
                "note: {missed} events were compacted before they were read; what their jobs came to is shown instead"
            ));
        }
    }
    Ok(session.finish(Exit::Done))
}

/// Does `history`.
pub(super) fn perform_history(session: &mut Session, args: &HistoryArgs) -> Result<Exit, Failure> {
    session.read()?;
    let (node, job) = one(session, &args.job)?;
    let filter = Filter { job: Some((node.to_owned(), job.id().clone())), since: None };
    let form = Form::of(session.globals.json, args.lines.jsonl);
    let mut tail = Tail::default();
    print(session, &mut tail, &filter, form)?;
    session.saw(&tail.damage);
    Ok(session.finish(Exit::Done))
}

fn print(session: &Session, tail: &mut Tail, filter: &Filter, form: Form) -> Result<(), Failure> {
    let mut out = Out::new();
    let mut list = List::begin(&mut out, form)?;
    tail.read(&session.store, |line| {
        if filter.admits(&line) {
            match form {
                Form::Table => out.text(&row(&line, session.look))?,
                Form::Json | Form::JsonLines => list.entry(&mut out, &with_node(&line))?,
            }
        }
        Ok::<bool, Failure>(true)
    })?;
    list.end(&mut out)?;
    out.flush()
}

impl Filter {
    fn admits(&self, line: &Line) -> bool {
        let job = match &self.job {
            Some((node, id)) => line.node == *node && line.record.event.job() == Some(id),
            // How the log is written is nothing that happened.
            None => !matches!(
                line.record.event,
                Event::Segment(_) | Event::Totals(_) | Event::BaseEnd(_)
            ),
        };
        let record = &line.record;
        let at = match &record.event {
            Event::JobRecorded(job) => job.job(record.seq, record.wall()).updated_at,
            _ => record.wall(),
        };
        job && self.since.is_none_or(|since| at >= since)
    }
}

/// The log's own fields, behind the node whose log it is.
fn with_node(line: &Line) -> String {
    let node = serde_json::to_string(&line.node).expect("BUG: a text that is no JSON");
    let rest = line.text.strip_prefix('{').unwrap_or(&line.text);
    match line.record.event {
        Event::Segment(_) => line.text.clone(),
        _ => format!("{{\"node\":{node},{rest}"),
    }
}

/// A line for people, or tab-separated: time, node, event, job, and the other fields.
fn row(line: &Line, look: Look) -> String {
    let record = &line.record;
    let id = record.event.job().map(ToString::to_string).unwrap_or_default();
    let (at, event) = (record.wall().to_string(), record.event.name());
    let details = details(&line.text);
    let Some(width) = look.terminal else {
        let fields = [&at, &line.node, event, &id, &details].map(visible);
        return format!("{}\n", fields.join("\t"));
    };
    let at = at.get(..19).unwrap_or(&at).replace('T', " ");
    let text = visible(&format!("{at}  {event:17}  {id}  {details}"));
    let width = usize::from(width);
    let cut: String = match text.chars().count() > width {
        true => text.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        false => text,
    };
    format!("{}\n", cut.trim_end())
}

/// The fields that are not named beside them, as `key=value`.
fn details(text: &str) -> String {
    const SAID: [&str; 7] = ["seq", "ts", "ev", "job", "crc", "wall", "batch"];
    let Ok(Value::Object(fields)) = serde_json::from_str(text) else { return String::new() };
    let pair = |(key, value): (&String, &Value)| match value {
        Value::String(text) => format!("{key}={text}"),
        value => format!("{key}={value}"),
    };
    let fields = fields.iter().filter(|(key, _)| !SAID.contains(&key.as_str())).map(pair);
    fields.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::at_every_width;
    use crate::domain::event::{Claimed, QueuePaused, Record};
    use crate::domain::job::Claim;
    use crate::store::line::encode;

    fn line(seq: u64, event: Event) -> Line {
        let ts = Timestamp::from_micros(1_770_001_445_223_456);
        let text = String::from_utf8(encode(seq, ts, ts, &event)).unwrap().trim_end().to_owned();
        Line { node: "desk-7f3a".into(), record: Record { seq, ts, wall: None, event }, text }
    }

    #[test]
    fn lines_for_people_and_pipes() {
        let claim = Claim::new("desk-7f3a.4k2mq7ab", 17);
        let job = JobId::new("01KGE3H9000000000000000001").unwrap();
        let lines = [
            line(1, Event::Claimed(Claimed { job, run: 1, claim })),
            line(2, Event::QueuePaused(QueuePaused { queue: Some("a\tb".into()), until: None })),
        ];
        let text = |look| lines.iter().map(|line| row(line, look)).collect::<String>();
        insta::assert_snapshot!(at_every_width(text));
        let json: Value = serde_json::from_str(&with_node(&lines[0])).unwrap();
        assert_eq!(
            (&json["node"], &json["seq"], &json["run"]),
            (&"desk-7f3a".into(), &1.into(), &1.into())
        );
    }
}
