//! Jobs that wait for more than a worker here: held ones for a person, those of other nodes for their machine.
//!
//! Knows nothing of why they are held, nor what became of the machine.

use std::collections::BTreeMap;

use super::choose::jobs;
use super::session::Session;
use crate::domain::job::JobState;
use crate::domain::selector::Owned;

/// How many such jobs there are.
#[derive(Debug, Default)]
pub(super) struct Stranded {
    /// Jobs of this machine that are held until a person says that they may run.
    pub(super) held: usize,
    /// Waiting jobs of other nodes.
    elsewhere: BTreeMap<String, usize>,
}

impl Stranded {
    /// Those of the whole queue.
    pub(super) fn of_queue(session: &Session) -> Self {
        let state = &session.store.view().state;
        let held = session.store.own().map_or(0, |own| own.held());
        let held = usize::try_from(held).unwrap_or(usize::MAX);
        let mut stranded = Stranded { held, ..Stranded::default() };
        for node in state.nodes.keys().filter(|node| !session.is_own(node)) {
            let counts = state.counts_of(node);
            let waiting = counts[JobState::Pending as usize] + counts[JobState::Failed as usize];
            if let (1.., Ok(waiting)) = (waiting, usize::try_from(waiting)) {
                stranded.elsewhere.insert(node.clone(), waiting);
            }
        }
        stranded
    }

    /// Those among some jobs.
    pub(super) fn among<'a>(session: &Session, some: impl IntoIterator<Item = Owned<'a>>) -> Self {
        let mut stranded = Stranded::default();
        for (node, job) in some.into_iter().filter(|(_, job)| job.state.is_waiting()) {
            match stranded.elsewhere.get_mut(node) {
                Some(count) => *count += 1,
                None if session.is_own(node) => stranded.held += usize::from(job.held.is_some()),
                None => drop(stranded.elsewhere.insert(node.to_owned(), 1)),
            }
        }
        stranded
    }

    /// Says what they wait for, and the way out.
    pub(super) fn tell(&self, session: &Session) {
        for (node, count) in &self.elsewhere {
            session
                .note(&format!("note: {count} of node {node} wait for a worker on that machine"));
        }
        self.tell_ways_out(session);
    }

    /// Says the way out alone, where the jobs themselves say what they wait for.
    pub(super) fn tell_ways_out(&self, session: &Session) {
        if self.held > 0 {
            session.note(&format!(
                "note: held, as the log was rolled back: {}; queuectl retry ID lets one go on, queuectl cancel ID takes \
                 it back",
                jobs(self.held, "")
            ));
        }
        for way in self.elsewhere.keys().filter_map(|node| session.way_back(node)) {
            session.note(&format!("hint: {way}"));
        }
    }
}
