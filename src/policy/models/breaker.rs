use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::time::Instant;

use crate::call::OutcomeClass;
use crate::config::BreakerSettings;
use crate::event::BreakerState;
use crate::policy::breaker::{Admission, Breaker, Permit};

use super::MS;

/// A tenth of the window. Time moves in steps of it, which makes the window exact.
const TENTH: u64 = 100;
const WINDOW: u64 = 10 * TENTH;
const OPEN_FOR: u64 = 4 * TENTH;
const OPEN_FOR_MAX: u64 = 30 * TENTH;
const HALF_OPEN_TIMEOUT: u64 = 7 * TENTH;
const QUIET_PERIOD: u64 = 20 * TENTH;
const SLOW: u64 = 50;
const PERMITS: u32 = 2;
const ROW_MAX: usize = 5;
const CALLS_MIN: usize = 8;
const SUCCESSES: u32 = 2;

#[derive(Debug, Clone)]
enum Step {
    Admit,
    /// Leave that is taken without asking.
    Bypass,
    /// One of the permits is lost on its way.
    Drop {
        permit: usize,
    },
    /// Records one of the permits that are out, of whatever state it came from.
    Record {
        permit: usize,
        class: OutcomeClass,
        slow: bool,
    },
    LinkLost,
    Reconnected,
    Inherit,
    Pass(u64),
    ForceOpen,
    ForceClose,
    Reset,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Now {
    Closed { since: Option<u64> },
    Open { until: u64, by_links: bool },
    HalfOpen,
    Forced,
}

/// What a step has to bring.
#[derive(Debug, Clone, PartialEq)]
enum Output {
    Nothing,
    Admitted(bool),
    Turned { from: BreakerState, to: BreakerState, open_for: Option<u64> },
}

/// A permit that is out.
#[derive(Debug, Clone, Copy)]
struct Out {
    /// Permits of earlier generations count for nothing, but for what late probes prove.
    generation: u64,
    row: u64,
    of: Of,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Of {
    Closed,
    Probe { since: u64 },
    Bypass,
}

/// A call that counts.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    at: u64,
    failed: bool,
    slow: bool,
}

/// Everything that happened since the breaker last closed.
#[derive(Debug, Clone)]
struct Record {
    now: u64,
    state: Now,
    generation: u64,
    /// Grows when what probes have proven counts no more.
    row_of_probes: u64,
    proven: u32,
    permits: Vec<Out>,
    outcomes: Vec<Outcome>,
    /// The failures in a row; `true` for lost links.
    row: Vec<bool>,
    trips_in_row: u32,
    trips: u64,
    output: Output,
}

impl Record {
    fn shown(&self) -> BreakerState {
        match self.state {
            Now::Closed { .. } => BreakerState::Closed,
            Now::Open { .. } => BreakerState::Open,
            Now::HalfOpen => BreakerState::HalfOpen,
            Now::Forced => BreakerState::ForcedOpen,
        }
    }

    /// When the probes of the present state were let through.
    fn probes(&self) -> Vec<u64> {
        let present = self.permits.iter().filter(|out| out.generation == self.generation);
        let since =
            present.filter_map(|out| if let Of::Probe { since } = out.of { Some(since) } else { None });
        since.filter(|_| self.state == Now::HalfOpen).collect()
    }

    fn forget_proven(&mut self) {
        self.row_of_probes += 1;
        self.proven = 0;
    }

    fn live(&self) -> Vec<Outcome> {
        self.outcomes.iter().filter(|outcome| outcome.at + WINDOW > self.now).copied().collect()
    }

    fn enter(&mut self, state: Now, open_for: Option<u64>) {
        let from = self.shown();
        self.state = state;
        self.generation += 1;
        self.output = Output::Turned { from, to: self.shown(), open_for };
    }

    fn trip(&mut self, by_links: bool) {
        self.forget_proven();
        self.open(by_links);
    }

    fn open(&mut self, by_links: bool) {
        if let Now::Closed { since: Some(since) } = self.state
            && self.now - since >= QUIET_PERIOD
        {
            self.trips_in_row = 0;
        }
        let open_for = (OPEN_FOR << self.trips_in_row.min(10)).min(OPEN_FOR_MAX);
        self.trips_in_row += 1;
        self.trips += 1;
        self.enter(Now::Open { until: self.now + open_for, by_links }, Some(open_for));
    }

    fn close(&mut self) {
        let from = self.shown();
        self.forget_proven();
        self.enter(Now::Closed { since: Some(self.now) }, None);
        if from == BreakerState::Closed {
            self.output = Output::Nothing;
        }
        self.row.clear();
        self.outcomes.clear();
    }

    fn half_open(&mut self) {
        self.enter(Now::HalfOpen, None);
    }

    fn only_links(&self) -> bool {
        !self.row.is_empty() && self.row.iter().all(|link| *link)
    }

