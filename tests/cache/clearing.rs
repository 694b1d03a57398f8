//! What makes kept results wrong clears them.

use mcp_troupe::testkit::{Script, ScriptedServer};
use mcp_troupe::{Cached, Call, ConfigFile, Event, Server};

use super::common::{end, event};
use super::{READ, read, start, version, versions};

#[tokio::test]
async fn fault_e2_a_read_after_a_write_sees_what_was_written() {
    let server = versions().start().await;
    let troupe = start(READ, [Server::websocket("s", server.url()).group("g")]).await;
    for (n, write) in ["write", "g/write", "g__write"].iter().enumerate() {
        let expected = n as u64 + 1;
        assert_eq!((version(&troupe).await, version(&troupe).await), (expected, expected));
        troupe.call(Call::tool(*write)).await.unwrap();
    }
    assert_eq!(version(&troupe).await, 4);
    end(troupe).await;
}

#[tokio::test]
async fn a_write_clears_also_where_nobody_knows_whether_it_was_carried_out() {
    let server = versions().start().await;
    let troupe = start(READ, [Server::websocket("s", server.url())]).await;
    assert_eq!(version(&troupe).await, 1);
    // The server failed at it.
    server.set_script("write", Script::Error { code: -32000, message: "disk full".into() });
    assert!(troupe.call(Call::tool("write")).await.is_err());
    assert_eq!(version(&troupe).await, 2);
    // Its caller left.
    server.set_script("write", Script::Silence);
    let write = tokio::spawn(troupe.call(Call::tool("write")));
    server.wait_for(|seen| seen.calls["write"] == 2).await;
    write.abort();
    assert!(write.await.unwrap_err().is_cancelled());
    assert_eq!(version(&troupe).await, 3);
    // It was refused unread.
    server.set_script("write", Script::Error { code: -32602, message: "no path".into() });
    assert!(troupe.call(Call::tool("write")).await.is_err());
    assert_eq!(version(&troupe).await, 3);
    // It never left.
    assert!(troupe.call(Call::tool("write").tag("nowhere")).await.is_err());
    assert_eq!(version(&troupe).await, 3);
    end(troupe).await;
}

#[tokio::test]
async fn a_read_that_a_write_overtakes_is_not_kept_and_joined_by_nobody_after_it() {
    let server =
        ScriptedServer::builder().tool("read", Script::Hold).tool("write", Script::Echo).start().await;
    let troupe = start(READ, [Server::websocket("s", server.url())]).await;
    let early = tokio::spawn(troupe.call(read()));
    server.wait_for(|seen| seen.calls.contains_key("read")).await;
    troupe.call(Call::tool("write")).await.unwrap();
    let late = tokio::spawn(troupe.call(read()));
    server.wait_for(|seen| seen.calls["read"] == 2).await;
    assert_eq!(troupe.stats().await.cache.coalesced, 0);
    server.release();
    assert!(!early.await.unwrap().unwrap().cached && !late.await.unwrap().unwrap().cached);
    // The later one is kept, the early one is not.
    let cache = troupe.stats().await.cache;
    assert_eq!((cache.stored, cache.entries), (1, 1));
    assert!(troupe.call(read()).await.unwrap().cached);
    end(troupe).await;
}

#[tokio::test]
async fn fault_e8_nothing_outlives_a_change_of_its_tool_or_its_server() {
    let (server, other) = (versions().start().await, versions().start().await);
    let troupe = start(READ, [Server::websocket("s", server.url())]).await;
    let mut events = troupe.events();
    let cleared = |event: &Event| matches!(event, Event::CacheCleared { entries: 1, .. });
    assert_eq!((version(&troupe).await, version(&troupe).await), (1, 1));
    // Another tool is none of its business.
    server.remove_tool("write");
    server.announce_tools();
    event(&mut events, |event| matches!(event, Event::OfferChanged { .. })).await;
    assert_eq!(version(&troupe).await, 1);
    server.mirror("read", "Path", "path");
    server.announce_tools();
    event(&mut events, cleared).await;
    assert_eq!(version(&troupe).await, 2);
    troupe.replace(Server::websocket("s", other.url())).await.unwrap();
    event(&mut events, cleared).await;
    // The next life serves the tools it knows until it has listed its own.
    event(&mut events, |event| matches!(event, Event::OfferChanged { .. })).await;
    while troupe.stats().await.cache.entries == 0 {
        version(&troupe).await;
    }
    troupe.unregister("s").await.unwrap();
    event(&mut events, cleared).await;
    assert_eq!(troupe.stats().await.cache.entries, 0);
    end(troupe).await;
}

#[tokio::test]
async fn the_host_clears_what_it_names() {
    let server = versions().start().await;
    let troupe = start(READ, [Server::websocket("s", server.url()).group("g")]).await;
    for (what, entries) in [
        (Cached::Everything, 1),
        (Cached::Group("g".into()), 1),
        (Cached::Tool("read".into()), 1),
        (Cached::Tool("g/read".into()), 1),
        (Cached::Tool("h/read".into()), 0),
        (Cached::Kind(mcp_troupe::CachedKind::Resource), 0),
    ] {
        version(&troupe).await;
        assert_eq!(troupe.cache().clear(what.clone()).await.unwrap(), entries, "{what:?}");
    }
    assert!(troupe.cache().clear(Cached::Tool("a b".into())).await.unwrap_err().to_string().contains("a b"));
    end(troupe).await;
}

#[tokio::test]
async fn other_rules_hold_at_once() {
    let server = versions().start().await;
    let file = |cache: &str| {
        let url = server.url();
        let text = format!(r#"{{"mcpServers":{{"s":{{"url":"{url}"}}}},"troupe":{{"cache":{cache}}}}}"#);
        ConfigFile::parse(&text).unwrap()
    };
    let troupe = mcp_troupe::Troupe::builder().config(file("{}")).start().await.unwrap();
    assert_eq!((version(&troupe).await, version(&troupe).await), (1, 2));
    let applied = troupe.apply(file(READ)).await.unwrap();
    assert_eq!((applied.settings, applied.pending), (vec!["troupe.cache.tools.read".to_owned()], vec![]));
    assert_eq!((version(&troupe).await, version(&troupe).await), (3, 3));
    let applied = troupe.apply(file(r#"{"entriesMax":7}"#)).await.unwrap();
    assert_eq!(applied.pending, ["troupe.cache.entriesMax"]);
    assert_eq!((version(&troupe).await, version(&troupe).await), (4, 5));
    end(troupe).await;
}

#[tokio::test]
async fn a_write_that_waits_for_its_server_to_tell_its_tools_clears() {
    let (reading, mut writing) = (
        ScriptedServer::builder().tool("read", Script::Sequence(vec![Script::Echo, Script::Connection])),
        ScriptedServer::builder().tool("write", Script::Echo).start().await,
    );
    let reading = reading.start().await;
    writing.stop_listening().await;
    let cache = serde_json::from_str(READ).unwrap();
    let troupe = super::common::start_with(
        |settings| settings.cache = cache,
        [Server::websocket("r", reading.url()), Server::websocket("w", writing.url())],
    )
    .await;
    troupe.ready(mcp_troupe::Readiness::Any).await.unwrap();
    // Told while the writer's server has not told its tools.
    while !troupe.call(read()).await.unwrap().cached {}
    writing.resume().await;
    troupe.ready(mcp_troupe::Readiness::All).await.unwrap();
    troupe.call(Call::tool("write")).await.unwrap();
    assert!(!troupe.call(read()).await.unwrap().cached);
    end(troupe).await;
}
