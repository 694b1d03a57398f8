//! Progress, over real sockets.

use std::time::Duration;

use futures_util::StreamExt;
use mcp_troupe::config::PoolSettings;
use mcp_troupe::testkit::{
    Fault, Script, ScriptedBuilder, ScriptedEra, ScriptedServer, Step, Target, inject,
};
use mcp_troupe::{Call, CallErrorKind, CallUpdate, Dialect, ElicitResult, Event, Readiness, Server, Troupe};
use serde_json::{Value, json};

use super::common::{child, end, event, kind, ready};
use super::{heard, telling, text};

fn builder() -> ScriptedBuilder {
    ScriptedServer::builder()
}

fn legacy() -> ScriptedBuilder {
    ScriptedServer::builder().era(ScriptedEra::Legacy)
}

/// A server, reached over what it speaks.
fn at(id: &str, server: &ScriptedServer) -> Server {
    if server.url().starts_with("http") {
        Server::http(id, server.url())
    } else {
        Server::websocket(id, server.url())
    }
}

#[tokio::test]
async fn progress_comes_before_the_answer_over_each_transport_and_in_both_eras() {
    let half = Step::Progress { progress: 0.5, total: Some(2.0), message: Some("grün".into()) };
    for builder in [
        builder(),
        legacy(),
        builder().http_events(),
        builder().http(),
        legacy().http_events().sessions().listening_stream(),
    ] {
        let server = builder.tool("t", telling([half.clone(), Step::progress(2.0)])).start().await;
        let troupe = ready([at("s", &server)]).await;
        let (updates, answer) = heard(troupe.call_stream(Call::tool("t").args(json!({"n": 1})))).await;
        assert_eq!(updates, ["s/1 0.5 of 2: grün", "s/1 2"]);
        assert_eq!(answer.unwrap().structured::<Value>().unwrap(), json!({"n": 1}));
        assert_eq!(server.observed().progress_asked, 1);
        end(troupe).await;
    }
}

#[tokio::test]
async fn progress_comes_from_a_child_process() {
    let troupe = ready([child("modern", []), child("legacy", ["--legacy"])]).await;
    for server in ["modern", "legacy"] {
        let (updates, answer) = heard(troupe.call_stream(Call::tool("steps").server(server))).await;
        assert_eq!(updates, ["1 of 3", "2 of 3", "3 of 3"].map(|text| format!("{server}/1 {text}")));
        assert!(answer.is_ok());
    }
    end(troupe).await;
}

#[tokio::test]
async fn each_report_is_told_when_it_comes() {
    for builder in [builder(), builder().http_events()] {
        let steps = [Step::progress(1.0), Step::Hold, Step::progress(2.0), Step::Hold];
        let server = builder.tool("t", telling(steps)).start().await;
        let troupe = ready([at("s", &server)]).await;
        let mut stream = troupe.call_stream(Call::tool("t"));
        for expected in [1.0, 2.0] {
            let Some(CallUpdate::Progress(told)) = StreamExt::next(&mut stream).await else { panic!() };
            assert_eq!(told.progress, expected);
            server.release();
        }
        assert!(matches!(stream.next().await, Some(CallUpdate::Answer(Ok(_)))));
        end(troupe).await;
    }
}

#[tokio::test]
async fn calls_at_once_hear_their_own_progress() {
    for builder in [builder(), builder().http_events()] {
        let server = builder
            .tool("one", telling([Step::progress(1.0), Step::Hold, Step::progress(11.0)]))
            .tool("two", telling([Step::progress(2.0), Step::Hold, Step::progress(22.0)]))
            .start()
            .await;
        let troupe = ready([at("s", &server)]).await;
        let mut calls = Vec::new();
        for _ in 0..20 {
            for (tool, expected) in [("one", ["s/1 1", "s/1 11"]), ("two", ["s/1 2", "s/1 22"])] {
                let stream = troupe.call_stream(Call::tool(tool));
                calls.push((tokio::spawn(heard(stream)), expected));
            }
        }
        server.wait_for(|seen| seen.calls.values().sum::<u64>() == 40).await;
        server.release();
        for (call, expected) in calls {
            assert_eq!(call.await.unwrap().0, expected);
        }
        end(troupe).await;
    }
}

