//! What the server tells beside its answers: its log, and news of calls.

use super::ServerState;
use crate::actors::cache::CacheMsg;
use crate::actors::pump::{Asides, Logged};
use crate::event::Event;
use crate::policy::response_cache::{CachedKind, Sweep};
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

    /// More resources changed than can be named: nothing that is kept of any is right for certain.
    pub(super) fn updated_beyond(&self) {
        let sweep = Sweep::Of { kind: CachedKind::Resource, group: self.spec.group.clone(), name: None };
        self.context.stage.borrow().tell_cache(CacheMsg::Changed(vec![sweep]));
    }
}
