//! A server that is started on demand: when its connections are opened, and when they are closed since nothing needs them.

use tokio::time::Instant;

use super::{ServerState, first_grace};
use crate::config::Start;
use crate::duration::later;
use crate::id::ConnectionId;
use crate::policy::demand::{Activity, Change};
use crate::protocol::Era;

impl ServerState {
    /// Somebody waits for the server.
    pub(super) fn needed(&mut self, now: Instant) {
        if self.drain_until.is_none() {
            let change = self.demand.needed();
            self.demanded(change, now);
        }
    }

    /// Stops it where nothing has needed it for its idle timeout, and starts it where something does.
    pub(super) fn tend_demand(&mut self, now: Instant) {
        // Most servers are started at once, and this is asked after each message.
        if self.spec.start == Start::AtOnce && self.demand.runs() {
            return;
        }
        let activity = self.activity();
        let change = self.demand.observe(activity, now);
        self.demanded(change, now);
    }

    /// When that is looked at next.
    pub(super) fn idles_at(&self) -> Option<Instant> {
        match self.spec.start {
            Start::AtOnce => None,
            Start::OnDemand => self.demand.due_at(self.activity()),
        }
    }

    /// What goes on with the server. Its calls are those that it has: what waits at the router for an idle server is told.
    fn activity(&self) -> Activity {
        let subscribed = self.carried.ledger.as_ref().is_some_and(|ledger| ledger.has_subscriptions());
        let asks = self.connections.values().any(|held| held.asks);
        let opening = |held: &super::Connection| held.queue.is_none() && !held.closing && !held.leased;
        Activity {
            in_use: self.pool.in_flight() > 0
                || self.leases.len() > 0
                || !self.mirroring.is_idle()
                || subscribed
                || asks,
            // One that is connected and has yet to list is about to.
            under_way: self.lists.are_under_way()
                || self.pool.is_ready() && self.offer.is_none()
                || self.connections.values().any(opening),
            ready: self.pool.is_ready() && self.offer.is_some(),
        }
    }

    /// Does what follows for its connections. They are opened when this message is done with.
    pub(super) fn demanded(&mut self, change: Option<Change>, now: Instant) {
        match change {
            Some(Change::Starts) if self.reconnect_at.is_none_or(|at| at <= now) => {
                // Calls wait for it as they do for a server that was just added.
                self.grace_until = Some(later(now, first_grace(&self.spec, &*self.connector)));
            }
            Some(Change::Stops) => self.rest(),
            // The last attempt has failed, and the next one waits for its time.
            Some(Change::Starts) | None => {}
        }
    }

    /// Closes the connections in order: nothing is on them.
    fn rest(&mut self) {
        if self.pool.is_ready() && self.offer.is_some() {
            // What was wrong with it before is over.
            (self.last_error, self.reconnect_at) = (None, None);
        }
        self.grace_until = None;
        // What comes back may have more, or less, than what goes.
        if let Some(ledger) = &mut self.carried.ledger {
            ledger.known.take_if(|known| known.era == Era::Modern);
        }
        let staying = self.connections.iter().filter(|(_, held)| !held.closing && !held.leased);
        let staying: Vec<ConnectionId> = staying.map(|(connection, _)| *connection).collect();
        for connection in staying {
            self.dismiss(connection);
        }
    }
}
