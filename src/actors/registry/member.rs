//! One server as its supervisor sees it.

use ractor::ActorRef;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Registration;
use crate::actors::ledger::Ledger;
use crate::actors::server::ServerMsg;
use crate::id::{Incarnation, ServerId};
use crate::policy::catalogue::Offer;
use crate::policy::restart::RestartPolicy;
use crate::policy::routing::Standing;
use crate::stats::ServerInfo;

/// Where a member stands with its supervisor.
pub(super) enum Phase {
    Alive(ActorRef<ServerMsg>),
    Waiting {
        until: Instant,
        ended_at: Instant,
        handed_over: bool,
    },
    /// Drained by order of the host; those who wait for its rest are told.
    Paused {
        actor: Option<ActorRef<ServerMsg>>,
        tell: Vec<oneshot::Sender<()>>,
    },
    Leaving(Option<ActorRef<ServerMsg>>),
}

/// One server as its supervisor sees it.
pub(super) struct Member {
    pub registration: Registration,
    pub incarnation: Incarnation,
    pub phase: Phase,
    pub restart: RestartPolicy,
    pub standing: Standing,
    pub offer: Option<Offer>,
    pub ledger: Ledger,
    /// When the life that is drained, or leaves, ends at the latest.
    pub finish_by: Instant,
    /// When its actor last showed a sign of life.
    pub heard_at: Instant,
    /// It was asked to stop because it was silent; the next time it is killed.
    pub suspected: bool,
}

impl Member {
    pub fn actor(&self) -> Option<&ActorRef<ServerMsg>> {
        match &self.phase {
            Phase::Alive(actor) | Phase::Leaving(Some(actor)) | Phase::Paused { actor: Some(actor), .. } => {
                Some(actor)
            }
            Phase::Waiting { .. } | Phase::Leaving(None) | Phase::Paused { actor: None, .. } => None,
        }
    }

    pub fn alive(&self) -> Option<&ActorRef<ServerMsg>> {
        match &self.phase {
            Phase::Alive(actor) => Some(actor),
            Phase::Waiting { .. } | Phase::Paused { .. } | Phase::Leaving(_) => None,
        }
    }

    pub fn info(&self) -> ServerInfo {
        let spec = &self.registration.spec;
        ServerInfo {
            id: spec.id.clone(),
            group: spec.group.clone(),
            tags: spec.tags.clone(),
            origin: self.registration.origin.clone(),
            metadata: spec.metadata.clone(),
            endpoint: self.registration.connector.endpoint(),
            status: self.standing.status,
            reason: self.standing.reason.clone(),
            retry_at: self.standing.retry_at,
            incarnation: self.incarnation,
            restarts: self.restart.total(),
            tools: self.offer.as_ref().map_or(0, |offer| offer.tools.len()),
        }
    }
}

/// A life that was replaced.
pub(super) struct Retiring {
    pub server: ServerId,
    pub incarnation: Incarnation,
    pub actor: ActorRef<ServerMsg>,
    pub finish_by: Instant,
}
