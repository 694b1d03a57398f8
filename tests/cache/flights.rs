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
