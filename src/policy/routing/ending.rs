//! How calls end: answers, losses, deadlines, callers who leave, shutdown.

use std::time::Duration;

use tokio::time::Instant;

use super::{CancelReason, Outlet, Routing, Settled};
use crate::call::{AttemptEnd, Completes, OutcomeClass, Purpose, Reply, Request};
use crate::error::{CallError, CallErrorKind, Deadline, UnavailableServer};
use crate::event::ServerStatus;
use crate::id::{AttemptId, CallId, GroupId, Incarnation, ServerId};
use crate::offer::EntryKind;
use crate::policy::breaker::Admission;
use crate::policy::calls::{OpenAttempt, OpenCall, Phase};
use crate::policy::catalogue::Resolution;
use crate::policy::slots::ServerSlot;
use crate::refusal::RefusalKind;
use crate::spans::NOT_TAKEN;

/// The longest that a server's word keeps calls from it: one that names a day has forgotten itself.
const PAUSE_MAX: Duration = Duration::from_secs(5 * 60);

/// Servers that an error names of those which its call waited for: each is named with its reason, and a call for an invented
/// name waits for all that are starting.
const AWAITED_MAX: usize = 32;

/// The end of one attempt, as the connection reports it.
#[derive(Debug)]
pub(crate) struct Completion {
    /// Which attempt.
    pub attempt: AttemptId,
    /// How it ended.
    pub end: AttemptEnd,
    /// How it counts for the server.
    pub class: OutcomeClass,
    /// From the send to the end.
    pub latency: Duration,
}

/// What became of the calls of a routing that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Abandoned {
    /// Calls that were answered with `Interrupted`.
    pub interrupted: usize,
    /// Calls that no server has seen, and that the next routing gets.
    pub handed_back: usize,
}

impl<P, S> Routing<P, S> {
    /// Attempts of a server ended.
    pub(crate) fn completed(
        &mut self,
        server: &ServerId,
        incarnation: Incarnation,
        batch: Vec<Completion>,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) {
        let Some(slot) = self.slot_of(server, incarnation) else {
            self.counters.late_answers += batch.len() as u64;
            out.late(server, batch.len() as u64, now);
            return;
        };
        for completion in batch {
            self.complete(slot, completion, now, out);
        }
        self.serve(slot, now, out);
    }

    fn complete(
        &mut self,
        slot: ServerSlot,
        completion: Completion,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) {
        let Completion { attempt, end, class, latency } = completion;
        let Some(ended) = self.end_attempt(slot, attempt) else {
            self.counters.late_answers += 1;
            if let Some(view) = &self.views[slot] {
                out.late(&view.spec.id, 1, now);
            }
            return;
        };
        out.ended(attempt, end.name(), latency);
        if let Some(view) = &mut self.views[slot] {
            // A server that refuses at once for a reason of its own is no fast one.
            let moves = matches!(&end, AttemptEnd::Refused(refusal) if refusal.moves());
            let class = if moves && class == OutcomeClass::Ignored { OutcomeClass::Failure } else { class };
            view.load.observe(latency, class, now);
        }
        let id = attempt.call;
        match end {
            AttemptEnd::Result(result) => self.succeed(id, ended, result, now, out),
            AttemptEnd::Rpc(error) => self.failed(id, slot, CallErrorKind::Rpc(error), class, now, out),
            AttemptEnd::Refused(refusal) => {
                // With 429 and 503 it speaks of itself, whatever became of this call.
                let of_itself =
                    refusal.kind == RefusalKind::Overloaded || matches!(refusal.status, 429 | 503);
                if let Some(after) = refusal.retry_after.filter(|_| of_itself) {
                    self.pause(slot, after.min(PAUSE_MAX), now, out);
                }
                self.failed(id, slot, CallErrorKind::Refused(refusal), class, now, out);
            }
            AttemptEnd::InvalidResponse(reason) => {
                self.failed(id, slot, CallErrorKind::InvalidResponse { reason }, class, now, out);
            }
            AttemptEnd::TooLarge { bytes, limit } => {
                self.unsent(id);
                self.fail(id, CallErrorKind::TooLarge { bytes, limit }, now, out);
            }
            AttemptEnd::ConnectionLost { reason, sent } => {
                self.lost(id, slot, CallErrorKind::ConnectionLost { reason, sent }, now, out);
            }
            AttemptEnd::SessionLost { reason } => {
                // The server's word that it did nothing is taken once for each call: a server that says so again and again
                // may be one that works and says so for another reason.
                let call = self.calls.get_mut(id);
                let sent = call.is_some_and(|call| std::mem::replace(&mut call.session_lost, true));
                self.lost(id, slot, CallErrorKind::ConnectionLost { reason, sent }, now, out);
            }
            // The router itself calls attempts off, and settles their calls when it does.
            AttemptEnd::DeadlineExceeded | AttemptEnd::Cancelled => {}
        }
    }

