//! The connections of a server actor: opened as the pool wants, lost, dialled again.

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Connection, ServerState, reconnect_grace};
use crate::actors::connection::messages::{Ending, EndingParts};
use crate::actors::connection::{ConnectionActor, ConnectionArguments};
use crate::actors::dial::StartFailure;
use crate::actors::pump::messages::{Leaving, PumpMsg};
use crate::actors::registry::messages::RegistryMsg;
use crate::actors::server::messages::ServerMsg;
use crate::call::AttemptEnd;
use crate::duration::later;
use crate::event::{Event, ServerStatus};
use crate::id::{AttemptId, ConnectionId};
use crate::peer_text;
use crate::policy::routing::Completion;
use crate::protocol::handshake::Greeting;
use crate::protocol::{Era, Session};
use crate::stats::Starting;

/// The longest that a server's word keeps it from being dialled: one that names a day has forgotten itself.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5 * 60);

impl ServerState {
    /// Opens as many connections as the pool wants, unless the backoff forbids it.
    pub(super) async fn open_connections(
        &mut self,
        myself: &ActorRef<ServerMsg>,
        now: Instant,
    ) -> Result<(), ActorProcessingErr> {
        if !self.demand.runs() || self.reconnect_at.is_some_and(|at| at > now) {
            return Ok(());
        }
        for _ in 0..self.pool.wanted() {
            let connection = self.numbers.connection();
            self.pool.opening(connection);
            self.rounds.dialled(connection);
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
        let usual = self.spec.pool.handshake_limit(self.connector.starts_process());
        let starts = &self.ledger().starts;
        let (handshake_limit, turn_limit, attempt) = (starts.limit(usual), usual, starts.attempt());
        let arguments = ConnectionArguments {
            context: self.context.clone(),
            spec: self.spec.clone(),
            connector: self.connector.clone(),
            connection,
            known: self.ledger().known,
            handshake_limit,
            turn_limit,
            attempt,
            greeting: self.ledger().greeting,
            server: myself.clone(),
        };
        let (actor, _) =
            ConnectionActor::spawn_linked(None, ConnectionActor, arguments, myself.get_cell()).await?;
        self.connections
            .insert(connection, Connection { actor, queue: None, closing: false, leased, asks: false });
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
        self.starts.over(connection);
        self.context.emit(Event::ConnectionOpened {
            server: self.spec.id.clone(),
            connection,
            version: session.version().to_owned(),
            name: session.server_name().map(str::to_owned),
        });
        if let Some(details) = session.details() {
            self.ledger().details = Some(details.clone());
        }
        // One whose era is known says nothing of itself again: what it said is told to a registry that may not know it.
        if let Some(details) = self.ledger().details.clone() {
            let (server, incarnation) = (self.spec.id.clone(), self.incarnation);
            // Without a registry this life is ending.
            let _ = self.registry.cast(RegistryMsg::Details { server, incarnation, details });
        }
        if leased {
            return self.lease_opened(myself, connection, now);
        }
        let first = !self.pool.is_ready();
        self.pool.opened(connection, now);
        let ledger = self.ledger();
        ledger.known = session.known();
        ledger.starts.succeeded(now);
        ledger.greeting = Greeting::default();
        let transition = if first { ledger.breaker.reconnected(now) } else { None };
        if let Some(transition) = transition {
            self.announce(transition);
        }
        if self.offer.is_some() {
            self.ledger().reconnect.good(now);
        }
        self.reached(first, now);
    }

    /// Asks a connection to end in order.
    pub(super) fn dismiss(&mut self, connection: ConnectionId) {
        if let Some(held) = self.connections.get_mut(&connection) {
            held.closing = true;
            // There is a place for it. Where there is none after all, the end of its queue says the same.
            held.queue.take_if(|queue| queue.try_send(PumpMsg::Close).is_err());
            self.pool.closing(connection);
            self.listening.lost(connection);
        }
    }

    /// A connection takes no more requests: the link is lost, though what is on it comes to its own end. Its queue stays,
    /// so that this can be called off.
    pub(super) fn leaving(&mut self, connection: ConnectionId, leaving: Leaving, now: Instant) {
        let Leaving { reason, blameless } = leaving;
        let reason = peer_text::reason(reason);
        let Some(held) = self.connections.get_mut(&connection).filter(|held| !held.closing) else { return };
        held.closing = true;
        let server = self.spec.id.clone();
        self.context.emit(Event::ConnectionLost { server, connection, reason: reason.clone() });
        if held.leased {
            return self.leases.leave(connection, &format!("its connection was lost: {reason}"));
        }
        self.listening.lost(connection);
        let was_ready = self.pool.is_ready();
        self.pool.leaving(connection);
        self.lost_link(connection, was_ready, !blameless, reason, now);
    }

    /// A connection is over. What was on it and was not reported is lost; a second report finds nothing.
    pub(super) fn closed(&mut self, connection: ConnectionId, ending: Ending, now: Instant) {
        let EndingParts { reason, retry_after, start_failure, probed } = ending.into_parts();
        let Some(held) = self.connections.remove(&connection) else { return };
        self.starts.over(connection);
        // That a server which is not up was not reached is told with its status.
        if !held.closing && (held.queue.is_some() || held.leased || self.pool.is_ready()) {
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
            let greeting = &mut self.ledger().greeting;
            *greeting = greeting.after_failure(probed);
            return self.failed_attempt(connection, reason, retry_after, start_failure, now);
        }
        self.lost_link(connection, was_ready, true, reason, now);
    }

    /// An established link was lost: another one is dialled, and the breaker learns of it where it is to blame.
    fn lost_link(
        &mut self,
        connection: ConnectionId,
        was_ready: bool,
        to_blame: bool,
        reason: String,
        now: Instant,
    ) {
        let counts = self.rounds.failed(connection);
        let ServerState { carried, rng, .. } = self;
        let Some(ledger) = &mut carried.ledger else { return };
        let transition = to_blame.then(|| ledger.breaker.link_lost(now, rng)).flatten();
        if counts {
            let at_once = ledger.reconnect.attempts() == 0;
            let delay = ledger.reconnect.next(now, rng);
            self.reconnect_at = if at_once { None } else { Some(later(now, delay)) };
        }
        if let Some(transition) = transition {
            self.announce(transition);
        }
        if was_ready && !self.pool.is_ready() {
            // What comes back may have more, or less, than what went.
            self.ledger().known.take_if(|known| known.era == Era::Modern);
            self.grace_until = Some(later(now, reconnect_grace(&*self.connector)));
        }
        self.lists.lost_link();
        self.last_error = Some(reason);
    }

    /// A connection could not be opened, or was of no use.
    pub(super) fn failed_attempt(
        &mut self,
        connection: ConnectionId,
        reason: String,
        retry_after: Option<Duration>,
        start_failure: Option<StartFailure>,
        now: Instant,
    ) {
        let counts = self.rounds.failed(connection);
        let ServerState { carried, rng, .. } = self;
        let Some(ledger) = &mut carried.ledger else { return };
        let wanted = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        // A start that failed has cost this machine more than a dial that was refused.
        let delay = match start_failure {
            _ if !counts => Duration::ZERO,
            Some(StartFailure { timed_out }) => ledger.starts.failed(timed_out, now, rng),
            None => ledger.reconnect.next(now, rng),
        };
        let delay = delay.max(wanted);
        // Another server may have taken the place of the one that was known; not where that one still answers.
        if !self.pool.is_ready() {
            ledger.known = None;
        }
        // What another connection of the same round has set stands, unless this one asks for more.
        let before = self.reconnect_at.filter(|_| !counts);
        self.reconnect_at = before.max(Some(later(now, delay)));
        self.last_error = Some(reason);
        if self.reported.as_ref().is_none_or(|reported| reported.status != ServerStatus::Ready)
            && self.grace_until.is_some_and(|until| until > later(now, reconnect_grace(&*self.connector)))
        {
            // The hope of the first attempt ends with it.
            self.grace_until = None;
        }
    }

    /// A connection's process waits for its turn to start, or is starting.
    pub(super) fn starting(&mut self, connection: ConnectionId, starting: Starting, now: Instant) {
        let Some(held) = self.connections.get(&connection) else { return };
        if held.closing || held.leased || held.queue.is_some() {
            return;
        }
        // While it waits for its turn nothing is said against the hope that there is.
        match (&starting, self.starts.hope_left) {
            (Starting::Waiting { .. }, None) => {
                let left = self.grace_until.map(|until| until.saturating_duration_since(now));
                self.starts.hope_left = left.filter(|left| !left.is_zero());
            }
            (Starting::Running { .. }, Some(left)) => {
                self.grace_until = Some(later(now, left));
                self.starts.hope_left = None;
            }
            (Starting::Waiting { .. }, Some(_)) | (Starting::Running { .. }, None) => {}
        }
        if self.starts.may_tell(&starting, now) {
            let server = self.spec.id.clone();
            let (before, since, limit, last_line) = match &starting {
                Starting::Waiting { before, since } => (Some(*before), *since, None, None),
                Starting::Running { since, limit, last_line } => {
                    (None, *since, Some(*limit), last_line.clone())
                }
            };
            let elapsed = now.saturating_duration_since(since);
            self.context.emit(Event::ServerStarting {
                server,
                connection,
                before,
                elapsed,
                limit,
                last_line,
            });
        }
        self.starts.present = Some((connection, starting));
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
            let class = self.context.judge.class(&end);
            Completion { attempt, end, class, latency: Duration::ZERO }
        });
        let batch = batch.collect();
        self.tell_of_completed(batch);
    }
}
