//! The table of open calls: the one owner of answers.
//!
//! A call enters by [`Calls::open`] and leaves by [`Calls::settle`], which hands out its reply port exactly once. What
//! comes later meets no entry. Deadlines, and the times at which a call wants something else (its next attempt, a
//! hedge), stand in heaps beside the table; entries of calls that ended earlier are skipped when they come up, and
//! swept out when they are more than the live ones. The clock of a call that may not go unheard for long has one entry
//! there, however often it is started anew: when that comes up it is seen whether the call was heard of since.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::call::Call;
use crate::duration::later;
use crate::id::{CallId, GroupId, RequestId, ServerId};
use crate::number_map::NumberMap;

use super::mailbox::Ticket;
use super::slots::{RouteId, ServerSlot};

/// Ended entries that a heap of times may hold beside the live ones before it is swept.
const DEAD_TIMES_MAX: usize = 1024;

/// A call without an answer.
pub(crate) struct OpenCall<P> {
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
    /// Tries before the last one that a server refused with its word that it did nothing.
    pub turned_away: u32,
    /// The server of the last try.
    pub server: Option<ServerId>,
    /// Its group at that time: what is said of that group's tools holds for the try, whatever becomes of the server.
    pub group: Option<GroupId>,
    /// The slot of a server that lost the last attempt: others go first.
    pub avoid: Option<ServerSlot>,
    /// A server has said of an attempt that it knew its session no more, and so did nothing.
    pub session_lost: bool,
    /// A second attempt beside the one in `phase`, on another server.
    pub hedge: Option<OpenAttempt>,
    /// When the call wants something else than its end.
    pub wake_at: Option<Instant>,
    /// Runs while servers work on it and tell nothing, where that has a limit.
    pub idle: Option<Box<IdleTimer>>,
    /// The servers that lost or failed earlier attempts, in order.
    pub earlier_servers: Vec<ServerId>,
}

/// The clock of a call that ends when nothing is heard of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdleTimer {
    /// How long nothing may be heard.
    pub timeout: Duration,
    /// When that is over; `None` before the first attempt.
    until: Option<Instant>,
    /// It has an entry among the times.
    listed: bool,
}

impl IdleTimer {
    /// One that does not run yet.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { timeout, until: None, listed: false }
    }
}

/// An attempt that a server works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenAttempt {
    /// The server's slot in the routing.
    pub server: ServerSlot,
    /// The number of the try.
    pub number: u32,
    /// Which it is of the attempts that may have reached a server, from 1.
    pub attempt: u32,
    /// When it was dispatched.
    pub since: Instant,
    /// It takes room of the server's shared connections; those of leases do not.
    pub shared: bool,
}

/// Where an open call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Just entered.
    New,
    /// Waits until servers whose tools are not known yet have told them.
    Parked(Ticket),
    /// Waits in the mailbox of a route.
    Queued {
        /// Which route.
        route: RouteId,
        /// The place in its mailbox.
        ticket: Ticket,
    },
    /// Waits for its next attempt, until `wake_at`.
    Delayed,
    /// A server works on it.
    InFlight(OpenAttempt),
}

impl<P> OpenCall<P> {
    /// When it must have ended.
    pub(crate) fn deadline(&self) -> Instant {
        later(self.started, self.timeout)
    }

    /// The attempts that servers work on.
    pub(crate) fn open_attempts(&self) -> impl Iterator<Item = OpenAttempt> + use<P> {
        let main = match self.phase {
            Phase::InFlight(attempt) => Some(attempt),
            Phase::New | Phase::Parked(_) | Phase::Queued { .. } | Phase::Delayed => None,
        };
        main.into_iter().chain(self.hedge)
    }

    /// The attempt `number` on the server at `slot` is over; another one takes its place in `phase`, if there is one.
    /// `None` if no such attempt is in flight.
    pub(crate) fn end_attempt(&mut self, slot: ServerSlot, number: u32) -> Option<OpenAttempt> {
        let is_it = |attempt: &OpenAttempt| (attempt.server, attempt.number) == (slot, number);
        if let Some(hedge) = self.hedge.take_if(|hedge| is_it(hedge)) {
            return Some(hedge);
        }
        let Phase::InFlight(attempt) = self.phase else { return None };
        is_it(&attempt).then(|| {
            self.phase = self.hedge.take().map_or(Phase::New, Phase::InFlight);
            attempt
        })
    }

    /// Whether a server may have received it.
    pub(crate) fn may_have_been_sent(&self) -> bool {
        self.attempts > 0
    }
}

/// The open calls, by id.
pub(crate) struct Calls<P> {
    /// Boxed: the entries are large, and the table moves them when it grows.
    open: NumberMap<CallId, Box<OpenCall<P>>>,
    deadlines: Times,
    wakes: Times,
    idles: Times,
}

/// Times of calls, the earliest first.
type Times = BinaryHeap<Reverse<(Instant, CallId)>>;

