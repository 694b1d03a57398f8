//! Durations as people write them: `30s`, `1m 30s`, `250ms`.
//!
//! How a field is written is said by a type, as in `#[serde(with = "duration::Text")]`: so what reads it is also what tells the
//! schema about it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::{Error, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::shown::NO_DURATION;

/// What a written duration looks like. All that it matches is read; so are spaces in odd places, which it does not match.
#[cfg(feature = "schema")]
pub(super) const PATTERN: &str = concat!(
    r"^\s*(?:[0-9]+(?:\.[0-9]+)?\s*(?:",
    "nanos|nsec|ns|usec|us|µs|millis|msec|ms|seconds|second|secs|sec|s|minutes|minute|mins|min|m|",
    "hours|hour|hrs|hr|h|days|day|d|weeks|week|wks|wk|w|months|month|M|years|year|yrs|yr|y",
    r")\s*)+$",
);

/// A duration, written as text.
pub(super) struct Text;

/// The same for a duration that may be absent or null.
pub(super) struct OptionalText;

/// The same for durations by name.
pub(super) struct TextByName;

/// A duration that was written as text.
#[derive(Deserialize)]
#[serde(transparent)]
struct Written(#[serde(with = "Text")] Duration);

impl Text {
    /// Reads `30s` and refuses bare numbers, whose unit nobody could tell.
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Text(String),
            Other(IgnoredAny),
        }
        match Given::deserialize(deserializer)? {
            // What was given is not told, nor what humantime says, which quotes it.
            Given::Text(text) => {
                humantime::parse_duration(text.trim()).map_err(|_| D::Error::custom(NO_DURATION))
            }
            Given::Other(_) => Err(D::Error::custom(NO_DURATION)),
        }
    }

    /// Writes `30s`.
    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
    }
}

impl OptionalText {
    /// Reads what may be absent.
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Written>::deserialize(deserializer)?.map(|written| written.0))
    }

    /// Writes it, or null.
    pub(super) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration.map(|duration| humantime::format_duration(duration).to_string()).serialize(serializer)
    }
}

impl TextByName {
    /// Reads an object of durations.
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<String, Duration>, D::Error> {
        let written = BTreeMap::<String, Written>::deserialize(deserializer)?;
        Ok(written.into_iter().map(|(name, written)| (name, written.0)).collect())
    }

    /// Writes it.
    pub(super) fn serialize<S: Serializer>(
        durations: &BTreeMap<String, Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let written = |duration: &Duration| humantime::format_duration(*duration).to_string();
        serializer.collect_map(durations.iter().map(|(name, duration)| (name, written(duration))))
    }
}

#[cfg(feature = "schema")]
mod schema {
    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    use super::{BTreeMap, OptionalText, PATTERN, Text, TextByName};

    impl JsonSchema for Text {
        fn schema_name() -> Cow<'static, str> {
            "Duration".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            let meaning = "A duration with its unit, such as 30s, 250ms or 1m 30s.";
            json_schema!({"type": "string", "pattern": PATTERN, "description": meaning})
        }
    }

    impl JsonSchema for OptionalText {
        fn inline_schema() -> bool {
            true
        }

        fn schema_name() -> Cow<'static, str> {
            Option::<Text>::schema_name()
        }

        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            Option::<Text>::json_schema(generator)
        }
    }

    impl JsonSchema for TextByName {
        fn inline_schema() -> bool {
            true
        }

        fn schema_name() -> Cow<'static, str> {
            BTreeMap::<String, Text>::schema_name()
        }

        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            BTreeMap::<String, Text>::json_schema(generator)
        }
    }
}
