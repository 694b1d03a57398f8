//! Servers that are discovered: what a source's answers do to a troupe under load, and the sources themselves against the real
//! directories.
//!
//! | what | where |
//! | --- | --- |
//! | answers, failures, doubts and claims, with a source that the test dictates | `rules` |
//! | kills of the actors that discover | `actors` |
//! | files and folders of them | `files` |
//! | changes at random under load | `churn` |
//! | a test without its program | `skipping` |
//! | DNS, Consul and etcd, where their features are on and the programs installed | `dns`, `consul`, `etcd` |

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod actors;
#[cfg(feature = "etcd")]
mod churn;
#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "consul")]
mod consul;
#[cfg(any(feature = "consul", feature = "dns", feature = "etcd"))]
mod directory;
#[cfg(feature = "dns")]
mod dns;
#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "etcd")]
mod etcd_member;
mod files;
mod rules;
#[cfg(feature = "dns")]
mod skipping;

use std::time::Duration;

use mcp_troupe::config::DiscoverySettings;
use mcp_troupe::event::SourceStatus;
use mcp_troupe::stats::SourceStats;
use mcp_troupe::testkit::{Script, ScriptedServer, ScriptedSource};
use mcp_troupe::{Server, Settings, Troupe};

/// A server with the tools `echo` and `hold`.
async fn scripted() -> ScriptedServer {
    ScriptedServer::builder().tool("echo", Script::Echo).tool("hold", Script::Hold).start().await
}

/// Its description, one of a group.
fn replica(id: &str, server: &ScriptedServer) -> Server {
    Server::websocket(id, server.url()).group("echo")
}

/// Settings under which nothing but the rule that a test is about takes time.
fn prompt() -> Settings {
    let mut settings = Settings::default();
    settings.strategy = "round-robin".to_owned();
    settings.discovery = DiscoverySettings::default();
    settings.discovery.empty_answers = 2;
    settings.discovery.empty_after = Duration::ZERO;
    settings.discovery.backoff.min = Duration::from_millis(20);
    settings.discovery.backoff.max = Duration::from_millis(20);
    settings
}

/// A troupe whose servers one scripted source names.
async fn discovering(source: &ScriptedSource) -> Troupe {
    Troupe::builder().settings(prompt()).seed(7).source("directory", source.clone()).start().await.unwrap()
}

/// The ids of the servers that play and do not leave.
fn playing(troupe: &Troupe) -> Vec<String> {
    let servers = troupe.servers().into_iter();
    let staying = servers.filter(|info| info.status != mcp_troupe::event::ServerStatus::Draining);
    staying.map(|info| info.id.to_string()).collect()
}

/// Waits until exactly these servers play.
async fn plays(troupe: &Troupe, servers: &[&str]) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while playing(troupe) != servers {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "{:?} play, not {servers:?}", playing(troupe));
}

/// What is known of the first source.
async fn source(troupe: &Troupe) -> SourceStats {
    troupe.stats().await.sources.into_iter().next().expect("there is a source")
}

/// Waits until the first source stands like this.
async fn stands(troupe: &Troupe, status: SourceStatus) -> SourceStats {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            let source = source(troupe).await;
            if source.status == status {
                return source;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    match waited.await {
        Ok(source) => source,
        Err(_) => panic!("the source is not {status}: {:?}", source(troupe).await),
    }
}
