//! Servers as the field has them: what real ones do that the rules do not say, and public bug reports tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use mcp_troupe::testkit::{Script, ScriptedEra, ScriptedServer};
use mcp_troupe::{Call, CallErrorKind, Effect, Event, Server};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::calls::{one, scripted};
use super::common::{echo, end, event, kind, ready, start};
use super::raw::{Asked, Do, EVENTS, RawServer, answer, json as whole, legacy, modern};

fn result(asked: &Asked) -> Value {
    json!({"jsonrpc": "2.0", "id": asked.body["id"], "result": {"content": []}})
}

/// A whole answer that promises to keep its connection, which the server closes after it all the same.
fn promised(content_type: &str, body: &str) -> Do {
    let length = body.len();
    Do::Send(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\nconnection: keep-alive\r\n\r\n{body}"
    ))
}

/// What a usual server answers, with the promise to keep its connection.
fn promising(usual: Option<Do>, asked: &Asked) -> Do {
    match usual {
        Some(Do::Send(said)) if said.starts_with("HTTP/1.1 200") && asked.method() != "initialize" => {
            promised("application/json", said.split_once("\r\n\r\n").unwrap().1)
        }
        Some(Do::Send(said)) => Do::Send(said.replace("connection: close", "connection: keep-alive")),
        Some(other) => other,
        None if asked.verb == "GET" => Do::Send(answer("405 Method Not Allowed", &[], "")),
        None => {
            let event = format!("event: message\ndata: {}\n\n", result(asked));
            promised("text/event-stream", &event)
        }
    }
}

// alibaba/arthas#3268
#[tokio::test]
async fn a_server_that_closes_the_connections_it_promised_to_keep_loses_one_call_at_most() {
    for era in [legacy as fn(&Asked) -> Option<Do>, modern] {
        let server = RawServer::start(move |asked| promising(era(asked), asked)).await;
        let troupe = ready([server.server()]).await;
        let mut lost = 0;
        for _ in 0..30 {
            match troupe.call(Call::tool("t")).await {
                Ok(_) => {}
                Err(error) => {
                    assert!(matches!(error.kind(), CallErrorKind::ConnectionLost { .. }), "{error}");
                    lost += 1;
                }
            }
        }
        assert!(lost <= 1, "{lost} calls were lost");
        end(troupe).await;
    }
}

// codex#37228, ai-dial-core#1587
#[tokio::test]
async fn no_encoding_is_asked_for_by_any_request() {
    let bare = Arc::new(AtomicU32::new(0));
    let seen = bare.clone();
    let server = RawServer::start(move |asked| {
        if asked.header("accept-encoding") != Some("identity") {
            seen.fetch_add(1, Ordering::Relaxed);
        }
        legacy(asked).unwrap_or_else(|| match asked.verb.as_str() {
            "GET" => Do::Send(answer("405 Method Not Allowed", &[], "")),
            _ => Do::Send(whole(&result(asked))),
        })
    })
    .await;
    let troupe = ready([server.server()]).await;
    assert!(troupe.call(Call::tool("t")).await.is_ok());
    server.wait_for("GET", 1).await;
    end(troupe).await;
    server.wait_for("DELETE", 1).await;
    assert_eq!(bare.load(Ordering::Relaxed), 0);
}

/// How the call of a server ends whose address `/mcp` points to `location` with this status, and how often it is carried out
/// at `/mcp/`, with the credentials that belong to it.
async fn pointed(status: &'static str, location: impl Fn(&RawServer) -> String) -> (bool, u32) {
    let (carried_out, there) = (Arc::new(AtomicU32::new(0)), tokio::sync::watch::Sender::new(String::new()));
    let (count, to) = (carried_out.clone(), there.subscribe());
    let server = RawServer::start(move |asked| {
        if asked.path != "/mcp/" {
            return Do::Send(answer(status, &[&format!("location: {}", *to.borrow())], ""));
        }
        assert_eq!(asked.header("authorization"), Some("Bearer s3cret"));
        modern(asked).unwrap_or_else(|| {
            count.fetch_add(1, Ordering::Relaxed);
            Do::Send(whole(&result(asked)))
        })
    })
    .await;
    there.send_replace(location(&server));
    let at = Server::http("s", format!("{}/mcp", server.url())).bearer("s3cret");
    let troupe = start([at]).await;
    let answered = troupe.call(Call::tool("t").timeout(Duration::from_secs(10))).await.is_ok();
    end(troupe).await;
    (answered, carried_out.load(Ordering::Relaxed))
}

