//! Kills of every kind of actor, and of servers, under load on real threads: every call is answered once, and the
//! troupe is ready again by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mcp_troupe::event::ServerStatus;
use mcp_troupe::testkit::{Fault, Script, ScriptedServer, Target, inject};
use mcp_troupe::{Call, CallErrorKind, Event, Readiness, Server};
use tokio::task::JoinSet;

use super::common::{end, event, kind, ready};
use super::load::{Load, two_replicas};

/// Strikes `target` again and again under load; after each strike every server becomes ready again.
async fn strike(target: Target, fault: Fault, times: usize) {
    let (_a, _b, troupe) = two_replicas().await;
    let load = Load::start(&troupe);
    for _ in 0..times {
        let before = troupe.stats().await.router.outcomes.get("ok").copied().unwrap_or_default();
        while inject(&troupe, target.clone(), fault).await.is_err() {
            tokio::task::yield_now().await;
        }
        troupe.ready(Readiness::All).await.unwrap();
        // The router's figures begin anew with its lives; answers after the strike are what counts.
        loop {
            let after = troupe.stats().await.router.outcomes.get("ok").copied().unwrap_or_default();
            if after != before && after > 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let account = load.finish().await;
    assert!(account.ok > 0);
    troupe.ready(Readiness::All).await.unwrap();
    let stats = troupe.stats().await;
    assert_eq!((stats.router.open_calls, stats.router.in_flight), (0, 0), "{:?}", account.errors.first());
    end(troupe).await;
}

macro_rules! kills {
    ($($name:ident: $target:expr, $fault:expr;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                strike($target, $fault, 5).await;
            }
        )*
    };
}

kills! {
    a_killed_connection_loses_no_call: Target::connection("a"), Fault::Kill;
    a_stopped_connection_loses_no_call: Target::connection("a"), Fault::Stop;
    a_panicking_connection_loses_no_call: Target::connection("a"), Fault::Panic;
    a_killed_server_actor_loses_no_call: Target::server("a"), Fault::Kill;
    a_stopped_server_actor_loses_no_call: Target::server("a"), Fault::Stop;
    a_panicking_server_actor_loses_no_call: Target::server("a"), Fault::Panic;
    a_killed_router_loses_no_call: Target::Router, Fault::Kill;
    a_stopped_router_loses_no_call: Target::Router, Fault::Stop;
    a_panicking_router_loses_no_call: Target::Router, Fault::Panic;
    a_killed_registry_loses_no_call: Target::Registry, Fault::Kill;
    a_stopped_registry_loses_no_call: Target::Registry, Fault::Stop;
    a_panicking_registry_loses_no_call: Target::Registry, Fault::Panic;
    a_killed_events_actor_loses_no_call: Target::Events, Fault::Kill;
}

#[tokio::test]
async fn the_end_of_the_router_interrupts_its_calls_at_once_and_frees_their_slots() {
    let server = ScriptedServer::builder().tool("hold", Script::Hold).start().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let call = tokio::spawn(troupe.call(Call::tool("hold")));
    server.wait_for(|seen| seen.calls.contains_key("hold")).await;
    inject(&troupe, Target::Router, Fault::Kill).await.unwrap();
    assert!(matches!(kind(call.await.unwrap()), CallErrorKind::Interrupted));
    server.wait_for(|seen| seen.cancelled.len() == 1).await;
    end(troupe).await;
}

#[tokio::test]
async fn a_breakers_state_and_the_figures_outlive_the_servers_actor() {
    let failing = Script::Error { code: -32603, message: "broken".into() };
    let server = ScriptedServer::builder().tool("t", failing).start().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    for _ in 0..5 {
        assert!(matches!(kind(troupe.call(Call::tool("t")).await), CallErrorKind::Rpc(_)));
    }
    for fault in [Fault::Kill, Fault::Panic, Fault::Stop] {
        let mut events = troupe.events();
        inject(&troupe, Target::server("s"), fault).await.unwrap();
        event(&mut events, |event| {
            matches!(event, Event::ServerStatusChanged { to: ServerStatus::Ready, .. })
        })
        .await;
        let stats = troupe.stats().await;
        let breaker = stats.servers[0].breaker.as_ref().expect("the new life answers");
        assert_eq!(breaker.state, mcp_troupe::event::BreakerState::Open, "{fault:?}");
        assert_eq!(stats.servers[0].outcomes["rpc-error"], 5, "{fault:?}");
    }
    end(troupe).await;
}

/// The race in which a reply is lost: a call is pushed into the router's mailbox while that is torn down. It needs real
/// threads, many kills and calls that take no longer than a mailbox hop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_hangs_in_the_mailbox_of_a_router_that_ends() {
    let troupe = ready([]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let (troupe, stop, answered) = (troupe.clone(), stop.clone(), answered.clone());
        callers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let call = troupe.call(Call::tool("nobody offers this"));
                let answer = tokio::time::timeout(std::time::Duration::from_secs(60), call).await;
                assert!(answer.expect("a call hangs").is_err());
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for round in 0..600 {
        let fault = [Fault::Kill, Fault::Stop, Fault::Panic][round % 3];
        let before = answered.load(Ordering::Relaxed);
        while inject(&troupe, Target::Router, fault).await.is_err() {
            tokio::task::yield_now().await;
        }
        while answered.load(Ordering::Relaxed) == before {
            tokio::task::yield_now().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    callers.join_all().await;
    end(troupe).await;
}
