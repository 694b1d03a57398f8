//! Servers of every kind in one `servers.json`, as a troupe.

use mcp_troupe::{Call, CallErrorKind, ConfigFile, Readiness, Troupe};
use serde_json::json;

use super::common::{end, kind, servers_json};
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
