use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use tokio::time::Instant;

use crate::config::PoolSettings;
use crate::id::ConnectionId;
use crate::policy::pool::Pool;

use super::MS;

const IDLE_TIMEOUT: u64 = 300;

#[derive(Debug, Clone)]
enum Step {
    /// Opens what the pool wants.
    Open,
    Opened(u64),
    Closing(u64),
    /// It takes no more, and not by our choice.
    Leaving(u64),
    Close(u64),
    Reserve(u32),
    /// Releases on a connection that may be the wrong one.
    Release(u64, u32),
    /// Waits, then closes what is surplus.
    Trim(u64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Opening,
    Ready { idle_since: u64 },
    Closing,
    Leaving,
}

/// What a step has to bring.
#[derive(Debug, Clone, PartialEq)]
enum Output {
    Nothing,
    /// These are to be opened.
    Opened(Vec<u64>),
    Lost(Vec<u32>),
    Reserved(Option<u64>),
    Released(bool),
    Surplus(Vec<u64>),
}

/// Connections and the work on them, in the order in which they came.
#[derive(Debug, Clone)]
struct Lists {
    min: usize,
    max: usize,
    in_flight_max: usize,
    busy_at: usize,
    now: u64,
    connections: Vec<(u64, Phase)>,
    work: Vec<(u32, u64)>,
    opened_ever: u64,
    output: Output,
}

impl Lists {
    fn load(&self, connection: u64) -> usize {
        self.work.iter().filter(|(_, on)| *on == connection).count()
    }

    fn ready(&self) -> Vec<u64> {
        let ready = self.connections.iter().filter(|(_, phase)| matches!(phase, Phase::Ready { .. }));
        ready.map(|(id, _)| *id).collect()
    }

    fn phase(&mut self, connection: u64) -> Option<&mut Phase> {
        self.connections.iter_mut().find(|(id, _)| *id == connection).map(|(_, phase)| phase)
    }

    fn close(&mut self, connection: u64) -> Vec<u32> {
        self.connections.retain(|(id, _)| *id != connection);
        let (lost, kept) = self.work.iter().partition(|(_, on)| *on == connection);
        self.work = kept;
        let lost: Vec<(u32, u64)> = lost;
        lost.into_iter().map(|(work, _)| work).collect()
    }

    fn reserve(&mut self, work: u32) -> Option<u64> {
        if self.work.iter().any(|(held, _)| *held == work) {
            return None;
        }
        let room = self.ready().into_iter().filter(|id| self.load(*id) < self.in_flight_max);
        let granted = room.min_by_key(|id| (self.load(*id), *id))?;
        self.work.push((work, granted));
        Some(granted)
    }

    fn release(&mut self, connection: u64, work: u32) -> bool {
        let before = self.work.len();
        self.work.retain(|held| *held != (work, connection));
        let released = self.work.len() < before;
        let now = self.now;
        if released && let Some(Phase::Ready { idle_since }) = self.phase(connection) {
            *idle_since = now;
        }
        released
    }

    /// What the ready ones can hold, and what is out on the others.
    fn slots(&self) -> usize {
        let ready = self.ready();
        let on_others = self.work.iter().filter(|(_, on)| !ready.contains(on)).count();
        ready.len() * self.in_flight_max + on_others
    }

    /// The missing ones; else one more, if all that are ready are busy and none is on its way.
    fn wanted(&self) -> usize {
        let staying =
            self.connections.iter().filter(|(_, phase)| !matches!(phase, Phase::Closing | Phase::Leaving));
        let missing = self.min.saturating_sub(staying.count());
        let room = self.max - self.counted();
        if missing > 0 {
            return missing.min(room);
        }
        let busy = |id: u64| self.load(id) > self.busy_at || self.load(id) == self.in_flight_max;
        let opening = self.connections.iter().any(|(_, phase)| *phase == Phase::Opening);
        let ready = self.ready();
        let more = !opening && !ready.is_empty() && ready.into_iter().all(busy);
        usize::from(more).min(room)
    }

    /// Those that count towards the most there may be: what leaves is lost, and another one takes its place.
    fn counted(&self) -> usize {
        self.connections.iter().filter(|(_, phase)| *phase != Phase::Leaving).count()
    }

    /// The longest idle, so many that the minimum stays ready.
    fn surplus(&self) -> Vec<u64> {
        let idle = self.connections.iter().filter_map(|(id, phase)| match phase {
            Phase::Ready { idle_since } if self.load(*id) == 0 && idle_since + IDLE_TIMEOUT <= self.now => {
                Some((*idle_since, *id))
            }
            Phase::Ready { .. } | Phase::Opening | Phase::Closing | Phase::Leaving => None,
        });
        let mut idle: Vec<(u64, u64)> = idle.collect();
        idle.sort_unstable();
        let beyond = self.ready().len().saturating_sub(self.min);
        idle.into_iter().take(beyond).map(|(_, id)| id).collect()
    }
}

impl ReferenceStateMachine for Lists {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        (1usize..4, 0usize..4, 1usize..5, 1usize..5)
            .prop_map(|(min, more, in_flight_max, busy_at)| Self {
                min,
                max: min + more,
                in_flight_max,
                busy_at,
                now: 0,
                connections: Vec::new(),
                work: Vec::new(),
                opened_ever: 0,
                output: Output::Nothing,
            })
            .boxed()
    }

