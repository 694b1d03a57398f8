//! ConnectionActor: owns one link.
//!
//! ```text
//! Dialling ──▶ Open (the pump runs) ──▶ over
//!    └──────────── failed ───────────────▲
//! ```
//!
//! The link lives in one task of this actor; the actor itself never waits for the socket, so a kill takes effect at
//! once and takes the task with it. How the link ended is told to the server actor as a message, behind the reports of
//! the attempts that were on it.

pub(crate) mod messages;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{Semaphore, mpsc};

use self::messages::{ConnectionMsg, Ending};
use super::Context;
use super::dial::{Dial, NotOpened};
use super::pump::Pump;
use super::questions::Questions;
use super::tasks::OwnedTask;
use crate::actors::pump::messages::SUBSCRIPTIONS_MAX;
use crate::actors::server::messages::ServerMsg;
use crate::config::ServerSpec;
use crate::id::ConnectionId;
use crate::policy::starts::Attempt;
use crate::protocol::Known;
use crate::protocol::handshake::Greeting;
use crate::transport::Connector;

/// Places of a connection's queue beside those of calls, of which each may be followed by its cancellation: for all
/// subscriptions, begun and ended at once, and for what else is said, the word to close among it. Places that are not used cost nothing.
const QUEUE_BESIDE_CALLS: usize = 2 * SUBSCRIPTIONS_MAX + 16;

/// What a connection is started with.
pub(crate) struct ConnectionArguments {
    pub context: Context,
    pub spec: Arc<ServerSpec>,
    pub connector: Arc<dyn Connector>,
    pub connection: ConnectionId,
    pub known: Option<Known>,
    /// How long the handshake may take.
    pub handshake_limit: Duration,
    /// How long a process keeps its turn to start while it does not answer.
    pub turn_limit: Duration,
    /// Whether the last start of its process failed.
    pub attempt: Attempt,
    pub greeting: Greeting,
    pub server: ActorRef<ServerMsg>,
}

/// The connection's state: its task.
pub(crate) struct ConnectionState {
    _task: OwnedTask,
}

/// Owns one link; see the module's page.
pub(crate) struct ConnectionActor;

impl Actor for ConnectionActor {
    type Msg = ConnectionMsg;
    type State = ConnectionState;
    type Arguments = ConnectionArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<ConnectionMsg>,
        arguments: ConnectionArguments,
    ) -> Result<ConnectionState, ActorProcessingErr> {
        let tasks = arguments.context.tasks.clone();
        Ok(ConnectionState { _task: tasks.spawn(play(arguments, myself)) })
    }

    async fn handle(
        &self,
        _: ActorRef<ConnectionMsg>,
        message: ConnectionMsg,
        _: &mut ConnectionState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            #[cfg(feature = "testkit")]
            ConnectionMsg::Panic => panic!("ordered by the testkit"),
        }
    }
}

/// The life of the link. However it ends, a panic included, the server actor is told last of all.
async fn play(arguments: ConnectionArguments, myself: ActorRef<ConnectionMsg>) {
    let (server, connection) = (arguments.server.clone(), arguments.connection);
    let life = AssertUnwindSafe(live(arguments)).catch_unwind();
    let ending = life.await.unwrap_or_else(|_| Ending::new("its task panicked"));
    // A server actor that has ended has no use for it.
    let _ = server.cast(ServerMsg::Closed { connection, ending });
    myself.stop(None);
}

/// Opens the link and pumps until it ends. Returns how it ended.
async fn live(arguments: ConnectionArguments) -> Ending {
    let ConnectionArguments {
        context,
        spec,
        connector,
        connection,
        known,
        handshake_limit,
        turn_limit,
        attempt,
        greeting,
        server,
    } = arguments;
    let (process, redacts) = (connector.starts_process(), connector.clone());
    let told = server.clone();
    let tell = move |starting| {
        // A server actor that has ended has nobody to tell.
        let _ = told.cast(ServerMsg::Starting { connection, starting });
    };
    let dial = Dial {
        connector,
        gate: context.dial_gate.clone(),
        current_actors: context.current_actors.clone(),
        handshake_limit,
        turn_limit,
        attempt,
        tell: Box::new(tell),
        limits: spec.pool.clone(),
        dialect: spec.dialect,
        era: spec.era,
        known,
        greeting,
        capabilities: context.host_handlers.handlers.capabilities(),
        alive: context.tasks.alive(),
    };
    let opened = match dial.open().await {
        Ok(opened) => opened,
        Err(NotOpened { error, probed }) => {
            let (retry_after, start_failure) = (error.retry_after(), error.start_failure());
            let start_failure = start_failure.filter(|_| process);
            // Before it is cut: of a secret that is cut in two a part would stay.
            let ending = Ending::new(redacts.redact(error.to_string()));
            return Ending { retry_after, start_failure, probed, ..ending };
        }
    };
    let (queue, requests) = mpsc::channel(room(spec.pool.in_flight_max));
    // What it says of itself is shown.
    let session = opened.session.redacted(|text| redacts.redact(text));
    if server.cast(ServerMsg::Opened { connection, session, queue }).is_err() {
        return Ending::new("its server actor has ended");
    }
    let settings = context.settings.clone();
    let report = move |report| {
        // A server actor that has ended has reported everything of this connection as lost.
        let _ = server.cast(ServerMsg::Turn { connection, report });
    };
    let limit = settings.limits.message_bytes_max;
    let questions = Questions::new(spec.id.clone(), context.host_handlers.clone(), context.tasks.alive());
    let (judge, liveness) = (context.judge.clone(), settings.liveness.clone());
    let pump = Pump::new(opened, requests, judge, liveness, questions, limit, report);
    Ending::new(pump.run().await)
}

/// The places of a connection's queue: each request in flight may be followed by its cancellation. A channel has room for
/// so many at most.
fn room(in_flight_max: usize) -> usize {
    in_flight_max.saturating_mul(2).saturating_add(QUEUE_BESIDE_CALLS).min(Semaphore::MAX_PERMITS)
}
