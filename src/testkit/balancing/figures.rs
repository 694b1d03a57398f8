//! What callers felt in a run.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Latencies above count as this: no queue of a run is as long.
const LATENCY_MAX_US: u64 = 600_000_000;

/// What the calls of one run came to. Those of the first 5 s do not count: the strategies learn their servers.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Figures {
    /// Calls that were made.
    pub calls: u64,
    /// Those that failed.
    pub errors: u64,
    /// Mean time from call to answer, of the calls that succeeded.
    pub mean: Duration,
    /// The time within which half of them were answered.
    pub p50: Duration,
    /// 99 of 100.
    pub p99: Duration,
    /// 999 of 1,000.
    pub p999: Duration,
    /// Calls that succeeded while calls arrived, per second.
    pub goodput: f64,
    /// The most calls that one server had at once.
    pub in_flight_max: usize,
    /// Jain's index of the calls that each server got for what it can do: 1 if all got their share, 1/n if one got all.
    pub jain: f64,
}

/// The account of a run that is under way.
pub(super) struct Account {
    /// Microseconds.
    latencies: Histogram<u64>,
    pub errors: u64,
    /// Successes while calls arrived.
    pub in_time: u64,
    pub in_flight_max: usize,
}

impl Account {
    pub(super) fn new() -> Self {
        let latencies = Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).expect("constant, valid bounds");
        Self { latencies, errors: 0, in_time: 0, in_flight_max: 0 }
    }

    /// Notes a call that succeeded.
    pub(super) fn succeeded(&mut self, latency: Duration) {
        self.latencies.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    /// The figures, where calls arrived for `time` and each server got so many calls for what it can do.
    pub(super) fn close(self, time: Duration, shares: &[f64]) -> Figures {
        let within = |quantile| Duration::from_micros(self.latencies.value_at_quantile(quantile));
        Figures {
            calls: self.latencies.len() + self.errors,
            errors: self.errors,
            mean: Duration::from_secs_f64(self.latencies.mean() / 1e6),
            p50: within(0.5),
            p99: within(0.99),
            p999: within(0.999),
            goodput: self.in_time as f64 / time.as_secs_f64(),
            in_flight_max: self.in_flight_max,
            jain: jain(shares),
        }
    }
}

/// Jain's fairness index (Jain, Chiu and Hawe, "A Quantitative Measure of Fairness and Discrimination for Resource Allocation in
/// Shared Computer Systems", 1984); 1 where nobody got anything.
fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    if squares == 0.0 { 1.0 } else { sum * sum / (shares.len() as f64 * squares) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jains_index_is_1_for_equal_shares_and_1_of_n_for_one_that_has_all() {
        assert_eq!(jain(&[3.0; 4]), 1.0);
        assert_eq!(jain(&[0.0, 7.0, 0.0, 0.0]), 0.25);
        assert_eq!(jain(&[0.0; 4]), 1.0);
    }

    #[test]
    fn failed_calls_have_no_latency() {
        let mut account = Account::new();
        account.succeeded(Duration::from_millis(20));
        account.errors += 1;
        let figures = account.close(Duration::from_secs(1), &[1.0]);
        assert_eq!((figures.calls, figures.errors), (2, 1));
        assert!(figures.p50.abs_diff(Duration::from_millis(20)) < Duration::from_micros(20), "{figures:?}");
    }
}
