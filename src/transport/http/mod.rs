//! MCP over Streamable HTTP, in both eras.
//!
//! Each message of the client is a POST of its own; the server answers with JSON or with a stream of events, both passed on
//! unread. Requests share one client, which opens connections as it needs them. Nothing is sent before the handshake.
//!
//! | file | what |
//! | --- | --- |
//! | `client` | connections, and the tasks that carry them |
//! | `exchange` | one request and all that comes of it |
//! | `head`, `body` | what an answer says before its message, and its message as far as there is room |
//! | `link` | the requests of one session together |
//! | `sse` | events out of a body |
//! | `headers` | the protocol's headers |
//! | `refused` | what refusals say of the session |
//! | `beside` | whether a server works while a stream is open |

mod beside;
mod body;
mod client;
mod exchange;
mod head;
mod headers;
mod link;
mod refused;
mod sse;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use hyper_util::client::proxy::matcher::Matcher;

use self::client::{ClientTasks, Clients};
use self::exchange::Target;
use self::headers::{PARAM_PREFIX, RESERVED};
use self::link::HttpLink;
use super::tokens::Tokens;
use super::{BoxFuture, Connector, DialError, Link, address};
use crate::config::{LivenessSettings, ProxyChoice, TlsOptions, shown, shown_url};
use crate::net::tls::Tls;
use crate::secret::Secret;
use crate::transport::redact::find::{header_words, url_secrets};
use crate::transport::redact::mask::Mask;

/// How a server is reached over HTTP.
#[derive(Clone)]
#[non_exhaustive]
pub struct HttpOptions {
    /// `http://` or `https://`.
    pub url: String,
    /// Headers of every request. Their values are never shown.
    pub headers: Vec<(String, Secret)>,
    /// Whether a proxy is used.
    pub proxy: ProxyChoice,
    /// How the server is verified over `https`.
    pub tls: TlsOptions,
    /// The largest message that is accepted, in bytes.
    pub message_bytes_max: usize,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// After how much silence a connection is tried, and given up.
    pub liveness: LivenessSettings,
    /// Whether a legacy server is asked for a stream of what it says unasked.
    pub stream: bool,
}

impl HttpOptions {
    /// The address alone, and the defaults of the settings for the rest.
    pub fn new(url: impl Into<String>) -> Self {
        let settings = crate::config::Settings::default();
        Self {
            url: url.into(),
            headers: Vec::new(),
            proxy: ProxyChoice::default(),
            tls: TlsOptions::default(),
            message_bytes_max: settings.limits.message_bytes_max,
            connect_timeout: settings.pool.connect_timeout,
            liveness: settings.liveness,
            stream: true,
        }
    }
}

impl fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpOptions")
            .field("url", &shown_url(&self.url))
            .field("headers", &shown::names(self.headers.iter().map(|(name, _)| name)))
            .field("proxy", &self.proxy)
            .field("tls", &self.tls)
            .field("message_bytes_max", &self.message_bytes_max)
            .field("connect_timeout", &self.connect_timeout)
            .field("liveness", &self.liveness)
            .field("stream", &self.stream)
            .finish()
    }
}

/// Opens links to one server over HTTP.
pub struct HttpConnector {
    /// Where the server is, as it may be shown.
    shown: String,
    site: Arc<Target>,
    clients: Clients,
    mask: Mask,
}

impl fmt::Debug for HttpConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpConnector").field("endpoint", &self.endpoint()).finish_non_exhaustive()
    }
}

impl HttpConnector {
    /// Checks the options.
    ///
    /// # Errors
    /// [`DialError::InvalidEndpoint`] for a URL that is none, has another scheme, no host or user info, and for a proxy
    /// of an unknown kind; [`DialError::InvalidHeader`] for headers that are malformed or set by the transport itself. Files that TLS needs are read when a
    /// connection is opened.
    pub fn new(options: HttpOptions) -> Result<Self, DialError> {
        let proxies = match options.proxy {
            ProxyChoice::None => None,
            ProxyChoice::Environment => Some(Matcher::from_env()),
        };
        let tls = Tls::new(options.tls.clone())?;
        Self::with(options, tls, proxies.as_ref())
    }

    /// The same, with tokens for the requests.
    pub(super) fn with_tokens(mut self, tokens: Option<Tokens>) -> Self {
        self.clients.tokens = tokens;
        self
    }

    /// The same, with what is taken out of the server's words.
    pub(super) fn masking(mut self, mask: Mask) -> Self {
        self.mask = mask;
        self
    }

    fn with(options: HttpOptions, tls: impl Into<Tls>, proxies: Option<&Matcher>) -> Result<Self, DialError> {
        let uri = address::parse(&options.url, ["http", "https"])?;
        let owner = "the transport itself";
        let operators = address::headers(&options.headers, &RESERVED, owner)?;
        if let Some((name, _)) = operators.iter().find(|(name, _)| name.as_str().starts_with(PARAM_PREFIX)) {
            let reason = format!("the header {name} is set by {owner}");
            return Err(DialError::InvalidEndpoint { reason });
        }
        let clients = Clients::new(&uri, &options, tls.into(), proxies)?;
        let mut headers = HeaderMap::new();
        for (name, value) in operators {
            headers.append(name, value);
        }
        // The operator may introduce the client as something else.
        let agent = concat!("mcp-troupe/", env!("CARGO_PKG_VERSION"));
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(agent));
        if let Some(authorization) = &clients.proxy_authorization {
            headers.insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        let site = Target::new(uri, headers, &options);
        Ok(Self {
            shown: shown_url(&options.url),
            site: Arc::new(site),
            clients,
            mask: Mask::of(header_words(&options.headers).iter().chain(&url_secrets(&options.url))),
        })
    }
}

impl Connector for HttpConnector {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, DialError>> {
        let tasks = ClientTasks::new();
        let client = self.clients.make(&tasks);
        let link = HttpLink::new(client, tasks, self.site.clone());
        Box::pin(std::future::ready(Ok(Box::new(link) as Box<dyn Link>)))
    }

    fn endpoint(&self) -> String {
        self.shown.clone()
    }

    fn redact(&self, text: String) -> String {
        let text = self.mask.text(text);
        match &self.clients.tokens {
            Some(tokens) => tokens.redact(text),
            None => text,
        }
    }

    fn mirrors(&self) -> bool {
        true
    }
}
