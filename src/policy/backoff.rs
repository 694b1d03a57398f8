//! Exponential backoff with jitter. It has no last attempt.

use std::time::Duration;

use rand::{Rng, RngExt};
use tokio::time::Instant;

use crate::config::BackoffSettings;

/// Delays between attempts that fail. They shrink back only after a good stretch: a link that opens and dies at once
/// has not recovered.
#[derive(Debug, Clone)]
pub struct Backoff {
    settings: BackoffSettings,
    attempts: u32,
    good_since: Option<Instant>,
}

impl Backoff {
    /// A backoff without failures.
    pub fn new(settings: BackoffSettings) -> Self {
        Self { settings, attempts: 0, good_since: None }
    }

    /// The delay after another failure.
    pub fn next(&mut self, now: Instant, rng: &mut dyn Rng) -> Duration {
        if self
            .good_since
            .take()
            .is_some_and(|since| now.saturating_duration_since(since) >= self.settings.reset_after)
        {
            self.attempts = 0;
        }
        let delay = delay(&self.settings, self.attempts, rng);
        self.attempts = self.attempts.saturating_add(1);
        delay
    }

    /// A good stretch begins, if none is under way.
    pub fn good(&mut self, now: Instant) {
        self.good_since.get_or_insert(now);
    }

    /// Failures since the last good stretch.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }
}

/// The delay after `before` earlier ones.
pub fn delay(settings: &BackoffSettings, before: u32, rng: &mut dyn Rng) -> Duration {
    let exponent = i32::try_from(before).unwrap_or(i32::MAX);
    let (min, max) = (settings.min.as_secs_f64(), settings.max.as_secs_f64());
    // An overflow is infinite, and so the longest delay.
    let delay = (min * settings.factor.powi(exponent)).min(max);
    Duration::from_secs_f64(delay * (1.0 - settings.jitter * rng.random::<f64>()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    fn backoff(jitter: f64) -> (Backoff, SmallRng) {
        let settings = BackoffSettings { jitter, ..BackoffSettings::default() };
        (Backoff::new(settings), SmallRng::seed_from_u64(1))
    }

    #[test]
    fn delays_double_up_to_the_limit() {
        let (mut backoff, mut rng) = backoff(0.0);
        let now = Instant::now();
        let delays: Vec<u128> = (0..11).map(|_| backoff.next(now, &mut rng).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]);
    }

    #[test]
    fn only_a_long_good_stretch_begins_anew() {
        let (mut backoff, mut rng) = backoff(0.0);
        let now = Instant::now();
        for _ in 0..3 {
            backoff.next(now, &mut rng);
        }
        backoff.good(now);
        assert_eq!(backoff.next(now + Duration::from_secs(9), &mut rng), Duration::from_millis(800));
        backoff.good(now + Duration::from_secs(20));
        backoff.good(now + Duration::from_secs(25));
        assert_eq!(backoff.next(now + Duration::from_secs(30), &mut rng), Duration::from_millis(100));
    }

    proptest! {
        #[test]
        fn delays_stay_within_their_bounds(seed in any::<u64>(), failures in 1usize..5000) {
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut backoff = backoff(0.5).0;
            let now = Instant::now();
            for _ in 0..failures {
                let delay = backoff.next(now, &mut rng);
                prop_assert!(delay >= Duration::from_millis(50) && delay <= Duration::from_secs(30));
            }
        }
    }
}
