//! ServerActor: owns the connections of one server, its circuit breaker, its tools and its figures.
//!
//! ```text
//! Connecting ──▶ Ready ──link lost──▶ Connecting ──▶ …
//!     │  ▲                                  a lost link is dialled again at once, then with backoff
//!   failed │ backoff over
//!     ▼  │
//! Disconnected
//! ```
//!
//! It is ready when a connection is open and its tools are known. Every change of where it stands is reported to the
//! registry, which passes it on to the router. Its own crash is the registry's business; a broken link is not a crash.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::Context;
use super::alarm::Alarm;
use super::connection::{ConnectionActor, ConnectionArguments, ConnectionMsg};
use super::ledger::Ledger;
use super::listing::{self, Tools};
use super::pump::{Finished, PumpMsg};
use super::registry::RegistryMsg;
use super::router::RouterMsg;
use super::supervision::{STOP_GRACE, exit_of};
use super::task::OwnedTask;
use crate::call::{AttemptEnd, OutcomeClass};
use crate::config::ServerSpec;
use crate::event::{BreakerTransition, Event, ServerStatus};
use crate::id::{AttemptId, ConnectionId, Incarnation, ServerId};
use crate::policy::breaker::Admission;
use crate::policy::catalogue::{ToolDefinition, differences};
use crate::policy::pool::Pool;
use crate::policy::routing::{CancelReason, Completion, Dispatch, Standing};
use crate::protocol::Session;
use crate::stats::{BreakerStats, LatencyStats, Outcomes, PoolStats};
use crate::transport::Connector;

/// How long calls wait for a server that was just lost, before they fail fast: long enough for a restart of a local
/// server, short enough that nobody takes it for a hang.
const HOPE_AFTER_LOSS: Duration = Duration::from_secs(2);

/// How long `list_changed` notifications are gathered before the tools are listed again.
const RELIST_DELAY: Duration = Duration::from_millis(100);

/// An order of the host to a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BreakerOrder {
    ForceOpen,
    ForceClose,
    Reset,
}

/// The figures that only the server actor knows.
pub(crate) struct ServerReport {
    pub breaker: BreakerStats,
    pub pool: PoolStats,
    pub latency: LatencyStats,
    pub outcomes: Outcomes,
}

/// What a server actor is told.
pub(crate) enum ServerMsg {
    /// By the router: send this.
    Dispatch(Dispatch),
    /// By the router: call an attempt off.
    Cancel { attempt: AttemptId, reason: CancelReason },
    /// By the registry: the router was replaced; what the old one asked for is called off.
    CancelAll,
    /// By a connection's task: the link is open and agreed on.
    Opened { connection: ConnectionId, session: Session, queue: mpsc::Sender<PumpMsg> },
    /// By a connection's task, as its last word: the link is over, or never came to be.
    Closed { connection: ConnectionId, reason: String },
    /// By itself, behind what the connection reported: a connection's actor has ended.
    Gone { connection: ConnectionId, reason: String },
    /// By a connection's pump: what a turn brought.
    Finished {
        connection: ConnectionId,
        finished: Vec<Finished>,
        violations: Vec<String>,
        strays: u64,
        tools_changed: bool,
    },
    /// By the listing task: the tools, or why there are none.
    Listed { connection: ConnectionId, tools: Result<Tools, String> },
    /// By the registry: a sign of life is wanted.
    Ping,
    /// By a handle: an order to the breaker.
    Breaker { order: BreakerOrder, port: oneshot::Sender<Option<BreakerTransition>> },
    /// By a handle: the figures.
    Report(oneshot::Sender<ServerReport>),
    /// By the registry: finish what is in flight, at the latest by `until`, then end.
    Drain { until: Instant },
    /// By the alarm.
    Due,
    /// By the testkit: panic in this handler.
    #[cfg(feature = "testkit")]
    Panic,
    /// By the testkit: never return from this handler.
    #[cfg(feature = "testkit")]
    Hang,
    /// By the testkit: the cells of the connections, oldest first.
    #[cfg(feature = "testkit")]
    Connections(oneshot::Sender<Vec<ActorRef<ConnectionMsg>>>),
}

