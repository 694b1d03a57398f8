//! The numbers of lives and connections. None is given twice to one server id while the troupe plays, whoever dies, is
//! replaced, or leaves and comes back: a message that names one can meet no other.
//!
//! And what the host ordered last of the server's breaker: a life that hangs cannot say it, and the next one must not wait for
//! that.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::id::{ConnectionId, Incarnation, ServerId};

/// Ids of servers that left whose last numbers are remembered. The numbers of one that is forgotten count for all that come
/// later, so that nothing is given twice; this is as many as keeps the numbers small where servers come and go.
const PAST_MAX: usize = 1_000;

/// The numbers of one registration, counted on by all that give some: the registry, and the lives of the server, of which
/// two may play at once.
#[derive(Debug, Clone)]
pub(crate) struct Numbers(Arc<Counters>);

#[derive(Debug)]
struct Counters {
    /// What was given before this registration.
    before: Given,
    lives: AtomicU64,
    connections: AtomicU64,
    /// The host holds the breaker open. Written by the life that carries the order out.
    held_open: AtomicBool,
}

/// The last numbers that were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Given {
    life: u64,
    connection: u64,
}

impl Given {
    fn beyond(self, other: Self) -> Self {
        Self { life: self.life.max(other.life), connection: self.connection.max(other.connection) }
    }
}

impl Numbers {
    fn after(before: Given) -> Self {
        let (lives, connections) = (AtomicU64::new(before.life), AtomicU64::new(before.connection));
        Self(Arc::new(Counters { before, lives, connections, held_open: AtomicBool::new(false) }))
    }

    /// The number of a new life.
    pub(crate) fn life(&self) -> Incarnation {
        // Nothing but the number itself is agreed on by it.
        Incarnation(self.0.lives.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The number of a new connection.
    pub(crate) fn connection(&self) -> ConnectionId {
        ConnectionId(self.0.connections.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The host has ordered that the breaker is held open, or that it is not.
    pub(crate) fn hold_open(&self, held_open: bool) {
        // Nothing else is agreed on by it: each life looks when it takes over, and when it is handed what another one left.
        self.0.held_open.store(held_open, Ordering::Relaxed);
    }

    /// Whether the host holds the breaker open, whichever life was told.
    pub(crate) fn held_open(&self) -> bool {
        self.0.held_open.load(Ordering::Relaxed)
    }

    /// Whether a life is, or was, one of this registration.
    pub(crate) fn has(&self, life: Incarnation) -> bool {
        life.0 > self.0.before.life
    }

    /// Whether this registration has had a life.
    pub(crate) fn have_begun(&self) -> bool {
        self.given().life > self.0.before.life
    }

    /// The life that was begun last, of this registration or of one before it.
    pub(crate) fn last_life(&self) -> Incarnation {
        Incarnation(self.given().life)
    }

    /// Names the registration among all of its server id.
    pub(crate) fn registration(&self) -> RegistrationId {
        RegistrationId(self.0.before.life)
    }

    fn given(&self) -> Given {
        Given {
            life: self.0.lives.load(Ordering::Relaxed),
            connection: self.0.connections.load(Ordering::Relaxed),
        }
    }
}

/// One registration of a server id; another one has another number, once it has had a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RegistrationId(u64);

/// What was given to servers that have left.
#[derive(Debug, Default)]
pub(crate) struct PastNumbers {
    remembered: BTreeMap<ServerId, Given>,
    /// The ids that are remembered, the one that left first before the others.
    order: VecDeque<ServerId>,
    /// What the others may have had.
    others: Given,
}

impl PastNumbers {
    /// The numbers of a server that joins, beyond those of all that had its id.
    pub(super) fn joins(&mut self, server: &ServerId) -> Numbers {
        let before = match self.remembered.remove(server) {
            Some(given) => {
                self.order.retain(|other| other != server);
                given
            }
            None => self.others,
        };
        Numbers::after(before)
    }

    /// A server has left.
    pub(super) fn left(&mut self, server: ServerId, numbers: &Numbers) {
        // Where a life has just begun it is not known yet: so it is the registration that counts.
        let given = numbers.given();
        let given = Given { life: given.life.max(numbers.0.before.life + 1), ..given };
        if self.remembered.insert(server.clone(), given).is_none() {
            self.order.push_back(server);
        }
        if self.order.len() > PAST_MAX
            && let Some(given) = self.order.pop_front().and_then(|first| self.remembered.remove(&first))
        {
            self.others = self.others.beyond(given);
        }
    }
}

/// One order to let a server rest; each has a number of its own, so that the rest of an earlier one is not taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DrainOrder(pub(super) u64);

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: &str) -> ServerId {
        ServerId::new(id).unwrap()
    }

    #[test]
    fn numbers_begin_at_one_and_go_on_after_those_that_had_the_id() {
        let mut past = PastNumbers::default();
        let first = past.joins(&id("a"));
        assert_eq!(
            (first.life(), first.connection(), first.connection()),
            (Incarnation::FIRST, ConnectionId(1), ConnectionId(2))
        );
        past.left(id("a"), &first);
        let (second, other) = (past.joins(&id("a")), past.joins(&id("b")));
        assert_eq!((second.life(), second.connection()), (Incarnation(2), ConnectionId(3)));
        assert_eq!((other.life(), other.connection()), (Incarnation::FIRST, ConnectionId(1)));
        assert!(first.has(Incarnation(1)) && !second.has(Incarnation(1)) && second.has(Incarnation(2)));
    }

    #[test]
    fn registrations_of_one_id_differ_also_where_one_never_lived() {
        let mut past = PastNumbers::default();
        let first = past.joins(&id("a"));
        past.left(id("a"), &first);
        assert!(!first.have_begun());
        assert_ne!(first.registration(), past.joins(&id("a")).registration());
    }

    #[test]
    fn no_number_is_given_twice_though_few_that_left_are_remembered() {
        let mut past = PastNumbers::default();
        let first = past.joins(&id("a"));
        (0..5).for_each(|_| assert_eq!(first.life().0, first.connection().0));
        past.left(id("a"), &first);
        for other in 0..PAST_MAX {
            let server = id(&format!("b{other}"));
            let numbers = past.joins(&server);
            assert_eq!(
                (numbers.life(), numbers.connection()),
                (Incarnation::FIRST, ConnectionId(1)),
                "{other}"
            );
            past.left(server, &numbers);
        }
        assert_eq!(past.remembered.len(), PAST_MAX);
        let again = past.joins(&id("a"));
        assert_eq!((again.life(), again.connection()), (Incarnation(6), ConnectionId(6)));
    }
}
