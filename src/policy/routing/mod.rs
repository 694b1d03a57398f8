//! The router's whole judgement, without actors and sockets: which server gets a call, when it waits, how it ends.
//!
//! ```text
//! submit ─▶ resolve the tool ─▶ a server admits ──▶ in flight ──▶ answered
//!                │                │ none does             │ refused unread, or lost and safe to repeat
//!                │ not known yet  ▼                       ▼
//!                └─▶ parked     queued ◀──────────────── placed again
//! ```
//!
//! It owns every open call ([`Calls`]), what is known of each server ([`View`]), the queues, the affinity table and the
//! retry budget. What must happen outside is said through an [`Outlet`]; `now` is an argument and randomness a seed, so
//! that everything here is tested without a runtime.

mod demanding;
mod ending;
mod leasing;
mod placing;
mod progress;
mod repeating;
mod resolving;
mod server_view;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::time::Instant;

use crate::call::{Call, Reply, Request, Selector};
use crate::call_update::CallUpdate;
use crate::config::{RetrySettings, ServerSpec, Settings};
use crate::error::{CallError, CallErrorKind};
use crate::id::{AttemptId, CallId, ConnectionId, GroupId, Incarnation, RequestId, ServerId};
use crate::number_map::NumberMap;
use crate::offer::EntryKind;
use crate::policy::affinity::AffinityTable;
use crate::policy::calls::{Calls, OpenCall, Phase};
use crate::policy::catalogue::Catalogue;
use crate::policy::hedge::HedgeDelays;
use crate::policy::mailbox::Mailbox;
use crate::policy::retry::RetryBudget;
use crate::policy::slots::{RouteId, ServerSlot, Table};
use crate::policy::strategy::{Strategies, UnknownStrategy};
use crate::stats::{Outcomes, QueuedStats, RouterStats};
use crate::trace_context::InvalidTraceContext;

pub(crate) use ending::{Abandoned, Completion};
pub(crate) use leasing::LeaseUpdate;
pub(crate) use progress::{AttemptUpdate, Interest, Update};
pub(crate) use server_view::Standing;
use server_view::{Kind, Rare, RouteCandidates, View};

/// The answer to a call.
pub(crate) type Answer = Result<Reply, CallError>;

/// What a server is asked to do for one attempt.
#[derive(Debug, Clone)]
pub(crate) struct Dispatch {
    /// Which attempt of which call.
    pub attempt: AttemptId,
    /// The tool's name on the server.
    pub tool: Arc<str>,
    /// What the host asked for: arguments, and entries for `_meta`.
    pub call: Arc<Call>,
    /// The server's breaker is open and is not asked; see [`Settings::ejection_max`].
    pub bypass: bool,
    /// The connection.
    pub over: Over,
    /// What is wanted of the server beside the answer.
    pub interest: Interest,
    /// The public id of the call, for what the server asks on its behalf.
    pub request_id: RequestId,
}

/// The connection that an attempt goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// The pool's choice.
    Shared,
    /// This leased one.
    Leased(ConnectionId),
    /// A new one, opened for a lease. There is no tool to call.
    NewLease,
}

/// Why an attempt is called off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CancelReason {
    /// The caller left, or the troupe shuts down.
    CallerLeft,
    /// The deadline passed.
    DeadlineExceeded,
    /// Another server answered first.
    AnsweredElsewhere,
}

impl CancelReason {
    /// The outcome of the attempt that is called off.
    fn outcome(self) -> &'static str {
        match self {
            Self::CallerLeft | Self::AnsweredElsewhere => "cancelled",
            Self::DeadlineExceeded => "deadline-exceeded",
        }
    }
}

/// Carries out what the routing decides. `P` is where an answer goes, `S` how a server is reached.
pub(crate) trait Outlet<P, S> {
    /// Gives a call its one answer.
    fn answer(&mut self, port: P, answer: Answer);
    /// Gives a call the answer that nobody who is up offers what it names. Names of this kind that look alike are in this
    /// catalogue; whoever called looks for them, since to compare names takes time that the calls of others would wait for.
    fn unknown(&mut self, port: P, error: CallError, kind: EntryKind, catalogue: &Arc<Catalogue>);
    /// Whether whoever waits for an answer has left.
    fn left(&self, port: &P) -> bool;
    /// Gives a call back that no server has seen, to be placed elsewhere.
    fn hand_back(&mut self, port: P, call: Arc<Call>);
    /// Hands an attempt to a server; `false` if the server's actor is gone.
    fn dispatch(&mut self, server: &S, dispatch: Dispatch) -> bool;
    /// Tells a server that is idle that calls wait for it.
    fn need(&mut self, server: &S);
    /// Tells a call that is open what a server says of it.
    fn tell(&mut self, port: &mut P, update: CallUpdate);
    /// Calls an attempt off.
    fn cancel(&mut self, server: &S, attempt: AttemptId, reason: CancelReason);

