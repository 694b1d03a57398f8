//! Calls over real sockets, against servers that behave and servers that do not.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{echo, end, event, kind, ready, start};
use mcp_troupe::testkit::{Script, ScriptedEra, ScriptedServer};
use mcp_troupe::{
    Call, CallErrorKind, Denied, Dialect, Effect, EraChoice, Event, Hint, ProposedCall, Readiness,
    RegisterError, Reply, Server, Troupe, TroupeBuilder,
};
use serde_json::{Value, json};

async fn echo_server() -> ScriptedServer {
    ScriptedServer::builder().tool("echo", Script::Echo).start().await
}

#[tokio::test]
async fn a_call_is_answered_in_both_eras_and_in_the_tool_execute_dialect() {
    let modern = echo_server().await;
    let legacy = ScriptedServer::builder().era(ScriptedEra::Legacy).tool("echo", Script::Echo).start().await;
    let other =
        ScriptedServer::builder().dialect(Dialect::ToolExecute).tool("echo", Script::Echo).start().await;
    let troupe = ready([
        Server::websocket("modern", modern.url()),
        Server::websocket("legacy", legacy.url()),
        Server::websocket("other", other.url()).dialect(Dialect::ToolExecute),
    ])
    .await;
    for server in ["modern", "legacy", "other"] {
        let call = Call::tool(format!("{server}/echo")).args(json!({"text": "grüße", "n": 1.5}));
        let reply = troupe.call(call).await.unwrap();
        assert_eq!((reply.server.as_str(), reply.attempts), (server, 1));
        assert_eq!(reply.structured::<Value>().unwrap(), json!({"text": "grüße", "n": 1.5}), "{server}");
    }
    assert_eq!(modern.observed().handshakes[0], "server/discover");
    assert_eq!(legacy.observed().handshakes[0], "initialize");
    assert_eq!(other.observed().handshakes[0], "rpc.discover");
    end(troupe).await;
}

#[tokio::test]
async fn a_deadline_beyond_all_times_is_as_good_as_none() {
    let server = echo_server().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    assert!(troupe.call(echo().timeout(std::time::Duration::MAX)).await.is_ok());
    end(troupe).await;
}

#[tokio::test]
async fn arguments_and_results_pass_through_byte_for_byte() {
    let result = r#"{"z": 1.000000000000000000010, "a":[1e400, "\u00e9"], "content":[]}"#;
    let server = ScriptedServer::builder().tool("odd", Script::Reply(result.into())).start().await;
    let troupe = ready([Server::websocket("odd", server.url())]).await;
    let reply = troupe.call(Call::tool("odd")).await.unwrap();
    assert_eq!(reply.result.as_str(), result);
    end(troupe).await;
}

#[tokio::test]
async fn a_server_without_subprotocols_is_spoken_to_without_one() {
    let server = ScriptedServer::builder().without_subprotocol().tool("echo", Script::Echo).start().await;
    let troupe = ready([Server::websocket("bare", server.url())]).await;
    assert!(troupe.call(echo()).await.is_ok());
    end(troupe).await;
}

#[tokio::test]
async fn tools_are_listed_over_all_pages() {
    let builder = (0..25).fold(ScriptedServer::builder().page_size(10), |builder, n| {
        builder.tool(format!("tool-{n}"), Script::Echo)
    });
    let server = builder.start().await;
    let troupe = ready([Server::websocket("many", server.url())]).await;
    assert_eq!(troupe.tools().len(), 25);
    assert_eq!(troupe.servers()[0].tools, 25);
    end(troupe).await;
}

#[tokio::test]
async fn tools_that_change_are_listed_again_and_told() {
    let server = echo_server().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let mut events = troupe.events();
    server.set_script("new", Script::Echo);
    server.remove_tool("echo");
    server.announce_tools();
    let told = event(&mut events, |event| matches!(event, Event::CatalogueChanged { .. })).await;
    let Event::CatalogueChanged { added, removed, .. } = told else { unreachable!() };
    assert_eq!((added, removed), (vec!["new".to_owned()], vec!["echo".to_owned()]));
    assert!(troupe.call(Call::tool("new")).await.is_ok());
    assert!(matches!(kind(troupe.call(echo()).await), CallErrorKind::UnknownTool { .. }));
    end(troupe).await;
}

