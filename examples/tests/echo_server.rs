//! The server for load tests, as a program.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

#[path = "../../tests/common/mod.rs"]
mod common;

use std::process::Stdio;

use common::{end, program, ready};
use mcp_troupe::{Call, Server};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

/// A server on a free port, and its address.
async fn start(arguments: &[&str]) -> (Child, String) {
    let mut server =
        program("echo_server").args(["--port", "0"]).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(server.stdout.take().unwrap()).lines();
    let url = said.next_line().await.unwrap().expect("it tells its address");
    (server, url)
}

#[tokio::test]
async fn every_result_has_the_size_that_was_asked_for() {
    for bytes in [128, 200, 201, 65_536] {
        let (_server, url) = start(&["--result-bytes", &bytes.to_string()]).await;
        let troupe = ready([Server::websocket("echo", url)]).await;
        let reply = troupe.call(Call::tool("search")).await.unwrap();
        assert_eq!(reply.result.len(), bytes);
        let rows: Value = reply.structured().unwrap();
        let told: Value = serde_json::from_str(&reply.text().unwrap()).unwrap();
        assert_eq!(rows, told, "the rows stand there twice");
        end(troupe).await;
    }
}

#[tokio::test]
async fn each_path_is_a_server_with_tools_of_its_own() {
    let (_server, url) = start(&["--tools", "2"]).await;
    let servers = ["", "a", "b"].map(|name| Server::websocket(format!("s{name}"), format!("{url}/{name}")));
    let troupe = ready(servers).await;
    let mut names: Vec<String> = troupe.tools().iter().map(|tool| tool.name.to_string()).collect();
    names.sort();
    assert_eq!(
        json!(names),
        json!(["a.search", "a.search-1", "b.search", "b.search-1", "search", "search-1"])
    );
    assert_eq!(troupe.call(Call::tool("b.search-1")).await.unwrap().server, "sb");
    end(troupe).await;
}

#[tokio::test]
async fn an_impossible_option_is_a_clear_error() {
    for (option, value) in [("--result-bytes", "1"), ("--result-bytes", "16777216"), ("--tools", "0")] {
        let output = program("echo_server").args([option, value]).output().await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{option} {value}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(option));
    }
}