impl<P> Calls<P> {
    /// An empty table.
    pub(crate) fn new() -> Self {
        let [deadlines, wakes, idles] = [const { Times::new() }; 3];
        Self { open: NumberMap::default(), deadlines, wakes, idles }
    }

    /// Enters a call.
    pub(crate) fn open(&mut self, id: CallId, call: Box<OpenCall<P>>) {
        self.deadlines.push(Reverse((call.deadline(), id)));
        self.open.insert(id, call);
        self.sweep();
    }

    /// Lets go of entries of calls that have ended, and of times that others took the place of.
    fn sweep(&mut self) {
        let Self { open, deadlines, wakes, idles } = self;
        let entries_max = 2 * open.len() + DEAD_TIMES_MAX;
        if deadlines.len() > entries_max {
            deadlines.retain(|Reverse((at, id))| open.get(id).is_some_and(|call| call.deadline() == *at));
        }
        if wakes.len() > entries_max {
            wakes.retain(|Reverse((at, id))| open.get(id).is_some_and(|call| call.wake_at == Some(*at)));
        }
        if idles.len() > entries_max {
            // Each call has one entry.
            idles.retain(|Reverse((_, id))| open.contains_key(id));
        }
    }

    /// Takes a call out to be answered. `None` if it was answered before: the one place where that is decided.
    #[must_use = "the call that is taken out must be answered"]
    pub(crate) fn settle(&mut self, id: CallId) -> Option<Box<OpenCall<P>>> {
        self.open.remove(&id)
    }

    /// The call, if it is open.
    pub(crate) fn get(&self, id: CallId) -> Option<&OpenCall<P>> {
        self.open.get(&id).map(Box::as_ref)
    }

    /// The call, if it is open.
    pub(crate) fn get_mut(&mut self, id: CallId) -> Option<&mut OpenCall<P>> {
        self.open.get_mut(&id).map(Box::as_mut)
    }

    /// Gives a call another deadline.
    pub(crate) fn set_timeout(&mut self, id: CallId, timeout: Duration) {
        if let Some(call) = self.open.get_mut(&id) {
            call.timeout = timeout;
            self.deadlines.push(Reverse((call.deadline(), id)));
            self.sweep();
        }
    }

    /// The next call whose deadline has passed.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<CallId> {
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
    pub(crate) fn wake(&mut self, id: CallId, at: Instant) {
        if let Some(call) = self.open.get_mut(&id) {
            call.wake_at = Some(at);
            self.wakes.push(Reverse((at, id)));
            self.sweep();
        }
    }