#[tokio::test]
async fn a_misspelt_tool_whose_deadline_passes_names_whom_it_waited_for_and_what_looks_alike() {
    let (good, silent) = (echo_server().await, ScriptedServer::builder().black_hole().start().await);
    let troupe =
        start([Server::websocket("good", good.url()), Server::websocket("silent", silent.url())]).await;
    troupe.ready(Readiness::Any).await.unwrap();
    let error = troupe.call(Call::tool("ecko").timeout(Duration::from_millis(50))).await.unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::DeadlineExceeded { sent: false, .. }), "{error}");
    assert_eq!(error.awaited().iter().map(|one| one.server.as_str()).collect::<Vec<_>>(), ["silent"]);
    assert_eq!(error.near_names(), ["echo"]);
    let told = error.to_string();
    assert!(
        told.contains("; waited for: silent is starting") && told.contains("did you mean echo?"),
        "{told}"
    );
    let json = serde_json::to_value(&error).unwrap();
    assert_eq!((&json["servers"][0]["server"], &json["near"]), (&json!("silent"), &json!(["echo"])));
    assert!(json["message"].as_str().unwrap().contains("silent is starting"), "{json}");
    end(troupe).await;
}

#[tokio::test]
async fn a_change_of_tools_that_are_not_offered_is_not_told() {
    let server =
        ScriptedServer::builder().tool("echo", Script::Echo).tool("hidden", Script::Echo).start().await;
    for choice in [
        Server::websocket("s", server.url()).without_tools(["hidden"]),
        Server::websocket("s", server.url()).only_tools(["echo", "new"]),
    ] {
        server.set_script("hidden", Script::Echo);
        server.remove_tool("new");
        let troupe = Troupe::builder().server(choice).start().await.unwrap();
        let mut events = troupe.events();
        troupe.ready(Readiness::All).await.unwrap();
        server.remove_tool("hidden");
        server.set_script("new", Script::Echo);
        server.announce_tools();
        let mut told = Vec::new();
        while !told.contains(&"new".to_owned()) {
            let change = event(&mut events, |event| matches!(event, Event::CatalogueChanged { .. })).await;
            let Event::CatalogueChanged { added, removed, changed, .. } = change else { unreachable!() };
            told.extend([added, removed, changed].concat());
        }
        assert!(!told.contains(&"hidden".to_owned()), "{told:?}");
        end(troupe).await;
    }
}

#[tokio::test]
async fn an_unknown_tool_an_ambiguous_name_and_a_wrong_selector_are_told_apart() {
    let (one, two) = (echo_server().await, echo_server().await);
    let troupe = ready([Server::websocket("one", one.url()), Server::websocket("two", two.url())]).await;
    let CallErrorKind::UnknownTool { near, blocked } = kind(troupe.call(Call::tool("ecko")).await) else {
        panic!("it is known");
    };
    assert_eq!((near, blocked), (vec!["one/echo".to_owned(), "two/echo".to_owned()], vec![]));
    let CallErrorKind::AmbiguousTool { candidates } = kind(troupe.call(echo()).await) else { panic!() };
    assert_eq!(candidates, ["one/echo", "two/echo"]);
    assert_eq!(troupe.call(Call::tool("two__echo")).await.unwrap().server.as_str(), "two");
    let wrong = troupe.call(Call::tool("one/echo").server("two")).await;
    assert!(matches!(kind(wrong), CallErrorKind::NoMatch { .. }));
    let wrong = troupe.call(echo().args([1, 2])).await;
    assert!(matches!(kind(wrong), CallErrorKind::InvalidArguments { .. }));
    end(troupe).await;
}

#[tokio::test]
async fn an_error_of_the_server_keeps_its_code_message_and_data() {
    let error = Script::Error { code: -32004, message: "no access".into() };
    let server = ScriptedServer::builder()
        .tool("denied", error)
        .tool("failed", Script::ToolError("disk full".into()))
        .start()
        .await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let error = troupe.call(Call::tool("denied")).await.unwrap_err();
    assert_eq!(error.effect(), Effect::Failed);
    let CallErrorKind::Rpc(rpc) = error.kind() else { panic!("{error}") };
    assert_eq!((rpc.code, rpc.message.as_str()), (-32004, "no access"));
    let reply = troupe.call(Call::tool("failed")).await.unwrap();
    assert!(reply.is_error());
    end(troupe).await;
}

