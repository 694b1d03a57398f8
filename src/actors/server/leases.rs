//! Leases: connections of their own, opened for one user and closed with the lease.

use ractor::{ActorProcessingErr, ActorRef};
use tokio::time::Instant;

use super::ServerState;
use super::mirroring::Turn;
use crate::actors::pump::messages::PumpMsg;
use crate::actors::router::messages::RouterMsg;
use crate::actors::server::messages::ServerMsg;
use crate::call::{Granted, LeaseKey};
use crate::duration::rounded;
use crate::id::{AttemptId, ConnectionId};
use crate::policy::leases::Denied;
use crate::policy::routing::{Dispatch, LeaseUpdate};

impl ServerState {
    /// Begins a lease; its connection is opened when this message is done with.
    pub(super) fn lease(&mut self, attempt: AttemptId) {
        if self.drain_until.is_some() {
            return self.refuse(attempt);
        }
        let connection = self.numbers.connection();
        if !self.leases.open(connection, attempt) {
            self.tell_of_lease(attempt, LeaseUpdate::Exhausted { limit: self.leases.max() });
        }
    }

    /// Opens the connections of leases that have none yet, and ends those that nobody uses.
    pub(super) async fn tend_leases(
        &mut self,
        myself: &ActorRef<ServerMsg>,
        now: Instant,
    ) -> Result<(), ActorProcessingErr> {
        if self.leases.len() == 0 {
            return Ok(());
        }
        for connection in self.leases.opening() {
            if !self.connections.contains_key(&connection) {
                Box::pin(self.open(myself, connection, true)).await?;
            }
        }
        for connection in self.leases.expired(now) {
            let idle = format!("it was unused for {}", rounded(self.spec.pool.lease_idle_timeout));
            self.end_lease(connection, &idle);
        }
        Ok(())
    }

    /// Sends a call over its lease, or says why not.
    pub(super) fn dispatch_leased(
        &mut self,
        connection: ConnectionId,
        dispatch: Dispatch,
        turn: Turn,
        now: Instant,
    ) {
        let attempt = dispatch.attempt;
        if let Err(denied) = self.leases.begin(connection, attempt) {
            let update = match denied {
                Denied::Over(reason) => LeaseUpdate::Ended { reason },
                Denied::Full(limit) => LeaseUpdate::Exhausted { limit },
            };
            return self.tell_of_lease(attempt, update);
        }
        let permit = self.ledger().breaker.bypass();
        let mirroring = self.mirroring_of(&dispatch, turn);
        let dispatch = self.by_real_name(dispatch);
        let queue = self.connections.get(&connection).and_then(|held| held.queue.as_ref());
        if queue.is_none_or(|queue| queue.try_send(PumpMsg::Call { dispatch, permit, mirroring }).is_err()) {
            // The link ends at this moment.
            self.leases.finish(connection, attempt, now);
            self.lose(vec![attempt], "the connection is closing", false);
        }
    }

    pub(super) fn lease_opened(
        &mut self,
        myself: &ActorRef<ServerMsg>,
        connection: ConnectionId,
        now: Instant,
    ) {
        let Some(attempt) = self.leases.opened(connection, now) else { return };
        let (server, myself) = (self.spec.id.clone(), myself.clone());
        let key = LeaseKey { server, incarnation: self.incarnation, connection };
        let granted = Granted::new(key, move |LeaseKey { server: _, incarnation, connection }| {
            // A life that has ended has no leases.
            let _ = myself.cast(ServerMsg::Release { incarnation, connection });
        });
        self.tell_of_lease(attempt, LeaseUpdate::Granted(granted));
    }

    /// Ends a lease: its connection closes in order.
    pub(super) fn end_lease(&mut self, connection: ConnectionId, reason: &str) {
        if !self.leases.close(connection, reason) {
            return;
        }
        match self.connections.get(&connection) {
            Some(held) if held.queue.is_none() => {
                // It is still being dialled: there is nothing to finish.
                held.actor.stop(None);
                self.dismiss(connection);
            }
            Some(_) => self.dismiss(connection),
            // Its dial has not begun, and nobody waits for it.
            None => drop(self.leases.end(connection, reason)),
        }
    }

    /// The connection of a lease is gone, and the lease with it.
    pub(super) fn lease_closed(&mut self, connection: ConnectionId, reason: &str) {
        let (lost, opener) = self.leases.end(connection, &format!("its connection was lost: {reason}"));
        self.lose(lost, reason, true);
        self.lose(opener.into_iter().collect(), reason, false);
    }

    fn tell_of_lease(&self, attempt: AttemptId, update: LeaseUpdate) {
        let (server, incarnation) = (self.spec.id.clone(), self.incarnation);
        self.context.to_router(RouterMsg::Leasing { server, incarnation, attempt, update });
    }
}
