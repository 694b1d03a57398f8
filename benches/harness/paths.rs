//! The ways to make a call that benches compare, each over one WebSocket to an echo server.

use mcp_troupe::config::PoolSettings;
use mcp_troupe::{Call, EraChoice, Readiness, Server, Troupe};
use serde_json::Value;

use super::bare::BarePump;
use super::callers::Callee;
use super::sdk::SdkClient;

/// The tool that is called.
const TOOL: &str = "search";

/// Its arguments: with an id of five digits the whole request has 115 bytes.
const ARGUMENTS: &str = r#"{"q":"hello world","n":5}"#;

/// A way to make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// The bare pump.
    Bare,
    /// The whole troupe; the result stays as it came.
    Troupe,
    /// The same, and the host parses the whole result.
    Parsed,
    /// The official SDK, which parses every result into its types.
    Rmcp,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare pump",
            Self::Troupe => "troupe",
            Self::Parsed => "troupe, parsed",
            Self::Rmcp => "rmcp",
        }
    }
}

/// An open way.
#[derive(Clone)]
pub enum Path {
    Bare(BarePump),
    Troupe(Troupe),
    Parsed(Troupe),
    Rmcp(SdkClient),
}

impl Path {
    pub async fn open(kind: Kind, port: u16) -> Self {
        match kind {
            Kind::Bare => Self::Bare(BarePump::open(port).await),
            Kind::Troupe => Self::Troupe(troupe(port).await),
            Kind::Parsed => Self::Parsed(troupe(port).await),
            Kind::Rmcp => Self::Rmcp(SdkClient::open(port, ARGUMENTS).await),
        }
    }

    /// Ends it in order.
    pub async fn close(self) {
        match self {
            Self::Troupe(troupe) | Self::Parsed(troupe) => troupe.shutdown().await,
            Self::Bare(_) | Self::Rmcp(_) => {}
        }
    }
}

impl Callee for Path {
    /// Makes one call, waits for its answer, and looks whether there is a result in it.
    async fn call(&self, _: usize) {
        match self {
            Self::Bare(pump) => {
                let result = pump.call(TOOL, ARGUMENTS).await;
                assert!(result.starts_with(b"{"));
            }
            Self::Troupe(troupe) => {
                let reply = troupe.call(call()).await.expect("an answer");
                assert!(reply.result.as_bytes().starts_with(b"{"));
            }
            Self::Parsed(troupe) => {
                let reply = troupe.call(call()).await.expect("an answer");
                let result: Value = reply.result.parse().expect("JSON");
                assert!(result.is_object());
            }
            Self::Rmcp(client) => {
                let result = client.call(TOOL).await;
                assert!(!result.content.is_empty());
            }
        }
    }
}

fn call() -> Call {
    Call::tool(TOOL).raw_args(ARGUMENTS)
}

async fn troupe(port: u16) -> Troupe {
    let mut pool = PoolSettings::default();
    pool.max = 1;
    // The others send no `_meta` of the modern era, so the troupe speaks the one that needs none.
    let server =
        Server::websocket("echo", format!("ws://127.0.0.1:{port}/")).pool(pool).era(EraChoice::Legacy);
    let troupe = Troupe::builder().server(server).start().await.expect("started");
    troupe.ready(Readiness::All).await.expect("ready");
    troupe
}
