//! Calls on their way through a server actor: sent, given back, called off, reported.

use tokio::time::Instant;

use super::ServerState;
use super::mirroring::Turn;
use crate::actors::pump::messages::{Finished, PumpMsg, Violations};
use crate::actors::router::messages::RouterMsg;
use crate::call::{AttemptEnd, OutcomeClass, Request};
use crate::id::{AttemptId, ConnectionId, RouterLife};
use crate::policy::routing::{AttemptUpdate, CancelReason, Completion, Dispatch};

/// Whether the server may have received an attempt that ended so.
fn was_sent(end: &AttemptEnd) -> bool {
    match end {
        AttemptEnd::ConnectionLost { sent, .. } => *sent,
        AttemptEnd::TooLarge { .. } | AttemptEnd::SessionLost { .. } => false,
        AttemptEnd::Result(_)
        | AttemptEnd::Rpc(_)
        | AttemptEnd::Refused(_)
        | AttemptEnd::InvalidResponse(_)
        | AttemptEnd::DeadlineExceeded
        | AttemptEnd::Cancelled => true,
    }
}

impl ServerState {
    /// Sends a call over the least loaded connection, or gives it back unsent.
    pub(super) fn dispatch(&mut self, dispatch: Dispatch, turn: Turn, now: Instant) {
        let attempt = dispatch.attempt;
        if self.demand.is_idle() {
            // It was stopped while the call was on its way.
            self.needed(now);
            return self.refuse(attempt);
        }
        if self.drain_until.is_some() || self.offer.is_none() || self.is_waiting_for_its_ledger() {
            return self.refuse(attempt);
        }
        let breaker = &mut self.ledger().breaker;
        let permit = if dispatch.bypass { Some(breaker.bypass()) } else { breaker.admit(now).ok() };
        let Some(permit) = permit else { return self.refuse(attempt) };
        let mirroring = self.mirroring_of(&dispatch, turn);
        let dispatch = self.by_real_name(dispatch);
        let placed = self.pool.reserve(attempt);
        let held = placed.and_then(|connection| self.connections.get(&connection));
        if let Some(queue) = held.and_then(|held| held.queue.as_ref())
            && queue.try_send(PumpMsg::Call { dispatch, permit, mirroring }).is_ok()
        {
            return;
        }
        // No connection has room, or the link ends at this moment. With the message, or here, the permit is dropped: the
        // breaker learns nothing of a call that was not made.
        if let Some(connection) = placed {
            self.pool.release(connection, attempt, now);
        }
        self.refuse(attempt);
    }

    /// The same call of the tool by the name that the server knows it by.
    pub(super) fn by_real_name(&self, mut dispatch: Dispatch) -> Dispatch {
        if dispatch.call.request == Request::Tool
            && let Some(real) = self.real_names.get(&*dispatch.tool)
        {
            dispatch.tool = real.clone();
        }
        dispatch
    }

    pub(super) fn refuse(&mut self, attempt: AttemptId) {
        self.refused = true;
        let (server, incarnation) = (self.spec.id.clone(), self.incarnation);
        self.context.to_router(RouterMsg::Refused { server, incarnation, attempt });
    }

    pub(super) fn cancel(&mut self, attempt: AttemptId, reason: CancelReason) {
        self.mirroring.forget(attempt);
        let holder = self.pool.holder(attempt).or_else(|| self.leases.holder(attempt));
        if let Some(connection) = holder.filter(|connection| self.leases.opening().contains(connection)) {
            return self.end_lease(connection, "nobody waits for it");
        }
        let holder = holder.and_then(|connection| self.connections.get(&connection));
        if let Some(queue) = holder.and_then(|held| held.queue.as_ref()) {
            // The queue has a place for the cancellation of each call; a link that has ended cancels by its end.
            let _ = queue.try_send(PumpMsg::Cancel { attempt, reason });
        }
    }

    /// Whether a router is the present one. A later one than was known is from now on, and what those before it asked for is
    /// called off, once: it may ask for something before it is announced.
    pub(super) fn serves(&mut self, router: RouterLife) -> bool {
        if self.router.is_some_and(|known| known < router) {
            self.cancel_all();
        }
        self.router = self.router.max(Some(router));
        self.router == Some(router)
    }

    pub(super) fn cancel_all(&mut self) {
        self.mirroring.forget_all();
        for connection in self.leases.opening() {
            self.end_lease(connection, "nobody waits for it");
        }
        for queue in self.connections.values().filter_map(|held| held.queue.as_ref()) {
            let _ = queue.try_send(PumpMsg::CancelAll);
        }
    }

    /// Counts what has ended, and passes it on to the router: when that places the next call, the place that the last one
    /// held is free. One message after the other, so that each wakes one actor: two at once would be shared out over the
    /// threads of a runtime, which costs more than the work. Updates of calls go along, to be heard before their answers.
    pub(super) fn finished(
        &mut self,
        connection: ConnectionId,
        finished: Vec<Finished>,
        updates: Vec<AttemptUpdate>,
        now: Instant,
    ) {
        let mut transitions = Vec::new();
        let ended = finished.into_iter().filter_map(|Finished { permit, counts, completion }| {
            let Completion { attempt, end, class, latency } = &completion;
            if !self.pool.release(connection, *attempt, now) {
                self.leases.finish(connection, *attempt, now);
            }
            let ServerState { carried, rng, .. } = self;
            if let Some(ledger) = &mut carried.ledger {
                ledger.count(end.name());
                self.meters.attempted(end.name(), was_sent(end).then_some(*latency));
                if *class == OutcomeClass::Success {
                    ledger.latency.record(*latency);
                }
                let usual = || ledger.latency.usual();
                let counts = self.context.judge.counted(end, counts, *latency, usual);
                transitions.extend(ledger.breaker.record(permit, counts, *latency, now, rng));
            }
            // What the router has called off it has settled already.
            (!matches!(end, AttemptEnd::Cancelled | AttemptEnd::DeadlineExceeded)).then_some(completion)
        });
        let batch: Vec<Completion> = ended.collect();
        transitions.into_iter().for_each(|transition| self.announce(transition));
        if !batch.is_empty() || !updates.is_empty() {
            self.tell_router(updates, batch);
        }
    }

    /// Tells the router how attempts ended.
    pub(super) fn tell_of_completed(&self, batch: Vec<Completion>) {
        self.tell_router(Vec::new(), batch);
    }

    fn tell_router(&self, updates: Vec<AttemptUpdate>, batch: Vec<Completion>) {
        let (server, incarnation) = (self.spec.id.clone(), self.incarnation);
        self.context.to_router(RouterMsg::Completed { server, incarnation, updates, batch });
    }

    pub(super) fn noted(
        &mut self,
        connection: ConnectionId,
        violations: Violations,
        unmatched: u64,
        now: Instant,
    ) {
        if unmatched > 0 {
            *self.ledger().outcomes.entry("late-answer").or_default() += unmatched;
            self.late.count(&self.spec.id, unmatched, now);
            self.meters.late(unmatched);
        }
        if violations.count > 0 {
            *self.ledger().outcomes.entry("protocol-violation").or_default() += violations.count;
            self.violations.count(connection, violations, now);
        }
    }
}
