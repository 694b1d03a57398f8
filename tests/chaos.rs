//! Chaos, as a program: kills of everything under load, and the account of every call.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod common;

use common::example;
use serde_json::{Value, json};

#[tokio::test]
async fn a_hundred_thousand_calls_under_kills_of_everything_are_each_answered_once() {
    let arguments = ["--calls", "100000", "--seed", "7", "--json"];
    let output = example("chaos").args(arguments).output().await.unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(told, "", "nothing but ordered panics happened");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let none = json!(0);
    for violation in
        ["lost", "doubled", "late", "untrue", "crossed", "left_open", "left_actors", "not_recovered"]
    {
        assert_eq!(report[violation], none, "{violation}: {report:#}");
    }
    assert_eq!(report["answers"], json!(100_000));
    let kills = report["kills"].as_object().unwrap();
    assert_eq!(kills.len(), 5, "each kind of prey was struck: {kills:?}");
}

#[tokio::test]
async fn an_impossible_option_is_a_clear_error() {
    for (option, value) in [("--calls", "0"), ("--servers", "1000"), ("--every", "0s"), ("--threads", "none")]
    {
        let output = example("chaos").args([option, value]).output().await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{option} {value}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains(option), "{told}");
    }
}
