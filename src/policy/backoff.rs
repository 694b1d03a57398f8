//! Exponential backoff with jitter. It has no last attempt.

use std::time::Duration;

use rand::{Rng, RngExt};
use tokio::time::Instant;

use crate::config::BackoffSettings;
use crate::id::ConnectionId;

/// Delays between attempts that fail. They shrink back only after a good stretch: a link that opens and dies at once
/// has not recovered.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    settings: BackoffSettings,
    attempts: u32,
    good_since: Option<Instant>,
}

impl Backoff {
    /// A backoff without failures.
    pub(crate) fn new(settings: BackoffSettings) -> Self {
        Self { settings, attempts: 0, good_since: None }
    }

    /// The delay after another failure.
    pub(crate) fn next(&mut self, now: Instant, rng: &mut dyn Rng) -> Duration {
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
    pub(crate) fn good(&mut self, now: Instant) {
        self.good_since.get_or_insert(now);
    }

    /// Failures since the last good stretch.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }
}

/// Which failures are one failure: a pool dials several connections at once, and all of them fail by the same cause.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// The latest that was dialled.
    dialled: Option<ConnectionId>,
    /// The latest that had been dialled when a failure was counted.
    counted: Option<ConnectionId>,
}

impl Rounds {
    /// A connection is dialled. Their ids grow.
    pub(crate) fn dialled(&mut self, connection: ConnectionId) {
        self.dialled = self.dialled.max(Some(connection));
    }

    /// A connection failed, or was lost. Whether that counts: once for all that had been dialled by then.
    pub(crate) fn failed(&mut self, connection: ConnectionId) -> bool {
        let counts = self.counted < Some(connection);
        if counts {
            self.counted = self.dialled.max(Some(connection));
        }
        counts
    }
}

/// The delay after `before` earlier ones.
pub(crate) fn delay(settings: &BackoffSettings, before: u32, rng: &mut dyn Rng) -> Duration {
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

    #[test]
    fn connections_that_were_dialled_together_fail_once() {
        let mut rounds = Rounds::default();
        let dial = |rounds: &mut Rounds, ids: std::ops::RangeInclusive<u64>| {
            ids.for_each(|id| rounds.dialled(ConnectionId(id)));
        };
        dial(&mut rounds, 1..=4);
        let failed: Vec<bool> = [2, 1, 4, 3].map(|id| rounds.failed(ConnectionId(id))).into();
        assert_eq!(failed, [true, false, false, false]);
        dial(&mut rounds, 5..=8);
        assert!(rounds.failed(ConnectionId(8)));
        assert!(!rounds.failed(ConnectionId(5)));
        dial(&mut rounds, 9..=9);
        assert!(rounds.failed(ConnectionId(9)), "what was dialled later is another attempt");
    }

    #[test]
    fn attempts_are_the_failures_since_the_last_good_stretch() {
        let (mut backoff, mut rng) = backoff(0.0);
        let now = Instant::now();
        assert_eq!(backoff.attempts(), 0);
        (0..3).for_each(|_| _ = backoff.next(now, &mut rng));
        assert_eq!(backoff.attempts(), 3);
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
