//! Leases: a connection of one server that is pinned for one user.
//!
//! A lease is asked for like a call: it waits, moves to another server of its group where the connection cannot be
//! opened, and has a deadline. The calls on it go over its connection or fail; they never wait, move or repeat.

use std::sync::Arc;

use tokio::time::Instant;

use super::placing::{Lacking, NoRoute};
use super::{Outlet, Over, Routing, Sought};
use crate::call::{Granted, LeaseKey, Reply, Selector};
use crate::error::CallErrorKind;
use crate::id::{AttemptId, CallId, Incarnation, ServerId};
use crate::json::RawJson;
use crate::policy::calls::Phase;

/// What a server actor tells of a lease.
#[derive(Debug)]
pub(crate) enum LeaseUpdate {
    /// The connection that was asked for is open. It ends where this is dropped, also in the mailbox of a router that has ended.
    Granted(Granted),
    /// The lease, or the server, has as much as it may have; nothing was sent.
    Exhausted {
        /// The limit that was reached.
        limit: usize,
    },
    /// The lease that the call names has ended; nothing was sent.
    Ended {
        /// Why.
        reason: String,
    },
}

impl LeaseUpdate {
    /// The outcome of the attempt that it is about.
    fn outcome(&self) -> &'static str {
        match self {
            Self::Granted(_) => "ok",
            Self::Exhausted { .. } => "overloaded",
            Self::Ended { .. } => "lease-ended",
        }
    }
}

impl<P, S> Routing<P, S> {
    /// Sends a call over its lease, or fails it; says what it lacks where that may still come.
    pub(super) fn place_on_lease(
        &mut self,
        id: CallId,
        lease: &LeaseKey,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) -> Option<Lacking> {
        // A new router is about to be told of the servers and of what they offer: until then nothing is for ever.
        let fail = |routing: &mut Self, lacking: Lacking, out: &mut _| {
            if !routing.introduced {
                return Some(lacking);
            }
            let kind = routing.lacking(id, lacking, now);
            routing.fail(id, kind, now, out);
            None
        };
        let Some(slot) = self.slot_of(&lease.server, lease.incarnation) else {
            let reason = format!("{} is not what it was", lease.server);
            return fail(self, Lacking::Other(CallErrorKind::LeaseEnded { reason }), out);
        };
        let call = self.calls.get(id)?;
        let selector = Selector::server(&lease.server);
        let offered = |sought: &Sought| match sought {
            Sought::Server | Sought::Reader => true,
            Sought::One(kind, thing) => self.catalogue.servers_of(*kind, *thing).contains(&lease.server),
            Sought::Any(..) => false,
        };
        let name = match self.resolve(&call.call, &selector) {
            Ok((sought, name)) if offered(&sought) => name,
            Ok(_) => {
                let selector = format!("the leased server {}", lease.server);
                return fail(self, Lacking::Other(CallErrorKind::NoMatch { selector }), out);
            }
            Err(NoRoute::Never(kind)) => return fail(self, Lacking::Other(kind), out),
            Err(NoRoute::NotYet(lacking)) => return fail(self, lacking, out),
        };
        if let Some(call) = self.calls.get_mut(id) {
            call.tool = name;
        }
        let of_server = self.views[slot].as_ref().and_then(|view| view.spec.timeout);
        self.apply_deadline(id, slot, of_server);
        // The breaker is not asked: who holds an open transaction must be able to end it.
        match self.send(id, slot, Over::Leased(lease.connection), true, now, out) {
            Some(attempt) => {
                if let Some(call) = self.calls.get_mut(id) {
                    call.phase = Phase::InFlight(attempt);
                }
            }
            None => {
                let reason = format!("the actor of {} has ended", lease.server);
                self.fail(id, CallErrorKind::LeaseEnded { reason }, now, out);
            }
        }
        None
    }

    /// What a lease may be of: the server of that name, or else the group.
    pub(super) fn lessor(&self, name: &str) -> Selector {
        let mut selector = Selector::default();
        if self.server_slots.contains_key(name) {
            selector.server = Some(name.to_owned());
        } else {
            selector.group = Some(name.to_owned());
        }
        selector
    }

    /// A server actor tells of a lease.
    pub(crate) fn leasing(
        &mut self,
        server: &ServerId,
        incarnation: Incarnation,
        attempt: AttemptId,
        update: LeaseUpdate,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) {
        let Some(slot) = self.slot_of(server, incarnation) else { return };
        let ended = self.end_attempt(slot, attempt);
        if let Some(ended) = ended {
            out.ended(attempt, update.outcome(), now.saturating_duration_since(ended.since));
        }
        let was_open = ended.is_some();
        let id = attempt.call;
        match update {
            LeaseUpdate::Granted(lease) => {
                let granted = was_open.then(|| self.calls.settle(id)).flatten();
                // Where whoever asked for it is gone, it ends here.
                let (Some(call), Some(view)) = (granted, &self.views[slot]) else { return };
                *self.counters.outcomes.entry("ok").or_default() += 1;
                let settled = self.settled(&call, Some(&view.spec.group), "ok", now);
                out.settled(&settled);
                let duration = settled.duration;
                let reply = Reply {
                    request_id: call.request_id,
                    server: server.clone(),
                    group: view.spec.group.clone(),
                    tool: call.call.into_tool(),
                    result: RawJson::null(),
                    duration,
                    attempts: call.attempts,
                    earlier_servers: call.earlier_servers,
                    cached: false,
                    lease: Some(Arc::new(lease)),
                };
                out.answer(call.port, Ok(reply));
            }
            LeaseUpdate::Exhausted { limit } if was_open => {
                self.unsent(id);
                let kind = CallErrorKind::Overloaded { waiting: limit, limit, retry_after: None };
                self.fail(id, kind, now, out);
            }
            LeaseUpdate::Ended { reason } if was_open => {
                self.unsent(id);
                self.fail(id, CallErrorKind::LeaseEnded { reason }, now, out);
            }
            LeaseUpdate::Exhausted { .. } | LeaseUpdate::Ended { .. } => {}
        }
    }
}
