//! Servers that answer with anything but a message: each way is one typed outcome, and nothing hangs.

use std::time::Duration;

use mcp_troupe::event::{BreakerState, ServerStatus};
use mcp_troupe::testkit::{FaultProxy, Script, ScriptedEra, ScriptedServer};
use mcp_troupe::{
    Call, CallError, CallErrorKind, Effect, Event, Readiness, RefusalKind, Server, Settings, Troupe,
};
use serde_json::json;
use tokio::task::JoinSet;

use super::common::{echo, end, event, kind, ready, start, start_with};
use super::raw::{Do, EVENTS, RawServer, answer, json as whole, legacy, modern};

const JSON: &str = "content-type: application/json";

/// A modern server whose tool `t` does this.
async fn doing(script: impl Fn(u64) -> Do + Send + Sync + 'static) -> (RawServer, Troupe) {
    let server = RawServer::start(move |asked| {
        modern(asked).unwrap_or_else(|| script(asked.body["id"].as_u64().unwrap_or_default()))
    })
    .await;
    let troupe = ready([server.server()]).await;
    (server, troupe)
}

/// How a call of the tool `t` ends where a server does this.
async fn ended(script: impl Fn(u64) -> Do + Send + Sync + 'static) -> CallError {
    let (_server, troupe) = doing(script).await;
    // Less than a server that has no capacity asks for.
    let error = troupe.call(Call::tool("t").timeout(Duration::from_secs(6))).await.unwrap_err();
    assert!(
        troupe.call(Call::tool("t").timeout(Duration::from_secs(6))).await.is_err(),
        "the server goes on"
    );
    assert_eq!(troupe.stats().await.servers[0].pool.in_flight, 0);
    end(troupe).await;
    error
}

