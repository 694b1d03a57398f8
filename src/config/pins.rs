//! Pins of tool definitions, as a configuration names them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// What follows where a tool's definition is not what its pin says. The event [`PinBroken`](crate::Event::PinBroken) does in
/// any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum OnChange {
    /// A warning in the log; the tool stays.
    #[default]
    Warn,
    /// The tool leaves the catalogue, and calls of it fail, until its definition is what it was or its pin is another.
    Block,
    /// Nothing more; the tool stays.
    Allow,
}

/// Where the pins are, and what follows from a change.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct PinSettings {
    /// A JSON file of [`Pins`](crate::Pins), read when the troupe starts.
    pub file: PathBuf,
    /// What follows where a tool is not what it was; a warning unless said.
    #[serde(default)]
    pub on_change: OnChange,
}

impl PinSettings {
    /// Pins of a file.
    pub fn new(file: impl Into<PathBuf>, on_change: OnChange) -> Self {
        Self { file: file.into(), on_change }
    }

    /// Checks what can be seen without reading the file.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.file.as_os_str().is_empty() {
            return Err(ConfigError::new("file", "must be the path of a file"));
        }
        Ok(())
    }
}
