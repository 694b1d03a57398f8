//! The tour: two servers, a few calls, a kill in front of the reader, and the figures.

mod servers;

use std::error::Error;
use std::io::IsTerminal;
use std::time::Duration;

use mcp_troupe::event::{Event, ServerStatus};
use mcp_troupe::testkit::{Fault, Target, inject};
use mcp_troupe::{Call, EventStream, Readiness, Reply, Server, Settings, Stats, Troupe};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::output::say;

/// How long any one thing of the tour may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a line of the kill stands alone on a terminal.
const PAUSE: Duration = Duration::from_millis(900);

type Outcome<T> = Result<T, Box<dyn Error>>;

pub async fn play() -> Outcome<()> {
    say!("mcp-troupe: many MCP servers as one dependable tool set\n");
    let folder = tempfile::tempdir()?;
    let files = servers::files(folder.path()).await?;
    let database = servers::database().await;
    say!("two servers, made for this tour, listen on free ports:");
    say!("  files     {}", files.url());
    say!("  database  {}", database.url());

    let mut settings = Settings::default();
    settings.breaker.failure_threshold = 3;
    let troupe = Troupe::builder()
        .settings(settings)
        .server(Server::websocket("fs-server", files.url()).tag("storage").tag("files"))
        .server(Server::websocket("db-server", database.url()).tag("data").tag("sql"))
        .start()
        .await?;
    let mut events = troupe.events();
    troupe.ready(Readiness::All).await?;

    let played = perform(&troupe, &mut events).await;
    step("shut down");
    troupe.shutdown().await;
    say!("  every call was answered; nothing is left running");
    say!("\nNow with servers of your own: name them in a servers.json, then");
    // As this one was called: by cargo, or as an installed program.
    let program = if std::env::var_os("CARGO").is_some() { "cargo run --" } else { "mcp-troupe" };
    say!("  {program} check --config servers.json   # what is wrong with it");
    say!("  {program} tools --config servers.json   # what they offer");
    say!("  {program} watch --config servers.json   # how they are, live");
    played
}

async fn perform(troupe: &Troupe, events: &mut EventStream) -> Outcome<()> {
    step("who plays, and what is on offer");
    for server in troupe.servers() {
        say!("  {} is {} at {} ({})", server.id, server.status, server.endpoint, server.tags.join(", "));
        for tool in troupe.tools().iter().filter(|tool| tool.servers.contains(&server.id)) {
            say!("    {:<22} for models: {}", tool.name, tool.exposed);
        }
    }

    step("read a file");
    let reply = call(troupe, Call::tool("file.read").args(json!({"path": "documents/test.md"}))).await?;
    let file: Value = reply.structured()?;
    say!("  documents/test.md: {:?}", file["content"].as_str().unwrap_or_default());

    step("query the database");
    let reply = call(troupe, Call::tool("table.rows").args(json!({"table": "users"}))).await?;
    let users: Value = reply.structured()?;
    for row in users["rows"].as_array().into_iter().flatten() {
        say!("  {:>2}  {:<8} {}", row["id"], text(&row["username"]), text(&row["email"]));
    }

    step("two calls at once, to two servers");
    let files = Call::tool("directory.list").args(json!({"path": "documents"}));
    let tables = Call::tool("table.list");
    let (files, tables) = tokio::join!(call(troupe, files), call(troupe, tables));
    let (files, tables): (Value, Value) = (files?.structured()?, tables?.structured()?);
    say!("  files:  {}", names(&files["entries"], "name"));
    say!("  tables: {}", names(&tables["tables"], "name"));

    step("a transaction, on a connection that is leased for it");
    transaction(troupe).await?;

    step("mistakes are told, and hurt nobody");
    for call in [
        Call::tool("file.raed"),
        Call::tool("file.read").args(json!({"path": "../../../etc/passwd"})),
        Call::tool("table.rows").args(json!({"table": "passwords"})),
    ] {
        match troupe.call(call).await {
            Ok(reply) => return Err(format!("this should not have worked: {}", reply.result).into()),
            Err(error) => say!("  {error}"),
        }
    }

    step("kill the actor of fs-server");
    kill(troupe, events).await?;

    step("the figures");
    figures(&troupe.stats().await);
    Ok(())
}

