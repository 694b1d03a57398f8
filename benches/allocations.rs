//! How often a call allocates in the client: through a bare pump, the whole troupe and the official SDK. The echo server is
//! a process of its own. The figures do not depend on the machine.
//!
//! `cargo bench -p mcp-troupe-benches --bench allocations` fails when the troupe's are above what stands here by more than 5 %.

mod harness;

use std::process::ExitCode;

use harness::callers::make;
use harness::child::{EchoProcess, serve_if_asked};
use harness::paths::{Kind, Path};
use harness::report::{self, Bound, Limit, Report, Table};

/// Counts every allocation of the process.
#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// What the troupe allocates for each call, as measured last: blocks and bytes at each depth. The bench says when they are to
/// be written anew.
const KNOWN: [(usize, f64, f64); 2] = [(1, 12.0, 1720.0), (64, 5.3, 1388.0)];

/// What a call may cost at one call at a time.
const BLOCKS_MAX: f64 = 25.0;

/// The size of the results.
const RESULT_BYTES: usize = 200;

/// Calls after which tables and buffers have their size.
const WARM_UP: usize = 4_000;

/// Calls that are counted.
const CALLS: usize = 20_000;

fn main() -> ExitCode {
    serve_if_asked();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _profiler = dhat::Profiler::builder().testing().build();
    let server = EchoProcess::start(RESULT_BYTES, 1);
    let mut report = Report::new("allocations");
    let mut table = Table::new("per call, in the client", &["depth", "way", "blocks", "bytes"]);
    for (depth, blocks_known, bytes_known) in KNOWN {
        for kind in [Kind::Bare, Kind::Troupe, Kind::Rmcp] {
            let [blocks, bytes] = runtime.block_on(per_call(kind, server.port, depth));
            let cells = [report::Cell::Number(blocks, 1), report::Cell::Number(bytes, 0)];
            table.row([depth.into(), kind.name().into()].into_iter().chain(cells).collect());
            if kind == Kind::Troupe {
                report.known(&format!("troupe, depth {depth}: blocks"), blocks, blocks_known);
                report.known(&format!("troupe, depth {depth}: bytes"), bytes, bytes_known);
            }
            if kind == Kind::Troupe && depth == 1 {
                report.bound(Bound {
                    what: format!("troupe, depth {depth}: blocks"),
                    limit: Limit::AtMost(BLOCKS_MAX),
                    aim: None,
                    measured: blocks,
                    kind: report::Kind::Count,
                });
            }
        }
    }
    report.table(table);
    report.finish()
}

/// Blocks and bytes that are allocated for each call.
async fn per_call(kind: Kind, port: u16, depth: usize) -> [f64; 2] {
    let path = Path::open(kind, port).await;
    make(&path, depth, WARM_UP).await;
    let before = dhat::HeapStats::get();
    make(&path, depth, CALLS).await;
    let after = dhat::HeapStats::get();
    path.close().await;
    let each = |all: u64| all as f64 / CALLS as f64;
    [each(after.total_blocks - before.total_blocks), each(after.total_bytes - before.total_bytes)]
}
