//! The connections of one server and the work on each. There are no sockets in here: the server actor opens and closes, the
//! pool says when, and which connection takes the next call.
//!
//! ```text
//! opening ─▶ ready ─▶ closing or leaving ─▶ (gone)
//!    └─────────┴────── the link breaks ──────▲
//! ```
//!
//! - A connection counts from the moment it is being opened until it is gone, so a burst can never open more than `max`. Only
//!   one that is leaving does not: it is lost, and another one must take its place.
//! - Work is granted by the pool alone, in order; each piece is on one connection, and is given back once: by a release, or by
//!   the end of its connection.
//! - Work on a connection that is closing or leaving takes nobody's room: the pool grants places on ready ones alone, and its
//!   slots are theirs and what is still out on the others. So whoever counts all work that is out against the slots finds
//!   exactly the room that there is.
//! - Several requests share a connection. More connections are for servers that work through each one request at a time.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::config::PoolSettings;
use crate::id::ConnectionId;
use crate::number_map::{NumberMap, OwnNumber};
use crate::stats::PoolStats;

/// The connections of one server. `W` names a piece of work.
#[derive(Debug)]
pub(crate) struct Pool<W: OwnNumber> {
    settings: PoolSettings,
    connections: BTreeMap<ConnectionId, Connection>,
    work: NumberMap<W, Held>,
    /// Pieces of work that were granted, ever.
    granted: u64,
}

/// One connection.
#[derive(Debug)]
struct Connection {
    phase: Phase,
    /// How many entries of `Pool::work` it holds.
    in_flight: usize,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opening,
    /// Usable; without work since `idle_since`, if it has none.
    Ready {
        idle_since: Instant,
    },
    /// Takes no new work and ends when it has none.
    Closing,
    /// The same, and not by our choice.
    Leaving,
}

/// Where a piece of work is.
#[derive(Debug)]
struct Held {
    connection: ConnectionId,
    /// Which grant it was, to give lost work back in its order.
    grant: u64,
}

impl Connection {
    fn is_ready(&self) -> bool {
        match self.phase {
            Phase::Ready { .. } => true,
            Phase::Opening | Phase::Closing | Phase::Leaving => false,
        }
    }

    /// Whether it counts towards the most that there may be.
    fn counts(&self) -> bool {
        match self.phase {
            Phase::Opening | Phase::Ready { .. } | Phase::Closing => true,
            Phase::Leaving => false,
        }
    }

    /// Whether it is there to stay.
    fn stays(&self) -> bool {
        match self.phase {
            Phase::Opening | Phase::Ready { .. } => true,
            Phase::Closing | Phase::Leaving => false,
        }
    }

    /// Since when it is ready and without work.
    fn idle_since(&self) -> Option<Instant> {
        match self.phase {
            Phase::Ready { idle_since } if self.in_flight == 0 => Some(idle_since),
            Phase::Ready { .. } | Phase::Opening | Phase::Closing | Phase::Leaving => None,
        }
    }
}

impl<W: OwnNumber> Pool<W> {
    /// A pool without connections.
    pub(crate) fn new(settings: PoolSettings) -> Self {
        Self { settings, connections: BTreeMap::new(), work: NumberMap::default(), granted: 0 }
    }

    /// A connection is being opened; it counts from now on.
    pub(crate) fn opening(&mut self, connection: ConnectionId) {
        self.connections.entry(connection).or_insert(Connection { phase: Phase::Opening, in_flight: 0 });
    }

    /// A connection that was being opened is usable. One that was closed in the meantime stays so.
    pub(crate) fn opened(&mut self, connection: ConnectionId, now: Instant) {
        if let Some(opened) = self.connections.get_mut(&connection)
            && opened.phase == Phase::Opening
        {
            opened.phase = Phase::Ready { idle_since: now };
        }
    }

