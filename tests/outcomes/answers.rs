//! What a server answers, or does instead: the same over every transport, in both eras and both dialects.

use std::time::Duration;

use futures_util::future::join_all;
use mcp_troupe::config::Dialect;
use mcp_troupe::testkit::{Script, ScriptedBuilder, ScriptedEra, ScriptedServer};
use mcp_troupe::{Call, CallErrorKind, Effect, Readiness, Server, Settings, Troupe};
use serde_json::json;

use super::common::{end, ready, start_with};

/// A way to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    WebSocket(ScriptedEra),
    ToolExecute,
    Json,
    Events,
    Session,
    Memory,
}

const WAYS: [Way; 7] = [
    Way::WebSocket(ScriptedEra::Modern),
    Way::WebSocket(ScriptedEra::Legacy),
    Way::ToolExecute,
    Way::Json,
    Way::Events,
    Way::Session,
    Way::Memory,
];

impl Way {
    /// A server whose tool `t` does this, and a troupe of it.
    async fn to(self, script: Script) -> (ScriptedServer, Troupe) {
        let builder: ScriptedBuilder = ScriptedServer::builder().tool("t", script);
        match self {
            Self::WebSocket(era) => {
                let server = builder.era(era).start().await;
                let troupe = ready([Server::websocket("s", server.url())]).await;
                (server, troupe)
            }
            Self::ToolExecute => {
                let server = builder.dialect(Dialect::ToolExecute).start().await;
                let description = Server::websocket("s", server.url()).dialect(Dialect::ToolExecute);
                let troupe = ready([description]).await;
                (server, troupe)
            }
            Self::Json => over_http(builder.http()).await,
            Self::Events => over_http(builder.http_events()).await,
            Self::Session => over_http(builder.era(ScriptedEra::Legacy).sessions()).await,
            Self::Memory => {
                let (server, connector) = builder.start_in_memory();
                let builder = Troupe::builder().seed(7).server_via(Server::custom("s"), connector);
                let troupe = builder.start().await.unwrap();
                troupe.ready(Readiness::All).await.unwrap();
                (server, troupe)
            }
        }
    }

    /// Whether each request has an exchange of its own, by whose end it is seen that no answer comes.
    fn alone(self) -> bool {
        matches!(self, Self::Json | Self::Events | Self::Session)
    }
}

async fn over_http(builder: ScriptedBuilder) -> (ScriptedServer, Troupe) {
    let server = builder.start().await;
    let troupe = ready([Server::http("s", server.url())]).await;
    (server, troupe)
}

fn call() -> Call {
    Call::tool("t").args(json!({"n": 1})).timeout(Duration::from_secs(3))
}

#[tokio::test]
async fn an_error_of_the_protocol_rejects_a_call_and_any_other_fails_it_over_every_transport() {
    for way in WAYS {
        for (code, outcome) in [
            (-32700, Effect::Rejected),
            (-32600, Effect::Rejected),
            (-32601, Effect::Rejected),
            (-32602, Effect::Rejected),
            (-32603, Effect::Failed),
            (-32000, Effect::Failed),
            (-32001, Effect::Failed),
            (7, Effect::Failed),
        ] {
            let message = "the session not found, or something like it".to_owned();
            let (server, troupe) = way.to(Script::Error { code, message }).await;
            let error = troupe.call(call()).await.unwrap_err();
            assert!(matches!(error.kind(), CallErrorKind::Rpc(rpc) if rpc.code == code), "{way:?}: {error}");
            assert_eq!((error.effect(), error.attempts()), (outcome, 1), "{way:?} {code}");
            assert_eq!(server.calls("t"), 1, "{way:?} {code}");
            end(troupe).await;
        }
    }
}

#[tokio::test]
async fn a_tool_that_reports_an_error_of_its_own_has_answered_over_every_transport() {
    for way in WAYS.into_iter().filter(|way| *way != Way::ToolExecute) {
        let (server, troupe) = way.to(Script::ToolError("no such row".into())).await;
        assert!(troupe.call(call()).await.unwrap().is_error(), "{way:?}");
        assert_eq!(server.calls("t"), 1, "{way:?}");
        end(troupe).await;
    }
}

/// What a server may do with a call beside answering it.
const ODDITIES: [Script; 7] = [
    Script::Hollow,
    Script::Garbage,
    Script::WrongId,
    Script::NullId,
    Script::Silence,
    Script::Cut,
    Script::Break,
];

