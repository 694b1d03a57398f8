//! The client that the conformance suite of MCP plays against: `conformance URL`, with the scenario in the environment. It
//! exits with 0 when the scenario's calls went as a host would have them; the suite judges what went over the wire.

use std::process::ExitCode;
use std::time::Duration;

use mcp_troupe::{Call, ElicitResult, EraChoice, Readiness, Reply, Server, Troupe};
use serde_json::{Value, json};

type Failed = Box<dyn std::error::Error>;

/// The first version of the modern era. Versions are dates, so that they compare as texts.
const MODERN: &str = "2026-07-28";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Failed> {
    let url = std::env::args().nth(1).ok_or("usage: conformance URL, with MCP_CONFORMANCE_SCENARIO")?;
    let scenario = std::env::var("MCP_CONFORMANCE_SCENARIO")?;
    let era = match std::env::var("MCP_CONFORMANCE_PROTOCOL_VERSION") {
        Ok(version) if version.as_str() < MODERN => EraChoice::Legacy,
        Ok(_) => EraChoice::Modern,
        Err(_) => EraChoice::Auto,
    };
    // That server gives its answer to whichever stream is asked for next, and judges when its own is asked for again: the stream
    // of what it says unasked, which is asked for at the same time as the call is made, would take the answer now and then.
    let stream = scenario != "sse-retry";
    let troupe = Troupe::builder()
        .server(Server::http("server", url).era(era).stream(stream))
        .on_elicitation(|question| async move { Ok(ElicitResult::Accept(Some(question.defaults()))) })
        .start()
        .await?;
    troupe.ready_within(Readiness::All, Duration::from_secs(10)).await?;
    let played = play(&troupe, &scenario).await;
    troupe.shutdown().await;
    played
}

/// Does what a scenario asks of a client.
async fn play(troupe: &Troupe, scenario: &str) -> Result<(), Failed> {
    match scenario {
        // What these look at has happened by now: the handshake, and the list of the tools.
        "initialize" | "request-metadata" | "json-schema-ref-no-deref" => Ok(()),
        "tools_call" => told(call(troupe, "add_numbers", json!({"a": 5, "b": 3})).await?),
        "sse-retry" => told(call(troupe, "test_reconnection", json!({})).await?),
        "elicitation-sep1034-client-defaults" => {
            told(call(troupe, "test_client_elicitation_defaults", json!({})).await?)
        }
        "http-standard-headers" => {
            for tool in ["test_headers", "my-hyphenated-tool"] {
                told(call(troupe, tool, json!({})).await?)?;
            }
            Ok(())
        }
        "http-custom-headers" => {
            let context: Value = serde_json::from_str(&std::env::var("MCP_CONFORMANCE_CONTEXT")?)?;
            let calls = context["toolCalls"].as_array().ok_or("the context names no calls")?;
            for wanted in calls {
                let tool = wanted["name"].as_str().ok_or("a call names no tool")?;
                told(call(troupe, tool, wanted["arguments"].clone()).await?)?;
            }
            Ok(())
        }
        "http-invalid-tool-headers" => {
            // What is offered is called: a tool whose headers break the rules must not be offered.
            for tool in troupe.tools() {
                told(call(troupe, &tool.exposed, json!({"region": "us-west1"})).await?)?;
            }
            Ok(())
        }
        "json-schema-2020-12-preservation" => {
            let tools = troupe.tools();
            let focal = tools.iter().find(|tool| &*tool.name == "json_schema_2020_12_tool");
            let definition: Value = focal.ok_or("the tool is missing")?.definition.parse()?;
            let schema = json!({"schema": definition["inputSchema"]});
            told(call(troupe, "json_schema_echo", schema).await?)
        }
        "sep-2322-client-request-state" => {
            for tool in [
                "test_mrtr_echo_state",
                "test_mrtr_no_state",
                "test_mrtr_unrelated",
                "test_mrtr_no_result_type",
            ] {
                told(call(troupe, tool, json!({})).await?)?;
            }
            Ok(())
        }
        other => Err(format!("this client has nothing to play in {other}").into()),
    }
}

async fn call(troupe: &Troupe, tool: &str, args: Value) -> Result<Reply, Failed> {
    Ok(troupe.call(Call::tool(tool).args(args).timeout(Duration::from_secs(20))).await?)
}

fn told(reply: Reply) -> Result<(), Failed> {
    println!("{}: {}", reply.tool, reply.text()?);
    Ok(())
}
