//! The leased connections of one server, and the work on each. There are no sockets in here.
//!
//! ```text
//! opening ─▶ held ─▶ closing or leaving ─▶ (gone)
//!    └────────┴───── the link breaks ────────▲
//! ```
//!
//! A lease has a connection of its own, opened for it and closed with it: what one user leaves behind on a connection,
//! such as an open transaction, is never met by the next. Why a lease ended is remembered for those who still use it.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

use crate::id::ConnectionId;

/// Ended leases whose end is remembered; a user who comes back after so many others learns only that it ended.
const ENDS_MAX: usize = 64;

/// Why work on a lease was not begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The lease has ended, for this reason.
    Over(String),
    /// Its connection has as many requests in flight as it may.
    Full(usize),
}

/// The leases of one server. `W` names a piece of work.
#[derive(Debug)]
pub(crate) struct Leases<W> {
    max: usize,
    idle_timeout: Duration,
    in_flight_max: usize,
    held: BTreeMap<ConnectionId, Lease<W>>,
    ends: VecDeque<(ConnectionId, String)>,
}

#[derive(Debug)]
enum Lease<W> {
    /// Asked for by this piece of work, which is done when the connection is open.
    Opening {
        by: W,
    },
    Held {
        idle_since: Instant,
        work: HashSet<W>,
    },
    /// Takes no new work and ends when it has none.
    Closing {
        work: HashSet<W>,
    },
    /// The same, and not by our choice: another lease may take its place.
    Leaving {
        work: HashSet<W>,
    },
}

impl<W: Copy + Eq + Hash + Ord> Leases<W> {
    /// No leases yet; at most `max` at once, each with at most `in_flight_max` requests, and ended by `idle_timeout`.
    pub(crate) fn new(max: usize, idle_timeout: Duration, in_flight_max: usize) -> Self {
        Self { max, idle_timeout, in_flight_max, held: BTreeMap::new(), ends: VecDeque::new() }
    }

    /// Begins a lease on a connection that is about to be opened. `false` if there are as many as there may be.
    #[must_use]
    pub(crate) fn open(&mut self, connection: ConnectionId, by: W) -> bool {
        let leaving = self.held.values().filter(|lease| matches!(lease, Lease::Leaving { .. })).count();
        // Of a server whose links leave as soon as they have work there are never more than as many again.
        let room = self.held.len() - leaving < self.max && leaving <= self.max;
        if room {
            self.held.insert(connection, Lease::Opening { by });
        }
        room
    }

    /// The connection is usable. Gives back the work that asked for it; `None` if it is no lease that is being opened.
    pub(crate) fn opened(&mut self, connection: ConnectionId, now: Instant) -> Option<W> {
        let lease = self.held.get_mut(&connection)?;
        let Lease::Opening { by } = *lease else { return None };
        *lease = Lease::Held { idle_since: now, work: HashSet::new() };
        Some(by)
    }

    /// Begins a piece of work on a lease.
    pub(crate) fn begin(&mut self, connection: ConnectionId, new: W) -> Result<(), Denied> {
        match self.held.get_mut(&connection) {
            Some(Lease::Held { work, .. }) if work.len() >= self.in_flight_max => {
                Err(Denied::Full(self.in_flight_max))
            }
            Some(Lease::Held { work, .. }) => {
                work.insert(new);
                Ok(())
            }
            Some(Lease::Opening { .. } | Lease::Closing { .. } | Lease::Leaving { .. }) | None => {
                Err(Denied::Over(self.end_of(connection)))
            }
        }
    }

    /// A piece of work is done. `false` if the lease has no such work.
    pub(crate) fn finish(&mut self, connection: ConnectionId, done: W, now: Instant) -> bool {
        match self.held.get_mut(&connection) {
            Some(Lease::Held { idle_since, work }) => {
                *idle_since = now;
                work.remove(&done)
            }
            Some(Lease::Closing { work } | Lease::Leaving { work }) => work.remove(&done),
            Some(Lease::Opening { .. }) | None => false,
        }
    }

    /// A lease takes no new work from now on. `false` if it had ended before.
    pub(crate) fn close(&mut self, connection: ConnectionId, reason: &str) -> bool {
        let Some(work) = self.work_of_open(connection) else { return false };
        self.held.insert(connection, Lease::Closing { work });
        self.remember(connection, reason);
        true
    }

