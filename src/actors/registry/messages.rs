//! What the registry is told.

use std::sync::Arc;

use ractor::{ActorRef, MessagingErr};
use tokio::time::Instant;

use super::registration::{Enrolment, Registration};
use crate::actors::known_lists::messages::KnownListsMsg;
use crate::actors::numbers::DrainOrder;
use crate::actors::root::messages::Bequest;
use crate::config::Settings;
use crate::id::{Incarnation, RouterLife, ServerId};
use crate::policy::catalogue::Offer;
use crate::policy::known_lists::Fingerprint;
use crate::policy::routing::Standing;
use crate::stats::ServerDetails;

/// What the registry is told.
pub(crate) enum RegistryMsg {
    /// By the root: a new server; its id is free. A paused one is not started.
    Register(Enrolment),
    /// By the root: another description of a server.
    Replace(Registration),
    /// By the root: another description of a server, for which its connections are as good.
    Amend(Registration),
    /// By the root: what it ordered so far belongs to this configuration.
    Applied(Taken),
    /// By the root: a server takes no new calls, finishes what it has until then, and rests. The root is told when it does.
    Drain { server: ServerId, until: Instant, order: DrainOrder },
    /// By the root: a server that rests is started again.
    Resume(ServerId),
    /// By the root: a server leaves.
    Unregister(ServerId),
    /// By the root: these settings hold from now on.
    Settings(Arc<Settings>),
    /// By the root: every source of servers has answered, or failed; those it knows are all there are.
    Complete,
    /// By the root: there is a new router, which knows nothing yet.
    RouterUp(RouterLife),
    /// By a server actor: where it stands.
    Report { server: ServerId, incarnation: Incarnation, standing: Standing },
    /// By a server actor: what it offers. The first of each life comes also where it is what is known already.
    Offer { server: ServerId, incarnation: Incarnation, offer: Offer },
    /// By a server actor: what the server says of itself.
    Details { server: ServerId, incarnation: Incarnation, details: Arc<ServerDetails> },
    /// By the root: this actor keeps what servers list for the next run.
    KnownListsUp(ActorRef<KnownListsMsg>),
    /// By the actor of the known lists: this is what a server of this description listed at its last run, if that is known.
    Known { server: ServerId, fingerprint: Fingerprint, offer: Option<Offer> },
    /// By a server actor that is replaced, and by each one's last breath: what is the server's. By the root, where the registry
    /// of that life has ended.
    Handover(Bequest),
    /// By a server actor: a sign of life.
    Pong { server: ServerId, incarnation: Incarnation },
    /// By itself: what has changed is published, once for all that came together.
    Publish,
    /// By the alarm.
    Due,
    /// By the testkit: panic in this handler.
    #[cfg(feature = "testkit")]
    Panic,
}

/// The configuration that was taken last.
#[derive(Clone, Default)]
pub(crate) struct Taken {
    /// How many were applied.
    pub number: u64,
    /// Servers that it has switched off. They are shown, and nothing else is done with them.
    pub disabled: Arc<[ServerId]>,
    /// Whether it describes servers that are left out, for mistakes in them.
    pub left_out: bool,
}

/// Hands what a life left to a registry. Given back if that has ended.
pub(crate) fn deliver(bequest: Bequest, registry: &ActorRef<RegistryMsg>) -> Option<Bequest> {
    match registry.cast(RegistryMsg::Handover(bequest)) {
        Err(MessagingErr::SendErr(RegistryMsg::Handover(back))) => Some(back),
        Ok(()) | Err(_) => None,
    }
}
