//! Bytes to messages: how a server is reached.
//!
//! A [`Connector`] opens [`Link`]s to one server. A link carries whole messages both ways and knows nothing of their
//! meaning, except which outgoing ones are requests and cancellations: a transport whose requests each travel alone
//! needs that.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, Stream};

use crate::config::{Endpoint, ServerSpec, Settings, TlsOptions};
#[cfg(any(feature = "http", feature = "websocket"))]
use crate::net::tls::{self, TlsError};
use crate::refusal::Refusal;
use crate::token::TokenError;

#[cfg(any(feature = "http", feature = "websocket"))]
mod address;
#[cfg(feature = "http")]
pub mod http;
#[cfg(any(feature = "gateway", feature = "stdio"))]
pub(crate) mod lines;
#[cfg(any(feature = "http", feature = "stdio", feature = "websocket"))]
mod redact;
#[cfg(feature = "stdio")]
pub mod stdio;
#[cfg(any(feature = "http", feature = "websocket"))]
mod tokens;
#[cfg(feature = "websocket")]
pub mod websocket;

/// How long one start may keep others waiting. Servers that never answer must not hold up the rest: with the default of
/// 32 starts at once, a hundred of them delay the last one by 1.5 s.
const START_HOLD: Duration = Duration::from_millis(500);

/// A boxed future.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Opens links to one server.
pub trait Connector: Send + Sync + 'static {
    /// Opens a link. Dropping the future gives up; the caller sets the time limit.
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, DialError>>;

    /// Where the server is, for people: without user info, query or tokens.
    fn endpoint(&self) -> String;

    /// Whether requests carry headers of their own, into which a tool may have its parameters mirrored.
    fn mirrors(&self) -> bool {
        false
    }

    /// How long a start that is under way, until its handshake is done, may count among those that are allowed at once
    /// (`start_concurrency`): half a second. It has no meaning where [`starts_process`](Self::starts_process) says yes.
    fn start_hold(&self) -> Duration {
        START_HOLD
    }

    /// Whether [`connect`](Self::connect) starts a process on this machine. Such starts have a limit of their own, which
    /// counts each of them until its handshake is done or it is gone (`processes.start_concurrency`), and more time.
    fn starts_process(&self) -> bool {
        false
    }

    /// A text in the server's words without what is secret of its description. It is asked before a text gets into an error,
    /// an event or a log: some servers tell the token that they could not use.
    fn redact(&self, text: String) -> String {
        text
    }
}

/// One live link to a server.
///
/// As a stream it gives what the peer sends; `next()` may be dropped at any time without losing a message. As a sink
/// `start_send` only buffers, `poll_ready` holds back while the peer does not read, and `poll_flush` writes.
pub trait Link:
    Stream<Item = Result<Inbound, LinkError>> + Sink<Outbound, Error = LinkError> + Send + Unpin
{
    /// Whether the peer answers [`Outbound::Ping`], so that its silence means that it is gone.
    fn pings(&self) -> bool;

    /// Whether an open link shows that a server is there. Where it does not, the handshake asks for an answer even if
    /// the server's era is known.
    fn proves_life(&self) -> bool {
        true
    }

    /// Whether all messages are one conversation. Where each request travels alone, one that the peer does not bear says nothing
    /// of the next.
    fn converses(&self) -> bool {
        true
    }

    /// A text in the server's words without what the link alone knows and is secret, such as the id of its session. It is asked
    /// after [`Connector::redact`].
    fn redact(&self, text: String) -> String {
        text
    }

    /// The handshake agreed on this protocol version. Told before anything else is sent; what the handshake asked and
    /// was not answered is of no interest any more.
    fn agreed(&mut self, _version: &str) {}

    /// How much of what was written the peer's side has taken so far, in a unit of the link's own. While this grows, a
    /// flush that takes long is that of a slow line and not of a peer that has stopped reading. None where the link cannot
    /// tell: then each message that it takes counts.
    fn taken(&self) -> Option<u64> {
        None
    }

    /// How much has come from the peer so far, in a unit of the link's own. While this grows the peer is there, though a large
    /// message is not whole yet. A link that cannot tell leaves this at 0: then each message counts.
    fn arrived(&self) -> u64 {
        0
    }

    /// What the server's process last wrote to its stderr, fit to be shown, until [`agreed`](Self::agreed). None where there
    /// is no such process, or it wrote nothing.
    fn last_line(&self) -> Option<String> {
        None
    }

    /// A request was answered: nothing more is expected of it.
    fn answered(&mut self, _id: u64) {}

    /// Keeps `token` until nothing of the link is left, however it ends. A troupe's shutdown waits for that; a link that is
    /// gone when it is dropped needs nothing but this default.
    fn hold(&mut self, token: Box<dyn Any + Send>) {
        drop(token);
    }
}

