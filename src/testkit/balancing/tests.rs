use std::time::Duration;

use super::scenario::Behaviour;
use super::*;
use crate::policy::strategy::{
    Candidates, LeastConnections, PeakEwma, Pick, Rendezvous, RoundRobin, Strategy, Weighted,
};

fn near(actual: f64, expected: f64, tolerance: f64) -> bool {
    (actual - expected).abs() <= tolerance * expected
}

/// One server that works on one call at a time, half of its time.
fn single_queue() -> Scenario {
    let mut scenario = Scenario::equal();
    scenario.servers.truncate(1);
    scenario.workers = 1;
    scenario.utilisation = 0.5;
    scenario
}

/// Pollaczek and Khinchine: the mean wait is λE[S²] / 2(1 - ρ), here 10 ms, and the work 10 ms.
#[test]
fn one_server_makes_its_callers_wait_as_long_as_queueing_theory_says() {
    let mut limited = single_queue();
    limited.in_flight_max = 1;
    for scenario in [single_queue(), limited] {
        let means = (0..20).map(|seed| simulate(&scenario, &mut RoundRobin::default(), seed).mean);
        let mean = means.sum::<Duration>().as_secs_f64() / 20.0;
        assert!(near(mean, 0.020, 0.05), "{mean}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_one_another() {
    let run = |seed| simulate(&single_queue(), &mut RoundRobin::default(), seed);
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn all_strategies_meet_the_same_calls_and_none_is_lost() {
    let strategies: [Box<dyn Strategy>; 5] = [
        Box::new(PeakEwma),
        Box::new(RoundRobin::default()),
        Box::new(LeastConnections),
        Box::new(Weighted::default()),
        Box::new(Rendezvous),
    ];
    let mut scenario = Scenario::one_fails_fast();
    scenario.utilisation = 0.05;
    let calls = strategies.map(|mut strategy| simulate(&scenario, strategy.as_mut(), 3).calls);
    assert_eq!(calls, [calls[0]; 5]);
    // 8,000 calls a second would be all that the servers can do.
    assert!(near(calls[0] as f64, 0.05 * 8_000.0 * 55.0, 0.05), "{calls:?}");
}

#[test]
fn calls_that_no_server_gets_fail() {
    struct Nobody;

    impl Strategy for Nobody {
        fn name(&self) -> &str {
            "nobody"
        }

        fn pick(&mut self, _: &dyn Candidates, _: Pick<'_>) -> Option<usize> {
            None
        }
    }

    let figures = simulate(&single_queue(), &mut Nobody, 1);
    assert!(figures.calls > 0 && figures.errors == figures.calls, "{figures:?}");
}

#[test]
fn more_than_the_mailbox_holds_fails() {
    let mut scenario = single_queue();
    scenario.utilisation = 2.0;
    scenario.in_flight_max = 10;
    let figures = simulate(&scenario, &mut RoundRobin::default(), 1);
    assert!(figures.errors > 0 && figures.in_flight_max == scenario.in_flight_max, "{figures:?}");
}

#[test]
fn two_servers_at_any_time_and_each_for_a_fifth_of_it_share_their_machine() {
    let scenario = Scenario::antagonists();
    for second in 0..60 {
        let at = Duration::from_secs(second);
        let slow = scenario.servers.iter().filter(|server| server.behaviour(at) != Behaviour::Works(1.0));
        assert_eq!(slow.count(), 2, "at {at:?}");
    }
    let speeds = scenario.servers.iter().map(|server| server.mean_speed());
    assert!(near(speeds.sum(), 8.5, 1e-9));
}

#[test]
fn a_server_that_joins_late_counts_for_the_time_that_it_is_there() {
    let speed = |scenario: Scenario| scenario.servers[3].mean_speed();
    assert!(near(speed(Scenario::one_joins()), 40.0 / 60.0, 1e-9));
    assert!(near(speed(Scenario::one_joins_cold()), 31.0 / 60.0, 1e-9));
    assert!(near(speed(Scenario::one_slow()), 42.0 / 60.0, 1e-9));
}

#[test]
fn scenarios_have_names_of_their_own() {
    let mut names: Vec<_> = Scenario::all().iter().map(Scenario::name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Scenario::all().len());
}
