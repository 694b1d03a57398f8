//! Servers that are not there, or say nothing, when the troupe starts.

use std::time::Duration;

use mcp_troupe::event::ServerStatus;
use mcp_troupe::testkit::{Script, ScriptedServer, pair};
use mcp_troupe::{Call, CallErrorKind, Event, Readiness, Server, ServerInfo, Settings, Troupe};
use tokio::time::Instant;

use super::common::{echo, end, event, start, start_with};
use super::dials::Dials;

async fn echo_server() -> ScriptedServer {
    ScriptedServer::builder().tool("echo", Script::Echo).start().await
}

#[tokio::test]
async fn a_server_that_is_refused_and_one_that_never_answers_hold_up_nobody() {
    let good = echo_server().await;
    let silent = ScriptedServer::builder().black_hole().start().await;
    let refused = {
        let mut server = echo_server().await;
        server.stop_listening().await;
        server.url()
    };
    let troupe = start([
        Server::websocket("refused", refused),
        Server::websocket("silent", silent.url()),
        Server::websocket("good", good.url()),
    ])
    .await;
    let reply = troupe.call(echo()).await.unwrap();
    assert_eq!(reply.server.as_str(), "good");
    troupe.ready(Readiness::Any).await.unwrap();
    troupe.ready(Readiness::Named(vec!["good".into()])).await.unwrap();
    let not_ready = troupe.ready_within(Readiness::All, Duration::from_millis(10)).await.unwrap_err();
    assert!(not_ready.to_string().contains("refused is"), "{not_ready}");
    end(troupe).await;
}

#[tokio::test]
async fn a_refused_server_is_told_with_its_reason_and_joins_by_itself_when_it_appears() {
    let good = echo_server().await;
    let mut late = ScriptedServer::builder().tool("late", Script::Echo).start().await;
    late.stop_listening().await;
    let troupe = start([Server::websocket("late", late.url()), Server::websocket("good", good.url())]).await;
    let mut events = troupe.events();
    assert!(troupe.call(echo()).await.is_ok());
    let tried = |event: &Event| matches!(event, Event::ServerStatusChanged { server, to: ServerStatus::Disconnected, .. } if *server == "late");
    event(&mut events, tried).await;
    let error = troupe.call(Call::tool("late")).await.unwrap_err();
    let CallErrorKind::Unavailable { servers } = error.kind() else { panic!("{error}") };
    assert_eq!(servers[0].server.as_str(), "late");
    assert!(servers[0].reason.contains("refused"), "{}", servers[0]);
    assert!(error.retryable() && error.retry_after() > Some(Duration::ZERO), "{error}");
    late.resume().await;
    troupe.ready(Readiness::All).await.unwrap();
    assert!(troupe.call(Call::tool("late")).await.is_ok());
    end(troupe).await;
}

#[tokio::test]
async fn a_black_hole_is_given_up_at_its_deadline_and_dialled_again() {
    let silent = ScriptedServer::builder().black_hole().start().await;
    let brief = |settings: &mut Settings| settings.pool.connect_timeout = Duration::from_millis(30);
    let troupe = start_with(brief, [Server::websocket("silent", silent.url())]).await;
    let mut events = troupe.events();
    let given_up = event(&mut events, |event| {
        matches!(event, Event::ServerStatusChanged { to: ServerStatus::Disconnected, .. })
    })
    .await;
    let Event::ServerStatusChanged { reason: Some(reason), .. } = given_up else { panic!() };
    assert!(reason.contains("30ms"), "{reason}");
    silent.wait_for(|seen| seen.accepted >= 3).await;
    end(troupe).await;
}

#[tokio::test]
async fn of_a_hundred_servers_with_ten_dead_ninety_are_ready_and_few_dial_at_once() {
    let mut servers = Vec::new();
    for n in 0..100 {
        let builder = ScriptedServer::builder().tool(format!("tool-{n}"), Script::Echo);
        servers.push(match n % 20 {
            // Five that never answer, five that are refused.
            0 => builder.black_hole().start().await,
            10 => {
                let mut server = builder.start().await;
                server.stop_listening().await;
                server
            }
            _ => builder.start().await,
        });
    }
    let mut settings = Settings::default();
    settings.start_concurrency = 16;
    let dials = Dials::default();
    let builder =
        servers.iter().enumerate().fold(Troupe::builder().settings(settings), |builder, (n, server)| {
            builder.server_via(Server::custom(format!("s{n}")), dials.to(server.url()))
        });
    let troupe = builder.start().await.unwrap();
    let alive: Vec<usize> = (0..100).filter(|n| n % 10 != 0).collect();
    troupe.ready(Readiness::Named(alive.iter().map(|n| format!("s{n}")).collect())).await.unwrap();
    for n in alive {
        troupe.call(Call::tool(format!("tool-{n}"))).await.unwrap();
    }
    assert!((1..=16).contains(&dials.most()), "{} dials at once", dials.most());
    end(troupe).await;
}

