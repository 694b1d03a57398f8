//! What the server tells beside its answers: its log, and updates of calls.

use super::ServerState;
use crate::actors::pump::messages::{Logged, Notifications};
use crate::event::Event;
use crate::policy::routing::AttemptUpdate;

impl ServerState {
    /// Tells the host what the server logs, and counts what belongs to nobody. Returns the updates of calls, for the router.
    pub(super) fn overheard(&mut self, notifications: Notifications) -> Vec<AttemptUpdate> {
        let Notifications { updates, logs, unmatched } = notifications;
        if unmatched > 0 {
            *self.ledger().outcomes.entry("stray-notice").or_default() += unmatched;
        }
        for Logged { level, logger, text, missed } in logs {
            let server = self.spec.id.clone();
            self.context.emit(Event::ServerLogged { server, level, logger, text, missed });
        }
        updates
    }
}