    fn judge(&mut self) {
        let live = self.live();
        let half = |count: usize| 2 * count >= live.len();
        if self.row.len() >= ROW_MAX {
            self.trip(self.only_links());
        } else if live.len() >= CALLS_MIN
            && (half(live.iter().filter(|outcome| outcome.failed).count())
                || live.iter().filter(|outcome| outcome.slow).count() == live.len())
        {
            self.trip(false);
        }
    }

    /// A failure; of a link that was lost, or of a call.
    fn failed(&mut self, link: bool) {
        self.outcomes.push(Outcome { at: self.now, failed: true, slow: false });
        match self.state {
            Now::Closed { .. } => self.judge(),
            Now::HalfOpen => self.trip(link && self.only_links()),
            Now::Open { .. } | Now::Forced => {}
        }
    }

    fn succeeded(&mut self, slow: bool) {
        self.outcomes.push(Outcome { at: self.now, failed: false, slow });
        self.row.clear();
        match self.state {
            Now::Closed { .. } if slow => self.judge(),
            Now::Closed { .. } => {}
            Now::HalfOpen | Now::Open { .. } | Now::Forced => {
                self.proven += 1;
                if self.proven == SUCCESSES {
                    self.close();
                }
            }
        }
    }

    fn admit(&mut self) -> bool {
        let (now, probes) = (self.now, self.probes().len());
        let of = match &mut self.state {
            Now::Closed { since } => {
                since.get_or_insert(now);
                Some(Of::Closed)
            }
            Now::HalfOpen if probes < PERMITS as usize => Some(Of::Probe { since: now }),
            Now::HalfOpen | Now::Open { .. } | Now::Forced => None,
        };
        self.take(of);
        of.is_some()
    }

    fn take(&mut self, of: Option<Of>) {
        let (generation, row) = (self.generation, self.row_of_probes);
        self.permits.extend(of.map(|of| Out { generation, row, of }));
    }

    fn record(&mut self, permit: usize, class: OutcomeClass, slow: bool) {
        let Out { generation, row, of } = self.permits.swap_remove(permit);
        let present = generation == self.generation;
        let counts = match of {
            Of::Closed | Of::Bypass => present && matches!(self.state, Now::Closed { .. }),
            Of::Probe { .. } => row == self.row_of_probes && (present || class == OutcomeClass::Success),
        };
        if !counts {
            return;
        }
        match class {
            OutcomeClass::Success => self.succeeded(slow),
            OutcomeClass::Failure => {
                self.row.push(false);
                self.failed(false);
            }
            OutcomeClass::Overload => self.failed(false),
            OutcomeClass::Ignored => {}
        }
    }

    fn tick(&mut self) {
        match self.state {
            Now::Open { until, .. } if until <= self.now => self.half_open(),
            Now::HalfOpen => {
                if self.probes().into_iter().any(|since| since + HALF_OPEN_TIMEOUT <= self.now) {
                    self.open(false);
                }
            }
            Now::Closed { .. } | Now::Open { .. } | Now::Forced => {}
        }
    }
}

impl ReferenceStateMachine for Record {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self {
            now: 0,
            state: Now::Closed { since: None },
            generation: 0,
            row_of_probes: 0,
            proven: 0,
            permits: Vec::new(),
            outcomes: Vec::new(),
            row: Vec::new(),
            trips_in_row: 0,
            trips: 0,
            output: Output::Nothing,
        })
        .boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Step> {
        let class = prop_oneof![
            3 => Just(OutcomeClass::Success),
            4 => Just(OutcomeClass::Failure),
            1 => Just(OutcomeClass::Overload),
            1 => Just(OutcomeClass::Ignored)
        ];
        prop_oneof![
            12 => Just(Step::Admit),
            3 => Just(Step::Bypass),
            2 => (0usize..6).prop_map(|permit| Step::Drop { permit }),
            12 => (0usize..6, class, any::<bool>())
                .prop_map(|(permit, class, slow)| Step::Record { permit, class, slow }),
            2 => Just(Step::LinkLost),
            1 => Just(Step::Reconnected),
            1 => Just(Step::Inherit),
            4 => (0u64..12).prop_map(|tenths| Step::Pass(tenths * TENTH)),
            1 => prop_oneof![Just(Step::ForceOpen), Just(Step::ForceClose), Just(Step::Reset)],
        ]
        .boxed()
    }

    fn preconditions(record: &Self, step: &Step) -> bool {
        !matches!(step, Step::Record { permit, .. } | Step::Drop { permit } if *permit >= record.permits.len())
    }

    fn apply(mut record: Self, step: &Step) -> Self {
        record.output = Output::Nothing;
        match *step {
            Step::Admit => record.output = Output::Admitted(record.admit()),
            Step::Bypass => record.take(Some(Of::Bypass)),
            Step::Drop { permit } => {
                record.permits.swap_remove(permit);
            }
            Step::Record { permit, class, slow } => record.record(permit, class, slow),
            Step::LinkLost if matches!(record.state, Now::Closed { .. } | Now::HalfOpen) => {
                record.row.push(true);
                record.failed(true);
            }
            Step::LinkLost => {}
            Step::Reconnected => {
                if let Now::Open { by_links: true, .. } = record.state {
                    record.half_open();
                }
            }
            Step::Inherit => {
                record.generation += 1;
                record.row_of_probes += 1;
            }
            Step::Pass(ms) => {
                record.now += ms;
                record.tick();
            }
            Step::ForceOpen if record.state != Now::Forced => {
                record.forget_proven();
                record.enter(Now::Forced, None);
            }
            Step::ForceOpen => {}
            Step::ForceClose => record.close(),
            Step::Reset => {
                record.trips_in_row = 0;
                record.close();
            }
        }
        record
    }
}

