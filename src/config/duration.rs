//! Durations as people write them: `30s`, `1m 30s`, `250ms`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration written as text.
#[derive(Deserialize)]
#[serde(transparent)]
struct Written(#[serde(deserialize_with = "deserialize")] Duration);

/// Reads `30s` and refuses bare numbers, whose unit nobody could tell.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Text(String),
        Other(serde_json::Value),
    }
    match Given::deserialize(deserializer)? {
        Given::Text(text) => humantime::parse_duration(text.trim()).map_err(|error| {
            D::Error::custom(format!("{text:?} is no duration ({error}): write it as \"30s\""))
        }),
        Given::Other(other) => {
            Err(D::Error::custom(format!("{other} is no duration: write it with its unit, as \"30s\"")))
        }
    }
}

/// Writes `30s`.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*duration))
}

/// The same for a duration that may be absent.
pub fn serialize_optional<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    duration.map(|duration| humantime::format_duration(duration).to_string()).serialize(serializer)
}

/// The same for durations by name.
pub fn serialize_by_name<S: Serializer>(
    durations: &BTreeMap<String, Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(
        durations.iter().map(|(name, duration)| (name, humantime::format_duration(*duration).to_string())),
    )
}

/// Reads a duration that may be absent or null.
pub fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    Ok(Option::<Written>::deserialize(deserializer)?.map(|written| written.0))
}

/// Reads durations by name.
pub fn by_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Duration>, D::Error> {
    let written = BTreeMap::<String, Written>::deserialize(deserializer)?;
    Ok(written.into_iter().map(|(name, written)| (name, written.0)).collect())
}
