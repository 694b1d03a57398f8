//! The two ways to make a call that benches compare, over one WebSocket to an echo server in the same process: through the
//! whole troupe, and through a bare pump.

use std::collections::HashMap;

use futures_util::{FutureExt, SinkExt, StreamExt};
use mcp_troupe::config::PoolSettings;
use mcp_troupe::{Call, EraChoice, Readiness, Server, Troupe};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

const ARGUMENTS: &str = r#"{"q":"hello","n":5}"#;

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: String,
}

/// A server that answers everything at once, as fast as a WebSocket allows: every ready frame, one flush.
async fn echo_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(async move {
                let Ok(mut socket) = accept_async(stream).await else { return };
                while let Some(Ok(message)) = socket.next().await {
                    let mut next = Some(message);
                    while let Some(message) = next.take() {
                        if let Some(answer) = answer(&message)
                            && socket.feed(answer).await.is_err()
                        {
                            return;
                        }
                        next = socket.next().now_or_never().flatten().and_then(Result::ok);
                    }
                    if socket.flush().await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

fn answer(message: &Message) -> Option<Message> {
    let Message::Text(text) = message else { return None };
    let request: Request<'_> = serde_json::from_str(text).ok()?;
    let id = request.id?.get();
    let result = match request.method.as_str() {
        "tools/list" => r#"{"tools":[{"name":"search","inputSchema":{"type":"object"}}]}"#,
        "initialize" => r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}}}"#,
        _ => r#"{"content":[{"type":"text","text":"hello"}]}"#,
    };
    Some(Message::text(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)))
}

// === the bare pump: a bounded queue, a table of ids, feed and one flush; no actors, no deadlines, no supervision ===

type Reply = oneshot::Sender<Utf8Bytes>;

#[derive(Deserialize)]
struct Response<'a> {
    id: u64,
    #[serde(borrow)]
    result: &'a RawValue,
}

async fn bare_pump(port: u16) -> mpsc::Sender<Reply> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the echo server listens");
    let _ = stream.set_nodelay(true);
    let (socket, _) = client_async(format!("ws://127.0.0.1:{port}/"), stream).await.expect("a WebSocket");
    let (queue, requests) = mpsc::channel(1024);
    tokio::spawn(pump(socket, requests));
    queue
}

async fn pump(mut socket: WebSocketStream<TcpStream>, mut requests: mpsc::Receiver<Reply>) {
    let mut pending: HashMap<u64, Reply> = HashMap::new();
    let mut next = 0u64;
    let mut batch = Vec::with_capacity(256);
    loop {
        tokio::select! { biased;
            message = socket.next() => {
                let Some(Ok(message)) = message else { return };
                complete(&mut pending, message);
                while let Some(Some(Ok(message))) = socket.next().now_or_never() {
                    complete(&mut pending, message);
                }
            }
            taken = requests.recv_many(&mut batch, 256) => {
                if taken == 0 {
                    return;
                }
                for reply in batch.drain(..) {
                    next += 1;
                    pending.insert(next, reply);
                    let text = format!(
                        r#"{{"jsonrpc":"2.0","id":{next},"method":"tools/call","params":{{"name":"search","arguments":{ARGUMENTS}}}}}"#
                    );
                    if socket.feed(Message::text(text)).await.is_err() {
                        return;
                    }
                }
                if socket.flush().await.is_err() {
                    return;
                }
            }
        }
    }
}

fn complete(pending: &mut HashMap<u64, Reply>, message: Message) {
    let Message::Text(text) = message else { return };
    let Ok(response) = serde_json::from_str::<Response<'_>>(&text) else { return };
    if let Some(reply) = pending.remove(&response.id) {
        let _ = reply.send(Utf8Bytes::from(response.result.get().to_owned()));
    }
}

// === the troupe ===

async fn troupe(port: u16) -> Troupe {
    let mut pool = PoolSettings::default();
    pool.max = 1;
    // The bare pump sends no `_meta`, so the troupe speaks the era that needs none.
    let server =
        Server::websocket("echo", format!("ws://127.0.0.1:{port}/")).pool(pool).era(EraChoice::Legacy);
    let troupe = Troupe::builder().server(server).start().await.expect("started");
    troupe.ready(Readiness::All).await.expect("ready");
    troupe
}

/// One of the two ways to make a call.
#[derive(Clone)]
pub enum Path {
    Bare(mpsc::Sender<Reply>),
    Troupe(Troupe),
}

impl Path {
    /// Makes one call and waits for its answer.
    pub async fn call(&self) {
        match self {
            Self::Bare(queue) => {
                let (reply, answer) = oneshot::channel();
                queue.send(reply).await.expect("the pump runs");
                answer.await.expect("an answer");
            }
            Self::Troupe(troupe) => {
                troupe.call(Call::tool("search").raw_args(ARGUMENTS)).await.expect("an answer");
            }
        }
    }
}

/// Both paths on one runtime, each over one connection.
pub async fn paths() -> [(&'static str, Path); 2] {
    let port = echo_server().await;
    [("bare", Path::Bare(bare_pump(port).await)), ("troupe", Path::Troupe(troupe(port).await))]
}
