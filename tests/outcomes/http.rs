//! HTTP: what a status says, for which request an answer counts, and where an exchange may break.

use std::time::Duration;

use mcp_troupe::{Call, CallErrorKind, Effect, Event, Server, Troupe};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::Executions;
use super::common::{end, event, kind, ready};
use super::raw::{Asked, Do, EVENTS, RawServer, answer, json as whole, legacy, modern};

const JSON: &str = "content-type: application/json";

fn id(asked: &Asked) -> u64 {
    asked.body["id"].as_u64().unwrap_or_default()
}

fn argument(asked: &Asked) -> &str {
    asked.body["params"]["arguments"]["say"].as_str().unwrap_or_default()
}

/// A result that shows for which request it was made.
fn result(id: u64, text: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": text}]}})
}

/// A modern server whose tool `t` does this.
async fn server(call: impl Fn(&Asked) -> Do + Send + Sync + 'static) -> RawServer {
    RawServer::start(move |asked| modern(asked).unwrap_or_else(|| call(asked))).await
}

/// What four calls of a tool that is not declared safe meet, where one of two replicas carries out what it gets and answers
/// with this status: how many are answered, and how many each replica carries out.
async fn between_replicas(
    status: &'static str,
    headers: &'static [&'static str],
) -> (usize, u64, u64, Vec<Effect>) {
    let counts = [Executions::default(), Executions::default()];
    let [bad, good] = counts.clone();
    let a = server(move |_| {
        bad.add();
        Do::Send(answer(status, headers, "<html>"))
    })
    .await;
    let b = server(move |asked| {
        good.add();
        Do::Send(whole(&result(id(asked), "done")))
    })
    .await;
    let replicas = [("a", &a), ("b", &b)].map(|(id, server)| Server::http(id, server.url()).group("g"));
    let troupe = ready(replicas).await;
    let (mut answered, mut told) = (0, Vec::new());
    for _ in 0..4 {
        match troupe.call(Call::tool("t")).await {
            Ok(_) => answered += 1,
            Err(error) => told.push(error.effect()),
        }
    }
    end(troupe).await;
    (answered, counts[0].count(), counts[1].count(), told)
}

#[tokio::test]
async fn a_status_that_may_follow_an_execution_is_unknown_and_moves_no_call_to_a_replica() {
    for status in [
        "302 Found",
        "303 See Other",
        "300 Multiple Choices",
        "408 Request Timeout",
        "499 Client Closed Request",
        "500 Internal Server Error",
        "502 Bad Gateway",
        "503 Service Unavailable",
        "504 Gateway Timeout",
        "520 Unknown",
    ] {
        let (answered, bad, good, told) = between_replicas(status, &["location: https://h/elsewhere"]).await;
        assert_eq!((answered, bad, good), (2, 2, 2), "{status}");
        assert_eq!(told, [Effect::Unknown; 2], "{status}");
    }
}

#[tokio::test]
async fn a_status_that_is_about_the_request_rejects_it_and_moves_no_call() {
    for status in [
        "400 Bad Request",
        "406 Not Acceptable",
        "409 Conflict",
        "413 Too Large",
        "415 Type",
        "421 Misdirected",
    ] {
        let (answered, _, good, told) = between_replicas(status, &[]).await;
        assert_eq!((answered, good), (2, 2), "{status}");
        assert_eq!(told, [Effect::Rejected; 2], "{status}");
    }
}

#[tokio::test]
async fn a_status_that_is_about_the_server_moves_the_call_to_its_replica() {
    for (status, headers) in [
        ("301 Moved", &["location: https://h/mcp"][..]),
        ("307 Temporary Redirect", &["location: https://h/mcp"]),
        ("308 Permanent Redirect", &["location: https://h/mcp"]),
        ("401 Unauthorized", &[]),
        ("403 Forbidden", &[]),
        ("404 Not Found", &[]),
        ("405 Method Not Allowed", &[]),
        ("410 Gone", &[]),
        ("429 Too Many Requests", &[]),
        ("503 Service Unavailable", &["retry-after: 1"]),
    ] {
        let (answered, _, good, told) = between_replicas(status, headers).await;
        assert_eq!((answered, good, told.len()), (4, 4, 0), "{status}");
    }
}