    /// A connection takes no new work from now on; it still counts until it is closed, unless it is leaving already.
    pub(crate) fn closing(&mut self, connection: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&connection)
            && connection.phase != Phase::Leaving
        {
            connection.phase = Phase::Closing;
        }
    }

    /// A connection is lost to new work, while what it has comes to its own end.
    pub(crate) fn leaving(&mut self, connection: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.phase = Phase::Leaving;
        }
    }

    /// A connection is gone. Gives back the work that was on it, oldest first.
    #[must_use = "the work still has to be settled"]
    pub(crate) fn close(&mut self, connection: ConnectionId) -> Vec<W> {
        if self.connections.remove(&connection).is_none() {
            return Vec::new();
        }
        let mut lost: Vec<(W, Held)> =
            self.work.extract_if(|_, held| held.connection == connection).collect();
        lost.sort_unstable_by_key(|(_, held)| held.grant);
        lost.into_iter().map(|(work, _)| work).collect()
    }

    /// Grants a place on the least loaded ready connection; `None` if none has room, or if `work` has a place already.
    ///
    /// Of equally loaded ones the oldest is taken, so that those beyond need fall idle and can be closed.
    pub(crate) fn reserve(&mut self, work: W) -> Option<ConnectionId> {
        if self.work.contains_key(&work) {
            return None;
        }
        let room = |connection: &Connection| {
            connection.is_ready() && connection.in_flight < self.settings.in_flight_max
        };
        let with_room = self.connections.iter_mut().filter(|(_, connection)| room(connection));
        let (id, connection) = with_room.min_by_key(|(_, connection)| connection.in_flight)?;
        connection.in_flight += 1;
        self.work.insert(work, Held { connection: *id, grant: self.granted });
        self.granted += 1;
        Some(*id)
    }

    /// Gives a place back. `false` if `work` has none on this connection: it was released before, or went with it.
    pub(crate) fn release(&mut self, connection: ConnectionId, work: W, now: Instant) -> bool {
        if self.holder(work) != Some(connection) {
            return false;
        }
        self.work.remove(&work);
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.in_flight -= 1;
            if let Phase::Ready { idle_since } = &mut connection.phase {
                *idle_since = now;
            }
        }
        true
    }

    /// How many connections to open now: what is missing to the minimum; else one, if all are busy and none is on its way.
    pub(crate) fn wanted(&self) -> usize {
        let missing = self.below_min();
        let busy = |connection: &Connection| match connection.phase {
            Phase::Ready { .. } => {
                connection.in_flight > self.settings.busy_at
                    || connection.in_flight >= self.settings.in_flight_max
            }
            // One at a time: it may be all that is needed.
            Phase::Opening => false,
            Phase::Closing | Phase::Leaving => true,
        };
        let all_busy = || self.is_ready() && self.connections.values().all(busy);
        let wanted = if missing > 0 { missing } else { usize::from(all_busy()) };
        if wanted == 0 {
            // The usual answer: this is asked after each message.
            return 0;
        }
        let counted = self.connections.values().filter(|connection| connection.counts()).count();
        wanted.min(self.settings.max.saturating_sub(counted))
    }

    /// How many connections are missing to the minimum, those on their way counted as there.
    pub(crate) fn below_min(&self) -> usize {
        let staying = self.connections.values().filter(|connection| connection.stays()).count();
        self.settings.min.saturating_sub(staying)
    }

    /// Connections to close since they were idle for too long, the longest idle first. Leaves the minimum of ready ones.
    pub(crate) fn surplus(&self, now: Instant) -> Vec<ConnectionId> {
        let beyond_min = self.ready().saturating_sub(self.settings.min);
        if beyond_min == 0 {
            return Vec::new();
        }
        let mut idle: Vec<(Instant, ConnectionId)> = self
            .connections
            .iter()
            .filter_map(|(id, connection)| Some((connection.idle_since()?, *id)))
            .filter(|(since, _)| now.saturating_duration_since(*since) >= self.settings.idle_timeout)
            .collect();
        idle.sort_unstable();
        idle.into_iter().take(beyond_min).map(|(_, id)| id).collect()
    }

    /// When [`surplus`](Self::surplus) will next have something, if nothing else happens.
    pub(crate) fn idle_check_at(&self) -> Option<Instant> {
        if self.ready() <= self.settings.min {
            return None;
        }
        let longest = self.connections.values().filter_map(Connection::idle_since).min()?;
        longest.checked_add(self.settings.idle_timeout)
    }

    /// Work that can be out at once: what the ready connections can hold, and what the others still have.
    pub(crate) fn slots(&self) -> usize {
        // In one walk: this is asked after each message.
        self.connections.values().fold(0_usize, |slots, connection| {
            let more = if connection.is_ready() { self.settings.in_flight_max } else { connection.in_flight };
            slots.saturating_add(more)
        })
    }

    /// Whether any connection is ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.connections.values().any(Connection::is_ready)
    }

    /// How many connections are ready.
    pub(crate) fn ready(&self) -> usize {
        self.connections.values().filter(|connection| connection.is_ready()).count()
    }

    /// Work on all connections, closing ones included.
    pub(crate) fn in_flight(&self) -> usize {
        self.work.len()
    }

    /// The figures of this moment.
    pub(crate) fn stats(&self) -> PoolStats {
        PoolStats {
            total: self.connections.len(),
            ready: self.ready(),
            busy: self.connections.values().filter(|c| c.is_ready() && c.in_flight > 0).count(),
            max: self.settings.max,
            in_flight: self.in_flight(),
            leased: 0,
        }
    }

    /// The connection that a piece of work is on.
    pub(crate) fn holder(&self, work: W) -> Option<ConnectionId> {
        self.work.get(&work).map(|held| held.connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECS: fn(u64) -> Duration = Duration::from_secs;

    fn settings(min: usize, max: usize, in_flight_max: usize, busy_at: usize) -> PoolSettings {
        PoolSettings { min, max, in_flight_max, busy_at, idle_timeout: SECS(300), ..PoolSettings::default() }
    }

    /// A pool with the ready connections 0 to `count`.
    fn ready(settings: PoolSettings, count: u64, now: Instant) -> Pool<u32> {
        let mut pool = Pool::new(settings);
        for id in (0..count).map(ConnectionId) {
            pool.opening(id);
            pool.opened(id, now);
        }
        pool
    }

    #[test]
    fn figures_tell_what_is_open_what_is_busy_and_the_most_that_there_may_be() {
        let mut pool = ready(settings(1, 4, 256, 1), 2, Instant::now());
        pool.opening(ConnectionId(2));
        let busy = |pool: &Pool<u32>| (pool.stats().busy, pool.stats().in_flight);
        assert_eq!(busy(&pool), (0, 0));
        let work = [1, 2, 3].map(|work| pool.reserve(work).is_some());
        assert_eq!((work, busy(&pool)), ([true; 3], (2, 3)));
        let stats = pool.stats();
        assert_eq!((stats.total, stats.ready, stats.max), (3, 2, 4));
    }

    #[test]
    fn fault_f2_a_connection_counts_from_the_moment_it_is_opened() {
        let mut pool: Pool<u32> = Pool::new(settings(2, 2, 8, 1));
        assert_eq!(pool.wanted(), 2);
        pool.opening(ConnectionId(0));
        pool.opening(ConnectionId(1));
        assert_eq!((pool.wanted(), pool.stats().total), (0, 2));
        assert_eq!(pool.reserve(1), None);
    }

    #[test]
    fn another_connection_is_opened_when_all_are_busy_and_only_one_at_a_time() {
        let mut pool = ready(settings(1, 3, 8, 1), 1, Instant::now());
        assert_eq!(pool.wanted(), 0);
        assert!(pool.reserve(1).is_some());
        assert_eq!(pool.wanted(), 0, "one caller needs one connection");
        assert!(pool.reserve(2).is_some());
        assert_eq!(pool.wanted(), 1);
        pool.opening(ConnectionId(1));
        assert_eq!(pool.wanted(), 0);
    }

    #[test]
    fn a_connection_that_holds_one_request_at_a_time_is_busy_with_one() {
        let mut pool = ready(settings(1, 3, 1, 1), 1, Instant::now());
        assert!(pool.reserve(1).is_some());
        assert_eq!(pool.wanted(), 1);
    }

    #[test]
    fn a_closing_connection_is_replaced_but_counts_until_it_is_gone() {
        let mut pool = ready(settings(1, 2, 8, 1), 1, Instant::now());
        assert!(pool.reserve(1).is_some());
        pool.closing(ConnectionId(0));
        assert_eq!((pool.wanted(), pool.below_min(), pool.slots()), (1, 1, 1));
        assert_eq!(pool.reserve(2), None);
        pool.opening(ConnectionId(1));
        assert_eq!(pool.wanted(), 0);
        assert_eq!(pool.close(ConnectionId(0)), [1]);
    }

    #[test]
    fn what_a_leaving_connection_carries_takes_no_room_of_the_next_one() {
        let now = Instant::now();
        let mut pool = ready(settings(1, 1, 1, 1), 1, now);
        assert!(pool.reserve(1).is_some());
        pool.leaving(ConnectionId(0));
        assert_eq!((pool.slots(), pool.in_flight(), pool.wanted()), (1, 1, 1), "nothing has room");
        pool.opening(ConnectionId(1));
        pool.opened(ConnectionId(1), now);
        assert_eq!((pool.slots(), pool.in_flight()), (2, 1), "the next one has room for one");
        assert_eq!(pool.reserve(2), Some(ConnectionId(1)));
        assert!(pool.release(ConnectionId(0), 1, now));
        assert_eq!((pool.slots(), pool.in_flight(), pool.reserve(3)), (1, 1, None));
    }

    #[test]
    fn work_goes_to_the_least_loaded_connection_that_has_room() {
        let mut pool = ready(settings(1, 3, 2, 1), 2, Instant::now());
        let granted: Vec<_> = (0..5).map(|work| pool.reserve(work).map(|id| id.0)).collect();
        assert_eq!(granted, [Some(0), Some(1), Some(0), Some(1), None]);
        assert_eq!((pool.slots(), pool.in_flight()), (4, 4));
    }

    #[test]
    fn fault_f10_a_second_release_frees_nobody_elses_place() {
        let now = Instant::now();
        let mut pool = ready(settings(1, 1, 1, 1), 1, now);
        assert!(pool.reserve(1).is_some());
        assert!(pool.release(ConnectionId(0), 1, now));
        assert!(pool.reserve(2).is_some());
        assert!(!pool.release(ConnectionId(0), 1, now));
        assert_eq!((pool.in_flight(), pool.reserve(3)), (1, None));
    }

    #[test]
    fn the_work_of_a_lost_connection_is_given_back_in_its_order() {
        let now = Instant::now();
        let mut pool = ready(settings(1, 2, 8, 1), 2, now);
        (0..10).for_each(|work| assert!(pool.reserve(work).is_some()));
        assert!(pool.release(ConnectionId(0), 4, now));
        assert_eq!(pool.close(ConnectionId(0)), [0, 2, 6, 8]);
        assert!(pool.close(ConnectionId(0)).is_empty());
        assert!(!pool.release(ConnectionId(0), 2, now));
        assert_eq!(pool.in_flight(), 5);
    }

    #[test]
    fn fault_f7_idle_connections_close_down_to_the_minimum_and_no_further() {
        let now = Instant::now();
        let mut pool = ready(settings(2, 5, 8, 1), 4, now);
        assert!(pool.reserve(1).is_some());
        assert!(pool.release(ConnectionId(0), 1, now + SECS(1)));
        assert_eq!(pool.idle_check_at(), Some(now + SECS(300)));
        assert_eq!(pool.surplus(now + SECS(299)), []);
        assert_eq!(pool.surplus(now + SECS(9000)), [ConnectionId(1), ConnectionId(2)]);
        pool.closing(ConnectionId(1));
        pool.closing(ConnectionId(2));
        assert_eq!((pool.surplus(now + SECS(9000)), pool.idle_check_at()), (vec![], None));
    }

    #[test]
    fn a_connection_that_opens_after_it_was_told_to_close_takes_no_work() {
        let mut pool: Pool<u32> = Pool::new(settings(1, 1, 8, 1));
        pool.opening(ConnectionId(0));
        pool.closing(ConnectionId(0));
        pool.opened(ConnectionId(0), Instant::now());
        pool.opened(ConnectionId(9), Instant::now());
        assert_eq!((pool.is_ready(), pool.reserve(1), pool.stats().total), (false, None, 1));
    }
}
