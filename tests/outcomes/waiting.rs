//! Calls that wait, and those whose actors end: what never left is told as not sent, and moves; what left is unknown.

use std::time::Duration;

use mcp_troupe::testkit::{Fault, MemoryPeer, Script, ScriptedServer, Target, inject, pair};
use mcp_troupe::{Call, CallErrorKind, Effect, Event, Readiness, Server, Settings, Troupe};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::common::{end, event, ready, start_with};

/// One call at a time.
fn narrow(settings: &mut Settings) {
    (settings.pool.max, settings.pool.in_flight_max) = (1, 1);
}

/// A server that is busy with a call of `hold`; what follows waits.
async fn busy(
    change: impl FnOnce(&mut Settings),
) -> (ScriptedServer, Troupe, tokio::task::JoinHandle<Answer>) {
    let server = ScriptedServer::builder().tool("hold", Script::Hold).tool("t", Script::Echo).start().await;
    let settings = |settings: &mut Settings| {
        narrow(settings);
        change(settings);
    };
    let troupe = start_with(settings, [Server::websocket("s", server.url())]).await;
    troupe.ready(Readiness::All).await.unwrap();
    let held = tokio::spawn(troupe.call(Call::tool("hold").timeout(Duration::from_secs(60))));
    server.wait_for(|seen| seen.calls.contains_key("hold")).await;
    (server, troupe, held)
}

type Answer = Result<mcp_troupe::Reply, mcp_troupe::CallError>;

/// Waits until so many calls wait for room.
async fn waiting(troupe: &Troupe, calls: usize) {
    while troupe.stats().await.router.queued.normal < calls {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_deadline_that_passes_in_a_queue_finds_the_call_unsent() {
    let (server, troupe, held) = busy(|_| ()).await;
    let error = troupe.call(Call::tool("t").timeout(Duration::from_millis(50))).await.unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::DeadlineExceeded { sent: false, .. }), "{error}");
    assert_eq!((error.effect(), error.attempts(), error.retryable()), (Effect::NotSent, 0, true));
    server.release();
    assert!(held.await.unwrap().is_ok());
    assert_eq!(server.calls("t"), 0);
    end(troupe).await;
}

#[tokio::test]
async fn a_call_that_finds_a_full_queue_never_leaves() {
    let (server, troupe, held) = busy(|settings| settings.mailbox.capacity = 1).await;
    let first = tokio::spawn(troupe.call(Call::tool("t")));
    waiting(&troupe, 1).await;
    let error = troupe.call(Call::tool("t")).await.unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::Overloaded { .. }), "{error}");
    assert_eq!((error.effect(), error.attempts(), error.retryable()), (Effect::NotSent, 0, true));
    server.release();
    assert!(held.await.unwrap().is_ok() && first.await.unwrap().is_ok());
    assert_eq!(server.calls("t"), 1);
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_in_the_cache_finds_the_call_unsent() {
    let (server, connector) = ScriptedServer::builder().tool("read", Script::Hold).start_in_memory();
    let mut settings = Settings::default();
    settings.cache = serde_json::from_str(r#"{"tools":{"read":{"ttl":"60s"}}}"#).unwrap();
    let builder = Troupe::builder().settings(settings).seed(7).server_via(Server::custom("s"), connector);
    let troupe = builder.start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let leads = tokio::spawn(troupe.call(Call::tool("read").timeout(Duration::from_secs(60))));
    server.wait_for(|seen| seen.calls.contains_key("read")).await;
    let error = troupe.call(Call::tool("read").timeout(Duration::from_secs(1))).await.unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::DeadlineExceeded { sent: false, .. }), "{error}");
    assert_eq!((error.effect(), error.attempts(), error.retryable()), (Effect::NotSent, 0, true));
    server.release();
    assert!(leads.await.unwrap().is_ok());
    assert_eq!(server.calls("read"), 1);
    end(troupe).await;
}

#[tokio::test]
async fn the_end_of_the_router_moves_what_waits_and_leaves_what_was_sent_unknown() {
    for fault in [Fault::Kill, Fault::Panic, Fault::Stop] {
        let (server, troupe, held) = busy(|_| ()).await;
        let waits = tokio::spawn(troupe.call(Call::tool("t")));
        waiting(&troupe, 1).await;
        inject(&troupe, Target::Router, fault).await.unwrap();
        let error = held.await.unwrap().unwrap_err();
        assert!(matches!(error.kind(), CallErrorKind::Interrupted), "{fault:?}: {error}");
        assert_eq!(error.effect(), Effect::Unknown, "{fault:?}");
        assert_eq!(waits.await.unwrap().unwrap().attempts, 1, "{fault:?}");
        assert_eq!((server.calls("hold"), server.calls("t")), (1, 1), "{fault:?}");
        end(troupe).await;
    }
}

