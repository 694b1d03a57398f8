//! Chaos, as a program: kills of everything and orders under load, and the account of every call.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

#[path = "../../tests/common/mod.rs"]
mod common;

use common::program;
use serde_json::{Value, json};

/// Plays a run and reads its report.
async fn report(arguments: &[&str]) -> Value {
    let output = program("chaos").args(arguments).arg("--json").output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "nothing but ordered panics happened");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.success(), violations(&report).is_empty(), "{report:#}");
    report
}

/// What was violated.
fn violations(report: &Value) -> Vec<&'static str> {
    let counted = [
        "lost",
        "doubled",
        "untrue",
        "executed_twice",
        "crossed",
        "late",
        "not_recovered",
        "left_callers",
        "left_leases",
        "left_open",
        "left_actors",
        "left_tasks",
    ];
    let counted = counted.into_iter().filter(|violation| report[violation] != json!(0));
    let listed = ["unanswering", "silent"].into_iter().filter(|violation| report[violation] != json!([]));
    let hangs = (report["hangs"] != json!(false)).then_some("hangs");
    counted.chain(listed).chain(hangs).collect()
}

#[tokio::test]
async fn calls_under_kills_and_orders_are_each_answered_once_and_truly() {
    let report = report(&["--calls", "20000", "--seed", "7"]).await;
    assert_eq!(violations(&report), Vec::<&str>::new(), "{report:#}");
    let answers = report["answers"].as_u64().unwrap() + report["cancelled"].as_u64().unwrap();
    assert_eq!(answers, 20_000);
    assert!(report["leases"].as_u64().unwrap() > 0 && report["deeds_total"].as_u64().unwrap() > 0);
}

/// A long run meets each deed by chance, a short one by order.
#[tokio::test]
async fn each_deed_is_done_and_recovered_from() {
    let deeds = [
        "connection",
        "server-actor",
        "router",
        "registry",
        "server",
        "line",
        "sessions",
        "drain",
        "replace",
        "reregister",
        "amend",
        "move",
        "leave",
    ];
    for deed in deeds {
        let arguments =
            ["--calls", "2000", "--seed", "7", "--concurrency", "32", "--every", "5ms", "--deeds"];
        let report = report(&[&arguments[..], &[deed]].concat()).await;
        assert_eq!(violations(&report), Vec::<&str>::new(), "{deed}: {report:#}");
        assert!(report["deeds"][deed]["deeds"].as_u64().unwrap() > 0, "{deed}: {report:#}");
    }
}

#[tokio::test]
async fn an_impossible_option_is_a_clear_error() {
    for (option, value) in
        [("--calls", "0"), ("--servers", "1000"), ("--every", "0s"), ("--deeds", "nothing")]
    {
        let output = program("chaos").args([option, value]).output().await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{option} {value}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains(option), "{told}");
    }
}
