//! Resources whose servers say how long they may be kept.

use std::time::Duration;

use mcp_troupe::testkit::{ScriptedBuilder, ScriptedServer};
use mcp_troupe::{Call, Event, Server};
use tokio::task::JoinSet;

use super::common::{end, event, ready, start_with};

const URI: &str = "file:///a.txt";

fn library() -> ScriptedBuilder {
    ScriptedServer::builder().resource(URI, "alpha").fresh_for(Duration::from_secs(3600))
}

fn reads(server: &ScriptedServer) -> u64 {
    server.observed().requests.get("resources/read").copied().unwrap_or_default()
}

#[tokio::test]
async fn a_resource_is_kept_for_as_long_as_its_server_says_and_no_longer_than_it_says() {
    let (fresh, silent) =
        (library().start().await, ScriptedServer::builder().resource(URI, "beta").start().await);
    let servers = [Server::websocket("fresh", fresh.url()), Server::websocket("silent", silent.url())];
    let troupe = ready(servers).await;
    for (group, server, expected) in [("fresh", &fresh, 1), ("silent", &silent, 3)] {
        let mut cached = Vec::new();
        for _ in 0..3 {
            let reply = troupe.call(Call::resource(URI).group(group)).await.unwrap();
            assert!(matches!(reply.text().unwrap().as_str(), "alpha" | "beta"));
            cached.push(reply.cached);
        }
        assert_eq!(reads(server), expected, "{group}");
        assert_eq!(cached, [false, group == "fresh", group == "fresh"]);
    }
    let fetched = troupe.call(Call::resource(URI).group("fresh").refresh()).await.unwrap();
    assert!(!fetched.cached);
    assert_eq!(reads(&fresh), 2);
    end(troupe).await;
}

#[tokio::test]
async fn a_thousand_equal_reads_at_once_are_one_request() {
    let server = library().start().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let mut calls = JoinSet::new();
    for _ in 0..1_000 {
        calls.spawn(troupe.read_resource(URI));
    }
    for answer in calls.join_all().await {
        assert_eq!(answer.unwrap().text().unwrap(), "alpha");
    }
    assert_eq!(reads(&server), 1);
    end(troupe).await;
}

#[tokio::test]
async fn a_change_that_the_server_tells_of_clears_what_was_kept() {
    let server = library().tells_changes().start().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let mut events = troupe.events();
    let _held = troupe.subscribe(URI).await.unwrap();
    server.wait_for(|observed| observed.subscribed.contains(URI)).await;
    assert_eq!(troupe.read_resource(URI).await.unwrap().text().unwrap(), "alpha");
    server.update_resource(URI, "changed");
    event(&mut events, |event| matches!(event, Event::ResourceUpdated { .. })).await;
    let reply = troupe.read_resource(URI).await.unwrap();
    assert_eq!((reply.text().unwrap().as_str(), reply.cached), ("changed", false));
    end(troupe).await;
}

#[tokio::test]
async fn nothing_is_kept_where_the_settings_say_so() {
    let server = library().start().await;
    let servers = [Server::websocket("s", server.url())];
    let troupe = start_with(|settings| settings.cache.declared = false, servers).await;
    for _ in 0..2 {
        assert!(!troupe.read_resource(URI).await.unwrap().cached);
    }
    assert_eq!(reads(&server), 2);
    end(troupe).await;
}
