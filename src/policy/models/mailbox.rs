use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

use crate::call::Priority;
use crate::config::MailboxSettings;
use crate::policy::mailbox::{Mailbox, Pushed, Ticket};
use crate::stats::QueuedStats;

#[derive(Debug, Clone)]
enum Step {
    Push(Priority),
    Pop,
    /// Takes out an item by its ticket, whether it still waits or not.
    Remove(u32),
    Drain,
}

/// What a step has to bring.
#[derive(Debug, Clone, PartialEq)]
enum Output {
    Nothing,
    Queued,
    Shed(u32),
    Full,
    Taken(Option<u32>),
    Drained(Vec<u32>),
}

/// What waits, in the order in which it came; items are numbered.
#[derive(Debug, Clone)]
struct List {
    capacity: usize,
    overtakes_max: u32,
    waiting: Vec<(Priority, u32)>,
    /// By priority: higher items served since the class was last served or began to wait.
    overtakes: [u32; 3],
    pushed: u32,
    output: Output,
}

impl List {
    fn waits(&self, priority: Priority) -> usize {
        self.waiting.iter().filter(|(waiting, _)| *waiting == priority).count()
    }

    fn overtakes(&mut self, priority: Priority) -> &mut u32 {
        &mut self.overtakes[Priority::ALL.iter().position(|each| *each == priority).unwrap()]
    }

    fn take(&mut self, item: u32) -> Option<Priority> {
        let at = self.waiting.iter().position(|(_, waiting)| *waiting == item)?;
        Some(self.waiting.remove(at).0)
    }

    fn push(&mut self, priority: Priority) -> Output {
        let output = if self.waiting.len() < self.capacity {
            Output::Queued
        } else {
            let lowest = self.waiting.iter().map(|(waiting, _)| *waiting).max().unwrap();
            if lowest <= priority {
                return Output::Full;
            }
            let newest = *self.waiting.iter().rfind(|(waiting, _)| *waiting == lowest).unwrap();
            self.take(newest.1);
            Output::Shed(newest.1)
        };
        if self.waits(priority) == 0 {
            *self.overtakes(priority) = 0;
        }
        self.waiting.push((priority, self.pushed));
        output
    }

    /// The lowest class that was overtaken as often as it may be goes first; else the highest.
    fn pop(&mut self) -> Option<u32> {
        let classes: Vec<Priority> =
            Priority::ALL.into_iter().filter(|class| self.waits(*class) > 0).collect();
        let due = classes.iter().rev().find(|class| *self.overtakes(**class) >= self.overtakes_max).copied();
        let class = due.or(classes.first().copied())?;
        let item = self.waiting.iter().find(|(waiting, _)| *waiting == class).unwrap().1;
        self.take(item);
        *self.overtakes(class) = 0;
        for lower in classes.into_iter().filter(|lower| *lower > class) {
            *self.overtakes(lower) += 1;
        }
        Some(item)
    }
}

impl ReferenceStateMachine for List {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        (1usize..20, 1u32..6)
            .prop_map(|(capacity, overtakes_max)| Self {
                capacity,
                overtakes_max,
                waiting: Vec::new(),
                overtakes: [0; 3],
                pushed: 0,
                output: Output::Nothing,
            })
            .boxed()
    }

    fn transitions(list: &Self) -> BoxedStrategy<Step> {
        prop_oneof![
            12 => prop::sample::select(Priority::ALL.to_vec()).prop_map(Step::Push),
            8 => Just(Step::Pop),
            3 => (0..=list.pushed).prop_map(Step::Remove),
            1 => Just(Step::Drain),
        ]
        .boxed()
    }

    fn apply(mut list: Self, step: &Step) -> Self {
        list.output = match step {
            Step::Push(priority) => {
                let output = list.push(*priority);
                list.pushed += 1;
                output
            }
            Step::Pop => Output::Taken(list.pop()),
            Step::Remove(item) => Output::Taken(list.take(*item).map(|_| *item)),
            Step::Drain => {
                let mut waiting = std::mem::take(&mut list.waiting);
                waiting.sort_by_key(|(priority, _)| *priority);
                Output::Drained(waiting.into_iter().map(|(_, item)| item).collect())
            }
        };
        list
    }
}

struct Test {
    mailbox: Mailbox<u32>,
    /// By item; none for those that were refused.
    tickets: Vec<Option<Ticket>>,
}

impl StateMachineTest for Test {
    type SystemUnderTest = Self;
    type Reference = List;

    fn init_test(list: &List) -> Self {
        let settings = MailboxSettings { capacity: list.capacity, overtakes_max: list.overtakes_max };
        Self { mailbox: Mailbox::new(&settings), tickets: Vec::new() }
    }

    fn apply(mut test: Self, list: &List, step: Step) -> Self {
        let output = match step {
            Step::Push(priority) => {
                let item = u32::try_from(test.tickets.len()).unwrap();
                let (ticket, output) = match test.mailbox.push(priority, item) {
                    Pushed::Queued(ticket) => (Some(ticket), Output::Queued),
                    Pushed::Shed { ticket, shed } => (Some(ticket), Output::Shed(shed)),
                    Pushed::Full(refused) => {
                        assert_eq!(refused, item);
                        (None, Output::Full)
                    }
                };
                test.tickets.push(ticket);
                output
            }
            Step::Pop => {
                let peeked = test.mailbox.peek().copied();
                let popped = test.mailbox.pop();
                assert_eq!(peeked, popped);
                Output::Taken(popped)
            }
            Step::Remove(item) => {
                let ticket = test.tickets.get(item as usize).copied().flatten();
                Output::Taken(ticket.and_then(|ticket| test.mailbox.remove(ticket)))
            }
            Step::Drain => Output::Drained(test.mailbox.drain().collect()),
        };
        assert_eq!(output, list.output);
        test
    }

    fn check_invariants(test: &Self, list: &List) {
        let [high, normal, low] = Priority::ALL.map(|priority| list.waits(priority));
        assert_eq!(test.mailbox.waiting(), QueuedStats { high, normal, low });
        assert_eq!(test.mailbox.len(), list.waiting.len());
        assert_eq!(test.mailbox.is_empty(), list.waiting.is_empty());
        assert!(list.waiting.len() <= list.capacity);
    }
}

prop_state_machine! {
    #[test]
    fn a_mailbox_is_a_bounded_list_by_priority_with_bounded_overtaking(sequential 1..200 => Test);
}
