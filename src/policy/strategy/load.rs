//! What is known of one server's speed and reliability.
//!
//! Three figures, each fed by every finished attempt:
//!
//! - the **peak EWMA** of the latency, for choosing: it rises to a higher sample at once and falls back slowly, so that
//!   trouble is seen at the first sample and trust comes back by time (Finagle, linkerd2-proxy). A failure counts as
//!   a slow answer: otherwise a server that fails fast looks fast, and the better it fails the more calls it gets;
//! - the **mean** of the successful latencies, for people and for slow decisions;
//! - the **error rate**, decayed by time: lifetime counters never forget.
//!
//! An attempt that says nothing about the server (the caller's mistake, the caller left) moves no figure downwards.

use std::time::Duration;

use tokio::time::Instant;

use crate::call::OutcomeClass;

/// Time constant of the peak EWMA: after 10 s a peak weighs a third, after 46 s a hundredth. Short enough that a server is
/// tried again within a minute of its trouble, long enough to see the difference between tools of some seconds.
const PEAK_DECAY: Duration = Duration::from_secs(10);

/// The latency that a failure counts for, at least: 5 s, as in linkerd2-proxy's load biaser. A failing server must cost
/// more than any of its peers under load; ordinary tools answer within some hundred milliseconds.
const FAILURE_PENALTY: Duration = Duration::from_secs(5);

/// The peak EWMA of a server of which nothing is known: 1 s, slower than most tools, so that a new server gets few calls
/// until its first answer.
const UNKNOWN_LATENCY: Duration = Duration::from_secs(1);

/// Weight of a new sample in the mean: the value that the figures of stats are documented with.
const MEAN_ALPHA: f64 = 0.3;

/// Time constant of the error rate: a failure weighs a third after 30 s, as long as a breaker stays open at first.
const ERROR_DECAY: Duration = Duration::from_secs(30);

/// Speed and reliability of one server.
#[derive(Debug, Clone, Default)]
pub struct Load {
    peak: Option<Peak>,
    /// Mean of the successful latencies, in seconds.
    mean: Option<f64>,
    samples: u64,
    errors: Option<Errors>,
}

/// The latency estimate, in seconds, as the last attempt left it.
#[derive(Debug, Clone, Copy)]
struct Peak {
    secs: f64,
    at: Instant,
}

/// Counts of attempts, decayed up to the last one.
#[derive(Debug, Clone, Copy)]
struct Errors {
    failed: f64,
    all: f64,
    at: Instant,
}

impl Load {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of a finished attempt, `latency` after its send.
    pub fn observe(&mut self, latency: Duration, class: OutcomeClass, now: Instant) {
        match class {
            OutcomeClass::Success => {
                let secs = latency.as_secs_f64();
                self.sample(secs, now);
                self.mean = Some(self.mean.map_or(secs, |mean| mean + MEAN_ALPHA * (secs - mean)));
                self.samples += 1;
                self.count(0.0, now);
            }
            OutcomeClass::Failure | OutcomeClass::Overload => {
                self.sample(latency.max(FAILURE_PENALTY).as_secs_f64(), now);
                self.count(1.0, now);
            }
            OutcomeClass::Ignored => self.hold(latency.as_secs_f64(), now),
        }
    }

    /// The estimated latency now: the peak EWMA, which falls towards zero while nothing is observed, so that a server
    /// that was slow or failed long ago is tried again. 1 s while nothing is known.
    pub fn peak_ewma(&self, now: Instant) -> Duration {
        self.peak.map_or(UNKNOWN_LATENCY, |peak| duration(peak.decayed(now)))
    }

    /// The peak EWMA as the last attempt left it, without the fall since. Right for a server that has work: it is being
    /// tried, and as long as it does not answer it has earned no trust.
    pub fn last_peak_ewma(&self) -> Duration {
        self.peak.map_or(UNKNOWN_LATENCY, |peak| duration(peak.secs))
    }

    /// Whether no attempt has ended yet.
    pub fn is_untried(&self) -> bool {
        self.peak.is_none()
    }

    /// Mean latency of the successful attempts, exponentially weighted (alpha 0.3, begun with the first sample).
    pub fn mean(&self) -> Option<Duration> {
        self.mean.map(duration)
    }

    /// Share of failures among the attempts, 0 to 1, overload included. Both counts decay by time, and one imagined
    /// success stands beside them: a single failure is no certainty, and old ones fade when nothing new comes.
    pub fn error_rate(&self, now: Instant) -> f64 {
        let Some(Errors { failed, all, at }) = self.errors else { return 0.0 };
        let decay = decay(at, now, ERROR_DECAY);
        failed * decay / (all * decay + 1.0)
    }

