//! The connections of a server actor: opened as the pool wants, lost, dialled again; and the tools that they list.

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Connection, ServerMsg, ServerState, hope_after_loss};
use crate::actors::connection::{ConnectionActor, ConnectionArguments, Ending};
use crate::actors::listing::{self, Tools};
use crate::actors::pump::PumpMsg;
use crate::actors::registry::RegistryMsg;
use crate::call::AttemptEnd;
use crate::event::{Event, ServerStatus};
use crate::id::{AttemptId, ConnectionId};
use crate::policy::catalogue::{ToolDefinition, differences};
use crate::policy::routing::Completion;
use crate::protocol::Session;
use crate::protocol::listing::Listing;

/// The longest that a server's word keeps it from being dialled: one that names a day has forgotten itself.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5 * 60);

impl ServerState {
    /// Opens as many connections as the pool wants, unless the backoff forbids it.
    pub(super) async fn open_connections(
        &mut self,
        myself: &ActorRef<ServerMsg>,
        now: Instant,
    ) -> Result<(), ActorProcessingErr> {
        if self.reconnect_at.is_some_and(|at| at > now) {
            return Ok(());
        }
        for _ in 0..self.pool.wanted() {
            let connection = self.ledger().connection();
            self.pool.opening(connection);
            self.open(myself, connection, false).await?;
        }
        Ok(())
    }

    /// Starts the actor of a new connection.
    pub(super) async fn open(
        &mut self,
        myself: &ActorRef<ServerMsg>,
        connection: ConnectionId,
        leased: bool,
    ) -> Result<(), ActorProcessingErr> {
        let arguments = ConnectionArguments {
            context: self.context.clone(),
            spec: self.spec.clone(),
            connector: self.connector.clone(),
            connection,
            known_era: self.ledger().era,
            server: myself.clone(),
        };
        let (actor, _) =
            ConnectionActor::spawn_linked(None, ConnectionActor, arguments, myself.get_cell()).await?;
        self.connections.insert(connection, Connection { actor, queue: None, closing: false, leased });
        Ok(())
    }

    pub(super) fn opened(
        &mut self,
        myself: &ActorRef<ServerMsg>,
        connection: ConnectionId,
        session: Session,
        queue: mpsc::Sender<PumpMsg>,
        now: Instant,
    ) {
        let Some(held) = self.connections.get_mut(&connection).filter(|held| !held.closing) else { return };
        held.queue = Some(queue);
        let leased = held.leased;
        self.context.emit(Event::ConnectionOpened {
            server: self.spec.id.clone(),
            connection,
            version: session.version().to_owned(),
            name: session.server_name().map(str::to_owned),
        });
        if leased {
            return self.lease_opened(connection, now);
        }
        let first = !self.pool.is_ready();
        self.pool.opened(connection, now);
        let ledger = self.ledger();
        ledger.era = session.era();
        let transition = if first { ledger.breaker.reconnected(now) } else { None };
        if let Some(transition) = transition {
            self.announce(transition);
        }
        if self.tools.is_some() {
            self.ledger().reconnect.good(now);
        }
        // A new process behind the same address may offer other tools.
        if first {
            self.list(myself, connection);
        }
    }

    /// Begins to list the tools over a connection.
    pub(super) fn list(&mut self, myself: &ActorRef<ServerMsg>, connection: ConnectionId) {
        let Some(queue) = self.connections.get(&connection).and_then(|held| held.queue.clone()) else {
            return;
        };
        self.relist_at = None;
        self.mirroring.listing();
        let limits = &self.context.settings.limits;
        let listing = Listing::new(limits.tools_max, limits.pages_max);
        let listing = if self.mirrors() { listing.mirrored() } else { listing };
        let fetch = listing::fetch(queue, listing, self.spec.pool.list_timeout);
        let myself = myself.clone();
        self.listing = Some(self.context.tasks.spawn(async move {
            let tools = fetch.await;
            // A server actor that has ended lists again in its next life.
            let _ = myself.cast(ServerMsg::Listed { connection, tools });
        }));
    }

    pub(super) fn listed(&mut self, connection: ConnectionId, tools: Result<Tools, String>, now: Instant) {
        self.listing = None;
        match tools {
            Ok(Tools { tools, skipped }) => {
                let server = self.spec.id.clone();
                for skip in skipped {
                    let (server, tool, reason) = (server.clone(), skip.tool, skip.reason);
                    self.context.emit(Event::ToolSkipped { server, tool, reason });
                }
                let former: &[ToolDefinition] = self.tools.as_deref().unwrap_or_default();
                let (added, removed, changed) = differences(former, &tools);
                let differs = !(added.is_empty() && removed.is_empty() && changed.is_empty());
                if differs {
                    self.context.emit(Event::ToolsChanged {
                        server: server.clone(),
                        added,
                        removed,
                        changed,
                    });
                }
                if differs || self.tools.is_none() {
                    let (incarnation, tools) = (self.incarnation, tools.clone());
                    // Without a registry this life is ending.
                    let _ = self.registry.cast(RegistryMsg::Tools { server, incarnation, tools });
                }
                self.mirroring.listed(&tools);
                self.tools = Some(tools);
                self.ledger().reconnect.good(now);
                self.dispatch_stale(now);
            }
            Err(reason) => {
                tracing::warn!(server = %self.spec.id, %reason, "tools not listed");
                self.fail_stale();
                // Known tools stay; without any the connection is of no use and is made anew, with backoff.
                let held = self.connections.get(&connection).filter(|held| !held.closing);
                if self.tools.is_none() && held.is_some() {
                    self.dismiss(connection);
                    self.failed_attempt(reason, None, now);
                }
            }
        }
    }

