//! Plain configuration data: what a host or a `servers.json` may say, its defaults, and its checks.

mod address;
mod applied;
mod cache;
mod discovery;
mod duration;
mod excerpt;
mod expand;
mod file;
pub(crate) mod files;
mod gateway;
mod mistakes;
pub(crate) mod permissions;
mod pins;
pub(crate) mod private;
mod programs;
mod reading;
#[cfg(feature = "schema")]
mod schema;
mod server;
mod settings;
pub(crate) mod shown;
mod source;
mod text;
mod tls;
mod tool_name;
mod tools;
mod wire;

#[cfg(any(feature = "etcd", feature = "http", feature = "websocket"))]
pub(crate) use address::Address;
#[cfg(any(feature = "http", feature = "websocket"))]
pub(crate) use address::AddressError;
#[cfg(feature = "http")]
pub(crate) use address::shown_location;
pub(crate) use address::{shown as shown_url, shown_endpoint};
pub use applied::Applied;
pub use cache::{CacheRule, CacheScope, CacheSettings};
pub use discovery::DiscoverySettings;
pub use expand::Variables;
pub use file::ConfigFile;
pub use gateway::{GatewaySettings, NameSettings, Prefix, ProfileSettings};
pub use mistakes::{Diagnostic, DiagnosticKind, Severity};
pub(crate) use mistakes::{Knowing, near};
pub use permissions::{LoosePermissions, Writers};
pub use pins::{OnChange, PinSettings};
pub(crate) use reading::{Reading, ServersOneByOne, read, servers_one_by_one};
#[cfg(any(feature = "http", feature = "websocket"))]
pub(crate) use server::BEARER;
pub(crate) use server::ServerSpec;
pub use server::{Endpoint, ProxyChoice, Server, SubprotocolChoice, WEIGHT_MAX};
pub use settings::{
    AffinitySettings, AllVariables, BackoffSettings, BreakerMode, BreakerSettings, Collisions, InheritEnv,
    LimitSettings, LivenessSettings, MailboxSettings, PoolSettings, ProcessSettings, RestartKind,
    RestartSettings, RetrySettings, Settings,
};
pub use source::{Place, SourceConfig, TlsConfig};
pub use tls::TlsOptions;
pub(crate) use tool_name::ToolName;
pub(crate) use tools::ToolChoice;
pub use wire::{Dialect, EraChoice, Start};

crate::error::debug_as_display!(ConfigError);

/// A mistake in the configuration: which key, and what is wrong with its value.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct ConfigError {
    /// The key, as a path into the configuration: `troupe.pool.max`, `mcpServers.files.url`.
    pub key: String,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl ConfigError {
    /// A mistake at `key`.
    pub fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.into(), reason: reason.into() }
    }

    /// The same mistake, with its key up to where it may be a value: what reads a key knows it as it is written. Where keys are
    /// the names of tools nobody has a value to put.
    fn shown(self) -> Self {
        let of_tools = ["troupe.cache.tools.", "troupe.toolTimeouts."];
        if of_tools.iter().any(|place| self.key.starts_with(place)) {
            return self;
        }
        Self { key: shown::name(&self.key).into_owned(), ..self }
    }

    /// The same mistake, with `parent` put before its key.
    #[must_use]
    pub fn under(mut self, parent: &str) -> Self {
        self.key = format!("{parent}.{}", self.key);
        self
    }
}
