//! HTTP servers that are written by hand, byte by byte: for all that a library would not do.

use std::sync::Arc;

use mcp_troupe::Server;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A request as it came.
pub struct Asked {
    /// `POST`, `GET` or `DELETE`.
    pub verb: String,
    /// What is asked for: `/mcp`.
    pub path: String,
    /// The headers, with lower-case names.
    pub headers: Vec<(String, String)>,
    /// The message.
    pub body: serde_json::Value,
}

impl Asked {
    /// The JSON-RPC method; empty if there is none.
    pub fn method(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What a server does with a request; then the connection ends, if nothing else is said.
pub enum Do {
    /// Sends these bytes, those when it is [let go](RawServer::let_go), and goes on with the connection.
    Late(String, String),
    /// Sends these bytes.
    Send(String),
    /// Sends these bytes, and then nothing more without ending the connection.
    Stay(String),
    /// Sends these bytes, then comments until nobody reads them.
    Chatter(String),
    /// Sends these bytes, then more of this until nobody reads it.
    Flood(String, Vec<u8>),
}

/// A server that plays `script` for each request. It ends when it is dropped.
pub struct RawServer {
    url: String,
    asked: watch::Sender<Vec<String>>,
    released: watch::Sender<u64>,
    connections: watch::Sender<u64>,
    _tasks: JoinSet<()>,
}

impl RawServer {
    pub async fn start(script: impl Fn(&Asked) -> Do + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = watch::Sender::new(Vec::new());
        let mut tasks = JoinSet::new();
        let (told, script) = (asked.clone(), Arc::new(script));
        let (released, connections) = (watch::Sender::new(0), watch::Sender::new(0));
        let (releases, counted) = (released.clone(), connections.clone());
        tasks.spawn(async move {
            let mut guests = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.send_modify(|count| *count += 1);
                let (told, script, mut releases) = (told.clone(), script.clone(), releases.subscribe());
                guests.spawn(async move {
                    let mut stream = BufReader::new(stream);
                    // The client may leave at any time.
                    while let Ok(true) = serve(&mut stream, &*script, &told, &mut releases).await {}
                });
            }
        });
        Self { url, asked, released, connections, _tasks: tasks }
    }

    /// Lets go of what is late at this moment.
    pub fn let_go(&self) {
        self.released.send_modify(|released| *released += 1);
    }

    /// Connections so far.
    pub fn connections(&self) -> u64 {
        *self.connections.borrow()
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn server(&self) -> Server {
        Server::http("s", &self.url)
    }

    /// What was asked so far, as `VERB method`.
    pub fn asked(&self) -> Vec<String> {
        self.asked.borrow().clone()
    }

    /// Waits until something was asked so often.
    pub async fn wait_for(&self, what: &str, times: usize) {
        let seen = |asked: &Vec<String>| asked.iter().filter(|known| *known == what).count() >= times;
        self.asked.subscribe().wait_for(seen).await.unwrap();
    }
}

/// Serves one request. Says whether the connection goes on.
async fn serve(
    stream: &mut BufReader<TcpStream>,
    script: &(dyn Fn(&Asked) -> Do + Send + Sync),
    told: &watch::Sender<Vec<String>>,
    releases: &mut watch::Receiver<u64>,
) -> std::io::Result<bool> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(false);
    }
    let mut words = line.split(' ').map(str::to_owned);
    let (verb, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 || line.trim().is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let mut asked = Asked { verb, path, headers, body: serde_json::Value::Null };
    let length = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    asked.body = serde_json::from_slice(&body).unwrap_or_default();
    told.send_modify(|told| told.push(format!("{} {}", asked.verb, asked.method()).trim().to_owned()));
    let released = *releases.borrow_and_update();
    match script(&asked) {
        Do::Late(bytes, later) => {
            stream.write_all(bytes.as_bytes()).await?;
            // A server that is gone lets go of nothing.
            let _ = releases.wait_for(|now| *now > released).await;
            stream.write_all(later.as_bytes()).await?;
            return Ok(true);
        }
        Do::Send(bytes) => stream.write_all(bytes.as_bytes()).await?,
        Do::Stay(bytes) => {
            stream.write_all(bytes.as_bytes()).await?;
            // Until the client leaves.
            stream.read_to_end(&mut Vec::new()).await?;
        }
        Do::Chatter(bytes) => {
            stream.write_all(bytes.as_bytes()).await?;
            loop {
                stream.write_all(b": keep-alive\n\n").await?;
                tokio::task::yield_now().await;
            }
        }
        Do::Flood(bytes, more) => {
            stream.write_all(bytes.as_bytes()).await?;
            loop {
                stream.write_all(&more).await?;
            }
        }
    }
    stream.shutdown().await?;
    // What the client still has to say is read, else the answer may be lost to a reset.
    stream.read_to_end(&mut Vec::new()).await?;
    Ok(false)
}

/// A whole answer with a status, headers and a body.
pub fn answer(status: &str, headers: &[&str], body: &str) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

/// A JSON answer.
pub fn json(body: &serde_json::Value) -> String {
    answer("200 OK", &["content-type: application/json"], &body.to_string())
}

/// The head of a stream of events, which ends with its connection.
pub const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

/// What a modern server with the tool `t` answers to everything but calls.
pub fn modern(asked: &Asked) -> Option<Do> {
    let id = &asked.body["id"];
    let result = match asked.method() {
        "server/discover" => {
            serde_json::json!({"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}})
        }
        "tools/list" => serde_json::json!({"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}),
        _ => return None,
    };
    Some(Do::Send(json(&serde_json::json!({"jsonrpc": "2.0", "id": id, "result": result}))))
}

/// What a legacy server with the tool `t` and the session `one` answers to everything but calls and streams.
pub fn legacy(asked: &Asked) -> Option<Do> {
    let id = &asked.body["id"];
    if asked.verb == "DELETE" {
        return Some(Do::Send(answer("204 No Content", &[], "")));
    }
    let result = match asked.method() {
        "server/discover" => return Some(Do::Send(answer("400 Bad Request", &[], ""))),
        "notifications/initialized" | "notifications/cancelled" => {
            return Some(Do::Send(answer("202 Accepted", &[], "")));
        }
        "initialize" => {
            let result = serde_json::json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                "serverInfo": {"name": "raw", "version": "1"}});
            let body = serde_json::json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
            let headers = ["content-type: application/json", "mcp-session-id: one"];
            return Some(Do::Send(answer("200 OK", &headers, &body)));
        }
        "tools/list" => serde_json::json!({"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}),
        _ => return None,
    };
    Some(Do::Send(json(&serde_json::json!({"jsonrpc": "2.0", "id": id, "result": result}))))
}
