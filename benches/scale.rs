//! A thousand servers in one troupe, with ten thousand tools: how soon all are ready, what each costs while it idles, and
//! what a call costs beside a troupe of three.
//!
//! One echo server in a process of its own stands for all of them, by the paths of their addresses. The client runs on one
//! thread, and its cost is the time that this thread was on a processor: neither the echo server nor other work on the
//! machine is in it. Calls that are spread over many connections cost more system calls than many calls over one; what that
//! costs without a troupe is shown by bare pumps.
//!
//! `cargo bench -p mcp-troupe-benches --bench scale`

// A bench measures real time; tokio's clock can be paused.
#![allow(clippy::disallowed_types)]

mod harness;

use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant as WallClock};

use clap::{Parser, Subcommand};
use harness::bare::BarePump;
use harness::callers::{Callee, make, measure};
use harness::child::{EchoProcess, serve_if_asked};
use harness::pure::{Turn, alternate};
use harness::report::{Bound, Cell, Kind, Limit, Report, Spread, Table};
use harness::system::{on_processor, open_files_max, resident};
use mcp_troupe::testkit::bench::{Library, Names};
use mcp_troupe::{Call, Readiness, Server, Troupe};
use tokio::runtime::{Builder, Runtime};

/// Servers of the large troupe.
const MANY: usize = 1_000;

/// Servers of the small one.
const FEW: usize = 3;

/// Tools of each server.
const TOOLS: usize = 10;

/// The size of the results.
const RESULT_BYTES: usize = 200;

/// Runs of each measurement; the median counts.
const RUNS: usize = 5;

/// How long one run of calls lasts.
const RUN: Duration = Duration::from_millis(500);

/// How long servers idle before their memory is looked at.
const REST: Duration = Duration::from_secs(1);

/// Calls at once.
const DEPTHS: [usize; 2] = [1, 64];

/// How long servers may take to be ready: far longer than they should.
const PATIENCE: Duration = Duration::from_secs(60);

/// Files beside the sockets of both troupes and of both kinds of pumps.
const OTHER_FILES: usize = 64;

/// From one name that is looked up to the next: far apart, and in the end all of them.
const STRIDE: usize = 4_999;

const ARGUMENTS: &str = r#"{"q":"hello world","n":5}"#;

/// Measures troupes of many servers.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    role: Option<Role>,
    /// By Cargo.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Role {
    /// Starts a troupe and looks at it once.
    Idle { port: u16 },
}

