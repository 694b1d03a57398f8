//! Servers that are not there, or say nothing, when the troupe starts.

use std::time::Duration;

use mcp_troupe::event::ServerStatus;
use mcp_troupe::testkit::{Script, ScriptedServer};
use mcp_troupe::{Call, CallErrorKind, Event, Readiness, Server, Settings, Troupe};

use super::common::{echo, end, event, kind, start, start_with};
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
    let CallErrorKind::UnknownTool { missing, .. } = kind(troupe.call(Call::tool("late")).await) else {
        panic!()
    };
    assert_eq!(missing[0].server.as_str(), "late");
    assert!(missing[0].reason.contains("refused"), "{}", missing[0]);
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
