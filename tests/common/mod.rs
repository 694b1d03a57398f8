//! What several test files need.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]
// Each test file uses its own part.
#![allow(dead_code)]

pub mod skipping;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use mcp_troupe::testkit::{living_actors, living_tasks};
use mcp_troupe::{
    Call, CallError, CallErrorKind, ConfigFile, Event, EventStream, Readiness, Reply, Server, Settings,
    Troupe,
};

/// Where an example is as a program, which a plain `cargo test` builds beside the tests.
pub fn example_path(name: &str) -> PathBuf {
    let mut path: PathBuf = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.extend(["examples", name]);
    assert!(path.exists(), "`--test` alone builds no example: `cargo test --examples --no-run` first");
    path
}

/// An example as a program.
pub fn example(name: &str) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(example_path(name));
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// The text of a `servers.json`, which the schema takes if the parser does.
pub fn servers_json(text: impl ToString) -> String {
    let text = text.to_string();
    if ConfigFile::parse(&text).is_ok_and(|file| file.left_out.is_empty() && file.disabled.is_empty()) {
        let file = serde_json::from_str(&text).unwrap();
        assert!(jsonschema::is_valid(&ConfigFile::schema(), &file), "the schema refuses {text}");
    }
    text
}

/// A troupe of these servers, all of them ready.
pub async fn ready(servers: impl IntoIterator<Item = Server>) -> Troupe {
    let troupe = start(servers).await;
    troupe.ready(Readiness::All).await.unwrap();
    troupe
}

/// A troupe of these servers.
pub async fn start(servers: impl IntoIterator<Item = Server>) -> Troupe {
    start_with(|_| (), servers).await
}

/// A troupe of these servers with other settings.
pub async fn start_with(
    change: impl FnOnce(&mut Settings),
    servers: impl IntoIterator<Item = Server>,
) -> Troupe {
    let mut settings = Settings::default();
    settings.strategy = "round-robin".to_owned();
    change(&mut settings);
    let builder = Troupe::builder().settings(settings).seed(7);
    servers.into_iter().fold(builder, |builder, server| builder.server(server)).start().await.unwrap()
}

/// Ends a troupe and makes sure that nothing of it is left.
pub async fn end(troupe: Troupe) {
    troupe.shutdown().await;
    assert_eq!(living_actors(&troupe), 0, "actors were left behind");
    assert_eq!(living_tasks(&troupe), 0, "tasks were left behind");
}

/// A stdio server that is the example `scripted_child`, with these arguments.
pub fn child<'a>(id: &str, arguments: impl IntoIterator<Item = &'a str>) -> Server {
    Server::stdio(id, example_path("scripted_child").to_str().unwrap(), arguments)
}

/// The kind of a call's error.
pub fn kind(answer: Result<Reply, CallError>) -> CallErrorKind {
    answer.expect_err("an error").kind().clone()
}

/// How long a test waits for an event. It is of the clock on the wall, paused time or not, and only there so that a test of
/// what never happens fails by its name, and does not hold up all that follow.
const NEVER: Duration = Duration::from_secs(300);

/// Reads events until one is what the test waits for.
pub async fn event(events: &mut EventStream, mut wanted: impl FnMut(&Event) -> bool) -> Event {
    let (ended, end) = std::sync::mpsc::channel::<()>();
    let (give_up, mut given_up) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        if end.recv_timeout(NEVER) == Err(RecvTimeoutError::Timeout) {
            let _ = give_up.send(());
        }
    });
    let mut last = None;
    loop {
        let event = tokio::select! {
            event = events.next() => event.expect("the troupe goes on"),
            Ok(()) = &mut given_up => panic!("what the test waits for never happened; the last event: {last:?}"),
        };
        if wanted(&event) {
            drop(ended);
            return event;
        }
        last = Some(event);
    }
}

/// A call of the tool `echo`.
pub fn echo() -> Call {
    Call::tool("echo").args(serde_json::json!({"n": 1}))
}
