use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use tokio::time::Instant;

use crate::id::ConnectionId;
use crate::policy::leases::{Denied, Leases};

use super::MS;

const IDLE_TIMEOUT: u64 = 100;
const MAX: usize = 3;
const IN_FLIGHT_MAX: usize = 2;

#[derive(Debug, Clone)]
enum Step {
    /// A lease is asked for, on a connection with the next number.
    Open,
    /// A connection is usable: any, also one whose grant was called off.
    Opened(u64),
    Begin(u64, u32),
    /// Finishes work on a lease that may be another one's.
    Finish(u64, u32),
    /// A lease is released, or whoever asked for it has left.
    Close(u64),
    /// A connection is gone.
    End(u64),
    /// Waits, then closes what was unused for too long.
    Pass(u64),
}

/// What a step has to bring.
#[derive(Debug, Clone, PartialEq)]
enum Output {
    Nothing,
    Opened(bool),
    Granted(Option<u32>),
    /// Whether it was begun; if not, whether the lease is over.
    Begun(Result<(), bool>),
    Finished(bool),
    Closed(bool),
    Lost(Vec<u32>, Option<u32>),
    Expired(Vec<u64>),
}

#[derive(Debug, Clone)]
struct Lease {
    /// Who asked for it, until it is granted or called off.
    opener: Option<u32>,
    /// It takes work.
    open: bool,
    idle_since: u64,
    work: Vec<u32>,
}

/// The leases, with the work on them.
#[derive(Debug, Clone)]
struct Book {
    now: u64,
    asked: u64,
    leases: BTreeMap<u64, Lease>,
    output: Output,
}

impl Book {
    fn expired(&self) -> Vec<u64> {
        let unused = |lease: &Lease| {
            lease.open && lease.work.is_empty() && lease.idle_since + IDLE_TIMEOUT <= self.now
        };
        self.leases.iter().filter(|(_, lease)| unused(lease)).map(|(id, _)| *id).collect()
    }

    fn close(&mut self, id: u64) -> bool {
        let Some(lease) = self.leases.get_mut(&id) else { return false };
        let was = lease.open || lease.opener.is_some();
        (lease.open, lease.opener) = (false, None);
        was
    }
}

impl ReferenceStateMachine for Book {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self { now: 0, asked: 0, leases: BTreeMap::new(), output: Output::Nothing }).boxed()
    }

    fn transitions(book: &Self) -> BoxedStrategy<Step> {
        let id = book.asked.saturating_sub(5)..=book.asked;
        prop_oneof![
            4 => Just(Step::Open),
            5 => id.clone().prop_map(Step::Opened),
            6 => (id.clone(), 0u32..20).prop_map(|(id, work)| Step::Begin(id, work)),
            4 => (id.clone(), 0u32..20).prop_map(|(id, work)| Step::Finish(id, work)),
            2 => id.clone().prop_map(Step::Close),
            3 => id.prop_map(Step::End),
            2 => (0..2 * IDLE_TIMEOUT).prop_map(Step::Pass),
        ]
        .boxed()
    }

    fn preconditions(book: &Self, step: &Step) -> bool {
        // A piece of work is begun once.
        !matches!(step, Step::Begin(_, work) if book.leases.values().any(|lease| lease.work.contains(work)))
    }

    fn apply(mut book: Self, step: &Step) -> Self {
        let now = book.now;
        book.output = match *step {
            Step::Open => {
                let room = book.leases.len() < MAX;
                if room {
                    let opener = Some(1_000 + book.asked as u32);
                    let lease = Lease { opener, open: false, idle_since: 0, work: Vec::new() };
                    book.leases.insert(book.asked, lease);
                }
                book.asked += 1;
                Output::Opened(room)
            }
            Step::Opened(id) => {
                let lease = book.leases.get_mut(&id).filter(|lease| lease.opener.is_some());
                Output::Granted(lease.and_then(|lease| {
                    (lease.open, lease.idle_since) = (true, now);
                    lease.opener.take()
                }))
            }
            Step::Begin(id, work) => match book.leases.get_mut(&id).filter(|lease| lease.open) {
                None => Output::Begun(Err(true)),
                Some(lease) if lease.work.len() == IN_FLIGHT_MAX => Output::Begun(Err(false)),
                Some(lease) => {
                    lease.work.push(work);
                    Output::Begun(Ok(()))
                }
            },
            Step::Finish(id, work) => {
                let finished = book.leases.get_mut(&id).is_some_and(|lease| {
                    let before = lease.work.len();
                    lease.work.retain(|held| *held != work);
                    lease.idle_since = now;
                    lease.work.len() < before
                });
                Output::Finished(finished)
            }
            Step::Close(id) => Output::Closed(book.close(id)),
            Step::End(id) => {
                let ended = book.leases.remove(&id);
                let (mut work, opener) = ended.map(|lease| (lease.work, lease.opener)).unwrap_or_default();
                work.sort_unstable();
                Output::Lost(work, opener)
            }
            Step::Pass(ms) => {
                book.now += ms;
                let expired = book.expired();
                expired.iter().for_each(|id| assert!(book.close(*id)));
                Output::Expired(expired)
            }
        };
        book
    }
}

