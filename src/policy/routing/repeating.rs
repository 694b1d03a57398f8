//! Attempts after the first: calls that move, retries, hedges.
//!
//! A call that reached no server moves freely. One that may have is repeated only if the host or the operator declared
//! that safe, within the attempts and the budget; otherwise its error says that the outcome is unknown.

use std::time::Duration;

use tokio::time::Instant;

use super::{Outlet, Over, Route, RouteCandidates, Routing, View};
use crate::call::{OutcomeClass, Purpose};
use crate::duration::later;
use crate::error::{CallErrorKind, Effect};
use crate::event::ExitCause;
use crate::id::{AttemptId, CallId, GroupId, ServerId};
use crate::policy::backoff;
use crate::policy::calls::{OpenCall, Phase};
use crate::policy::named_tools;
use crate::policy::slots::{RouteId, ServerSlot};
use crate::policy::strategy::Pick;

/// The shortest pause that is told: a server that asks for less, again and again, would be told of many times a second.
const PAUSE_TOLD_MIN: Duration = Duration::from_secs(1);

impl<P, S> Routing<P, S> {
    /// An attempt was lost with its link or server: the call moves if it was not sent, is retried if that is safe, and
    /// fails otherwise.
    pub(super) fn lost(
        &mut self,
        id: CallId,
        slot: ServerSlot,
        kind: CallErrorKind,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) {
        let Some(call) = self.calls.get_mut(id) else { return };
        if let Purpose::OnLease(_) = call.call.purpose {
            // What the server kept for this connection is gone: another one would be another lease.
            return self.fail(id, kind, now, out);
        }
        call.avoid = Some(slot);
        let lease = call.call.purpose == Purpose::OpenLease;
        let tries = call.tries;
        if kind.effect() == Effect::NotSent {
            self.unsent(id);
            // A server that is ready and yet opens no connection for a lease would be asked again and again.
            let hopeless =
                lease && (tries >= self.settings.retry.attempts_max || !self.another_admits(id, slot, now));
            if !hopeless {
                return self.place_again(id, now, out);
            }
        }
        if !self.repeat(id, slot, false, now, out) {
            self.fail(id, kind, now, out);
        }
    }

    /// A server answered that it failed. Another one may do better, where trying it is safe.
    pub(super) fn failed(
        &mut self,
        id: CallId,
        slot: ServerSlot,
        kind: CallErrorKind,
        class: OutcomeClass,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) {
        // What was refused for a reason of the server's was not carried out: repeating it does no harm.
        let harmless = matches!(&kind, CallErrorKind::Refused(refusal) if refusal.moves());
        let servers_fault = harmless || matches!(class, OutcomeClass::Failure | OutcomeClass::Overload);
        let in_flight = self.calls.get(id).is_some_and(|call| call.open_attempts().next().is_some());
        // The same server would fail again.
        if servers_fault && (in_flight || self.another_admits(id, slot, now)) {
            if let Some(call) = self.calls.get_mut(id) {
                call.avoid = Some(slot);
            }
            if self.repeat(id, slot, harmless, now, out) {
                return;
            }
        } else if harmless && self.may_wait_for(id, slot) {
            // It was not carried out, and the server has said when it will be.
            self.turned_away(id);
            return self.place_again(id, now, out);
        }
        self.fail(id, kind, now, out);
    }

    /// Leaves a server alone for so long. Calls wait for it meanwhile, or go to others.
    pub(super) fn pause(
        &mut self,
        slot: ServerSlot,
        pause: Duration,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) {
        let until = later(now, pause);
        if let Some(view) = self.views[slot].as_mut().filter(|view| view.paused_until < Some(until)) {
            let former = view.paused_until.replace(until);
            former.map(|former| self.pauses.remove(&(former, slot)));
            // Again where it became twice as long as was told: so a server that asks for more each time is told of a few times.
            let told =
                view.told_paused_until.map_or(Duration::ZERO, |told| told.saturating_duration_since(now));
            if pause >= PAUSE_TOLD_MIN.max(told.saturating_mul(2)) {
                view.told_paused_until = Some(until);
                out.overloaded(&view.spec.id, pause);
            }
            self.pauses.insert((until, slot));
        }
    }

