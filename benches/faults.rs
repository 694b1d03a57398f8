//! How long the faults of the fault table are felt: each is brought about several times on loopback sockets, and the
//! median and the longest time are printed.
//!
//! `cargo bench -p mcp-troupe-benches --bench faults`

// A bench measures real time; tokio's clock can be paused.
#![allow(clippy::disallowed_types)]

mod harness;

use std::process::ExitCode;
use std::time::{Duration, Instant as WallClock};

use harness::report::{Bound, Cell, Kind, Limit, Report, Spread, Table};
use mcp_troupe::event::ServerStatus;
use mcp_troupe::testkit::{Fault, FaultProxy, Script, ScriptedServer, Target, inject};
use mcp_troupe::{
    Call, CallError, CallErrorKind, Event, EventStream, Readiness, Reply, Server, Settings, Troupe,
};
use tokio::task::JoinSet;

/// How often each fault is brought about.
const TIMES: usize = 15;

/// Calls that are in flight when something breaks.
const IN_FLIGHT: usize = 100;

struct Row {
    fault: &'static str,
    measured: &'static str,
    times: Vec<Duration>,
}

impl Row {
    fn cells(self) -> Vec<Cell> {
        let Spread { median, max, .. } = Spread::of(self.times.iter().map(|time| time.as_secs_f64() * 1e3));
        vec![self.fault.into(), self.measured.into(), Cell::Number(median, 1), Cell::Number(max, 1)]
    }
}

/// With this argument the bench is the stdio server that it starts.
const AS_CHILD: &str = "--as-child";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == AS_CHILD) {
        serve().await;
    }
    let mut table = Table::new("how long they are felt", &["fault", "measured", "median ms", "longest ms"]);
    let mut add = |row: Row| {
        eprintln!("{}", row.fault);
        table.row(row.cells());
    };
    add(start("no fault at start", None).await);
    add(start("a refused server and a black hole at start", Some(())).await);
    add(hundred_servers().await);
    add(cut().await);
    add(comes_back().await);
    add(half_open().await);
    for (fault, target) in [
        ("a connection's actor is killed", Target::connection("s")),
        ("a server's actor is killed", Target::server("s")),
        ("the router is killed", Target::Router),
        ("the registry is killed", Target::Registry),
    ] {
        add(killed(fault, target).await);
    }
    add(shutdown().await);
    #[cfg(unix)]
    for measured in [Measured::Error, Measured::NextAnswer] {
        add(killed_child(measured).await);
    }
    let mut report = Report::new("faults");
    report.table(table);
    eprintln!("a storm of list changes");
    let (calm, stormy, ratio) = storm().await;
    let columns = &["p99 µs, calm", "p99 µs, in the storm", "ratio"];
    let mut table = Table::new("a server that says 1,000 times a second that its tools changed", columns);
    table.row(vec![Cell::Spread(calm, 0), Cell::Spread(stormy, 0), Cell::Spread(ratio, 2)]);
    report.table(table);
    report.bound(Bound {
        what: "p99 in the storm over p99 in the calm".to_owned(),
        limit: Limit::AtMost(1.5),
        aim: None,
        measured: ratio.median,
        kind: Kind::Time,
    });
    eprintln!("a neighbour who invents names");
    let Neighbours { none, good, inventing, ratio } = invented_names().await;
    let columns =
        &["p99 µs, alone", "beside one whose tools exist", "beside one who invents them", "ratio of these"];
    let mut table = Table::new("another caller calls all the time, over 9,000 tools", columns);
    table.row(vec![
        Cell::Spread(none, 0),
        Cell::Spread(good, 0),
        Cell::Spread(inventing, 0),
        Cell::Spread(ratio, 2),
    ]);
    report.table(table);
    report.bound(Bound {
        what: "p99 beside a caller who invents names over p99 beside one whose tools exist".to_owned(),
        limit: Limit::AtMost(1.5),
        aim: None,
        measured: ratio.median,
        kind: Kind::Time,
    });
    report.finish()
}

