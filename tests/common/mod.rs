//! What several test files need.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]
// Each test file uses its own part.
#![allow(dead_code)]

pub mod skipping;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use mcp_troupe::testkit::{living_actors, living_tasks};
use mcp_troupe::{
    Call, CallError, CallErrorKind, ConfigFile, Event, EventStream, Readiness, Reply, Server, Settings,
    Troupe,
};

/// The folder of the repository, whichever of its packages these tests are of.
pub fn repository() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().find(|folder| folder.join("ARCHITECTURE.md").exists()).unwrap()
}

/// A program that Cargo built beside these tests.
fn built(folder: &str, name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(2).unwrap().join(folder);
    target.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// The server that tests start as a process. Each package that tests with it builds one, by a name of its own.
pub fn child_path() -> PathBuf {
    let of_the_library = env!("CARGO_PKG_NAME") == "mcp-troupe";
    let path = built("examples", if of_the_library { "scripted_child" } else { "command_line_child" });
    assert!(path.exists(), "`--test` alone builds no example: `cargo test --examples --no-run` first");
    path
}

/// A program of the package that these tests are of.
pub fn program_path(name: &str) -> PathBuf {
    built("", name)
}

/// A program of the package that these tests are of, to be started.
pub fn program(name: &str) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(program_path(name));
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

/// The stdio server that tests start as a process, with these arguments.
pub fn child<'a>(id: &str, arguments: impl IntoIterator<Item = &'a str>) -> Server {
    Server::stdio(id, child_path().to_str().unwrap(), arguments)
}

/// The kind of a call's error.
pub fn kind(answer: Result<Reply, CallError>) -> CallErrorKind {
    answer.expect_err("an error").kind().clone()
}

/// How long a test waits for an event. It is of the clock on the wall, paused time or not, and only there so that a test of
/// what never happens fails by its name, and does not hold up all that follow.
pub const NEVER: Duration = Duration::from_secs(300);

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
