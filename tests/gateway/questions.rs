//! What servers ask of the client.

use mcp_troupe::testkit::{Script, ScriptedBuilder, ScriptedEra, ScriptedServer};
use mcp_troupe::{ClientChannel, GatewaySettings, Readiness, Server, Troupe};
use serde_json::{Value, json};
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};

use crate::client::{Client, modern};
use crate::common::end;

const FORM: &str = r#"{"message":"Who?","requestedSchema":{"type":"object","properties":{}}}"#;

fn ask(method: &str, params: &str) -> Script {
    Script::Ask { method: method.to_owned(), params: params.to_owned() }
}

/// A client that begins with this line, the channel to it, and a troupe whose servers may ask it.
async fn asking(
    begin: Value,
    server: &ScriptedServer,
) -> (Client, ClientChannel<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>, Troupe) {
    let (mut client, theirs) = Client::unserved();
    client.tell(begin).await;
    let (read, write) = tokio::io::split(theirs);
    let channel = ClientChannel::open(read, write).await;
    let builder = Troupe::builder().server(Server::websocket("s", server.url())).seed(7);
    let troupe = channel.asked_by(builder).start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    (client, channel, troupe)
}

fn initialize(capabilities: Value) -> Value {
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": capabilities});
    json!({"id": "init", "method": "initialize", "params": params})
}

fn call(tool: &str) -> Value {
    json!({"id": "call", "method": "tools/call", "params": {"name": format!("s__{tool}")}})
}

fn server(era: ScriptedEra) -> ScriptedBuilder {
    ScriptedServer::builder().era(era)
}

