//! An MCP server over WebSocket that answers every call with the same result, as fast as a WebSocket allows: every frame
//! that is there, one flush. What is measured against it is the client.
//!
//! It speaks 2025-11-25. A connection to `/NAME` meets a server of its own, whose tools are called `NAME.search`,
//! `NAME.search-1` and so on, so that one listener can stand for thousands of servers.

// The signature of a handshake's callback is tungstenite's; its large error type is not ours to change.
#![allow(clippy::result_large_err)]

use std::borrow::Cow;
use std::sync::Arc;

use futures_util::{FutureExt, SinkExt, StreamExt};
use http::HeaderValue;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// The smallest result that [`result`] can make.
pub const RESULT_BYTES_MIN: usize = 128;

/// The largest: a message is larger than its result, and clients accept 16 MiB.
pub const RESULT_BYTES_MAX: usize = 15 << 20;

/// Tools of one server at most: as many as a client lists.
pub const TOOLS_MAX: usize = 10_000;

/// Frames that are read before their answers are flushed, so that a client that never pauses gets answers.
const FRAMES_PER_FLUSH: usize = 256;

/// Read buffer of one connection. tungstenite allocates it at once, 128 KiB by default, and there may be thousands.
const READ_BUFFER_BYTES: usize = 16 << 10;

/// What the server offers and answers.
pub struct Answers {
    result: String,
    tools: usize,
}

impl Answers {
    /// Results of so many bytes, from so many tools.
    pub fn new(result_bytes: usize, tools: usize) -> Self {
        Self { result: result(result_bytes), tools }
    }
}

/// A tool result of exactly so many bytes of JSON, as the specification asks for structured content: rows, and the same rows as
/// text.
pub fn result(bytes: usize) -> String {
    let render = |rows: &str, padding: usize| {
        let text = format!("{{\"rows\":[{rows}]}}{}", " ".repeat(padding)).replace('"', "\\\"");
        format!(
            r#"{{"content":[{{"type":"text","text":"{text}"}}],"structuredContent":{{"rows":[{rows}]}},"isError":false}}"#
        )
    };
    let mut rows = String::new();
    let mut room = bytes.saturating_sub(render("", 0).len());
    for id in 0.. {
        let comma = if id == 0 { "" } else { "," };
        let row = format!(r#"{comma}{{"id":{id},"name":"row {id}","value":{id}.5}}"#);
        // It stands there twice, in the text with a backslash before each quotation mark.
        let taken = 2 * row.len() + row.matches('"').count();
        if taken > room {
            break;
        }
        room -= taken;
        rows.push_str(&row);
    }
    render(&rows, room)
}

/// Accepts connections until that fails, and returns why.
pub async fn serve(listener: TcpListener, answers: Answers) -> std::io::Error {
    let answers = Arc::new(answers);
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                while connections.try_join_next().is_some() {}
                connections.spawn(converse(stream, answers.clone()));
            }
            Err(error) => return error,
        }
    }
}

/// Answers one client until it leaves.
async fn converse(stream: TcpStream, answers: Arc<Answers>) {
    // Without it answers are merely later.
    let _ = stream.set_nodelay(true);
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
    let mut name = String::new();
    let greet = |request: &Request, response: Response| greet(request, response, &mut name);
    let Ok(mut socket) = accept_hdr_async_with_config(stream, greet, Some(config)).await else { return };
    let mut unflushed = 0;
    loop {
        let ready = if unflushed < FRAMES_PER_FLUSH { socket.next().now_or_never() } else { None };
        let next = match ready {
            Some(next) => next,
            None => {
                if socket.flush().await.is_err() {
                    return;
                }
                unflushed = 0;
                socket.next().await
            }
        };
        let Some(Ok(message)) = next else { return };
        if let Some(answer) = answer(&message, &name, &answers)
            && socket.feed(answer).await.is_err()
        {
            return;
        }
        unflushed += 1;
    }
}

/// Learns the name of the server that is meant, and agrees to the subprotocol.
fn greet(request: &Request, mut response: Response, name: &mut String) -> Result<Response, ErrorResponse> {
    request.uri().path().trim_start_matches('/').clone_into(name);
    if request.headers().contains_key(SEC_WEBSOCKET_PROTOCOL) {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("mcp"));
    }
    Ok(response)
}

#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Cow<'a, str>,
}

/// The answer to a message that is a request.
fn answer(message: &Message, name: &str, answers: &Answers) -> Option<Message> {
    let Message::Text(text) = message else { return None };
    let asked: Asked<'_> = serde_json::from_str(text).ok()?;
    let id = asked.id?.get();
    let said = match &*asked.method {
        "tools/call" => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{}}}"#, answers.result),
        "tools/list" => {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":[{}]}}}}"#, tools(name, answers.tools))
        }
        "initialize" => format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"protocolVersion":"2025-11-25","capabilities":{{"tools":{{}}}},"serverInfo":{{"name":"echo","version":"1"}}}}}}"#
        ),
        "ping" => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#),
        _ => {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"method not found"}}}}"#)
        }
    };
    Some(Message::text(said))
}

/// The tools of a server, as elements of a JSON array.
fn tools(name: &str, count: usize) -> String {
    let dot = if name.is_empty() { "" } else { "." };
    let tools = (0..count).map(|n| {
        let number = if n == 0 { String::new() } else { format!("-{n}") };
        format!(r#"{{"name":"{name}{dot}search{number}","inputSchema":{{"type":"object"}}}}"#)
    });
    tools.collect::<Vec<_>>().join(",")
}