    // What it is told beside, for those who watch. Nothing follows from it.

    /// A server has an attempt of a call.
    fn began(&mut self, _attempt: AttemptId, _call: &Call, _server: &ServerId) {}
    /// An attempt that [`began`](Self::began) is over.
    fn ended(&mut self, _attempt: AttemptId, _outcome: &'static str, _latency: Duration) {}
    /// A call is over.
    fn settled(&mut self, _settled: &Settled<'_>) {}
    /// A server has no capacity for so long.
    fn overloaded(&mut self, _server: &ServerId, _retry_after: Duration) {}
    /// A call was refused since too many wait, by this limit.
    fn shed(&mut self, _shed: &Settled<'_>, _limit: usize, _now: Instant) {}
    /// So many answers of a server came when nobody waited for them.
    fn late(&mut self, _server: &ServerId, _answers: u64, _now: Instant) {}
}

/// A call that is over, as those who watch see it.
#[derive(Debug)]
#[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "metrics alone read all of it"))]
pub(crate) struct Settled<'a> {
    /// What it asks of a server.
    pub request: Request,
    /// The group of its tool, if it was found.
    pub group: Option<&'a GroupId>,
    /// Its tool's name on the servers; empty if it was not found, or asks for no tool: what else a call names may be the
    /// caller's invention.
    pub tool: &'a Arc<str>,
    /// How it ended: `ok`, or the name of its error.
    pub outcome: &'static str,
    /// From the call to its end.
    pub duration: Duration,
}

/// The figures that change from call to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Figures {
    /// Calls without an answer.
    pub open: usize,
    /// Those of them that wait for a server.
    pub queued: QueuedStats,
    /// As in [`RouterStats`].
    pub retries: u64,
    /// As in [`RouterStats`].
    pub hedges: u64,
    /// As in [`RouterStats`].
    pub hedges_won: u64,
    /// As in [`RouterStats`].
    pub retries_refused: u64,
}

/// Servers that can take the same calls, and the calls that wait for one of them.
struct Route {
    /// Their slots, by server id.
    servers: Vec<ServerSlot>,
    /// Names the set to the strategy; the same for the same servers.
    set: u64,
    /// Their priorities differ.
    tiered: bool,
    /// The deadline of calls that none is named for: replicas may differ, and any of them may get the call, so the most
    /// patient one decides.
    timeout: Option<Duration>,
    waiting: Mailbox<CallId>,
}

/// What leads to a route. Made for each call: the usual one, of one tool and no selector, allocates nothing.
#[derive(PartialEq, Eq, Hash)]
struct RouteKey {
    sought: Sought,
    selector: Selector,
}

impl RouteKey {
    /// The one thing that it leads to the servers of, if that is all that it says.
    fn thing(&self) -> Option<(EntryKind, usize)> {
        match self.sought {
            Sought::One(kind, index) if self.selector == Selector::default() => Some((kind, index)),
            Sought::One(..) | Sought::Server | Sought::Any(..) | Sought::Reader => None,
        }
    }
}

/// What a call wants of its server. Things are given by their indexes in the catalogue.
#[derive(PartialEq, Eq, Hash)]
enum Sought {
    /// A lease, whatever it offers.
    Server,
    /// This thing.
    One(EntryKind, usize),
    /// One of these: equal names that are balanced over groups.
    Any(EntryKind, Vec<usize>),
    /// A server that has resources: it may have this one, though it does not list it.
    Reader,
}

/// How often something happened.
#[derive(Default)]
struct Counters {
    retries: u64,
    hedges: u64,
    hedges_won: u64,
    retries_refused: u64,
    late_answers: u64,
    outcomes: Outcomes,
}

/// The router's state and judgement.
pub(crate) struct Routing<P, S> {
    settings: Arc<Settings>,
    calls: Calls<P>,
    views: Table<ServerSlot, Option<View<S>>>,
    /// How many of them are held back, or do not run: while none is, nobody looks through them all for one.
    rare: Rare,
    server_slots: HashMap<ServerId, ServerSlot>,
    /// Lives that were replaced and finish what they have.
    retiring: HashMap<(ServerId, Incarnation), ServerSlot>,
    catalogue: Arc<Catalogue>,
    /// Whether the registry has told which servers there are.
    introduced: bool,
    /// When it told of the first of them.
    began: Option<Instant>,
    routes: Table<RouteId, Route>,
    /// By key, of calls that say more than which thing they want; callers choose the keys.
    route_of: HashMap<RouteKey, RouteId>,
    /// By thing, of all others.
    route_of_thing: NumberMap<(EntryKind, usize), RouteId>,
    /// By the servers.
    route_of_set: HashMap<Vec<ServerSlot>, RouteId>,
    /// With so many routes those in which nothing waits are forgotten.
    routes_max: usize,
    /// The routes of each server, by its slot.
    routes_of: Table<ServerSlot, Vec<RouteId>>,
    /// Routes with waiting calls.
    waiting: BTreeSet<RouteId>,
    /// When servers that asked to be left alone are asked again, by slot.
    pauses: BTreeSet<(Instant, ServerSlot)>,
    /// Calls whose tool nobody offers, or whose bare name more than one may, while servers may still tell their tools.
    parked: Mailbox<CallId>,
    /// Servers that bare names wait for, by slot, each with the time at which they do no more.
    naming: BTreeSet<(Instant, ServerSlot)>,
    strategies: Strategies,
    affinity: AffinityTable,
    budget: RetryBudget,
    hedge_delays: HedgeDelays,
    rng: SmallRng,
    counters: Counters,
    /// The tool of calls that have none yet.
    unresolved: Arc<str>,
    /// No new calls are taken.
    draining: bool,
}

impl<P, S> Routing<P, S> {
    /// Without servers and calls. `seed` makes its choices repeatable.
    pub(crate) fn new(settings: Arc<Settings>, strategies: Strategies, seed: u64) -> Self {
        Self {
            calls: Calls::new(),
            views: Table::default(),
            rare: Rare::default(),
            server_slots: HashMap::new(),
            retiring: HashMap::new(),
            catalogue: Arc::new(Catalogue::empty()),
            introduced: false,
            began: None,
            routes: Table::default(),
            route_of: HashMap::new(),
            route_of_thing: NumberMap::default(),
            route_of_set: HashMap::new(),
            routes_max: placing::ROUTES_MAX,
            routes_of: Table::default(),
            waiting: BTreeSet::new(),
            pauses: BTreeSet::new(),
            parked: Mailbox::new(&settings.mailbox),
            naming: BTreeSet::new(),
            strategies,
            affinity: AffinityTable::new(&settings.affinity),
            budget: RetryBudget::new(&settings.retry),
            hedge_delays: HedgeDelays::new(settings.retry.hedge_percentile),
            rng: SmallRng::seed_from_u64(seed),
            counters: Counters::default(),
            unresolved: "".into(),
            draining: false,
            settings,
        }
    }

