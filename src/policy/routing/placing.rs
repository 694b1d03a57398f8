//! Where a call goes: the tool's route, a server of it, or a queue.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;

use super::{Dispatch, Interest, Outlet, Over, Route, RouteCandidates, RouteKey, Routing, Sought, View};
use crate::call::{Purpose, Request, Selector};
use crate::error::{CallErrorKind, UnavailableServer};
use crate::id::{AttemptId, CallId, ServerId};
use crate::offer::EntryKind;
use crate::policy::calls::{OpenAttempt, Phase};
use crate::policy::mailbox::{Mailbox, Pushed};
use crate::policy::named_tools;
use crate::policy::slots::{RouteId, ServerSlot};
use crate::policy::strategy::{Pick, hash_key};

/// Bounds of what a caller is told to wait when a queue is full: not so short that it spins, not so long that it gives
/// up on a queue that a burst has filled.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(10);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);

/// Why a call has no route.
pub(super) enum NoRoute {
    /// Nothing that a server may still tell would change it.
    Never(CallErrorKind),
    /// Servers whose tools are not known yet may change it.
    NotYet(Lacking),
}

/// What a call has no route for want of. Its error is made where it fails for that.
pub(super) enum Lacking {
    /// Nobody offers the tool.
    Tool,
    /// Nobody offers the prompt.
    Prompt,
    /// Nobody lists the resource, or a template that it follows.
    Resource,
    /// This says it.
    Other(CallErrorKind),
}

/// Routes, and keys that lead to them, that are kept while nothing waits in them. Servers and their tools make one of each at
/// most, and the keys of calls with selectors are for callers to choose: with so many tags that differ all would be kept.
pub(super) const ROUTES_MAX: usize = 10_000;

/// Servers that are looked at in one turn for calls that wait until somebody offers what they name: about a millisecond.
pub(super) const LOOKS_MAX: usize = 100_000;

/// What became of an attempt to dispatch a call.
enum Placed {
    /// A server has it.
    Dispatched,
    /// No server admits it now.
    NoServer,
}

impl<P, S> Routing<P, S> {
    /// Finds a place for an open call: a server, a queue, or an error.
    pub(super) fn place(&mut self, id: CallId, now: Instant, out: &mut impl Outlet<P, S>) {
        if let Some(lacking) = self.try_place(id, now, out) {
            let coming = self.coming_for(id);
            self.park_or_fail(id, lacking, coming, now, out);
            if coming {
                self.start_prospects(id, out);
            }
        }
    }

    /// The same, but for a call that nobody can take yet: says what it lacks.
    fn try_place(&mut self, id: CallId, now: Instant, out: &mut impl Outlet<P, S>) -> Option<Lacking> {
        if self.expire(id, now, out) {
            return None;
        }
        let call = self.calls.get(id)?;
        if let Purpose::OnLease(lease) = &call.call.purpose {
            let lease = lease.clone();
            return self.place_on_lease(id, &lease, now, out);
        }
        match self.route_for(id, now) {
            Ok(route) => self.place_in(id, route, now, out),
            Err(NoRoute::Never(kind)) => self.fail(id, kind, now, out),
            Err(NoRoute::NotYet(lacking)) => return Some(lacking),
        }
        None
    }

    fn place_in(&mut self, id: CallId, route: RouteId, now: Instant, out: &mut impl Outlet<P, S>) {
        let Some(priority) = self.calls.get(id).map(|call| call.call.priority) else { return };
        if let Some(first) = self.routes[route].servers.first().copied() {
            self.apply_deadline(id, first, self.routes[route].timeout);
        }
        if self.routes[route].waiting.is_empty() {
            match self.dispatch(id, route, now, out) {
                Placed::Dispatched => return,
                Placed::NoServer if !self.promising(route) => {
                    let servers = self.reasons(route, now);
                    return self.fail(id, CallErrorKind::Unavailable { servers }, now, out);
                }
                Placed::NoServer => {}
            }
        }
        if !self.pauses.is_empty() && self.all_pause_too_long(id, route) {
            let servers = self.reasons(route, now);
            return self.fail(id, CallErrorKind::Unavailable { servers }, now, out);
        }
        let ticket = match self.routes[route].waiting.push(priority, id) {
            Pushed::Queued(ticket) => ticket,
            Pushed::Shed { ticket, shed } => {
                self.overloaded(shed, route, now, out);
                ticket
            }
            Pushed::Full(_) => return self.overloaded(id, route, now, out),
        };
        self.waiting.insert(route);
        if let Some(call) = self.calls.get_mut(id) {
            call.phase = Phase::Queued { route, ticket };
        }
        self.start_for_queued(route, now, out);
    }