fn since(begun: Instant) -> Duration {
    Instant::now().saturating_duration_since(begun)
}

fn ids(servers: &[ServerInfo]) -> Vec<&str> {
    servers.iter().map(|server| server.id.as_str()).collect()
}

#[tokio::test]
async fn who_begins_waits_for_what_works_and_hears_who_is_missing_and_why() {
    let good = echo_server().await;
    let mut refused = echo_server().await;
    refused.stop_listening().await;
    let troupe = start([
        Server::websocket("refused", refused.url()),
        Server::stdio("absent", "no-such-server", [""; 0]),
        Server::websocket("good", good.url()),
    ])
    .await;
    let missing = troupe.settled().await;
    assert_eq!(ids(&missing), ["absent", "refused"]);
    let told: Vec<String> = missing.iter().map(ServerInfo::to_string).collect();
    assert!(told[0].starts_with("absent is ") && told[0].contains("cannot start no-such-server"), "{told:?}");
    assert!(told[1].contains("refused"), "{told:?}");
    assert!(troupe.call(echo()).await.is_ok());
    assert_eq!(troupe.ready(Readiness::default()).await.unwrap().len(), 2, "it is no error");
    // It joins by itself, and then nobody misses it.
    refused.resume().await;
    troupe.ready(Readiness::Named(vec!["refused".into()])).await.unwrap();
    assert_eq!(ids(&troupe.settled().await), ["absent"]);
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_entry_costs_no_time_at_the_start_and_a_silent_one_no_more_than_is_given() {
    let (dead, listener) = pair(8);
    drop(listener);
    let (silent, _held) = pair(8);
    let of = |id: &str| Server::custom(id);
    let troupe = Troupe::builder().server_via(of("dead"), dead).start().await.unwrap();
    let begun = Instant::now();
    let missing = troupe.settled().await;
    assert!(since(begun) < Duration::from_millis(50), "{:?}", since(begun));
    assert!(missing[0].reason.is_some());
    troupe.register_via(of("silent"), silent).await.unwrap();
    let begun = Instant::now();
    let missing = troupe.settled_within(Duration::from_secs(3)).await;
    assert_eq!((ids(&missing), since(begun).as_secs()), (vec!["dead", "silent"], 3));
    assert_eq!((missing[1].status, missing[1].reason.clone()), (ServerStatus::Connecting, None));
    // Its first attempt ends, and with it the wait.
    assert_eq!(ids(&troupe.settled().await), ["dead", "silent"]);
    assert!(since(begun) < Duration::from_secs(59), "{:?}", since(begun));
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_described_anew_has_its_first_attempt_again() {
    let (dead, listener) = pair(8);
    drop(listener);
    let troupe = Troupe::builder().server_via(Server::custom("s"), dead).start().await.unwrap();
    assert_eq!(troupe.settled().await.len(), 1);
    let (silent, _held) = pair(8);
    troupe.replace_via(Server::custom("s"), silent).await.unwrap();
    let begun = Instant::now();
    troupe.settled().await;
    assert!(since(begun) > Duration::from_secs(1), "{:?}", since(begun));
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn each_failed_attempt_is_one_event_with_its_reason_and_number() {
    let (dead, listener) = pair(8);
    drop(listener);
    let troupe = Troupe::builder().server_via(Server::custom("s"), dead).seed(7).start().await.unwrap();
    let mut events = troupe.events();
    // The first attempt may have been told before anybody listened.
    let first = event(&mut events, |event| matches!(event, Event::ServerStatusChanged { .. })).await;
    let Event::ServerStatusChanged { attempts: first, .. } = first else { unreachable!() };
    for number in first + 1..first + 5 {
        let told = events.next().await.unwrap();
        let Event::ServerStatusChanged { from, to, reason: Some(_), attempts, .. } = &told else {
            panic!("{told:?}")
        };
        assert_eq!((from, to, *attempts), (&ServerStatus::Disconnected, &ServerStatus::Disconnected, number));
    }
    end(troupe).await;
}

#[tokio::test]
async fn errors_that_a_host_returns_from_main_read_as_they_are_displayed() {
    let mut server = echo_server().await;
    server.stop_listening().await;
    let troupe = start([Server::websocket("s", server.url())]).await;
    troupe.settled().await;
    let not_ready = troupe.ready_within(Readiness::All, Duration::from_millis(1)).await.unwrap_err();
    assert_eq!(format!("{not_ready:?}"), not_ready.to_string());
    assert!(not_ready.to_string().contains("0 of 1 are\n  s is "), "{not_ready}");
    let error = troupe.call(Call::tool("s/x")).await.unwrap_err();
    assert_eq!(format!("{error:?}"), error.to_string());
    let error = Troupe::builder().strategy("fastest").start().await.unwrap_err();
    assert_eq!(format!("{error:?}"), error.to_string());
    end(troupe).await;
}
