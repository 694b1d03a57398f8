//! W3C's trace context in the `_meta` of requests.

use mcp_troupe::testkit::{Script, ScriptedEra, ScriptedServer};
use mcp_troupe::{Call, CallErrorKind, Dialect, Effect, Server};
use serde_json::{Value, json};

use super::common::{end, ready};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn every_era_and_dialect_carries_the_trace_context_beside_the_hosts_entries() {
    let _alone = super::alone().await;
    let meta = || ScriptedServer::builder().tool("meta", Script::Meta);
    let modern = meta().start().await;
    let legacy = meta().era(ScriptedEra::Legacy).start().await;
    let other = meta().dialect(Dialect::ToolExecute).start().await;
    let troupe = ready([
        Server::websocket("modern", modern.url()),
        Server::websocket("legacy", legacy.url()),
        Server::websocket("other", other.url()).dialect(Dialect::ToolExecute),
    ])
    .await;
    for server in ["modern", "legacy", "other"] {
        let call = Call::tool(format!("{server}/meta"))
            .traceparent(PARENT)
            .tracestate("rojo=00f067aa0ba902b7")
            .meta(json!({"traceparent": "mine", "example.com/n": 1}))
            .baggage("user=7");
        let seen: Value = troupe.call(call).await.unwrap().structured().unwrap();
        assert_eq!(seen["traceparent"], PARENT, "{server}");
        assert_eq!(seen["tracestate"], "rojo=00f067aa0ba902b7", "{server}");
        assert_eq!((&seen["baggage"], &seen["example.com/n"]), (&json!("user=7"), &json!(1)), "{server}");
        let version = seen.get("io.modelcontextprotocol/protocolVersion");
        assert_eq!(version.is_some(), server == "modern", "{seen}");
    }
    end(troupe).await;
}

#[tokio::test]
async fn a_wrong_trace_context_is_one_typed_error_and_nothing_is_sent() {
    let _alone = super::alone().await;
    let server = ScriptedServer::builder().tool("meta", Script::Meta).start().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    for (call, wrong) in [
        (Call::tool("meta").traceparent("00-abc"), "traceparent"),
        (Call::tool("meta").traceparent(PARENT).tracestate("Rojo"), "tracestate"),
        (Call::tool("meta").tracestate("rojo=1"), "tracestate"),
        (Call::tool("meta").baggage("a b"), "baggage"),
    ] {
        let error = troupe.call(call).await.unwrap_err();
        let CallErrorKind::InvalidTraceContext { entry, .. } = error.kind() else { panic!("{error}") };
        assert_eq!((*entry, error.effect()), (wrong, Effect::NotSent));
    }
    assert_eq!(server.observed().calls.get("meta"), None);
    end(troupe).await;
}
