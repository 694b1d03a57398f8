//! What handles see of the servers: one immutable snapshot, published by the registry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::actors::server::messages::ServerMsg;
use crate::event::{Origin, ServerStatus};
use crate::id::{GroupId, Incarnation, ServerId};
use crate::policy::catalogue::{Catalogue, Offer, Tool};
use crate::policy::known_lists::Fingerprint;
use crate::policy::named_tools::Listed;
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
    /// It describes servers that are left out, for mistakes in them.
    pub left_out: bool,
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
    /// What it listed, and how it was described then.
    pub offer: Option<(Offer, Option<Fingerprint>)>,
    /// What it listed at its last run, as long as that is shown, and how it is described.
    pub known: Option<(Offer, Fingerprint)>,
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

/// What a registry that has ended knew of what a server lists: see [`RosterEntry::offer`] and [`RosterEntry::known`].
#[derive(Default)]
pub(super) struct Former {
    pub offer: Option<(Offer, Option<Fingerprint>)>,
    pub known: Option<(Offer, Fingerprint)>,
}

impl RosterEntry {
    /// What is left to the next registry.
    pub(super) fn left(&self) -> (ServerId, Former) {
        (self.info.id.clone(), Former { offer: self.offer.clone(), known: self.known.clone() })
    }

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
        Self {
            info,
            actor: None,
            offer: None,
            known: None,
            listed: false,
            leaving: false,
            settled: true,
            timeout: None,
        }
    }
}

impl Roster {
    /// Whose tools are known: of each server from what it has listed or, where it is idle, from its last run. Of one that is switched
    /// off, or was left out for a mistake, nobody knows them.
    pub(crate) fn listed(&self) -> Listed {
        let all = self.entries.iter().all(|entry| entry.listed);
        let silent: BTreeSet<&GroupId> =
            self.entries.iter().filter(|entry| !entry.listed).map(|entry| &entry.info.group).collect();
        let groups =
            self.entries.iter().map(|entry| &entry.info.group).filter(|group| !silent.contains(group));
        Listed {
            everything: self.told && self.complete && !self.left_out && all && !self.entries.is_empty(),
            groups: groups.cloned().collect(),
        }
    }

    /// The server of this id.
    pub(crate) fn entry(&self, server: &ServerId) -> Option<&RosterEntry> {
        let place = self.entries.binary_search_by(|entry| entry.info.id.cmp(server)).ok()?;
        self.entries.get(place)
    }

    /// A tool of the catalogue as this server describes it, which offers it; without one as its group does.
    pub(crate) fn as_described(&self, tool: &Tool, by: Option<&str>) -> Tool {
        let entry = self.entries.iter().find(|entry| by == Some(entry.info.id.as_str()));
        let offer = entry.and_then(|entry| {
            let offer = entry.offer.as_ref().map(|(offer, _)| offer);
            offer.or_else(|| entry.known.as_ref().map(|(offer, _)| offer))
        });
        let own = offer.and_then(|offer| offer.tools.iter().find(|own| *own.name == *tool.name));
        let definition = own.map_or(&tool.definition, |own| &own.definition).clone();
        Tool { definition, ..tool.clone() }
    }
}
