//! The cache dies at any moment, and every call has its one answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mcp_troupe::testkit::{Fault, Script, ScriptedServer, Target, inject};
use mcp_troupe::{Call, Event, Server};
use tokio::task::JoinSet;

use super::common::{end, event};
use super::{READ, read, start, version, versions, waiting};

#[tokio::test]
async fn calls_that_wait_in_a_cache_that_dies_go_to_the_router() {
    for fault in [Fault::Kill, Fault::Stop, Fault::Panic] {
        let server = ScriptedServer::builder().tool("read", Script::Hold).start().await;
        let troupe = start(r#"{"tools":{"read":{}}}"#, [Server::websocket("s", server.url())]).await;
        let mut events = troupe.events();
        let mut calls: JoinSet<_> = (0..5).map(|_| troupe.call(read())).collect();
        waiting(&troupe, 4).await;
        server.wait_for(|seen| seen.calls.contains_key("read")).await;
        inject(&troupe, Target::Cache, fault).await.unwrap();
        event(&mut events, |event| matches!(event, Event::CacheRestarted { .. })).await;
        server.wait_for(|seen| seen.calls["read"] == 5).await;
        server.release();
        while let Some(reply) = calls.join_next().await {
            assert!(!reply.unwrap().unwrap().cached, "{fault:?}");
        }
        // The one that led reports to nobody; the next life keeps its own.
        assert_eq!(troupe.stats().await.cache.stored, 0);
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_death_loses_what_was_kept_and_nothing_else_restarts() {
    let server = versions().start().await;
    let troupe = start(READ, [Server::websocket("s", server.url())]).await;
    let mut events = troupe.events();
    assert_eq!((version(&troupe).await, version(&troupe).await), (1, 1));
    inject(&troupe, Target::Cache, Fault::Kill).await.unwrap();
    event(&mut events, |told| {
        let restarted = matches!(told, Event::RouterRestarted { .. } | Event::RegistryRestarted { .. });
        assert!(!restarted, "{told:?}");
        matches!(told, Event::CacheRestarted { .. })
    })
    .await;
    assert_eq!((version(&troupe).await, version(&troupe).await), (2, 2));
    assert_eq!(troupe.stats().await.servers[0].restarts, 0);
    assert_eq!(server.observed().accepted, 1);
    end(troupe).await;
}

#[tokio::test]
async fn what_is_kept_outlives_the_router() {
    let server = versions().start().await;
    let troupe = start(READ, [Server::websocket("s", server.url())]).await;
    let mut events = troupe.events();
    assert_eq!(version(&troupe).await, 1);
    inject(&troupe, Target::Router, Fault::Kill).await.unwrap();
    event(&mut events, |event| matches!(event, Event::RouterRestarted { .. })).await;
    assert_eq!(version(&troupe).await, 1);
    end(troupe).await;
}

/// Deaths at every moment, on real threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_hangs_or_fails_by_the_deaths_of_the_cache() {
    let server =
        ScriptedServer::builder().tool("read", Script::Echo).tool("write", Script::Echo).start().await;
    let troupe = start(READ, [Server::websocket("s", server.url())]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (reads, hits) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut callers = JoinSet::new();
    for caller in 0..6 {
        let (troupe, stop, reads, hits) = (troupe.clone(), stop.clone(), reads.clone(), hits.clone());
        callers.spawn(async move {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                let call = Call::tool("read").args(serde_json::json!({"n": round % 3}));
                let call = if caller == 0 && round % 50 == 0 { Call::tool("write") } else { call };
                let answer =
                    tokio::time::timeout(std::time::Duration::from_secs(60), troupe.call(call)).await;
                let reply = answer.expect("a call hangs").unwrap();
                reads.fetch_add(1, Ordering::Relaxed);
                hits.fetch_add(u64::from(reply.cached), Ordering::Relaxed);
            }
        });
    }
    for round in 0..300 {
        let fault = [Fault::Kill, Fault::Stop, Fault::Panic][round % 3];
        let before = reads.load(Ordering::Relaxed);
        while inject(&troupe, Target::Cache, fault).await.is_err() {
            tokio::task::yield_now().await;
        }
        while reads.load(Ordering::Relaxed) < before + 20 {
            tokio::task::yield_now().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    callers.join_all().await;
    assert!(hits.load(Ordering::Relaxed) > 0);
    end(troupe).await;
}
