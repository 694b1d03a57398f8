//! Servers that are drained, resumed, replaced and unregistered under load.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{echo, end, event, kind, ready};
use mcp_troupe::event::ServerStatus;
use mcp_troupe::testkit::{Fault, MemoryListener, Script, ScriptedServer, Target, inject, pair};
use mcp_troupe::{Call, CallErrorKind, DrainError, Event, Readiness, ReplaceError, Server, Troupe};
use serde_json::{Value, json};

async fn scripted() -> ScriptedServer {
    ScriptedServer::builder().tool("echo", Script::Echo).tool("hold", Script::Hold).start().await
}

async fn hold(troupe: &Troupe, server: &ScriptedServer) -> tokio::task::JoinHandle<Answer> {
    let before = server.calls("hold");
    let call = tokio::spawn(troupe.call(Call::tool("hold")));
    server.wait_for(|seen| seen.calls.get("hold").is_some_and(|calls| *calls > before)).await;
    call
}

type Answer = Result<mcp_troupe::Reply, mcp_troupe::CallError>;

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_drained_server_gets_no_new_calls_finishes_those_it_has_and_rests() {
    let server = scripted().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let held = hold(&troupe, &server).await;
    let (drained, refused) = tokio::join!(troupe.drain("s", LONG), async {
        let refused = loop {
            match troupe.call(echo()).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => break error,
            }
        };
        server.release();
        refused
    });
    drained.unwrap();
    assert!(refused.to_string().contains("draining: it was drained"), "{refused}");
    assert!(held.await.unwrap().is_ok());
    server.wait_for(|seen| seen.connections == 0).await;
    assert_eq!(troupe.servers()[0].status, ServerStatus::Stopped);
    troupe.ready(Readiness::All).await.unwrap();
    end(troupe).await;
}

#[tokio::test]
async fn a_server_that_rests_is_resumed() {
    let server = scripted().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    troupe.drain("s", LONG).await.unwrap();
    assert!(matches!(kind(troupe.call(echo()).await), CallErrorKind::Unavailable { .. }));
    troupe.resume("s").await.unwrap();
    troupe.ready(Readiness::Any).await.unwrap();
    assert!(troupe.call(echo()).await.is_ok());
    assert!(troupe.resume("s").await.is_err(), "it does not rest");
    end(troupe).await;
}

#[tokio::test]
async fn a_server_may_be_resumed_while_it_still_drains() {
    let server = scripted().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let held = hold(&troupe, &server).await;
    let drain = tokio::spawn({
        let troupe = troupe.clone();
        async move { troupe.drain("s", LONG).await }
    });
    while troupe.servers()[0].status != ServerStatus::Draining {
        tokio::task::yield_now().await;
    }
    troupe.resume("s").await.unwrap();
    assert!(troupe.call(echo()).await.is_ok());
    server.release();
    assert!(held.await.unwrap().is_ok(), "the former life finishes what it has");
    assert!(drain.await.unwrap().is_err(), "there was no rest");
    end(troupe).await;
}

#[tokio::test]
async fn a_drain_that_takes_too_long_ends_with_its_limit() {
    let server = scripted().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let held = hold(&troupe, &server).await;
    troupe.drain("s", Duration::from_millis(20)).await.unwrap();
    assert!(matches!(kind(held.await.unwrap()), CallErrorKind::ServerDown { sent: true, .. }));
    end(troupe).await;
}

#[tokio::test]
async fn a_drain_without_time_or_of_nobody_is_a_clear_error() {
    let troupe = ready([]).await;
    assert_eq!(troupe.drain("s", Duration::ZERO).await, Err(DrainError::NoTime));
    assert!(matches!(troupe.drain("s", LONG).await, Err(DrainError::Unknown(_))));
    assert!(troupe.resume("s").await.is_err());
    let replaced = troupe.replace(Server::websocket("s", "ws://127.0.0.1:1")).await;
    assert!(matches!(replaced, Err(ReplaceError::Unknown(_))));
    end(troupe).await;
}

#[tokio::test]
async fn a_server_that_rests_stays_so_when_the_registry_is_restarted() {
    let server = scripted().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    troupe.drain("s", LONG).await.unwrap();
    let mut events = troupe.events();
    inject(&troupe, Target::Registry, Fault::Kill).await.unwrap();
    event(&mut events, |event| matches!(event, Event::RegistryRestarted { .. })).await;
    while troupe.servers().first().is_none_or(|info| info.status != ServerStatus::Stopped) {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.observed().accepted, 1);
    troupe.resume("s").await.unwrap();
    assert!(troupe.call(echo()).await.is_ok());
    end(troupe).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_address_loses_no_call() {
    let (old, new) = (scripted().await, scripted().await);
    let troupe = ready([Server::websocket("s", old.url())]).await;
    let held = hold(&troupe, &old).await;
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (troupe, new) = (troupe.clone(), new.url());
            tokio::spawn(async move {
                let mut calls = 0;
                while troupe.servers()[0].endpoint.trim_end_matches('/') != new || calls < 200 {
                    troupe.call(echo()).await.unwrap();
                    calls += 1;
                }
            })
        })
        .collect();
    troupe.replace(Server::websocket("s", new.url())).await.unwrap();
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(new.calls("echo") > 0);
    assert!(!held.is_finished(), "the old address still works for a call");
    old.release();
    assert!(held.await.unwrap().is_ok());
    old.wait_for(|seen| seen.connections == 0).await;
    assert_eq!(troupe.stats().await.router.in_flight, 0);
    end(troupe).await;
}

