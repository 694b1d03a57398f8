//! A new configuration while the troupe plays.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod common;

use common::{echo, end, event, kind, servers_json};
use mcp_troupe::event::{BreakerState, ServerStatus};
use mcp_troupe::testkit::{AnswerChecker, Fault, Script, ScriptedServer, Target, inject};
use mcp_troupe::{ApplyError, Call, CallErrorKind, ConfigFile, Event, Readiness, Server, Settings, Troupe};
use serde_json::{Value, json};

async fn scripted() -> ScriptedServer {
    ScriptedServer::builder().tool("echo", Script::Echo).tool("hold", Script::Hold).start().await
}

fn file(servers: Value, settings: Value) -> ConfigFile {
    ConfigFile::parse(&servers_json(json!({"mcpServers": servers, "troupe": settings}))).unwrap()
}

/// A troupe that plays a configuration, all of it ready.
async fn playing(servers: Value, settings: Value) -> Troupe {
    let troupe = Troupe::builder().config(file(servers, settings)).seed(7).start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    troupe
}

fn named<'a>(ids: impl IntoIterator<Item = &'a mcp_troupe::id::ServerId>) -> Vec<&'a str> {
    ids.into_iter().map(|id| id.as_str()).collect()
}

/// Servers join, leave, move and change their weights while callers go on; each call has one answer, and a good one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_under_load_loses_no_call() {
    let servers = [scripted().await, scripted().await, scripted().await, scripted().await];
    let at = |server: usize| servers[server].url();
    let described = |servers: &[(&str, String, u32)]| {
        let servers = servers
            .iter()
            .map(|(id, url, weight)| ((*id).to_owned(), json!({"url": url, "group": "g", "weight": weight})));
        Value::Object(servers.collect())
    };
    let configurations = [
        described(&[("a", at(0), 100), ("b", at(1), 100)]),
        // One more; one that leaves; one that moves; all others; another weight.
        described(&[("a", at(0), 100), ("b", at(1), 100), ("c", at(2), 100)]),
        described(&[("b", at(1), 100), ("c", at(2), 100)]),
        described(&[("b", at(3), 100), ("c", at(2), 100)]),
        described(&[("d", at(0), 100)]),
        described(&[("d", at(0), 7), ("a", at(1), 100)]),
    ];
    let troupe = playing(configurations[0].clone(), json!({"strategy": "round-robin"})).await;
    let checker = AnswerChecker::new(&troupe, &Settings::default());
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (checker, stopped) = (checker.clone(), stopped.clone());
            tokio::spawn(async move {
                while !*stopped.borrow() {
                    checker.call(echo()).await.unwrap();
                }
            })
        })
        .collect();
    let calls = |troupe: &Troupe| {
        let troupe = troupe.clone();
        async move { troupe.stats().await.router.outcomes.get("ok").copied().unwrap_or_default() }
    };
    for round in 0..4 {
        for configuration in configurations.iter().skip(usize::from(round == 0)) {
            troupe.apply(file(configuration.clone(), json!({"strategy": "round-robin"}))).await.unwrap();
            let before = calls(&troupe).await;
            while calls(&troupe).await < before + 50 {
                tokio::task::yield_now().await;
            }
        }
    }
    stop.send(true).unwrap();
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(servers.iter().all(|server| server.calls("echo") > 0));
    let all: Vec<&ScriptedServer> = servers.iter().collect();
    let tally = checker.verdict(all).unwrap();
    assert_eq!(tally.calls, tally.ok);
    assert_eq!(troupe.stats().await.router.in_flight, 0);
    end(troupe).await;
}

#[tokio::test]
async fn a_server_that_is_described_as_before_keeps_its_connection_and_its_breaker() {
    let (same, heavier) = (scripted().await, scripted().await);
    let described = |weight: u32| json!({"same": {"url": same.url()}, "heavier": {"url": heavier.url(), "weight": weight, "group": "h"}});
    let troupe = playing(described(1), json!({})).await;
    for server in ["same", "heavier"] {
        troupe.breaker(server).force_open().await.unwrap();
    }
    let applied = troupe.apply(file(described(2), json!({}))).await.unwrap();
    assert_eq!((named(&applied.unchanged), named(&applied.amended)), (vec!["same"], vec!["heavier"]));
    assert!(applied.added.is_empty() && applied.removed.is_empty() && applied.replaced.is_empty());
    for server in troupe.stats().await.servers {
        assert_eq!(server.breaker.unwrap().state, BreakerState::ForcedOpen, "{}", server.id);
        assert_eq!(server.incarnation, mcp_troupe::id::Incarnation::FIRST);
    }
    assert_eq!((same.observed().accepted, heavier.observed().accepted), (1, 1));
    end(troupe).await;
}

