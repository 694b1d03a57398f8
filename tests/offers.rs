//! What servers offer beside tools: resources, templates and prompts, listed, read, completed and subscribed to.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{end, event, kind, ready, start};
use futures_util::FutureExt;
use mcp_troupe::offer::EntryKind;
use mcp_troupe::testkit::{
    Fault, MemoryListener, Script, ScriptedBuilder, ScriptedEra, ScriptedServer, Target, inject, pair,
};
use mcp_troupe::{
    Call, CallErrorKind, Event, Readiness, Reply, Server, SubscribeError, SubscriptionEnded, Troupe,
};
use serde_json::{Value, json};
use tokio::time::Instant;

fn library() -> ScriptedBuilder {
    ScriptedServer::builder()
        .tool("echo", Script::Echo)
        .resource("file:///a.txt", "alpha")
        .resource("hidden:/b", "beta")
        .template("hidden:/{name}")
        .prompt("review", "Review this:")
}

/// The same server in both eras and over both transports.
async fn libraries() -> (Vec<ScriptedServer>, Vec<Server>) {
    let (mut scripted, mut servers) = (Vec::new(), Vec::new());
    for (id, era) in [("modern", ScriptedEra::Modern), ("legacy", ScriptedEra::Legacy)] {
        let socket = library().era(era).tells_changes().start().await;
        servers.push(Server::websocket(format!("{id}-socket"), socket.url()));
        let http = library().era(era).tells_changes().http_events().listening_stream().start().await;
        servers.push(Server::http(format!("{id}-http"), http.url()));
        scripted.extend([socket, http]);
    }
    (scripted, servers)
}

const IDS: [&str; 4] = ["modern-socket", "modern-http", "legacy-socket", "legacy-http"];

async fn text(troupe: &Troupe, call: Call) -> String {
    troupe.call(call).await.unwrap().text().unwrap()
}

#[tokio::test]
async fn what_a_ready_server_does_not_have_is_unknown_also_where_it_has_nothing_of_the_kind() {
    let (tools, library) =
        (ScriptedServer::builder().tool("echo", Script::Echo).start().await, library().start().await);
    let servers = [Server::websocket("tools", tools.url()), Server::websocket("library", library.url())];
    let troupe = ready(servers).await;
    for server in ["tools", "library"] {
        let asked = kind(troupe.call(Call::resource("file:///none").server(server)).await);
        let expected = if server == "tools" {
            matches!(asked, CallErrorKind::UnknownResource)
        } else {
            matches!(asked, CallErrorKind::Rpc(_) | CallErrorKind::UnknownResource)
        };
        assert!(expected, "{server}: {asked:?}");
        let asked = kind(troupe.call(Call::prompt("none").server(server)).await);
        assert!(matches!(asked, CallErrorKind::UnknownPrompt { .. }), "{server}: {asked:?}");
        let asked = kind(troupe.call(Call::tool("none").server(server)).await);
        assert!(matches!(asked, CallErrorKind::UnknownTool { .. }), "{server}: {asked:?}");
    }
    let nobody = kind(troupe.call(Call::resource("file:///none").server("nobody")).await);
    assert!(matches!(nobody, CallErrorKind::NoMatch { .. }), "{nobody:?}");
    end(troupe).await;
}

