//! The company: one folder per actor. What it is told is in `messages`, its state and its handlers are beside that.
//!
//! ```text
//! RootActor                    rest_for_one: the end of one ends those below it
//! ├─ EventsActor               subscribers of the event stream
//! ├─ RegistryActor             members, restarts, catalogue
//! │  └─ ServerActor …          pool, breaker, figures of one server
//! │     └─ ConnectionActor …   one link: dial, handshake, pump
//! ├─ RouterActor               open calls, queues, strategy
//! ├─ CacheActor                kept results, calls that wait for equal ones; nobody depends on it
//! ├─ StartsActor               which processes may be starting, and who waits for a turn; nobody depends on it
//! └─ DiscoveryActor …          the look at one source of servers; depends on none of the others
//! ```
//!
//! Decisions are made in `policy`; parsing in `protocol`. What is here carries them out.

mod alarm;
mod ask;
pub(crate) mod cache;
pub(crate) mod connection;
mod dial;
pub(crate) mod discovery;
pub(crate) mod events;
pub(crate) mod intake;
pub(crate) mod known_lists;
pub(crate) mod ledger;
mod list_fetch;
pub(crate) mod meters;
mod numbers;
mod pump;
pub(crate) mod questions;
pub(crate) mod registry;
pub(crate) mod root;
pub(crate) mod router;
pub(crate) mod server;
pub(crate) mod starts;
mod supervision;
mod tasks;
pub(crate) mod update_queue;
mod watching;

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use tokio::sync::{Semaphore, watch};

pub(crate) use ask::ask;
pub(crate) use tasks::{Alive, Tasks};

use crate::config::Settings;
use crate::event::Event;
use crate::policy::classify::Judge;
use crate::policy::pins::Pinning;

/// Who plays at the moment. Published by the root, so that handles and servers find a new router by themselves.
#[derive(Clone, Default)]
pub(crate) struct CurrentActors {
    /// The current router; none while it is replaced.
    pub router: Option<ActorRef<router::messages::RouterMsg>>,
    /// The way of calls to it.
    pub intake: Option<intake::Intake>,
    /// How long calls that name no deadline wait for a router, where there is none at the moment. No time, where none is to come.
    pub default_timeout: Duration,
    /// The current events actor.
    pub events: Option<ActorRef<events::messages::EventsMsg>>,
    /// Which calls the cache has to do with; none if nothing is kept.
    pub caching: Option<Arc<cache::messages::Caching>>,
    /// The current cache actor. One that has just ended is no less use than none: calls make their own way.
    pub cache: Option<ActorRef<cache::messages::CacheMsg>>,
    /// The current actor that gives processes their turn to start.
    pub starts: Option<ActorRef<starts::messages::StartsMsg>>,
    /// The current actor of the known lists, for the testkit's faults.
    #[cfg(feature = "testkit")]
    pub known_lists: Option<ActorRef<known_lists::messages::KnownListsMsg>>,
    /// The current registry, for the testkit's faults.
    #[cfg(feature = "testkit")]
    pub registry: Option<ActorRef<registry::messages::RegistryMsg>>,
}

/// What every actor of a troupe is given.
#[derive(Clone)]
pub(crate) struct Context {
    pub settings: Arc<Settings>,
    pub current_actors: watch::Receiver<CurrentActors>,
    pub events: ActorRef<events::messages::EventsMsg>,
    /// Bounds how many links are being opened at once, those of processes left out. A gate, no state: nothing is decided by
    /// its value.
    pub dial_gate: Arc<Semaphore>,
    /// What tools were when somebody looked at them, if anybody did.
    pub pinning: Option<Arc<Pinning>>,
    pub judge: Judge,
    /// Who answers what servers ask.
    pub host_handlers: questions::HostHandlers,
    /// What is started, so that it is known when all of it has ended.
    pub tasks: Tasks,
    /// The source of every random choice.
    pub seed: u64,
}

impl CurrentActors {
    /// Hands a call to the router, which is returned.
    ///
    /// # Errors
    /// The call, if there is none now, or no room.
    pub(crate) fn submit(
        &self,
        arrival: intake::Arrival,
    ) -> Result<ActorRef<router::messages::RouterMsg>, intake::Arrival> {
        let Self { router: Some(router), intake: Some(intake), .. } = self else { return Err(arrival) };
        intake.submit(router, arrival).map(|()| router.clone())
    }

    /// Tells the cache. One that has ended keeps nothing that would have to be cleared.
    pub(crate) fn tell_cache(&self, message: cache::messages::CacheMsg) {
        if let Some(cache) = &self.cache {
            let _ = cache.cast(message);
        }
    }
}

impl Context {
    /// Tells the host's subscribers.
    pub(crate) fn emit(&self, event: Event) {
        // No events actor means that the troupe is ending; nobody is left to be told.
        let _ = self.events.cast(events::messages::EventsMsg::Emit(event));
    }

    /// Sends to the current router. A message that meets none is about calls which that router's end has answered.
    pub(crate) fn to_router(&self, message: router::messages::RouterMsg) {
        if let Some(router) = &self.current_actors.borrow().router {
            let _ = router.cast(message);
        }
    }
}
