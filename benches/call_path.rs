//! The call path against its limit and against the official SDK: one loopback WebSocket to an echo server in the same
//! process, 115-byte requests, through a bare pump, the whole troupe and rmcp.
//!
//! What counts are ratios. In each run every way is measured once, on a runtime of its own, in an order that changes from run
//! to run; the ratios are those of one run, and the table has their median with the least and the most. Runs on two threads
//! differ by where caller, actors and server settle.
//!
//! ```text
//! cargo bench -p mcp-troupe-benches --bench call_path                                    everything, about three minutes
//! cargo bench -p mcp-troupe-benches --bench call_path -- current-thread/200B             what has this in its name
//! cargo bench -p mcp-troupe-benches --bench call_path -- current-thread/200B/64 --path troupe --runs 1 --run-time 10s      for a profiler
//! ```

// A bench measures real time; tokio's clock can be paused.
#![allow(clippy::disallowed_types)]

mod harness;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use harness::callers::{Seen, measure};
use harness::echo::{Answers, serve};
use harness::paths::{Kind, Path};
use harness::report::{self, Bound, Cell, Limit, Report, Spread, Table};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// Sizes of results, and how many calls at once: of the larger ones the other depths say nothing new, and of the largest 64 are
/// half a second's work.
const CASES: [(usize, &[usize]); 4] =
    [(SMALL, &[1, 8, 64, 256]), (4 << 10, &[1, 64]), (LARGE, &[1, 64]), (1 << 20, &[1, 8])];

/// Sizes with bounds.
const SMALL: usize = 200;
const LARGE: usize = 64 << 10;

/// Before each measurement: tables and buffers get their size.
const WARM_UP: Duration = Duration::from_millis(50);

/// Measures the call path.
#[derive(Parser)]
struct Options {
    /// Only measurements with one of these in their names, which are RUNTIME/SIZE/DEPTH.
    only: Vec<String>,
    /// Only these ways.
    #[arg(long = "path", value_enum)]
    paths: Vec<Kind>,
    /// Runs of each measurement; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// How long each way is measured in each run.
    #[arg(long, default_value = "500ms", value_parser = humantime::parse_duration)]
    run_time: Duration,
    /// By Cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flavour {
    CurrentThread,
    TwoThreads,
}

impl Flavour {
    fn name(self) -> &'static str {
        match self {
            Self::CurrentThread => "current-thread",
            Self::TwoThreads => "two-threads",
        }
    }

    fn runtime(self) -> Runtime {
        let mut builder = match self {
            Self::CurrentThread => Builder::new_current_thread(),
            Self::TwoThreads => Builder::new_multi_thread(),
        };
        builder.worker_threads(2).enable_all().build().expect("a runtime")
    }
}

/// One measurement.
#[derive(Clone, Copy)]
struct Case {
    flavour: Flavour,
    bytes: usize,
    depth: usize,
}

impl Case {
    fn all() -> Vec<Self> {
        let mut cases = Vec::new();
        for flavour in [Flavour::CurrentThread, Flavour::TwoThreads] {
            for (bytes, depths) in CASES {
                cases.extend(depths.iter().map(|depth| Self { flavour, bytes, depth: *depth }));
            }
        }
        cases
    }

    fn size(self) -> String {
        match self.bytes {
            bytes if bytes >= 1 << 20 => format!("{}MiB", bytes >> 20),
            bytes if bytes >= 1 << 10 => format!("{}KiB", bytes >> 10),
            bytes => format!("{bytes}B"),
        }
    }

    fn name(self) -> String {
        format!("{}/{}/{}", self.flavour.name(), self.size(), self.depth)
    }

    /// The ways that are worth comparing. What parsing costs the host shows where the pipe is full.
    fn kinds(self) -> Vec<Kind> {
        let mut kinds = vec![Kind::Bare, Kind::Troupe, Kind::Rmcp];
        if self.depth == 64 {
            kinds.push(Kind::Parsed);
        }
        kinds
    }

    fn measure(self, kind: Kind, run_time: Duration) -> Seen {
        let runtime = self.flavour.runtime();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let port = listener.local_addr().expect("bound").port();
            tokio::spawn(serve(listener, Answers::new(self.bytes, 1)));
            let path = Path::open(kind, port).await;
            measure(&path, self.depth, WARM_UP).await;
            let seen = measure(&path, self.depth, run_time).await;
            path.close().await;
            seen
        })
    }
}

/// The runs of one way.
struct Runs {
    kind: Kind,
    seen: Vec<Seen>,
}

/// The runs of one measurement. The ways stand in any order.
struct Measured {
    case: Case,
    ways: Vec<Runs>,
}

impl Measured {
    fn take(case: Case, options: &Options) -> Self {
        let kinds = case.kinds().into_iter();
        let kinds = kinds.filter(|kind| options.paths.is_empty() || options.paths.contains(kind));
        let mut ways: Vec<Runs> = kinds.map(|kind| Runs { kind, seen: Vec::new() }).collect();
        for _ in 0..options.runs {
            for way in &mut ways {
                way.seen.push(case.measure(way.kind, options.run_time));
            }
            ways.rotate_left(1);
        }
        Self { case, ways }
    }

    fn seen(&self, kind: Kind) -> &[Seen] {
        self.ways.iter().find(|way| way.kind == kind).map_or(&[], |way| &way.seen)
    }

