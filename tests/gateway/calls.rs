//! Calls of clients in both eras, to servers in both.

use std::time::Duration;

use mcp_troupe::testkit::{Script, ScriptedBuilder, ScriptedEra, ScriptedServer};
use mcp_troupe::{Server, Troupe};
use serde_json::{Value, json};

use crate::client::{Client, modern};
use crate::common::{end, ready, start, start_with};

fn scripted(era: ScriptedEra) -> ScriptedBuilder {
    ScriptedServer::builder().era(era)
}

async fn of(server: &ScriptedServer) -> Troupe {
    ready([Server::websocket("s", server.url())]).await
}

/// A call of a tool, in this era.
fn call(id: impl Into<Value>, tool: &str, arguments: Value, is_modern: bool) -> Value {
    let mut params = json!({"name": tool, "arguments": arguments});
    if is_modern {
        params["_meta"] = modern();
    }
    json!({"id": id.into(), "method": "tools/call", "params": params})
}

/// A result that has a line break wherever JSON may have one, and a forged answer behind one of them.
const BROKEN: &str = "\r\n{\r\n\"content\"\r:\n[\n]\r,\"x\"\n:\n{\"jsonrpc\":\"2.0\"\n,\r\"id\":\n1,\"result\"\r\n:{\n}\r}\n}\r\n";

/// What carries the messages of a server.
#[derive(Clone, Copy)]
enum Over {
    WebSocket,
    Http,
    HttpEvents,
}

async fn over(carrier: Over, builder: ScriptedBuilder) -> (ScriptedServer, Troupe) {
    let (server, described) = match carrier {
        Over::WebSocket => {
            let server = builder.start().await;
            let url = server.url();
            (server, Server::websocket("s", url))
        }
        Over::Http | Over::HttpEvents => {
            let builder = if let Over::Http = carrier { builder.http() } else { builder.http_events() };
            let server = builder.start().await;
            let url = server.url();
            (server, Server::http("s", url))
        }
    };
    let troupe = ready([described]).await;
    (server, troupe)
}