    fn transitions(lists: &Self) -> BoxedStrategy<Step> {
        let connection = 0..lists.opened_ever + 2;
        prop_oneof![
            4 => Just(Step::Open),
            6 => connection.clone().prop_map(Step::Opened),
            1 => connection.clone().prop_map(Step::Closing),
            2 => connection.clone().prop_map(Step::Leaving),
            1 => connection.clone().prop_map(Step::Close),
            12 => (0u32..40).prop_map(Step::Reserve),
            8 => (connection, 0u32..40).prop_map(|(on, work)| Step::Release(on, work)),
            2 => (0..2 * IDLE_TIMEOUT).prop_map(Step::Trim),
        ]
        .boxed()
    }

    fn preconditions(lists: &Self, step: &Step) -> bool {
        // What leaves is asked to end no more.
        let leaves = |id: u64| lists.connections.contains(&(id, Phase::Leaving));
        !matches!(step, Step::Closing(id) if leaves(*id))
    }

    fn apply(mut lists: Self, step: &Step) -> Self {
        lists.output = Output::Nothing;
        match *step {
            Step::Open => {
                let first = lists.opened_ever;
                lists.opened_ever += lists.wanted() as u64;
                let opened: Vec<u64> = (first..lists.opened_ever).collect();
                lists.connections.extend(opened.iter().map(|id| (*id, Phase::Opening)));
                lists.output = Output::Opened(opened);
            }
            Step::Opened(id) => {
                let idle_since = lists.now;
                if let Some(phase) = lists.phase(id).filter(|phase| **phase == Phase::Opening) {
                    *phase = Phase::Ready { idle_since };
                }
            }
            Step::Closing(id) => {
                if let Some(phase) = lists.phase(id).filter(|phase| **phase != Phase::Leaving) {
                    *phase = Phase::Closing;
                }
            }
            Step::Leaving(id) => {
                if let Some(phase) = lists.phase(id) {
                    *phase = Phase::Leaving;
                }
            }
            Step::Close(id) => lists.output = Output::Lost(lists.close(id)),
            Step::Reserve(work) => lists.output = Output::Reserved(lists.reserve(work)),
            Step::Release(id, work) => lists.output = Output::Released(lists.release(id, work)),
            Step::Trim(ms) => {
                lists.now += ms;
                let surplus = lists.surplus();
                for id in &surplus {
                    *lists.phase(*id).unwrap() = Phase::Closing;
                }
                lists.output = Output::Surplus(surplus);
            }
        }
        lists
    }
}

struct Test {
    pool: Pool<u32>,
    start: Instant,
    opened_ever: u64,
}

impl StateMachineTest for Test {
    type SystemUnderTest = Self;
    type Reference = Lists;

    fn init_test(lists: &Lists) -> Self {
        let settings = PoolSettings {
            min: lists.min,
            max: lists.max,
            in_flight_max: lists.in_flight_max,
            busy_at: lists.busy_at,
            idle_timeout: MS(IDLE_TIMEOUT),
            ..PoolSettings::default()
        };
        Self { pool: Pool::new(settings), start: Instant::now(), opened_ever: 0 }
    }

    fn apply(mut test: Self, lists: &Lists, step: Step) -> Self {
        let Self { pool, start, opened_ever } = &mut test;
        let now = *start + MS(lists.now);
        let mut output = Output::Nothing;
        match step {
            Step::Open => {
                let first = *opened_ever;
                *opened_ever += pool.wanted() as u64;
                let opened: Vec<u64> = (first..*opened_ever).collect();
                opened.iter().for_each(|id| pool.opening(ConnectionId(*id)));
                output = Output::Opened(opened);
            }
            Step::Opened(id) => pool.opened(ConnectionId(id), now),
            Step::Closing(id) => pool.closing(ConnectionId(id)),
            Step::Leaving(id) => pool.leaving(ConnectionId(id)),
            Step::Close(id) => output = Output::Lost(pool.close(ConnectionId(id))),
            Step::Reserve(work) => output = Output::Reserved(pool.reserve(work).map(|id| id.0)),
            Step::Release(id, work) => output = Output::Released(pool.release(ConnectionId(id), work, now)),
            Step::Trim(_) => {
                let due = pool.idle_check_at().is_some_and(|at| at <= now);
                let surplus = pool.surplus(now);
                assert_eq!(due, !surplus.is_empty(), "it says when to look");
                surplus.iter().for_each(|id| pool.closing(*id));
                output = Output::Surplus(surplus.into_iter().map(|id| id.0).collect());
            }
        }
        assert_eq!(output, lists.output);
        test
    }

    fn check_invariants(test: &Self, lists: &Lists) {
        let pool = &test.pool;
        assert_eq!(pool.stats().total, lists.connections.len());
        assert!(lists.counted() <= lists.max);
        assert_eq!(pool.ready(), lists.ready().len());
        assert_eq!(pool.in_flight(), lists.work.len());
        assert_eq!(pool.slots(), lists.slots());
        let has_room = lists.ready().into_iter().any(|id| lists.load(id) < lists.in_flight_max);
        assert_eq!(
            pool.in_flight() < pool.slots(),
            has_room,
            "who counts what is out finds the room that there is"
        );
        assert_eq!(pool.wanted(), lists.wanted());
        for (work, connection) in &lists.work {
            assert_eq!(pool.holder(*work), Some(ConnectionId(*connection)));
            assert!(lists.load(*connection) <= lists.in_flight_max);
        }
    }
}

prop_state_machine! {
    #[test]
    fn a_pool_keeps_its_limits_and_gives_each_piece_of_work_back_once(sequential 1..200 => Test);
}