    /// Servers that were left alone take calls again.
    pub(super) fn end_pauses(&mut self, now: Instant, out: &mut impl Outlet<P, S>) {
        while let Some((until, slot)) = self.pauses.first().copied().filter(|(until, _)| *until <= now) {
            self.pauses.pop_first();
            // Another server may have its slot by now.
            let view = self.views[slot].as_mut().filter(|view| view.paused_until == Some(until));
            if let Some(view) = view {
                view.paused_until = None;
                self.serve(slot, now, out);
            }
        }
    }

    /// Whether a call that the server at `slot` would not take for now can wait for it, and has attempts left.
    fn may_wait_for(&self, id: CallId, slot: ServerSlot) -> bool {
        let (Some(call), Some(view)) = (self.calls.get(id), &self.views[slot]) else { return false };
        view.paused_until.is_some_and(|until| until < call.deadline()) && self.may_repeat(call, true)
    }

    /// Places a call again, unless another attempt of it is under way.
    pub(super) fn place_again(&mut self, id: CallId, now: Instant, out: &mut impl Outlet<P, S>) {
        if self.calls.get(id).is_some_and(|call| call.open_attempts().next().is_none()) {
            self.place(id, now, out);
        }
    }

    /// Makes another attempt after one that the server at `slot` lost or failed. `false` if there may be none; what is
    /// `harmless` to repeat need not be declared so.
    fn repeat(
        &mut self,
        id: CallId,
        slot: ServerSlot,
        harmless: bool,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) -> bool {
        let Some(call) = self.calls.get(id) else { return false };
        let former = self.views[slot].as_ref().map(|view| view.spec.id.clone());
        if call.open_attempts().next().is_some() {
            // The hedge, or the attempt that was hedged, goes on.
            self.note_loss(id, former);
            if harmless {
                self.turned_away(id);
            }
            return true;
        }
        if !self.may_repeat(call, harmless) {
            return false;
        }
        // Another server at once the first time; after that something is wrong with more than one server.
        let delay = call
            .attempts
            .checked_sub(2)
            .map(|before| backoff::delay(&self.settings.retry.backoff, before, &mut self.rng));
        if delay.is_some_and(|delay| later(now, delay) >= call.deadline()) {
            return false;
        }
        if !self.budget.withdraw(now) {
            self.counters.retries_refused += 1;
            return false;
        }
        self.counters.retries += 1;
        self.note_loss(id, former);
        if harmless {
            self.turned_away(id);
        }
        match delay {
            None => self.place(id, now, out),
            Some(delay) => {
                if let Some(call) = self.calls.get_mut(id) {
                    call.phase = Phase::Delayed;
                }
                self.calls.wake(id, later(now, delay));
            }
        }
        true
    }

    /// The last attempt was refused by a server that did nothing.
    fn turned_away(&mut self, id: CallId) {
        self.unsent(id);
        if let Some(call) = self.calls.get_mut(id) {
            call.turned_away = call.turned_away.saturating_add(1);
        }
    }

    fn note_loss(&mut self, id: CallId, server: Option<ServerId>) {
        if let Some(call) = self.calls.get_mut(id) {
            call.earlier_servers.extend(server);
        }
    }

    /// Whether the call may be repeated without harm, by itself or by the host's or the operator's word, and has attempts
    /// left.
    fn may_repeat(&self, call: &OpenCall<P>, harmless: bool) -> bool {
        if call.call.purpose != Purpose::Tool {
            return false;
        }
        let safe = harmless
            || call.call.idempotent
            || self.declared(&self.settings.retry.idempotent_tools, call)
            || self.is_hedged(call);
        // Attempts that did nothing are not counted as such.
        let made = if harmless { call.tries } else { call.attempts };
        safe && !self.draining && made < self.settings.retry.attempts_max
    }

    /// Whether a slow attempt of the call gets a second one beside it.
    pub(super) fn is_hedged(&self, call: &OpenCall<P>) -> bool {
        let wanted = call.call.hedged || self.declared(&self.settings.retry.hedged_tools, call);
        // Two attempts would ask its user twice.
        wanted && !call.call.is_personal()
    }

    /// Whether the operator's list names the call's tool.
    fn declared(&self, tools: &[String], call: &OpenCall<P>) -> bool {
        let lists = |group: &GroupId| named_tools::lists(tools, &self.catalogue, group.as_str(), &call.tool);
        call.group.as_ref().is_some_and(lists)
    }

