//! How calls end: answers, losses, deadlines, callers who leave, shutdown.

use tokio::time::Instant;

use super::{CancelReason, Outlet, Routing};
use crate::call::{AttemptEnd, OutcomeClass, Reply};
use crate::error::{CallError, CallErrorKind};
use crate::id::{AttemptId, CallId, Incarnation, ServerId};
use crate::policy::calls::{OpenCall, Phase};

/// The end of one attempt, as the connection reports it.
#[derive(Debug)]
pub struct Completion {
    /// Which attempt.
    pub attempt: AttemptId,
    /// How it ended.
    pub end: AttemptEnd,
    /// How it counts for the server.
    pub class: OutcomeClass,
    /// From the send to the end.
    pub latency: std::time::Duration,
}

impl<P, S> Routing<P, S> {
    /// Attempts of a server ended.
    pub fn completed(
        &mut self,
        server: &ServerId,
        incarnation: Incarnation,
        batch: Vec<Completion>,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) {
        let Some(place) = self.place_of(server, incarnation) else {
            self.counters.late_answers += batch.len() as u64;
            return;
        };
        for completion in batch {
            self.complete(place, completion, now, out);
        }
        self.serve(place, now, out);
    }

    fn complete(&mut self, place: usize, completion: Completion, now: Instant, out: &mut impl Outlet<P, S>) {
        let Completion { attempt, end, class, latency } = completion;
        if !self.works_on(place, attempt) {
            self.counters.late_answers += 1;
            return;
        }
        if let Some(view) = &mut self.views[place] {
            view.released();
            view.load.observe(latency, class, now);
        }
        match end {
            AttemptEnd::Result(result) => self.succeed(attempt.call, place, result, now, out),
            AttemptEnd::Rpc(error) => self.fail(attempt.call, CallErrorKind::Rpc(error), out),
            AttemptEnd::InvalidResponse(reason) => {
                self.fail(attempt.call, CallErrorKind::InvalidResponse { reason }, out);
            }
            AttemptEnd::TooLarge { bytes, limit } => {
                self.unsent(attempt.call);
                self.fail(attempt.call, CallErrorKind::TooLarge { bytes, limit }, out);
            }
            AttemptEnd::ConnectionLost { reason, sent } => {
                self.lost(attempt.call, place, CallErrorKind::ConnectionLost { reason, sent }, now, out);
            }
            // The router itself calls attempts off, and settles their calls when it does.
            AttemptEnd::DeadlineExceeded | AttemptEnd::Cancelled => {}
        }
    }

    /// Whether the call is open and this is the attempt that it waits for.
    fn works_on(&self, place: usize, attempt: AttemptId) -> bool {
        self.calls.get(attempt.call).is_some_and(|call| {
            call.tries == attempt.number
                && matches!(call.phase, Phase::InFlight { server, .. } if server == place)
        })
    }

    /// A server would not take a dispatch; nothing was sent, so the call is placed again at once.
    pub fn refused(
        &mut self,
        server: &ServerId,
        incarnation: Incarnation,
        attempt: AttemptId,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) {
        let Some(place) = self.place_of(server, incarnation) else { return };
        if !self.works_on(place, attempt) {
            return;
        }
        if let Some(view) = &mut self.views[place] {
            view.refused();
        }
        self.unsent(attempt.call);
        self.place(attempt.call, now, out);
    }

    /// The last attempt reached no server.
    fn unsent(&mut self, id: CallId) {
        if let Some(call) = self.calls.get_mut(id) {
            call.attempts = call.attempts.saturating_sub(1);
            call.phase = Phase::New;
        }
    }

    /// An attempt was lost with its link or server: the call moves if it was not sent, is retried if that is safe,
    /// and fails otherwise.
    pub(super) fn lost(
        &mut self,
        id: CallId,
        place: usize,
        kind: CallErrorKind,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) {
        let sent = kind.delivery() != crate::error::Delivery::NotSent;
        if !sent {
            self.unsent(id);
            if let Some(call) = self.calls.get_mut(id) {
                call.avoid = Some(place);
            }
            return self.place(id, now, out);
        }
        let Some(call) = self.calls.get(id) else { return };
        if self.may_repeat(call) {
            if self.budget.withdraw(now) {
                self.counters.retries += 1;
                if let Some(call) = self.calls.get_mut(id) {
                    call.avoid = Some(place);
                    call.phase = Phase::New;
                }
                return self.place(id, now, out);
            }
            self.counters.retries_refused += 1;
        }
        self.fail(id, kind, out);
    }