    /// The servers among which a call is placed.
    pub(super) fn route_for(&mut self, id: CallId, now: Instant) -> Result<RouteId, NoRoute> {
        let unknown = || NoRoute::Never(CallErrorKind::Closed);
        let call = self.calls.get(id).ok_or_else(unknown)?;
        if call.call.purpose == Purpose::OpenLease {
            let selector = self.lessor(&call.call.tool);
            let selector_or = format!("server or group {}", call.call.tool);
            return self.route(RouteKey { sought: Sought::Server, selector }).map_err(|_| {
                NoRoute::NotYet(Lacking::Other(CallErrorKind::NoMatch { selector: selector_or }))
            });
        }
        let (sought, name) = self.resolve(&call.call, &call.call.options().selector)?;
        let selector = call.call.options().selector.clone();
        if let Some(call) = self.calls.get_mut(id) {
            call.tool = name;
        }
        let route = self.route(RouteKey { sought, selector })?;
        Ok(match self.strictly_bound(id, route, now) {
            Some(server) => self.route_of_one(route, server),
            None => route,
        })
    }

    fn overloaded(&mut self, id: CallId, route: RouteId, now: Instant, out: &mut impl Outlet<P, S>) {
        let Route { servers, waiting, .. } = &self.routes[route];
        let retry_after = Some(self.pace(servers, waiting.len()));
        let kind =
            CallErrorKind::Overloaded { waiting: waiting.len(), limit: waiting.capacity(), retry_after };
        self.fail(id, kind, now, out);
    }

    /// How long the servers take for so many calls, by their mean latencies.
    fn pace(&self, servers: &[ServerSlot], calls: usize) -> Duration {
        let rate: f64 = servers
            .iter()
            .filter_map(|slot| self.views[*slot].as_ref())
            .filter_map(|view| Some(view.standing.slots as f64 / view.load.mean()?.as_secs_f64().max(1e-6)))
            .sum();
        let secs = if rate > 0.0 { calls as f64 / rate } else { f64::INFINITY };
        let bounds = (RETRY_AFTER_MIN.as_secs_f64(), RETRY_AFTER_MAX.as_secs_f64());
        Duration::from_secs_f64(secs.clamp(bounds.0, bounds.1))
    }

    /// Whether a server may still tell what it offers.
    pub(super) fn coming(&self) -> bool {
        !self.introduced || self.views.iter().flatten().any(|view| !view.standing.listed && view.promises())
    }

    /// Whether one of those may still tell it that may offer what this call names.
    fn coming_for(&self, id: CallId) -> bool {
        let Some(call) = self.calls.get(id).map(|call| &call.call) else { return false };
        if !self.introduced || call.purpose == Purpose::OpenLease {
            return self.coming();
        }
        self.prospects(call).any(View::promises)
    }

    /// Keeps a call that nobody can take yet while servers may still tell their tools; otherwise it fails.
    fn park_or_fail(
        &mut self,
        id: CallId,
        lacking: Lacking,
        coming: bool,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) {
        if !coming {
            let kind = self.lacking(id, lacking, now);
            return self.fail(id, kind, now, out);
        }
        let Some(call) = self.calls.get_mut(id) else { return };
        match self.parked.push(call.call.priority, id) {
            Pushed::Queued(ticket) => call.phase = Phase::Parked(ticket),
            Pushed::Shed { ticket, shed } => {
                call.phase = Phase::Parked(ticket);
                self.parked_overflow(shed, now, out);
            }
            Pushed::Full(_) => self.parked_overflow(id, now, out),
        }
    }

    fn parked_overflow(&mut self, id: CallId, now: Instant, out: &mut impl Outlet<P, S>) {
        let (waiting, limit) = (self.parked.len(), self.parked.capacity());
        self.fail(id, CallErrorKind::Overloaded { waiting, limit, retry_after: None }, now, out);
    }