/// What a peer sends, and what becomes of requests where each travels alone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Inbound {
    /// One message.
    Message(Bytes),
    /// A message over the limit, which was passed over but for its ends. The link goes on.
    TooLarge {
        /// How it begins.
        beginning: Bytes,
        /// How it ends.
        end: Bytes,
        /// The limit in bytes.
        limit: usize,
    },
    /// One message on a stream of what the peer says unasked: it answers no request but one that was [put off](Self::PutOff).
    Unasked(Bytes),
    /// The peer ended the stream of the answer to a request without it, and will give it later. This link's stream of what it
    /// says unasked is the link's alone.
    PutOff {
        /// The request's id on this link.
        id: u64,
    },
    /// One message on the stream of the answer to a request: what it tells is about that request, if it names none, and
    /// it answers no other.
    Beside {
        /// The request's id on this link.
        id: u64,
        /// The message.
        frame: Bytes,
    },
    /// All that the peer has to say to a request. An error in it may lack the id; it answers no other request.
    Answer {
        /// The request's id on this link.
        id: u64,
        /// The message.
        frame: Bytes,
    },
    /// The same, where the transport says with it that the peer would not have the request as it came.
    Refused {
        /// The request's id on this link.
        id: u64,
        /// The message.
        frame: Bytes,
    },
    /// A request ended without an answer.
    Failed {
        /// Its id on this link.
        id: u64,
        /// How.
        failure: Failure,
    },
    /// The link takes no more requests, for this reason; those under way come to their own ends.
    Leaving(LinkError),
    /// A sign of life without content.
    Alive,
}

/// How a request ended without an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// It was not sent. The link is [`Inbound::Leaving`].
    #[error("{0}")]
    NotCarriedOut(String),
    /// It was sent, and the peer says that it did not carry it out, since it no longer knows the session that the link is.
    /// The link is [`Inbound::Leaving`].
    #[error("{0}")]
    SessionLost(String),
    /// It was answered with a status.
    #[error("{0}")]
    Refused(Refusal),
    /// It was answered with something that is no message.
    #[error("invalid response: {0}")]
    Invalid(String),
    /// Its answer broke off, or never began.
    #[error("{0}")]
    BrokenOff(String),
}

impl Failure {
    /// The same with `change` made to each text in it that the peer, or its address, may have a part in.
    pub(crate) fn map_texts(self, change: impl Fn(String) -> String) -> Self {
        match self {
            Self::NotCarriedOut(text) => Self::NotCarriedOut(change(text)),
            Self::SessionLost(text) => Self::SessionLost(change(text)),
            Self::Refused(refusal) => Self::Refused(Refusal {
                location: refusal.location.map(&change),
                words: refusal.words.map(&change),
                ..refusal
            }),
            Self::Invalid(text) => Self::Invalid(change(text)),
            Self::BrokenOff(text) => Self::BrokenOff(change(text)),
        }
    }

    /// Whether the peer has answered the request, though with no message.
    pub(crate) fn is_an_answer(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Invalid(_) => true,
            Self::NotCarriedOut(_) | Self::SessionLost(_) | Self::BrokenOff(_) => false,
        }
    }
}

/// What a transport may say of a request beside its frame.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Head {
    /// The method.
    pub method: &'static str,
    /// What it is about: the name of a tool.
    pub name: Option<Arc<str>>,
    /// Parameters that are mirrored, each with the name of its header.
    pub mirrored: Vec<(Arc<str>, String)>,
}

impl Head {
    /// A request of `method` alone.
    pub fn of(method: &'static str) -> Self {
        Self { method, name: None, mirrored: Vec::new() }
    }
}

/// What is sent to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outbound {
    /// A request.
    Request {
        /// Its id on this link.
        id: u64,
        /// What it is.
        head: Head,
        /// The message.
        frame: Bytes,
    },
    /// A request is called off.
    Cancel {
        /// Its id on this link.
        id: u64,
        /// The message that says so, where the dialect has one.
        frame: Option<Bytes>,
    },
    /// A notification, or an answer to the peer.
    Notice(Bytes),
    /// Asks for a sign of life.
    Ping,
}

