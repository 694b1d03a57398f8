//! Actors that fall silent, strategies of the host, and a troupe under an actor of the host's.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{echo, end, event, kind};
use mcp_troupe::event::{ExitCause, ServerStatus};
use mcp_troupe::strategy::{Candidates, Pick, Strategy};
use mcp_troupe::testkit::{Fault, Script, ScriptedServer, Target, inject};
use mcp_troupe::{Call, CallErrorKind, Event, Readiness, Server, Troupe};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::mpsc;

/// A troupe over a link in memory, under paused time.
async fn in_memory() -> (ScriptedServer, Troupe) {
    let (server, connector) =
        ScriptedServer::builder().tool("echo", Script::Echo).tool("hold", Script::Hold).start_in_memory();
    let troupe = Troupe::builder().server_via(Server::custom("s"), connector).seed(7).start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    (server, troupe)
}

#[tokio::test(start_paused = true)]
async fn a_server_actor_that_hangs_is_stopped_then_killed_and_replaced() {
    let (_server, troupe) = in_memory().await;
    let mut events = troupe.events();
    inject(&troupe, Target::server("s"), Fault::Hang).await.unwrap();
    let down = event(&mut events, |event| matches!(event, Event::ServerDown { .. })).await;
    assert!(matches!(down, Event::ServerDown { cause: ExitCause::Killed, .. }), "{down:?}");
    event(&mut events, |event| matches!(event, Event::ServerStatusChanged { to: ServerStatus::Ready, .. }))
        .await;
    assert!(troupe.call(echo()).await.is_ok());
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn deadlines_are_kept_to_the_millisecond_in_virtual_time() {
    let (_server, troupe) = in_memory().await;
    let begun = tokio::time::Instant::now();
    let answer = troupe.call(Call::tool("hold")).await;
    assert!(matches!(kind(answer), CallErrorKind::DeadlineExceeded { .. }));
    let waited = tokio::time::Instant::now().saturating_duration_since(begun);
    assert!((30_000..=30_002).contains(&waited.as_millis()), "{waited:?}");
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_server_is_dialled_for_ever_with_growing_delays() {
    let (connector, listener) = mcp_troupe::testkit::pair(8);
    drop(listener);
    let troupe = Troupe::builder().server_via(Server::custom("s"), connector).seed(7).start().await.unwrap();
    let mut events = troupe.events();
    let mut delays = Vec::new();
    while delays.len() < 20 {
        let told = event(&mut events, |event| {
            matches!(event, Event::ServerStatusChanged { to: ServerStatus::Disconnected, .. })
        })
        .await;
        let Event::ServerStatusChanged { retry_in: Some(delay), .. } = told else {
            panic!("given up: {told:?}")
        };
        delays.push(delay);
    }
    assert!(delays[0] <= Duration::from_millis(100) && delays[19] > Duration::from_secs(10), "{delays:?}");
    end(troupe).await;
}

/// Picks the last that admits.
struct Last;

impl Strategy for Last {
    fn name(&self) -> &str {
        "last"
    }

    fn pick(&mut self, candidates: &dyn Candidates, _: Pick<'_>) -> Option<usize> {
        (0..candidates.len()).rev().find(|index| candidates.get(*index).is_some())
    }
}

#[tokio::test]
async fn a_strategy_of_the_hosts_own_is_asked() {
    let a = ScriptedServer::builder().tool("echo", Script::Echo).start().await;
    let b = ScriptedServer::builder().tool("echo", Script::Echo).start().await;
    let builder = Troupe::builder()
        .add_strategy(|| Last)
        .strategy("last")
        .server(Server::websocket("a", a.url()).group("g"))
        .server(Server::websocket("b", b.url()).group("g"));
    let troupe = builder.start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    for _ in 0..3 {
        assert_eq!(troupe.call(echo()).await.unwrap().server.as_str(), "b");
    }
    end(troupe).await;
}

/// An actor of a host's that supervises a troupe.
struct Host;

impl Actor for Host {
    type Msg = ();
    type State = mpsc::Sender<&'static str>;
    type Arguments = mpsc::Sender<&'static str>;

    async fn pre_start(
        &self,
        _: ActorRef<()>,
        told: mpsc::Sender<&'static str>,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(told)
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        event: SupervisionEvent,
        told: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorTerminated(..) = event {
            told.try_send("the troupe ended")?;
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_troupe_under_a_hosts_actor_tells_it_of_its_end_and_ends_with_it() {
    let server = ScriptedServer::builder().tool("echo", Script::Echo).start().await;
    let (told, mut heard) = mpsc::channel(4);
    let (host, _) = Actor::spawn(None, Host, told).await.unwrap();
    let start = || {
        let builder = Troupe::builder().server(Server::websocket("s", server.url()));
        builder.start_linked(host.get_cell())
    };
    let troupe = start().await.unwrap();
    assert!(troupe.call(echo()).await.is_ok());
    end(troupe).await;
    assert_eq!(heard.recv().await, Some("the troupe ended"));
    let troupe = start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    host.stop_and_wait(None, None).await.unwrap();
    assert!(matches!(kind(troupe.call(echo()).await), CallErrorKind::Closed | CallErrorKind::Interrupted));
    end(troupe).await;
}

#[tokio::test]
async fn a_troupe_whose_last_handle_is_dropped_ends() {
    let server = ScriptedServer::builder().tool("echo", Script::Echo).start().await;
    let troupe = Troupe::builder().server(Server::websocket("s", server.url())).start().await.unwrap();
    let mut events = troupe.events();
    drop(troupe);
    while events.next().await.is_some() {}
    server.wait_for(|seen| seen.connections == 0).await;
}
