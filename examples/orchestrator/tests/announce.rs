//! A server that `announce` writes into a real etcd.
#![cfg(feature = "etcd")]
// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

#[path = "../../../tests/common/mod.rs"]
mod common;
// The tests of the library use the rest of both.
#[allow(dead_code)]
#[path = "../../../tests/discovery/directory.rs"]
mod directory;
#[allow(dead_code)]
#[path = "../../../tests/discovery/etcd_member.rs"]
mod etcd_member;

use std::process::Command;
use std::time::Duration;

use common::{end, program, servers_json};
use directory::until;
use etcd_member::{Etcd, PREFIX};
use mcp_troupe::discovery::Source;
use mcp_troupe::testkit::ScriptedServer;
use mcp_troupe::{ConfigFile, Readiness, Troupe};
use serde_json::json;
use tempfile::TempDir;

/// The program that announces a server, with a configuration file that names the directory.
fn announcer(etcd: &Etcd, folder: &TempDir, server: &ScriptedServer) -> tokio::process::Command {
    let config = folder.path().join("servers.json");
    let source = json!({"type": "etcd", "endpoints": [etcd.url()], "prefix": PREFIX});
    std::fs::write(&config, servers_json(json!({"mcpServers": {}, "discovery": [source]}))).unwrap();
    let record = json!({"url": server.url(), "group": "echo"}).to_string();
    let mut command = program("mcp-troupe");
    command.arg("announce").arg("--config").arg(config).args(["--ttl", "3s", "a", &record]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    command
}

/// Waits until etcd names these servers and no others.
async fn names(etcd: &Etcd, servers: &[&str]) {
    until("what etcd names", || async {
        let answer = etcd.source().watch().next().await.unwrap();
        answer.servers.iter().map(|found| found.server.id()).eq(servers.iter().copied())
    })
    .await;
}

#[tokio::test]
async fn an_announced_server_is_found_kept_up_made_again_and_withdrawn_at_the_end() {
    let Some(mut etcd) = Etcd::start("an_announced_server_is_found").await else { return };
    let (server, folder) = (ScriptedServer::builder().start().await, tempfile::tempdir().unwrap());
    let announcer = announcer(&etcd, &folder, &server).spawn().unwrap();
    names(&etcd, &["a"]).await;
    let file = std::fs::read_to_string(folder.path().join("servers.json")).unwrap();
    let troupe = Troupe::builder().config(ConfigFile::parse(&file).unwrap()).start().await.unwrap();
    troupe.ready(Readiness::Named(vec!["a".into()])).await.unwrap();
    // Longer than the time to live without a beat.
    tokio::time::sleep(Duration::from_secs(4)).await;
    names(&etcd, &["a"]).await;
    // An etcd that lost its data is told again.
    etcd.wipe();
    etcd.run().await;
    names(&etcd, &["a"]).await;
    let pid = announcer.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let output = announcer.wait_with_output().await.unwrap();
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.starts_with("a is announced\n") && said.ends_with("a is withdrawn\n"), "{said}");
    names(&etcd, &[]).await;
    end(troupe).await;
}

#[tokio::test]
async fn an_announcer_that_is_killed_is_withdrawn_after_its_time_to_live() {
    let Some(etcd) = Etcd::start("an_announcer_that_is_killed").await else { return };
    let (server, folder) = (ScriptedServer::builder().start().await, tempfile::tempdir().unwrap());
    let mut announcer = announcer(&etcd, &folder, &server).spawn().unwrap();
    names(&etcd, &["a"]).await;
    announcer.kill().await.unwrap();
    names(&etcd, &[]).await;
}