// langchain-mcp-adapters#206, python-sdk#732
#[tokio::test]
async fn a_redirection_within_the_origin_is_followed_with_the_request_as_it_is() {
    for status in ["307 Temporary Redirect", "308 Permanent Redirect"] {
        assert_eq!(pointed(status, |_| "/mcp/".to_owned()).await, (true, 1), "{status}");
        assert_eq!(pointed(status, |server| format!("{}/mcp/", server.url())).await, (true, 1), "{status}");
    }
}

#[tokio::test]
async fn no_redirection_is_followed_to_another_origin_in_circles_or_with_another_method() {
    for (status, location) in [
        ("307 Temporary Redirect", "http://127.0.0.2:9/mcp/"),
        ("307 Temporary Redirect", "//127.0.0.2:9/mcp/"),
        ("308 Permanent Redirect", "https://127.0.0.1/mcp/"),
        ("307 Temporary Redirect", "/mcp"),
        ("302 Found", "/mcp/"),
        ("303 See Other", "/mcp/"),
        ("301 Moved Permanently", "/mcp/"),
    ] {
        assert_eq!(pointed(status, |_| location.to_owned()).await, (false, 0), "{status} {location}");
    }
}

// python-sdk#2393, rust-sdk#958
#[tokio::test]
async fn a_stream_that_is_resumed_again_and_again_without_a_message_is_asked_for_ever_more_seldom() {
    let server = RawServer::start(|asked| {
        legacy(asked).unwrap_or_else(|| match (asked.verb.as_str(), asked.header("last-event-id")) {
            ("GET", None) => Do::Send(answer("405 Method Not Allowed", &[], "")),
            _ => Do::Send(format!("{EVENTS}id: e1\nretry: 10\ndata: \n\n")),
        })
    })
    .await;
    let troupe = ready([server.server()]).await;
    let error = troupe.call(Call::tool("t").timeout(Duration::from_secs(4))).await.unwrap_err();
    assert_eq!(error.effect(), Effect::Unknown);
    let asked = server.asked().iter().filter(|asked| *asked == "GET").count();
    assert!((5..20).contains(&asked), "{asked} times");
    end(troupe).await;
}

#[tokio::test]
async fn a_session_id_of_some_kib_is_sent_back() {
    let id = "x".repeat(4096);
    let begins = format!("mcp-session-id: {id}");
    let server = RawServer::start(move |asked| match legacy(asked) {
        Some(Do::Send(said)) if asked.method() == "initialize" => {
            Do::Send(said.replace("mcp-session-id: one", &begins))
        }
        Some(other) => other,
        None if asked.verb == "GET" => Do::Send(answer("405 Method Not Allowed", &[], "")),
        None if asked.header("mcp-session-id") == Some(&id) => Do::Send(whole(&result(asked))),
        None => Do::Send(answer("404 Not Found", &[], "")),
    })
    .await;
    let troupe = ready([server.server()]).await;
    assert_eq!(troupe.call(Call::tool("t")).await.unwrap().attempts, 1);
    end(troupe).await;
}

