//! What is kept, and for whom.

use mcp_troupe::testkit::{Script, ScriptedServer};
use mcp_troupe::{Call, CallErrorKind, Dialect, Event, Server};
use serde_json::json;

use super::common::{end, event, ready, start_with};
use super::{READ, read, shown, start, version, versions};

#[tokio::test]
async fn fault_e1_a_transaction_is_never_answered_from_the_cache() {
    let server = versions().tool("database.transaction", Script::Echo).start().await;
    for troupe in [
        ready([Server::websocket("s", server.url())]).await,
        start(READ, [Server::websocket("s", server.url())]).await,
    ] {
        let before = server.calls("database.transaction");
        for _ in 0..2 {
            let begin = Call::tool("database.transaction").args(json!({"operation": "begin"}));
            assert!(!troupe.call(begin).await.unwrap().cached);
        }
        assert_eq!(server.calls("database.transaction"), before + 2);
        end(troupe).await;
    }
    let troupe = ready([Server::websocket("s", server.url())]).await;
    assert_eq!((version(&troupe).await, version(&troupe).await), (1, 2));
    end(troupe).await;
}

#[tokio::test]
async fn fault_e5_a_hit_is_a_reply_of_its_own_and_never_reaches_the_server() {
    let server = versions().start().await;
    let troupe = start(READ, [Server::websocket("s", server.url()).group("g")]).await;
    let first = troupe.call(read()).await.unwrap();
    assert!(!first.cached && first.attempts == 1);
    for name in ["read", "g/read", "g__read"] {
        let call = Call::tool(name).raw_args(r#" { "path" : "\u0061" } "#);
        let hit = troupe.call(call).await.unwrap();
        assert!(hit.cached && hit.attempts == 0 && hit.earlier_servers.is_empty());
        assert_ne!(hit.request_id, first.request_id);
        assert_eq!(hit.result, first.result);
        assert_eq!(
            (hit.server, hit.group, hit.tool.as_str()),
            (first.server.clone(), first.group.clone(), "read")
        );
    }
    assert_eq!(server.calls("read"), 1);
    let cache = troupe.stats().await.cache;
    assert_eq!((cache.hits, cache.misses, cache.stored, cache.entries), (3, 1, 1, 1));
    assert!(cache.bytes > 0);
    end(troupe).await;
}

#[tokio::test]
async fn fault_e4_a_bare_null_of_the_tool_execute_dialect_hits() {
    let server =
        ScriptedServer::builder().dialect(Dialect::ToolExecute).tool("read", Script::Reply("null".into()));
    let server = server.start().await;
    let troupe = start(READ, [Server::websocket("s", server.url()).dialect(Dialect::ToolExecute)]).await;
    for cached in [false, true] {
        let reply = troupe.call(read()).await.unwrap();
        assert_eq!((reply.result.as_str(), reply.cached), ("null", cached));
    }
    end(troupe).await;
}

#[tokio::test]
async fn fault_e7_a_result_stays_with_whom_its_rule_names() {
    let server = versions().start().await;
    for (scope, of) in [
        ("identity", Call::identity as fn(Call, &'static str) -> Call),
        ("affinity", |call, key| call.affinity(key)),
    ] {
        let cache = format!(r#"{{"tools":{{"read":{{"scope":"{scope}"}}}}}}"#);
        let troupe = start(&cache, [Server::websocket("s", server.url())]).await;
        let ann = shown(&troupe.call(of(read(), "ann")).await.unwrap());
        let ben = shown(&troupe.call(of(read(), "ben")).await.unwrap());
        assert_ne!(ann, ben);
        assert_eq!(shown(&troupe.call(of(read(), "ann")).await.unwrap()), ann);
        assert_eq!(shown(&troupe.call(of(read(), "ben")).await.unwrap()), ben);
        // Whose it is must be said.
        assert_ne!(version(&troupe).await, version(&troupe).await);
        end(troupe).await;
    }
}

#[tokio::test]
async fn fault_e8_a_call_can_go_round_the_cache_or_renew_what_it_holds() {
    let server = versions().start().await;
    let troupe = start(READ, [Server::websocket("s", server.url())]).await;
    assert_eq!(version(&troupe).await, 1);
    assert_eq!(shown(&troupe.call(read().bypass_cache()).await.unwrap()), 2);
    assert_eq!(version(&troupe).await, 1);
    let renewed = troupe.call(read().refresh()).await.unwrap();
    assert_eq!((shown(&renewed), renewed.cached), (3, false));
    assert_eq!(version(&troupe).await, 3);
    end(troupe).await;
}

#[tokio::test]
async fn errors_are_not_kept() {
    let server = ScriptedServer::builder()
        .tool("read", Script::Error { code: -32000, message: "busy".into() })
        .tool("stat", Script::ToolError("no such file".into()))
        .start()
        .await;
    let cache = r#"{"tools":{"read":{},"stat":{}}}"#;
    let troupe = start(cache, [Server::websocket("s", server.url())]).await;
    for _ in 0..2 {
        assert!(troupe.call(read()).await.is_err());
        assert!(troupe.call(Call::tool("stat")).await.unwrap().is_error());
    }
    assert_eq!((server.calls("read"), server.calls("stat")), (2, 2));
    assert_eq!(troupe.stats().await.cache.stored, 0);
    end(troupe).await;
}

#[tokio::test]
async fn what_a_lease_sees_is_its_holders() {
    let server = versions().start().await;
    let troupe = start(READ, [Server::websocket("s", server.url())]).await;
    assert_eq!(version(&troupe).await, 1);
    let lease = troupe.lease("s").await.unwrap();
    assert_eq!(shown(&lease.call(read()).await.unwrap()), 2);
    assert_eq!(version(&troupe).await, 1);
    lease.call(Call::tool("write")).await.unwrap();
    assert_eq!(version(&troupe).await, 3, "what it changed, everyone sees");
    drop(lease);
    end(troupe).await;
}

#[tokio::test]
async fn a_call_that_may_be_kept_has_the_time_of_its_tool_however_it_is_spelled() {
    let server = ScriptedServer::builder().tool("read", Script::Hold).start().await;
    for (of_tools, called) in
        [("read", "g/read"), ("g/read", "read"), ("g__read", "g/read"), ("read", "g__read")]
    {
        let cache = serde_json::from_str(READ).unwrap();
        let time = std::time::Duration::from_millis(40);
        let change = |all: &mut mcp_troupe::Settings| {
            all.cache = cache;
            all.tool_timeouts.insert(of_tools.to_owned(), time);
        };
        let troupe = start_with(change, [Server::websocket("s", server.url()).group("g")]).await;
        troupe.ready(mcp_troupe::Readiness::All).await.unwrap();
        let error = troupe.call(Call::tool(called)).await.unwrap_err();
        let CallErrorKind::DeadlineExceeded { timeout, .. } = error.kind() else { panic!("{error}") };
        assert_eq!(*timeout, time, "{of_tools}, called as {called}");
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_result_that_is_too_large_is_not_kept() {
    let large = format!(r#"{{"content":[],"structuredContent":"{}"}}"#, "x".repeat(2_000));
    let server = ScriptedServer::builder().tool("read", Script::Reply(large)).start().await;
    let troupe =
        start(r#"{"tools":{"read":{}},"entryBytesMax":1000}"#, [Server::websocket("s", server.url())]).await;
    for _ in 0..2 {
        assert!(!troupe.call(read()).await.unwrap().cached);
    }
    end(troupe).await;
}

#[tokio::test]
async fn the_hint_of_a_trusted_server_counts_and_its_other_tools_clear() {
    let trusted = versions().read_only("read").start().await;
    let other = versions().read_only("read").start().await;
    let troupe = start(
        r#"{"trustedTtl":"60s"}"#,
        [Server::websocket("trusted", trusted.url()).trusted(), Server::websocket("other", other.url())],
    )
    .await;
    let ask =
        async |server: &str, tool: &str| troupe.call(Call::tool(format!("{server}/{tool}"))).await.unwrap();
    for _ in 0..2 {
        assert_eq!(shown(&ask("trusted", "read").await), 1);
        ask("other", "read").await;
        ask("other", "write").await;
    }
    assert_eq!((trusted.calls("read"), other.calls("read")), (1, 2));
    ask("trusted", "write").await;
    assert_eq!(shown(&ask("trusted", "read").await), 2);
    end(troupe).await;
}

#[tokio::test]
async fn a_rule_for_a_tool_that_nobody_offers_is_told_when_all_servers_have_told_theirs() {
    let mut server = versions().start().await;
    server.stop_listening().await;
    let cache = r#"{"tools":{"raed":{"clearedBy":["write"]}}}"#;
    let settings = serde_json::from_str(cache).unwrap();
    let troupe = start_with(|all| all.cache = settings, [Server::websocket("s", server.url())]).await;
    let mut events = troupe.events();
    assert_eq!(troupe.missing_tools(), []);
    server.resume().await;
    let told = event(&mut events, |event| matches!(event, Event::NamedToolMissing { .. })).await;
    let Event::NamedToolMissing { setting, tool, near } = told else { unreachable!() };
    assert_eq!((setting.as_str(), tool.as_str(), near), ("cache.tools", "raed", vec!["read".to_owned()]));
    let unknown = troupe.missing_tools();
    assert_eq!(unknown.len(), 1);
    assert!(unknown[0].to_string().contains("did you mean read?"), "{}", unknown[0]);
    end(troupe).await;
}