#[tokio::test]
async fn a_wrong_era_is_told_as_the_reason() {
    let legacy = ScriptedServer::builder().era(ScriptedEra::Legacy).tool("echo", Script::Echo).start().await;
    let troupe = start([Server::websocket("old", legacy.url()).era(EraChoice::Modern)]).await;
    let CallErrorKind::Unavailable { servers } = kind(troupe.call(echo()).await) else { panic!() };
    assert!(servers[0].reason.contains("set its era to auto or legacy"), "{}", servers[0]);
    end(troupe).await;
}

#[tokio::test]
async fn a_refused_upgrade_is_told_with_its_status() {
    let server = ScriptedServer::builder().refuse_upgrade(401).start().await;
    let troupe = start([Server::websocket("locked", server.url())]).await;
    let CallErrorKind::Unavailable { servers } = kind(troupe.call(echo()).await) else { panic!() };
    assert!(servers[0].reason.contains("401"), "{}", servers[0]);
    assert!(servers[0].retry_after.is_some());
    end(troupe).await;
}

#[tokio::test]
async fn an_id_is_registered_once_and_free_again_when_its_server_is_gone() {
    let server = echo_server().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let again = troupe.register(Server::websocket("s", server.url())).await.unwrap_err();
    assert!(matches!(again, RegisterError::AlreadyRegistered(id) if id == "s"));
    let wrong = troupe.register(Server::websocket("x", "http://127.0.0.1:1")).await.unwrap_err();
    assert!(matches!(wrong, RegisterError::Config(error) if error.key == "x.url"));
    let mut events = troupe.events();
    troupe.unregister("s").await.unwrap();
    assert!(troupe.unregister("s").await.is_err());
    event(&mut events, |event| matches!(event, Event::ServerUnregistered { .. })).await;
    assert!(matches!(kind(troupe.call(echo()).await), CallErrorKind::UnknownTool { .. }));
    troupe.register(Server::websocket("s", server.url())).await.unwrap();
    assert!(troupe.call(echo()).await.is_ok(), "a call waits for a server that was just added");
    end(troupe).await;
}

#[tokio::test]
async fn a_server_that_leaves_finishes_what_it_has() {
    let server = ScriptedServer::builder().tool("hold", Script::Hold).start().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let call = tokio::spawn(troupe.call(Call::tool("hold")));
    server.wait_for(|seen| seen.calls.contains_key("hold")).await;
    troupe.unregister("s").await.unwrap();
    server.release();
    assert!(call.await.unwrap().is_ok());
    server.wait_for(|seen| seen.connections == 0).await;
    end(troupe).await;
}

#[tokio::test]
async fn an_unknown_strategy_is_refused_at_start_and_later() {
    let error = Troupe::builder().strategy("fastest").start().await.unwrap_err();
    assert!(error.to_string().contains("peak-ewma"), "{error}");
    let troupe = start([]).await;
    assert!(troupe.set_strategy("fastest").await.unwrap_err().to_string().contains("round-robin"));
    troupe.set_strategy("rendezvous").await.unwrap();
    assert_eq!(troupe.stats().await.router.strategy, "rendezvous");
    end(troupe).await;
}

#[tokio::test]
async fn a_breaker_obeys_its_orders() {
    let server = echo_server().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let mut events = troupe.events();
    assert!(troupe.breaker("s").force_open().await.unwrap().is_some());
    event(&mut events, |event| matches!(event, Event::BreakerChanged { .. })).await;
    // The order reaches the router behind the answer to it.
    let refused = loop {
        match troupe.call(echo()).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused.kind(), CallErrorKind::Unavailable { .. }), "{refused}");
    troupe.breaker("s").reset().await.unwrap();
    while troupe.call(echo()).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert!(troupe.breaker("t").reset().await.is_err());
    end(troupe).await;
}

