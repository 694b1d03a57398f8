//! Which results may be kept, for how long, and for whom.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::settings::{count, number, optional_time, time};
use super::tool_name::ToolName;
use super::{ConfigError, duration};

/// The most bytes of results that may be kept, 1 TiB: more than the machines have that this runs on.
const KEPT_BYTES_MAX: u64 = 1 << 40;

/// The response cache. Nothing is kept of a tool that is not named here, unless a `trusted` server calls it read-only and
/// [`trusted_ttl`](Self::trusted_ttl) is set: a call that writes must never be answered from a cache.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct CacheSettings {
    /// Tools whose results are kept, by name (bare, or `group/tool`, which goes before, or `group__tool`): none.
    pub tools: BTreeMap<String, CacheRule>,
    /// How long results are kept of tools that all their servers call read-only (`readOnlyHint`), where all these are
    /// [`trusted`](crate::Server::trusted); none: they are not kept. A call of any other tool of the group clears them.
    #[serde(with = "duration::OptionalText")]
    pub trusted_ttl: Option<Duration>,
    /// Whether resources and prompts are kept for as long as their servers say (`ttlMs`, a day at most), by those for whom
    /// they say (`cacheScope`), until a server tells of a change: yes. Those that say nothing are not kept.
    pub declared: bool,
    /// Results that are kept: 1,000.
    pub entries_max: usize,
    /// Bytes of the results that are kept and of their keys, all together: 64 MiB. A TiB at most.
    pub bytes_max: usize,
    /// A larger result is handed on and not kept: 1 MiB, so that a few large ones do not push out all others.
    pub entry_bytes_max: usize,
}

/// How long the results of one tool are kept, and for whom.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct CacheRule {
    /// How long a result is fresh: 10 min.
    #[serde(with = "duration::Text")]
    pub ttl: Duration,
    /// How long after that it is still given out while it is fetched anew in the background: not at all.
    #[serde(with = "duration::OptionalText")]
    pub stale_while_revalidate: Option<Duration>,
    /// How long after `ttl` it is given out where no server can answer: not at all.
    #[serde(with = "duration::OptionalText")]
    pub stale_if_error: Option<Duration>,
    /// Who shares a result.
    pub scope: CacheScope,
    /// Tools (bare, `group/tool` or `group__tool`) whose calls make the kept results wrong: each that was, or may have been, carried out
    /// clears them. A bare name means the tool in every group.
    pub cleared_by: Vec<String>,
}

/// Who shares a kept result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum CacheScope {
    /// All callers.
    #[default]
    Shared,
    /// Calls with the same affinity key; calls without one are not cached.
    Affinity,
    /// Calls with the same [`identity`](crate::Call::identity); calls without one are not cached.
    Identity,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            tools: BTreeMap::new(),
            trusted_ttl: None,
            declared: true,
            entries_max: 1_000,
            bytes_max: 64 << 20,
            entry_bytes_max: 1 << 20,
        }
    }
}

impl Default for CacheRule {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(600),
            stale_while_revalidate: None,
            stale_if_error: None,
            scope: CacheScope::default(),
            cleared_by: Vec::new(),
        }
    }
}

impl CacheSettings {
    /// Checks every value; the error names the first key that is wrong. Whether there are such tools is known only when the
    /// servers have told theirs, see [`Event::NamedToolMissing`](crate::Event::NamedToolMissing).
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut readers = Vec::with_capacity(self.tools.len());
        for (name, rule) in &self.tools {
            let at = |error: ConfigError| error.under(name).under("tools");
            let reader =
                ToolName::parse(name).map_err(|reason| ConfigError::new(name, reason).under("tools"))?;
            rule.check().map_err(at)?;
            readers.push(reader);
        }
        for (name, rule) in &self.tools {
            for (index, writer) in rule.cleared_by.iter().enumerate() {
                let at = |reason| ConfigError::new(format!("tools.{name}.clearedBy[{index}]"), reason);
                let writer = ToolName::parse(writer).map_err(at)?;
                if let Some(reader) = readers.iter().find(|reader| reader.meets(&writer)) {
                    let reason = format!(
                        "the results of {reader} are kept: a call that is answered from the cache is not carried out"
                    );
                    return Err(at(reason));
                }
            }
        }
        optional_time("trustedTtl", self.trusted_ttl)?;
        count("entriesMax", self.entries_max)?;
        number("bytesMax", self.bytes_max as u64, KEPT_BYTES_MAX)?;
        number("entryBytesMax", self.entry_bytes_max as u64, KEPT_BYTES_MAX)?;
        if self.entry_bytes_max > self.bytes_max {
            let reason = format!("{} is more than bytesMax ({})", self.entry_bytes_max, self.bytes_max);
            return Err(ConfigError::new("entryBytesMax", reason));
        }
        Ok(())
    }
}

impl CacheRule {
    /// Checks every value; the error names the first key that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        time("ttl", self.ttl)?;
        optional_time("staleWhileRevalidate", self.stale_while_revalidate)?;
        optional_time("staleIfError", self.stale_if_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<(), ConfigError> {
        serde_json::from_str::<CacheSettings>(json).unwrap().check()
    }

    #[test]
    fn fault_e8_a_time_to_live_of_zero_is_refused_and_not_replaced() {
        assert_eq!(check(r#"{"tools":{"t":{"ttl":"0s"}}}"#).unwrap_err().key, "tools.t.ttl");
        assert_eq!(check(r#"{"trustedTtl":"0s"}"#).unwrap_err().key, "trustedTtl");
        let zero = r#"{"tools":{"t":{"staleIfError":"0s"}}}"#;
        assert_eq!(check(zero).unwrap_err().key, "tools.t.staleIfError");
    }

    #[test]
    fn names_that_can_be_no_tools_are_mistakes() {
        for name in ["", "a b", "g/", "g h/t", "g/t/u"] {
            let text = format!(r#"{{"tools":{{"{name}":{{}}}}}}"#);
            assert_eq!(check(&text).unwrap_err().key, format!("tools.{name}"));
            let text = format!(r#"{{"tools":{{"t":{{"clearedBy":["w","{name}"]}}}}}}"#);
            assert_eq!(check(&text).unwrap_err().key, "tools.t.clearedBy[1]");
        }
        assert_eq!(check(r#"{"tools":{"g/t":{},"file.read":{"clearedBy":["w","g/w"]}}}"#), Ok(()));
    }

    #[test]
    fn a_tool_cannot_be_kept_and_clear_others() {
        for (reader, writer) in [("r", "r"), ("g/r", "r"), ("r", "g/r"), ("g/r", "g/r")] {
            let text = format!(r#"{{"tools":{{"{reader}":{{}},"t":{{"clearedBy":["{writer}"]}}}}}}"#);
            assert_eq!(check(&text).unwrap_err().key, "tools.t.clearedBy[0]", "{text}");
        }
        assert_eq!(check(r#"{"tools":{"g/r":{},"t":{"clearedBy":["h/r"]}}}"#), Ok(()));
    }

    #[test]
    fn one_entry_cannot_be_larger_than_all() {
        assert_eq!(check(r#"{"bytesMax":10}"#).unwrap_err().key, "entryBytesMax");
        assert_eq!(check(r#"{"bytesMax":10,"entryBytesMax":10}"#), Ok(()));
    }
}
