//! Over Streamable HTTP.

use mcp_troupe::{Call, EraChoice, Event, Server};
use serde_json::json;
use tokio::task::JoinSet;

use super::common::{end, event};
use super::{everything_holds, is_modern, long_operation_holds, ready, servers, time_holds};

#[tokio::test]
async fn server_everything_answers_whether_its_era_is_probed_or_known() {
    let Some(npm) = servers::npm() else { return };
    let everything = npm.everything_over_http().await;
    let troupe = ready([
        Server::http("auto", everything.url()),
        Server::http("legacy", everything.url()).era(EraChoice::Legacy),
    ])
    .await;
    for server in ["auto", "legacy"] {
        everything_holds(&troupe, server).await;
    }
    end(troupe).await;
}

#[tokio::test]
async fn a_server_that_was_killed_and_started_again_is_met_in_a_new_session() {
    let Some(npm) = servers::npm() else { return };
    let mut everything = npm.everything_over_http().await;
    let troupe = ready([Server::http("everything", everything.url())]).await;
    let mut events = troupe.events();
    everything_holds(&troupe, "everything").await;
    everything.kill().await;
    event(&mut events, |event| matches!(event, Event::ConnectionLost { .. })).await;
    let _successor = everything.again().await;
    event(
        &mut events,
        |event| matches!(event, Event::ServerStatusChanged { to, .. } if to.to_string() == "ready"),
    )
    .await;
    everything_holds(&troupe, "everything").await;
    end(troupe).await;
}

#[tokio::test]
async fn mcp_server_time_answers_in_the_era_that_was_chosen_and_in_the_modern_one_by_itself() {
    let Some(python) = servers::python_2() else { return };
    let time = python.time_over_http().await;
    let troupe = ready([
        Server::http("auto", time.url()),
        Server::http("modern", time.url()).era(EraChoice::Modern),
        Server::http("legacy", time.url()).era(EraChoice::Legacy),
    ])
    .await;
    for (server, modern) in [("auto", true), ("modern", true), ("legacy", false)] {
        assert_eq!(is_modern(&time_holds(&troupe, server).await), modern, "{server}");
    }
    end(troupe).await;
}

#[tokio::test]
async fn a_long_operation_tells_its_progress_before_its_answer() {
    let Some(npm) = servers::npm() else { return };
    let everything = npm.everything_over_http().await;
    let troupe = ready([Server::http("everything", everything.url())]).await;
    long_operation_holds(&troupe).await;
    end(troupe).await;
}

#[tokio::test]
async fn a_hundred_calls_at_once_get_their_own_answers() {
    let Some(npm) = servers::npm() else { return };
    let everything = npm.everything_over_http().await;
    let troupe = ready([Server::http("everything", everything.url())]).await;
    let mut calls = JoinSet::new();
    for n in 0..100 {
        let call = troupe.call(Call::tool("echo").args(json!({"message": n.to_string()})));
        calls.spawn(async move { (n, call.await.unwrap().text().unwrap()) });
    }
    for (n, answer) in calls.join_all().await {
        assert_eq!(answer, format!("Echo: {n}"));
    }
    end(troupe).await;
}
