//! Durations as machines and people read them.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// Milliseconds of a duration, for machine-readable output.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Microseconds of a duration, for machine-readable output.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Serialises a duration as milliseconds.
pub(crate) fn optional_ms<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    value.map(millis).serialize(serializer)
}

/// A duration in words, without digits that nobody reads.
pub(crate) fn rounded(duration: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_millis(millis(duration)))
}
