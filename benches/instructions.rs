//! How many instructions a call costs the client, through a bare pump, the whole troupe and the official SDK, by valgrind's
//! callgrind. The figures do not depend on the load of the machine, and little on its kind.
//!
//! This program is run under callgrind as a client on one thread, twice, with a number of calls and with twice as many; the
//! difference is what the calls cost. The echo server is a process of its own. The kernel's work is not counted.
//!
//! `cargo bench -p mcp-troupe-benches --bench instructions` fails when the troupe's figures are above what stands here by more than 5 %.

mod harness;

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use clap::{Parser, Subcommand, ValueEnum};
use harness::callers::make;
use harness::child::{EchoProcess, serve_if_asked};
use harness::paths::{Kind, Path};
use harness::report::{Cell, Report, Table, target};

/// What a call through the troupe costs, as measured last, at each depth. The bench says when it is to be written anew; another
/// compiler is a reason as well.
const KNOWN: [(usize, f64); 2] = [(1, 44_760.0), (64, 18_520.0)];

/// The size of the results.
const RESULT_BYTES: usize = 200;

/// Calls of the shorter run: enough that tables and buffers have their size before it ends.
const CALLS: usize = 4_000;

/// glibc's copies and fills by vector instructions. callgrind counts a repeated string instruction once for each byte, which
/// would hide everything else behind the buffers that are zeroed.
const TUNABLES: &str =
    "glibc.cpu.x86_rep_stosb_threshold=0x7fffffff:glibc.cpu.x86_rep_movsb_threshold=0x7fffffff";

/// Counts instructions.
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
    /// Makes calls; what callgrind looks at.
    Client { kind: Kind, port: u16, depth: usize, calls: usize },
}

fn main() -> ExitCode {
    serve_if_asked();
    match Options::parse().role {
        Some(Role::Client { kind, port, depth, calls }) => {
            client(kind, port, depth, calls);
            ExitCode::SUCCESS
        }
        None => compare(),
    }
}

fn client(kind: Kind, port: u16, depth: usize, calls: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let path = Path::open(kind, port).await;
        make(&path, depth, calls).await;
        path.close().await;
    });
}

fn compare() -> ExitCode {
    if !installed() {
        println!("instructions: skipped, valgrind is not installed");
        return ExitCode::SUCCESS;
    }
    let server = EchoProcess::start(RESULT_BYTES, 1);
    let mut report = Report::new("instructions");
    let columns = ["depth", "bare pump", "troupe", "rmcp", "troupe beyond bare"];
    let mut table = Table::new("per call, in the client", &columns);
    for (depth, known) in KNOWN {
        let [bare, troupe, rmcp] = [Kind::Bare, Kind::Troupe, Kind::Rmcp].map(|kind| {
            eprintln!("{} at depth {depth}", kind.name());
            let count = |calls| count(kind, server.port, depth, calls);
            (count(2 * CALLS) - count(CALLS)) / CALLS as f64
        });
        let figures = [bare, troupe, rmcp, troupe - bare].map(|figure| Cell::Number(figure, 0));
        table.row([Cell::from(depth)].into_iter().chain(figures).collect());
        report.known(&format!("troupe, depth {depth}"), troupe, known);
    }
    report.table(table);
    report.finish()
}

fn installed() -> bool {
    let version = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// The instructions of a whole client.
fn count(kind: Kind, port: u16, depth: usize, calls: usize) -> f64 {
    let file: PathBuf = target().join("tmp").join(format!("callgrind.{}", std::process::id()));
    let mut out = std::ffi::OsString::from("--callgrind-out-file=");
    out.push(&file);
    let kind = kind.to_possible_value().expect("every kind has a name");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--read-inline-info=no"])
        .arg(out)
        .arg(std::env::current_exe().expect("this program has a path"))
        .args(["client", kind.get_name(), &port.to_string(), &depth.to_string(), &calls.to_string()])
        .env("GLIBC_TUNABLES", TUNABLES)
        .stdin(Stdio::null())
        .output()
        .expect("valgrind starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let counted = std::fs::read_to_string(&file).expect("callgrind wrote its file");
    // It is of no use to anybody else.
    let _ = std::fs::remove_file(&file);
    let summary = counted.lines().find_map(|line| line.strip_prefix("summary:"));
    summary.and_then(|count| count.trim().parse().ok()).expect("callgrind wrote its summary")
}
