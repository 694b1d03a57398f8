//! Calls to servers that behave.

use std::time::Duration;

use mcp_troupe::testkit::{Script, ScriptedBuilder, ScriptedEra, ScriptedServer};
use mcp_troupe::{Call, CallErrorKind, EraChoice, Readiness, Server, Settings, Troupe};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::common::{echo, end, kind, ready, start};

/// A server with some tools, as the builder says for the rest.
pub async fn scripted(builder: ScriptedBuilder) -> ScriptedServer {
    builder
        .tool("echo", Script::Echo)
        .tool("hold", Script::Hold)
        .tool("silent", Script::Silence)
        .start()
        .await
}

/// A troupe of one server, which is ready.
pub async fn one(server: &ScriptedServer) -> Troupe {
    ready([Server::http("s", server.url())]).await
}

fn builder() -> ScriptedBuilder {
    ScriptedServer::builder()
}

#[tokio::test]
async fn a_call_is_answered_in_both_eras_by_json_and_by_events() {
    let legacy = || builder().era(ScriptedEra::Legacy);
    for (builder, handshake) in [
        (builder().http(), "server/discover"),
        (builder().http_events(), "server/discover"),
        (legacy().http(), "initialize"),
        (legacy().http_events().sessions().listening_stream(), "initialize"),
    ] {
        let server = scripted(builder).await;
        let troupe = one(&server).await;
        for n in 0..10 {
            let args = json!({"text": "grüße", "n": n});
            let reply = troupe.call(Call::tool("echo").args(&args)).await.unwrap();
            assert_eq!((reply.structured::<Value>().unwrap(), reply.attempts), (args, 1));
        }
        let seen = server.observed();
        assert_eq!(seen.handshakes, [handshake]);
        assert_eq!(seen.wrong_headers, Vec::<String>::new());
        end(troupe).await;
    }
}

#[tokio::test]
async fn results_pass_through_byte_for_byte() {
    let result = r#"{"z": 1.000000000000000000010, "a":[1e400, "\u00e9"], "content":[]}"#;
    for builder in [builder().http(), builder().http_events()] {
        let server = builder.tool("odd", Script::Reply(result.into())).start().await;
        let troupe = one(&server).await;
        assert_eq!(troupe.call(Call::tool("odd")).await.unwrap().result.as_str(), result);
        end(troupe).await;
    }
}

#[tokio::test]
async fn many_calls_at_once_share_one_session_and_each_gets_its_own_answer() {
    for builder in [builder().http(), builder().http_events()] {
        let server = scripted(builder).await;
        let troupe = one(&server).await;
        let mut calls = JoinSet::new();
        for n in 0..200 {
            let call = troupe.call(Call::tool("echo").args(json!({"n": n})));
            calls.spawn(async move { (n, call.await.unwrap().structured::<Value>().unwrap()) });
        }
        for (n, answer) in calls.join_all().await {
            assert_eq!(answer, json!({"n": n}));
        }
        assert_eq!(server.observed().handshakes.len(), 1);
        assert_eq!(troupe.stats().await.servers[0].pool.total, 1);
        end(troupe).await;
    }
}