    // === calls ===

    /// A new call. It is answered through `out`, now or later, once.
    pub(crate) fn submit(
        &mut self,
        id: CallId,
        call: Arc<Call>,
        started: Instant,
        port: P,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) {
        let timeout = self.configured_timeout(&call);
        let idle = self.idle_clock(&call);
        let open = Box::new(OpenCall {
            port,
            tool: self.unresolved.clone(),
            request_id: call.options().request_id.clone().unwrap_or_else(RequestId::random),
            started,
            timeout,
            phase: Phase::New,
            tries: 0,
            attempts: 0,
            turned_away: 0,
            server: None,
            avoid: None,
            group: None,
            session_lost: false,
            hedge: None,
            wake_at: None,
            idle,
            earlier_servers: Vec::new(),
            call,
        });
        let full = self.calls.len() >= self.settings.limits.open_calls_max;
        let refusal = if self.draining {
            Some(CallErrorKind::ShuttingDown { sent: false })
        } else if full {
            let limit = self.settings.limits.open_calls_max;
            Some(CallErrorKind::Overloaded { waiting: self.calls.len(), limit, retry_after: None })
        } else {
            let too_long = open.call.too_long();
            let wrong = open.call.args.as_ref().err().or_else(|| open.call.options().mistake());
            let wrong = wrong.map(|reason| CallErrorKind::InvalidArguments { reason: reason.clone() });
            too_long.or(wrong).or_else(|| wrong_trace(&open.call)).or_else(|| self.wrong_options(&open.call))
        };
        let left = out.left(&open.port);
        self.calls.open(id, open);
        if left {
            // It was called off before it came here; the word of that may have come first.
            return self.cancel(id, now, out);
        }
        self.budget.deposit(now);
        match refusal {
            Some(kind) => self.fail(id, kind, now, out),
            None => self.place(id, now, out),
        }
    }

