//! What servers log: about a call where that is certain, and otherwise as an event.

use mcp_troupe::testkit::{ScriptedBuilder, ScriptedEra, ScriptedServer, Step};
use mcp_troupe::{Call, Event, LogLevel, Server};
use serde_json::{Value, json};

use super::common::{end, event, ready};
use super::{account, heard, telling};

fn log(level: &str, data: Value) -> Step {
    Step::Log { level: level.to_owned(), data }
}

fn http() -> [ScriptedBuilder; 2] {
    let legacy = ScriptedServer::builder().era(ScriptedEra::Legacy);
    [ScriptedServer::builder().http_events(), legacy.http_events().sessions().listening_stream()]
}

#[tokio::test]
async fn over_http_a_log_message_belongs_to_the_call_on_whose_answer_it_came() {
    for builder in http() {
        let server = builder
            .tool("one", telling([log("info", json!("one")), Step::Hold, log("error", json!({"n": 1.5}))]))
            .tool("two", telling([log("info", json!("two")), Step::Hold, log("error", json!([2]))]))
            .start()
            .await;
        let troupe = ready([Server::http("s", server.url())]).await;
        let call = |tool| tokio::spawn(heard(troupe.call_stream(Call::tool(tool).log_level(LogLevel::Info))));
        let (one, two) = (call("one"), call("two"));
        server.wait_for(|seen| seen.calls.len() == 2).await;
        server.release();
        assert_eq!(one.await.unwrap().0, [r#"s/1 info "one""#, r#"s/1 error {"n":1.5}"#]);
        assert_eq!(two.await.unwrap().0, [r#"s/1 info "two""#, "s/1 error [2]"]);
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_modern_server_is_told_the_level_and_of_a_legacy_one_what_is_below_it_is_left_out() {
    let levels = ["debug", "notice", "critical"].map(|level| log(level, json!(level)));
    for (builder, told_level) in http().into_iter().zip([true, false]) {
        let server = builder.tool("t", telling(levels.clone())).start().await;
        let troupe = ready([Server::http("s", server.url())]).await;
        let (updates, _) = heard(troupe.call_stream(Call::tool("t").log_level(LogLevel::Notice))).await;
        assert_eq!(updates, [r#"s/1 notice "notice""#, r#"s/1 critical "critical""#]);
        assert_eq!(server.observed().log_levels == ["notice"], told_level);
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_log_message_that_names_no_call_is_told_as_the_servers() {
    let long = "x".repeat(10_000);
    let steps = [log("warning", json!("disk\nfull")), log("info", json!({"x": long}))];
    let websocket = ScriptedServer::builder().tool("t", telling(steps.clone())).start().await;
    let http = ScriptedServer::builder().http_events().tool("t", telling(steps)).start().await;
    let troupe =
        ready([Server::websocket("shared", websocket.url()), Server::http("http", http.url())]).await;
    let mut events = troupe.events();
    // Over a WebSocket nobody can tell whose it is; over HTTP nobody listens.
    assert!(heard(troupe.call_stream(Call::tool("t").server("shared"))).await.0.is_empty());
    assert!(troupe.call(Call::tool("t").server("http")).await.is_ok());
    for expected in ["shared", "shared", "http", "http"] {
        let told = event(&mut events, |event| matches!(event, Event::ServerLogged { .. })).await;
        let Event::ServerLogged { server, level, text, missed: 0, .. } = told else { panic!("{told:?}") };
        assert_eq!(server, expected);
        match level {
            LogLevel::Warning => assert_eq!(text, "disk\nfull"),
            _ => assert!(text.starts_with(r#"{"x":"xxx"#) && text.len() == 4096),
        }
    }
    end(troupe).await;
}

#[tokio::test]
async fn what_a_server_logged_before_its_answer_can_be_read_at_once_after_that() {
    let steps = [log("warning", json!("before"))];
    let server = ScriptedServer::builder().tool("t", telling(steps)).start().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let mut events = troupe.events();
    for n in 0..50 {
        troupe.call(Call::tool("t")).await.unwrap();
        let told = events.drain().await;
        let logs = told.iter().filter(|event| matches!(event, Event::ServerLogged { .. }));
        assert_eq!(logs.count(), 1, "{n}: {told:?}");
    }
    end(troupe).await;
}

#[tokio::test]
async fn a_message_that_is_too_large_for_a_stream_is_missed() {
    let steps = [log("info", json!("x".repeat(70_000))), log("info", json!(1))];
    let server = ScriptedServer::builder().http_events().tool("t", telling(steps)).start().await;
    let troupe = ready([Server::http("s", server.url())]).await;
    let (updates, answer) = heard(troupe.call_stream(Call::tool("t"))).await;
    assert_eq!(updates, ["1 missed", "s/1 info 1"]);
    assert!(answer.is_ok());
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_logs_without_end_fills_no_stream_of_events() {
    let flood = (0..5_000).map(|n| log("debug", json!(n)));
    let last = [Step::Pause(std::time::Duration::from_secs(60)), log("debug", json!("last"))];
    let builder = ScriptedServer::builder().tool("t", telling(flood.chain(last).collect::<Vec<_>>()));
    let (_server, connector) = builder.start_in_memory();
    let builder = mcp_troupe::Troupe::builder().server_via(Server::custom("s"), connector);
    let troupe = builder.start().await.unwrap();
    let mut events = troupe.events();
    let call =
        tokio::spawn(heard(troupe.call_stream(Call::tool("t").timeout(std::time::Duration::from_secs(90)))));
    let (mut told, mut lost) = (0, 0);
    loop {
        let logged = event(&mut events, |event| matches!(event, Event::ServerLogged { .. })).await;
        let Event::ServerLogged { text, missed, .. } = logged else { unreachable!() };
        (told, lost) = (told + 1, lost + missed);
        if text == "last" {
            break;
        }
    }
    assert_eq!(told + lost, 5_001);
    assert!(told < 200, "{told} were told");
    assert_eq!(account(&call.await.unwrap().0), (0, 0));
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn of_a_burst_before_an_answer_the_last_message_is_told_with_how_many_were_not() {
    for burst in [1, 100, 101, 102, 300] {
        let steps: Vec<Step> = (1..=burst).map(|n| log("info", json!(n))).collect();
        let (_server, connector) = ScriptedServer::builder().tool("t", telling(steps)).start_in_memory();
        let builder = mcp_troupe::Troupe::builder().server_via(Server::custom("s"), connector);
        let troupe = builder.start().await.unwrap();
        let mut events = troupe.events();
        troupe.call(Call::tool("t")).await.unwrap();
        let told = events.drain().await;
        let logs = told.iter().filter_map(|event| match event {
            Event::ServerLogged { text, missed, .. } => Some((text.clone(), *missed)),
            _ => None,
        });
        let logs: Vec<(String, u64)> = logs.collect();
        let missed: u64 = logs.iter().map(|(_, missed)| missed).sum();
        assert_eq!(logs.len() as u64 + missed, burst, "{burst}: {logs:?}");
        assert_eq!(logs.last().unwrap().0, burst.to_string());
        end(troupe).await;
    }
}
