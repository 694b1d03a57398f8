//! How the troupe is served as one MCP server: the key `gateway` of a `servers.json`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::settings::bounded;
use super::{ConfigError, duration};

/// The longest name of a tool that may be asked for: the limit of the common model APIs.
const NAME_CHARS_MAX: usize = 64;

/// The shortest limit: room for a hash, and for some letters of what it stands for.
const NAME_CHARS_MIN: usize = 24;

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
    /// How long after the start a client's list waits for servers in their first attempt: 2 s, less than hosts wait for a
    /// handshake. What comes later is told by a notification; `0s` waits for nobody.
    #[serde(with = "duration::Text")]
    pub start_wait: Duration,
    /// What tools are called.
    pub names: NameSettings,
    /// Whether clients are told how servers want to be used: `true`. It is untrusted text for a model.
    pub instructions: bool,
}

/// What tools are called at the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct NameSettings {
    /// When the group stands before a name, as in `files__read`: `always`, so that no name changes when a server is added.
    pub prefix: Prefix,
    /// The longest name, 24 to 64 characters: 50, since hosts put a name of their own before it and take no more than 60 or 64.
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
    /// Never: of several groups that have a name the first configured one has it, and the tools of the others are not offered.
    Never,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self { start_wait: Duration::from_secs(2), names: NameSettings::default(), instructions: true }
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
        self.names.check().map_err(|error| error.under("names"))
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
