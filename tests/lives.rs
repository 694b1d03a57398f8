//! The lives of a server: what one of them gave, or was told, never meets the next one, and what is the server's goes on.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{echo, end, event, kind, ready, start_with};
use mcp_troupe::config::{PoolSettings, RestartKind};
use mcp_troupe::event::{BreakerState, ExitCause, ServerStatus};
use mcp_troupe::stats::ServerStats;
use mcp_troupe::testkit::{Fault, Script, ScriptedEra, ScriptedServer, Target, inject};
use mcp_troupe::{Call, CallErrorKind, Event, EventStream, Readiness, Server, ServerInfo, Troupe};
use tokio::time::Instant;

/// Longer than any test, so that nothing here ends by its time.
const LONG: Duration = Duration::from_secs(3600);

const NOTE: &str = "file:///a.txt";

async fn scripted() -> ScriptedServer {
    ScriptedServer::builder()
        .tool("echo", Script::Echo)
        .tool("hold", Script::Hold)
        .resource(NOTE, "alpha")
        .era(ScriptedEra::Legacy)
        .tells_changes()
        .start()
        .await
}

/// A server whose leases do not end by themselves while they are looked at.
fn at(server: &ScriptedServer) -> Server {
    let mut pool = PoolSettings::default();
    pool.lease_idle_timeout = LONG;
    Server::websocket("s", server.url()).pool(pool)
}

/// The same server, described so that other connections are needed.
fn anew(server: &ScriptedServer) -> Server {
    at(server).header("X-Other", "1")
}

fn info(troupe: &Troupe) -> Option<ServerInfo> {
    troupe.servers().first().cloned()
}

async fn stats(troupe: &Troupe) -> ServerStats {
    troupe.stats().await.servers.remove(0)
}

/// Waits until the server is as it is wanted.
async fn until(troupe: &Troupe, mut wanted: impl FnMut(&ServerInfo) -> bool) -> ServerInfo {
    loop {
        if let Some(info) = info(troupe).filter(&mut wanted) {
            return info;
        }
        tokio::task::yield_now().await;
    }
}

/// Waits for another life that is ready.
async fn ready_after(troupe: &Troupe, former: &ServerInfo) -> ServerInfo {
    let another = |info: &ServerInfo| info.incarnation != former.incarnation;
    until(troupe, |info| another(info) && info.status == ServerStatus::Ready).await
}

fn drain(troupe: &Troupe) -> tokio::task::JoinHandle<Result<(), mcp_troupe::DrainError>> {
    let troupe = troupe.clone();
    tokio::spawn(async move { troupe.drain("s", LONG).await })
}

async fn hold(troupe: &Troupe, server: &ScriptedServer) -> tokio::task::JoinHandle<bool> {
    let before = server.calls("hold");
    let call = troupe.call(Call::tool("hold"));
    let call = tokio::spawn(async move { call.await.is_ok() });
    server.wait_for(|seen| seen.calls.get("hold").is_some_and(|calls| *calls > before)).await;
    call
}

async fn updated(events: &mut EventStream) {
    event(events, |event| matches!(event, Event::ResourceUpdated { .. })).await;
}

/// Takes the server through the death of the registry.
async fn bury_the_registry(troupe: &Troupe) {
    let former = info(troupe).unwrap();
    let mut events = troupe.events();
    inject(troupe, Target::Registry, Fault::Kill).await.unwrap();
    event(&mut events, |event| matches!(event, Event::RegistryRestarted { .. })).await;
    ready_after(troupe, &former).await;
}

#[tokio::test]
async fn a_lease_of_a_former_life_ends_no_lease_of_the_next_one() {
    let server = scripted().await;
    let troupe = ready([at(&server)]).await;
    let former = info(&troupe).unwrap();
    let one = troupe.lease("s").await.unwrap();
    troupe.replace(anew(&server)).await.unwrap();
    ready_after(&troupe, &former).await;
    let two = troupe.lease("s").await.unwrap();
    two.call(echo()).await.unwrap();
    drop(one);
    // The pool and the lease of the present life.
    server.wait_for(|seen| seen.connections == 2).await;
    two.call(echo()).await.unwrap();
    end(troupe).await;
}