/// Plays a modern server in memory that takes so long to say its first word.
async fn play(mut listener: MemoryListener, silence: Duration) {
    while let Some(mut peer) = listener.accept().await {
        tokio::time::sleep(silence).await;
        while let Some(frame) = peer.recv().await {
            let frame: Value = serde_json::from_slice(&frame).unwrap();
            let result = match frame["method"].as_str().unwrap_or_default() {
                "server/discover" => {
                    json!({"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}})
                }
                "tools/list" => json!({"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}),
                "tools/call" => json!({"content": []}),
                _ => continue,
            };
            peer.send(json!({"jsonrpc": "2.0", "id": frame["id"], "result": result}).to_string()).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn calls_wait_for_a_server_that_takes_its_time_to_start_after_it_was_replaced_or_resumed() {
    // Longer than a lost server is waited for.
    const SILENCE: Duration = Duration::from_secs(4);
    let (one, listener) = pair(16);
    tokio::spawn(play(listener, Duration::ZERO));
    let troupe = Troupe::builder().seed(7).server_via(Server::custom("s"), one).start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let (two, listener) = pair(16);
    tokio::spawn(play(listener, SILENCE));
    troupe.replace_via(Server::custom("s"), two).await.unwrap();
    troupe.call(Call::tool("t")).await.unwrap();
    troupe.drain("s", SILENCE).await.unwrap();
    troupe.resume("s").await.unwrap();
    troupe.call(Call::tool("t")).await.unwrap();
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_to_a_tool_that_only_the_new_description_has_waits_for_its_list() {
    let (old, new) = (scripted().await, ScriptedServer::builder().tool("fresh", Script::Echo).start().await);
    let troupe = ready([Server::websocket("s", old.url())]).await;
    for _ in 0..3 {
        troupe.replace(Server::websocket("s", new.url())).await.unwrap();
        troupe.call(Call::tool("fresh")).await.unwrap();
        troupe.replace(Server::websocket("s", old.url())).await.unwrap();
        troupe.call(echo()).await.unwrap();
    }
    let file = |url: String| {
        let text = json!({"mcpServers": {"s": {"url": url}}}).to_string();
        mcp_troupe::ConfigFile::parse(&text).unwrap()
    };
    let configured = Troupe::builder().config(file(old.url())).start().await.unwrap();
    configured.ready(Readiness::All).await.unwrap();
    configured.apply(file(new.url())).await.unwrap();
    configured.call(Call::tool("fresh")).await.unwrap();
    for troupe in [troupe, configured] {
        end(troupe).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_is_known_after_a_replacement_is_called_and_one_that_nobody_has_is_unknown() {
    let (old, new) = (scripted().await, scripted().await);
    let troupe = ready([Server::websocket("s", old.url())]).await;
    troupe.replace(Server::websocket("s", new.url())).await.unwrap();
    troupe.call(echo()).await.unwrap();
    let unknown = kind(troupe.call(Call::tool("nobodys")).await);
    assert!(matches!(unknown, CallErrorKind::UnknownTool { .. }), "{unknown:?}");
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_for_a_replacement_that_never_starts_is_told_whom_it_waited_for() {
    let old = scripted().await;
    let troupe = ready([Server::websocket("s", old.url())]).await;
    let hole = ScriptedServer::builder().black_hole().start().await;
    troupe.replace(Server::websocket("s", hole.url())).await.unwrap();
    let error = troupe.call(Call::tool("fresh").timeout(Duration::from_secs(5))).await.unwrap_err();
    assert!(!matches!(error.kind(), CallErrorKind::UnknownTool { .. }), "{error}");
    assert!(error.to_string().contains("s is"), "{error}");
    end(troupe).await;
}

#[tokio::test]
async fn an_id_is_free_again_when_the_last_of_its_lives_is_over() {
    let (old, new) = (scripted().await, scripted().await);
    let troupe = ready([Server::websocket("s", old.url())]).await;
    let held = hold(&troupe, &old).await;
    troupe.replace(Server::websocket("s", new.url())).await.unwrap();
    assert!(troupe.call(echo()).await.is_ok());
    troupe.unregister("s").await.unwrap();
    new.wait_for(|seen| seen.connections == 0).await;
    assert!(troupe.register(Server::websocket("s", new.url())).await.is_err(), "one life goes on");
    let mut events = troupe.events();
    old.release();
    assert!(held.await.unwrap().is_ok());
    event(&mut events, |event| matches!(event, Event::ServerUnregistered { .. })).await;
    while troupe.register(Server::websocket("s", new.url())).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert!(troupe.call(echo()).await.is_ok());
    end(troupe).await;
}
