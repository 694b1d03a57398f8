//! What a new configuration changes in a troupe that plays, and which settings wait for its next start.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::{CacheSettings, LimitSettings, Settings};
use crate::id::ServerId;

/// What became of a new configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Applied {
    /// Servers that joined.
    pub added: Vec<ServerId>,
    /// Servers that leave; they finish the calls they have.
    pub removed: Vec<ServerId>,
    /// Servers that begin another life, since their connections cannot serve the new description; the life before
    /// finishes the calls it has.
    pub replaced: Vec<ServerId>,
    /// Servers whose group, tags, weight, deadline, way to be started or place in the file changed; their connections and breakers go on.
    pub amended: Vec<ServerId>,
    /// Servers that are as they were.
    pub unchanged: Vec<ServerId>,
    /// Servers of the file whose ids the host holds by `register` or `replace`: the host's descriptions go on to hold.
    pub kept: Vec<ServerId>,
    /// Servers that the file describes with a mistake: those that play go on by their former descriptions, others do not start.
    pub left_out: Vec<ServerId>,
    /// Settings that changed and hold at once, by their keys: `troupe.callTimeout`.
    pub settings: Vec<String>,
    /// Settings that changed and hold only in a troupe that is started with them, by their keys.
    pub pending: Vec<String>,
}

impl Applied {
    /// Whether anything is different from before.
    pub fn changes_anything(&self) -> bool {
        let Self {
            added,
            removed,
            replaced,
            amended,
            unchanged: _,
            kept: _,
            left_out: _,
            settings,
            pending: _,
        } = self;
        let servers = [added, removed, replaced, amended];
        !settings.is_empty() || servers.iter().any(|servers| !servers.is_empty())
    }
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { added, removed, replaced, amended, unchanged, kept, left_out, settings, pending } = self;
        let servers = [
            ("added", added),
            ("removed", removed),
            ("replaced", replaced),
            ("amended", amended),
            ("held by the host", kept),
            ("left out for their mistakes", left_out),
        ];
        write!(f, "{} servers unchanged", unchanged.len())?;
        for (what, servers) in servers.iter().filter(|(_, servers)| !servers.is_empty()) {
            let servers: Vec<&str> = servers.iter().map(ServerId::as_str).collect();
            write!(f, "; {what}: {}", servers.join(", "))?;
        }
        for (what, keys) in [("changed", settings), ("changed with the next start", pending)] {
            if !keys.is_empty() {
                write!(f, "; {what}: {}", keys.join(", "))?;
            }
        }
        Ok(())
    }
}

impl Settings {
    /// These settings with what of `new` can hold while a troupe plays. What is built once for the life of an actor (its
    /// tables, its timers, its gates) waits for the next start.
    pub(crate) fn turned_into(&self, new: &Self) -> Self {
        Self {
            strategy: new.strategy.clone(),
            call_timeout: new.call_timeout,
            call_idle_timeout: new.call_idle_timeout,
            tool_timeouts: new.tool_timeouts.clone(),
            ejection_max: new.ejection_max,
            breaker: new.breaker.clone(),
            pool: new.pool.clone(),
            start: new.start,
            idle_timeout: new.idle_timeout,
            retry: new.retry.clone(),
            cache: CacheSettings {
                tools: new.cache.tools.clone(),
                trusted_ttl: new.cache.trusted_ttl,
                entry_bytes_max: new.cache.entry_bytes_max,
                ..self.cache.clone()
            },
            limits: LimitSettings {
                servers_max: new.limits.servers_max,
                open_calls_max: new.limits.open_calls_max,
                ..self.limits.clone()
            },
            ..self.clone()
        }
    }

    /// The keys whose values differ, as paths.
    pub(crate) fn differing_keys(&self, other: &Self) -> Vec<String> {
        let tree = |settings: &Self| {
            serde_json::to_value(settings).expect("settings are numbers and text under keys that are text")
        };
        let mut keys = Vec::new();
        differing("troupe", &tree(self), &tree(other), &mut keys);
        keys
    }
}

fn differing(path: &str, one: &Value, other: &Value, keys: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let missing = theirs.keys().filter(|key| !ours.contains_key(*key));
            for key in ours.keys().chain(missing) {
                let (one, other) = (ours.get(key), theirs.get(key));
                let path = format!("{path}.{key}");
                differing(&path, one.unwrap_or(&Value::Null), other.unwrap_or(&Value::Null), keys);
            }
        }
        (one, other) if one == other => {}
        (_, _) => keys.push(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_setting_that_cannot_change_is_named_and_does_not_change() {
        let old = Settings::default();
        let mut new = Settings::default();
        new.restart.backoff.min = Duration::from_millis(1);
        new.limits.tools_max = 7;
        new.limits.servers_max = 8;
        new.tool_timeouts.insert("t".to_owned(), Duration::from_secs(1));
        let turned = old.turned_into(&new);
        assert_eq!(old.differing_keys(&turned), ["troupe.limits.serversMax", "troupe.toolTimeouts.t"]);
        assert_eq!(turned.differing_keys(&new), ["troupe.limits.toolsMax", "troupe.restart.backoff.min"]);
    }

    #[test]
    fn settings_are_written_as_they_are_read() {
        let mut settings = Settings::default();
        settings.breaker.slow_call = Some(Duration::from_millis(1500));
        settings.tool_timeouts.insert("t".to_owned(), Duration::from_secs(90));
        let written = serde_json::to_string(&settings).unwrap();
        assert!(written.contains(r#""slowCall":"1s 500ms""#), "{written}");
        assert_eq!(serde_json::from_str::<Settings>(&written).unwrap(), settings);
    }
}