    /// The route for a key; built when it is first asked for.
    fn route(&mut self, key: RouteKey) -> Result<RouteId, NoRoute> {
        let known = match key.thing() {
            Some(thing) => self.route_of_thing.get(&thing),
            None => self.route_of.get(&key),
        };
        if let Some(route) = known {
            return Ok(*route);
        }
        let offering = |kind: EntryKind, things: &[usize]| -> Vec<ServerSlot> {
            let servers = things.iter().flat_map(|thing| self.catalogue.servers_of(kind, *thing));
            servers.filter_map(|server| self.server_slots.get(server).copied()).collect()
        };
        let mut servers: Vec<ServerSlot> = match &key.sought {
            Sought::Server => self.choice(&key.selector).map(|(_, slot)| *slot).collect(),
            Sought::One(kind, thing) => offering(*kind, std::slice::from_ref(thing)),
            Sought::Any(kind, things) => offering(*kind, things),
            Sought::Reader => {
                let readers = self.choice(&key.selector).filter(|(server, _)| self.catalogue.reads(server));
                readers.map(|(_, slot)| *slot).collect()
            }
        };
        servers.retain(|slot| self.views[*slot].as_ref().is_some_and(|view| selected(view, &key.selector)));
        if servers.is_empty() {
            // Servers that were picked and have no resources do not have this one.
            let picked = |slot: &ServerSlot| {
                self.views[*slot].as_ref().is_some_and(|view| selected(view, &key.selector))
            };
            if key.sought == Sought::Reader && self.choice(&key.selector).any(|(_, slot)| picked(slot)) {
                return Err(NoRoute::NotYet(Lacking::Resource));
            }
            let selector = key.selector.describe();
            return Err(NoRoute::NotYet(Lacking::Other(CallErrorKind::NoMatch { selector })));
        }
        servers.sort_by(|a, b| self.id_at(*a).cmp(&self.id_at(*b)));
        servers.dedup();
        let route = self.route_over(servers);
        match key.thing() {
            Some(thing) => drop(self.route_of_thing.insert(thing, route)),
            None => {
                if self.route_of.len() >= ROUTES_MAX {
                    self.route_of.clear();
                }
                self.route_of.insert(key, route);
            }
        }
        Ok(route)
    }

    /// The servers among which a selector picks: the one that it names, or all.
    fn choice(&self, selector: &Selector) -> impl Iterator<Item = (&ServerId, &ServerSlot)> {
        let named = selector.server.as_deref();
        let one = named.and_then(|server| self.server_slots.get_key_value(server));
        let all = named.is_none().then_some(&self.server_slots);
        one.into_iter().chain(all.into_iter().flatten())
    }

    /// The route over exactly these servers.
    fn route_over(&mut self, servers: Vec<ServerSlot>) -> RouteId {
        if let Some(route) = self.route_of_set.get(&servers) {
            return *route;
        }
        if self.routes.len() >= self.routes_max {
            self.forget_idle_routes();
        }
        let mut hasher = DefaultHasher::new();
        servers.iter().for_each(|slot| self.id_at(*slot).hash(&mut hasher));
        let mut priorities =
            servers.iter().filter_map(|slot| Some(self.views[*slot].as_ref()?.spec.priority));
        let first = priorities.next();
        let tiered = priorities.any(|other| Some(other) != first);
        let timeouts = servers.iter().filter_map(|slot| self.views[*slot].as_ref()?.spec.timeout);
        let timeout = timeouts.max();
        let waiting = Mailbox::new(&self.settings.mailbox);
        self.keep_route(Route { servers, set: hasher.finish(), tiered, timeout, waiting })
    }

    fn keep_route(&mut self, route: Route) -> RouteId {
        let id = self.routes.push(route);
        let servers = &self.routes[id].servers;
        for slot in servers {
            self.routes_of.grown_to(*slot).push(id);
        }
        self.route_of_set.insert(servers.clone(), id);
        id
    }

