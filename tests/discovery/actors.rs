//! Kills of the actors that discover, and of those that play what was discovered.

use mcp_troupe::event::SourceStatus;
use mcp_troupe::testkit::{Fault, ScriptedSource, Target, inject};
use mcp_troupe::{Event, Readiness};

use super::common::{echo, end, event};
use super::{discovering, plays, replica, scripted, source, stands};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_sources_actor_loses_no_server_and_no_call() {
    let (server, directory) = (scripted().await, ScriptedSource::new());
    directory.answer([replica("a", &server)]);
    let troupe = discovering(&directory).await;
    troupe.ready(Readiness::All).await.unwrap();
    let mut events = troupe.events();
    for (lives, fault) in [Fault::Kill, Fault::Panic, Fault::Stop].into_iter().enumerate() {
        inject(&troupe, Target::Source("directory".into()), fault).await.unwrap();
        event(&mut events, |event| {
            assert!(!matches!(event, Event::ServerWithdrawn { .. }));
            matches!(event, Event::DiscoveryRestarted { .. })
        })
        .await;
        directory.watched(lives as u64 + 2).await;
        assert!(troupe.call(echo()).await.is_ok());
    }
    assert_eq!(source(&troupe).await.restarts, 3);
    assert_eq!(server.observed().accepted, 1, "the server was left alone");
    directory.answer([replica("a", &server), replica("b", &server)]);
    plays(&troupe, &["a", "b"]).await;
    end(troupe).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_panics_is_asked_again() {
    let (server, directory) = (scripted().await, ScriptedSource::new());
    directory.answer([replica("a", &server)]);
    let troupe = discovering(&directory).await;
    troupe.ready(Readiness::All).await.unwrap();
    directory.panic();
    let failing = stands(&troupe, SourceStatus::Failing).await;
    assert_eq!(failing.reason.as_deref(), Some("the watch ended without an answer"));
    assert_eq!(failing.restarts, 0, "its actor outlives it");
    directory.answer([replica("a", &server)]);
    stands(&troupe, SourceStatus::Good).await;
    end(troupe).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_discovered_outlives_the_registry() {
    let (server, directory) = (scripted().await, ScriptedSource::new());
    directory.answer([replica("a", &server), replica("b", &server)]);
    let troupe = discovering(&directory).await;
    troupe.ready(Readiness::All).await.unwrap();
    // A registry that ends takes with it what was leaving; the source goes on.
    directory.fail(mcp_troupe::discovery::SourceError::Unreachable("gone".into()));
    let mut events = troupe.events();
    for target in [Target::Registry, Target::Router] {
        let registry = target == Target::Registry;
        inject(&troupe, target, Fault::Kill).await.unwrap();
        event(&mut events, |event| match event {
            Event::RegistryRestarted { .. } => registry,
            Event::RouterRestarted { .. } => !registry,
            _ => false,
        })
        .await;
        plays(&troupe, &["a", "b"]).await;
        troupe.ready(Readiness::All).await.unwrap();
        assert!(troupe.call(echo()).await.is_ok());
    }
    end(troupe).await;
}

#[tokio::test]
async fn shutdown_ends_a_source_that_hangs() {
    let directory = ScriptedSource::new();
    let troupe = discovering(&directory).await;
    directory.watched(1).await;
    end(troupe).await;
}
