//! Tokens that a host, or an authorization server that it asks, gives while a troupe runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::secret::Secret;

/// A bearer token, and how long it is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub(crate) secret: Secret,
    pub(crate) lifetime: Option<Duration>,
}

impl Token {
    /// A token that is good until the server refuses it.
    pub fn new(secret: impl Into<Secret>) -> Self {
        Self { secret: secret.into(), lifetime: None }
    }

    /// The same token, good for so long from now on.
    #[must_use]
    pub fn expires_in(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }
}

/// Why a token is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenNeed {
    /// There is none.
    First,
    /// The last one has expired or is about to.
    Expiry,
    /// The server refused the last one, whatever its lifetime says.
    Rejected {
        /// The server's `WWW-Authenticate`, which tells what it wants and where tokens are given: untrusted text.
        challenge: Option<String>,
    },
}

/// Why there is no token. Its words are shown in errors and logs, so they must not hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TokenError(String);

impl TokenError {
    /// An error that says this.
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

/// Gives the bearer tokens of a server, see [`Server::tokens`](crate::Server::tokens).
///
/// It is asked when a token is needed: at first, shortly before the last one expires, and when the server refused it. Never
/// twice at once for one server, however many requests wait; an answer that takes longer than 30 seconds is given up, and
/// after a failure it is left alone for a second. Its future must not block the thread.
///
/// ```
/// use std::time::Duration;
///
/// use mcp_troupe::token::{Token, TokenError, TokenNeed, TokenProvider};
/// use mcp_troupe::transport::BoxFuture;
///
/// struct Vault;
///
/// impl TokenProvider for Vault {
///     fn token(&self, _need: TokenNeed) -> BoxFuture<'_, Result<Token, TokenError>> {
///         Box::pin(async { Ok(Token::new("…").expires_in(Duration::from_secs(3600))) })
///     }
/// }
///
/// let server = mcp_troupe::Server::http("db", "https://db.example.com/mcp").tokens(Vault);
/// # drop(server);
/// ```
pub trait TokenProvider: Send + Sync + 'static {
    /// A token for the server, other than the one that was refused or expires.
    fn token(&self, need: TokenNeed) -> BoxFuture<'_, Result<Token, TokenError>>;
}

/// Where the tokens of a server come from.
#[derive(Clone)]
pub(crate) struct TokenSource(pub Arc<dyn TokenProvider>);

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSource")
    }
}

impl PartialEq for TokenSource {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