struct Test {
    leases: Leases<u32>,
    start: Instant,
    asked: u64,
}

impl StateMachineTest for Test {
    type SystemUnderTest = Self;
    type Reference = Book;

    fn init_test(_: &Book) -> Self {
        Self { leases: Leases::new(MAX, MS(IDLE_TIMEOUT), IN_FLIGHT_MAX), start: Instant::now(), asked: 0 }
    }

    fn apply(mut test: Self, book: &Book, step: Step) -> Self {
        let Self { leases, start, asked } = &mut test;
        let now = *start + MS(book.now);
        let output = match step {
            Step::Open => {
                let opened = leases.open(ConnectionId(*asked), 1_000 + *asked as u32);
                *asked += 1;
                Output::Opened(opened)
            }
            Step::Opened(id) => Output::Granted(leases.opened(ConnectionId(id), now)),
            Step::Begin(id, work) => Output::Begun(
                leases.begin(ConnectionId(id), work).map_err(|denied| matches!(denied, Denied::Over(_))),
            ),
            Step::Finish(id, work) => Output::Finished(leases.finish(ConnectionId(id), work, now)),
            Step::Close(id) => Output::Closed(leases.close(ConnectionId(id), "released")),
            Step::End(id) => {
                let (work, opener) = leases.end(ConnectionId(id), "cut");
                Output::Lost(work, opener)
            }
            Step::Pass(_) => {
                let due = leases.idle_check_at().is_some_and(|at| at <= now);
                let expired = leases.expired(now);
                assert_eq!(due, !expired.is_empty(), "it says when to look");
                expired.iter().for_each(|id| assert!(leases.close(*id, "unused")));
                Output::Expired(expired.into_iter().map(|id| id.0).collect())
            }
        };
        assert_eq!(output, book.output);
        test
    }

    fn check_invariants(test: &Self, book: &Book) {
        assert_eq!(test.leases.len(), book.leases.len());
        assert!(test.leases.len() <= MAX);
        let opening = book.leases.iter().filter(|(_, lease)| lease.opener.is_some());
        let opening: Vec<ConnectionId> = opening.map(|(id, _)| ConnectionId(*id)).collect();
        assert_eq!(test.leases.opening(), opening);
        for (id, lease) in &book.leases {
            for work in lease.work.iter().chain(&lease.opener) {
                assert_eq!(test.leases.holder(*work), Some(ConnectionId(*id)));
            }
        }
    }

    /// When all connections are gone nothing is held, and there is room for as many as before.
    fn teardown(mut test: Self, book: Book) {
        for id in book.leases.keys() {
            let _ = test.leases.end(ConnectionId(*id), "the end");
        }
        assert_eq!((test.leases.len(), test.leases.idle_check_at()), (0, None));
        let fresh = (book.asked..).take(MAX);
        assert!(fresh.into_iter().all(|id| test.leases.open(ConnectionId(id), 0)));
    }
}

prop_state_machine! {
    #[test]
    fn a_lease_is_granted_once_and_gives_its_place_and_its_work_back_once(sequential 1..200 => Test);
}