fn main() -> ExitCode {
    serve_if_asked();
    match Options::parse().role {
        Some(Role::Idle { port }) => {
            idle(port);
            ExitCode::SUCCESS
        }
        None => compare(),
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn server_id(number: usize) -> String {
    format!("s{number}")
}

/// A troupe of so many servers, all of them ready.
async fn troupe(port: u16, servers: usize) -> Troupe {
    let servers = (0..servers).map(server_id);
    let servers = servers.map(|id| Server::websocket(id.as_str(), format!("ws://127.0.0.1:{port}/{id}")));
    let builder = servers.fold(Troupe::builder(), |builder, server| builder.server(server));
    let troupe = builder.start().await.expect("started");
    if let Err(not_ready) = troupe.ready_within(Readiness::All, PATIENCE).await {
        panic!("{not_ready}");
    }
    troupe
}

/// Says in how many seconds all servers were ready, and how many bytes each holds.
fn idle(port: u16) {
    runtime().block_on(async {
        // What is there once, however many servers there are.
        let few = troupe(port, FEW).await;
        make(&Fleet::of(&few, FEW), FEW, FEW).await;
        few.shutdown().await;
        let before = resident();
        let begun = WallClock::now();
        let many = troupe(port, MANY).await;
        let ready = begun.elapsed();
        tokio::time::sleep(REST).await;
        let each = resident().saturating_sub(before) / MANY as u64;
        println!("{} {each}", ready.as_secs_f64());
        drop(many);
    });
}

/// Servers that are called one after the other.
#[derive(Clone)]
enum Fleet {
    Troupe { troupe: Troupe, tools: Arc<[String]> },
    Bare(Arc<[BarePump]>),
}

impl Fleet {
    /// The first servers of a troupe.
    fn of(troupe: &Troupe, servers: usize) -> Self {
        let tools = (0..servers).map(|number| format!("{}.search", server_id(number)));
        Self::Troupe { troupe: troupe.clone(), tools: tools.collect() }
    }

    async fn bare(port: u16, servers: usize) -> Self {
        let mut pumps = Vec::new();
        for _ in 0..servers {
            pumps.push(BarePump::open(port).await);
        }
        Self::Bare(pumps.into())
    }
}

impl Callee for Fleet {
    async fn call(&self, number: usize) {
        match self {
            Self::Troupe { troupe, tools } => {
                let call = Call::tool(tools[number % tools.len()].as_str()).raw_args(ARGUMENTS);
                troupe.call(call).await.expect("an answer");
            }
            Self::Bare(pumps) => {
                pumps[number % pumps.len()].call("search", ARGUMENTS).await;
            }
        }
    }
}

fn compare() -> ExitCode {
    let files = 2 * MANY + 2 * FEW + OTHER_FILES;
    if open_files_max() < files {
        println!("scale: skipped, it needs {files} open files: ulimit -n {files}");
        return ExitCode::SUCCESS;
    }
    let mut report = Report::new("scale");
    idling(&mut report);
    calling(&mut report);
    looking_up(&mut report);
    searching(&mut report);
    report.finish()
}

/// Readiness and memory, each time in a process of its own.
fn idling(report: &mut Report) {
    let columns = ["servers", "tools", "all ready, s", "KiB each"];
    let mut table = Table::new("a troupe that starts and idles", &columns);
    // What tools hold is held by the catalogue, and told apart from what a server holds.
    for (tools, kind) in [(1, Kind::Count), (TOOLS, Kind::Time)] {
        let server = EchoProcess::start(RESULT_BYTES, tools);
        let runs = (1..=RUNS).map(|run| {
            eprintln!("{MANY} servers of {tools} tools start, run {run}");
            let program = std::env::current_exe().expect("this program has a path");
            let port = server.port.to_string();
            let output = Command::new(program).args(["idle", &port]).output().expect("it starts");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let said = String::from_utf8_lossy(&output.stdout);
            let figures: Vec<f64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            (figures[0], figures[1] / 1024.0)
        });
        let (ready, memory): (Vec<f64>, Vec<f64>) = runs.unzip();
        let (ready, memory) = (Spread::of(ready), Spread::of(memory));
        table.row(vec![MANY.into(), (MANY * tools).into(), Cell::Spread(ready, 2), Cell::Spread(memory, 1)]);
        let bound = |what: &str, most, measured, kind| {
            let what = format!("{MANY} servers, {} tools: {what}", MANY * tools);
            Bound { what, limit: Limit::AtMost(most), aim: None, measured, kind }
        };
        report.bound(bound("seconds until all are ready", 5.0, ready.median, Kind::Time));
        report.bound(bound("KiB resident for each server", 64.0, memory.median, kind));
    }
    report.table(table);
}

/// The same calls over few servers and over many.
struct Comparison {
    called: String,
    few: Fleet,
    many: Fleet,
    /// The depth at which the troupe's size must not show.
    bounded: Option<usize>,
}

/// What one run of calls cost.
#[derive(Clone, Copy)]
struct Cost {
    micros_per_call: f64,
    calls_per_s: f64,
}

/// What calls cost, over few and many servers.
fn calling(report: &mut Report) {
    let server = EchoProcess::start(RESULT_BYTES, TOOLS);
    let port = server.port;
    let columns =
        ["calls go to", "depth", "few: µs per call", "many: µs per call", "many / few", "many: calls/s"];
    let mut table = Table::new("time on the processor for each call", &columns);
    let runtime = runtime();
    let comparisons = runtime.block_on(async {
        let (few, many) = (troupe(port, FEW).await, troupe(port, MANY).await);
        [
            Comparison {
                called: format!("{FEW} of {FEW}, {FEW} of {MANY}"),
                few: Fleet::of(&few, FEW),
                many: Fleet::of(&many, FEW),
                bounded: Some(64),
            },
            Comparison {
                called: format!("all {FEW}, all {MANY}"),
                few: Fleet::of(&few, FEW),
                many: Fleet::of(&many, MANY),
                bounded: Some(1),
            },
            Comparison {
                called: format!("{FEW} bare pumps, {MANY} bare pumps"),
                few: Fleet::bare(port, FEW).await,
                many: Fleet::bare(port, MANY).await,
                bounded: None,
            },
        ]
    });
    for Comparison { called, few, many, bounded } in comparisons {
        for depth in DEPTHS {
            eprintln!("{called}, depth {depth}");
            // As many as make each connection's buffers and each server's figures, in turn.
            runtime.block_on(async {
                make(&few, depth, MANY).await;
                make(&many, depth, MANY).await;
            });
            let runs: Vec<[Cost; 2]> =
                (0..RUNS).map(|_| [&few, &many].map(|fleet| cost(&runtime, fleet, depth))).collect();
            let spread = |figure: &dyn Fn(&[Cost; 2]) -> f64| Spread::of(runs.iter().map(figure));
            let ratio = spread(&|[few, many]| many.micros_per_call / few.micros_per_call);
            table.row(vec![
                called.as_str().into(),
                depth.into(),
                Cell::Number(spread(&|[few, _]| few.micros_per_call).median, 2),
                Cell::Number(spread(&|[_, many]| many.micros_per_call).median, 2),
                Cell::Spread(ratio, 2),
                Cell::Number(spread(&|[_, many]| many.calls_per_s).median, 0),
            ]);
            if bounded == Some(depth) {
                report.bound(Bound {
                    what: format!("{called}, depth {depth}: cost per call of many over that of few"),
                    limit: Limit::AtMost(1.25),
                    aim: None,
                    measured: ratio.median,
                    kind: Kind::Time,
                });
            }
        }
    }
    report.table(table);
}

fn cost(runtime: &Runtime, fleet: &Fleet, depth: usize) -> Cost {
    runtime.block_on(async {
        let before = on_processor();
        let seen = measure(fleet, depth, RUN).await;
        let spent = on_processor() - before;
        Cost { micros_per_call: spent.as_secs_f64() * 1e6 / seen.calls as f64, calls_per_s: seen.calls_per_s }
    })
}

/// What it costs to find a tool by its name.
fn looking_up(report: &mut Report) {
    let lookup = |servers: usize| {
        let catalogue = Names::new(servers, TOOLS);
        let tools = (0..servers).flat_map(|server| (0..TOOLS).map(move |tool| Names::name(server, tool)));
        let tools: Vec<String> = tools.collect();
        let mut next = 0;
        Box::new(move || {
            next = (next + STRIDE) % tools.len();
            assert!(black_box(&catalogue).finds(&tools[next]), "it is there");
        }) as Turn<'_>
    };
    let timed = alternate(vec![lookup(1), lookup(MANY)]);
    let growth = timed[1].over(&timed[0]);
    let mut table = Table::new("to find a tool by its name", &["tools", "ns", "growth"]);
    table.row(vec![TOOLS.into(), Cell::Spread(timed[0].nanoseconds(), 0), Cell::Nothing]);
    table.row(vec![(MANY * TOOLS).into(), Cell::Spread(timed[1].nanoseconds(), 0), Cell::Spread(growth, 2)]);
    report.table(table);
}

/// Questions: a usual one, one that every tool answers a little, and one that is as long as may be.
const QUESTIONS: [(&str, &str); 3] = [
    ("a few words", "read a csv file"),
    ("words of every tool", "return the text of one entry on a page with its path"),
    (
        "the longest",
        "read write list delete search create update fetch copy move compare export import validate archive restore file csv table \
         issue repository message calendar user page image invoice branch ticket folder path text",
    ),
];

/// What it costs to find tools by what they do: an index, made once for each catalogue, and then each search.
fn searching(report: &mut Report) {
    let library = Library::new(MANY, TOOLS);
    let index = library.index();
    let make = Box::new(|| {
        black_box(library.index());
    }) as Turn<'_>;
    let search = |query: &'static str| {
        let index = &index;
        Box::new(move || assert!(black_box(index).finds(query) > 0, "there are some")) as Turn<'_>
    };
    let searches = QUESTIONS.iter().map(|(_, query)| search(query));
    let timed = alternate(std::iter::once(make).chain(searches).collect());
    let columns = ["tools", "what", "tools found", "ms"];
    let mut table = Table::new("to find tools by what they do", &columns);
    let milliseconds = |place: usize| {
        let Spread { median, min, max } = timed[place].nanoseconds();
        Spread { median: median / 1e6, min: min / 1e6, max: max / 1e6 }
    };
    let tools = MANY * TOOLS;
    table.row(vec![tools.into(), "the index".into(), Cell::Nothing, Cell::Spread(milliseconds(0), 1)]);
    for (place, (what, query)) in (1..).zip(QUESTIONS) {
        let found = index.finds(query);
        table.row(vec![tools.into(), what.into(), found.into(), Cell::Spread(milliseconds(place), 2)]);
        report.bound(Bound {
            what: format!("{tools} tools: milliseconds of a search, {what}"),
            limit: Limit::AtMost(5.0),
            aim: None,
            measured: milliseconds(place).median,
            kind: Kind::Time,
        });
    }
    report.table(table);
}