/// What a server actor is started with.
pub(crate) struct ServerArguments {
    pub context: Context,
    pub spec: Arc<ServerSpec>,
    pub connector: Arc<dyn Connector>,
    pub incarnation: Incarnation,
    pub registry: ActorRef<RegistryMsg>,
    pub ledger: Ledger,
    /// The tools that an earlier life found.
    pub tools: Option<Arc<[ToolDefinition]>>,
}

/// One connection as the server actor holds it.
struct Connection {
    actor: ActorRef<ConnectionMsg>,
    /// Present from the handshake on, until the connection is asked to end.
    queue: Option<mpsc::Sender<PumpMsg>>,
    /// It was asked to end: its end is no loss.
    closing: bool,
}

/// The ledger on its way through this life. However the life ends, it is handed to the registry; and since it goes
/// with the rest of the state, its arrival proves that the life is over.
struct Carried {
    ledger: Option<Box<Ledger>>,
    registry: ActorRef<RegistryMsg>,
    server: ServerId,
    incarnation: Incarnation,
}

impl Drop for Carried {
    fn drop(&mut self) {
        if let Some(ledger) = self.ledger.take() {
            let (server, incarnation) = (self.server.clone(), self.incarnation);
            // Without a registry there is no next life.
            let _ = self.registry.cast(RegistryMsg::Handover { server, incarnation, ledger });
        }
    }
}

/// The server actor's state.
pub(crate) struct ServerState {
    context: Context,
    spec: Arc<ServerSpec>,
    connector: Arc<dyn Connector>,
    incarnation: Incarnation,
    registry: ActorRef<RegistryMsg>,
    carried: Carried,

    connections: BTreeMap<ConnectionId, Connection>,
    pool: Pool<AttemptId>,
    /// No dial before this.
    reconnect_at: Option<Instant>,
    last_error: Option<String>,

    tools: Option<Arc<[ToolDefinition]>>,
    listing: Option<OwnedTask>,
    relist_at: Option<Instant>,

    /// Until then the next dial is expected to succeed, and calls wait for it.
    hope_until: Option<Instant>,
    reported: Option<Standing>,
    /// The router holds a refusal against this server, which the next report lifts.
    refused: bool,
    drain_until: Option<Instant>,
    alarm: Alarm,
    rng: SmallRng,
}

/// Plays one server; see the module's page.
pub(crate) struct ServerActor;

impl Actor for ServerActor {
    type Msg = ServerMsg;
    type State = ServerState;
    type Arguments = ServerArguments;

    async fn pre_start(
        &self,
        _: ActorRef<ServerMsg>,
        arguments: ServerArguments,
    ) -> Result<ServerState, ActorProcessingErr> {
        let ServerArguments { context, spec, connector, incarnation, registry, ledger, tools } = arguments;
        let mut ledger = Box::new(ledger);
        let now = Instant::now();
        ledger.breaker.inherit(now);
        let hope = if incarnation == Incarnation::FIRST {
            spec.pool.connect_timeout + spec.pool.handshake_timeout + spec.pool.list_timeout
        } else {
            HOPE_AFTER_LOSS
        };
        let mut seed = DefaultHasher::new();
        (context.seed, &spec.id, incarnation).hash(&mut seed);
        Ok(ServerState {
            carried: Carried {
                ledger: Some(ledger),
                registry: registry.clone(),
                server: spec.id.clone(),
                incarnation,
            },
            connections: BTreeMap::new(),
            pool: Pool::new(spec.pool.clone()),
            reconnect_at: None,
            last_error: None,
            tools,
            listing: None,
            relist_at: None,
            hope_until: Some(now + hope),
            reported: None,
            refused: false,
            drain_until: None,
            alarm: Alarm::new(),
            rng: SmallRng::seed_from_u64(seed.finish()),
            context,
            spec,
            connector,
            incarnation,
            registry,
        })
    }

    async fn post_start(
        &self,
        myself: ActorRef<ServerMsg>,
        state: &mut ServerState,
    ) -> Result<(), ActorProcessingErr> {
        state.tend(&myself, Instant::now()).await
    }

