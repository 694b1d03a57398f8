//! Servers that others wrote, as they ship. A test whose server is not there says so and is skipped.
//!
//! | server | on | over | era | where |
//! | --- | --- | --- | --- | --- |
//! | server-everything | TypeScript SDK | stdio | legacy | `stdio`, `asking`, `together` |
//! | | | Streamable HTTP | legacy | `http`, `asking`, `together` |
//! | server-filesystem | TypeScript SDK | stdio | legacy | `stdio`, `together` |
//! | mcp-server-time | Python SDK 2 | stdio, Streamable HTTP | both | `stdio`, `http`, `together` |
//! | an older mcp-server-time | Python SDK 1 | stdio, WebSocket | legacy | `stdio`, `websocket`, `together` |
//!
//! The official Rust SDK is met in `examples/tests`, over Streamable HTTP, stdio and WebSocket.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod asking;
#[path = "../common/mod.rs"]
mod common;
mod http;
mod servers;
mod stdio;
mod together;
mod websocket;

use std::time::Duration;

use mcp_troupe::{Call, CallUpdate, Readiness, Reply, ReplyError, Server, Troupe};
use serde_json::{Value, json};

/// How long a server may take to start. An interpreter on a busy machine takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// A troupe of these servers, all of them ready.
async fn ready(servers: impl IntoIterator<Item = Server>) -> Troupe {
    let troupe =
        common::start_with(|settings| settings.pool.handshake_timeout = Some(PATIENCE), servers).await;
    troupe.ready_within(Readiness::All, PATIENCE).await.unwrap();
    troupe
}

async fn call(troupe: &Troupe, tool: &str, args: Value) -> Reply {
    troupe.call(Call::tool(tool).args(args)).await.unwrap()
}

/// What server-everything must answer.
async fn everything_holds(troupe: &Troupe, group: &str) {
    let echo = call(troupe, &format!("{group}/echo"), json!({"message": "gr\u{fc}n \u{1f33f}\n"})).await;
    assert_eq!(echo.text().unwrap(), "Echo: gr\u{fc}n \u{1f33f}\n");
    let sum = call(troupe, &format!("{group}/get-sum"), json!({"a": 2, "b": 3.5})).await;
    assert_eq!(sum.text().unwrap(), "The sum of 2 and 3.5 is 5.5.");
    let weather =
        call(troupe, &format!("{group}/get-structured-content"), json!({"location": "Chicago"})).await;
    let expected = json!({"temperature": 36, "conditions": "Light rain / drizzle", "humidity": 82});
    assert_eq!(weather.structured::<Value>().unwrap(), expected);
    let invalid = call(troupe, &format!("{group}/get-sum"), json!({"a": "two"})).await;
    assert!(refused(&invalid).contains("-32602"), "{}", invalid.result);
}

/// The progress of server-everything's long operation.
async fn long_operation_holds(troupe: &Troupe) {
    let long = Call::tool("trigger-long-running-operation").args(json!({"duration": 1, "steps": 4}));
    let mut stream = troupe.call_stream(long);
    let mut told = Vec::new();
    let answer = loop {
        match stream.next().await.unwrap() {
            CallUpdate::Progress(progress) => told.push((progress.progress, progress.total)),
            CallUpdate::Answer(answer) => break answer.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(told, [1.0, 2.0, 3.0, 4.0].map(|step| (step, Some(4.0))));
    assert!(answer.text().unwrap().contains("completed"), "{}", answer.result);
}

/// The difference between two time zones, which the time server must know. It tells it as JSON in a text.
async fn time_holds(troupe: &Troupe, group: &str) -> Reply {
    let args = json!({"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"});
    let converted = call(troupe, &format!("{group}/convert_time"), args).await;
    let told: Value = serde_json::from_str(&converted.text().unwrap()).unwrap();
    assert_eq!(told["time_difference"], "+9.0h");
    let now = call(troupe, &format!("{group}/get_current_time"), json!({"timezone": "Europe/Warsaw"})).await;
    let now: Value = serde_json::from_str(&now.text().unwrap()).unwrap();
    assert_eq!(now["timezone"], "Europe/Warsaw");
    let nowhere = call(troupe, &format!("{group}/get_current_time"), json!({"timezone": "Nowhere"})).await;
    assert!(refused(&nowhere).contains("Nowhere"), "{}", nowhere.result);
    converted
}

/// What a tool says that reports an error of its own.
fn refused(reply: &Reply) -> String {
    let Err(ReplyError::Tool(said)) = reply.text() else { panic!("{} is no error", reply.result) };
    said
}

/// Whether a result was given in the modern era, whose results say what they are.
fn is_modern(reply: &Reply) -> bool {
    reply.raw::<Value>().unwrap()["resultType"] == "complete"
}
