//! The official SDK as the client: its Sink/Stream transport over the same kind of WebSocket, one message per text frame.
//!
//! It writes each message with a flush of its own and reads each result into its types, as it does for everybody.

use futures_util::{SinkExt, StreamExt};
use rmcp::model::{CallToolRequestParams, CallToolResult, JsonObject};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::{Peer, RoleClient, ServiceExt};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::websocket::connect;

/// A client of the SDK's. It ends when the server closes its connection, or the runtime ends.
#[derive(Clone)]
pub struct SdkClient {
    peer: Peer<RoleClient>,
    arguments: JsonObject,
}

impl SdkClient {
    /// Connects and shakes hands. Its calls will have these arguments, a JSON object.
    pub async fn open(port: u16, arguments: &str) -> Self {
        let (sink, stream) = connect(port).await.split();
        let sink = sink.with(|message: TxJsonRpcMessage<RoleClient>| {
            let text = serde_json::to_string(&message).expect("the SDK's messages are JSON");
            std::future::ready(Ok::<_, WsError>(Message::text(text)))
        });
        let stream = stream.filter_map(|received| std::future::ready(received.ok().and_then(read)));
        let running = ().serve((sink, Box::pin(stream))).await.expect("a handshake");
        let peer = running.peer().clone();
        // It serves until the connection ends.
        tokio::spawn(running.waiting());
        let arguments = serde_json::from_str(arguments).expect("the arguments are an object");
        Self { peer, arguments }
    }

    /// Makes one call.
    pub async fn call(&self, tool: &'static str) -> CallToolResult {
        let params = CallToolRequestParams::new(tool).with_arguments(self.arguments.clone());
        self.peer.call_tool(params).await.expect("an answer")
    }
}

/// Reads a message into the SDK's types.
fn read(message: Message) -> Option<RxJsonRpcMessage<RoleClient>> {
    let Message::Text(text) = message else { return None };
    serde_json::from_str(&text).ok()
}
