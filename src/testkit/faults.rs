//! Faults of the troupe's own actors, ordered by a test.

use ractor::{ActorCell, ActorRef, Message};

use crate::Troupe;
use crate::actors::ask;
use crate::actors::cache::messages::CacheMsg;
use crate::actors::connection::messages::ConnectionMsg;
use crate::actors::discovery::messages::DiscoveryMsg;
use crate::actors::known_lists::messages::KnownListsMsg;
use crate::actors::registry::messages::RegistryMsg;
use crate::actors::root::messages::RootMsg;
use crate::actors::router::messages::RouterMsg;
use crate::actors::server::messages::ServerMsg;
use crate::actors::starts::messages::StartsMsg;
use crate::id::SourceId;

/// Which actor.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// A connection of this server: the one that was opened as the n-th of those that live, from 0.
    Connection {
        /// The server's id.
        server: String,
        /// Its place among the server's connections.
        index: usize,
    },
    /// The actor of this server.
    Server(String),
    /// The router.
    Router,
    /// The registry, and with it every server actor.
    Registry,
    /// The events actor, and with it everything below the root.
    Events,
    /// The cache.
    Cache,
    /// The actor that gives processes their turn to start.
    Starts,
    /// The actor that keeps the known lists, where a setting names their file.
    KnownLists,
    /// The actor that watches this source of servers.
    Source(String),
}

impl Target {
    /// The actor of `server`.
    pub fn server(server: impl Into<String>) -> Self {
        Self::Server(server.into())
    }

    /// The oldest connection of `server`.
    pub fn connection(server: impl Into<String>) -> Self {
        Self::Connection { server: server.into(), index: 0 }
    }
}

/// What happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is killed: its handler is dropped at its next await.
    Kill,
    /// It is stopped: its handler finishes, what waits in its mailbox is dropped.
    Stop,
    /// Its next handler panics.
    Panic,
    /// Its next handler never returns; server actors only.
    Hang,
}

/// There is no such actor at the moment, or it cannot be made to fail that way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no fault was injected: {0:?} does not play at the moment, or knows no such fault")]
pub struct NoSuchActor(pub Target);

/// Injects a fault into one of the troupe's actors. Returns when it is ordered, not when it has struck.
///
/// # Errors
/// [`NoSuchActor`] if the target does not play at the moment, as between a crash and its restart.
pub async fn inject(troupe: &Troupe, target: Target, fault: Fault) -> Result<(), NoSuchActor> {
    let struck = match &target {
        Target::Connection { server, index } => match connection(troupe, server, *index).await {
            Some(actor) => strike(&actor, fault, [Some(ConnectionMsg::Panic), None]),
            None => false,
        },
        Target::Server(server) => troupe
            .actor_of(server)
            .is_some_and(|actor| strike(&actor, fault, [Some(ServerMsg::Panic), Some(ServerMsg::Hang)])),
        Target::Router => troupe
            .current_actors()
            .router
            .is_some_and(|actor| strike(&actor, fault, [Some(RouterMsg::Panic), None])),
        Target::Registry => troupe
            .current_actors()
            .registry
            .is_some_and(|actor| strike(&actor, fault, [Some(RegistryMsg::Panic), None])),
        Target::Source(source) => source_actor(troupe, source)
            .await
            .is_some_and(|actor| strike(&actor, fault, [Some(DiscoveryMsg::Panic), None])),
        Target::Cache => troupe
            .current_actors()
            .cache
            .is_some_and(|actor| strike(&actor, fault, [Some(CacheMsg::Panic), None])),
        Target::Starts => troupe
            .current_actors()
            .starts
            .is_some_and(|actor| strike(&actor, fault, [Some(StartsMsg::Panic), None])),
        Target::KnownLists => troupe
            .current_actors()
            .known_lists
            .is_some_and(|actor| strike(&actor, fault, [Some(KnownListsMsg::Panic), None])),
        Target::Events => {
            troupe.current_actors().events.is_some_and(|actor| strike(&actor, fault, [None, None]))
        }
    };
    if struck { Ok(()) } else { Err(NoSuchActor(target)) }
}

async fn connection(troupe: &Troupe, server: &str, index: usize) -> Option<ActorRef<ConnectionMsg>> {
    let actor = troupe.actor_of(server)?;
    ask(&actor, ServerMsg::Connections).await.ok()?.get(index).cloned()
}

async fn source_actor(troupe: &Troupe, source: &str) -> Option<ActorRef<DiscoveryMsg>> {
    let source = SourceId::new(source).ok()?;
    ask(&troupe.root_actor(), |port| RootMsg::SourceActor { source, port }).await.ok()?
}

/// Strikes an actor; the orders are those to panic and to hang, where it knows them. `false` if it cannot be struck so.
fn strike<M: Message>(actor: &ActorRef<M>, fault: Fault, [panic, hang]: [Option<M>; 2]) -> bool {
    let order = match fault {
        Fault::Kill => {
            actor.kill();
            return true;
        }
        Fault::Stop => {
            actor.stop(None);
            return true;
        }
        Fault::Panic => panic,
        Fault::Hang => hang,
    };
    order.is_some_and(|order| actor.cast(order).is_ok())
}

/// How many actors of the troupe live: the root and everything below it. 0 after shutdown.
pub fn living_actors(troupe: &Troupe) -> usize {
    fn below(actor: &ActorCell) -> usize {
        let alive = actor.get_status() < ractor::ActorStatus::Stopping;
        usize::from(alive) + actor.get_children().iter().map(below).sum::<usize>()
    }
    below(&troupe.root_actor().get_cell())
}

/// How many tasks the troupe's actors have running: links, dials, listings, timers. 0 after shutdown.
pub fn living_tasks(troupe: &Troupe) -> usize {
    troupe.tasks().living()
}