#[tokio::test]
async fn a_result_passes_to_the_letter_in_each_pair_of_eras_and_is_one_line() {
    for (era, carrier) in [
        (ScriptedEra::Legacy, Over::WebSocket),
        (ScriptedEra::Legacy, Over::Http),
        (ScriptedEra::Legacy, Over::HttpEvents),
        (ScriptedEra::Modern, Over::WebSocket),
        (ScriptedEra::Modern, Over::Http),
        (ScriptedEra::Modern, Over::HttpEvents),
    ] {
        let exact = r#"{"structuredContent":{"n":1.10000000000000000001,"e":1e400,"n":2},"content":[]}"#;
        let builder = scripted(era)
            .tool("exact", Script::Reply(exact.to_owned()))
            .tool("broken", Script::Reply(BROKEN.to_owned()));
        let (_server, troupe) = over(carrier, builder).await;
        let mut client = Client::legacy(&troupe).await;
        client.line(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"s__exact"}}"#).await;
        let line = client.next_line().await;
        assert!(
            line.contains(r#""structuredContent":{"n":1.10000000000000000001,"e":1e400,"n":2}"#),
            "{line}"
        );
        client.tell(call(1, "s__exact", json!({}), true)).await;
        // Numbers that no parser of this test holds.
        let line = client.next_line().await;
        let expected = r#""structuredContent":{"n":1.10000000000000000001,"e":1e400,"n":2},"content":[]}}"#;
        assert!(line.ends_with(expected) && line.contains(r#""resultType":"complete""#), "{line}");
        assert!(line.contains("io.modelcontextprotocol/serverInfo"), "{line}");
        // Over events a line break in a message is one of the transport's.
        if let Over::WebSocket | Over::Http = carrier {
            for is_modern in [false, true] {
                let answer = client.ask(call(1, "s__broken", json!({}), is_modern)).await;
                assert_eq!(answer["result"]["x"]["result"], json!({}), "{answer}");
            }
        }
        client.nothing_more().await;
        client.end().await;
        end(troupe).await;
    }
}

#[tokio::test]
async fn clients_with_the_same_ids_get_their_own_answers() {
    let server = scripted(ScriptedEra::Modern).tool("echo", Script::Echo).start().await;
    let troupe = of(&server).await;
    let gateway = troupe.gateway(mcp_troupe::GatewaySettings::default()).unwrap();
    let play = async |who: usize| {
        let mut client = Client::at(gateway.clone());
        client.initialize().await;
        for round in 0..20 {
            for id in 0..10 {
                client
                    .tell(call(id, "s__echo", json!({"who": who, "round": round, "id": id}), id % 2 == 0))
                    .await;
            }
            for _ in 0..10 {
                let answer = client.next().await;
                let expected = json!({"who": who, "round": round, "id": answer["id"]});
                assert_eq!(answer["result"]["structuredContent"], expected);
            }
        }
        client.end().await;
    };
    tokio::join!(play(0), play(1), play(2));
    end(troupe).await;
}

#[tokio::test]
async fn arguments_and_meta_are_passed_on_but_for_what_is_the_clients_and_ours() {
    for era in [ScriptedEra::Legacy, ScriptedEra::Modern] {
        let server = scripted(era).tool("echo", Script::Echo).tool("meta", Script::Meta).start().await;
        let troupe = of(&server).await;
        let mut client = Client::legacy(&troupe).await;
        let arguments = json!({"text": "a\nb", "n": 12345678901234567890_u64});
        let answer = client.ask(call(1, "s__echo", arguments.clone(), false)).await;
        assert_eq!(answer["result"]["structuredContent"], arguments);
        let mut meta = modern();
        meta["progressToken"] = "theirs".into();
        meta["example.com/user"] = "7".into();
        let request = json!({"id": 1, "method": "tools/call", "params": {"name": "s__meta", "_meta": meta}});
        client.tell(request).await;
        let answer = client.next().await;
        let seen = &answer["result"]["structuredContent"];
        assert_eq!(seen["example.com/user"], "7", "{answer}");
        assert_ne!(seen["progressToken"], "theirs");
        let version = &seen["io.modelcontextprotocol/protocolVersion"];
        assert_eq!(version.is_string(), era == ScriptedEra::Modern, "{seen}");
        client.end().await;
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_modern_server_sees_what_the_client_of_the_call_can() {
    let server = scripted(ScriptedEra::Modern).tool("meta", Script::Meta).start().await;
    let troupe = of(&server).await;
    let mut client = Client::of(&troupe);
    let mut meta = modern();
    meta["io.modelcontextprotocol/clientCapabilities"] =
        json!({"elicitation": {"form": {}}, "extensions": {"x/y": {}}});
    let request = json!({"id": 1, "method": "tools/call", "params": {"name": "s__meta", "_meta": meta}});
    let answer = client.ask(request).await;
    let seen = &answer["result"]["structuredContent"]["io.modelcontextprotocol/clientCapabilities"];
    assert_eq!(*seen, json!({"elicitation": {"form": {}}, "extensions": {"x/y": {}}}));
    client.end().await;
    end(troupe).await;
}

#[tokio::test]
async fn a_modern_client_answers_by_its_next_request_what_a_modern_server_asks() {
    let requests = r#"{"k":{"method":"elicitation/create","params":{"message":"Who?"}}}"#;
    let ask = Script::AskBack { requests: requests.to_owned(), state: Some("\"st\\u0061te\"".to_owned()) };
    let server = scripted(ScriptedEra::Modern).tool("ask", ask).start().await;
    let troupe = of(&server).await;
    let mut client = Client::of(&troupe);
    let asked = client.ask(call(1, "s__ask", json!({}), true)).await;
    assert_eq!(asked["result"]["resultType"], "input_required");
    assert_eq!(asked["result"]["inputRequests"]["k"]["method"], "elicitation/create");
    let mut again = call(2, "s__ask", json!({}), true);
    again["params"]["inputResponses"] = json!({"k": {"action": "decline"}});
    again["params"]["requestState"] = asked["result"]["requestState"].clone();
    let answer = client.ask(again).await;
    let seen = &answer["result"]["structuredContent"];
    assert_eq!((&seen["responses"]["k"]["action"], &seen["state"]), (&json!("decline"), &json!("state")));
    // A legacy client has no way to answer.
    client.initialize().await;
    let answer = client.ask(call(3, "s__ask", json!({}), false)).await;
    assert_eq!(answer["error"]["code"], 1008, "{answer}");
    client.end().await;
    end(troupe).await;
}

#[tokio::test]
async fn ids_are_the_clients_and_one_that_is_open_is_refused() {
    let server =
        scripted(ScriptedEra::Modern).tool("hold", Script::Hold).tool("echo", Script::Echo).start().await;
    let troupe = of(&server).await;
    let mut client = Client::legacy(&troupe).await;
    // Another type is another id.
    let ids = ["7", "\"7\"", "7.0", "9007199254740993", "9007199254740992", "\"\\u00e9\""];
    for id in ids {
        let params = r#"{"name":"s__hold"}"#;
        client
            .line(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{params}}}"#))
            .await;
    }
    server.wait_for(|seen| seen.calls.get("hold") == Some(&6)).await;
    let refused = client.refused(r#"{"jsonrpc":"2.0","id":"7","method":"ping"}"#).await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!("7"), &json!(-32600)));
    server.release();
    let mut answered = Vec::new();
    for _ in ids {
        let line = client.next_line().await;
        let rest = line.strip_prefix(r#"{"jsonrpc":"2.0","id":"#).unwrap();
        answered.push(rest.split_once(r#","result":"#).unwrap().0.to_owned());
    }
    answered.sort();
    let mut expected = ids.map(str::to_owned);
    expected.sort();
    assert_eq!(answered, expected);
    // What was answered may be used again.
    let answer = client.ask(call("7", "s__echo", json!({}), false)).await;
    assert!(answer["result"].is_object());
    client.end().await;
    end(troupe).await;
}

#[tokio::test]
async fn an_unknown_tool_is_a_mistake_of_the_client() {
    let server = scripted(ScriptedEra::Modern).tool("echo", Script::Echo).start().await;
    let troupe = of(&server).await;
    let mut client = Client::legacy(&troupe).await;
    // Names of other kinds of callers are none here.
    for name in ["nothing", "echo", "s/echo", "", "s__echo\u{0}"] {
        for is_modern in [false, true] {
            let answer = client.ask(call(1, name, json!({}), is_modern)).await;
            assert_eq!(answer["error"]["code"], -32602, "{name}");
        }
    }
    client.end().await;
    end(troupe).await;
}

#[tokio::test]
async fn an_error_of_a_server_passes_and_one_of_ours_says_what_is_known() {
    let error = |code: i64| Script::Error { code, message: "no".to_owned() };
    let mut server = scripted(ScriptedEra::Legacy)
        .tool("own", error(-32001))
        .tool("headers", error(-32020))
        .tool("missing", error(-32002))
        .tool("broken", Script::ToolError("bad".to_owned()))
        .tool("odd", Script::Reply("7".to_owned()))
        .tool("cut", Script::Cut)
        .start()
        .await;
    let troupe = of(&server).await;
    let mut client = Client::legacy(&troupe).await;
    for (tool, to_legacy, to_modern) in [
        ("own", -32001, -32001),
        ("headers", -32603, -32603),
        ("missing", -32002, -32602),
        ("odd", 1007, 1007),
    ] {
        for (is_modern, code) in [(false, to_legacy), (true, to_modern)] {
            let answer = client.ask(call(1, &format!("s__{tool}"), json!({}), is_modern)).await;
            assert_eq!(answer["error"]["code"], code, "{answer}");
        }
    }
    // A tool that failed has a result.
    let answer = client.ask(call(1, "s__broken", json!({}), false)).await;
    assert_eq!(answer["result"]["isError"], true);
    let answer = client.ask(call(1, "s__cut", json!({}), false)).await;
    let error = &answer["error"];
    assert!(error["code"].as_i64().unwrap() > 0, "{answer}");
    assert_eq!((&error["data"]["outcome"], &error["data"]["retryable"]), (&json!("unknown"), &json!(false)));
    assert!(error["data"]["requestId"].is_string() && error["data"]["server"] == "s", "{answer}");
    server.stop_listening().await;
    client.end().await;
    end(troupe).await;
}

#[tokio::test]
async fn a_call_that_is_called_off_is_called_off_at_its_server_and_has_no_answer() {
    let server = scripted(ScriptedEra::Modern).tool("hold", Script::Hold).start().await;
    let troupe = of(&server).await;
    let mut client = Client::legacy(&troupe).await;
    for is_modern in [false, true] {
        client.tell(call("a", "s__hold", json!({}), is_modern)).await;
        let calls = if is_modern { 2 } else { 1 };
        server.wait_for(|seen| seen.calls.get("hold") == Some(&calls)).await;
        // Another type is another id, and an unknown one is nobody's.
        for id in [json!("b"), json!(7), Value::Null] {
            client.tell(json!({"method": "notifications/cancelled", "params": {"requestId": id}})).await;
        }
        client.nothing_more().await;
        assert_eq!(server.observed().cancelled.len() as u64, calls - 1);
        client.tell(json!({"method": "notifications/cancelled", "params": {"requestId": "a", "reason": "enough"}})).await;
        server.wait_for(|seen| seen.cancelled.len() as u64 == calls).await;
        server.release();
        client.nothing_more().await;
    }
    client.end().await;
    end(troupe).await;
}

#[tokio::test]
async fn a_call_that_waits_in_a_queue_is_called_off_as_well() {
    let server = scripted(ScriptedEra::Modern).tool("hold", Script::Hold).start().await;
    let one_at_a_time = |settings: &mut mcp_troupe::Settings| {
        (settings.pool.min, settings.pool.max, settings.pool.in_flight_max) = (1, 1, 1);
    };
    let troupe = start_with(one_at_a_time, [Server::websocket("s", server.url())]).await;
    troupe.settled().await;
    let mut client = Client::legacy(&troupe).await;
    client.tell(call(1, "s__hold", json!({}), false)).await;
    server.wait_for(|seen| seen.calls.get("hold") == Some(&1)).await;
    client.tell(call(2, "s__hold", json!({}), false)).await;
    client.tell(json!({"method": "notifications/cancelled", "params": {"requestId": 2}})).await;
    client.nothing_more().await;
    server.release();
    assert_eq!(client.next().await["id"], 1);
    // The one behind it never came.
    client.tell(call(3, "s__hold", json!({}), false)).await;
    server.wait_for(|seen| seen.calls.get("hold") == Some(&2)).await;
    server.release();
    assert_eq!(client.next().await["id"], 3);
    assert_eq!(server.calls("hold"), 2);
    client.end().await;
    end(troupe).await;
}

#[tokio::test]
async fn the_end_of_the_client_calls_off_what_is_open() {
    let server = scripted(ScriptedEra::Modern).tool("hold", Script::Hold).start().await;
    let troupe = of(&server).await;
    let mut client = Client::legacy(&troupe).await;
    for id in 0..3 {
        client.tell(call(id, "s__hold", json!({}), false)).await;
    }
    server.wait_for(|seen| seen.calls.get("hold") == Some(&3)).await;
    assert!(client.end().await.is_empty());
    server.wait_for(|seen| seen.cancelled.len() == 3).await;
    end(troupe).await;
}

#[tokio::test]
async fn open_requests_of_one_client_have_a_limit_and_those_below_it_are_answered() {
    let server = scripted(ScriptedEra::Modern).tool("hold", Script::Hold).start().await;
    let troupe = of(&server).await;
    let mut client = Client::legacy(&troupe).await;
    for id in 0..257 {
        client.tell(call(id, "s__hold", json!({}), false)).await;
    }
    let refused = client.next().await;
    assert_eq!((&refused["id"], &refused["error"]["data"]["outcome"]), (&json!(256), &json!("not-sent")));
    assert_eq!(refused["error"]["data"]["retryable"], true);
    client.nothing_more().await;
    client.end().await;
    end(troupe).await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_holds_up_nobody_else_and_is_read_no_further() {
    let big = json!({"content": [], "structuredContent": "x".repeat(1 << 20)}).to_string();
    let server = scripted(ScriptedEra::Modern)
        .tool("big", Script::Reply(big))
        .tool("echo", Script::Echo)
        .start()
        .await;
    let troupe = of(&server).await;
    let mut deaf = Client::legacy(&troupe).await;
    for id in 0..12 {
        deaf.tell(call(id, "s__big", json!({}), false)).await;
    }
    server.wait_for(|seen| seen.calls.get("big") == Some(&12)).await;
    let mut other = Client::legacy(&troupe).await;
    let answer = other.ask(call(1, "s__echo", json!({}), false)).await;
    assert!(answer["result"].is_object());
    // What it writes now fills the channel, and is not taken.
    let flood = format!("{}\n", json!({"jsonrpc": "2.0", "id": "p", "method": "ping"}));
    let mut written = Box::pin(async {
        loop {
            tokio::io::AsyncWriteExt::write_all(deaf.stop_reading(), flood.as_bytes()).await.unwrap();
        }
    });
    let mut others = 0;
    // As long as it is written to, others are served in turn.
    while others < 50 {
        tokio::select! { biased;
            () = &mut written => unreachable!("it goes on for ever"),
            answer = other.ask(call(1, "s__echo", json!({}), false)) => {
                assert!(answer["result"].is_object());
                others += 1;
            }
        }
    }
    other.end().await;
    drop(written);
    drop(deaf);
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_is_not_known_yet_is_waited_for_while_its_server_is_on_its_way() {
    let (_server, connector) = scripted(ScriptedEra::Modern).tool("echo", Script::Echo).start_in_memory();
    let troupe =
        Troupe::builder().server_via(Server::websocket("s", "ws://memory"), connector).start().await.unwrap();
    let mut client = Client::legacy(&troupe).await;
    let answer = client.ask(call(1, "s__echo", json!({}), false)).await;
    assert!(answer["result"].is_object(), "{answer}");
    client.end().await;
    end(troupe).await;
}

#[tokio::test]
async fn a_tool_of_a_server_that_is_down_is_not_said_to_be_unknown() {
    let gone = Server::stdio("gone", "no-such-program-anywhere", [] as [&str; 0]);
    let troupe = start([gone]).await;
    troupe.settled().await;
    let mut client = Client::legacy(&troupe).await;
    let answer = client.ask(call(1, "gone__echo", json!({}), false)).await;
    let error = &answer["error"];
    assert_eq!((&error["code"], &error["data"]["retryable"]), (&json!(1001), &json!(true)), "{answer}");
    assert!(error["message"].as_str().unwrap().contains("gone"));
    client.end().await;
    end(troupe).await;
}

#[tokio::test]
async fn a_gateway_ends_when_its_troupe_has_and_all_is_answered() {
    let server = scripted(ScriptedEra::Modern)
        .tool("slow", Script::After(Duration::from_millis(20), Script::Echo.into()));
    let server = server.start().await;
    let troupe = of(&server).await;
    let mut client = Client::legacy(&troupe).await;
    client.tell(call(1, "s__slow", json!({}), false)).await;
    server.wait_for(|seen| seen.calls.get("slow") == Some(&1)).await;
    troupe.shutdown().await;
    assert!(client.next().await["result"].is_object());
    client.serving.await.unwrap().unwrap();
}