    async fn handle(
        &self,
        myself: ActorRef<ServerMsg>,
        message: ServerMsg,
        state: &mut ServerState,
    ) -> Result<(), ActorProcessingErr> {
        let now = Instant::now();
        match message {
            ServerMsg::Dispatch(dispatch) => state.dispatch(dispatch, now),
            ServerMsg::Cancel { attempt, reason } => state.cancel(attempt, reason),
            ServerMsg::CancelAll => state.cancel_all(),
            ServerMsg::Opened { connection, session, queue } => {
                state.opened(&myself, connection, session, queue, now);
            }
            ServerMsg::Closed { connection, reason } | ServerMsg::Gone { connection, reason } => {
                state.closed(connection, reason, now);
            }
            ServerMsg::Finished { connection, finished, violations, strays, tools_changed } => {
                state.finished(connection, finished, now);
                state.noted(connection, violations, strays);
                if tools_changed {
                    state.relist_at.get_or_insert(now + RELIST_DELAY);
                }
            }
            ServerMsg::Listed { connection, tools } => state.listed(connection, tools, now),
            ServerMsg::Ping => {
                let (server, incarnation) = (state.spec.id.clone(), state.incarnation);
                let _ = state.registry.cast(RegistryMsg::Pong { server, incarnation });
            }
            ServerMsg::Breaker { order, port } => {
                let transition = state.order(order, now);
                let _ = port.send(transition);
            }
            ServerMsg::Report(port) => {
                let _ = port.send(state.figures(now));
            }
            ServerMsg::Drain { until } => state.drain_until = Some(until),
            ServerMsg::Due => state.alarm.rang(),
            #[cfg(feature = "testkit")]
            ServerMsg::Panic => panic!("ordered by the testkit"),
            #[cfg(feature = "testkit")]
            ServerMsg::Hang => std::future::pending().await,
            #[cfg(feature = "testkit")]
            ServerMsg::Connections(port) => {
                let _ = port.send(state.connections.values().map(|c| c.actor.clone()).collect());
            }
        }
        state.tend(&myself, now).await
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<ServerMsg>,
        event: SupervisionEvent,
        state: &mut ServerState,
    ) -> Result<(), ActorProcessingErr> {
        let Some((child, cause)) = exit_of(event) else { return Ok(()) };
        let found = state.connections.iter().find(|(_, connection)| connection.actor.get_id() == child);
        if let Some((connection, _)) = found {
            // Supervision overtakes messages; what the connection reported before its end must be heard first.
            let reason = format!("its actor ended: {cause}");
            myself.cast(ServerMsg::Gone { connection: *connection, reason })?;
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _: ActorRef<ServerMsg>,
        state: &mut ServerState,
    ) -> Result<(), ActorProcessingErr> {
        state.cancel_all();
        // Without its queue an open link closes in order; one that is still being dialled has nothing to finish.
        let ends = std::mem::take(&mut state.connections).into_values().map(|connection| async move {
            if connection.queue.is_none() {
                connection.actor.stop(None);
            }
            drop(connection.queue);
            if connection.actor.get_cell().wait(Some(STOP_GRACE)).await.is_err() {
                connection.actor.kill();
            }
        });
        join_all(ends).await;
        Ok(())
    }
}

impl ServerState {
    fn ledger(&mut self) -> &mut Ledger {
        self.carried.ledger.as_mut().expect("the ledger leaves only when the state is dropped")
    }

    // === calls ===

    /// Sends a call over the least loaded connection, or gives it back unsent.
    fn dispatch(&mut self, dispatch: Dispatch, now: Instant) {
        let attempt = dispatch.attempt;
        if self.drain_until.is_some() || self.tools.is_none() {
            return self.refuse(attempt);
        }
        let breaker = &mut self.ledger().breaker;
        let permit = if dispatch.bypass { Some(breaker.bypass()) } else { breaker.admit(now).ok() };
        let Some(permit) = permit else { return self.refuse(attempt) };
        let placed = self.pool.reserve(attempt).map(|connection| {
            let queue = self.connections.get(&connection).and_then(|held| held.queue.as_ref());
            (connection, queue.map(|queue| queue.try_send(PumpMsg::Call { dispatch, permit }).is_ok()))
        });
        if let Some((_, Some(true))) = placed {
            return;
        }
        // No connection has room, or the link ends at this moment.
        if let Some((connection, _)) = placed {
            self.pool.release(connection, attempt, now);
        }
        let ServerState { carried, rng, .. } = self;
        if let Some(ledger) = &mut carried.ledger {
            ledger.breaker.record(permit, OutcomeClass::Ignored, Duration::ZERO, now, rng);
        }
        self.refuse(attempt);
    }

