//! The table of open calls: the one owner of answers.
//!
//! A call enters by [`Calls::open`] and leaves by [`Calls::settle`], which hands out its reply port exactly once. What
//! comes later meets no entry. Deadlines, and the times at which a call wants something else (its next attempt, a
//! hedge), stand in heaps beside the table; entries of calls that ended earlier are skipped when they come up, and
//! swept out when they are more than the live ones.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::call::Call;
use crate::id::{CallId, RequestId, ServerId};

use super::mailbox::Ticket;

/// Ended entries that a heap of times may hold beside the live ones before it is swept.
const DEAD_TIMES_MAX: usize = 1024;

/// A call without an answer.
pub struct OpenCall<P> {
    /// Where the answer goes.
    pub port: P,
    /// What the host asked for. Its attempts read it too.
    pub call: Arc<Call>,
    /// The tool's name on its servers; empty until it is resolved.
    pub tool: Arc<str>,
    /// Its public id.
    pub request_id: RequestId,
    /// When it was made.
    pub started: Instant,
    /// How long it may take, from `started`.
    pub timeout: Duration,
    /// Where it stands.
    pub phase: Phase,
    /// The number of the last try; tries that a server refused unread count too.
    pub tries: u32,
    /// Attempts that may have reached a server.
    pub attempts: u32,
    /// The server of the last try.
    pub server: Option<ServerId>,
    /// The place of a server that lost the last attempt: others go first.
    pub avoid: Option<usize>,
    /// A second attempt beside the one in `phase`, on another server.
    pub hedge: Option<Flight>,
    /// When the call wants something else than its end.
    pub wake_at: Option<Instant>,
    /// The servers that lost or failed earlier attempts, in order.
    pub lost_on: Vec<ServerId>,
}

/// An attempt that a server works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flight {
    /// The server's place in the roster.
    pub server: usize,
    /// The number of the try.
    pub number: u32,
    /// When it was dispatched.
    pub since: Instant,
    /// It takes one of the server's shared slots; those of leases do not.
    pub shared: bool,
}

/// Where an open call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Just entered.
    New,
    /// Waits until servers whose tools are not known yet have told them.
    Parked(Ticket),
    /// Waits in the mailbox of a route.
    Queued {
        /// The route's place.
        route: usize,
        /// The place in its mailbox.
        ticket: Ticket,
    },
    /// Waits for its next attempt, until `wake_at`.
    Delayed,
    /// A server works on it.
    InFlight(Flight),
}

impl<P> OpenCall<P> {
    /// When it must have ended.
    pub fn deadline(&self) -> Instant {
        self.started + self.timeout
    }

    /// The attempts that servers work on.
    pub fn flights(&self) -> impl Iterator<Item = Flight> + use<P> {
        let main = match self.phase {
            Phase::InFlight(flight) => Some(flight),
            Phase::New | Phase::Parked(_) | Phase::Queued { .. } | Phase::Delayed => None,
        };
        main.into_iter().chain(self.hedge)
    }

    /// The attempt `number` on the server at `place` is over; another one takes its place in `phase`, if there is one.
    /// `None` if no such attempt is in flight.
    pub fn land(&mut self, place: usize, number: u32) -> Option<Flight> {
        let landed = self.flights().find(|flight| (flight.server, flight.number) == (place, number))?;
        let other = self.flights().find(|flight| *flight != landed);
        self.hedge = None;
        self.phase = other.map_or(Phase::New, Phase::InFlight);
        Some(landed)
    }

    /// Whether a server may have received it.
    pub fn may_have_been_sent(&self) -> bool {
        self.attempts > 0
    }
}

/// The open calls, by id.
pub struct Calls<P> {
    /// Boxed: the entries are large, and the table moves them when it grows.
    open: FxHashMap<CallId, Box<OpenCall<P>>>,
    deadlines: Times,
    wakes: Times,
}

/// Times of calls, the earliest first.
type Times = BinaryHeap<Reverse<(Instant, CallId)>>;

impl<P> Calls<P> {
    /// An empty table.
    pub fn new() -> Self {
        Self { open: FxHashMap::default(), deadlines: Times::new(), wakes: Times::new() }
    }

    /// Enters a call.
    pub fn open(&mut self, id: CallId, call: Box<OpenCall<P>>) {
        for times in [&mut self.deadlines, &mut self.wakes] {
            if times.len() > 2 * self.open.len() + DEAD_TIMES_MAX {
                times.retain(|Reverse((_, id))| self.open.contains_key(id));
            }
        }
        self.deadlines.push(Reverse((call.deadline(), id)));
        self.open.insert(id, call);
    }

