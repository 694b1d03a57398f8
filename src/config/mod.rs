//! Plain configuration data: what a host or a `servers.json` may say, its defaults, and its checks.

mod applied;
mod duration;
mod file;
mod mistakes;
mod server;
mod settings;
mod wire;

pub use applied::Applied;
pub use file::ConfigFile;
pub use mistakes::Mistake;
pub(crate) use mistakes::{Knowing, mistakes};
pub(crate) use server::ServerSpec;
pub use server::{Endpoint, ProxyChoice, Server, SubprotocolChoice, WEIGHT_MAX};
pub use settings::{
    AffinitySettings, BackoffSettings, BreakerMode, BreakerSettings, Collisions, LimitSettings,
    LivenessSettings, MailboxSettings, PoolSettings, RestartKind, RestartSettings, RetrySettings, Settings,
};
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