    /// Forgets the routes in which nothing waits, and which calls lead where: each call that comes finds its own anew. What
    /// waits goes on to wait where it is.
    fn forget_idle_routes(&mut self) {
        let former = self.forget_routes();
        for route in former.into_iter().filter(|route| !route.waiting.is_empty()) {
            let ids: Vec<CallId> = route.waiting.iter().copied().collect();
            let kept = self.keep_route(route);
            self.waiting.insert(kept);
            for id in ids {
                if let Some(call) = self.calls.get_mut(id)
                    && let Phase::Queued { route, .. } = &mut call.phase
                {
                    *route = kept;
                }
            }
        }
        // However many wait, the next time is as far away as what was looked at now.
        self.routes_max = ROUTES_MAX.max(2 * self.routes.len());
    }

    /// Forgets all routes. Gives back those that there were.
    fn forget_routes(&mut self) -> Vec<Route> {
        self.route_of.clear();
        self.route_of_thing.clear();
        self.route_of_set.clear();
        self.routes_of.clear();
        self.waiting.clear();
        self.routes.take()
    }

    fn id_at(&self, slot: ServerSlot) -> Option<&str> {
        self.views[slot].as_ref().map(|view| view.spec.id.as_str())
    }

    /// The server that a strict affinity ties the call to, if it is bound.
    fn strictly_bound(&mut self, id: CallId, route: RouteId, now: Instant) -> Option<ServerSlot> {
        let call = self.calls.get(id)?;
        let affinity = call.call.options().affinity.as_ref().filter(|affinity| affinity.strict)?;
        let first = self.views[*self.routes[route].servers.first()?].as_ref()?;
        let server = self.affinity.bound(&affinity.key, &first.spec.group, now)?;
        self.server_slots.get(&server).copied().filter(|slot| self.routes[route].servers.contains(slot))
    }

    fn route_of_one(&mut self, route: RouteId, server: ServerSlot) -> RouteId {
        if self.routes[route].servers == [server] { route } else { self.route_over(vec![server]) }
    }

    /// Applies the deadline of what a call turned out to mean, unless the call names one itself: that of its tool, else the one that
    /// the servers name.
    pub(super) fn apply_deadline(&mut self, id: CallId, slot: ServerSlot, of_servers: Option<Duration>) {
        let (Some(call), Some(view)) = (self.calls.get(id), &self.views[slot]) else { return };
        if call.call.timeout.is_some() {
            return;
        }
        let is_tool = call.call.request == Request::Tool && !call.tool.is_empty();
        let group = view.spec.group.as_str();
        let of_tool =
            || named_tools::timeout(&self.settings, &self.catalogue, &call.call.tool, group, &call.tool);
        let timeout = is_tool.then(of_tool).flatten().or(of_servers);
        if let Some(timeout) = timeout.filter(|timeout| *timeout != call.timeout) {
            self.calls.set_timeout(id, timeout);
        }
    }

    /// Whether waiting in this route has a prospect.
    fn promising(&self, route: RouteId) -> bool {
        self.routes[route].servers.iter().any(|slot| self.views[*slot].as_ref().is_some_and(View::promises))
    }

    /// Whether every server of a route that may take the call wants to be left alone for longer than the call has time.
    fn all_pause_too_long(&self, id: CallId, route: RouteId) -> bool {
        let Some(deadline) = self.calls.get(id).map(|call| call.deadline()) else { return false };
        let views = self.routes[route].servers.iter().filter_map(|slot| self.views[*slot].as_ref());
        let mut promising = views.filter(|view| view.promises()).peekable();
        promising.peek().is_some()
            && promising.all(|view| view.paused_until.is_some_and(|until| until >= deadline))
    }

    /// Why no server of a route takes a call.
    fn reasons(&self, route: RouteId, now: Instant) -> Vec<UnavailableServer> {
        let views = self.routes[route].servers.iter().filter_map(|slot| self.views[*slot].as_ref());
        views.map(|view| view.unavailable(now)).collect()
    }

    /// Tries to hand a call to a server of its route.
    fn dispatch(&mut self, id: CallId, route: RouteId, now: Instant, out: &mut impl Outlet<P, S>) -> Placed {
        // A dispatch fails only where the server's actor is gone, which bars that server: the loop ends.
        while let Some((slot, bypass)) = self
            .choose(id, route, now)
            .map(|slot| (slot, false))
            .or_else(|| self.least_bad(route, now).map(|slot| (slot, true)))
        {
            if self.give(id, route, slot, bypass, now, out) {
                self.start_better(route, slot, out);
                return Placed::Dispatched;
            }
        }
        Placed::NoServer
    }

