//! How the troupe is served as one MCP server: the key `gateway` of a `servers.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::settings::bounded;
use super::{ConfigError, duration};

/// The longest name of a tool that may be asked for: the limit of the common model APIs.
const NAME_CHARS_MAX: usize = 64;

/// The shortest limit: room for a hash, and for some letters of what it stands for.
const NAME_CHARS_MIN: usize = 24;

/// Patterns of one list of a profile, and their length in bytes: each is compared with each thing that servers offer.
const PATTERNS_MAX: usize = 100;
const PATTERN_BYTES_MAX: usize = 256;

/// Keys of parts of the gateway that are not built yet: one that is written here would do nothing, and nobody would see it.
pub(super) const KEYS_TO_COME: [&str; 19] = [
    "listen",
    "path",
    "publicUrl",
    "hosts",
    "origins",
    "tls",
    "auth",
    "sealKeys",
    "sseAfter",
    "keepAlive",
    "tools",
    "resources",
    "session",
    "limits",
    "serverRequests",
    "resume",
    "audit",
    "ui",
    "cluster",
];

/// How the troupe is served as one MCP server; see [`guide::gateway`](crate::guide::gateway).
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct GatewaySettings {
    /// How long after the start lists wait for servers in their first attempt: 2 s. Hosts wait longer for a handshake; what comes
    /// later is told by a notification. `0s` waits for nobody.
    #[serde(with = "duration::Text")]
    pub start_wait: Duration,
    /// What tools are called.
    pub names: NameSettings,
    /// Whether clients are told how servers want to be used: `true`. It is untrusted text for a model.
    pub instructions: bool,
    /// What clients see that are served by one of these, by name: `mcp-troupe serve --profile NAME`.
    pub profiles: BTreeMap<String, ProfileSettings>,
}

/// What a client sees of all that servers offer. What is hidden can neither be listed nor called.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct ProfileSettings {
    /// Only these are seen; all, unless there is one. A group (`files`), servers with a tag (`tag:storage`), or `group/name` of a
    /// tool, a prompt or a resource; `*` stands for any characters.
    pub include: Vec<String>,
    /// Not these, in the same forms.
    pub exclude: Vec<String>,
    /// Only tools that change nothing are seen: `false`. Trusted servers are believed (`readOnlyHint`), and tools that `include`
    /// names in full are seen as well.
    pub read_only: bool,
    /// Other names of tools and prompts, by `group/name`.
    pub rename: BTreeMap<String, String>,
}

/// What tools are called at the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct NameSettings {
    /// When the group stands before a name, as in `files__read`: `always`. So no name changes when a server is added.
    pub prefix: Prefix,
    /// The longest name, 24 to 64 characters: 50. Hosts put a name of their own before it, and take no more than 60 or 64.
    pub max: usize,
}

/// When the group stands before a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Prefix {
    /// Always.
    #[default]
    Always,
    /// Where another group that was configured before it has the name.
    OnCollision,
    /// Never. Of several groups that have a name the first configured one has it, and the tools of the others are not offered.
    Never,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            start_wait: Duration::from_secs(2),
            names: NameSettings::default(),
            instructions: true,
            profiles: BTreeMap::new(),
        }
    }
}

impl Default for NameSettings {
    fn default() -> Self {
        Self { prefix: Prefix::Always, max: 50 }
    }
}

impl GatewaySettings {
    /// Checks every value; the error names the first key that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        bounded("startWait", self.start_wait)?;
        self.names.check().map_err(|error| error.under("names"))?;
        for (name, profile) in &self.profiles {
            profile.check(self.names.max).map_err(|error| error.under(name).under("profiles"))?;
        }
        Ok(())
    }
}

impl ProfileSettings {
    fn check(&self, name_chars_max: usize) -> Result<(), ConfigError> {
        for (key, patterns) in [("include", &self.include), ("exclude", &self.exclude)] {
            if patterns.len() > PATTERNS_MAX {
                return Err(ConfigError::new(key, format!("must be {PATTERNS_MAX} at most")));
            }
            if patterns.iter().any(|pattern| pattern.is_empty() || pattern.len() > PATTERN_BYTES_MAX) {
                let reason = format!("each must have 1 to {PATTERN_BYTES_MAX} bytes");
                return Err(ConfigError::new(key, reason));
            }
        }
        let mut names = BTreeSet::new();
        for (of, name) in &self.rename {
            let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            let wrong = |reason: String| Err(ConfigError::new("rename", reason));
            if !of.contains('/') {
                return wrong(format!("{of:?} must be written as group/name"));
            }
            if name.is_empty() || name.len() > name_chars_max || !name.chars().all(legal) {
                return wrong(format!("{name:?} must be 1 to {name_chars_max} letters, digits, `_` and `-`"));
            }
            if !names.insert(name) {
                return wrong(format!("{name:?} stands for two: give one of them another name"));
            }
        }
        Ok(())
    }
}

impl NameSettings {
    fn check(&self) -> Result<(), ConfigError> {
        match self.max {
            NAME_CHARS_MIN..=NAME_CHARS_MAX => Ok(()),
            _ => Err(ConfigError::new("max", format!("must be {NAME_CHARS_MIN} to {NAME_CHARS_MAX}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_a_mistake_names_its_key() {
        assert_eq!(GatewaySettings::default().check(), Ok(()));
        for max in [NAME_CHARS_MIN - 1, NAME_CHARS_MAX + 1] {
            let settings = GatewaySettings {
                names: NameSettings { max, ..NameSettings::default() },
                ..GatewaySettings::default()
            };
            assert_eq!(settings.check().unwrap_err().key, "names.max");
        }
        for (of, name) in [("read", "r"), ("a/b", ""), ("a/b", "r.x"), ("a/b", &*"x".repeat(51))] {
            let rename = BTreeMap::from([(of.to_owned(), name.to_owned())]);
            let profiles =
                BTreeMap::from([("p".to_owned(), ProfileSettings { rename, ..ProfileSettings::default() })]);
            let settings = GatewaySettings { profiles, ..GatewaySettings::default() };
            assert_eq!(settings.check().unwrap_err().key, "profiles.p.rename", "{of} {name}");
        }
        let settings = GatewaySettings { start_wait: Duration::MAX, ..GatewaySettings::default() };
        assert_eq!(settings.check().unwrap_err().key, "startWait");
    }

    #[test]
    fn no_key_that_is_to_come_is_one_that_is_built() {
        let built = serde_json::to_value(GatewaySettings::default()).unwrap();
        for key in KEYS_TO_COME {
            assert!(built.get(key).is_none(), "{key}");
        }
    }
}
