//! One scenario over each transport that is on: a server gets ready, answers, refuses what it does not have, and leaves.
//!
//! It is a program without a test runner, since it starts itself as the stdio server.

use std::io::Write;

use mcp_troupe::{Call, CallErrorKind, Readiness, Server, Troupe};
use mcp_troupe_default_features::answer;
use serde_json::{Value, json};

/// The argument of a process that is to serve.
const SERVE: &str = "serve-over-stdio";

fn main() {
    if std::env::args().nth(1).as_deref() == Some(SERVE) {
        return serve_over_stdio();
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(async {
        let servers = servers().await;
        assert!(!servers.is_empty(), "no transport is on");
        for server in servers {
            let id = server.id().to_owned();
            play(server).await;
            println!("{id} ... ok");
        }
    });
}

/// A server over each transport that is on.
async fn servers() -> Vec<Server> {
    #[allow(unused_mut, reason = "without a transport there is none")]
    let mut servers = Vec::new();
    #[cfg(feature = "stdio")]
    {
        let program = std::env::current_exe().expect("this program has a path");
        servers.push(Server::stdio("stdio", program.to_string_lossy(), [SERVE]));
    }
    #[cfg(feature = "http")]
    servers.push(Server::http("http", http::start().await));
    #[cfg(feature = "websocket")]
    servers.push(Server::websocket("websocket", websocket::start().await));
    servers
}

async fn play(server: Server) {
    let troupe = Troupe::builder().server(server).start().await.expect("it starts");
    troupe.ready(Readiness::All).await.expect("its server gets ready");
    let reply = troupe.call(Call::tool("add").args(json!({"a": 2, "b": 3}))).await.expect("it answers");
    assert_eq!(reply.structured::<Value>().expect("structured content"), json!({"sum": 5}));
    assert_eq!(reply.text().expect("a text"), "5");
    let refused = troupe.call(Call::tool("ad")).await.expect_err("there is no such tool");
    assert!(matches!(refused.kind(), CallErrorKind::UnknownTool { .. }), "{refused}");
    troupe.shutdown().await;
}

fn serve_over_stdio() {
    for line in std::io::stdin().lines() {
        let Ok(line) = line else { return };
        if let Some(answer) = answer(&line) {
            println!("{answer}");
            if std::io::stdout().flush().is_err() {
                return;
            }
        }
    }
}

/// Streamable HTTP by hand: a request, an answer, the next connection.
#[cfg(feature = "http")]
mod http {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    use tokio::net::{TcpListener, TcpStream};

    use super::answer;

    pub async fn start() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that breaks off is nobody's trouble.
                tokio::spawn(async move { drop(serve(stream).await) });
            }
        });
        format!("http://{address}/mcp")
    }

    async fn serve(stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        let (mut line, mut verb, mut length) = (String::new(), None, 0);
        while stream.read_line(&mut line).await? > 2 {
            let lower = line.to_ascii_lowercase();
            verb.get_or_insert_with(|| line.split(' ').next().unwrap_or_default().to_owned());
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or_default();
            }
            line.clear();
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let (status, body) = match verb.as_deref() {
            Some("POST") => match answer(&String::from_utf8_lossy(&body)) {
                Some(body) => ("200 OK", body),
                None => ("202 Accepted", String::new()),
            },
            _ => ("405 Method Not Allowed", String::new()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).await?;
        stream.shutdown().await
    }
}

/// MCP over WebSocket.
#[cfg(feature = "websocket")]
mod websocket {
    use futures_util::{SinkExt, StreamExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

    use super::answer;

    pub async fn start() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
        format!("ws://{address}")
    }

    async fn serve(stream: TcpStream) {
        #[allow(clippy::result_large_err, reason = "the type is the library's")]
        let agree = |_: &Request, mut response: Response| {
            response.headers_mut().insert("sec-websocket-protocol", "mcp".parse().expect("a header"));
            Ok(response)
        };
        let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, agree).await else { return };
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Text(text) = message
                && let Some(answer) = answer(&text)
                && socket.send(Message::text(answer)).await.is_err()
            {
                return;
            }
        }
    }
}