    /// Whether the host or the operator declared the call safe to repeat, and it has attempts left.
    fn may_repeat(&self, call: &OpenCall<P>) -> bool {
        let declared = &self.settings.retry.idempotent_tools;
        let safe = call.call.idempotent || declared.contains(&call.call.tool);
        safe && !self.draining && call.attempts < self.settings.retry.attempts_max
    }

    fn succeed(
        &mut self,
        id: CallId,
        place: usize,
        result: crate::json::RawJson,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) {
        let Some(view) = &self.views[place] else { return };
        let Some(call) = self.calls.settle(id) else { return };
        if let Some(affinity) = &call.call.affinity {
            self.affinity.bind(&affinity.key, &view.spec.group, &view.spec.id, now);
        }
        *self.counters.outcomes.entry("ok").or_default() += 1;
        let reply = Reply {
            request_id: call.request_id,
            server: view.spec.id.clone(),
            group: view.spec.group.clone(),
            tool: call.tool.to_string(),
            result,
            duration: now.saturating_duration_since(call.started),
            attempts: call.attempts,
            cached: false,
        };
        out.answer(call.port, Ok(reply));
    }

    /// Ends a call with an error.
    pub(super) fn fail(&mut self, id: CallId, kind: CallErrorKind, out: &mut impl Outlet<P, S>) {
        let Some(call) = self.calls.settle(id) else { return };
        *self.counters.outcomes.entry(kind.name()).or_default() += 1;
        let error = CallError::new(kind, call.request_id, call.call.tool, call.server, call.attempts);
        out.answer(call.port, Err(error));
    }

    /// The caller left: the call is taken out, and the peer told.
    pub fn cancel(&mut self, id: CallId, now: Instant, out: &mut impl Outlet<P, S>) {
        if self.call_off(id, CancelReason::CallerLeft, now, out).is_some() {
            *self.counters.outcomes.entry("cancelled").or_default() += 1;
        }
    }

    /// Ends every call whose deadline has passed.
    pub fn expire(&mut self, now: Instant, out: &mut impl Outlet<P, S>) {
        while let Some(id) = self.calls.expired(now) {
            let Some(call) = self.call_off(id, CancelReason::DeadlineExceeded, now, out) else { continue };
            let kind =
                CallErrorKind::DeadlineExceeded { timeout: call.timeout, sent: call.may_have_been_sent() };
            *self.counters.outcomes.entry(kind.name()).or_default() += 1;
            let error = CallError::new(kind, call.request_id, call.call.tool, call.server, call.attempts);
            out.answer(call.port, Err(error));
        }
    }

    /// Ends every open call: the troupe shuts down. Returns how many there were.
    pub fn end_all(&mut self, now: Instant, out: &mut impl Outlet<P, S>) -> usize {
        self.draining = true;
        let open = self.calls.ids();
        for id in &open {
            let Some(call) = self.call_off(*id, CancelReason::CallerLeft, now, out) else { continue };
            let kind = CallErrorKind::ShuttingDown { sent: call.may_have_been_sent() };
            *self.counters.outcomes.entry(kind.name()).or_default() += 1;
            let error = CallError::new(kind, call.request_id, call.call.tool, call.server, call.attempts);
            out.answer(call.port, Err(error));
        }
        open.len()
    }

    /// Takes a call out of the table and out of wherever it waits; a server that works on it is told.
    fn call_off(
        &mut self,
        id: CallId,
        reason: CancelReason,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) -> Option<OpenCall<P>> {
        let call = self.calls.settle(id)?;
        match call.phase {
            Phase::New => {}
            Phase::Parked(ticket) => {
                self.parked.remove(ticket);
            }
            Phase::Queued { route, ticket } => {
                self.routes[route].waiting.remove(ticket);
                if self.routes[route].waiting.is_empty() {
                    self.waiting.remove(&route);
                }
            }
            Phase::InFlight { server, since } => {
                if let Some(view) = &mut self.views[server] {
                    view.released();
                    if reason == CancelReason::DeadlineExceeded {
                        view.load.observe(now.saturating_duration_since(since), OutcomeClass::Failure, now);
                    }
                    if let Some(handle) = &view.handle {
                        out.cancel(handle, AttemptId { call: id, number: call.tries }, reason);
                    }
                }
                self.serve(server, now, out);
            }
        }
        Some(call)
    }
}