    /// Gives a call to a server of its route. `false` if the server's actor is gone, which bars that server.
    fn give(
        &mut self,
        id: CallId,
        route: RouteId,
        slot: ServerSlot,
        bypass: bool,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) -> bool {
        let over = self.calls.get(id).map_or(Over::Shared, |call| match call.call.purpose {
            Purpose::OpenLease => Over::NewLease,
            Purpose::Tool | Purpose::OnLease(_) => Over::Shared,
        });
        let Some(attempt) = self.send(id, slot, over, bypass, now, out) else { return false };
        if let Some(call) = self.calls.get_mut(id) {
            call.phase = Phase::InFlight(attempt);
        }
        self.plan_hedge(id, route, slot, now);
        true
    }

    /// Hands an attempt of a call to a server. `None` if the server's actor is gone, which bars that server.
    pub(super) fn send(
        &mut self,
        id: CallId,
        slot: ServerSlot,
        over: Over,
        bypass: bool,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) -> Option<OpenAttempt> {
        let (view, call) = (self.views[slot].as_mut()?, self.calls.get_mut(id)?);
        call.tries += 1;
        call.server = Some(view.spec.id.clone());
        call.group = Some(view.spec.group.clone());
        let attempt = AttemptId { call: id, number: call.tries };
        let interest = Interest::of(call);
        let (tool, request, request_id) = (call.tool.clone(), call.call.clone(), call.request_id.clone());
        let dispatch = Dispatch { attempt, tool, call: request, bypass, over, interest, request_id };
        let shared = over == Over::Shared;
        view.dispatched(shared);
        let taken = view.handle.as_ref().is_some_and(|handle| out.dispatch(handle, dispatch));
        if !taken {
            view.released(shared);
            view.refused();
            return None;
        }
        call.attempts += 1;
        out.began(attempt, &call.call, &view.spec.id);
        let open =
            OpenAttempt { server: slot, number: attempt.number, attempt: call.attempts, since: now, shared };
        if interest != Interest::Result {
            self.calls.reset_idle(id, now);
        }
        Some(open)
    }

    /// The server that gets a call: the bound one, else the strategy's choice, else the one that lost it before.
    fn choose(&mut self, id: CallId, route: RouteId, now: Instant) -> Option<ServerSlot> {
        let call = self.calls.get(id)?;
        let Route { servers, set, .. } = &self.routes[route];
        let mut key = None;
        if let Some(affinity) = &call.call.options().affinity {
            key = Some(hash_key(&affinity.key));
            let group = &self.views[*servers.first()?].as_ref()?.spec.group;
            let bound = self.affinity.bound(&affinity.key, group, now);
            let slot = bound.and_then(|server| self.server_slots.get(&server).copied());
            let usable = |slot: &ServerSlot| {
                servers.contains(slot) && self.views[*slot].as_ref().is_some_and(View::admits)
            };
            if let Some(slot) = slot.filter(usable) {
                return Some(slot);
            }
        }
        let avoid = call.avoid;
        let candidates = RouteCandidates::of(&self.routes[route], &self.views, avoid);
        let strategy = self.strategies.active();
        let picked =
            strategy.pick(&candidates, Pick { set: *set, key, now, rng: &mut self.rng }).or_else(|| {
                avoid?;
                let candidates = RouteCandidates::of(&self.routes[route], &self.views, None);
                strategy.pick(&candidates, Pick { set: *set, key, now, rng: &mut self.rng })
            })?;
        servers.get(picked).copied()
    }

    /// The ejected server that fails least, where more are ejected than may be.
    fn least_bad(&self, route: RouteId, now: Instant) -> Option<ServerSlot> {
        debug_assert!(self.rare.is_of(self.views.iter().flatten().map(|view| &view.standing)));
        let servers = &self.routes[route].servers;
        // Nearly always too few are ejected, and then this is asked for each call that waits.
        if self.rare.ejected as f64 <= self.settings.ejection_max * servers.len() as f64 {
            return None;
        }
        let views = || servers.iter().filter_map(|slot| Some((*slot, self.views[*slot].as_ref()?)));
        let ejected = views().filter(|(_, view)| view.ejected()).count();
        if ejected as f64 <= self.settings.ejection_max * servers.len() as f64 {
            return None;
        }
        let candidates = views().filter(|(_, view)| view.admits_bypass());
        let least =
            candidates.min_by(|(_, a), (_, b)| a.load.error_rate(now).total_cmp(&b.load.error_rate(now)))?;
        Some(least.0)
    }

