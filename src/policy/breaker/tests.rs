use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::*;

struct Bench {
    breaker: Breaker,
    now: Instant,
    rng: SmallRng,
}

impl Bench {
    fn new(change: impl FnOnce(&mut BreakerSettings)) -> Self {
        let mut settings = BreakerSettings { jitter: 0.0, ..BreakerSettings::default() };
        change(&mut settings);
        Self { breaker: Breaker::new(settings), now: Instant::now(), rng: SmallRng::seed_from_u64(1) }
    }

    fn permit(&mut self) -> Permit {
        self.breaker.admit(self.now).expect("admitted")
    }

    fn record(&mut self, permit: Permit, class: OutcomeClass) -> Option<BreakerTransition> {
        self.breaker.record(permit, class, Duration::from_millis(1), self.now, &mut self.rng)
    }

    fn call(&mut self, class: OutcomeClass) -> Option<BreakerTransition> {
        let permit = self.permit();
        self.record(permit, class)
    }

    fn pass(&mut self, time: Duration) -> Option<BreakerTransition> {
        self.now += time;
        self.breaker.tick(self.now, &mut self.rng)
    }

    fn trip(&mut self) -> BreakerTransition {
        (0..5).filter_map(|_| self.call(OutcomeClass::Failure)).last().expect("tripped")
    }

