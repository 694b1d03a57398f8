//! What the testkit's scripted server keeps for whom, and how it fails over HTTP.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod common;

use common::{end, kind, ready};
use mcp_troupe::testkit::{Script, ScriptedBuilder, ScriptedEra, ScriptedServer};
use mcp_troupe::{Call, CallErrorKind, Lease, Server, Troupe};
use serde_json::{Value, json};

fn keeping() -> ScriptedBuilder {
    ScriptedServer::builder().tool("keep", Script::Keep).tool("kept", Script::Kept)
}

async fn on(lease: &Lease, tool: &str, n: u64) -> Value {
    lease.call(Call::tool(tool).args(json!({"n": n}))).await.unwrap().structured().unwrap()
}

async fn shared(troupe: &Troupe, n: u64) -> Value {
    troupe.call(Call::tool("kept").args(json!({"n": n}))).await.unwrap().structured().unwrap()
}

async fn each_lease_has_its_own(troupe: Troupe) {
    let (one, two) = (troupe.lease("s").await.unwrap(), troupe.lease("s").await.unwrap());
    assert_eq!(on(&one, "keep", 1).await, json!({"now": {"n": 1}, "before": null}));
    assert_eq!(on(&two, "keep", 2).await, json!({"now": {"n": 2}, "before": null}));
    assert_eq!(on(&one, "keep", 3).await["before"], json!({"n": 1}));
    assert_eq!(on(&one, "kept", 4).await["before"], json!({"n": 3}));
    assert_eq!(on(&two, "kept", 5).await["before"], json!({"n": 2}));
    assert_eq!(shared(&troupe, 6).await, json!({"now": {"n": 6}, "before": null}));
    end(troupe).await;
}

#[tokio::test]
async fn what_is_kept_belongs_to_a_connection_or_to_a_session() {
    let server = keeping().start().await;
    each_lease_has_its_own(ready([Server::websocket("s", server.url())]).await).await;
    server.wait_for(|seen| seen.kept.is_empty()).await;
    let server = keeping().era(ScriptedEra::Legacy).sessions().start().await;
    each_lease_has_its_own(ready([Server::http("s", server.url())]).await).await;
    server.forget_sessions();
    assert!(server.observed().kept.is_empty(), "it goes with the session");
}

#[tokio::test]
async fn without_a_session_nothing_is_kept() {
    let server = keeping().http().start().await;
    let troupe = ready([Server::http("s", server.url())]).await;
    let lease = troupe.lease("s").await.unwrap();
    on(&lease, "keep", 1).await;
    assert_eq!(on(&lease, "kept", 2).await["before"], Value::Null);
    drop(lease);
    end(troupe).await;
}

#[tokio::test]
async fn a_status_comes_with_an_error_that_answers_the_call() {
    let fails = Script::Status { status: 500, code: -32000, message: "it broke".to_owned() };
    let builder = || ScriptedServer::builder().tool("fail", fails.clone());
    let (http, websocket) = (builder().http().start().await, builder().start().await);
    for server in [Server::http("s", http.url()), Server::websocket("s", websocket.url())] {
        let troupe = ready([server]).await;
        let CallErrorKind::Rpc(error) = kind(troupe.call(Call::tool("fail")).await) else {
            panic!("the server answered")
        };
        assert_eq!((error.code, error.message.as_str()), (-32000, "it broke"));
        end(troupe).await;
    }
    assert_eq!((http.calls("fail"), websocket.calls("fail")), (1, 1));
}