struct Test {
    breaker: Breaker,
    start: Instant,
    permits: Vec<Permit>,
    rng: SmallRng,
}

impl StateMachineTest for Test {
    type SystemUnderTest = Self;
    type Reference = Record;

    fn init_test(_: &Record) -> Self {
        let settings = BreakerSettings {
            failure_threshold: ROW_MAX as u32,
            failure_ratio: 0.5,
            minimum_calls: CALLS_MIN as u32,
            monitoring_period: MS(WINDOW),
            slow_call: Some(MS(SLOW)),
            slow_call_ratio: 1.0,
            open_for: MS(OPEN_FOR),
            open_for_max: MS(OPEN_FOR_MAX),
            jitter: 0.0,
            half_open_permits: PERMITS,
            half_open_timeout: MS(HALF_OPEN_TIMEOUT),
            success_threshold: SUCCESSES,
            quiet_period: MS(QUIET_PERIOD),
            ..BreakerSettings::default()
        };
        let rng = SmallRng::seed_from_u64(0);
        Self { breaker: Breaker::new(settings), start: Instant::now(), permits: Vec::new(), rng }
    }

    fn apply(mut test: Self, record: &Record, step: Step) -> Self {
        let Self { breaker, start, permits, rng } = &mut test;
        let now = *start + MS(record.now);
        let turned = match step {
            Step::Admit => {
                let permit = breaker.admit(now).ok();
                assert_eq!(Output::Admitted(permit.is_some()), record.output);
                permits.extend(permit);
                return test;
            }
            Step::Bypass => {
                permits.push(breaker.bypass());
                None
            }
            Step::Drop { permit } => {
                drop(permits.swap_remove(permit));
                None
            }
            Step::Record { permit, class, slow } => {
                let latency = if slow { MS(SLOW + 1) } else { MS(SLOW) };
                breaker.record(permits.swap_remove(permit), class, latency, now, rng)
            }
            Step::LinkLost => breaker.link_lost(now, rng),
            Step::Reconnected => breaker.reconnected(now),
            Step::Inherit => {
                breaker.inherit(now);
                None
            }
            Step::Pass(_) => breaker.tick(now, rng),
            Step::ForceOpen => breaker.force_open(),
            Step::ForceClose => breaker.force_close(now),
            Step::Reset => breaker.reset(now),
        };
        let output = turned.map_or(Output::Nothing, |turned| Output::Turned {
            from: turned.from,
            to: turned.to,
            open_for: turned.open_for.map(|time| time.as_millis() as u64),
        });
        assert_eq!(output, record.output);
        test
    }

    fn check_invariants(test: &Self, record: &Record) {
        let now = test.start + MS(record.now);
        let stats = test.breaker.stats(now);
        let live = record.live();
        assert_eq!(stats.state, record.shown());
        assert_eq!(stats.calls, live.len() as u64);
        assert_eq!(stats.failures, live.iter().filter(|outcome| outcome.failed).count() as u64);
        assert_eq!(stats.slow, live.iter().filter(|outcome| outcome.slow).count() as u64);
        assert_eq!(stats.consecutive_failures as usize, record.row.len());
        assert_eq!(stats.trips, record.trips);
        let admission = match record.state {
            Now::Closed { .. } => Admission::Free,
            Now::HalfOpen => Admission::Probing { permits: PERMITS - record.probes().len() as u32 },
            Now::Open { until, .. } => {
                Admission::Rejecting { retry_after: Some(MS(until.saturating_sub(record.now))) }
            }
            Now::Forced => Admission::Rejecting { retry_after: None },
        };
        assert_eq!(test.breaker.admission(now), admission);
        let wake_at = match record.state {
            Now::Open { until, .. } => Some(until),
            Now::HalfOpen => record.probes().into_iter().min().map(|since| since + HALF_OPEN_TIMEOUT),
            Now::Closed { .. } | Now::Forced => None,
        };
        assert_eq!(test.breaker.wake_at(), wake_at.map(|at| test.start + MS(at)));
    }

    /// Left alone, every breaker but one that was forced open admits again.
    fn teardown(mut test: Self, record: Record) {
        let mut now = test.start + MS(record.now);
        for _ in 0..2 {
            now += MS(OPEN_FOR_MAX);
            test.breaker.tick(now, &mut test.rng);
        }
        assert_eq!(test.breaker.admit(now).is_ok(), record.state != Now::Forced);
    }
}

prop_state_machine! {
    #[test]
    fn a_breaker_is_a_record_of_outcomes_with_four_states(sequential 1..300 => Test);
}
