//! Bytes to messages: how a server is reached.
//!
//! A [`Connector`] opens [`Link`]s to one server. A link carries whole messages both ways and knows nothing of their
//! meaning, except which outgoing ones are requests and cancellations: a transport whose requests each travel alone
//! needs that.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Sink, Stream};

use crate::config::Endpoint;

#[cfg(feature = "websocket")]
pub mod websocket;

/// A boxed future.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Opens links to one server.
pub trait Connector: Send + Sync + 'static {
    /// Opens a link. Dropping the future gives up; the caller sets the time limit.
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, DialError>>;

    /// Where the server is, for people: without user info, query or tokens.
    fn endpoint(&self) -> String;
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
}

/// What a peer sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbound {
    /// One message.
    Message(Bytes),
    /// A sign of life without content.
    Alive,
}

/// What is sent to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outbound {
    /// A request.
    Request {
        /// Its id on this link.
        id: u64,
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
    /// The network said no.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The server answered the upgrade request with an HTTP status.
    #[error("the server answered with HTTP status {status}")]
    Rejected {
        /// The status.
        status: u16,
    },
    /// The TLS session failed.
    #[error("TLS: {0}")]
    Tls(String),
    /// The server does not speak the transport's protocol.
    #[error("handshake: {0}")]
    Handshake(String),
}

/// How a link ended.
#[derive(Debug, thiserror::Error)]
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
    /// The peer broke the transport's rules.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
    /// The peer sent a message over the limit.
    #[error("the server sent a message over the limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
}

/// The way to an endpoint.
///
/// # Errors
/// [`DialError::InvalidEndpoint`] if it is wrong, or of a transport that this build does not have.
pub(crate) fn connector(
    endpoint: &Endpoint,
    message_bytes_max: usize,
) -> Result<Arc<dyn Connector>, DialError> {
    match endpoint {
        #[cfg(feature = "websocket")]
        Endpoint::WebSocket { url, headers, subprotocol } => {
            let options = websocket::WebSocketOptions {
                url: url.clone(),
                headers: headers.clone(),
                subprotocol: subprotocol.clone(),
                message_bytes_max,
            };
            Ok(Arc::new(websocket::WebSocketConnector::new(options)?))
        }
        #[cfg(not(feature = "websocket"))]
        Endpoint::WebSocket { .. } => {
            // The limit belongs to the transport that is not there.
            let _ = message_bytes_max;
            let reason = "this build has no WebSocket transport: turn on the feature websocket".to_owned();
            Err(DialError::InvalidEndpoint { reason })
        }
        Endpoint::Custom => {
            let reason =
                "a custom server needs a connector: give it with server_via or register_via".to_owned();
            Err(DialError::InvalidEndpoint { reason })
        }
    }
}