    /// Ends an attempt that the server at `slot` works on, and makes room there. `None` if there is no such attempt.
    pub(super) fn end_attempt(&mut self, slot: ServerSlot, attempt: AttemptId) -> Option<OpenAttempt> {
        let ended = self.calls.get_mut(attempt.call)?.end_attempt(slot, attempt.number)?;
        if let Some(view) = &mut self.views[slot] {
            view.released(ended.shared);
        }
        Some(ended)
    }

    /// A server would not take a dispatch; nothing was sent, so the call is placed again at once.
    pub(crate) fn refused(
        &mut self,
        server: &ServerId,
        incarnation: Incarnation,
        attempt: AttemptId,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) {
        let Some(slot) = self.slot_of(server, incarnation) else { return };
        let Some(ended) = self.end_attempt(slot, attempt) else { return };
        out.ended(attempt, NOT_TAKEN, now.saturating_duration_since(ended.since));
        if let Some(view) = &mut self.views[slot] {
            view.refused();
        }
        self.unsent(attempt.call);
        self.place_again(attempt.call, now, out);
    }

    /// The last attempt reached no server.
    pub(super) fn unsent(&mut self, id: CallId) {
        if let Some(call) = self.calls.get_mut(id) {
            call.attempts = call.attempts.saturating_sub(1);
        }
    }

    fn succeed(
        &mut self,
        id: CallId,
        ended: OpenAttempt,
        result: crate::json::RawJson,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) {
        let Some(call) = self.calls.get(id) else { return };
        if call.open_attempts().any(|other| other.number < ended.number) {
            self.counters.hedges_won += 1;
        }
        let Some(mut call) = self.settle(id, CancelReason::AnsweredElsewhere, now, out) else { return };
        let Some(view) = &self.views[ended.server] else { return };
        if self.is_hedged(&call) {
            let latency = now.saturating_duration_since(ended.since);
            self.hedge_delays.observe(&view.spec.group, &call.tool, latency, now);
        }
        if let Some(affinity) = &call.call.options().affinity {
            // Calls that were sent before the key was bound end elsewhere too, and others where it had no room. It stays bound to a
            // server that takes calls, or will at once.
            let bound = self.affinity.bound(&affinity.key, &view.spec.group, now);
            let slot = bound.and_then(|server| self.server_slots.get(&server).copied());
            if !slot
                .and_then(|slot| self.views[slot].as_ref())
                .is_some_and(super::server_view::View::promises)
            {
                self.affinity.bind(&affinity.key, &view.spec.group, &view.spec.id, now);
            }
        }
        *self.counters.outcomes.entry("ok").or_default() += 1;
        let settled = self.settled(&call, Some(&view.spec.group), "ok", now);
        out.settled(&settled);
        let duration = settled.duration;
        let reply = Reply {
            request_id: call.request_id,
            // It went there last, unless a hedge did.
            server: call
                .server
                .take()
                .filter(|last| *last == view.spec.id)
                .unwrap_or_else(|| view.spec.id.clone()),
            group: view.spec.group.clone(),
            tool: if *call.tool == *call.call.tool { call.call.into_tool() } else { call.tool.to_string() },
            result,
            duration,
            attempts: call.attempts,
            earlier_servers: call.earlier_servers,
            cached: false,
            lease: None,
        };
        out.answer(call.port, Ok(reply));
    }

    /// Ends a call with an error.
    pub(super) fn fail(
        &mut self,
        id: CallId,
        kind: CallErrorKind,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) {
        if let Some(call) = self.settle(id, CancelReason::AnsweredElsewhere, now, out) {
            self.answer_error(*call, kind, now, out);
        }
    }

