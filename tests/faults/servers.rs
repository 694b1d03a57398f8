//! Servers that die, come back, are slow, fail, or crash in a loop.

use std::time::Duration;

use mcp_troupe::event::ServerStatus;
use mcp_troupe::testkit::{Fault, FaultProxy, Script, ScriptedServer, Target, inject};
use mcp_troupe::{Call, CallErrorKind, Effect, Event, Readiness, Server, Settings, Troupe};
use tokio::task::JoinSet;

use super::common::{echo, end, event, ready};
use super::dials::Dials;
use super::load::{Load, two_replicas};

/// Calls in waves: enough at once that the strategy has a choice.
const WAVE: usize = 8;

#[tokio::test]
async fn calls_in_flight_get_their_error_when_the_socket_ends_and_not_at_their_deadline() {
    let server = ScriptedServer::builder().tool("hold", Script::Hold).start().await;
    let proxy = FaultProxy::start(&server.url()).await.unwrap();
    let troupe = ready([Server::websocket("s", proxy.url())]).await;
    let mut calls = JoinSet::new();
    (0..20).for_each(|_| drop(calls.spawn(troupe.call(Call::tool("hold")))));
    server.wait_for(|seen| seen.calls.get("hold") == Some(&20)).await;
    proxy.cut();
    for answer in calls.join_all().await {
        let error = answer.unwrap_err();
        assert!(matches!(error.kind(), CallErrorKind::ConnectionLost { sent: true, .. }), "{error}");
        assert_eq!(error.effect(), Effect::Unknown);
    }
    end(troupe).await;
}