#[tokio::test]
async fn round_robin_gives_each_replica_of_two_alternating_groups_half() {
    let mut servers = Vec::new();
    for tool in ["read", "read", "query", "query"] {
        servers.push(ScriptedServer::builder().tool(tool, Script::Echo).start().await);
    }
    let troupe = ready([
        Server::websocket("f1", servers[0].url()).group("files"),
        Server::websocket("f2", servers[1].url()).group("files"),
        Server::websocket("d1", servers[2].url()).group("db"),
        Server::websocket("d2", servers[3].url()).group("db"),
    ])
    .await;
    for _ in 0..100 {
        troupe.call(Call::tool("read")).await.unwrap();
        troupe.call(Call::tool("query")).await.unwrap();
    }
    let counts: Vec<u64> = servers
        .iter()
        .zip(["read", "read", "query", "query"])
        .map(|(server, tool)| server.calls(tool))
        .collect();
    assert_eq!(counts, [50, 50, 50, 50]);
    end(troupe).await;
}

#[tokio::test]
async fn two_troupes_in_one_process_do_not_meet() {
    let server = echo_server().await;
    let one = ready([Server::websocket("s", server.url())]).await;
    let two = ready([Server::websocket("s", server.url())]).await;
    end(one).await;
    assert!(two.call(echo()).await.is_ok());
    end(two).await;
}

#[tokio::test]
async fn events_may_be_read_from_the_first_one_on() {
    let server = ScriptedServer::builder().tool("bad\u{7}", Script::Echo).start().await;
    let builder = Troupe::builder().server(Server::websocket("s", server.url()));
    let (troupe, mut events) = builder.start_with_events().await.unwrap();
    // What comes later than all that the start brings.
    troupe.ready(Readiness::All).await.unwrap();
    let mut seen = Vec::new();
    let registered = |event: &Event| matches!(event, Event::ServerRegistered { .. });
    let skipped = |event: &Event| matches!(event, Event::EntrySkipped { .. });
    while !seen.iter().any(skipped) {
        seen.push(events.next().await.unwrap());
    }
    assert!(registered(&seen[0]), "{seen:?}");
    end(troupe).await;
}

