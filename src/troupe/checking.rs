//! Looks for every mistake of a `servers.json` without starting anything.

use super::pinning;
use crate::config::{ConfigError, ConfigFile, Knowing, Mistake, mistakes};
use crate::policy::strategy::Strategies;
use crate::transport;

impl ConfigFile {
    /// The mistakes in the text of a `servers.json`, in its order: every one in the descriptions of servers and in the settings,
    /// and the first one beside them. They are what [`parse`](Self::parse) refuses, addresses that no
    /// transport takes, a strategy that does not ship with this library, pins that cannot be read, and references such as
    /// `${env:NAME}` where none is looked up. Nothing is started and nobody is asked; files that the text names are read, on
    /// this thread.
    ///
    /// ```
    /// let text = r#"{"mcpServers": {"a": {"url": "ws://h", "wieght": 1}}, "troupe": {"callTimeout": 30}}"#;
    /// let mistakes = mcp_troupe::ConfigFile::mistakes(text);
    /// let keys: Vec<&str> = mistakes.iter().map(|mistake| mistake.error.key.as_str()).collect();
    /// assert_eq!(keys, ["mcpServers.a.wieght", "troupe.callTimeout"]);
    /// ```
    pub fn mistakes(text: &str) -> Vec<Mistake> {
        let knowing = Knowing {
            // A description names no tokens, so nothing runs beside the connector.
            server: &|spec, settings| {
                let reached = transport::connector(spec, settings, Box::new(()))
                    .and_then(|_| transport::check_files(&spec.tls));
                reached.map_err(|error| ConfigError::new(error.key(spec), error.to_string()))
            },
            strategy: &|name| match Strategies::with_builtin().select(name) {
                Ok(()) => Ok(()),
                Err(error) => Err(ConfigError::new("strategy", error.to_string())),
            },
            pins: &|settings| pinning::read(settings).map(|_| ()),
        };
        mistakes(text, &knowing)
    }
}