    /// What about a call's options contradicts the settings.
    fn wrong_options(&self, call: &Call) -> Option<CallErrorKind> {
        (call.hedged && !self.settings.retry.has_budget()).then(|| CallErrorKind::InvalidOptions {
            reason: "a hedge needs a retry budget, and the troupe's is 0".to_owned(),
        })
    }

    /// The deadline that the call, its tool or the settings name; a server's own is known once the call has a route.
    fn configured_timeout(&self, call: &Call) -> Duration {
        let by_tool = || self.settings.tool_timeouts.get(&call.tool).copied();
        call.timeout.or_else(by_tool).unwrap_or(self.settings.call_timeout)
    }

    // === servers ===

    /// The registry has told everything it knows: from now on an unknown tool is an error.
    pub(crate) fn introduced(&mut self, now: Instant, out: &mut impl Outlet<P, S>) {
        self.introduced = true;
        self.reconsider(now, out);
    }

    /// A server's actor began a life, or waits for its next one and has no handle yet.
    pub(crate) fn joined(
        &mut self,
        spec: Arc<ServerSpec>,
        incarnation: Incarnation,
        handle: Option<S>,
        standing: Standing,
        now: Instant,
    ) {
        let slot = match self.server_slots.get(&spec.id) {
            Some(slot) => *slot,
            None => {
                let slot = self.free_slot();
                self.server_slots.insert(spec.id.clone(), slot);
                slot
            }
        };
        let mut view = View::new(spec, incarnation, handle, standing, now);
        // Those that the registry tells at first are there from the beginning, whichever it tells first.
        let began = *self.began.get_or_insert(now);
        view.added = if self.introduced { now } else { began };
        if let Some(former) = self.put(slot, None) {
            self.naming.remove(&(former.names_until(), slot));
            view.added = former.added;
            view.listed_before |= former.listed_before;
            view.listed_since = former.listed_since;
            view.load = former.load;
            view.paused_until = former.paused_until;
            view.told_paused_until = former.told_paused_until;
            if former.incarnation == incarnation {
                // It was known already, and works on what it got.
                view.in_flight = former.in_flight;
            }
        }
        if view.may_share_names() && view.names_until() > now {
            self.naming.insert((view.names_until(), slot));
        }
        self.put(slot, Some(view));
    }

    /// Puts a server into a slot, or takes it out. Returns what was there.
    fn put(&mut self, slot: ServerSlot, view: Option<View<S>>) -> Option<View<S>> {
        let former = std::mem::replace(&mut self.views[slot], view);
        let standing = |view: &Option<View<S>>| view.as_ref().map(|view| Kind::of(&view.standing));
        self.rare.change(standing(&former), standing(&self.views[slot]));
        former
    }

    /// Takes a report of a server.
    fn report(&mut self, slot: ServerSlot, standing: Standing, now: Instant) {
        if let Some(view) = &mut self.views[slot] {
            self.rare.change(Some(Kind::of(&view.standing)), Some(Kind::of(&standing)));
            view.report(standing, now);
        }
    }

    /// A slot that no server has.
    fn free_slot(&mut self) -> ServerSlot {
        let free = self.views.entries().find(|(_, view)| view.is_none()).map(|(slot, _)| slot);
        free.unwrap_or_else(|| self.views.push(None))
    }

