//! What outlives a server actor: its breaker, its figures, its backoff, what it learned of the peer.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::config::ServerSpec;
use crate::config::Settings;
use crate::id::ConnectionId;
use crate::policy::backoff::Backoff;
use crate::policy::breaker::Breaker;
use crate::protocol::Known;
use crate::stats::{LatencyStats, Outcomes};

/// The weight of a new sample in the average latency.
const EWMA_ALPHA: f64 = 0.3;

/// Latencies above this are counted as this: no call lasts longer than an hour.
const LATENCY_MAX: Duration = Duration::from_secs(3600);

/// What the handle of a subscription holds. Its end is seen wherever somebody looks: an order to end it could come to a life
/// that is over.
#[derive(Debug)]
pub(crate) struct Held;

/// Handed from one life of a server actor to the next, by way of the registry, so that a crash loop resets nothing.
#[derive(Clone)]
pub(crate) struct Ledger {
    pub breaker: Breaker,
    pub reconnect: Backoff,
    pub outcomes: Outcomes,
    pub latency: Latencies,
    /// Found by the first handshake; later ones need not ask.
    pub known: Option<Known>,
    /// Resources that hosts subscribed to, with the handles that hold them.
    pub subscriptions: BTreeMap<String, Vec<Weak<Held>>>,
    /// The number of the next connection; never used twice, so that a report of an old one is recognised.
    pub next_connection: u64,
}

impl Ledger {
    /// The ledger of a server that is new.
    pub fn new(spec: &ServerSpec, settings: &Settings) -> Self {
        Self {
            breaker: Breaker::new(spec.breaker.clone()),
            reconnect: Backoff::new(settings.reconnect.clone()),
            outcomes: Outcomes::new(),
            latency: Latencies::new(),
            known: None,
            subscriptions: BTreeMap::new(),
            next_connection: 1,
        }
    }

    /// A number for a new connection.
    pub fn connection(&mut self) -> ConnectionId {
        let id = ConnectionId(self.next_connection);
        self.next_connection += 1;
        id
    }

    /// Forgets subscriptions that no handle holds. Says whether there were any.
    pub fn forget_ended_subscriptions(&mut self) -> bool {
        let before = self.subscriptions.len();
        self.subscriptions.retain(|_, handles| {
            handles.retain(|handle| handle.strong_count() > 0);
            !handles.is_empty()
        });
        self.subscriptions.len() < before
    }

    /// Counts the end of an attempt.
    pub fn count(&mut self, outcome: &'static str) {
        *self.outcomes.entry(outcome).or_default() += 1;
    }
}

/// Latencies of successful attempts.
#[derive(Clone)]
pub(crate) struct Latencies {
    /// Microseconds, two significant digits: some 10 KiB when it has seen everything from a microsecond to an hour.
    histogram: Histogram<u32>,
    ewma_us: Option<f64>,
}

impl Latencies {
    fn new() -> Self {
        let histogram = Histogram::new(2).expect("two significant digits are within hdrhistogram's 0 to 5");
        Self { histogram, ewma_us: None }
    }

    /// Takes a sample.
    pub fn record(&mut self, latency: Duration) {
        let us = u64::try_from(latency.min(LATENCY_MAX).as_micros()).unwrap_or(u64::MAX);
        // A histogram that resizes by itself takes every value.
        let _ = self.histogram.record(us.max(1));
        let sample = us as f64;
        self.ewma_us = Some(self.ewma_us.map_or(sample, |mean| mean + EWMA_ALPHA * (sample - mean)));
    }

    /// The figures of this moment.
    pub fn stats(&self) -> LatencyStats {
        let quantile = |q: f64| Duration::from_micros(self.histogram.value_at_quantile(q));
        LatencyStats {
            samples: self.histogram.len(),
            ewma: Duration::from_secs_f64(self.ewma_us.unwrap_or_default() / 1e6),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            max: Duration::from_micros(self.histogram.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_begins_with_the_first_sample() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.stats().ewma, Duration::ZERO);
        for _ in 0..5 {
            latencies.record(Duration::from_millis(100));
            assert_eq!(latencies.stats().ewma, Duration::from_millis(100));
        }
    }

    #[test]
    fn percentiles_are_within_a_hundredth() {
        let mut latencies = Latencies::new();
        (1..=1000).for_each(|ms| latencies.record(Duration::from_millis(ms)));
        let p99 = latencies.stats().p99.as_secs_f64();
        assert!((0.98..1.0).contains(&p99), "{p99}");
        assert_eq!(latencies.stats().samples, 1000);
    }

    #[test]
    fn a_sample_beyond_an_hour_counts_as_an_hour() {
        let mut latencies = Latencies::new();
        latencies.record(Duration::MAX);
        assert!(latencies.stats().max <= LATENCY_MAX + LATENCY_MAX / 100);
    }
}