// typescript-sdk#1892, basic-memory#1378
#[tokio::test]
async fn a_call_that_a_server_has_no_capacity_for_is_made_when_the_server_says_and_others_wait_with_it() {
    for (status, name) in [("429 Too Many Requests", "429"), ("503 Service Unavailable", "503")] {
        let calls = AtomicU64::new(0);
        let server = RawServer::start(move |asked| {
            modern(asked).unwrap_or_else(|| match calls.fetch_add(1, Ordering::Relaxed) {
                0 => Do::Send(answer(status, &["retry-after: 1"], "slow down")),
                _ => Do::Send(whole(&result(asked))),
            })
        })
        .await;
        let troupe = ready([server.server()]).await;
        let begun = Instant::now();
        let first = tokio::spawn(troupe.call(Call::tool("t").timeout(Duration::from_secs(20))));
        while server.asked().iter().filter(|asked| *asked == "POST tools/call").count() < 1
            || troupe.stats().await.router.queued.normal < 1
        {
            tokio::task::yield_now().await;
        }
        let second = troupe.call(Call::tool("t").timeout(Duration::from_secs(20))).await.unwrap();
        assert!(
            Instant::now().saturating_duration_since(begun) >= Duration::from_secs(1),
            "{name}: it was not asked before"
        );
        assert_eq!((first.await.unwrap().unwrap().attempts, second.attempts), (1, 1), "{name}");
        assert_eq!(server.asked().iter().filter(|asked| *asked == "POST tools/call").count(), 3, "{name}");
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_call_that_has_less_time_than_a_server_asks_for_ends_at_once_and_is_not_sent_meanwhile() {
    let server = RawServer::start(|asked| {
        modern(asked)
            .unwrap_or_else(|| Do::Send(answer("429 Too Many Requests", &["retry-after: 100"], "slow down")))
    })
    .await;
    let troupe = ready([server.server()]).await;
    let call = || troupe.call(Call::tool("t").timeout(Duration::from_secs(50)));
    let error = call().await.unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::Refused(_)), "{error}");
    let error = call().await.unwrap_err();
    assert_eq!((error.effect(), error.attempts(), error.retryable()), (Effect::NotSent, 0, true), "{error}");
    assert!(error.to_string().contains("no more requests for now"), "{error}");
    assert!(error.retry_after().is_some_and(|after| after > Duration::from_secs(90)), "{error}");
    assert_eq!(server.asked().iter().filter(|asked| *asked == "POST tools/call").count(), 1);
    end(troupe).await;
}

#[tokio::test]
async fn a_server_that_never_has_capacity_is_asked_as_often_as_a_call_may_be_made() {
    let server = RawServer::start(|asked| {
        modern(asked)
            .unwrap_or_else(|| Do::Send(answer("429 Too Many Requests", &["retry-after: 0"], "slow down")))
    })
    .await;
    let troupe = ready([server.server()]).await;
    let error = troupe.call(Call::tool("t")).await.unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::Refused(_)), "{error}");
    assert_eq!(error.effect(), Effect::Rejected);
    assert_eq!(server.asked().iter().filter(|asked| *asked == "POST tools/call").count(), 3);
    end(troupe).await;
}

fn serial() -> mcp_troupe::testkit::ScriptedBuilder {
    ScriptedServer::builder().era(ScriptedEra::Legacy).sessions().listening_stream().serial_stream()
}