/// What the status of a refused upgrade says of the address. That of a missing or wrong token says nothing of it.
fn no_websocket(status: u16) -> &'static str {
    match status {
        200..=299 | 400 | 404..=406 | 426 => " and opens no WebSocket: write http:// or https:// in its URL",
        _ => "",
    }
}

/// Why a link could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The endpoint is no valid address.
    #[error("invalid endpoint: {reason}")]
    InvalidEndpoint {
        /// What is wrong with it.
        reason: String,
    },
    /// A header that is sent along is none, or is not for the operator to set.
    #[error("invalid header: {reason}")]
    InvalidHeader {
        /// What is wrong with it; never its value.
        reason: String,
    },
    /// The network said no.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The server's process did not start.
    #[error("cannot start {command}: {source}")]
    Start {
        /// Its command, without the arguments.
        command: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The server answered the upgrade request with an HTTP status.
    #[error("the server answered with HTTP status {status}{}", no_websocket(*.status))]
    Rejected {
        /// The status.
        status: u16,
        /// When another attempt has a chance, if the server says so.
        retry_after: Option<Duration>,
    },
    /// There is no token to show to the server.
    #[error("no token: {0}")]
    Token(#[from] TokenError),
    /// The TLS session failed.
    #[error("TLS: {0}")]
    Tls(String),
    /// A file that TLS needs cannot be used.
    #[error("{reason}")]
    TlsFile {
        /// The key in `tls` that names it.
        key: &'static str,
        /// What is wrong with it; never what is in it.
        reason: String,
    },
    /// The server does not speak the transport's protocol.
    #[error("handshake: {0}")]
    Handshake(String),
}

#[cfg(any(feature = "http", feature = "websocket"))]
impl From<TlsError> for DialError {
    fn from(error: TlsError) -> Self {
        match error {
            TlsError::Setup(words) => Self::Tls(words),
            TlsError::File { key, reason } => Self::TlsFile { key, reason },
        }
    }
}

impl DialError {
    /// The key in `tls` that names a file that cannot be used.
    pub(crate) fn tls_key(&self) -> Option<&'static str> {
        match self {
            Self::TlsFile { key, .. } => Some(key),
            _ => None,
        }
    }

    /// The key of a server's description that is wrong, where the description is.
    pub(crate) fn key(&self, spec: &ServerSpec) -> String {
        match self {
            Self::TlsFile { key, .. } => format!("tls.{key}"),
            Self::InvalidHeader { .. } => "headers".to_owned(),
            _ => spec.endpoint.key().to_owned(),
        }
    }
}

/// How a link ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The peer closed it.
    #[error("the server closed the connection ({}{reason})", code.map(|code| format!("{code} ")).unwrap_or_default())]
    Closed {
        /// The close code, if one was given.
        code: Option<u16>,
        /// The peer's words: untrusted text.
        reason: String,
    },
    /// It broke without a goodbye.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The server cannot be reached any more.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    /// The server no longer knows the session that the link was.
    #[error("the session was lost: {0}")]
    SessionLost(String),
    /// The server seems not to know it. What a call was answered with says so, and counts by itself.
    #[error("the session was lost: {0}")]
    SessionDoubted(String),
    /// The server refused the end of the handshake.
    #[error("the server refused the end of the handshake: {0}")]
    Refused(Refusal),
    /// The server's process ended.
    #[error("{}", ended(*.code, *.signal, .stderr.as_deref()))]
    Exited {
        /// Its exit code, if it exited.
        code: Option<i32>,
        /// The signal that killed it, if one did.
        signal: Option<i32>,
        /// The last lines of its stderr: untrusted text.
        stderr: Option<String>,
    },
    /// The peer broke the transport's rules.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
    /// The peer sent a message over the limit.
    #[error("the server sent a message over the limit of {limit} bytes (limits.messageBytesMax)")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
}

fn ended(code: Option<i32>, signal: Option<i32>, stderr: Option<&str>) -> String {
    let how = match (code, signal) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    };
    // Of a long one the first lines are told as well.
    let verb = |stderr: &str| if stderr.contains(" | … | ") { "says" } else { "ends with" };
    let last_words =
        stderr.map(|stderr| format!("; its stderr {} \"{stderr}\"", verb(stderr))).unwrap_or_default();
    format!("the server's process {how}{last_words}")
}

