//! How often something may happen that others decide: so many times a second, and some at once.

use std::time::Duration;

use tokio::time::Instant;

use crate::duration::later;

/// A rate, with some room for bursts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// The time between two of a steady flow.
    pub interval: Duration,
    /// As many may come at once.
    pub burst: u32,
}

impl Rate {
    /// So many a second, and `burst` at once. Neither is 0.
    pub(crate) const fn per_second(times: u32, burst: u32) -> Self {
        Self { interval: Duration::from_nanos(1_000_000_000 / times as u64), burst }
    }

    /// How far ahead of the steady rate a full burst is.
    fn span(self) -> Duration {
        self.interval.saturating_mul(self.burst.saturating_sub(1))
    }
}

/// What is left of a [`Rate`]. It remembers one time: when all of the burst is there again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    rate: Rate,
    full_at: Instant,
}

impl Allowance {
    /// A full one.
    pub(crate) fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, full_at: now }
    }

    /// When another one may happen, at the earliest.
    pub(crate) fn next_at(&self, now: Instant) -> Instant {
        let spent = self.full_at.saturating_duration_since(now);
        later(now, spent.saturating_sub(self.rate.span()))
    }

    /// Whether another one may happen now; if so it is counted.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.max(now);
        let may = full_at.saturating_duration_since(now) <= self.rate.span();
        if may {
            self.full_at = later(full_at, self.rate.interval);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate::per_second(10, 3);

    fn taken(allowance: &mut Allowance, now: Instant) -> u32 {
        (0..100).map(|_| u32::from(allowance.take(now))).sum()
    }

    #[test]
    fn a_burst_passes_and_then_the_steady_rate() {
        let start = Instant::now();
        let mut allowance = Allowance::new(RATE, start);
        assert_eq!(taken(&mut allowance, start), 3);
        assert_eq!(taken(&mut allowance, start + Duration::from_millis(99)), 0);
        assert_eq!(taken(&mut allowance, start + Duration::from_millis(100)), 1);
        assert_eq!(taken(&mut allowance, start + Duration::from_millis(300)), 2);
    }

    #[test]
    fn another_one_may_happen_when_it_says() {
        let start = Instant::now();
        let mut allowance = Allowance::new(RATE, start);
        assert_eq!(allowance.next_at(start), start);
        taken(&mut allowance, start);
        let at = allowance.next_at(start);
        assert_eq!(at, start + Duration::from_millis(100));
        assert!(!allowance.take(at - Duration::from_millis(1)) && allowance.take(at));
    }

    #[test]
    fn a_long_silence_saves_up_no_more_than_a_burst() {
        let start = Instant::now();
        let mut allowance = Allowance::new(RATE, start);
        taken(&mut allowance, start);
        assert_eq!(taken(&mut allowance, start + Duration::from_secs(3600)), 3);
    }

    #[test]
    fn over_a_long_time_no_more_than_the_rate_and_one_burst_passes() {
        let start = Instant::now();
        let mut allowance = Allowance::new(RATE, start);
        let passed: u32 =
            (0..10_000).map(|ms| u32::from(allowance.take(start + Duration::from_millis(ms)))).sum();
        assert_eq!(passed, 100 + 2);
    }
}
