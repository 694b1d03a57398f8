//! What the built-in strategies are there for, in a minute of virtual time with ten servers; `benches/balancing` has all
//! scenarios, strategies and figures.

use mcp_troupe::strategy::{LeastConnections, PeakEwma, RoundRobin};
use mcp_troupe::testkit::balancing::{Figures, Scenario, simulate};

const SEED: u64 = 1;

fn peak_ewma(scenario: &Scenario) -> Figures {
    simulate(scenario, &mut PeakEwma, SEED)
}

fn round_robin(scenario: &Scenario) -> Figures {
    simulate(scenario, &mut RoundRobin::default(), SEED)
}

fn least_connections(scenario: &Scenario) -> Figures {
    simulate(scenario, &mut LeastConnections, SEED)
}

#[test]
fn under_peak_ewma_a_server_ten_times_slower_is_felt_a_hundred_times_less_than_under_round_robin() {
    let scenario = Scenario::one_slow();
    let (peak_ewma, round_robin) = (peak_ewma(&scenario), round_robin(&scenario));
    assert!(peak_ewma.p99 * 100 <= round_robin.p99, "{peak_ewma:?} {round_robin:?}");
}

#[test]
fn a_server_that_fails_fast_fails_no_more_calls_under_peak_ewma_than_under_round_robin() {
    let scenario = Scenario::one_fails_fast();
    let (peak_ewma, round_robin) = (peak_ewma(&scenario), round_robin(&scenario));
    assert!(peak_ewma.errors <= round_robin.errors, "{peak_ewma:?} {round_robin:?}");
}

#[test]
fn a_breaker_guards_a_strategy_that_sees_no_failures() {
    let without = least_connections(&Scenario::one_fails_fast());
    let with = least_connections(&Scenario::one_fails_fast_breaking());
    assert!(with.errors * 100 <= without.errors, "{with:?} {without:?}");
}
