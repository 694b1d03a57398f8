//! The connections of a server actor: opened as the pool wants, lost, dialled again; and the tools that they list.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use rand::RngExt;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::pinned::compare;
use super::{Connection, ServerMsg, ServerState, hope_after_loss};
use crate::actors::connection::{ConnectionActor, ConnectionArguments, Ending};
use crate::actors::listing::{self, Found};
use crate::actors::pump::PumpMsg;
use crate::actors::registry::RegistryMsg;
use crate::call::AttemptEnd;
use crate::event::{Event, ServerStatus};
use crate::id::{AttemptId, ConnectionId};
use crate::offer::{Kinds, OfferKind};
use crate::policy::catalogue::{Definition, Offer, differences};
use crate::policy::pins::Differences;
use crate::policy::routing::Completion;
use crate::protocol::listing::{Listed, ListedEntry, Listing, SkippedEntry};
use crate::protocol::{Era, Session};

/// Bounds of the time after which a server that tells of no changes is listed again, whatever it says of its lists.
const RELIST_AFTER_MIN: Duration = Duration::from_secs(30);
const RELIST_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// Random share of that time on top of it, so that many servers are not listed as one.
const RELIST_JITTER: f64 = 0.1;

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
            // In a box of its own, seldom needed: the future of each message would have room for it.
            Box::pin(self.open(myself, connection, false)).await?;
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
            known: self.ledger().known,
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
        ledger.known = session.known();
        let transition = if first { ledger.breaker.reconnected(now) } else { None };
        if let Some(transition) = transition {
            self.announce(transition);
        }
        if self.offer.is_some() {
            self.ledger().reconnect.good(now);
        }
        // A new process behind the same address may offer other tools.
        if first {
            self.list(myself, connection, Kinds::all());
        }
    }

    /// Begins to list what the server offers over a connection.
    pub(super) fn list(&mut self, myself: &ActorRef<ServerMsg>, connection: ConnectionId, kinds: Kinds) {
        let Some(queue) = self.connections.get(&connection).and_then(|held| held.queue.clone()) else {
            return;
        };
        let declared = self.ledger().known.map(|known| known.declared).unwrap_or_default();
        let limits = &self.context.settings.limits;
        let mirrors = self.mirrors();
        let listings = kinds.iter().filter(|kind| declared.offers(*kind)).map(|kind| {
            let listing = Listing::new(kind, limits.tools_max, limits.pages_max);
            if mirrors && kind == OfferKind::Tool { listing.mirrored() } else { listing }
        });
        let fetch = listing::fetch(queue, listings.collect(), self.spec.pool.list_timeout);
        self.relist_at = None;
        self.mirroring.listing();
        let (server, pinning) = (self.spec.id.clone(), self.context.pinning.clone());
        let myself = myself.clone();
        self.listing = Some(self.context.tasks.spawn(async move {
            let (found, unlike_pins) = compare(fetch.await, server, pinning).await;
            // A server actor that has ended lists again in its next life.
            let _ = myself.cast(ServerMsg::Listed { connection, found, unlike_pins });
        }));
    }

    pub(super) fn listed(
        &mut self,
        connection: ConnectionId,
        found: Found,
        unlike_pins: Option<Differences>,
        now: Instant,
    ) {
        self.listing = None;
        if let Some(differences) = unlike_pins {
            self.pins.told(&self.context, &self.spec.id, differences);
        }
        let declared = self.ledger().known.map(|known| known.declared).unwrap_or_default();
        let mut offer = self.offer.clone().unwrap_or_default();
        offer.reads = declared.resources;
        let mut failed = None;
        let (mut fresh, mut ttl): (Option<Duration>, Option<Duration>) = (None, None);
        for (kind, listed) in found {
            match listed {
                Ok(listed) => {
                    if !declared.tells(kind) || self.listening.is_deaf() {
                        ttl = [ttl, listed.ttl].into_iter().flatten().min();
                    }
                    fresh = [fresh, listed.ttl].into_iter().flatten().min();
                    self.take_list(kind, listed, &mut offer);
                }
                Err(reason) if kind == OfferKind::Tool => failed = Some(reason),
                // What is known of them stays.
                Err(reason) => tracing::warn!(server = %self.spec.id, %reason, "not listed"),
            }
        }
        self.fresh_for = fresh.or(self.fresh_for);
        if let Some(reason) = failed {
            return self.not_listed(connection, reason, now);
        }
        self.mirroring.listed(&offer.tools);
        if self.offer.as_ref() != Some(&offer) {
            let (server, incarnation) = (self.spec.id.clone(), self.incarnation);
            // Without a registry this life is ending.
            let _ = self.registry.cast(RegistryMsg::Offer { server, incarnation, offer: offer.clone() });
        }
        self.offer = Some(offer);
        self.ledger().reconnect.good(now);
        self.listening.reconsider();
        if let Some(ttl) = ttl {
            self.list_again_after(ttl, now);
        }
        self.dispatch_stale(now);
    }

    /// Takes what one list held, and tells how it differs from before.
    fn take_list(&mut self, kind: OfferKind, listed: Listed, offer: &mut Offer) {
        let server = self.spec.id.clone();
        for SkippedEntry { entry, reason } in listed.skipped {
            self.context.emit(Event::EntrySkipped { server: server.clone(), kind, entry, reason });
        }
        let entries = listed.entries.into_iter();
        let entries = entries.map(|ListedEntry { name, definition }| Definition { name, definition });
        let (blocked, new): (Vec<_>, Vec<_>) = entries
            .partition(|entry| kind == OfferKind::Tool && self.pins.blocks(&self.context, &entry.name));
        if kind == OfferKind::Tool {
            offer.blocked = blocked.into();
        }
        let new: Arc<[Definition]> = new.into();
        let (added, removed, changed) = differences(offer.of(kind), &new);
        if !(added.is_empty() && removed.is_empty() && changed.is_empty()) {
            self.context.emit(Event::OfferChanged { server, kind, added, removed, changed });
        }
        *offer.of_mut(kind) = new;
    }

    /// The tools could not be listed.
    fn not_listed(&mut self, connection: ConnectionId, reason: String, now: Instant) {
        tracing::warn!(server = %self.spec.id, %reason, "tools not listed");
        self.fail_stale();
        // Known tools stay; without any the connection is of no use and is made anew, with backoff.
        let held = self.connections.get(&connection).filter(|held| !held.closing);
        if self.offer.is_none() && held.is_some() {
            self.dismiss(connection);
            self.failed_attempt(reason, None, now);
        }
    }

    /// Plans to list everything again when what was listed is no longer fresh, for a server that does not tell of changes.
    /// Not at once, however short-lived it says that its lists are: nobody asked, and all servers would be asked for ever.
    fn list_again_after(&mut self, ttl: Duration, now: Instant) {
        let wait = ttl.max(RELIST_AFTER_MIN).min(RELIST_AFTER_MAX);
        let jitter = wait.mul_f64(self.rng.random_range(0.0..RELIST_JITTER));
        self.plan_listing(Kinds::all(), crate::duration::later(now, wait.saturating_add(jitter)));
    }

    /// Plans to list these again, with what is planned already, at the earlier of both times.
    pub(super) fn plan_listing(&mut self, kinds: Kinds, at: Instant) {
        self.relist.extend(kinds);
        self.relist_at = Some(self.relist_at.map_or(at, |planned| planned.min(at)));
    }

    /// The server tells of no changes after all.
    pub(super) fn list_by_time(&mut self, now: Instant) {
        if let Some(ttl) = self.fresh_for {
            self.list_again_after(ttl, now);
        }
    }

    /// Asks a connection to end in order.
    pub(super) fn dismiss(&mut self, connection: ConnectionId) {
        if let Some(held) = self.connections.get_mut(&connection) {
            held.closing = true;
            held.queue = None;
            self.pool.closing(connection);
            self.listening.lost(connection);
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
        self.listening.lost(connection);
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
        self.listening.lost(connection);
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
        self.reconnect_at = if at_once { None } else { Some(crate::duration::later(now, delay)) };
        if let Some(transition) = transition {
            self.announce(transition);
        }
        if was_ready && !self.pool.is_ready() {
            // What comes back may have more, or less, than what went.
            self.ledger().known.take_if(|known| known.era == Era::Modern);
            self.hope_until = Some(crate::duration::later(now, hope_after_loss(&*self.connector)));
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
        ledger.known = None;
        self.reconnect_at = Some(crate::duration::later(now, delay));
        self.last_error = Some(reason);
        if self.reported.as_ref().is_none_or(|reported| reported.status != ServerStatus::Ready)
            && self
                .hope_until
                .is_some_and(|until| until > crate::duration::later(now, hope_after_loss(&*self.connector)))
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
            // When it was sent, its connection alone knew.
            self.meters.attempted("connection-lost", None);
            let end = AttemptEnd::ConnectionLost { reason: reason.to_owned(), sent };
            let class = (self.context.classifier)(&end);
            Completion { attempt, end, class, latency: Duration::ZERO }
        });
        let batch = batch.collect();
        self.tell_of_completed(batch);
    }
}
