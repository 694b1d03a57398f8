//! Plans of dependent calls, over real sockets.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod common;

use common::{end, ready};
use mcp_troupe::testkit::{Script, ScriptedServer};
use mcp_troupe::{Call, Plan, PlanError, Server, StepOutcome, Troupe};
use serde_json::{Value, json};

/// A database, a folder and a messenger, each a server of its own.
async fn three() -> (Troupe, [ScriptedServer; 3]) {
    let users = r#"{"content": [{"type": "text", "text": "two"}], "structuredContent": {"rows": [{"id": 7}, {"id": 9}]}}"#;
    let denied = Script::Error { code: -32004, message: "no access".into() };
    let servers = [
        ScriptedServer::builder().tool("query", Script::Reply(users.into())).start().await,
        ScriptedServer::builder().tool("write", Script::Echo).tool("hold", Script::Hold).start().await,
        ScriptedServer::builder().tool("notify", Script::Echo).tool("deny", denied).start().await,
    ];
    let [db, files, messenger] = &servers;
    let troupe = ready([
        Server::websocket("db", db.url()),
        Server::websocket("files", files.url()),
        Server::websocket("messenger", messenger.url()),
    ])
    .await;
    (troupe, servers)
}

#[tokio::test]
async fn steps_take_values_of_earlier_results() {
    let (troupe, _servers) = three().await;
    let rows = json!({"$from": "users", "pointer": "/structuredContent/rows"});
    let last = json!({"$from": "file", "pointer": "/structuredContent/content/1/id"});
    let plan = Plan::new()
        .step("message", Call::tool("notify").args(json!({"text": ["the last is", last]})))
        .step("file", Call::tool("write").args(json!({"path": "users.json", "content": rows})))
        .step("users", Call::tool("query").args(json!({"sql": "SELECT id FROM users"})));
    let outcome = troupe.run(plan).await.unwrap();
    assert!(outcome.is_success());
    assert_eq!(outcome.steps().map(|(name, _)| name).collect::<Vec<_>>(), ["message", "file", "users"]);
    let message = outcome.step("message").unwrap().reply().unwrap();
    assert_eq!(message.structured::<Value>().unwrap(), json!({"text": ["the last is", 9]}));
    end(troupe).await;
}

#[tokio::test]
async fn steps_that_do_not_depend_on_each_other_are_made_at_once() {
    let (troupe, servers) = three().await;
    let plan = Plan::new().step("one", Call::tool("hold")).step("two", Call::tool("hold"));
    let of_plan = troupe.clone();
    let run = tokio::spawn(async move { of_plan.run(plan).await });
    servers[1].wait_for(|seen| seen.calls.get("hold") == Some(&2)).await;
    servers[1].release();
    assert!(run.await.unwrap().unwrap().is_success());
    end(troupe).await;
}

#[tokio::test]
async fn a_failed_step_fails_those_that_wait_and_the_others_go_on() {
    let (troupe, servers) = three().await;
    let plan = Plan::new()
        .step("denied", Call::tool("deny"))
        .step("waits", Call::tool("write").args(json!({"x": {"$from": "denied"}})))
        .step("users", Call::tool("query"))
        .step("lost", Call::tool("notify").args(json!({"x": {"$from": "users", "pointer": "/nothing"}})))
        .step("free", Call::tool("notify"));
    let outcome = troupe.run(plan).await.unwrap();
    assert!(matches!(outcome.step("denied"), Some(StepOutcome::Failed(_))));
    assert!(
        matches!(outcome.step("waits"), Some(StepOutcome::Skipped { because_of }) if because_of == "denied")
    );
    assert!(matches!(outcome.step("users"), Some(StepOutcome::Done(_))));
    assert!(matches!(outcome.step("lost"), Some(StepOutcome::MissingValue { .. })));
    assert!(matches!(outcome.step("free"), Some(StepOutcome::Done(_))));
    assert_eq!((servers[1].calls("write"), servers[2].calls("notify")), (0, 1));
    end(troupe).await;
}

#[tokio::test]
async fn of_a_plan_that_is_none_nothing_is_sent() {
    let (troupe, servers) = three().await;
    let plan = Plan::new()
        .step("users", Call::tool("query"))
        .step("write", Call::tool("write").args(json!({"x": {"$from": "usres"}})));
    let error = troupe.run(plan).await.unwrap_err();
    assert_eq!(error, PlanError::UnknownStep { step: "write".into(), from: "usres".into() });
    assert_eq!(servers[0].calls("query"), 0);
    end(troupe).await;
}

#[tokio::test]
async fn dropping_it_calls_off_what_is_open_and_makes_no_more() {
    let (troupe, servers) = three().await;
    let plan =
        Plan::new().step("held", Call::tool("hold")).step("next", Call::tool("write")).after("next", "held");
    let of_plan = troupe.clone();
    let run = tokio::spawn(async move { of_plan.run(plan).await });
    servers[1].wait_for(|seen| seen.calls.contains_key("hold")).await;
    run.abort();
    servers[1].wait_for(|seen| seen.cancelled.len() == 1).await;
    assert_eq!(servers[1].calls("write"), 0);
    end(troupe).await;
}
