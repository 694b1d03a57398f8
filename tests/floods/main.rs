//! Servers that flood. Whatever one of them sends, and however much of it: memory stays within a bound, calls of the others
//! are answered, and the host is told at a bounded rate.
//!
//! How long a good server's calls take meanwhile is printed and not judged: the flood is made by the same machine, which
//! other tests use as well. `--nocapture` shows the table.

#![cfg(target_os = "linux")]
// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod carriers;
#[path = "../common/mod.rs"]
mod common;
mod kinds;

use std::time::Duration;

use common::{echo, end, event};
use kinds::Flood;
use mcp_troupe::config::PoolSettings;
use mcp_troupe::testkit::{Script, ScriptedServer, pair};
use mcp_troupe::{Call, ConfigFile, Event, EventStream, Readiness, Server, Troupe, TroupeBuilder};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout_at};

/// How long each flood lasts.
const FLOODED_FOR: Duration = Duration::from_millis(200);

/// What a flood may cost in memory, in KiB: the buffers of both of its ends, some messages of the greatest size, and what
/// the allocator does not give back. A flood that is kept takes more within its time.
const KIB_MAX: u64 = 64 << 10;

/// Events about one server in that time. A burst of log messages is a hundred, and fifty a second follow.
const EVENTS_MAX: u64 = 200;

/// Their size as text, in bytes: none holds more than some KiB of what a server says.
const TOLD_MAX: usize = 1 << 20;

/// One flood at a time: they are measured, and share a process.
static ONE: Semaphore = Semaphore::const_new(1);

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// How long calls of the good server take, the slowest of a hundred aside; and the most memory that is used meanwhile.
async fn p99(troupe: &Troupe, until: Instant) -> (Duration, u64) {
    let (mut latencies, mut kib) = (Vec::new(), 0);
    while Instant::now() < until || latencies.is_empty() {
        let begun = Instant::now();
        let answer = troupe.call(echo().server("good")).await;
        assert!(answer.is_ok(), "a call of another server: {}", answer.unwrap_err());
        latencies.push(Instant::now().saturating_duration_since(begun));
        kib = kib.max(resident_kib());
    }
    latencies.sort_unstable();
    (latencies[(latencies.len() - 1) * 99 / 100], kib)
}

/// How many events there are until `until`, and their size as text.
async fn told_until(mut events: EventStream, until: Instant) -> (u64, usize) {
    let (mut count, mut bytes) = (0, 0);
    while let Ok(Some(event)) = timeout_at(until, events.next()).await {
        bytes += format!("{event:?}").len();
        match event {
            Event::Lagged { missed } => count += missed,
            _ => count += 1,
        }
    }
    (count, bytes)
}

/// Plays a flood of the server `bad`, which `builder` has, beside calls of the server `good`.
async fn play(carrier: &str, flood: Flood, builder: TroupeBuilder, begin: watch::Sender<bool>) {
    let good = ScriptedServer::builder().tool("echo", Script::Echo).start().await;
    let troupe = builder.seed(7).server(Server::websocket("good", good.url())).start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let held = troupe.subscribe("file:///a").await.unwrap();
    let (calm, before) = p99(&troupe, Instant::now() + Duration::from_millis(50)).await;
    let until = Instant::now() + FLOODED_FOR;
    let told = tokio::spawn(told_until(troupe.events(), until));
    begin.send_replace(true);
    // Calls of the server that floods may fail, or wait behind its flood.
    let calls = {
        let troupe = troupe.clone();
        tokio::spawn(async move {
            while Instant::now() < until {
                let call = Call::tool("t").server("bad").timeout(Duration::from_millis(100));
                let _ = troupe.call(call).await;
            }
        })
    };
    let (flooded, most) = p99(&troupe, until).await;
    let (events, bytes) = told.await.unwrap();
    calls.await.unwrap();
    let kib = most.saturating_sub(before);
    let name = format!("{flood:?}");
    println!(
        "{carrier:9} {name:22} {kib:>6} KiB  {events:>6} events  p99 {calm:>9.1?} calm, {flooded:>9.1?} flooded"
    );
    drop(held);
    end(troupe).await;
    assert!(kib < KIB_MAX, "{carrier} {name}: {kib} KiB more");
    assert!(events < EVENTS_MAX, "{carrier} {name}: {events} events");
    assert!(bytes < TOLD_MAX, "{carrier} {name}: {bytes} bytes of events");
}

/// One connection: a flood needs no more, and its calls go over it.
fn one(server: Server) -> Server {
    let mut pool = PoolSettings::default();
    pool.max = 1;
    server.pool(pool)
}

async fn in_memory(flood: Flood) {
    let (begin, begun) = watch::channel(false);
    let (connector, listener) = pair(16);
    let server = tokio::spawn(carriers::memory(listener, flood, begun));
    let builder = Troupe::builder().server_via(one(Server::custom("bad")), connector);
    play("memory", flood, builder, begin).await;
    server.abort();
}