#[tokio::test]
async fn a_lost_call_says_that_its_outcome_is_unknown_and_a_safe_one_is_answered_by_the_replica() {
    let a = ScriptedServer::builder().tool("t", Script::Cut).start().await;
    let troupe = ready([Server::websocket("a", a.url()).group("g")]).await;
    let lost = troupe.call(Call::tool("t")).await.unwrap_err();
    assert_eq!(lost.effect(), Effect::Unknown);
    let b = ScriptedServer::builder().tool("t", Script::Echo).start().await;
    troupe.register(Server::websocket("b", b.url()).group("g")).await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    for _ in 0..5 {
        let reply = troupe.call(Call::tool("t").idempotent()).await.unwrap();
        assert_eq!(reply.server.as_str(), "b");
    }
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn one_caller_without_patience_opens_the_breaker_for_nobody_and_a_server_that_hangs_opens_it() {
    let usual = Script::After(Duration::from_millis(50), Box::new(Script::Echo));
    let (server, connector) = ScriptedServer::builder().tool("t", usual).start_in_memory();
    let builder = Troupe::builder().server_via(Server::custom("s"), connector);
    let troupe = builder.start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let call = || Call::tool("t");
    troupe.call(call()).await.unwrap();
    for _ in 0..50 {
        troupe.call(call().timeout(Duration::from_millis(1))).await.unwrap_err();
        troupe.call(call()).await.unwrap();
    }
    for _ in 0..50 {
        troupe.call(call().timeout(Duration::from_millis(1))).await.unwrap_err();
    }
    troupe.call(call()).await.unwrap();
    server.set_script("t", Script::Silence);
    for _ in 0..5 {
        troupe.call(call().timeout(Duration::from_millis(100))).await.unwrap_err();
    }
    let refused = troupe.call(call()).await.unwrap_err();
    assert!(matches!(refused.kind(), CallErrorKind::Unavailable { .. }), "{refused}");
    end(troupe).await;
}

#[tokio::test]
async fn a_server_that_comes_back_gets_calls_again() {
    let (mut a, _b, troupe) = two_replicas().await;
    let mut events = troupe.events();
    let load = Load::start(&troupe);
    a.stop_listening().await;
    let down = |event: &Event| matches!(event, Event::ServerStatusChanged { server, to, .. } if *server == "a" && *to != ServerStatus::Ready);
    event(&mut events, down).await;
    troupe.call(echo()).await.unwrap();
    let before = a.calls("echo");
    a.resume().await;
    troupe.ready(Readiness::All).await.unwrap();
    a.wait_for(|seen| seen.calls.get("echo").is_some_and(|calls| *calls > before)).await;
    let account = load.finish().await;
    assert!(account.ok > 0);
    end(troupe).await;
}

#[tokio::test]
async fn a_crash_loop_is_quarantined_and_touches_nobody_else() {
    let (_a, b, troupe) = two_replicas().await;
    let mut events = troupe.events();
    loop {
        // Between two lives there is nobody to strike.
        let _ = inject(&troupe, Target::server("a"), Fault::Kill).await;
        let told = event(&mut events, |event| matches!(event, Event::ServerStatusChanged { .. })).await;
        let Event::ServerStatusChanged { to, retry_in, .. } = told else { unreachable!() };
        if to == ServerStatus::Quarantined {
            assert!(retry_in.is_some());
            break;
        }
    }
    let before = b.calls("echo");
    for _ in 0..10 {
        assert_eq!(troupe.call(echo()).await.unwrap().server.as_str(), "b");
    }
    assert_eq!(b.calls("echo"), before + 10);
    end(troupe).await;
}

#[tokio::test]
async fn many_servers_that_come_back_at_once_are_dialled_a_few_at_a_time() {
    let mut servers = Vec::new();
    for n in 0..30 {
        servers.push(ScriptedServer::builder().tool(format!("tool-{n}"), Script::Echo).start().await);
    }
    let mut settings = Settings::default();
    settings.start_concurrency = 4;
    let dials = Dials::default();
    let builder =
        servers.iter().enumerate().fold(Troupe::builder().settings(settings), |builder, (n, server)| {
            builder.server_via(Server::custom(format!("s{n}")), dials.to(server.url()))
        });
    let troupe = builder.start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let mut events = troupe.events();
    for server in &mut servers {
        server.stop_listening().await;
    }
    let mut down = 0;
    while down < servers.len() {
        event(&mut events, |event| {
            matches!(event, Event::ServerStatusChanged { from: ServerStatus::Ready, .. })
        })
        .await;
        down += 1;
    }
    for server in &mut servers {
        server.resume().await;
    }
    troupe.ready(Readiness::All).await.unwrap();
    assert!((1..=4).contains(&dials.most()), "{} dials at once", dials.most());
    end(troupe).await;
}

/// Three replicas under the default strategy, of which the third does something else; in memory, for virtual time.
async fn three(odd: Script) -> (Vec<ScriptedServer>, Troupe) {
    let well = Script::After(Duration::from_millis(2), Script::Echo.into());
    let mut builder = Troupe::builder().seed(7);
    let mut servers = Vec::new();
    for (n, script) in [well.clone(), well, odd].into_iter().enumerate() {
        let (server, connector) = ScriptedServer::builder().tool("echo", script).start_in_memory();
        builder = builder.server_via(Server::custom(format!("s{n}")).group("g"), connector);
        servers.push(server);
    }
    let troupe = builder.start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    (servers, troupe)
}

/// So many calls, in waves. Returns how many failed.
async fn waves(troupe: &Troupe, calls: usize) -> usize {
    let mut failed = 0;
    for _ in 0..calls / WAVE {
        let mut wave = JoinSet::new();
        (0..WAVE).for_each(|_| drop(wave.spawn(troupe.call(echo()))));
        failed += wave.join_all().await.iter().filter(|answer| answer.is_err()).count();
    }
    failed
}

#[tokio::test(start_paused = true)]
async fn a_replica_ten_times_slower_is_seldom_asked() {
    let slow = Script::After(Duration::from_millis(20), Script::Echo.into());
    let (servers, troupe) = three(slow).await;
    assert_eq!(waves(&troupe, 800).await, 0);
    let slow = servers[2].calls("echo");
    assert!(slow <= 800 / 50, "the slow replica had {slow} of 800 calls");
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_fails_fast_attracts_no_traffic() {
    let failing = Script::Error { code: -32603, message: "broken".into() };
    let (servers, troupe) = three(failing).await;
    let failed = waves(&troupe, 800).await;
    assert!(failed <= 2 * WAVE, "{failed} of 800 calls failed");
    assert_eq!(failed as u64, servers[2].calls("echo"));
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_opens_its_breaker_also_after_one_slow_answer_of_another_tool() {
    let slow = Script::After(Duration::from_secs(25), Box::new(Script::Echo));
    let builder = ScriptedServer::builder().tool("t", Script::Echo).tool("report", slow);
    let (server, connector) = builder.start_in_memory();
    let troupe = Troupe::builder().server_via(Server::custom("s"), connector).start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    for _ in 0..100 {
        troupe.call(Call::tool("t")).await.unwrap();
    }
    troupe.call(Call::tool("report")).await.unwrap();
    server.set_script("t", Script::Silence);
    let mut waited = 0;
    for _ in 0..200 {
        let error = troupe.call(Call::tool("t").timeout(Duration::from_secs(5))).await.unwrap_err();
        match error.kind() {
            CallErrorKind::DeadlineExceeded { .. } => waited += 1,
            _ => break,
        }
    }
    end(troupe).await;
    assert!(waited < 20, "{waited} calls of 5 s waited for a server that hangs");
}