    /// The link of a lease is lost to new work, while what it has comes to its own end.
    pub(crate) fn leave(&mut self, connection: ConnectionId, reason: &str) {
        let Some(work) = self.work_of_open(connection) else { return };
        self.held.insert(connection, Lease::Leaving { work });
        self.remember(connection, reason);
    }

    /// Takes the work of a lease that has not ended.
    fn work_of_open(&mut self, connection: ConnectionId) -> Option<HashSet<W>> {
        match self.held.get_mut(&connection)? {
            Lease::Opening { .. } => Some(HashSet::new()),
            Lease::Held { work, .. } => Some(std::mem::take(work)),
            Lease::Closing { .. } | Lease::Leaving { .. } => None,
        }
    }

    /// The connection is gone. Gives back the work that was on it, oldest first, and what asked for it if it never opened.
    #[must_use = "the work still has to be settled"]
    pub(crate) fn end(&mut self, connection: ConnectionId, reason: &str) -> (Vec<W>, Option<W>) {
        let (work, by) = match self.held.remove(&connection) {
            Some(Lease::Opening { by }) => (HashSet::new(), Some(by)),
            Some(Lease::Held { work, .. }) => {
                self.remember(connection, reason);
                (work, None)
            }
            Some(Lease::Closing { work } | Lease::Leaving { work }) => (work, None),
            None => return (Vec::new(), None),
        };
        let mut work: Vec<W> = work.into_iter().collect();
        work.sort_unstable();
        (work, by)
    }

    fn remember(&mut self, connection: ConnectionId, reason: &str) {
        if self.ends.len() == ENDS_MAX {
            self.ends.pop_front();
        }
        self.ends.push_back((connection, reason.to_owned()));
    }

    fn end_of(&self, connection: ConnectionId) -> String {
        let found = self.ends.iter().find(|(ended, _)| *ended == connection);
        found.map_or_else(|| "it ended long ago".to_owned(), |(_, reason)| reason.clone())
    }

    /// The connection that a piece of work is on, or that it asked for.
    pub(crate) fn holder(&self, wanted: W) -> Option<ConnectionId> {
        let holds = |lease: &Lease<W>| match lease {
            Lease::Opening { by } => *by == wanted,
            Lease::Held { work, .. } | Lease::Closing { work } | Lease::Leaving { work } => {
                work.contains(&wanted)
            }
        };
        self.held.iter().find(|(_, lease)| holds(lease)).map(|(connection, _)| *connection)
    }

    /// Leases that are still being opened.
    pub(crate) fn opening(&self) -> Vec<ConnectionId> {
        let opening = self.held.iter().filter(|(_, lease)| matches!(lease, Lease::Opening { .. }));
        opening.map(|(connection, _)| *connection).collect()
    }

    /// Leases that were unused for too long.
    pub(crate) fn expired(&self, now: Instant) -> Vec<ConnectionId> {
        let over = |since: Instant| now.saturating_duration_since(since) >= self.idle_timeout;
        self.idle().filter(|(_, since)| over(*since)).map(|(connection, _)| connection).collect()
    }

    /// When [`expired`](Self::expired) will next have something, if nothing else happens.
    pub(crate) fn idle_check_at(&self) -> Option<Instant> {
        self.idle().filter_map(|(_, since)| since.checked_add(self.idle_timeout)).min()
    }

    fn idle(&self) -> impl Iterator<Item = (ConnectionId, Instant)> {
        self.held.iter().filter_map(|(connection, lease)| match lease {
            Lease::Held { idle_since, work } if work.is_empty() => Some((*connection, *idle_since)),
            Lease::Held { .. } | Lease::Opening { .. } | Lease::Closing { .. } | Lease::Leaving { .. } => {
                None
            }
        })
    }