/// Serves over stdin and stdout.
async fn serve() -> ! {
    let pid = format!(r#"{{"content":[],"structuredContent":{}}}"#, std::process::id());
    let server = ScriptedServer::builder().tool("hold", Script::Hold).tool("pid", Script::Reply(pid));
    server.serve_stdio().await;
    std::process::exit(0)
}

async fn server() -> ScriptedServer {
    ScriptedServer::builder().tool("echo", Script::Echo).tool("hold", Script::Hold).start().await
}

async fn troupe(settings: Settings, servers: impl IntoIterator<Item = Server>) -> Troupe {
    let builder = Troupe::builder().settings(settings);
    let builder = servers.into_iter().fold(builder, |builder, server| builder.server(server));
    builder.start().await.expect("a troupe")
}

async fn ready(url: String) -> Troupe {
    let troupe = troupe(Settings::default(), [Server::websocket("s", url)]).await;
    troupe.ready(Readiness::All).await.expect("ready");
    troupe
}

fn echo() -> Call {
    Call::tool("echo")
}

async fn until(events: &mut EventStream, wanted: ServerStatus) {
    while let Some(event) = events.next().await {
        if matches!(event, Event::ServerStatusChanged { to, .. } if to == wanted) {
            return;
        }
    }
}

/// Fills a server with calls that it holds.
async fn fill(troupe: &Troupe, server: &ScriptedServer) -> JoinSet<Result<Reply, CallError>> {
    let before = server.calls("hold");
    let mut calls = JoinSet::new();
    (0..IN_FLIGHT).for_each(|_| drop(calls.spawn(troupe.call(Call::tool("hold")))));
    server
        .wait_for(|seen| seen.calls.get("hold").is_some_and(|calls| *calls == before + IN_FLIGHT as u64))
        .await;
    calls
}

/// From the start to the first answer of a good server.
async fn start(fault: &'static str, dead: Option<()>) -> Row {
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let good = server().await;
        let silent = ScriptedServer::builder().black_hole().start().await;
        let mut refused = server().await;
        refused.stop_listening().await;
        let mut servers = vec![Server::websocket("good", good.url())];
        if dead.is_some() {
            servers.push(Server::websocket("silent", silent.url()));
            servers.push(Server::websocket("refused", refused.url()));
        }
        let begun = WallClock::now();
        let troupe = troupe(Settings::default(), servers).await;
        troupe.call(echo()).await.expect("an answer");
        times.push(begun.elapsed());
        troupe.shutdown().await;
    }
    Row { fault, measured: "start to first answer of a good server", times }
}

/// From the start until ninety of a hundred servers are ready.
async fn hundred_servers() -> Row {
    let mut servers = Vec::new();
    for n in 0..100 {
        let builder = ScriptedServer::builder().tool(format!("tool-{n}"), Script::Echo);
        servers.push(match n % 10 {
            0 => builder.black_hole().start().await,
            _ => builder.start().await,
        });
    }
    let alive = || (0..100).filter(|n| n % 10 != 0).map(|n| format!("s{n}"));
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let all =
            servers.iter().enumerate().map(|(n, server)| Server::websocket(format!("s{n}"), server.url()));
        let begun = WallClock::now();
        let troupe = troupe(Settings::default(), all).await;
        troupe.ready(Readiness::Named(alive().collect())).await.expect("ready");
        times.push(begun.elapsed());
        troupe.shutdown().await;
    }
    Row { fault: "100 servers at start, 10 of them black holes", measured: "start to 90 Ready", times }
}

/// From the end of the socket to the last error of the calls that were on it.
async fn cut() -> Row {
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let server = server().await;
        let proxy = FaultProxy::start(&server.url()).await.expect("a proxy");
        let troupe = ready(proxy.url()).await;
        let calls = fill(&troupe, &server).await;
        let begun = WallClock::now();
        proxy.cut();
        for answer in calls.join_all().await {
            let error = answer.expect_err("lost");
            assert!(matches!(error.kind(), CallErrorKind::ConnectionLost { .. }), "{error}");
        }
        times.push(begun.elapsed());
        troupe.shutdown().await;
    }
    Row { fault: "a server's sockets end with 100 calls in flight", measured: "cut to last error", times }
}

