//! The WebSocket of the clients that the troupe is compared with: set up as the troupe's own is.

use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// As the troupe's. tungstenite fills the whole read buffer with zeros before each read, so its size is a part of the cost.
const READ_BUFFER_BYTES: usize = 16 << 10;
const WRITE_BUFFER_BYTES: usize = 64 << 10;

/// Connects to the echo server on this port.
pub async fn connect(port: u16) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the echo server listens");
    stream.set_nodelay(true).expect("a socket");
    let config =
        WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES).write_buffer_size(WRITE_BUFFER_BYTES);
    let url = format!("ws://127.0.0.1:{port}/");
    let (socket, _) = client_async_with_config(url, stream, Some(config)).await.expect("a WebSocket");
    socket
}
