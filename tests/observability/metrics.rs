//! Metrics, as Prometheus reads them.

use std::time::Duration;

use mcp_troupe::testkit::{Fault, Script, Target, inject};
use mcp_troupe::{Call, Event};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use super::common::{end, event};
use super::in_memory;

/// The value of the series `name{labels}`, if there is one.
fn value(scraped: &PrometheusHandle, series: &str) -> Option<f64> {
    let text = scraped.render();
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map(|value| value.parse().unwrap())
}

#[track_caller]
fn has<const N: usize>(scraped: &PrometheusHandle, series: [(&str, f64); N]) {
    for (name, expected) in series {
        assert_eq!(value(scraped, name), Some(expected), "{name} in\n{}", scraped.render());
    }
}

/// Longer than gauges take to be written.
async fn written() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

#[tokio::test(start_paused = true)]
async fn calls_and_attempts_are_counted_by_their_outcome() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let (scraped, _recording) = (recorder.handle(), metrics::set_default_local_recorder(&recorder));
    let broken = Script::Error { code: -32603, message: "broken".into() };
    let flaky = Script::Sequence(vec![Script::Cut, Script::Echo]);
    let tools = [("echo", Script::Echo), ("broken", broken), ("flaky", flaky), ("twice", Script::Double)];
    let (_server, troupe) = in_memory(tools, |_| ()).await;
    for _ in 0..3 {
        troupe.call(Call::tool("echo")).await.unwrap();
    }
    troupe.call(Call::tool("broken")).await.unwrap_err();
    troupe.call(Call::tool("a-name-of-the-hosts")).await.unwrap_err();
    troupe.call(Call::tool("flaky").idempotent()).await.unwrap();
    troupe.call(Call::tool("twice")).await.unwrap();
    written().await;
    has(
        &scraped,
        [
            (r#"mcp_troupe_calls_total{request="tool",group="group",tool="echo",outcome="ok"}"#, 3.0),
            (
                r#"mcp_troupe_calls_total{request="tool",group="group",tool="broken",outcome="rpc-error"}"#,
                1.0,
            ),
            (r#"mcp_troupe_calls_total{request="tool",group="",tool="",outcome="unknown-tool"}"#, 1.0),
            (r#"mcp_troupe_calls_total{request="tool",group="group",tool="flaky",outcome="ok"}"#, 1.0),
            (r#"mcp_troupe_call_duration_seconds_count{request="tool",group="group",tool="echo"}"#, 3.0),
            (r#"mcp_troupe_attempts_total{server="s",outcome="ok"}"#, 5.0),
            (r#"mcp_troupe_attempts_total{server="s",outcome="connection-lost"}"#, 1.0),
            (r#"mcp_troupe_attempt_duration_seconds_count{server="s"}"#, 7.0),
            (r#"mcp_troupe_late_answers_total{server="s"}"#, 1.0),
            ("mcp_troupe_retries_total", 1.0),
            ("mcp_troupe_hedges_total", 0.0),
        ],
    );
    assert!(!scraped.render().contains("a-name-of-the-hosts"), "what callers write is no label");
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_open_and_what_waits_is_shown_and_what_is_shed_counted() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let (scraped, _recording) = (recorder.handle(), metrics::set_default_local_recorder(&recorder));
    let (server, troupe) = in_memory([("hold", Script::Hold)], |settings| {
        settings.pool.max = 1;
        settings.pool.in_flight_max = 1;
        settings.mailbox.capacity = 2;
    })
    .await;
    let calls: Vec<_> = (0..5).map(|_| tokio::spawn(troupe.call(Call::tool("hold")))).collect();
    server.wait_for(|seen| seen.calls.contains_key("hold")).await;
    written().await;
    has(
        &scraped,
        [
            ("mcp_troupe_open_calls", 3.0),
            (r#"mcp_troupe_queued_calls{priority="normal"}"#, 2.0),
            (r#"mcp_troupe_queued_calls{priority="high"}"#, 0.0),
            (r#"mcp_troupe_shed_calls_total{request="tool",group="group",tool="hold"}"#, 2.0),
        ],
    );
    calls.iter().for_each(|call| call.abort());
    written().await;
    has(&scraped, [("mcp_troupe_open_calls", 0.0), (r#"mcp_troupe_queued_calls{priority="normal"}"#, 0.0)]);
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn where_a_server_stands_is_shown_through_crashes_trips_and_its_leave() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let (scraped, _recording) = (recorder.handle(), metrics::set_default_local_recorder(&recorder));
    let (_server, troupe) = in_memory([("echo", Script::Echo)], |_| ()).await;
    has(
        &scraped,
        [
            (r#"mcp_troupe_server_up{server="s"}"#, 1.0),
            (r#"mcp_troupe_server_status{server="s",status="ready"}"#, 1.0),
            (r#"mcp_troupe_server_status{server="s",status="connecting"}"#, 0.0),
            (r#"mcp_troupe_connections{server="s"}"#, 1.0),
            (r#"mcp_troupe_breaker_state{server="s",state="closed"}"#, 1.0),
        ],
    );
    let mut events = troupe.events();
    inject(&troupe, Target::server("s"), Fault::Kill).await.unwrap();
    event(&mut events, |event| matches!(event, Event::ServerDown { .. })).await;
    troupe.ready(mcp_troupe::Readiness::All).await.unwrap();
    troupe.call(Call::tool("echo")).await.unwrap();
    troupe.breaker("s").force_open().await.unwrap();
    has(
        &scraped,
        [
            (r#"mcp_troupe_server_restarts_total{server="s"}"#, 1.0),
            (r#"mcp_troupe_server_up{server="s"}"#, 1.0),
            (r#"mcp_troupe_connections{server="s"}"#, 1.0),
            (r#"mcp_troupe_breaker_state{server="s",state="forced-open"}"#, 1.0),
            (r#"mcp_troupe_breaker_state{server="s",state="closed"}"#, 0.0),
            (r#"mcp_troupe_breaker_transitions_total{server="s",to="forced-open",reason="ordered"}"#, 1.0),
        ],
    );
    inject(&troupe, Target::Router, Fault::Kill).await.unwrap();
    event(&mut events, |event| matches!(event, Event::RouterRestarted { .. })).await;
    has(&scraped, [("mcp_troupe_router_restarts_total", 1.0)]);
    troupe.unregister("s").await.unwrap();
    event(&mut events, |event| matches!(event, Event::ServerUnregistered { .. })).await;
    has(
        &scraped,
        [
            (r#"mcp_troupe_server_up{server="s"}"#, 0.0),
            (r#"mcp_troupe_server_status{server="s",status="draining"}"#, 0.0),
            (r#"mcp_troupe_connections{server="s"}"#, 0.0),
            (r#"mcp_troupe_breaker_state{server="s",state="forced-open"}"#, 0.0),
        ],
    );
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn every_series_is_described_with_its_unit_as_the_table_has_it() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let (scraped, _recording) = (recorder.handle(), metrics::set_default_local_recorder(&recorder));
    let (_server, troupe) = in_memory([("echo", Script::Echo)], |_| ()).await;
    troupe.call(Call::tool("echo")).await.unwrap();
    written().await;
    let text = scraped.render();
    let table = include_str!("../../src/observability.rs");
    let mut shown = 0;
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let name = line.split(['{', ' ']).next().unwrap();
        let name = name.trim_end_matches("_count").trim_end_matches("_sum");
        assert!(table.contains(&format!("| `{name}` |")), "{name} is not in the table");
        assert!(text.contains(&format!("# HELP {name} ")), "{name} is not described");
        shown += 1;
    }
    assert!(shown > 10, "{text}");
    end(troupe).await;
}
