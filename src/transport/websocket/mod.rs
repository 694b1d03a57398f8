//! MCP over WebSocket: one JSON-RPC message per text frame.
//!
//! A custom transport by the specification. The subprotocol is `mcp`; authorization travels in a header of the upgrade
//! request; liveness is WebSocket ping and pong.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use http::header::{HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use http::{Request, StatusCode, Uri};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::SubProtocolError;
use tokio_tungstenite::tungstenite::error::TlsError;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error as WsError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::config::{SubprotocolChoice, TlsOptions, shown, shown_url};
use crate::net::retry_after;
use crate::net::tls::{self, Tls};
use crate::secret::Secret;
use crate::transport::redact::find::{header_words, url_secrets};
use crate::transport::redact::mask::Mask;

use super::tokens::{Lent, Tokens};
use super::{BoxFuture, Connector, DialError, Inbound, Link, LinkError, Outbound, address};

mod counted;
#[cfg(test)]
mod tests;
mod upgrade;

use counted::{Count, Counted};
use upgrade::Upgrading;

/// The subprotocol of MCP over WebSocket.
const SUBPROTOCOL: &str = "mcp";

/// Read buffer of one connection. tungstenite allocates it at once, 128 KiB by default, and fills what is free of it with zeros
/// before each read, also of a read that finds nothing. A thousand idle servers should not cost 128 MiB, and a call not the
/// zeros of a large buffer; 8 KiB still hold thirty small answers, and a large result is read in steps of that size.
const READ_BUFFER_BYTES: usize = 8 << 10;

/// Bytes that are gathered before they are written without a flush. Flushes end each turn of the pump anyway.
const WRITE_BUFFER_BYTES: usize = 64 << 10;

/// Headers that the WebSocket handshake itself sets.
const RESERVED_HEADERS: [&str; 8] = [
    "host",
    "connection",
    "upgrade",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
    "content-length",
];

/// How a WebSocket is opened.
#[derive(Clone)]
#[non_exhaustive]
pub struct WebSocketOptions {
    /// `ws://` or `wss://`.
    pub url: String,
    /// Headers of the upgrade request. Their values are never shown.
    pub headers: Vec<(String, Secret)>,
    /// The subprotocol.
    pub subprotocol: SubprotocolChoice,
    /// How the server is verified over `wss`.
    pub tls: TlsOptions,
    /// The largest message that is accepted, in bytes.
    pub message_bytes_max: usize,
}

impl WebSocketOptions {
    /// The address alone, and the defaults of the settings for the rest.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            headers: Vec::new(),
            subprotocol: SubprotocolChoice::default(),
            tls: TlsOptions::default(),
            message_bytes_max: crate::config::Settings::default().limits.message_bytes_max,
        }
    }
}

impl fmt::Debug for WebSocketOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketOptions")
            .field("url", &shown_url(&self.url))
            .field("headers", &shown::names(self.headers.iter().map(|(name, _)| name)))
            .field("subprotocol", &self.subprotocol)
            .field("tls", &self.tls)
            .field("message_bytes_max", &self.message_bytes_max)
            .finish()
    }
}

/// Opens WebSockets to one server.
pub struct WebSocketConnector {
    /// Where the server is, as it may be shown.
    shown: String,
    uri: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    subprotocol: SubprotocolChoice,
    message_bytes_max: usize,
    tls: Option<Tls>,
    tokens: Option<Tokens>,
    mask: Mask,
    /// The server was seen to echo no subprotocol. A hint that saves a dial, learned anew where it is lost.
    bare: AtomicBool,
}

impl fmt::Debug for WebSocketConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketConnector").field("endpoint", &self.endpoint()).finish_non_exhaustive()
    }
}

impl WebSocketConnector {
    /// Checks the options.
    ///
    /// # Errors
    /// [`DialError::InvalidEndpoint`] for a URL that is none, has another scheme, no host or user info;
    /// [`DialError::InvalidHeader`] for headers that are malformed or set by the handshake itself. Files that TLS needs are read when it connects.
    pub fn new(options: WebSocketOptions) -> Result<Self, DialError> {
        let uri = address::parse(&options.url, ["ws", "wss"])?;
        let tls = match uri.scheme_str() {
            Some("wss") => Some(Tls::new(options.tls)?),
            _ => None,
        };
        let headers = address::headers(&options.headers, &RESERVED_HEADERS, "the handshake itself")?;
        Ok(Self {
            shown: shown_url(&options.url),
            uri,
            headers,
            subprotocol: options.subprotocol,
            message_bytes_max: options.message_bytes_max,
            tls,
            tokens: None,
            mask: Mask::of(header_words(&options.headers).iter().chain(&url_secrets(&options.url))),
            bare: AtomicBool::new(false),
        })
    }

