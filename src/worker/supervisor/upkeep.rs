//! What a worker does for the log beside its jobs: finished jobs go after a while, and what is sealed is compacted on a
//! thread of its own.
//!
//! The thread is not waited for when the worker ends: a compaction can be ended anywhere.

use std::time::{Duration, Instant};

use super::{Scope, Supervisor};
use crate::domain::retention::Retention;
use crate::store::StoreError;
use crate::store::compact::{Compacted, Idle};
use crate::store::progress::Rest;
use crate::worker::WorkerError;
use crate::worker::inbox::Message;
use crate::worker::process::courtesy;
use crate::worker::reporter::Notice;

/// Between two looks at what there is to do.
const EACH: Duration = Duration::from_secs(10);

/// How long nothing is compacted after it failed.
const AFTER_FAILURE: Duration = Duration::from_secs(600);

/// When there is something to do again.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    next: Option<Instant>,
    compacts: bool,
    not_before: Option<Instant>,
    /// The segment that was written to when it was last seen whether a compaction is worth it.
    weighed: Option<u64>,
}

/// How a compaction ended.
pub(in crate::worker) type Ending = Result<Result<Compacted, Idle>, StoreError>;

impl Supervisor<'_> {
    /// Does what there is to do, if it is time. Jobs go a few thousand at a time, so that nobody waits for long.
    pub(super) fn tend(&mut self) -> Result<(), WorkerError> {
        let now = Instant::now();
        let is_job = matches!(self.setting.scope, Scope::Job(_));
        let is_ending = self.stop.asked.is_some() || self.failed.is_some();
        if is_job || is_ending || self.upkeep.next.is_some_and(|next| next > now) {
            return Ok(());
        }
        if self.store.spare_room() == 0 {
            // What room there is belongs to what must be recorded.
            self.upkeep.next = Some(now + EACH);
            return Ok(());
        }
        let went = self.store.expire_some(Retention::of(&self.config))?;
        self.upkeep.next = Some(now + if went.more { now.elapsed() * 3 } else { EACH });
        let may = !self.upkeep.compacts && self.upkeep.not_before.is_none_or(|then| then <= now);
        // Only where a segment was sealed since, something has changed.
        let active = self.active_segment();
        if may && !went.more && self.upkeep.weighed != active {
            self.upkeep.weighed = active;
            if self.store.is_worth_compacting() {
                self.compact();
            }
        }
        Ok(())
    }

    fn active_segment(&self) -> Option<u64> {
        let node = self.store.place().node()?;
        self.store.view().cursors.get(node).map(|cursor| cursor.segment)
    }

    fn compact(&mut self) {
        let Some(compactor) = self.store.compactor() else { return };
        let compactor = compactor.resting(Rest::by(courtesy::rest));
        let sender = self.inbox.sender();
        let work = move || {
            let ending = courtesy::aside(|| compactor.run(None));
            // Nobody receives any more where the worker is ending.
            let _ = sender.send(Message::Compacted(Box::new(ending)));
        };
        let thread = std::thread::Builder::new().name("compact".to_owned()).spawn(work);
        self.upkeep.compacts = thread.is_ok();
    }

    /// Tells what came of a compaction.
    pub(super) fn compacted(&mut self, ending: Ending) {
        self.upkeep.compacts = false;
        match ending {
            Ok(Ok(Compacted { files, before, after, .. })) => {
                self.reporter.notice(&Notice::Compacted { files, before, after });
            }
            Ok(Err(Idle::Busy | Idle::Nothing)) => {}
            Err(StoreError::Damaged(_)) => {
                // Where it is not damaged after all, there is nothing to tell.
                if let Err(error) = self.store.confirm_damage() {
                    self.fail(error.into());
                }
            }
            Err(error) => {
                self.upkeep.weighed = None;
                self.upkeep.not_before = Some(Instant::now() + AFTER_FAILURE);
                self.reporter.notice(&Notice::Other(format!("cannot compact the log: {error}")));
            }
        }
    }
}