    /// Successful attempts that were measured.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Moves the estimate: up at once, down by the time that has passed.
    fn sample(&mut self, secs: f64, now: Instant) {
        let secs = match self.peak {
            None => secs,
            Some(peak) => {
                let decayed = peak.decayed(now);
                let decay = decay(peak.at, now, PEAK_DECAY);
                if secs > decayed { secs } else { decayed + (1.0 - decay) * secs }
            }
        };
        self.peak = Some(Peak { secs, at: now });
    }

    /// An attempt that teaches nothing but that it took at least this long. The estimate goes back to where it was and
    /// its fall begins anew: else a server whose answers are all ignored would come to look like the fastest one.
    fn hold(&mut self, secs: f64, now: Instant) {
        self.peak = Some(Peak { secs: self.last_peak_ewma().as_secs_f64().max(secs), at: now });
    }

    fn count(&mut self, failed: f64, now: Instant) {
        let before = self.errors.unwrap_or(Errors { failed: 0.0, all: 0.0, at: now });
        let decay = decay(before.at, now, ERROR_DECAY);
        self.errors =
            Some(Errors { failed: before.failed * decay + failed, all: before.all * decay + 1.0, at: now });
    }
}

impl Peak {
    fn decayed(self, now: Instant) -> f64 {
        self.secs * decay(self.at, now, PEAK_DECAY)
    }
}

/// What is left of 1 since `then`.
fn decay(then: Instant, now: Instant, tau: Duration) -> f64 {
    // What ends in one turn of a link ends at one moment; the exponential is worth saving.
    if then == now {
        return 1.0;
    }
    (-now.saturating_duration_since(then).as_secs_f64() / tau.as_secs_f64()).exp()
}