#[tokio::test]
async fn a_legacy_client_answers_what_servers_of_either_era_ask() {
    let back = Script::AskBack {
        requests: format!(r#"{{"k":{{"method":"elicitation/create","params":{FORM}}}}}"#),
        state: Some("\"s\"".to_owned()),
    };
    for (era, script) in [(ScriptedEra::Legacy, ask("elicitation/create", FORM)), (ScriptedEra::Modern, back)]
    {
        let server = server(era).tool("ask", script).start().await;
        let (mut client, channel, troupe) = asking(initialize(json!({"elicitation": {}})), &server).await;
        client.serve_channel(troupe.gateway(GatewaySettings::default()).unwrap(), channel);
        assert_eq!(client.next().await["id"], "init");
        // Before it has taken that answer it is asked nothing.
        client.tell(call("ask")).await;
        server.wait_for(|seen| seen.calls.get("ask") == Some(&1)).await;
        client.nothing_more().await;
        client.tell(json!({"method": "notifications/initialized"})).await;
        let asked = client.next().await;
        assert_eq!(
            (&asked["method"], &asked["params"]["message"]),
            (&json!("elicitation/create"), &json!("s: Who?"))
        );
        // Another one's answer is nobody's.
        client.tell(json!({"id": "no such id", "result": {}})).await;
        client.tell(json!({"id": asked["id"], "result": {"action": "accept", "content": {"n": 1}}})).await;
        let answer = client.next().await;
        assert_eq!(answer["id"], "call");
        assert!(answer.to_string().contains(r#""action":"accept""#), "{answer}");
        // Nor is a second one.
        client.tell(json!({"id": asked["id"], "result": {"action": "decline"}})).await;
        client.nothing_more().await;
        client.end().await;
        end(troupe).await;
    }
}

#[tokio::test]
async fn sampling_and_roots_pass_as_well_and_an_error_of_the_client_is_told_to_the_server() {
    let server = server(ScriptedEra::Legacy)
        .tool("sample", ask("sampling/createMessage", r#"{"messages":[],"message":"x"}"#))
        .tool("roots", ask("roots/list", "{}"))
        .tool("form", ask("elicitation/create", FORM))
        .start()
        .await;
    let (mut client, channel, troupe) =
        asking(initialize(json!({"sampling": {}, "roots": {}})), &server).await;
    client.serve_channel(troupe.gateway(GatewaySettings::default()).unwrap(), channel);
    client.next().await;
    client.tell(json!({"method": "notifications/initialized"})).await;
    client.tell(call("sample")).await;
    let asked = client.next().await;
    assert_eq!(
        (&asked["method"], &asked["params"]["message"]),
        (&json!("sampling/createMessage"), &json!("x"))
    );
    client.tell(json!({"id": asked["id"], "error": {"code": -1, "message": "no model"}})).await;
    let answer = client.next().await;
    assert!(answer.to_string().contains("no model"), "{answer}");
    client.tell(call("roots")).await;
    let asked = client.next().await;
    assert_eq!(asked["method"], "roots/list");
    client.tell(json!({"id": asked["id"], "result": {"roots": [{"uri": "file:///home"}]}})).await;
    assert!(client.next().await.to_string().contains("file:///home"));
    // What the client has not declared it is not asked.
    let answer = client.ask(call("form")).await;
    assert!(answer.to_string().contains("-32601"), "{answer}");
    let declared = server.observed().declared.unwrap();
    assert_eq!(declared, json!({"sampling": {}, "roots": {}}));
    client.end().await;
    end(troupe).await;
}

#[tokio::test]
async fn what_a_server_takes_back_is_taken_back_from_the_client() {
    let take_back =
        Script::AskAndTakeBack { method: "elicitation/create".to_owned(), params: FORM.to_owned() };
    let server = server(ScriptedEra::Legacy)
        .tool("back", take_back)
        .tool("ask", ask("elicitation/create", FORM))
        .start()
        .await;
    let (mut client, channel, troupe) =
        asking(initialize(json!({"elicitation": {"form": {}}})), &server).await;
    client.serve_channel(troupe.gateway(GatewaySettings::default()).unwrap(), channel);
    client.next().await;
    client.tell(json!({"method": "notifications/initialized"})).await;
    client.tell(call("back")).await;
    // It may be taken back before it was passed on.
    let mut open = Vec::new();
    loop {
        let told = client.next().await;
        match told["method"].as_str() {
            Some("elicitation/create") => open.push(told["id"].clone()),
            Some("notifications/cancelled") => open.retain(|id| *id != told["params"]["requestId"]),
            _ => {
                assert_eq!(told["id"], "call");
                break;
            }
        }
    }
    client.nothing_more().await;
    assert!(open.is_empty() || client.next().await["method"] == "notifications/cancelled");
    // The end of the client is an answer.
    client.tell(call("ask")).await;
    assert_eq!(client.next().await["method"], "elicitation/create");
    client.end().await;
    server
        .wait_for(|seen| !seen.answers.is_empty() || seen.connections == 0 || !seen.cancelled.is_empty())
        .await;
    end(troupe).await;
}

#[tokio::test]
async fn a_client_that_begins_otherwise_is_asked_nothing() {
    let server = server(ScriptedEra::Legacy).tool("ask", ask("elicitation/create", FORM)).start().await;
    let begin = json!({"id": "first", "method": "server/discover", "params": {"_meta": modern()}});
    let (mut client, channel, troupe) = asking(begin, &server).await;
    client.serve_channel(troupe.gateway(GatewaySettings::default()).unwrap(), channel);
    assert_eq!(client.next().await["id"], "first");
    let mut request = call("ask");
    request["params"]["_meta"] = modern();
    let answer = client.ask(request).await;
    assert!(answer.to_string().contains("-32601"), "{answer}");
    client.end().await;
    end(troupe).await;
}

#[tokio::test]
async fn a_channel_that_ends_before_its_first_message_is_served_to_its_end() {
    let server = server(ScriptedEra::Legacy).start().await;
    let (client, theirs) = Client::unserved();
    drop(client);
    let (read, write) = tokio::io::split(theirs);
    let channel = ClientChannel::open(read, write).await;
    let builder = Troupe::builder().server(Server::websocket("s", server.url()));
    let troupe = channel.asked_by(builder).start().await.unwrap();
    troupe.gateway(GatewaySettings::default()).unwrap().serve_channel(channel).await.unwrap();
    end(troupe).await;
}