#[tokio::test]
async fn who_does_not_listen_asks_for_no_progress() {
    for builder in [builder(), legacy()] {
        let server = builder.tool("t", telling([Step::progress(1.0)])).start().await;
        let troupe = ready([at("s", &server)]).await;
        let own = Call::tool("t").meta(json!({"progressToken": 1, "traceparent": "00-1"}));
        assert!(troupe.call(own).await.is_ok());
        assert_eq!(server.observed().progress_asked, 0);
        assert!(troupe.call(Call::tool("t").idle_timeout(Duration::from_secs(60))).await.is_ok());
        assert_eq!(server.observed().progress_asked, 1);
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_dialect_without_progress_streams_the_answer_alone() {
    let server =
        builder().dialect(Dialect::ToolExecute).tool("t", telling([Step::progress(1.0)])).start().await;
    let troupe = ready([at("s", &server).dialect(Dialect::ToolExecute)]).await;
    let (updates, answer) = heard(troupe.call_stream(Call::tool("t"))).await;
    assert!(updates.is_empty() && answer.is_ok());
    assert_eq!(server.observed().progress_asked, 0);
    end(troupe).await;
}

#[tokio::test]
async fn a_stream_that_is_dropped_cancels_its_call_and_the_server_is_told() {
    for builder in [builder(), legacy(), builder().http_events(), legacy().http_events()] {
        let server = builder.tool("t", telling([Step::progress(1.0), Step::Hold])).start().await;
        let troupe = ready([at("s", &server)]).await;
        let mut stream = troupe.call_stream(Call::tool("t"));
        assert!(matches!(stream.next().await, Some(CallUpdate::Progress(_))));
        drop(stream);
        server.wait_for(|seen| !seen.cancelled.is_empty()).await;
        assert_eq!(troupe.stats().await.router.open_calls, 0);
        end(troupe).await;
    }
}

#[tokio::test]
async fn an_error_is_the_last_that_a_stream_tells() {
    let server = builder().tool("t", Script::Error { code: -32603, message: "no".into() }).start().await;
    let troupe = ready([at("s", &server)]).await;
    assert!(matches!(kind(heard(troupe.call_stream(Call::tool("t"))).await.1), CallErrorKind::Rpc(_)));
    assert!(matches!(
        kind(troupe.call_stream(Call::tool("unknown")).answer().await),
        CallErrorKind::UnknownTool { .. }
    ));
    end(troupe).await;
}

#[tokio::test]
async fn a_call_that_is_made_once_more_tells_which_attempt_its_progress_is_of() {
    for builder in [builder(), builder().http_events()] {
        let steps = vec![Step::progress(1.0), Step::progress(2.0), Step::Hold];
        let first = Script::Tell { steps, next: Script::Cut.into() };
        let again = telling([Step::progress(1.0)]);
        let server = builder.tool("t", Script::Sequence(vec![first, again])).start().await;
        let troupe = ready([at("s", &server)]).await;
        let mut stream = troupe.call_stream(Call::tool("t").idempotent());
        let mut updates =
            [stream.next().await.unwrap(), stream.next().await.unwrap()].map(|update| text(&update)).to_vec();
        server.release();
        let (rest, answer) = heard(stream).await;
        updates.extend(rest);
        assert_eq!(updates, ["s/1 1", "s/1 2", "s/2 1"]);
        assert_eq!(answer.unwrap().attempts, 2);
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_call_over_a_lease_tells_its_progress() {
    let server = builder().tool("t", telling([Step::progress(1.0)])).start().await;
    let troupe = ready([at("s", &server)]).await;
    let lease = troupe.lease("s").await.unwrap();
    let (updates, answer) = heard(lease.call_stream(Call::tool("t"))).await;
    assert_eq!(updates, ["s/1 1"]);
    assert!(answer.is_ok());
    drop(lease);
    end(troupe).await;
}

#[tokio::test]
async fn progress_that_belongs_to_no_call_reaches_none_and_is_counted() {
    let progress = |token: Value| {
        let params = json!({"progressToken": token, "progress": 99});
        Step::Say(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}).to_string())
    };
    let strays = [progress(json!(4242)), progress(json!("abc")), progress(json!(0)), progress(Value::Null)];
    let server = builder()
        .tool("strays", telling(strays))
        // What is told after the answer is too late.
        .tool(
            "late",
            Script::Sequence(vec![Script::Tell {
                steps: vec![Step::Say(
                    r#"{"jsonrpc":"2.0","method":"notifications/progress","params":7}"#.into(),
                )],
                next: Script::Double.into(),
            }]),
        )
        .tool("shrinking", telling([2.0, 1.0, 2.0, 3.0].map(Step::progress)))
        .start()
        .await;
    let troupe = ready([at("s", &server)]).await;
    assert!(heard(troupe.call_stream(Call::tool("strays"))).await.0.is_empty());
    assert!(heard(troupe.call_stream(Call::tool("late"))).await.0.is_empty());
    // What breaks the rule that it grows is told as it came, and counted.
    let (updates, _) = heard(troupe.call_stream(Call::tool("shrinking"))).await;
    assert_eq!(updates, ["s/1 2", "s/1 1", "s/1 2", "s/1 3"]);
    let stats = troupe.stats().await;
    assert_eq!(stats.servers[0].outcomes["stray-notice"], 4 + 1 + 2);
    end(troupe).await;
}

#[tokio::test]
async fn a_stream_whose_router_ends_before_its_call_was_sent_goes_on_with_the_next_router() {
    let server = builder().tool("hold", Script::Hold).tool("t", telling([Step::progress(1.0)])).start().await;
    let mut pool = PoolSettings::default();
    (pool.max, pool.in_flight_max) = (1, 1);
    let troupe = ready([at("s", &server).pool(pool)]).await;
    let mut events = troupe.events();
    let before = tokio::spawn(troupe.call(Call::tool("hold")));
    server.wait_for(|seen| seen.calls.contains_key("hold")).await;
    let call = tokio::spawn(heard(troupe.call_stream(Call::tool("t"))));
    while troupe.stats().await.router.open_calls < 2 {
        tokio::task::yield_now().await;
    }
    inject(&troupe, Target::Router, Fault::Kill).await.unwrap();
    event(&mut events, |event| matches!(event, Event::RouterRestarted { .. })).await;
    assert!(matches!(kind(before.await.unwrap()), CallErrorKind::Interrupted));
    let (updates, answer) = call.await.unwrap();
    assert_eq!(updates, ["s/1 1"]);
    assert!(answer.is_ok());
    end(troupe).await;
}

#[tokio::test]
async fn a_call_that_is_made_again_with_answers_tells_the_progress_of_each_round() {
    let requests = r#"{"k":{"method":"elicitation/create","params":{"message":"?","requestedSchema":{}}}}"#;
    let asks = Script::AskBack { requests: requests.into(), state: None };
    let script = Script::Tell { steps: vec![Step::progress(1.0)], next: asks.into() };
    let server = builder().tool("t", script).start().await;
    let troupe =
        Troupe::builder().server(at("s", &server)).on_elicitation(|_| async { Ok(ElicitResult::Decline) });
    let troupe = troupe.start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let (updates, answer) = heard(troupe.call_stream(Call::tool("t"))).await;
    assert_eq!(updates, ["s/1 1", "s/1 1"]);
    assert_eq!(answer.unwrap().structured::<Value>().unwrap()["responses"]["k"]["action"], "decline");
    end(troupe).await;
}