    pub(super) fn answer_error(
        &mut self,
        call: OpenCall<P>,
        kind: CallErrorKind,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) {
        self.answer_late(call, kind, Vec::new(), now, out);
    }

    /// The same for a call that waited for these servers.
    fn answer_late(
        &mut self,
        call: OpenCall<P>,
        kind: CallErrorKind,
        awaited: Vec<UnavailableServer>,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) {
        let group = self.group_of(&call);
        *self.counters.outcomes.entry(kind.name()).or_default() += 1;
        let settled = self.settled(&call, group.as_ref(), kind.name(), now);
        out.settled(&settled);
        if let CallErrorKind::Overloaded { limit, .. } = kind {
            out.shed(&settled, limit, now);
        }
        // A call whose thing was not found may have named it wrongly.
        let unknown = match kind {
            CallErrorKind::UnknownTool { .. } | CallErrorKind::UnknownPrompt { .. } => true,
            CallErrorKind::Unavailable { .. } => call.tool.is_empty(),
            CallErrorKind::DeadlineExceeded { sent: false, .. } => {
                call.tool.is_empty() && call.call.purpose != Purpose::OpenLease
            }
            _ => false,
        };
        let sought = match call.call.request {
            Request::Tool => EntryKind::Tool,
            Request::Prompt | Request::Completion(Completes::Prompt) => EntryKind::Prompt,
            Request::Resource => EntryKind::Resource,
            Request::Completion(Completes::Template) => EntryKind::ResourceTemplate,
        };
        let tool = call.call.into_tool();
        let error = CallError::new(kind, call.request_id, tool, call.server, call.attempts);
        let error = error.of_group(group).after_servers(call.earlier_servers);
        let error = error.after_refusals(call.turned_away).after_waiting_for(awaited);
        if unknown {
            out.unknown(call.port, error, sought, &self.catalogue);
        } else {
            out.answer(call.port, Err(error));
        }
    }

    /// The group of a call's tool, if it was resolved.
    fn group_of(&self, call: &OpenCall<P>) -> Option<GroupId> {
        if let Some(group) = &call.group {
            return Some(group.clone());
        }
        if call.tool.is_empty() || call.call.request != Request::Tool {
            return None;
        }
        match self.catalogue.resolve(&call.call.tool, call.call.options().selector.group.as_deref(), |_| true)
        {
            Resolution::Found(tool) => Some(tool.group.clone()),
            Resolution::Several(_) | Resolution::Ambiguous(_) | Resolution::Unknown => None,
        }
    }