/// Begins a transaction, writes, looks at it from outside, and rolls it back by ending the lease.
async fn transaction(troupe: &Troupe) -> Outcome<()> {
    let count = Call::tool("table.count").args(json!({"table": "users"}));
    let users = |reply: Reply| -> Outcome<Value> { Ok(reply.structured::<Value>()?["rows"].take()) };
    let dana = json!({"username": "dana", "email": "dana@example.com"});

    let lease = troupe.lease("db-server").await?;
    lease.call(Call::tool("transaction.begin")).await?;
    lease.call(Call::tool("table.insert").args(json!({"table": "users", "row": dana}))).await?;
    let inside = users(lease.call(count.clone()).await?)?;
    let outside = users(call(troupe, count.clone()).await?)?;
    say!("  a user is added: {inside} users inside the transaction, {outside} outside");
    drop(lease);
    let after = users(call(troupe, count).await?)?;
    say!("  the lease ends without a commit: {after} users");
    Ok(())
}

/// Kills one server actor, and shows that it comes back and answers. What happened is told with its times, line by line.
async fn kill(troupe: &Troupe, events: &mut EventStream) -> Outcome<()> {
    say!("  it is killed by order, as a bug would kill it: its connections go with it");
    linger().await;
    let begun = Instant::now();
    inject(troupe, Target::server("fs-server"), Fault::Kill).await?;
    let back = async {
        let mut told = Vec::new();
        while let Some(event) = events.next().await {
            match event {
                Event::ServerDown { server, incarnation, cause, .. } => {
                    told.push(format!("{server}, life {incarnation}: {cause}"));
                }
                Event::ServerStatusChanged { server, incarnation, to, .. } if !told.is_empty() => {
                    let after = Instant::now().saturating_duration_since(begun).as_secs_f64() * 1e3;
                    told.push(format!("{server}, life {incarnation}: {to} after {after:.1} ms"));
                    if to == ServerStatus::Ready {
                        return Ok(told);
                    }
                }
                _ => {}
            }
        }
        Err("the troupe ended")
    };
    for line in tokio::time::timeout(PATIENCE, back).await.map_err(|_| "it did not come back")?? {
        say!("  {line}");
        linger().await;
    }
    let reply = call(troupe, Call::tool("file.read").args(json!({"path": "documents/test.md"}))).await?;
    say!("  it answers again: {} bytes in {:.1} ms", reply.result.len(), reply.duration.as_secs_f64() * 1e3);
    Ok(())
}

/// On a terminal somebody looks on, for whom milliseconds are too short. What is told has happened by then.
async fn linger() {
    if std::io::stdout().is_terminal() {
        tokio::time::sleep(PAUSE).await;
    }
}

async fn call(troupe: &Troupe, call: Call) -> Outcome<Reply> {
    Ok(troupe.call(call.timeout(PATIENCE)).await?)
}

fn step(title: &str) {
    say!("\n— {title}");
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn names(entries: &Value, key: &str) -> String {
    let entries = entries.as_array().into_iter().flatten();
    entries.map(|entry| text(&entry[key])).collect::<Vec<_>>().join(", ")
}

fn figures(stats: &Stats) {
    say!(
        "  {:<10} {:<8} {:>5} {:>9} {:>8} {:>5} {:>9} {:>9}",
        "server",
        "status",
        "life",
        "breaker",
        "attempts",
        "ok",
        "p50 µs",
        "p99 µs"
    );
    for server in &stats.servers {
        let attempts: u64 = server.outcomes.values().sum();
        let ok = server.outcomes.get("ok").copied().unwrap_or_default();
        let breaker = server.breaker.as_ref().map(|breaker| breaker.state.to_string()).unwrap_or_default();
        say!(
            "  {:<10} {:<8} {:>5} {:>9} {:>8} {:>5} {:>9} {:>9}",
            server.id.as_str(),
            server.status.to_string(),
            server.incarnation.0,
            breaker,
            attempts,
            ok,
            server.latency.p50.as_micros(),
            server.latency.p99.as_micros(),
        );
    }
}
