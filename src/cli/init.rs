//! `queuectl init`: makes the queue's directory. Optional: the first write makes it too.

use serde_json::json;

use super::error::Failure;
use super::exit::Exit;
use super::output::Out;
use super::session::Session;

/// Does it. Where everything is there, nothing changes.
pub(super) fn perform(session: &mut Session) -> Result<Exit, Failure> {
    let existed = session.store.place().exists();
    session.store.sync_what_was_read().map_err(Failure::of_writing)?;
    session.tell_notices();
    session.warn_of_place();
    let place = session.store.place();
    let root = place.root().display();
    if session.globals.json {
        let mut out = Out::new();
        out.json(&json!({"dir": root.to_string(), "node": place.node(), "created": !existed}))?;
        out.flush()?;
    } else {
        let verb = if existed { "found" } else { "made" };
        session.note(&format!(
            "{verb} {root}, of which this machine is node {}",
            place.node().unwrap_or_default()
        ));
    }
    Ok(Exit::Done)
}
