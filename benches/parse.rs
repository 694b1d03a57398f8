//! What it costs to read an answer: the envelope alone, as the troupe does, beside the whole value (serde_json) and the
//! official SDK's types.
//!
//! `cargo bench -p mcp-troupe-benches --bench parse`

mod harness;

use std::hint::black_box;
use std::process::ExitCode;

use bytes::Bytes;
use harness::echo;
use harness::pure::{Timed, Turn, alternate};
use harness::report::{Cell, Report, Table};
use mcp_troupe::testkit::bench::read;
use rmcp::RoleClient;
use rmcp::service::RxJsonRpcMessage;
use serde_json::Value;

/// Sizes of results.
const SIZES: [(&str, usize); 4] =
    [("200 B", 200), ("4 KiB", 4 << 10), ("64 KiB", 64 << 10), ("1 MiB", 1 << 20)];

/// Tools of the list.
const TOOLS: usize = 100;

fn main() -> ExitCode {
    let mut messages: Vec<(String, String)> = Vec::new();
    for (size, bytes) in SIZES {
        messages.push((format!("rows, {size}"), echo::result(bytes)));
        messages.push((format!("text, {size}"), text(bytes)));
    }
    messages.push((format!("{TOOLS} tools"), tools()));

    let columns = ["result", "bytes", "envelope ns", "envelope GB/s", "Value / envelope", "rmcp / envelope"];
    let mut table = Table::new("an answer, by what is read of it", &columns);
    for (name, result) in messages {
        let frame = Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":12345,"result":{result}}}"#));
        let [envelope, value, rmcp] = ways(&frame);
        let nanoseconds = envelope.nanoseconds();
        table.row(vec![
            name.into(),
            frame.len().into(),
            Cell::Spread(nanoseconds, 0),
            Cell::Number(frame.len() as f64 / nanoseconds.median, 2),
            Cell::Spread(value.over(&envelope), 1),
            Cell::Spread(rmcp.over(&envelope), 1),
        ]);
    }
    let mut report = Report::new("parse");
    report.table(table);
    report.note(
        "Rows stand in the result twice, as structured content and as text, as the specification asks.",
    );
    report.finish()
}

fn ways(frame: &Bytes) -> [Timed; 3] {
    assert!(read(frame.clone()) > 0, "it is an answer");
    let envelope: Turn<'_> = Box::new(|| {
        black_box(read(black_box(frame).clone()));
    });
    let value: Turn<'_> =
        Box::new(|| drop(black_box(serde_json::from_slice::<Value>(black_box(frame)).expect("JSON"))));
    let rmcp: Turn<'_> = Box::new(|| {
        let message = serde_json::from_slice::<RxJsonRpcMessage<RoleClient>>(black_box(frame));
        drop(black_box(message.expect("a message")));
    });
    let timed = alternate(vec![envelope, value, rmcp]);
    timed.try_into().unwrap_or_else(|_| unreachable!("three ways, three times"))
}

/// A result that is one text, of exactly so many bytes.
fn text(bytes: usize) -> String {
    let render = |text: &str| format!(r#"{{"content":[{{"type":"text","text":"{text}"}}],"isError":false}}"#);
    render(&"x".repeat(bytes - render("").len()))
}

/// A list of tools.
fn tools() -> String {
    let tools = (0..TOOLS).map(|n| {
        format!(
            r#"{{"name":"tool-{n}","description":"Does a certain thing, number {n}.","inputSchema":{{"type":"object","properties":{{"path":{{"type":"string","description":"Where."}},"limit":{{"type":"integer"}}}},"required":["path"]}}}}"#
        )
    });
    format!(r#"{{"tools":[{}]}}"#, tools.collect::<Vec<_>>().join(","))
}