    /// The same, with tokens for the upgrade requests.
    pub(super) fn with_tokens(mut self, tokens: Option<Tokens>) -> Self {
        self.tokens = tokens;
        self
    }

    /// The same, with what is taken out of the server's words.
    pub(super) fn masking(mut self, mask: Mask) -> Self {
        self.mask = mask;
        self
    }

    /// What is offered next.
    fn offer(&self) -> Option<String> {
        match &self.subprotocol {
            SubprotocolChoice::Auto if self.bare.load(Ordering::Relaxed) => None,
            SubprotocolChoice::Auto => Some(SUBPROTOCOL.to_owned()),
            SubprotocolChoice::None => None,
            SubprotocolChoice::Offer(names) => Some(names.join(", ")),
        }
    }

    fn request(&self, offer: Option<&str>, lent: Option<&Lent>) -> Result<Request<()>, DialError> {
        let mut request = self.uri.clone().into_client_request().map_err(dial_error)?;
        let headers = request.headers_mut();
        for (name, value) in &self.headers {
            headers.append(name.clone(), value.clone());
        }
        if let Some(lent) = lent {
            lent.put(headers);
        }
        if let Some(offer) = offer {
            let value = HeaderValue::try_from(offer)
                .map_err(|_| DialError::Handshake("what is offered is no subprotocol".to_owned()))?;
            headers.insert(SEC_WEBSOCKET_PROTOCOL, value);
        }
        Ok(request)
    }

    async fn dial(&self, offer: Option<&str>, lent: Option<&Lent>) -> Result<Box<dyn Link>, WsError> {
        let within = |error| match error {
            DialError::Io(error) => WsError::Io(error),
            other => WsError::Io(std::io::Error::other(other)),
        };
        let request = self.request(offer, lent).map_err(within)?;
        let tls = match &self.tls {
            Some(tls) => Some(TlsConnector::from(tls.config().await.map_err(|error| within(error.into()))?)),
            None => None,
        };
        let stream = TcpStream::connect(self.address()).await.map_err(WsError::Io)?;
        stream.set_nodelay(true).map_err(WsError::Io)?;
        let (stream, moved) = Counted::new(stream);
        match tls {
            Some(tls) => {
                let (host, _) = self.address();
                let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsError::InvalidDnsName)?;
                self.upgrade(request, tls.connect(name, stream).await.map_err(WsError::Io)?, moved).await
            }
            None => self.upgrade(request, stream, moved).await,
        }
    }

    /// Shakes hands over a stream, whose bytes are counted below it.
    async fn upgrade<T>(
        &self,
        request: Request<()>,
        stream: T,
        moved: Count,
    ) -> Result<Box<dyn Link>, WsError>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let config = config(self.message_bytes_max);
        let (socket, _) = client_async_with_config(request, Upgrading::new(stream), Some(config)).await?;
        Ok(Box::new(WebSocketLink { socket, message_bytes_max: self.message_bytes_max, moved }))
    }

    /// Where to connect to.
    fn address(&self) -> (&str, u16) {
        // That there is a host was made sure of.
        let host = self.uri.host().unwrap_or_default();
        let port = if self.tls.is_some() { 443 } else { 80 };
        // An address of IPv6 stands in brackets in a URL, and without them everywhere else.
        (host.trim_start_matches('[').trim_end_matches(']'), self.uri.port_u16().unwrap_or(port))
    }

    /// Dials with the subprotocol, and once more without if the server knows none.
    async fn dial_as_offered(&self, lent: Option<&Lent>) -> Result<Box<dyn Link>, WsError> {
        let offer = self.offer();
        match self.dial(offer.as_deref(), lent).await {
            Err(WsError::Protocol(ProtocolError::SecWebSocketSubProtocolError(
                SubProtocolError::NoSubProtocol,
            ))) if self.subprotocol == SubprotocolChoice::Auto => {
                self.bare.store(true, Ordering::Relaxed);
                self.dial(None, lent).await
            }
            dialled => dialled,
        }
    }

    /// Shakes hands over a stream that exists already, as a simulated network gives it.
    ///
    /// # Errors
    /// As a dial.
    pub async fn over<T>(&self, stream: T) -> Result<Box<dyn Link>, DialError>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let lent = match &self.tokens {
            Some(tokens) => Some(tokens.lend().await?),
            None => None,
        };
        let request = self.request(self.offer().as_deref(), lent.as_ref())?;
        let (stream, moved) = Counted::new(stream);
        self.upgrade(request, stream, moved).await.map_err(dial_error)
    }
}

impl Connector for WebSocketConnector {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, DialError>> {
        Box::pin(async move {
            let Some(tokens) = &self.tokens else {
                return self.dial_as_offered(None).await.map_err(dial_error);
            };
            let lent = tokens.lend().await?;
            match self.dial_as_offered(Some(&lent)).await {
                Err(WsError::Http(response)) if refuses_token(response.status()) => {
                    match tokens.renew(&lent, response.headers()).await {
                        Ok(fresh) => self.dial_as_offered(Some(&fresh)).await.map_err(dial_error),
                        Err(_) => Err(dial_error(WsError::Http(response))),
                    }
                }
                dialled => dialled.map_err(dial_error),
            }
        })
    }

