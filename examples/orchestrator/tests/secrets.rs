//! What is secret in a configuration is in nothing that the commands print or log.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

#[path = "../../../tests/common/mod.rs"]
mod common;
// The tests of the library use the rest of it.
#[allow(dead_code)]
#[path = "../../../tests/secrets/places.rs"]
mod places;

use common::program;
use mcp_troupe::testkit::{Script, ScriptedServer};
use places::{drawn, leak, right};
use serde_json::Value;

#[tokio::test]
async fn no_command_shows_a_secret_of_its_configuration() {
    let live = [
        ScriptedServer::builder().tool("echo", Script::Echo).start().await,
        ScriptedServer::builder().http().tool("echo", Script::Echo).start().await,
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("servers.json");
    let run = async |command: &[&str], value: &Value| {
        std::fs::write(&path, value.to_string()).unwrap();
        let mut command_line = program("mcp-troupe");
        // With all that is logged, by the crates below as well.
        command_line.env("RUST_LOG", "trace").args(command).arg("--config").arg(&path);
        let output = command_line.output().await.unwrap();
        let told = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        told.concat()
    };
    let right = right(&live).await;
    let picture = run(&["watch", "--wait", "2s", "--width=200", "--once"], &right).await;
    assert!(picture.contains("gone-http") && picture.contains("/api/…"), "{picture}");
    assert_eq!(leak(&picture), None);
    // A bare name starts all servers; the crates below WebSocket trace nothing.
    for (tool, timeout, least) in [
        ("echo", "1s", "TRACE"),
        ("gone-http/echo", "1s", "INFO"),
        ("websocket/echo", "5s", "INFO"),
        ("gone/echo", "1s", "INFO"),
    ] {
        let told = run(&["call", tool, "--timeout", timeout], &right).await;
        assert!(told.contains(least), "{told}");
        assert_eq!(leak(&told), None);
    }
    for value in drawn(12) {
        let told = run(&["check"], &value).await;
        assert_eq!(leak(&told), None, "{value}");
    }
}
