//! The call path against its limit: one loopback WebSocket, 115-byte requests, small results, at several depths, through
//! the whole troupe and through a bare pump without actors. What counts are the ratios of one run.
//!
//! `cargo bench --bench call_path` prints the ratios and then criterion's own figures; `-- --quick` for a short look,
//! `-- --profile-time 10 current-thread/troupe/64` for a profiler.

// A bench measures real time; tokio's clock can be paused.
#![allow(clippy::disallowed_types)]

use std::collections::HashMap;
use std::time::{Duration, Instant as WallClock};

use criterion::{BenchmarkId, Criterion, Throughput};
use futures_util::{FutureExt, SinkExt, StreamExt};
use mcp_troupe::config::PoolSettings;
use mcp_troupe::{Call, EraChoice, Readiness, Server, Troupe};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

const DEPTHS: [usize; 3] = [1, 64, 256];

/// Runs of each measurement; the median counts.
const RUNS: usize = 5;

/// How long one run lasts.
const RUN: Duration = Duration::from_millis(700);

const ARGUMENTS: &str = r#"{"q":"hello","n":5}"#;

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: String,
}

/// A server that answers everything at once, as fast as a WebSocket allows: every ready frame, one flush.
async fn echo_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(async move {
                let Ok(mut socket) = accept_async(stream).await else { return };
                while let Some(Ok(message)) = socket.next().await {
                    let mut next = Some(message);
                    while let Some(message) = next.take() {
                        if let Some(answer) = answer(&message)
                            && socket.feed(answer).await.is_err()
                        {
                            return;
                        }
                        next = socket.next().now_or_never().flatten().and_then(Result::ok);
                    }
                    if socket.flush().await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

fn answer(message: &Message) -> Option<Message> {
    let Message::Text(text) = message else { return None };
    let request: Request<'_> = serde_json::from_str(text).ok()?;
    let id = request.id?.get();
    let result = match request.method.as_str() {
        "tools/list" => r#"{"tools":[{"name":"search","inputSchema":{"type":"object"}}]}"#,
        "initialize" => r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}}}"#,
        _ => r#"{"content":[{"type":"text","text":"hello"}]}"#,
    };
    Some(Message::text(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)))
}

// === the bare pump: a bounded queue, a table of ids, feed and one flush; no actors, no deadlines, no supervision ===

type Reply = oneshot::Sender<Utf8Bytes>;

#[derive(Deserialize)]
struct Response<'a> {
    id: u64,
    #[serde(borrow)]
    result: &'a RawValue,
}

async fn bare_pump(port: u16) -> mpsc::Sender<Reply> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the echo server listens");
    let _ = stream.set_nodelay(true);
    let (socket, _) = client_async(format!("ws://127.0.0.1:{port}/"), stream).await.expect("a WebSocket");
    let (queue, requests) = mpsc::channel(1024);
    tokio::spawn(pump(socket, requests));
    queue
}

async fn pump(mut socket: WebSocketStream<TcpStream>, mut requests: mpsc::Receiver<Reply>) {
    let mut pending: HashMap<u64, Reply> = HashMap::new();
    let mut next = 0u64;
    let mut batch = Vec::with_capacity(256);
    loop {
        tokio::select! { biased;
            message = socket.next() => {
                let Some(Ok(message)) = message else { return };
                complete(&mut pending, message);
                while let Some(Some(Ok(message))) = socket.next().now_or_never() {
                    complete(&mut pending, message);
                }
            }
            taken = requests.recv_many(&mut batch, 256) => {
                if taken == 0 {
                    return;
                }
                for reply in batch.drain(..) {
                    next += 1;
                    pending.insert(next, reply);
                    let text = format!(
                        r#"{{"jsonrpc":"2.0","id":{next},"method":"tools/call","params":{{"name":"search","arguments":{ARGUMENTS}}}}}"#
                    );
                    if socket.feed(Message::text(text)).await.is_err() {
                        return;
                    }
                }
                if socket.flush().await.is_err() {
                    return;
                }
            }
        }
    }
}

fn complete(pending: &mut HashMap<u64, Reply>, message: Message) {
    let Message::Text(text) = message else { return };
    let Ok(response) = serde_json::from_str::<Response<'_>>(&text) else { return };
    if let Some(reply) = pending.remove(&response.id) {
        let _ = reply.send(Utf8Bytes::from(response.result.get().to_owned()));
    }
}

// === the troupe ===

async fn troupe(port: u16) -> Troupe {
    let mut pool = PoolSettings::default();
    pool.max = 1;
    // The bare pump sends no `_meta`, so the troupe speaks the era that needs none.
    let server =
        Server::websocket("echo", format!("ws://127.0.0.1:{port}/")).pool(pool).era(EraChoice::Legacy);
    let troupe = Troupe::builder().server(server).start().await.expect("started");
    troupe.ready(Readiness::All).await.expect("ready");
    troupe
}

