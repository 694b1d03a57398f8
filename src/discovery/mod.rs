//! Where servers come from.
//!
//! A [`Source`] is a place that names servers: a file, a directory such as etcd or Consul, DNS, or something of the host's
//! own. It is watched, and each answer is the *full* set of its servers at one moment; what changed, what joins, and when a
//! server leaves is decided elsewhere, by rules that are the same for all sources
//! ([`DiscoverySettings`](crate::config::DiscoverySettings)).
//!
//! What a directory may say of a server is a [`Record`]: see [`record`] for its keys, with examples.
//!
//! ```
//! use std::time::Duration;
//!
//! use mcp_troupe::discovery::{Answer, BoxFuture, Next, Source, SourceError, Watch};
//! use mcp_troupe::{Server, Troupe};
//!
//! /// Servers on ports that the host hands out.
//! struct Ports(std::ops::Range<u16>);
//!
//! impl Source for Ports {
//!     fn watch(&self) -> Box<dyn Watch> {
//!         Box::new(Self(self.0.clone()))
//!     }
//!
//!     fn place(&self) -> String {
//!         format!("ports {:?}", self.0)
//!     }
//! }
//!
//! impl Watch for Ports {
//!     fn next(&mut self) -> BoxFuture<'_, Result<Answer, SourceError>> {
//!         Box::pin(async {
//!             let servers = self.0.clone().map(|port| {
//!                 Server::websocket(format!("files-{port}"), format!("ws://127.0.0.1:{port}")).group("files")
//!             });
//!             Ok(Answer::of(servers, Next::After(Duration::from_secs(60))))
//!         })
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let troupe = Troupe::builder().source("ports", Ports(3000..3003)).start().await?;
//! # troupe.shutdown().await;
//! # Ok(())
//! # }
//! ```

#[cfg(any(feature = "consul", feature = "etcd"))]
mod announce;
#[cfg(feature = "consul")]
pub mod consul;
#[cfg(feature = "dns")]
pub mod dns;
#[cfg(feature = "etcd")]
pub mod etcd;
pub mod files;
mod named;
pub mod record;
#[cfg(any(feature = "consul", feature = "dns", feature = "etcd"))]
mod template;
#[cfg(any(feature = "consul", feature = "etcd"))]
mod tls;

use std::sync::Arc;
use std::time::Duration;

use crate::config::{LoosePermissions, Server};
use crate::id::ServerId;
use crate::transport::Connector;

pub use crate::transport::BoxFuture;
#[cfg(any(feature = "consul", feature = "etcd"))]
pub use announce::{Announcement, AnnouncementNews};
#[cfg(feature = "consul")]
pub use consul::ConsulSource;
#[cfg(feature = "dns")]
pub use dns::DnsSource;
#[cfg(feature = "etcd")]
pub use etcd::EtcdSource;
pub use files::FileSource;
pub(crate) use named::source_named;
pub use record::{RECORD_BYTES_MAX, Record, RecordError, RecordKind};
#[cfg(any(feature = "consul", feature = "dns", feature = "etcd"))]
pub use template::Template;
#[cfg(any(feature = "consul", feature = "etcd"))]
pub use tls::Tls;

/// A place that names servers.
pub trait Source: Send + Sync + 'static {
    /// Begins to look.
    ///
    /// Called anew after an error, after a crash, and for an answer that was not believed. What comes of it is looked up
    /// anew as well: a watch keeps no answer of an earlier one.
    fn watch(&self) -> Box<dyn Watch>;

    /// Where it looks, for people: without user info, query or tokens.
    fn place(&self) -> String;

    /// How long a server that is missing from the answers should stay, unless the settings say. More than nothing is good
    /// advice where an answer may name only some of the servers.
    fn removal_grace(&self) -> Duration {
        Duration::ZERO
    }
}

/// A look at a source that goes on.
pub trait Watch: Send + 'static {
    /// The next answer. The first comes as soon as it is known; each that follows when it is asked for, or when something
    /// has changed, as [`Answer::next`] of the one before says. Dropping the future gives the whole watch up, and so does an
    /// error.
    fn next(&mut self) -> BoxFuture<'_, Result<Answer, SourceError>>;
}

/// All servers of a source at one moment.
#[derive(Debug)]
#[non_exhaustive]
pub struct Answer {
    /// The servers.
    pub servers: Vec<Found>,
    /// What was there beside them and is no server, with the reason. A server that is named here stays as it was.
    pub skipped: Vec<Skipped>,
    /// Whether there may be servers that it does not name: none leaves by such an answer.
    pub partial: bool,
    /// What of it starts commands and may be written by others than its owner: it is told, and changes nothing.
    pub loose: Vec<LoosePermissions>,
    /// When the next answer is asked for.
    pub next: Next,
}

impl Answer {
    /// These servers and no others, and no record that could not be read.
    pub fn of(servers: impl IntoIterator<Item = impl Into<Found>>, next: Next) -> Self {
        let servers = servers.into_iter().map(Into::into).collect();
        Self { servers, skipped: Vec::new(), partial: false, loose: Vec::new(), next }
    }
}

/// A server that a source found.
#[non_exhaustive]
pub struct Found {
    /// Its description.
    pub server: Server,
    /// The way to it, where it is not the one that its endpoint names. While it is the same `Arc` it is the same way.
    pub connector: Option<Arc<dyn Connector>>,
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Found").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Found {
    /// A server that is reached by the host's own connector, whatever its endpoint says.
    pub fn through(server: Server, connector: Arc<dyn Connector>) -> Self {
        Self { server, connector: Some(connector) }
    }
}

impl From<Server> for Found {
    fn from(server: Server) -> Self {
        Self { server, connector: None }
    }
}

/// A record that names no server, or none that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped {
    /// What the source calls it: a key, a service id, a file.
    pub record: String,
    /// The server that it is about, if that much is known.
    pub server: Option<ServerId>,
    /// What is wrong with it.
    pub reason: String,
}

impl Skipped {
    /// A record, and what is wrong with it. [`server`](Self::server) is to be set where it is known.
    pub fn new(record: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { record: record.into(), server: None, reason: reason.into() }
    }
}

/// When a watch is asked for its next answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Next {
    /// After this time.
    After(Duration),
    /// At once: the watch waits for a change by itself.
    OnChange {
        /// The longest that it waits; then it answers even without a change. One that is silent for longer is taken for dead.
        within: Duration,
    },
}

/// Why a source has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// It could not be reached, or the connection to it was lost.
    #[error("not reachable: {0}")]
    Unreachable(String),
    /// It did not answer in time.
    #[error("no answer within {}", crate::duration::rounded(*.0))]
    Silent(Duration),
    /// It refused: a wrong or missing token, password or certificate.
    #[error("refused: {0}")]
    Refused(String),
    /// The place does not exist: a wrong name, zone, prefix or path.
    #[error("not found: {0}")]
    NotFound(String),
    /// It answered that it cannot answer, such as a cluster without a leader.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// It answered with something that cannot be read.
    #[error("unintelligible: {0}")]
    Unintelligible(String),
    /// The answer may be untrue.
    #[error("doubtful: {0}")]
    Doubtful(String),
    /// The watch panicked.
    #[error("the watch ended without an answer")]
    Ended,
}