#[tokio::test]
async fn a_rejection_that_names_no_request_says_nothing_where_the_status_may_follow_an_execution() {
    for status in ["500 Oops", "502 Bad Gateway", "504 Gateway Timeout", "408 Request Timeout"] {
        let executions = Executions::default();
        let count = executions.clone();
        let server = server(move |asked| {
            count.add();
            let names = argument(asked) == "named";
            let id = if names { asked.body["id"].clone() } else { Value::Null };
            let error = json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32600, "message": "upstream"}});
            Do::Send(answer(status, &[JSON], &error.to_string()))
        })
        .await;
        let troupe = ready([server.server()]).await;
        let unnamed = troupe.call(Call::tool("t")).await.unwrap_err();
        assert!(matches!(unnamed.kind(), CallErrorKind::Refused(_)), "{status}: {unnamed}");
        assert_eq!(unnamed.effect(), Effect::Unknown, "{status}");
        let named = troupe.call(Call::tool("t").args(json!({"say": "named"}))).await.unwrap_err();
        assert!(matches!(named.kind(), CallErrorKind::Rpc(_)), "{status}: {named}");
        assert_eq!(named.effect(), Effect::Rejected, "{status}");
        assert_eq!(executions.count(), 2, "{status}: nothing was repeated");
        end(troupe).await;
    }
}