#[tokio::test]
async fn a_server_whose_place_in_the_file_alone_is_another_one_is_unchanged() {
    let (a, b) = (scripted().await, scripted().await);
    let file = |order: [(&str, &ScriptedServer); 2]| {
        let servers = order.map(|(id, server)| format!(r#""{id}":{{"url":"{}"}}"#, server.url())).join(",");
        ConfigFile::parse(&format!(r#"{{"mcpServers":{{{servers}}}}}"#)).unwrap()
    };
    let troupe = Troupe::builder().config(file([("a", &a), ("b", &b)])).start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let applied = troupe.apply(file([("b", &b), ("a", &a)])).await.unwrap();
    let mut unchanged = named(&applied.unchanged);
    unchanged.sort_unstable();
    assert_eq!((unchanged, applied.amended.len()), (vec!["a", "b"], 0));
    end(troupe).await;
}

#[tokio::test]
async fn another_group_another_tag_and_another_deadline_hold_without_another_connection() {
    let server = scripted().await;
    let troupe = playing(json!({"a": {"url": server.url(), "group": "g"}}), json!({})).await;
    let other = json!({"a": {"url": server.url(), "group": "h", "tags": ["t"], "timeout": "500ms"}});
    let applied = troupe.apply(file(other, json!({}))).await.unwrap();
    assert_eq!(named(&applied.amended), ["a"]);
    troupe.call(Call::tool("h/echo").tag("t")).await.unwrap();
    assert!(matches!(kind(troupe.call(Call::tool("g/echo")).await), CallErrorKind::UnknownTool { .. }));
    assert!(matches!(kind(troupe.call(Call::tool("hold")).await), CallErrorKind::DeadlineExceeded { .. }));
    assert_eq!(server.observed().accepted, 1);
    end(troupe).await;
}

#[tokio::test]
async fn a_broken_configuration_changes_nothing() {
    type Break<'a> = &'a dyn Fn(&mut ConfigFile);
    let server = scripted().await;
    let troupe = playing(json!({"a": {"url": server.url()}}), json!({})).await;
    let before = troupe.servers();
    // Each would add a server, remove one and change a setting, were it not for its mistake.
    let broken = |change: Break<'_>| {
        let mut file = file(json!({"b": {"url": server.url()}}), json!({"strategy": "round-robin"}));
        change(&mut file);
        file
    };
    let mistakes: [(Break<'_>, &str); 6] = [
        (&|file| file.servers.push(Server::websocket("c", "ws://u:p@h")), "mcpServers.c.url"),
        (&|file| file.servers.push(Server::websocket("c", "ws://h").weight(0)), "mcpServers.c.weight"),
        (&|file| file.servers.push(Server::websocket("b", "ws://h")), "mcpServers.b: stands twice"),
        (&|file| file.servers.push(Server::custom("c")), "mcpServers.c.connector"),
        (&|file| file.settings.pool.min = 0, "troupe.pool.min"),
        (&|file| file.settings.strategy = "fastest".to_owned(), "no strategy is called \"fastest\""),
    ];
    for (change, told) in mistakes {
        let error = troupe.apply(broken(change)).await.unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
    }
    let crowded = troupe.apply(broken(&|file| file.settings.limits.servers_max = 1)).await;
    assert!(crowded.is_err(), "the one that leaves counts until it has left");
    let ids = |servers: &[mcp_troupe::ServerInfo]| -> Vec<String> {
        servers.iter().map(|info| format!("{} {} {}", info.id, info.incarnation, info.status)).collect()
    };
    assert_eq!(ids(&troupe.servers()), ids(&before));
    assert_eq!(troupe.stats().await.router.strategy, "peak-ewma");
    assert_eq!(server.observed().accepted, 1);
    assert!(troupe.call(echo()).await.is_ok());
    end(troupe).await;
}

#[tokio::test]
async fn settings_hold_at_once_or_are_named() {
    let server = scripted().await;
    let servers = json!({"a": {"url": server.url()}});
    let troupe = playing(servers.clone(), json!({})).await;
    let settings = json!({
        "strategy": "round-robin", "callTimeout": "20ms", "restart": {"window": "1s"},
        "pool": {"max": 2}, "mailbox": {"capacity": 1},
    });
    let applied = troupe.apply(file(servers, settings)).await.unwrap();
    assert_eq!(applied.settings, ["troupe.callTimeout", "troupe.pool.max", "troupe.strategy"]);
    assert_eq!(applied.pending, ["troupe.mailbox.capacity", "troupe.restart.window"]);
    assert_eq!(named(&applied.replaced), ["a"], "its pool is the troupe's");
    assert_eq!(troupe.stats().await.router.strategy, "round-robin");
    assert!(matches!(kind(troupe.call(Call::tool("hold")).await), CallErrorKind::DeadlineExceeded { .. }));
    end(troupe).await;
}

#[tokio::test]
async fn what_was_applied_outlives_the_actors() {
    let (old, new) = (scripted().await, scripted().await);
    let troupe = playing(json!({"a": {"url": old.url()}}), json!({})).await;
    troupe.apply(file(json!({"b": {"url": new.url()}}), json!({"strategy": "rendezvous"}))).await.unwrap();
    let mut events = troupe.events();
    inject(&troupe, Target::Registry, Fault::Kill).await.unwrap();
    event(&mut events, |event| matches!(event, Event::RegistryRestarted { .. })).await;
    assert!(troupe.call(echo()).await.unwrap().server == "b");
    assert_eq!(troupe.stats().await.router.strategy, "rendezvous");
    assert_eq!(named(troupe.servers().iter().map(|info| &info.id)), ["b"]);
    end(troupe).await;
}

#[tokio::test]
async fn servers_of_the_hosts_own_are_kept_and_told() {
    let (configured, own, moved) = (scripted().await, scripted().await, scripted().await);
    let servers = json!({"a": {"url": configured.url()}, "m": {"url": configured.url()}});
    let troupe = playing(servers, json!({})).await;
    troupe.register(Server::websocket("own", own.url()).group("own")).await.unwrap();
    troupe.replace(Server::websocket("m", moved.url()).group("moved")).await.unwrap();
    let servers = json!({"own": {"url": configured.url()}, "m": {"url": configured.url()}});
    let applied = troupe.apply(file(servers, json!({}))).await.unwrap();
    assert_eq!((named(&applied.kept), named(&applied.removed)), (vec!["m", "own"], vec!["a"]));
    let applied = troupe.apply(file(json!({}), json!({}))).await.unwrap();
    assert!(!applied.changes_anything(), "{applied}");
    assert!(troupe.call(Call::tool("own/echo")).await.is_ok());
    assert!(troupe.call(Call::tool("moved/echo")).await.is_ok());
    end(troupe).await;
}

#[tokio::test]
async fn a_server_that_is_named_again_while_it_leaves_joins_when_it_has_left() {
    let server = scripted().await;
    let with = || file(json!({"a": {"url": server.url()}}), json!({}));
    let without = || file(json!({}), json!({}));
    let troupe = playing(json!({"a": {"url": server.url()}}), json!({})).await;
    let held = tokio::spawn(troupe.call(Call::tool("hold")));
    server.wait_for(|seen| seen.calls.contains_key("hold")).await;
    assert_eq!(named(&troupe.apply(without()).await.unwrap().removed), ["a"]);
    assert_eq!(named(&troupe.apply(with()).await.unwrap().added), ["a"]);
    assert_eq!(named(&troupe.apply(with()).await.unwrap().unchanged), ["a"]);
    assert_eq!(named(&troupe.apply(without()).await.unwrap().removed), ["a"]);
    assert_eq!(named(&troupe.apply(with()).await.unwrap().added), ["a"]);
    server.release();
    assert!(held.await.unwrap().is_ok(), "what it had was finished");
    server.wait_for(|seen| seen.accepted == 2 && seen.connections == 1).await;
    troupe.ready(Readiness::Named(vec!["a".to_owned()])).await.unwrap();
    assert!(troupe.call(echo()).await.is_ok());
    end(troupe).await;
}

#[tokio::test]
async fn a_server_that_rests_goes_on_to_rest() {
    let (old, new) = (scripted().await, scripted().await);
    let troupe = playing(json!({"a": {"url": old.url()}}), json!({})).await;
    troupe.drain("a", std::time::Duration::from_secs(30)).await.unwrap();
    let applied = troupe.apply(file(json!({"a": {"url": new.url()}}), json!({}))).await.unwrap();
    assert_eq!(named(&applied.replaced), ["a"]);
    assert_eq!((troupe.servers()[0].status, new.observed().accepted), (ServerStatus::Stopped, 0));
    troupe.resume("a").await.unwrap();
    assert!(troupe.call(echo()).await.is_ok());
    assert_eq!(new.calls("echo"), 1);
    end(troupe).await;
}

#[tokio::test]
async fn a_troupe_that_has_ended_refuses() {
    let troupe = playing(json!({}), json!({})).await;
    troupe.shutdown().await;
    assert_eq!(troupe.apply(file(json!({}), json!({}))).await, Err(ApplyError::Closed));
}
