//! What makes kept results wrong clears them.

use std::time::Duration;

use mcp_troupe::testkit::{MemoryListener, MemoryPeer, Script, ScriptedServer, pair};
use mcp_troupe::{Cached, Call, ConfigFile, Event, Readiness, Server, Troupe};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};

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
    event(&mut events, |event| matches!(event, Event::CatalogueChanged { .. })).await;
    assert_eq!(version(&troupe).await, 1);
    server.mirror("read", "Path", "path");
    server.announce_tools();
    event(&mut events, cleared).await;
    assert_eq!(version(&troupe).await, 2);
    troupe.replace(Server::websocket("s", other.url())).await.unwrap();
    event(&mut events, cleared).await;
    // The next life serves the tools it knows until it has listed its own.
    event(&mut events, |event| matches!(event, Event::CatalogueChanged { .. })).await;
    while troupe.stats().await.cache.entries == 0 {
        version(&troupe).await;
    }
    troupe.unregister("s").await.unwrap();
    event(&mut events, cleared).await;
    assert_eq!(troupe.stats().await.cache.entries, 0);
    end(troupe).await;
}

#[tokio::test]
async fn changes_that_are_told_together_are_looked_through_for_once() {
    let server = ScriptedServer::builder().tool("a", Script::Echo).tool("b", Script::Echo);
    let server = server.tool("c", Script::Echo).start().await;
    let rules = r#"{"tools":{"a":{"ttl":"60s"},"b":{"ttl":"60s"},"c":{"ttl":"60s"}}}"#;
    let troupe = start(rules, [Server::websocket("s", server.url())]).await;
    let mut events = troupe.events();
    for tool in ["a", "b", "c"] {
        troupe.call(Call::tool(tool).args(json!({"n": 1}))).await.unwrap();
        server.say(tool, json!({"description": "another one"}));
    }
    assert_eq!(troupe.stats().await.cache.entries, 3);
    server.announce_tools();
    let told = event(&mut events, |event| matches!(event, Event::CacheCleared { .. })).await;
    let Event::CacheCleared { what, entries, .. } = told else { panic!("another event") };
    // Each walk over what is kept would tell of its own.
    assert_eq!((entries, what.ends_with("and 2 more")), (3, true), "{what}");
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

#[tokio::test]
async fn an_update_clears_what_is_kept_under_the_servers_present_group() {
    let server = ScriptedServer::builder()
        .tool("echo", Script::Echo)
        .resource("file:///a.txt", "alpha")
        .tells_changes()
        .fresh_for(Duration::from_secs(600))
        .start()
        .await;
    let file = |group: &str| {
        let text = json!({"mcpServers": {"s": {"url": server.url(), "group": group}}}).to_string();
        ConfigFile::parse(&text).unwrap()
    };
    let troupe = Troupe::builder().config(file("g")).seed(7).start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let mut events = troupe.events();
    let _held = troupe.subscribe("file:///a.txt").await.unwrap();
    server.wait_for(|seen| seen.subscribed.contains("file:///a.txt")).await;
    assert_eq!(troupe.apply(file("h")).await.unwrap().amended.len(), 1);
    let read = || async { troupe.call(Call::resource("file:///a.txt")).await.unwrap() };
    while !read().await.cached {}
    server.update_resource("file:///a.txt", "changed");
    // The cache is told before hosts are.
    event(&mut events, |event| matches!(event, Event::ResourceUpdated { .. })).await;
    assert_eq!(read().await.text().unwrap(), "changed");
    end(troupe).await;
}

/// A server that has a tool and declares resources. When `go` says so it tells of many updates, and answers calls after that.
async fn flood(mut listener: MemoryListener, updates: usize, mut go: watch::Receiver<bool>) {
    let mut peer = listener.accept().await.unwrap();
    let mut flooded = false;
    while let Some(frame) = peer.recv().await {
        let message: Value = serde_json::from_slice(&frame).unwrap();
        let Some(id) = message["id"].as_u64() else { continue };
        let result = match message["method"].as_str().unwrap() {
            "server/discover" => {
                json!({"supportedVersions": ["2026-07-28"], "capabilities": {"resources": {}}})
            }
            "tools/list" => json!({"tools": [{"name": "t"}]}),
            "resources/list" => json!({"resources": []}),
            "resources/templates/list" => json!({"resourceTemplates": []}),
            _ => {
                go.wait_for(|go| *go).await.unwrap();
                for n in (0..updates).filter(|_| !flooded) {
                    let params = format!(r#"{{"uri":"file:///{n}"}}"#);
                    peer.send(format!(r#"{{"method":"notifications/resources/updated","params":{params}}}"#))
                        .await;
                }
                flooded = true;
                json!({"content": []})
            }
        };
        peer.send(json!({"id": id, "result": result}).to_string()).await;
    }
}

#[tokio::test]
async fn a_flood_of_updates_clears_nothing_of_another_group_and_holds_up_no_kept_result() {
    const KEPT: usize = 900;
    const UPDATES: usize = 20_000;
    let (good, good_link) = ScriptedServer::builder().tool("echo", Script::Echo).start_in_memory();
    let (bad_link, listener) = pair(64);
    let (go, wait) = watch::channel(false);
    let flooding = tokio::spawn(flood(listener, UPDATES, wait));
    let mut settings = mcp_troupe::Settings::default();
    settings.cache = serde_json::from_str(r#"{"tools":{"good/echo":{"ttl":"10m"}}}"#).unwrap();
    let builder = Troupe::builder().settings(settings).seed(7);
    let builder =
        builder.server_via(Server::custom("good"), good_link).server_via(Server::custom("bad"), bad_link);
    let troupe = builder.start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let call =
        |n: usize| troupe.call(Call::tool("good/echo").args(json!({"n": n})).timeout(Duration::from_secs(5)));
    for n in 0..KEPT {
        call(n).await.unwrap();
    }
    go.send_replace(true);
    // Its answer comes behind the flood.
    troupe.call(Call::tool("bad/t")).await.unwrap();
    for n in 0..KEPT {
        assert!(call(n).await.unwrap().cached, "{n}");
    }
    assert_eq!(good.calls("echo"), KEPT as u64);
    // Not one clearing for each update.
    let told = troupe.stats().await.cache.invalidations;
    assert!(told < UPDATES as u64 / 2, "{told} clearings of {UPDATES} updates");
    end(troupe).await;
    flooding.abort();
}

/// A server that tells of `x:1` before it answers the tool that writes it, and whose reads show how often it was written.
async fn writing(mut listener: MemoryListener) {
    let mut peer = listener.accept().await.unwrap();
    let mut written = 0;
    while let Some(frame) = peer.recv().await {
        let message: Value = serde_json::from_slice(&frame).unwrap();
        let Some(id) = message["id"].as_u64() else { continue };
        let result = match message["method"].as_str().unwrap() {
            "server/discover" => {
                json!({"supportedVersions": ["2026-07-28"], "capabilities": {"resources": {"subscribe": true}}})
            }
            "tools/list" => json!({"tools": [{"name": "write"}]}),
            "resources/list" => json!({"resources": [{"uri": "x:1"}]}),
            "resources/templates/list" => json!({"resourceTemplates": []}),
            "resources/read" => {
                let contents = json!([{"uri": "x:1", "text": written.to_string()}]);
                json!({"contents": contents, "ttlMs": 3_600_000, "cacheScope": "public"})
            }
            // What it is asked to tell it tells anyway.
            "subscriptions/listen" => continue,
            _ => {
                written += 1;
                peer.send(r#"{"method":"notifications/resources/updated","params":{"uri":"x:1"}}"#).await;
                json!({"content": []})
            }
        };
        peer.send(json!({"id": id, "result": result}).to_string()).await;
    }
}

#[tokio::test]
async fn who_reads_after_a_write_reads_what_was_written_however_often_that_is_told() {
    // Far more at once than hosts are told of.
    const WRITES: u32 = 200;
    let (link, listener) = pair(64);
    let playing = tokio::spawn(writing(listener));
    let troupe = Troupe::builder().seed(7).server_via(Server::custom("s"), link).start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let _held = troupe.subscribe("x:1").await.unwrap();
    let mut cached = 0;
    for n in 1..=WRITES {
        troupe.call(Call::tool("write")).await.unwrap();
        assert_eq!(troupe.read_resource("x:1").await.unwrap().text().unwrap(), n.to_string());
        cached += u32::from(troupe.read_resource("x:1").await.unwrap().cached);
    }
    assert!(cached > WRITES / 2, "only {cached} of {WRITES} reads were answered from the cache");
    end(troupe).await;
    playing.abort();
}

/// A read over this connection, which is answered when that is wanted.
type Reading = (usize, oneshot::Sender<()>);

/// One of two connections to a server with the resource `x:1`. It changes each time that `tell` does, which names the
/// connection that tells of it. A read is answered with what was there when it was asked.
async fn one_of_two(
    mut peer: MemoryPeer,
    of: usize,
    reads: mpsc::Sender<Reading>,
    mut tell: watch::Receiver<Option<usize>>,
) {
    let mut version = 0;
    loop {
        let frame = tokio::select! { biased;
            Ok(()) = tell.changed() => {
                version += 1;
                if *tell.borrow_and_update() == Some(of) {
                    peer.send(r#"{"method":"notifications/resources/updated","params":{"uri":"x:1"}}"#).await;
                }
                continue;
            }
            Some(frame) = peer.recv() => frame,
            else => return,
        };
        let message: Value = serde_json::from_slice(&frame).unwrap();
        let Some(id) = message["id"].as_u64() else { continue };
        let result = match message["method"].as_str().unwrap() {
            "server/discover" => {
                json!({"supportedVersions": ["2026-07-28"], "capabilities": {"resources": {}}})
            }
            "tools/list" => json!({"tools": []}),
            "resources/list" => json!({"resources": [{"uri": "x:1"}]}),
            "resources/templates/list" => json!({"resourceTemplates": []}),
            _ => {
                let contents = json!([{"uri": "x:1", "text": version.to_string()}]);
                let (answer, answered) = oneshot::channel();
                if reads.try_send((of, answer)).is_ok() {
                    let _ = answered.await;
                }
                json!({"contents": contents, "ttlMs": 3_600_000, "cacheScope": "public"})
            }
        };
        peer.send(json!({"id": id, "result": result}).to_string()).await;
    }
}

#[tokio::test]
async fn a_read_that_an_update_over_another_connection_overtakes_is_not_kept_for_good() {
    for update_first in [true, false] {
        let (link, mut listener) = pair(64);
        let (reads, mut read) = mpsc::channel(64);
        let tell = watch::Sender::new(None);
        let telling = tell.clone();
        let playing = tokio::spawn(async move {
            let mut peers = tokio::task::JoinSet::new();
            while let Some(peer) = listener.accept().await {
                peers.spawn(one_of_two(peer, peers.len(), reads.clone(), telling.subscribe()));
            }
        });
        let mut pool = mcp_troupe::config::PoolSettings::default();
        (pool.min, pool.max) = (2, 2);
        let server = Server::custom("s").pool(pool);
        let troupe = Troupe::builder().seed(7).server_via(server, link).start().await.unwrap();
        troupe.ready(Readiness::All).await.unwrap();
        while troupe.stats().await.servers[0].pool.ready < 2 {
            tokio::task::yield_now().await;
        }
        let reading = tokio::spawn(troupe.read_resource("x:1"));
        let (over, answer) = read.recv().await.unwrap();
        if update_first {
            tell.send_replace(Some(1 - over));
            answer.send(()).unwrap();
        } else {
            answer.send(()).unwrap();
            tell.send_replace(Some(1 - over));
        }
        assert_eq!(reading.await.unwrap().unwrap().text().unwrap(), "0");
        let answering = tokio::spawn(async move {
            while let Some((_, answer)) = read.recv().await {
                answer.send(()).unwrap();
            }
        });
        // No order holds between two connections; but the update comes, and is right from then on.
        for looks in 0.. {
            if troupe.read_resource("x:1").await.unwrap().text().unwrap() == "1" {
                break;
            }
            assert!(looks < 10_000, "it was kept for good");
        }
        end(troupe).await;
        playing.abort();
        answering.abort();
    }
}
