//! ServerActor: owns the connections of one server, its circuit breaker, its tools and its figures.
//!
//! ```text
//! Connecting ──▶ Ready ──link lost──▶ Connecting ──▶ …
//!     │  ▲                                  a lost link is dialled again at once, then with backoff
//!   failed │ backoff over
//!     ▼  │
//! Disconnected
//!
//! any of them ──unused for its idle timeout──▶ Idle ──needed──▶ Connecting     (where it is started on demand)
//! ```
//!
//! It is ready when a connection is open and its tools are known. Every change of where it stands is reported to the
//! registry, which passes it on to the router. Its own crash is the registry's business; a broken link is not a crash.

mod calls;
mod demanding;
mod leases;
mod links;
mod lists;
pub(crate) mod messages;
mod mirroring;
mod notifications;
mod pinned;
mod report;
mod starting;
mod subscriptions;
mod succession;
#[cfg(all(test, feature = "testkit"))]
mod tests;

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use self::lists::{ListsState, real_names};
use self::messages::{BreakerOrder, ServerMsg, ServerReport};
use self::mirroring::{MirroringState, Turn};
use self::pinned::ToldOfPins;
use self::starting::StartsState;
use self::subscriptions::ListeningState;
use super::Context;
use super::alarm::Alarm;
use super::ledger::{Ledger, Legacy, Tenure};
use super::meters::ServerMeters;
use super::numbers::Numbers;
use super::supervision::{STOP_GRACE, exit_of};
use super::watching::{LateAnswers, ToldViolations};
use crate::actors::connection::messages::{ConnectionMsg, Ending};
use crate::actors::pump::messages::{PumpMsg, Report};
use crate::actors::registry::messages::{RegistryMsg, deliver};
use crate::actors::root::messages::Bequest;
use crate::actors::root::messages::RootMsg;
use crate::config::ServerSpec;
use crate::duration::later;
use crate::event::{BreakerTransition, Event};
use crate::id::{AttemptId, ConnectionId, Incarnation, RouterLife, ServerId};
use crate::policy::backoff::Rounds;
use crate::policy::catalogue::Offer;
use crate::policy::demand::{Begins, Demand};
use crate::policy::leases::Leases;
use crate::policy::pool::Pool;
use crate::policy::routing::{Over, Standing};
use crate::transport::Connector;

/// How long calls wait for a server that was just lost, before they fail fast: long enough for a restart of a local
/// server, short enough that nobody takes it for a hang.
const RECONNECT_GRACE: Duration = Duration::from_secs(2);

/// The same for a process, whose interpreter may take seconds to start: it is no less on its way back than a socket that is
/// dialled again at once.
const PROCESS_RECONNECT_GRACE: Duration = Duration::from_secs(5);

/// How long calls wait for a server of this connector that was just lost.
fn reconnect_grace(connector: &dyn Connector) -> Duration {
    if connector.starts_process() {
        PROCESS_RECONNECT_GRACE
    } else {
        RECONNECT_GRACE.max(connector.start_hold())
    }
}

/// How long calls wait for the first attempt to reach a server.
fn first_grace(spec: &ServerSpec, connector: &dyn Connector) -> Duration {
    let pool = &spec.pool;
    let handshake = pool.handshake_limit(connector.starts_process());
    pool.connect_timeout.saturating_add(handshake).saturating_add(pool.list_timeout)
}

/// What a server actor is started with.
pub(crate) struct ServerArguments {
    pub context: Context,
    pub spec: Arc<ServerSpec>,
    pub connector: Arc<dyn Connector>,
    pub incarnation: Incarnation,
    pub numbers: Numbers,
    /// This is the first attempt to reach the server since it was registered, described anew or resumed.
    pub newcomer: bool,
    /// Whether it begins by starting the server.
    pub begins: Begins,
    pub registry: ActorRef<RegistryMsg>,
    pub root: ActorRef<RootMsg>,
    pub ledger: Ledger,
    pub tenure: Tenure,
    /// What an earlier life found that the server offers.
    pub offer: Option<Offer>,
    /// Whether the server was described then as it is now.
    pub listed: bool,
    /// What it listed at its last run.
    pub known: Option<Offer>,
}