    /// A server's description changed: its present life finishes what it has, and another one takes what is new.
    pub(crate) fn replaced(
        &mut self,
        spec: Arc<ServerSpec>,
        incarnation: Incarnation,
        handle: Option<S>,
        standing: Standing,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) {
        if let Some(slot) = self.server_slots.remove(&spec.id)
            && let Some(view) = &mut self.views[slot]
        {
            view.leaving = true;
            self.naming.remove(&(view.names_until(), slot));
            self.retiring.insert((spec.id.clone(), view.incarnation), slot);
        }
        self.joined(spec, incarnation, handle, standing, now);
        self.reconsider(now, out);
    }

    /// This routing is new: a life that was replaced before finishes what it has, and its leases go on.
    pub(crate) fn retiring(
        &mut self,
        spec: Arc<ServerSpec>,
        incarnation: Incarnation,
        handle: S,
        now: Instant,
    ) {
        let of = (spec.id.clone(), incarnation);
        if self.slot_of(&of.0, incarnation).is_some() {
            // It was replaced after this routing had begun, and is known.
            return;
        }
        // Names do not wait for one that leaves.
        let mut view = View::new(spec, incarnation, Some(handle), Standing::beginning(), now);
        view.leaving = true;
        let slot = self.free_slot();
        self.put(slot, Some(view));
        self.retiring.insert(of, slot);
    }

    /// A server's description changed so that its present life serves it as well.
    pub(crate) fn amended(&mut self, spec: Arc<ServerSpec>, now: Instant, out: &mut impl Outlet<P, S>) {
        if let Some(slot) = self.server_slots.get(&spec.id).copied()
            && let Some(view) = &mut self.views[slot]
        {
            view.spec = spec;
            self.reconsider(now, out);
        }
    }

    /// A life that was replaced is over.
    pub(crate) fn retired(
        &mut self,
        server: &ServerId,
        incarnation: Incarnation,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) {
        if let Some(slot) = self.retiring.remove(&(server.clone(), incarnation)) {
            self.lose_all(slot, &crate::event::ExitCause::Requested, now, out);
            self.put(slot, None);
        }
    }

    /// A server reports where it stands.
    pub(crate) fn standing(
        &mut self,
        server: &ServerId,
        incarnation: Incarnation,
        standing: Standing,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) {
        let Some(slot) = self.slot_of(server, incarnation) else { return };
        let Some(view) = &self.views[slot] else { return };
        let newly_listed = standing.listed && !view.standing.listed;
        let promised = view.promises();
        self.report(slot, standing, now);
        let given_up = promised && self.views[slot].as_ref().is_some_and(|view| !view.promises());
        let named = self.names_settled(slot);
        self.serve(slot, now, out);
        if newly_listed || given_up || named {
            self.unpark(now, out);
        }
        self.start_for_parked(slot, out);
    }

    /// A server's actor ended: its attempts are lost, and `standing` says what follows.
    pub(crate) fn server_down(
        &mut self,
        server: &ServerId,
        incarnation: Incarnation,
        cause: &crate::event::ExitCause,
        standing: Standing,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) {
        let Some(slot) = self.slot_of(server, incarnation) else { return };
        self.report(slot, standing, now);
        self.names_settled(slot);
        self.lose_all(slot, cause, now, out);
        self.serve(slot, now, out);
        self.unpark(now, out);
    }

    /// A server was unregistered: it gets no new calls and may finish what it has.
    pub(crate) fn leaving(&mut self, server: &ServerId, now: Instant, out: &mut impl Outlet<P, S>) {
        if let Some(slot) = self.server_slots.get(server).copied() {
            if let Some(view) = &mut self.views[slot] {
                view.leaving = true;
            }
            self.names_settled(slot);
            self.affinity.forget_server(server);
            self.reconsider(now, out);
        }
    }

    /// A server is gone for good.
    pub(crate) fn left(&mut self, server: &ServerId, now: Instant, out: &mut impl Outlet<P, S>) {
        let Some(slot) = self.server_slots.remove(server) else { return };
        self.lose_all(slot, &crate::event::ExitCause::Requested, now, out);
        if let Some(view) = self.put(slot, None) {
            self.naming.remove(&(view.names_until(), slot));
        }
        self.affinity.forget_server(server);
        self.reconsider(now, out);
    }

    /// Bare names need not wait for this server any more, if they did. Returns whether they did.
    fn names_settled(&mut self, slot: ServerSlot) -> bool {
        let settled = self.views[slot].as_ref().filter(|view| !view.may_share_names());
        settled.is_some_and(|view| self.naming.remove(&(view.names_until(), slot)))
    }

