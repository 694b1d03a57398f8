//! Servers that are started by the first call, from a shell.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

#[path = "../../../tests/common/mod.rs"]
mod common;

use common::{child_path, program, servers_json};
use serde_json::json;

#[tokio::test]
async fn what_is_started_on_demand_is_listed_and_called() {
    let folder = tempfile::tempdir().unwrap();
    let starts = || std::fs::read_to_string(folder.path().join("starts")).unwrap_or_default().lines().count();
    let (child, count) = (child_path(), format!("s={}", folder.path().join("starts").display()));
    let config = |lists: bool| {
        let mut troupe = json!({"start": "on-demand"});
        if lists {
            troupe["knownLists"] = json!(folder.path().join("cache/known-lists.json"));
        }
        let server = json!({"command": child, "args": ["--count", count]});
        servers_json(json!({"mcpServers": {"s": server}, "troupe": troupe}))
    };
    let file = folder.path().join("servers.json");
    let run = async |arguments: &[&str]| {
        let (command, rest) = arguments.split_first().unwrap();
        let mut command_line = program("mcp-troupe");
        command_line.arg(command).arg("--config").arg(&file).args(rest);
        let output = command_line.output().await.unwrap();
        let (stdout, stderr) = (output.stdout, output.stderr);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(stderr));
        (text(stdout), text(stderr))
    };
    std::fs::write(&file, config(false)).unwrap();
    for _ in 0..2 {
        assert!(run(&["tools", "--strict"]).await.0.contains(r#""confirmed": true"#));
    }
    assert_eq!(starts(), 2, "what no file keeps is listed anew by each run");
    run(&["call", "echo", r#"{"n":1}"#]).await;
    assert_eq!(starts(), 3);
    std::fs::write(&file, config(true)).unwrap();
    run(&["tools", "--strict"]).await;
    assert_eq!(starts(), 4);
    let (tools, said) = run(&["tools", "--strict"]).await;
    assert!(tools.contains(r#""confirmed": false"#) && !said.contains("s is"), "{tools} {said}");
    assert_eq!(starts(), 4, "its tools are known");
    run(&["call", "echo", r#"{"n":1}"#]).await;
    assert_eq!(starts(), 5);
    assert!(run(&["watch", "--once"]).await.0.contains("1: 0 ready, 1 idle, 0 not"));
    assert_eq!(starts(), 5);
    // Pins are of what servers list now.
    assert!(run(&["pin"]).await.0.contains("echo"));
    assert_eq!(starts(), 6);
}
