//! What the pump is told, and what it tells.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::call::OutcomeClass;
use crate::call_update::LogLevel;
use crate::error::RpcError;
use crate::id::AttemptId;
use crate::json::RawJson;
use crate::offer::{EntryKind, Kinds};
use crate::peer_text::{TEXT_BYTES_MAX, cut};
use crate::policy::breaker::Permit;
use crate::policy::routing::{AttemptUpdate, CancelReason, Completion, Dispatch};
use crate::protocol::Mirrors;
use crate::transport::Failure;

/// What the pump is asked to do.
pub(crate) enum PumpMsg {
    /// Send a call.
    Call { dispatch: Dispatch, permit: Permit, mirroring: Option<Box<Mirroring>> },
    /// Call an attempt off, and tell the peer.
    Cancel { attempt: AttemptId, reason: CancelReason },
    /// Call off everything: the router that asked for it is gone.
    CancelAll,
    /// Ask a modern server to tell of these changes, in place of what it was asked before.
    Listen(Wanted),
    /// Ask a legacy server to tell of changes of a resource, or no longer.
    Subscribe { uri: String, wanted: bool },
    /// Fetch one page of a list.
    List { kind: EntryKind, cursor: Option<String>, port: ListPort },
    /// End when the calls that are under way have ended; they can still be called off.
    Close,
}

/// What a call needs where its arguments may have to be mirrored into headers.
pub(crate) struct Mirroring {
    /// What is mirrored; nothing for most tools.
    pub mirrors: Option<Mirrors>,
    /// The call once more, in case the server finds that the tool was another one when it was listed.
    pub spare: Option<Dispatch>,
}

/// A call that the server refused, without carrying it out, since its tool is not as it was listed.
#[derive(Debug)]
pub(crate) struct Stale {
    pub dispatch: Dispatch,
    pub permit: Permit,
    /// What the server said.
    pub error: RpcError,
}

/// Where a page of the tool list goes.
pub(crate) type ListPort = oneshot::Sender<Result<RawJson, ListFailure>>;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListFailure {
    /// The server answered with an error.
    #[error("{0}")]
    Rpc(RpcError),
    /// The request came to nothing.
    #[error("{0}")]
    Failed(Failure),
}

/// A finished attempt, and the permit of the server's breaker that it went under.
#[derive(Debug)]
pub(crate) struct Finished {
    pub permit: Permit,
    /// How it counts for the breaker.
    pub counts: OutcomeClass,
    pub completion: Completion,
}

/// What the pump reports after a turn, to the server actor.
#[derive(Default)]
pub(crate) struct Report {
    pub finished: Vec<Finished>,
    /// Oddities of the peer.
    pub violations: Violations,
    /// Answers that nobody waits for.
    pub unmatched: u64,
    /// Calls that wait for a new tool list.
    pub stale: Vec<Stale>,
    /// Lists of the peer's that changed.
    pub changed: Kinds,
    /// Resources that changed.
    pub updated: Updated,
    /// What became of wishes to be told of changes.
    pub listened: Vec<Listened>,
    /// Whether questions of the peer wait for the host, where that has changed.
    pub asks: Option<bool>,
    /// The link takes no more requests.
    pub leaving: Option<Leaving>,
    /// What was told beside answers; seldom anything.
    pub notifications: Option<Box<Notifications>>,
}

/// Why a link takes no more requests.
pub(crate) struct Leaving {
    pub reason: String,
    /// What a call was answered with says so: the breaker counts that, and not the link as well.
    pub blameless: bool,
}

impl Report {
    /// An empty one with room for as many attempts as usual.
    pub(super) fn with_room(finished: usize) -> Self {
        Self { finished: Vec::with_capacity(finished), ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.finished.is_empty()
            && self.stale.is_empty()
            && self.violations.count == 0
            && self.unmatched == 0
            && self.changed.is_empty()
            && self.updated.is_empty()
            && self.listened.is_empty()
            && self.asks.is_none()
            && self.leaving.is_none()
            && self.notifications.is_none()
    }

    /// Whether there is something in it that our own requests bound, or a rate of its own: it is sent at once.
    pub(super) fn is_asked_for(&self) -> bool {
        let notifications = |notifications: &Notifications| {
            !(notifications.updates.is_empty() && notifications.logs.is_empty())
        };
        !(self.finished.is_empty() && self.stale.is_empty() && self.listened.is_empty())
            || self.leaving.is_some()
            || self.notifications.as_deref().is_some_and(notifications)
    }
}

/// Resources of the peer's that changed.
#[derive(Debug, Default)]
pub(crate) struct Updated {
    pub uris: BTreeSet<String>,
    /// Their size together.
    pub(super) bytes: usize,
    /// More changed than are named: of each it may be said.
    pub beyond: bool,
}

impl Updated {
    pub(super) fn is_empty(&self) -> bool {
        self.uris.is_empty() && !self.beyond
    }
}

/// What became of a wish to be told of changes.
#[derive(Debug)]
pub(crate) enum Listened {
    /// The peer tells.
    Acknowledged,
    /// It tells no longer. `refused`: it answered without ever having told, so it knows no such request.
    Ended { refused: bool },
    /// It tells of this resource from now on.
    Subscribed { uri: String },
    /// It does not tell of this resource.
    Refused { uri: String, reason: String },
}

/// Resources of one server that may be subscribed to at once: each is said again with every connection.
pub(crate) const SUBSCRIPTIONS_MAX: usize = 1_000;

/// What a server is asked to tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Wanted {
    pub changes: Kinds,
    pub resources: Arc<BTreeSet<String>>,
}

impl Wanted {
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.resources.is_empty()
    }
}

/// A log message of the server's that belongs to no call.
#[derive(Debug, Clone)]
pub(crate) struct Logged {
    pub level: LogLevel,
    pub logger: Option<String>,
    /// What it says, cut.
    pub text: String,
    /// So many before it were not passed on.
    pub missed: u64,
}

/// What a turn brought beside answers.
#[derive(Debug, Default)]
pub(crate) struct Notifications {
    /// Of calls, in their order.
    pub updates: Vec<AttemptUpdate>,
    /// Of the server.
    pub logs: Vec<Logged>,
    /// Progress that belongs to no call, or does not grow, and what could not be read.
    pub unmatched: u64,
}

/// Oddities of a peer, gathered: so that a flood of them becomes a count and not a flood of words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Violations {
    /// How many.
    pub count: u64,
    /// What the first one was.
    pub first: String,
}

impl Violations {
    /// Counts one. Words are made for the first alone.
    pub(crate) fn note(&mut self, words: impl FnOnce() -> String) {
        if self.count == 0 {
            self.first = cut(words(), TEXT_BYTES_MAX);
        }
        self.count += 1;
    }
}
