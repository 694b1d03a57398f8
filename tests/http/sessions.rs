//! Legacy servers: sessions, the stream of what they say unasked, resumption.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use mcp_troupe::testkit::{Script, ScriptedBuilder, ScriptedEra, ScriptedServer};
use mcp_troupe::{Call, CallErrorKind, Effect, Event, Server, Troupe};
use serde_json::json;
use tokio::task::JoinSet;

use super::calls::{one, scripted};
use super::common::{echo, end, event, kind, ready, start};
use super::raw::{Asked, Do, EVENTS, RawServer, answer, legacy};

const JSON: &str = "content-type: application/json";

fn with_sessions() -> ScriptedBuilder {
    ScriptedServer::builder().era(ScriptedEra::Legacy).sessions()
}

fn result(asked: &Asked) -> String {
    json!({"jsonrpc": "2.0", "id": asked.body["id"], "result": {"content": []}}).to_string()
}

/// A call whose answer comes on a later stream than the one that it began.
#[derive(Default)]
struct PutOff(AtomicU64);

impl PutOff {
    fn put_off(&self, asked: &Asked, retry_ms: u32) -> Do {
        self.0.store(asked.body["id"].as_u64().unwrap(), Ordering::Relaxed);
        Do::Send(format!("{EVENTS}id: a\nretry: {retry_ms}\ndata:\n\n"))
    }

    fn answer(&self) -> Do {
        let id = self.0.load(Ordering::Relaxed);
        Do::Send(format!("{EVENTS}data: {{\"id\":{id},\"result\":{{\"content\":[]}}}}\n\n"))
    }
}

#[tokio::test]
async fn a_session_is_begun_kept_and_ended() {
    let server = scripted(with_sessions()).await;
    let troupe = one(&server).await;
    for _ in 0..10 {
        troupe.call(echo()).await.unwrap();
    }
    assert_eq!((server.observed().sessions_begun, server.observed().sessions.len()), (1, 1));
    end(troupe).await;
    let seen = server.observed();
    assert_eq!((seen.sessions_ended, seen.sessions.len(), seen.wrong_headers), (1, 0, vec![]));
}

#[tokio::test]
async fn a_session_that_the_server_forgot_is_begun_anew_without_the_caller_noticing() {
    for builder in [with_sessions(), with_sessions().http_events(), with_sessions().listening_stream()] {
        let server = scripted(builder).await;
        let troupe = one(&server).await;
        for round in 2..5 {
            server.forget_sessions();
            let reply = troupe.call(echo()).await.unwrap();
            assert_eq!(reply.attempts, 1, "the first try did nothing");
            let seen = server.observed();
            assert_eq!((seen.sessions_begun, seen.calls["echo"]), (round, round - 1));
        }
        end(troupe).await;
    }
}

#[tokio::test]
async fn many_calls_that_meet_a_forgotten_session_begin_one_new_one_and_are_each_carried_out_once() {
    let server = scripted(with_sessions()).await;
    let troupe = one(&server).await;
    troupe.call(echo()).await.unwrap();
    server.forget_sessions();
    let mut calls = JoinSet::new();
    (0..50).for_each(|_| drop(calls.spawn(troupe.call(echo()))));
    assert!(calls.join_all().await.iter().all(Result::is_ok));
    assert_eq!((server.observed().sessions_begun, server.calls("echo")), (2, 51));
    end(troupe).await;
}

#[tokio::test]
async fn a_call_that_was_under_way_when_the_session_was_lost_comes_to_its_own_end() {
    let server = scripted(with_sessions()).await;
    let troupe = one(&server).await;
    let held = tokio::spawn(troupe.call(Call::tool("hold")));
    server.wait_for(|seen| seen.calls.contains_key("hold")).await;
    server.forget_sessions();
    troupe.call(echo()).await.unwrap();
    assert_eq!(server.observed().sessions_begun, 2, "the new session does not wait for the old one");
    server.release();
    assert_eq!(held.await.unwrap().unwrap().attempts, 1);
    // The one that was lost is left: its caller may leave, and its deadline still holds.
    let held = tokio::spawn(troupe.call(Call::tool("hold").timeout(Duration::from_millis(100))));
    server.wait_for(|seen| seen.calls["hold"] == 2).await;
    server.forget_sessions();
    troupe.call(echo()).await.unwrap();
    assert!(matches!(kind(held.await.unwrap()), CallErrorKind::DeadlineExceeded { sent: true, .. }));
    end(troupe).await;
}

