use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use tokio::time::Instant;

use crate::id::CallId;
use crate::policy::calls::{Calls, IdleTimer, OpenAttempt, Phase, tests::call};
use crate::policy::slots::{ServerSlot, TableIndex};

use super::MS;

#[derive(Debug, Clone)]
enum Step {
    Open {
        timeout: u64,
        /// How long nothing may be heard of it.
        idle: Option<u64>,
    },
    /// A server works on it.
    Fly(u64),
    /// No server works on it.
    Land(u64),
    /// Something was heard of it.
    Stir(u64),
    /// Any call may be settled, ended ones too.
    Settle(u64),
    SetTimeout(u64, u64),
    Wake(u64, u64),
    /// Time passes, and what is due is done.
    Pass(u64),
}

/// What a step has to bring.
#[derive(Debug, Clone, PartialEq)]
enum Output {
    Nothing,
    Settled(bool),
    /// The calls that ran out of time, those of which nothing was heard, and those that woke, by id.
    Due(Vec<u64>, Vec<u64>, Vec<u64>),
}

#[derive(Debug, Clone)]
struct Open {
    started: u64,
    timeout: u64,
    wake_at: Option<u64>,
    idle: Option<u64>,
    in_flight: bool,
    stirred: Option<u64>,
}

impl Open {
    /// When it has been silent for too long.
    fn idle_at(&self) -> Option<u64> {
        self.in_flight.then_some(self.stirred? + self.idle?)
    }
}

/// The open calls, with their times as they are.
#[derive(Debug, Clone)]
struct Table {
    now: u64,
    opened: u64,
    ended: u64,
    open: BTreeMap<u64, Open>,
    output: Output,
}

impl Table {
    fn which(&self, of: impl Fn(&Open) -> bool) -> Vec<u64> {
        self.open.iter().filter(|(_, open)| of(open)).map(|(id, _)| *id).collect()
    }

    fn settle(&mut self, id: u64) -> bool {
        let settled = self.open.remove(&id).is_some();
        self.ended += u64::from(settled);
        settled
    }
}

impl ReferenceStateMachine for Table {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self { now: 0, opened: 0, ended: 0, open: BTreeMap::new(), output: Output::Nothing }).boxed()
    }

    fn transitions(table: &Self) -> BoxedStrategy<Step> {
        let id = 0..=table.opened;
        prop_oneof![
            8 => (0u64..100, prop::option::of(1u64..50))
                .prop_map(|(timeout, idle)| Step::Open { timeout, idle }),
            6 => id.clone().prop_map(Step::Fly),
            2 => id.clone().prop_map(Step::Land),
            6 => id.clone().prop_map(Step::Stir),
            4 => id.clone().prop_map(Step::Settle),
            2 => (id.clone(), 0u64..200).prop_map(|(id, timeout)| Step::SetTimeout(id, timeout)),
            4 => (id, 0u64..100).prop_map(|(id, after)| Step::Wake(id, after)),
            4 => (0u64..50).prop_map(Step::Pass),
        ]
        .boxed()
    }

    fn apply(mut table: Self, step: &Step) -> Self {
        table.output = Output::Nothing;
        match *step {
            Step::Open { timeout, idle } => {
                let started = table.now;
                let open = Open { started, timeout, wake_at: None, idle, in_flight: false, stirred: None };
                table.open.insert(table.opened, open);
                table.opened += 1;
            }
            Step::Fly(id) => {
                let now = table.now;
                table.open.entry(id).and_modify(|open| {
                    open.in_flight = true;
                    open.stirred = Some(now);
                });
            }
            Step::Land(id) => {
                table.open.entry(id).and_modify(|open| open.in_flight = false);
            }
            Step::Stir(id) => {
                let now = table.now;
                table.open.entry(id).and_modify(|open| open.stirred = Some(now));
            }
            Step::Settle(id) => table.output = Output::Settled(table.settle(id)),
            Step::SetTimeout(id, timeout) => {
                table.open.entry(id).and_modify(|open| open.timeout = timeout);
            }
            Step::Wake(id, after) => {
                let at = table.now + after;
                table.open.entry(id).and_modify(|open| open.wake_at = Some(at));
            }
            Step::Pass(ms) => {
                table.now += ms;
                let now = table.now;
                let expired = table.which(|open| open.started + open.timeout <= now);
                expired.iter().for_each(|id| assert!(table.settle(*id)));
                let silent = table.which(|open| open.idle_at().is_some_and(|at| at <= now));
                silent.iter().for_each(|id| assert!(table.settle(*id)));
                let woken = table.which(|open| open.wake_at.is_some_and(|at| at <= now));
                for id in &woken {
                    table.open.entry(*id).and_modify(|open| open.wake_at = None);
                }
                table.output = Output::Due(expired, silent, woken);
            }
        }
        table
    }
}