#[tokio::test]
async fn the_host_sees_each_call_of_a_tool_before_it_is_made_and_may_change_or_deny_it() {
    let script = ScriptedServer::builder().tool("echo", Script::Echo).tool("look", Script::Echo);
    let script =
        script.says("look", json!({"annotations": {"readOnlyHint": true}})).resource("file:///a", "alpha");
    let server = script.start().await;
    let troupe = Troupe::builder()
        .before_call(|proposed: ProposedCall| async move {
            let tool = proposed.tool().cloned();
            match proposed.name() {
                "panic" => panic!("the hook's own fault"),
                _ if tool.as_ref().is_none() => Err(Denied::new("nobody knows what it does")),
                _ if tool.is_some_and(|tool| tool.says(Hint::ReadOnly)) => Ok(proposed.into_call()),
                _ => {
                    let seen = json!({
                        "name": proposed.name(), "server": proposed.server(), "user": proposed.identity(),
                        "arguments": proposed.arguments().map(|arguments| arguments.as_str().to_owned()),
                    });
                    Ok(proposed.into_call().args(seen))
                }
            }
        })
        .server(Server::websocket("s", server.url()))
        .start()
        .await
        .unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let said = async |call: Call| troupe.call(call).await.unwrap().structured::<Value>().unwrap();
    let seen = said(Call::tool("s/echo").args(json!({"a": 1})).server("s").identity("ada")).await;
    assert_eq!(seen, json!({"name": "s/echo", "server": "s", "user": "ada", "arguments": r#"{"a":1}"#}));
    assert_eq!(said(Call::tool("look").args(json!({"a": 1}))).await, json!({"a": 1}));
    let lease = troupe.lease("s").await.unwrap();
    let reply = lease.call(echo()).await.unwrap();
    assert_eq!(reply.structured::<Value>().unwrap()["server"], "s");
    drop(lease);
    // What is no tool is not shown.
    assert!(troupe.read_resource("file:///a").await.is_ok());
    let calls = server.observed().calls.values().sum::<u64>();
    for (tool, reason) in [("other", "nobody knows what it does"), ("panic", "the host's hook panicked")] {
        let error = troupe.call(Call::tool(tool)).await.unwrap_err();
        assert_eq!(error.kind(), &CallErrorKind::Denied { reason: reason.into() });
        assert_eq!((error.effect(), error.retryable()), (Effect::NotSent, false));
    }
    let streamed = troupe.call_stream(Call::tool("other")).answer().await.unwrap_err();
    assert_eq!(streamed.kind().name(), "denied");
    assert_eq!(server.observed().calls.values().sum::<u64>(), calls);
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn the_time_that_the_host_takes_to_agree_is_not_the_calls_and_ends_with_its_future() {
    let (_server, connector) = ScriptedServer::builder().tool("echo", Script::Echo).start_in_memory();
    let (gone, mut left) = tokio::sync::mpsc::channel::<()>(1);
    let troupe = Troupe::builder()
        .before_call(move |proposed: ProposedCall| {
            let gone = gone.clone();
            async move {
                let _dropped_with_the_future = gone;
                tokio::time::sleep(Duration::from_secs(3600)).await;
                Ok(proposed.into_call())
            }
        })
        .server_via(Server::custom("s"), connector)
        .start()
        .await
        .unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let reply = troupe.call(echo().timeout(Duration::from_secs(1))).await.unwrap();
    assert!(reply.duration < Duration::from_secs(1), "{:?}", reply.duration);
    let mut call = Box::pin(troupe.call(echo()));
    assert!(futures_util::poll!(&mut call).is_pending());
    drop(call);
    end(troupe).await;
    assert_eq!(left.recv().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_the_host_thinks_about_ends_with_the_troupe() {
    for by_its_last_handle in [true, false] {
        let (_server, connector) = ScriptedServer::builder().tool("echo", Script::Echo).start_in_memory();
        let (asked, mut thinks) = tokio::sync::mpsc::channel(1);
        let troupe = Troupe::builder()
            .before_call(move |_| {
                let _ = asked.try_send(());
                std::future::pending::<Result<Call, Denied>>()
            })
            .server_via(Server::custom("s"), connector)
            .start()
            .await
            .unwrap();
        troupe.ready(Readiness::All).await.unwrap();
        let call = tokio::spawn(troupe.call(echo()));
        thinks.recv().await.unwrap();
        if by_its_last_handle {
            drop(troupe);
        } else {
            end(troupe).await;
        }
        assert_eq!(call.await.unwrap().unwrap_err().kind(), &CallErrorKind::Closed);
    }
}

#[tokio::test]
async fn a_hook_sees_a_tool_as_the_one_server_describes_it_that_the_call_goes_to() {
    let script = |words: &str| {
        ScriptedServer::builder().tool("work", Script::Echo).says("work", json!({"description": words}))
    };
    let (a, b) = (script("asks").start().await, script("deletes everything").start().await);
    let servers = [("a", &a), ("b", &b)].map(|(id, server)| Server::websocket(id, server.url()).group("g"));
    let hook = |proposed: ProposedCall| async move {
        let seen = proposed.tool().and_then(|tool| tool.description()).map(String::from);
        Ok(proposed.into_call().args(json!({"seen": seen})))
    };
    let builder = servers.into_iter().fold(Troupe::builder().before_call(hook), TroupeBuilder::server);
    let troupe = builder.start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let seen = |reply: Reply| reply.structured::<Value>().unwrap()["seen"].clone();
    let call = || Call::tool("work");
    assert_eq!(seen(troupe.call(call()).await.unwrap()), "asks", "the first of its group");
    for (server, words) in [("a", "asks"), ("b", "deletes everything")] {
        assert_eq!(seen(troupe.call(call().server(server)).await.unwrap()), words);
        let lease = troupe.lease(server).await.unwrap();
        assert_eq!(seen(lease.call(call()).await.unwrap()), words, "on a lease");
    }
    for (server, answer) in troupe.call_all(call()).await.unwrap() {
        assert_eq!(seen(answer.unwrap()), if server.as_str() == "a" { "asks" } else { "deletes everything" });
    }
    // A server that does not offer it describes it in no way.
    let error = troupe.call(call().server("nobody")).await.unwrap_err();
    assert_eq!(error.kind().name(), "no-match");
    end(troupe).await;
}
