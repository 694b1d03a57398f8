//! MCP over WebSocket for the SDK's services: one JSON-RPC message per text frame, subprotocol `mcp`.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::HeaderValue;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::{RoleServer, ServerHandler, ServiceExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};

use super::weight::MESSAGE_BYTES_MAX;

/// Connections at once; more wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 256;

/// How long a connection may take to end after it was asked to.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// A server that runs. Dropping it ends every connection at once; [`shutdown`](Self::shutdown) says goodbye first.
pub struct Running {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Running {
    /// Where it is.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Closes every connection with code 1001 and ends.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Serves connections of `listener`, each with a service of its own that `service` makes.
pub fn serve<S: ServerHandler>(
    listener: TcpListener,
    service: impl Fn() -> S + Send + 'static,
) -> std::io::Result<Running> {
    let address = listener.local_addr()?;
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    tasks.spawn(accept(listener, service, stopped));
    Ok(Running { address, stop, tasks })
}

async fn accept<S: ServerHandler>(
    listener: TcpListener,
    service: impl Fn() -> S + Send + 'static,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! { biased;
            () = asked_to_stop(&mut stopped) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, peer)) => {
                    tracing::debug!(%peer, "connection");
                    connections.spawn(converse(stream, service(), stopped.clone()));
                }
                Err(error) => tracing::warn!(%error, "accept failed"),
            }
        }
    }
    // Each says goodbye within its own limit.
    while connections.join_next().await.is_some() {}
}

/// Returns when the server is to stop, or its handle is gone.
async fn asked_to_stop(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

async fn converse<S: ServerHandler>(stream: TcpStream, service: S, mut stopped: watch::Receiver<bool>) {
    // Without it answers are merely later.
    let _ = stream.set_nodelay(true);
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let socket = match accept_hdr_async_with_config(stream, echo_subprotocol, Some(config)).await {
        Ok(socket) => socket,
        Err(error) => return tracing::debug!(%error, "no WebSocket"),
    };
    let (sink, stream) = socket.split();
    // The SDK ends a service when its stream ends; the sink stays with us for the goodbye.
    let (outgoing, mut to_send) = tokio::sync::mpsc::channel::<TxJsonRpcMessage<RoleServer>>(256);
    let incoming = stream.filter_map(|received| {
        std::future::ready(match received {
            Ok(Message::Text(text)) => read(&text),
            _ => None,
        })
    });
    let outgoing = futures_util::sink::unfold(outgoing, |outgoing, message| async move {
        outgoing.send(message).await.map_err(|_| std::io::Error::from(std::io::ErrorKind::BrokenPipe))?;
        Ok::<_, std::io::Error>(outgoing)
    });
    let writer = async move {
        let mut sink = sink;
        let mut batch = Vec::new();
        while to_send.recv_many(&mut batch, 64).await > 0 {
            for message in batch.drain(..) {
                let Ok(text) = serde_json::to_string(&message) else { continue };
                if sink.feed(Message::text(text)).await.is_err() {
                    return;
                }
            }
            if sink.flush().await.is_err() {
                return;
            }
        }
        let goodbye = CloseFrame { code: CloseCode::Away, reason: "Server shutting down".into() };
        // The peer may have gone first.
        let _ = sink.send(Message::Close(Some(goodbye))).await;
    };
    let conversation = async move {
        let transport = (Box::pin(outgoing), Box::pin(incoming));
        let running = match service.serve(transport).await {
            Ok(running) => running,
            Err(error) => return tracing::debug!(%error, "no conversation"),
        };
        let stop = running.cancellation_token();
        let mut ended = Box::pin(running.waiting());
        tokio::select! { biased;
            _ = &mut ended => {}
            () = asked_to_stop(&mut stopped) => {
                stop.cancel();
                let _ = tokio::time::timeout(CLOSE_WAIT, ended).await;
            }
        }
    };
    tokio::join!(conversation, writer);
}

/// Reads a message; one that the SDK does not know is dropped with a line in the log.
fn read(text: &str) -> Option<RxJsonRpcMessage<RoleServer>> {
    serde_json::from_str(text).inspect_err(|error| tracing::debug!(%error, "no message")).ok()
}

// The signature is tungstenite's; its large error type is not ours to change.
#[allow(clippy::result_large_err)]
fn echo_subprotocol(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offered = request.headers().get(SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok());
    if offered.is_some_and(|offered| offered.split(',').any(|name| name.trim() == "mcp")) {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("mcp"));
    }
    Ok(response)
}
