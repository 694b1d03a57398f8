//! Servers of every kind in one `servers.json`, as a troupe and from a shell.

use std::process::Output;

use mcp_troupe::testkit::{Script, ScriptedServer};
use mcp_troupe::{Call, CallErrorKind, ConfigFile, Readiness, Troupe};
use serde_json::{Value, json};

use super::common::{end, example, kind, servers_json};
use super::{PATIENCE, call, everything_holds, servers, time_holds};

#[tokio::test]
async fn all_of_them_are_one_tool_set() {
    let (Some(npm), Some(python_1), Some(python_2)) =
        (servers::npm(), servers::python_1(), servers::python_2())
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), "alpha").unwrap();
    let (everything, time, older) =
        tokio::join!(npm.everything_over_http(), python_2.time_over_http(), python_1.time_over_websocket());
    let file = json!({
        "mcpServers": {
            "everything-stdio": npm.everything("together").json(),
            "everything-http": {"type": "streamable-http", "url": everything.url()},
            "files": npm.filesystem(folder.path()).json(),
            "time-stdio": python_2.time().json(),
            "time-http": {"url": time.url()},
            "older-time-stdio": python_1.time().json(),
            "older-time-websocket": {"url": format!("ws://127.0.0.1:{}", older.port)},
        },
        "troupe": {"pool": {"handshakeTimeout": "60s"}},
    });
    let file = ConfigFile::parse(&servers_json(file)).unwrap();
    let troupe = Troupe::builder().config(file).start().await.unwrap();
    troupe.ready_within(Readiness::All, PATIENCE).await.unwrap();
    everything_holds(&troupe, "everything-stdio").await;
    everything_holds(&troupe, "everything-http").await;
    for group in ["time-stdio", "time-http", "older-time-stdio", "older-time-websocket"] {
        time_holds(&troupe, group).await;
    }
    let list = call(&troupe, "list_directory", json!({"path": folder.path()})).await;
    assert_eq!(list.text().unwrap(), "[FILE] a.txt");
    let CallErrorKind::AmbiguousTool { candidates } = kind(troupe.call(Call::tool("echo")).await) else {
        panic!()
    };
    assert_eq!(candidates, ["everything-http/echo", "everything-stdio/echo"]);
    end(troupe).await;
}

#[tokio::test]
async fn the_orchestrator_takes_an_unchanged_file_of_one_stdio_one_http_and_one_websocket_server() {
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
        example("orchestrator").arg(command).arg("--config").arg(&path).args(rest).output().await.unwrap()
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
