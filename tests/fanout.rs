//! One call to several servers, over real sockets: the answer of each, and the first success.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{end, event, ready, start};
use mcp_troupe::testkit::{Script, ScriptedServer};
use mcp_troupe::{
    AnyFailure, Call, CallAnyError, CallErrorKind, Deadline, Effect, Event, Readiness, Server, Troupe,
};
use serde_json::json;

async fn scripted(tool: &str, script: Script) -> ScriptedServer {
    ScriptedServer::builder().tool(tool, script).start().await
}

fn call() -> Call {
    Call::tool("work").args(json!({"n": 1}))
}

/// Three servers of three groups that each do something else when they are called.
async fn three(scripts: [Script; 3]) -> (Troupe, [ScriptedServer; 3]) {
    let [one, two, three] = scripts;
    let servers = [scripted("work", one).await, scripted("work", two).await, scripted("work", three).await];
    let [a, b, c] = &servers;
    let troupe = ready([
        Server::websocket("c", c.url()).tag("odd"),
        Server::websocket("a", a.url()).tag("odd"),
        Server::websocket("b", b.url()),
    ])
    .await;
    (troupe, servers)
}

#[tokio::test]
async fn every_server_that_is_picked_answers_for_itself() {
    let denied = Script::Error { code: -32004, message: "no access".into() };
    let (troupe, servers) = three([Script::Echo, denied, Script::ToolError("disk full".into())]).await;
    let answers = troupe.call_all(call()).await.unwrap();
    assert_eq!(answers.keys().map(|id| id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(answers["a"].as_ref().unwrap().server.as_str(), "a");
    assert!(
        matches!(answers["b"].as_ref().unwrap_err().kind(), CallErrorKind::Rpc(error) if error.code == -32004)
    );
    assert!(answers["c"].as_ref().unwrap().is_error());
    let odd = troupe.call_all(call().tag("odd")).await.unwrap();
    assert_eq!(odd.keys().map(|id| id.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(servers.each_ref().map(|server| server.calls("work")), [2, 1, 2]);
    end(troupe).await;
}

#[tokio::test]
async fn servers_that_are_down_have_their_own_error_and_keep_nobody_waiting() {
    let (up, mut fallen) = (scripted("work", Script::Echo).await, scripted("work", Script::Echo).await);
    let refused = ScriptedServer::builder().refuse_upgrade(503).start().await;
    let other = scripted("another", Script::Echo).await;
    let troupe = start([
        Server::websocket("up", up.url()),
        Server::websocket("fallen", fallen.url()),
        Server::websocket("never-up", refused.url()),
        Server::websocket("other", other.url()),
    ])
    .await;
    troupe.ready(Readiness::Quorum(3)).await.unwrap();
    let mut events = troupe.events();
    fallen.stop_listening().await;
    event(
        &mut events,
        |event| matches!(event, Event::ConnectionLost { server, .. } if server.as_str() == "fallen"),
    )
    .await;
    let answers = troupe.call_all(call()).await.unwrap();
    assert_eq!(answers.keys().map(|id| id.as_str()).collect::<Vec<_>>(), ["fallen", "never-up", "up"]);
    assert!(answers["up"].is_ok());
    for down in ["fallen", "never-up"] {
        let error = answers[down].as_ref().unwrap_err();
        let CallErrorKind::Unavailable { servers } = error.kind() else { panic!("{error}") };
        assert_eq!((servers.len(), servers[0].server.as_str()), (1, down));
        assert_eq!(error.effect(), Effect::NotSent);
    }
    end(troupe).await;
}

#[tokio::test]
async fn one_deadline_is_that_of_all() {
    let (troupe, _servers) = three([Script::Echo, Script::Silence, Script::Silence]).await;
    let timeout = Duration::from_millis(200);
    let answers = troupe.call_all(call().timeout(timeout)).await.unwrap();
    assert!(answers["a"].is_ok());
    for silent in ["b", "c"] {
        let kind = answers[silent].as_ref().unwrap_err().kind();
        assert_eq!(*kind, CallErrorKind::DeadlineExceeded { deadline: Deadline::Total, timeout, sent: true });
    }
    end(troupe).await;
}

#[tokio::test]
async fn a_selection_of_nobody_is_an_error_that_names_it() {
    let (troupe, servers) = three([Script::Echo, Script::Echo, Script::Echo]).await;
    let error = troupe.call_all(call().group("a").tag("even")).await.unwrap_err();
    assert_eq!(*error.kind(), CallErrorKind::NoMatch { selector: "group a, tags even".into() });
    let error = troupe.call_any(call().server("nobody")).await.unwrap_err();
    let CallAnyError::Nobody(error) = error else { panic!("{error}") };
    assert_eq!(*error.kind(), CallErrorKind::NoMatch { selector: "server nobody".into() });
    let error = troupe.call_all(Call::tool("wrok")).await.unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::UnknownTool { near, .. } if !near.is_empty()));
    assert_eq!(servers.each_ref().map(|server| server.calls("work")), [0, 0, 0]);
    end(troupe).await;
}

#[tokio::test]
async fn the_first_success_wins_and_the_others_are_called_off() {
    let (troupe, servers) = three([Script::Silence, Script::ToolError("no".into()), Script::Hold]).await;
    let troupe_of_call = troupe.clone();
    let answer = tokio::spawn(async move { troupe_of_call.call_any(call()).await });
    for server in &servers {
        server.wait_for(|seen| seen.calls.contains_key("work")).await;
    }
    servers[2].release();
    assert_eq!(answer.await.unwrap().unwrap().server.as_str(), "c");
    servers[0].wait_for(|seen| seen.cancelled.len() == 1).await;
    end(troupe).await;
}

#[tokio::test]
async fn without_a_success_each_servers_failure_is_told() {
    let denied = Script::Error { code: -32004, message: "no access".into() };
    let (troupe, _servers) = three([Script::Cut, denied, Script::ToolError("disk full".into())]).await;
    let error = troupe.call_any(call()).await.unwrap_err();
    let told = error.to_string();
    let CallAnyError::NoSuccess { failures, .. } = error else { panic!("{error}") };
    assert!(matches!(&failures["a"], AnyFailure::Call(error) if error.effect() == Effect::Unknown));
    assert!(
        matches!(&failures["b"], AnyFailure::Call(error) if matches!(error.kind(), CallErrorKind::Rpc(_)))
    );
    assert!(matches!(&failures["c"], AnyFailure::Tool(_)));
    assert!(
        told.contains("none of 3 servers") && told.contains("c: the tool reported an error: disk full"),
        "{told}"
    );
    end(troupe).await;
}

#[tokio::test]
async fn a_hook_that_gives_another_call_changes_neither_whom_it_goes_to_nor_the_deadline_of_all() {
    let servers = [scripted("work", Script::Echo).await, scripted("work", Script::Hold).await];
    let hook = |_| async { Ok(call().timeout(Duration::from_secs(3600)).affinity("everybody")) };
    let troupe = Troupe::builder().before_call(hook);
    let troupe = troupe.server(Server::websocket("a", servers[0].url()));
    let troupe = troupe.server(Server::websocket("b", servers[1].url())).start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let answers = troupe.call_all(call().timeout(Duration::from_millis(500))).await.unwrap();
    assert_eq!(answers["a"].as_ref().unwrap().server.as_str(), "a");
    let late = answers["b"].as_ref().unwrap_err();
    assert!(matches!(late.kind(), CallErrorKind::DeadlineExceeded { .. }), "{late}");
    assert_eq!(servers.each_ref().map(|server| server.calls("work")), [1, 1]);
    end(troupe).await;
}

#[tokio::test]
async fn dropping_it_calls_all_off() {
    let (troupe, servers) = three([Script::Silence, Script::Silence, Script::Silence]).await;
    let troupe_of_call = troupe.clone();
    let asked = tokio::spawn(async move { troupe_of_call.call_all(call()).await });
    for server in &servers {
        server.wait_for(|seen| seen.calls.contains_key("work")).await;
    }
    asked.abort();
    for server in &servers {
        server.wait_for(|seen| seen.cancelled.len() == 1).await;
    }
    assert_eq!(troupe.stats().await.router.open_calls, 0);
    end(troupe).await;
}

#[tokio::test]
async fn it_may_be_asked_before_any_server_is_ready() {
    let (one, two) = (scripted("work", Script::Echo).await, scripted("work", Script::Echo).await);
    let other = scripted("another", Script::Echo).await;
    let troupe = start([
        Server::websocket("one", one.url()).group("g"),
        Server::websocket("two", two.url()).group("g"),
        Server::websocket("other", other.url()),
    ])
    .await;
    let answers = troupe.call_all(call()).await.unwrap();
    assert_eq!(answers.keys().map(|id| id.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    assert!(answers.values().all(Result::is_ok));
    end(troupe).await;
}

#[tokio::test]
async fn what_a_tool_says_in_a_sentence_steers_no_terminal() {
    let says = Script::ToolError("\u{1b}[2Jgone\r\nERROR: forged line".into());
    let server = ScriptedServer::builder().tool("t", says).start().await;
    let troupe = common::ready([Server::websocket("s", server.url())]).await;
    let error = troupe.call_any(Call::tool("t")).await.unwrap_err();
    let told = error.to_string();
    assert!(!told.contains(char::is_control), "{told:?}");
    common::end(troupe).await;
}
