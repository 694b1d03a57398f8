//! The gateway: the whole troupe served as one MCP server.
//!
//! ```text
//! client ──lines──▶ session ──▶ a task for each request that waits ──▶ the troupe
//!        ◀─────────         ◀──
//! ```
//!
//! A session is one loop, which owns all that is known of its client: what was agreed, which requests are open, what it was shown.
//! It reads the next message when it has dealt with the last one, so that no queue grows with what a client sends; what takes time is
//! done by tasks, which end with the session. Whoever drops the loop calls off all that it had asked for.

mod asking;
mod call;
mod changes;
mod channel;
mod lists;
mod session;

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::config::{ConfigError, GatewaySettings};
use crate::policy::gateway::{Profile, ViewRules};
use crate::troupe::Troupe;

pub use channel::ClientChannel;
use session::Session;

/// The whole troupe as one MCP server; see [`Troupe::gateway`].
#[derive(Debug, Clone)]
pub struct Gateway {
    troupe: Troupe,
    settings: Arc<GatewaySettings>,
    rules: Arc<ViewRules>,
    /// Since when it serves: for so long the first lists wait.
    started: Instant,
}

/// A client was served no further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// What it says cannot be read any more.
    #[error("the client cannot be read: {0}")]
    Read(#[source] io::Error),
    /// It takes nothing any more.
    #[error("the client cannot be written to: {0}")]
    Write(#[source] io::Error),
}

impl Troupe {
    /// Makes one MCP server of the troupe, for clients in any language.
    ///
    /// ```no_run
    /// use mcp_troupe::{GatewaySettings, Troupe};
    ///
    /// # async fn serve(troupe: Troupe) -> Result<(), Box<dyn std::error::Error>> {
    /// let gateway = troupe.gateway(GatewaySettings::default())?;
    /// let (ours, theirs) = tokio::io::duplex(64 << 10);
    /// let (read, write) = tokio::io::split(ours);
    /// gateway.serve(read, write).await?;
    /// # drop(theirs);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A setting is wrong; the error names it.
    pub fn gateway(&self, settings: GatewaySettings) -> Result<Gateway, ConfigError> {
        settings.check().map_err(|error| error.under("gateway"))?;
        let rules = Arc::new(ViewRules { names: settings.names.clone(), profile: None });
        Ok(Gateway { troupe: self.clone(), settings: Arc::new(settings), rules, started: Instant::now() })
    }
}

/// No profile of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no profile {name:?}: {}", if known.is_empty() {
    "gateway.profiles names none".to_owned()
} else {
    format!("gateway.profiles names {}", known.join(", "))
})]
pub struct UnknownProfile {
    /// The name that was asked for.
    pub name: String,
    /// Those that there are.
    pub known: Vec<String>,
}

impl Gateway {
    /// The same for clients that see no more than a profile of the settings lets them.
    ///
    /// # Errors
    /// [`UnknownProfile`] if the settings have none of that name.
    pub fn profile(self, name: &str) -> Result<Self, UnknownProfile> {
        let Some(profile) = self.settings.profiles.get(name) else {
            let known = self.settings.profiles.keys().cloned().collect();
            return Err(UnknownProfile { name: name.to_owned(), known });
        };
        let profile = Some((name.to_owned(), Profile::of(profile)));
        let rules = Arc::new(ViewRules { profile, ..(*self.rules).clone() });
        Ok(Self { rules, ..self })
    }

    /// Serves one client until it closes its side. It also ends when the troupe has ended and all is answered.
    ///
    /// Each message is one line, in both directions; a client may speak the modern era, the legacy one, or both. When it has closed
    /// its side nobody reads answers any more: its open calls are called off, and their servers are told. The same happens when the
    /// future is dropped.
    ///
    /// # Errors
    /// [`ServeError`] if the client can be read or written to no more.
    pub async fn serve(
        &self,
        read: impl AsyncRead + Unpin + Send,
        write: impl AsyncWrite + Unpin + Send,
    ) -> Result<(), ServeError> {
        self.serve_channel(ClientChannel::without_waiting(read, write)).await
    }

    /// The same for a client whose channel was opened before: the servers of a troupe that was built by
    /// [`ClientChannel::asked_by`] may ask it.
    ///
    /// ```no_run
    /// use mcp_troupe::{ClientChannel, GatewaySettings, Server, Troupe};
    ///
    /// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (ours, _theirs) = tokio::io::duplex(64 << 10);
    /// # let (read, write) = tokio::io::split(ours);
    /// let channel = ClientChannel::open(read, write).await;
    /// let builder = Troupe::builder().server(Server::stdio("git", "uvx", ["mcp-server-git"]));
    /// let troupe = channel.asked_by(builder).start().await?;
    /// troupe.gateway(GatewaySettings::default())?.serve_channel(channel).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`serve`](Self::serve).
    pub async fn serve_channel<R, W>(&self, channel: ClientChannel<R, W>) -> Result<(), ServeError>
    where
        R: AsyncRead + Unpin + Send,
        W: AsyncWrite + Unpin + Send,
    {
        Session::serve(self, channel).await
    }
}
