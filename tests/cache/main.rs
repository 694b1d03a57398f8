//! The response cache, over real links: what is kept, for whom and how long, and that its death costs nothing but requests.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod clearing;
mod deaths;
mod declared;
mod flights;
mod keeping;
mod staleness;

use mcp_troupe::testkit::{Script, ScriptedBuilder, ScriptedServer};
use mcp_troupe::{Call, Readiness, Reply, Server, Troupe};
use serde_json::json;

/// A rule for the tool `read` that `write` clears.
const READ: &str = r#"{"tools":{"read":{"ttl":"60s","clearedBy":["write"]}}}"#;

/// A troupe with these cache settings, in JSON.
async fn start(cache: &str, servers: impl IntoIterator<Item = Server>) -> Troupe {
    let cache = serde_json::from_str(cache).unwrap();
    let troupe = common::start_with(|settings| settings.cache = cache, servers).await;
    troupe.ready(Readiness::All).await.unwrap();
    troupe
}

/// The same with one server in memory, for tests under paused time.
async fn in_memory(cache: &str, server: ScriptedBuilder) -> (ScriptedServer, Troupe) {
    let (server, connector) = server.start_in_memory();
    let mut settings = mcp_troupe::Settings::default();
    settings.cache = serde_json::from_str(cache).unwrap();
    let builder = Troupe::builder().settings(settings).seed(7);
    let troupe = builder.server_via(Server::custom("s"), connector).start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    (server, troupe)
}

/// A server whose `read` answers with 1, then 2, and so on, and whose `write` answers.
fn versions() -> ScriptedBuilder {
    let answers = (1..=20).map(|n| Script::Reply(format!(r#"{{"content":[],"structuredContent":{n}}}"#)));
    ScriptedServer::builder().tool("read", Script::Sequence(answers.collect())).tool("write", Script::Echo)
}

fn read() -> Call {
    Call::tool("read").args(json!({"path": "a"}))
}

/// Which version a read shows.
async fn version(troupe: &Troupe) -> u64 {
    shown(&troupe.call(read()).await.unwrap())
}

fn shown(reply: &Reply) -> u64 {
    reply.structured().unwrap()
}

/// Waits until so many calls wait for the request of another one.
async fn waiting(troupe: &Troupe, calls: u64) {
    while troupe.stats().await.cache.coalesced < calls {
        tokio::task::yield_now().await;
    }
}
