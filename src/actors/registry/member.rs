//! One server as its supervisor sees it.

use std::sync::Arc;

use ractor::ActorRef;
use tokio::time::Instant;

use super::Registration;
use crate::actors::ledger::Ledger;
use crate::actors::numbers::DrainOrder;
use crate::actors::numbers::Numbers;
use crate::actors::server::messages::ServerMsg;
use crate::config::ServerSpec;
use crate::event::ServerStatus;
use crate::id::Incarnation;
use crate::policy::catalogue::Offer;
use crate::policy::known_lists::Fingerprint;
use crate::policy::restart::RestartPolicy;
use crate::policy::routing::Standing;
use crate::stats::{ServerDetails, ServerInfo};

/// Where a member stands with its supervisor.
pub(super) enum Phase {
    Alive(ActorRef<ServerMsg>),
    Waiting {
        until: Instant,
        ended_at: Instant,
        handed_over: bool,
    },
    /// Drained by an order of the host; the root is told when it rests.
    Paused {
        actor: Option<ActorRef<ServerMsg>>,
        order: DrainOrder,
    },
    /// Over for good, by its restart policy. It is still registered, and may be described anew.
    Ended,
    /// Unregistered, with what is left of its last life: without that, earlier ones finish what they have.
    Leaving(Option<ActorRef<ServerMsg>>),
}

/// One server as its supervisor sees it.
pub(super) struct Member {
    pub registration: Registration,
    pub numbers: Numbers,
    /// The present life, or the last one; none has this number before the first.
    pub incarnation: Incarnation,
    pub phase: Phase,
    /// The next life begins by an order: it is the first attempt to reach the server as it is described now.
    pub ordered: bool,
    pub restart: RestartPolicy,
    pub standing: Standing,
    /// The status that was told last.
    pub told: ServerStatus,
    /// Its present life runs, or its last one did: it was not idle when it was last heard of.
    pub ran: bool,
    /// As it is described now, it was ready, or an attempt to reach it has failed.
    pub settled: bool,
    pub offer: Option<Offer>,
    /// What it listed at its last run, and how it is described, until it has listed in this one.
    pub known: Option<(Offer, Fingerprint)>,
    /// Whether that is known has yet to be said.
    pub looking_up: bool,
    /// What it last said of itself, as it is described now.
    pub details: Option<Arc<ServerDetails>>,
    /// How it was described when it listed what it offers.
    pub listed_as: Option<Fingerprint>,
    /// Whether it has listed since it was described as it is now. What it offered before stands until then.
    pub listed: bool,
    /// What the present life began with, but for the figures, which it has taken with it; and what was left since.
    pub ledger: Ledger,
    /// The latest life whose breaker and backoff the ledger has.
    pub ledger_from: Incarnation,
    /// The latest life of which nothing is left.
    pub buried: Incarnation,
    /// When the life that is drained, or leaves, ends at the latest.
    pub finish_by: Instant,
    /// When its actor last showed a sign of life.
    pub heard_at: Instant,
    /// It was asked to stop because it was silent; the next time it is killed.
    pub suspected: bool,
}

impl Member {
    pub(super) fn actor(&self) -> Option<&ActorRef<ServerMsg>> {
        match &self.phase {
            Phase::Alive(actor) | Phase::Leaving(Some(actor)) | Phase::Paused { actor: Some(actor), .. } => {
                Some(actor)
            }
            Phase::Waiting { .. }
            | Phase::Ended
            | Phase::Leaving(None)
            | Phase::Paused { actor: None, .. } => None,
        }
    }

    /// Whether what it offers is known as far as a call needs it.
    pub(super) fn lists_are_known(&self) -> bool {
        self.listed || self.standing.status == ServerStatus::Idle && self.shown().is_some()
    }

    /// Whether a call can find it without its running: what it listed as it is described now is known.
    pub(super) fn may_be_idle(&self) -> bool {
        match &self.offer {
            Some(_) => self.listed_as == Some(self.fingerprint()),
            None => self.known.is_some(),
        }
    }

    /// What it offers, or offered at its last run.
    pub(super) fn shown(&self) -> Option<&Offer> {
        self.offer.as_ref().or_else(|| self.known.as_ref().map(|(offer, _)| offer))
    }

    /// The hash of its description.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let Registration { spec, connector, .. } = &self.registration;
        Fingerprint::of(spec, &connector.endpoint())
    }

    pub(super) fn alive(&self) -> Option<&ActorRef<ServerMsg>> {
        match &self.phase {
            Phase::Alive(actor) => Some(actor),
            Phase::Waiting { .. } | Phase::Paused { .. } | Phase::Ended | Phase::Leaving(_) => None,
        }
    }

    pub(super) fn info(&self) -> ServerInfo {
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
            starting: self.standing.starting.clone(),
            retry_at: self.standing.retry_at,
            incarnation: self.incarnation,
            restarts: self.restart.total(),
            tools: self.shown().map_or(0, |offer| offer.tools.len()),
            details: self.details.clone(),
        }
    }
}

/// A life that was replaced.
pub(super) struct Retiring {
    pub spec: Arc<ServerSpec>,
    pub incarnation: Incarnation,
    pub actor: ActorRef<ServerMsg>,
    pub finish_by: Instant,
}
