//! Servers that others wrote, in one `servers.json`, from a shell. A test whose server is not there says so and is skipped.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

#[path = "../../../tests/common/mod.rs"]
mod common;
// The tests of the library use the rest of it.
#[allow(dead_code)]
#[path = "../../../tests/interop/servers.rs"]
mod servers;

use std::process::Output;
use std::time::Duration;

use common::{program, servers_json};
use mcp_troupe::testkit::{Script, ScriptedServer};
use serde_json::{Value, json};

/// How long a server may take to start. An interpreter on a busy machine takes seconds.
#[allow(dead_code)]
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_unchanged_file_of_one_stdio_one_http_and_one_websocket_server_is_taken() {
    let Some(npm) = servers::npm() else { return };
    let everything = npm.everything_over_http().await;
    let socket = ScriptedServer::builder().tool("socket_echo", Script::Echo).start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = json!({"mcpServers": {
        "files": npm.filesystem(folder.path()).json(),
        "everything": {"type": "http", "url": everything.url()},
        "socket": {"url": socket.url()},
    }});
    let path = folder.path().join("servers.json");
    std::fs::write(&path, servers_json(file)).unwrap();
    let run = async |arguments: &[&str]| -> Output {
        let (command, rest) = arguments.split_first().unwrap();
        program("mcp-troupe").arg(command).arg("--config").arg(&path).args(rest).output().await.unwrap()
    };

    let listed = run(&["tools", "--wait", "60s"]).await;
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let tools: Vec<Value> = serde_json::from_slice(&listed.stdout).unwrap();
    for exposed in ["files__list_directory", "everything__echo", "socket__socket_echo"] {
        assert!(tools.iter().any(|tool| tool["exposed"] == exposed), "{exposed}");
    }

    for (tool, arguments, answer) in [
        ("list_directory", json!({"path": folder.path()}), "[FILE] servers.json"),
        ("everything/echo", json!({"message": "hello"}), "Echo: hello"),
        ("socket__socket_echo", json!({"n": 1}), r#"{"n":1}"#),
    ] {
        let output = run(&["call", tool, &arguments.to_string()]).await;
        assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(shown.contains(answer), "{tool}: {shown}");
    }

    let unknown = run(&["call", "list_directori"]).await;
    assert_eq!(unknown.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&unknown.stderr).unwrap();
    assert_eq!(
        (told["error"].as_str(), told["near"][0].as_str()),
        (Some("unknown-tool"), Some("list_directory"))
    );
}