#[tokio::test]
async fn the_end_of_a_servers_actor_moves_what_waits_and_leaves_what_was_sent_unknown() {
    for fault in [Fault::Kill, Fault::Panic, Fault::Stop] {
        let (server, troupe, held) = busy(|_| ()).await;
        let waits = tokio::spawn(troupe.call(Call::tool("t")));
        waiting(&troupe, 1).await;
        inject(&troupe, Target::server("s"), fault).await.unwrap();
        let error = held.await.unwrap().unwrap_err();
        let down = matches!(
            error.kind(),
            CallErrorKind::ServerDown { sent: true, .. } | CallErrorKind::ConnectionLost { sent: true, .. }
        );
        assert!(down, "{fault:?}: {error}");
        assert_eq!(error.effect(), Effect::Unknown, "{fault:?}");
        assert_eq!(waits.await.unwrap().unwrap().attempts, 1, "{fault:?}");
        assert_eq!((server.calls("hold"), server.calls("t")), (1, 1), "{fault:?}");
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_replaced_server_finishes_what_it_has_and_its_next_life_gets_the_rest() {
    let (server, troupe, held) = busy(|_| ()).await;
    let waits = tokio::spawn(troupe.call(Call::tool("t")));
    waiting(&troupe, 1).await;
    let next = ScriptedServer::builder().tool("hold", Script::Hold).tool("t", Script::Echo).start().await;
    troupe.replace(Server::websocket("s", next.url())).await.unwrap();
    assert!(waits.await.unwrap().is_ok());
    server.release();
    assert_eq!(held.await.unwrap().unwrap().attempts, 1);
    assert_eq!((server.calls("hold"), server.calls("t")), (1, 0));
    assert_eq!((next.calls("hold"), next.calls("t")), (0, 1));
    end(troupe).await;
}

#[tokio::test]
async fn a_drain_that_ends_first_leaves_what_was_sent_unknown_and_what_waits_unsent() {
    let (server, troupe, held) = busy(|_| ()).await;
    let waits = tokio::spawn(troupe.call(Call::tool("t")));
    waiting(&troupe, 1).await;
    troupe.drain("s", Duration::from_millis(20)).await.unwrap();
    let (sent, unsent) = (held.await.unwrap().unwrap_err(), waits.await.unwrap().unwrap_err());
    assert_eq!((sent.effect(), unsent.effect()), (Effect::Unknown, Effect::NotSent), "{sent}; {unsent}");
    assert_eq!((server.calls("hold"), server.calls("t")), (1, 0));
    end(troupe).await;
}

#[tokio::test]
async fn a_shutdown_leaves_what_was_sent_unknown_and_what_waits_unsent() {
    let (server, troupe, held) = busy(|settings| settings.shutdown_drain = Duration::from_millis(20)).await;
    let waits = tokio::spawn(troupe.call(Call::tool("t")));
    waiting(&troupe, 1).await;
    let later = troupe.clone();
    end(troupe).await;
    let (sent, unsent) = (held.await.unwrap().unwrap_err(), waits.await.unwrap().unwrap_err());
    assert_eq!((sent.effect(), unsent.effect()), (Effect::Unknown, Effect::NotSent), "{sent}; {unsent}");
    let after = later.call(Call::tool("t")).await.unwrap_err();
    assert_eq!(after.effect(), Effect::NotSent, "{after}");
    assert_eq!((server.calls("hold"), server.calls("t")), (1, 0));
}

#[tokio::test]
async fn a_lost_connection_leaves_what_it_had_unknown_and_what_waits_is_carried_out_once() {
    let (server, troupe, held) = busy(|_| ()).await;
    let mut told = troupe.events();
    let waits = tokio::spawn(troupe.call(Call::tool("t")));
    waiting(&troupe, 1).await;
    server.cut_all();
    event(&mut told, |event| matches!(event, Event::ConnectionLost { .. })).await;
    assert_eq!(held.await.unwrap().unwrap_err().effect(), Effect::Unknown);
    assert_eq!(waits.await.unwrap().unwrap().attempts, 1);
    assert_eq!((server.calls("hold"), server.calls("t")), (1, 1));
    end(troupe).await;
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_gets_nothing() {
    let mut server = ScriptedServer::builder().tool("t", Script::Echo).start().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let mut told = troupe.events();
    server.stop_listening().await;
    event(&mut told, |event| matches!(event, Event::ConnectionLost { .. })).await;
    let error = troupe.call(Call::tool("t").timeout(Duration::from_millis(300))).await.unwrap_err();
    assert_eq!((error.effect(), error.attempts(), error.retryable()), (Effect::NotSent, 0, true), "{error}");
    assert_eq!(server.calls("t"), 0);
    end(troupe).await;
}

/// The id, the method and the number that a frame carries.
fn read(frame: &[u8]) -> (Value, String, u64) {
    let frame: Value = serde_json::from_slice(frame).unwrap();
    let number = frame["params"]["arguments"]["n"].as_u64().unwrap_or_default();
    (frame["id"].clone(), frame["method"].as_str().unwrap_or_default().to_owned(), number)
}

/// Plays a modern server up to the first call; gives its number.
async fn until_called(peer: &mut MemoryPeer) -> Option<(Value, u64)> {
    loop {
        let (id, method, number) = read(&peer.recv().await?);
        let result = match method.as_str() {
            "server/discover" => json!({"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}),
            "tools/list" => json!({"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}),
            "tools/call" => return Some((id, number)),
            _ => continue,
        };
        peer.send(json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string()).await;
    }
}

#[tokio::test]
async fn of_calls_to_a_peer_that_reads_no_more_those_that_were_never_written_move_and_the_others_are_unknown()
{
    const CALLS: u64 = 50;
    // Two messages fit between the two ends.
    let (connector, mut listener) = pair(1);
    let builder = Troupe::builder().seed(7).server_via(Server::custom("s"), connector);
    let troupe = builder.start().await.unwrap();
    let mut first = listener.accept().await.unwrap();
    let mut calls = JoinSet::new();
    let mut arrived = vec![0; CALLS as usize];
    let reads = async {
        let (_, number) = until_called(&mut first).await.unwrap();
        arrived[number as usize] += 1;
        first
    };
    let make = async {
        troupe.ready(Readiness::All).await.unwrap();
        for n in 0..CALLS {
            let call = troupe.call(Call::tool("t").args(json!({"n": n})).timeout(Duration::from_secs(60)));
            calls.spawn(async move { (n, call.await) });
        }
    };
    let (first, ()) = tokio::join!(reads, make);
    while troupe.stats().await.servers[0].pool.in_flight < CALLS as usize {
        tokio::task::yield_now().await;
    }
    drop(first);
    let mut second = listener.accept().await.unwrap();
    let serves = async {
        while let Some((id, number)) = until_called(&mut second).await {
            arrived[number as usize] += 1;
            let result = json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}});
            second.send(result.to_string()).await;
        }
    };
    let answers = async {
        let mut answers = Vec::new();
        while let Some(answer) = calls.join_next().await {
            answers.push(answer.unwrap());
        }
        end(troupe).await;
        answers
    };
    let ((), answers) = tokio::join!(serves, answers);
    let (mut moved, mut unknown) = (0, 0);
    for (n, answer) in answers {
        match answer {
            Ok(reply) => {
                assert_eq!((reply.attempts, arrived[n as usize]), (1, 1), "call {n}");
                moved += 1;
            }
            Err(error) => {
                assert_eq!(error.effect(), Effect::Unknown, "call {n}: {error}");
                assert!(arrived[n as usize] <= 1, "call {n} came twice");
                unknown += 1;
            }
        }
    }
    assert!(moved > 0 && unknown > 0, "{moved} moved, {unknown} unknown");
}

/// A stdio server that has a tool, and closes its stdin before it is called.
#[cfg(unix)]
const DEAF: &str = r#"
answer() { read -r line; id=$(printf %s "$line" | sed 's/.*"id":\([0-9]*\).*/\1/'); printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$1"; }
answer '{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}'
exec 3<&0
read -r line <&3; id=$(printf %s "$line" | sed 's/.*"id":\([0-9]*\).*/\1/')
exec 3<&- <&-
printf '{"jsonrpc":"2.0","id":%s,"result":{"tools":[{"name":"t","inputSchema":{"type":"object"}}]}}\n' "$id"
exec sleep 1000
"#;

#[cfg(unix)]
#[tokio::test]
async fn a_call_that_cannot_be_written_to_a_process_is_never_told_as_carried_out() {
    let troupe = ready([Server::stdio("s", "sh", ["-c", DEAF])]).await;
    let error = troupe.call(Call::tool("t").timeout(Duration::from_secs(2))).await.unwrap_err();
    assert!(matches!(error.effect(), Effect::Unknown | Effect::NotSent), "{error}");
    assert!(!matches!(error.kind(), CallErrorKind::Rpc(_) | CallErrorKind::Refused(_)), "{error}");
    end(troupe).await;
}

#[tokio::test]
async fn a_child_that_ends_over_a_call_leaves_it_unknown_and_its_successor_carries_out_what_waits() {
    let troupe = start_with(narrow, [super::common::child("s", [])]).await;
    troupe.ready(Readiness::All).await.unwrap();
    let dies = tokio::spawn(troupe.call(Call::tool("exit")));
    let waits = tokio::spawn(troupe.call(Call::tool("echo")));
    let error = dies.await.unwrap().unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::ConnectionLost { sent: true, .. }), "{error}");
    assert_eq!((error.effect(), error.attempts()), (Effect::Unknown, 1));
    assert_eq!(waits.await.unwrap().unwrap().attempts, 1);
    end(troupe).await;
}
