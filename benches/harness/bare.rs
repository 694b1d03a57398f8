//! The bare pump: a bounded queue, a table of ids, feed and one flush. No actors, no deadlines, no supervision: what a call
//! costs at least.
//!
//! The arguments of each call are known from the start, and a result is a slice of its frame, as the troupe's are.

use std::collections::HashMap;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::websocket::connect;

/// Calls that wait for the pump.
const QUEUE_MAX: usize = 1024;

/// Calls that are written before a flush.
const BATCH_MAX: usize = 256;

/// One call on its way to the pump.
struct Request {
    tool: &'static str,
    arguments: &'static str,
    reply: oneshot::Sender<Bytes>,
}

#[derive(Deserialize)]
struct Response<'a> {
    id: u64,
    #[serde(borrow)]
    result: &'a RawValue,
}

/// A handle of the pump; it ends with the last of them.
#[derive(Clone)]
pub struct BarePump(mpsc::Sender<Request>);

impl BarePump {
    pub async fn open(port: u16) -> Self {
        let (queue, requests) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(pump(connect(port).await, requests));
        Self(queue)
    }

    /// Makes one call. Returns its result as JSON.
    pub async fn call(&self, tool: &'static str, arguments: &'static str) -> Bytes {
        let (reply, result) = oneshot::channel();
        let sent = self.0.send(Request { tool, arguments, reply }).await;
        assert!(sent.is_ok(), "the pump runs");
        result.await.expect("an answer")
    }
}

async fn pump(mut socket: WebSocketStream<TcpStream>, mut requests: mpsc::Receiver<Request>) {
    let mut pending: HashMap<u64, oneshot::Sender<Bytes>> = HashMap::new();
    let mut next = 0u64;
    let mut batch = Vec::with_capacity(BATCH_MAX);
    loop {
        tokio::select! { biased;
            message = socket.next() => {
                let Some(Ok(message)) = message else { return };
                complete(&mut pending, message);
                while let Some(Some(Ok(message))) = socket.next().now_or_never() {
                    complete(&mut pending, message);
                }
            }
            taken = requests.recv_many(&mut batch, BATCH_MAX) => {
                if taken == 0 {
                    return;
                }
                for Request { tool, arguments, reply } in batch.drain(..) {
                    next += 1;
                    pending.insert(next, reply);
                    let text = format!(
                        r#"{{"jsonrpc":"2.0","id":{next},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
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

fn complete(pending: &mut HashMap<u64, oneshot::Sender<Bytes>>, message: Message) {
    let Message::Text(text) = message else { return };
    let Ok(Response { id, result }) = serde_json::from_str(&text) else { return };
    let start = result.get().as_ptr() as usize - text.as_ptr() as usize;
    let range = start..start + result.get().len();
    if let Some(reply) = pending.remove(&id) {
        let _ = reply.send(Bytes::from(text).slice(range));
    }
}