    /// A server has room, or has changed: the calls that wait for it are dispatched, the most urgent and oldest
    /// first; those that wait in vain fail.
    pub(super) fn serve(&mut self, server: ServerSlot, now: Instant, out: &mut impl Outlet<P, S>) {
        if self.waiting.is_empty() {
            return;
        }
        let of_server = self.routes_of.get(server).map(Vec::as_slice).unwrap_or_default();
        let mut routes: Vec<RouteId> =
            of_server.iter().copied().filter(|route| self.waiting.contains(route)).collect();
        while !routes.is_empty() {
            routes.sort_by_cached_key(|route| {
                let head = self.routes[*route].waiting.peek().copied();
                head.map(|id| (self.calls.get(id).map(|call| call.call.priority), id))
            });
            routes.retain(|route| self.serve_head(*route, server, now, out));
        }
    }

    /// Dispatches the call at the head of a route, after a change of `server`. Returns whether there may be more to do in it.
    fn serve_head(
        &mut self,
        route: RouteId,
        server: ServerSlot,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) -> bool {
        let Some(head) = self.routes[route].waiting.peek().copied() else {
            self.waiting.remove(&route);
            return false;
        };
        if self.expire(head, now, out) {
            return true;
        }
        // Calls wait where no server admits; so if this one does, there is no other to choose from. Of unequal servers the
        // better ones may be busy, and are waited for.
        let has_room = |routing: &Self| routing.views[server].as_ref().is_some_and(View::admits);
        if !self.routes[route].tiered && has_room(self) && self.give(head, route, server, false, now, out) {
            self.routes[route].waiting.pop();
            let more = has_room(self) || self.routes[route].waiting.is_empty();
            if !more {
                self.start_for_queued(route, now, out);
            }
            return more;
        }
        if let Placed::Dispatched = self.dispatch(head, route, now, out) {
            self.routes[route].waiting.pop();
            return true;
        }
        if self.promising(route) {
            self.start_for_queued(route, now, out);
            return false;
        }
        let stranded: Vec<CallId> = self.routes[route].waiting.drain().collect();
        self.waiting.remove(&route);
        for id in stranded {
            let servers = self.reasons(route, now);
            self.fail(id, CallErrorKind::Unavailable { servers }, now, out);
        }
        false
    }

    /// Looks again at the calls whose tool was not known.
    pub(super) fn unpark(&mut self, now: Instant, out: &mut impl Outlet<P, S>) {
        if self.parked.is_empty() {
            return;
        }
        let parked: Vec<CallId> = self.parked.drain().collect();
        let coming = self.coming();
        // There may be as many servers as calls: beyond this, calls wait as long as anybody may come.
        let mut looks_left = LOOKS_MAX;
        for id in parked {
            if let Some(lacking) = self.try_place(id, now, out) {
                let coming = match looks_left.checked_sub(self.views.len()) {
                    Some(left) if coming => {
                        looks_left = left;
                        self.coming_for(id)
                    }
                    _ => coming,
                };
                self.park_or_fail(id, lacking, coming, now, out);
            }
        }
    }

    /// The servers or their tools have changed: routes are built anew and every waiting call looks again.
    pub(super) fn reconsider(&mut self, now: Instant, out: &mut impl Outlet<P, S>) {
        let mut moved: Vec<CallId> = self
            .forget_routes()
            .iter_mut()
            .flat_map(|route| route.waiting.drain().collect::<Vec<_>>())
            .collect();
        self.routes_max = ROUTES_MAX;
        moved.sort_unstable();
        for id in moved {
            if let Some(call) = self.calls.get_mut(id) {
                call.phase = Phase::New;
            }
            self.place(id, now, out);
        }
        self.unpark(now, out);
    }
}

/// Whether a server matches a selector.
pub(super) fn selected<S>(view: &View<S>, selector: &Selector) -> bool {
    !view.leaving && selector.picks(&view.spec.id, &view.spec.group, &view.spec.tags)
}