/// Reads the files that TLS to a server needs, only to tell what is wrong with them. It waits for the disk.
///
/// # Errors
/// [`DialError::TlsFile`] for a file that cannot be read or does not hold what it should.
pub(crate) fn check_files(options: &TlsOptions) -> Result<(), DialError> {
    if options.is_default() {
        return Ok(());
    }
    #[cfg(any(feature = "http", feature = "websocket"))]
    tls::config(options)?;
    Ok(())
}

/// The way to a server, which reads no file to be made. What keeps the server's token holds `alive` for as long as it runs.
///
/// # Errors
/// [`DialError::InvalidEndpoint`] if its endpoint is wrong, or of a transport that this build does not have.
pub(crate) fn connector(
    spec: &ServerSpec,
    settings: &Settings,
    alive: Box<dyn Any + Send>,
) -> Result<Arc<dyn Connector>, DialError> {
    #[cfg(any(feature = "http", feature = "websocket"))]
    let tokens =
        || spec.tokens.clone().map(|source| tokens::Tokens::start(spec.id.to_string(), source, alive));
    // Secrets of headers and of the URL, and what references in it stood for.
    #[cfg(any(feature = "http", feature = "websocket"))]
    let mask = |headers, url: &str| {
        let (of_headers, of_url) = (redact::find::header_words(headers), redact::find::url_secrets(url));
        let within: Vec<crate::secret::Secret> =
            spec.looked_up.iter().flat_map(|value| redact::find::secret_parts(value.expose())).collect();
        redact::mask::Mask::of(of_headers.iter().chain(&of_url).chain(&spec.looked_up).chain(&within))
    };
    #[cfg(not(any(feature = "http", feature = "websocket")))]
    drop(alive);
    match &spec.endpoint {
        #[cfg(feature = "websocket")]
        Endpoint::WebSocket { url, headers, subprotocol } => {
            let options = websocket::WebSocketOptions {
                url: url.clone(),
                headers: headers.clone(),
                subprotocol: subprotocol.clone(),
                tls: spec.tls.clone(),
                message_bytes_max: settings.limits.message_bytes_max,
            };
            Ok(Arc::new(
                websocket::WebSocketConnector::new(options)?
                    .with_tokens(tokens())
                    .masking(mask(headers, url)),
            ))
        }
        #[cfg(not(feature = "websocket"))]
        Endpoint::WebSocket { .. } => missing("WebSocket", "websocket", settings),
        #[cfg(feature = "http")]
        Endpoint::Http { url, headers, proxy } => {
            let options = http::HttpOptions {
                headers: headers.clone(),
                proxy: *proxy,
                tls: spec.tls.clone(),
                message_bytes_max: settings.limits.message_bytes_max,
                connect_timeout: spec.pool.connect_timeout,
                liveness: settings.liveness.clone(),
                stream: spec.stream,
                ..http::HttpOptions::new(url.clone())
            };
            Ok(Arc::new(http::HttpConnector::new(options)?.with_tokens(tokens()).masking(mask(headers, url))))
        }
        #[cfg(not(feature = "http"))]
        Endpoint::Http { .. } => missing("Streamable HTTP", "http", settings),
        #[cfg(feature = "stdio")]
        Endpoint::Stdio { command, args, env, cwd } => {
            let options = stdio::StdioOptions {
                server: spec.id.to_string(),
                command: command.clone(),
                args: args.clone(),
                env: env.clone(),
                cwd: cwd.clone(),
                inherit: settings.inherit_env.clone(),
                masked: spec.looked_up.clone(),
                message_bytes_max: settings.limits.message_bytes_max,
            };
            Ok(Arc::new(stdio::StdioConnector::new(options)))
        }
        #[cfg(not(feature = "stdio"))]
        Endpoint::Stdio { .. } => missing("stdio", "stdio", settings),
        Endpoint::Custom => {
            let reason =
                "a custom server needs a connector: give it with server_via or register_via".to_owned();
            Err(DialError::InvalidEndpoint { reason })
        }
    }
}

#[cfg(not(all(feature = "http", feature = "stdio", feature = "websocket")))]
fn missing(transport: &str, feature: &str, _: &Settings) -> Result<Arc<dyn Connector>, DialError> {
    let reason = format!("this build has no {transport} transport: turn on the feature {feature}");
    Err(DialError::InvalidEndpoint { reason })
}
