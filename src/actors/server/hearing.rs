//! What the server tells beside its answers: its log, and news of calls.

use super::ServerState;
use crate::actors::pump::messages::{Asides, Logged};
use crate::event::Event;
use crate::policy::routing::News;

impl ServerState {
    /// Tells the host what the server logs, and counts what belongs to nobody. Returns the news of calls, for the router.
    pub(super) fn overheard(&mut self, asides: Asides) -> Vec<News> {
        let Asides { news, logs, strays } = asides;
        if strays > 0 {
            *self.ledger().outcomes.entry("stray-notice").or_default() += strays;
        }
        for Logged { level, logger, text, missed } in logs {
            let server = self.spec.id.clone();
            self.context.emit(Event::ServerLogged { server, level, logger, text, missed });
        }
        news
    }
}