    fn refuse(&mut self, attempt: AttemptId) {
        self.refused = true;
        let (server, incarnation) = (self.spec.id.clone(), self.incarnation);
        self.context.to_router(RouterMsg::Refused { server, incarnation, attempt });
    }

    fn cancel(&mut self, attempt: AttemptId, reason: CancelReason) {
        let holder = self.pool.holder(attempt).and_then(|connection| self.connections.get(&connection));
        if let Some(queue) = holder.and_then(|held| held.queue.as_ref()) {
            // The queue has a place for the cancellation of each call; a link that has ended cancels by its end.
            let _ = queue.try_send(PumpMsg::Cancel { attempt, reason });
        }
    }

    fn cancel_all(&mut self) {
        for queue in self.connections.values().filter_map(|held| held.queue.as_ref()) {
            let _ = queue.try_send(PumpMsg::CancelAll);
        }
    }

    fn finished(&mut self, connection: ConnectionId, finished: Vec<Finished>, now: Instant) {
        let mut transitions = Vec::new();
        for Finished { attempt, permit, class, latency, outcome } in finished {
            self.pool.release(connection, attempt, now);
            let ServerState { carried, rng, .. } = self;
            let Some(ledger) = &mut carried.ledger else { continue };
            ledger.count(outcome);
            if class == OutcomeClass::Success {
                ledger.latency.record(latency);
            }
            transitions.extend(ledger.breaker.record(permit, class, latency, now, rng));
        }
        transitions.into_iter().for_each(|transition| self.announce(transition));
    }

    fn noted(&mut self, connection: ConnectionId, violations: Vec<String>, strays: u64) {
        if strays > 0 {
            *self.ledger().outcomes.entry("late-answer").or_default() += strays;
        }
        for reason in violations {
            let server = self.spec.id.clone();
            self.context.emit(Event::ProtocolViolation { server, connection, reason });
        }
    }

    // === connections ===

    fn opened(
        &mut self,
        myself: &ActorRef<ServerMsg>,
        connection: ConnectionId,
        session: Session,
        queue: mpsc::Sender<PumpMsg>,
        now: Instant,
    ) {
        let Some(held) = self.connections.get_mut(&connection).filter(|held| !held.closing) else { return };
        held.queue = Some(queue);
        let first = !self.pool.is_ready();
        self.pool.opened(connection, now);
        let ledger = self.ledger();
        ledger.era = session.era();
        let transition = if first { ledger.breaker.reconnected(now) } else { None };
        if let Some(transition) = transition {
            self.announce(transition);
        }
        self.context.emit(Event::ConnectionOpened {
            server: self.spec.id.clone(),
            connection,
            version: session.version().to_owned(),
            name: session.server_name().map(str::to_owned),
        });
        if self.tools.is_some() {
            self.ledger().reconnect.good(now);
        }
        // A new process behind the same address may offer other tools.
        if first {
            self.list(myself, connection);
        }
    }

    /// Begins to list the tools over a connection.
    fn list(&mut self, myself: &ActorRef<ServerMsg>, connection: ConnectionId) {
        let Some(queue) = self.connections.get(&connection).and_then(|held| held.queue.as_ref()) else {
            return;
        };
        self.relist_at = None;
        let limits = self.context.settings.limits.clone();
        let fetch = listing::fetch(queue.clone(), limits, self.spec.pool.list_timeout);
        let myself = myself.clone();
        self.listing = Some(OwnedTask::spawn(async move {
            let tools = fetch.await;
            // A server actor that has ended lists again in its next life.
            let _ = myself.cast(ServerMsg::Listed { connection, tools });
        }));
    }

