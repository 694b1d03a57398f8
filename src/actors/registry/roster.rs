//! What handles see of the servers: one immutable snapshot, published by the registry.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::actors::server::ServerMsg;
use crate::event::{Origin, ServerStatus};
use crate::id::{GroupId, Incarnation, ServerId};
use crate::policy::catalogue::{Catalogue, Offer};
use crate::policy::search::SearchIndex;
use crate::stats::ServerInfo;

/// Which servers there are, as one immutable snapshot.
#[derive(Clone, Default)]
pub(crate) struct Roster {
    /// A registry has spoken; before that nobody knows which servers there are.
    pub told: bool,
    /// No source has yet to answer for the first time.
    pub complete: bool,
    /// The number of the configuration that it shows: how many were applied.
    pub configuration: u64,
    /// By server id.
    pub entries: Vec<RosterEntry>,
    pub catalogue: Arc<Catalogue>,
    /// The index over the catalogue: made by whoever searches first, the same whoever that is.
    pub index: Arc<OnceCell<Arc<SearchIndex>>>,
}

/// One server of the roster.
#[derive(Clone)]
pub(crate) struct RosterEntry {
    /// As it was when it last changed; hosts are shown [`info_at`](Self::info_at).
    pub info: ServerInfo,
    /// Its actor, if it has one.
    pub actor: Option<ActorRef<ServerMsg>>,
    /// What it offers, as far as that is known.
    pub offer: Option<Offer>,
    /// What it offers is known as far as a call needs it: it has listed, or is idle and shown as it listed at its last run.
    pub listed: bool,
    /// It was ready, or an attempt to reach it has failed with a reason; and what it listed at its last run is shown, if it is
    /// known.
    pub settled: bool,
    /// It was removed, and finishes what it has.
    pub leaving: bool,
    /// The deadline of calls to it that name none.
    pub timeout: Option<Duration>,
}

impl RosterEntry {
    /// The server as it is told at this moment.
    pub(crate) fn info_at(&self, now: Instant) -> ServerInfo {
        let mut info = self.info.clone();
        if let Some(starting) = &info.starting {
            info.reason = Some(starting.after(info.reason.as_deref(), now));
        }
        info
    }

    /// A server that the configuration has switched off.
    pub(crate) fn disabled(server: &ServerId) -> Self {
        let info = ServerInfo {
            id: server.clone(),
            group: GroupId::from(server),
            tags: Vec::new(),
            origin: Origin::Configured,
            metadata: BTreeMap::new(),
            endpoint: String::new(),
            status: ServerStatus::Disabled,
            reason: None,
            starting: None,
            retry_at: None,
            incarnation: Incarnation::FIRST,
            restarts: 0,
            tools: 0,
            details: None,
        };
        Self { info, actor: None, offer: None, listed: false, leaving: false, settled: true, timeout: None }
    }
}

impl Roster {
    /// Whether the catalogue has everything that there is: there are servers, and of each in service the tools are known, from
    /// what it has listed or, where it is idle, from its last run.
    pub(crate) fn all_listed(&self) -> bool {
        let resting = |entry: &RosterEntry| {
            matches!(
                entry.info.status,
                ServerStatus::Draining | ServerStatus::Stopped | ServerStatus::Disabled
            )
        };
        let listed = self.entries.iter().all(|entry| entry.listed || resting(entry));
        self.told && self.complete && listed && !self.entries.is_empty()
    }

    /// The server of this id.
    pub(crate) fn entry(&self, server: &ServerId) -> Option<&RosterEntry> {
        let place = self.entries.binary_search_by(|entry| entry.info.id.cmp(server)).ok()?;
        self.entries.get(place)
    }
}
