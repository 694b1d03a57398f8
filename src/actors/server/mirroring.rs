//! Arguments that are mirrored into headers, and calls that wait for a new tool list since the server found that theirs are
//! not as its tools want them now.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::ServerState;
use crate::actors::pump::messages::{Mirroring, Stale};
use crate::call::{AttemptEnd, OutcomeClass, Request};
use crate::error::RpcError;
use crate::id::{AttemptId, ConnectionId};
use crate::policy::catalogue::Definition;
use crate::policy::routing::{Completion, Dispatch, Over};
use crate::protocol::{Era, Mirrors};

/// Which try of a call it is, as far as the tool list goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// By the list that is there.
    First,
    /// By a list that was fetched for it.
    Refreshed,
}

/// What the server actor knows of mirrored arguments.
pub(super) struct MirroringState {
    /// By tool; most have none. Names are the peer's to choose.
    mirrors: HashMap<String, Mirrors>,
    /// Calls that wait for a new list, which has not begun yet.
    stale: Vec<(Dispatch, RpcError)>,
    /// Calls that wait for the list that is being fetched.
    covered: Vec<(Dispatch, RpcError)>,
}

impl MirroringState {
    /// Of these tools.
    pub(super) fn new(tools: &[Definition]) -> Self {
        let mut state = Self { mirrors: HashMap::new(), stale: Vec::new(), covered: Vec::new() };
        state.listed(tools);
        state
    }

    /// The tools are being listed from now on.
    pub(super) fn listing(&mut self) {
        self.covered.append(&mut self.stale);
    }

    /// The tools were listed.
    pub(super) fn listed(&mut self, tools: &[Definition]) {
        let mirrors = tools.iter().filter_map(|tool| {
            let mirrors = Mirrors::of(tool.definition.as_str()).ok().flatten()?;
            Some((tool.name.clone(), mirrors))
        });
        self.mirrors = mirrors.collect();
    }

    /// Nothing waits for a new list.
    pub(super) fn is_idle(&self) -> bool {
        self.stale.is_empty() && self.covered.is_empty()
    }

    /// Nobody waits for an attempt any more.
    pub(super) fn forget(&mut self, attempt: AttemptId) {
        for waiting in [&mut self.stale, &mut self.covered] {
            waiting.retain(|(dispatch, _)| dispatch.attempt != attempt);
        }
    }

    /// Nobody waits for any attempt any more.
    pub(super) fn forget_all(&mut self) {
        self.stale.clear();
        self.covered.clear();
    }
}

impl ServerState {
    /// Whether arguments are mirrored on the way to this server.
    pub(super) fn mirrors(&self) -> bool {
        let known = self.carried.ledger.as_ref().and_then(|ledger| ledger.known);
        self.connector.mirrors() && known.is_some_and(|known| known.era == Era::Modern)
    }

    /// What the pump needs to mirror the arguments of a call.
    pub(super) fn mirroring_of(&self, dispatch: &Dispatch, turn: Turn) -> Option<Box<Mirroring>> {
        if !self.mirrors() || dispatch.call.request != Request::Tool {
            return None;
        }
        let mirrors = self.mirroring.mirrors.get(&*dispatch.tool).cloned();
        let spare = match turn {
            Turn::First => Some(dispatch.clone()),
            Turn::Refreshed => None,
        };
        Some(Box::new(Mirroring { mirrors, spare }))
    }

    /// Calls were refused since their tools are not as they were listed: they wait for a new list.
    pub(super) fn hold_stale(&mut self, connection: ConnectionId, stale: Vec<Stale>, now: Instant) {
        for Stale { dispatch, permit, error } in stale {
            let attempt = dispatch.attempt;
            if !self.pool.release(connection, attempt, now) {
                self.leases.finish(connection, attempt, now);
            }
            let ServerState { carried, rng, .. } = self;
            if let Some(ledger) = &mut carried.ledger {
                ledger.breaker.record(permit, OutcomeClass::Ignored, Duration::ZERO, now, rng);
            }
            self.mirroring.stale.push((dispatch, error));
        }
        self.list_tools_at_once(now);
    }

    /// A new list is there: what waited for it is tried once more.
    pub(super) fn dispatch_stale(&mut self, now: Instant) {
        for (dispatch, _) in std::mem::take(&mut self.mirroring.covered) {
            match dispatch.over {
                Over::Leased(connection) => self.dispatch_leased(connection, dispatch, Turn::Refreshed, now),
                Over::Shared | Over::NewLease => self.dispatch(dispatch, Turn::Refreshed, now),
            }
        }
    }

    /// There is no new list: what waited for it has the answer that it got.
    pub(super) fn fail_stale(&mut self) {
        if self.mirroring.covered.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.mirroring.covered).into_iter().map(|(dispatch, error)| {
            let end = AttemptEnd::Rpc(error);
            self.carried.ledger.iter_mut().for_each(|ledger| ledger.count(end.name()));
            let class = self.context.judge.class(&end);
            Completion { attempt: dispatch.attempt, end, class, latency: Duration::ZERO }
        });
        let batch = batch.collect();
        self.tell_of_completed(batch);
    }
}