/// One of the two ways to make a call.
#[derive(Clone)]
enum Path {
    Bare(mpsc::Sender<Reply>),
    Troupe(Troupe),
}

impl Path {
    async fn call(&self) {
        match self {
            Self::Bare(queue) => {
                let (reply, answer) = oneshot::channel();
                queue.send(reply).await.expect("the pump runs");
                answer.await.expect("an answer");
            }
            Self::Troupe(troupe) => {
                troupe.call(Call::tool("search").raw_args(ARGUMENTS)).await.expect("an answer");
            }
        }
    }

    /// Keeps `depth` calls in flight until `calls` are made. Returns the time and the median latency.
    async fn drive(&self, depth: usize, until: Until) -> (u64, Duration, Duration) {
        let begun = WallClock::now();
        let callers: Vec<_> = (0..depth)
            .map(|_| {
                let path = self.clone();
                tokio::spawn(async move {
                    let mut latencies = Vec::new();
                    while match until {
                        Until::Time(limit) => begun.elapsed() < limit,
                        Until::Calls(calls) => (latencies.len() as u64) < calls.div_ceil(depth as u64),
                    } {
                        let called = WallClock::now();
                        path.call().await;
                        latencies.push(called.elapsed());
                    }
                    latencies
                })
            })
            .collect();
        let mut latencies = Vec::new();
        for caller in callers {
            latencies.extend(caller.await.expect("a caller ends in order"));
        }
        let elapsed = begun.elapsed();
        latencies.sort_unstable();
        (latencies.len() as u64, elapsed, latencies[latencies.len() / 2])
    }
}

#[derive(Clone, Copy)]
enum Until {
    Time(Duration),
    Calls(u64),
}

fn runtimes() -> [(&'static str, Runtime); 2] {
    let current = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let two = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    [("current-thread", current.expect("a runtime")), ("two-threads", two.expect("a runtime"))]
}

/// Both paths on one runtime, each over one connection.
async fn paths() -> [(&'static str, Path); 2] {
    let port = echo_server().await;
    [("bare", Path::Bare(bare_pump(port).await)), ("troupe", Path::Troupe(troupe(port).await))]
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The table of ratios: runs of both paths alternate, so that both see the same machine.
fn ratios() {
    println!(
        "{:<16} {:>5} {:>14} {:>14} {:>12} {:>12}",
        "runtime", "depth", "bare calls/s", "troupe calls/s", "calls ratio", "p50 ratio"
    );
    for (name, runtime) in runtimes() {
        for depth in DEPTHS {
            let (mut bare_rates, mut troupe_rates, mut rates, mut medians) = (vec![], vec![], vec![], vec![]);
            for _ in 0..RUNS {
                let [bare, troupe] = runtime.block_on(async {
                    let [(_, bare), (_, troupe)] = paths().await;
                    [bare.drive(depth, Until::Time(RUN)).await, troupe.drive(depth, Until::Time(RUN)).await]
                });
                let rate =
                    |(calls, elapsed, _): (u64, Duration, Duration)| calls as f64 / elapsed.as_secs_f64();
                bare_rates.push(rate(bare));
                troupe_rates.push(rate(troupe));
                rates.push(rate(troupe) / rate(bare));
                medians.push(troupe.2.as_secs_f64() / bare.2.as_secs_f64());
            }
            println!(
                "{name:<16} {depth:>5} {:>14.0} {:>14.0} {:>12.2} {:>12.2}",
                median(bare_rates),
                median(troupe_rates),
                median(rates),
                median(medians),
            );
        }
    }
}

fn main() {
    // Under a profiler the one path that was asked for is all that counts.
    if !std::env::args().any(|argument| argument == "--profile-time") {
        ratios();
    }
    let mut criterion = Criterion::default().configure_from_args();
    for (name, runtime) in runtimes() {
        let mut group = criterion.benchmark_group(format!("call_path/{name}"));
        group.throughput(Throughput::Elements(1));
        let paths = runtime.block_on(paths());
        for depth in DEPTHS {
            for (path_name, path) in &paths {
                group.bench_with_input(BenchmarkId::new(*path_name, depth), &depth, |bencher, depth| {
                    bencher.iter_custom(|calls| {
                        // Whole rounds of all callers; the time is scaled back to what was asked.
                        let rounds = calls.max(*depth as u64);
                        let (made, elapsed, _) = runtime.block_on(path.drive(*depth, Until::Calls(rounds)));
                        elapsed.mul_f64(calls as f64 / made as f64)
                    });
                });
            }
        }
        group.finish();
    }
    criterion.final_summary();
}