/// Seconds as a duration; the longest one where a peer's clock trouble gives more than fits.
fn duration(secs: f64) -> Duration {
    Duration::try_from_secs_f64(secs).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn near(actual: Duration, expected: Duration) -> bool {
        actual.abs_diff(expected) < Duration::from_micros(1)
    }

    #[test]
    fn fault_c3_the_latency_that_was_measured_is_the_latency_that_counts() {
        let (mut load, now) = (Load::new(), Instant::now());
        load.observe(MS(80), OutcomeClass::Success, now);
        assert_eq!(load.mean(), Some(MS(80)));
        assert_eq!(load.peak_ewma(now), MS(80));
        assert_eq!(load.samples(), 1);
    }

    #[test]
    fn fault_c4_failures_and_overload_are_counted() {
        let (mut load, now) = (Load::new(), Instant::now());
        (0..9).for_each(|_| load.observe(MS(1), OutcomeClass::Failure, now));
        assert!((load.error_rate(now) - 0.9).abs() < 1e-9);
        (0..10).for_each(|_| load.observe(MS(1), OutcomeClass::Overload, now));
        assert!((load.error_rate(now) - 0.95).abs() < 1e-9);
    }

    #[test]
    fn fault_c5_errors_are_forgotten() {
        let (mut load, now) = (Load::new(), Instant::now());
        (0..1000).for_each(|_| load.observe(MS(1), OutcomeClass::Failure, now));
        assert!(load.error_rate(now) > 0.99);
        assert!(load.error_rate(now + Duration::from_secs(600)) < 0.001);
    }

    #[test]
    fn fault_c6_equal_samples_have_their_own_mean_from_the_first_on() {
        let (mut load, now) = (Load::new(), Instant::now());
        for _ in 0..5 {
            load.observe(MS(100), OutcomeClass::Success, now);
            assert!(near(load.mean().unwrap(), MS(100)));
        }
    }

    #[test]
    fn fault_c6_the_latency_of_a_failure_is_not_mixed_into_the_mean() {
        let (mut load, now) = (Load::new(), Instant::now());
        load.observe(MS(100), OutcomeClass::Success, now);
        load.observe(MS(1), OutcomeClass::Failure, now);
        load.observe(MS(9000), OutcomeClass::Overload, now);
        load.observe(MS(9000), OutcomeClass::Ignored, now);
        assert_eq!((load.mean(), load.samples()), (Some(MS(100)), 1));
    }

    #[test]
    fn a_higher_sample_counts_at_once_and_a_lower_one_slowly() {
        let (mut load, now) = (Load::new(), Instant::now());
        load.observe(MS(10), OutcomeClass::Success, now);
        load.observe(MS(900), OutcomeClass::Success, now);
        assert_eq!(load.peak_ewma(now), MS(900));
        load.observe(MS(10), OutcomeClass::Success, now + MS(100));
        assert!(load.peak_ewma(now + MS(100)) > MS(880));
        load.observe(MS(10), OutcomeClass::Success, now + MS(100_000));
        assert!(load.peak_ewma(now + MS(100_000)) < MS(11));
    }

    #[test]
    fn failing_fast_is_not_being_fast() {
        let (mut load, now) = (Load::new(), Instant::now());
        load.observe(MS(1), OutcomeClass::Failure, now);
        assert_eq!(load.peak_ewma(now), FAILURE_PENALTY);
        load.observe(MS(30_000), OutcomeClass::Failure, now);
        assert_eq!(load.peak_ewma(now), MS(30_000));
    }

    #[test]
    fn an_estimate_falls_while_nothing_is_observed() {
        let (mut load, now) = (Load::new(), Instant::now());
        load.observe(MS(1), OutcomeClass::Failure, now);
        assert!(load.peak_ewma(now + MS(70_000)) < MS(10));
        assert_eq!(load.last_peak_ewma(), FAILURE_PENALTY);
    }

    #[test]
    fn ignored_attempts_never_make_a_server_look_faster() {
        let (mut load, start) = (Load::new(), Instant::now());
        load.observe(MS(20), OutcomeClass::Success, start);
        let last = (1..=100)
            .map(|n| start + MS(1000 * n))
            .inspect(|now| load.observe(MS(1), OutcomeClass::Ignored, *now));
        let last = last.last().unwrap();
        assert!(near(load.peak_ewma(last), MS(20)));
        assert_eq!(load.error_rate(last), 0.0);
    }

    #[test]
    fn an_ignored_attempt_took_at_least_as_long_as_it_took() {
        let (mut load, now) = (Load::new(), Instant::now());
        load.observe(MS(20), OutcomeClass::Success, now);
        load.observe(MS(3000), OutcomeClass::Ignored, now);
        assert_eq!(load.peak_ewma(now), MS(3000));
    }

    #[test]
    fn an_unknown_server_counts_as_slow_also_after_a_try_that_taught_nothing() {
        let (mut load, now) = (Load::new(), Instant::now());
        assert_eq!(load.peak_ewma(now), UNKNOWN_LATENCY);
        assert!(load.is_untried());
        load.observe(MS(1), OutcomeClass::Ignored, now);
        assert_eq!(load.peak_ewma(now), UNKNOWN_LATENCY);
        assert!(!load.is_untried());
    }

    fn class() -> impl proptest::strategy::Strategy<Value = OutcomeClass> {
        prop::sample::select(vec![
            OutcomeClass::Success,
            OutcomeClass::Failure,
            OutcomeClass::Overload,
            OutcomeClass::Ignored,
        ])
    }

    proptest! {
        #[test]
        fn figures_stay_within_what_was_seen(
            seen in prop::collection::vec((0u64..100_000, class(), 0u64..60_000), 1..80),
        ) {
            let (mut load, mut now) = (Load::new(), Instant::now());
            for (latency, class, pause) in &seen {
                now += MS(*pause);
                load.observe(MS(*latency), *class, now);
                prop_assert!((0.0..1.0).contains(&load.error_rate(now)));
                prop_assert!(load.peak_ewma(now) <= MS(100_000));
                prop_assert!(load.peak_ewma(now) >= load.peak_ewma(now + MS(1)));
                if *class != OutcomeClass::Success {
                    prop_assert!(load.peak_ewma(now) + Duration::from_micros(1) >= MS(*latency).min(load.last_peak_ewma()));
                }
            }
            let successes: Vec<u64> =
                seen.iter().filter(|(_, class, _)| *class == OutcomeClass::Success).map(|(ms, ..)| *ms).collect();
            prop_assert_eq!(load.samples(), successes.len() as u64);
            if let Some(mean) = load.mean() {
                let (low, high) = (successes.iter().min().unwrap(), successes.iter().max().unwrap());
                prop_assert!(mean + MS(1) > MS(*low) && mean < MS(*high + 1));
            }
        }

        #[test]
        fn extreme_latencies_do_no_harm(secs in any::<u64>()) {
            let (mut load, now) = (Load::new(), Instant::now());
            load.observe(Duration::from_secs(secs), OutcomeClass::Success, now);
            load.observe(Duration::from_secs(u64::MAX), OutcomeClass::Success, now);
            prop_assert!(load.mean().is_some() && load.peak_ewma(now) > Duration::ZERO);
        }
    }
}
