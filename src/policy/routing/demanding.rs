//! Servers that are idle: which of them are started for calls that wait.
//!
//! A ready server goes before one that would have to be started. So one is started where a call waits since none admits it, and
//! none that it may wait for is on its way already; one at a time, the next where that fails or is busy as well.

use std::cmp::Reverse;

use tokio::time::Instant;

use super::placing::LOOKS_MAX;
use super::{Outlet, RouteCandidates, Routing, View};
use crate::id::CallId;
use crate::policy::slots::{RouteId, ServerSlot};

impl<P, S> Routing<P, S> {
    /// Calls wait in a route: a server of it is started, unless one is on its way. Those of a higher priority number are left
    /// alone while one of a lower is up, as they get no calls then.
    pub(super) fn start_for_queued(&mut self, route: RouteId, now: Instant, out: &mut impl Outlet<P, S>) {
        if self.rare.idle == 0 {
            return;
        }
        let idle = |slot: &ServerSlot| self.views[*slot].as_ref().is_some_and(View::is_to_be_started);
        if !self.routes[route].servers.iter().any(idle) {
            return;
        }
        let tier = RouteCandidates::of(&self.routes[route], &self.views, None).tier;
        let bound = self.routes[route].waiting.peek().copied();
        let bound = bound.and_then(|id| self.bound_to(id, route, now));
        self.start_one(route, tier, bound, out);
    }

    /// A call went to a server though better ones are idle: one of those is started, for the calls that follow.
    pub(super) fn start_better(&mut self, route: RouteId, slot: ServerSlot, out: &mut impl Outlet<P, S>) {
        if !self.routes[route].tiered {
            return;
        }
        let priority = self.views[slot].as_ref().map(|view| view.spec.priority);
        if let Some(better) = priority.and_then(|priority| priority.checked_sub(1)) {
            self.start_one(route, better, None, out);
        }
    }

    /// Starts the best idle server of a route, up to a priority number, if none of them is on its way. Where the call that waits
    /// is bound to one of them, that is the best.
    fn start_one(
        &mut self,
        route: RouteId,
        tier: u16,
        bound: Option<ServerSlot>,
        out: &mut impl Outlet<P, S>,
    ) {
        let servers = self.routes[route].servers.iter().copied();
        let views = servers.filter_map(|slot| Some((slot, self.views[slot].as_ref()?)));
        let views = views.filter(|(_, view)| view.spec.priority <= tier);
        let mut best = None;
        for (slot, view) in views {
            if view.is_starting() {
                return;
            }
            if view.is_to_be_started() {
                let rank = (view.spec.priority, bound != Some(slot), Reverse(view.spec.weight));
                if best.as_ref().is_none_or(|(least, _)| rank < *least) {
                    best = Some((rank, slot));
                }
            }
        }
        if let Some((_, slot)) = best {
            self.need(slot, out);
        }
    }

    /// A call waits for servers to tell what they offer: those that are idle since they could not be listed are tried anew.
    pub(super) fn start_prospects(&mut self, id: CallId, out: &mut impl Outlet<P, S>) {
        let Some(call) = self.calls.get(id).map(|call| call.call.clone()) else { return };
        let is_prospect = self.is_prospect(&call);
        let views = self.views.entries().filter_map(|(slot, view)| Some((slot, view.as_ref()?)));
        let idle = views.filter(|(_, view)| view.is_to_be_started() && is_prospect(view));
        let idle: Vec<ServerSlot> = idle.map(|(slot, _)| slot).collect();
        drop(is_prospect);
        for slot in idle {
            self.need(slot, out);
        }
    }

    /// The same, when one of them may be tried again.
    pub(super) fn start_for_parked(&mut self, slot: ServerSlot, out: &mut impl Outlet<P, S>) {
        let unlisted = |view: &View<S>| view.is_to_be_started() && !view.standing.listed;
        let Some(view) = self.views[slot].as_ref().filter(|view| unlisted(view)) else { return };
        // To look at a call takes a look at each server. Beyond this, it is tried for nobody rather than for all of them.
        let looks = LOOKS_MAX / self.views.len().max(1);
        let mut parked = self.parked.iter().take(looks.max(1)).filter_map(|id| self.calls.get(*id));
        let wanted = parked.any(|call| self.is_prospect(&call.call)(&view));
        drop(parked);
        if wanted {
            self.need(slot, out);
        }
    }

    fn need(&mut self, slot: ServerSlot, out: &mut impl Outlet<P, S>) {
        if let Some(view) = &mut self.views[slot]
            && let Some(handle) = &view.handle
        {
            out.need(handle);
            view.told_needed();
        }
    }

    /// The server of a route that a call is bound to.
    fn bound_to(&mut self, id: CallId, route: RouteId, now: Instant) -> Option<ServerSlot> {
        let call = self.calls.get(id)?;
        let affinity = call.call.options().affinity.as_ref()?;
        let first = self.views[*self.routes[route].servers.first()?].as_ref()?;
        let server = self.affinity.bound(&affinity.key, &first.spec.group, now)?;
        self.server_slots.get(&server).copied()
    }
}