    fn redact(&self, text: String) -> String {
        let text = self.mask.text(text);
        match &self.tokens {
            Some(tokens) => tokens.redact(text),
            None => text,
        }
    }

    fn endpoint(&self) -> String {
        self.shown.clone()
    }
}

fn config(message_bytes_max: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        // The sink holds back after the first write that blocks, so one message on top of the buffer is the most.
        .max_write_buffer_size(message_bytes_max.saturating_add(WRITE_BUFFER_BYTES + 1024))
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max))
}

/// Whether an upgrade was refused for its token. Many servers know no status for that but 403.
fn refuses_token(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

fn dial_error(error: WsError) -> DialError {
    match error {
        WsError::Http(response) => DialError::Rejected {
            status: response.status().as_u16(),
            retry_after: retry_after(response.headers()),
        },
        WsError::Tls(error) => DialError::Tls(error.to_string()),
        WsError::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            DialError::Tls(tls::words(&error))
        }
        WsError::Io(error) => DialError::Io(error),
        WsError::Url(error) => DialError::InvalidEndpoint { reason: error.to_string() },
        other => DialError::Handshake(other.to_string()),
    }
}

/// One open WebSocket.
struct WebSocketLink<T> {
    socket: WebSocketStream<T>,
    message_bytes_max: usize,
    /// Bytes that the stream has moved.
    moved: Count,
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Link for WebSocketLink<T> {
    fn pings(&self) -> bool {
        true
    }

    fn taken(&self) -> Option<u64> {
        Some(self.moved.written())
    }

    fn arrived(&self) -> u64 {
        self.moved.read()
    }
}

impl<T> WebSocketLink<T> {
    fn link_error(&self, error: WsError) -> LinkError {
        match error {
            WsError::ConnectionClosed | WsError::AlreadyClosed => {
                LinkError::Closed { code: None, reason: "without a reason".to_owned() }
            }
            WsError::Capacity(CapacityError::MessageTooLong { .. }) => {
                LinkError::TooLarge { limit: self.message_bytes_max }
            }
            WsError::Io(error) => LinkError::Broken(error.to_string()),
            WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                LinkError::Broken("it ended without a close frame".to_owned())
            }
            other => LinkError::Protocol(other.to_string()),
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for WebSocketLink<T> {
    type Item = Result<Inbound, LinkError>;

    fn poll_next(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let received = std::task::ready!(self.socket.poll_next_unpin(poller));
        Poll::Ready(received.map(|received| match received {
            Ok(Message::Text(text)) => Ok(Inbound::Message(text.into())),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Ok(Inbound::Alive),
            Ok(Message::Binary(_)) => {
                let frame =
                    CloseFrame { code: CloseCode::Unsupported, reason: Utf8Bytes::from_static("text only") };
                // Told to the peer as far as it still listens; the link ends either way.
                let _ = self.socket.start_send_unpin(Message::Close(Some(frame)));
                let _ = self.socket.poll_flush_unpin(poller);
                Err(LinkError::Protocol("a binary frame".to_owned()))
            }
            Ok(Message::Close(frame)) => Err(LinkError::Closed {
                code: frame.as_ref().map(|frame| frame.code.into()),
                reason: frame.map(|frame| frame.reason.to_string()).unwrap_or_default(),
            }),
            Err(error) => Err(self.link_error(error)),
        }))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Sink<Outbound> for WebSocketLink<T> {
    type Error = LinkError;

    fn poll_ready(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        self.socket.poll_ready_unpin(poller).map_err(|error| self.link_error(error))
    }

    fn start_send(mut self: Pin<&mut Self>, item: Outbound) -> Result<(), LinkError> {
        // A whole text message. Ours are JSON that was written here, and need no look whether they are UTF-8.
        let text = |frame: Bytes| Message::Frame(Frame::message(frame, OpCode::Data(Data::Text), true));
        let message = match item {
            Outbound::Request { frame, .. }
            | Outbound::Notice(frame)
            | Outbound::Cancel { frame: Some(frame), .. } => text(frame),
            Outbound::Cancel { frame: None, .. } => return Ok(()),
            Outbound::Ping => Message::Ping(Bytes::new()),
        };
        self.socket.start_send_unpin(message).map_err(|error| self.link_error(error))
    }

    fn poll_flush(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        self.socket.poll_flush_unpin(poller).map_err(|error| self.link_error(error))
    }

    fn poll_close(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        self.socket.poll_close_unpin(poller).map_err(|error| self.link_error(error))
    }
}