struct Test {
    calls: Calls<u64>,
    start: Instant,
    opened: u64,
    answered: Vec<u64>,
}

impl StateMachineTest for Test {
    type SystemUnderTest = Self;
    type Reference = Table;

    fn init_test(_: &Table) -> Self {
        Self { calls: Calls::new(), start: Instant::now(), opened: 0, answered: Vec::new() }
    }

    fn apply(mut test: Self, table: &Table, step: Step) -> Self {
        let Self { calls, start, opened, answered } = &mut test;
        let now = *start + MS(table.now);
        let mut output = Output::Nothing;
        match step {
            Step::Open { timeout, idle } => {
                let mut open = call(now, MS(timeout));
                open.idle = idle.map(|idle| Box::new(IdleTimer::new(MS(idle))));
                calls.open(CallId(*opened), open);
                *opened += 1;
            }
            Step::Fly(id) => {
                if let Some(open) = calls.get_mut(CallId(id)) {
                    let attempt = OpenAttempt {
                        server: ServerSlot::at(0),
                        number: 1,
                        attempt: 1,
                        since: now,
                        shared: true,
                    };
                    open.phase = Phase::InFlight(attempt);
                }
                calls.reset_idle(CallId(id), now);
            }
            Step::Land(id) => {
                if let Some(open) = calls.get_mut(CallId(id)) {
                    open.phase = Phase::Delayed;
                }
            }
            Step::Stir(id) => calls.reset_idle(CallId(id), now),
            Step::Settle(id) => {
                let settled = calls.settle(CallId(id)).is_some();
                answered.extend(settled.then_some(id));
                output = Output::Settled(settled);
            }
            Step::SetTimeout(id, timeout) => calls.set_timeout(CallId(id), MS(timeout)),
            Step::Wake(id, after) => calls.wake(CallId(id), now + MS(after)),
            Step::Pass(_) => {
                let mut expired: Vec<u64> = std::iter::from_fn(|| {
                    let id = calls.expired(now)?;
                    assert!(calls.settle(id).is_some());
                    Some(id.0)
                })
                .collect();
                answered.extend(&expired);
                expired.sort_unstable();
                let mut silent: Vec<u64> = std::iter::from_fn(|| {
                    let id = calls.idle(now)?;
                    assert!(calls.settle(id).is_some());
                    Some(id.0)
                })
                .collect();
                answered.extend(&silent);
                silent.sort_unstable();
                let mut woken: Vec<u64> = std::iter::from_fn(|| calls.woken(now).map(|id| id.0)).collect();
                woken.sort_unstable();
                output = Output::Due(expired, silent, woken);
            }
        }
        assert_eq!(output, table.output);
        test
    }

    fn check_invariants(test: &Self, table: &Table) {
        assert_eq!(test.calls.len(), table.open.len());
        assert_eq!(test.answered.len() as u64, table.ended);
        let times = |open: &Open| [Some(open.started + open.timeout), open.wake_at, open.idle_at()];
        if let Some(next) = table.open.values().flat_map(times).flatten().min() {
            let at = test.calls.next_time().expect("something is to come");
            assert!(at <= test.start + MS(next), "nothing is overslept");
        }
    }

    fn teardown(mut test: Self, table: Table) {
        while let Some(id) = test.calls.expired(test.start + MS(table.now + 1_000)) {
            assert!(test.calls.settle(id).is_some());
            test.answered.push(id.0);
        }
        test.answered.sort_unstable();
        assert_eq!(test.answered, (0..table.opened).collect::<Vec<_>>(), "each is answered, and once");
    }
}

prop_state_machine! {
    #[test]
    fn each_call_leaves_the_table_exactly_once(sequential 1..200 => Test);
}