/// One connection as the server actor holds it.
struct Connection {
    actor: ActorRef<ConnectionMsg>,
    /// Present from the handshake on. What is asked to end can still be told that a call is called off: else a peer
    /// that never answers it would keep the connection for ever.
    queue: Option<mpsc::Sender<PumpMsg>>,
    /// It was asked to end: its end is no loss.
    closing: bool,
    /// It belongs to a lease and not to the pool.
    leased: bool,
    /// Questions of the server wait for the host.
    asks: bool,
}

/// The ledger on its way through this life. However the life ends, it is handed to the registry; and since it goes
/// with the rest of the state, its arrival proves that the life is over.
struct Carried {
    ledger: Option<Box<Ledger>>,
    tenure: Tenure,
    registry: ActorRef<RegistryMsg>,
    root: ActorRef<RootMsg>,
    server: ServerId,
    incarnation: Incarnation,
}

impl Carried {
    /// Leaves a ledger to those who play on.
    fn leave(&self, ledger: Ledger, whole: bool) {
        let legacy = Legacy { server: self.server.clone(), incarnation: self.incarnation, whole, ledger };
        // Where its registry has ended the root knows the next one.
        drop(deliver(Bequest::new(legacy, &self.root), &self.registry));
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        if let Some(ledger) = self.ledger.take() {
            self.leave(*ledger, self.tenure == Tenure::Held);
        }
    }
}

/// The server actor's state.
pub(crate) struct ServerState {
    context: Context,
    spec: Arc<ServerSpec>,
    connector: Arc<dyn Connector>,
    incarnation: Incarnation,
    numbers: Numbers,
    registry: ActorRef<RegistryMsg>,
    carried: Carried,
    /// Who asks for the figures. They are the handles', each of which waits for a second.
    asked: Vec<oneshot::Sender<ServerReport>>,
    /// The latest router that has asked for something, or was announced.
    router: Option<RouterLife>,

    connections: BTreeMap<ConnectionId, Connection>,
    /// Whether it is to be connected.
    demand: Demand,
    pool: Pool<AttemptId>,
    leases: Leases<AttemptId>,
    /// No dial before this.
    reconnect_at: Option<Instant>,
    last_error: Option<String>,

    /// What the server offers; known when its tools were listed.
    offer: Option<Offer>,
    /// Whether it has listed as it is described now: what it offered before stands until then.
    listed: bool,
    /// What it listed at its last run, until it has listed in this one: hosts have seen that, and are told of differences.
    known: Option<Offer>,
    lists: ListsState,
    pins: ToldOfPins,
    mirroring: MirroringState,
    /// The names that the server knows tools by which go by others; of most servers none.
    real_names: HashMap<String, Arc<str>>,
    listening: ListeningState,