    /// Leases that have not ended, those that are being opened or closed included.
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// The most leases at once.
    pub(crate) fn max(&self) -> usize {
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(60);
    const ONE: ConnectionId = ConnectionId(1);
    const TWO: ConnectionId = ConnectionId(2);

    fn held(now: Instant) -> Leases<u32> {
        let mut leases = Leases::new(1, IDLE, 2);
        assert!(leases.open(ONE, 10));
        assert_eq!(leases.opened(ONE, now), Some(10));
        leases
    }

    #[test]
    fn there_are_never_more_leases_than_allowed_until_one_is_gone() {
        let mut leases = held(Instant::now());
        assert!(!leases.open(TWO, 11));
        assert!(leases.close(ONE, "released"));
        assert!(!leases.open(TWO, 11), "a closing connection still counts");
        assert_eq!(leases.end(ONE, "closed"), (vec![], None));
        assert!(leases.open(TWO, 11));
    }

    #[test]
    fn a_lease_whose_link_is_leaving_takes_no_room_of_the_next_one() {
        let now = Instant::now();
        let mut leases = held(now);
        assert_eq!(leases.begin(ONE, 1), Ok(()));
        leases.leave(ONE, "session lost");
        assert_eq!(leases.begin(ONE, 2), Err(Denied::Over("session lost".into())));
        assert!(leases.open(TWO, 11), "another one may take its place");
        assert_eq!(leases.opened(TWO, now), Some(11));
        leases.leave(TWO, "session lost");
        assert!(!leases.open(ConnectionId(3), 12), "not for ever, while nothing that is left ends");
        assert!(leases.finish(ONE, 1, now));
        assert_eq!(leases.end(ONE, "gone"), (vec![], None));
        assert!(leases.open(ConnectionId(3), 12));
    }

    #[test]
    fn work_on_a_lease_that_ended_is_denied_with_the_reason() {
        let mut leases = held(Instant::now());
        assert_eq!(leases.begin(ONE, 1), Ok(()));
        assert_eq!(leases.end(ONE, "cut"), (vec![1], None));
        assert_eq!(leases.begin(ONE, 2), Err(Denied::Over("cut".into())));
        assert!(!leases.finish(ONE, 1, Instant::now()));
    }

    #[test]
    fn the_first_reason_of_an_end_stays() {
        let mut leases = held(Instant::now());
        assert!(leases.close(ONE, "idle"));
        assert!(!leases.close(ONE, "again"));
        assert_eq!(leases.end(ONE, "closed in order"), (vec![], None));
        assert_eq!(leases.begin(ONE, 2), Err(Denied::Over("idle".into())));
    }

    #[test]
    fn a_lease_that_never_opened_gives_back_who_asked_for_it() {
        let mut leases: Leases<u32> = Leases::new(1, IDLE, 2);
        assert!(leases.open(ONE, 10));
        assert_eq!((leases.holder(10), leases.opening()), (Some(ONE), vec![ONE]));
        assert_eq!(leases.end(ONE, "refused"), (vec![], Some(10)));
        assert_eq!(leases.opened(ONE, Instant::now()), None);
    }

    #[test]
    fn an_unused_lease_ends_and_one_at_work_does_not() {
        let now = Instant::now();
        let mut leases = held(now);
        assert_eq!(leases.idle_check_at(), Some(now + IDLE));
        assert_eq!(leases.begin(ONE, 1), Ok(()));
        assert_eq!((leases.idle_check_at(), leases.expired(now + 2 * IDLE)), (None, vec![]));
        assert!(leases.finish(ONE, 1, now + IDLE));
        assert_eq!(leases.expired(now + 2 * IDLE - Duration::from_millis(1)), vec![]);
        assert_eq!(leases.expired(now + 2 * IDLE), vec![ONE]);
    }

    #[test]
    fn requests_in_flight_on_a_lease_are_bounded() {
        let mut leases = held(Instant::now());
        assert_eq!((leases.begin(ONE, 1), leases.begin(ONE, 2)), (Ok(()), Ok(())));
        assert_eq!(leases.begin(ONE, 3), Err(Denied::Full(2)));
    }

    #[test]
    fn ends_that_are_remembered_are_bounded() {
        let mut leases: Leases<u32> = Leases::new(1, IDLE, 2);
        for connection in (0..200).map(ConnectionId) {
            assert!(leases.open(connection, 1));
            leases.opened(connection, Instant::now());
            assert_eq!(leases.end(connection, "cut"), (vec![], None));
        }
        assert_eq!(leases.ends.len(), ENDS_MAX);
        assert_eq!(leases.begin(ConnectionId(0), 1), Err(Denied::Over("it ended long ago".into())));
    }
}
