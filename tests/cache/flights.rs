//! Equal calls at once.

use std::time::Duration;

use mcp_troupe::testkit::{Script, ScriptedServer};
use mcp_troupe::{CallErrorKind, Server};
use tokio::task::JoinSet;

use super::common::{end, kind};
use super::{READ, in_memory, read, start, waiting};

fn held() -> mcp_troupe::testkit::ScriptedBuilder {
    ScriptedServer::builder().tool("read", Script::Hold).tool("write", Script::Echo)
}

#[tokio::test]
async fn fault_e6_a_thousand_equal_calls_make_one_request() {
    let server = held().start().await;
    let troupe = start(READ, [Server::websocket("s", server.url())]).await;
    let mut calls: JoinSet<_> = (0..1_000).map(|_| troupe.call(read())).collect();
    waiting(&troupe, 999).await;
    server.release();
    let mut ids = std::collections::HashSet::new();
    let mut cached = 0;
    while let Some(reply) = calls.join_next().await {
        let reply = reply.unwrap().unwrap();
        cached += u32::from(reply.cached);
        ids.insert(reply.request_id.to_string());
    }
    assert_eq!((ids.len(), cached, server.calls("read")), (1_000, 999, 1));
    end(troupe).await;
}

#[tokio::test]
async fn who_leads_and_leaves_is_followed_by_the_next() {
    let server = held().start().await;
    let troupe = start(READ, [Server::websocket("s", server.url())]).await;
    let first = tokio::spawn(troupe.call(read()));
    server.wait_for(|seen| seen.calls.contains_key("read")).await;
    let second = tokio::spawn(troupe.call(read()));
    let third = tokio::spawn(troupe.call(read()));
    waiting(&troupe, 2).await;
    first.abort();
    server.wait_for(|seen| seen.calls["read"] == 2 && seen.cancelled.len() == 1).await;
    server.release();
    let (second, third) = (second.await.unwrap().unwrap(), third.await.unwrap().unwrap());
    assert!(second.cached != third.cached);
    assert_eq!(server.calls("read"), 2);
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn each_call_keeps_its_own_deadline() {
    let (server, troupe) = in_memory(READ, held()).await;
    let short = |secs| troupe.call(read().timeout(Duration::from_secs(secs)));
    let begun = tokio::time::Instant::now();
    // The first leads; the second follows and leaves first; the third leads after the first, and is answered.
    let first = tokio::spawn(short(2));
    waiting(&troupe, 0).await;
    server.wait_for(|seen| seen.calls.contains_key("read")).await;
    let (second, third) = (tokio::spawn(short(1)), tokio::spawn(short(9)));
    waiting(&troupe, 2).await;
    let error = second.await.unwrap();
    assert!(matches!(kind(error), CallErrorKind::DeadlineExceeded { timeout, .. } if timeout.as_secs() == 1));
    assert_eq!((tokio::time::Instant::now() - begun).as_millis() / 100, 10);
    assert!(matches!(kind(first.await.unwrap()), CallErrorKind::DeadlineExceeded { .. }));
    server.wait_for(|seen| seen.calls["read"] == 2).await;
    server.release();
    assert!(!third.await.unwrap().unwrap().cached);
    assert_eq!((tokio::time::Instant::now() - begun).as_millis() / 100, 20);
    end(troupe).await;
}

#[tokio::test]
async fn an_error_is_shared_under_each_calls_own_id() {
    let error = Script::Error { code: -32000, message: "busy".into() };
    let after = Script::After(Duration::from_millis(100), Box::new(error));
    let server = ScriptedServer::builder().tool("read", after).start().await;
    let cache = r#"{"tools":{"read":{}}}"#;
    let troupe = start(cache, [Server::websocket("s", server.url())]).await;
    let (one, other) = tokio::join!(troupe.call(read()), troupe.call(read()));
    let (one, other) = (one.unwrap_err(), other.unwrap_err());
    assert_eq!((one.kind(), one.server()), (other.kind(), other.server()));
    assert_ne!(one.request_id(), other.request_id());
    assert_eq!(server.calls("read"), 1);
    end(troupe).await;
}

#[tokio::test]
async fn a_question_back_is_asked_of_each_caller() {
    let question = Script::Reply(r#"{"resultType":"input_required","requestState":"s"}"#.into());
    let after = Script::After(Duration::from_millis(100), Box::new(question));
    let server = ScriptedServer::builder().tool("read", after).start().await;
    let cache = r#"{"tools":{"read":{}}}"#;
    let troupe = start(cache, [Server::websocket("s", server.url())]).await;
    let (one, other) = tokio::join!(troupe.call(read()), troupe.call(read()));
    assert!(!one.unwrap().cached && !other.unwrap().cached);
    assert_eq!(server.calls("read"), 2);
    end(troupe).await;
}

#[tokio::test]
async fn who_is_tied_to_a_server_that_is_down_denies_its_tool_to_nobody_else() {
    let builder = || ScriptedServer::builder().tool("read", Script::Echo);
    let (mut a, mut b) = (builder().start().await, builder().start().await);
    let servers = [("a", &a), ("b", &b)].map(|(id, server)| Server::websocket(id, server.url()).group("g"));
    let troupe = start(READ, servers).await;
    let binding = mcp_troupe::Call::tool("read").args(serde_json::json!({"path": "bind"}));
    let bound = troupe.call(binding.strict_affinity("u")).await.unwrap();
    let down = if bound.server.as_str() == "a" { &mut a } else { &mut b };
    down.stop_listening().await;
    // It waits for the server that it is tied to.
    let mut lead = Box::pin(troupe.call(read().strict_affinity("u")));
    assert!(futures_util::poll!(&mut lead).is_pending());
    let other = tokio::select! { biased;
        lead = &mut lead => panic!("the one that is tied came first: {lead:?}"),
        other = troupe.call(read()) => other,
    };
    assert!(other.is_ok(), "{other:?}");
    drop(lead);
    end(troupe).await;
}

#[tokio::test]
async fn a_call_that_is_too_large_by_its_meta_tells_nobody_else_so() {
    let server = ScriptedServer::builder().tool("read", Script::Echo).start().await;
    let cache = serde_json::from_str(READ).unwrap();
    let change = |settings: &mut mcp_troupe::Settings| {
        settings.cache = cache;
        settings.limits.message_bytes_max = 100_000;
    };
    let troupe = super::common::start_with(change, [Server::websocket("s", server.url())]).await;
    troupe.ready(mcp_troupe::Readiness::All).await.unwrap();
    let large = read().meta(serde_json::json!({"example.com/blob": "x".repeat(200_000)}));
    let (large, small) = tokio::join!(troupe.call(large), troupe.call(read()));
    end(troupe).await;
    assert!(large.is_err(), "{large:?}");
    assert!(small.is_ok(), "{small:?}");
}

#[tokio::test]
async fn who_has_no_time_to_wait_for_a_paused_server_fails_nobody_who_has() {
    let server = ScriptedServer::builder().tool("read", Script::Echo).http().start().await;
    let troupe = start(READ, [Server::http("s", server.url())]).await;
    server.refuse_with(429, &[("retry-after", "2")]);
    let other = mcp_troupe::Call::tool("read").args(serde_json::json!({"path": "b"}));
    troupe.call(other.timeout(Duration::from_secs(1))).await.unwrap_err();
    server.refuse_no_more();
    let hasty = read().timeout(Duration::from_millis(500));
    let patient = read().timeout(Duration::from_secs(20));
    let (hasty, patient) = tokio::join!(troupe.call(hasty), troupe.call(patient));
    end(troupe).await;
    assert!(hasty.is_err(), "{hasty:?}");
    assert!(patient.is_ok(), "{patient:?}");
}

#[tokio::test]
async fn a_safe_call_that_follows_an_unsafe_one_is_repeated_as_it_would_be_alone() {
    let script = || {
        let cut = Script::After(Duration::from_millis(200), Box::new(Script::Cut));
        ScriptedServer::builder().tool("read", Script::Sequence(vec![cut, Script::Echo]))
    };
    let alone = script().start().await;
    let troupe = start(READ, [Server::websocket("s", alone.url())]).await;
    troupe.call(read().idempotent()).await.expect("alone it is repeated");
    end(troupe).await;
    let server = script().start().await;
    let troupe = start(READ, [Server::websocket("s", server.url())]).await;
    let (lead, safe) = tokio::join!(troupe.call(read()), troupe.call(read().idempotent()));
    end(troupe).await;
    assert!(lead.is_err(), "{lead:?}");
    assert!(safe.is_ok(), "{safe:?}");
}