#[tokio::test]
async fn a_lease_of_a_server_that_left_is_no_lease_of_one_that_took_its_id() {
    let server = scripted().await;
    let troupe =
        start_with(|settings| settings.shutdown_drain = Duration::from_millis(1), [at(&server)]).await;
    troupe.ready(Readiness::All).await.unwrap();
    let one = troupe.lease("s").await.unwrap();
    let mut events = troupe.events();
    troupe.unregister("s").await.unwrap();
    event(&mut events, |event| matches!(event, Event::ServerUnregistered { .. })).await;
    while troupe.register(at(&server)).await.is_err() {
        tokio::task::yield_now().await;
    }
    let two = troupe.lease("s").await.unwrap();
    two.call(echo()).await.unwrap();
    assert!(matches!(kind(one.call(echo()).await), CallErrorKind::LeaseEnded { .. }));
    drop(one);
    two.call(echo()).await.unwrap();
    end(troupe).await;
}

#[tokio::test]
async fn a_lease_of_before_the_registrys_death_is_no_lease_of_after_it() {
    let server = scripted().await;
    let troupe = ready([at(&server)]).await;
    let one = troupe.lease("s").await.unwrap();
    bury_the_registry(&troupe).await;
    let two = troupe.lease("s").await.unwrap();
    two.call(echo()).await.unwrap();
    assert!(matches!(kind(one.call(echo()).await), CallErrorKind::LeaseEnded { .. }));
    drop(one);
    two.call(echo()).await.unwrap();
    end(troupe).await;
}