#[tokio::test]
async fn each_status_is_a_typed_outcome() {
    use Effect::{Rejected, Unknown};
    use RefusalKind::{Failed, Overloaded, Unauthorized, WrongAddress};
    type Case = (&'static str, &'static [&'static str], RefusalKind, Effect, Option<u64>);
    let cases: &[Case] = &[
        ("401 Unauthorized", &["www-authenticate: Bearer"], Unauthorized, Rejected, None),
        ("403 Forbidden", &[], Unauthorized, Rejected, None),
        ("404 Not Found", &["content-type: text/html"], WrongAddress, Rejected, None),
        ("405 Method Not Allowed", &[], WrongAddress, Rejected, None),
        (
            "307 Temporary Redirect",
            &["location: https://u:s3cret@h/p?t=s3cret"],
            WrongAddress,
            Rejected,
            None,
        ),
        ("422 Unprocessable", &[], RefusalKind::Rejected, Rejected, None),
        ("429 Too Many Requests", &["retry-after: 7"], Overloaded, Rejected, Some(7)),
        ("429 Too Many Requests", &[], Overloaded, Rejected, None),
        ("503 Service Unavailable", &["retry-after: 7"], Overloaded, Rejected, Some(7)),
        ("503 Service Unavailable", &[], Failed, Unknown, None),
        ("500 Internal Server Error", &["content-type: text/plain"], Failed, Unknown, None),
        ("502 Bad Gateway", &["content-type: text/html"], Failed, Unknown, None),
        ("599 What", &[], Failed, Unknown, None),
    ];
    for &(status, headers, meaning, delivery, retry_after) in cases {
        let error = ended(move |_| Do::Send(answer(status, headers, "<html>"))).await;
        let CallErrorKind::Refused(refusal) = error.kind() else { panic!("{status}: {error}") };
        assert_eq!((refusal.kind, error.effect()), (meaning, delivery), "{status}");
        assert_eq!(error.retry_after().map(|after| after.as_secs()), retry_after, "{status}");
        assert!(error.to_string().contains(&status[..3]), "{error}");
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
        let points_to = status.starts_with("307").then_some("https://h/p");
        assert_eq!(refusal.location.as_deref(), points_to, "{status}");
    }
}

#[tokio::test]
async fn what_a_gateway_says_in_json_of_its_own_is_no_answer_of_the_server() {
    use Effect::{Rejected, Unknown};
    use RefusalKind::{Failed, WrongAddress};
    for (status, meaning, effect) in [
        ("504 Gateway Timeout", Failed, Unknown),
        ("502 Bad Gateway", Failed, Unknown),
        ("500 Oops", Failed, Unknown),
        ("408 Request Timeout", Failed, Unknown),
        ("404 Not Found", WrongAddress, Rejected),
    ] {
        for body in [
            r#"{"error":"upstream request timeout"}"#,
            r#"{"error":{"message":"upstream"}}"#,
            r#"{"error":true,"message":"upstream"}"#,
            r#"{"error":{"code":504,"message":"upstream request timeout","status":"DEADLINE_EXCEEDED"}}"#,
            r#"{"id":"req-abc","error":{"code":504,"message":"upstream"}}"#,
            r#"{"id":"req-abc","error":"upstream"}"#,
            r#"{"id":4711,"error":{"code":504,"message":"upstream"}}"#,
            r#"[{"error":{"code":504,"message":"upstream"}}]"#,
        ] {
            let error = ended(move |_| Do::Send(answer(status, &[JSON], body))).await;
            let CallErrorKind::Refused(refusal) = error.kind() else { panic!("{status} {body}: {error}") };
            assert_eq!((refusal.kind, error.effect()), (meaning, effect), "{status} {body}");
            let words = refusal.words.as_deref();
            assert!(words.is_some_and(|words| words.starts_with("upstream")), "{status} {body}: {words:?}");
            assert!(error.to_string().contains(", and says: upstream"), "{error}");
        }
    }
}

#[tokio::test]
async fn an_error_without_a_code_that_names_the_protocol_leaves_open_whether_the_server_wrote_it() {
    for status in ["502 Bad Gateway", "404 Not Found", "400 Bad Request"] {
        for body in [
            r#"{"jsonrpc":"2.0","id":null,"error":"upstream"}"#,
            r#"{"jsonrpc":"2.0","id":null,"error":{"message":"upstream"}}"#,
        ] {
            let error = ended(move |_| Do::Send(answer(status, &[JSON], body))).await;
            assert_eq!(error.effect(), Effect::Unknown, "{status} {body}: {error}");
        }
    }
}

#[tokio::test]
async fn a_success_with_what_a_gateway_says_leaves_open_what_the_call_did() {
    for body in [
        r#"{"status":504,"error":"Gateway Timeout"}"#,
        r#"{"error":{"code":"GatewayTimeout","message":"Gateway Timeout"}}"#,
        r#"{"id":"req-abc","error":{"code":504,"message":"Gateway Timeout"}}"#,
    ] {
        let error = ended(move |_| Do::Send(answer("200 OK", &[JSON], body))).await;
        assert_eq!((error.kind().name(), error.effect()), ("invalid-response", Effect::Unknown), "{error}");
        assert!(error.to_string().contains("Gateway Timeout"), "{error}");
        let (events, stream) = (format!("data: {body}\n\n"), ["content-type: text/event-stream"]);
        let ends = events.clone();
        // Whether the stream ends or stays open: nothing else will come.
        let ways: [Box<dyn Fn() -> Do + Send + Sync>; 2] = [
            Box::new(move || Do::Send(answer("200 OK", &stream, &ends))),
            Box::new(move || Do::Stay(format!("{EVENTS}{events}"))),
        ];
        for way in ways {
            let error = ended(move |_| way()).await;
            let outcome = (error.kind().name(), error.effect());
            assert_eq!(outcome, ("invalid-response", Effect::Unknown), "{error}");
            assert!(error.to_string().contains("Gateway Timeout"), "{error}");
        }
    }
}

#[tokio::test]
async fn the_words_of_a_refusal_are_told_on_one_line_cut_and_without_secrets() {
    const SECRET: &str = "s3cret-of-a-user";
    let long = "x".repeat(1_000);
    let cases = [
        (
            "400 Bad Request",
            JSON,
            r#"{"error":{"message":"x is required"}}"#.to_owned(),
            Some("x is required"),
        ),
        ("422 Unprocessable Entity", JSON, r#"{"detail":"y is\nno date"}"#.to_owned(), Some("y is\nno date")),
        (
            "422 Unprocessable Entity",
            JSON,
            r#"{"detail":[{"loc":["body"],"msg":"field required"},{"msg":"y"}]}"#.to_owned(),
            Some("field required"),
        ),
        ("400 Bad Request", JSON, r#"{"errors":[{"message":"no such x"}]}"#.to_owned(), Some("no such x")),
        (
            "401 Unauthorized",
            JSON,
            r#"{"error":"invalid_token","error_description":"expired yesterday"}"#.to_owned(),
            Some("expired yesterday"),
        ),
        ("413 Payload Too Large", "content-type: text/plain", "too much".to_owned(), Some("too much")),
        ("429 Too Many Requests", JSON, r#"{"message":"10 a minute"}"#.to_owned(), Some("10 a minute")),
        (
            "401 Unauthorized",
            JSON,
            r#"{"message":"the token has ended"}"#.to_owned(),
            Some("the token has ended"),
        ),
        ("403 Forbidden", "content-type: text/plain", format!("no {SECRET}"), Some("no ***")),
        ("500 Oops", JSON, format!(r#"{{"error":"{long}"}}"#), None),
        ("403 Forbidden", JSON, r#"{"message":"\u001b[2J\u202e"}"#.to_owned(), Some("\u{1b}[2J\u{202e}")),
        ("404 Not Found", "content-type: text/plain", "Not Found".to_owned(), None),
        ("404 Not Found", "content-type: text/plain", "404 Not Found\n".to_owned(), None),
        ("502 Bad Gateway", "content-type: text/plain", "502".to_owned(), None),
        ("404 Not Found", "content-type: text/html", "<html>Not here</html>".to_owned(), None),
        ("502 Bad Gateway", JSON, "{}".to_owned(), None),
    ];
    for (status, content_type, body, words) in cases {
        let server = RawServer::start(move |asked| {
            modern(asked).unwrap_or_else(|| Do::Send(answer(status, &[content_type], &body)))
        })
        .await;
        let troupe = ready([server.server().bearer(SECRET)]).await;
        let error = troupe.call(Call::tool("t").timeout(Duration::from_secs(6))).await.unwrap_err();
        let CallErrorKind::Refused(refusal) = error.kind() else { panic!("{status}: {error}") };
        if status.starts_with("500") {
            assert_eq!(refusal.words.as_deref(), Some(&*format!("{}…", "x".repeat(200))));
        } else {
            assert_eq!(refusal.words.as_deref(), words, "{status}");
        }
        assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
        assert!(!error.to_string().contains(['\u{1b}', '\u{202e}', '\n']), "{error}");
        end(troupe).await;
    }
}

const SESSION: &str = "7d1f-session-of-ann";

/// A legacy server that gives out [`SESSION`] and has `else_` done with what `refuses` picks.
async fn with_session(
    refuses: &'static str,
    else_: impl Fn(u64) -> Do + Send + Sync + 'static,
) -> (RawServer, Troupe) {
    let server = RawServer::start(move |asked| {
        let id = asked.body["id"].as_u64().unwrap_or_default();
        if asked.method() == refuses {
            return else_(id);
        }
        match legacy(asked) {
            Some(Do::Send(said)) => {
                Do::Send(said.replace("session-id: one", &format!("session-id: {SESSION}")))
            }
            Some(other) => other,
            None => Do::Send(answer("405 Method Not Allowed", &[], "")),
        }
    })
    .await;
    let troupe = start([server.server()]).await;
    (server, troupe)
}

#[tokio::test]
async fn a_refusal_that_repeats_the_sessions_id_is_told_without_it() {
    let refused = |status: &'static str| {
        move |_| Do::Send(answer(status, &[JSON], &format!(r#"{{"message":"not for {SESSION}"}}"#)))
    };
    let rpc = |id: u64| {
        let error = json!({"code": -32603, "message": format!("not for {SESSION}")});
        Do::Send(whole(&json!({"jsonrpc": "2.0", "id": id, "error": error})))
    };
    let (_server, troupe) = with_session("tools/call", refused("403 Forbidden")).await;
    let error = troupe.call(Call::tool("t")).await.unwrap_err();
    let CallErrorKind::Refused(refusal) = error.kind() else { panic!("{error}") };
    assert_eq!(refusal.words.as_deref(), Some("not for ***"));
    end(troupe).await;
    // In place of an answer.
    let gateway = |_| Do::Send(answer("200 OK", &[JSON], &format!(r#"{{"error":"not for {SESSION}"}}"#)));
    let (_server, troupe) = with_session("tools/call", gateway).await;
    let error = troupe.call(Call::tool("t")).await.unwrap_err();
    assert!(error.to_string().contains("not for ***"), "{error}");
    end(troupe).await;
    let with_id = move |id: u64| match rpc(id) {
        Do::Send(said) => Do::Send(said.replacen("\r\n", &format!("\r\nmcp-session-id: {SESSION}\r\n"), 1)),
        other => other,
    };
    type Says = Box<dyn Fn(u64) -> Do + Send + Sync>;
    let cases: [(&str, Says); 4] = [
        ("tools/list", Box::new(rpc)),
        ("tools/list", Box::new(refused("403 Forbidden"))),
        ("notifications/initialized", Box::new(refused("401 Unauthorized"))),
        ("initialize", Box::new(with_id)),
    ];
    for (method, says) in cases {
        let (_server, troupe) = with_session(method, says).await;
        let mut events = troupe.events();
        let error = troupe.call(Call::tool("t").timeout(Duration::from_millis(1_500))).await.unwrap_err();
        let told =
            event(&mut events, |event| matches!(event, Event::ServerStatusChanged { reason: Some(_), .. }))
                .await;
        for text in [told.to_string(), error.to_string(), format!("{error:?} {told:?}")] {
            assert!(text.contains("not for ***") && !text.contains(SESSION), "{method}: {text}");
        }
        assert!(!told.to_string().contains("broke the protocol"), "{method}: {told}");
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_server_without_capacity_for_a_list_or_the_end_of_the_handshake_is_reached_again_when_it_says() {
    for method in ["tools/list", "notifications/initialized", "initialize"] {
        let busy = |_| Do::Send(answer("429 Too Many Requests", &["retry-after: 60"], ""));
        let (_server, troupe) = with_session(method, busy).await;
        let mut events = troupe.events();
        troupe.call(Call::tool("t").timeout(Duration::from_millis(100))).await.unwrap_err();
        let told =
            event(&mut events, |event| matches!(event, Event::ServerStatusChanged { reason: Some(_), .. }))
                .await;
        let Event::ServerStatusChanged { retry_in, .. } = &told else { unreachable!() };
        assert!(retry_in.is_some_and(|after| after > Duration::from_secs(50)), "{method}: {told:?}");
        end(troupe).await;
    }
}

#[tokio::test]
async fn the_words_of_a_refused_handshake_are_told_as_those_of_a_refused_call() {
    for status in
        ["401 Unauthorized", "403 Forbidden", "429 Too Many Requests", "400 Bad Request", "500 Oops"]
    {
        let body = r#"{"message":"come with a badge"}"#;
        let server = RawServer::start(move |_| Do::Send(answer(status, &[JSON], body))).await;
        let troupe = start([server.server()]).await;
        let mut events = troupe.events();
        let error = troupe.call(Call::tool("t").timeout(Duration::from_millis(1_500))).await.unwrap_err();
        let told =
            event(&mut events, |event| matches!(event, Event::ServerStatusChanged { reason: Some(_), .. }))
                .await;
        for text in [error.to_string(), told.to_string()] {
            assert!(text.contains("come with a badge"), "{status}: {text}");
            assert!(text.contains(&status[..3]), "{status}: {text}");
        }
        end(troupe).await;
    }
}

#[tokio::test]
async fn what_is_said_on_a_handshakes_stream_in_place_of_its_answer_ends_it_with_those_words() {
    for ends in [true, false] {
        let server = RawServer::start(move |_| {
            let said = format!("{EVENTS}data: {{\"error\":{{\"message\":\"come with a badge\"}}}}\n\n");
            if ends { Do::Send(said) } else { Do::Stay(said) }
        })
        .await;
        let troupe = start([server.server()]).await;
        let mut events = troupe.events();
        troupe.call(Call::tool("t").timeout(Duration::from_millis(1_500))).await.unwrap_err();
        let told =
            event(&mut events, |event| matches!(event, Event::ServerStatusChanged { reason: Some(_), .. }))
                .await;
        assert!(told.to_string().contains("come with a badge"), "the stream ends: {ends}: {told}");
        end(troupe).await;
    }
}

#[tokio::test]
async fn an_error_that_names_an_earlier_request_on_a_calls_stream_ends_no_call() {
    for error in [r#"{"code":0,"message":"no such file"}"#, r#"{"code":-32000,"message":"x"}"#, r#""x""#] {
        let server = RawServer::start(move |asked| {
            modern(asked).unwrap_or_else(|| {
                let id = asked.body["id"].as_u64().unwrap_or_default();
                let other = format!(r#"{{"jsonrpc":"2.0","id":{},"error":{error}}}"#, id - 1);
                let own =
                    json!({"jsonrpc": "2.0", "id": id, "result": {"content": [], "resultType": "complete"}});
                Do::Send(format!("{EVENTS}data: {other}\n\ndata: {own}\n\n"))
            })
        })
        .await;
        let troupe = ready([server.server()]).await;
        let reply = troupe.call(Call::tool("t")).await;
        assert!(reply.is_ok(), "{error}: {reply:?}");
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_server_that_says_for_how_long_it_has_no_capacity_is_told_of_once() {
    let server = RawServer::start(|asked| {
        let busy = || Do::Send(answer("429 Too Many Requests", &["retry-after: 20"], ""));
        modern(asked).unwrap_or_else(busy)
    })
    .await;
    let troupe = start([server.server()]).await;
    let mut events = troupe.events();
    troupe.ready(Readiness::All).await.unwrap();
    for _ in 0..2 {
        let error = troupe.call(Call::tool("t").timeout(Duration::from_secs(5))).await.unwrap_err();
        assert!(error.retry_after().is_some(), "{error}");
    }
    let told = event(&mut events, |event| matches!(event, Event::ServerOverloaded { .. })).await;
    let Event::ServerOverloaded { retry_after, .. } = told else { unreachable!() };
    assert_eq!(retry_after, Duration::from_secs(20));
    let more =
        events.drain().await.into_iter().filter(|event| matches!(event, Event::ServerOverloaded { .. }));
    assert_eq!(more.count(), 0);
    end(troupe).await;
}

#[tokio::test]
async fn an_error_that_names_another_request_says_less_than_a_status_that_leaves_the_effect_open() {
    let body = r#"{"jsonrpc":"2.0","id":4711,"error":{"code":-32000,"message":"upstream"}}"#;
    for (status, name) in [("504 Gateway Timeout", "server-failed"), ("422 What", "invalid-response")] {
        let error = ended(move |_| Do::Send(answer(status, &[JSON], body))).await;
        assert_eq!((error.kind().name(), error.effect()), (name, Effect::Unknown), "{status}: {error}");
    }
}

#[tokio::test]
async fn what_a_server_says_of_its_own_address_is_told_without_the_secrets_in_it() {
    const SECRET: &str = "s3cret-of-a-user";
    let server = RawServer::start(|asked| {
        if asked.method() == "tools/list" {
            let tools = json!([
                {"name": "t", "inputSchema": {"type": "object"}},
                {"name": format!("x\n{SECRET}"), "inputSchema": {"type": "object"}},
            ]);
            let result = json!({"jsonrpc": "2.0", "id": asked.body["id"], "result": {"tools": tools}});
            return Do::Send(whole(&result));
        }
        let location = format!("location: https://h/{SECRET}/login");
        modern(asked).unwrap_or_else(|| Do::Send(answer("302 Found", &[&location], "")))
    })
    .await;
    let troupe = start([]).await;
    let mut events = troupe.events();
    let url = format!("{}?api_key={SECRET}", server.url());
    troupe.register(Server::http("s", url)).await.unwrap();
    let skipped = event(&mut events, |event| matches!(event, Event::EntrySkipped { .. })).await;
    assert!(!format!("{skipped:?}").contains("s3cret"), "{skipped:?}");
    let error = troupe.call(Call::tool("t")).await.unwrap_err();
    assert!(error.to_string().contains("points to https://h/***"), "{error}");
    assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    end(troupe).await;
}

#[tokio::test]
async fn a_time_to_come_again_may_be_a_date() {
    let error = ended(|_| {
        let headers = ["retry-after: Fri, 01 Jan 2100 00:00:00 GMT"];
        Do::Send(answer("429 Too Many Requests", &headers, ""))
    })
    .await;
    assert_eq!(error.retry_after(), Some(Duration::from_secs(24 * 3600)), "it is bounded");
}

#[tokio::test]
async fn a_refusal_that_carries_an_error_of_the_protocol_is_that_error() {
    for (status, id) in
        [("400 Bad Request", "null"), ("404 Not Found", "ID"), ("500 Oops", "ID"), ("200 OK", "null")]
    {
        let error = ended(move |n| {
            let id = id.replace("ID", &n.to_string());
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32602,"message":"no such thing"}}}}"#
            );
            Do::Send(answer(status, &[JSON], &body))
        })
        .await;
        let CallErrorKind::Rpc(rpc) = error.kind() else { panic!("{status}: {error}") };
        assert_eq!((rpc.code, error.effect()), (-32602, Effect::Rejected), "{status}");
    }
}

#[tokio::test]
async fn a_result_that_is_no_object_is_an_invalid_response() {
    for result in [r#""text""#, "7", "[]", "true"] {
        let error = ended(move |n| {
            Do::Send(answer(
                "200 OK",
                &[JSON],
                &format!(r#"{{"jsonrpc":"2.0","id":{n},"result": {result} }}"#),
            ))
        })
        .await;
        let CallErrorKind::InvalidResponse { reason } = error.kind() else { panic!("{result}: {error}") };
        assert_eq!((reason.as_str(), error.effect()), ("its result is no object", Effect::Unknown));
    }
}

#[tokio::test]
async fn an_answer_that_is_no_message_is_an_invalid_response() {
    let cases: &[(&'static str, &'static [&'static str], &'static str, &'static str)] = &[
        ("200 OK", &["content-type: text/html; charset=utf-8"], "<html>", "text/html"),
        ("200 OK", &[], "{}", "no content type"),
        ("202 Accepted", &[], "", "no answer"),
        ("204 No Content", &[], "", "no answer"),
        ("200 OK", &[JSON], "", "no JSON-RPC message"),
        ("200 OK", &[JSON], "{\"jsonrpc\":", "no JSON-RPC message"),
        ("200 OK", &[JSON], "{}", "no JSON-RPC message"),
        ("200 OK", &[JSON], r#"{"id":4711,"result":{}}"#, "no response"),
        ("200 OK", &[JSON, "content-encoding: gzip"], "x", "content encoding"),
    ];
    for &(status, headers, body, words) in cases {
        let error = ended(move |_| Do::Send(answer(status, headers, body))).await;
        let CallErrorKind::InvalidResponse { reason } = error.kind() else { panic!("{body}: {error}") };
        assert!(reason.contains(words), "{body}: {reason}");
        assert_eq!(error.effect(), Effect::Unknown);
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_lost_connection_of_unknown_outcome() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let cases = [
        String::new(),
        "HTTP/1.1 200".to_owned(),
        format!("{head}content-length: 100\r\n\r\n{{\"jsonrpc\""),
        format!("{head}transfer-encoding: chunked\r\n\r\n8\r\n{{\"jsonrp\r\n"),
        EVENTS.to_owned(),
        format!("{EVENTS}: hello\n\n"),
        format!("{EVENTS}data: {{\"jsonrpc\":\"2.0\",\"id"),
        format!("{EVENTS}id: 7\nretry: 1\ndata:\n\n"),
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n3\r\n: x"
            .to_owned(),
        "garbage that is no HTTP\r\n\r\n".to_owned(),
    ];
    for bytes in cases {
        let sent = bytes.clone();
        let error = ended(move |_| Do::Send(sent.clone())).await;
        let lost = matches!(error.kind(), CallErrorKind::ConnectionLost { sent: true, .. });
        assert!(lost && error.effect() == Effect::Unknown, "{bytes:?}: {error}");
    }
}

#[tokio::test]
async fn an_endless_stream_is_bounded_by_the_calls_deadline() {
    let told = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\n";
    for script in [Do::Stay as fn(String) -> Do, Do::Chatter, |head| {
        Do::Flood(
            head,
            "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\n".repeat(100).into(),
        )
    }] {
        let (_server, troupe) = doing(move |_| script(format!("{EVENTS}{told}"))).await;
        let answer = troupe.call(Call::tool("t").timeout(Duration::from_millis(200))).await;
        assert!(matches!(kind(answer), CallErrorKind::DeadlineExceeded { sent: true, .. }));
        end(troupe).await;
    }
}

#[tokio::test]
async fn what_is_over_the_size_limit_costs_its_call_alone() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let cases: Vec<fn(u64) -> Do> = vec![
        |_| Do::Stay(format!("{HEAD}content-length: 99999999\r\n\r\n")),
        |_| {
            let chunk = format!("{:x}\r\n{}\r\n", 1000, "x".repeat(1000));
            Do::Flood(format!("{HEAD}transfer-encoding: chunked\r\n\r\n"), chunk.into_bytes())
        },
        |_| Do::Flood(format!("{EVENTS}data: "), "x".repeat(1000).into_bytes()),
        |_| Do::Flood(format!("{EVENTS}:"), "x".repeat(1000).into_bytes()),
    ];
    for script in cases {
        let server = RawServer::start(move |asked| {
            let id = asked.body["id"].as_u64().unwrap_or_default();
            match asked.body["params"]["arguments"]["well"].as_bool() {
                Some(true) => Do::Send(whole(&json!({"id": id, "result": {"content": []}}))),
                _ => modern(asked).unwrap_or_else(|| script(id)),
            }
        })
        .await;
        let limit = |settings: &mut Settings| settings.limits.message_bytes_max = 64 << 10;
        let troupe = start_with(limit, [server.server()]).await;
        troupe.ready(Readiness::All).await.unwrap();
        let bad = troupe.call(Call::tool("t").timeout(Duration::from_secs(20)));
        let good = troupe.call(Call::tool("t").args(json!({"well": true})));
        let (bad, good) = tokio::join!(bad, good);
        let CallErrorKind::InvalidResponse { reason } = kind(bad) else { panic!("it was accepted") };
        assert!(reason.contains("limit of 65536 bytes"), "{reason}");
        assert!(good.is_ok());
        end(troupe).await;
    }
}

/// Why a server that was just started is not ready.
async fn reason(server: Server) -> String {
    let fast = |settings: &mut Settings| {
        settings.pool.probe_timeout = Duration::from_millis(100);
        settings.pool.handshake_timeout = Some(Duration::from_millis(500));
    };
    let troupe = start_with(fast, [server]).await;
    let CallErrorKind::Unavailable { servers } = kind(troupe.call(Call::tool("t")).await) else { panic!() };
    end(troupe).await;
    servers[0].reason.clone()
}

#[tokio::test]
async fn a_server_that_refuses_the_handshake_is_told_with_its_reason() {
    let cases: &[(&'static str, &'static [&'static str], &'static str, &'static str)] = &[
        ("401 Unauthorized", &[], "", "unauthorized"),
        ("403 Forbidden", &[], "", "unauthorized"),
        ("404 Not Found", &["content-type: text/html"], "<html>", "no MCP server at this address"),
        ("405 Method Not Allowed", &[], "", "no MCP server at this address"),
        ("301 Moved", &["location: https://h/mcp?t=s3cret"], "", "points to https://h/mcp"),
        ("429 Too Many Requests", &["retry-after: 3"], "", "tried again in 3s"),
        ("500 Oops", &[], "", "failed with HTTP status 500"),
        ("503 Oops", &[], "", "failed with HTTP status 503"),
        ("200 OK", &["content-type: text/html"], "<html>", "text/html"),
        ("200 OK", &[JSON], "{\"x\":", "no JSON-RPC message"),
    ];
    for &(status, headers, body, words) in cases {
        let server = RawServer::start(move |_| Do::Send(answer(status, headers, body))).await;
        let told = reason(server.server()).await;
        assert!(told.contains(words) && !told.contains("s3cret"), "{status}: {told}");
    }
    let long = format!("mcp-session-id: {}", "x".repeat(8193));
    let server = RawServer::start(move |asked| match asked.method() {
        "initialize" => Do::Send(answer("200 OK", &[JSON, &long], "{}")),
        _ => Do::Send(answer("400 Bad Request", &[], "")),
    })
    .await;
    assert!(reason(server.server()).await.contains("session id has more than 8192 bytes"));
    let silent = RawServer::start(|_| Do::Stay(String::new())).await;
    assert!(reason(silent.server()).await.contains("no handshake within"));
    let cut = RawServer::start(|_| Do::Send(String::new())).await;
    let told = reason(cut.server()).await;
    assert!(told.contains("connection closed"), "{told}");
}

#[tokio::test]
async fn a_server_that_says_when_to_come_again_is_not_dialled_before() {
    let server =
        RawServer::start(|_| Do::Send(answer("429 Too Many Requests", &["retry-after: 100"], ""))).await;
    let troupe = start([server.server()]).await;
    let CallErrorKind::Unavailable { servers } = kind(troupe.call(Call::tool("t")).await) else { panic!() };
    let after = servers[0].retry_after.unwrap_or_default();
    assert!((Duration::from_secs(60)..=Duration::from_secs(100)).contains(&after), "{after:?}");
    end(troupe).await;
}

#[tokio::test]
async fn a_server_of_the_old_transport_is_refused_with_an_error_that_says_so() {
    let server = ScriptedServer::builder().old_http().start().await;
    let told = reason(Server::http("s", server.url())).await;
    assert!(told.contains("the old HTTP+SSE transport of 2024-11-05"), "{told}");
}

#[tokio::test]
async fn a_refused_connection_is_told_and_the_server_joins_when_it_appears() {
    let mut server = ScriptedServer::builder().http().tool("echo", Script::Echo).start().await;
    server.stop_listening().await;
    let troupe = start([Server::http("s", server.url())]).await;
    let CallErrorKind::Unavailable { servers } = kind(troupe.call(echo()).await) else { panic!() };
    assert!(servers[0].reason.starts_with("the server cannot be reached: "), "{}", servers[0]);
    server.resume().await;
    troupe.ready(Readiness::All).await.unwrap();
    assert!(troupe.call(echo()).await.is_ok());
    end(troupe).await;
}

#[tokio::test]
async fn a_server_that_went_away_is_noticed_by_the_next_call_which_waits_for_it_unsent() {
    for era in [ScriptedEra::Modern, ScriptedEra::Legacy] {
        let mut server = ScriptedServer::builder().era(era).http().tool("echo", Script::Echo).start().await;
        let troupe = ready([Server::http("s", server.url())]).await;
        let mut events = troupe.events();
        server.stop_listening().await;
        let call = tokio::spawn(troupe.call(echo()));
        event(&mut events, |event| matches!(event, Event::ConnectionLost { .. })).await;
        server.resume().await;
        let reply = call.await.unwrap().unwrap();
        assert_eq!((reply.attempts, server.calls("echo")), (1, 1));
        assert_eq!(troupe.servers()[0].status, ServerStatus::Ready);
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_server_that_is_gone_never_counts_as_ready_also_where_its_era_is_known() {
    for era in [ScriptedEra::Modern, ScriptedEra::Legacy] {
        let mut server = ScriptedServer::builder().era(era).http().tool("echo", Script::Echo).start().await;
        let troupe = ready([Server::http("s", server.url())]).await;
        let mut events = troupe.events();
        server.stop_listening().await;
        let call = troupe.call(echo().timeout(Duration::from_secs(20)));
        let call = tokio::spawn(call);
        event(&mut events, |event| matches!(event, Event::ConnectionLost { .. })).await;
        let next = event(&mut events, |event| {
            let opened = matches!(event, Event::ConnectionOpened { .. });
            opened || matches!(event, Event::ServerStatusChanged { to: ServerStatus::Disconnected, .. })
        })
        .await;
        let Event::ServerStatusChanged { reason, .. } = next else { panic!("it was taken for open") };
        assert!(reason.unwrap_or_default().contains("cannot be reached"));
        call.abort();
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_server_that_dies_with_calls_in_flight_counts_as_one_failure() {
    let server =
        ScriptedServer::builder().http().tool("hold", Script::Hold).tool("echo", Script::Echo).start().await;
    let proxy = FaultProxy::start(&server.url()).await.unwrap();
    let troupe = ready([Server::http("s", proxy.url())]).await;
    let mut calls = JoinSet::new();
    (0..20).for_each(|_| drop(calls.spawn(troupe.call(Call::tool("hold")))));
    server.wait_for(|seen| seen.calls.get("hold") == Some(&20)).await;
    proxy.cut();
    for answer in calls.join_all().await {
        let error = answer.unwrap_err();
        assert!(matches!(error.kind(), CallErrorKind::ConnectionLost { sent: true, .. }), "{error}");
    }
    assert_eq!(troupe.stats().await.servers[0].breaker.as_ref().unwrap().state, BreakerState::Closed);
    assert!(troupe.call(echo()).await.is_ok());
    end(troupe).await;
}

#[tokio::test]
async fn server_errors_open_the_breaker_and_missing_credentials_do_not() {
    let server = ScriptedServer::builder().http().tool("echo", Script::Echo).start().await;
    let troupe = ready([Server::http("s", server.url())]).await;
    for status in [401, 403, 429, 400] {
        server.refuse_with(status, &[]);
        for _ in 0..10 {
            assert!(matches!(kind(troupe.call(echo()).await), CallErrorKind::Refused(_)));
        }
        assert_eq!(
            troupe.stats().await.servers[0].breaker.as_ref().unwrap().state,
            BreakerState::Closed,
            "{status}"
        );
    }
    server.refuse_with(502, &[]);
    let mut events = troupe.events();
    for _ in 0..5 {
        assert!(matches!(kind(troupe.call(echo()).await), CallErrorKind::Refused(_)));
    }
    event(&mut events, |event| matches!(event, Event::BreakerChanged { .. })).await;
    end(troupe).await;
}

#[tokio::test]
async fn a_call_that_one_replica_refuses_unread_is_answered_by_another() {
    for status in [401, 403, 404, 429] {
        let a = ScriptedServer::builder().http().tool("echo", Script::Echo).start().await;
        let b = ScriptedServer::builder().http().tool("echo", Script::Echo).start().await;
        let replicas = [("a", &a), ("b", &b)];
        let troupe = ready(replicas.map(|(id, server)| Server::http(id, server.url()).group("g"))).await;
        a.refuse_with(status, &[]);
        for _ in 0..4 {
            let reply = troupe.call(echo()).await.unwrap();
            assert_eq!((reply.server.as_str(), reply.attempts), ("b", 1), "{status}");
        }
        b.refuse_with(status, &[("retry-after", "5")]);
        let error = troupe.call(echo()).await.unwrap_err();
        assert_eq!(error.effect(), Effect::Rejected, "{error}");
        end(troupe).await;
    }
}
