//! `mcp-troupe serve --stdio`, as a client starts it: lines on stdin and stdout.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

#[path = "../../../tests/common/mod.rs"]
mod common;

use std::path::PathBuf;
use std::process::Stdio;

use common::{child_path, program, servers_json};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};

/// A folder with a configuration file.
fn config(config: Value) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("servers.json");
    std::fs::write(&file, servers_json(config)).unwrap();
    (folder, file)
}

/// The program, and its client's side.
struct Served {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    _folder: TempDir,
}

impl Served {
    fn start(servers: Value, arguments: &[&str]) -> Self {
        let (folder, file) = config(servers);
        let mut command = program("mcp-troupe");
        command.args(["serve", "--stdio", "--config"]).arg(file).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdin, stdout, _folder: folder }
    }

    async fn tell(&mut self, mut message: Value) {
        message["jsonrpc"] = "2.0".into();
        let line = format!("{message}\n");
        self.stdin.as_mut().unwrap().write_all(line.as_bytes()).await.unwrap();
    }

    /// The next line, which is a message.
    async fn next(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).await.unwrap();
        let message: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(message["jsonrpc"], "2.0");
        message
    }

    async fn ask(&mut self, request: Value) -> Value {
        let id = request["id"].clone();
        self.tell(request).await;
        loop {
            let message = self.next().await;
            if message.get("id") == Some(&id) {
                return message;
            }
        }
    }

    async fn initialize(&mut self) -> Value {
        let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}});
        self.ask(json!({"id": 0, "method": "initialize", "params": params})).await["result"].clone()
    }

    /// Closes stdin. What is left on stdout, what was said on stderr, and the exit code.
    async fn end(mut self) -> (String, String, Option<i32>) {
        drop(self.stdin.take());
        let (mut left, mut said) = (String::new(), String::new());
        self.stdout.read_to_string(&mut left).await.unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
        (left, said, self.child.wait().await.unwrap().code())
    }
}

#[tokio::test]
async fn the_servers_of_a_file_are_one_server_on_stdin_and_stdout() {
    let servers = json!({"mcpServers": {
        "modern": {"command": child_path()},
        "legacy": {"command": child_path(), "args": ["--legacy", "--say", "a line on stderr"]},
        "gone": {"command": "no-such-program-anywhere"},
    }});
    let mut served = Served::start(servers, &[]);
    let result = served.initialize().await;
    assert_eq!(
        (&result["protocolVersion"], &result["serverInfo"]["name"]),
        (&json!("2025-06-18"), &json!("mcp-troupe"))
    );
    for server in ["modern", "legacy"] {
        let params = json!({"name": format!("{server}__echo"), "arguments": {"n": 1}});
        let answer = served.ask(json!({"id": "call", "method": "tools/call", "params": params})).await;
        assert_eq!(answer["result"]["structuredContent"], json!({"n": 1}), "{answer}");
    }
    let listed = served.ask(json!({"id": 1, "method": "tools/list"})).await;
    let names: Vec<&str> = listed["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"modern__echo") && names.contains(&"legacy__echo"), "{names:?}");
    // What is open when the client leaves is nobody's any more.
    served.tell(json!({"id": 2, "method": "tools/call", "params": {"name": "modern__hold"}})).await;
    let (left, _, code) = served.end().await;
    assert_eq!((&*left, code), ("", Some(0)));
}

#[tokio::test]
async fn a_profile_is_chosen_and_a_wrong_one_is_told() {
    let servers = json!({
        "mcpServers": {"s": {"command": child_path()}},
        "gateway": {"profiles": {"small": {"include": ["s/echo"]}}},
    });
    let mut served = Served::start(servers.clone(), &["--profile", "small"]);
    served.initialize().await;
    let answer = served.ask(json!({"id": 1, "method": "tools/call", "params": {"name": "s__echo"}})).await;
    assert!(answer["result"].is_object(), "{answer}");
    let answer = served.ask(json!({"id": 2, "method": "tools/call", "params": {"name": "s__steps"}})).await;
    assert_eq!(answer["error"]["code"], -32602);
    assert_eq!(served.end().await.2, Some(0));
    let (left, said, code) = Served::start(servers, &["--profile", "large"]).end().await;
    assert_eq!((&*left, code), ("", Some(2)));
    assert!(said.contains("there is no profile \"large\": gateway.profiles names small"), "{said}");
}

#[tokio::test]
async fn what_cannot_be_served_is_told_on_stderr_alone() {
    let no_servers = json!({"mcpServers": {}, "gateway": {"listen": ["127.0.0.1:1"]}});
    let (folder, file) = (tempfile::tempdir().unwrap(), "servers.json");
    std::fs::write(folder.path().join(file), no_servers.to_string()).unwrap();
    let run = async |arguments: &[&str], depth: Option<&str>| {
        let mut command = program("mcp-troupe");
        command.arg("serve").args(arguments).current_dir(folder.path());
        if let Some(depth) = depth {
            command.env("MCP_TROUPE_DEPTH", depth);
        }
        let output = command.output().await.unwrap();
        assert!(output.stdout.is_empty());
        (String::from_utf8(output.stderr).unwrap(), output.status.code())
    };
    let (said, code) = run(&["--stdio"], None).await;
    assert!(code == Some(2) && said.contains("gateway.listen: is not built yet"), "{said}");
    let (said, code) = run(&["--stdio", "--config", "-"], None).await;
    assert!(code == Some(2) && said.contains("--config FILE"), "{said}");
    let (said, code) = run(&[], None).await;
    assert!(code == Some(2) && said.contains("--stdio"), "{said}");
    let (said, code) = run(&["--stdio"], Some("4")).await;
    assert!(code == Some(2) && said.contains("starts mcp-troupe itself"), "{said}");
}

#[tokio::test]
async fn a_file_that_starts_the_gateway_itself_ends_after_some_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("servers.json");
    let itself = json!({"command": common::program_path("mcp-troupe"), "args": ["serve", "--stdio", "--config", file]});
    let servers = json!({"mcpServers": {"echo": {"command": child_path()}, "itself": itself}});
    std::fs::write(&file, servers.to_string()).unwrap();
    let mut command = program("mcp-troupe");
    command.args(["serve", "--stdio", "--config"]).arg(&file);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stdin = child.stdin.take();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let mut served = Served { child, stdin, stdout, _folder: folder };
    served.initialize().await;
    // The ones within serve as any other.
    let params = json!({"name": "itself__itself__echo__echo", "arguments": {"n": 1}});
    let answer = served.ask(json!({"id": 1, "method": "tools/call", "params": params})).await;
    assert_eq!(answer["result"]["structuredContent"], json!({"n": 1}), "{answer}");
    let (_, said, code) = served.end().await;
    assert_eq!(code, Some(0), "{said}");
}
