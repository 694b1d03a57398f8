//! Plain configuration data: what a host or a `servers.json` may say, its defaults, and its checks.

mod applied;
mod cache;
mod discovery;
mod duration;
mod expand;
mod file;
pub(crate) mod files;
mod mistakes;
pub(crate) mod permissions;
mod pins;
#[cfg(feature = "schema")]
mod schema;
mod server;
mod settings;
mod source;
mod tls;
mod wire;

pub use applied::Applied;
pub(crate) use cache::ToolName;
pub use cache::{CacheRule, CacheScope, CacheSettings};
pub use discovery::DiscoverySettings;
pub use file::ConfigFile;
pub(crate) use file::{ServersOneByOne, servers_one_by_one};
pub use mistakes::Mistake;
pub(crate) use mistakes::{Knowing, mistakes};
pub use permissions::{LoosePermissions, Writers};
pub use pins::{OnChange, PinSettings};
#[cfg(any(feature = "http", feature = "websocket"))]
pub(crate) use server::BEARER;
pub use server::{Endpoint, ProxyChoice, Server, SubprotocolChoice, WEIGHT_MAX};
pub(crate) use server::{ServerSpec, without_query};
pub use settings::{
    AffinitySettings, BackoffSettings, BreakerMode, BreakerSettings, Collisions, LimitSettings,
    LivenessSettings, MailboxSettings, PoolSettings, RestartKind, RestartSettings, RetrySettings, Settings,
};
pub use source::{Place, SourceConfig, TlsConfig};
pub use tls::TlsOptions;
pub use wire::{Dialect, EraChoice};

/// A mistake in the configuration: which key, and what is wrong with its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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

    /// The same mistake, with `parent` put before its key.
    #[must_use]
    pub fn under(mut self, parent: &str) -> Self {
        self.key = format!("{parent}.{}", self.key);
        self
    }
}
