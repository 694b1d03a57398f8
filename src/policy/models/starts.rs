use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use crate::policy::starts::{Attempt, StartId, Starts};

/// How often a first attempt goes before one after a failure.
const OVERTAKES: u32 = 8;

#[derive(Debug, Clone)]
enum Step {
    Ask(Attempt),
    /// Lets all start that may.
    Next,
    /// A start that runs, waits, is over, or never was.
    Over(u64),
}

/// All that asked and are not over, in their order.
#[derive(Debug, Clone)]
struct Lists {
    limit: usize,
    asked: u64,
    waiting: Vec<(u64, Attempt)>,
    running: Vec<(u64, Attempt)>,
    overtaken: u32,
    /// What the last step let start.
    output: Vec<u64>,
}

impl Lists {
    fn first_of(&self, attempt: Attempt) -> Option<usize> {
        self.waiting.iter().position(|(_, waits)| *waits == attempt)
    }

    fn next(&mut self) -> Option<u64> {
        if self.running.len() == self.limit {
            return None;
        }
        let again = self.running.iter().filter(|(_, attempt)| *attempt == Attempt::Again).count();
        let again = self.first_of(Attempt::Again).filter(|_| again < self.limit.div_ceil(2));
        let place = match (self.first_of(Attempt::First), again) {
            (Some(_), Some(again)) if self.overtaken == OVERTAKES => again,
            (Some(first), again) => {
                self.overtaken += u32::from(again.is_some());
                first
            }
            (None, Some(again)) => again,
            (None, None) => return None,
        };
        let start = self.waiting.remove(place);
        if start.1 == Attempt::Again {
            self.overtaken = 0;
        }
        self.running.push(start);
        Some(start.0)
    }
}

impl ReferenceStateMachine for Lists {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        let empty =
            |limit| Self { limit, asked: 0, waiting: vec![], running: vec![], overtaken: 0, output: vec![] };
        (1usize..6).prop_map(empty).boxed()
    }

    fn transitions(lists: &Self) -> BoxedStrategy<Step> {
        let attempt = prop_oneof![2 => Just(Attempt::First), 1 => Just(Attempt::Again)];
        prop_oneof![
            5 => attempt.prop_map(Step::Ask),
            4 => Just(Step::Next),
            5 => (0..lists.asked + 3).prop_map(Step::Over),
        ]
        .boxed()
    }

    fn apply(mut lists: Self, step: &Step) -> Self {
        lists.output.clear();
        match *step {
            Step::Ask(attempt) => {
                lists.asked += 1;
                lists.waiting.push((lists.asked, attempt));
            }
            Step::Next => {
                while let Some(id) = lists.next() {
                    lists.output.push(id);
                }
            }
            Step::Over(id) => {
                lists.waiting.retain(|(other, _)| *other != id);
                lists.running.retain(|(other, _)| *other != id);
            }
        }
        lists
    }
}

struct Test(Starts);

impl StateMachineTest for Test {
    type SystemUnderTest = Self;
    type Reference = Lists;

    fn init_test(lists: &Lists) -> Self {
        Self(Starts::new(lists.limit))
    }

    fn apply(mut test: Self, lists: &Lists, step: Step) -> Self {
        let mut output = Vec::new();
        match step {
            Step::Ask(attempt) => assert_eq!(test.0.ask(attempt), StartId(lists.asked)),
            Step::Next => output.extend(std::iter::from_fn(|| test.0.next()).map(|id| id.0)),
            Step::Over(id) => test.0.over(StartId(id)),
        }
        assert_eq!(output, lists.output);
        test
    }

    fn check_invariants(Self(starts): &Self, lists: &Lists) {
        assert_eq!(starts.running(), lists.running.len());
        assert!(starts.running() <= lists.limit);
        let mut waiting: Vec<u64> = starts.waiting().map(|id| id.0).collect();
        waiting.sort_unstable();
        assert_eq!(waiting, lists.waiting.iter().map(|(id, _)| *id).collect::<Vec<_>>());
    }

    /// Whatever happened: when each that runs is over in turn, each that waits starts, and no place is missing.
    fn teardown(Self(mut starts): Self, lists: Lists) {
        let mut running: Vec<u64> = lists.running.iter().map(|(id, _)| *id).collect();
        let mut left = lists.waiting.len();
        loop {
            while let Some(id) = starts.next() {
                running.push(id.0);
                left -= 1;
            }
            let Some(id) = running.pop() else { break };
            starts.over(StartId(id));
        }
        assert_eq!((left, starts.running()), (0, 0));
        (0..lists.limit).for_each(|_| _ = starts.ask(Attempt::First));
        assert_eq!(std::iter::from_fn(|| starts.next()).count(), lists.limit);
    }
}

prop_state_machine! {
    #[test]
    fn starts_keep_their_limit_and_no_place_is_lost(sequential 1..200 => Test);
}
