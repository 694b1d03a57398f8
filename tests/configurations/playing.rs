//! What a configuration's servers come to in a troupe.

use std::time::Duration;

use mcp_troupe::event::ServerStatus;
use mcp_troupe::testkit::{Script, ScriptedServer};
use mcp_troupe::{Call, CallErrorKind, ConfigFile, Readiness, Troupe};
use serde_json::{Value, json};

use super::common::{echo, end};

async fn scripted() -> ScriptedServer {
    ScriptedServer::builder().tool("echo", Script::Echo).tool("drop", Script::Echo).start().await
}

fn file(servers: Value) -> ConfigFile {
    ConfigFile::parse(&json!({"mcpServers": servers}).to_string()).unwrap()
}

fn stands(troupe: &Troupe) -> Vec<String> {
    troupe.servers().iter().map(|info| format!("{} {}", info.id, info.status)).collect()
}

#[tokio::test]
async fn a_server_that_is_switched_off_is_listed_and_not_dialled() {
    let (on, off) = (scripted().await, scripted().await);
    let described = |disabled: bool| {
        file(json!({"off": {"url": off.url(), "disabled": disabled}, "on": {"url": on.url()}}))
    };
    let troupe = Troupe::builder().config(described(true)).start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    assert_eq!(stands(&troupe), ["off disabled", "on ready"]);
    assert_eq!(off.observed().accepted, 0);
    let applied = troupe.apply(described(false)).await.unwrap();
    assert_eq!(applied.added, ["off"]);
    troupe.ready(Readiness::All).await.unwrap();
    assert_eq!(stands(&troupe), ["off ready", "on ready"]);
    let applied = troupe.apply(described(true)).await.unwrap();
    assert_eq!(applied.removed, ["off"]);
    while stands(&troupe) != ["off disabled", "on ready"] {
        tokio::task::yield_now().await;
    }
    end(troupe).await;
}

#[tokio::test]
async fn a_tool_that_is_left_out_is_unknown_and_comes_back_with_the_configuration() {
    let server = scripted().await;
    let described = |keys: Value| {
        let mut described = json!({"url": server.url()});
        described.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        file(json!({"s": described}))
    };
    for keys in [
        json!({"disabledTools": ["drop"]}),
        json!({"tools": ["echo"]}),
        json!({"includeTools": ["*"], "excludeTools": ["drop"]}),
    ] {
        let troupe = Troupe::builder().config(described(keys)).start().await.unwrap();
        troupe.ready(Readiness::All).await.unwrap();
        let tools: Vec<String> = troupe.tools().iter().map(|tool| tool.name.to_string()).collect();
        assert_eq!(tools, ["echo"]);
        for call in [Call::tool("drop"), Call::tool("s/drop"), Call::tool("drop").server("s")] {
            let error = troupe.call(call).await.unwrap_err();
            assert!(matches!(error.kind(), CallErrorKind::UnknownTool { .. }), "{error}");
        }
        assert!(troupe.call(echo()).await.is_ok());
        let applied = troupe.apply(described(json!({}))).await.unwrap();
        assert_eq!(applied.amended, ["s"], "its connections go on");
        assert!(troupe.call(Call::tool("drop")).await.is_ok());
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_server_whose_description_becomes_wrong_goes_on_by_the_former_one() {
    let server = scripted().await;
    let good = json!({"url": server.url()});
    let troupe = Troupe::builder().config(file(json!({"a": good, "b": good}))).start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let wrong = file(json!({"a": {"url": server.url(), "wieght": 1}, "c": {"url": 7}, "d": good}));
    let applied = troupe.apply(wrong).await.unwrap();
    assert_eq!(
        (applied.left_out, applied.removed, applied.added),
        (vec!["a".parse_id(), "c".parse_id()], vec!["b".parse_id()], vec!["d".parse_id()],)
    );
    assert!(troupe.call(echo().server("a")).await.is_ok());
    // It is removed when the file no longer names it.
    let applied = troupe.apply(file(json!({"d": good}))).await.unwrap();
    assert_eq!(applied.removed, ["a"]);
    end(troupe).await;
}

trait ParseId {
    fn parse_id(&self) -> mcp_troupe::id::ServerId;
}

impl ParseId for str {
    fn parse_id(&self) -> mcp_troupe::id::ServerId {
        mcp_troupe::id::ServerId::new(self).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_disabled_server_holds_up_nobody_who_waits_for_all() {
    let file = file(json!({"off": {"command": "no-such-program", "disabled": true}}));
    let troupe = Troupe::builder().config(file).start().await.unwrap();
    troupe.ready_within(Readiness::All, Duration::from_secs(1)).await.unwrap();
    assert_eq!(troupe.servers()[0].status, ServerStatus::Disabled);
    end(troupe).await;
}
