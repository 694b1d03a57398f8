//! What a kept result costs beside a call, and what the rules of the cache cost a call that they do not concern: one loopback
//! WebSocket to an echo server in the same process.
//!
//! `cargo bench -p mcp-troupe-benches --bench cache`

// A bench measures real time; tokio's clock can be paused.
#![allow(clippy::disallowed_types)]

mod harness;

use std::process::ExitCode;
use std::time::Duration;

use harness::callers::{Callee, Seen, measure};
use harness::echo::{Answers, serve};
use harness::report::{self, Bound, Cell, Limit, Report, Spread, Table};
use mcp_troupe::{Call, EraChoice, Readiness, Server, Settings, Troupe};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// The tool that is called, and its arguments.
const TOOL: &str = "search";
const ARGUMENTS: &str = r#"{"q":"hello world","n":5}"#;

/// The size of the results.
const RESULT_BYTES: usize = 200;

/// Calls at once.
const DEPTHS: [usize; 2] = [1, 64];

/// Runs of each way; the ratios are those of one run.
const RUNS: usize = 5;
const WARM_UP: Duration = Duration::from_millis(100);
const RUN_TIME: Duration = Duration::from_millis(300);

/// What a hit may take, at one call at a time.
const HIT_US_MAX: f64 = 10.0;

/// Ways to make a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// There are no rules.
    Plain,
    /// There are rules for other tools.
    Unconcerned,
    /// Its result is kept.
    Hit,
}

impl Way {
    const ALL: [Self; 3] = [Self::Plain, Self::Unconcerned, Self::Hit];

    fn settings(self) -> Settings {
        let rules = match self {
            Self::Plain => "{}",
            Self::Unconcerned => r#"{"cache":{"tools":{"other":{"clearedBy":["another"]}}}}"#,
            Self::Hit => r#"{"cache":{"tools":{"search":{"ttl":"1h","clearedBy":["another"]}}}}"#,
        };
        serde_json::from_str(rules).expect("settings")
    }
}

#[derive(Clone)]
struct Host(Troupe, Way);

impl Callee for Host {
    async fn call(&self, _: usize) {
        let reply = self.0.call(Call::tool(TOOL).raw_args(ARGUMENTS)).await.expect("an answer");
        assert!(reply.result.as_bytes().starts_with(b"{"));
        assert!(reply.cached == (self.1 == Way::Hit) || reply.attempts == 1);
    }
}

fn runtime(threads: usize) -> Runtime {
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.worker_threads(threads).enable_all().build().expect("a runtime")
}

fn measured(threads: usize, way: Way, depth: usize) -> Seen {
    runtime(threads).block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(serve(listener, Answers::new(RESULT_BYTES, 1)));
        let server = Server::websocket("echo", format!("ws://127.0.0.1:{port}/")).era(EraChoice::Legacy);
        let troupe =
            Troupe::builder().settings(way.settings()).server(server).start().await.expect("started");
        troupe.ready(Readiness::All).await.expect("ready");
        let host = Host(troupe.clone(), way);
        measure(&host, depth, WARM_UP).await;
        let seen = measure(&host, depth, RUN_TIME).await;
        troupe.shutdown().await;
        seen
    })
}

fn main() -> ExitCode {
    let mut report = Report::new("cache");
    let columns = ["threads", "depth", "call µs", "unconcerned / call", "hit µs", "hit / call", "hits/s"];
    let mut table = Table::new("p50 of a kept result, beside that of a call", &columns);
    for threads in [1, 2] {
        for depth in DEPTHS {
            let runs: Vec<[Seen; 3]> =
                (0..RUNS).map(|_| Way::ALL.map(|way| measured(threads, way, depth))).collect();
            let us = |seen: &Seen| seen.p50.as_secs_f64() * 1e6;
            let spread = |figure: &dyn Fn(&[Seen; 3]) -> f64| Spread::of(runs.iter().map(figure));
            let hit = spread(&|[_, _, hit]| us(hit));
            let ratio = spread(&|[plain, _, hit]| us(hit) / us(plain));
            table.row(vec![
                threads.into(),
                depth.into(),
                Cell::Spread(spread(&|[plain, ..]| us(plain)), 1),
                Cell::Spread(spread(&|[plain, other, _]| us(other) / us(plain)), 2),
                Cell::Spread(hit, 1),
                Cell::Spread(ratio, 2),
                Cell::Number(spread(&|[_, _, hit]| hit.calls_per_s).median, 0),
            ]);
            if depth == 1 {
                report.bound(Bound {
                    what: format!("{threads} threads: p50 of a hit, in µs"),
                    limit: Limit::AtMost(HIT_US_MAX),
                    aim: None,
                    measured: hit.median,
                    kind: report::Kind::Time,
                });
            }
        }
    }
    report.table(table);
    report.note(format!("Median (least–most) of {RUNS} runs."));
    report.finish()
}