#[tokio::test]
async fn whatever_else_a_server_does_with_a_call_is_unknown_and_repeats_nothing_over_every_transport() {
    // A message in memory is whole.
    let breaks = |way, script: &Script| way != Way::Memory || *script != Script::Break;
    let pairs = WAYS.into_iter().flat_map(|way| ODDITIES.map(|script| (way, script)));
    // At once, since most of them are waited for.
    join_all(pairs.filter(|(way, script)| breaks(*way, script)).map(|(way, script)| odd(way, script))).await;
}

/// A server that does this with a call leaves its effect unknown, and gets it once.
async fn odd(way: Way, script: Script) {
    let (server, troupe) = way.to(script.clone()).await;
    let error = troupe.call(call()).await.unwrap_err();
    let expected = match (&script, error.kind()) {
        (Script::Hollow, CallErrorKind::InvalidResponse { .. }) => true,
        (Script::Cut | Script::Break, CallErrorKind::ConnectionLost { sent: true, .. }) => true,
        (Script::Silence, CallErrorKind::DeadlineExceeded { sent: true, .. }) => true,
        // Where all share one line, nothing tells that the answer to this one does not come any more.
        (_, CallErrorKind::DeadlineExceeded { sent: true, .. }) => !way.alone(),
        (_, CallErrorKind::InvalidResponse { .. } | CallErrorKind::ConnectionLost { sent: true, .. }) => {
            way.alone()
        }
        _ => false,
    };
    assert!(expected, "{way:?} {script:?}: {error}");
    assert_eq!((error.effect(), error.attempts()), (Effect::Unknown, 1), "{way:?} {script:?}");
    assert!(!error.retryable(), "{way:?} {script:?}");
    assert_eq!(server.calls("t"), 1, "{way:?} {script:?}: it was repeated");
    end(troupe).await;
}

#[tokio::test]
async fn a_request_over_the_limit_never_arrives_over_any_transport() {
    let small = |settings: &mut Settings| settings.limits.message_bytes_max = 64 << 10;
    let (ws, http) = (
        ScriptedServer::builder().tool("t", Script::Echo).start().await,
        ScriptedServer::builder().tool("t", Script::Echo).http().start().await,
    );
    let child = super::common::child("s", []);
    let ways = [Server::websocket("s", ws.url()), Server::http("s", http.url()), child];
    for (server, tool) in ways.into_iter().zip(["t", "t", "echo"]) {
        let troupe = start_with(small, [server]).await;
        troupe.ready(Readiness::All).await.unwrap();
        let large = Call::tool(tool).args(json!({"x": "y".repeat(70_000)}));
        let error = troupe.call(large).await.unwrap_err();
        assert!(matches!(error.kind(), CallErrorKind::TooLarge { .. }), "{error}");
        assert_eq!((error.effect(), error.attempts()), (Effect::NotSent, 0));
        assert!(troupe.call(Call::tool(tool)).await.is_ok(), "the link is none the worse for it");
        end(troupe).await;
    }
    assert_eq!((ws.calls("t"), http.calls("t")), (1, 1));
}

#[tokio::test]
async fn an_answer_over_the_limit_is_unknown_over_every_transport() {
    let huge = || Script::Reply(format!(r#"{{"content":[],"x":"{}"}}"#, "x".repeat(100_000)));
    let (ws, json, events) = (
        ScriptedServer::builder().tool("t", huge()).start().await,
        ScriptedServer::builder().tool("t", huge()).http().start().await,
        ScriptedServer::builder().tool("t", huge()).http_events().start().await,
    );
    let small = |settings: &mut Settings| settings.limits.message_bytes_max = 64 << 10;
    let ways =
        [Server::websocket("s", ws.url()), Server::http("s", json.url()), Server::http("s", events.url())];
    for (description, server) in ways.into_iter().zip([&ws, &json, &events]) {
        let troupe = start_with(small, [description]).await;
        troupe.ready(Readiness::All).await.unwrap();
        let error = troupe.call(Call::tool("t").timeout(Duration::from_secs(20))).await.unwrap_err();
        assert_eq!((error.effect(), error.attempts()), (Effect::Unknown, 1), "{error}");
        assert_eq!(server.calls("t"), 1);
        end(troupe).await;
    }
}
