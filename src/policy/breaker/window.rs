//! Counts over a sliding window of time, in ten buckets.

use std::time::Duration;

use tokio::time::Instant;

/// Buckets of the window: enough that its edge moves by a tenth, few enough that summing them costs nothing.
const BUCKETS: usize = 10;

/// How often each thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// Calls that count.
    pub calls: u64,
    /// Those that failed, overload included.
    pub failures: u64,
    /// Those that succeeded slowly.
    pub slow: u64,
}

/// The window. What is older than its length counts no more.
#[derive(Debug, Clone)]
pub(super) struct Window {
    width: Duration,
    buckets: [Counts; BUCKETS],
    /// The bucket that is being filled, and when it began.
    current: usize,
    began: Option<Instant>,
}

impl Window {
    /// A window of this length.
    pub(super) fn new(length: Duration) -> Self {
        let width = (length / BUCKETS as u32).max(Duration::from_nanos(1));
        Self { width, buckets: [Counts::default(); BUCKETS], current: 0, began: None }
    }

    /// Adds to the present bucket.
    pub(super) fn add(&mut self, counts: Counts, now: Instant) {
        self.turn(now);
        let bucket = &mut self.buckets[self.current];
        bucket.calls += counts.calls;
        bucket.failures += counts.failures;
        bucket.slow += counts.slow;
    }

    /// Sums up what the window holds at `now`.
    pub(super) fn sum(&self, now: Instant) -> Counts {
        let passed = self.began.map_or(0, |began| self.buckets_since(began, now));
        let live = BUCKETS.saturating_sub(passed);
        let mut sum = Counts::default();
        for back in 0..live {
            let bucket = &self.buckets[(self.current + BUCKETS - back) % BUCKETS];
            sum.calls += bucket.calls;
            sum.failures += bucket.failures;
            sum.slow += bucket.slow;
        }
        sum
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.buckets = [Counts::default(); BUCKETS];
        self.began = None;
    }

    fn buckets_since(&self, began: Instant, now: Instant) -> usize {
        let passed = now.saturating_duration_since(began).as_nanos() / self.width.as_nanos();
        usize::try_from(passed).unwrap_or(usize::MAX)
    }

    /// Moves on to the bucket of `now`, emptying those that were passed.
    fn turn(&mut self, now: Instant) {
        let Some(began) = self.began else {
            self.began = Some(now);
            return;
        };
        let passed = self.buckets_since(began, now);
        if passed >= BUCKETS {
            self.clear();
            self.began = Some(now);
            return;
        }
        for _ in 0..passed {
            self.current = (self.current + 1) % BUCKETS;
            self.buckets[self.current] = Counts::default();
        }
        self.began = Some(crate::duration::later(began, self.width.saturating_mul(passed as u32)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Counts = Counts { calls: 1, failures: 1, slow: 0 };

    #[test]
    fn what_is_older_than_the_window_counts_no_more() {
        let start = Instant::now();
        let mut window = Window::new(Duration::from_secs(10));
        window.add(ONE, start);
        window.add(ONE, start + Duration::from_secs(5));
        assert_eq!(window.sum(start + Duration::from_secs(9)).calls, 2);
        assert_eq!(window.sum(start + Duration::from_secs(10)).calls, 1);
        assert_eq!(window.sum(start + Duration::from_secs(15)).calls, 0);
        window.add(ONE, start + Duration::from_secs(100));
        assert_eq!(window.sum(start + Duration::from_secs(100)).calls, 1);
    }

    #[test]
    fn reading_changes_nothing() {
        let start = Instant::now();
        let mut window = Window::new(Duration::from_secs(10));
        window.add(ONE, start);
        assert_eq!(window.sum(start + Duration::from_secs(99)).calls, 0);
        assert_eq!(window.sum(start).calls, 1);
    }
}