    /// The next call whose time has come.
    pub(crate) fn woken(&mut self, now: Instant) -> Option<CallId> {
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

    /// A server works on the call from now on, or was heard of it: its time without a word begins anew.
    pub(crate) fn reset_idle(&mut self, id: CallId, now: Instant) {
        let Some(idle) = self.open.get_mut(&id).and_then(|call| call.idle.as_mut()) else { return };
        // A time beyond all clocks does not end.
        idle.until = now.checked_add(idle.timeout);
        if let Some(until) = idle.until.filter(|_| !idle.listed) {
            idle.listed = true;
            self.idles.push(Reverse((until, id)));
        }
    }

    /// The next call that servers work on and of which nothing was heard for too long.
    pub(crate) fn idle(&mut self, now: Instant) -> Option<CallId> {
        while let Some(Reverse((at, id))) = self.idles.peek().copied() {
            if at > now {
                return None;
            }
            self.idles.pop();
            let Some(call) = self.open.get_mut(&id) else { continue };
            let in_flight = call.open_attempts().next().is_some();
            let Some(idle) = &mut call.idle else { continue };
            idle.listed = false;
            match idle.until.filter(|_| in_flight) {
                // It waits: the next attempt starts the clock.
                None => {}
                Some(until) if until <= now => return Some(id),
                Some(until) => {
                    idle.listed = true;
                    self.idles.push(Reverse((until, id)));
                }
            }
        }
        None
    }

    /// When a deadline passes, a call wakes or may have been silent for too long, at the earliest; may name a call which
    /// ended, or was heard of, meanwhile.
    pub(crate) fn next_time(&self) -> Option<Instant> {
        [&self.deadlines, &self.wakes, &self.idles]
            .into_iter()
            .filter_map(|times| times.peek())
            .map(|Reverse((at, _))| *at)
            .min()
    }

    /// How many calls are open.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// The ids of all open calls, those that no server works on first: ended in this order, none of them is dispatched
    /// into the place that another one leaves.
    pub(crate) fn idle_first(&self) -> Vec<CallId> {
        let mut ids: Vec<CallId> = self.open.keys().copied().collect();
        ids.sort_unstable_by_key(|id| (self.open[id].open_attempts().next().is_some(), *id));
        ids
    }

    /// Every open call.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (CallId, &OpenCall<P>)> {
        self.open.iter().map(|(id, call)| (*id, call.as_ref()))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::policy::slots::TableIndex;

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
            turned_away: 0,
            server: None,
            avoid: None,
            group: None,
            session_lost: false,
            hedge: None,
            wake_at: None,
            idle: None,
            earlier_servers: Vec::new(),
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

    /// A call that a server works on and that may go unheard for `idle_ms`.
    fn in_flight(started: Instant, idle_ms: u64) -> Box<OpenCall<u64>> {
        let attempt =
            OpenAttempt { server: ServerSlot::at(0), number: 1, attempt: 1, since: started, shared: true };
        let idle = Some(Box::new(IdleTimer::new(Duration::from_millis(idle_ms))));
        let call = *call(started, Duration::from_secs(30));
        Box::new(OpenCall { phase: Phase::InFlight(attempt), idle, ..call })
    }

    #[test]
    fn a_call_of_which_nothing_is_heard_is_idle_and_updates_start_its_time_anew() {
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let mut calls = Calls::new();
        calls.open(CallId(1), in_flight(now, 100));
        calls.reset_idle(CallId(1), now);
        assert_eq!(calls.idle(at(99)), None);
        calls.reset_idle(CallId(1), at(99));
        assert_eq!((calls.idle(at(100)), calls.next_time()), (None, Some(at(199))));
        assert_eq!(calls.idle(at(198)), None);
        assert_eq!(calls.idle(at(199)), Some(CallId(1)));
    }

    #[test]
    fn a_call_that_waits_is_not_idle_and_its_next_attempt_has_all_of_the_time() {
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let mut calls = Calls::new();
        calls.open(CallId(1), in_flight(now, 100));
        calls.reset_idle(CallId(1), now);
        let phase = std::mem::replace(&mut calls.get_mut(CallId(1)).unwrap().phase, Phase::Delayed);
        assert_eq!(calls.idle(at(500)), None);
        calls.get_mut(CallId(1)).unwrap().phase = phase;
        calls.reset_idle(CallId(1), at(500));
        assert_eq!((calls.idle(at(599)), calls.idle(at(600))), (None, Some(CallId(1))));
    }

    #[test]
    fn a_call_without_a_limit_of_silence_has_no_such_time() {
        let now = Instant::now();
        let mut calls = Calls::new();
        calls.open(CallId(1), Box::new(OpenCall { idle: None, ..*in_flight(now, 1) }));
        calls.open(CallId(2), in_flight(now, u64::MAX));
        (1..=2).for_each(|id| calls.reset_idle(CallId(id), now));
        assert_eq!(calls.idle(now + Duration::from_secs(29)), None);
    }

    #[test]
    fn a_flood_of_updates_leaves_one_entry_in_the_heap() {
        let now = Instant::now();
        let mut calls = Calls::new();
        calls.open(CallId(1), in_flight(now, 100));
        (0..100_000).for_each(|us| calls.reset_idle(CallId(1), now + Duration::from_micros(us)));
        assert_eq!(calls.idles.len(), 1);
    }

    #[test]
    fn times_that_are_set_again_and_again_leave_few_entries() {
        let now = Instant::now();
        let mut calls = Calls::new();
        calls.open(CallId(1), call(now, Duration::from_secs(30)));
        for n in 0..100_000 {
            calls.set_timeout(CallId(1), Duration::from_secs(30 + n % 2));
            calls.wake(CallId(1), now + Duration::from_millis(n));
        }
        assert!(calls.deadlines.len().max(calls.wakes.len()) <= DEAD_TIMES_MAX + 3);
        assert_eq!(calls.woken(now + Duration::from_secs(100)), Some(CallId(1)));
        assert_eq!(calls.expired(now + Duration::from_secs(30)), None);
        assert_eq!(calls.expired(now + Duration::from_secs(31)), Some(CallId(1)));
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

    #[test]
    fn times_of_open_calls_stay_among_those_of_any_number_that_have_ended() {
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let mut calls = Calls::new();
        calls.open(CallId(1), call(now, Duration::from_secs(30)));
        calls.open(CallId(2), in_flight(now, 20_000));
        calls.open(CallId(3), call(now, Duration::from_secs(60)));
        calls.wake(CallId(3), at(10_000));
        calls.reset_idle(CallId(2), now);
        for id in 4..10_000 {
            calls.open(CallId(id), in_flight(now, 5_000));
            calls.reset_idle(CallId(id), now);
            calls.wake(CallId(id), at(5_000));
            assert!(calls.settle(CallId(id)).is_some());
        }
        let entries = [calls.deadlines.len(), calls.wakes.len(), calls.idles.len()];
        assert!(entries.into_iter().all(|entries| entries <= DEAD_TIMES_MAX + 2 * 4), "{entries:?}");
        assert_eq!([calls.woken(at(9_999)), calls.woken(at(10_000))], [None, Some(CallId(3))]);
        assert_eq!([calls.idle(at(19_999)), calls.idle(at(20_000))], [None, Some(CallId(2))]);
        let ended = [calls.expired(at(29_999)), calls.expired(at(30_000)), calls.expired(at(30_000))];
        assert_eq!(ended, [None, Some(CallId(1)), Some(CallId(2))]);
        assert_eq!(calls.expired(at(60_000)), Some(CallId(3)));
    }
}
