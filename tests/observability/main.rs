//! What hosts see of a troupe at work: spans, metrics, gathered events, and traces that go on at the servers.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod gathered;
mod metrics;
mod spans;
mod traces;

use std::ops::Deref;

use mcp_troupe::testkit::{Script, ScriptedServer};
use mcp_troupe::{Readiness, Server, Settings, Troupe};
use tokio::sync::{Semaphore, SemaphorePermit};

/// `tracing` remembers for the whole process whether anybody listens to a place in the code. It works that out when the place is
/// first met, and notes the place as one to ask again a moment later: a test that begins to listen in that moment on another
/// thread is forgotten, and sees nothing. So one test plays at a time.
static ONE: Semaphore = Semaphore::const_new(1);

/// Waits until no other test plays.
async fn alone() -> SemaphorePermit<'static> {
    ONE.acquire().await.unwrap()
}

/// The server of a test that plays alone.
struct Alone {
    server: ScriptedServer,
    _permit: SemaphorePermit<'static>,
}

impl Deref for Alone {
    type Target = ScriptedServer;

    fn deref(&self) -> &ScriptedServer {
        &self.server
    }
}

/// A troupe over a link in memory, whose server is `s` of the group `group`.
async fn in_memory(
    tools: impl IntoIterator<Item = (&'static str, Script)>,
    change: impl FnOnce(&mut Settings),
) -> (Alone, Troupe) {
    let permit = alone().await;
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
    (Alone { server, _permit: permit }, troupe)
}
