//! Leases: one connection for one user, never shared, never swapped.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{end, event, kind, ready};
use mcp_troupe::config::PoolSettings;
use mcp_troupe::testkit::{Fault, Script, ScriptedServer, Target, inject};
use mcp_troupe::{Call, CallErrorKind, Effect, Event, Lease, Server, Troupe};
use serde_json::Value;

async fn server() -> ScriptedServer {
    let builder = ScriptedServer::builder().tool("where", Script::Connection).tool("hold", Script::Hold);
    builder.tool("cut", Script::Cut).start().await
}

async fn connection(answer: mcp_troupe::Reply) -> u64 {
    answer.structured::<Value>().unwrap()["connection"].as_u64().unwrap()
}

async fn over(lease: &Lease) -> u64 {
    connection(lease.call(Call::tool("where")).await.unwrap()).await
}

async fn shared(troupe: &Troupe) -> u64 {
    connection(troupe.call(Call::tool("where")).await.unwrap()).await
}

#[tokio::test]
async fn a_lease_has_a_connection_of_its_own_that_nobody_else_uses() {
    let server = server().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let (one, two) = (troupe.lease("s").await.unwrap(), troupe.lease("s").await.unwrap());
    let (first, second) = (over(&one).await, over(&two).await);
    for _ in 0..20 {
        let others = shared(&troupe).await;
        assert!(others != first && others != second);
        assert_eq!((over(&one).await, over(&two).await), (first, second));
    }
    assert_eq!(troupe.stats().await.servers[0].pool.leased, 2);
    drop((one, two));
    server.wait_for(|seen| seen.connections == 1).await;
    end(troupe).await;
}

#[tokio::test]
async fn a_call_in_flight_finishes_when_its_lease_is_dropped() {
    let server = server().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let lease = troupe.lease("s").await.unwrap();
    let call = tokio::spawn(lease.call(Call::tool("hold")));
    server.wait_for(|seen| seen.calls.contains_key("hold")).await;
    drop(lease);
    server.release();
    assert!(call.await.unwrap().is_ok());
    server.wait_for(|seen| seen.connections == 1).await;
    end(troupe).await;
}

#[tokio::test]
async fn a_lease_whose_connection_dies_says_so_and_never_moves() {
    let server = server().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let lease = troupe.lease("s").await.unwrap();
    let lost = lease.call(Call::tool("cut").idempotent()).await.unwrap_err();
    assert!(matches!(lost.kind(), CallErrorKind::ConnectionLost { sent: true, .. }), "{lost}");
    let over = lease.call(Call::tool("where")).await.unwrap_err();
    let CallErrorKind::LeaseEnded { reason } = over.kind() else { panic!("{over}") };
    assert!(reason.contains("connection was lost"), "{reason}");
    assert_eq!(over.effect(), Effect::NotSent);
    assert!(troupe.call(Call::tool("where")).await.is_ok());
    end(troupe).await;
}

#[tokio::test]
async fn a_lease_ends_with_the_actor_of_its_server() {
    let server = server().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let lease = troupe.lease("s").await.unwrap();
    let mut events = troupe.events();
    inject(&troupe, Target::server("s"), Fault::Kill).await.unwrap();
    event(&mut events, |event| matches!(event, Event::ServerDown { .. })).await;
    assert!(matches!(kind(lease.call(Call::tool("where")).await), CallErrorKind::LeaseEnded { .. }));
    assert!(troupe.lease("s").await.is_ok(), "another one may be had");
    end(troupe).await;
}

#[tokio::test]
async fn a_lease_survives_the_router() {
    let server = server().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let lease = troupe.lease("s").await.unwrap();
    let before = over(&lease).await;
    let mut events = troupe.events();
    inject(&troupe, Target::Router, Fault::Kill).await.unwrap();
    event(&mut events, |event| matches!(event, Event::RouterRestarted { .. })).await;
    let after = over(&lease).await;
    assert_eq!(before, after);
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn an_unused_lease_ends_by_itself() {
    let (_server, connector) = ScriptedServer::builder().tool("where", Script::Connection).start_in_memory();
    let builder = Troupe::builder().server_via(Server::custom("s"), connector).seed(7);
    let troupe = builder.start().await.unwrap();
    let lease = troupe.lease("s").await.unwrap();
    tokio::time::sleep(Duration::from_secs(59)).await;
    over(&lease).await;
    tokio::time::sleep(Duration::from_secs(59)).await;
    over(&lease).await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    let CallErrorKind::LeaseEnded { reason } = kind(lease.call(Call::tool("where")).await) else {
        panic!("it goes on")
    };
    assert_eq!(reason, "it was unused for 1m");
    end(troupe).await;
}

#[tokio::test]
async fn leases_are_bounded_and_a_dropped_one_makes_room() {
    let server = server().await;
    let mut pool = PoolSettings::default();
    pool.leases_max = 1;
    let troupe = ready([Server::websocket("s", server.url()).pool(pool)]).await;
    let lease = troupe.lease("s").await.unwrap();
    assert!(matches!(kind_of(troupe.lease("s").await), CallErrorKind::Overloaded { limit: 1, .. }));
    drop(lease);
    server.wait_for(|seen| seen.connections == 1).await;
    while troupe.lease("s").await.is_err() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(kind_of(troupe.lease("nobody").await), CallErrorKind::NoMatch { .. }));
    end(troupe).await;
}

fn kind_of(lease: Result<Lease, mcp_troupe::CallError>) -> CallErrorKind {
    lease.expect_err("no lease").kind().clone()
}
