//! A server for load tests, alone: `cargo run --release -p mcp-troupe-examples --bin echo_server -- --port 3002`.

mod echo;

use std::process::ExitCode;

use clap::Parser;
use echo::{Answers, RESULT_BYTES_MAX, RESULT_BYTES_MIN, TOOLS_MAX};
use tokio::net::TcpListener;

/// Answers every MCP call over WebSocket with the same result. Prints its address; ends with Ctrl-C.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// The port; 0 for a free one.
    #[arg(long, default_value_t = 3002)]
    port: u16,
    /// The address.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// The size of each result, as JSON.
    #[arg(long, default_value_t = 200, value_parser = between(RESULT_BYTES_MIN, RESULT_BYTES_MAX))]
    result_bytes: u32,
    /// How many tools it lists: search, search-1 and so on.
    #[arg(long, default_value_t = 1, value_parser = between(1, TOOLS_MAX))]
    tools: u32,
}

fn between(least: usize, most: usize) -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(least as i64..=most as i64)
}

// One thread: the others are the client's, which is what is measured.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Cli { port, host, result_bytes, tools } = Cli::parse();
    let bound = match TcpListener::bind((host.as_str(), port)).await {
        Ok(listener) => listener.local_addr().map(|address| (listener, address)),
        Err(error) => Err(error),
    };
    let (listener, address) = match bound {
        Ok(bound) => bound,
        Err(error) => {
            eprintln!("{host}:{port}: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("ws://{address}");
    tokio::select! { biased;
        _ = tokio::signal::ctrl_c() => ExitCode::SUCCESS,
        error = echo::serve(listener, Answers::new(result_bytes as usize, tools as usize)) => {
            eprintln!("{address}: {error}");
            ExitCode::FAILURE
        }
    }
}
