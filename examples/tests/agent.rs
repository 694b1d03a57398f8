//! The example of an agent: a model has the tools of a troupe, and reads what they answer.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

#[path = "../../tests/common/mod.rs"]
mod common;

use common::program;

/// What the agent says to a question, and what it says of its calls.
async fn asked(question: &str) -> (String, String) {
    let output = program("agent").arg(question).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn the_model_calls_the_tool_that_fits_and_answers_with_what_it_says() {
    let (answer, calls) = asked("What is the weather in Oslo?").await;
    assert!(answer.contains("Oslo: 4 degrees, rain"), "{answer}");
    assert!(calls.contains("the model calls demo__forecast"), "{calls}");
}

#[tokio::test]
async fn the_model_reads_what_a_tool_says_of_its_failure() {
    let (answer, _) = asked("What is the sum of these numbers?").await;
    assert!(answer.contains("no numbers were given"), "{answer}");
}

#[tokio::test]
async fn a_model_without_a_tool_that_fits_calls_none() {
    let (answer, calls) = asked("xyzzy").await;
    assert_eq!((answer.trim(), calls.as_str()), ("I have no tool for that.", ""));
}
