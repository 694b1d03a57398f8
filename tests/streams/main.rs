//! What servers tell of a call before its answer, and calls of which they tell nothing.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod floods;
mod idle;
mod logs;
mod progress;

use mcp_troupe::testkit::{Script, Step};
use mcp_troupe::{CallError, CallStream, CallUpdate, Reply};

/// A tool that does these, then echoes.
fn telling(steps: impl Into<Vec<Step>>) -> Script {
    Script::Tell { steps: steps.into(), next: Script::Echo.into() }
}

/// All that is told of a call: its updates as text, and its answer, which comes last and once.
async fn heard(mut stream: CallStream) -> (Vec<String>, Result<Reply, CallError>) {
    let mut updates = Vec::new();
    loop {
        match stream.next().await.expect("the answer comes before the end") {
            CallUpdate::Answer(answer) => {
                assert!(stream.next().await.is_none(), "something came after the answer");
                return (updates, answer);
            }
            told => updates.push(text(&told)),
        }
    }
}

fn text(update: &CallUpdate) -> String {
    match update {
        CallUpdate::Progress(progress) => format!("{}/{} {progress}", progress.server, progress.attempt),
        CallUpdate::Log(log) => format!("{}/{} {} {}", log.server, log.attempt, log.level, log.data),
        CallUpdate::Lagged(missed) => format!("{missed} missed"),
        other => panic!("{other:?} is no update"),
    }
}

/// How many reports were told, and how many missed.
fn account(updates: &[String]) -> (u64, u64) {
    let missed = |text: &String| text.strip_suffix(" missed").map(|count| count.parse::<u64>().unwrap());
    let lost: u64 = updates.iter().filter_map(missed).sum();
    let told = updates.iter().filter(|text| missed(text).is_none()).count();
    (told as u64, lost)
}
