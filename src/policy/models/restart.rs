use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::time::Instant;

use crate::config::{BackoffSettings, RestartKind, RestartSettings};
use crate::event::ExitCause;
use crate::policy::restart::{Decision, RestartPolicy};

use super::MS;

const WINDOW: u64 = 1_000;
const QUARANTINE: u64 = 5_000;
const RESET_AFTER: u64 = 400;

#[derive(Debug, Clone)]
enum Step {
    Ended(ExitCause),
    Ready,
    Pass(u64),
}

/// Every restart that was ever granted.
#[derive(Debug, Clone)]
struct History {
    kind: RestartKind,
    restarts_max: u32,
    now: u64,
    granted: Vec<u64>,
    abnormal: u64,
    /// Failures since the last good stretch, and when one began.
    failures: u32,
    good_since: Option<u64>,
    output: Option<Decision>,
}

impl History {
    fn in_window(&self) -> usize {
        self.granted.iter().filter(|at| **at + WINDOW > self.now).count()
    }

    /// 10 ms, doubled with each failure, up to 80 ms.
    fn backoff(&mut self) -> u64 {
        if self.good_since.take().is_some_and(|since| self.now - since >= RESET_AFTER) {
            self.failures = 0;
        }
        self.failures += 1;
        (10 << (self.failures - 1).min(8)).min(80)
    }

    fn decide(&mut self, cause: &ExitCause) -> Decision {
        let again = match self.kind {
            RestartKind::Permanent => *cause != ExitCause::Requested,
            RestartKind::Transient => !matches!(cause, ExitCause::Requested | ExitCause::Normal),
            RestartKind::Temporary => false,
        };
        if !again {
            return Decision::Leave;
        }
        self.abnormal += 1;
        if self.in_window() >= self.restarts_max as usize {
            return Decision::Quarantine { after: MS(QUARANTINE) };
        }
        self.granted.push(self.now);
        Decision::Restart { after: MS(self.backoff()) }
    }
}

impl ReferenceStateMachine for History {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        let kinds = [RestartKind::Permanent, RestartKind::Transient, RestartKind::Temporary];
        (prop::sample::select(kinds.to_vec()), 1u32..6)
            .prop_map(|(kind, restarts_max)| Self {
                kind,
                restarts_max,
                now: 0,
                granted: Vec::new(),
                abnormal: 0,
                failures: 0,
                good_since: None,
                output: None,
            })
            .boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Step> {
        let causes = [
            ExitCause::Killed,
            ExitCause::Failed("a panic".into()),
            ExitCause::StartFailed("no".into()),
            ExitCause::Normal,
            ExitCause::Requested,
        ];
        prop_oneof![
            4 => prop::sample::select(causes.to_vec()).prop_map(Step::Ended),
            2 => Just(Step::Ready),
            4 => (0u64..600).prop_map(Step::Pass),
        ]
        .boxed()
    }

    fn apply(mut history: Self, step: &Step) -> Self {
        history.output = None;
        match step {
            Step::Ended(cause) => history.output = Some(history.decide(cause)),
            Step::Ready => history.good_since = history.good_since.or(Some(history.now)),
            Step::Pass(ms) => history.now += ms,
        }
        history
    }
}

struct Test {
    policy: RestartPolicy,
    start: Instant,
    rng: SmallRng,
}

impl StateMachineTest for Test {
    type SystemUnderTest = Self;
    type Reference = History;

    fn init_test(history: &History) -> Self {
        let backoff = BackoffSettings {
            min: MS(10),
            max: MS(80),
            factor: 2.0,
            jitter: 0.0,
            reset_after: MS(RESET_AFTER),
        };
        let settings = RestartSettings {
            kind: history.kind,
            restarts_max: history.restarts_max,
            window: MS(WINDOW),
            quarantine: MS(QUARANTINE),
            backoff,
            ..RestartSettings::default()
        };
        let rng = SmallRng::seed_from_u64(0);
        Self { policy: RestartPolicy::new(settings), start: Instant::now(), rng }
    }

    fn apply(mut test: Self, history: &History, step: Step) -> Self {
        let now = test.start + MS(history.now);
        let output = match step {
            Step::Ended(cause) => Some(test.policy.decide(&cause, now, &mut test.rng)),
            Step::Ready => {
                test.policy.ready(now);
                None
            }
            Step::Pass(_) => None,
        };
        assert_eq!(output, history.output);
        assert_eq!(test.policy.in_window(now) as usize, history.in_window());
        test
    }

    fn check_invariants(test: &Self, history: &History) {
        assert_eq!(test.policy.total(), history.abnormal);
        assert!(history.in_window() <= history.restarts_max as usize);
    }
}

prop_state_machine! {
    #[test]
    fn restarts_keep_to_their_intensity_and_are_never_given_up(sequential 1..200 => Test);
}