async fn over_websocket(flood: Flood) {
    let (begin, begun) = watch::channel(false);
    let (listener, address) = carriers::port().await;
    let server = tokio::spawn(carriers::websocket(listener, flood, begun));
    let builder = Troupe::builder().server(one(Server::websocket("bad", format!("ws://{address}"))));
    play("websocket", flood, builder, begin).await;
    server.abort();
}

async fn over_http(flood: Flood) {
    let (begin, begun) = watch::channel(false);
    let (listener, address) = carriers::port().await;
    let server = tokio::spawn(carriers::http(listener, flood, begun));
    let builder = Troupe::builder().server(one(Server::http("bad", format!("http://{address}/mcp"))));
    play("http", flood, builder, begin).await;
    server.abort();
}

async fn over_stdio(flood: Flood) {
    let (begin, mut begun) = watch::channel(false);
    let folder = tempfile::tempdir().unwrap();
    let sign = folder.path().join("begin");
    let server = Server::stdio("bad", "/bin/sh", ["-c", carriers::script(flood).as_str()])
        .env("BEGIN", sign.to_str().unwrap())
        .env("FRAMES", flood.frames().join("\n"));
    let builder = Troupe::builder().server(one(server));
    let signing = tokio::spawn(async move {
        if begun.wait_for(|begun| *begun).await.is_ok() {
            std::fs::write(sign, "").unwrap();
        }
    });
    play("stdio", flood, builder, begin).await;
    signing.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_in_memory_costs_nobody_else_anything() {
    let _one = ONE.acquire().await.unwrap();
    for flood in Flood::ALL {
        in_memory(flood).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_over_websocket_costs_nobody_else_anything() {
    let _one = ONE.acquire().await.unwrap();
    for flood in Flood::ALL {
        over_websocket(flood).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_over_http_costs_nobody_else_anything() {
    let _one = ONE.acquire().await.unwrap();
    for flood in Flood::ALL {
        over_http(flood).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_over_stdio_costs_nobody_else_anything() {
    let _one = ONE.acquire().await.unwrap();
    for flood in Flood::ALL {
        over_stdio(flood).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_names_that_are_none_is_told_once_however_often_it_changes() {
    let _one = ONE.acquire().await.unwrap();
    in_memory(Flood::SkippedEntries).await;
    over_websocket(Flood::SkippedEntries).await;
    over_http(Flood::SkippedEntries).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_of_one_server_hold_up_no_kept_result_of_another() {
    let _one = ONE.acquire().await.unwrap();
    let good = ScriptedServer::builder().tool("echo", Script::Echo).start().await;
    let file = json!({
        "mcpServers": {"good": {"url": good.url()}},
        "troupe": {"cache": {"tools": {"good/echo": {"ttl": "10m"}}}}
    });
    let (begin, begun) = watch::channel(false);
    let (connector, listener) = pair(16);
    let server = tokio::spawn(carriers::memory(listener, Flood::UpdatesOfMany, begun));
    let builder = Troupe::builder().config(ConfigFile::parse(&file.to_string()).unwrap());
    let troupe = builder.server_via(one(Server::custom("bad")), connector).seed(7).start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let kept =
        |n| troupe.call(Call::tool("good/echo").args(json!({"n": n})).timeout(Duration::from_secs(20)));
    for n in 0..500 {
        kept(n).await.unwrap();
    }
    begin.send_replace(true);
    sleep(Duration::from_secs(2)).await;
    let begun = Instant::now();
    for n in 400..500 {
        let answer = kept(n).await;
        assert!(answer.is_ok(), "{}", answer.unwrap_err());
        assert!(answer.unwrap().cached);
    }
    println!("100 kept results in {:.1?}", Instant::now().saturating_duration_since(begun));
    end(troupe).await;
    server.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_says_when_it_refuses_is_told_in_part() {
    let _one = ONE.acquire().await.unwrap();
    let (connector, mut listener) = pair(16);
    let troupe =
        Troupe::builder().seed(7).server_via(Server::custom("bad"), connector).start().await.unwrap();
    let mut told = troupe.events();
    let server = tokio::spawn(async move {
        let words = "x".repeat(8 << 20);
        while let Some(mut peer) = listener.accept().await {
            while let Some(frame) = peer.recv().await {
                let Some(id) = serde_json::from_slice::<Value>(&frame).unwrap()["id"].as_u64() else {
                    continue;
                };
                let refusal = json!({"id": id, "error": {"code": -32603, "message": &words}});
                peer.send(refusal.to_string()).await;
            }
        }
    });
    // However long the first of them takes to be read.
    let first = event(&mut told, |_| true).await;
    let (_, more) = told_until(told, Instant::now() + Duration::from_secs(1)).await;
    let bytes = format!("{first:?}").len() + more;
    let error = troupe.call(Call::tool("bad/t").timeout(Duration::from_secs(2))).await.unwrap_err();
    assert!(bytes < TOLD_MAX, "{bytes} bytes");
    assert!(error.to_string().len() < 64 << 10, "{} bytes in the error of a call", error.to_string().len());
    end(troupe).await;
    server.abort();
}