#[tokio::test]
async fn no_connection_has_the_number_of_another_one() {
    let server = scripted().await;
    let troupe =
        start_with(|settings| settings.shutdown_drain = Duration::from_millis(1), [at(&server)]).await;
    let mut events = troupe.events();
    let mut seen = Vec::new();
    let mut opened = async |events: &mut EventStream| {
        let opened = event(events, |event| matches!(event, Event::ConnectionOpened { .. })).await;
        let Event::ConnectionOpened { connection, .. } = opened else { panic!("another event") };
        assert!(!seen.contains(&connection), "{connection} was there before: {seen:?}");
        seen.push(connection);
    };
    troupe.ready(Readiness::All).await.unwrap();
    opened(&mut events).await;
    troupe.replace(anew(&server)).await.unwrap();
    opened(&mut events).await;
    inject(&troupe, Target::server("s"), Fault::Kill).await.unwrap();
    opened(&mut events).await;
    troupe.drain("s", LONG).await.unwrap();
    troupe.resume("s").await.unwrap();
    opened(&mut events).await;
    inject(&troupe, Target::Registry, Fault::Kill).await.unwrap();
    opened(&mut events).await;
    troupe.unregister("s").await.unwrap();
    while troupe.register(at(&server)).await.is_err() {
        tokio::task::yield_now().await;
    }
    opened(&mut events).await;
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_dropped_lets_its_server_rest() {
    let (_server, connector) = ScriptedServer::builder().tool("echo", Script::Echo).start_in_memory();
    let builder = Troupe::builder().server_via(Server::custom("s"), connector).seed(7);
    let troupe = builder.start().await.unwrap();
    let lease = troupe.lease("s").await.unwrap();
    let begun = Instant::now();
    let draining = drain(&troupe);
    until(&troupe, |info| info.status == ServerStatus::Draining).await;
    drop(lease);
    draining.await.unwrap().unwrap();
    let took = Instant::now().saturating_duration_since(begun);
    assert!(took < Duration::from_secs(1), "{took:?}");
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_dropped_lets_its_server_leave() {
    let (_server, connector) = ScriptedServer::builder().tool("echo", Script::Echo).start_in_memory();
    let builder = Troupe::builder().server_via(Server::custom("s"), connector).seed(7);
    let troupe = builder.start().await.unwrap();
    let lease = troupe.lease("s").await.unwrap();
    let (begun, mut events) = (Instant::now(), troupe.events());
    troupe.unregister("s").await.unwrap();
    until(&troupe, |info| info.status == ServerStatus::Draining).await;
    drop(lease);
    event(&mut events, |event| matches!(event, Event::ServerUnregistered { .. })).await;
    let took = Instant::now().saturating_duration_since(begun);
    assert!(took < Duration::from_secs(1), "{took:?}");
    end(troupe).await;
}

#[tokio::test]
async fn a_lease_that_is_dropped_lets_the_life_end_that_gave_it() {
    let server = scripted().await;
    let troupe = start_with(|settings| settings.shutdown_drain = LONG, [at(&server)]).await;
    troupe.ready(Readiness::All).await.unwrap();
    let former = info(&troupe).unwrap();
    let lease = troupe.lease("s").await.unwrap();
    troupe.replace(anew(&server)).await.unwrap();
    ready_after(&troupe, &former).await;
    drop(lease);
    server.wait_for(|seen| seen.connections == 1).await;
    troupe.unregister("s").await.unwrap();
    end(troupe).await;
}

#[tokio::test]
async fn a_lease_that_nobody_took_ends() {
    let server = scripted().await;
    let troupe = ready([at(&server)]).await;
    let mut lease = Box::pin(troupe.lease("s"));
    assert!(futures_util::poll!(&mut lease).is_pending());
    server.wait_for(|seen| seen.accepted == 2).await;
    while troupe.stats().await.router.open_calls > 0 {
        tokio::task::yield_now().await;
    }
    // Its answer is there, and nobody has looked.
    drop(lease);
    server.wait_for(|seen| seen.connections == 1).await;
    assert_eq!(stats(&troupe).await.pool.leased, 0);
    end(troupe).await;
}

#[tokio::test]
async fn a_lease_of_a_life_that_finishes_survives_the_router() {
    for by_replacement in [true, false] {
        let server = scripted().await;
        let troupe = start_with(|settings| settings.shutdown_drain = LONG, [at(&server)]).await;
        troupe.ready(Readiness::All).await.unwrap();
        let former = info(&troupe).unwrap();
        let lease = troupe.lease("s").await.unwrap();
        let draining = if by_replacement {
            troupe.replace(anew(&server)).await.unwrap();
            ready_after(&troupe, &former).await;
            None
        } else {
            let draining = drain(&troupe);
            until(&troupe, |info| info.status == ServerStatus::Draining).await;
            Some(draining)
        };
        lease.call(echo()).await.unwrap();
        let mut events = troupe.events();
        inject(&troupe, Target::Router, Fault::Kill).await.unwrap();
        event(&mut events, |event| matches!(event, Event::RouterRestarted { .. })).await;
        lease.call(echo()).await.unwrap();
        drop(lease);
        match draining {
            Some(draining) => draining.await.unwrap().unwrap(),
            None => server.wait_for(|seen| seen.connections == 1).await,
        }
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_subscription_and_the_figures_outlive_a_replacement() {
    let server = scripted().await;
    let troupe = ready([at(&server)]).await;
    let (former, mut events) = (info(&troupe).unwrap(), troupe.events());
    let _held = troupe.subscribe(NOTE).await.unwrap();
    server.wait_for(|seen| seen.subscribed.contains(NOTE)).await;
    for _ in 0..5 {
        troupe.call(echo()).await.unwrap();
    }
    let held = hold(&troupe, &server).await;
    let before = stats(&troupe).await;
    assert_eq!(before.outcomes["ok"], 5);
    // Twice in one breath: the life between may have had nothing yet.
    troupe.replace(at(&server).header("X-Other", "2")).await.unwrap();
    troupe.replace(anew(&server)).await.unwrap();
    let present = ready_after(&troupe, &former).await;
    assert_eq!(present.incarnation.0, former.incarnation.0 + 2);
    let after = stats(&troupe).await;
    assert_eq!((&after.outcomes, after.latency.samples), (&before.outcomes, before.latency.samples));
    server.wait_for(|seen| seen.requests.get("resources/subscribe") >= Some(&2)).await;
    // What the former life still does is counted, too.
    server.release();
    assert!(held.await.unwrap());
    server.wait_for(|seen| seen.connections == 1).await;
    while stats(&troupe).await.outcomes["ok"] < 6 {
        tokio::task::yield_now().await;
    }
    assert_eq!(stats(&troupe).await.outcomes["ok"], 6);
    server.update_resource(NOTE, "changed");
    updated(&mut events).await;
    end(troupe).await;
}

#[tokio::test]
async fn a_subscription_and_the_figures_outlive_a_life_that_is_resumed_while_it_drains() {
    let server = scripted().await;
    let troupe = ready([at(&server)]).await;
    let (former, mut events) = (info(&troupe).unwrap(), troupe.events());
    let _held = troupe.subscribe(NOTE).await.unwrap();
    server.wait_for(|seen| seen.subscribed.contains(NOTE)).await;
    troupe.call(echo()).await.unwrap();
    let held = hold(&troupe, &server).await;
    let draining = drain(&troupe);
    until(&troupe, |info| info.status == ServerStatus::Draining).await;
    troupe.resume("s").await.unwrap();
    ready_after(&troupe, &former).await;
    assert_eq!(stats(&troupe).await.outcomes["ok"], 1);
    server.release();
    assert!(held.await.unwrap());
    server.wait_for(|seen| seen.connections == 1).await;
    server.update_resource(NOTE, "changed");
    updated(&mut events).await;
    while stats(&troupe).await.outcomes["ok"] < 2 {
        tokio::task::yield_now().await;
    }
    let told = draining.await.unwrap().unwrap_err().to_string();
    assert!(told.contains("resumed"), "{told}");
    end(troupe).await;
}

#[tokio::test]
async fn a_subscription_outlives_the_registry() {
    let server = scripted().await;
    let troupe = ready([at(&server)]).await;
    let mut events = troupe.events();
    let _held = troupe.subscribe(NOTE).await.unwrap();
    server.wait_for(|seen| seen.requests.get("resources/subscribe") == Some(&1)).await;
    troupe.call(echo()).await.unwrap();
    bury_the_registry(&troupe).await;
    server.wait_for(|seen| seen.requests.get("resources/subscribe") == Some(&2)).await;
    assert_eq!(stats(&troupe).await.outcomes["ok"], 1);
    server.update_resource(NOTE, "changed");
    updated(&mut events).await;
    end(troupe).await;
}

#[tokio::test]
async fn a_breaker_that_the_host_has_opened_stays_open_in_every_next_life() {
    let server = scripted().await;
    let troupe = ready([at(&server)]).await;
    troupe.breaker("s").force_open().await.unwrap();
    let stays = async |step: &str| {
        assert_eq!(stats(&troupe).await.breaker.unwrap().state, BreakerState::ForcedOpen, "{step}");
        assert!(matches!(kind(troupe.call(echo()).await), CallErrorKind::Unavailable { .. }), "{step}");
    };
    let former = info(&troupe).unwrap();
    troupe.replace(anew(&server)).await.unwrap();
    ready_after(&troupe, &former).await;
    stays("replaced").await;

    let former = info(&troupe).unwrap();
    // What it has to finish keeps the draining life; an open breaker would give no lease.
    troupe.breaker("s").reset().await.unwrap();
    let lease = troupe.lease("s").await.unwrap();
    troupe.breaker("s").force_open().await.unwrap();
    let draining = drain(&troupe);
    until(&troupe, |info| info.status == ServerStatus::Draining).await;
    troupe.resume("s").await.unwrap();
    ready_after(&troupe, &former).await;
    stays("resumed").await;
    drop((lease, draining));

    let former = info(&troupe).unwrap();
    inject(&troupe, Target::server("s"), Fault::Kill).await.unwrap();
    ready_after(&troupe, &former).await;
    stays("killed").await;

    bury_the_registry(&troupe).await;
    stays("with another registry").await;
    end(troupe).await;
}

/// Waits until the server is ready again, by events: under paused time nothing else lets time pass.
async fn ready_by_event(events: &mut EventStream) {
    let is_ready =
        |event: &Event| matches!(event, Event::ServerStatusChanged { to: ServerStatus::Ready, .. });
    event(events, is_ready).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_host_ordered_of_a_breaker_outlives_a_life_that_hangs() {
    for (held_open, step) in [(true, "opened"), (false, "closed")] {
        for ending in ["resumed", "drained", "described anew"] {
            let step = format!("{step} and {ending}");
            let (_server, connector) = ScriptedServer::builder().tool("echo", Script::Echo).start_in_memory();
            let builder = Troupe::builder().server_via(Server::custom("s"), connector.clone()).seed(7);
            let troupe = builder.start().await.unwrap();
            troupe.ready(Readiness::All).await.unwrap();
            if !held_open {
                // Every life begins with what the host has taken back.
                troupe.breaker("s").force_open().await.unwrap();
                let mut events = troupe.events();
                inject(&troupe, Target::server("s"), Fault::Kill).await.unwrap();
                ready_by_event(&mut events).await;
                troupe.breaker("s").force_close().await.unwrap();
            } else {
                troupe.breaker("s").force_open().await.unwrap();
            }
            let mut events = troupe.events();
            inject(&troupe, Target::server("s"), Fault::Hang).await.unwrap();
            match ending {
                "described anew" => {
                    troupe.replace_via(Server::custom("s").group("other"), connector).await.unwrap();
                }
                "drained" => {
                    troupe.drain("s", Duration::from_secs(1)).await.unwrap();
                    troupe.resume("s").await.unwrap();
                }
                _ => {
                    let (_draining, mut begun) = (drain(&troupe), troupe.events());
                    event(&mut begun, |event| {
                        matches!(event, Event::ServerStatusChanged { to: ServerStatus::Draining, .. })
                    })
                    .await;
                    troupe.resume("s").await.unwrap();
                }
            }
            ready_by_event(&mut events).await;
            let state = if held_open { BreakerState::ForcedOpen } else { BreakerState::Closed };
            assert_eq!(stats(&troupe).await.breaker.unwrap().state, state, "{step}");
            assert_eq!(troupe.call(echo()).await.is_err(), held_open, "{step}");
            end(troupe).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_host_ordered_of_a_breaker_outlives_registry_and_server_that_end_together() {
    let (_server, connector) = ScriptedServer::builder().tool("echo", Script::Echo).start_in_memory();
    let builder = Troupe::builder().server_via(Server::custom("s"), connector).seed(7);
    let troupe = builder.start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    for fault in [Fault::Hang, Fault::Panic, Fault::Kill, Fault::Stop] {
        troupe.breaker("s").force_open().await.unwrap();
        let mut events = troupe.events();
        inject(&troupe, Target::server("s"), fault).await.unwrap();
        inject(&troupe, Target::Registry, Fault::Kill).await.unwrap();
        ready_by_event(&mut events).await;
        assert_eq!(stats(&troupe).await.breaker.unwrap().state, BreakerState::ForcedOpen, "{fault:?}");
    }
    end(troupe).await;
}

#[tokio::test]
async fn a_server_that_takes_the_id_of_one_that_was_held_open_is_not() {
    let server = scripted().await;
    let troupe =
        start_with(|settings| settings.shutdown_drain = Duration::from_millis(1), [at(&server)]).await;
    troupe.ready(Readiness::All).await.unwrap();
    troupe.breaker("s").force_open().await.unwrap();
    troupe.unregister("s").await.unwrap();
    while troupe.register(at(&server)).await.is_err() {
        tokio::task::yield_now().await;
    }
    troupe.ready(Readiness::All).await.unwrap();
    troupe.call(echo()).await.unwrap();
    end(troupe).await;
}

#[tokio::test]
async fn what_the_host_says_while_a_life_ends_is_said_to_the_next_one() {
    let server = scripted().await;
    let troupe = ready([at(&server)]).await;
    let mut events = troupe.events();
    for step in ["replaced", "killed"] {
        let former = info(&troupe).unwrap();
        match step {
            "replaced" => troupe.replace(anew(&server)).await.unwrap(),
            _ => inject(&troupe, Target::server("s"), Fault::Kill).await.unwrap(),
        }
        let breaker = troupe.breaker("s");
        let (opened, held) = tokio::join!(breaker.force_open(), troupe.subscribe(NOTE));
        assert!(opened.unwrap().is_some(), "{step}");
        let held = held.unwrap();
        ready_after(&troupe, &former).await;
        assert_eq!(stats(&troupe).await.breaker.unwrap().state, BreakerState::ForcedOpen, "{step}");
        server.wait_for(|seen| seen.connections == 1).await;
        server.update_resource(NOTE, step);
        updated(&mut events).await;
        drop(held);
        troupe.breaker("s").force_close().await.unwrap();
        troupe.call(echo()).await.unwrap();
    }
    end(troupe).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_replaced_or_resumed_is_ready_when_its_next_life_is() {
    let server = scripted().await;
    let troupe = ready([at(&server)]).await;
    for _ in 0..20 {
        let former = info(&troupe).unwrap().incarnation;
        troupe.replace(anew(&server)).await.unwrap();
        troupe.ready(Readiness::All).await.unwrap();
        let present = info(&troupe).unwrap();
        assert!(present.incarnation > former && present.status == ServerStatus::Ready, "{present:?}");
        troupe.drain("s", LONG).await.unwrap();
        assert_eq!(info(&troupe).unwrap().status, ServerStatus::Stopped);
        troupe.resume("s").await.unwrap();
        troupe.call(echo()).await.unwrap();
    }
    end(troupe).await;
}

#[tokio::test]
async fn a_server_that_has_ended_for_good_is_replaced() {
    let server = scripted().await;
    let temporary = |settings: &mut mcp_troupe::Settings| settings.restart.kind = RestartKind::Temporary;
    let troupe = start_with(temporary, [at(&server)]).await;
    troupe.ready(Readiness::All).await.unwrap();
    let former = info(&troupe).unwrap();
    troupe.call(echo()).await.unwrap();
    inject(&troupe, Target::server("s"), Fault::Kill).await.unwrap();
    until(&troupe, |info| info.status == ServerStatus::Stopped).await;
    troupe.replace(anew(&server)).await.unwrap();
    ready_after(&troupe, &former).await;
    troupe.call(echo()).await.unwrap();
    assert_eq!(stats(&troupe).await.outcomes["ok"], 2);
    end(troupe).await;
}

#[tokio::test]
async fn a_life_that_was_replaced_takes_no_server_with_it_that_has_ended_for_good() {
    let server = scripted().await;
    let temporary = |settings: &mut mcp_troupe::Settings| settings.restart.kind = RestartKind::Temporary;
    let troupe = start_with(temporary, [at(&server)]).await;
    troupe.ready(Readiness::All).await.unwrap();
    let former = info(&troupe).unwrap();
    let held = hold(&troupe, &server).await;
    troupe.replace(anew(&server)).await.unwrap();
    let present = ready_after(&troupe, &former).await;
    inject(&troupe, Target::server("s"), Fault::Panic).await.unwrap();
    until(&troupe, |info| info.status == ServerStatus::Stopped).await;
    server.release();
    assert!(held.await.unwrap());
    server.wait_for(|seen| seen.connections == 0).await;
    for _ in 0..1_000 {
        // The registry hears of the end.
        tokio::task::yield_now().await;
        assert!(info(&troupe).is_some(), "nobody has unregistered it");
    }
    troupe.replace(at(&server)).await.unwrap();
    ready_after(&troupe, &present).await;
    troupe.call(echo()).await.unwrap();
    end(troupe).await;
}

#[tokio::test]
async fn a_change_is_told_once_while_a_replaced_life_finishes() {
    const OTHER: &str = "file:///b.txt";
    let server =
        ScriptedServer::builder().tool("hold", Script::Hold).resource(NOTE, "a").resource(OTHER, "b");
    let server = server.era(ScriptedEra::Legacy).tells_changes().start().await;
    let troupe = ready([at(&server)]).await;
    let former = info(&troupe).unwrap();
    let _held = [troupe.subscribe(NOTE).await.unwrap(), troupe.subscribe(OTHER).await.unwrap()];
    server.wait_for(|seen| seen.requests.get("resources/subscribe") == Some(&2)).await;
    let held = hold(&troupe, &server).await;
    troupe.replace(anew(&server)).await.unwrap();
    ready_after(&troupe, &former).await;
    server.wait_for(|seen| seen.requests.get("resources/subscribe") == Some(&4)).await;
    let mut events = troupe.events();
    server.update_resource(NOTE, "changed");
    server.release();
    assert!(held.await.unwrap());
    // What the former life has left arrives when nothing more can come of it.
    while !stats(&troupe).await.outcomes.contains_key("ok") {
        tokio::task::yield_now().await;
    }
    server.update_resource(OTHER, "changed");
    let mut told = 0;
    loop {
        match event(&mut events, |event| matches!(event, Event::ResourceUpdated { .. })).await {
            Event::ResourceUpdated { uri, .. } if uri == OTHER => break,
            _ => told += 1,
        }
    }
    assert_eq!(told, 1);
    end(troupe).await;
}

#[tokio::test]
async fn an_open_breaker_stays_open_when_the_pool_is_described_anew() {
    let error = Script::Error { code: -32603, message: "broken".into() };
    let server = ScriptedServer::builder().tool("t", error).start().await;
    let troupe = ready([at(&server)]).await;
    let former = info(&troupe).unwrap();
    for _ in 0..5 {
        troupe.call(Call::tool("t")).await.unwrap_err();
    }
    assert_eq!(stats(&troupe).await.breaker.unwrap().state, BreakerState::Open);
    let mut pool = PoolSettings::default();
    pool.max = 2;
    troupe.replace(Server::websocket("s", server.url()).pool(pool)).await.unwrap();
    let former = ready_after(&troupe, &former).await;
    assert_eq!(stats(&troupe).await.breaker.unwrap().state, BreakerState::Open);
    troupe.replace(anew(&server)).await.unwrap();
    ready_after(&troupe, &former).await;
    assert_eq!(stats(&troupe).await.breaker.unwrap().state, BreakerState::Closed, "reached otherwise");
    end(troupe).await;
}

/// A troupe whose server was killed, and is not started again by itself.
async fn ended_for_good(server: &ScriptedServer) -> Troupe {
    let temporary = |settings: &mut mcp_troupe::Settings| settings.restart.kind = RestartKind::Temporary;
    let troupe = start_with(temporary, [at(server)]).await;
    troupe.ready(Readiness::All).await.unwrap();
    inject(&troupe, Target::server("s"), Fault::Kill).await.unwrap();
    until(&troupe, |info| info.status == ServerStatus::Stopped).await;
    troupe
}

#[tokio::test]
async fn a_server_that_has_ended_for_good_is_drained_at_once() {
    let server = scripted().await;
    let troupe = ended_for_good(&server).await;
    troupe.drain("s", LONG).await.unwrap();
    troupe.unregister("s").await.unwrap();
    end(troupe).await;
}

#[tokio::test]
async fn a_server_that_has_ended_for_good_and_was_drained_is_resumed() {
    let server = scripted().await;
    let temporary = |settings: &mut mcp_troupe::Settings| settings.restart.kind = RestartKind::Temporary;
    let troupe = start_with(temporary, [at(&server)]).await;
    troupe.ready(Readiness::All).await.unwrap();
    let former = info(&troupe).unwrap();
    inject(&troupe, Target::server("s"), Fault::Kill).await.unwrap();
    until(&troupe, |info| info.status == ServerStatus::Stopped).await;
    troupe.drain("s", LONG).await.unwrap();
    troupe.resume("s").await.unwrap();
    assert_ne!(info(&troupe).unwrap().status, ServerStatus::Stopped, "it is in service");
    ready_after(&troupe, &former).await;
    troupe.call(echo()).await.unwrap();
    end(troupe).await;
}

#[tokio::test]
async fn a_drain_goes_on_when_the_registry_dies() {
    let server = scripted().await;
    let troupe = ready([at(&server)]).await;
    let held = hold(&troupe, &server).await;
    let draining = drain(&troupe);
    until(&troupe, |info| info.status == ServerStatus::Draining).await;
    inject(&troupe, Target::Registry, Fault::Kill).await.unwrap();
    draining.await.unwrap().unwrap();
    assert!(!held.await.unwrap());
    until(&troupe, |info| info.status == ServerStatus::Stopped).await;
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_life_that_hangs_does_not_hold_up_what_waits_for_its_end() {
    let (_server, connector) = ScriptedServer::builder().tool("echo", Script::Echo).start_in_memory();
    let builder = Troupe::builder().server_via(Server::custom("s"), connector).seed(7);
    let troupe = builder.start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    inject(&troupe, Target::server("s"), Fault::Hang).await.unwrap();
    troupe.drain("s", Duration::from_secs(1)).await.unwrap();
    troupe.resume("s").await.unwrap();
    troupe.ready(Readiness::Any).await.unwrap();
    troupe.call(echo()).await.unwrap();
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_life_that_shows_no_sign_of_itself_is_ended_as_a_failure_and_followed_by_another_one() {
    let (_server, connector) = ScriptedServer::builder().tool("echo", Script::Echo).start_in_memory();
    let mut settings = mcp_troupe::Settings::default();
    settings.restart.kind = RestartKind::Transient;
    let builder = Troupe::builder().settings(settings).server_via(Server::custom("s"), connector).seed(7);
    let troupe = builder.start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let mut events = troupe.events();
    // In one leap, in which no sign can be given.
    tokio::time::advance(Duration::from_secs(60)).await;
    let down = event(&mut events, |event| matches!(event, Event::ServerDown { .. })).await;
    let Event::ServerDown { cause, restart_in, .. } = down else { panic!("another event") };
    assert!(matches!(cause, ExitCause::Failed(_)), "{cause}");
    assert!(restart_in.is_some(), "it is started again");
    let is_ready =
        |event: &Event| matches!(event, Event::ServerStatusChanged { to: ServerStatus::Ready, .. });
    event(&mut events, is_ready).await;
    troupe.call(echo()).await.unwrap();
    end(troupe).await;
}

#[tokio::test]
async fn a_server_that_was_drained_after_its_end_for_good_rests_when_it_is_replaced() {
    let server = scripted().await;
    let troupe = ended_for_good(&server).await;
    troupe.drain("s", LONG).await.unwrap();
    troupe.replace(anew(&server)).await.unwrap();
    assert_eq!(info(&troupe).unwrap().status, ServerStatus::Stopped, "it was drained and not resumed");
    troupe.resume("s").await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    end(troupe).await;
}
