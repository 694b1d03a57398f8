//! Peers that vanish, read nothing, talk garbage or storm.

use std::time::Duration;

use mcp_troupe::testkit::{FaultProxy, Script, ScriptedServer};
use mcp_troupe::{Call, CallErrorKind, Readiness, Server, Settings, Troupe};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::common::{echo, end, kind, ready, start_with};

/// A troupe of one server, which is ready.
async fn one(server: &ScriptedServer, change: impl FnOnce(&mut Settings)) -> Troupe {
    let troupe = start_with(change, [Server::websocket("s", server.url())]).await;
    troupe.ready(Readiness::All).await.unwrap();
    troupe
}

#[tokio::test]
async fn a_peer_that_vanished_without_a_word_is_noticed_by_its_missing_pongs() {
    let server = ScriptedServer::builder().tool("echo", Script::Echo).start().await;
    let ping = |settings: &mut Settings| settings.liveness.ping_interval = Duration::from_millis(20);
    let troupe = one(&server, ping).await;
    server.go_deaf();
    let CallErrorKind::ConnectionLost { reason, sent: true } = kind(troupe.call(echo()).await) else {
        panic!()
    };
    assert!(reason.contains("pings"), "{reason}");
    end(troupe).await;
}

#[tokio::test]
async fn a_large_answer_on_a_slow_line_is_a_sign_of_life_while_it_moves() {
    // Four seconds on its way; a silent peer is borne for about one.
    const BYTES: usize = 4 << 20;
    let text = "x".repeat(BYTES);
    let reply = Script::Reply(format!(r#"{{"content":[{{"type":"text","text":"{text}"}}]}}"#));
    let server = ScriptedServer::builder().tool("t", reply).start().await;
    let proxy = FaultProxy::start(&server.url()).await.unwrap();
    let ping = |settings: &mut Settings| settings.liveness.ping_interval = Duration::from_millis(400);
    let troupe = start_with(ping, [Server::websocket("s", proxy.url())]).await;
    troupe.ready(Readiness::All).await.unwrap();
    proxy.change(|line| line.bandwidth = Some(1 << 20));
    let reply = troupe.call(Call::tool("t")).await.unwrap();
    assert_eq!(reply.text().unwrap().len(), BYTES);
    end(troupe).await;
}

#[tokio::test]
async fn a_peer_that_stops_reading_is_given_up_and_memory_stays_bounded() {
    let server = ScriptedServer::builder().tool("echo", Script::Echo).start().await;
    let write = |settings: &mut Settings| settings.liveness.write_timeout = Duration::from_millis(50);
    let troupe = one(&server, write).await;
    server.go_deaf();
    // Far more than the buffers of a loopback connection hold.
    let args = serde_json::json!({"x": "x".repeat(4 << 20)});
    let calls: Vec<_> = (0..8).map(|_| tokio::spawn(troupe.call(Call::tool("echo").args(&args)))).collect();
    let mut stalled = 0;
    for call in calls {
        match kind(call.await.unwrap()) {
            CallErrorKind::ConnectionLost { reason, .. } => {
                assert!(reason.contains("read nothing"), "{reason}");
                stalled += 1;
            }
            // Calls that were not sent wait for another connection, which a deaf server does not give.
            CallErrorKind::Unavailable { .. } => {}
            other => panic!("{other}"),
        }
    }
    assert!(stalled > 0);
    end(troupe).await;
}

#[tokio::test]
async fn garbage_strange_ids_and_double_answers_reach_no_other_caller() {
    let server = ScriptedServer::builder()
        .tool("echo", Script::Echo)
        .tool("garbage", Script::Garbage)
        .tool("wrong", Script::WrongId)
        .tool("null", Script::NullId)
        .tool("double", Script::Double)
        .tool("hollow", Script::Hollow)
        .tool(
            "noisy",
            Script::NotifyBefore {
                method: "notifications/message".into(),
                times: 1,
                next: Box::new(Script::Echo),
            },
        )
        .start()
        .await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    for tool in ["garbage", "wrong", "null"] {
        let call = Call::tool(tool).timeout(Duration::from_millis(50));
        let answer = troupe.call(call).await;
        assert!(matches!(kind(answer), CallErrorKind::DeadlineExceeded { sent: true, .. }), "{tool}");
    }
    assert!(matches!(kind(troupe.call(Call::tool("hollow")).await), CallErrorKind::InvalidResponse { .. }));
    for n in 0..20 {
        troupe.call(Call::tool("double").args(json!({"n": n}))).await.unwrap();
        let reply = troupe.call(Call::tool("noisy").args(json!({"n": n}))).await.unwrap();
        assert_eq!(reply.structured::<Value>().unwrap(), json!({"n": n}));
    }
    let stats = troupe.stats().await;
    assert_eq!(stats.servers[0].outcomes["late-answer"], 21, "one wrong id and twenty second answers");
    assert_eq!(stats.servers[0].pool.in_flight, 0);
    end(troupe).await;
}

#[tokio::test]
async fn an_oversized_request_is_refused_before_it_is_sent_and_an_oversized_answer_ends_its_link() {
    let huge = format!(r#"{{"content":[],"x":"{}"}}"#, "x".repeat(100_000));
    let server =
        ScriptedServer::builder().tool("echo", Script::Echo).tool("huge", Script::Reply(huge)).start().await;
    let troupe = one(&server, |settings| settings.limits.message_bytes_max = 64 << 10).await;
    let answer = troupe.call(Call::tool("echo").args(json!({"x": "y".repeat(70_000)}))).await;
    assert!(matches!(kind(answer), CallErrorKind::TooLarge { limit: 65_536, .. }));
    let CallErrorKind::ConnectionLost { reason, sent: true } = kind(troupe.call(Call::tool("huge")).await)
    else {
        panic!("it was accepted");
    };
    assert!(reason.contains("65536"), "{reason}");
    assert!(troupe.call(echo()).await.is_ok(), "the link is made anew");
    end(troupe).await;
}

#[tokio::test]
async fn calls_to_a_half_open_peer_fail_over_to_its_replica() {
    let mut proxies = Vec::new();
    let mut servers = Vec::new();
    for _ in 0..2 {
        let server = ScriptedServer::builder().tool("echo", Script::Echo).start().await;
        proxies.push(FaultProxy::start(&server.url()).await.unwrap());
        servers.push(server);
    }
    let replicas = ["a", "b"].into_iter().zip(&proxies);
    let ping = |settings: &mut Settings| settings.liveness.ping_interval = Duration::from_millis(20);
    let troupe =
        start_with(ping, replicas.map(|(id, proxy)| Server::websocket(id, proxy.url()).group("g"))).await;
    troupe.ready(Readiness::All).await.unwrap();
    proxies[0].change(|line| line.half_open = true);
    for _ in 0..10 {
        let reply = troupe.call(echo().idempotent()).await.unwrap();
        assert_eq!(reply.server.as_str(), "b");
    }
    proxies[0].heal();
    end(troupe).await;
}

#[tokio::test]
async fn an_answer_after_a_cancellation_reaches_nobody() {
    let server =
        ScriptedServer::builder().tool("hold", Script::Hold).tool("echo", Script::Echo).start().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let call = tokio::spawn(troupe.call(Call::tool("hold")));
    server.wait_for(|seen| seen.calls.contains_key("hold")).await;
    call.abort();
    server.wait_for(|seen| seen.cancelled.len() == 1).await;
    server.release();
    for n in 0..20 {
        let reply = troupe.call(Call::tool("echo").args(json!({"n": n}))).await.unwrap();
        assert_eq!(reply.structured::<Value>().unwrap(), json!({"n": n}));
    }
    end(troupe).await;
}

#[tokio::test]
async fn a_corrupted_frame_costs_its_connection_and_no_other_caller_its_answer() {
    let server = ScriptedServer::builder().tool("echo", Script::Echo).start().await;
    let proxy = FaultProxy::start(&server.url()).await.unwrap();
    let troupe = ready([Server::websocket("s", proxy.url())]).await;
    proxy.change(|line| line.corrupt_one_in = 10);
    for n in 0..100 {
        let args = json!({"n": n});
        let call = Call::tool("echo").args(&args).timeout(Duration::from_secs(1));
        if let Ok(reply) = troupe.call(call).await
            && let Ok(answer) = reply.structured::<Value>()
            && let Some(told) = answer["n"].as_u64()
        {
            // A flipped bit may make another digit, but no answer of another call: that would be far off.
            assert!((told ^ n).count_ones() <= 8, "{told} for {n}");
        }
    }
    proxy.heal();
    troupe.ready(Readiness::All).await.unwrap();
    assert!(troupe.call(echo()).await.is_ok());
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_list_changes_is_gathered_while_calls_go_on() {
    let storm = Script::NotifyBefore {
        method: "notifications/tools/list_changed".into(),
        times: 100,
        next: Script::After(Duration::from_millis(100), Script::Echo.into()).into(),
    };
    let (server, connector) = ScriptedServer::builder().tool("storm", storm).start_in_memory();
    let troupe = Troupe::builder().server_via(Server::custom("s"), connector).start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let (begun, before) = (Instant::now(), server.observed().listings);
    // A thousand a second, for ten seconds.
    for _ in 0..100 {
        assert!(troupe.call(Call::tool("storm")).await.is_ok());
    }
    let took = Instant::now().saturating_duration_since(begun);
    assert!(took < Duration::from_secs(11), "the calls took {took:?} instead of ten seconds");
    let listings = server.observed().listings - before;
    assert!((3..=6).contains(&listings), "{listings} listings for 10,000 changes that were none");
    end(troupe).await;
}
