//! What a server actor is told, and what it answers.

use std::sync::Arc;

#[cfg(feature = "testkit")]
use ractor::ActorRef;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

#[cfg(feature = "testkit")]
use crate::actors::connection::messages::ConnectionMsg;
use crate::actors::connection::messages::Ending;
use crate::actors::list_fetch::Found;
use crate::actors::pump::messages::{PumpMsg, Report};
use crate::actors::root::messages::Bequest;
use crate::config::ServerSpec;
use crate::event::BreakerTransition;
use crate::id::{AttemptId, ConnectionId, Incarnation, RouterLife};
use crate::policy::catalogue::Offer;
use crate::policy::pins::Differences;
use crate::policy::routing::{CancelReason, Dispatch};
use crate::protocol::Session;
use crate::stats::{BreakerStats, LatencyStats, Outcomes, PoolStats, Starting};

crate::error::debug_as_display!(SubscribeError);

/// Why a resource was not subscribed to.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// No server lists it, or none of that id is up, within the time that a call may take.
    #[error("no server that has {0} is ready")]
    NoServer(String),
    /// Several groups have it; [`subscribe_at`](crate::Troupe::subscribe_at) names a server.
    #[error("several groups have {uri}: name a server of one of {}", groups.join(", "))]
    Ambiguous {
        /// The resource.
        uri: String,
        /// The groups to choose from.
        groups: Vec<String>,
    },
    /// Its URI is longer than any that a server may list.
    #[error("the resource's URI has {bytes} bytes, the limit is {limit}")]
    TooLong {
        /// Its bytes.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The server takes no subscriptions.
    #[error("the server {0} takes no subscriptions")]
    Unsupported(String),
    /// The server has as many as it may have.
    #[error("{0} resources of one server are subscribed to, which is the limit")]
    TooMany(usize),
}

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
    /// By the router: send these. What a router asks that is no longer the present one is not done: its callers have their
    /// answers.
    Dispatch { router: RouterLife, batch: Vec<Dispatch> },
    /// By the router: call an attempt off.
    Cancel { attempt: AttemptId, reason: CancelReason },
    /// By the registry: this is the present router; what those before it asked for is called off.
    CancelAll { router: RouterLife },
    /// By a connection's task, once a second at most: how far the start of its process is.
    Starting { connection: ConnectionId, starting: Starting },
    /// By a connection's task: the link is open and agreed on.
    Opened { connection: ConnectionId, session: Session, queue: mpsc::Sender<PumpMsg> },
    /// By a connection's task, as its last word: the link is over, or never came to be.
    Closed { connection: ConnectionId, ending: Ending },
    /// By itself, behind what the connection reported: a connection's actor has ended.
    Gone { connection: ConnectionId, reason: String },
    /// By a connection's pump: what a turn brought. The answers go on to the router.
    Turn { connection: ConnectionId, report: Report },
    /// By the listing task: what the server offers, or why that is not known.
    Listed { number: u64, connection: ConnectionId, found: Found, unlike_pins: Option<Differences> },
    /// By a handle: a host subscribes to a resource.
    Subscribe { uri: String, port: oneshot::Sender<Result<watch::Receiver<u64>, SubscribeError>> },
    /// By a handle: a host's subscription ended.
    Unsubscribe,
    /// By whoever was the last to have a lease of this life in hand: it ends.
    Release { incarnation: Incarnation, connection: ConnectionId },
    /// By the registry: another life takes the place of this one, and is given what is the server's.
    HandOver,
    /// By the registry: what an earlier life left.
    Inherit(Bequest),
    /// By the registry: the server is described anew, and its connections are as good for that.
    Amended(Arc<ServerSpec>),
    /// By the registry: this is what the server listed at its last run, and what hosts see until it has listed; none where
    /// that is not known.
    Known(Option<Offer>),
    /// By the router, or a handle: somebody waits for the server, which is idle.
    Needed,
    /// By the registry: a sign of life is wanted.
    Ping,
    /// By a handle: an order to the breaker.
    Breaker { order: BreakerOrder, port: oneshot::Sender<Option<BreakerTransition>> },
    /// By a handle: the figures.
    Report(oneshot::Sender<ServerReport>),
    /// By the router, behind what it has dispatched, or by the registry where that router has ended: finish what is in
    /// flight, at the latest by `until`, then end.
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