    /// A figure of one way, over that of another in the same run.
    fn ratio(&self, kind: Kind, other: Kind, figure: impl Fn(&Seen) -> f64) -> Option<Spread> {
        let pairs = self.seen(kind).iter().zip(self.seen(other));
        let ratios: Vec<f64> = pairs.map(|(one, other)| figure(one) / figure(other)).collect();
        (!ratios.is_empty()).then(|| Spread::of(ratios))
    }

    fn rates(&self, kind: Kind, other: Kind) -> Option<Spread> {
        self.ratio(kind, other, |seen| seen.calls_per_s)
    }

    fn p50s(&self, kind: Kind, other: Kind) -> Option<Spread> {
        self.ratio(kind, other, |seen| seen.p50.as_secs_f64())
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let cases = Case::all().into_iter().filter(|case| {
        let name = case.name();
        options.only.is_empty() || options.only.iter().any(|part| name.contains(part))
    });
    let measured: Vec<Measured> = cases
        .map(|case| {
            eprintln!("{}", case.name());
            Measured::take(case, &options)
        })
        .collect();
    let mut report = Report::new("call_path");
    report.table(absolute(&measured));
    report.table(ratios(&measured));
    report.note(format!("Median (least–most) of {} runs.", options.runs));
    measured.iter().for_each(|measured| bounds(measured, &mut report));
    report.finish()
}

/// What each way did: noise between machines and hours.
fn absolute(measured: &[Measured]) -> Table {
    let kinds = [Kind::Bare, Kind::Troupe, Kind::Parsed, Kind::Rmcp];
    let columns = ["runtime", "result", "depth"].into_iter().chain(kinds.map(Kind::name));
    let columns = columns.chain(["bare p50 µs", "troupe p50 µs", "rmcp p50 µs"]);
    let mut table = Table::new("calls/s", &columns.collect::<Vec<_>>());
    for measured in measured {
        let spread = |kind, figure: &dyn Fn(&Seen) -> f64, decimals| match measured.seen(kind) {
            [] => Cell::Nothing,
            seen => Cell::Number(Spread::of(seen.iter().map(figure)).median, decimals),
        };
        let mut row = head(measured);
        row.extend(kinds.map(|kind| spread(kind, &|seen| seen.calls_per_s, 0)));
        let timed = [Kind::Bare, Kind::Troupe, Kind::Rmcp];
        row.extend(timed.map(|kind| spread(kind, &|seen| seen.p50.as_secs_f64() * 1e6, 1)));
        table.row(row);
    }
    table
}

/// What the troupe did beside the others.
fn ratios(measured: &[Measured]) -> Table {
    let columns = [
        "runtime",
        "result",
        "depth",
        "calls/s of bare",
        "p50 of bare",
        "calls/s of rmcp",
        "p50 of rmcp",
        "parsed: calls/s of rmcp",
    ];
    let mut table = Table::new("the troupe's ratios", &columns);
    for measured in measured {
        let ratios = [
            measured.rates(Kind::Troupe, Kind::Bare),
            measured.p50s(Kind::Troupe, Kind::Bare),
            measured.rates(Kind::Troupe, Kind::Rmcp),
            measured.p50s(Kind::Troupe, Kind::Rmcp),
            measured.rates(Kind::Parsed, Kind::Rmcp),
        ];
        let mut row = head(measured);
        row.extend(ratios.map(|ratio| ratio.map_or(Cell::Nothing, |spread| Cell::Spread(spread, 2))));
        table.row(row);
    }
    table
}

fn head(measured: &Measured) -> Vec<Cell> {
    let Case { flavour, depth, .. } = measured.case;
    vec![flavour.name().into(), measured.case.size().into(), depth.into()]
}

/// What the ratios have to be.
fn bounds(measured: &Measured, report: &mut Report) {
    let Case { bytes, depth, .. } = measured.case;
    let rates = |other| measured.rates(Kind::Troupe, other);
    let p50s = |other| measured.p50s(Kind::Troupe, other);
    let (bare, rmcp) = (Kind::Bare, Kind::Rmcp);
    let bounds = match (bytes, depth) {
        (SMALL, 1) => vec![
            ("p50 of the bare pump's", Limit::AtMost(1.35), Some(1.15), p50s(bare)),
            ("p50 of rmcp's", Limit::AtMost(0.5), None, p50s(rmcp)),
        ],
        (SMALL, 64) => vec![
            ("calls/s of the bare pump's", Limit::AtLeast(0.75), Some(0.9), rates(bare)),
            ("calls/s of rmcp's", Limit::AtLeast(5.0), None, rates(rmcp)),
        ],
        (SMALL, 256) => {
            vec![("calls/s of the bare pump's", Limit::AtLeast(0.7), Some(0.85), rates(bare))]
        }
        (LARGE, 64) => vec![("calls/s of rmcp's", Limit::AtLeast(8.0), None, rates(rmcp))],
        _ => vec![],
    };
    for (what, limit, aim, ratio) in bounds {
        let Some(Spread { median: measured_ratio, .. }) = ratio else { continue };
        let what = format!("{}: {what}", measured.case.name());
        report.bound(Bound { what, limit, aim, measured: measured_ratio, kind: report::Kind::Time });
    }
}