    /// Takes a call out to be answered. `None` if it was answered before: the one place where that is decided.
    #[must_use = "the call that is taken out must be answered"]
    pub fn settle(&mut self, id: CallId) -> Option<Box<OpenCall<P>>> {
        self.open.remove(&id)
    }

    /// The call, if it is open.
    pub fn get(&self, id: CallId) -> Option<&OpenCall<P>> {
        self.open.get(&id).map(Box::as_ref)
    }

    /// The call, if it is open.
    pub fn get_mut(&mut self, id: CallId) -> Option<&mut OpenCall<P>> {
        self.open.get_mut(&id).map(Box::as_mut)
    }

    /// Gives a call another deadline.
    pub fn set_timeout(&mut self, id: CallId, timeout: Duration) {
        if let Some(call) = self.open.get_mut(&id) {
            call.timeout = timeout;
            self.deadlines.push(Reverse((call.deadline(), id)));
        }
    }

    /// The next call whose deadline has passed.
    pub fn expired(&mut self, now: Instant) -> Option<CallId> {
        while let Some(Reverse((at, id))) = self.deadlines.peek().copied() {
            if at > now {
                return None;
            }
            self.deadlines.pop();
            if self.open.get(&id).is_some_and(|call| call.deadline() <= now) {
                return Some(id);
            }
        }
        None
    }

    /// Has [`woken`](Self::woken) name the call at `at`, instead of any time that was set before.
    pub fn wake(&mut self, id: CallId, at: Instant) {
        if let Some(call) = self.open.get_mut(&id) {
            call.wake_at = Some(at);
            self.wakes.push(Reverse((at, id)));
        }
    }

    /// The next call whose time has come.
    pub fn woken(&mut self, now: Instant) -> Option<CallId> {
        while let Some(Reverse((at, id))) = self.wakes.peek().copied() {
            if at > now {
                return None;
            }
            self.wakes.pop();
            if let Some(call) = self.open.get_mut(&id).filter(|call| call.wake_at == Some(at)) {
                call.wake_at = None;
                return Some(id);
            }
        }
        None
    }

    /// When a deadline passes or a call wakes, at the earliest; may name a call which ended meanwhile.
    pub fn next_time(&self) -> Option<Instant> {
        [&self.deadlines, &self.wakes]
            .into_iter()
            .filter_map(|times| times.peek())
            .map(|Reverse((at, _))| *at)
            .min()
    }

    /// How many calls are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// The ids of all open calls, those that no server works on first: ended in this order, none of them is dispatched
    /// into the place that another one leaves.
    pub fn idle_first(&self) -> Vec<CallId> {
        let mut ids: Vec<CallId> = self.open.keys().copied().collect();
        ids.sort_unstable_by_key(|id| (self.open[id].flights().next().is_some(), *id));
        ids
    }

    /// Every open call.
    pub fn iter(&self) -> impl Iterator<Item = (CallId, &OpenCall<P>)> {
        self.open.iter().map(|(id, call)| (*id, call.as_ref()))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A call that just entered.
    pub(in crate::policy) fn call(started: Instant, timeout: Duration) -> Box<OpenCall<u64>> {
        Box::new(OpenCall {
            port: 0,
            call: Arc::new(Call::tool("t")),
            tool: "t".into(),
            request_id: RequestId::random(),
            started,
            timeout,
            phase: Phase::New,
            tries: 0,
            attempts: 0,
            server: None,
            avoid: None,
            hedge: None,
            wake_at: None,
            lost_on: Vec::new(),
        })
    }

    #[test]
    fn a_call_is_settled_once() {
        let now = Instant::now();
        let mut calls = Calls::new();
        calls.open(CallId(1), call(now, Duration::from_secs(1)));
        assert!(calls.settle(CallId(1)).is_some());
        assert!(calls.settle(CallId(1)).is_none());
        assert!(calls.expired(now + Duration::from_secs(9)).is_none());
    }

    #[test]
    fn a_later_deadline_replaces_an_earlier_one() {
        let now = Instant::now();
        let mut calls = Calls::new();
        calls.open(CallId(1), call(now, Duration::from_secs(1)));
        calls.set_timeout(CallId(1), Duration::from_secs(5));
        assert_eq!(calls.expired(now + Duration::from_secs(2)), None);
        assert_eq!(calls.expired(now + Duration::from_secs(5)), Some(CallId(1)));
    }

    #[test]
    fn the_deadline_heap_stays_bounded_by_the_live_calls() {
        let now = Instant::now();
        let mut calls = Calls::new();
        for id in 0..100_000 {
            calls.open(CallId(id), call(now, Duration::from_secs(30)));
            assert!(calls.settle(CallId(id)).is_some());
        }
        assert!(calls.deadlines.len() <= DEAD_TIMES_MAX + 2, "{}", calls.deadlines.len());
    }
}
