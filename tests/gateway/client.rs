//! A client that writes and reads lines.

use mcp_troupe::{ClientChannel, Gateway, GatewaySettings, ServeError, Troupe};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tokio::task::JoinHandle;

/// What a channel holds of either side.
const PIPE_BYTES: usize = 64 << 10;

/// A client of a gateway, and the task that serves it.
pub struct Client {
    write: Option<WriteHalf<DuplexStream>>,
    read: BufReader<ReadHalf<DuplexStream>>,
    pub serving: JoinHandle<Result<(), ServeError>>,
}

impl Client {
    /// A client of this troupe.
    pub fn of(troupe: &Troupe) -> Self {
        Self::with(troupe, GatewaySettings::default())
    }

    /// The same with other settings.
    pub fn with(troupe: &Troupe, settings: GatewaySettings) -> Self {
        Self::at(troupe.gateway(settings).unwrap())
    }

    /// A client of this gateway.
    pub fn at(gateway: Gateway) -> Self {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let (read, write) = tokio::io::split(theirs);
        let serving = tokio::spawn(async move { gateway.serve(read, write).await });
        let (read, write) = tokio::io::split(ours);
        Self { write: Some(write), read: BufReader::new(read), serving }
    }

    /// A client that nobody serves yet, and the other side of its channel.
    pub fn unserved() -> (Self, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let (read, write) = tokio::io::split(ours);
        let serving = tokio::spawn(async { Ok(()) });
        (Self { write: Some(write), read: BufReader::new(read), serving }, theirs)
    }

    /// Has it served on the channel that it has.
    pub fn serve_channel(
        &mut self,
        gateway: Gateway,
        channel: ClientChannel<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>,
    ) {
        self.serving = tokio::spawn(async move { gateway.serve_channel(channel).await });
    }

    /// A client that has begun a legacy session.
    pub async fn legacy(troupe: &Troupe) -> Self {
        let mut client = Self::of(troupe);
        client.initialize().await;
        client
    }

    /// Begins a legacy session. Returns the result.
    pub async fn initialize(&mut self) -> Value {
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let answer = self.ask(json!({"id": "init", "method": "initialize", "params": params})).await;
        self.tell(json!({"method": "notifications/initialized"})).await;
        answer["result"].clone()
    }

    /// Writes these bytes.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.write.as_mut().unwrap().write_all(bytes.as_ref()).await.unwrap();
    }

    /// Writes a line.
    pub async fn line(&mut self, line: &str) {
        self.write(format!("{line}\n")).await;
    }

    /// Sends a message.
    pub async fn tell(&mut self, mut message: Value) {
        message["jsonrpc"] = "2.0".into();
        self.line(&message.to_string()).await;
    }

    /// The next line, to the letter.
    pub async fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.read.read_line(&mut line).await.unwrap();
        assert!(line.ends_with('\n'), "the gateway ended: {line:?}");
        line.pop();
        line
    }

    /// The next message.
    pub async fn next(&mut self) -> Value {
        serde_json::from_str(&self.next_line().await).unwrap()
    }

    /// Sends a request; the next message is its answer.
    pub async fn ask(&mut self, request: Value) -> Value {
        let id = request["id"].clone();
        self.tell(request).await;
        let answer = self.next().await;
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    /// The error of the request on this line.
    pub async fn refused(&mut self, line: &str) -> Value {
        self.line(line).await;
        self.next().await
    }

    /// Makes sure that nothing comes before the answer to a request that is answered at once.
    pub async fn nothing_more(&mut self) {
        let answer = self.ask(json!({"id": "nothing more", "method": "ping"})).await;
        assert_eq!(answer["result"], json!({}));
    }

    /// Closes its side and reads what is left.
    pub async fn end(mut self) -> Vec<String> {
        self.write.take().unwrap().shutdown().await.unwrap();
        let mut left = Vec::new();
        let mut line = String::new();
        while self.read.read_line(&mut line).await.unwrap() > 0 {
            left.push(std::mem::take(&mut line));
        }
        self.serving.await.unwrap().unwrap();
        left
    }

    /// Closes nothing and reads nothing any more.
    pub fn stop_reading(&mut self) -> &mut WriteHalf<DuplexStream> {
        self.write.as_mut().unwrap()
    }
}

/// The `_meta` of a modern request.
pub fn modern() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
    })
}