#[tokio::test]
async fn servers_say_in_several_ways_that_they_do_not_know_a_session() {
    for (status, body) in [
        ("404 Not Found", ""),
        (
            "404 Not Found",
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}"#,
        ),
        (
            "400 Bad Request",
            r#"{"id":null,"error":{"code":-32000,"message":"Bad Request: No valid session ID provided"}}"#,
        ),
        ("400 Bad Request", r#"{"id":"x","error":{"code":-32600,"message":"session not found"}}"#),
    ] {
        let calls = AtomicU32::new(0);
        let server = RawServer::start(move |asked| {
            legacy(asked).unwrap_or_else(|| match asked.verb.as_str() {
                "GET" => Do::Send(answer("405 Method Not Allowed", &[], "")),
                _ if calls.fetch_add(1, Ordering::Relaxed) == 0 => Do::Send(answer(status, &[JSON], body)),
                _ => Do::Send(answer("200 OK", &[JSON], &result(asked))),
            })
        })
        .await;
        let troupe = ready([server.server()]).await;
        let mut events = troupe.events();
        assert!(troupe.call(Call::tool("t")).await.is_ok(), "{body}");
        let lost = event(&mut events, |event| matches!(event, Event::ConnectionLost { .. })).await;
        let Event::ConnectionLost { reason, .. } = lost else { unreachable!() };
        assert!(reason.contains("the session was lost"), "{reason}");
        assert_eq!(server.asked().iter().filter(|asked| *asked == "POST initialize").count(), 2);
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_session_that_is_said_to_be_unknown_in_an_unusual_way_costs_one_call_which_is_not_made_again() {
    let message = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Invalid session ID"}}"#;
    let event = format!("{EVENTS}data: {message}\n\n");
    for (said, kind) in [
        (answer("200 OK", &[JSON], message), "rpc-error"),
        (event, "rpc-error"),
        (answer("401 Unauthorized", &["content-type: text/plain"], "session expired"), "unauthorized"),
        (
            answer("500 Internal Server Error", &["content-type: text/plain"], "Session not found"),
            "server-failed",
        ),
    ] {
        let (calls, told) = (AtomicU32::new(0), said.clone());
        let server = RawServer::start(move |asked| {
            legacy(asked).unwrap_or_else(|| match asked.verb.as_str() {
                "GET" => Do::Send(answer("405 Method Not Allowed", &[], "")),
                _ if calls.fetch_add(1, Ordering::Relaxed) == 0 => Do::Send(said.clone()),
                _ => Do::Send(answer("200 OK", &[JSON], &result(asked))),
            })
        })
        .await;
        let troupe = ready([server.server()]).await;
        let error = troupe.call(Call::tool("t")).await.unwrap_err();
        assert_eq!(error.kind().name(), kind, "{told}");
        assert!(troupe.call(Call::tool("t")).await.is_ok(), "{told}");
        let asked = server.asked();
        let times = |what: &str| asked.iter().filter(|asked| *asked == what).count();
        assert_eq!((times("POST tools/call"), times("POST initialize")), (2, 2), "{told}");
        // It was a guess: the former session is ended as any.
        server.wait_for("DELETE", 1).await;
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_server_that_lost_all_sessions_costs_one_call_for_each_of_them() {
    // Sessions that began earlier than the one of this number are lost.
    let lost = Arc::new(AtomicU64::new(0));
    let (known_from, next) = (lost.clone(), AtomicU64::new(1));
    let server = RawServer::start(move |asked| {
        let session = asked.headers.iter().find(|(name, _)| name == "mcp-session-id");
        let session: u64 = session.and_then(|(_, number)| number.parse().ok()).unwrap_or_default();
        match asked.method() {
            "initialize" => {
                let session = format!("mcp-session-id: {}", next.fetch_add(1, Ordering::Relaxed));
                let result = json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                    "serverInfo": {"name": "raw", "version": "1"}});
                let body = json!({"jsonrpc": "2.0", "id": asked.body["id"], "result": result}).to_string();
                Do::Send(answer("200 OK", &[JSON, &session], &body))
            }
            "tools/call" if session < known_from.load(Ordering::Relaxed) => Do::Send(answer(
                "500 Internal Server Error",
                &["content-type: text/plain"],
                "Session not found",
            )),
            _ => legacy(asked).unwrap_or_else(|| match asked.verb.as_str() {
                "GET" => Do::Send(answer("405 Method Not Allowed", &[], "")),
                _ => Do::Send(answer("200 OK", &[JSON], &result(asked))),
            }),
        }
    })
    .await;
    let mut pool = mcp_troupe::config::PoolSettings::default();
    (pool.min, pool.max) = (3, 3);
    let troupe = ready([server.server().pool(pool)]).await;
    server.wait_for("POST initialize", 3).await;
    // It restarts: it knows none of the three.
    lost.store(4, Ordering::Relaxed);
    let mut failed = 0;
    for _ in 0..30 {
        failed += u32::from(troupe.call(Call::tool("t")).await.is_err());
    }
    assert!((1..=3).contains(&failed), "{failed}");
    end(troupe).await;
}

#[tokio::test]
async fn a_lost_session_is_known_by_words_that_are_no_message_as_well() {
    for (status, body) in [
        ("400 Bad Request", r#"{"error":{"message":"Session not found"}}"#),
        ("400 Bad Request", r#"{"error":{"code":"unknown","message":"Session not found"}}"#),
        ("404 Not Found", r#"{"error":"Session not found"}"#),
        ("500 Oops", r#"{"error":{"message":"Session not found"}}"#),
        ("200 OK", r#"{"error":"Session not found"}"#),
    ] {
        let lost = AtomicU32::new(1);
        let server = RawServer::start(move |asked| {
            legacy(asked).unwrap_or_else(|| match asked.verb.as_str() {
                "GET" => Do::Send(answer("405 Method Not Allowed", &[], "")),
                _ if lost.swap(0, Ordering::Relaxed) == 1 => Do::Send(answer(status, &[JSON], body)),
                _ => Do::Send(answer("200 OK", &[JSON], &result(asked))),
            })
        })
        .await;
        let troupe = ready([server.server()]).await;
        let _ = troupe.call(Call::tool("t")).await;
        troupe.call(Call::tool("t")).await.unwrap();
        let asked = server.asked().iter().filter(|asked| *asked == "POST initialize").count();
        assert_eq!(asked, 2, "{status} {body}");
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_tool_that_always_speaks_of_a_session_takes_its_server_from_nobody() {
    let server = RawServer::start(|asked| {
        legacy(asked).unwrap_or_else(|| match asked.verb.as_str() {
            "GET" => Do::Send(answer("405 Method Not Allowed", &[], "")),
            _ if asked.body["params"]["arguments"]["bad"] == true => Do::Send(answer(
                "500 Internal Server Error",
                &["content-type: text/plain"],
                "Session not found",
            )),
            _ => Do::Send(answer("200 OK", &[JSON], &result(asked))),
        })
    })
    .await;
    let mut settings = mcp_troupe::Settings::default();
    settings.breaker.mode = mcp_troupe::config::BreakerMode::Disabled;
    let troupe = Troupe::builder().settings(settings).server(server.server()).start().await.unwrap();
    for _ in 0..10 {
        troupe.call(Call::tool("t").args(json!({"bad": true}))).await.unwrap_err();
        troupe.call(Call::tool("t")).await.unwrap();
    }
    assert_eq!(server.asked().iter().filter(|asked| *asked == "POST initialize").count(), 2);
    end(troupe).await;
}

#[tokio::test]
async fn an_event_that_is_no_message_ends_no_session_and_repeats_no_call() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let server = RawServer::start(move |asked| {
        legacy(asked).unwrap_or_else(|| match asked.verb.as_str() {
            "GET" => Do::Send(answer("405 Method Not Allowed", &[], "")),
            _ => {
                counted.fetch_add(1, Ordering::Relaxed);
                let said = r#"{"message":"Session not found"}"#;
                Do::Send(format!("{EVENTS}data: {said}\n\ndata: {}\n\n", result(asked)))
            }
        })
    })
    .await;
    let troupe = ready([server.server()]).await;
    assert!(troupe.call(Call::tool("t")).await.is_ok());
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    end(troupe).await;
}

#[tokio::test]
async fn an_error_that_only_speaks_of_a_session_ends_none() {
    let server = RawServer::start(|asked| {
        let error =
            json!({"id": asked.body["id"], "error": {"code": -32004, "message": "no session for you"}});
        legacy(asked).unwrap_or_else(|| Do::Send(answer("400 Bad Request", &[JSON], &error.to_string())))
    })
    .await;
    let troupe = ready([server.server()]).await;
    assert!(matches!(kind(troupe.call(Call::tool("t")).await), CallErrorKind::Rpc(_)));
    assert_eq!(server.asked().iter().filter(|asked| *asked == "POST initialize").count(), 1);
    end(troupe).await;
}

#[tokio::test]
async fn nothing_is_asked_before_the_end_of_the_handshake_was_taken() {
    let server = scripted(with_sessions()).await;
    let troupe = one(&server).await;
    end(troupe).await;
    let refusing = RawServer::start(|asked| match asked.method() {
        "notifications/initialized" => Do::Send(answer("400 Bad Request", &[], "")),
        _ => legacy(asked).unwrap_or_else(|| Do::Send(answer("500 Oops", &[], ""))),
    })
    .await;
    let troupe = start([refusing.server()]).await;
    let CallErrorKind::Unavailable { servers } = kind(troupe.call(Call::tool("t")).await) else { panic!() };
    assert!(servers[0].reason.contains("refused the end of the handshake"), "{}", servers[0]);
    assert!(!refusing.asked().iter().any(|asked| asked == "POST tools/list"));
    end(troupe).await;
}

#[tokio::test]
async fn what_a_server_says_unasked_comes_by_a_stream_of_its_own() {
    let server = scripted(with_sessions().listening_stream()).await;
    let troupe = one(&server).await;
    server.wait_for(|seen| seen.listeners == 1).await;
    let mut events = troupe.events();
    server.set_script("new", Script::Echo);
    server.announce_tools();
    event(&mut events, |event| matches!(event, Event::CatalogueChanged { .. })).await;
    assert!(troupe.call(Call::tool("new")).await.is_ok());
    end(troupe).await;
}

#[tokio::test]
async fn the_end_of_that_stream_tells_that_the_server_is_gone_before_anybody_calls_it() {
    let mut server = scripted(with_sessions().listening_stream()).await;
    let troupe = one(&server).await;
    server.wait_for(|seen| seen.listeners == 1).await;
    let mut events = troupe.events();
    server.stop_listening().await;
    event(&mut events, |event| matches!(event, Event::ConnectionLost { .. })).await;
    server.resume().await;
    assert!(troupe.call(echo()).await.is_ok());
    end(troupe).await;
}

#[tokio::test]
async fn a_stream_that_ended_is_asked_for_again_from_its_last_event_on() {
    let told = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n";
    let server = RawServer::start(move |asked| {
        legacy(asked).unwrap_or_else(|| match (asked.verb.as_str(), asked.header("last-event-id")) {
            ("GET", None) => Do::Send(format!("{EVENTS}id: first\nretry: 20\n{told}")),
            ("GET", Some("first")) => Do::Send(answer("503 Busy", &[], "")),
            _ => Do::Send(answer("200 OK", &[JSON], &result(asked))),
        })
    })
    .await;
    let troupe = ready([server.server()]).await;
    // The first, and those from the first event on.
    server.wait_for("GET", 3).await;
    assert!(troupe.call(Call::tool("t")).await.is_ok());
    end(troupe).await;
}

#[tokio::test]
async fn an_answer_whose_stream_ended_early_is_fetched_by_the_last_event_of_it() {
    let call = PutOff::default();
    let server = RawServer::start(move |asked| {
        legacy(asked).unwrap_or_else(|| match (asked.verb.as_str(), asked.header("last-event-id")) {
            ("GET", None) => Do::Send(answer("405 Method Not Allowed", &[], "")),
            ("GET", Some("a")) => Do::Send(format!("{EVENTS}id: b\ndata:\n\n")),
            ("GET", Some(_)) => call.answer(),
            _ => call.put_off(asked, 20),
        })
    })
    .await;
    let troupe = ready([server.server()]).await;
    let reply = troupe.call(Call::tool("t")).await.unwrap();
    assert_eq!(reply.attempts, 1);
    assert_eq!(server.asked().iter().filter(|asked| *asked == "POST tools/call").count(), 1);
    end(troupe).await;
}

#[tokio::test]
async fn an_answer_that_was_put_off_may_come_on_the_stream_of_what_is_said_unasked() {
    let streamed = EVENTS.replace("connection: close", "transfer-encoding: chunked");
    let put_off = "id: a\nretry: 20\ndata:\n\n";
    let begun = format!("{streamed}{:x}\r\n{put_off}\r\n", put_off.len());
    for ends_first in [true, false] {
        let begun = begun.clone();
        let server = RawServer::start(move |asked| {
            legacy(asked).unwrap_or_else(|| match (asked.verb.as_str(), asked.header("last-event-id")) {
                ("GET", None) => {
                    let answer = |id: u64| format!("data: {{\"id\":{id},\"result\":{{\"content\":[]}}}}\n\n");
                    Do::Late(EVENTS.replace("connection: close\r\n", ""), (1..20).map(answer).collect())
                }
                ("GET", Some(_)) => Do::Stay(EVENTS.to_owned()),
                _ if ends_first => Do::Send(format!("{begun}0\r\n\r\n")),
                _ => Do::Late(begun.clone(), "0\r\n\r\n".to_owned()),
            })
        })
        .await;
        let troupe = ready([server.server()]).await;
        server.wait_for("GET", 1).await;
        let call = tokio::spawn(troupe.call(Call::tool("t").timeout(Duration::from_secs(20))));
        server.wait_for("POST tools/call", 1).await;
        if ends_first {
            server.wait_for("GET", 2).await;
        }
        server.let_go();
        assert_eq!(call.await.unwrap().unwrap().attempts, 1, "ends first: {ends_first}");
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_call_whose_server_has_died_ends_when_nobody_listens_there_any_more() {
    let server = RawServer::start(|asked| {
        legacy(asked).unwrap_or_else(|| match asked.verb.as_str() {
            "GET" => Do::Send(answer("405 Method Not Allowed", &[], "")),
            _ => Do::Stay(format!("{EVENTS}id: a\ndata:\n\n")),
        })
    })
    .await;
    let troupe = ready([server.server()]).await;
    // To be asked for eight times, a second apart, would take longer than the call may.
    let call = tokio::spawn(troupe.call(Call::tool("t").timeout(Duration::from_secs(6))));
    server.wait_for("POST tools/call", 1).await;
    drop(server);
    let error = call.await.unwrap().unwrap_err();
    let CallErrorKind::ConnectionLost { reason, sent: true } = error.kind() else { panic!("{error}") };
    assert!(reason.contains("refused"), "{reason}");
    assert_eq!(error.effect(), Effect::Unknown);
    end(troupe).await;
}

#[tokio::test]
async fn an_answer_that_cannot_be_fetched_is_lost_with_an_unknown_outcome() {
    for refusal in ["404 Not Found", "405 Method Not Allowed", "500 Oops"] {
        let server = RawServer::start(move |asked| {
            legacy(asked).unwrap_or_else(|| match (asked.verb.as_str(), asked.header("last-event-id")) {
                ("GET", None) => Do::Send(answer("405 Method Not Allowed", &[], "")),
                ("GET", Some(_)) => Do::Send(answer(refusal, &[], "")),
                _ => Do::Send(format!("{EVENTS}id: a\nretry: 1\ndata:\n\n")),
            })
        })
        .await;
        let troupe = ready([server.server()]).await;
        let error = troupe.call(Call::tool("t")).await.unwrap_err();
        assert_eq!(error.effect(), Effect::Unknown, "{refusal}: {error}");
        assert!(matches!(error.kind(), CallErrorKind::ConnectionLost { sent: true, .. }), "{error}");
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_servers_question_is_answered_by_a_message_of_its_own() {
    let server = RawServer::start(|asked| {
        legacy(asked).unwrap_or_else(|| match asked.verb.as_str() {
            "GET" => Do::Send(answer("405 Method Not Allowed", &[], "")),
            // The answer to the question.
            _ if asked.method().is_empty() => Do::Send(answer("202 Accepted", &[], "")),
            _ => {
                let question = json!({"jsonrpc": "2.0", "id": 0, "method": "ping"});
                Do::Stay(format!("{EVENTS}data: {question}\n\n"))
            }
        })
    })
    .await;
    let troupe = ready([server.server()]).await;
    let call = tokio::spawn(troupe.call(Call::tool("t")));
    server.wait_for("POST", 1).await;
    call.abort();
    server.wait_for("POST notifications/cancelled", 1).await;
    end(troupe).await;
}

#[tokio::test]
async fn a_server_that_never_closes_its_streams_runs_out_of_none() {
    let server = RawServer::start(|asked| {
        legacy(asked).unwrap_or_else(|| match asked.verb.as_str() {
            "GET" => Do::Send(answer("405 Method Not Allowed", &[], "")),
            _ => Do::Stay(format!("{EVENTS}data: {}\n\n", result(asked))),
        })
    })
    .await;
    let troupe = ready([server.server()]).await;
    for _ in 0..300 {
        troupe.call(Call::tool("t")).await.unwrap();
    }
    end(troupe).await;
}

#[tokio::test]
async fn a_lease_is_a_session_of_its_own_and_ends_with_it() {
    let server = scripted(with_sessions()).await;
    let troupe = one(&server).await;
    let lease = troupe.lease("s").await.unwrap();
    assert_eq!(server.observed().sessions_begun, 2);
    lease.call(echo()).await.unwrap();
    server.forget_sessions();
    let lost = kind(lease.call(echo()).await);
    assert!(matches!(lost, CallErrorKind::ConnectionLost { sent: false, .. }), "{lost}");
    assert!(matches!(kind(lease.call(echo()).await), CallErrorKind::LeaseEnded { .. }));
    drop(lease);
    end(troupe).await;
}

#[tokio::test]
async fn a_server_without_sessions_and_streams_is_served_as_well() {
    let server = scripted(ScriptedServer::builder().era(ScriptedEra::Legacy).http()).await;
    let troupe = ready([Server::http("s", server.url())]).await;
    assert!(troupe.call(echo()).await.is_ok());
    assert_eq!(server.observed().listeners, 0);
    end(troupe).await;
}

#[tokio::test]
async fn an_answer_may_be_polled_for_longer_than_any_row_of_failures() {
    let call = PutOff::default();
    let polls = AtomicU32::new(0);
    let server = RawServer::start(move |asked| {
        legacy(asked).unwrap_or_else(|| match (asked.verb.as_str(), asked.header("last-event-id")) {
            ("GET", None) => Do::Send(answer("405 Method Not Allowed", &[], "")),
            ("GET", Some(_)) if polls.fetch_add(1, Ordering::Relaxed) < 10 => {
                Do::Send(format!("{EVENTS}id: next\nretry: 1\ndata:\n\n"))
            }
            ("GET", Some(_)) => call.answer(),
            _ => call.put_off(asked, 1),
        })
    })
    .await;
    let troupe = ready([server.server()]).await;
    assert!(troupe.call(Call::tool("t")).await.is_ok());
    end(troupe).await;
}