    fn listed(&mut self, connection: ConnectionId, tools: Result<Tools, String>, now: Instant) {
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
                self.tools = Some(tools);
                self.ledger().reconnect.good(now);
            }
            Err(reason) => {
                tracing::warn!(server = %self.spec.id, %reason, "tools not listed");
                // Known tools stay; without any the connection is of no use and is made anew, with backoff.
                if self.tools.is_none() && self.connections.contains_key(&connection) {
                    self.dismiss(connection);
                    self.failed_attempt(reason, now);
                }
            }
        }
    }

    /// Asks a connection to end in order.
    fn dismiss(&mut self, connection: ConnectionId) {
        if let Some(held) = self.connections.get_mut(&connection) {
            held.closing = true;
            held.queue = None;
            self.pool.closing(connection);
        }
    }

    /// A connection is over. What was on it and was not reported is lost; a second report finds nothing.
    fn closed(&mut self, connection: ConnectionId, reason: String, now: Instant) {
        let Some(held) = self.connections.remove(&connection) else { return };
        let was_ready = self.pool.is_ready();
        let lost = self.pool.close(connection);
        if !lost.is_empty() {
            self.lose(lost, &reason);
        }
        if held.closing {
            return;
        }
        let server = self.spec.id.clone();
        self.context.emit(Event::ConnectionLost { server, connection, reason: reason.clone() });
        if held.queue.is_none() {
            return self.failed_attempt(reason, now);
        }
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
            self.hope_until = Some(now + HOPE_AFTER_LOSS);
        }
        self.last_error = Some(reason);
    }

    /// A connection could not be opened, or was of no use.
    fn failed_attempt(&mut self, reason: String, now: Instant) {
        let ServerState { carried, rng, .. } = self;
        let Some(ledger) = &mut carried.ledger else { return };
        let delay = ledger.reconnect.next(now, rng);
        // Another server may have taken the place of the one that was known.
        ledger.era = None;
        self.reconnect_at = Some(now + delay);
        self.last_error = Some(reason);
        if self.reported.as_ref().is_none_or(|reported| reported.status != ServerStatus::Ready)
            && self.hope_until.is_some_and(|until| until > now + HOPE_AFTER_LOSS)
        {
            // The hope of the first attempt ends with it.
            self.hope_until = None;
        }
    }

    /// Tells the router of attempts whose connection died without a word.
    fn lose(&mut self, attempts: Vec<AttemptId>, reason: &str) {
        let batch = attempts.into_iter().map(|attempt| {
            self.carried.ledger.iter_mut().for_each(|ledger| ledger.count("connection-lost"));
            let end = AttemptEnd::ConnectionLost { reason: reason.to_owned(), sent: true };
            let class = (self.context.classifier)(&end);
            Completion { attempt, end, class, latency: Duration::ZERO }
        });
        let batch = batch.collect();
        let (server, incarnation) = (self.spec.id.clone(), self.incarnation);
        self.context.to_router(RouterMsg::Completed { server, incarnation, batch });
    }

    // === upkeep ===

    /// After each message: does what has become due, and reports a change of where the server stands.
    async fn tend(&mut self, myself: &ActorRef<ServerMsg>, now: Instant) -> Result<(), ActorProcessingErr> {
        let ServerState { carried, rng, .. } = self;
        let transition = carried.ledger.as_mut().and_then(|ledger| ledger.breaker.tick(now, rng));
        if let Some(transition) = transition {
            self.announce(transition);
        }
        if let Some(until) = self.drain_until {
            if self.pool.in_flight() == 0 || until <= now {
                myself.stop(Some("unregistered".to_owned()));
            }
        } else {
            self.open_connections(myself, now).await?;
            for connection in self.pool.surplus(now) {
                self.dismiss(connection);
            }
            if self.relist_at.is_some_and(|at| at <= now) && self.listing.is_none() {
                let open = self.connections.iter().find(|(_, held)| held.queue.is_some());
                if let Some(connection) = open.map(|(connection, _)| *connection) {
                    self.list(myself, connection);
                }
            }
        }
        self.report(now);
        let due = [
            self.carried.ledger.as_ref().and_then(|ledger| ledger.breaker.wake_at()),
            self.pool.idle_check_at(),
            self.reconnect_at.filter(|at| *at > now),
            self.relist_at.filter(|_| self.listing.is_none() && self.pool.is_ready()),
            self.hope_until.filter(|at| *at > now),
            self.drain_until,
        ];
        self.alarm.set(due.into_iter().flatten().min(), myself, || ServerMsg::Due);
        Ok(())
    }

    /// Opens as many connections as the pool wants, unless the backoff forbids it.
    async fn open_connections(
        &mut self,
        myself: &ActorRef<ServerMsg>,
        now: Instant,
    ) -> Result<(), ActorProcessingErr> {
        if self.reconnect_at.is_some_and(|at| at > now) {
            return Ok(());
        }
        for _ in 0..self.pool.wanted() {
            let known_era = self.ledger().era;
            let connection = self.ledger().connection();
            let arguments = ConnectionArguments {
                context: self.context.clone(),
                spec: self.spec.clone(),
                connector: self.connector.clone(),
                incarnation: self.incarnation,
                connection,
                known_era,
                server: myself.clone(),
            };
            let (actor, _) =
                ConnectionActor::spawn_linked(None, ConnectionActor, arguments, myself.get_cell()).await?;
            self.pool.opening(connection);
            self.connections.insert(connection, Connection { actor, queue: None, closing: false });
        }
        Ok(())
    }

    fn announce(&self, transition: BreakerTransition) {
        self.context.emit(Event::BreakerChanged { server: self.spec.id.clone(), transition });
    }

    fn order(&mut self, order: BreakerOrder, now: Instant) -> Option<BreakerTransition> {
        let breaker = &mut self.ledger().breaker;
        let transition = match order {
            BreakerOrder::ForceOpen => breaker.force_open(),
            BreakerOrder::ForceClose => breaker.force_close(now),
            BreakerOrder::Reset => breaker.reset(now),
        };
        if let Some(transition) = transition {
            self.announce(transition);
        }
        transition
    }

    fn figures(&self, now: Instant) -> ServerReport {
        let ledger = self.carried.ledger.as_ref().expect("the ledger leaves only when the state is dropped");
        ServerReport {
            breaker: ledger.breaker.stats(now),
            pool: self.pool.stats(),
            latency: ledger.latency.stats(),
            outcomes: ledger.outcomes.clone(),
        }
    }

    // === reporting ===

    fn standing(&mut self, now: Instant) -> Standing {
        let status = if self.pool.is_ready() && self.tools.is_some() {
            ServerStatus::Ready
        } else if self.connections.values().any(|held| !held.closing) {
            ServerStatus::Connecting
        } else {
            ServerStatus::Disconnected
        };
        let up = status == ServerStatus::Ready;
        Standing {
            status,
            hopeful: self.hope_until.is_some_and(|until| until > now),
            listed: self.tools.is_some(),
            admission: self.ledger().breaker.admission(now),
            slots: if self.drain_until.is_some() { 0 } else { self.pool.slots() },
            reason: if up { None } else { self.last_error.clone() },
            retry_at: if up { None } else { self.reconnect_at.filter(|at| *at > now) },
        }
    }

    /// Tells the registry where the server stands, if that differs from what it was told last.
    fn report(&mut self, now: Instant) {
        let standing = self.standing(now);
        let known = self.reported.as_ref().is_some_and(|reported| same(reported, &standing));
        // A half-open breaker's permits are counted by the router from report to report.
        let counted = matches!(standing.admission, Admission::Probing { .. });
        let lifts = self.refused && self.pool.in_flight() < self.pool.slots();
        if known && !counted && !lifts {
            return;
        }
        self.refused &= !lifts;
        self.reported = Some(standing.clone());
        let (server, incarnation) = (self.spec.id.clone(), self.incarnation);
        // Without a registry this life is ending.
        let _ = self.registry.cast(RegistryMsg::Report { server, incarnation, standing });
    }
}

/// Whether two standings mean the same to the router; the time left of an open breaker runs by itself.
fn same(a: &Standing, b: &Standing) -> bool {
    let gate = match (&a.admission, &b.admission) {
        (Admission::Rejecting { .. }, Admission::Rejecting { .. }) => true,
        (a, b) => a == b,
    };
    gate && (a.status, a.hopeful, a.listed, a.slots) == (b.status, b.hopeful, b.listed, b.slots)
        && (&a.reason, a.retry_at) == (&b.reason, b.retry_at)
}