#[tokio::test]
async fn resources_and_prompts_are_listed_read_and_completed_in_both_eras_and_over_both_transports() {
    let (_scripted, servers) = libraries().await;
    let troupe = ready(servers).await;
    let catalogue = troupe.catalogue();
    assert_eq!(catalogue.resources().len(), 4);
    assert_eq!(catalogue.resource_templates().len(), 4);
    let exposed: Vec<String> = troupe.prompts().into_iter().map(|prompt| prompt.exposed).collect();
    assert_eq!(
        exposed,
        ["legacy-http__review", "legacy-socket__review", "modern-http__review", "modern-socket__review"]
    );
    for id in IDS {
        assert_eq!(text(&troupe, Call::resource("file:///a.txt").group(id)).await, "alpha", "{id}");
        assert_eq!(text(&troupe, Call::resource("hidden:/b").server(id)).await, "beta", "{id}");
        let review = Call::prompt(format!("{id}/review")).args(json!({"code": "x"}));
        assert_eq!(text(&troupe, review).await, r#"Review this: {"code":"x"}"#);
        let values = |reply: Reply| reply.raw::<Value>().unwrap()["completion"]["values"][0].clone();
        let completed =
            troupe.call(Call::complete_prompt(format!("{id}__review"), "code", "fn")).await.unwrap();
        assert_eq!(values(completed), "review:fn…");
        let completed =
            troupe.call(Call::complete_template("hidden:/{name}", "name", "b").group(id)).await.unwrap();
        assert_eq!(values(completed), "hidden:/{name}:b…");
    }
    end(troupe).await;
}

#[tokio::test]
async fn what_nobody_lists_is_an_error_unless_the_call_says_who_has_it() {
    let server = library().start().await;
    let bare = ScriptedServer::builder().tool("echo", Script::Echo).start().await;
    let troupe = ready([Server::websocket("s", server.url()), Server::websocket("bare", bare.url())]).await;
    let read = |uri: &str| troupe.call(Call::resource(uri));
    assert!(matches!(kind(read("other:/x").await), CallErrorKind::UnknownResource));
    let CallErrorKind::UnknownPrompt { near, .. } = kind(troupe.get_prompt("reviwe", json!({})).await) else {
        panic!()
    };
    assert_eq!(near, ["review"]);
    let refused = kind(troupe.call(Call::resource("other:/x").server("s")).await);
    assert!(matches!(refused, CallErrorKind::Rpc(_)), "it was asked: {refused}");
    let nobody = kind(troupe.call(Call::resource("other:/x").server("bare")).await);
    assert!(
        matches!(nobody, CallErrorKind::UnknownResource),
        "a server without resources is not asked: {nobody}"
    );
    assert_eq!(read("file:///a.txt").await.unwrap().text().unwrap(), "alpha");
    end(troupe).await;
}

#[tokio::test]
async fn a_read_is_made_again_on_a_replica_when_its_server_is_lost() {
    let (one, two) = (library().start().await, library().start().await);
    let servers =
        [Server::websocket("one", one.url()).group("g"), Server::websocket("two", two.url()).group("g")];
    let troupe = ready(servers).await;
    inject(&troupe, Target::server("one"), Fault::Kill).await.unwrap();
    for _ in 0..10 {
        assert_eq!(troupe.read_resource("file:///a.txt").await.unwrap().text().unwrap(), "alpha");
    }
    end(troupe).await;
}

#[tokio::test]
async fn what_a_server_offers_stays_listed_while_it_is_down_and_is_marked() {
    let mut server = library().start().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let mut events = troupe.events();
    let tool = troupe.tools().remove(0);
    assert!(troupe.is_available(&tool.servers));
    server.stop_listening().await;
    event(&mut events, |event| matches!(event, Event::ConnectionLost { .. })).await;
    event(&mut events, |event| matches!(event, Event::ServerStatusChanged { .. })).await;
    assert_eq!((troupe.tools().len(), troupe.resources().len(), troupe.prompts().len()), (1, 1, 1));
    assert!(!troupe.is_available(&tool.servers));
    server.resume().await;
    troupe.ready(Readiness::All).await.unwrap();
    assert!(troupe.is_available(&tool.servers));
    end(troupe).await;
}

#[tokio::test]
async fn updates_of_a_resource_are_events_while_a_subscription_is_held() {
    let (scripted, servers) = libraries().await;
    let troupe = ready(servers).await;
    let mut events = troupe.events();
    for (server, id) in scripted.iter().zip(["modern-socket", "modern-http", "legacy-socket", "legacy-http"])
    {
        let subscription = troupe.subscribe_at(id, "file:///a.txt").await.unwrap();
        server.wait_for(|observed| observed.subscribed.contains("file:///a.txt")).await;
        server.update_resource("file:///a.txt", "changed");
        let told = event(&mut events, |event| matches!(event, Event::ResourceUpdated { .. })).await;
        let expected =
            Event::ResourceUpdated { server: subscription.server().clone(), uri: "file:///a.txt".into() };
        assert_eq!(told, expected);
        assert_eq!(text(&troupe, Call::resource("file:///a.txt").server(id)).await, "changed");
    }
    end(troupe).await;
}

#[tokio::test]
async fn a_subscription_outlives_its_connection_and_the_life_of_its_servers_actor() {
    for era in [ScriptedEra::Modern, ScriptedEra::Legacy] {
        let server = library().era(era).tells_changes().start().await;
        let troupe = ready([Server::websocket("s", server.url())]).await;
        let mut events = troupe.events();
        let _held = troupe.subscribe("file:///a.txt").await.unwrap();
        let method = if era == ScriptedEra::Modern { "subscriptions/listen" } else { "resources/subscribe" };
        let asked =
            |server: &ScriptedServer| server.observed().requests.get(method).copied().unwrap_or_default();
        server.wait_for(|observed| observed.subscribed.contains("file:///a.txt")).await;
        for fault in ["connection", "actor"] {
            let before = asked(&server);
            match fault {
                "connection" => server.cut_all(),
                _ => inject(&troupe, Target::server("s"), Fault::Kill).await.unwrap(),
            }
            server.wait_for(|observed| observed.requests.get(method).copied() > Some(before)).await;
            server.update_resource("file:///a.txt", fault);
            event(&mut events, |event| matches!(event, Event::ResourceUpdated { .. })).await;
        }
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_subscription_that_is_dropped_between_two_lives_of_its_servers_actor_has_ended() {
    let server = library().era(ScriptedEra::Legacy).tells_changes().start().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let dropped = troupe.subscribe_at("s", "file:///a.txt").await.unwrap();
    let _held = troupe.subscribe_at("s", "file:///b.txt").await.unwrap();
    let asked = |requests: &BTreeMap<String, u64>| requests.get("resources/subscribe").copied();
    server.wait_for(|observed| asked(&observed.requests) == Some(2)).await;
    inject(&troupe, Target::server("s"), Fault::Kill).await.unwrap();
    drop(dropped);
    server.wait_for(|observed| asked(&observed.requests) > Some(2)).await;
    // What was asked in the same breath has arrived before this.
    troupe.read_resource("file:///a.txt").await.unwrap();
    assert_eq!(asked(&server.observed().requests), Some(3));
    end(troupe).await;
}

#[tokio::test]
async fn a_subscription_that_cannot_be_is_one_typed_error() {
    let server = library().start().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let unsupported = troupe.subscribe("file:///a.txt").await.unwrap_err();
    assert_eq!(unsupported, SubscribeError::Unsupported("s".into()));
    end(troupe).await;

    let both = [library().start().await, library().start().await];
    let servers = both.iter().zip(["a", "b"]).map(|(server, id)| Server::websocket(id, server.url()));
    let troupe = ready(servers).await;
    let ambiguous = troupe.subscribe("file:///a.txt").await.unwrap_err();
    let (uri, groups) = ("file:///a.txt".into(), vec!["a".into(), "b".into()]);
    assert_eq!(ambiguous, SubscribeError::Ambiguous { uri, groups });
    end(troupe).await;
}

#[tokio::test]
async fn a_modern_server_is_asked_to_tell_when_its_tools_change() {
    for http in [false, true] {
        let builder = library().tells_changes();
        let server = if http { builder.http().start().await } else { builder.start().await };
        let url = server.url();
        let troupe = ready([if http { Server::http("s", url) } else { Server::websocket("s", url) }]).await;
        let mut events = troupe.events();
        server.wait_for(|observed| observed.requests.contains_key("subscriptions/listen")).await;
        server.set_script("new", Script::Echo);
        server.announce_tools();
        let told = event(&mut events, |event| matches!(event, Event::CatalogueChanged { .. })).await;
        let Event::CatalogueChanged { kind: EntryKind::Tool, added, .. } = told else { panic!("{told:?}") };
        assert_eq!(added, ["new"]);
        end(troupe).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_tells_of_no_changes_is_listed_again_when_its_lists_are_no_longer_fresh() {
    let (server, connector) = library().fresh_for(Duration::from_secs(60)).start_in_memory();
    let troupe = Troupe::builder().server_via(Server::custom("s"), connector).start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let mut events = troupe.events();
    let before = server.observed().listings;
    server.set_script("new", Script::Echo);
    event(&mut events, |event| matches!(event, Event::CatalogueChanged { .. })).await;
    assert_eq!(server.observed().listings, before + 1);
    assert_eq!(troupe.tools().len(), 2);
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_told_is_not_left_until_lists_are_no_longer_fresh() {
    let builder = library().era(ScriptedEra::Legacy).tells_changes().fresh_for(Duration::from_secs(3600));
    let (server, connector) = builder.start_in_memory();
    let troupe = Troupe::builder().server_via(Server::custom("s"), connector).start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let (mut events, begun) = (troupe.events(), Instant::now());
    server.set_script("new", Script::Echo);
    server.announce_tools();
    event(&mut events, |event| matches!(event, Event::CatalogueChanged { .. })).await;
    let waited = Instant::now().saturating_duration_since(begun);
    assert!(waited < Duration::from_secs(1), "{waited:?}");
    end(troupe).await;
}

#[tokio::test]
async fn a_malformed_resource_is_left_out_and_told() {
    let server = library().resource("", "nameless").start().await;
    let troupe = start([Server::websocket("s", server.url())]).await;
    let mut events = troupe.events();
    let told = event(&mut events, |event| matches!(event, Event::EntrySkipped { .. })).await;
    assert!(matches!(told, Event::EntrySkipped { kind: EntryKind::Resource, .. }), "{told:?}");
    troupe.ready(Readiness::All).await.unwrap();
    assert_eq!(troupe.resources().len(), 1);
    end(troupe).await;
}

/// A legacy server that takes every subscription over its first connection, or over none, and refuses all over the others.
/// Each connection ends with so many.
async fn refusing(mut listener: MemoryListener, subscriptions: usize, taking: Option<u32>) {
    for connection in 0.. {
        let Some(mut peer) = listener.accept().await else { return };
        let mut asked = 0;
        while let Some(frame) = peer.recv().await {
            let message: Value = serde_json::from_slice(&frame).unwrap();
            let Some(id) = message["id"].as_u64() else { continue };
            let outcome = match message["method"].as_str().unwrap() {
                "initialize" => {
                    json!({"result": {"protocolVersion": "2025-11-25", "capabilities": {"resources": {"subscribe": true}}, "serverInfo": {"name": "s", "version": "1"}}})
                }
                "resources/subscribe" => {
                    asked += 1;
                    if taking == Some(connection) {
                        json!({"result": {}})
                    } else {
                        json!({"error": {"code": -32602, "message": format!("not number {asked}")}})
                    }
                }
                "tools/list" => json!({"result": {"tools": []}}),
                "resources/list" => json!({"result": {"resources": []}}),
                "resources/templates/list" => json!({"result": {"resourceTemplates": []}}),
                _ => json!({"error": {"code": -32601, "message": "no such method"}}),
            };
            let mut answer = outcome;
            answer["id"] = id.into();
            peer.send(answer.to_string()).await;
            if asked == subscriptions {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn subscriptions_that_are_refused_are_told_once_for_each_connection() {
    const SUBSCRIPTIONS: usize = 1_000;
    let (link, listener) = pair(64);
    let playing = tokio::spawn(refusing(listener, SUBSCRIPTIONS, Some(0)));
    let troupe = Troupe::builder().seed(7).server_via(Server::custom("s"), link).start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let mut events = troupe.events();
    let mut held = Vec::new();
    for n in 0..SUBSCRIPTIONS {
        held.push(troupe.subscribe_at("s", format!("file:///{n:04}")).await.unwrap());
    }
    for _ in 0..3 {
        let failed = event(&mut events, |event| matches!(event, Event::SubscriptionFailed { .. })).await;
        let told = failed.to_string();
        let Event::SubscriptionFailed { uris, more, reason, .. } = failed else { panic!("another event") };
        assert_eq!((uris.len(), more), (8, SUBSCRIPTIONS - 8));
        assert_eq!((uris[0].as_str(), uris[7].as_str()), ("file:///0000", "file:///0007"));
        assert!(reason.contains("not number 1"), "{reason}");
        assert!(told.contains("file:///0000, file:///0001") && told.contains("and 992 more"), "{told}");
        event(&mut events, |event| matches!(event, Event::ConnectionOpened { .. })).await;
    }
    end(troupe).await;
    playing.abort();
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_its_server_has_refused_tells_of_no_change() {
    let (link, listener) = pair(64);
    let playing = tokio::spawn(refusing(listener, usize::MAX, None));
    let troupe = Troupe::builder().seed(7).server_via(Server::custom("s"), link).start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let mut events = troupe.events();
    let mut held = Vec::new();
    for round in 0..2 {
        held.push(troupe.subscribe_at("s", "file:///a").await.unwrap());
        if round == 0 {
            event(&mut events, |event| matches!(event, Event::SubscriptionFailed { .. })).await;
        }
    }
    for subscription in &mut held {
        let changed = tokio::time::timeout(Duration::from_secs(60), subscription.changed()).await;
        assert!(changed.is_err(), "{changed:?}");
    }
    end(troupe).await;
    playing.abort();
}

#[tokio::test]
async fn no_change_of_a_subscribed_resource_is_lost_and_many_are_one() {
    for era in [ScriptedEra::Modern, ScriptedEra::Legacy] {
        let server = library().era(era).tells_changes().start().await;
        let troupe = ready([Server::websocket("s", server.url())]).await;
        let mut subscription = troupe.subscribe("file:///a.txt").await.unwrap();
        // The server takes the subscription: what was read before may be old.
        subscription.changed().await.unwrap();
        for round in 0..3 {
            (0..5).for_each(|n| server.update_resource("file:///a.txt", format!("{round}.{n}")));
            // Whenever it is waited for, what is read after the last change is the last text.
            while text(&troupe, Call::resource("file:///a.txt").refresh()).await != format!("{round}.4") {
                subscription.changed().await.unwrap();
            }
        }
        // A connection that is lost may have swallowed one.
        server.cut_all();
        while subscription.changed().now_or_never().is_some() {}
        subscription.changed().await.unwrap();
        // It ends with its server.
        troupe.unregister("s").await.unwrap();
        while subscription.changed().await.is_ok() {}
        assert_eq!(subscription.changed().await, Err(SubscriptionEnded));
        end(troupe).await;
    }
}

#[tokio::test]
async fn changes_of_the_catalogue_are_told_one_by_one_or_together_and_none_is_lost() {
    let script = ScriptedServer::builder().tool("echo", Script::Echo).tool("other", Script::Echo);
    let server = script.tells_changes().start().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let mut changes = troupe.catalogue_changes();
    let before = troupe.catalogue().version();
    assert!(changes.next().now_or_never().is_none(), "what is there now is no change");
    server.wait_for(|observed| observed.requests.contains_key("subscriptions/listen")).await;
    server.remove_tool("other");
    server.announce_tools();
    let mut last = changes.next().await.unwrap();
    while last.tools().count() > 1 {
        last = changes.next().await.unwrap();
    }
    assert!(last.version() > before);
    troupe.shutdown().await;
    drop(troupe);
    while changes.next().await.is_some() {}
}

#[tokio::test]
async fn what_a_server_says_of_itself_is_shown_without_secrets_and_cut() {
    let long = "x".repeat(20 << 10);
    for era in [ScriptedEra::Modern, ScriptedEra::Legacy] {
        let said = format!("Use it well, s3cret-token. {long}");
        let server = library().era(era).instructions(said).start().await;
        let described = Server::websocket("s", server.url()).header("Authorization", "Bearer s3cret-token");
        let troupe = ready([described]).await;
        let details = troupe.servers()[0].details.clone().expect("it has said something");
        let instructions = details.instructions.as_deref().unwrap();
        assert!(
            instructions.starts_with("Use it well, ") && !instructions.contains("s3cret"),
            "{instructions}"
        );
        assert!(instructions.len() <= 16 << 10);
        let version = if era == ScriptedEra::Modern { "2026-07-28" } else { "2025-11-25" };
        assert_eq!(details.protocol_version, version);
        assert!(details.name.is_some() && details.version.is_some());
        let capabilities: serde_json::Value = details.capabilities.parse().unwrap();
        assert!(capabilities.get("resources").is_some(), "{capabilities}");
        end(troupe).await;
    }
}

#[tokio::test]
async fn each_subscription_to_one_resource_begins_with_a_change() {
    for era in [ScriptedEra::Modern, ScriptedEra::Legacy] {
        let server = library().era(era).tells_changes().start().await;
        let troupe = ready([Server::websocket("s", server.url())]).await;
        let mut one = troupe.subscribe("file:///a.txt").await.unwrap();
        one.changed().await.unwrap();
        let mut two = troupe.subscribe("file:///a.txt").await.unwrap();
        two.changed().await.unwrap();
        end(troupe).await;
    }
}

#[tokio::test]
async fn who_reads_when_a_subscription_is_taken_is_not_given_what_was_kept_before() {
    for era in [ScriptedEra::Modern, ScriptedEra::Legacy] {
        let script = library().era(era).tells_changes().fresh_for(Duration::from_secs(3600));
        let server = script.start().await;
        let troupe = ready([Server::websocket("s", server.url())]).await;
        assert_eq!(text(&troupe, Call::resource("file:///a.txt")).await, "alpha");
        // Nobody has subscribed, so nobody is told.
        server.update_resource("file:///a.txt", "omega");
        let mut subscription = troupe.subscribe("file:///a.txt").await.unwrap();
        subscription.changed().await.unwrap();
        assert_eq!(text(&troupe, Call::resource("file:///a.txt")).await, "omega");
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_changed_part_of_a_subscribed_resource_is_told_as_a_change_of_it_and_clears_what_is_kept_of_it() {
    // Over HTTP it tells of every resource, as servers do of what they made of a subscription.
    let script = library().era(ScriptedEra::Legacy).tells_changes().resource("file:///all", "of it");
    let script = script.http_events().listening_stream().fresh_for(Duration::from_secs(3600));
    let server = script.start().await;
    let troupe = ready([Server::http("s", server.url())]).await;
    server.wait_for(|seen| seen.listeners == 1).await;
    let reads = || server.observed().requests.get("resources/read").copied().unwrap_or_default();
    let read = || Call::resource("file:///all");
    let mut subscription = troupe.subscribe("file:///all").await.unwrap();
    subscription.changed().await.unwrap();
    for _ in 0..2 {
        text(&troupe, read()).await;
    }
    assert_eq!(reads(), 1, "it is kept");
    // Somebody else's subscription to the part takes nothing away.
    let mut part = troupe.subscribe_at("s", "file:///all/part").await.unwrap();
    part.changed().await.unwrap();
    let mut events = troupe.events();
    server.update_resource("file:///all/part", "new");
    for changed in ["file:///all", "file:///all/part"] {
        let told = event(&mut events, |event| matches!(event, Event::ResourceUpdated { .. })).await;
        assert!(matches!(told, Event::ResourceUpdated { uri, .. } if uri == changed), "each once");
    }
    subscription.changed().await.unwrap();
    part.changed().await.unwrap();
    text(&troupe, read()).await;
    assert_eq!(reads(), 2);
    end(troupe).await;
}

#[tokio::test]
async fn a_secret_that_lies_across_the_cut_leaves_no_part_of_it() {
    for era in [ScriptedEra::Modern, ScriptedEra::Legacy] {
        for before in 1..12 {
            let said = format!("{}s3cret-token and more", "x".repeat((16 << 10) - before));
            let server = library().era(era).instructions(said).start().await;
            let described =
                Server::websocket("s", server.url()).header("Authorization", "Bearer s3cret-token");
            let troupe = ready([described]).await;
            let details = troupe.servers()[0].details.clone().unwrap();
            let shown = details.instructions.as_deref().unwrap();
            // So few letters may begin any word.
            assert!(!shown.contains("s3cr"), "{before}: {}", shown.trim_start_matches('x'));
            end(troupe).await;
        }
    }
}

#[tokio::test]
async fn the_death_of_the_registry_takes_nothing_out_of_the_catalogue_and_of_what_servers_said() {
    let server = library().instructions("Use it well.").start().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let before = troupe.catalogue();
    let mut changes = troupe.catalogue_changes();
    let mut events = troupe.events();
    inject(&troupe, Target::Registry, Fault::Kill).await.unwrap();
    event(&mut events, |event| matches!(event, Event::ConnectionOpened { .. })).await;
    troupe.ready(Readiness::All).await.unwrap();
    let mut version = before.version();
    while let Some(Some(catalogue)) = changes.next().now_or_never() {
        assert_eq!(catalogue.tools().count(), 1, "version {}", catalogue.version());
        assert!(catalogue.version() > version);
        version = catalogue.version();
    }
    assert_eq!(troupe.catalogue().tools().count(), 1);
    let details = troupe.servers()[0].details.clone().expect("it has said something");
    assert_eq!(details.instructions.as_deref(), Some("Use it well."));
    end(troupe).await;
}