    /// A call's time has come: its next attempt, or its hedge.
    pub(super) fn wake(&mut self, id: CallId, now: Instant, out: &mut impl Outlet<P, S>) {
        match self.calls.get(id).map(|call| call.phase) {
            Some(Phase::Delayed) => {
                if let Some(call) = self.calls.get_mut(id) {
                    call.phase = Phase::New;
                }
                self.place(id, now, out);
            }
            Some(Phase::InFlight(_)) => self.hedge(id, now, out),
            Some(Phase::New | Phase::Parked(_) | Phase::Queued { .. }) | None => {}
        }
    }

    /// Sets the time for a hedge of a call that was just dispatched for the first time.
    pub(super) fn plan_hedge(&mut self, id: CallId, route: RouteId, slot: ServerSlot, now: Instant) {
        let (Some(call), Some(view)) = (self.calls.get(id), &self.views[slot]) else { return };
        let bound = call.call.options().affinity.as_ref().is_some_and(|affinity| affinity.strict);
        if call.attempts > 1 || bound || self.routes[route].servers.len() < 2 || !self.is_hedged(call) {
            return;
        }
        if let Some(delay) = self.hedge_delays.delay(&view.spec.group, &call.tool, now) {
            self.calls.wake(id, later(now, delay));
        }
    }

    /// Asks a second server, if one has room at this moment and the budget allows it.
    fn hedge(&mut self, id: CallId, now: Instant, out: &mut impl Outlet<P, S>) {
        let Some(call) = self.calls.get(id) else { return };
        let mut attempts = call.open_attempts();
        let (Some(first), None) = (attempts.next(), attempts.next()) else { return };
        if !self.may_repeat(call, false) {
            return;
        }
        let Some(slot) = self.another(id, first.server, now) else { return };
        if !self.budget.withdraw(now) {
            self.counters.retries_refused += 1;
            return;
        }
        match self.send(id, slot, Over::Shared, false, now, out) {
            Some(attempt) => {
                self.counters.hedges += 1;
                if let Some(call) = self.calls.get_mut(id) {
                    call.hedge = Some(attempt);
                }
            }
            None => self.budget.give_back(now),
        }
    }

    /// Whether a server other than the one at `slot` takes the call now.
    fn another_admits(&mut self, id: CallId, slot: ServerSlot, now: Instant) -> bool {
        let Ok(route) = self.route_for(id, now) else { return false };
        let admits =
            |other: &ServerSlot| *other != slot && self.views[*other].as_ref().is_some_and(View::admits);
        self.routes[route].servers.iter().any(admits)
    }

    /// The server that the strategy chooses when the one at `slot` is out of the question.
    fn another(&mut self, id: CallId, slot: ServerSlot, now: Instant) -> Option<ServerSlot> {
        let route = self.route_for(id, now).ok()?;
        let Route { servers, set, .. } = &self.routes[route];
        let candidates = RouteCandidates::of(&self.routes[route], &self.views, Some(slot));
        let pick = Pick { set: *set, key: None, now, rng: &mut self.rng };
        let picked = self.strategies.active().pick(&candidates, pick)?;
        servers.get(picked).copied()
    }

    /// Ends the attempts that were with a server, without an answer of the server's.
    pub(super) fn lose_all(
        &mut self,
        slot: ServerSlot,
        cause: &ExitCause,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) {
        for attempt in self.attempts_at(slot) {
            if let Some(ended) = self.end_attempt(slot, attempt) {
                out.ended(attempt, "server-down", now.saturating_duration_since(ended.since));
                let kind = CallErrorKind::ServerDown { cause: cause.clone(), sent: true };
                self.lost(attempt.call, slot, kind, now, out);
            }
        }
    }

    /// The attempts that a server works on, oldest call first.
    fn attempts_at(&self, slot: ServerSlot) -> Vec<AttemptId> {
        let mut attempts: Vec<AttemptId> = self
            .calls
            .iter()
            .flat_map(|(id, call)| call.open_attempts().map(move |attempt| (id, attempt)))
            .filter(|(_, attempt)| attempt.server == slot)
            .map(|(call, attempt)| AttemptId { call, number: attempt.number })
            .collect();
        attempts.sort_unstable_by_key(|attempt| (attempt.call, attempt.number));
        attempts
    }
}
