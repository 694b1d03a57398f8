//! A server on the official SDK, over Streamable HTTP.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

#[path = "../../tests/common/mod.rs"]
mod common;

use std::sync::Arc;

use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use mcp_troupe::{Call, EraChoice, Event, Server};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ListToolsResult, PaginatedRequestParams,
    ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use common::{end, event, ready};

/// Answers with its arguments.
#[derive(Clone)]
struct Echo;

impl ServerHandler for Echo {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema =
            json!({"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}});
        let schema = schema.as_object().cloned().unwrap();
        Ok(ListToolsResult::with_all_items(vec![Tool::new("echo", "Echoes", schema)]))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        Ok(CallToolResult::structured(Value::Object(request.arguments.unwrap_or_default())).into())
    }
}

/// The server. Dropping it ends it.
struct Sdk {
    url: String,
    sessions: Arc<LocalSessionManager>,
    _tasks: JoinSet<()>,
}

impl Sdk {
    async fn start(change: impl FnOnce(StreamableHttpServerConfig) -> StreamableHttpServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let sessions = Arc::new(LocalSessionManager::default());
        let config = change(StreamableHttpServerConfig::default());
        let service = StreamableHttpService::new(|| Ok(Echo), sessions.clone(), config);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut guests = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // A stream of small events should not wait for acknowledgements.
                stream.set_nodelay(true).unwrap();
                let service = TowerToHyperService::new(service.clone());
                guests.spawn(async move {
                    let http1 = hyper::server::conn::http1::Builder::new();
                    // How a connection ends is its client's business.
                    let _ = http1.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { url, sessions, _tasks: tasks }
    }
}

#[tokio::test]
async fn the_official_sdk_is_served_in_both_eras_by_json_and_by_events() {
    for json_response in [false, true] {
        let sdk = Sdk::start(|config| config.with_json_response(json_response)).await;
        let troupe = ready([
            Server::http("auto", &sdk.url).group("auto"),
            Server::http("modern", &sdk.url).era(EraChoice::Modern),
            Server::http("legacy", &sdk.url).era(EraChoice::Legacy),
        ])
        .await;
        for server in ["auto", "modern", "legacy"] {
            for n in 0..20 {
                let args = json!({"region": " gr\u{fc}n ", "n": n});
                let call = Call::tool(format!("{server}/echo")).args(&args);
                let reply = troupe.call(call).await.unwrap();
                assert_eq!(reply.structured::<Value>().unwrap(), args, "{server}");
            }
        }
        assert_eq!(sdk.sessions.sessions.read().await.len(), 1, "the legacy session");
        end(troupe).await;
        assert_eq!(sdk.sessions.sessions.read().await.len(), 0, "it was ended");
    }
}

#[tokio::test]
async fn a_session_that_the_official_sdk_forgot_is_begun_anew() {
    let sdk = Sdk::start(|config| config).await;
    let troupe = ready([Server::http("s", &sdk.url).era(EraChoice::Legacy)]).await;
    let mut events = troupe.events();
    sdk.sessions.sessions.write().await.clear();
    let mut calls = JoinSet::new();
    (0..20).for_each(|n| drop(calls.spawn(troupe.call(Call::tool("echo").args(json!({"n": n}))))));
    assert!(calls.join_all().await.iter().all(Result::is_ok));
    event(&mut events, |event| matches!(event, Event::ConnectionLost { .. })).await;
    assert_eq!(sdk.sessions.sessions.read().await.len(), 1);
    end(troupe).await;
}
