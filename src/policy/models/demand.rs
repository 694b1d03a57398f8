use std::time::Duration;

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use tokio::time::Instant;

use crate::config::Start;
use crate::policy::demand::{Activity, Begins, Change, Demand};

#[derive(Debug, Clone)]
enum Step {
    Needed,
    Answered(bool),
    Described(bool, u64),
    /// So many seconds pass, and this goes on at their end.
    Observe(u64, Activity),
}

/// A server by the clock in seconds: what happened, and when.
#[derive(Debug, Clone)]
struct Story {
    begins: Begins,
    on_demand: bool,
    timeout: u64,
    now: u64,
    runs: bool,
    asking: bool,
    /// When it was last used, needed or first ready after a need, as far as that was looked at.
    touched: Option<u64>,
    awaited: bool,
    activity: Activity,
    output: Option<Change>,
}

impl Story {
    fn starts(&mut self) {
        (self.runs, self.asking, self.touched, self.awaited) = (true, false, None, true);
        self.output = Some(Change::Starts);
    }
}

impl ReferenceStateMachine for Story {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        let begins = prop_oneof![Just(Begins::Running), Just(Begins::Idle), Just(Begins::Asking)];
        (begins, 1u64..30)
            .prop_map(|(begins, timeout)| Self {
                begins,
                on_demand: true,
                timeout,
                now: 0,
                runs: begins == Begins::Running,
                asking: begins == Begins::Asking,
                touched: None,
                awaited: begins == Begins::Running,
                activity: Activity::default(),
                output: None,
            })
            .boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Step> {
        let activity = (prop::bool::weighted(0.2), prop::bool::weighted(0.2), any::<bool>());
        let activity = activity.prop_map(|(in_use, under_way, ready)| Activity { in_use, under_way, ready });
        prop_oneof![
            2 => Just(Step::Needed),
            1 => any::<bool>().prop_map(Step::Answered),
            1 => (prop::bool::weighted(0.8), 1u64..30).prop_map(|(demand, timeout)| Step::Described(demand, timeout)),
            10 => (0u64..20, activity).prop_map(|(passed, activity)| Step::Observe(passed, activity)),
        ]
        .boxed()
    }

    fn apply(mut story: Self, step: &Step) -> Self {
        story.output = None;
        match *step {
            Step::Needed if story.runs => (story.touched, story.awaited) = (None, true),
            Step::Needed if !story.asking => story.starts(),
            Step::Answered(false) if story.asking => story.starts(),
            Step::Answered(true) => story.asking = false,
            Step::Needed | Step::Answered(false) => {}
            Step::Described(on_demand, timeout) => {
                if story.on_demand != on_demand {
                    story.touched = None;
                }
                (story.on_demand, story.timeout) = (on_demand, timeout);
            }
            Step::Observe(passed, activity) => {
                story.now += passed;
                story.activity = activity;
                let wanted = !story.on_demand || activity.in_use;
                if !story.runs {
                    if wanted {
                        story.starts();
                    }
                    return story;
                }
                if wanted {
                    story.touched = None;
                    return story;
                }
                if story.touched.is_none() || activity.ready && story.awaited {
                    story.touched = Some(story.now);
                }
                story.awaited &= !activity.ready;
                let unused = story.now - story.touched.unwrap();
                if !activity.under_way && unused >= story.timeout {
                    story.runs = false;
                    story.output = Some(Change::Stops);
                }
            }
        }
        story
    }
}

struct Test {
    demand: Demand,
    began: Instant,
}

fn start(on_demand: bool) -> Start {
    if on_demand { Start::OnDemand } else { Start::AtOnce }
}

impl StateMachineTest for Test {
    type SystemUnderTest = Self;
    type Reference = Story;

    fn init_test(story: &Story) -> Self {
        let demand = Demand::new(Start::OnDemand, Duration::from_secs(story.timeout), story.begins);
        Self { demand, began: Instant::now() }
    }

    fn apply(mut test: Self, story: &Story, step: Step) -> Self {
        let now = test.began + Duration::from_secs(story.now);
        let output = match step {
            Step::Needed => test.demand.needed(),
            Step::Answered(known) => test.demand.answered(known),
            Step::Described(on_demand, timeout) => {
                test.demand.described(start(on_demand), Duration::from_secs(timeout));
                None
            }
            Step::Observe(_, activity) => {
                let due = test.demand.due_at(activity);
                let output = test.demand.observe(activity, now);
                if output == Some(Change::Stops) {
                    assert!(!activity.in_use && !activity.under_way && story.on_demand);
                }
                if let Some(due) = due.filter(|due| *due > now) {
                    assert!(output.is_none(), "it stopped before {due:?}");
                }
                output
            }
        };
        assert_eq!(output, story.output);
        test
    }

    fn check_invariants(test: &Self, story: &Story) {
        assert_eq!(test.demand.runs(), story.runs);
        assert_eq!(test.demand.is_idle(), !story.runs && !story.asking);
        assert!(!(test.demand.runs() && test.demand.is_idle()));
    }

    /// Whatever happened: one that nothing uses stops when it is due, and one that is needed runs.
    fn teardown(Self { mut demand, began }: Self, story: Story) {
        demand.described(Start::OnDemand, Duration::from_secs(story.timeout));
        demand.answered(true);
        demand.needed();
        assert!(demand.runs());
        let ready = Activity { ready: true, ..Activity::default() };
        let now = began + Duration::from_secs(story.now);
        assert_eq!(demand.observe(ready, now), None);
        let due = demand.due_at(ready).expect("its end is known");
        assert_eq!(demand.observe(ready, due), Some(Change::Stops));
    }
}

prop_state_machine! {
    #[test]
    fn a_server_runs_while_it_is_needed_and_stops_when_it_is_not(sequential 1..200 => Test);
}