    /// Asks a connection to end in order.
    pub(super) fn dismiss(&mut self, connection: ConnectionId) {
        if let Some(held) = self.connections.get_mut(&connection) {
            held.closing = true;
            held.queue = None;
            self.pool.closing(connection);
        }
    }

    /// A connection takes no more requests: the link is lost, though what is on it comes to its own end. Its queue stays,
    /// so that this can be called off.
    pub(super) fn leaving(&mut self, connection: ConnectionId, reason: String, now: Instant) {
        let Some(held) = self.connections.get_mut(&connection).filter(|held| !held.closing) else { return };
        held.closing = true;
        let server = self.spec.id.clone();
        self.context.emit(Event::ConnectionLost { server, connection, reason: reason.clone() });
        if held.leased {
            self.leases.close(connection, &format!("its connection was lost: {reason}"));
            return;
        }
        let was_ready = self.pool.is_ready();
        self.pool.leaving(connection);
        self.lost_link(was_ready, reason, now);
    }

    /// A connection is over. What was on it and was not reported is lost; a second report finds nothing.
    pub(super) fn closed(&mut self, connection: ConnectionId, ending: Ending, now: Instant) {
        let Ending { reason, retry_after } = ending;
        let Some(held) = self.connections.remove(&connection) else { return };
        if !held.closing {
            let server = self.spec.id.clone();
            self.context.emit(Event::ConnectionLost { server, connection, reason: reason.clone() });
        }
        if held.leased {
            return self.lease_closed(connection, &reason);
        }
        let was_ready = self.pool.is_ready();
        let lost = self.pool.close(connection);
        self.lose(lost, &reason, true);
        if held.closing {
            return;
        }
        if held.queue.is_none() {
            return self.failed_attempt(reason, retry_after, now);
        }
        self.lost_link(was_ready, reason, now);
    }

    /// An established link was lost: the breaker learns of it, and another one is dialled.
    fn lost_link(&mut self, was_ready: bool, reason: String, now: Instant) {
        let ServerState { carried, rng, .. } = self;
        let Some(ledger) = &mut carried.ledger else { return };
        let transition = ledger.breaker.link_lost(now, rng);
        let at_once = ledger.reconnect.attempts() == 0;
        let delay = ledger.reconnect.next(now, rng);
        self.reconnect_at = if at_once { None } else { Some(now + delay) };
        if let Some(transition) = transition {
            self.announce(transition);
        }
        if was_ready && !self.pool.is_ready() {
            self.hope_until = Some(now + hope_after_loss(&*self.connector));
        }
        self.last_error = Some(reason);
    }

    /// A connection could not be opened, or was of no use.
    pub(super) fn failed_attempt(&mut self, reason: String, retry_after: Option<Duration>, now: Instant) {
        let ServerState { carried, rng, .. } = self;
        let Some(ledger) = &mut carried.ledger else { return };
        let wanted = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        let delay = ledger.reconnect.next(now, rng).max(wanted);
        // Another server may have taken the place of the one that was known.
        ledger.era = None;
        self.reconnect_at = Some(now + delay);
        self.last_error = Some(reason);
        if self.reported.as_ref().is_none_or(|reported| reported.status != ServerStatus::Ready)
            && self.hope_until.is_some_and(|until| until > now + hope_after_loss(&*self.connector))
        {
            // The hope of the first attempt ends with it.
            self.hope_until = None;
        }
    }

    /// Tells the router of attempts whose connection died without a word.
    pub(super) fn lose(&mut self, attempts: Vec<AttemptId>, reason: &str, sent: bool) {
        if attempts.is_empty() {
            return;
        }
        let batch = attempts.into_iter().map(|attempt| {
            self.carried.ledger.iter_mut().for_each(|ledger| ledger.count("connection-lost"));
            let end = AttemptEnd::ConnectionLost { reason: reason.to_owned(), sent };
            let class = (self.context.classifier)(&end);
            Completion { attempt, end, class, latency: Duration::ZERO }
        });
        let batch = batch.collect();
        self.tell_of_completed(batch);
    }
}