    fn open_time(&self) -> Duration {
        self.breaker.stats(self.now).next_attempt_in.expect("open")
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn five_failures_in_a_row_open_it_for_thirty_seconds() {
    let mut bench = Bench::new(|_| {});
    let tripped = bench.trip();
    assert_eq!((tripped.from, tripped.to), (BreakerState::Closed, BreakerState::Open));
    assert_eq!(tripped.reason, TransitionReason::ConsecutiveFailures { count: 5 });
    assert_eq!(bench.breaker.admit(bench.now), Err(Rejected { retry_after: Some(30 * SECOND) }));
    assert_eq!(bench.pass(29 * SECOND), None);
    let opened = bench.pass(SECOND).unwrap();
    assert_eq!((opened.from, opened.to), (BreakerState::Open, BreakerState::HalfOpen));
}

#[test]
fn a_success_ends_a_row_of_failures() {
    let mut bench = Bench::new(|_| {});
    for _ in 0..20 {
        (0..4).for_each(|_| assert_eq!(bench.call(OutcomeClass::Failure), None));
        (0..8).for_each(|_| assert_eq!(bench.call(OutcomeClass::Success), None));
    }
}

#[test]
fn a_server_that_fails_most_calls_opens_it_though_some_succeed() {
    let mut bench = Bench::new(|_| {});
    let tripped = (0..40)
        .find_map(|n| bench.call(if n % 4 == 0 { OutcomeClass::Success } else { OutcomeClass::Failure }))
        .unwrap();
    assert!(matches!(tripped.reason, TransitionReason::FailureRatio { ratio } if ratio >= 0.5));
}

#[test]
fn failures_days_apart_do_not_add_up_in_the_ratio() {
    let mut bench = Bench::new(|settings| settings.failure_threshold = 1000);
    for _ in 0..100 {
        assert_eq!(bench.call(OutcomeClass::Failure), None);
        bench.now += Duration::from_secs(86_400);
    }
}

#[test]
fn too_few_calls_never_trip_the_ratio() {
    let mut bench = Bench::new(|settings| settings.failure_threshold = 1000);
    (0..19).for_each(|_| assert_eq!(bench.call(OutcomeClass::Failure), None));
    assert!(bench.call(OutcomeClass::Failure).is_some());
}

#[test]
fn the_callers_own_mistakes_never_trip_it() {
    let mut bench = Bench::new(|_| {});
    (0..1000).for_each(|_| assert_eq!(bench.call(OutcomeClass::Ignored), None));
    assert_eq!(bench.breaker.stats(bench.now).calls, 0);
}

#[test]
fn overload_moves_the_ratio_and_not_the_row() {
    let mut bench = Bench::new(|_| {});
    (0..19).for_each(|_| assert_eq!(bench.call(OutcomeClass::Overload), None));
    assert!(matches!(
        bench.call(OutcomeClass::Overload).unwrap().reason,
        TransitionReason::FailureRatio { .. }
    ));
}

#[test]
fn slow_calls_open_it_where_a_limit_is_set() {
    let mut bench = Bench::new(|settings| settings.slow_call = Some(Duration::from_micros(500)));
    let tripped = (0..20).find_map(|_| bench.call(OutcomeClass::Success)).unwrap();
    assert_eq!(tripped.reason, TransitionReason::SlowCallRatio { ratio: 1.0 });
}

#[test]
fn half_open_admits_no_more_than_its_permits() {
    let mut bench = Bench::new(|_| {});
    bench.trip();
    bench.pass(30 * SECOND);
    assert_eq!(bench.breaker.admission(bench.now), Admission::Probing { permits: 2 });
    let _first = bench.permit();
    let _second = bench.permit();
    assert!(bench.breaker.admit(bench.now).is_err());
}

#[test]
fn two_successes_close_it_and_one_failure_opens_it_again() {
    let mut bench = Bench::new(|_| {});
    bench.trip();
    bench.pass(30 * SECOND);
    assert_eq!(bench.call(OutcomeClass::Success), None);
    let closed = bench.call(OutcomeClass::Success).unwrap();
    assert_eq!((closed.from, closed.to), (BreakerState::HalfOpen, BreakerState::Closed));
    bench.trip();
    bench.pass(60 * SECOND);
    let opened = bench.call(OutcomeClass::Failure).unwrap();
    assert_eq!(
        (opened.from, opened.to, opened.reason),
        (BreakerState::HalfOpen, BreakerState::Open, TransitionReason::ProbeFailed)
    );
}

#[test]
fn an_outcome_of_an_earlier_state_says_nothing_about_the_present_one() {
    let mut bench = Bench::new(|_| {});
    let old: Vec<Permit> = (0..10).map(|_| bench.permit()).collect();
    bench.trip();
    bench.pass(30 * SECOND);
    for (n, permit) in old.into_iter().enumerate() {
        let class = if n < 5 { OutcomeClass::Success } else { OutcomeClass::Failure };
        assert_eq!(bench.record(permit, class), None, "an old {class:?} changed it");
    }
    assert_eq!(bench.breaker.state(), BreakerState::HalfOpen);
}

#[test]
fn probes_that_never_come_back_open_it_again() {
    let mut bench = Bench::new(|_| {});
    bench.trip();
    bench.pass(30 * SECOND);
    assert_eq!(bench.pass(3600 * SECOND), None, "without a probe it waits");
    let _lost = bench.permit();
    assert_eq!(bench.pass(30 * SECOND).unwrap().reason, TransitionReason::ProbesTimedOut);
}

#[test]
fn openings_grow_with_each_trip_up_to_a_limit_and_are_forgotten_after_a_quiet_stretch() {
    let mut bench = Bench::new(|_| {});
    bench.trip();
    let mut openings = vec![bench.open_time()];
    for _ in 0..5 {
        bench.pass(openings[openings.len() - 1]);
        bench.call(OutcomeClass::Failure);
        openings.push(bench.open_time());
    }
    assert_eq!(openings, [30, 60, 120, 240, 300, 300].map(Duration::from_secs));
    bench.pass(300 * SECOND);
    for _ in 0..2 {
        bench.call(OutcomeClass::Success);
    }
    bench.now += 300 * SECOND;
    bench.trip();
    assert_eq!(bench.open_time(), 30 * SECOND);
}

#[test]
fn jitter_only_lengthens_an_opening() {
    let mut bench = Bench::new(|settings| settings.jitter = 0.1);
    bench.trip();
    assert!((30 * SECOND..=33 * SECOND).contains(&bench.open_time()));
}

#[test]
fn a_lost_link_is_one_failure_and_reaching_the_server_again_ends_what_lost_links_opened() {
    let mut bench = Bench::new(|_| {});
    let (now, rng) = (bench.now, &mut bench.rng);
    let tripped = (0..5).filter_map(|_| bench.breaker.link_lost(now, rng)).last().unwrap();
    assert_eq!(tripped.to, BreakerState::Open);
    let reached = bench.breaker.reconnected(now).unwrap();
    assert_eq!((reached.to, reached.reason), (BreakerState::HalfOpen, TransitionReason::Reconnected));
    let mut bench = Bench::new(|_| {});
    bench.trip();
    assert_eq!(bench.breaker.reconnected(bench.now), None, "calls failed: a link proves nothing");
}

#[test]
fn a_new_life_keeps_the_state_and_voids_the_permits() {
    let mut bench = Bench::new(|_| {});
    bench.trip();
    bench.breaker.inherit(bench.now);
    assert_eq!(bench.breaker.state(), BreakerState::Open);
    bench.pass(30 * SECOND);
    let old = bench.permit();
    let _lost = bench.permit();
    bench.breaker.inherit(bench.now);
    assert_eq!(bench.breaker.admission(bench.now), Admission::Probing { permits: 2 });
    assert_eq!(bench.record(old, OutcomeClass::Failure), None);
    assert_eq!(bench.breaker.state(), BreakerState::HalfOpen);
}

#[test]
fn orders_are_obeyed_and_told_only_where_they_change_something() {
    let mut bench = Bench::new(|_| {});
    assert_eq!(bench.breaker.reset(bench.now), None);
    let forced = bench.breaker.force_open().unwrap();
    assert_eq!((forced.from, forced.to), (BreakerState::Closed, BreakerState::ForcedOpen));
    assert_eq!(bench.breaker.force_open(), None);
    assert_eq!(bench.pass(3600 * SECOND), None);
    assert_eq!(bench.breaker.admit(bench.now), Err(Rejected { retry_after: None }));
    assert_eq!(bench.breaker.reset(bench.now).unwrap().to, BreakerState::Closed);
    assert!(bench.breaker.admit(bench.now).is_ok());
}

#[test]
fn other_settings_leave_a_breaker_as_it_is_and_another_mode_begins_it_anew() {
    let mut bench = Bench::new(|_| {});
    bench.trip();
    let other =
        BreakerSettings { failure_threshold: 9, monitoring_period: SECOND, ..BreakerSettings::default() };
    bench.breaker.set(other.clone());
    assert_eq!(bench.open_time(), 30 * SECOND);
    bench.breaker.set(BreakerSettings { mode: BreakerMode::Disabled, ..other.clone() });
    bench.breaker.set(other.clone());
    assert_eq!(bench.breaker.state(), BreakerState::Closed);
    bench.breaker.force_open();
    for mode in [BreakerMode::Disabled, BreakerMode::MetricsOnly] {
        bench.breaker.set(BreakerSettings { mode, ..other.clone() });
        assert_eq!(bench.breaker.state(), BreakerState::ForcedOpen);
    }
}

#[test]
fn what_was_counted_stays_with_other_settings_unless_its_period_is_another() {
    let mut bench = Bench::new(|_| {});
    bench.call(OutcomeClass::Success);
    let same = BreakerSettings { failure_threshold: 9, ..BreakerSettings::default() };
    bench.breaker.set(same.clone());
    assert_eq!(bench.breaker.stats(bench.now).calls, 1);
    bench.breaker.set(BreakerSettings { monitoring_period: same.monitoring_period * 2, ..same });
    assert_eq!(bench.breaker.stats(bench.now).calls, 0);
}

#[test]
fn a_disabled_breaker_lets_everything_through_and_counts_nothing() {
    let mut bench = Bench::new(|settings| settings.mode = BreakerMode::Disabled);
    (0..100).for_each(|_| assert_eq!(bench.call(OutcomeClass::Failure), None));
    assert_eq!((bench.breaker.state(), bench.breaker.stats(bench.now).calls), (BreakerState::Disabled, 0));
    assert!(bench.breaker.force_open().is_some());
    assert!(bench.breaker.admit(bench.now).is_err(), "an order goes before the mode");
}

#[test]
fn a_breaker_for_metrics_only_tells_what_it_would_have_done_and_lets_everything_through() {
    let mut bench = Bench::new(|settings| settings.mode = BreakerMode::MetricsOnly);
    assert_eq!(bench.trip().to, BreakerState::Open);
    assert!(bench.breaker.admit(bench.now).is_ok());
    assert_eq!(bench.breaker.state(), BreakerState::MetricsOnly);
}

/// Half-open since just now.
fn half_open(change: impl FnOnce(&mut BreakerSettings)) -> Bench {
    let mut bench = Bench::new(change);
    bench.trip();
    bench.pass(30 * SECOND);
    assert_eq!(bench.breaker.state(), BreakerState::HalfOpen);
    bench
}

/// Passes time by the second, as the actor's alarm would.
fn wait(bench: &mut Bench, seconds: u32) {
    for _ in 0..seconds {
        bench.pass(SECOND);
    }
}

#[test]
fn a_server_whose_calls_take_longer_than_half_open_waits_recovers() {
    for permits in [1, 2] {
        // Longer than half-open waits, and longer than the openings that follow.
        for takes in [40, 95, 200, 1_000] {
            let mut bench = half_open(|settings| settings.half_open_permits = permits);
            let mut out: Vec<(Instant, Permit)> = Vec::new();
            for _ in 0..3 * 3_600 {
                while bench.breaker.state() == BreakerState::HalfOpen
                    && let Ok(permit) = bench.breaker.admit(bench.now)
                {
                    out.push((bench.now + takes * SECOND, permit));
                }
                bench.pass(SECOND);
                let now = bench.now;
                for (_, permit) in out.extract_if(.., |(at, _)| *at <= now).collect::<Vec<_>>() {
                    bench.record(permit, OutcomeClass::Success);
                }
            }
            assert_eq!(bench.breaker.state(), BreakerState::Closed, "{permits} permits, {takes} s");
        }
    }
}

#[test]
fn a_probe_that_succeeds_late_counts_unless_one_has_failed_meanwhile() {
    let mut bench = half_open(|_| {});
    let (late, later) = (bench.permit(), bench.permit());
    wait(&mut bench, 30);
    assert_eq!(bench.breaker.state(), BreakerState::Open);
    assert_eq!(bench.record(late, OutcomeClass::Success), None);
    wait(&mut bench, 60);
    assert_eq!(bench.breaker.state(), BreakerState::HalfOpen);
    assert_eq!(bench.call(OutcomeClass::Failure).map(|turned| turned.to), Some(BreakerState::Open));
    assert_eq!(bench.record(later, OutcomeClass::Success), None);
    assert_eq!(bench.breaker.state(), BreakerState::Open, "it fails now");
}

#[test]
fn a_probe_that_fails_late_decides_nothing() {
    let mut bench = half_open(|_| {});
    let (one, two) = (bench.permit(), bench.permit());
    wait(&mut bench, 90);
    assert_eq!(bench.breaker.state(), BreakerState::HalfOpen);
    assert_eq!(bench.record(one, OutcomeClass::Failure), None);
    assert_eq!(bench.record(two, OutcomeClass::Overload), None);
    assert_eq!(bench.breaker.admission(bench.now), Admission::Probing { permits: 2 });
}

#[test]
fn the_time_of_a_probe_is_its_own() {
    let mut bench = half_open(|_| {});
    let (first, second) = (bench.permit(), bench.permit());
    wait(&mut bench, 29);
    bench.record(first, OutcomeClass::Ignored);
    bench.record(second, OutcomeClass::Ignored);
    let _young = bench.permit();
    wait(&mut bench, 29);
    assert_eq!(bench.breaker.state(), BreakerState::HalfOpen);
    assert_eq!(bench.pass(SECOND).unwrap().reason, TransitionReason::ProbesTimedOut);
}

#[test]
fn a_probe_that_is_dropped_gives_its_place_back() {
    let mut bench = half_open(|_| {});
    let (kept, lost) = (bench.permit(), bench.permit());
    assert!(bench.breaker.admit(bench.now).is_err());
    drop(lost);
    assert_eq!(bench.breaker.admission(bench.now), Admission::Probing { permits: 1 });
    drop(kept);
    assert_eq!(bench.pass(3600 * SECOND), None, "nobody is waited for");
}

#[test]
fn a_bypassed_call_frees_no_place_of_a_probe() {
    let mut bench = half_open(|_| {});
    let _probes = (bench.permit(), bench.permit());
    let bypass = bench.breaker.bypass();
    bench.record(bypass, OutcomeClass::Ignored);
    assert!(bench.breaker.admit(bench.now).is_err(), "a third probe is let through");
}

#[test]
fn bypassed_calls_do_not_stop_the_clock_of_probes() {
    let mut bench = half_open(|_| {});
    let _probes = (bench.permit(), bench.permit());
    for _ in 0..2 {
        let bypass = bench.breaker.bypass();
        bench.record(bypass, OutcomeClass::Ignored);
    }
    bench.pass(3600 * SECOND);
    assert_eq!(bench.breaker.state(), BreakerState::Open, "the probes never came back");
}

#[test]
fn a_bypassed_call_neither_opens_nor_closes_a_breaker_that_is_half_open() {
    let mut bench = half_open(|_| {});
    for class in [OutcomeClass::Success, OutcomeClass::Failure, OutcomeClass::Overload] {
        for _ in 0..10 {
            let bypass = bench.breaker.bypass();
            assert_eq!(bench.record(bypass, class), None);
        }
    }
    assert_eq!(bench.breaker.state(), BreakerState::HalfOpen);
    bench.call(OutcomeClass::Success);
    bench.call(OutcomeClass::Success);
    let bypassed = (0..5).filter_map(|_| {
        let bypass = bench.breaker.bypass();
        bench.record(bypass, OutcomeClass::Failure)
    });
    assert_eq!(
        bypassed.last().unwrap().to,
        BreakerState::Open,
        "closed, it counts what it did not have to allow"
    );
}

#[test]
fn a_breaker_that_only_watches_keeps_no_more_probes_than_it_would_give() {
    let mut bench = half_open_watching();
    let permits: Vec<Permit> = (0..1_000).map(|_| bench.permit()).collect();
    let Some(State::HalfOpen { probes }) = &bench.breaker.state else { panic!("not half-open") };
    assert_eq!(probes.len(), 2);
    drop(permits);
}

fn half_open_watching() -> Bench {
    let mut bench = Bench::new(|settings| settings.mode = BreakerMode::MetricsOnly);
    bench.trip();
    bench.pass(30 * SECOND);
    bench
}

#[test]
fn a_breaker_that_only_watches_forgets_probes_that_are_gone() {
    let mut bench = half_open_watching();
    for _ in 0..1_000 {
        drop(bench.permit());
    }
    let Some(State::HalfOpen { probes }) = &bench.breaker.state else { panic!("not half-open") };
    assert!(probes.len() <= 2, "{}", probes.len());
}

#[test]
fn what_the_host_ordered_of_another_life_is_obeyed_and_ends_no_opening_of_its_own() {
    let mut bench = Bench::new(|_| {});
    let obey = |bench: &mut Bench, held_open| {
        let now = bench.now;
        bench.breaker.obey(held_open, now).map(|transition| transition.to)
    };
    assert_eq!(obey(&mut bench, false), None);
    assert_eq!(obey(&mut bench, true), Some(BreakerState::ForcedOpen));
    assert_eq!(obey(&mut bench, true), None);
    assert_eq!(obey(&mut bench, false), Some(BreakerState::Closed));
    bench.trip();
    assert_eq!(obey(&mut bench, false), None, "it was opened by failures");
    assert_eq!(bench.breaker.state(), BreakerState::Open);
}

#[test]
fn a_disabled_breaker_counts_no_lost_link_either() {
    let mut bench = Bench::new(|settings| settings.mode = BreakerMode::Disabled);
    let (now, rng) = (bench.now, &mut bench.rng);
    assert!((0..100).all(|_| bench.breaker.link_lost(now, rng).is_none()));
    assert_eq!(bench.breaker.stats(now).calls, 0);
}

#[test]
fn a_breaker_that_only_watches_names_no_next_attempt() {
    let mut bench = Bench::new(|settings| settings.mode = BreakerMode::MetricsOnly);
    bench.trip();
    assert_eq!(bench.breaker.stats(bench.now).next_attempt_in, None);
}

#[test]
fn an_opening_by_overload_does_not_end_with_a_link() {
    let mut bench = Bench::new(|_| {});
    let tripped = (0..40).find_map(|_| bench.call(OutcomeClass::Overload)).expect("the ratio trips it");
    assert_eq!(tripped.to, BreakerState::Open);
    assert_eq!(bench.breaker.reconnected(bench.now), None);
}

#[test]
fn an_opening_by_a_busy_probe_is_none_by_lost_links() {
    use rand::SeedableRng;
    let mut rng = rand::rngs::SmallRng::seed_from_u64(1);
    let now = Instant::now();
    let mut breaker = Breaker::new(BreakerSettings::default());
    while breaker.state() != BreakerState::Open {
        breaker.link_lost(now, &mut rng);
    }
    breaker.reconnected(now).expect("reached again");
    let probe = breaker.admit(now).expect("a probe");
    breaker.record(probe, OutcomeClass::Overload, Duration::ZERO, now, &mut rng).expect("it opens again");
    assert!(breaker.reconnected(now).is_none(), "the link was fine, and the server too busy");
}
