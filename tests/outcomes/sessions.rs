//! A legacy server's session: what says that it is lost, what does not, and how often that is believed.

use std::time::Duration;

use mcp_troupe::{Call, CallError, CallErrorKind, Effect, Reply};
use serde_json::json;

use super::Executions;
use super::common::{end, ready};
use super::raw::{Asked, Do, RawServer, answer, legacy};

const JSON: &str = "content-type: application/json";

fn result(asked: &Asked) -> Do {
    let body = json!({"jsonrpc": "2.0", "id": asked.body["id"], "result": {"content": []}});
    Do::Send(answer("200 OK", &[JSON], &body.to_string()))
}

/// A legacy server with a session whose tool `t` does this; it has no stream for what it says unasked.
async fn server(call: impl Fn(&Asked) -> Do + Send + Sync + 'static) -> RawServer {
    RawServer::start(move |asked| {
        legacy(asked).unwrap_or_else(|| match asked.verb.as_str() {
            "GET" => Do::Send(answer("405 Method Not Allowed", &[], "")),
            _ => call(asked),
        })
    })
    .await
}

fn times(server: &RawServer, what: &str) -> usize {
    server.asked().iter().filter(|asked| *asked == what).count()
}

async fn call(server: &RawServer, call: Call) -> Result<Reply, CallError> {
    let troupe = ready([server.server()]).await;
    let answer = troupe.call(call.timeout(Duration::from_secs(20))).await;
    end(troupe).await;
    answer
}

#[tokio::test]
async fn an_error_about_some_session_is_the_answer_and_repeats_no_call() {
    for status in
        ["500 Internal Server Error", "502 Bad Gateway", "409 Conflict", "400 Bad Request", "404 Not Found"]
    {
        for code in [-32000, -32001, -32600, -32603] {
            let executions = Executions::default();
            let count = executions.clone();
            let server = server(move |asked| {
                count.add();
                let message = "charged the card, then the browser session was closed";
                let error = json!({"code": code, "message": message});
                let body = json!({"jsonrpc": "2.0", "id": asked.body["id"], "error": error}).to_string();
                Do::Send(answer(status, &[JSON], &body))
            })
            .await;
            let error = call(&server, Call::tool("t")).await.unwrap_err();
            assert!(matches!(error.kind(), CallErrorKind::Rpc(rpc) if rpc.code == code), "{status}: {error}");
            assert_eq!((executions.count(), error.attempts()), (1, 1), "{status} {code}");
            assert_ne!(error.effect(), Effect::NotSent, "{status} {code}");
            assert_eq!(times(&server, "POST initialize"), 1, "{status} {code}: it cost everybody's session");
        }
    }
}

#[tokio::test]
async fn a_result_that_comes_with_a_status_of_lost_sessions_is_the_answer() {
    let executions = Executions::default();
    let count = executions.clone();
    let server = server(move |asked| {
        count.add();
        let body = json!({"jsonrpc": "2.0", "id": asked.body["id"], "result": {"content": []}});
        Do::Send(answer("404 Not Found", &[JSON], &body.to_string()))
    })
    .await;
    assert_eq!(call(&server, Call::tool("t")).await.unwrap().attempts, 1);
    assert_eq!(executions.count(), 1);
}

#[tokio::test]
async fn a_session_that_the_server_forgot_moves_its_call_in_whichever_words_an_sdk_says_so() {
    for (status, headers, body) in [
        ("404 Not Found", &[][..], ""),
        ("404 Not Found", &["content-type: text/plain; charset=utf-8"], "session not found\n"),
        ("404 Not Found", &[], "Not Found: Session not found"),
        (
            "404 Not Found",
            &[JSON],
            r#"{"jsonrpc":"2.0","id":"","error":{"code":-32001,"message":"Session not found"}}"#,
        ),
        (
            "404 Not Found",
            &[JSON],
            r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Not Found: Session has been terminated"}}"#,
        ),
        ("400 Bad Request", &[], "Bad Request: No valid session ID provided"),
        ("400 Bad Request", &["content-type: text/plain"], "Invalid session: one"),
        ("410 Gone", &[], ""),
        ("422 Unprocessable Entity", &[JSON], r#"{"detail":"Session expired"}"#),
        (
            "400 Bad Request",
            &[JSON],
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32602,"message":"Session 'one' does not exist"}}"#,
        ),
        (
            "400 Bad Request",
            &[JSON],
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request: Server not initialized"}}"#,
        ),
    ] {
        let (arrivals, executions) = (Executions::default(), Executions::default());
        let count = executions.clone();
        let server = server(move |asked| {
            if arrivals.add() == 1 {
                return Do::Send(answer(status, headers, body));
            }
            count.add();
            result(asked)
        })
        .await;
        let reply = call(&server, Call::tool("t")).await.unwrap();
        assert_eq!((reply.attempts, executions.count()), (1, 1), "{status} {body}");
        assert_eq!(times(&server, "POST initialize"), 2, "{status} {body}");
    }
}