    /// Until then the next dial is expected to succeed, and calls wait for it.
    grace_until: Option<Instant>,
    starts: StartsState,
    rounds: Rounds,
    reported: Option<Standing>,
    /// The router holds a refusal against this server, which the next report lifts.
    refused: bool,
    drain_until: Option<Instant>,
    /// Answers that nobody waited for.
    late: LateAnswers,
    /// What it should not have sent.
    violations: ToldViolations,
    meters: ServerMeters,
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
        let ServerArguments {
            context,
            spec,
            connector,
            incarnation,
            numbers,
            newcomer,
            begins,
            registry,
            root,
            ledger,
            tenure,
            offer,
            listed,
            known,
        } = arguments;
        let mut ledger = Box::new(ledger);
        let now = Instant::now();
        ledger.breaker.inherit(now);
        // What the host ordered since that was left: the life that it told may hang.
        ledger.breaker.obey(numbers.held_open(), now);
        let meters = ServerMeters::new(&spec.id, ledger.breaker.state());
        let hope = if newcomer { first_grace(&spec, &*connector) } else { reconnect_grace(&*connector) };
        let mut seed = DefaultHasher::new();
        (context.seed, &spec.id, incarnation).hash(&mut seed);
        Ok(ServerState {
            carried: Carried {
                ledger: Some(ledger),
                tenure,
                registry: registry.clone(),
                root,
                server: spec.id.clone(),
                incarnation,
            },
            asked: Vec::new(),
            router: None,
            connections: BTreeMap::new(),
            demand: Demand::new(spec.start, spec.idle_timeout, begins),
            pool: Pool::new(spec.pool.clone()),
            leases: Leases::new(spec.pool.leases_max, spec.pool.lease_idle_timeout, spec.pool.in_flight_max),
            reconnect_at: None,
            last_error: None,
            mirroring: MirroringState::new(offer.as_ref().map(|offer| &*offer.tools).unwrap_or_default()),
            real_names: offer.as_ref().map(|offer| real_names(&offer.tools)).unwrap_or_default(),
            offer,
            listed,
            known,
            lists: ListsState::new(context.settings.reconnect.clone(), now),
            listening: ListeningState::new(now),
            pins: ToldOfPins::default(),
            grace_until: Some(later(now, hope)),
            starts: StartsState::default(),
            rounds: Rounds::default(),
            reported: None,
            refused: false,
            drain_until: None,
            late: LateAnswers::new(context.clone()),
            violations: ToldViolations::new(context.clone(), spec.id.clone()),
            meters,
            alarm: Alarm::new(context.tasks.clone()),
            rng: SmallRng::seed_from_u64(seed.finish()),
            context,
            spec,
            connector,
            incarnation,
            numbers,
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
            ServerMsg::Dispatch { router, batch } => {
                let present = state.serves(router);
                for dispatch in batch.into_iter().filter(|_| present) {
                    match dispatch.over {
                        Over::Shared => state.dispatch(dispatch, Turn::First, now),
                        Over::Leased(connection) => {
                            state.dispatch_leased(connection, dispatch, Turn::First, now);
                        }
                        Over::NewLease => state.lease(dispatch.attempt),
                    }
                }
            }
            ServerMsg::Release { incarnation, connection } => {
                if incarnation == state.incarnation {
                    state.end_lease(connection, "it was released");
                }
            }
            ServerMsg::HandOver => state.hand_over(),
            ServerMsg::Inherit(bequest) => state.inherit(bequest, now),
            ServerMsg::Cancel { attempt, reason } => state.cancel(attempt, reason),
            ServerMsg::CancelAll { router } => {
                state.serves(router);
            }
            ServerMsg::Starting { connection, starting } => state.starting(connection, starting, now),
            ServerMsg::Opened { connection, session, queue } => {
                state.opened(&myself, connection, session, queue, now);
            }
            ServerMsg::Closed { connection, ending } => state.closed(connection, ending, now),
            ServerMsg::Gone { connection, reason } => {
                state.closed(connection, Ending::new(reason), now);
            }
            ServerMsg::Turn { connection, report } => {
                let Report {
                    finished,
                    stale,
                    violations,
                    unmatched,
                    changed,
                    updated,
                    listened,
                    asks,
                    leaving,
                    notifications,
                } = report;
                if let (Some(asks), Some(held)) = (asks, state.connections.get_mut(&connection)) {
                    held.asks = asks;
                }
                let updates =
                    notifications.map(|notifications| state.overheard(*notifications)).unwrap_or_default();
                state.updated(updated.uris, updated.beyond);
                if !finished.is_empty() {
                    state.sweep_updated();
                }
                state.finished(connection, finished, updates, now);
                state.noted(connection, violations, unmatched, now);
                state.lists_changed(changed, now);
                for listened in listened {
                    state.listened(connection, listened, now);
                }
                if !stale.is_empty() {
                    state.hold_stale(connection, stale, now);
                }
                if let Some(leaving) = leaving {
                    state.leaving(connection, leaving, now);
                }
            }
            ServerMsg::Listed { number, connection, found, unlike_pins } => {
                state.listed(number, connection, found, unlike_pins, now);
            }
            ServerMsg::Subscribe { uri, port } => {
                // Who asked may have left; then the subscription ends at once. One of a life that has handed its own on would
                // be nobody's: who asks such a life hears that it has ended.
                if state.speaks_for_the_server() && port.send(state.subscribe(uri)).is_err() {
                    state.unsubscribe();
                }
            }
            ServerMsg::Unsubscribe => state.unsubscribe(),
            ServerMsg::Amended(spec) => {
                state.demand.described(spec.start, spec.idle_timeout);
                state.spec = spec;
            }
            ServerMsg::Known(offer) => {
                if state.offer.is_none() {
                    state.known = offer.or(state.known.take());
                    let known = state.known.is_some();
                    let change = state.demand.answered(known);
                    state.demanded(change, now);
                }
            }
            ServerMsg::Needed => state.needed(now),
            ServerMsg::Ping => {
                let (server, incarnation) = (state.spec.id.clone(), state.incarnation);
                let _ = state.registry.cast(RegistryMsg::Pong { server, incarnation });
            }
            ServerMsg::Breaker { order, port } => {
                // As above: the order would end with this life.
                if state.speaks_for_the_server() {
                    state.decide();
                    let transition = state.order(order, now);
                    let _ = port.send(transition);
                }
            }
            ServerMsg::Report(port) => {
                // As above: what a life that has handed over still counts is not what the server has done. Nor is what one
                // has that waits for the figures of the life before: it answers when it has them.
                if state.speaks_for_the_server() {
                    state.asked.retain(|port| !port.is_closed());
                    state.asked.push(port);
                }
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
        state.tell_last_updates();
        // A listing holds the queue of its connection, and may never be answered.
        state.lists.give_up();
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

    /// After each message: does what has become due, and reports a change of where the server stands.
    async fn tend(&mut self, myself: &ActorRef<ServerMsg>, now: Instant) -> Result<(), ActorProcessingErr> {
        let ServerState { carried, rng, .. } = self;
        let transition = carried.ledger.as_mut().and_then(|ledger| ledger.breaker.tick(now, rng));
        if let Some(transition) = transition {
            self.announce(transition);
        }
        self.late.tell_due(now);
        self.violations.tell_due(now);
        self.tell_updates(now);
        self.wait_no_longer(now);
        self.tell_figures(now);
        self.tend_leases(myself, now).await?;
        if let Some(until) = self.drain_until {
            let idle = self.pool.in_flight() == 0 && self.leases.len() == 0 && self.mirroring.is_idle();
            if idle || until <= now {
                myself.stop(Some("unregistered".to_owned()));
            } else if !self.mirroring.is_idle() {
                // Calls wait for a new list.
                self.list_due(myself, now);
            }
        } else {
            self.tend_demand(now);
            self.open_connections(myself, now).await?;
            let surplus = if self.lists.are_under_way() { Vec::new() } else { self.pool.surplus(now) };
            for connection in surplus {
                self.dismiss(connection);
            }
            self.list_due(myself, now);
            self.listen(now);
        }
        let awaited = match self.carried.tenure {
            Tenure::Coming { by } => Some(by),
            Tenure::Held | Tenure::Passed => None,
        };
        let (pool, leases) = (&self.pool, &self.leases);
        self.meters.connected(|| pool.ready() + leases.len());
        self.report(now);
        // Only what is acted on above when it is due: an alarm for anything else would ring for ever.
        let draining = self.drain_until.is_some();
        let closes_idle = !draining && !self.lists.are_under_way();
        let lists = self.pool.is_ready() && (!draining || !self.mirroring.is_idle());
        let due = [
            self.carried.ledger.as_ref().and_then(|ledger| ledger.breaker.wake_at()),
            self.pool.idle_check_at().filter(|_| closes_idle),
            self.leases.idle_check_at(),
            self.idles_at().filter(|_| !draining),
            self.reconnect_at.filter(|at| *at > now),
            self.lists.due_at(self.offer.is_some()).filter(|_| lists),
            self.grace_until.filter(|at| *at > now),
            self.listening.wake_at().filter(|at| *at > now),
            self.listening.tells_at(),
            self.drain_until,
            self.late.due_at(),
            self.violations.due_at(),
            awaited,
        ];
        self.alarm.set(due.into_iter().flatten().min(), myself, || ServerMsg::Due);
        Ok(())
    }

    fn announce(&mut self, transition: BreakerTransition) {
        let state = self.ledger().breaker.state();
        self.meters.transition(&transition, state);
        self.context.emit(Event::BreakerChanged { server: self.spec.id.clone(), transition });
    }

    fn order(&mut self, order: BreakerOrder, now: Instant) -> Option<BreakerTransition> {
        self.numbers.hold_open(match order {
            BreakerOrder::ForceOpen => true,
            BreakerOrder::ForceClose | BreakerOrder::Reset => false,
        });
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
}