// obscura#489, mcp-arr#24, ida-pro-mcp#267
#[tokio::test(start_paused = true)]
async fn a_server_that_its_own_stream_holds_up_is_found_out_and_asked_for_no_stream_any_more() {
    let server = scripted(serial()).await;
    let troupe = one(&server).await;
    // It might have been slow by itself the first time.
    for listeners in [1, 2] {
        let listened = server.wait_for(|seen| seen.listeners == listeners);
        timeout(Duration::from_secs(600), listened).await.expect("it is asked again");
        assert!(troupe.call(echo().timeout(Duration::from_secs(30))).await.is_ok());
    }
    // The next link, with another session, knows it.
    server.forget_sessions();
    let begun = Instant::now();
    for _ in 0..3 {
        assert!(troupe.call(echo()).await.is_ok());
    }
    let took = Instant::now().saturating_duration_since(begun);
    assert!(took < Duration::from_secs(3), "{took:?}");
    sleep(Duration::from_secs(600)).await;
    assert_eq!(server.observed().listeners, 2);
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_busy_when_it_was_suspected_gets_its_stream_again_and_keeps_it() {
    let busy = Arc::new(AtomicBool::new(true));
    let works = busy.clone();
    let server = RawServer::start(move |asked| match (asked.verb.as_str(), asked.method()) {
        ("GET", _) => Do::Stay(EVENTS.to_owned()),
        // One thing at a time: while it works on a call, nothing else is looked at.
        ("POST", "tools/call" | "ping") if works.load(Ordering::Relaxed) => {
            Do::Late(String::new(), whole(&result(asked)))
        }
        _ => legacy(asked).unwrap_or_else(|| Do::Send(whole(&result(asked)))),
    })
    .await;
    let troupe = ready([server.server()]).await;
    let call = || Call::tool("t").timeout(Duration::from_secs(60));
    for round in [1, 2] {
        timeout(Duration::from_secs(600), server.wait_for("GET", round)).await.expect("it is asked again");
        busy.store(round == 1, Ordering::Relaxed);
        let called = tokio::spawn(troupe.call(call()));
        if round == 1 {
            server.wait_for("POST ping", 1).await;
            // The stream has been closed meanwhile, and its end is what the answer seems to follow from.
            sleep(Duration::from_secs(3)).await;
            server.let_go();
        }
        assert!(called.await.unwrap().is_ok());
    }
    // It is known now: a slow call brings no further question.
    busy.store(true, Ordering::Relaxed);
    let called = tokio::spawn(troupe.call(call()));
    sleep(Duration::from_secs(50)).await;
    server.let_go();
    assert!(called.await.unwrap().is_ok());
    let count = |what: &str| server.asked().iter().filter(|asked| *asked == what).count();
    assert_eq!((count("GET"), count("POST ping")), (2, 1));
    end(troupe).await;
}

#[tokio::test]
async fn a_server_that_is_slow_by_itself_keeps_its_stream() {
    let server =
        scripted(ScriptedServer::builder().era(ScriptedEra::Legacy).sessions().listening_stream()).await;
    let troupe = one(&server).await;
    server.wait_for(|seen| seen.listeners == 1).await;
    let held = tokio::spawn(troupe.call(Call::tool("hold").timeout(Duration::from_secs(60))));
    // It answers the ping that asks whether it is there.
    server.wait_for(|seen| seen.pings > 0).await;
    server.release();
    assert!(held.await.unwrap().is_ok());
    let mut events = troupe.events();
    server.set_script("new", Script::Echo);
    server.announce_tools();
    event(&mut events, |event| matches!(event, Event::CatalogueChanged { .. })).await;
    assert_eq!(server.observed().listeners, 1);
    end(troupe).await;
}

#[tokio::test]
async fn a_server_that_is_described_without_a_stream_is_asked_for_none() {
    let server = scripted(serial()).await;
    let troupe = ready([Server::http("s", server.url()).stream(false)]).await;
    for _ in 0..3 {
        assert!(troupe.call(echo()).await.is_ok());
    }
    assert_eq!(server.observed().listeners, 0);
    end(troupe).await;
    let modern = scripted(ScriptedServer::builder().tells_changes().http_events()).await;
    let troupe = ready([Server::http("s", modern.url()).stream(false)]).await;
    assert!(troupe.call(echo()).await.is_ok());
    assert!(!modern.observed().requests.contains_key("subscriptions/listen"));
    end(troupe).await;
}

// copilot-cli#1879, mcp-lite#114
#[tokio::test]
async fn a_tool_whose_name_is_not_legal_goes_by_a_legal_one_and_is_called_by_its_own() {
    for era in [ScriptedEra::Modern, ScriptedEra::Legacy] {
        let names = ["user-profile/update", "Create CIFS Share", "größe"];
        let builder = names.iter().fold(ScriptedServer::builder().era(era).http(), |builder, name| {
            builder.tool(*name, Script::Echo)
        });
        let server = builder.start().await;
        let troupe = ready([Server::http("s", server.url())]).await;
        let mut listed: Vec<String> = troupe.tools().iter().map(|tool| tool.name.to_string()).collect();
        listed.sort();
        assert_eq!(listed, ["Create_CIFS_Share", "gr__e", "user-profile_update"]);
        for name in &listed {
            assert!(troupe.call(Call::tool(name)).await.is_ok(), "{name}");
        }
        assert!(troupe.call(Call::tool("s__user-profile_update")).await.is_ok(), "as models call it");
        // As the server's own pages name it.
        for name in names {
            for call in [Call::tool(name), Call::tool(format!("s/{name}")), Call::tool(name).group("s")] {
                assert!(troupe.call(call).await.is_ok(), "{name}");
            }
            assert_eq!(troupe.call_all(Call::tool(name)).await.unwrap().len(), 1, "{name}");
        }
        let seen = server.observed();
        assert_eq!((seen.calls["user-profile/update"], seen.calls["größe"]), (6, 5));
        assert_eq!(seen.wrong_headers, Vec::<String>::new());
        assert!(matches!(
            kind(troupe.call(Call::tool("Create CIFS")).await),
            CallErrorKind::UnknownTool { .. }
        ));
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_tool_that_goes_by_a_legal_name_is_switched_off_and_chosen_by_its_own_and_by_that() {
    let server = ScriptedServer::builder()
        .http()
        .tool("user/read", Script::Echo)
        .tool("user/delete", Script::Echo)
        .start()
        .await;
    let listed = |server: Server| async move {
        let troupe = ready([server]).await;
        let names: Vec<String> = troupe.tools().iter().map(|tool| tool.name.to_string()).collect();
        end(troupe).await;
        names
    };
    let at = || Server::http("s", server.url());
    for off in ["user/delete", "user_delete"] {
        assert_eq!(listed(at().without_tools([off])).await, ["user_read"], "{off}");
    }
    for only in ["user/read", "user_read"] {
        assert_eq!(listed(at().only_tools([only])).await, ["user_read"], "{only}");
    }
}

// python-sdk#192, #1720; playwright#39420; smithy-java#1340
#[tokio::test]
async fn ids_as_texts_byte_order_marks_and_offers_of_legacy_versions_keep_no_server_away() {
    let initialized = Arc::new(AtomicBool::new(false));
    let seen = initialized.clone();
    let server = RawServer::start(move |asked| {
        let marked = |said: &str| {
            let id = format!("\"id\":{}", asked.body["id"]);
            let said = said.replace(&id, &format!("\"id\":\"{}\"", asked.body["id"]));
            Do::Send(answer(
                "200 OK",
                &["content-type: application/json; charset=utf-8"],
                &format!("\u{feff}{said}"),
            ))
        };
        let body = |said: String| said.split_once("\r\n\r\n").unwrap().1.to_owned();
        match (asked.verb.as_str(), asked.method(), legacy(asked)) {
            ("GET", ..) => Do::Send(answer("405 Method Not Allowed", &[], "")),
            (_, "server/discover", _) => {
                let offered = json!({"supportedVersions": ["2025-06-18", "2024-11-05"]});
                marked(&json!({"jsonrpc": "2.0", "id": asked.body["id"], "result": offered}).to_string())
            }
            (_, "initialize", Some(Do::Send(said))) => {
                assert_eq!(asked.body["params"]["protocolVersion"], "2025-06-18");
                seen.store(true, Ordering::Relaxed);
                marked(&body(said))
            }
            (_, "tools/list", Some(Do::Send(said))) => marked(&body(said)),
            (_, _, Some(other)) => other,
            (_, _, None) => marked(&result(asked).to_string()),
        }
    })
    .await;
    let troupe = ready([server.server()]).await;
    assert!(troupe.call(Call::tool("t")).await.is_ok());
    assert!(initialized.load(Ordering::Relaxed));
    end(troupe).await;
}

// codebase-memory-mcp#1247
#[tokio::test]
async fn a_list_whose_cursor_stays_or_is_empty_is_what_was_listed_and_that_is_told() {
    for (cursor, second) in [("MTA=", None), ("", None), ("", Some("400 Bad Request"))] {
        let server = RawServer::start(move |asked| match (asked.method(), modern(asked)) {
            ("tools/list", _) if second.is_some() && asked.body["params"]["cursor"].is_string() => {
                Do::Send(answer(second.unwrap(), &[], "no such cursor"))
            }
            ("tools/list", _) => {
                let page = json!({"tools": [{"name": "t"}, {"name": "u"}], "nextCursor": cursor});
                Do::Send(whole(&json!({"jsonrpc": "2.0", "id": asked.body["id"], "result": page})))
            }
            (_, usual) => usual.unwrap_or_else(|| Do::Send(whole(&result(asked)))),
        })
        .await;
        let troupe = start([]).await;
        let mut events = troupe.events();
        troupe.register(server.server()).await.unwrap();
        let told = event(&mut events, |event| matches!(event, Event::EntrySkipped { .. })).await;
        let Event::EntrySkipped { entry, reason, .. } = told else { unreachable!() };
        assert!(entry == "the rest of the list" && reason.contains("cursor"), "{entry}: {reason}");
        assert!(troupe.call(Call::tool("u")).await.is_ok());
        assert!(server.asked().iter().filter(|asked| *asked == "POST tools/list").count() <= 3);
        end(troupe).await;
    }
}