#[tokio::test]
async fn a_call_whose_session_is_lost_twice_ends_as_unknown_and_moves_no_more() {
    let server = server(|_| Do::Send(answer("404 Not Found", &[], ""))).await;
    let error = call(&server, Call::tool("t")).await.unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::ConnectionLost { sent: true, .. }), "{error}");
    assert_eq!((error.effect(), error.attempts(), error.retryable()), (Effect::Unknown, 1, false));
    assert_eq!(times(&server, "POST tools/call"), 2, "it moved once");
    // Who declared it safe has the attempts that the settings grant beside that.
    let error = call(&server, Call::tool("t").idempotent()).await.unwrap_err();
    assert_eq!(error.effect(), Effect::Unknown, "{error}");
    assert_eq!(times(&server, "POST tools/call"), 2 + 1 + 3);
}

#[tokio::test]
async fn a_server_without_an_address_for_its_stream_keeps_its_sessions() {
    let server = RawServer::start(|asked| {
        legacy(asked).unwrap_or_else(|| match asked.verb.as_str() {
            "GET" => Do::Send(answer("404 Not Found", &["content-type: text/html"], "<html>")),
            _ => result(asked),
        })
    })
    .await;
    let troupe = ready([server.server()]).await;
    for _ in 0..3 {
        assert_eq!(troupe.call(Call::tool("t")).await.unwrap().attempts, 1);
    }
    server.wait_for("GET", 1).await;
    assert!(troupe.call(Call::tool("t")).await.is_ok());
    assert_eq!(times(&server, "POST initialize"), 1);
    end(troupe).await;
}

/// How a call ends, and how often it was carried out, where each answer is this text with a status of lost sessions.
async fn carried_out(said: impl Fn(&Asked) -> String + Send + Sync + 'static) -> (u64, Option<Effect>) {
    let executions = Executions::default();
    let count = executions.clone();
    let server = server(move |asked| {
        count.add();
        Do::Send(said(asked))
    })
    .await;
    let told = call(&server, Call::tool("t")).await;
    (executions.count(), told.err().map(|error| error.effect()))
}

fn charged(asked: &Asked, more: usize) -> String {
    let message = format!("charged the card, then the record was gone {}", "x".repeat(more));
    json!({"jsonrpc": "2.0", "id": asked.body["id"], "error": {"code": -32050, "message": message}})
        .to_string()
}

#[tokio::test]
async fn an_answer_with_a_status_of_lost_sessions_that_is_too_large_to_be_read_repeats_no_call() {
    let (executions, told) =
        carried_out(|asked| answer("404 Not Found", &[JSON], &charged(asked, 100_000))).await;
    assert_eq!(executions, 1, "{told:?}");
    assert_ne!(told, Some(Effect::NotSent));
}

#[tokio::test]
async fn an_answer_with_a_status_of_lost_sessions_that_is_cut_off_repeats_no_call() {
    let (executions, told) = carried_out(|asked| {
        let whole = answer("404 Not Found", &[JSON], &charged(asked, 100));
        whole[..whole.len() - 20].to_owned()
    })
    .await;
    assert_eq!(executions, 1, "{told:?}");
    assert_ne!(told, Some(Effect::NotSent));
}

#[tokio::test]
async fn an_answer_as_an_event_with_a_status_of_lost_sessions_repeats_no_call() {
    let (executions, told) = carried_out(|asked| {
        answer(
            "404 Not Found",
            &["content-type: text/event-stream"],
            &format!("data: {}\n\n", charged(asked, 10)),
        )
    })
    .await;
    assert_eq!(executions, 1, "{told:?}");
    assert_ne!(told, Some(Effect::NotSent));
}

#[tokio::test]
async fn an_answer_of_another_content_type_with_a_status_of_lost_sessions_repeats_no_call() {
    for header in ["content-type: text/plain", "content-type: application/problem+json", "x-none: 1"] {
        let (executions, told) =
            carried_out(move |asked| answer("404 Not Found", &[header], &charged(asked, 10))).await;
        assert_eq!(executions, 1, "{header} {told:?}");
        assert_ne!(told, Some(Effect::NotSent), "{header}");
    }
}
