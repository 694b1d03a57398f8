//! What hosts see of a troupe at work: spans, metrics, gathered events, and traces that go on at the servers.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod gathered;
mod metrics;
mod spans;
mod traces;

use mcp_troupe::testkit::{Script, ScriptedServer};
use mcp_troupe::{Readiness, Server, Settings, Troupe};

/// A troupe over a link in memory, whose server is `s` of the group `group`.
async fn in_memory(
    tools: impl IntoIterator<Item = (&'static str, Script)>,
    change: impl FnOnce(&mut Settings),
) -> (ScriptedServer, Troupe) {
    let builder = tools
        .into_iter()
        .fold(ScriptedServer::builder(), |builder, (name, script)| builder.tool(name, script));
    let (server, connector) = builder.start_in_memory();
    let mut settings = Settings::default();
    change(&mut settings);
    let server_s = Server::custom("s").group("group");
    let troupe = Troupe::builder().settings(settings).server_via(server_s, connector).seed(7).start().await;
    let troupe = troupe.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    (server, troupe)
}