    /// A call that is over, for those who watch.
    pub(super) fn settled<'a>(
        &'a self,
        call: &'a OpenCall<P>,
        group: Option<&'a GroupId>,
        outcome: &'static str,
        now: Instant,
    ) -> Settled<'a> {
        let tool = match call.call.request {
            Request::Tool => &call.tool,
            Request::Resource | Request::Prompt | Request::Completion(_) => &self.unresolved,
        };
        let duration = now.saturating_duration_since(call.started);
        Settled { request: call.call.request, group, tool, outcome, duration }
    }

    /// The caller left: the call is taken out, and the peer told.
    pub(crate) fn cancel(&mut self, id: CallId, now: Instant, out: &mut impl Outlet<P, S>) {
        if let Some(call) = self.settle(id, CancelReason::CallerLeft, now, out) {
            let group = self.group_of(&call);
            *self.counters.outcomes.entry("cancelled").or_default() += 1;
            out.settled(&self.settled(&call, group.as_ref(), "cancelled", now));
        }
    }

    /// Does what has become due: ends every call whose deadline has passed, and goes on with those that waited for their
    /// time.
    pub(crate) fn tick(&mut self, now: Instant, out: &mut impl Outlet<P, S>) {
        while let Some(id) = self.calls.expired(now) {
            self.expire(id, now, out);
        }
        self.end_idle(now, out);
        self.end_pauses(now, out);
        self.end_naming(now, out);
        while let Some(id) = self.calls.woken(now) {
            self.wake(id, now, out);
        }
    }

    /// Ends a call whose deadline has passed: nothing more is sent for it. Returns whether it had.
    pub(super) fn expire(&mut self, id: CallId, now: Instant, out: &mut impl Outlet<P, S>) -> bool {
        if self.calls.get(id).is_none_or(|call| call.deadline() > now) {
            return false;
        }
        let awaited = self.awaited(id, now);
        if let Some(call) = self.settle(id, CancelReason::DeadlineExceeded, now, out) {
            let (timeout, sent) = (call.timeout, call.may_have_been_sent());
            let kind = CallErrorKind::DeadlineExceeded { deadline: Deadline::Total, timeout, sent };
            self.answer_late(*call, kind, awaited, now, out);
        }
        true
    }

    /// The servers that a call waits for: those that may turn out to offer what it names, or those of its queue that take no call.
    fn awaited(&self, id: CallId, now: Instant) -> Vec<UnavailableServer> {
        let Some(call) = self.calls.get(id) else { return Vec::new() };
        if call.may_have_been_sent() {
            return Vec::new();
        }
        match call.phase {
            Phase::Queued { route, .. } => {
                let views = self.routes[route].servers.iter().filter_map(|slot| self.views[*slot].as_ref());
                let barred = views.filter(|view| {
                    let open = matches!(view.standing.admission, Admission::Rejecting { .. });
                    view.standing.status != ServerStatus::Ready || open || view.paused_until.is_some()
                });
                barred.take(AWAITED_MAX).map(|view| view.unavailable(now)).collect()
            }
            Phase::Parked(_) if call.call.purpose != Purpose::OpenLease => {
                self.prospects(&call.call).take(AWAITED_MAX).map(|view| view.unavailable(now)).collect()
            }
            Phase::New | Phase::Parked(_) | Phase::Delayed | Phase::InFlight(_) => Vec::new(),
        }
    }

    /// Ends every open call: the troupe shuts down. Returns how many there were.
    pub(crate) fn end_all(&mut self, now: Instant, out: &mut impl Outlet<P, S>) -> usize {
        self.draining = true;
        let open = self.calls.idle_first();
        for id in &open {
            let Some(call) = self.settle(*id, CancelReason::CallerLeft, now, out) else { continue };
            let kind = CallErrorKind::ShuttingDown { sent: call.may_have_been_sent() };
            self.answer_error(*call, kind, now, out);
        }
        open.len()
    }

    /// This routing ends and another one takes its place: calls that no server has seen are handed back, the others are
    /// interrupted. Returns how many there were of either.
    pub(crate) fn abandon(&mut self, now: Instant, out: &mut impl Outlet<P, S>) -> Abandoned {
        self.draining = true;
        let mut abandoned = Abandoned::default();
        for id in self.calls.idle_first() {
            let Some(call) = self.settle(id, CancelReason::CallerLeft, now, out) else { continue };
            if call.may_have_been_sent() {
                abandoned.interrupted += 1;
                self.answer_error(*call, CallErrorKind::Interrupted, now, out);
            } else {
                abandoned.handed_back += 1;
                out.hand_back(call.port, call.call);
            }
        }
        abandoned
    }

    /// Takes a call out of the table and out of wherever it waits, to be answered; servers that work on it are told.
    pub(super) fn settle(
        &mut self,
        id: CallId,
        reason: CancelReason,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) -> Option<Box<OpenCall<P>>> {
        let call = self.calls.settle(id)?;
        match call.phase {
            Phase::New | Phase::Delayed | Phase::InFlight(_) => {}
            Phase::Parked(ticket) => {
                self.parked.remove(ticket);
            }
            Phase::Queued { route, ticket } => {
                self.routes[route].waiting.remove(ticket);
                if self.routes[route].waiting.is_empty() {
                    self.waiting.remove(&route);
                }
            }
        }
        for OpenAttempt { server, number, attempt: _, since, shared } in call.open_attempts() {
            if let Some(view) = &mut self.views[server] {
                view.released(shared);
                let latency = now.saturating_duration_since(since);
                out.ended(AttemptId { call: id, number }, reason.outcome(), latency);
                match reason {
                    CancelReason::DeadlineExceeded => {
                        view.load.observe(latency, OutcomeClass::Failure, now);
                    }
                    // It was slower than the other: at least this slow.
                    CancelReason::AnsweredElsewhere => view.load.observe(latency, OutcomeClass::Ignored, now),
                    CancelReason::CallerLeft => {}
                }
                if let Some(handle) = &view.handle {
                    out.cancel(handle, AttemptId { call: id, number }, reason);
                }
            }
            self.serve(server, now, out);
        }
        Some(call)
    }
}
