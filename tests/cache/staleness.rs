//! Results that are stale and still of use.

use std::time::Duration;

use mcp_troupe::CallErrorKind;
use mcp_troupe::testkit::{Script, ScriptedServer, living_tasks};
use tokio::time::sleep;

use super::common::{end, kind};
use super::{in_memory, read, shown, version, versions};

const SECS: fn(u64) -> Duration = Duration::from_secs;

#[tokio::test(start_paused = true)]
async fn a_result_is_fetched_again_when_its_time_is_over() {
    let (_server, troupe) = in_memory(r#"{"tools":{"read":{"ttl":"60s"}}}"#, versions()).await;
    assert_eq!(version(&troupe).await, 1);
    sleep(SECS(59)).await;
    assert_eq!(version(&troupe).await, 1);
    sleep(SECS(1)).await;
    assert_eq!(version(&troupe).await, 2);
    sleep(SECS(200)).await;
    assert_eq!(troupe.stats().await.cache.entries, 0);
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_stale_result_is_given_out_at_once_and_fetched_in_the_background() {
    let cache = r#"{"tools":{"read":{"ttl":"60s","staleWhileRevalidate":"30s"}}}"#;
    let (server, troupe) = in_memory(cache, versions()).await;
    assert_eq!(version(&troupe).await, 1);
    sleep(SECS(89)).await;
    let stale = troupe.call(read()).await.unwrap();
    assert_eq!((shown(&stale), stale.cached), (1, true));
    server.wait_for(|seen| seen.calls["read"] == 2).await;
    while troupe.stats().await.cache.stored < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(version(&troupe).await, 2);
    let cache = troupe.stats().await.cache;
    assert_eq!((cache.stale_served, cache.hits, cache.misses), (1, 1, 1));
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_in_the_background_ends_with_the_troupe() {
    let cache = r#"{"tools":{"read":{"ttl":"60s","staleWhileRevalidate":"30s"}}}"#;
    let server =
        ScriptedServer::builder().tool("read", Script::Sequence(vec![Script::Echo, Script::Silence]));
    let (server, troupe) = in_memory(cache, server).await;
    troupe.call(read()).await.unwrap();
    sleep(SECS(61)).await;
    let before = living_tasks(&troupe);
    assert!(troupe.call(read()).await.unwrap().cached);
    server.wait_for(|seen| seen.calls["read"] == 2).await;
    assert!(living_tasks(&troupe) > before);
    let begun = tokio::time::Instant::now();
    end(troupe).await;
    assert!(tokio::time::Instant::now() - begun < SECS(1), "nobody waits for it");
}

#[tokio::test(start_paused = true)]
async fn a_stale_result_stands_in_where_no_server_can_answer() {
    let cache = r#"{"tools":{"read":{"ttl":"60s","staleIfError":"1h"}}}"#;
    let server = ScriptedServer::builder().tool(
        "read",
        Script::Sequence(vec![
            Script::Echo,
            Script::Silence,
            Script::Error { code: -32603, message: "out of memory".into() },
            Script::Error { code: -32004, message: "no access".into() },
            Script::Silence,
        ]),
    );
    let (_server, troupe) = in_memory(cache, server).await;
    troupe.call(read()).await.unwrap();
    sleep(SECS(61)).await;
    for _ in 0..2 {
        let stale = troupe.call(read()).await.unwrap();
        assert!(stale.cached && stale.attempts == 0);
    }
    // What the server itself refuses is refused.
    assert!(matches!(kind(troupe.call(read()).await), CallErrorKind::Rpc(_)));
    sleep(SECS(3600)).await;
    assert!(matches!(kind(troupe.call(read()).await), CallErrorKind::DeadlineExceeded { .. }));
    assert_eq!(troupe.stats().await.cache.stale_served, 2);
    end(troupe).await;
}