#[tokio::test]
async fn an_error_that_names_its_call_is_the_answer_with_any_status() {
    for (status, headers) in [
        ("401 Unauthorized", &[JSON][..]),
        ("403 Forbidden", &[JSON]),
        ("429 Too Many Requests", &[JSON]),
        ("503 Service Unavailable", &[JSON, "retry-after: 1"]),
        ("500 Internal Server Error", &[JSON]),
    ] {
        let executions = Executions::default();
        let replica = async || {
            let count = executions.clone();
            server(move |asked| {
                count.add();
                let error = json!({"code": -32000, "message": "charged, then the shop's own limit struck"});
                let error = json!({"jsonrpc": "2.0", "id": id(asked), "error": error});
                Do::Send(answer(status, headers, &error.to_string()))
            })
            .await
        };
        let (a, b) = (replica().await, replica().await);
        let troupe =
            ready([("a", &a), ("b", &b)].map(|(id, server)| Server::http(id, server.url()).group("g"))).await;
        let error = troupe.call(Call::tool("t")).await.unwrap_err();
        assert!(matches!(error.kind(), CallErrorKind::Rpc(_)), "{status}: {error}");
        assert_eq!((executions.count(), error.effect()), (1, Effect::Failed), "{status}");
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_tools_own_error_with_the_code_of_wrong_headers_repeats_no_call() {
    for events in [false, true] {
        let executions = Executions::default();
        let count = executions.clone();
        let server = server(move |asked| {
            count.add();
            let error =
                json!({"id": id(asked), "error": {"code": -32020, "message": "charged, and then failed"}});
            if events { Do::Send(format!("{EVENTS}data: {error}\n\n")) } else { Do::Send(whole(&error)) }
        })
        .await;
        let troupe = ready([server.server()]).await;
        let error = troupe.call(Call::tool("t")).await.unwrap_err();
        assert!(matches!(error.kind(), CallErrorKind::Rpc(rpc) if rpc.code == -32020), "{error}");
        assert_eq!(executions.count(), 1);
        end(troupe).await;
    }
}

/// A server whose first call waits until it is let go, and whose second is answered with the first one's id.
async fn confused(events: bool) -> RawServer {
    let first = std::sync::atomic::AtomicU64::new(0);
    server(move |asked| {
        let own = id(asked);
        match argument(asked) {
            "one" => {
                first.store(own, std::sync::atomic::Ordering::SeqCst);
                let body = result(own, "one").to_string();
                let head = format!("HTTP/1.1 200 OK\r\n{JSON}\r\ncontent-length: {}\r\n\r\n", body.len());
                Do::Late(String::new(), format!("{head}{body}"))
            }
            _ => {
                let body = result(first.load(std::sync::atomic::Ordering::SeqCst), "two");
                if events { Do::Send(format!("{EVENTS}data: {body}\n\n")) } else { Do::Send(whole(&body)) }
            }
        }
    })
    .await
}

fn saying(text: &str) -> Call {
    Call::tool("t").args(json!({"say": text})).timeout(Duration::from_secs(20))
}

#[tokio::test]
async fn an_http_answer_that_names_another_request_answers_no_other_request() {
    for events in [false, true] {
        let server = confused(events).await;
        let troupe = ready([server.server()]).await;
        let mut told = troupe.events();
        let one = tokio::spawn(troupe.call(saying("one")));
        server.wait_for("POST tools/call", 1).await;
        let two = troupe.call(saying("two")).await.unwrap_err();
        assert_eq!(two.effect(), Effect::Unknown, "{two}");
        match two.kind() {
            CallErrorKind::InvalidResponse { reason } => {
                assert!(!events && reason.contains("this request"), "{two}")
            }
            // A stream could have gone on to the right one.
            CallErrorKind::ConnectionLost { sent: true, .. } => assert!(events, "{two}"),
            other => panic!("{other}"),
        }
        let violation = event(&mut told, |event| matches!(event, Event::ProtocolViolation { .. })).await;
        let Event::ProtocolViolation { reason: detail, .. } = violation else { unreachable!() };
        assert!(detail.contains("on the exchange of request"), "{detail}");
        server.let_go();
        assert_eq!(one.await.unwrap().unwrap().text().unwrap(), "one", "it has its own answer");
        end(troupe).await;
    }
}

#[tokio::test]
async fn an_answer_on_the_right_stream_counts_after_one_that_is_not_meant() {
    let server = server(|asked| {
        let (other, own) = (result(id(asked) + 1, "other"), result(id(asked), "own"));
        Do::Send(format!("{EVENTS}data: {other}\n\ndata: {own}\n\n"))
    })
    .await;
    let troupe = ready([server.server()]).await;
    assert_eq!(troupe.call(Call::tool("t")).await.unwrap().text().unwrap(), "own");
    end(troupe).await;
}

#[tokio::test]
async fn what_a_server_tells_all_its_clients_answers_no_call() {
    // It sends the answers to one client's calls to all that listen, as the simplest of servers do.
    let server = RawServer::start(|asked| {
        legacy(asked).unwrap_or_else(|| match asked.verb.as_str() {
            "GET" => {
                let answers: String =
                    (1..20).map(|id| format!("data: {}\n\n", result(id, "another client's"))).collect();
                Do::Late(EVENTS.replace("connection: close\r\n", ""), answers)
            }
            _ => Do::Late(String::new(), {
                let body = result(id(asked), "own").to_string();
                format!("HTTP/1.1 200 OK\r\n{JSON}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
            }),
        })
    })
    .await;
    let troupe = ready([server.server()]).await;
    let mut told = troupe.events();
    server.wait_for("GET", 1).await;
    let call = tokio::spawn(troupe.call(Call::tool("t").timeout(Duration::from_secs(20))));
    server.wait_for("POST tools/call", 1).await;
    server.let_go();
    assert_eq!(call.await.unwrap().unwrap().text().unwrap(), "own");
    let strange = |event: &Event| matches!(event, Event::ProtocolViolation { reason, .. } if reason.contains("unasked"));
    event(&mut told, strange).await;
    end(troupe).await;
}

/// How a call ends whose exchange the server breaks off, and how often it arrived.
async fn broken(
    safe: bool,
    script: impl Fn(&Asked) -> Do + Send + Sync + 'static,
) -> (CallErrorKind, Effect, u64) {
    let arrivals = Executions::default();
    let count = arrivals.clone();
    let server = server(move |asked| {
        count.add();
        script(asked)
    })
    .await;
    let troupe = ready([server.server()]).await;
    let call = Call::tool("t").timeout(Duration::from_secs(20));
    let error = troupe.call(if safe { call.idempotent() } else { call }).await.unwrap_err();
    end(troupe).await;
    (error.kind().clone(), error.effect(), arrivals.count())
}

#[tokio::test]
async fn an_exchange_that_breaks_after_the_request_was_written_is_unknown_and_repeated_only_if_safe() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    for bytes in [
        String::new(),
        "HTTP/1.1 200".to_owned(),
        format!("{head}content-length: 100\r\n\r\n{{\"jsonrpc\""),
        format!("{EVENTS}: hello\n\n"),
        "HTTP/1.1 100 Continue\r\n\r\n".to_owned(),
    ] {
        let sent = bytes.clone();
        let (kind, outcome, arrived) = broken(false, move |_| Do::Send(sent.clone())).await;
        assert!(matches!(kind, CallErrorKind::ConnectionLost { sent: true, .. }), "{bytes:?}: {kind}");
        assert_eq!((outcome, arrived), (Effect::Unknown, 1), "{bytes:?}");
        let (_, outcome, arrived) = broken(true, move |_| Do::Send(bytes.clone())).await;
        assert_eq!((outcome, arrived), (Effect::Unknown, 3));
    }
}

/// A troupe with a server that closes each connection after one answer without saying so, so that the next request may meet
/// the close.
async fn closing() -> (RawServer, Executions, Troupe) {
    let executions = Executions::default();
    let count = executions.clone();
    let server = server(move |asked| {
        count.add();
        let body = result(id(asked), "done").to_string();
        Do::Send(format!("HTTP/1.1 200 OK\r\n{JSON}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
    })
    .await;
    let troupe = ready([server.server()]).await;
    (server, executions, troupe)
}

#[tokio::test]
async fn a_request_that_meets_a_close_is_carried_out_once_or_told_as_lost() {
    let (_server, executions, troupe) = closing().await;
    let (mut done, mut unknown) = (0, 0);
    for _ in 0..100 {
        match troupe.call(Call::tool("t")).await {
            Ok(_) => done += 1,
            Err(error) => {
                assert_eq!(error.effect(), Effect::Unknown, "{error}");
                unknown += 1;
            }
        }
    }
    let carried_out = executions.count();
    assert!(
        (done..=done + unknown).contains(&carried_out),
        "{done} done, {unknown} unknown, {carried_out} carried out"
    );
    end(troupe).await;
}

#[tokio::test]
async fn a_call_that_finds_nobody_listening_never_arrived() {
    let server = server(|asked| Do::Send(whole(&result(id(asked), "done")))).await;
    let troupe = ready([server.server()]).await;
    let mut told = troupe.events();
    let address = server.url().trim_start_matches("http://").to_owned();
    drop(server);
    while TcpStream::connect(&address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let error = troupe.call(Call::tool("t").timeout(Duration::from_millis(300))).await.unwrap_err();
    assert_eq!((error.effect(), error.attempts(), error.retryable()), (Effect::NotSent, 0, true), "{error}");
    event(&mut told, |event| matches!(event, Event::ConnectionLost { .. })).await;
    end(troupe).await;
}

#[tokio::test]
async fn an_answer_over_the_limit_is_unknown() {
    let length = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99999999\r\n\r\n";
    let (kind, outcome, arrived) = broken(false, |_| Do::Stay(length.to_owned())).await;
    assert!(matches!(kind, CallErrorKind::InvalidResponse { .. }), "{kind}");
    assert_eq!((outcome, arrived), (Effect::Unknown, 1));
}

#[tokio::test]
async fn a_deadline_that_passes_while_the_server_works_is_unknown() {
    let server = server(|_| Do::Stay(EVENTS.to_owned())).await;
    let troupe = ready([server.server()]).await;
    let call = troupe.call(Call::tool("t").timeout(Duration::from_secs(2)));
    let (answer, ()) = tokio::join!(call, server.wait_for("POST tools/call", 1));
    let error = kind(answer);
    assert!(matches!(error, CallErrorKind::DeadlineExceeded { sent: true, .. }), "{error}");
    assert_eq!(error.effect(), Effect::Unknown);
    end(troupe).await;
}

#[tokio::test]
async fn a_page_is_no_answer_however_large_it_is_or_where_it_breaks_off() {
    for (status, content, cut) in [
        ("404 Not Found", "content-type: text/html", 0),
        ("404 Not Found", "content-type: text/html", 9),
        ("403 Forbidden", "content-type: text/plain", 0),
        ("429 Too Many Requests", "content-type: text/plain", 9),
    ] {
        let refusing = server(move |_| {
            let whole = answer(status, &[content], &format!("Nothing is here. {}", "x".repeat(100_000)));
            Do::Send(whole[..whole.len() - cut].to_owned())
        })
        .await;
        let good = server(|asked| Do::Send(whole(&result(id(asked), "done")))).await;
        let replicas =
            [("a", &refusing), ("b", &good)].map(|(id, server)| Server::http(id, server.url()).group("g"));
        let troupe = ready(replicas).await;
        for _ in 0..4 {
            let reply = troupe.call(Call::tool("t")).await.unwrap();
            assert_eq!(reply.server.as_str(), "b", "{status} {content}");
        }
        end(troupe).await;
    }
}

#[tokio::test]
async fn an_answer_that_comes_with_a_redirection_is_the_answer_and_the_call_is_sent_nowhere_else() {
    for (status, content) in [
        ("307 Temporary Redirect", "content-type: application/json"),
        ("308 Permanent Redirect", "content-type: application/json"),
        ("307 Temporary Redirect", "content-type: text/plain"),
        ("307 Temporary Redirect", "x-none: 1"),
    ] {
        let executions = super::Executions::default();
        let count = executions.clone();
        let moved = server(move |asked| {
            count.add();
            let body = result(id(asked), "done").to_string();
            Do::Send(answer(status, &[content, "location: /elsewhere"], &body))
        })
        .await;
        let troupe = ready([Server::http("s", moved.url())]).await;
        assert_eq!(troupe.call(Call::tool("t")).await.unwrap().text().unwrap(), "done");
        assert_eq!(executions.count(), 1, "{status}");
        end(troupe).await;
    }
}

#[tokio::test]
async fn an_answer_that_comes_with_a_status_about_the_server_and_is_not_read_whole_moves_no_call_to_a_replica()
 {
    let mut wrong = Vec::new();
    for (status, more) in [
        ("404 Not Found", ""),
        ("401 Unauthorized", ""),
        ("403 Forbidden", ""),
        ("429 Too Many Requests", ""),
        ("503 Service Unavailable", "retry-after: 1"),
        ("422 Unprocessable Content", ""),
    ] {
        for (what, content, size, cut) in [
            ("cut", "content-type: application/json", 100, 20),
            ("large", "content-type: application/json", 100_000, 0),
            ("an event", "content-type: text/event-stream", 10, 0),
            ("of no type", "x-none: 1", 10, 0),
            ("cut under another type", "content-type: text/html", 100, 20),
            ("large under another type", "content-type: text/html", 100_000, 0),
            ("compressed", "content-type: application/json\r\ncontent-encoding: gzip", 10, 0),
            ("behind a byte order mark, cut", "content-type: application/json", 100, 21),
            ("one of several", "content-type: application/json", 10, 1),
            ("beside what is none", "content-type: application/json", 10, 1),
            ("compressed under another type", "content-type: text/html\r\ncontent-encoding: gzip", 10, 0),
        ] {
            let executions = super::Executions::default();
            let start = || {
                let count = executions.clone();
                server(move |asked| {
                    count.add();
                    let message = format!("charged the card, {}", "x".repeat(size));
                    let error = json!({"code": -32050, "message": message});
                    let mut body = json!({"jsonrpc": "2.0", "id": id(asked), "error": error}).to_string();
                    match what {
                        "an event" => body = format!("data: {body}\n\n"),
                        "behind a byte order mark, cut" => body = format!("\u{feff}{body}"),
                        "one of several" => {
                            let other = json!({"jsonrpc": "2.0", "id": 900_000, "result": {}});
                            body = format!("[{body},{other}] ");
                        }
                        "beside what is none" => body = format!("[{body},{{}}] "),
                        _ => {}
                    }
                    let headers: Vec<&str> =
                        [content, more].into_iter().filter(|line| !line.is_empty()).collect();
                    let whole = answer(status, &headers, &body);
                    Do::Send(whole[..whole.len() - cut].to_owned())
                })
            };
            let (a, b) = (start().await, start().await);
            let replicas =
                [("a", &a), ("b", &b)].map(|(id, server)| Server::http(id, server.url()).group("g"));
            let troupe = ready(replicas).await;
            let error =
                troupe.call(Call::tool("t").timeout(std::time::Duration::from_secs(3))).await.unwrap_err();
            end(troupe).await;
            let told = error.effect();
            if executions.count() != 1 || matches!(told, Effect::Rejected | Effect::NotSent) {
                wrong.push(format!(
                    "{status}, {what}: carried out {} times, told as {told:?}",
                    executions.count()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