/// From the return of a server to its being ready again, in the middle of its backoff.
async fn comes_back() -> Row {
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let mut server = server().await;
        let troupe = ready(server.url()).await;
        let mut events = troupe.events();
        server.stop_listening().await;
        until(&mut events, ServerStatus::Disconnected).await;
        let begun = WallClock::now();
        server.resume().await;
        until(&mut events, ServerStatus::Ready).await;
        times.push(begun.elapsed());
        troupe.shutdown().await;
    }
    Row { fault: "a server comes back", measured: "listening to Ready (backoff from 100 ms)", times }
}

/// From the silence of a peer to the error of a call that it had.
async fn half_open() -> Row {
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let server = server().await;
        let proxy = FaultProxy::start(&server.url()).await.expect("a proxy");
        let mut settings = Settings::default();
        settings.liveness.ping_interval = Duration::from_millis(100);
        let troupe = troupe(settings, [Server::websocket("s", proxy.url())]).await;
        troupe.ready(Readiness::All).await.expect("ready");
        proxy.change(|line| line.half_open = true);
        let begun = WallClock::now();
        let error = troupe.call(echo()).await.expect_err("lost");
        assert!(matches!(error.kind(), CallErrorKind::ConnectionLost { .. }), "{error}");
        times.push(begun.elapsed());
        proxy.heal();
        troupe.shutdown().await;
    }
    Row {
        fault: "a peer vanishes without a word",
        measured: "silence to error (`liveness.pingInterval` 100 ms, 2 misses)",
        times,
    }
}

/// From a kill to the next answer.
async fn killed(fault: &'static str, target: Target) -> Row {
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let server = server().await;
        let troupe = ready(server.url()).await;
        let begun = WallClock::now();
        inject(&troupe, target.clone(), Fault::Kill).await.expect("somebody to kill");
        // The first may meet the end itself.
        while troupe.call(echo()).await.is_err() {}
        times.push(begun.elapsed());
        troupe.shutdown().await;
    }
    Row { fault, measured: "kill to next answer", times }
}

/// How long a shutdown takes that cuts calls off.
async fn shutdown() -> Row {
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let server = server().await;
        let mut settings = Settings::default();
        settings.shutdown_drain = Duration::from_millis(1);
        let troupe = troupe(settings, [Server::websocket("s", server.url())]).await;
        let calls = fill(&troupe, &server).await;
        let begun = WallClock::now();
        troupe.shutdown().await;
        for answer in calls.join_all().await {
            assert!(answer.is_err());
        }
        times.push(begun.elapsed());
    }
    Row {
        fault: "shutdown with 100 calls in flight",
        measured: "order to the last answer and the last actor's end (`shutdownDrain` 1 ms)",
        times,
    }
}

/// What is waited for after the death of a child process.
#[cfg(unix)]
#[derive(Clone, Copy)]
enum Measured {
    Error,
    NextAnswer,
}

/// From the SIGKILL of a child process to the error of the call that it had, or to the answer of its successor.
#[cfg(unix)]
async fn killed_child(measured: Measured) -> Row {
    use rustix::process::{Pid, Signal, kill_process};

    let program = std::env::current_exe().expect("a bench has a path");
    let program = program.to_str().expect("a path in UTF-8");
    let pid = Call::tool("pid");
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let troupe = troupe(Settings::default(), [Server::stdio("s", program, [AS_CHILD])]).await;
        troupe.ready(Readiness::All).await.expect("ready");
        let child = troupe.call(pid.clone()).await.expect("an answer").structured().expect("a number");
        let call = tokio::spawn(troupe.call(Call::tool("hold")));
        while troupe.stats().await.servers[0].pool.in_flight == 0 {}
        let begun = WallClock::now();
        kill_process(Pid::from_raw(child).expect("a process"), Signal::KILL).expect("it lives");
        let error = call.await.expect("no panic").expect_err("lost");
        assert!(matches!(error.kind(), CallErrorKind::ConnectionLost { .. }), "{error}");
        if let Measured::NextAnswer = measured {
            troupe.call(pid.clone()).await.expect("an answer");
        }
        times.push(begun.elapsed());
        troupe.shutdown().await;
    }
    let measured = match measured {
        Measured::Error => "SIGKILL to the error of the call in flight",
        Measured::NextAnswer => "SIGKILL to the next answer, of a new process",
    };
    Row { fault: "a child process is killed", measured, times }
}