#[tokio::test]
async fn connections_are_used_again_also_where_answers_are_streams() {
    for builder in [builder().http(), builder().http_events()] {
        let server = scripted(builder).await;
        let troupe = one(&server).await;
        for _ in 0..50 {
            troupe.call(echo()).await.unwrap();
        }
        assert!(server.observed().accepted <= 3, "{} connections", server.observed().accepted);
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_stream_that_ends_a_moment_after_its_answer_leaves_its_connection_to_the_next_call() {
    use super::raw::{Do, RawServer, modern};
    let server = RawServer::start(|asked| {
        modern(asked).unwrap_or_else(|| {
            let answer = json!({"jsonrpc": "2.0", "id": asked.body["id"], "result": {"content": []}});
            let event = format!("data: {answer}\n\n");
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            Do::Late(format!("{head}{:x}\r\n{event}\r\n", event.len()), "0\r\n\r\n".to_owned())
        })
    })
    .await;
    let troupe = ready([server.server()]).await;
    let before = server.connections();
    for _ in 0..50 {
        assert!(troupe.call(Call::tool("t")).await.is_ok());
        server.let_go();
    }
    let opened = server.connections() - before;
    assert!(opened < 50, "each of 50 calls opened a connection");
    end(troupe).await;
}

#[tokio::test]
async fn notifications_before_the_answer_do_not_take_its_place() {
    let noisy = Script::NotifyBefore {
        method: "notifications/message".into(),
        times: 300,
        next: Script::Echo.into(),
    };
    let server = builder().http().tool("noisy", noisy).start().await;
    let troupe = one(&server).await;
    assert!(troupe.call(Call::tool("noisy")).await.is_ok());
    end(troupe).await;
}

#[tokio::test]
async fn a_caller_that_leaves_closes_the_answer_and_a_legacy_server_is_told_besides() {
    for builder in [builder().http(), builder().http_events(), builder().http().era(ScriptedEra::Legacy)] {
        let server = scripted(builder).await;
        let troupe = one(&server).await;
        let call = tokio::spawn(troupe.call(Call::tool("hold")));
        server.wait_for(|seen| seen.calls.contains_key("hold")).await;
        call.abort();
        server.wait_for(|seen| !seen.cancelled.is_empty()).await;
        assert!(troupe.call(echo()).await.is_ok());
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_call_without_an_answer_ends_at_its_deadline_and_its_connection_is_closed() {
    let server = scripted(builder().http()).await;
    let troupe = one(&server).await;
    let call = Call::tool("silent").timeout(Duration::from_millis(50));
    assert!(matches!(kind(troupe.call(call).await), CallErrorKind::DeadlineExceeded { sent: true, .. }));
    server.wait_for(|seen| seen.cancelled.len() == 1).await;
    end(troupe).await;
}

#[tokio::test]
async fn an_error_of_the_server_keeps_its_code_whatever_its_status() {
    let error = Script::Error { code: -32004, message: "no access".into() };
    let server = builder().http().tool("denied", error).start().await;
    let troupe = one(&server).await;
    let CallErrorKind::Rpc(rpc) = kind(troupe.call(Call::tool("denied")).await) else { panic!() };
    assert_eq!((rpc.code, rpc.message.as_str()), (-32004, "no access"));
    end(troupe).await;
}

#[tokio::test]
async fn a_chosen_era_is_kept_to() {
    let server = scripted(builder().http().era(ScriptedEra::Legacy)).await;
    let troupe = start([Server::http("s", server.url()).era(EraChoice::Modern)]).await;
    let CallErrorKind::Unavailable { servers } = kind(troupe.call(echo()).await) else { panic!() };
    assert!(servers[0].reason.contains("set its era to auto or legacy"), "{}", servers[0]);
    end(troupe).await;
    let troupe = ready([Server::http("s", server.url()).era(EraChoice::Legacy)]).await;
    assert!(troupe.call(echo()).await.is_ok());
    end(troupe).await;
}

#[tokio::test]
async fn the_operators_headers_go_along_with_every_request() {
    use super::raw::{Do, RawServer, json as whole, modern};
    let server = RawServer::start(|asked| {
        if asked.header("authorization") != Some("Bearer s3cret") {
            return Do::Send(super::raw::answer("401 Unauthorized", &[], ""));
        }
        let answer = json!({"jsonrpc": "2.0", "id": asked.body["id"], "result": {"content": []}});
        modern(asked).unwrap_or_else(|| Do::Send(whole(&answer)))
    })
    .await;
    let troupe = ready([server.server().header("Authorization", "Bearer s3cret")]).await;
    assert!(troupe.call(Call::tool("t")).await.is_ok());
    end(troupe).await;
}

#[tokio::test]
async fn a_url_of_another_scheme_and_a_header_of_the_transport_are_refused_at_start() {
    let start =
        async |server: Server| Troupe::builder().server(server).start().await.unwrap_err().to_string();
    let told = start(Server::http("s", "ftp://user:s3cret@h/")).await;
    assert!(
        told.contains("s.url") && told.contains("http:// or https://") && !told.contains("s3cret"),
        "{told}"
    );
    let told = start(Server::http("s", "http://user:s3cret@h/")).await;
    assert!(told.contains("carries user info") && !told.contains("s3cret"), "{told}");
    for name in ["Mcp-Session-Id", "mcp-param-region", "Content-Type"] {
        let told = start(Server::http("s", "http://h/").header(name, "s3cret")).await;
        assert!(told.contains("set by the transport itself") && !told.contains("s3cret"), "{told}");
    }
}

#[tokio::test]
async fn arguments_are_mirrored_into_headers_as_the_tool_wants_them() {
    let builder = builder().http().mirrored("echo", "Region", "region").mirrored("echo", "Flag", "flag");
    let server = scripted(builder).await;
    let troupe = one(&server).await;
    for args in [json!({"region": "us-west1", "flag": true}), json!({"region": null}), json!({})] {
        assert!(troupe.call(Call::tool("echo").args(&args)).await.is_ok(), "{args}");
    }
    assert_eq!(server.observed().wrong_headers, Vec::<String>::new());
    end(troupe).await;
}

#[tokio::test]
async fn a_call_that_was_refused_for_its_headers_is_made_once_more_by_a_new_tool_list() {
    let server = scripted(builder().http()).await;
    let troupe = one(&server).await;
    let listings = server.observed().listings;
    server.mirror("echo", "Region", "region");
    let mut calls = JoinSet::new();
    (0..10).for_each(|_| drop(calls.spawn(troupe.call(Call::tool("echo").args(json!({"region": "x"}))))));
    for reply in calls.join_all().await {
        assert_eq!(reply.unwrap().attempts, 1, "the first try did nothing");
    }
    assert_eq!(server.calls("echo"), 10);
    assert!((1..=3).contains(&(server.observed().listings - listings)));
    end(troupe).await;
}

#[tokio::test]
async fn a_call_that_waits_for_a_new_tool_list_does_not_wait_for_another_lists_backoff() {
    let server = scripted(builder().prompt("p", "x").http()).await;
    server.neglect("prompts/list", 1_000);
    let mut settings = Settings::default();
    settings.pool.list_timeout = Duration::from_millis(300);
    // The prompts rest for longer than a call may take.
    (settings.reconnect.min, settings.reconnect.max) = (Duration::from_secs(300), Duration::from_secs(300));
    let troupe = Troupe::builder().settings(settings).server(Server::http("s", server.url()));
    let troupe = troupe.start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    assert_eq!(server.observed().neglected.get("prompts/list"), Some(&1));
    server.mirror("echo", "Region", "region");
    let answer = troupe.call(Call::tool("echo").args(json!({"region": "x"}))).await;
    assert!(answer.is_ok(), "{answer:?}");
    end(troupe).await;
}

#[tokio::test]
async fn a_call_that_is_refused_for_its_headers_again_is_rejected_and_may_be_called_off_meanwhile() {
    use super::raw::{Do, RawServer, answer, modern};
    let server = RawServer::start(|asked| {
        modern(asked).unwrap_or_else(|| {
            let error = json!({"id": null, "error": {"code": -32020, "message": "mismatch"}});
            Do::Send(answer("400 Bad Request", &["content-type: application/json"], &error.to_string()))
        })
    })
    .await;
    let troupe = ready([server.server()]).await;
    let error = troupe.call(Call::tool("t")).await.unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::Rpc(rpc) if rpc.code == -32020), "{error}");
    assert_eq!(error.effect(), mcp_troupe::Effect::Rejected);
    let asked = server.asked();
    let times = |what: &str| asked.iter().filter(|asked| *asked == what).count();
    assert_eq!((times("POST tools/call"), times("POST tools/list")), (2, 2));
    assert_eq!(troupe.stats().await.servers[0].pool.in_flight, 0);
    end(troupe).await;
}

#[tokio::test]
async fn a_tool_that_cannot_be_mirrored_is_left_out_and_told() {
    use mcp_troupe::Event;
    let server = builder()
        .http()
        .tool("good", Script::Echo)
        .tool("bad", Script::Echo)
        .mirrored("bad", "a b", "x")
        .start()
        .await;
    let troupe = start([]).await;
    let mut events = troupe.events();
    troupe.register(Server::http("s", server.url())).await.unwrap();
    let told = super::common::event(&mut events, |event| matches!(event, Event::EntrySkipped { .. })).await;
    let Event::EntrySkipped { entry: tool, reason, .. } = told else { unreachable!() };
    assert!(tool == "bad" && reason.contains("no name of a header"), "{tool}: {reason}");
    assert!(troupe.call(Call::tool("good")).await.is_ok());
    assert!(matches!(kind(troupe.call(Call::tool("bad")).await), CallErrorKind::UnknownTool { .. }));
    end(troupe).await;
}

#[tokio::test]
async fn the_tool_execute_dialect_is_plain_json_rpc() {
    use super::raw::{Do, RawServer, json as whole};
    use mcp_troupe::Dialect;
    let server = RawServer::start(|asked| {
        assert!(asked.headers.iter().all(|(name, _)| !name.starts_with("mcp-")), "{}", asked.method());
        let result = match asked.method() {
            "rpc.discover" => json!({"version": "1.0.0", "capabilities": []}),
            "tool.list" => json!([{"name": "t"}]),
            _ => json!({"toolName": "t", "result": {"n": 1}}),
        };
        Do::Send(whole(&json!({"jsonrpc": "2.0", "id": asked.body["id"], "result": result})))
    })
    .await;
    let troupe = ready([server.server().dialect(Dialect::ToolExecute)]).await;
    assert_eq!(troupe.call(Call::tool("t")).await.unwrap().result.as_str(), r#"{"n":1}"#);
    end(troupe).await;
}
