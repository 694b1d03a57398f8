//! Durations as machines and people read them.

use std::time::Duration;

use serde::{Serialize, Serializer};
use tokio::time::Instant;

/// The longest time that a setting, a server or a call may say: as good as for ever, and still a time that can be calculated
/// with. A leap year, so that `1y` is one.
pub(crate) const TIME_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// Where [`later`] ends: sums of several longest times lie before it, and every clock reaches further.
const FAR: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// `wait` after `at`. A `wait` that no clock could hold ends in a hundred years: what is never due is still an appointment, and
/// no sum panics, whoever says the time.
#[allow(clippy::arithmetic_side_effects)]
pub(crate) fn later(at: Instant, wait: Duration) -> Instant {
    at + wait.min(FAR)
}

/// Milliseconds of a duration, for machine-readable output.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Microseconds of a duration, for machine-readable output.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Serialises a duration as milliseconds.
pub(crate) fn ms<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    millis(*value).serialize(serializer)
}

/// The same, of one that there may not be.
pub(crate) fn optional_ms<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    value.map(millis).serialize(serializer)
}

/// A duration in words, without digits that nobody reads.
pub(crate) fn rounded(duration: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_millis(millis(duration)))
}

/// The time until something, for people: whole seconds from one second on, and none too early.
pub(crate) fn about(left: Duration) -> humantime::FormattedDuration {
    if left < Duration::from_secs(1) {
        return rounded(left);
    }
    let seconds = left.as_secs().saturating_add(u64::from(left.subsec_nanos() > 0));
    humantime::format_duration(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_is_left_is_told_without_digits_that_change_while_one_reads() {
        for (left, told) in [(0, "0s"), (576, "576ms"), (1_000, "1s"), (4_074, "5s"), (61_001, "1m 2s")] {
            assert_eq!(about(Duration::from_millis(left)).to_string(), told);
        }
    }

    #[test]
    fn a_time_that_no_clock_holds_ends_far_away() {
        let now = Instant::now();
        assert_eq!(later(now, TIME_MAX), now + TIME_MAX);
        assert!(later(now, Duration::MAX) > later(now, 10 * TIME_MAX));
        assert!(later(later(now, Duration::MAX), Duration::MAX) > now);
    }
}
