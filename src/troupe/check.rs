//! Reads a `servers.json` without starting anything.

use super::pins;
use crate::actors::known_lists;
use crate::config::{
    self, ConfigError, ConfigFile, Diagnostic, DiscoverySettings, Knowing, Reading, ServerSpec, Settings,
    Severity, Variables,
};
use crate::discovery::source_named;
use crate::id::SourceId;
use crate::policy::strategy::Strategies;
use crate::transport;

impl ConfigFile {
    /// Reads the text of a `servers.json`, and what its references name: `${NAME}`, `${NAME:-default}`, `${env:NAME}` and
    /// `${file:PATH}` in `command`, `args`, `env`, `envFile`, `cwd`, `url`, `headers`, `bearer` and `tls`. A secret that changes
    /// takes effect when the file is read again.
    ///
    /// A server that has a mistake is left out, see [`left_out`](Self::left_out) and [`diagnostics`](Self::diagnostics): unknown
    /// keys, wrong types, values out of range, a server without `url` or `command`, keys that belong to another kind of server,
    /// an address that no transport takes, or a secret that is not there.
    ///
    /// # Errors
    /// The first mistake that concerns the whole, with its key as a path: a text that is no JSON, no servers, and what is wrong
    /// with `discovery` or `troupe`. With `troupe.strict`, the first mistake. Of values that may be a secret, in the right place or
    /// a wrong one, it says nothing; numbers, and names of strategies and sources, are told.
    ///
    /// Files that hold secrets are read on this thread, which waits for the disk: [`ConfigWatch`](crate::ConfigWatch) does it on
    /// another one.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Self::parse_with(text, &Variables::new())
    }

    /// The same, with names that the host gives, such as `${workspaceFolder}`.
    ///
    /// # Errors
    /// As for [`parse`](Self::parse).
    pub fn parse_with(text: &str, variables: &Variables) -> Result<Self, ConfigError> {
        Self::read(text, variables).file
    }

    /// The same, with all that was found about the text.
    pub(crate) fn read(text: &str, variables: &Variables) -> Reading {
        // A host may have strategies of its own, and pins that are not there yet.
        let any = Knowing {
            server: &reached,
            strategy: &|_| Ok(()),
            source: &|_| Ok(()),
            searches: false,
            pins: &|_| Ok(()),
            known_lists: &|_| Ok(()),
        };
        config::read(text, variables, &any)
    }

    /// All that is wrong with the text of a `servers.json`, and warnings about it, in its order. The errors among them are what
    /// [`parse`](Self::parse) refuses or leaves out, a strategy that does not ship with this library, and pins that cannot be
    /// read; a program that is not on this machine is a warning. Nothing is started and nobody is asked; files that the text names
    /// are read, on this thread.
    pub fn diagnose(text: &str, variables: &Variables) -> Vec<Diagnostic> {
        let knowing = Knowing {
            server: &reached,
            strategy: &|name| match Strategies::with_builtin().select(name) {
                Ok(()) => Ok(()),
                Err(error) => Err(ConfigError::new("strategy", error.to_string())),
            },
            source: &|source| {
                SourceId::new(&source.name).map_err(|error| ConfigError::new("name", error.to_string()))?;
                source
                    .rules
                    .as_ref()
                    .map_or(Ok(()), DiscoverySettings::check)
                    .map_err(|error| error.under("rules"))?;
                source_named(source).map(|_| ())
            },
            searches: true,
            pins: &|settings| pins::read(settings).map(|_| ()),
            known_lists: &known_lists::check,
        };
        config::read(text, variables, &knowing).diagnostics
    }

    /// The errors among what [`diagnose`](Self::diagnose) finds with the environment of this process.
    ///
    /// ```
    /// let text = r#"{"mcpServers": {"a": {"url": "ws://h", "wieght": 1}}, "troupe": {"callTimeout": 30}}"#;
    /// let mistakes = mcp_troupe::ConfigFile::mistakes(text);
    /// let keys: Vec<&str> = mistakes.iter().map(|mistake| mistake.error.key.as_str()).collect();
    /// assert_eq!(keys, ["mcpServers.a.wieght", "troupe.callTimeout"]);
    /// ```
    pub fn mistakes(text: &str) -> Vec<Diagnostic> {
        let found = Self::diagnose(text, &Variables::new()).into_iter();
        found.filter(|found| found.severity == Severity::Error).collect()
    }
}

/// Whether a server can be reached as it is described. A description names no tokens, so nothing runs beside the connector.
fn reached(spec: &ServerSpec, settings: &Settings) -> Result<(), ConfigError> {
    let reached =
        transport::connector(spec, settings, Box::new(())).and_then(|_| transport::check_files(&spec.tls));
    reached.map_err(|error| ConfigError::new(error.key(spec), error.to_string()))
}