/// Calls of one stretch of the storm.
const STORM_CALLS: usize = 20_000;

/// A server says a thousand times a second that its tools changed: what that does to the slowest calls, in stretches that
/// alternate with calm ones.
async fn storm() -> (Spread, Spread, Spread) {
    let server = server().await;
    let troupe = ready(server.url()).await;
    let (mut calm, mut stormy, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..7 {
        let quiet = slowest(&troupe).await;
        let mut beat = tokio::time::interval(Duration::from_millis(1));
        let storm = async {
            loop {
                beat.tick().await;
                server.announce_tools();
            }
        };
        let loud = tokio::select! {
            () = storm => unreachable!("a storm does not end by itself"),
            loud = slowest(&troupe) => loud,
        };
        calm.push(quiet.as_secs_f64() * 1e6);
        stormy.push(loud.as_secs_f64() * 1e6);
        ratios.push(loud.as_secs_f64() / quiet.as_secs_f64());
    }
    troupe.shutdown().await;
    (Spread::of(calm), Spread::of(stormy), Spread::of(ratios))
}

/// Tools that exist while others are invented: as many as one server may have, nearly.
const TOOLS: usize = 9_000;

/// The slowest calls of one caller, in microseconds.
struct Neighbours {
    /// Nobody else calls.
    none: Spread,
    /// Beside another caller whose tools exist.
    good: Spread,
    /// Beside another caller who asks for tools that nobody has.
    inventing: Spread,
    /// The last over the one before: with two callers more threads are busy, which is felt by itself.
    ratio: Spread,
}

/// Another caller makes one call after the other: what it is to the slowest calls of a caller whether that one's tools exist. In
/// stretches that alternate.
async fn invented_names() -> Neighbours {
    let builder = ScriptedServer::builder().tool("echo", Script::Echo);
    let builder =
        (0..TOOLS).fold(builder, |builder, n| builder.tool(format!("tool_{n}_of_many"), Script::Echo));
    let server = builder.start().await;
    let troupe = ready(server.url()).await;
    let stretch = async |other: Option<fn(u64) -> String>| {
        let neighbour = other.map(|name| {
            let troupe = troupe.clone();
            tokio::spawn(async move {
                for n in 0.. {
                    if let Err(error) = troupe.call(Call::tool(name(n))).await {
                        assert!(matches!(error.kind(), CallErrorKind::UnknownTool { .. }), "{error}");
                    }
                }
            })
        });
        let slowest = slowest(&troupe).await;
        if let Some(neighbour) = neighbour {
            neighbour.abort();
            let _ = neighbour.await;
        }
        slowest.as_secs_f64() * 1e6
    };
    let [mut none, mut good, mut inventing, mut ratios] = [const { Vec::new() }; 4];
    for _ in 0..7 {
        none.push(stretch(None).await);
        let beside_good = stretch(Some(|_| "echo".to_owned())).await;
        let beside_inventing = stretch(Some(invented)).await;
        good.push(beside_good);
        inventing.push(beside_inventing);
        ratios.push(beside_inventing / beside_good);
    }
    troupe.shutdown().await;
    Neighbours {
        none: Spread::of(none),
        good: Spread::of(good),
        inventing: Spread::of(inventing),
        ratio: Spread::of(ratios),
    }
}

/// A name that no tool has: as long as any may be, or like one that exists.
fn invented(n: u64) -> String {
    match n % 2 {
        0 => format!("{n}_{}", "tool_of_many_".repeat(15))[..193].to_owned(),
        _ => format!("tool_{}x_of_many", n % TOOLS as u64),
    }
}

/// The latency that one of a hundred calls exceeds, one call after the other.
async fn slowest(troupe: &Troupe) -> Duration {
    let mut latencies = Vec::with_capacity(STORM_CALLS);
    for _ in 0..STORM_CALLS {
        let begun = WallClock::now();
        troupe.call(echo()).await.expect("an answer");
        latencies.push(begun.elapsed());
    }
    latencies.sort_unstable();
    latencies[STORM_CALLS * 99 / 100]
}