    /// The time of some is over in which bare names wait for them: those that wait look again.
    fn end_naming(&mut self, now: Instant, out: &mut impl Outlet<P, S>) {
        let mut ended = false;
        while self.naming.first().is_some_and(|(until, _)| *until <= now) {
            ended |= self.naming.pop_first().is_some();
        }
        if ended {
            self.unpark(now, out);
        }
    }

    /// The tools changed.
    pub(crate) fn catalogue(&mut self, catalogue: Arc<Catalogue>, now: Instant, out: &mut impl Outlet<P, S>) {
        self.catalogue = catalogue;
        self.reconsider(now, out);
    }

    /// The slot of a server, if `incarnation` is its current life, or one that finishes what it has.
    fn slot_of(&self, server: &ServerId, incarnation: Incarnation) -> Option<ServerSlot> {
        let current =
            self.server_slots.get(server).copied().filter(|slot| {
                self.views[*slot].as_ref().is_some_and(|view| view.incarnation == incarnation)
            });
        if current.is_some() || self.retiring.is_empty() {
            return current;
        }
        self.retiring.get(&(server.clone(), incarnation)).copied()
    }

    // === control ===

    /// Changes the strategy. In-flight counts and latencies stay: they belong to the servers.
    pub(crate) fn set_strategy(&mut self, name: &str) -> Result<(), UnknownStrategy> {
        self.strategies.select(name)
    }

    /// Changes the settings, for calls from now on. The sizes of tables that exist stay as they are, and what the tables
    /// hold; a budget whose rules change starts anew.
    pub(crate) fn change_settings(&mut self, settings: Arc<Settings>) {
        if settings.strategy != self.strategies.active_name() {
            // The root has asked whether there is one of that name; without one the present one goes on.
            let _ = self.set_strategy(&settings.strategy);
        }
        let (new, old) = (&settings.retry, &self.settings.retry);
        let budget =
            |retry: &RetrySettings| (retry.budget_ratio, retry.budget_min_per_second, retry.budget_window);
        if budget(new) != budget(old) {
            self.budget = RetryBudget::new(new);
        }
        if new.hedge_percentile != old.hedge_percentile {
            self.hedge_delays = HedgeDelays::new(new.hedge_percentile);
        }
        self.settings = settings;
    }

    /// Takes no new calls from now on.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
    }

    /// How many calls have no answer yet.
    pub(crate) fn open_calls(&self) -> usize {
        self.calls.len()
    }

    /// When [`tick`](Self::tick) next has something to do, at the earliest.
    pub(crate) fn next_time(&self) -> Option<Instant> {
        let pause = self.pauses.first().map(|(until, _)| *until);
        // Nobody waits for names where no call is parked.
        let naming = self.naming.first().filter(|_| !self.parked.is_empty()).map(|(until, _)| *until);
        [self.calls.next_time(), pause, naming].into_iter().flatten().min()
    }

    /// Those of the figures that change from call to call.
    pub(crate) fn figures(&self) -> Figures {
        let mut queued = self.parked.waiting();
        for route in self.waiting.iter().map(|route| &self.routes[*route]) {
            let QueuedStats { high, normal, low } = route.waiting.waiting();
            queued.high += high;
            queued.normal += normal;
            queued.low += low;
        }
        let Counters { retries, hedges, hedges_won, retries_refused, .. } = self.counters;
        Figures { open: self.calls.len(), queued, retries, hedges, hedges_won, retries_refused }
    }

    /// The figures of this moment.
    pub(crate) fn stats(&mut self, now: Instant) -> RouterStats {
        let Figures { open, queued, retries, hedges, hedges_won, retries_refused } = self.figures();
        RouterStats {
            strategy: self.strategies.active_name().to_owned(),
            open_calls: open,
            queued,
            in_flight: self.views.iter().flatten().map(|view| view.in_flight).sum(),
            affinity_bindings: self.affinity.len(now),
            retries,
            hedges,
            hedges_won,
            retries_refused,
            late_answers: self.counters.late_answers,
            outcomes: self.counters.outcomes.clone(),
        }
    }
}

/// What is wrong with a call's trace context.
fn wrong_trace(call: &Call) -> Option<CallErrorKind> {
    let InvalidTraceContext { entry, reason } = call.trace_mistake()?;
    Some(CallErrorKind::InvalidTraceContext { entry, reason })
}
